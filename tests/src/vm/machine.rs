//! A virtual machine: a kernel, an initramfs, two serial lines, and an end in bounded time.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    guest::MODULES,
    initramfs::{Archive, which},
    serial::{self, Report, Torn},
};

/// A kernel of Debian's, unpacked: see `tools/kernels`.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it is asked for by: `6.1`, `newest`.
    pub name: String,
    /// The package's version.
    pub version: String,
    image: PathBuf,
    modules: Vec<PathBuf>,
}

/// The modules that the trials need, in the order in which they are loaded.
const NEEDED: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

impl Kernel {
    /// The kernel of this name below `folder`.
    pub fn find(folder: &Path, name: &str) -> io::Result<Self> {
        let folder = folder.join(name);
        let version = fs::read_to_string(folder.join("version"))?.trim().to_owned();
        let files = files_below(&folder)?;
        let called = |wanted: &str| {
            files.iter().find(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                name == wanted || name.starts_with(&format!("{wanted}-")) || name.starts_with(&format!("{wanted}.ko"))
            })
        };
        let image = called("vmlinuz").cloned();
        let image = image
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no vmlinuz in {}", folder.display())))?;
        // One that isn't there is built in, or the kernel has none: then the trials say what is missing.
        let modules = NEEDED.iter().filter_map(|name| called(name)).cloned().collect();
        Ok(Self { name: name.to_owned(), version, image, modules })
    }

    /// The modules, as an archive of their own that follows the one for all kernels.
    fn archive(&self) -> io::Result<Vec<u8>> {
        let mut archive = Archive::default();
        archive.folder(MODULES);
        for (at, module) in self.modules.iter().enumerate() {
            let bytes = if module.extension().is_some_and(|end| end == "xz") {
                let said = Command::new("xz").args(["--decompress", "--stdout"]).arg(module).output()?;
                if !said.status.success() {
                    return Err(io::Error::other(format!("xz can't unpack {}", module.display())));
                }
                said.stdout
            } else {
                fs::read(module)?
            };
            archive.file(&format!("{MODULES}/{at}.ko"), 0o644, &bytes);
        }
        Ok(archive.finish())
    }
}

/// All files below a folder, in no order.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Why a virtual machine has no report.
#[derive(Debug)]
pub enum Lost {
    /// It couldn't be prepared or started.
    NotStarted(io::Error),
    /// It ended, and its report isn't whole; the end of its console.
    Torn(Torn, String),
    /// It was stopped: nothing new for too long, or it took too long in all; the end of its console.
    Stuck(Duration, String),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "can't be started: {error}"),
            Self::Torn(torn, console) => write!(f, "{torn}; its console ends:\n{console}"),
            Self::Stuck(after, console) => {
                write!(f, "stopped after {} s without an end; its console ends:\n{console}", after.as_secs())
            }
        }
    }
}

/// How long a machine may take, and how long it may say nothing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From its start to its end.
    pub whole: Duration,
    /// Between two signs of life on either serial line.
    pub silence: Duration,
}

/// Boots `kernel` with the initramfs `base`, and waits for its report. Files go to `folder`.
pub fn boot(kernel: &Kernel, base: &[u8], only: &str, folder: &Path, limits: Limits) -> Result<Report, Lost> {
    let started = start(kernel, base, only, folder);
    let (machine, nonce) = started.map_err(Lost::NotStarted)?;
    watch(machine, &nonce, folder, limits)
}

/// Waits for a machine's end, as long as its lines in `folder` grow; then reads its report.
fn watch(mut machine: Machine, nonce: &str, folder: &Path, limits: Limits) -> Result<Report, Lost> {
    let (console, report) = (folder.join("console.log"), folder.join("report.log"));
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let (began, mut heard, mut sizes) = (Instant::now(), Instant::now(), (0, 0));
    let ended = loop {
        if machine.0.try_wait().is_ok_and(|status| status.is_some()) {
            break true;
        }
        let now = (size(&console), size(&report));
        if now != sizes {
            (heard, sizes) = (Instant::now(), now);
        }
        if began.elapsed() > limits.whole || heard.elapsed() > limits.silence {
            break false;
        }
        thread::sleep(Duration::from_millis(100));
    };
    drop(machine);
    let tail = |path: &Path| {
        let text = String::from_utf8_lossy(&head_of(path)).into_owned();
        let lines: Vec<_> = text.lines().collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    };
    if !ended {
        return Err(Lost::Stuck(began.elapsed(), tail(&console)));
    }
    serial::read(&String::from_utf8_lossy(&head_of(&report)), nonce).map_err(|torn| Lost::Torn(torn, tail(&console)))
}

/// What a machine wrote, up to more than any that works writes.
fn head_of(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        let _ = file.take(8 << 20).read_to_end(&mut bytes);
    }
    bytes
}

/// qemu, ended with the value.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(kernel: &Kernel, base: &[u8], only: &str, folder: &Path) -> io::Result<(Machine, String)> {
    fs::create_dir_all(folder)?;
    let initrd = folder.join("initramfs");
    fs::write(&initrd, [base, &kernel.archive()?].concat())?;
    let nonce = nonce()?;
    for name in ["console.log", "report.log"] {
        fs::write(folder.join(name), "")?;
    }
    let mut qemu = qemu()?;
    // Software emulation: a test machine's own virtualisation may be of a kind that runs no plain kernel.
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"]);
    qemu.args(["-display", "none", "-monitor", "none", "-net", "none", "-vga", "none", "-no-reboot"]);
    for name in ["console.log", "report.log"] {
        qemu.arg("-serial").arg(format!("file:{}", folder.join(name).display()));
    }
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initrd).arg("-append").arg(format!(
        "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off tsc=unstable random.trust_cpu=1 \
         bpfkit.nonce={nonce} bpfkit.only={only}"
    ));
    qemu.stdin(Stdio::null()).stdout(Stdio::null());
    Ok((Machine(qemu.spawn()?), nonce))
}

/// qemu, the machine's or the one that `tools/setup vm` unpacked, which needs its libraries; ended when we are.
fn qemu() -> io::Result<Command> {
    let name = "qemu-system-x86_64";
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    let tools = crate::root().join("target/tools");
    let unpacked = tools.join("usr/bin").join(name);
    if !unpacked.is_file() {
        command.arg(which(name)?);
        return Ok(command);
    }
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| tools.join(folder));
    command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap_or_default());
    command.arg(unpacked);
    for folder in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(tools.join(folder));
    }
    Ok(command)
}

/// What no other boot's report begins with.
fn nonce() -> io::Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a machine that is this line of shell, in a folder with its two lines.
    fn watched(script: &str) -> (Result<Report, Lost>, Duration) {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        let machine = Machine(shell.arg("-c").arg(script).current_dir(folder.path()).spawn().unwrap());
        let began = Instant::now();
        let limits = Limits { whole: Duration::from_secs(20), silence: Duration::from_secs(2) };
        (watch(machine, "n1", folder.path(), limits), began.elapsed())
    }

    #[test]
    fn a_machine_that_reports_to_its_end_is_believed() {
        let lines = format!("{}{}", serial::begin("n1", "6.1"), serial::end("n1", 0));
        let (report, _) = watched(&format!("printf '%s\\n' '{lines}' >report.log"));
        assert_eq!(report.unwrap().release, "6.1");
    }

    #[test]
    fn a_machine_whose_kernel_panics_shows_the_end_of_its_console() {
        let (report, _) = watched("echo Kernel panic >console.log");
        let text = report.unwrap_err().to_string();
        assert!(text.contains("never reported") && text.contains("Kernel panic"), "{text}");
    }

    #[test]
    fn a_machine_that_says_nothing_any_more_is_stopped() {
        let (report, took) = watched("echo booting >console.log; exec sleep 60");
        let text = report.unwrap_err().to_string();
        assert!(text.contains("stopped after") && text.contains("booting"), "{text}");
        assert!(took < Duration::from_secs(15), "{took:?}");
    }

    #[test]
    fn a_machine_that_lives_on_is_not_cut_off() {
        let lines = format!("{}{}", serial::begin("n1", "6.1"), serial::end("n1", 0));
        let living = "for i in 1 2 3 4 5 6; do echo . >>console.log; sleep 0.5; done";
        let (report, took) = watched(&format!("{living}; printf '%s\\n' '{lines}' >report.log"));
        assert!(report.is_ok(), "{report:?}");
        assert!(took > Duration::from_secs(2));
    }
}
