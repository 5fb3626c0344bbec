//! Codes of the trust decision.

super::codes! {
    NO_POLICY = "T001", NotTrusted, "this host has no trust policy",
"A reference is somebody else's word: its chains, maps and globals come from a bundle. Who may be
believed is for the host alone to say, in `/etc/bpfkit/trust.yml`. Without that file nothing that
a reference names is applied.

Write the policy (the error prints a start), or name one for a check with `verify --trust FILE`.";

    NO_SCOPE = "T002", NotTrusted, "no scope of the trust block covers a repository",
"A trust block says per repository (`image`) or per prefix (`org`) who must have signed. What no scope
covers is rejected: there is no default that lets things in. Prefixes are compared part by part, so
`registry.example/acme` covers `registry.example/acme/limit` and not `registry.example/acme-evil`.

Add the repository under `trust.image`, or a prefix of it under `trust.org`.";

    NO_SIGNATURE = "T003", NotTrusted, "it has no signature",
"Nothing is attached to the bundle as a signature, neither to its index nor to the manifest for this
platform. Either nobody signed it, or a registry or mirror between the signer and you took the
signatures away, which looks just the same and is refused just the same.

Sign it with `bpfkit sign --key FILE`. For something built on this host a waiver under
`trust.unsigned` will do; it needs a reason, and shows in every plan.";

    TOO_FEW_SIGNERS = "T004", NotTrusted, "too few of the right keys signed",
"A role's threshold counts different keys, not signatures: the same key under two names, the same
signature attached twice, or signatures over both the index and one manifest count once. So a thief of
one key, or a registry that doubles what it has, gets no further than one.

The other messages say why signatures that are there don't count. Have another key sign, with
`bpfkit sign --key FILE --role ROLE`.";

    WRONG_REPOSITORY = "T005", NotTrusted, "signed for another repository",
"Each signature names the repository that it is for (`dev.bpfkit.repository`). This one names another
than was asked for: somebody may have copied a bundle, with its genuine signatures, to a name under
which it was never meant to run.

Mirrors and copies keep the original name, so ask for that one; or have it signed for this one.";

    WRONG_VERSION = "T006", NotTrusted, "signed as another version",
"Each signature names the version that it is for (`dev.bpfkit.version`). This one names another than was
asked for: a tag that was moved back to an old bundle, with the old bundle's genuine signatures, looks
like this.

Look where the tag points (`bpfkit inspect`), and who moved it.";

    MISSING_CLAIMS = "T007", NotTrusted, "a signature does not say what it is for",
"The signature is over the right digest, but doesn't name the repository or the version, so it would
fit the same bytes under any other name. Plain `cosign sign` makes such signatures.

Sign with `bpfkit sign`, or add `-a dev.bpfkit.repository=REPOSITORY -a dev.bpfkit.version=VERSION` to
`cosign sign`. A scope that says `claims: digest_only` accepts signatures without them; what they do
say must still be right.";

    KEY_EXPIRED = "T008", NotTrusted, "a key counts no longer",
"The trust block gives the key a last day (`not_after`, UTC), and that day is over. Its signatures count
no longer, old ones included: nothing in them proves when they were made.

Have a newer key sign the bundle. If the key is still good, move its `not_after`.";

    UNKNOWN_SIGNER = "T009", NotTrusted, "signed by a key that the trust block does not name",
"The signature may be perfectly genuine, but nothing in the trust block says that its key may be
believed. The hint is what the signature says of its key: the SHA-256 of the public key, in base64.

If you know whose key it is, add its public half under `trust.keys` and to a role's `from`. Get it
from its owner, not from where the bundle came from.";

    BAD_SIGNATURE = "T010", NotTrusted, "a signature is not by the key that it names",
"The signature names a key of the trust block, and that key didn't sign these bytes: the statement or
the signature was changed, or made up.

Fetch the bundle again from its own repository. If it stays so, something on the way changes it.";

    SUBJECT_MISMATCH = "T011", NotTrusted, "a signature is over another digest",
"A genuine signature of something else hangs on this bundle. It vouches for the digest that it names
and for nothing else.

Fetch the bundle again from its own repository, or have it signed.";

    UNREADABLE_SIGNATURE = "T012", NotTrusted, "a signature can't be read",
"What is attached as a signature is not a Sigstore bundle v0.3 with one DSSE envelope, one signature and
one in-toto statement. bpfkit reads that one form, strictly: a member that is there twice, or two
signatures in one envelope, could be read one way here and another way elsewhere.

cosign 3 and `bpfkit sign` write this form; sign again with one of them.";

    OTHER_STATEMENT = "T013", NotTrusted, "an attestation is not a signature",
"Somebody stated something about the bundle (an SBOM, a test result, a provenance), and signed that. It
doesn't say that the bundle may run: the key that signs SBOMs may be far less well kept.

Sign the bundle itself with `bpfkit sign --key FILE`.";

    SEVERAL_SUBJECTS = "T014", NotTrusted, "a signature is over more than one thing",
"The statement names several subjects, or none. Verifiers differ in which of them they look at, so a
signature that was made for one of them could be passed off for another. bpfkit counts signatures
over exactly one subject.

Sign with `bpfkit sign` or `cosign sign`, which name one.";

    KEYLESS_SIGNATURE = "T015", NotTrusted, "a signature was made through a certificate",
"The signature was made keylessly, through a short-lived certificate for an identity. A trust block
names keys, and can't judge identities.

Have the bundle signed by a key as well: `bpfkit sign --key FILE`.";

    ROLE_NOT_HELD = "T016", NotTrusted, "the signer does not count for the role",
"The trust block says which key counts for which role. A signature may claim a role
(`dev.bpfkit.role`), which only narrows what it counts for: an author's key that claims to be the
repository is still not the repository.

Sign with a key that holds the role, or list the key under the role's `from`.";

    WRONG_SET = "T017", NotTrusted, "the bundle is of another set",
"The bundle says that it is another set than the one that was asked for. Sets own links and maps on the
host by their name, so one set's bundle must never be applied under another's.

Apply it under its own name, or bundle the set that you meant with `bpfkit bundle`.";

    WAIVER_NOT_COUNTED = "T018", NotTrusted, "a waiver does not count for a reference",
"The trust block waives this set or program by name. That is enough for a manifest on this disk, where
the operator knows what the name means; a bundle that is named by reference brings its name along, and
anybody can call a bundle anything.

Have it signed, or apply it from a manifest of your own.";

    ORIGIN_UNPROVEN = "T019", NotTrusted, "a program's origin can't be proven",
"A program of the set is said to come from somebody's image, whose own signatures must be trusted. That
image isn't there to be checked, or is not the one that is named.

Run `bpfkit bundle` again where the set was made, so that images and their signatures travel along.";

    OWN_BLOCK_UNUSABLE = "T020", NotTrusted, "the set's own trust block can't be used",
"A set can bring a trust block that narrows the host's policy. This one can't be used (the message says
why), so nobody can say what it would demand, and the set is refused rather than let in without it.

Tell the set's publisher.";

    SAME_KEY_TWICE = "T101", Usage, "one key has two names",
"Two names under `trust.keys` have the same key. A threshold of two would then be met by one person,
which is the mistake (or the trick) behind several published holes in other tools.

Leave one of the names out, or name the other person's key.";

    BAD_POLICY_KEY = "T102", Usage, "a key of the trust block can't be read",
"A key under `trust.keys` is not an ECDSA P-256 public key in PEM. A policy with a key that can't be read
is refused as a whole: to go on without it would change what it demands.

Use the `.pub` file that `bpfkit trust keygen` or `cosign generate-key-pair` wrote.";

    UNDECLARED_KEY = "T103", Usage, "a quorum counts a key that is not declared",
"A role's `from` names a key that isn't under `trust.keys`, most often because of a misspelling.

Declare it, or write its name as it is declared.";

    EMPTY_QUORUM = "T104", Usage, "a scope demands nothing",
"A scope without a role, or a role without a key, would be satisfied by anything. That empty list has
been the hole in more than one tool, so it can't be written here.

Name a role and at least one key. To let nothing in, leave the scope out.";

    UNREACHABLE_THRESHOLD = "T105", Usage, "a threshold can't be reached",
"A role asks for more signatures than it has different keys for, so nothing could ever satisfy it.

Lower `threshold`, or name more keys under `from`.";

    BAD_SCOPE = "T106", Usage, "a scope names no repository",
"A scope is a repository (`image`) or what repositories lie below (`org`), with its host and without a
scheme, a tag, a pattern or a slash at the end. One that no repository can have would protect nothing.

Write it as `registry.example/acme`.";

    BAD_WAIVER = "T107", Usage, "a waiver has no reason, or is there twice",
"A waiver is a decision that shows in every plan, with the reason beside it. Two for one thing, or one
without a reason, say less than nothing.

Say once, under `because`, why it may go unsigned.";
}
