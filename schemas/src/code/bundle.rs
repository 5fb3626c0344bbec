//! Codes of the bundle stage: laying out, signing, pushing, pulling.

super::codes! {
    BUNDLE_NOT_FOUND = "B001", Failed, "the bundle is not there",
"The reference names a tag or a digest that the repository does not hold.

For a set that is built here, run `bpfkit bundle` first. For one in a registry, check the
reference: `bpfkit inspect` shows what a reference holds.";
}
