//! What can be wrong with a bundle that arrived, and with its way here.

use bpfkit_schemas::{
    Code,
    bundle::FORMAT,
    diagnostic::{Diagnose, Diagnostic},
    names::{Digest, Platform, ProgramName},
};

use crate::{
    archive::ArchiveError,
    json::JsonError,
    limits::{INDEX_ENTRIES, LAYERS, REFERRERS},
    transfer::TransferError,
};

/// Why nothing was pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It did not come.
    #[error("cannot pull `{reference}`")]
    Transfer {
        /// What was asked for.
        reference: String,
        /// Why.
        source: TransferError,
    },
    /// It came, and is not a bundle that this version accepts.
    #[error("`{reference}` is not a bundle that can be used")]
    Format {
        /// What was asked for.
        reference: String,
        /// Why.
        source: FormatError,
    },
}

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A reference with neither tag nor digest.
    #[error("the reference has neither a tag nor a digest")]
    Unnamed,
    /// Not JSON, or not that JSON.
    #[error("{what} cannot be understood: {source}")]
    Json {
        /// Which document.
        what: String,
        /// Why.
        source: JsonError,
    },
    /// Another format number.
    #[error("its format is {found}; this bpfkit reads format {FORMAT}")]
    Version {
        /// Its format.
        found: u32,
    },
    /// Something else than a set bundle.
    #[error("it is no set bundle but `{found}`")]
    NotASet {
        /// Its artifact type, or its config's media type.
        found: String,
    },
    /// An index in an index.
    #[error("it has an index inside an index")]
    NestedIndex,
    /// Too long an index.
    #[error("its index has {count} entries; at most {INDEX_ENTRIES} are read")]
    TooManyEntries {
        /// How many.
        count: usize,
    },
    /// Nothing for this platform.
    #[error("it has nothing for {want}; it has {}", if have.is_empty() { "no platform that bpfkit knows".to_owned() } else { have.join(", ") })]
    NoPlatform {
        /// What was asked for.
        want: Platform,
        /// What there is.
        have: Vec<String>,
    },
    /// Two manifests for one platform.
    #[error("its index has two manifests for {platform}")]
    TwoForPlatform {
        /// The platform.
        platform: Platform,
    },
    /// The config is for another platform than the index said.
    #[error("its config is for {found}, not for {want}")]
    OtherPlatform {
        /// What was asked for.
        want: Platform,
        /// What it says.
        found: Platform,
    },
    /// Two platforms' configs name two sets, or two versions of one.
    #[error("its configs for {one} and {other} do not name the same {what}")]
    PlatformsDisagree {
        /// "set", "repository" or "version".
        what: &'static str,
        /// A platform.
        one: Platform,
        /// Another one.
        other: Platform,
    },
    /// A part has an unexpected media type.
    #[error("{what} has the media type `{found}`")]
    MediaType {
        /// Which part.
        what: String,
        /// Its type.
        found: String,
    },
    /// Too many layers.
    #[error("it has {count} layers; at most {LAYERS} are read")]
    TooManyLayers {
        /// How many.
        count: usize,
    },
    /// Layers and programs don't match in number.
    #[error("it has {layers} layers for {programs} programs; there must be one more than programs")]
    LayerCount {
        /// Layers.
        layers: usize,
        /// Programs.
        programs: usize,
    },
    /// A layer stands in another program's place.
    #[error("the layer in the place of program `{program}` is not the one that the config names")]
    LayerSwapped {
        /// The program.
        program: ProgramName,
    },
    /// One name twice.
    #[error("program `{program}` is there twice")]
    ProgramTwice {
        /// The program.
        program: ProgramName,
    },
    /// A part is larger than allowed.
    #[error("{what} has {size} bytes; at most {max} are taken")]
    PartTooLarge {
        /// Which part.
        what: String,
        /// Its size by its descriptor.
        size: u64,
        /// The most.
        max: u64,
    },
    /// A manifest has another size than its descriptor said.
    #[error("`{digest}` has {found} bytes; its descriptor says {want}")]
    Size {
        /// Which.
        digest: Digest,
        /// By the descriptor.
        want: u64,
        /// In truth.
        found: u64,
    },
    /// A layer holds no object, or more than that.
    #[error("the layer of `{program}` cannot be used: {source}")]
    Layer {
        /// The program.
        program: String,
        /// Why.
        source: ArchiveError,
    },
    /// The object is another one than described.
    #[error("the object of `{program}` is not the one that the config describes: `{found}`, not `{want}`")]
    OtherObject {
        /// The program.
        program: ProgramName,
        /// By the config.
        want: Digest,
        /// In truth.
        found: Digest,
    },
    /// Too many things hang on one manifest.
    #[error("{count} things hang on `{subject}`; at most {REFERRERS} are read")]
    TooManyReferrers {
        /// The manifest.
        subject: Digest,
        /// How many.
        count: usize,
    },
    /// A program's object is not in the image that it is said to come from.
    #[error("program `{program}` is not in the image `{digest}` that it is said to come from")]
    NotFromImage {
        /// The program.
        program: ProgramName,
        /// The image.
        digest: Digest,
    },
    /// An image that isn't one layer with one object.
    #[error("it is no program image: {why}")]
    NotAnImage {
        /// Why not.
        why: String,
    },
    /// A set bundle of several programs, and no choice.
    #[error("it is a set bundle; its programs are {}", have.join(", "))]
    PickOne {
        /// Its programs.
        have: Vec<String>,
    },
    /// A choice that isn't there.
    #[error("it has no program `{program}`; its programs are {}", have.join(", "))]
    NoSuchProgram {
        /// The choice.
        program: ProgramName,
        /// Its programs.
        have: Vec<String>,
    },
    /// A choice where there is none.
    #[error("it is the image of one program; `program: {program}` has nothing to pick from")]
    NothingToPick {
        /// The choice.
        program: ProgramName,
    },
}

impl Diagnose for PullError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        match self {
            Self::Transfer { source, .. } => source.diagnose(),
            Self::Format { source, .. } => {
                let diagnostic = Diagnostic::error(source.code(), self.to_string()).cause(source.to_string());
                vec![match source.next_move() {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                }]
            }
        }
    }
}

impl FormatError {
    /// The code that `explain` knows.
    pub fn code(&self) -> Code {
        match self {
            Self::Unnamed => Code::BUNDLE_NOT_FOUND,
            Self::Json { .. } => Code::BAD_JSON,
            Self::Version { .. } => Code::OTHER_FORMAT,
            Self::NotASet { .. } | Self::NestedIndex | Self::MediaType { .. } | Self::NotAnImage { .. } => {
                Code::BAD_MEDIA_TYPE
            }
            Self::NoPlatform { .. } => Code::NO_PLATFORM,
            Self::TwoForPlatform { .. }
            | Self::OtherPlatform { .. }
            | Self::PlatformsDisagree { .. }
            | Self::LayerCount { .. }
            | Self::LayerSwapped { .. }
            | Self::ProgramTwice { .. }
            | Self::Size { .. } => Code::CONTRADICTION,
            Self::TooManyEntries { .. } | Self::TooManyLayers { .. } | Self::TooManyReferrers { .. } => Code::TOO_MANY,
            Self::PartTooLarge { .. } | Self::Layer { source: ArchiveError::TooLarge { .. }, .. } => Code::TOO_LARGE,
            Self::Layer { .. } => Code::BAD_LAYER,
            Self::OtherObject { .. } => Code::OTHER_OBJECT,
            Self::NotFromImage { .. } => Code::NOT_FROM_IMAGE,
            Self::PickOne { .. } | Self::NoSuchProgram { .. } | Self::NothingToPick { .. } => Code::PICK,
        }
    }

    fn next_move(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed => Some("add a `:tag` or an `@sha256:…` digest"),
            Self::Version { .. } => Some("use the version of bpfkit that made the bundle, or a newer one"),
            Self::NotASet { .. } => {
                Some("name the set's tag (`<version>`); `<version>.<program>` is one program's image")
            }
            Self::NoPlatform { .. } => Some("build the set for this platform too (`build.platforms`)"),
            Self::TooManyReferrers { .. } => {
                Some("copy the bundle, with the signatures that you want, to a repository that only you write to")
            }
            Self::PickOne { .. } => Some("pick one with `program: NAME`"),
            Self::NoSuchProgram { .. } => Some("pick one of these"),
            Self::NothingToPick { .. } => Some("remove `program:`"),
            Self::Json { .. }
            | Self::NestedIndex
            | Self::MediaType { .. }
            | Self::TwoForPlatform { .. }
            | Self::OtherPlatform { .. }
            | Self::PlatformsDisagree { .. }
            | Self::LayerCount { .. }
            | Self::LayerSwapped { .. }
            | Self::ProgramTwice { .. }
            | Self::Size { .. }
            | Self::Layer { .. }
            | Self::OtherObject { .. }
            | Self::NotFromImage { .. } => Some("do not use it; ask whoever published it"),
            Self::TooManyEntries { .. } | Self::TooManyLayers { .. } | Self::PartTooLarge { .. } => None,
            Self::NotAnImage { .. } => Some("`image:` takes a program image (bpfkit's or bpfman's) or a set bundle"),
        }
    }
}
