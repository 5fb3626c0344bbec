//! The process that puts a generation back unless it is confirmed: started by `apply --confirm`, it outlives it.

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, BufReader},
    os::unix::fs::OpenOptionsExt as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use bpfkit_applier::{
    generations::{
        Applied,
        pending::{self, Waited},
    },
    kernel::{
        Places,
        detach::{self, Left},
    },
};
use bpfkit_schemas::{Diagnostic, code::Exit, names::SetName};

use super::{apply, remove};
use crate::{
    args::PutBack,
    failure::{Failure, Result},
    host,
    ui::Ui,
};

/// What the process says on its stdout once it is on its own.
const READY: &str = "ready";
/// What it says where systemd would end it with whoever started it.
const READY_WITHIN: &str = "ready within";
/// How often putting back is tried where it fails, and how long between: an interface may come back.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(5);

/// Starts the process, and waits until it says that it is there, and what it left.
pub(super) fn start(set: &SetName, number: u64, places: &Places) -> io::Result<Left> {
    detach::share_nothing()?;
    let log = places.run.join(format!("put-back-{set}.log"));
    let log = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(log)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["put-back", set.as_str(), &number.to_string()])
        // A passphrase, for one, is none of its business.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut said)?;
    }
    match said.trim_end() {
        READY => Ok(Left::All),
        READY_WITHIN => Ok(Left::AllButControlGroup),
        _ => Err(io::Error::other("it ended at once")),
    }
}

/// `bpfkit put-back`.
pub(super) fn run(args: &PutBack, ui: &Ui) -> Result<Exit> {
    apply::root()?;
    let set = remove::named(&args.set)?;
    let alone = detach::detach().and_then(|left| {
        let ready = match left {
            Left::All => READY,
            Left::AllButControlGroup => READY_WITHIN,
        };
        Ui::data(&format!("{ready}\n"));
        let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        Ok(rustix::stdio::dup2_stdout(&nowhere)?)
    });
    alone.map_err(|error| Failure::unreadable("/proc/self".as_ref(), &error))?;
    for _ in 0..TRIES {
        let put_back = wait_and_put_back(&set, args.generation);
        let problems: Vec<Diagnostic> = match put_back {
            Ok(None) => return Ok(Exit::Done),
            Ok(Some(applied)) if applied.outcome.stopped.is_none() => {
                ui.diagnostics(&apply::problems(&applied));
                ui.say(&format!("generation {} of `{set}` was not confirmed and was put back", args.generation));
                return Ok(applied.outcome.exit());
            }
            Ok(Some(applied)) => apply::problems(&applied),
            Err(Failure(problems)) => problems,
        };
        ui.diagnostics(&problems);
        thread::sleep(PAUSE);
    }
    Ok(Exit::Failed)
}

/// Waits, and puts back when the time is over; `None` where there was nothing to put back.
fn wait_and_put_back(set: &SetName, number: u64) -> Result<Option<Applied>> {
    loop {
        match pending::wait(set, number, &Places::default())? {
            Waited::Settled => return Ok(None),
            // The policy is read now: what the host says today counts, not what it said then.
            Waited::Over => match pending::put_back(set, number, &host::today()?)? {
                None => {}
                applied => return Ok(applied),
            },
        }
    }
}
