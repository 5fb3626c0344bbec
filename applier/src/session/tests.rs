//! The whole road on this machine's kernel: C, clang, a signed bundle, the trust decision, a plan, the hooks.
//!
//! As root, with clang-19, libbpf's headers, iproute2 and bpftool. Each test has a network namespace and a set
//! of its own, named after the process.

mod road;
mod scripts;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
};

use bpfkit_bundler::{
    Credentials, Layout, Limits, Network, PackProgram, PackSet, add_signature, bundle, key::PrivateKey, list, pull,
    signature, statement,
};
use bpfkit_objects::Object;
use bpfkit_schemas::{
    bundle::ProgramOrigin,
    chain::{HostText, Link},
    diagnostic::Span,
    hook::{Attach, Foreign, Hook, Mode},
    names::{Arch, Platform},
    reference::Pinned,
    trust::{Demands, Quorum, Role, TrustBlock, TrustedKey},
};

use super::*;
use crate::{
    kernel::{BPFFS, tests::Scratch},
    live::HookPoint,
    trust::{Asked, Policy, Word, decide},
};

/// One program of a set: its name and its C.
type Program<'a> = (&'a str, &'a str);

/// A network namespace with an interface e0, a cgroup, and a place for bundles.
struct Bench {
    name: String,
    cgroup: Scratch,
    folder: tempfile::TempDir,
    key: PrivateKey,
}

impl Bench {
    fn new(test: &str) -> Self {
        let name = format!("s{}{test}", std::process::id());
        // Without IPv6 nobody sends a packet but the tests.
        sh(&format!(
            "ip netns add {name}; \
             nsenter --net=/run/netns/{name} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'; \
             ip -n {name} link add e0 type veth peer name e1; \
             ip -n {name} link set e0 up; ip -n {name} link set e1 up"
        ));
        let cgroup = Scratch::new(&name);
        Self { name, cgroup, folder: tempfile::tempdir().unwrap(), key: PrivateKey::generate().unwrap() }
    }

    fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Where a private map is pinned.
    fn pin(&self, map: &str) -> PathBuf {
        Path::new(BPFFS).join("bpfkit").join(&self.name).join("programs").join(map)
    }

    fn compile(&self, (name, text): Program<'_>) -> Vec<u8> {
        let source = self.folder.path().join(format!("{name}.bpf.c"));
        let object = self.folder.path().join(format!("{name}.bpf.o"));
        std::fs::write(&source, text).unwrap();
        let asm = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        let clang = Command::new("clang-19")
            .args(["-target", "bpf", "-g", "-O2", "-Wall", &asm, "-c", "-o"])
            .arg(&object)
            .arg(&source)
            .output()
            .unwrap();
        assert!(clang.status.success(), "{}", String::from_utf8_lossy(&clang.stderr));
        std::fs::read(object).unwrap()
    }

    /// Compiles, bundles, signs, pulls and believes the programs; `globals` are the first one's.
    fn session(&self, version: &str, programs: &[Program<'_>], shared: &[&str], globals: &Globals) -> Session {
        let set: SetName = self.name.parse().unwrap();
        let platform = Platform { arch: Arch::of_this_machine().unwrap() };
        let of = |at: usize| if at == 0 { globals.clone() } else { Globals::new() };
        let packed = programs.iter().enumerate().map(|(at, program)| {
            let bytes = self.compile(*program);
            let object = Object::parse(&bytes).unwrap().descriptor();
            let [only] = object.programs.as_slice() else { panic!("one program a file") };
            PackProgram {
                name: program.0.parse().unwrap(),
                entry: only.function.clone(),
                kind: only.kind.unwrap(),
                globals: of(at),
                origin: ProgramOrigin::Files { files: BTreeMap::new() },
                object,
                bytes,
            }
        });
        let maps: Vec<SharedMap> = shared
            .iter()
            .map(|name| SharedMap { name: name.parse().unwrap(), max_entries: None, at: Span::default() })
            .collect();
        let repository: bpfkit_schemas::names::RepositoryName = format!("local/{set}").parse().unwrap();
        let layout = Layout::create(self.folder.path().join("oci")).unwrap();
        let bundled = bundle(
            &layout,
            &PackSet {
                set: set.clone(),
                version: version.parse().unwrap(),
                repository,
                vars: BTreeMap::new(),
                maps: maps.clone(),
                chains: Vec::new(),
                trust: None,
                manifest_yaml: b"version: 1\n".to_vec(),
                platforms: BTreeMap::from([(platform, packed.collect())]),
                created: 0,
                images: Vec::new(),
            },
        )
        .unwrap();
        let network = Network::new(Credentials::none());
        self.sign(&network, &bundled.pinned);
        let fetched = pull(&network, &bundled.pinned, platform, &Limits::default()).unwrap();
        let asked = Asked { set, repository: None, version: Some(version.parse().unwrap()), word: Word::Manifest };
        let verified = decide(&self.policy(), fetched, &asked, jiff::Timestamp::now()).unwrap();
        let declared = Declared {
            source: None,
            vars: BTreeMap::new(),
            chains: Vec::new(),
            maps,
            globals: programs.iter().enumerate().map(|(at, (name, _))| (name.parse().unwrap(), of(at))).collect(),
        };
        let below = |name: &str| self.folder.path().join(name);
        let places = Places { run: below("run"), state: below("state"), ..Places::default() };
        Session::new(verified, declared, Authority::Reference, HostFacts::default(), places).unwrap()
    }

    fn sign(&self, network: &Network, pinned: &Pinned) {
        let listing = list(network, pinned).unwrap();
        let (repository, version) = (listing.repository.clone(), listing.version.clone());
        let claims = statement::Claims { repository, version, role: Some(Role::Author) };
        let listed = std::iter::once(&listing.bundle).chain(listing.programs.iter().map(|(_, listed)| listed));
        for digest in listed.flat_map(bpfkit_bundler::Listed::digests) {
            let bytes = signature::sign(&self.key, digest, &claims).unwrap();
            let subject = Pinned { place: pinned.place.clone(), digest };
            add_signature(network, &subject, &bytes, BTreeMap::new()).unwrap();
        }
    }

    fn policy(&self) -> Policy {
        let name: bpfkit_schemas::names::KeyName = "ana".parse().unwrap();
        let quorum = Quorum { threshold: NonZeroUsize::MIN, from: vec![name.clone()] };
        let demands =
            Demands { roles: [(Role::Author, quorum)].into(), claims: bpfkit_schemas::trust::Claims::default() };
        let trusted = TrustedKey { pem: self.key.public().pem().to_owned(), not_after: None };
        let block = TrustBlock {
            keys: [(name, trusted)].into(),
            org: [("local".to_owned(), demands)].into(),
            ..TrustBlock::default()
        };
        Policy::new(&block).unwrap()
    }

    /// The chains of a text like `xdp e0: guard, meter; tc/ingress e0: shape; tc/egress:clsact e0: count`.
    fn chains(&self, text: &str) -> Vec<Chain> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let chain = |text: &str| {
            let (head, names) = text.split_once(": ").unwrap();
            let (hook, interface) = head.split_once(' ').unwrap();
            let (hook, attach) = hook.split_once(':').map_or((hook, None), |(hook, _)| (hook, Some(Attach::Clsact)));
            let hook: Hook = hook.parse().unwrap();
            let link = |name: &str| Link {
                program: name.trim().parse().unwrap(),
                proceed_on: hook.default_proceed_on(),
                at: Span::default(),
            };
            Chain {
                hook,
                interfaces: if hook.is_cgroup() { Vec::new() } else { vec![HostText(interface.to_owned())] },
                netns: (!hook.is_cgroup()).then(|| HostText(self.netns().display().to_string())),
                cgroup: hook.is_cgroup().then(|| HostText(self.cgroup.path().display().to_string())),
                mode: Mode::Native,
                attach,
                foreign: Foreign::default_for(hook),
                programs: names.split(',').map(link).collect(),
                at: Span::default(),
            }
        };
        parts.map(chain).collect()
    }

    /// The interface e0.
    fn interface(&self) -> Interface {
        let facts = kernel::namespace(Some(&self.netns())).unwrap();
        let index = *facts.interfaces.iter().find(|(_, name)| *name == "e0").unwrap().0;
        let namespace = crate::live::Namespace { inode: facts.inode, path: Some(self.netns()) };
        Interface { namespace, index, name: "e0".to_owned() }
    }

    /// What a hook is of: e0, or the cgroup.
    fn target(&self, hook: Hook) -> Interface {
        if hook.is_cgroup() { self.cgroup.target() } else { self.interface() }
    }

    fn at(&self, hook: Hook) -> HookPoint {
        HookPoint::of(&self.target(hook), hook)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(BPFFS).join("bpfkit").join(&self.name));
        sh(&format!("ip netns del {}", self.name));
    }
}

fn sh(command: &str) {
    let status = Command::new("sh").args(["-ec", command]).status().unwrap();
    assert!(status.success(), "{command}");
}
