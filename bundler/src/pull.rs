//! A reference → a bundle whose every byte is what its digest says.
//!
//! A tag is looked at once, in [`pin`]; from there on there are digests alone.
//! [`pull`] walks index → manifest → config and layers → objects, recomputing
//! each digest, refusing whatever the format does not foresee, and taking no more
//! than [`Limits`] allow. Programs that came from somebody's image are followed
//! back to that image, so that *its* signatures can be asked for: a set's author
//! can't pass off other bytes as that image's.
//!
//! Nothing here is trusted yet, and no signature has been looked into.

use std::sync::Arc;

use bpfkit_schemas::{
    bundle::{ProgramOrigin, SetConfig},
    names::{Digest, Platform, ProgramName, RepositoryName, Tag},
    reference::{Pinned, Reference},
};

pub use self::error::{FormatError, PullError};
use crate::{
    hash::sha256,
    image,
    limits::Limits,
    network::Network,
    oci::{Descriptor, Document},
    parts::Parts,
    referrers::{self, Failed, RawSignature},
    store::{Store, Want},
};

mod error;
pub(crate) mod read;

/// A bundle as it arrived: bytes match digests; nothing is trusted yet. It owns the bytes.
#[derive(Clone, Debug)]
pub struct FetchedBundle {
    /// Where it came from, by digest.
    pub pinned: Pinned,
    /// The digests whose signatures count for it: what `pinned` names, and the manifest for this platform.
    pub signed: Vec<Digest>,
    /// The platform that was asked for, and that the bundle is for.
    pub platform: Platform,
    /// What it says.
    pub config: SetConfig,
    /// The objects in the order of `config.programs`, each equal to its descriptor's digest.
    pub objects: Vec<Arc<[u8]>>,
    /// The manifest as it was written.
    pub manifest: Vec<u8>,
    /// Signatures of `signed`.
    pub signatures: Vec<RawSignature>,
    /// The images that programs came from.
    pub images: Vec<CarriedImage>,
    /// Referrers that are no readable signatures.
    pub ignored_referrers: usize,
    /// All of it as it came, to be kept.
    pub parts: Parts,
}

/// The image that one program of a bundle came from, found again beside the bundle and matched with the program's object.
#[derive(Clone, Debug)]
pub struct CarriedImage {
    /// The program.
    pub program: ProgramName,
    /// The image's repository, as the set's author names it.
    pub repository: RepositoryName,
    /// Its version, as the set's author names it.
    pub version: Option<Tag>,
    /// What is signed.
    pub digest: Digest,
    /// The digests whose signatures count: `digest`, and the image's manifest for this platform.
    pub signed: Vec<Digest>,
    /// Signatures of `signed`.
    pub signatures: Vec<RawSignature>,
}

/// Fixes what a reference means, once, for the rest of the run.
///
/// A digest stands for itself, whatever tag is beside it, and nothing is asked;
/// a tag is fetched, and what came is hashed here.
pub fn pin(network: &Network, reference: &Reference) -> Result<Pinned, PullError> {
    if let Some(pinned) = reference.pinned() {
        return Ok(pinned);
    }
    let transfer = |source| PullError::Transfer { reference: reference.to_string(), source };
    let format = |source| PullError::Format { reference: reference.to_string(), source };
    let Some(tag) = &reference.tag else { return Err(format(FormatError::Unnamed)) };
    let bytes = Store::open(network, &reference.place, &Limits::default())
        .and_then(|store| store.tagged(tag))
        .map_err(transfer)?;
    Document::read(&bytes)
        .map_err(|source| format(FormatError::Json { what: format!("what tag `{tag}` means"), source }))?;
    Ok(Pinned { place: reference.place.clone(), digest: sha256(&bytes) })
}

/// Pulls the set bundle that `pinned` names, for `platform`, with all its signatures.
///
/// `pinned` is the set's index, or one platform's manifest by itself.
pub fn pull(
    network: &Network,
    pinned: &Pinned,
    platform: Platform,
    limits: &Limits,
) -> Result<FetchedBundle, PullError> {
    fetch(network, pinned, platform, limits).map_err(|failed| match failed {
        Failed::Transfer(source) => PullError::Transfer { reference: pinned.to_string(), source },
        Failed::Format(source) => PullError::Format { reference: pinned.to_string(), source },
    })
}

impl From<FormatError> for Failed {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

fn fetch(network: &Network, pinned: &Pinned, platform: Platform, limits: &Limits) -> Result<FetchedBundle, Failed> {
    let store = Store::open(network, &pinned.place, limits)?.keeping();

    let mut came = store.fetch_all(&[Want::Manifest(pinned.digest), Want::Referrers(pinned.digest)])?.into_iter();
    let root = came.next().unwrap_or_default();
    let mut listed = vec![(pinned.digest, referrers::entries(&pinned.digest, &came.next().unwrap_or_default())?)];

    let (digest, manifest) = match read::document(&pinned.digest, &root)? {
        Document::Manifest(manifest) => (pinned.digest, manifest),
        Document::Index(index) => {
            let child = read::child(&index, platform)?;
            let mut came = store.fetch_all(&[Want::Manifest(child.digest), Want::Referrers(child.digest)])?.into_iter();
            let bytes = came.next().unwrap_or_default();
            listed.push((child.digest, referrers::entries(&child.digest, &came.next().unwrap_or_default())?));
            read::same_size(child, &bytes)?;
            match read::document(&child.digest, &bytes)? {
                Document::Manifest(manifest) => (child.digest, manifest),
                Document::Index(_) => return Err(FormatError::NestedIndex.into()),
            }
        }
    };
    let (layers, yaml) = read::set_layers(&manifest, limits)?;
    let wants: Vec<_> = [&manifest.config].into_iter().chain(layers).chain([yaml]).cloned().map(Want::Blob).collect();
    let mut came = store.fetch_all(&wants)?.into_iter();
    let config = read::set_config(&came.next().unwrap_or_default(), platform)?;
    let manifest_yaml = came.next_back().unwrap_or_default();
    read::layers_fit(&config, layers)?;
    let mut objects: Vec<Arc<[u8]>> = Vec::new();
    for (program, layer) in config.programs.iter().zip(came) {
        let object = read::object(program, &layer, limits)?;
        store.take(object.len() as u64)?;
        objects.push(object.into());
    }

    let found = referrers::open(&store, &listed)?;
    let mut images = Vec::new();
    let mut ignored_referrers = found.ignored;
    let mut origins = image::Origins::new(&store, platform, limits);
    for program in &config.programs {
        if let ProgramOrigin::Image { repository, version, digest } = &program.origin {
            let origin = origins.trace(digest, program)?;
            ignored_referrers += origin.ignored;
            images.push(CarriedImage {
                program: program.name.clone(),
                repository: repository.clone(),
                version: version.clone(),
                digest: *digest,
                signed: origin.signed,
                signatures: origin.signatures,
            });
        }
    }
    let signatures = found.signatures.iter().chain(images.iter().flat_map(|image| &image.signatures));
    let listed: Vec<_> = std::iter::once(pinned.digest)
        .chain(images.iter().map(|image| image.digest))
        .chain(signatures.map(|signature| signature.manifest))
        .collect();
    Ok(FetchedBundle {
        pinned: pinned.clone(),
        signed: signed(pinned.digest, digest),
        platform,
        config,
        objects,
        manifest: manifest_yaml,
        signatures: found.signatures,
        images,
        ignored_referrers,
        parts: Parts::new(store.kept(), listed),
    })
}

/// An index and its manifest, or a manifest that stands by itself.
pub(crate) fn signed(root: Digest, child: Digest) -> Vec<Digest> {
    if root == child { vec![root] } else { vec![root, child] }
}

/// What a descriptor is for, in a message.
pub(crate) fn layer_name(descriptor: &Descriptor) -> String {
    format!("layer `{}`", descriptor.digest.short())
}
