//! Why a signature doesn't count as one.

use bpfkit_schemas::Digest;
use thiserror::Error;

/// Why bytes that were attached as a signature vouch for nothing here.
///
/// Such a signature is passed over, and named where trust is denied. The variants
/// are in the order in which they are found out: up to [`NotGenuine::BadSignature`]
/// nobody has vouched for anything, and whatever the message quotes may be a
/// stranger's invention; from [`NotGenuine::PredicateType`] on the key named in
/// the policy did sign, but something else than was asked for.
///
/// Texts from outside are cut and cleaned of control characters.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Error)]
pub enum NotGenuine {
    /// Not the one form that is read.
    #[error("it is not a signature bundle that can be read: {why}")]
    Format {
        /// What is wrong with it.
        why: String,
    },
    /// DSSE over something else than a statement.
    #[error("it signs a payload of type `{found}`")]
    PayloadType {
        /// The type that it has.
        found: String,
    },
    /// Signed through a certificate (keyless), which a policy of keys can't judge.
    #[error("it was made through a certificate, not by a key")]
    Certificate,
    /// None of the keys that were given.
    #[error("it was made by a key that the policy doesn't name (hint `{hint}`)")]
    UnknownKey {
        /// What the bundle says of the key: base64 of the SHA-256 of its `SubjectPublicKeyInfo`, if it is honest.
        hint: String,
    },
    /// The key is known, and didn't sign this.
    #[error("it says that it was made by the key {}, and wasn't", .key.short())]
    BadSignature {
        /// The key.
        key: Digest,
    },
    /// A statement, but not one about having signed: an SBOM, a test result.
    #[error("it states something else about the bundle (`{found}`)")]
    PredicateType {
        /// The type that it has.
        found: String,
    },
    /// A statement about more or less than one thing.
    #[error("it names {count} subjects instead of one")]
    Subjects {
        /// How many.
        count: usize,
    },
    /// A genuine signature over another digest.
    #[error("it is over another digest, {}", .signed.short())]
    AnotherSubject {
        /// The digest that was signed.
        signed: Digest,
    },
}

impl NotGenuine {
    pub(crate) fn format(why: impl Into<String>) -> Self {
        Self::Format { why: why.into() }
    }
}
