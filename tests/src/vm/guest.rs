//! Inside a virtual machine: the first process, which sets the stage, holds the trials, reports, and switches off.

use std::{
    any::Any,
    cell::RefCell,
    fs::{self, File},
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, init_module, reboot, uname},
};

use super::{
    KIT,
    serial::{self, Judged, Outcome},
};
use crate::{
    host::Host,
    kit::Kit,
    trial::{self, Place, Stage, Stop, Trial},
};

/// Where a report goes: the second serial port.
const REPORT: &str = "/dev/ttyS1";

/// What a kernel without modules loaded gets to have before a trial, each in its own file here.
pub const MODULES: &str = "/modules";

/// The set that a trial of this number in [`trial::all`] carries.
pub fn set_name(number: usize) -> String {
    format!("v{number}")
}

/// The kernel's own panic is the way out for whatever goes wrong here: the machine stops, and its report has no end.
pub fn main() -> io::Result<()> {
    stage()?;
    let asked = fs::read_to_string("/proc/cmdline")?;
    let asked = |key: &str| asked.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let nonce = asked("bpfkit.nonce").unwrap_or_default();
    let only = asked("bpfkit.only").unwrap_or_default();

    let mut report = File::options().write(true).open(REPORT)?;
    report.write_all(serial::begin(nonce, &uname().release().to_string_lossy()).as_bytes())?;
    keep_words();
    let asked_for =
        |(_, (trial, place)): &(usize, (Trial, Place))| place.name.contains(only) || trial.name.contains(only);
    let trials: Vec<_> = trial::all().enumerate().filter(asked_for).collect();
    let next = Mutex::new(trials.iter());
    let (send, judged) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let (next, send) = (&next, send.clone());
            scope.spawn(move || {
                let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some((number, (trial, place))) = take() {
                    let _ = send.send(judge(*number, trial, place));
                }
            });
        }
        drop(send);
        for one in judged {
            say(&format!("{}: {}: {:?} ({} ms)", one.place, one.trial, one.outcome, one.milliseconds));
            report.write_all(serial::judged(nonce, &one).as_bytes())?;
        }
        io::Result::Ok(())
    })?;
    report.write_all(serial::end(nonce, trials.len()).as_bytes())?;
    report.flush()?;
    rustix::termios::tcdrain(&report)?;
    Ok(reboot(RebootCommand::PowerOff)?)
}

/// Mounts what a running system has, and loads the modules that were brought along.
fn stage() -> io::Result<()> {
    for (what, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
        ("cgroup2", "/sys/fs/cgroup"),
        ("tracefs", "/sys/kernel/tracing"),
        ("securityfs", "/sys/kernel/security"),
    ] {
        fs::create_dir_all(at)?;
        if let Err(error) = mount(what, at, what, MountFlags::empty(), None) {
            say(&format!("{at} can't be mounted: {error}"));
        }
    }
    fs::create_dir_all("/run/netns")?;
    let mut modules: Vec<_> =
        fs::read_dir(MODULES)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    modules.sort();
    for module in modules {
        if let Err(error) = init_module(&fs::read(&module)?, c"") {
            say(&format!("{} can't be loaded: {error}", module.display()));
        }
    }
    Ok(())
}

/// Holds one trial on a host of its own.
fn judge(number: usize, trial: &Trial, place: &Place) -> Judged {
    let began = Instant::now();
    let ended = caught(|| {
        let host = Host::named(set_name(number));
        let kit = Kit::at(Path::new(KIT));
        kit.install(&host);
        (trial.run)(&Stage { host: &host, kit: &kit, place })
    });
    Judged {
        place: place.name.to_owned(),
        engine: place.engine.to_owned(),
        trial: trial.name.to_owned(),
        outcome: ended.map_or_else(Outcome::Failed, Outcome::from),
        milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

thread_local! {
    /// Where this thread's last panic was.
    static AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From here on a panic prints nothing and is kept for [`caught`].
fn keep_words() {
    std::panic::set_hook(Box::new(|panic| {
        AT.set(panic.location().map(ToString::to_string).unwrap_or_default());
    }));
}

/// Runs `trial`; where an assertion fails, its place and its words.
fn caught(trial: impl FnOnce() -> Result<(), Stop>) -> Result<Result<(), Stop>, String> {
    catch_unwind(AssertUnwindSafe(trial)).map_err(|panic| {
        let mut words = format!("{}: {}", AT.take(), words(panic.as_ref()));
        words.truncate(words.floor_char_boundary(4000));
        words
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

/// To the console: for who reads why something failed.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_assertion_says_is_kept_with_its_place() {
        keep_words();
        let said = caught(|| {
            assert_eq!(1, 2, "sums");
            Ok(())
        });
        let said = said.unwrap_err();
        assert!(said.contains("guest.rs:") && said.contains("sums"), "{said}");
        assert_eq!(caught(|| Ok(())), Ok(Ok(())));
        drop(std::panic::take_hook());
    }
}
