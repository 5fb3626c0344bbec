//! Network namespaces: which one a path means, and doing something inside it.
//!
//! A namespace is known by its inode, as the kernel knows it; two paths with one
//! inode are one namespace. `setns` moves a thread, and a thread that can't be
//! moved back would carry on in the wrong place, so each visit is a thread of its
//! own that ends with it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::KernelError;

/// `NSFS_MAGIC` (`linux/magic.h`): the file system that namespaces' files are of.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// One network namespace, held open so that its inode can't be given to another.
#[derive(Debug)]
pub(crate) struct Netns {
    /// `None` is the one that this process runs in.
    path: Option<PathBuf>,
    file: File,
    inode: u64,
}

impl Netns {
    /// Opens the namespace at `path`, or the process's own.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, KernelError> {
        let place = path.unwrap_or(Path::new("/proc/self/ns/net"));
        let failed = |source| KernelError::Netns { path: place.to_owned(), source };
        // The path may come out of a bundle: opening a FIFO would wait for ever, opening a device do whatever it does.
        if !fs::metadata(place).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is no network namespace")));
        }
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(place).map_err(failed)?;
        if rustix::fs::fstatfs(&file).map_err(|errno| failed(errno.into()))?.f_type != NSFS_MAGIC {
            return Err(failed(io::Error::other("it is no network namespace")));
        }
        let inode = file.metadata().map_err(failed)?.ino();
        Ok(Self { path: path.map(Path::to_owned), file, inode })
    }

    /// What identifies it on this host until it goes away.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `visit` in the namespace: here if it is our own, else in a thread that ends with it.
    pub(crate) fn run<T: Send>(&self, visit: impl FnOnce() -> Result<T, KernelError> + Send) -> Result<T, KernelError> {
        let Some(path) = &self.path else {
            return visit();
        };
        let failed = |source: io::Error| KernelError::Netns { path: path.clone(), source };
        thread::scope(|scope| {
            let visitor = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || {
                    move_into_link_name_space(std::os::fd::AsFd::as_fd(&self.file), Some(LinkNameSpaceType::Network))
                        .map_err(|errno| failed(errno.into()))?;
                    visit()
                })
                .map_err(failed)?;
            visitor.join().unwrap_or_else(|_| Err(failed(io::Error::other("the visiting thread ended early"))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_known_by_its_inode() {
        let own = Netns::open(None).unwrap();
        assert_eq!(own.inode(), std::fs::metadata("/proc/self/ns/net").unwrap().ino());
        assert_eq!(own.run(|| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named() {
        let error = Netns::open(Some(Path::new("/run/netns/bpfkit-none"))).unwrap_err();
        assert_eq!(error.to_string(), "the network namespace `/run/netns/bpfkit-none` can't be entered");
    }
}
