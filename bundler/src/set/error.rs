//! What keeps a set from being bundled.

use bpfkit_schemas::{
    Code,
    bundle::ProgramOrigin,
    diagnostic::{Diagnose, Diagnostic},
    names::{BadName, Digest, Platform, ProgramName, SetName, Tag},
};

use super::{MOST_PROGRAMS, PackSet, most_object_bytes, program_tag};
use crate::{hash::sha256, json::JsonError, layout::LayoutError};

/// Why a set was not bundled.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The set itself can't become a bundle; every reason.
    #[error("set `{set}` cannot be bundled")]
    Unfit {
        /// The set.
        set: SetName,
        /// The reasons; never empty.
        problems: Vec<Unfit>,
    },
    /// A tag that it needs means something of another kind already.
    #[error("tag `{tag}` already names something else in the layout")]
    TagTaken {
        /// The tag.
        tag: Tag,
    },
    /// An object could not be packed.
    #[error("program `{program}` cannot be packed")]
    Pack {
        /// The program.
        program: ProgramName,
        /// Why.
        source: std::io::Error,
    },
    /// A value could not be written as JSON.
    #[error("the bundle's description cannot be written")]
    Json {
        /// Why.
        source: JsonError,
    },
    /// The layout could not be written.
    #[error("the layout could not be written")]
    Layout {
        /// Why.
        source: LayoutError,
    },
}

/// One thing about a set that no bundle can hold.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// No platform, so nothing.
    #[error("it has no platform")]
    NoPlatform,
    /// More programs than layers.
    #[error("it has {count} programs; a bundle holds {MOST_PROGRAMS}")]
    TooManyPrograms {
        /// How many.
        count: usize,
    },
    /// One name twice.
    #[error("program `{program}` is there twice on {platform}")]
    Twice {
        /// The program.
        program: ProgramName,
        /// The platform.
        platform: Platform,
    },
    /// Two platforms differ in more than objects.
    #[error("the programs on {platform} are not those of the other platforms")]
    Uneven {
        /// The platform.
        platform: Platform,
    },
    /// Program and version together make no tag.
    #[error("program `{program}` cannot be tagged")]
    Tag {
        /// The program.
        program: ProgramName,
        /// Why.
        source: BadName,
    },
    /// A reader would refuse an object of this size.
    #[error("the object of `{program}` has {size} bytes; at most {} are allowed", most_object_bytes())]
    TooLarge {
        /// The program.
        program: ProgramName,
        /// Bytes.
        size: u64,
    },
    /// The descriptor describes other bytes.
    #[error("the object of `{program}` on {platform} is not the one that was described: `{found}`, not `{want}`")]
    OtherObject {
        /// The program.
        program: ProgramName,
        /// The platform.
        platform: Platform,
        /// What was described.
        want: Digest,
        /// What is there.
        found: Digest,
    },
    /// The image that a program comes from was not handed over.
    #[error("the image that `{program}` comes from, `{digest}`, is not at hand")]
    NoImage {
        /// The program.
        program: ProgramName,
        /// The image.
        digest: Digest,
    },
    /// The time is out of range.
    #[error("the time of creation, {seconds} seconds after 1970, is out of range")]
    Created {
        /// `SOURCE_DATE_EPOCH`.
        seconds: i64,
    },
}

/// Every reason for which `set` can't be bundled.
pub(super) fn problems(set: &PackSet) -> Vec<Unfit> {
    let mut problems = Vec::new();
    let Some(first) = set.platforms.values().next() else {
        return vec![Unfit::NoPlatform];
    };
    if first.len() > MOST_PROGRAMS {
        problems.push(Unfit::TooManyPrograms { count: first.len() });
    }
    for program in first {
        if let Err(source) = program_tag(&set.version, &program.name) {
            problems.push(Unfit::Tag { program: program.name.clone(), source });
        }
    }
    for (platform, programs) in &set.platforms {
        if !programs.iter().map(|p| &p.name).eq(first.iter().map(|p| &p.name)) {
            problems.push(Unfit::Uneven { platform: *platform });
        }
        for (place, program) in programs.iter().enumerate() {
            let name = || program.name.clone();
            if programs.iter().take(place).any(|other| other.name == program.name) {
                problems.push(Unfit::Twice { program: name(), platform: *platform });
            }
            let size = program.bytes.len() as u64;
            if size > most_object_bytes() {
                problems.push(Unfit::TooLarge { program: name(), size });
            }
            let (want, found) = (program.object.digest, sha256(&program.bytes));
            if want != found {
                problems.push(Unfit::OtherObject { program: name(), platform: *platform, want, found });
            }
            if let ProgramOrigin::Image { digest, .. } = &program.origin
                && !set.images.iter().any(|image| image.pinned.digest == *digest)
            {
                problems.push(Unfit::NoImage { program: name(), digest: *digest });
            }
        }
    }
    problems
}

impl Diagnose for BundleError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        match self {
            Self::Unfit { problems, .. } => problems
                .iter()
                .map(|problem| {
                    Diagnostic::error(Code::UNFIT_SET, self.to_string()).caused_by(problem).help(next_move(problem))
                })
                .collect(),
            Self::TagTaken { .. } => vec![
                Diagnostic::error(Code::TAG_TAKEN, self.to_string())
                    .help("choose another version with `--tag`, or another name for the program"),
            ],
            Self::Pack { source, .. } => vec![Diagnostic::error(Code::UNFIT_SET, self.to_string()).caused_by(source)],
            Self::Json { source } => vec![Diagnostic::error(Code::UNFIT_SET, self.to_string()).caused_by(source)],
            Self::Layout { source } => source.diagnose(),
        }
    }
}

fn next_move(problem: &Unfit) -> &'static str {
    match problem {
        Unfit::NoPlatform => "name one under `build.platforms`",
        Unfit::TooManyPrograms { .. } => "split the set in two",
        Unfit::Twice { .. } => "give each program its own name",
        Unfit::Uneven { .. } | Unfit::OtherObject { .. } => "run `bpfkit build` again",
        Unfit::Tag { .. } => "choose a shorter version with `--tag`",
        Unfit::TooLarge { .. } => "strip the object (`llvm-strip -g`), or make its global arrays maps",
        Unfit::NoImage { .. } => "bundle again; the image is pulled again",
        Unfit::Created { .. } => "set `SOURCE_DATE_EPOCH` to seconds since 1970",
    }
}
