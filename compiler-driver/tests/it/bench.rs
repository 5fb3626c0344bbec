//! A project in a temporary folder, and what can be done with it.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
    time::SystemTime,
};

use bpfkit_compiler_driver::{
    BuildErrors, Built, Event, Request, Toolchain, plan,
    plan::{Colour, needs_compiler},
    run,
};
use bpfkit_schemas::{
    Platform, Source, Span,
    chain::{Chain, HostText, Link},
    hook::{Foreign, Hook, Mode},
    manifest::{BtfChoice, Build, Manifest, Program, ProgramSource},
    names::Arch,
};

/// A program that uses `vmlinux.h`, CO-RE, a map, a global and a helper.
pub(crate) const GUARD: &str = r#"#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "limits.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} blocklist SEC(".maps");

const volatile __u32 max_pps = LIMIT;

SEC("xdp")
int guard(struct xdp_md *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    __u32 key = BPF_CORE_READ(task, pid) + max_pps;
    return bpf_map_lookup_elem(&blocklist, &key) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"#;

/// A program that needs nothing.
pub(crate) const PASS: &str = r#"#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int meter(struct __sk_buff *skb)
{
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
"#;

pub(crate) const AMD64: Platform = Platform { arch: Arch::Amd64 };
pub(crate) const ARM64: Platform = Platform { arch: Arch::Arm64 };

/// A project with a manifest; the folder goes away with it.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) toolchain: Option<Toolchain>,
    pub(crate) jobs: Option<NonZeroUsize>,
    /// What was compiled and said in the last run.
    pub(crate) log: Mutex<Log>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) started: Vec<String>,
    pub(crate) said: String,
    pub(crate) headers: usize,
    pub(crate) most_at_once: usize,
    at_once: usize,
}

impl Bench {
    /// The project with `guard` (xdp) and `meter` (tc), for amd64.
    pub(crate) fn new() -> Self {
        Self::cold("project").warm()
    }

    /// The same elsewhere below the temporary folder, with no target folder yet.
    pub(crate) fn cold(place: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join(place);
        std::fs::create_dir_all(root.join("src")).unwrap();
        let mut bench = Self {
            target: root.join(".bpfkit"),
            root,
            folder,
            manifest: empty_manifest(),
            toolchain: Some(toolchain()),
            jobs: None,
            log: Mutex::default(),
        };
        bench.write("src/limits.h", "#define LIMIT 10000\n");
        bench.write("src/guard.bpf.c", GUARD);
        bench.write("src/meter.bpf.c", PASS);
        bench.add_c("guard", "src/guard.bpf.c");
        bench.add_c("meter", "src/meter.bpf.c");
        bench
    }

    /// Starts with the headers laid out, as after an earlier build: generating them is what takes the time.
    fn warm(self) -> Self {
        static WARM: OnceLock<tempfile::TempDir> = OnceLock::new();
        let warm = WARM.get_or_init(|| {
            let mut bench = Self::cold("project");
            bench.manifest.programs.remove(0);
            bench.build().unwrap();
            bench.folder
        });
        let output =
            Command::new("cp").arg("-a").arg(warm.path().join("project/.bpfkit")).arg(&self.root).output().unwrap();
        assert!(output.status.success());
        std::fs::remove_dir_all(self.root.join(".bpfkit/objects")).unwrap();
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.root.join(name), text).unwrap();
    }

    pub(crate) fn add_c(&mut self, name: &str, source: &str) -> &mut Program {
        self.add(name, ProgramSource::C(source.into(), Span { start: 1, end: 2 }))
    }

    pub(crate) fn add(&mut self, name: &str, from: ProgramSource) -> &mut Program {
        self.manifest.programs.push(Program {
            name: name.parse().unwrap(),
            from,
            entry: None,
            kind: None,
            globals: BTreeMap::new(),
            globals_at: BTreeMap::new(),
            at: Span { start: 0, end: 9 },
        });
        self.manifest.programs.last_mut().unwrap()
    }

    pub(crate) fn chain(&mut self, hook: Hook, program: &str) {
        let link = Link {
            program: program.parse().unwrap(),
            proceed_on: hook.default_proceed_on(),
            at: Span { start: 4, end: 7 },
        };
        let mut chain = a_chain(hook);
        chain.programs.push(link);
        self.manifest.chains.push(chain);
    }

    pub(crate) fn build(&self) -> Result<Vec<Built>, BuildErrors> {
        *self.log.lock().unwrap() = Log::default();
        let request = Request {
            manifest: &self.manifest,
            root: &self.root,
            target_dir: &self.target,
            jobs: self.jobs,
            colour: Colour::Never,
        };
        assert!(needs_compiler(&self.manifest) || self.toolchain.is_none());
        let plan = plan(&request, self.toolchain.as_ref())?;
        run(&plan, &|event| {
            let mut log = self.log.lock().unwrap();
            match event {
                Event::Started { program, platform } => {
                    log.started.push(format!("{program} {}", platform.arch.oci()));
                    log.at_once += 1;
                    log.most_at_once = log.most_at_once.max(log.at_once);
                }
                Event::Finished { .. } => log.at_once -= 1,
                Event::Said { bytes, .. } => log.said.push_str(&String::from_utf8_lossy(bytes)),
                Event::Header { .. } => log.headers += 1,
                Event::Waiting | Event::Planned { .. } => {}
            }
        })
    }

    /// Builds, and gives the names of what was made, sorted.
    pub(crate) fn made(&self) -> Vec<String> {
        self.build().unwrap();
        let mut started = self.log.lock().unwrap().started.clone();
        started.sort();
        started
    }

    /// The codes of a build that fails, sorted.
    pub(crate) fn codes(&self) -> Vec<String> {
        let mut codes: Vec<_> = self.build().unwrap_err().problems().iter().map(|p| p.code.to_string()).collect();
        codes.sort();
        codes
    }

    /// Every file of the target folder, with when it was last changed.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, (SystemTime, u64)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.target.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().flatten() {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
                let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
                found.insert(entry.path(), (metadata.modified().unwrap(), inode));
            }
        }
        found
    }
}

fn empty_manifest() -> Manifest {
    Manifest {
        source: Source::new("bpfkit.yml", "version: 1\nname: edge\nprograms: []\n"),
        name: "edge".parse().unwrap(),
        vars: BTreeMap::new(),
        build: Build { platforms: vec![AMD64], btf: BtfChoice::Default, cflags: vec![] },
        repos: vec![],
        programs: vec![],
        maps: vec![],
        chains: vec![],
        trust: None,
    }
}

fn a_chain(hook: Hook) -> Chain {
    Chain {
        hook,
        interfaces: vec![HostText("eth0".into())],
        netns: None,
        cgroup: None,
        attach: None,
        mode: Mode::Native,
        foreign: Foreign::default_for(hook),
        programs: vec![],
        at: Span::default(),
    }
}

/// The compiler of this machine.
pub(crate) fn toolchain() -> Toolchain {
    let memory = tempfile::tempdir().unwrap();
    Toolchain::find(&std::env::var_os("PATH").unwrap(), memory.path()).unwrap()
}

/// Compiles a C file for BPF as a user would, and fails with clang's words if it doesn't.
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
