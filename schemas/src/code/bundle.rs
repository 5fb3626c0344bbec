//! Codes of the bundle stage: laying out, signing, pushing, pulling.

super::codes! {
    BUNDLE_NOT_FOUND = "B001", Failed, "the bundle is not there",
"The reference names a tag or a digest that the repository does not hold.

For a set that is built here, run `bpfkit bundle` first. For one in a registry, check the
reference: `bpfkit inspect` shows what a reference holds.";

    NOT_A_LAYOUT = "B002", Failed, "there is no OCI layout there",
"`oci:DIR` names a directory that holds a file `oci-layout` saying version 1.0.0, an `index.json` and
the blobs. The directory is missing, empty, or something else.

`bpfkit bundle` makes `.bpfkit/oci`; `push --to oci:DIR` makes one anywhere.";

    LAYOUT_IO = "B003", Failed, "a layout could not be read or written",
"The file system refused to open, read, write, lock or sync a file of an OCI layout. Every file is
written beside its place and renamed into it, so nothing is left half-written.

The cause below says why: permissions, a full disk, a read-only mount.";

    LAYOUT_MALFORMED = "B004", Failed, "a layout is in disorder",
"A file of the OCI layout is not the JSON that the image spec prescribes, has a member twice, or gives
one tag two meanings; or it is no file but a symbolic link, a pipe, a device. Guessing could mean
loading something else than what was signed, and a pipe would make every reader wait for ever.

Remove the directory and bundle or pull again; or name the bundle by its digest.";

    LAYOUT_LOCKED = "B005", Contended, "somebody else holds the layout's lock",
"Two processes that change `index.json` at once would lose each other's tags, so it is changed under
a lock (`.bpfkit.lock`). Another process held it for longer than half a minute.

Wait for it, or find it with `fuser DIR/.bpfkit.lock`. A lock ends with its process.";

    UNREACHABLE = "B010", Failed, "a registry can't be reached",
"No connection to the registry: its name has no address, nobody listens there, the TLS handshake
failed, or the answer took too long. Registries are reached by https, on loopback alone by plain
http; HTTPS_PROXY and NO_PROXY count. Refused connections were tried three times.

Check name, port and proxy. A registry with a certificate of your own CA needs that CA among the
system's.";

    DENIED = "B011", Failed, "the registry does not let us",
"The registry wants credentials, or those that it was shown don't allow this. They are read from
REGISTRY_AUTH_FILE, from config.json in DOCKER_CONFIG, or from where podman and docker keep them;
never from a manifest or a bundle. Many registries also answer so for repositories that don't exist.

Log in (`skopeo login HOST`, `docker login HOST`) as somebody who may read, or write, there.";

    REGISTRY_REFUSED = "B012", Failed, "a registry gave an answer that makes no sense here",
"The registry answered with a status or a body that the OCI distribution spec does not foresee for the
request: it may be down for maintenance, limit its users, refuse a media type, or be no registry.
What it said itself is shown. Answers 429 and 5xx were tried three times.

Try again later; ask whoever runs it.";

    REDIRECTED = "B013", Failed, "a registry sends us where we don't go",
"Registries often send readers to a store of blobs, and those who log in to a token server. bpfkit
follows over https alone, shows credentials only where they belong, and stops after five hops. This
keeps a registry, or somebody between, from collecting credentials or reading along.

If the registry is yours, give that server TLS.";

    BAD_CREDENTIALS = "B014", Failed, "credentials can't be read",
"The file with the registry's credentials can't be read or isn't in docker's format, or the helper
program that it names failed. A helper's name may have only letters `a-z`, digits and `-`, so that
no file can make bpfkit run a program by its path.

Check the file, or log in anew.";

    OFFLINE = "B015", Failed, "the network was ruled out, and this needs it",
"With `--offline` nothing may so much as try to reach the network: no name is looked up, no connection
is made. What was named lies in a registry, so it can't be read in this run.

Name a directory in OCI layout (`oci:DIR:tag`), pull the set beforehand (`bpfkit pull`), or leave
`--offline` out.";

    WRONG_DIGEST = "B020", Failed, "the bytes are not those of their digest",
"Everything in a bundle is named by the SHA-256 of its bytes, and every byte that is read is hashed
again. What was served here hashes to something else: it was damaged on the way or on disk, or
somebody put other bytes in their place. Nothing of it was used.

Pull again from another place. If it happens again, the place is broken or hostile.";

    TRUNCATED = "B021", Failed, "an answer broke off",
"The connection ended before all bytes had come, or a blob is shorter than its descriptor says.
A piece of a bundle is never used.

Try again. If it happens at the same place each time, the copy there is damaged.";

    TOO_LARGE = "B022", Failed, "something is larger than it may be",
"Before anything is trusted, whoever serves it decides how much comes, so bpfkit limits how much it
takes: manifests and configs 4 MiB, a signature 1 MiB, a layer 32 MiB, an object 16 MiB, also when
decompressed, and 512 MiB altogether; of the manifests that a layout lists for itself, 64 MiB. This stops
archives that unpack without end, and lists.

An eBPF object is rarely larger than a few hundred KiB; strip its DWARF with `llvm-strip -g`.";

    TOO_MANY = "B023", Failed, "there are more parts than are read",
"An index may have 256 entries, a manifest 256 layers, 64 things may hang on one manifest, and all that a
bundle leads to may be 32,768 parts. More than that is no bundle, or somebody has flooded the repository to hide or delay what counts.

Copy the bundle, with the signatures that you want, to a repository that only you write to.";

    BAD_MEDIA_TYPE = "B030", Failed, "this is not what was asked for",
"What the reference names is not a set bundle (or, for `image:`, not a program image): its media types
say that it is something else, such as a container image, an index inside an index, or an image with
several layers. The same bytes must not be understood in two ways.

`<version>` is a set's tag, `<version>.<program>` a program's.";

    BAD_JSON = "B031", Failed, "a document of a bundle can't be understood",
"A manifest, an index or the config is not JSON, has unknown or missing members, or has a member
twice. Two readers could understand such a document differently, and what was signed must mean one
thing.

Bundle the set again with this version of bpfkit, or ask whoever published it.";

    OTHER_FORMAT = "B032", Failed, "the bundle has another format",
"The bundle's config says a format number that this bpfkit does not read. A newer format may have
rules that an older reader would silently not follow, so it refuses.

Use the bpfkit that made the bundle, or a newer one.";

    NO_PLATFORM = "B033", Failed, "the bundle has nothing for this platform",
"Objects are built for a platform: their byte order and the layout of the kernel's types differ. The
bundle's index lists none for the one that was asked for.

Add the platform to `build.platforms` and bundle again.";

    CONTRADICTION = "B034", Failed, "the parts of a bundle contradict each other",
"The index, the manifest, the config and the layers of a bundle each say what the others are: platform,
size, number and order. Here they disagree, so it was not made by bpfkit, or was changed afterwards:
for example to put one program's layer in another one's place.

Don't use it; bundle again, or ask whoever published it.";

    BAD_LAYER = "B035", Failed, "a layer does not hold one object",
"A program's layer is a gzipped tar with exactly one regular file. This one is damaged, or holds
links, directories, several files, a file of another name, or bytes after its end. Layers are read in
memory and never unpacked to disk.

Don't use it; bundle again, or ask whoever published it.";

    OTHER_OBJECT = "B036", Failed, "an object is not the one that was described",
"The config of a set bundle describes each object by its digest and size. The object in the layer is
another one, so whoever made the bundle described something else than what it would load.

Don't use it; ask whoever published it.";

    NOT_FROM_IMAGE = "B037", Failed, "a program is not from the image that it names",
"A program that was taken from somebody's image is trusted for that author's signature, which stands
on the image. The image travels with the set, and its object must be the very one that the set
loads. Here it is not: the set's author put other bytes under that image's name.

Don't use it; ask whoever published the set.";

    PICK = "B038", Failed, "which program of the bundle is meant is unclear",
"`image:` may name a set bundle. If that has several programs, `program: NAME` says which one; if it
is the image of one program, there is nothing to pick.

Write, drop or correct `program:` as the message says.";

    UNFIT_SET = "B040", Failed, "the set can't be bundled",
"A bundle holds at most 255 programs, the same ones for each platform, each with an object of at most
16 MiB that is the very one that was described, under tags of at most 128 characters. All reasons
are listed.

Each says what to do about it.";

    TAG_TAKEN = "B041", Failed, "a tag already means something of another kind",
"A set's tag is `<version>`, a program's `<version>.<program>`: `1.4` can be version 1.4, or program
`4` of version 1. Whoever has the tag keeps it, so that nobody who asks for a set gets a program.
Tags that start with `sha256-` belong to signatures.

Choose another version with `--tag`, or another name for the program.";

    REFERRERS_CONTENDED = "B042", Failed, "the list of signatures keeps changing",
"This registry does not list signatures by itself, so bpfkit keeps the list under a tag: it reads,
adds, writes, and reads again. Somebody else wrote the same list each time, and the signature
would have been lost.

Run the command again. What was sent before is not sent twice.";

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

    CLAIM_UNFIT = "B309", Failed, "the set is not the one that was named to be signed",
"A signature says which repository and version a set belongs to, and it takes that from the set itself.
The reference names another repository, or its tag another version: whoever writes to that registry
may have put an older version or somebody else's set there, to have it signed as what it isn't.

Sign a set where it belongs, or in the layout it was bundled in, and `copy` it on: signatures travel with
it. A tag that is no version (`latest`) can be left out: name the set by its digest, `NAME@sha256:…`.";
}
