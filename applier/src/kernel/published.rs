//! Which generation is live: a symbolic link `generation` in the set's directory, whose target is the number.
//!
//! It is made under another name and renamed, so that it names one generation or another at
//! any instant, and it is in bpffs, so that it is gone when the chains are: after a reboot,
//! or with the mount. It is taken away before a hook is touched and put in place when all
//! hooks are as they should be: where it stands, a run came to its end. A run that was cut
//! off leaves none, and what is live then has no number until the next run.

use std::{fs, io, os::unix::fs::symlink, path::PathBuf};

use super::{LinuxKernel, bpffs, error::KernelError};

/// The name. bpffs takes no dots in names.
const NAME: &str = "generation";
/// The name until it is renamed.
const NEW: &str = "generation-new";

impl LinuxKernel {
    /// The number of the generation that the last run of the set came to; none where none did, or it was cut off.
    pub(crate) fn published(&self) -> Option<u64> {
        let target = fs::read_link(self.directory.path().join(NAME)).ok()?;
        let text = target.to_str()?;
        let number: u64 = text.parse().ok()?;
        // One spelling only.
        (number.to_string() == text).then_some(number)
    }

    /// Names the live generation, in one step.
    pub(crate) fn publish(&self, number: u64) -> Result<(), KernelError> {
        if self.published() == Some(number) {
            return Ok(());
        }
        self.directory.make_directory(self.directory.path())?;
        let (path, new) = (self.path_of(NAME), self.path_of(NEW));
        let failed = |source| KernelError::Pin { doing: "naming the generation at", path: path.clone(), source };
        bpffs::remove(&new)?;
        symlink(number.to_string(), &new).map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)
    }

    /// Takes the name away. That there is none is no error.
    pub(crate) fn unpublish(&self) -> Result<(), KernelError> {
        for name in [NEW, NAME] {
            let path = self.path_of(name);
            // A look first: where there is none, nothing is touched.
            match fs::symlink_metadata(&path) {
                Ok(_) => bpffs::remove(&path)?,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(source) => return Err(KernelError::Pin { doing: "looking at", path, source }),
            }
        }
        Ok(())
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
