//! What can be wrong with a layout on disk.

use std::{
    io,
    path::{Path, PathBuf},
};

use bpfkit_schemas::{
    Code,
    diagnostic::{Diagnose, Diagnostic},
    names::{Digest, Tag},
};

use super::file::Unread;
use crate::json::JsonError;

/// Why a layout could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// There is no layout there, or one of another version.
    #[error("`{}` is not an OCI layout", dir.display())]
    NotALayout {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system refused something.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// A verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of its JSON files is not what it should be.
    #[error("`{}` cannot be understood", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        source: JsonError,
    },
    /// Something that is no regular file stands where one belongs.
    #[error("`{}` is {what}, not a file", path.display())]
    Irregular {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Somebody holds the lock.
    #[error("another process keeps the layout `{}` locked", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// One tag stands there twice, for two things.
    #[error("tag `{tag}` means two things in the layout `{}`", dir.display())]
    AmbiguousTag {
        /// The directory.
        dir: PathBuf,
        /// The tag.
        tag: Tag,
    },
    /// A tag means something of another kind.
    #[error("tag `{tag}` already names something else in the layout `{}`", dir.display())]
    TagTaken {
        /// The directory.
        dir: PathBuf,
        /// The tag.
        tag: Tag,
    },
    /// More is listed without being named than is read.
    #[error("the manifests that `{}` lists have more than {max} bytes altogether", dir.join("index.json").display())]
    Flooded {
        /// The directory.
        dir: PathBuf,
        /// The most.
        max: u64,
    },
    /// A blob is missing.
    #[error("the layout `{}` does not hold `{digest}`", dir.display())]
    NoBlob {
        /// The directory.
        dir: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// A blob is larger than it may be.
    #[error("`{digest}` in the layout `{}` is larger than the {max} bytes that it may have", dir.display())]
    TooLarge {
        /// The directory.
        dir: PathBuf,
        /// The blob.
        digest: Digest,
        /// The most that was allowed.
        max: u64,
    },
    /// A blob's bytes are not those that its name promises.
    #[error("the bytes of `{want}` in the layout `{}` are not its own: they hash to `{found}`", dir.display())]
    WrongDigest {
        /// The directory.
        dir: PathBuf,
        /// The name.
        want: Digest,
        /// The truth.
        found: Digest,
    },
}

impl LayoutError {
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { doing, path: path.into(), source }
    }

    pub(super) fn unread(path: &Path, why: Unread) -> Self {
        let source = match why {
            Unread::Irregular(what) => return Self::Irregular { path: path.to_owned(), what },
            Unread::Missing => io::ErrorKind::NotFound.into(),
            Unread::TooLarge => io::ErrorKind::FileTooLarge.into(),
            Unread::Io(source) => source,
        };
        Self::io("open", path, source)
    }
}

impl Diagnose for LayoutError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        vec![match self {
            Self::NotALayout { .. } => error(Code::NOT_A_LAYOUT)
                .help("run `bpfkit bundle` to make one, or name a directory that has an `oci-layout` file"),
            Self::Io { source, .. } => error(Code::LAYOUT_IO).caused_by(source),
            Self::Malformed { source, .. } => {
                error(Code::LAYOUT_MALFORMED).caused_by(source).help("remove the directory and bundle or pull again")
            }
            Self::Irregular { .. } => {
                error(Code::LAYOUT_MALFORMED).help("copy the layout with its links resolved, or bundle or pull again")
            }
            Self::TagTaken { .. } => {
                error(Code::TAG_TAKEN).help("choose another version, or another name for the program")
            }
            Self::Flooded { .. } => error(Code::TOO_LARGE).help("copy the bundle that you want to a layout of its own"),
            Self::Locked { .. } => {
                error(Code::LAYOUT_LOCKED).help("wait for the other `bpfkit` to finish, then run the command again")
            }
            Self::AmbiguousTag { .. } => error(Code::LAYOUT_MALFORMED).help("name the bundle by its digest"),
            Self::NoBlob { .. } => error(Code::BUNDLE_NOT_FOUND).help("bundle or pull it again"),
            Self::TooLarge { .. } => error(Code::TOO_LARGE),
            Self::WrongDigest { .. } => error(Code::WRONG_DIGEST).help("remove the directory and bundle or pull again"),
        }]
    }
}
