//! Compiling test programs, and this machine's kernel.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use bpfkit_objects::{Object, btf::Btf};
use sha2::Digest as _;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// This machine's own types.
pub(crate) fn kernel() -> Btf {
    Btf::parse(&std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap()
}

/// Compiles `tests/programs/<name>.bpf.c`.
pub(crate) fn compile(name: &str) -> PathBuf {
    compile_file(&Path::new(HERE).join(format!("tests/programs/{name}.bpf.c")), name)
}

/// Compiles a source that a test wrote down itself.
pub(crate) fn compile_text(name: &str, text: &str) -> PathBuf {
    let source = folder().join(format!("{name}.bpf.c"));
    std::fs::write(&source, text).unwrap();
    compile_file(&source, name)
}

fn compile_file(source: &Path, name: &str) -> PathBuf {
    let output = folder().join(format!("{name}.bpf.o"));
    let asm = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let clang = Command::new("clang-19")
        .args(["-target", "bpf", "-g", "-O2", "-Wall", "-Wno-visibility", &asm, "-c", "-o"])
        .arg(&output)
        .arg(source)
        .output()
        .unwrap();
    assert!(clang.status.success(), "{}", String::from_utf8_lossy(&clang.stderr));
    output
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("objects");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Builds the program that loads objects with libbpf.
pub(crate) fn oracle() -> PathBuf {
    let output = folder().join("oracle");
    let source = Path::new(HERE).join("tests/oracle.c");
    let clang = Command::new("clang-19").arg("-O1").arg("-o").arg(&output).arg(source).arg("-lbpf").output().unwrap();
    assert!(clang.status.success(), "{}", String::from_utf8_lossy(&clang.stderr));
    output
}

/// Reads an object that has to be good.
pub(crate) fn object(path: &Path) -> Object {
    Object::parse(&std::fs::read(path).unwrap()).unwrap_or_else(|problems| panic!("{}: {problems:#?}", path.display()))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    bpfkit_schemas::Digest::from_bytes(sha2::Sha256::digest(bytes).into()).hex()
}
