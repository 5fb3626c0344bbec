//! What earlier builds left behind, in `.bpfkit/cache/build.json`, and whether it still holds.
//!
//! A record says: with this key (compiler, arguments, generated headers) and these
//! files with these contents, the object had this digest. A record that can't be
//! read is no record, and costs a compile; nothing is ever believed because it is
//! recorded, only because the files' contents still agree.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bpfkit_schemas::{Digest, object::ObjectDescriptor};
use serde::{Deserialize, Serialize};

use crate::{
    digest::Hasher,
    files::{self, FileDigests, Seen},
};

/// The shape of the file; another number is another shape, and is not read.
const VERSION: u32 = 1;

/// Everything remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    /// Files as last seen, by real path.
    pub(crate) seen: BTreeMap<PathBuf, Seen>,
    /// Generated headers by folder name.
    pub(crate) headers: BTreeMap<String, Digest>,
    /// Objects by `linux-amd64/guard`.
    pub(crate) objects: BTreeMap<String, Record>,
}

/// How one object came about.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The step's key.
    pub(crate) key: Digest,
    /// The files that were read: relative to the manifest's folder, or absolute.
    pub(crate) inputs: Vec<String>,
    /// Over the names and contents of `inputs`.
    pub(crate) content: Digest,
    /// What the object holds, its digest among it.
    pub(crate) descriptor: ObjectDescriptor,
    /// What the compiler said: warnings.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) said: String,
}

impl State {
    pub(crate) fn read(path: &Path) -> Self {
        fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|state| state.version == VERSION)
            .unwrap_or_default()
    }

    pub(crate) fn write(&mut self, path: &Path) -> io::Result<()> {
        self.version = VERSION;
        files::write_if_changed(path, &serde_json::to_vec(self)?).map(|_| ())
    }
}

/// A digest over the names and contents of files; `None` where one can't be read.
pub(crate) fn content(inputs: &[String], locate: impl Fn(&str) -> PathBuf, digests: &FileDigests) -> Option<Digest> {
    let mut hasher = Hasher::new("bpfkit-inputs-1");
    for name in inputs {
        hasher.part(name.as_bytes());
        hasher.part(digests.digest(&locate(name))?.as_bytes());
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_that_is_damaged_or_of_another_shape_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.json");
        for text in ["", "{", "{\"version\":1}", "{\"version\":9,\"seen\":{},\"headers\":{\"x\":7},\"objects\":{}}"] {
            fs::write(&path, text).unwrap();
            assert!(State::read(&path).headers.is_empty(), "{text}");
        }
    }
}
