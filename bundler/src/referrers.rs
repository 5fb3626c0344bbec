//! A manifest → the signatures that hang on it.
//!
//! What a list of referrers says about its entries is not believed: each manifest
//! is opened, must name the subject, and counts if it has a layer of the
//! signature's media type (ghcr.io lists them under another `artifactType`).
//! What can't be read is ignored, since anybody who may write to the repository
//! can put it there, but counted: the number of referrers is bounded.

use bpfkit_schemas::{bundle::SIGNATURE_TYPE, names::Digest};

use crate::{
    json,
    limits::{REFERRERS, SIGNATURE_BYTES},
    oci::{Descriptor, Document, Index, Manifest},
    pull::FormatError,
    store::{Store, Want},
    transfer::TransferError,
};

/// One signature as it was found. Nothing about it has been checked but its digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawSignature {
    /// The manifest or index that it hangs on.
    pub subject: Digest,
    /// The referrer manifest that carries it.
    pub manifest: Digest,
    /// A Sigstore bundle in JSON, or so its media type says.
    pub bytes: Vec<u8>,
}

/// What hangs on some manifests.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) signatures: Vec<RawSignature>,
    /// Referrers that are no readable signatures.
    pub(crate) ignored: usize,
    /// The referrer manifests of the signatures, in full.
    pub(crate) manifests: Vec<(Descriptor, Vec<u8>)>,
    /// The other blobs that those name.
    pub(crate) blobs: Vec<Vec<u8>>,
}

/// Why signatures could not be collected at all.
#[derive(Debug)]
pub(crate) enum Failed {
    Transfer(TransferError),
    Format(FormatError),
}

impl From<TransferError> for Failed {
    fn from(error: TransferError) -> Self {
        Self::Transfer(error)
    }
}

/// The entries of a list of referrers that [`Want::Referrers`] brought.
pub(crate) fn entries(subject: &Digest, list: &[u8]) -> Result<Vec<Digest>, FormatError> {
    let index: Index = json::read(list).map_err(|source| FormatError::Json {
        what: format!("the list of signatures of `{}`", subject.short()),
        source,
    })?;
    let mut digests: Vec<Digest> = Vec::new();
    for entry in index.manifests {
        if !digests.contains(&entry.digest) {
            digests.push(entry.digest);
        }
    }
    if digests.len() > REFERRERS {
        return Err(FormatError::TooManyReferrers { subject: *subject, count: digests.len() });
    }
    Ok(digests)
}

/// Opens the referrers of each subject.
pub(crate) fn open(store: &Store<'_>, listed: &[(Digest, Vec<Digest>)]) -> Result<Found, Failed> {
    let pairs: Vec<(Digest, Digest)> =
        listed.iter().flat_map(|(subject, digests)| digests.iter().map(|digest| (*subject, *digest))).collect();
    let mut found = Found::default();
    let wants: Vec<_> = pairs.iter().map(|(_, digest)| Want::SmallManifest(*digest, SIGNATURE_BYTES)).collect();
    let mut layers: Vec<(Digest, Digest, Descriptor)> = Vec::new();
    let mut manifests = Vec::new();
    for ((subject, digest), got) in pairs.iter().zip(store.fetch(&wants)?) {
        let Some(bytes) = present(got)? else {
            found.ignored += 1;
            continue;
        };
        match signature_layer(subject, &bytes) {
            Some((manifest, layer)) => {
                layers.push((*subject, *digest, layer));
                let media_type = manifest.media_type.as_deref().unwrap_or(crate::oci::MANIFEST_TYPE);
                manifests.push((Descriptor::of(media_type, &bytes).artifact(SIGNATURE_TYPE), bytes, manifest.config));
            }
            None => found.ignored += 1,
        }
    }
    let wants: Vec<_> = layers.iter().map(|(_, _, layer)| Want::Blob(layer.clone())).collect();
    for (((subject, manifest, _), (descriptor, document, config)), got) in
        layers.into_iter().zip(manifests).zip(store.fetch(&wants)?)
    {
        let Some(bytes) = present(got)? else {
            found.ignored += 1;
            continue;
        };
        found.blobs.push(bytes.clone());
        // Only the config that says nothing can be carried on; another one is fetched by whoever carries.
        if config.digest == crate::hash::sha256(crate::oci::EMPTY) {
            found.manifests.push((descriptor, document));
        }
        found.signatures.push(RawSignature { subject, manifest, bytes });
    }
    if !found.blobs.is_empty() {
        found.blobs.push(crate::oci::EMPTY.to_vec());
    }
    Ok(found)
}

/// The only signature layer of a referrer manifest of `subject`.
fn signature_layer(subject: &Digest, bytes: &[u8]) -> Option<(Manifest, Descriptor)> {
    let Ok(Document::Manifest(manifest)) = Document::read(bytes) else { return None };
    if manifest.subject.as_ref().is_none_or(|of| of.digest != *subject) {
        return None;
    }
    let [layer] = manifest.layers.as_slice() else { return None };
    if layer.media_type != SIGNATURE_TYPE || layer.size > SIGNATURE_BYTES {
        return None;
    }
    let layer = layer.clone();
    Some((manifest, layer))
}

/// Tells bytes that are missing or bad from a way that is blocked.
pub(crate) fn present(got: Result<Vec<u8>, TransferError>) -> Result<Option<Vec<u8>>, TransferError> {
    match got {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_about_content() || matches!(error, TransferError::Truncated { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
