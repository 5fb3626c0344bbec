//! A fetched bundle's parts, as they came: what it takes to lay the same bundle out elsewhere without asking again.
//!
//! Made by [`mod@crate::pull`] alone, from bytes that matched their digests, and written by
//! [`Parts::lay_out`]: whoever keeps a bundle keeps the very bytes that were verified, not
//! what a registry may serve a second time. Program images, other platforms and signatures
//! that nobody asked for are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bpfkit_schemas::names::Digest;

use crate::{
    hash::sha256,
    layout::{Layout, LayoutError},
    oci::{Descriptor, Document, EMPTY},
};

/// Everything that was read of one bundle, by digest.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    blobs: BTreeMap<Digest, Arc<[u8]>>,
    /// The documents that a layout lists: the root, the roots of images, the signatures' manifests.
    listed: BTreeSet<Digest>,
}

impl Parts {
    /// Joins what was read; of `listed`, what isn't among it is left out.
    pub(crate) fn new(read: BTreeMap<Digest, Vec<u8>>, listed: impl IntoIterator<Item = Digest>) -> Self {
        let mut blobs: BTreeMap<Digest, Arc<[u8]>> =
            read.into_iter().map(|(digest, bytes)| (digest, bytes.into())).collect();
        // The config of a signature's manifest, which nobody needs to fetch.
        blobs.insert(sha256(EMPTY), EMPTY.into());
        let listed = listed.into_iter().filter(|digest| blobs.contains_key(digest)).collect();
        Self { blobs, listed }
    }

    /// Writes the parts into `layout`: blobs first, the list last. What is there already is left alone.
    /// Once this returns, all of it outlives a loss of power.
    pub fn lay_out(&self, layout: &Layout) -> Result<(), LayoutError> {
        for bytes in self.blobs.values() {
            layout.put_blob(bytes)?;
        }
        let described = self.listed.iter().filter_map(|digest| self.blobs.get(digest)).filter_map(|bytes| {
            let document = Document::read(bytes).ok()?;
            let mut descriptor = Descriptor::of(document.media_type(), bytes);
            descriptor.artifact_type = document.artifact_type().map(str::to_owned);
            Some(descriptor)
        });
        layout.add_untagged(&described.collect::<Vec<_>>())?;
        layout.sync()
    }

    /// The digests of all parts, ascending.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        self.blobs.keys().copied()
    }
}
