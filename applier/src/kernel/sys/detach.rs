//! Leaving whoever started us: the two calls that take `unsafe`.

use std::io;

/// Lets no program that this process starts inherit descriptor `number`, whoever owns it here.
pub(crate) fn close_on_exec(number: i32) -> io::Result<()> {
    // SAFETY: fcntl(2) with F_SETFD takes numbers alone and leaves the descriptor open, so that its owner keeps it.
    let set = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets SIGHUP do nothing, for the rest of this process.
pub(crate) fn ignore_hangup() -> io::Result<()> {
    // SAFETY: `SIG_IGN` is no function that could run; signal(2) takes numbers alone.
    let before = unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}
