//! Sets made of one little program, `tests/live/hop.bpf.c`, that answers what it is told to.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bpfkit_tests::host::Host;

static CPUS: RwLock<()> = RwLock::new(());

/// To be held by a test that can share the CPUs with others.
pub(crate) fn among_others() -> RwLockReadGuard<'static, ()> {
    CPUS.read().unwrap_or_else(PoisonError::into_inner)
}

/// To be held by a test that needs both CPUs for itself.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    CPUS.write().unwrap_or_else(PoisonError::into_inner)
}

/// One program of a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    name: &'static str,
    number: u8,
    verdict: i32,
    proceed_on: Option<&'static str>,
}

impl Hop {
    /// Answers `verdict`, after which the chain goes on by the hook's default.
    pub(crate) const fn new(name: &'static str, number: u8, verdict: i32) -> Self {
        Self { name, number, verdict, proceed_on: None }
    }

    /// The chain goes on after these verdicts instead, as the manifest writes them.
    pub(crate) const fn then(self, proceed_on: &'static str) -> Self {
        Self { proceed_on: Some(proceed_on), ..self }
    }
}

/// One chain of a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain<'a> {
    /// The hook.
    pub(crate) hook: &'a str,
    /// More of the chain's keys, each with its comma: `mode: generic,`.
    pub(crate) more: &'a str,
    /// Its programs. A name may stand in several chains of hooks of one kind.
    pub(crate) hops: &'a [Hop],
}

/// The manifest of a set with these chains, all on `eth0`.
pub(crate) fn manifest(set: &str, chains: &[Chain<'_>]) -> String {
    let (mut programs, mut described) = (String::new(), String::new());
    let mut maps = Vec::new();
    for Chain { hook, more, hops } in chains {
        let (entry, trail) = match *hook {
            "xdp" => ("hop", "trail"),
            "cgroup/connect4" => ("connect_hop", "cgroup_trail"),
            _ => ("tc_hop", "tc_trail"),
        };
        if !maps.contains(&trail) {
            maps.push(trail);
        }
        let mut listed = Vec::new();
        for Hop { name, number, verdict, proceed_on } in *hops {
            let line = format!(
                "  - {{name: {name}, object: hop.bpf.o, entry: {entry}, globals: {{number: {number}, verdict: {verdict}}}}}\n"
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
pub(crate) fn hop_object() -> &'static [u8] {
    static OBJECT: OnceLock<Vec<u8>> = OnceLock::new();
    OBJECT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        compile(folder.path(), &fs::read_to_string(bpfkit_tests::root().join("tests/live/hop.bpf.c")).unwrap(), "hop")
    })
}

/// Compiles one C program with `bpfkit build`; the object.
pub(crate) fn compile(folder: &Path, source: &str, entry: &str) -> Vec<u8> {
    fs::write(folder.join("one.bpf.c"), source).unwrap();
    let manifest = format!(
        "version: 1\nname: one\nprograms: [{{name: one, source: one.bpf.c, entry: {entry}}}]\n\
         trust: {{default: reject, unsigned: [{{set: one, because: never applied}}]}}\n"
    );
    fs::write(folder.join("bpfkit.yml"), manifest).unwrap();
    let built = Command::new(bpfkit_tests::bpfkit()).arg("build").current_dir(folder).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let platform = if cfg!(target_arch = "aarch64") { "linux-arm64" } else { "linux-amd64" };
    fs::read(folder.join(".bpfkit/objects").join(platform).join("one.bpf.o")).unwrap()
}

/// Writes a project of these chains into `folder` of the host, and bundles it.
#[track_caller]
pub(crate) fn project(host: &Host, folder: &str, chains: &[Chain<'_>]) {
    host.write(&format!("{folder}/bpfkit.yml"), &manifest(host.set(), chains));
    fs::write(host.folder().join(folder).join("hop.bpf.o"), hop_object()).unwrap();
    host.run(&format!("cd {folder} && bpfkit bundle --tag {folder}")).exits(0);
}

/// Writes, bundles and applies.
#[track_caller]
pub(crate) fn apply(host: &Host, folder: &str, chains: &[Chain<'_>]) {
    project(host, folder, chains);
    host.run(&format!("cd {folder} && bpfkit apply")).exits(0);
}

/// The numbers of the programs that one packet met, in hexadecimal; `receive` from the wire or send to it.
#[track_caller]
pub(crate) fn trail_of_one(host: &Host, hook: &str) -> String {
    let map = if hook == "xdp" { "trail" } else { "tc_trail" };
    host.run(&format!("bpftool map update pinned $pins/maps/{map} key 0 0 0 0 value 0 0 0 0 0 0 0 0")).exits(0);
    if hook == "tc/egress" {
        host.send(1);
    } else {
        host.receive(1);
    }
    bpfkit_tests::host::wait_until(2, || host.counter(&format!("maps/{map}")) != 0);
    format!("{:x}", host.counter(&format!("maps/{map}")))
}

/// The programs of each live chain of the host's set, by hook, as `status` tells them.
#[track_caller]
pub(crate) fn live(host: &Host) -> Vec<(String, Vec<String>)> {
    let status = host.run("bpfkit status $set --json").json();
    let mut found = Vec::new();
    for hook in status["sets"][0]["hooks"].as_array().into_iter().flatten() {
        let programs = hook["programs"].as_array().into_iter().flatten();
        let programs = programs.filter_map(|name| Some(name.as_str()?.to_owned())).collect();
        found.push((hook["hook"].as_str().unwrap_or_default().to_owned(), programs));
    }
    found
}
