//! Objects → a bundle in a layout: the only writer of the bundle format.
//!
//! Two manifests per platform over one set of blobs: the set bundle, which our
//! own `apply` reads, and one image per program, which bpfman loads (build.md of
//! `shipping-bytecode`: one tar+gzip layer, an ordinary image config, two labels).
//! Everything is a function of [`PackSet`] alone, so the same input gives the
//! same bytes; the layout is touched once all bytes are made, tags last.

use std::collections::BTreeMap;

use bpfkit_schemas::{
    bundle::{
        BundledProgram, FORMAT, LAYER_TYPE, MANIFEST_LAYER_TYPE, PROGRAM_ARTIFACT_TYPE, ProgramOrigin,
        SET_ARTIFACT_TYPE, SET_CONFIG_TYPE, SetConfig,
    },
    chain::{Chain, Globals, SharedMap},
    names::{Digest, Platform, ProgramName, RepositoryName, SetName, Tag},
    object::{Endian, ObjectDescriptor, ProgramType},
    reference::{Pinned, Place},
    trust::TrustBlock,
};

pub use self::error::BundleError;
use crate::{
    archive,
    hash::sha256,
    image::FetchedImage,
    json,
    layout::{Layout, LayoutError, Tagging},
    limits::{LAYERS, Limits},
    oci::{
        ANNOTATION_CORE, ANNOTATION_CREATED, ANNOTATION_ENDIAN, ANNOTATION_OBJECT, ANNOTATION_OCI_VERSION,
        ANNOTATION_TITLE, Descriptor, IMAGE_CONFIG_TYPE, INDEX_TYPE, Index, MANIFEST_TYPE, Manifest,
    },
};

mod error;
mod labels;

/// One program on one platform.
#[derive(Clone, Debug)]
pub struct PackProgram {
    /// Its name in the set.
    pub name: ProgramName,
    /// The function.
    pub entry: String,
    /// Its type.
    pub kind: ProgramType,
    /// Globals that the manifest sets.
    pub globals: Globals,
    /// Where it came from.
    pub origin: ProgramOrigin,
    /// What the object holds.
    pub object: ObjectDescriptor,
    /// The object.
    pub bytes: Vec<u8>,
}

/// A set, ready to be laid out.
#[derive(Clone, Debug)]
pub struct PackSet {
    /// Its name.
    pub set: SetName,
    /// The version, which becomes the tag.
    pub version: Tag,
    /// The canonical name of its repository.
    pub repository: RepositoryName,
    /// `vars:`, rendered.
    pub vars: BTreeMap<String, String>,
    /// Shared maps.
    pub maps: Vec<SharedMap>,
    /// Chains.
    pub chains: Vec<Chain>,
    /// The set's own trust block, keys inlined.
    pub trust: Option<TrustBlock>,
    /// The manifest as it was written.
    pub manifest_yaml: Vec<u8>,
    /// The programs in the manifest's order, per platform. Every platform has the same programs.
    pub platforms: BTreeMap<Platform, Vec<PackProgram>>,
    /// When, in seconds since 1970: `SOURCE_DATE_EPOCH`, or 0.
    pub created: i64,
    /// The images that programs of origin [`ProgramOrigin::Image`] come from. They travel
    /// with the set, signatures and all, so that a host can check them.
    pub images: Vec<FetchedImage>,
}

/// What [`bundle`] made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bundled {
    /// `oci:DIR@sha256:…` of the set's index.
    pub pinned: Pinned,
    /// The set bundles that the index lists.
    pub platforms: Vec<(Platform, Digest)>,
    /// The index of each program's images, in the manifest's order.
    pub programs: Vec<(ProgramName, Digest)>,
}

/// Lays `set` out in `layout`, under the tags `<version>` and `<version>.<program>`.
pub fn bundle(layout: &Layout, set: &PackSet) -> Result<Bundled, BundleError> {
    let made = Made::from(set)?;
    let kinds = std::iter::once(SET_ARTIFACT_TYPE).chain(std::iter::repeat(PROGRAM_ARTIFACT_TYPE));
    let tags = made.tags.iter().zip(kinds).map(|((tag, descriptor), kind)| Tagging { tag, descriptor, kind });
    let tags: Vec<_> = tags.collect();
    let layout_failed = |source| match source {
        LayoutError::TagTaken { tag, .. } => BundleError::TagTaken { tag },
        source => BundleError::Layout { source },
    };
    layout.refuse_other_kinds(&tags).map_err(layout_failed)?;
    for bytes in &made.blobs {
        layout.put_blob(bytes).map_err(layout_failed)?;
    }
    for image in &set.images {
        image.carry_into(layout).map_err(layout_failed)?;
    }
    layout.set_tags(&tags).map_err(layout_failed)?;
    Ok(Bundled {
        pinned: Pinned { place: Place::Layout(layout.dir().to_owned()), digest: made.index },
        platforms: made.platforms,
        programs: made.programs,
    })
}

/// The tag of one program's image.
pub(crate) fn program_tag(version: &Tag, program: &ProgramName) -> Result<Tag, bpfkit_schemas::names::BadName> {
    format!("{version}.{program}").parse()
}

/// The name of a program's file in its layer.
pub(crate) fn object_file(program: &ProgramName) -> String {
    format!("{program}.o")
}

/// Everything that a set becomes, before any of it is written.
struct Made {
    blobs: Vec<Vec<u8>>,
    /// The set's tag first.
    tags: Vec<(Tag, Descriptor)>,
    index: Digest,
    platforms: Vec<(Platform, Digest)>,
    programs: Vec<(ProgramName, Digest)>,
}

impl Made {
    fn from(set: &PackSet) -> Result<Self, BundleError> {
        let problems = error::problems(set);
        if !problems.is_empty() {
            return Err(BundleError::Unfit { set: set.set.clone(), problems });
        }
        let created = jiff::Timestamp::from_second(set.created)
            .map_err(|_| BundleError::Unfit {
                set: set.set.clone(),
                problems: vec![error::Unfit::Created { seconds: set.created }],
            })?
            .to_string();
        let annotations: BTreeMap<String, String> = [
            (ANNOTATION_CREATED.to_owned(), created.clone()),
            (ANNOTATION_OCI_VERSION.to_owned(), set.version.to_string()),
        ]
        .into();

        let mut maker = Maker { set, annotations, created, blobs: Vec::new() };
        let mut set_entries = Vec::new();
        let mut program_entries: Vec<(ProgramName, Vec<Descriptor>)> = Vec::new();
        // A map of platforms is sorted as its text is: linux/amd64, linux/arm64.
        for (platform, programs) in &set.platforms {
            let (bundle, images) = maker.platform(*platform, programs)?;
            set_entries.push(bundle);
            for (name, image) in images {
                match program_entries.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, entries)) => entries.push(image),
                    None => program_entries.push((name, vec![image])),
                }
            }
        }
        let platforms = set.platforms.keys().copied().zip(set_entries.iter().map(|entry| entry.digest)).collect();
        let index = maker.index(set_entries, SET_ARTIFACT_TYPE)?;
        let digest = index.digest;
        let mut tags = vec![(set.version.clone(), index)];
        let mut programs = Vec::new();
        for (name, entries) in program_entries {
            let index = maker.index(entries, PROGRAM_ARTIFACT_TYPE)?;
            programs.push((name.clone(), index.digest));
            let tag = program_tag(&set.version, &name).map_err(|source| BundleError::Unfit {
                set: set.set.clone(),
                problems: vec![error::Unfit::Tag { program: name, source }],
            })?;
            tags.push((tag, index));
        }
        Ok(Self { blobs: maker.blobs, tags, index: digest, platforms, programs })
    }
}

/// Makes the blobs of one set.
struct Maker<'a> {
    set: &'a PackSet,
    /// What every manifest and index says.
    annotations: BTreeMap<String, String>,
    created: String,
    blobs: Vec<Vec<u8>>,
}

impl Maker<'_> {
    /// The set bundle of one platform, and its program images.
    fn platform(
        &mut self,
        platform: Platform,
        programs: &[PackProgram],
    ) -> Result<(Descriptor, Vec<(ProgramName, Descriptor)>), BundleError> {
        let mut layers = Vec::new();
        let mut images = Vec::new();
        let mut bundled = Vec::new();
        for program in programs {
            let file = object_file(&program.name);
            let packed = archive::pack(&file, &program.bytes)
                .map_err(|source| BundleError::Pack { program: program.name.clone(), source })?;
            let layer = self.blob(LAYER_TYPE, packed.gzip).annotated(ANNOTATION_TITLE, format!("{file}.tar.gz"));
            images.push((program.name.clone(), self.image(platform, program, &layer, &sha256(&packed.tar))?));
            bundled.push(BundledProgram {
                name: program.name.clone(),
                entry: program.entry.clone(),
                kind: program.kind,
                globals: program.globals.clone(),
                layer: layer.digest,
                object: program.object.clone(),
                origin: program.origin.clone(),
            });
            layers.push(layer);
        }
        layers.push(
            self.blob(MANIFEST_LAYER_TYPE, self.set.manifest_yaml.clone()).annotated(ANNOTATION_TITLE, "bpfkit.yml"),
        );
        let config = SetConfig {
            format: FORMAT,
            set: self.set.set.clone(),
            version: self.set.version.clone(),
            repository: self.set.repository.clone(),
            platform,
            vars: self.set.vars.clone(),
            programs: bundled,
            maps: self.set.maps.clone(),
            chains: self.set.chains.clone(),
            trust: self.set.trust.clone(),
        };
        let config = self.json(SET_CONFIG_TYPE, &config)?;
        let manifest = self.manifest(config, layers, SET_ARTIFACT_TYPE, &[])?;
        Ok((manifest.on(platform), images))
    }

    /// The image of one program, as both of bpfman's loaders take it.
    fn image(
        &mut self,
        platform: Platform,
        program: &PackProgram,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> Result<Descriptor, BundleError> {
        let config = labels::image_config(platform, program, diff_id, &self.created)
            .map_err(|source| BundleError::Json { source })?;
        let config = self.json(IMAGE_CONFIG_TYPE, &config)?;
        let endian = match program.object.endian {
            Endian::Little => "little",
            Endian::Big => "big",
        };
        let core = (program.object.core_relocations > 0).to_string();
        let more = [
            (ANNOTATION_OBJECT, program.object.digest.to_string()),
            (ANNOTATION_ENDIAN, endian.to_owned()),
            (ANNOTATION_CORE, core),
        ];
        Ok(self.manifest(config, vec![layer.clone()], PROGRAM_ARTIFACT_TYPE, &more)?.on(platform))
    }

    fn manifest(
        &mut self,
        config: Descriptor,
        layers: Vec<Descriptor>,
        artifact_type: &str,
        more: &[(&str, String)],
    ) -> Result<Descriptor, BundleError> {
        let mut annotations = self.annotations.clone();
        annotations.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST_TYPE.to_owned()),
            config,
            layers,
            annotations,
            subject: None,
            artifact_type: Some(artifact_type.to_owned()),
        };
        // No `artifactType` on the descriptor: skopeo 1.9 rewrites an index that has one in an entry.
        self.json(MANIFEST_TYPE, &manifest)
    }

    fn index(&mut self, manifests: Vec<Descriptor>, artifact_type: &str) -> Result<Descriptor, BundleError> {
        let index = Index {
            annotations: self.annotations.clone(),
            artifact_type: Some(artifact_type.to_owned()),
            ..Index::of(manifests)
        };
        Ok(self.json(INDEX_TYPE, &index)?.artifact(artifact_type))
    }

    fn json<T: serde::Serialize>(&mut self, media_type: &str, value: &T) -> Result<Descriptor, BundleError> {
        let bytes = json::write(value).map_err(|source| BundleError::Json { source })?;
        Ok(self.blob(media_type, bytes))
    }

    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &bytes);
        self.blobs.push(bytes);
        descriptor
    }
}

/// The most programs that one set bundle holds: a layer each, and one for the manifest.
pub const MOST_PROGRAMS: usize = LAYERS - 1;

/// The largest object that a reader accepts, in bytes.
pub(super) fn most_object_bytes() -> u64 {
    Limits::default().object_bytes
}
