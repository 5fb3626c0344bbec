//! What can be wrong with keys and their files, and how it is told.

use std::{
    io,
    path::{Path, PathBuf},
};

use bpfkit_schemas::{Code, Diagnostic, diagnostic::Diagnose};
use thiserror::Error;

/// Why a key can't be made, read or used.
///
/// `file` is `None` where the key came as text.
#[derive(Debug, Error)]
pub enum KeyError {
    /// [`super::keygen`] would have replaced a file.
    #[error("`{}` is there already", .file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// A file can't be read.
    #[error("`{}` can't be read", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file can't be written.
    #[error("`{}` can't be written", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A private key that others may read, or that its group may change.
    #[error("others can get at the private key `{}` (mode {mode:04o})", .file.display())]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A private key without a passphrase.
    #[error("{} is not encrypted", named(.file.as_deref(), "the private key"))]
    NotEncrypted {
        /// The file.
        file: Option<PathBuf>,
    },
    /// Not a private key in cosign's format.
    #[error("{} is not a private key that cosign would read: {why}", named(.file.as_deref(), "the key"))]
    NotAPrivateKey {
        /// The file.
        file: Option<PathBuf>,
        /// What is wrong with it.
        why: String,
    },
    /// The passphrase doesn't open the key (or the file was changed: the two look the same).
    #[error("the passphrase doesn't open {}", named(.file.as_deref(), "the private key"))]
    WrongPassphrase {
        /// The file.
        file: Option<PathBuf>,
    },
    /// A key, but not for ECDSA P-256.
    #[error("{} is a key for {kind}, not for ECDSA P-256", named(.file.as_deref(), "the key"))]
    Kind {
        /// The file.
        file: Option<PathBuf>,
        /// What it is for: a name or an object identifier.
        kind: String,
    },
    /// Not a public key in PEM.
    #[error("{} is not a public key in PEM: {why}", named(.file.as_deref(), "the key"))]
    NotAPublicKey {
        /// The file.
        file: Option<PathBuf>,
        /// What is wrong with it.
        why: String,
    },
    /// The passphrase can't be had from where it was to come from.
    #[error("the passphrase can't be used: {why}")]
    Passphrase {
        /// What is wrong with it.
        why: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {why}")]
    Random {
        /// What it says.
        why: String,
    },
    /// The signature can't be made.
    #[error("the signature can't be made")]
    Signing,
}

impl KeyError {
    pub(super) fn not_private(why: impl Into<String>) -> Self {
        Self::NotAPrivateKey { file: None, why: why.into() }
    }

    pub(super) fn not_public(why: impl Into<String>) -> Self {
        Self::NotAPublicKey { file: None, why: why.into() }
    }

    /// Names the file that an error is about, where it names none yet.
    pub(super) fn in_file(mut self, path: &Path) -> Self {
        match &mut self {
            Self::NotEncrypted { file }
            | Self::NotAPrivateKey { file, .. }
            | Self::WrongPassphrase { file }
            | Self::Kind { file, .. }
            | Self::NotAPublicKey { file, .. } => {
                file.get_or_insert_with(|| path.to_owned());
            }
            Self::Exists { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Exposed { .. }
            | Self::Passphrase { .. }
            | Self::Random { .. }
            | Self::Signing => {}
        }
        self
    }

    fn code(&self) -> Code {
        match self {
            Self::Exists { .. } => Code::KEY_EXISTS,
            Self::Read { .. } | Self::Write { .. } | Self::Random { .. } | Self::Signing => Code::KEY_IO,
            Self::Exposed { .. } => Code::KEY_EXPOSED,
            Self::NotEncrypted { .. } => Code::KEY_NOT_ENCRYPTED,
            Self::NotAPrivateKey { .. } => Code::NOT_A_PRIVATE_KEY,
            Self::WrongPassphrase { .. } => Code::WRONG_PASSPHRASE,
            Self::Kind { .. } => Code::KEY_KIND,
            Self::NotAPublicKey { .. } => Code::NOT_A_PUBLIC_KEY,
            Self::Passphrase { .. } => Code::BAD_PASSPHRASE,
        }
    }

    fn next_move(&self) -> Option<String> {
        let shell =
            |file: &Option<PathBuf>| file.as_ref().map_or_else(|| "FILE".to_owned(), |file| file.display().to_string());
        match self {
            Self::Exists { .. } => Some("choose another `--output`, or move the old key away first".to_owned()),
            Self::Exposed { file, .. } => Some(format!("run `chmod 600 {}`, and replace the key if somebody may have read it", file.display())),
            Self::NotEncrypted { file } => {
                Some(format!("encrypt it: `cosign import-key-pair --key {}`", shell(file)))
            }
            Self::NotAPrivateKey { .. } => Some("make a key with `bpfkit trust keygen --output PREFIX`".to_owned()),
            Self::WrongPassphrase { .. } => {
                Some("check `BPFKIT_PASSWORD`, `--password-fd` or the credential: a newline at its end counts in the environment".to_owned())
            }
            Self::Kind { .. } => Some("make a key with `bpfkit trust keygen` or `cosign generate-key-pair`".to_owned()),
            Self::NotAPublicKey { .. } => Some("name the `.pub` file that `bpfkit trust keygen` wrote".to_owned()),
            Self::Read { .. } | Self::Write { .. } | Self::Passphrase { .. } | Self::Random { .. } | Self::Signing => None,
        }
    }
}

impl Diagnose for KeyError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let mut one = Diagnostic::error(self.code(), self.to_string());
        if let Some(cause) = std::error::Error::source(self) {
            one = one.caused_by(cause);
        }
        if let Some(help) = self.next_move() {
            one = one.help(help);
        }
        vec![one]
    }
}

fn named(file: Option<&Path>, otherwise: &str) -> String {
    file.map_or_else(|| otherwise.to_owned(), |file| format!("`{}`", file.display()))
}
