//! What goes wrong with generations, in words.

use std::{io, path::PathBuf};

use bpfkit_bundler::{LayoutError, PullError};
use bpfkit_schemas::{Code, Diagnostic, diagnostic::Diagnose, names::SetName};
use thiserror::Error;

use crate::{
    kernel::KernelError,
    session::SessionError,
    trust::{Denial, NoPolicy, PolicyError},
};

/// Why generations can't be read or kept.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file system refused something.
    #[error("cannot {doing} `{path}`")]
    Io {
        /// A verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file isn't what it should be.
    #[error("`{path}` is no generation that can be used")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Damage,
    },
    /// The bundles beside the generations.
    #[error("the kept bundles can't be written")]
    Bundles {
        /// Why.
        source: LayoutError,
    },
    /// There is no such generation.
    #[error("`{set}` has no generation {number} on this host")]
    Missing {
        /// The set.
        set: SetName,
        /// The number that was asked for.
        number: u64,
        /// Those that there are.
        have: Vec<u64>,
    },
}

/// What is wrong with a generation's file.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum Damage {
    /// It doesn't begin as a generation does.
    #[error("it doesn't begin as a generation does")]
    Foreign,
    /// Another bpfkit wrote it.
    #[error("it has format `{0}`, which this bpfkit doesn't know")]
    Format(String),
    /// It was changed since it was written.
    #[error("its bytes are not those of its digest")]
    Digest,
    /// What it says makes no sense.
    #[error("{0}")]
    Json(String),
    /// It is too long.
    #[error("it is longer than a generation may be")]
    TooLong,
    /// It says that it is another one.
    #[error("it is generation {0}")]
    OtherNumber(u64),
    /// It is something else than a regular file.
    #[error("it is no regular file")]
    Irregular,
}

/// Why a generation could not be applied, confirmed or gone back to.
#[derive(Debug, Error)]
pub enum GenerationError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The plan, or the kernel.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A kept bundle can't be read.
    #[error("the kept bundle of generation {number} can't be used")]
    Bundle {
        /// The generation.
        number: u64,
        /// Why.
        source: Box<PullError>,
    },
    /// A kept bundle is not trusted today.
    #[error("generation {number} is not trusted")]
    Denied {
        /// The generation.
        number: u64,
        /// Every reason.
        source: Box<Denial>,
    },
    /// The host has no policy, and the generation was applied by reference.
    #[error(transparent)]
    NoPolicy(#[from] NoPolicy),
    /// The trust block that was kept can't be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Nothing is kept that could be gone back to.
    #[error("`{set}` has no generation to go back to on this host")]
    NothingKept {
        /// The set.
        set: SetName,
    },
    /// One generation has to be confirmed or put back first.
    #[error("generation {number} of `{set}` waits to be confirmed")]
    Pending {
        /// The set.
        set: SetName,
        /// The generation.
        number: u64,
    },
    /// There is nothing to confirm.
    #[error("`{set}` has nothing to confirm")]
    NothingPending {
        /// The set.
        set: SetName,
    },
    /// It is too late to confirm.
    #[error("generation {number} of `{set}` was not confirmed in time")]
    TooLate {
        /// The set.
        set: SetName,
        /// The generation.
        number: u64,
    },
    /// One whose time is over is still live.
    #[error("generation {number} of `{set}` was not confirmed in time and isn't put back yet")]
    NotPutBack {
        /// The set.
        set: SetName,
        /// The generation.
        number: u64,
    },
    /// Only a part of it is live.
    #[error("generation {number} of `{set}` is not live as a whole, so there is nothing to confirm")]
    NotWhole {
        /// The set.
        set: SetName,
        /// The generation.
        number: u64,
    },
    /// What is live isn't kept, so it can't be put back.
    #[error("what is live of `{set}` is not kept, so it could not be put back")]
    NoWayBack {
        /// The set.
        set: SetName,
    },
    /// Nobody would put it back.
    #[error("the process that would put generation {number} of `{set}` back can't be started")]
    NoWatcher {
        /// The set.
        set: SetName,
        /// The generation.
        number: u64,
        /// Why.
        source: io::Error,
    },
    /// The time of this boot can't be read.
    #[error("the time since the boot can't be read")]
    NoClock {
        /// Why.
        source: io::Error,
    },
}

impl StoreError {
    fn code(&self) -> Code {
        match self {
            Self::Io { .. } | Self::Bundles { .. } => Code::NOT_KEPT,
            Self::Damaged { .. } => Code::GENERATION_DAMAGED,
            Self::Missing { .. } => Code::NO_GENERATION,
        }
    }
}

impl Diagnose for StoreError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let mut one = Diagnostic::error(self.code(), self.to_string());
        if let Some(source) = std::error::Error::source(self) {
            one = one.caused_by(source);
        }
        vec![match self {
            Self::Io { .. } | Self::Bundles { .. } => one.help("look at the space and the rights below that path"),
            Self::Damaged { .. } => one.help("go back to another one: `bpfkit status --generations` lists them"),
            Self::Missing { have, .. } if have.is_empty() => one.note("there are none"),
            Self::Missing { have, .. } => {
                let have: Vec<_> = have.iter().map(u64::to_string).collect();
                one.note(format!("there are {}", have.join(", "))).help("`bpfkit status --generations` describes them")
            }
        }]
    }
}

impl Diagnose for GenerationError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        let about = |number: &u64, mut found: Vec<Diagnostic>| {
            for one in &mut found {
                one.notes.push(format!("this is about the kept generation {number}"));
            }
            found
        };
        match self {
            Self::Store(error) => error.diagnose(),
            Self::Session(error) => error.diagnose(),
            Self::Kernel(error) => error.diagnose(),
            Self::NoPolicy(error) => error.diagnose(),
            Self::Policy(error) => error.diagnose(),
            Self::Bundle { number, source } => about(number, source.diagnose()),
            Self::Denied { number, source } => about(number, source.diagnose()),
            Self::NothingKept { .. } => {
                vec![error(Code::NO_GENERATION).help("apply the set, by its manifest or by reference")]
            }
            Self::Pending { set, .. } => vec![
                error(Code::GENERATION_PENDING)
                    .help(format!("`bpfkit confirm {set}` keeps it, `bpfkit rollback {set}` puts it back now")),
            ],
            Self::NothingPending { set } => {
                vec![error(Code::NOTHING_PENDING).help(format!("`bpfkit status {set}` shows what is live"))]
            }
            Self::TooLate { set, number } => vec![
                error(Code::CONFIRMED_TOO_LATE).help(format!("`bpfkit rollback {set} {number}` applies it once more")),
            ],
            Self::NotPutBack { set, .. } => vec![
                error(Code::CONFIRMED_TOO_LATE)
                    .help(format!("`bpfkit rollback {set}` puts it back now, `bpfkit remove {set}` takes it off")),
            ],
            Self::NotWhole { set, .. } => vec![
                error(Code::NOTHING_PENDING)
                    .note("the apply was cut off; what it changed is put back when its time is over")
                    .help(format!("`bpfkit rollback {set}` puts it back now")),
            ],
            Self::NoWayBack { set } => vec![
                error(Code::NO_WAY_BACK)
                    .help(format!("apply what is live once more without `--confirm`, or `bpfkit remove {set}` first")),
            ],
            Self::NoWatcher { source, .. } => vec![error(Code::NO_WATCHER).caused_by(source)],
            Self::NoClock { source } => vec![error(Code::KERNEL_CALL).caused_by(source).help("mount /proc")],
        }
    }
}
