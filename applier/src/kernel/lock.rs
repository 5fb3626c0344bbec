//! One bpfkit at a time on a host: `flock` on `/run/bpfkit/lock`.
//!
//! The kernel drops the lock with the process, however that ends, so there is
//! nothing to clean up. Readers (`plan`, `status`) take none: every change is
//! compared with what was seen.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use super::error::KernelError;

/// Where the lock and the verifier's logs lie.
pub const RUN_DIRECTORY: &str = "/run/bpfkit";

/// The right to change this host, held until it is dropped.
#[derive(Debug)]
pub struct HostLock {
    // Held for its lock alone.
    _file: File,
}

impl HostLock {
    /// Takes the lock, or says at once who has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, KernelError> {
        let path = directory.join("lock");
        let failed = |source| KernelError::call(format!("opening the lock `{}`", path.display()), source);
        fs::create_dir_all(directory).map_err(failed)?;
        // `flock` takes a descriptor for reading alone: whoever can open the file can hold every apply up.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed)?;
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(KernelError::Locked { holder: holder(&mut file) }),
            Err(errno) => return Err(failed(errno.into())),
        }
        // For the message above; nothing depends on it.
        note_holder(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

impl HostLock {
    /// Takes the lock as soon as it is free; after `patience`, says who has it.
    pub(crate) fn take_within(directory: &Path, patience: Duration) -> Result<Self, KernelError> {
        let since = Instant::now();
        loop {
            match Self::take(directory) {
                Err(KernelError::Locked { .. }) if since.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                taken => return taken,
            }
        }
    }
}

fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_can_open_the_lock_even_where_it_was_there_with_open_doors() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.path().join("lock"), "").unwrap();
        let _held = HostLock::take(directory.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(directory.path()), mode(&directory.path().join("lock"))), (0o700, 0o600));
    }

    #[test]
    fn the_second_to_take_the_lock_learns_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let held = HostLock::take(directory.path()).unwrap();
        let Err(KernelError::Locked { holder }) = HostLock::take(directory.path()) else { panic!("taken twice") };
        assert_eq!(holder, Some(std::process::id()));
        drop(held);
        HostLock::take(directory.path()).unwrap();
    }
}
