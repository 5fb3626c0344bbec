//! A project in a temporary folder, and what can be done with it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use bpfkit_compiler_driver::Toolchain;

/// The compiler of this machine.
pub(crate) fn toolchain() -> Toolchain {
    let memory = tempfile::tempdir().unwrap();
    Toolchain::find(&std::env::var_os("PATH").unwrap(), memory.path()).unwrap()
}

/// Compiles a C file for BPF, and fails with clang's words if it doesn't.
pub(crate) fn compile(folder: &Path, source: &str, flags: &[&str]) -> PathBuf {
    let path = folder.join("probe.c");
    std::fs::write(&path, source).unwrap();
    let output = Command::new(toolchain().clang())
        .args(["-target", "bpf", "-O2", "-g", "-Wall", "-Werror", "-ferror-limit=30", "-c", "probe.c", "-o", "probe.o"])
        .args(flags)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("probe.o")
}
