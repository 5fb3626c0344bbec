//! Files on disk: whole writes, stamps, digests that are computed once.
//!
//! A file is written under another name and renamed, so a reader, and the next
//! run after a `kill -9`, sees the old bytes or the new ones. A file whose bytes
//! are already right is not touched, so `make` and `ninja` see no change.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bpfkit_schemas::Digest;
use serde::{Deserialize, Serialize};

use crate::digest::digest_of;

/// What tells, without reading, that a file is probably still the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    size: u64,
    /// Nanoseconds since the epoch.
    mtime: i128,
    /// Nanoseconds since the epoch; changes with every write, and `touch -d` can't set it.
    ctime: i128,
    inode: u64,
    device: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// When the file's content or name last changed.
    fn changed(self) -> SystemTime {
        u64::try_from(self.ctime.max(self.mtime)).map_or(UNIX_EPOCH, |ns| UNIX_EPOCH + Duration::from_nanos(ns))
    }

    /// Whether a later write is sure to change the stamp. File systems count time in ticks,
    /// so two writes in one tick leave the same time: git's "racily clean" problem.
    fn settled(self, now: SystemTime) -> bool {
        now.duration_since(self.changed()).is_ok_and(|age| age > Duration::from_secs(2))
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(metadata: &fs::Metadata) -> Self {
        let ns = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Self {
            size: metadata.size(),
            mtime: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }
}

/// A file's content as last seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) digest: Digest,
    /// Left out where a write might not show in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<Stamp>,
}

impl Seen {
    /// Hashes a file, unless `before` has its stamp.
    pub(crate) fn of(path: &Path, before: Option<&Self>) -> io::Result<Self> {
        let stamp = Stamp::of(path)?;
        if let Some(seen) = before
            && seen.stamp == Some(stamp)
        {
            return Ok(*seen);
        }
        let now = SystemTime::now();
        let digest = digest_of(&fs::read(path)?);
        Ok(Self { digest, stamp: stamp.settled(now).then_some(stamp) })
    }
}

/// Digests of files, each computed once in a run and remembered from the last.
pub(crate) struct FileDigests {
    before: BTreeMap<PathBuf, Seen>,
    seen: Mutex<BTreeMap<PathBuf, Option<Seen>>>,
}

impl FileDigests {
    pub(crate) fn new(before: BTreeMap<PathBuf, Seen>) -> Self {
        Self { before, seen: Mutex::default() }
    }

    /// The digest of a file's content; `None` where it can't be read.
    pub(crate) fn digest(&self, path: &Path) -> Option<Digest> {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = seen.get(path) {
            return known.map(|seen| seen.digest);
        }
        let found = Seen::of(path, self.before.get(path)).ok();
        seen.insert(path.to_owned(), found);
        found.map(|seen| seen.digest)
    }

    /// Notes what a file holds that we wrote ourselves. Nobody else writes our files, so its stamp holds at once.
    pub(crate) fn wrote(&self, path: &Path, digest: Digest) {
        let seen = Stamp::of(path).ok().map(|stamp| Seen { digest, stamp: Some(stamp) });
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(path.to_owned(), seen);
    }

    /// What was seen of each file that was asked for in this run.
    pub(crate) fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.iter().filter_map(|(path, seen)| Some((path.clone(), (*seen)?))).collect()
    }
}

/// Whether a file was written at or after `start`.
pub(crate) fn changed_since(path: &Path, start: SystemTime) -> bool {
    Stamp::of(path).is_ok_and(|stamp| stamp.changed() >= start)
}

/// Whether writing changed anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wrote {
    /// The bytes were there already; the file wasn't touched.
    Nothing,
    /// The file is new or has new bytes.
    New,
}

/// Writes a file whole or not at all, and only if its bytes differ. Makes its folder.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> io::Result<Wrote> {
    let same_size = fs::metadata(path).is_ok_and(|metadata| Ok(metadata.len()) == u64::try_from(bytes.len()));
    if same_size && fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(Wrote::Nothing);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".bpfkit-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(Wrote::New)
}
