//! A place to read from, whichever kind it is: a layout or a registry.
//!
//! Reading is in batches: what can be asked for at once is, so that a slow line
//! costs a few round trips and not one per blob. And it is counted here, in one
//! place, so that no way of reading is outside the limits.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
};

use bpfkit_schemas::{
    names::{Digest, Tag},
    reference::Place,
};
use futures_util::{StreamExt as _, stream};

use crate::{
    json,
    layout::Layout,
    limits::{Limits, MANIFEST_BYTES, PARTS},
    network::Network,
    oci::{Descriptor, Index},
    registry::{Access, Registry},
    transfer::TransferError,
};

/// How many requests are under way at once.
pub(crate) const AT_ONCE: usize = 8;

/// Something to read.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// A manifest or an index.
    Manifest(Digest),
    /// A manifest of at most so many bytes.
    SmallManifest(Digest, u64),
    /// A blob; its size must be the descriptor's.
    Blob(Descriptor),
    /// What refers to a manifest, as an [`Index`] in JSON; an empty one if nothing does.
    Referrers(Digest),
}

impl Want {
    /// The digest that the bytes must have; none for a list, which has no name.
    fn digest(&self) -> Option<Digest> {
        match self {
            Self::Manifest(digest) | Self::SmallManifest(digest, _) => Some(*digest),
            Self::Blob(descriptor) => Some(descriptor.digest),
            Self::Referrers(_) => None,
        }
    }
}

/// An open place, for one operation: what it may read in all is bounded.
pub(crate) struct Store<'n> {
    source: Source<'n>,
    budget: Budget,
    /// A layout's referrers, once somebody has asked for them.
    referrers: OnceCell<BTreeMap<Digest, Vec<Descriptor>>>,
    /// What was read, where somebody wants to keep it.
    kept: Option<RefCell<BTreeMap<Digest, Vec<u8>>>>,
}

enum Source<'n> {
    /// A directory.
    Layout(Layout),
    /// A repository.
    Registry(Registry<'n>),
}

/// What may still be taken. Whoever serves a bundle decides what its parts name, and so how much there is to read.
struct Budget {
    bytes: Cell<u64>,
    parts: Cell<u32>,
    most_bytes: u64,
}

impl<'n> Store<'n> {
    /// Opens `place` for reading at most `limits.total_bytes`.
    pub(crate) fn open(network: &'n Network, place: &Place, limits: &Limits) -> Result<Self, TransferError> {
        let source = match place {
            Place::Layout(dir) => Source::Layout(Layout::open(dir).map_err(|source| TransferError::Layout { source })?),
            Place::Registry(name) => Source::Registry(Registry::new(network, name, Access::Read)?),
        };
        let bytes = limits.total_bytes;
        let budget = Budget { bytes: Cell::new(bytes), parts: Cell::new(PARTS), most_bytes: bytes };
        Ok(Self { source, budget, referrers: OnceCell::new(), kept: None })
    }

    /// Keeps what is read from now on, for [`Store::kept`].
    pub(crate) fn keeping(self) -> Self {
        Self { kept: Some(RefCell::default()), ..self }
    }

    /// Hands out what was read by digest since [`Store::keeping`].
    pub(crate) fn kept(self) -> BTreeMap<Digest, Vec<u8>> {
        self.kept.map(RefCell::into_inner).unwrap_or_default()
    }

    /// The manifest or index that `tag` means now.
    pub(crate) fn tagged(&self, tag: &Tag) -> Result<Vec<u8>, TransferError> {
        self.part()?;
        let bytes = match &self.source {
            Source::Layout(layout) => {
                let failed = |source| TransferError::Layout { source };
                match layout.tag(tag).map_err(failed)? {
                    Some(digest) => layout.blob(&digest, MANIFEST_BYTES).map_err(failed)?,
                    None => return Err(TransferError::NotFound { place: self.place(), what: format!("tag `{tag}`") }),
                }
            }
            Source::Registry(registry) => {
                registry.network().block_on(registry.tagged(tag.as_str(), MANIFEST_BYTES))??
            }
        };
        self.take(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Reads everything in `wants`, in that order, several at once.
    ///
    /// Blobs say their sizes, so those are counted before the first byte is asked for; the rest as it comes.
    pub(crate) fn fetch(&self, wants: &[Want]) -> Result<Vec<Result<Vec<u8>, TransferError>>, TransferError> {
        for want in wants {
            self.part()?;
            if let Want::Blob(descriptor) = want {
                self.take(descriptor.size)?;
            }
        }
        let got: Vec<_> = match &self.source {
            Source::Layout(layout) => {
                wants.iter().map(|want| self.counted(want, self.read_layout(layout, want))).collect()
            }
            Source::Registry(registry) => {
                let work = wants.iter().map(|want| self.ask_registry(registry, want));
                let work = stream::iter(work).buffered(AT_ONCE).collect();
                registry.network().block_on(work)?
            }
        };
        // That the place serves too much isn't the fault of the part that was one too many.
        if got.iter().any(|one| matches!(one, Err(TransferError::TotalTooLarge { .. }))) {
            return Err(self.spent());
        }
        if let Some(kept) = &self.kept {
            let mut kept = kept.borrow_mut();
            for (want, bytes) in wants.iter().zip(&got) {
                if let (Some(digest), Ok(bytes)) = (want.digest(), bytes) {
                    kept.insert(digest, bytes.clone());
                }
            }
        }
        Ok(got)
    }

    /// Reads one thing.
    pub(crate) fn fetch_one(&self, want: Want) -> Result<Vec<u8>, TransferError> {
        self.fetch(&[want])?
            .pop()
            .unwrap_or_else(|| Err(TransferError::NotFound { place: self.place(), what: "it".to_owned() }))
    }

    /// Reads everything, or says what was the first that failed.
    pub(crate) fn fetch_all(&self, wants: &[Want]) -> Result<Vec<Vec<u8>>, TransferError> {
        self.fetch(wants)?.into_iter().collect()
    }

    /// Counts bytes that are held in memory: what came, what was unpacked, and what is held twice.
    pub(crate) fn take(&self, bytes: u64) -> Result<(), TransferError> {
        if let Some(left) = self.left().checked_sub(bytes) {
            self.budget.bytes.set(left);
            Ok(())
        } else {
            self.budget.bytes.set(0);
            Err(self.spent())
        }
    }

    /// The place.
    pub(crate) fn place(&self) -> Place {
        match &self.source {
            Source::Layout(layout) => Place::Layout(layout.dir().to_owned()),
            Source::Registry(registry) => registry.place(),
        }
    }

    /// Counts one manifest, blob or list that is asked for.
    fn part(&self) -> Result<(), TransferError> {
        match self.budget.parts.get().checked_sub(1) {
            Some(left) => {
                self.budget.parts.set(left);
                Ok(())
            }
            None => Err(TransferError::TooManyParts { place: self.place(), most: PARTS }),
        }
    }

    fn left(&self) -> u64 {
        self.budget.bytes.get()
    }

    fn spent(&self) -> TransferError {
        TransferError::TotalTooLarge { place: self.place(), max: self.budget.most_bytes }
    }

    /// Counts what came, but for blobs: those have been counted.
    fn counted(&self, want: &Want, got: Result<Vec<u8>, TransferError>) -> Result<Vec<u8>, TransferError> {
        let bytes = got?;
        if !matches!(want, Want::Blob(_)) {
            self.take(bytes.len() as u64)?;
        }
        Ok(bytes)
    }

    fn read_layout(&self, layout: &Layout, want: &Want) -> Result<Vec<u8>, TransferError> {
        let failed = |source| TransferError::Layout { source };
        match want {
            Want::Manifest(digest) => layout.blob(digest, MANIFEST_BYTES).map_err(failed),
            Want::SmallManifest(digest, max) => layout.blob(digest, *max).map_err(failed),
            Want::Blob(descriptor) => {
                let bytes = layout.blob(&descriptor.digest, descriptor.size).map_err(failed)?;
                if (bytes.len() as u64) < descriptor.size {
                    return Err(TransferError::Truncated { place: self.place(), what: descriptor.digest.to_string() });
                }
                Ok(bytes)
            }
            Want::Referrers(subject) => {
                let all = if let Some(all) = self.referrers.get() {
                    all
                } else {
                    let read = layout.all_referrers().map_err(failed)?;
                    self.referrers.get_or_init(|| read)
                };
                listed(self.place(), all.get(subject).cloned().unwrap_or_default())
            }
        }
    }

    async fn ask_registry(&self, registry: &Registry<'_>, want: &Want) -> Result<Vec<u8>, TransferError> {
        let left = self.left();
        // One answer may be larger than what is left, but then it was the last.
        let got = match want {
            Want::Blob(descriptor) => registry.blob(&descriptor.digest, descriptor.size).await,
            _ if left == 0 => Err(self.spent()),
            Want::Manifest(digest) => registry.manifest(digest, MANIFEST_BYTES).await,
            Want::SmallManifest(digest, max) => registry.manifest(digest, *max).await,
            Want::Referrers(subject) => match registry.referrers(subject).await {
                Ok(index) => listed(registry.place(), index.manifests),
                Err(error) => Err(error),
            },
        };
        self.counted(want, got)
    }
}

fn listed(place: Place, manifests: Vec<Descriptor>) -> Result<Vec<u8>, TransferError> {
    json::write(&Index::of(manifests)).map_err(|error| TransferError::Refused {
        place,
        doing: "list referrers".to_owned(),
        status: 200,
        said: error.to_string(),
    })
}
