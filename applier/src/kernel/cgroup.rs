//! Cgroups: which one a path means, and who is attached to it.
//!
//! A cgroup is known by its id, the inode of its directory in the unified hierarchy
//! (cgroup2), which the kernel gives out once. Hierarchies of version 1 have no hooks.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::error::KernelError;

/// `CGROUP2_SUPER_MAGIC` (`linux/magic.h`).
const CGROUP2: rustix::fs::FsWord = 0x6367_7270;

/// One cgroup, held open.
#[derive(Debug)]
pub(crate) struct Cgroup {
    /// Its directory.
    pub(crate) directory: File,
    /// Its id.
    pub(crate) id: u64,
}

impl Cgroup {
    /// Opens the cgroup at `path`; `None` where there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, KernelError> {
        let failed = |source| KernelError::call(format!("opening the cgroup `{}`", path.display()), source);
        // The path may come out of a bundle: a directory that is opened does nothing.
        let directory = match OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path) {
            Ok(directory) => directory,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(source) => return Err(failed(source)),
        };
        let kind = rustix::fs::fstatfs(&directory).map_err(|errno| failed(errno.into()))?.f_type;
        if kind != CGROUP2 {
            return Ok(None);
        }
        let id = directory.metadata().map_err(failed)?.ino();
        Ok(Some(Self { directory, id }))
    }
}
