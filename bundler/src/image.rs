//! Program images, ours and bpfman's, and set bundles as a source of one program: a reference → an object and its signatures.
//!
//! An image is taken over whole: its index, every manifest in it, their blobs and
//! its signatures travel with the set that uses it, byte for byte, so that a host
//! can follow a program back to what its author signed (`Origins`).
//! Labels are hints for people. What a program is, its object's ELF says.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use bpfkit_schemas::{
    bundle::{BundledProgram, LAYER_TYPE, SET_ARTIFACT_TYPE},
    names::{Digest, Platform, ProgramName, Tag},
    reference::Pinned,
};

use crate::{
    archive,
    hash::sha256,
    layout::{Layout, LayoutError},
    limits::{LAYERS, Limits},
    network::Network,
    oci::{ANNOTATION_OCI_VERSION, DOCKER_LAYER_TYPE, Descriptor, Document, Index, Manifest},
    pull::{FormatError, PullError, read, signed},
    referrers::{self, Failed, Found, RawSignature},
    store::{Store, Want},
};

/// Somebody's program, with everything that proves whose it is.
#[derive(Clone, Debug)]
pub struct FetchedImage {
    /// Where it came from, by digest: the digest that is signed.
    pub pinned: Pinned,
    /// The version that it says it has.
    pub version: Option<Tag>,
    /// The digests whose signatures count: `pinned`'s, and the manifests of the platforms asked for.
    pub signed: Vec<Digest>,
    /// The objects.
    pub objects: BTreeMap<Platform, ImageObject>,
    /// Signatures of `signed`.
    pub signatures: Vec<RawSignature>,
    carried: Carried,
}

/// One platform's object of an image.
#[derive(Clone, Debug)]
pub struct ImageObject {
    /// The ELF, as far as anybody has looked: some bytes.
    pub bytes: Vec<u8>,
    /// Where it was picked from a set bundle: what that bundle says of it.
    pub program: Option<BundledProgram>,
}

/// The image's blobs, as they are to be stored elsewhere.
#[derive(Clone, Debug, Default)]
struct Carried {
    blobs: Vec<Vec<u8>>,
    /// Listed untagged in a layout: the image itself, and its signatures.
    listed: Vec<Descriptor>,
}

/// Pulls the image that `pinned` names: an image of one program, or a set bundle of which `pick` is taken.
///
/// Every platform of `platforms` must be there.
pub fn pull_image(
    network: &Network,
    pinned: &Pinned,
    platforms: &[Platform],
    pick: Option<&ProgramName>,
    limits: &Limits,
) -> Result<FetchedImage, PullError> {
    fetch(network, pinned, platforms, pick, limits).map_err(|failed| match failed {
        Failed::Transfer(source) => PullError::Transfer { reference: pinned.to_string(), source },
        Failed::Format(source) => PullError::Format { reference: pinned.to_string(), source },
    })
}

impl FetchedImage {
    /// Stores the image and its signatures in `layout`, untagged.
    pub(crate) fn carry_into(&self, layout: &Layout) -> Result<(), LayoutError> {
        for blob in &self.carried.blobs {
            layout.put_blob(blob)?;
        }
        layout.add_untagged(&self.carried.listed)
    }
}

/// A digest and what is behind it.
struct Root {
    document: Document,
    bytes: Vec<u8>,
}

fn root(store: &Store<'_>, digest: &Digest) -> Result<Root, Failed> {
    let bytes = store.fetch_one(Want::Manifest(*digest))?;
    Ok(Root { document: read::document(digest, &bytes)?, bytes })
}

/// The manifests behind a root, and which of them is whose.
struct Children {
    /// Digest, document, bytes.
    all: Vec<(Digest, Manifest, Vec<u8>)>,
    index: Option<Index>,
}

impl Children {
    fn of(store: &Store<'_>, digest: &Digest, root: &Root) -> Result<Self, Failed> {
        let index = match &root.document {
            Document::Manifest(manifest) => {
                return Ok(Self { all: vec![(*digest, manifest.clone(), root.bytes.clone())], index: None });
            }
            Document::Index(index) => index,
        };
        if index.manifests.len() > crate::limits::INDEX_ENTRIES {
            return Err(FormatError::TooManyEntries { count: index.manifests.len() }.into());
        }
        if index.manifests.iter().any(Descriptor::is_index) {
            return Err(FormatError::NestedIndex.into());
        }
        let wants: Vec<_> = index.manifests.iter().map(|entry| Want::Manifest(entry.digest)).collect();
        let mut all = Vec::new();
        for (entry, bytes) in index.manifests.iter().zip(store.fetch_all(&wants)?) {
            read::same_size(entry, &bytes)?;
            match read::document(&entry.digest, &bytes)? {
                Document::Manifest(manifest) => all.push((entry.digest, manifest, bytes)),
                Document::Index(_) => return Err(FormatError::NestedIndex.into()),
            }
        }
        Ok(Self { all, index: Some(index.clone()) })
    }

    /// The manifest for `platform`. One that stands by itself is for whatever it was asked for.
    fn on(&self, platform: Platform) -> Result<(Digest, &Manifest), FormatError> {
        let wanted = match &self.index {
            Some(index) => Some(read::child(index, platform)?.digest),
            None => None,
        };
        self.all
            .iter()
            .find(|(digest, ..)| wanted.is_none_or(|wanted| wanted == *digest))
            .map(|(digest, manifest, _)| (*digest, manifest))
            .ok_or(FormatError::NoPlatform { want: platform, have: Vec::new() })
    }
}

fn fetch(
    network: &Network,
    pinned: &Pinned,
    platforms: &[Platform],
    pick: Option<&ProgramName>,
    limits: &Limits,
) -> Result<FetchedImage, Failed> {
    let store = Store::open(network, &pinned.place, limits)?;
    let root = root(&store, &pinned.digest)?;
    let children = Children::of(&store, &pinned.digest, &root)?;

    // Everything that the manifests name, once.
    let mut parts: BTreeMap<Digest, Descriptor> = BTreeMap::new();
    for (_, manifest, _) in &children.all {
        if manifest.layers.len() > LAYERS {
            return Err(FormatError::TooManyLayers { count: manifest.layers.len() }.into());
        }
        read::size(&manifest.config, limits.config_bytes, "the config")?;
        for layer in &manifest.layers {
            read::size(layer, limits.layer_bytes, &crate::pull::layer_name(layer))?;
        }
        parts.extend(manifest.layers.iter().chain([&manifest.config]).map(|part| (part.digest, part.clone())));
    }
    let wants: Vec<_> = parts.values().cloned().map(Want::Blob).collect();
    let blobs: BTreeMap<Digest, Vec<u8>> = parts.keys().copied().zip(store.fetch_all(&wants)?).collect();
    let blob = |part: &Descriptor| blobs.get(&part.digest).map(Vec::as_slice).unwrap_or_default();

    let mut objects = BTreeMap::new();
    let mut counted = BTreeSet::from([pinned.digest]);
    let mut version = root.document.annotations().get(ANNOTATION_OCI_VERSION).and_then(|version| version.parse().ok());
    for platform in platforms {
        let (digest, manifest) = children.on(*platform)?;
        counted.insert(digest);
        let object = if manifest.artifact_type.as_deref() == Some(SET_ARTIFACT_TYPE) {
            let (layers, _) = read::set_layers(manifest, limits)?;
            let config = read::set_config(blob(&manifest.config), *platform)?;
            read::layers_fit(&config, layers)?;
            let program = picked(&config.programs, pick)?;
            let layer = layers.iter().find(|layer| layer.digest == program.layer).map(&blob).unwrap_or_default();
            version = Some(config.version.clone());
            ImageObject { bytes: read::object(&program, layer, limits)?, program: Some(program) }
        } else {
            if let Some(program) = pick {
                return Err(FormatError::NothingToPick { program: program.clone() }.into());
            }
            let bytes = archive::unpack_foreign(blob(only_layer(manifest)?), limits.object_bytes)
                .map_err(|source| FormatError::Layer { program: pinned.digest.short(), source })?;
            ImageObject { bytes, program: None }
        };
        store.take(object.bytes.len() as u64)?;
        objects.insert(*platform, object);
    }

    let found = signatures(&store, counted.iter().copied())?;
    let media_type = root.document.media_type().to_owned();
    let mut listed = vec![Descriptor::of(&media_type, &root.bytes)];
    if let Some(kind) = root.document.artifact_type() {
        listed = listed.into_iter().map(|descriptor| descriptor.artifact(kind)).collect();
    }
    let mut carried = Carried { blobs: blobs.into_values().collect(), listed };
    carried.blobs.extend(children.all.into_iter().map(|(.., bytes)| bytes));
    carried.blobs.push(root.bytes);
    carried.blobs.extend(found.blobs);
    for (descriptor, bytes) in found.manifests {
        carried.blobs.push(bytes);
        carried.listed.push(descriptor);
    }
    Ok(FetchedImage {
        pinned: pinned.clone(),
        version,
        signed: counted.into_iter().collect(),
        objects,
        signatures: found.signatures,
        carried,
    })
}

/// What was found when a program was followed back to its image.
pub(crate) struct Origin {
    pub(crate) signed: Vec<Digest>,
    pub(crate) signatures: Vec<RawSignature>,
    /// Referrers that are no readable signatures; those of an image that several programs are from, once.
    pub(crate) ignored: usize,
}

/// The images that programs of a bundle came from, each looked at once.
pub(crate) struct Origins<'a> {
    store: &'a Store<'a>,
    platform: Platform,
    limits: &'a Limits,
    seen: BTreeMap<Digest, Opened>,
}

/// An image as it was found.
struct Opened {
    signed: Vec<Digest>,
    signatures: Vec<RawSignature>,
    ignored: usize,
    holds: Holds,
}

/// The objects in an image.
enum Holds {
    /// A set bundle's, as its config describes them.
    Described(BTreeSet<Digest>),
    /// One, in this layer, and its digest once somebody has had to look.
    Packed(Descriptor, Option<Digest>),
}

impl<'a> Origins<'a> {
    /// None so far; they lie in `store`.
    pub(crate) fn new(store: &'a Store<'a>, platform: Platform, limits: &'a Limits) -> Self {
        Self { store, platform, limits, seen: BTreeMap::new() }
    }

    /// Follows `program` of a set bundle back to the image `digest` in the same repository.
    ///
    /// Its object must be what the image holds for the platform; in a set bundle, what that set's config
    /// describes. Otherwise the image's signatures would vouch for bytes that nobody signed.
    pub(crate) fn trace(&mut self, digest: &Digest, program: &BundledProgram) -> Result<Origin, Failed> {
        let (store, limits) = (self.store, self.limits);
        let opened = match self.seen.entry(*digest) {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => place.insert(open(store, digest, self.platform, limits)?),
        };
        let there = match &mut opened.holds {
            Holds::Described(objects) => objects.contains(&program.object.digest),
            // The same layer holds the same object, which has been compared with its descriptor.
            Holds::Packed(layer, _) if layer.digest == program.layer => true,
            Holds::Packed(layer, object) => {
                let object = match *object {
                    Some(object) => object,
                    None => *object.insert(unpacked(store, layer, program, limits)?),
                };
                object == program.object.digest
            }
        };
        if !there {
            return Err(FormatError::NotFromImage { program: program.name.clone(), digest: *digest }.into());
        }
        // Each program of an image gets them all.
        store.take(opened.signatures.iter().map(|signature| signature.bytes.len() as u64).sum())?;
        Ok(Origin {
            signed: opened.signed.clone(),
            signatures: opened.signatures.clone(),
            ignored: std::mem::take(&mut opened.ignored),
        })
    }
}

fn open(store: &Store<'_>, digest: &Digest, platform: Platform, limits: &Limits) -> Result<Opened, Failed> {
    let root = root(store, digest)?;
    let (child, manifest) = match root.document {
        Document::Manifest(manifest) => (*digest, manifest),
        Document::Index(index) => {
            let entry = read::child(&index, platform)?;
            let bytes = store.fetch_one(Want::Manifest(entry.digest))?;
            match read::document(&entry.digest, &bytes)? {
                Document::Manifest(manifest) => (entry.digest, manifest),
                Document::Index(_) => return Err(FormatError::NestedIndex.into()),
            }
        }
    };
    let holds = if manifest.artifact_type.as_deref() == Some(SET_ARTIFACT_TYPE) {
        read::set_layers(&manifest, limits)?;
        let config = read::set_config(&store.fetch_one(Want::Blob(manifest.config))?, platform)?;
        Holds::Described(config.programs.iter().map(|program| program.object.digest).collect())
    } else {
        Holds::Packed(only_layer(&manifest)?.clone(), None)
    };
    let signed = signed(*digest, child);
    let found = signatures(store, signed.iter().copied())?;
    Ok(Opened { signed, signatures: found.signatures, ignored: found.ignored, holds })
}

/// The digest of the only object in a layer.
fn unpacked(
    store: &Store<'_>,
    layer: &Descriptor,
    program: &BundledProgram,
    limits: &Limits,
) -> Result<Digest, Failed> {
    read::size(layer, limits.layer_bytes, &crate::pull::layer_name(layer))?;
    let bytes = store.fetch_one(Want::Blob(layer.clone()))?;
    let object = archive::unpack_foreign(&bytes, limits.object_bytes)
        .map_err(|source| FormatError::Layer { program: program.name.to_string(), source })?;
    store.take(object.len() as u64)?;
    Ok(sha256(&object))
}

fn signatures(store: &Store<'_>, subjects: impl Iterator<Item = Digest>) -> Result<Found, Failed> {
    let subjects: Vec<_> = subjects.collect();
    let wants: Vec<_> = subjects.iter().copied().map(Want::Referrers).collect();
    let mut listed = Vec::new();
    for (subject, list) in subjects.into_iter().zip(store.fetch_all(&wants)?) {
        listed.push((subject, referrers::entries(&subject, &list)?));
    }
    referrers::open(store, &listed)
}

/// The program of a set bundle that `pick` names, or its only one.
fn picked(programs: &[BundledProgram], pick: Option<&ProgramName>) -> Result<BundledProgram, FormatError> {
    let have = || programs.iter().map(|program| program.name.to_string()).collect();
    match (programs, pick) {
        ([only], None) => Ok(only.clone()),
        (_, None) => Err(FormatError::PickOne { have: have() }),
        (_, Some(name)) => programs
            .iter()
            .find(|program| program.name == *name)
            .cloned()
            .ok_or_else(|| FormatError::NoSuchProgram { program: name.clone(), have: have() }),
    }
}

/// The layer of an image of one program: the only one, since bpfman's loaders read the first.
fn only_layer(manifest: &Manifest) -> Result<&Descriptor, FormatError> {
    let [layer] = manifest.layers.as_slice() else {
        return Err(FormatError::NotAnImage { why: format!("it has {} layers, not one", manifest.layers.len()) });
    };
    if layer.media_type != LAYER_TYPE && layer.media_type != DOCKER_LAYER_TYPE {
        return Err(FormatError::NotAnImage {
            why: format!("its layer has the type `{}`", crate::json::printable(&layer.media_type)),
        });
    }
    Ok(layer)
}
