//! Why bytes did not come from, or go to, the place that a reference names.

use std::time::Duration;

use bpfkit_schemas::{
    Code,
    diagnostic::{Diagnose, Diagnostic},
    names::Digest,
    reference::Place,
};

use crate::{credentials::CredentialsError, layout::LayoutError};

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The place does not hold it.
    #[error("`{place}` does not hold {what}")]
    NotFound {
        /// The place.
        place: Place,
        /// A tag, a digest, a kind of thing.
        what: String,
    },
    /// The network was ruled out, and this is behind it.
    #[error("`{place}` is a registry, and this run may not use the network")]
    Offline {
        /// The place.
        place: Place,
    },
    /// No connection, no name, no TLS.
    #[error("cannot reach `{host}`")]
    Unreachable {
        /// The host.
        host: String,
        /// Why, from near to far.
        causes: Vec<String>,
    },
    /// It took too long.
    #[error("`{host}` did not answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// The host.
        host: String,
        /// The time that it had.
        after: Duration,
    },
    /// Who we are was not enough.
    #[error("`{place}` does not let us {doing}")]
    Denied {
        /// The place.
        place: Place,
        /// "read" or "write".
        doing: &'static str,
        /// What the registry said.
        said: String,
        /// Whether it was shown credentials.
        credentials: Shown,
    },
    /// The registry answered, but not as it should.
    #[error("`{place}` answered {status} when asked to {doing}")]
    Refused {
        /// The place.
        place: Place,
        /// What was asked.
        doing: String,
        /// HTTP status.
        status: u16,
        /// What the registry said.
        said: String,
    },
    /// The registry sends us where we do not go.
    #[error("`{host}` sends us to `{to}`")]
    Redirected {
        /// Who.
        host: String,
        /// Where.
        to: String,
        /// Why not.
        why: &'static str,
    },
    /// Credentials could not be read.
    #[error("the credentials for `{host}` cannot be read")]
    Credentials {
        /// For whom.
        host: String,
        /// Why.
        source: CredentialsError,
    },
    /// Other bytes came than were asked for.
    #[error("`{place}` served other bytes than `{want}`: they hash to `{found}`")]
    WrongDigest {
        /// The place.
        place: Place,
        /// What was asked for.
        want: Digest,
        /// What came.
        found: Digest,
    },
    /// Fewer bytes came than were promised.
    #[error("`{place}` broke off in the middle of {what}")]
    Truncated {
        /// The place.
        place: Place,
        /// What was asked for.
        what: String,
    },
    /// More bytes came, or would have come, than are taken.
    #[error("{what} at `{place}` is larger than the {max} bytes that it may have")]
    TooLarge {
        /// The place.
        place: Place,
        /// What was asked for.
        what: String,
        /// The most that was allowed.
        max: u64,
    },
    /// All that it serves for one bundle is more than is taken.
    #[error("what `{place}` serves has more than {max} bytes altogether")]
    TotalTooLarge {
        /// The place.
        place: Place,
        /// The most that was allowed.
        max: u64,
    },
    /// A bundle leads to more parts than are read.
    #[error("what `{place}` serves has more than {most} parts")]
    TooManyParts {
        /// The place.
        place: Place,
        /// The most that are read.
        most: u32,
    },
    /// Somebody else keeps writing the same list of signatures.
    #[error("the list of signatures of `{subject}` at `{place}` keeps changing under us")]
    Contended {
        /// The place.
        place: Place,
        /// The subject.
        subject: Digest,
    },
    /// This machine has no means to talk (threads, descriptors).
    #[error("cannot set up the network client")]
    Client {
        /// Why.
        causes: Vec<String>,
    },
    /// The place is a layout, and it is in disorder.
    #[error("the layout cannot be used")]
    Layout {
        /// Why.
        source: LayoutError,
    },
}

/// Whether a registry that said no was shown credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// None were found for this host.
    Nothing,
    /// They were shown and did not help.
    Credentials,
}

impl TransferError {
    /// Whether the thing itself is missing or bad, rather than the way to it.
    pub fn is_about_content(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::WrongDigest { .. } | Self::TooLarge { .. } => true,
            Self::Layout { source } => {
                matches!(
                    source,
                    LayoutError::NoBlob { .. }
                        | LayoutError::Irregular { .. }
                        | LayoutError::TooLarge { .. }
                        | LayoutError::WrongDigest { .. }
                )
            }
            _ => false,
        }
    }
}

impl Diagnose for TransferError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let error = |code| Diagnostic::error(code, self.to_string());
        let with = |mut diagnostic: Diagnostic, causes: &[String]| {
            diagnostic.causes.extend(causes.iter().cloned());
            diagnostic
        };
        let said = |diagnostic: Diagnostic, said: &str| {
            if said.is_empty() { diagnostic } else { diagnostic.cause(format!("it says: {said}")) }
        };
        vec![match self {
            Self::NotFound { .. } => {
                error(Code::BUNDLE_NOT_FOUND).help("check the reference; `bpfkit inspect` shows what a place holds")
            }
            Self::Offline { .. } => error(Code::OFFLINE).help("leave `--offline` out, or name a layout: `oci:DIR:tag`"),
            Self::Unreachable { causes, .. } => with(error(Code::UNREACHABLE), causes)
                .help("check the host's name and port, and that HTTPS_PROXY and NO_PROXY are right"),
            Self::TimedOut { .. } => {
                error(Code::UNREACHABLE).help("try again; if it stays so, check the network between here and there")
            }
            Self::Denied { said: text, credentials: Shown::Nothing, .. } => said(error(Code::DENIED), text)
                .help("log in first (`skopeo login`, `docker login`), or point REGISTRY_AUTH_FILE at the credentials"),
            Self::Denied { said: text, .. } => {
                said(error(Code::DENIED), text).help("check that these credentials may do this here")
            }
            Self::Refused { said: text, .. } => said(error(Code::REGISTRY_REFUSED), text),
            Self::Redirected { why, .. } => error(Code::REDIRECTED).cause(*why),
            Self::Credentials { source, .. } => error(Code::BAD_CREDENTIALS).caused_by(source),
            Self::WrongDigest { .. } => {
                error(Code::WRONG_DIGEST).help("do not use this place until you know why; try a mirror")
            }
            Self::Truncated { .. } => error(Code::TRUNCATED).help("try again"),
            Self::TooLarge { .. } => error(Code::TOO_LARGE),
            Self::TotalTooLarge { .. } => error(Code::TOO_LARGE)
                .help("copy the bundle, with the signatures that you want, to a place that only you write to"),
            Self::TooManyParts { .. } => error(Code::TOO_MANY),
            Self::Contended { .. } => error(Code::REFERRERS_CONTENDED).help("run the command again"),
            Self::Client { causes } => with(error(Code::UNREACHABLE), causes),
            Self::Layout { source } => return source.diagnose(),
        }]
    }
}
