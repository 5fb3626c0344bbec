//! The generations of one set, below `/var/lib/bpfkit/<set>`.
//!
//! | path | what |
//! | --- | --- |
//! | `generations/<number>` | one generation ([`super::Generation`]) |
//! | `oci` | an OCI layout with the parts of all their bundles, each once |
//! | `../.removed-<set>` | all of it, while the set is removed |
//!
//! Directories are for root alone. A file is made beside its place, synced and renamed into it, then
//! its directory is synced; parts are there before the generation that names them, and go after it. So a
//! kill leaves at most parts and half-written files that nobody names, which [`Store::collect`] removes.
//! Writers hold the host's lock; readers need none, and find each file whole.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bpfkit_bundler::{Layout, Parts};
use bpfkit_schemas::names::{Digest, SetName};

use super::{
    Generation,
    error::{Damage, StoreError},
    file,
};
use crate::kernel::Places;

/// How many generations are kept; those that are gone back to by themselves are kept beyond that.
pub const KEPT: usize = 5;
/// How many confirmed generations are kept, whatever was put back since: the last good one and the one before.
const CONFIRMED: usize = 2;
/// The most names that are read of one directory.
const MAX_ENTRIES: usize = 4096;
/// What the name of a file begins with until it is whole.
const HALF_WRITTEN: &str = ".new-";

/// The generations of one set.
#[derive(Clone, Debug)]
pub struct Store {
    set: SetName,
    state: PathBuf,
}

/// One generation of a list.
#[derive(Debug)]
pub struct Listed {
    /// Its number.
    pub number: u64,
    /// What it is; a damaged one is its error.
    pub read: Result<Generation, StoreError>,
}

/// The sets of which something is kept on this host, ascending.
pub fn sets(places: &Places) -> Result<Vec<SetName>, StoreError> {
    Ok(names(&places.state)?.into_iter().filter_map(|name| name.parse().ok()).collect())
}

impl Store {
    /// Names the store; opens and makes nothing.
    pub fn new(places: &Places, set: &SetName) -> Self {
        Self { set: set.clone(), state: places.state.clone() }
    }

    /// Lays the parts of a bundle down.
    pub(super) fn keep(&self, parts: &Parts) -> Result<(), StoreError> {
        self.make()?;
        let kept = Layout::create(self.layout()).and_then(|layout| parts.lay_out(&layout));
        kept.map_err(|source| StoreError::Bundles { source })?;
        sync(&self.dir())
    }

    /// Keeps a generation with its parts. Where that fails, what was laid down goes again, and what is older than is kept: on
    /// a full disk nothing else would make room for the next one.
    pub(super) fn add(&self, generation: &Generation, parts: &Parts, live: Option<u64>) -> Result<(), StoreError> {
        let kept = self.keep(parts).and_then(|()| self.write(generation));
        if kept.is_err() {
            // The first error is the one to tell.
            let _ = self.collect(live);
        }
        kept
    }

    /// Writes a generation, in place of what its number had.
    pub(super) fn write(&self, generation: &Generation) -> Result<(), StoreError> {
        self.make()?;
        let path = self.path(generation.number);
        let bytes = file::encode(generation).map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
        let failed = |source| StoreError::Io { doing: "write", path: path.clone(), source };
        let new = self.generations().join(format!("{HALF_WRITTEN}{}", generation.number));
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            return Err(failed(error));
        }
        sync(&self.generations())
    }

    /// Forgets a generation. That there is none is no error.
    pub(super) fn forget(&self, number: u64) -> Result<(), StoreError> {
        remove_file(&self.path(number))
    }

    /// Forgets what is older than is kept, but for `live`, and the parts that nobody names any more.
    pub(super) fn collect(&self, live: Option<u64>) -> Result<(), StoreError> {
        let numbers = self.numbers()?;
        let mut wanted: BTreeSet<u64> = numbers.iter().rev().take(KEPT).copied().chain(live).collect();
        let mut confirmed = 0;
        let mut parts: BTreeSet<Digest> = BTreeSet::new();
        let mut unread = None;
        for number in numbers.iter().rev() {
            let read = match self.read_if_whole(*number) {
                Ok(read) => read,
                // Nobody knows what it is and which parts it needs: neither goes in this run.
                Err(error) => {
                    unread = Some(error);
                    continue;
                }
            };
            if confirmed < CONFIRMED && read.as_ref().is_some_and(Generation::is_confirmed) {
                confirmed += 1;
                wanted.insert(*number);
            }
            if wanted.contains(number) {
                parts.extend(read.into_iter().flat_map(|one| one.parts));
            } else {
                self.forget(*number)?;
            }
        }
        for name in names(&self.generations())?.into_iter().filter(|name| name.starts_with(HALF_WRITTEN)) {
            remove_file(&self.generations().join(name))?;
        }
        if let Some(unread) = unread {
            return Err(unread);
        }
        let kept = Layout::open(self.layout()).and_then(|layout| layout.keep_only(&parts));
        kept.map_err(|source| StoreError::Bundles { source })
    }

    /// Puts back what a removal set aside that was cut off, unless something was kept since.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        if fs::symlink_metadata(self.dir()).is_ok() { Ok(()) } else { self.put_back() }
    }

    /// Takes all of it away in one step, for the removal of the set; [`Store::put_back`] undoes it.
    pub(super) fn set_aside(&self) -> Result<(), StoreError> {
        if fs::symlink_metadata(self.dir()).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            // On a file system that is read-only, renaming nothing would fail, too.
            return Ok(());
        }
        self.drop_aside()?;
        match fs::rename(self.dir(), self.aside()) {
            Ok(()) => sync(&self.state),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(StoreError::Io { doing: "move away", path: self.dir(), source }),
        }
    }

    /// Undoes [`Store::set_aside`].
    pub(super) fn put_back(&self) -> Result<(), StoreError> {
        if fs::symlink_metadata(self.aside()).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        match fs::rename(self.aside(), self.dir()) {
            Ok(()) => sync(&self.state),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(StoreError::Io { doing: "put back", path: self.dir(), source }),
        }
    }

    /// Removes what was set aside.
    pub(super) fn drop_aside(&self) -> Result<(), StoreError> {
        match fs::remove_dir_all(self.aside()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(StoreError::Io { doing: "remove", path: self.aside(), source }),
        }
    }

    /// The numbers of the generations, ascending.
    pub fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let mut numbers: Vec<u64> = names(&self.generations())?
            .into_iter()
            // One spelling only: no `+1`, no leading zeros.
            .filter_map(|name| name.parse().ok().filter(|number: &u64| number.to_string() == name))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads one generation.
    pub fn read(&self, number: u64) -> Result<Generation, StoreError> {
        let path = self.path(number);
        let damaged = |source| StoreError::Damaged { path: path.clone(), source };
        let failed = |source| StoreError::Io { doing: "read", path: path.clone(), source };
        let never = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match OpenOptions::new().read(true).custom_flags(never).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { set: self.set.clone(), number, have: self.numbers()? });
            }
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(damaged(Damage::Irregular)),
            Err(error) => return Err(failed(error)),
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(damaged(Damage::Irregular));
        }
        let mut bytes = Vec::new();
        file.take(file::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        let generation = file::decode(&bytes).map_err(damaged)?;
        if generation.number != number {
            return Err(damaged(Damage::OtherNumber(generation.number)));
        }
        Ok(generation)
    }

    /// Every generation, the newest first.
    pub fn all(&self) -> Result<Vec<Listed>, StoreError> {
        let one = |number| Listed { number, read: self.read(number) };
        Ok(self.numbers()?.into_iter().rev().map(one).collect())
    }

    /// The newest generation; none where it is damaged. That it can't be read now is an error: it may be one that waits.
    pub fn newest(&self) -> Result<Option<Generation>, StoreError> {
        self.numbers()?.last().map_or(Ok(None), |number| self.read_if_whole(*number))
    }

    /// The newest confirmed generation below `below`. One that is damaged is passed over, and is the error where no other is.
    pub fn last_confirmed(&self, below: Option<u64>) -> Result<Option<Generation>, StoreError> {
        let mut damage = None;
        for number in self.numbers()?.into_iter().rev().filter(|number| below.is_none_or(|below| *number < below)) {
            match self.read(number) {
                Ok(found) if found.is_confirmed() => return Ok(Some(found)),
                Ok(_) => {}
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// The layout that holds the bundles.
    pub fn layout(&self) -> PathBuf {
        self.dir().join("oci")
    }

    /// The set.
    pub fn set(&self) -> &SetName {
        &self.set
    }

    /// Reads one generation; none where it is damaged or gone, which reading it once more wouldn't change.
    fn read_if_whole(&self, number: u64) -> Result<Option<Generation>, StoreError> {
        match self.read(number) {
            Ok(generation) => Ok(Some(generation)),
            Err(StoreError::Damaged { .. } | StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make(&self) -> Result<(), StoreError> {
        let path = self.generations();
        if path.is_dir() {
            return Ok(());
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| StoreError::Io { doing: "make", path, source })?;
        sync(&self.dir())?;
        sync(&self.state)?;
        self.state.parent().map_or(Ok(()), sync)
    }

    fn dir(&self) -> PathBuf {
        self.state.join(self.set.as_str())
    }

    fn aside(&self) -> PathBuf {
        self.state.join(format!(".removed-{}", self.set))
    }

    fn generations(&self) -> PathBuf {
        self.dir().join("generations")
    }

    fn path(&self, number: u64) -> PathBuf {
        self.generations().join(number.to_string())
    }
}

/// The names in a directory, none where it doesn't exist.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |source| StoreError::Io { doing: "list", path: dir.to_owned(), source };
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in read.take(MAX_ENTRIES) {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::Io { doing: "remove", path: path.to_owned(), source }),
    }
}

/// Makes what was renamed in a directory outlive a loss of power.
fn sync(dir: &Path) -> Result<(), StoreError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| StoreError::Io { doing: "sync", path: dir.to_owned(), source })
}

#[cfg(test)]
mod tests;
