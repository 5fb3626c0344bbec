//! The bundle format: media types, annotations, and the config that a set bundle carries.
//!
//! One repository per set. In it, for a version `1.4`:
//!
//! | tag | what |
//! | --- | --- |
//! | `1.4` | a flat index of set bundles, one per platform |
//! | `1.4.<program>` | a flat index of program images, one per platform, over the same layers; bpfman loads these |
//! | (none) | signatures: referrers of each index and each manifest in it |
//!
//! A set bundle's config is [`SetConfig`], its layers are the program layers in the
//! order of [`SetConfig::programs`] and, last, the manifest as it was written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    chain::{Chain, Globals, SharedMap},
    names::{Digest, Platform, ProgramName, RepositoryName, SetName, Tag},
    object::{ObjectDescriptor, ProgramType},
    trust::TrustBlock,
};

/// `artifactType` of a set bundle.
pub const SET_ARTIFACT_TYPE: &str = "application/vnd.bpfkit.set.v1";
/// Media type of a set bundle's config.
pub const SET_CONFIG_TYPE: &str = "application/vnd.bpfkit.set.config.v1+json";
/// `artifactType` of a program image (its config stays an ordinary image config, for bpfman).
pub const PROGRAM_ARTIFACT_TYPE: &str = "application/vnd.bpfkit.program.v1";
/// Media type of the layer that holds one object: a tar with one file, gzipped.
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of the layer that holds the manifest as it was written.
pub const MANIFEST_LAYER_TYPE: &str = "application/vnd.bpfkit.manifest.v1+yaml";
/// Media type and `artifactType` of a signature (Sigstore bundle v0.3).
pub const SIGNATURE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Subject annotation of a signature: the repository's canonical name.
pub const ANNOTATION_REPOSITORY: &str = "dev.bpfkit.repository";
/// Subject annotation of a signature: the version.
pub const ANNOTATION_VERSION: &str = "dev.bpfkit.version";
/// Subject annotation of a signature: the role that the signer claims. A filter alone: the policy says which key counts for which role.
pub const ANNOTATION_ROLE: &str = "dev.bpfkit.role";

/// The format number that this version writes and the only one it reads.
pub const FORMAT: u32 = 1;

/// What one set bundle says: everything that a host needs to know but the bytes of the objects.
///
/// Serialised as canonical JSON: struct order, no spaces, one trailing newline none.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// [`FORMAT`].
    pub format: u32,
    /// The set.
    pub set: SetName,
    /// The version that it was bundled as (`bundle --tag`).
    pub version: Tag,
    /// The canonical name of the repository that it belongs to.
    pub repository: RepositoryName,
    /// What the objects were built for.
    pub platform: Platform,
    /// `vars:`, rendered; host templates in chains and globals may use them.
    #[serde(default)]
    pub vars: BTreeMap<String, String>,
    /// The programs, in the manifest's order; layer `i` of the bundle holds program `i`.
    pub programs: Vec<BundledProgram>,
    /// Maps that the set shares.
    pub maps: Vec<SharedMap>,
    /// The chains.
    pub chains: Vec<Chain>,
    /// The set's own trust block, public keys inlined. It can narrow a host's policy, never widen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustBlock>,
}

/// One program of a set bundle.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledProgram {
    /// The program's name in the set.
    pub name: ProgramName,
    /// The function that is the program.
    pub entry: String,
    /// Its type.
    pub kind: ProgramType,
    /// Global variables that the manifest sets.
    #[serde(default)]
    pub globals: Globals,
    /// The layer that holds the object.
    pub layer: Digest,
    /// The object itself.
    pub object: ObjectDescriptor,
    /// Where the program came from.
    pub origin: ProgramOrigin,
}

/// Where a bundled program came from.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProgramOrigin {
    /// Compiled from, or read from, files of the set's own project.
    Files {
        /// Every project file that went in, by its path relative to the manifest.
        /// `apply` compares them, so that a changed source is not silently left out.
        files: BTreeMap<String, Digest>,
    },
    /// Taken from somebody's bundle, whose own signature must be trusted too.
    Image {
        /// The image's repository by its canonical name.
        repository: RepositoryName,
        /// The version that its signature names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Tag>,
        /// The digest of the manifest or index that is signed.
        digest: Digest,
    },
}
