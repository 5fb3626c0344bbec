//! Codes of the trust decision.

super::codes! {
    NO_POLICY = "T001", NotTrusted, "this host has no trust policy",
"A reference is somebody else's word: its chains, maps and globals come from a bundle. Who may be
believed is for the host alone to say, in `/etc/bpfkit/trust.yml`. Without that file nothing that
a reference names is applied.

Write the policy (the error prints a start), or name one for a check with `verify --trust FILE`.";
}
