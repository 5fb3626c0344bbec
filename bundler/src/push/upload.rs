//! The network half of a push: one repository is brought up to what the [`Load`] holds.
//!
//! A `HEAD` decides whether something is sent; a registry that lies about what it
//! has only keeps it from its own users. Signatures are listed by the registry
//! where it minds subjects, and by us under the fallback tag where it does not:
//! read, merge, write, read again, so that nobody's entry is lost unnoticed.

use bpfkit_schemas::names::Digest;
use futures_util::{StreamExt as _, stream};

use super::{Load, PushError, PushEvent, Referrer, Sent, TagMove};
use crate::{
    hash::sha256,
    json,
    limits::MANIFEST_BYTES,
    oci::{Descriptor, Document, INDEX_TYPE, Index},
    registry::{Registry, SubjectMinded, fallback_tag},
    store::AT_ONCE,
    transfer::TransferError,
};

/// How often the fallback list is merged and written before we give up.
const MERGES: usize = 5;

/// A push to one repository.
pub(super) struct Upload<'a> {
    pub(super) registry: &'a Registry<'a>,
    pub(super) emit: &'a dyn Fn(PushEvent),
}

impl Upload<'_> {
    /// Everything, in the order that [`super`] promises.
    pub(super) async fn all(&self, load: &Load) -> Result<(), PushError> {
        let failed = |source| PushError::Transfer { to: self.registry.place(), source: Box::new(source) };
        // The first alone: it logs in, and the others then use the token that it got.
        let mut blobs = load.blobs.iter();
        if let Some((digest, bytes)) = blobs.next() {
            self.blob(digest, bytes).await.map_err(failed)?;
        }
        let mut rest = stream::iter(blobs.map(|(digest, bytes)| self.blob(digest, bytes))).buffer_unordered(AT_ONCE);
        while let Some(done) = rest.next().await {
            done.map_err(failed)?;
        }
        let (indexes, manifests): (Vec<_>, Vec<_>) =
            load.documents.iter().partition(|(descriptor, _)| descriptor.is_index());
        for group in [manifests, indexes] {
            let mut group =
                stream::iter(group.into_iter().map(|(of, bytes)| self.document(of, bytes))).buffer_unordered(AT_ONCE);
            while let Some(done) = group.next().await {
                let (digest, sent) = done.map_err(failed)?;
                (self.emit)(PushEvent::Manifest { digest, sent });
            }
        }
        let mut signed =
            stream::iter(load.referrers.iter().map(|(subject, referrers)| self.referrers(subject, referrers)))
                .buffer_unordered(AT_ONCE);
        while let Some(done) = signed.next().await {
            done.map_err(failed)?;
        }
        if let Some((last, programs)) = load.tags.split_last() {
            let mut programs = stream::iter(programs.iter().map(|program| self.tag(program))).buffer_unordered(AT_ONCE);
            while let Some(done) = programs.next().await {
                done?;
            }
            self.tag(last).await?;
        }
        Ok(())
    }

    async fn blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), TransferError> {
        let sent = if self.registry.has_blob(digest).await? {
            Sent::Before
        } else {
            self.registry.put_blob(digest, bytes).await?;
            Sent::Now
        };
        (self.emit)(PushEvent::Blob { digest: *digest, size: bytes.len() as u64, sent });
        Ok(())
    }

    async fn document(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(Digest, Sent), TransferError> {
        let digest = descriptor.digest;
        if self.registry.has_manifest(&digest).await? {
            return Ok((digest, Sent::Before));
        }
        self.registry.put_manifest(&digest.to_string(), &descriptor.media_type, bytes).await?;
        Ok((digest, Sent::Now))
    }

    /// Brings signatures of `subject` to the registry, and into a list where readers look for them.
    pub(super) async fn referrers(&self, subject: &Digest, referrers: &[Referrer]) -> Result<(), TransferError> {
        let mut unminded = Vec::new();
        for referrer in referrers {
            let digest = referrer.descriptor.digest;
            let mut minded = SubjectMinded::ByNobody;
            let sent = if self.registry.has_manifest(&digest).await? {
                Sent::Before
            } else {
                for (digest, bytes) in &referrer.blobs {
                    self.blob(digest, bytes).await?;
                }
                let (name, media_type) = (digest.to_string(), &referrer.descriptor.media_type);
                minded = self.registry.put_manifest(&name, media_type, &referrer.bytes).await?;
                Sent::Now
            };
            if minded == SubjectMinded::ByNobody {
                unminded.push(&referrer.descriptor);
            }
            (self.emit)(PushEvent::Referrer { digest, subject: *subject, sent });
        }
        if unminded.is_empty() {
            return Ok(());
        }
        // What was there before, or has no header, may still be listed by the API.
        if let Some(listed) = self.registry.referrers_api(subject).await? {
            unminded.retain(|descriptor| !lists(&listed, descriptor));
            if unminded.is_empty() {
                return Ok(());
            }
        }
        self.list(subject, &unminded).await
    }

    /// Writes the fallback list of `subject` until it holds all of `ours`.
    async fn list(&self, subject: &Digest, ours: &[&Descriptor]) -> Result<(), TransferError> {
        for _ in 0..MERGES {
            let mut index = self.registry.fallback(subject).await?.unwrap_or_else(|| Index::of(Vec::new()));
            let missing: Vec<_> = ours.iter().filter(|descriptor| !lists(&index, descriptor)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            index.manifests.extend(missing.into_iter().map(|descriptor| (*descriptor).clone()));
            let bytes = json::write(&index).map_err(|error| TransferError::Refused {
                place: self.registry.place(),
                doing: "list referrers".to_owned(),
                status: 200,
                said: error.to_string(),
            })?;
            self.registry.put_manifest(&fallback_tag(subject), INDEX_TYPE, &bytes).await?;
        }
        // The last write may have been the one that stays.
        let index = self.registry.fallback(subject).await?.unwrap_or_else(|| Index::of(Vec::new()));
        if ours.iter().all(|descriptor| lists(&index, descriptor)) {
            return Ok(());
        }
        Err(TransferError::Contended { place: self.registry.place(), subject: *subject })
    }

    async fn tag(&self, wanted: &TagMove) -> Result<(), PushError> {
        let failed = |source| PushError::Transfer { to: self.registry.place(), source: Box::new(source) };
        let (tag, digest) = (&wanted.tag, wanted.descriptor.digest);
        let there = match self.registry.tagged(tag.as_str(), MANIFEST_BYTES).await {
            Ok(bytes) => Some(bytes),
            Err(TransferError::NotFound { .. }) => None,
            Err(error) => return Err(failed(error)),
        };
        let before = there.as_deref().map(sha256);
        if before == Some(digest) {
            (self.emit)(PushEvent::Tagged { tag: tag.clone(), digest, before: None, sent: Sent::Before });
            return Ok(());
        }
        if let Some(bytes) = there {
            let same_kind = Document::read(&bytes).is_ok_and(|document| document.artifact_type() == Some(wanted.kind));
            if !same_kind {
                return Err(PushError::TagTaken { tag: tag.clone(), to: self.registry.place() });
            }
        }
        self.registry.put_manifest(tag.as_str(), &wanted.descriptor.media_type, &wanted.bytes).await.map_err(failed)?;
        (self.emit)(PushEvent::Tagged { tag: tag.clone(), digest, before, sent: Sent::Now });
        Ok(())
    }
}

fn lists(index: &Index, descriptor: &Descriptor) -> bool {
    index.manifests.iter().any(|entry| entry.digest == descriptor.digest)
}
