//! How much may run at once: `-j`, the number of processors, and make's jobserver.
//!
//! A recipe of `make -j` inherits a pipe of one-byte tokens (GNU make manual,
//! "POSIX Jobserver Interaction"). A child owns one job without asking, reads one
//! byte for each more, and writes it back when that job is done. Where the
//! recipe lacks a `+`, make closes the pipe but still names it in MAKEFLAGS;
//! then we are quiet and run one job, as make itself would.
//!
//! The pipe is opened anew through `/proc/self/fd` rather than used as inherited:
//! that needs no `unsafe`, tells a pipe from whatever else got that number, and
//! lets us read without blocking while other children of make go on blocking.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    num::NonZeroUsize,
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Who says how many jobs may run.
pub(crate) enum Jobs {
    /// So many.
    Fixed(NonZeroUsize),
    /// As many as make gives tokens for, but no more than so many.
    Shared { server: Arc<Jobserver>, at_most: NonZeroUsize },
}

/// The right to run one job. Dropping it gives it back.
pub(crate) enum Token {
    /// One of `-j`'s.
    Counted,
    /// The job that every child of make owns without asking.
    Own(Arc<Jobserver>),
    /// A byte out of make's pipe.
    Borrowed(Arc<Jobserver>, u8),
}

/// make's pipe.
pub(crate) struct Jobserver {
    read: File,
    write: File,
    /// Whether the job that we own is under way.
    own_taken: AtomicBool,
}

impl Jobs {
    /// Decides, from `-j` and the value of MAKEFLAGS.
    pub(crate) fn new(asked: Option<NonZeroUsize>, makeflags: Option<&OsStr>) -> Self {
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        match makeflags.and_then(OsStr::to_str).map(Auth::find) {
            Some(Auth::None) | None => Self::Fixed(asked.unwrap_or(processors)),
            Some(Auth::Serial) => Self::Fixed(asked.unwrap_or(NonZeroUsize::MIN)),
            Some(auth) => match auth.open() {
                // Threads beyond the processors gain nothing; `-j` on top of make's tokens is a cap.
                Some(server) => Self::Shared { server: Arc::new(server), at_most: asked.unwrap_or(processors) },
                None => Self::Fixed(asked.unwrap_or(NonZeroUsize::MIN)),
            },
        }
    }

    /// A token for one job more, when `running` are under way; `None` where none is to be had now.
    pub(crate) fn take(&self, running: usize) -> Option<Token> {
        match self {
            Self::Fixed(limit) => (running < limit.get()).then_some(Token::Counted),
            Self::Shared { server, .. } if !server.own_taken.swap(true, Ordering::Relaxed) => {
                Some(Token::Own(Arc::clone(server)))
            }
            Self::Shared { server, at_most } if running < at_most.get() => {
                let mut byte = [0];
                // Not a byte there, or make has gone: then what runs is all that runs.
                let read = (&server.read).read(&mut byte).ok()?;
                (read == 1).then(|| Token::Borrowed(Arc::clone(server), byte[0]))
            }
            Self::Shared { .. } => None,
        }
    }

    /// Whether a token may turn up without one of our own jobs ending.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        match self {
            Self::Counted => {}
            Self::Own(server) => server.own_taken.store(false, Ordering::Relaxed),
            // The very byte that was read, as the manual asks. If make is gone, nobody misses it.
            Self::Borrowed(server, byte) => drop((&server.write).write_all(&[*byte])),
        }
    }
}

/// What MAKEFLAGS says about a jobserver.
#[derive(Debug, Eq, PartialEq)]
enum Auth {
    /// Nothing: no make, or one without `-j`'s pipe that says so.
    None,
    /// make without parallelism, or a pipe that make has taken away.
    Serial,
    /// `R,W`.
    Pipe(u32, u32),
    /// `fifo:PATH` (GNU make 4.4).
    Fifo(PathBuf),
}

impl Auth {
    fn find(makeflags: &str) -> Self {
        // What follows ` -- ` are variables, which a user may set to anything.
        let flags = makeflags.split(" -- ").next().unwrap_or_default();
        // The last one counts (make manual); `--jobserver-fds` was the name before 4.2.
        let auth = flags
            .split_whitespace()
            .rev()
            .find_map(|flag| flag.strip_prefix("--jobserver-auth=").or_else(|| flag.strip_prefix("--jobserver-fds=")));
        let Some(auth) = auth else { return Self::None };
        if let Some(path) = auth.strip_prefix("fifo:") {
            return Self::Fifo(path.into());
        }
        match auth.split_once(',').map(|(read, write)| (read.parse(), write.parse())) {
            Some((Ok(read), Ok(write))) => Self::Pipe(read, write),
            // `-2,-2`: make 4.4 in a recipe without `+`.
            _ => Self::Serial,
        }
    }

    fn open(&self) -> Option<Jobserver> {
        let (read, write) = match self {
            Self::None | Self::Serial => return None,
            Self::Pipe(read, write) => {
                (format!("/proc/self/fd/{read}").into(), format!("/proc/self/fd/{write}").into())
            }
            Self::Fifo(path) => (path.clone(), path.clone()),
        };
        // Both directions at once, so that neither open waits for the other end.
        let open = |path: &PathBuf| {
            if !std::fs::metadata(path).ok()?.file_type().is_fifo() {
                return None;
            }
            let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).ok()?;
            OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path).ok()
        };
        let (read_meta, write_meta) = (std::fs::metadata(&read).ok()?, std::fs::metadata(&write).ok()?);
        // Two ends of one pipe have one inode; anything else isn't make's any more.
        let inode = std::os::unix::fs::MetadataExt::ino;
        if inode(&read_meta) != inode(&write_meta) {
            return None;
        }
        Some(Jobserver { read: open(&read)?, write: open(&write)?, own_taken: AtomicBool::new(false) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makeflags_are_read_as_make_writes_them() {
        for (text, expected) in [
            ("", Auth::None),
            ("k -j1", Auth::None),
            (" -j4 --jobserver-auth=3,4", Auth::Pipe(3, 4)),
            (" -j4 --jobserver-fds=3,4 --jobserver-auth=5,6", Auth::Pipe(5, 6)),
            (" -j --jobserver-auth=fifo:/tmp/GMfifo12", Auth::Fifo("/tmp/GMfifo12".into())),
            (" -j4 --jobserver-auth=-2,-2", Auth::Serial),
            ("k -- X=--jobserver-auth=3,4 --jobserver-auth=7,8", Auth::None),
        ] {
            assert_eq!(Auth::find(text), expected, "{text}");
        }
    }

    #[test]
    fn a_dead_pipe_means_one_job_and_no_complaint() {
        let jobs = Jobs::new(None, Some(OsStr::new(" -j9 --jobserver-auth=987,988")));
        assert!(jobs.take(0).is_some());
        assert!(jobs.take(1).is_none());
    }

    #[test]
    fn a_number_that_is_some_other_file_is_no_pipe() {
        use std::os::fd::AsRawFd as _;
        let file = tempfile::tempfile().unwrap();
        let flags = format!(" -j9 --jobserver-auth={0},{0}", file.as_raw_fd());
        assert!(!Jobs::new(None, Some(OsStr::new(&flags))).is_shared());
    }

    #[test]
    fn tokens_are_taken_and_given_back() {
        use std::os::fd::AsRawFd as _;
        let (read, write) = std::io::pipe().unwrap();
        (&write).write_all(b"ab").unwrap();
        let flags = format!(" -j3 --jobserver-auth={},{}", read.as_raw_fd(), write.as_raw_fd());
        let jobs = Jobs::new(NonZeroUsize::new(8), Some(OsStr::new(&flags)));
        let held: Vec<_> = (0..8).filter_map(|running| jobs.take(running)).collect();
        assert_eq!(held.len(), 3, "the own one and the two in the pipe");
        drop(held);
        let again: Vec<_> = (0..8).filter_map(|running| jobs.take(running)).collect();
        assert_eq!(again.len(), 3);
    }
}
