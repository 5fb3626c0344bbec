//! Sets made of one little program, `tests/live/hop.bpf.c`, that answers what it is told to.
//!
//! Pure, but for [`hop_object`] and [`compile`], which need clang: chains in, manifests out.
#![expect(clippy::unwrap_used, reason = "a tool that fails is the end of the test that needs it")]

use std::{fmt::Write as _, fs, path::Path, process::Command, sync::OnceLock};

/// One program of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    name: &'static str,
    number: u8,
    verdict: i32,
    proceed_on: Option<&'static str>,
    careless: bool,
}

impl Hop {
    /// Answers `verdict`, after which the chain goes on by the hook's default.
    pub const fn new(name: &'static str, number: u8, verdict: i32) -> Self {
        Self { name, number, verdict, proceed_on: None, careless: false }
    }

    /// The chain goes on after these verdicts instead, as the manifest writes them.
    #[must_use]
    pub const fn then(self, proceed_on: &'static str) -> Self {
        Self { proceed_on: Some(proceed_on), ..self }
    }

    /// Reads the packet without a look at where it ends, for which the kernel's verifier refuses the program.
    #[must_use]
    pub const fn careless(self) -> Self {
        Self { careless: true, ..self }
    }
}

/// One chain of a set.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// The hook.
    pub hook: &'a str,
    /// More of the chain's keys, each with its comma: `mode: generic,`.
    pub more: &'a str,
    /// Its programs. A name may stand in several chains of hooks of one kind.
    pub hops: &'a [Hop],
}

/// The manifest of a set with these chains, all on `eth0` unless they say otherwise.
pub fn manifest(set: &str, chains: &[Chain<'_>]) -> String {
    let (mut programs, mut described) = (String::new(), String::new());
    let mut maps = Vec::new();
    for Chain { hook, more, hops } in chains {
        let (prefix, trail) = match *hook {
            "xdp" => ("", "trail"),
            "cgroup/connect4" => ("connect_", "cgroup_trail"),
            _ => ("tc_", "tc_trail"),
        };
        if !maps.contains(&trail) {
            maps.push(trail);
        }
        let mut listed = Vec::new();
        for Hop { name, number, verdict, proceed_on, careless } in *hops {
            let entry = if *careless { "careless" } else { "hop" };
            let line = format!(
                "  - {{name: {name}, object: hop.bpf.o, entry: {prefix}{entry}, globals: {{number: {number}, verdict: {verdict}}}}}\n"
            );
            if !programs.contains(&line) {
                programs.push_str(&line);
            }
            listed.push(match proceed_on {
                Some(verdicts) => format!("{{program: {name}, proceed_on: {verdicts}}}"),
                None => (*name).to_owned(),
            });
        }
        let interfaces =
            if more.contains("interfaces:") || more.contains("cgroup:") { "" } else { "interfaces: [eth0], " };
        let _ = writeln!(described, "  - {{hook: {hook}, {interfaces}{more} programs: [{}]}}", listed.join(", "));
    }
    let maps: Vec<_> = maps.iter().map(|name| format!("{{name: {name}}}")).collect();
    let maps = maps.join(", ");
    format!(
        "version: 1\nname: {set}\nprograms:\n{programs}maps: [{maps}]\nchains:\n{described}\
         trust:\n  default: reject\n  unsigned: [{{set: {set}, because: made by a test}}]\n"
    )
}

/// `hop.bpf.c`, compiled once.
///
/// # Panics
///
/// Where there is no clang.
pub fn hop_object() -> &'static [u8] {
    static OBJECT: OnceLock<Vec<u8>> = OnceLock::new();
    OBJECT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        compile(folder.path(), &fs::read_to_string(crate::root().join("tests/live/hop.bpf.c")).unwrap(), "hop")
    })
}

/// Compiles one C program with `bpfkit build`; the object.
///
/// # Panics
///
/// Where there is no clang, or it refuses the source.
pub fn compile(folder: &Path, source: &str, entry: &str) -> Vec<u8> {
    fs::write(folder.join("one.bpf.c"), source).unwrap();
    let manifest = format!(
        "version: 1\nname: one\nprograms: [{{name: one, source: one.bpf.c, entry: {entry}}}]\n\
         trust: {{default: reject, unsigned: [{{set: one, because: never applied}}]}}\n"
    );
    fs::write(folder.join("bpfkit.yml"), manifest).unwrap();
    let built = Command::new(crate::bpfkit()).arg("build").current_dir(folder).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let platform = if cfg!(target_arch = "aarch64") { "linux-arm64" } else { "linux-amd64" };
    fs::read(folder.join(".bpfkit/objects").join(platform).join("one.bpf.o")).unwrap()
}
