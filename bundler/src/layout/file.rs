//! The files of a layout, opened so that none of them can hold us up or lead elsewhere.
//!
//! A layout may come from anybody: on a stick, out of an archive, in a shared
//! directory. Opening a pipe waits for its other end for ever, opening a device
//! can do anything, and a symbolic link leads to another file than was named. A
//! file of a layout is a regular file or it is refused.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// There is none.
    Missing,
    /// It is larger than it may be.
    TooLarge,
    /// It is something else than a regular file; in words.
    Irregular(&'static str),
    /// The operating system refused.
    Io(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::FileTooLarge => Self::TooLarge,
            _ => Self::Io(error),
        }
    }
}

/// Reads a regular file of at most `max` bytes.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, Unread> {
    Ok(capped(open(path, OFlags::RDONLY)?, max)?)
}

/// Opens a regular file; `flags` may ask for it to be made.
pub(super) fn open(path: &Path, flags: OFlags) -> Result<File, Unread> {
    let never = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags | never, Mode::from_raw_mode(0o644)) {
        Ok(fd) => File::from(fd),
        Err(Errno::LOOP) => return Err(Unread::Irregular("a symbolic link")),
        Err(Errno::ISDIR) => return Err(Unread::Irregular("a directory")),
        // What open(2) says of a socket, and of a pipe that nobody reads.
        Err(Errno::NXIO) => return Err(Unread::Irregular("a pipe or a socket")),
        Err(errno) => return Err(io::Error::from(errno).into()),
    };
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        Ok(file)
    } else if kind.is_dir() {
        Err(Unread::Irregular("a directory"))
    } else {
        Err(Unread::Irregular("a pipe or a device"))
    }
}

/// Reads `file` to its end, but at most `max` bytes; a longer one is [`io::ErrorKind::FileTooLarge`].
pub(crate) fn capped(file: File, max: u64) -> io::Result<Vec<u8>> {
    if file.metadata()?.len() > max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    // A file may grow while it is read.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
