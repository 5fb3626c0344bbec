//! The OCI image spec's documents (1.1: `descriptor.md`, `manifest.md`, `image-index.md`), as bpfkit reads and writes them.
//!
//! Pure. Fields are written in the order of Go's types, which is the order in
//! which the other tools write them, so that a document of ours looks like theirs.
//! Unknown members are ignored, as the spec demands, but for doubled ones, which
//! two readers could understand in two ways: those are refused ([`crate::json`]).

use std::collections::BTreeMap;

use bpfkit_schemas::names::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::json::{self, JsonError};

/// Media type of an image manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an ordinary image's config.
pub const IMAGE_CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of the config that says nothing: the two bytes [`EMPTY`].
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The blob behind [`EMPTY_TYPE`].
pub const EMPTY: &[u8] = b"{}";
/// Docker's image manifest, schema 2.
pub const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's index.
pub const DOCKER_INDEX_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image config.
pub const DOCKER_CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer.
pub const DOCKER_LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Annotation: the file that a layer is saved as; `oras pull` skips layers without it.
pub const ANNOTATION_TITLE: &str = "org.opencontainers.image.title";
/// Annotation: when, RFC 3339.
pub const ANNOTATION_CREATED: &str = "org.opencontainers.image.created";
/// Annotation: the version.
pub const ANNOTATION_OCI_VERSION: &str = "org.opencontainers.image.version";
/// Annotation of an entry of a layout's `index.json`: its tag.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation: the digest of the object inside a program image's layer.
pub const ANNOTATION_OBJECT: &str = "dev.bpfkit.object.digest";
/// Annotation: `little` or `big`.
pub const ANNOTATION_ENDIAN: &str = "dev.bpfkit.endian";
/// Annotation: whether the object has CO-RE relocations.
pub const ANNOTATION_CORE: &str = "dev.bpfkit.core";

/// What is behind a digest.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// In an index: what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<OciPlatform>,
    /// Of a manifest: its `artifactType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Describes `bytes`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            size: bytes.len() as u64,
            digest: crate::hash::sha256(bytes),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// Says what platform it is for.
    #[must_use]
    pub fn on(mut self, platform: Platform) -> Self {
        self.platform = Some(OciPlatform::from(platform));
        self
    }

    /// Says what kind of artifact it is.
    #[must_use]
    pub fn artifact(mut self, artifact_type: &str) -> Self {
        self.artifact_type = Some(artifact_type.to_owned());
        self
    }

    /// Whether the thing is an index, by its media type.
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), INDEX_TYPE | DOCKER_INDEX_TYPE)
    }

    /// Whether the thing is an image manifest, by its media type.
    pub fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), MANIFEST_TYPE | DOCKER_MANIFEST_TYPE)
    }
}

/// A platform in OCI's words.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
pub struct OciPlatform {
    /// `amd64`, `arm64`, …; `unknown` for attestations.
    pub architecture: String,
    /// `linux`; `unknown` for attestations.
    pub os: String,
    /// `v8` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl From<Platform> for OciPlatform {
    fn from(platform: Platform) -> Self {
        Self { architecture: platform.arch.oci().to_owned(), os: "linux".to_owned(), variant: None }
    }
}

impl OciPlatform {
    /// The platform, where it is one that bpfkit builds for. `arm64` has `v8` as its only variant.
    pub fn known(&self) -> Option<Platform> {
        match self.variant.as_deref() {
            None => {}
            Some("v8") if self.architecture == "arm64" => {}
            Some(_) => return None,
        }
        format!("{}/{}", self.os, self.architecture).parse().ok()
    }
}

/// An image manifest.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// [`MANIFEST_TYPE`]; always written, not always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers.
    pub layers: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The manifest that this one speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// An index: one name, a manifest per platform.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u32,
    /// [`INDEX_TYPE`]; always written, not always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What it lists.
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The manifest that this one speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What kind of artifact it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Index {
    /// An index of `manifests`, in the order given.
    pub fn of(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(INDEX_TYPE.to_owned()),
            manifests,
            annotations: BTreeMap::new(),
            subject: None,
            artifact_type: None,
        }
    }
}

/// Either document that a digest or a tag can lead to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Document {
    /// An index.
    Index(Index),
    /// An image manifest.
    Manifest(Manifest),
}

/// The members that tell the two documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads an index or a manifest.
    ///
    /// A document that could be read as both (`manifests` beside `layers` or
    /// `config`) is refused: image spec 1.1, `manifest.md`, "mediaType"; so is one
    /// whose media type says something else than its members.
    pub fn read(bytes: &[u8]) -> Result<Self, JsonError> {
        let shape: Shape = json::read(bytes)?;
        let is_index = match (shape.manifests.is_some(), shape.layers.is_some() || shape.config.is_some()) {
            (true, true) => return Err(JsonError::new("it is an index and a manifest at once")),
            (false, false) => return Err(JsonError::new("it is neither an index nor an image manifest")),
            (is_index, _) => is_index,
        };
        let fits = match shape.media_type.as_deref() {
            None => true,
            Some(INDEX_TYPE | DOCKER_INDEX_TYPE) => is_index,
            Some(MANIFEST_TYPE | DOCKER_MANIFEST_TYPE) => !is_index,
            Some(_) => false,
        };
        if !fits {
            let media_type = shape.media_type.unwrap_or_default();
            return Err(JsonError::new(format!("its media type `{}` does not fit", json::printable(&media_type))));
        }
        let (document, version) = if is_index {
            let index: Index = json::read(bytes)?;
            let version = index.schema_version;
            (Self::Index(index), version)
        } else {
            let manifest: Manifest = json::read(bytes)?;
            let version = manifest.schema_version;
            (Self::Manifest(manifest), version)
        };
        if version != 2 {
            return Err(JsonError::new(format!("its schemaVersion is {version}, not 2")));
        }
        Ok(document)
    }

    /// The media type to describe it with: what it says, else what its members say.
    pub fn media_type(&self) -> &str {
        match self {
            Self::Index(index) => index.media_type.as_deref().unwrap_or(INDEX_TYPE),
            Self::Manifest(manifest) => manifest.media_type.as_deref().unwrap_or(MANIFEST_TYPE),
        }
    }

    /// What it says it is.
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Index(index) => index.artifact_type.as_deref(),
            Self::Manifest(manifest) => manifest.artifact_type.as_deref(),
        }
    }

    /// Its annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Index(index) => &index.annotations,
            Self::Manifest(manifest) => &manifest.annotations,
        }
    }
}
