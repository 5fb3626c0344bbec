//! What the end-to-end tests share: finding the binary, and skips that can't lie.
//!
//! Nothing in the workspace depends on this crate. Its tests use bpfkit as a user
//! does, through the `bpfkit` binary, and judge the result with other people's
//! tools.
#![forbid(unsafe_code)]

pub mod host;
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

/// The `bpfkit` that was built with these tests: cargo puts it beside the folder of the test's own program.
///
/// `cargo build -p bpfkit-cli` comes first; `make test` sees to that.
pub fn bpfkit() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join("bpfkit")));
    beside.unwrap_or_else(|| PathBuf::from("bpfkit"))
}
