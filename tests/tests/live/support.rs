//! What the live tests share: turns on the CPUs, and sets that are bundled and applied on the spot.

use std::{
    fs,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bpfkit_tests::host::Host;
pub(crate) use bpfkit_tests::set::{Chain, Hop, compile, hop_object, manifest};

static CPUS: RwLock<()> = RwLock::new(());

/// To be held by a test that can share the CPUs with others.
pub(crate) fn among_others() -> RwLockReadGuard<'static, ()> {
    CPUS.read().unwrap_or_else(PoisonError::into_inner)
}

/// To be held by a test that needs both CPUs for itself.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    CPUS.write().unwrap_or_else(PoisonError::into_inner)
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
