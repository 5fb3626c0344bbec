//! An OCI image layout on disk (image spec 1.1, `image-layout.md`): what `.bpfkit/oci` is.
//!
//! Touches files below one directory and nothing else. The rules it keeps:
//!
//! 1. *A blob is what its name says.* Bytes are hashed whenever they are read.
//! 2. *Nothing is half-written.* Every file is made beside its place and renamed
//!    into it; blobs are on disk before `index.json` names them.
//! 3. *Two writers don't lose each other's tags.* `index.json` is read, changed
//!    and written under a lock (`.bpfkit.lock`, `flock`).
//!
//! Referrers (signatures) are listed untagged in `index.json` with their
//! `artifactType`, which is where `oras discover --oci-layout` looks.
//!
//! A layout may be somebody else's, so its files are regular files or they are
//! refused, and no list in it makes us read without end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bpfkit_schemas::{
    bundle::SIGNATURE_TYPE,
    names::{Digest, Tag},
};
use rustix::fs::{FlockOperation, OFlags, flock};

pub use self::error::LayoutError;
use self::file::Unread;
pub(crate) use self::file::capped;
use crate::{
    hash::sha256,
    json,
    limits::{LISTED_BYTES, MANIFEST_BYTES, SIGNATURE_BYTES},
    oci::{ANNOTATION_REF_NAME, Descriptor, Document, EMPTY, EMPTY_TYPE, Index, MANIFEST_TYPE, Manifest},
};

mod error;
mod file;

/// How long another writer may hold the lock before we give up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The whole of the file `oci-layout`.
const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What the name of a file begins with until it is whole.
const HALF_WRITTEN: &str = ".new-";

/// A directory in OCI layout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    dir: PathBuf,
}

/// A tag that is to mean something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tagging<'a> {
    pub(crate) tag: &'a Tag,
    pub(crate) descriptor: &'a Descriptor,
    /// The artifact type of what may lose the tag.
    pub(crate) kind: &'static str,
}

impl Layout {
    /// Opens the layout at `dir`, making it first if there is none.
    pub fn create(dir: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { dir: dir.into() };
        let blobs = layout.blobs();
        fs::create_dir_all(&blobs).map_err(|source| LayoutError::io("make", &blobs, source))?;
        let _lock = layout.lock()?;
        for (name, bytes) in [("oci-layout", MARKER.to_vec()), ("index.json", empty_index()?)] {
            let path = layout.dir.join(name);
            if !path.exists() {
                layout.write(&path, &bytes)?;
            }
        }
        Self::open(layout.dir)
    }

    /// Opens the layout at `dir`, which must be one.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { dir: dir.into() };
        let path = layout.dir.join("oci-layout");
        let marker = match file::read(&path, 4096) {
            Ok(marker) => marker,
            Err(Unread::Missing) => return Err(LayoutError::NotALayout { dir: layout.dir }),
            Err(unread) => return Err(LayoutError::unread(&path, unread)),
        };
        let marker: BTreeMap<String, serde_json::Value> =
            json::read(&marker).map_err(|source| LayoutError::Malformed { path: path.clone(), source })?;
        match marker.get("imageLayoutVersion").and_then(|version| version.as_str()) {
            Some("1.0.0") => Ok(layout),
            _ => Err(LayoutError::NotALayout { dir: layout.dir }),
        }
    }

    /// Stores `bytes` and returns their digest. A blob that is there already, and whole, is left alone.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, LayoutError> {
        let digest = sha256(bytes);
        let path = self.blob_path(&digest);
        let whole = file::read(&path, bytes.len() as u64).is_ok_and(|there| there == bytes);
        if !whole {
            self.write(&path, bytes)?;
        }
        Ok(digest)
    }

    /// Makes several tags mean what they are to mean, in one step; none of them if one already means
    /// something of another kind.
    pub(crate) fn set_tags(&self, tags: &[Tagging<'_>]) -> Result<(), LayoutError> {
        self.change(|index| {
            self.refuse_in(index, tags)?;
            for Tagging { tag, descriptor, .. } in tags {
                index.manifests.retain(|entry| tag_of(entry) != Some(tag.as_str()));
                index.manifests.push((*descriptor).clone().annotated(ANNOTATION_REF_NAME, tag.as_str()));
            }
            Ok(())
        })
    }

    /// Lists manifests without a tag, so that tools which copy or clean layouts know that they are wanted.
    pub(crate) fn add_untagged(&self, descriptors: &[Descriptor]) -> Result<(), LayoutError> {
        self.change(|index| {
            let mut known: BTreeSet<Digest> = index.manifests.iter().map(|entry| entry.digest).collect();
            index.manifests.extend(descriptors.iter().filter(|descriptor| known.insert(descriptor.digest)).cloned());
            Ok(())
        })
    }

    /// Stores a signature of `subject` as the referrer manifest that cosign 3 writes, and returns its digest.
    ///
    /// `bundle_json` is a Sigstore bundle v0.3; `annotations` are the manifest's
    /// (`dev.sigstore.bundle.content`, `dev.sigstore.bundle.predicateType`,
    /// `org.opencontainers.image.created`). `subject` must be a manifest or an index in this layout.
    pub fn add_signature(
        &self,
        subject: &Digest,
        bundle_json: &[u8],
        annotations: BTreeMap<String, String>,
    ) -> Result<Digest, LayoutError> {
        let subject = self.describe(subject)?;
        let (manifest, blobs) = signature_manifest(subject, bundle_json, annotations)
            .map_err(|source| LayoutError::Malformed { path: self.dir.clone(), source })?;
        for blob in blobs {
            self.put_blob(blob)?;
        }
        self.put_blob(&manifest)?;
        let descriptor = Descriptor::of(MANIFEST_TYPE, &manifest).artifact(SIGNATURE_TYPE);
        self.add_untagged(std::slice::from_ref(&descriptor))?;
        Ok(descriptor.digest)
    }

    /// Forgets and removes whatever is not among `wanted`: entries of the list first, blobs after it.
    ///
    /// Half-written files of a run that was cut off go as well. What can't be removed is an error, and the
    /// next call tries it again.
    pub fn keep_only(&self, wanted: &BTreeSet<Digest>) -> Result<(), LayoutError> {
        self.change(|index| {
            index.manifests.retain(|entry| wanted.contains(&entry.digest));
            Ok(())
        })?;
        let _lock = self.lock()?;
        let names: BTreeSet<String> = wanted.iter().map(Digest::hex).collect();
        let blobs = self.blobs();
        for dir in [&blobs, &self.dir] {
            let listing = |source| LayoutError::io("list", dir, source);
            for entry in fs::read_dir(dir).map_err(listing)? {
                let entry = entry.map_err(listing)?;
                let name = entry.file_name();
                let stays = name.to_str().is_some_and(|name| {
                    if dir == &blobs { names.contains(name) } else { !name.starts_with(HALF_WRITTEN) }
                });
                if !stays {
                    let path = entry.path();
                    fs::remove_file(&path).map_err(|source| LayoutError::io("remove", &path, source))?;
                }
            }
        }
        Ok(())
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bytes behind `digest`, at most `max` of them.
    pub fn blob(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(digest);
        let bytes = file::read(&path, max).map_err(|unread| match unread {
            Unread::Missing => LayoutError::NoBlob { dir: self.dir.clone(), digest: *digest },
            Unread::TooLarge => LayoutError::TooLarge { dir: self.dir.clone(), digest: *digest, max },
            unread => LayoutError::unread(&path, unread),
        })?;
        let found = sha256(&bytes);
        if found != *digest {
            return Err(LayoutError::WrongDigest { dir: self.dir.clone(), want: *digest, found });
        }
        Ok(bytes)
    }

    /// Whether there is a file for `digest`. What is in it shows when it is read.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        fs::symlink_metadata(self.blob_path(digest)).is_ok_and(|file| file.is_file())
    }

    /// Refuses if one of `tags` means something of another kind.
    pub(crate) fn refuse_other_kinds(&self, tags: &[Tagging<'_>]) -> Result<(), LayoutError> {
        self.refuse_in(&self.index()?, tags)
    }

    /// Describes the manifest or index behind `digest`.
    pub fn describe(&self, digest: &Digest) -> Result<Descriptor, LayoutError> {
        let bytes = self.blob(digest, MANIFEST_BYTES)?;
        let document =
            Document::read(&bytes).map_err(|source| LayoutError::Malformed { path: self.blob_path(digest), source })?;
        Ok(Descriptor::of(document.media_type(), &bytes))
    }

    /// What `tag` means, where it means anything.
    pub fn tag(&self, tag: &Tag) -> Result<Option<Digest>, LayoutError> {
        let index = self.index()?;
        let mut meanings =
            index.manifests.iter().filter(|entry| tag_of(entry) == Some(tag.as_str())).map(|entry| entry.digest);
        match (meanings.next(), meanings.next()) {
            (Some(first), Some(second)) if first != second => {
                Err(LayoutError::AmbiguousTag { dir: self.dir.clone(), tag: tag.clone() })
            }
            (first, _) => Ok(first),
        }
    }

    /// Every tag and what it means, by name. Names that are not tags (a path, as skopeo allows) are left out.
    pub fn tags(&self) -> Result<Vec<(Tag, Descriptor)>, LayoutError> {
        let mut tags: Vec<(Tag, Descriptor)> = Vec::new();
        for entry in self.index()?.manifests {
            if let Some(tag) = tag_of(&entry).and_then(|tag| tag.parse().ok()) {
                tags.push((tag, entry));
            }
        }
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(tags)
    }

    /// The manifests in `index.json` whose subject is `subject`.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, LayoutError> {
        Ok(self.all_referrers()?.remove(subject).unwrap_or_default())
    }

    /// The manifests in `index.json` that have a subject, by subject.
    ///
    /// Each is read once, whatever the list says and how often; those that are larger than a signature's
    /// manifest may be are passed over, and all together may have [`LISTED_BYTES`].
    pub(crate) fn all_referrers(&self) -> Result<BTreeMap<Digest, Vec<Descriptor>>, LayoutError> {
        let mut found: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut left = LISTED_BYTES;
        for mut entry in self.index()?.manifests {
            if !entry.is_manifest() || entry.size > SIGNATURE_BYTES || !seen.insert(entry.digest) {
                continue;
            }
            // One bad entry must not hide the others.
            let Ok(bytes) = self.blob(&entry.digest, SIGNATURE_BYTES) else { continue };
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| LayoutError::Flooded { dir: self.dir.clone(), max: LISTED_BYTES })?;
            if let Ok(Document::Manifest(Manifest { subject: Some(subject), .. })) = Document::read(&bytes) {
                entry.annotations.remove(ANNOTATION_REF_NAME);
                found.entry(subject.digest).or_default().push(entry);
            }
        }
        Ok(found)
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("blobs/sha256")
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    fn index(&self) -> Result<Index, LayoutError> {
        let path = self.dir.join("index.json");
        let bytes = file::read(&path, MANIFEST_BYTES).map_err(|unread| match unread {
            Unread::Missing => LayoutError::NotALayout { dir: self.dir.clone() },
            unread => LayoutError::unread(&path, unread),
        })?;
        json::read(&bytes).map_err(|source| LayoutError::Malformed { path, source })
    }

    /// Refuses if one of `tags` means something of another kind in `index`.
    ///
    /// `1.4` may be version 1.4 of the set or program `4` of version 1; whoever came first keeps it. The
    /// document itself says what it is, and the list only where the document is lost.
    fn refuse_in(&self, index: &Index, tags: &[Tagging<'_>]) -> Result<(), LayoutError> {
        for Tagging { tag, descriptor, kind } in tags {
            for entry in index.manifests.iter().filter(|entry| tag_of(entry) == Some(tag.as_str())) {
                if entry.digest == descriptor.digest {
                    continue;
                }
                let document = self.blob(&entry.digest, MANIFEST_BYTES).ok();
                let there = match document.as_deref().map(Document::read) {
                    Some(Ok(document)) => document.artifact_type().map(str::to_owned),
                    Some(Err(_)) => None,
                    None => entry.artifact_type.clone(),
                };
                if there.as_deref() != Some(*kind) {
                    return Err(LayoutError::TagTaken { dir: self.dir.clone(), tag: (*tag).clone() });
                }
            }
        }
        Ok(())
    }

    /// Reads, changes and writes `index.json` under the lock; writes nothing if nothing changed.
    fn change(&self, edit: impl FnOnce(&mut Index) -> Result<(), LayoutError>) -> Result<(), LayoutError> {
        let _lock = self.lock()?;
        let before = self.index()?;
        let mut after = before.clone();
        edit(&mut after)?;
        if before == after {
            return Ok(());
        }
        let path = self.dir.join("index.json");
        let bytes = json::write(&after).map_err(|source| LayoutError::Malformed { path: path.clone(), source })?;
        let blobs = self.blobs();
        File::open(&blobs).and_then(|dir| dir.sync_all()).map_err(|source| LayoutError::io("sync", &blobs, source))?;
        self.write(&path, &bytes)?;
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|source| LayoutError::io("sync", &self.dir, source))
    }

    /// Makes the names of what was written outlive a loss of power; its bytes are synced when they are written.
    pub(crate) fn sync(&self) -> Result<(), LayoutError> {
        for dir in [self.blobs(), self.dir.join("blobs"), self.dir.clone()] {
            let synced = File::open(&dir).and_then(|open| open.sync_all());
            synced.map_err(|source| LayoutError::io("sync", &dir, source))?;
        }
        Ok(())
    }

    /// Waits for the lock; it is let go when the file is dropped.
    fn lock(&self) -> Result<File, LayoutError> {
        let path = self.dir.join(".bpfkit.lock");
        let file =
            file::open(&path, OFlags::WRONLY | OFlags::CREATE).map_err(|unread| LayoutError::unread(&path, unread))?;
        let since = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LayoutError::Locked { dir: self.dir.clone() }),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(LayoutError::io("lock", &path, errno.into())),
            }
        }
    }

    /// Writes a file so that it is there wholly or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
        let failed = |source| LayoutError::io("write", path, source);
        let parent = path.parent().unwrap_or(&self.dir);
        let mut builder = tempfile::Builder::new();
        builder.prefix(HALF_WRITTEN).permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let mut file = builder.tempfile_in(parent).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// The referrer manifest of a signature, and the blobs that it names.
pub(crate) fn signature_manifest(
    subject: Descriptor,
    bundle_json: &[u8],
    annotations: BTreeMap<String, String>,
) -> Result<(Vec<u8>, [&[u8]; 2]), json::JsonError> {
    let subject = Descriptor { annotations: BTreeMap::new(), platform: None, artifact_type: None, ..subject };
    let manifest = json::write(&Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST_TYPE.to_owned()),
        config: Descriptor::of(EMPTY_TYPE, EMPTY).artifact(SIGNATURE_TYPE),
        layers: vec![Descriptor::of(SIGNATURE_TYPE, bundle_json)],
        annotations,
        subject: Some(subject),
        artifact_type: Some(SIGNATURE_TYPE.to_owned()),
    })?;
    Ok((manifest, [EMPTY, bundle_json]))
}

fn tag_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(ANNOTATION_REF_NAME).map(String::as_str)
}

fn empty_index() -> Result<Vec<u8>, LayoutError> {
    json::write(&Index::of(Vec::new())).map_err(|source| LayoutError::Malformed { path: "index.json".into(), source })
}
