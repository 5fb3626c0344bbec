//! A place to read from, whichever kind it is: a layout or a registry.
//!
//! Reading is in batches: what can be asked for at once is, so that a slow line
//! costs a few round trips and not one per blob.

use bpfkit_schemas::{
    names::{Digest, Tag},
    reference::Place,
};
use futures_util::{StreamExt as _, stream};

use crate::{
    json,
    layout::Layout,
    limits::MANIFEST_BYTES,
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

/// An open place.
pub(crate) enum Store<'n> {
    /// A directory.
    Layout(Layout),
    /// A repository.
    Registry(Registry<'n>),
}

impl<'n> Store<'n> {
    /// Opens `place` for reading.
    pub(crate) fn open(network: &'n Network, place: &Place) -> Result<Self, TransferError> {
        Ok(match place {
            Place::Layout(dir) => Self::Layout(Layout::open(dir).map_err(|source| TransferError::Layout { source })?),
            Place::Registry(name) => Self::Registry(Registry::new(network, name, Access::Read)?),
        })
    }

    /// The manifest or index that `tag` means now.
    pub(crate) fn tagged(&self, tag: &Tag) -> Result<Vec<u8>, TransferError> {
        match self {
            Self::Layout(layout) => {
                let failed = |source| TransferError::Layout { source };
                match layout.tag(tag).map_err(failed)? {
                    Some(digest) => layout.blob(&digest, MANIFEST_BYTES).map_err(failed),
                    None => Err(TransferError::NotFound { place: self.place(), what: format!("tag `{tag}`") }),
                }
            }
            Self::Registry(registry) => registry.network().block_on(registry.tagged(tag.as_str(), MANIFEST_BYTES))?,
        }
    }

    /// Reads everything in `wants`, in that order, several at once.
    pub(crate) fn fetch(&self, wants: &[Want]) -> Result<Vec<Result<Vec<u8>, TransferError>>, TransferError> {
        match self {
            Self::Layout(layout) => Ok(wants.iter().map(|want| from_layout(layout, want)).collect()),
            Self::Registry(registry) => {
                let work =
                    stream::iter(wants.iter().map(|want| from_registry(registry, want))).buffered(AT_ONCE).collect();
                registry.network().block_on(work)
            }
        }
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

    /// The place.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Layout(layout) => Place::Layout(layout.dir().to_owned()),
            Self::Registry(registry) => registry.place(),
        }
    }
}

fn from_layout(layout: &Layout, want: &Want) -> Result<Vec<u8>, TransferError> {
    let place = || Place::Layout(layout.dir().to_owned());
    let bytes = match want {
        Want::Manifest(digest) => layout.blob(digest, MANIFEST_BYTES),
        Want::SmallManifest(digest, max) => layout.blob(digest, *max),
        Want::Blob(descriptor) => match layout.blob(&descriptor.digest, descriptor.size) {
            Ok(bytes) if (bytes.len() as u64) < descriptor.size => {
                return Err(TransferError::Truncated { place: place(), what: descriptor.digest.to_string() });
            }
            other => other,
        },
        Want::Referrers(subject) => {
            return layout
                .referrers(subject)
                .map_err(|source| TransferError::Layout { source })
                .and_then(|found| listed(place(), found));
        }
    };
    bytes.map_err(|source| TransferError::Layout { source })
}

async fn from_registry(registry: &Registry<'_>, want: &Want) -> Result<Vec<u8>, TransferError> {
    match want {
        Want::Manifest(digest) => registry.manifest(digest, MANIFEST_BYTES).await,
        Want::SmallManifest(digest, max) => registry.manifest(digest, *max).await,
        Want::Blob(descriptor) => registry.blob(&descriptor.digest, descriptor.size).await,
        Want::Referrers(subject) => listed(registry.place(), registry.referrers(subject).await?.manifests),
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
