//! A process that outlives whoever started it: its terminal, its connection, its unit.
//!
//! For the process that puts a generation back when nobody confirms it ([`crate::generations::pending`]).
//! Whoever starts it calls [`share_nothing`] before, and it calls [`detach`] first of all.

use std::{env, fs, io, path::Path};

use rustix::process::setsid;

use super::sys;

/// Says that systemd runs this machine (`sd_booted(3)`).
const SYSTEMD: &str = "/run/systemd/system";
/// The control groups that a process leaves for, where it can: the top of the one hierarchy, or of systemd's own.
const TOPS: [&str; 2] = ["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/systemd/cgroup.procs"];

/// Lets programs that this process starts inherit the standard three descriptors alone: what a shell, ssh or make left
/// open for us would otherwise stay open as long as they run.
pub fn share_nothing() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        if let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok())
            && number > 2
        {
            match sys::close_on_exec(number) {
                // The directory's own, closed since.
                Err(error) if error.raw_os_error() == Some(libc::EBADF) => {}
                done => done?,
            }
        }
    }
    Ok(())
}

/// What a process left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Left {
    /// All that could end it.
    All,
    /// All but the control group, with which systemd would end it.
    AllButControlGroup,
}

/// Leaves the session with its terminal and the working directory, and from then on survives SIGHUP. Under systemd,
/// which ends a unit's or a login's processes with it, leaves the control group too, where that is permitted.
pub fn detach() -> io::Result<Left> {
    sys::ignore_hangup()?;
    setsid()?;
    env::set_current_dir("/")?;
    if Path::new(SYSTEMD).is_dir() {
        // A sandbox may forbid it; then the process ends with its unit, as everything in there does.
        if !TOPS.iter().any(|top| fs::write(top, "0").is_ok()) {
            return Ok(Left::AllButControlGroup);
        }
    }
    Ok(Left::All)
}
