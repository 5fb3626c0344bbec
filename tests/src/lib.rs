//! What the end-to-end tests share: finding the binary, and skips that can't lie.
//!
//! Nothing in the workspace depends on this crate. Its tests use bpfkit as a user
//! does, through the `bpfkit` binary, and judge the result with other people's
//! tools.
#![forbid(unsafe_code)]

pub mod skip;

use std::path::{Path, PathBuf};

/// The top of the checkout.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// A tool that `tools/setup` unpacked, or the one on `PATH`.
pub fn tool(name: &str) -> PathBuf {
    let unpacked = root().join("target/tools/usr/bin").join(name);
    if unpacked.is_file() { unpacked } else { PathBuf::from(name) }
}
