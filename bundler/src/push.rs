//! A bundle in a layout → a registry, or another layout.
//!
//! The order is chosen so that whoever reads meanwhile sees the old version or
//! the whole new one: blobs, manifests, indexes, signatures, the programs' tags,
//! and the version's tag last. What the other side has already is not sent again,
//! so pushing twice sends nothing.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use bpfkit_schemas::{
    Code,
    bundle::{PROGRAM_ARTIFACT_TYPE, SET_ARTIFACT_TYPE},
    diagnostic::{Diagnose, Diagnostic},
    names::{Digest, Tag},
    reference::{Pinned, Place, Reference},
};

use self::upload::Upload;
use crate::{
    hash::sha256,
    layout::{Layout, LayoutError, Tagging, signature_manifest},
    limits::{INDEX_ENTRIES, LAYERS, Limits, MANIFEST_BYTES, REFERRER_LAYERS, SIGNATURE_BYTES},
    listing,
    network::Network,
    oci::{Descriptor, Document, EMPTY, MANIFEST_TYPE, Manifest},
    pull::{FormatError, PullError, pin, read},
    referrers::{self, Failed},
    registry::{Access, Registry, is_reserved},
    set::program_tag,
    store::{Store, Want},
    transfer::TransferError,
};

mod upload;

/// Something that happened during a push, for progress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PushEvent {
    /// A blob was dealt with.
    Blob {
        /// Which.
        digest: Digest,
        /// Bytes.
        size: u64,
        /// Whether it had to be sent.
        sent: Sent,
    },
    /// A manifest or an index was dealt with.
    Manifest {
        /// Which.
        digest: Digest,
        /// Whether it had to be sent.
        sent: Sent,
    },
    /// A signature, or another referrer, was dealt with.
    Referrer {
        /// Which.
        digest: Digest,
        /// What it hangs on.
        subject: Digest,
        /// Whether it had to be sent.
        sent: Sent,
    },
    /// Something that hangs on a manifest can't be read, or is larger than a signature may be: it was left behind.
    Skipped {
        /// Which.
        digest: Digest,
        /// What it hangs on.
        subject: Digest,
    },
    /// A tag means what it should.
    Tagged {
        /// The tag.
        tag: Tag,
        /// What it means.
        digest: Digest,
        /// What it meant before, where that was something else.
        before: Option<Digest>,
        /// Whether it had to be set.
        sent: Sent,
    },
}

/// Whether something had to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// It was sent.
    Now,
    /// It was there.
    Before,
}

/// Why a push stopped. What was sent stays; pushing again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The set can't be read where it is.
    #[error("there is nothing to carry at `{from}`")]
    Source {
        /// Where it should be.
        from: String,
        /// Why.
        source: Box<PullError>,
    },
    /// The other side did not take it.
    #[error("cannot push to `{to}`")]
    Transfer {
        /// Where to.
        to: Place,
        /// Why.
        source: Box<TransferError>,
    },
    /// A tag means something of another kind there.
    #[error("tag `{tag}` already names something else at `{to}`")]
    TagTaken {
        /// The tag.
        tag: Tag,
        /// Where.
        to: Place,
    },
    /// A tag that only registries' fallback lists may have.
    #[error("`{tag}` cannot be a version: tags that start with `sha256-` hold signatures")]
    Reserved {
        /// The tag.
        tag: Tag,
    },
}

impl Diagnose for PushError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        match self {
            Self::Source { source, .. } => source.diagnose(),
            Self::Transfer { source, .. } => source.diagnose(),
            Self::TagTaken { .. } => {
                vec![
                    Diagnostic::error(Code::TAG_TAKEN, self.to_string())
                        .help("choose another version, or another name for the program"),
                ]
            }
            Self::Reserved { .. } => {
                vec![Diagnostic::error(Code::TAG_TAKEN, self.to_string()).help("choose another version")]
            }
        }
    }
}

/// Carries version `version` of the set in `layout` to `to`: bundles, program images, the images
/// that programs came from, and every signature of any of them.
///
/// Returns the set's reference there, by digest.
pub fn push(
    network: &Network,
    layout: &Layout,
    version: &Tag,
    to: &Place,
    on: &mut dyn FnMut(PushEvent),
) -> Result<Pinned, PushError> {
    if is_reserved(version) {
        return Err(PushError::Reserved { tag: version.clone() });
    }
    let place = Place::Layout(layout.dir().to_owned());
    let from = Reference { place, tag: Some(version.clone()), digest: None };
    let pinned =
        pin(network, &from).map_err(|source| PushError::Source { from: from.to_string(), source: Box::new(source) })?;
    copy(network, &pinned, to, on)
}

/// Carries the set at `from`, wherever that is, to `to`, as [`push`] does. What arrives is what its
/// digests say, and nothing more has been decided about it. What hangs on it and can't be read is left
/// behind, as [`mod@crate::pull`] passes it over: whoever may write there could stop every copy with it.
pub fn copy(network: &Network, from: &Pinned, to: &Place, on: &mut dyn FnMut(PushEvent)) -> Result<Pinned, PushError> {
    let source = |source| PushError::Source { from: from.to_string(), source: Box::new(source) };
    let load = Store::open(network, &from.place, &Limits::default())
        .map_err(Failed::from)
        .and_then(|store| Load::of(&store, from));
    let load = load.map_err(|failed| match failed {
        Failed::Transfer(failed) => source(PullError::Transfer { reference: from.to_string(), source: failed }),
        Failed::Format(failed) => source(PullError::Format { reference: from.to_string(), source: failed }),
    })?;
    let events = RefCell::new(on);
    let emit = |event| (events.borrow_mut())(event);
    for (subject, digest) in &load.skipped {
        emit(PushEvent::Skipped { digest: *digest, subject: *subject });
    }
    let failed = |source| PushError::Transfer { to: to.clone(), source: Box::new(source) };
    match to {
        Place::Layout(dir) => {
            into_layout(&load, dir, &emit).map_err(|source| match source {
                LayoutError::TagTaken { tag, .. } => PushError::TagTaken { tag, to: to.clone() },
                source => failed(TransferError::Layout { source }),
            })?;
        }
        Place::Registry(name) => {
            let registry = Registry::new(network, name, Access::Write).map_err(failed)?;
            let upload = Upload { registry: &registry, emit: &emit };
            network.block_on(upload.all(&load)).map_err(failed)??;
        }
    }
    Ok(Pinned { place: to.clone(), digest: load.digest })
}

/// Hangs a signature on a manifest or index where it lies, in a registry or in a layout. Returns the referrer's digest.
///
/// See [`Layout::add_signature`] for the arguments.
pub fn add_signature(
    network: &Network,
    subject: &Pinned,
    bundle_json: &[u8],
    annotations: BTreeMap<String, String>,
) -> Result<Digest, PushError> {
    let failed = |source| PushError::Transfer { to: subject.place.clone(), source: Box::new(source) };
    let name = match &subject.place {
        Place::Layout(dir) => {
            return Layout::open(dir)
                .and_then(|layout| layout.add_signature(&subject.digest, bundle_json, annotations))
                .map_err(|source| failed(TransferError::Layout { source }));
        }
        Place::Registry(name) => name,
    };
    let nonsense = |error: crate::json::JsonError| {
        failed(TransferError::Refused {
            place: subject.place.clone(),
            doing: format!("serve `{}`", subject.digest),
            status: 200,
            said: error.to_string(),
        })
    };
    let registry = Registry::new(network, name, Access::Write).map_err(failed)?;
    let bytes =
        network.block_on(registry.manifest(&subject.digest, MANIFEST_BYTES)).map_err(failed)?.map_err(failed)?;
    let document = Document::read(&bytes).map_err(nonsense)?;
    let described = Descriptor::of(document.media_type(), &bytes);
    let (manifest, blobs) = signature_manifest(described, bundle_json, annotations).map_err(nonsense)?;
    let descriptor = Descriptor::of(MANIFEST_TYPE, &manifest).artifact(bpfkit_schemas::bundle::SIGNATURE_TYPE);
    let digest = descriptor.digest;
    let referrer = Referrer {
        descriptor,
        bytes: manifest,
        blobs: blobs.into_iter().map(|blob| (sha256(blob), blob.to_vec())).collect(),
    };
    let upload = Upload { registry: &registry, emit: &|_| () };
    network.block_on(upload.referrers(&subject.digest, &[referrer])).map_err(failed)?.map_err(failed)?;
    Ok(digest)
}

/// Everything that a push carries, in memory.
struct Load {
    /// The set's index.
    digest: Digest,
    blobs: BTreeMap<Digest, Vec<u8>>,
    /// Manifests, then indexes: what an index names is sent before it.
    documents: Vec<(Descriptor, Vec<u8>)>,
    /// Images that are wanted without a tag.
    untagged: Vec<Descriptor>,
    referrers: BTreeMap<Digest, Vec<Referrer>>,
    /// Subjects, and what hangs on them but can't be read.
    skipped: Vec<(Digest, Digest)>,
    /// The version's tag last.
    tags: Vec<TagMove>,
}

/// A manifest that has a subject, and what it names.
struct Referrer {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    blobs: BTreeMap<Digest, Vec<u8>>,
}

/// A tag that is to mean something.
struct TagMove {
    tag: Tag,
    descriptor: Descriptor,
    bytes: Vec<u8>,
    /// The artifact type of what may lose the tag.
    kind: &'static str,
}

impl Load {
    fn of(store: &Store<'_>, pinned: &Pinned) -> Result<Self, Failed> {
        let listing = listing::in_store(store, pinned)?;
        let mut load = Self {
            digest: pinned.digest,
            blobs: BTreeMap::new(),
            documents: Vec::new(),
            untagged: Vec::new(),
            referrers: BTreeMap::new(),
            skipped: Vec::new(),
            tags: Vec::new(),
        };
        let mut indexes = Vec::new();
        for (name, listed) in &listing.programs {
            let (descriptor, bytes) = load.take(store, &listed.digest, &mut indexes)?;
            let tag = program_tag(&listing.version, name).map_err(|_| FormatError::Unnamed)?;
            load.tags.push(TagMove { tag, descriptor, bytes, kind: PROGRAM_ARTIFACT_TYPE });
        }
        for image in &listing.images {
            let (descriptor, _) = load.take(store, image, &mut indexes)?;
            load.untagged.push(descriptor);
        }
        let (descriptor, bytes) = load.take(store, &pinned.digest, &mut indexes)?;
        load.tags.push(TagMove { tag: listing.version, descriptor, bytes, kind: SET_ARTIFACT_TYPE });
        load.documents.extend(indexes);
        load.take_referrers(store)?;
        Ok(load)
    }

    /// Takes a manifest, or an index with its manifests, and all their blobs.
    fn take(
        &mut self,
        store: &Store<'_>,
        digest: &Digest,
        indexes: &mut Vec<(Descriptor, Vec<u8>)>,
    ) -> Result<(Descriptor, Vec<u8>), Failed> {
        let bytes = store.fetch_one(Want::Manifest(*digest))?;
        let document = read::document(digest, &bytes)?;
        let mut descriptor = Descriptor::of(document.media_type(), &bytes);
        descriptor.artifact_type = document.artifact_type().map(str::to_owned);
        match document {
            Document::Manifest(manifest) => self.take_manifest(store, &descriptor, &manifest, &bytes)?,
            Document::Index(index) => {
                if index.manifests.len() > INDEX_ENTRIES {
                    return Err(FormatError::TooManyEntries { count: index.manifests.len() }.into());
                }
                let known: BTreeSet<_> = self.documents.iter().map(|(descriptor, _)| descriptor.digest).collect();
                let mut new = BTreeMap::new();
                for entry in &index.manifests {
                    if entry.is_index() {
                        return Err(FormatError::NestedIndex.into());
                    }
                    if !known.contains(&entry.digest) {
                        new.insert(entry.digest, entry);
                    }
                }
                let wants: Vec<_> = new.keys().copied().map(Want::Manifest).collect();
                for (entry, bytes) in new.into_values().zip(store.fetch_all(&wants)?) {
                    read::same_size(entry, &bytes)?;
                    // Whatever the entry said: one index deep is deep enough.
                    let document = read::document(&entry.digest, &bytes)?;
                    let mut descriptor = Descriptor::of(document.media_type(), &bytes);
                    descriptor.artifact_type = document.artifact_type().map(str::to_owned);
                    let Document::Manifest(manifest) = document else { return Err(FormatError::NestedIndex.into()) };
                    self.take_manifest(store, &descriptor, &manifest, &bytes)?;
                }
                if !indexes.iter().any(|(known, _)| known.digest == *digest) {
                    indexes.push((descriptor.clone(), bytes.clone()));
                }
            }
        }
        Ok((descriptor, bytes))
    }

    /// Takes a manifest's blobs, and itself.
    fn take_manifest(
        &mut self,
        store: &Store<'_>,
        descriptor: &Descriptor,
        manifest: &Manifest,
        bytes: &[u8],
    ) -> Result<(), Failed> {
        if self.documents.iter().any(|(known, _)| known.digest == descriptor.digest) {
            return Ok(());
        }
        if manifest.layers.len() > LAYERS {
            return Err(FormatError::TooManyLayers { count: manifest.layers.len() }.into());
        }
        let mut new = BTreeMap::new();
        for part in manifest.layers.iter().chain([&manifest.config]) {
            read::size(part, Limits::default().layer_bytes, &crate::pull::layer_name(part))?;
            if !self.blobs.contains_key(&part.digest) {
                new.insert(part.digest, part.clone());
            }
        }
        let wants: Vec<_> = new.values().cloned().map(Want::Blob).collect();
        self.blobs.extend(new.into_keys().zip(store.fetch_all(&wants)?));
        self.documents.push((descriptor.clone(), bytes.to_vec()));
        Ok(())
    }

    /// Takes what hangs on any of the documents, as far as it can be read: anybody may have put it there.
    fn take_referrers(&mut self, store: &Store<'_>) -> Result<(), Failed> {
        let known: BTreeSet<_> = self.documents.iter().map(|(descriptor, _)| descriptor.digest).collect();
        let wants: Vec<_> = known.iter().copied().map(Want::Referrers).collect();
        let mut pairs = Vec::new();
        for (subject, list) in known.into_iter().zip(store.fetch_all(&wants)?) {
            pairs.extend(referrers::entries(&subject, &list)?.into_iter().map(|digest| (subject, digest)));
        }
        let wants: Vec<_> = pairs.iter().map(|(_, digest)| Want::SmallManifest(*digest, SIGNATURE_BYTES)).collect();
        for ((subject, digest), got) in pairs.into_iter().zip(store.fetch(&wants)?) {
            let referrer = match referrers::present(got)? {
                Some(bytes) => referrer(store, &subject, bytes)?,
                None => None,
            };
            match referrer {
                Some(referrer) => self.referrers.entry(subject).or_default().push(referrer),
                None => self.skipped.push((subject, digest)),
            }
        }
        Ok(())
    }
}

/// A manifest that hangs on `subject`, with all that it names; `None` if it doesn't, or isn't whole, or is larger than
/// what hangs on something may be.
fn referrer(store: &Store<'_>, subject: &Digest, bytes: Vec<u8>) -> Result<Option<Referrer>, Failed> {
    let Ok(Document::Manifest(manifest)) = Document::read(&bytes) else { return Ok(None) };
    let hangs = manifest.subject.as_ref().is_some_and(|of| of.digest == *subject);
    let mut parts: BTreeMap<_, _> =
        manifest.layers.iter().chain([&manifest.config]).map(|part| (part.digest, part.clone())).collect();
    let fits = parts.values().all(|part| part.size <= SIGNATURE_BYTES);
    if !hangs || !fits || manifest.layers.len() > REFERRER_LAYERS {
        return Ok(None);
    }
    let mut blobs = BTreeMap::new();
    if parts.remove(&sha256(EMPTY)).is_some() {
        blobs.insert(sha256(EMPTY), EMPTY.to_vec());
    }
    let wants: Vec<_> = parts.values().cloned().map(Want::Blob).collect();
    for (digest, got) in parts.into_keys().zip(store.fetch(&wants)?) {
        let Some(blob) = referrers::present(got)? else { return Ok(None) };
        blobs.insert(digest, blob);
    }
    let media_type = manifest.media_type.as_deref().unwrap_or(MANIFEST_TYPE);
    let mut descriptor = Descriptor::of(media_type, &bytes);
    descriptor.artifact_type = manifest.artifact_type.or(Some(manifest.config.media_type));
    Ok(Some(Referrer { descriptor, bytes, blobs }))
}

fn into_layout(load: &Load, dir: &std::path::Path, emit: &dyn Fn(PushEvent)) -> Result<(), LayoutError> {
    let target = Layout::create(dir)?;
    let tags: Vec<_> =
        load.tags.iter().map(|TagMove { tag, descriptor, kind, .. }| Tagging { tag, descriptor, kind }).collect();
    target.refuse_other_kinds(&tags)?;
    let sent = |digest: &Digest| if target.holds(digest) { Sent::Before } else { Sent::Now };
    for (digest, bytes) in &load.blobs {
        let sent = sent(digest);
        target.put_blob(bytes)?;
        emit(PushEvent::Blob { digest: *digest, size: bytes.len() as u64, sent });
    }
    for (descriptor, bytes) in &load.documents {
        let sent = sent(&descriptor.digest);
        target.put_blob(bytes)?;
        emit(PushEvent::Manifest { digest: descriptor.digest, sent });
    }
    let mut untagged = load.untagged.clone();
    for (subject, referrers) in &load.referrers {
        for referrer in referrers {
            let sent = sent(&referrer.descriptor.digest);
            for blob in referrer.blobs.values() {
                target.put_blob(blob)?;
            }
            target.put_blob(&referrer.bytes)?;
            untagged.push(referrer.descriptor.clone());
            emit(PushEvent::Referrer { digest: referrer.descriptor.digest, subject: *subject, sent });
        }
    }
    target.add_untagged(&untagged)?;
    let meant: BTreeMap<_, _> = target.tags()?.into_iter().map(|(tag, entry)| (tag, entry.digest)).collect();
    let mut events = Vec::new();
    for Tagging { tag, descriptor, .. } in &tags {
        let digest = descriptor.digest;
        let before = meant.get(*tag).copied();
        let sent = if before == Some(digest) { Sent::Before } else { Sent::Now };
        let before = before.filter(|before| *before != digest);
        events.push(PushEvent::Tagged { tag: (*tag).clone(), digest, before, sent });
    }
    target.set_tags(&tags)?;
    events.into_iter().for_each(emit);
    Ok(())
}
