//! A host to apply chains to: namespaces of its own, gone with the value.
//!
//! A host has its own mounts (an empty bpffs, an empty `/run` and `/var/lib`, an `/etc` without
//! `bpfkit`), its own processes, and its own network: `eth0` at 10.0.0.1, on a wire to
//! `w0` at 10.0.0.2 in the network namespace `world`. Addresses are known to both
//! ends beforehand and IPv6 is off, so that no packet moves but those that a test sends.
//!
//! The kernel's BPF objects know no namespaces. A host's own are told by its set's
//! name, which is part of the name of each program that bpfkit loads; see [`Host::set`].

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// What a command said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` for one that a signal ended.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// What was run.
    command: String,
}

impl Output {
    /// Holds the command to an exit code.
    ///
    /// # Panics
    ///
    /// If it ended otherwise, with all that it said.
    #[expect(clippy::return_self_not_must_use, reason = "for chaining; often this is all that is asked")]
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "`{}`\n{}{}", self.command, self.stdout, self.stderr);
        self
    }

    /// Holds what it said, on stdout or stderr, to contain each of these.
    ///
    /// # Panics
    ///
    /// If one is missing.
    #[expect(clippy::return_self_not_must_use, reason = "for chaining; often this is all that is asked")]
    #[track_caller]
    pub fn says(self, wanted: &[&str]) -> Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        for text in wanted {
            assert!(said.contains(text), "`{}` doesn't say `{text}`:\n{said}", self.command);
        }
        self
    }

    /// What it wrote to stdout, as JSON.
    ///
    /// # Panics
    ///
    /// If it isn't.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            assert!(self.stdout.is_empty(), "`{}`: {error}\n{}{}", self.command, self.stdout, self.stderr);
            Value::Null
        })
    }
}

/// A command that runs beside the test; killed with the value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    log: PathBuf,
}

impl Running {
    /// Waits for it to end.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let code = self.child.wait().ok().and_then(|status| status.code());
        let read = |end: &str| fs::read_to_string(self.log.with_extension(end)).unwrap_or_default();
        Output { code, stdout: read("out"), stderr: read("err"), command: self.command.clone() }
    }

    /// What it wrote to stdout until now.
    pub fn so_far(&self) -> String {
        fs::read_to_string(self.log.with_extension("out")).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `ready` says so, at most for `seconds`; whether it did.
pub fn wait_until(seconds: u64, mut ready: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if ready() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Says what a test measured, in a run that shows nothing else of tests that pass.
pub fn measured(what: &str) {
    // Not `eprintln!`: the test harness would swallow it.
    let _ = writeln!(std::io::stderr(), "MEASURED: {what}");
}

/// What the kernel holds of a set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Footprint {
    /// Everything below `/sys/fs/bpf`, sorted.
    pub pins: Vec<String>,
    /// How many programs carry the set's name.
    pub programs: usize,
    /// How many maps they use.
    pub maps: usize,
    /// How many links hold them.
    pub links: usize,
}

/// All of a host that a refused command must not change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct State {
    /// What the kernel holds of the set.
    pub footprint: Footprint,
    /// The files of `/run`, `/etc/bpfkit` and `/sys/fs/bpf`, but for the test's own and the lock; and what is
    /// attached to interfaces, as others see it.
    pub others: String,
}

const STAGE: &str = r"
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkdir -p /run/netns /run/etc
cp -a /etc/. /run/etc/ 2>/dev/null || true
mount --bind /run/etc /etc
rm -rf /etc/bpfkit
mkdir /etc/bpfkit
mount -t bpf bpf /sys/fs/bpf
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null || true
ip netns add world
nsenter --net=/run/netns/world bash -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null || true'
ip -batch - <<END
link add eth0 address 02:00:00:00:00:01 type veth peer name w0 address 02:00:00:00:00:02 netns world
addr add 10.0.0.1/24 dev eth0
link set lo up
link set eth0 up
neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent
END
ip -n world -batch - <<END
addr add 10.0.0.2/24 dev w0
link set w0 up
neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev w0 nud permanent
END
echo ready
exec cat
";

/// A host of its own.
#[derive(Debug)]
pub struct Host {
    keeper: Child,
    inside: u32,
    folder: TempDir,
    set: String,
    spawned: AtomicU32,
}

impl Host {
    /// Makes one. Needs root.
    ///
    /// # Panics
    ///
    /// If the namespaces can't be made.
    #[track_caller]
    pub fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        Self::named(format!("t{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)))
    }

    /// Makes one for a set whose name is given: no other host at the time may carry it.
    ///
    /// # Panics
    ///
    /// If the namespaces can't be made.
    #[track_caller]
    pub fn named(set: String) -> Self {
        let folder = tempfile::Builder::new().prefix("bpfkit-host-").tempdir();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        unshare.args(["--propagation", "private", "bash", "-c", STAGE]);
        // `cat` ends with us, however we end: nobody else holds the other end of its stdin.
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let made = folder.and_then(|folder| Ok((folder, unshare.spawn()?)));
        assert!(made.is_ok(), "a host: {made:?}");
        let Ok((folder, mut keeper)) = made else { unreachable!("asserted above") };
        let mut said = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut said);
        }
        let id = keeper.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let inside = children.split_whitespace().next().and_then(|id| id.parse().ok()).unwrap_or_default();
        let host = Self { keeper, inside, folder, set, spawned: AtomicU32::new(0) };
        assert!(said == "ready\n" && inside != 0, "the stage of a host can't be set up (are we root?)");
        host
    }

    /// The name to give the set that this host carries: no other host has it. It has at most 12
    /// characters, as much as the kernel keeps of it in a program's name.
    pub fn set(&self) -> &str {
        &self.set
    }

    /// A folder for the host's files, seen from inside and outside under the same path. Commands run in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the host's folder, with its folders.
    ///
    /// # Panics
    ///
    /// If that fails.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder().join(path);
        let made = fs::create_dir_all(path.parent().unwrap_or(self.folder())).and_then(|()| fs::write(&path, text));
        assert!(made.is_ok(), "{}: {made:?}", path.display());
    }

    /// Runs a line of bash on the host. `bpfkit` is the one that was built with the tests, `$edge` its set's pins.
    #[track_caller]
    pub fn run(&self, script: &str) -> Output {
        let output = self.command(script).output();
        let Ok(output) = output else {
            return Output {
                code: None,
                stdout: String::new(),
                stderr: format!("{output:?}"),
                command: script.to_owned(),
            };
        };
        Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: script.to_owned(),
        }
    }

    /// Starts a line of bash on the host, to run beside the test.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    #[track_caller]
    pub fn spawn(&self, script: &str) -> Running {
        let log = self.folder().join(format!("run-{}", self.spawned.fetch_add(1, Ordering::Relaxed)));
        // `exec`: what is killed with the value is the command and not a shell around it.
        let mut command = self.command(&format!("exec {script}"));
        let file = |end: &str| fs::File::create(log.with_extension(end)).map_or_else(|_| Stdio::null(), Stdio::from);
        let child = command.stdout(file("out")).stderr(file("err")).spawn();
        assert!(child.is_ok(), "`{script}`: {child:?}");
        let Ok(child) = child else { unreachable!("asserted above") };
        Running { child, command: script.to_owned(), log }
    }

    fn command(&self, script: &str) -> Command {
        let mut path = vec![crate::bpfkit().parent().unwrap_or(Path::new(".")).to_owned()];
        path.push(crate::root().join("tests/live"));
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.inside)).args(["--mount", "--net", "--pid"]);
        // Not `--wd`: that folder would be the one of the mounts outside, and no rename goes from there to here.
        let script = format!(
            "cd {} || exit 99
{script}",
            self.folder().display()
        );
        command.args(["bash", "-c", &script]).stdin(Stdio::null());
        command.env("PATH", std::env::join_paths(path).unwrap_or_default());
        command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("BPFKIT_FILE");
        command.env("BPFKIT_PASSWORD", "test").env("NO_COLOR", "1").env("HOME", self.folder());
        command.env("set", &self.set).env("pins", format!("/sys/fs/bpf/bpfkit/{}", self.set));
        command
    }

    /// Sends `count` UDP packets from `world` to the host's `eth0`.
    #[track_caller]
    pub fn receive(&self, count: u32) {
        let send = format!("for i in $(seq {count}); do echo . >/dev/udp/10.0.0.1/9; done 2>/dev/null");
        self.run(&format!("nsenter --net=/run/netns/world bash -c '{send}'"));
    }

    /// Sends `count` UDP packets from the host to `world`, out of `eth0`.
    #[track_caller]
    pub fn send(&self, count: u32) {
        self.run(&format!("for i in $(seq {count}); do echo . >/dev/udp/10.0.0.2/9; done 2>/dev/null"));
    }

    /// The value of an array's entry 0, below the set's pins; of a counter on each CPU, the sum.
    #[track_caller]
    pub fn counter(&self, map: &str) -> u64 {
        self.counter_at(map, 0)
    }

    /// The value of an array's entry below 256, below the set's pins; of a counter on each CPU, the sum.
    ///
    /// # Panics
    ///
    /// If there is no such map.
    #[track_caller]
    pub fn counter_at(&self, map: &str, entry: u8) -> u64 {
        let dump = self.run(&format!("bpftool -j map lookup pinned $pins/{map} key {entry} 0 0 0")).exits(0).json();
        match dump.get("values") {
            Some(Value::Array(values)) => values.iter().filter_map(|one| number(one.get("value")?)).sum(),
            _ => dump.get("value").and_then(number).unwrap_or_default(),
        }
    }

    /// What there is of the set: pins, and what the kernel holds.
    #[track_caller]
    pub fn footprint(&self) -> Footprint {
        // One shell for all three: a virtual machine takes half a second to start one.
        let pins = "find /sys/fs/bpf -mindepth 1 ! -name '*.debug' | sort";
        let found = self.run(&format!("bpftool -j prog show; echo //; bpftool -j link show; echo //; {pins}")).exits(0);
        let mut parts = found.stdout.splitn(3, "//\n");
        let mut list = || match serde_json::from_str(parts.next().unwrap_or_default()) {
            Ok(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        let (programs, links) = (list(), list());
        let pins = parts.next().unwrap_or_default();
        let name = format!("bk_{}", self.set);
        let ours: Vec<Value> = programs.into_iter().filter(|program| program["name"] == name.as_str()).collect();
        let mut maps: Vec<&Value> = ours.iter().filter_map(|one| one["map_ids"].as_array()).flatten().collect();
        maps.sort_by_key(|id| id.as_u64());
        maps.dedup();
        let held = |link: &&Value| ours.iter().any(|program| program["id"] == link["prog_id"]);
        Footprint {
            pins: pins.lines().map(str::to_owned).collect(),
            programs: ours.len(),
            maps: maps.len(),
            links: links.iter().filter(held).count(),
        }
    }

    /// What a refused command must leave as it is.
    #[track_caller]
    pub fn state(&self) -> State {
        let files =
            "find /run /etc/bpfkit /sys/fs/bpf -mindepth 1 ! -path '/run/etc*' ! -path '*/lock' 2>/dev/null | sort";
        let attached = "bpftool net; ip addr show eth0 | grep xdp";
        State { footprint: self.footprint(), others: self.run(&format!("{files}; {attached}")).stdout }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The kernel takes processes, mounts and network namespaces apart with the first process.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A little-endian number, as bpftool writes it: bytes in hexadecimal, each a string.
fn number(bytes: &Value) -> Option<u64> {
    let bytes = bytes.as_array()?.iter().map(|byte| {
        let text = byte.as_str()?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    });
    bytes.rev().try_fold(0, |sum: u64, byte| Some(sum << 8 | byte?))
}
