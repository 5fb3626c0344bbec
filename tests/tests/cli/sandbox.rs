//! A place where `bpfkit` may do anything: its own mounts, network and interface.
//!
//! In it `/run`, `/var/lib`, `/etc` and `/sys/fs/bpf` are copies or empty, and
//! `eth0` is one end of a wire. It is held by a process of ours that ends with the
//! test, even one that is killed, and the kernel takes everything apart with it.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bpfkit_tests::skip::skip;

const SET_UP: &str = "
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount -t bpf bpf /sys/fs/bpf
mkdir /run/etc
cp -a /etc/. /run/etc/
mount --bind /run/etc /etc
rm -rf /etc/bpfkit
ip link set lo up
ip link add eth0 type veth peer name peer0
ip link set eth0 up
ip link set peer0 up
echo ready
exec cat
";

/// What a command said, and how it ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}--- stderr\n{}---", self.code, self.stdout, self.stderr)
    }
}

/// The place, for as long as this lives.
pub(crate) struct Sandbox {
    holder: Child,
    bin: tempfile::TempDir,
    network: Network,
}

/// Which network a sandbox has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Network {
    /// One of its own, with `lo` and `eth0`.
    Own,
    /// This machine's, on whose loopback a test's registry listens.
    Shared,
}

impl Sandbox {
    /// Makes one; `None`, said aloud, where this isn't root.
    pub(crate) fn open(test: &str, network: Network) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip(test, "namespaces take root");
            return None;
        }
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "bash", "-euc", SET_UP])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare: {error}"));
        let mut ready = String::new();
        if let Some(out) = holder.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut ready);
        }
        assert_eq!(ready, "ready\n", "the sandbox can't be set up");
        Some(Self { holder, bin: bin(), network })
    }

    /// Runs a script in `dir`; stdout and stderr apart.
    pub(crate) fn bash(&self, dir: &Path, script: &str) -> Said {
        said(self.command(dir, script))
    }

    /// Runs a script in `dir` that must succeed; its stdout.
    #[track_caller]
    pub(crate) fn must(&self, dir: &Path, script: &str) -> String {
        let said = self.bash(dir, script);
        assert_eq!(said.code, Some(0), "{script}\n{said}");
        said.stdout
    }

    /// What `apply` could have changed of the host: programs on interfaces, pins, kept state.
    pub(crate) fn host(&self) -> String {
        let look = "set +o pipefail; ip -j link show; bpftool -j net show 2>/dev/null || true
            find /sys/fs/bpf -mindepth 1 -printf '%p %i %y\\n' | sort; find /var/lib /etc/bpfkit -mindepth 1 2>/dev/null | sort";
        self.must(Path::new("/"), look)
    }

    fn command(&self, dir: &Path, script: &str) -> Command {
        let pid = self.holder.id();
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{pid}/ns/mnt"));
        if self.network == Network::Own {
            command.arg(format!("--net=/proc/{pid}/ns/net"));
        }
        bash(command, self.bin.path(), dir, script)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs a script in `dir` as it is, without a sandbox: for what must not need root.
pub(crate) fn outside(dir: &Path, script: &str) -> Said {
    let bin = bin();
    said(bash(Command::new("env"), bin.path(), dir, script))
}

/// A folder with `bpfkit` alone, so that nothing else of the build comes first on `PATH`.
fn bin() -> tempfile::TempDir {
    let bpfkit = bpfkit_tests::bpfkit();
    assert!(bpfkit.is_file(), "no {}: `cargo build -p bpfkit-cli` first", bpfkit.display());
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    std::os::unix::fs::symlink(bpfkit, dir.path().join("bpfkit")).unwrap_or_else(|error| panic!("symlink: {error}"));
    dir
}

/// Ends `command` with bash and `script`. Nothing of our caller's environment counts but `PATH`.
fn bash(mut command: Command, bin: &Path, dir: &Path, script: &str) -> Command {
    let mut path = vec![bin.to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    path.extend([bpfkit_tests::root().join("target/tools/usr/bin"), PathBuf::from("/usr/sbin")]);
    command.args(["timeout", "120", "bash", "-uo", "pipefail", "-c"]);
    command.arg(format!("cd '{}' || exit 99\n{script}", dir.display()));
    command.env_clear().env("PATH", std::env::join_paths(path).unwrap_or_default());
    command.env("HOME", dir).env("BPFKIT_PASSWORD", "test").env("LC_ALL", "C").env("TERM", "dumb");
    command.stdin(Stdio::null());
    command
}

fn said(mut command: Command) -> Said {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// A copy of a folder of the checkout.
pub(crate) fn copy_of(folder: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    copy(&bpfkit_tests::root().join(folder), dir.path());
    dir
}

/// Copies what is in one folder into another.
pub(crate) fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    assert!(done.is_ok_and(|status| status.success()), "cp -a {} {}", from.display(), to.display());
}
