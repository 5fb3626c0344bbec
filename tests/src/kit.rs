//! What a host is given before a trial: signed sets, the policy that believes them, a stranger's program.
//!
//! A kit is made once, where clang and `bpfkit` are, and then only read: a host applies from
//! it by reference, as one does in production, whether it is a few namespaces of this machine
//! or a virtual machine that got the folder in its initramfs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    host::Host,
    set::{Chain, Hop, compile, hop_object, manifest},
};

/// One version of a set of one chain.
#[derive(Clone, Debug)]
pub struct Version {
    /// The version, for the reference.
    pub tag: &'static str,
    /// The hook.
    pub hook: &'static str,
    /// More of the chain's keys, each with its comma.
    pub more: &'static str,
    /// The chain.
    pub hops: Vec<Hop>,
}

/// A program that passes everything, for XDP: what a stranger attaches.
const STRANGER: &str = "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n\
                        SEC(\"xdp\") int stranger(struct xdp_md *ctx) { return 2; }\n\
                        char LICENSE[] SEC(\"license\") = \"GPL\";\n";

/// Who is believed on a host that has a kit: whoever signed it, and nobody else.
const POLICY: &str = "default: reject\n\
                      keys: {ana: {file: /etc/bpfkit/ana.pub}}\n\
                      org: {local: {author: {from: [ana]}}}\n";

/// A kit, in the folder where it lies on the host.
#[derive(Clone, Debug)]
pub struct Kit {
    folder: PathBuf,
}

impl Kit {
    /// One that was made elsewhere and lies in `folder` now.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes one in `folder`, which needn't exist: each set by its name, in its versions.
    ///
    /// # Panics
    ///
    /// If `bpfkit` fails.
    #[track_caller]
    pub fn make(folder: &Path, sets: &[(String, Vec<Version>)]) -> Self {
        let kit = Self::at(folder);
        kit.write("trust.yml", POLICY.as_bytes());
        kit.write("stranger.o", &compile(folder, STRANGER, "stranger"));
        kit.bpfkit("", &["trust", "keygen", "--output", "ana"]);
        for (set, versions) in sets {
            for version in versions {
                kit.publish(set, version);
            }
        }
        let made = fs::remove_file(folder.join("ana.key")).and_then(|()| fs::remove_dir_all(folder.join("made")));
        assert!(made.is_ok(), "{}: {made:?}", folder.display());
        kit
    }

    /// How a host calls a version of a set.
    pub fn reference(&self, set: &str, tag: &str) -> String {
        format!("oci:{}/dist/{set}:{tag}", self.folder.display())
    }

    /// The stranger's object.
    pub fn stranger(&self) -> PathBuf {
        self.folder.join("stranger.o")
    }

    /// Makes the kit's policy the host's.
    #[track_caller]
    pub fn install(&self, host: &Host) {
        let folder = self.folder.display();
        host.run(&format!("cp {folder}/ana.pub {folder}/trust.yml /etc/bpfkit/")).exits(0);
    }

    /// Bundles, signs and pushes.
    #[track_caller]
    fn publish(&self, set: &str, version: &Version) {
        let Version { tag, hook, more, hops } = version;
        let whole = manifest(set, &[Chain { hook, more, hops }]);
        let body = whole.split("trust:").next().unwrap_or_default();
        let dist = self.folder.join("dist");
        let trust = format!(
            "repos: [{{name: dist, url: 'oci:{}'}}]\ntrust:\n  default: reject\n  keys: {{ana: {{file: ../ana.pub}}}}\n  \
             image: {{local/{set}: {{author: {{from: [ana]}}}}}}\n",
            dist.display()
        );
        self.write("made/bpfkit.yml", format!("{body}{trust}").as_bytes());
        self.write("made/hop.bpf.o", hop_object());
        self.bpfkit("made", &["bundle", "--tag", tag]);
        self.bpfkit("made", &["sign", "--key", "../ana.key"]);
        self.bpfkit("made", &["push"]);
    }

    #[track_caller]
    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.join(path);
        let made = fs::create_dir_all(path.parent().unwrap_or(&self.folder)).and_then(|()| fs::write(&path, bytes));
        assert!(made.is_ok(), "{}: {made:?}", path.display());
    }

    #[track_caller]
    fn bpfkit(&self, folder: &str, arguments: &[&str]) {
        let mut command = Command::new(crate::bpfkit());
        command.args(arguments).current_dir(self.folder.join(folder)).env("BPFKIT_PASSWORD", "test");
        let ran = command.env_remove("BPFKIT_FILE").output();
        let ok = ran.as_ref().is_ok_and(|output| output.status.success());
        assert!(ok, "bpfkit {arguments:?}: {ran:?}");
    }
}
