//! What the end-to-end tests share: hosts, sets, what must hold on each hook, virtual machines to try it in, and skips
//! that can't lie.
//!
//! Nothing in the workspace depends on this crate. Its tests use bpfkit as a user
//! does, through the `bpfkit` binary, and judge the result with other people's
//! tools.
#![forbid(unsafe_code)]

pub mod host;
pub mod kit;
pub mod set;
pub mod skip;
pub mod trial;
pub mod vm;

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

/// The `bpfkit` that was built with these tests: beside the running program, or, for a test, beside the folder that
/// cargo put that in.
///
/// `cargo build -p bpfkit-cli` comes first; `make test` sees to that.
pub fn bpfkit() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let folders = program.ancestors().skip(1).take(2).map(|folder| folder.join("bpfkit"));
    folders.into_iter().find(|bpfkit| bpfkit.is_file()).unwrap_or_else(|| PathBuf::from("bpfkit"))
}
