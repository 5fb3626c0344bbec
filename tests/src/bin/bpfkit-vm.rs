//! `bpfkit-vm`: holds the trials of [`bpfkit_tests::trial`] on other kernels, in virtual machines.
//!
//!     bpfkit-vm run --binaries FOLDER [--only WORD] KERNEL...
//!     bpfkit-vm flood ADDRESS:PORT SECONDS
//!
//! `run` boots each kernel of `target/vm/kernels` (see `tools/kernels`) with the static binaries in
//! FOLDER, prints how each trial ended, and compares with `docs/kernels.md`, which it writes anew with
//! `REGENERATE=1`. Started as a machine's first process, it is the other end of that; see
//! [`bpfkit_tests::vm`]. `make test-vm` does all that comes before.
#![forbid(unsafe_code)]

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use bpfkit_tests::{
    kit::Kit,
    trial,
    vm::{
        KIT, flood,
        guest::{self, set_name},
        initramfs::{Archive, which},
        machine::{self, Kernel, Limits},
        serial::Outcome,
        table::Table,
    },
};

/// A boot and its trials take two to three minutes on two idle CPUs.
const LIMITS: Limits = Limits { whole: Duration::from_mins(20), silence: Duration::from_mins(4) };

/// What `Host` and the trials call, besides what comes with these tests.
const TOOLS: [&str; 35] = [
    "bash",
    "basename",
    "bpftool",
    "cat",
    "chmod",
    "cp",
    "dirname",
    "env",
    "find",
    "grep",
    "head",
    "ip",
    "jq",
    "ls",
    "mkdir",
    "mktemp",
    "mount",
    "mv",
    "nsenter",
    "pkill",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "setpriv",
    "sleep",
    "sort",
    "tail",
    "tc",
    "touch",
    "tr",
    "umount",
    "unshare",
    "wc",
    "xdp-loader",
];

fn main() -> ExitCode {
    if std::process::id() == 1 {
        // There is nobody to tell but the console; the kernel then panics, and the report has no end.
        return guest::main().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["flood", to, seconds] => seconds.parse().map_err(io::Error::other).and_then(|seconds| {
            let sent = flood::send(to, seconds)?;
            writeln!(io::stdout(), "{{\"sent\":{sent}}}")?;
            Ok(true)
        }),
        ["run", "--binaries", folder, "--only", only, kernels @ ..] => run(Path::new(folder), only, kernels),
        ["run", "--binaries", folder, kernels @ ..] => run(Path::new(folder), "", kernels),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "usage: bpfkit-vm run --binaries FOLDER [--only WORD] KERNEL...",
        )),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("bpfkit-vm: {error}"));
            ExitCode::from(2)
        }
    }
}

fn say(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// Whether all went as it should on each kernel.
fn run(binaries: &Path, only: &str, names: &[&str]) -> io::Result<bool> {
    let work = bpfkit_tests::root().join("target/vm");
    let kernels: Vec<Kernel> =
        names.iter().map(|name| Kernel::find(&work.join("kernels"), name)).collect::<Result<_, _>>()?;
    let base = initramfs(binaries, &work)?;
    let (mut table, mut well) = (Table::default(), true);
    for kernel in &kernels {
        let began = Instant::now();
        say(&format!("== {} ({})", kernel.name, kernel.version));
        match machine::boot(kernel, &base, only, &work.join("boots").join(&kernel.name), LIMITS) {
            Ok(report) => {
                for one in &report.judged {
                    say(&format!("{:>7} ms  {}: {}: {}", one.milliseconds, one.place, one.trial, spelt(&one.outcome)));
                    well &= !matches!(one.outcome, Outcome::Failed(_));
                }
                table.add(&kernel.name, &kernel.version, &report, |[place, engine, trial]| {
                    let is = |(it, at): (trial::Trial, trial::Place)| {
                        (at.name, at.engine, it.name) == (place.as_str(), engine.as_str(), trial.as_str())
                    };
                    trial::all().position(is).unwrap_or(usize::MAX)
                });
            }
            Err(lost) => {
                say(&format!("{}: {lost}", kernel.name));
                well = false;
            }
        }
        say(&format!("== {}: {} s", kernel.name, began.elapsed().as_secs()));
    }
    if !only.is_empty() || !well {
        return Ok(well);
    }
    settle(table)
}

/// Compares with what is known of these kernels, or writes that down.
fn settle(mut table: Table) -> io::Result<bool> {
    let page = bpfkit_tests::root().join("docs/kernels.md");
    let known = Table::read(&fs::read_to_string(&page).unwrap_or_default());
    if std::env::var_os("REGENERATE").is_some() {
        table.keep(known);
        fs::write(&page, table.page())?;
        return Ok(true);
    }
    let differences = table.differences(&known);
    for difference in &differences {
        say(&format!("docs/kernels.md: {difference}"));
    }
    if !differences.is_empty() {
        say("if that is meant: `REGENERATE=1 make test-vm`");
    }
    Ok(differences.is_empty())
}

fn spelt(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Pass => "pass".to_owned(),
        Outcome::Refused { code, reason } => format!("refused {code}: {reason}"),
        Outcome::Skipped(why) => format!("skip: {why}"),
        Outcome::Failed(text) => format!("FAILED: {text}"),
    }
}

/// The part of the initramfs that is the same for all kernels.
fn initramfs(binaries: &Path, work: &Path) -> io::Result<Vec<u8>> {
    // Of its own: two runs in one tree may overlap.
    fs::create_dir_all(work)?;
    let workshop = tempfile::tempdir_in(work)?;
    let kit = workshop.path().join("kit");
    fs::create_dir(&kit)?;
    let sets: Vec<_> =
        trial::all().enumerate().map(|(number, (trial, place))| (set_name(number), (trial.versions)(&place))).collect();
    Kit::make(&kit, &sets);

    let mut archive = Archive::default();
    for folder in ["bin", "sbin", "lib", "lib64"] {
        archive.link(folder, &format!("usr/{folder}"));
    }
    archive.link("usr/sbin", "bin");
    for folder in ["proc", "sys", "dev", "run", "tmp", "etc", "root", "var/lib", "usr/lib64"] {
        archive.folder(folder);
    }
    for tool in TOOLS {
        archive.program(&which(tool)?)?;
    }
    archive.link("usr/bin/sh", "bash");
    // Where xdp-loader's library looks for its dispatcher.
    let dispatcher = PathBuf::from("/usr/lib/x86_64-linux-gnu/bpf");
    if dispatcher.is_dir() {
        archive.copy(&dispatcher, "usr/lib/x86_64-linux-gnu/bpf")?;
    }
    archive.copy(&kit, KIT)?;
    for name in ["bpfkit", "bpfkit-vm"] {
        archive.file(&format!("usr/bin/{name}"), 0o755, &stripped(&binaries.join(name), workshop.path())?);
    }
    archive.link("init", "usr/bin/bpfkit-vm");
    Ok(archive.finish())
}

/// A binary without its symbols: half of what would be in the machine's memory.
fn stripped(binary: &Path, workshop: &Path) -> io::Result<Vec<u8>> {
    let into = workshop.join("stripped");
    let done = std::process::Command::new("strip").arg("-o").arg(&into).arg(binary).status()?;
    if !done.success() {
        return Err(io::Error::other(format!("strip refuses {}", binary.display())));
    }
    fs::read(into)
}
