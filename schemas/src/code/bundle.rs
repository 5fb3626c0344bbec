//! Codes of the bundle stage: laying out, signing, pushing, pulling.

super::codes! {
    BUNDLE_NOT_FOUND = "B001", Failed, "the bundle is not there",
"The reference names a tag or a digest that the repository does not hold.

For a set that is built here, run `bpfkit bundle` first. For one in a registry, check the
reference: `bpfkit inspect` shows what a reference holds.";

    KEY_EXISTS = "B300", Failed, "a key file is there already",
"Making a key pair never replaces a file: somebody may still sign with the old key, or trust it, and
a private key that is overwritten is gone.

Choose another name with `--output`, or move the old pair away.";

    KEY_IO = "B301", Failed, "a key file can't be read or written",
"The operating system refused to open, read, make or replace the file; its own words stand below the
message. Key files are written next to their final place first, so the folder must be writable.

Check the path and its permissions.";

    KEY_EXPOSED = "B302", Failed, "others can get at a private key file",
"The mode of the file lets users outside its group read or change it, or lets its group change it.
Whoever has read a private key can try passphrases on it at leisure; whoever has changed it decides
whose signatures you make. A file that only its group may read is accepted, since mounted secrets
look like that.

Run `chmod 600` on it. If somebody may have read it, make a new key and take the old one out of every
trust block.";

    KEY_NOT_ENCRYPTED = "B303", Failed, "a private key is not encrypted",
"bpfkit signs with keys in cosign's format alone, which are sealed under a passphrase. A bare PKCS#8,
SEC1 or OpenSSH key on disk signs for everybody who can read the disk or its backups.

Import it: `cosign import-key-pair --key FILE`, or make a new one with `bpfkit trust keygen`.";

    NOT_A_PRIVATE_KEY = "B304", Failed, "this is not a private key in cosign's format",
"A private key is a PEM file with the label `ENCRYPTED SIGSTORE PRIVATE KEY`, as `bpfkit trust keygen`
and `cosign generate-key-pair` write it: PKCS#8, sealed by scrypt and NaCl's secretbox. Parameters that
cosign doesn't use are refused too, because a hostile file could ask for all memory.

Name the right file, or make a key with `bpfkit trust keygen --output PREFIX`.";

    WRONG_PASSPHRASE = "B305", Failed, "the passphrase doesn't open the private key",
"The private key is sealed under another passphrase, or the file was changed since: the seal can't
tell which of the two it is.

The passphrase comes from `BPFKIT_PASSWORD`, `--password-fd N` or a systemd credential. One newline at
the end of a file or credential is left out, in the environment it counts.";

    KEY_KIND = "B306", Failed, "the key is not for ECDSA P-256",
"bpfkit makes and believes signatures by ECDSA over P-256 with SHA-256 alone: what cosign makes by
default. One algorithm means that no weaker one can be slipped in, and that a key has one digest.

Make a key with `bpfkit trust keygen` or `cosign generate-key-pair`.";

    NOT_A_PUBLIC_KEY = "B307", Failed, "this is not a public key in PEM",
"A public key is a PEM file that begins with `-----BEGIN PUBLIC KEY-----` (SubjectPublicKeyInfo). A
certificate, a private key or an OpenSSH key is something else, and a point that is not on the curve
is no key at all.

Name the `.pub` file that `bpfkit trust keygen` wrote beside the private key.";

    BAD_PASSPHRASE = "B308", Usage, "the passphrase can't be used",
"The passphrase could not be read from where it was to come from, or is longer than 1024 bytes, or has
more than one line, which is what happens when the wrong file or descriptor is named.

Give it in `BPFKIT_PASSWORD`, through `--password-fd N`, or as a systemd credential.";

    CLAIM_UNFIT = "B309", Failed, "a bundle can't be signed as it stands",
"The statement that would be signed can't be made for this bundle: the tag or digest names nothing that
the layout holds, or what it holds is not a set bundle with a readable config.

Run `bpfkit bundle` and sign what it wrote.";
}
