//! What this crate's unit tests share.

use std::{collections::BTreeMap, path::Path, sync::OnceLock};

use bpfkit_schemas::{
    Platform, Source,
    manifest::{BtfChoice, Build, Manifest},
    names::Arch,
};

use crate::project::Project;

/// A manifest without programs, for linux/amd64.
pub(crate) fn manifest(name: &str) -> Manifest {
    Manifest {
        source: Source::new("bpfkit.yml", "version: 1\nname: set\n"),
        name: name.parse().unwrap(),
        vars: BTreeMap::new(),
        build: Build { platforms: vec![Platform { arch: Arch::Amd64 }], btf: BtfChoice::Default, cflags: vec![] },
        repos: vec![],
        programs: vec![],
        maps: vec![],
        chains: vec![],
        trust: None,
    }
}

/// A folder with `src/`, a file `src/a.c`, and `out`, a link that leads out of it.
pub(crate) fn project() -> Project {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/a.c"), "").unwrap();
        std::os::unix::fs::symlink(Path::new("/usr"), folder.path().join("out")).unwrap();
        folder
    });
    Project::open(folder.path()).unwrap()
}
