//! Trust blocks: who must have signed what.
//!
//! A block is data; the one function that decides with it is `applier::trust::decide`.
//! What makes a block meaningless (an empty quorum, a threshold of zero, one key
//! under two names) can't be written: it is refused where the block is read.

use std::{collections::BTreeMap, num::NonZeroUsize};

use serde::{Deserialize, Serialize};

use crate::names::{KeyName, ProgramName, SetName};

/// Who may be believed, for which repositories.
///
/// One scope applies to a repository: its `image` entry, else the longest `org`
/// prefix, else `default`. Nothing merges.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustBlock {
    /// What holds where no scope applies. There is only [`DefaultVerdict::Reject`].
    #[serde(default)]
    pub default: DefaultVerdict,
    /// Public keys by name.
    #[serde(default)]
    pub keys: BTreeMap<KeyName, TrustedKey>,
    /// Demands for every repository under a prefix, compared part by part.
    #[serde(default)]
    pub org: BTreeMap<String, Demands>,
    /// Demands for one repository.
    #[serde(default)]
    pub image: BTreeMap<String, Demands>,
    /// Waivers: what may go unsigned, and why.
    #[serde(default)]
    pub unsigned: Vec<Waiver>,
}

/// What holds where no scope applies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultVerdict {
    /// Nothing that no scope covers is trusted.
    #[default]
    Reject,
}

/// A public key and how long it counts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// `SubjectPublicKeyInfo` in PEM (`-----BEGIN PUBLIC KEY-----`), ECDSA P-256.
    pub pem: String,
    /// The last day (UTC) on which its signatures count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<jiff::civil::Date>,
}

/// What a scope demands. Every role that is named must be satisfied; at least one is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demands {
    /// Quorums by role.
    pub roles: BTreeMap<Role, Quorum>,
    /// Whether a signature must name repository and version.
    #[serde(default)]
    pub claims: Claims,
}

/// What a signer vouches for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Wrote it.
    Author,
    /// Published it.
    Repository,
    /// Read it.
    Reviewer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Author, Self::Repository, Self::Reviewer];

    /// The manifest's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::Repository => "repository",
            Self::Reviewer => "reviewer",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many of which keys: counted over distinct key material, never over names.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// How many must have signed.
    pub threshold: NonZeroUsize,
    /// The keys that count; never empty, each declared under `keys`.
    pub from: Vec<KeyName>,
}

/// What a signature's statement must say about place and version.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claims {
    /// `dev.bpfkit.repository` and `dev.bpfkit.version` must be there and match.
    #[default]
    Bound,
    /// The digest alone is enough: for signatures by tools that bind nothing else.
    DigestOnly,
}

/// Something that may go unsigned. It has a reason and shows in the plan.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// What is waived.
    pub what: Waived,
    /// Why.
    pub because: String,
}

/// What a waiver covers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Waived {
    /// One program of the set that the manifest declares.
    Program(ProgramName),
    /// A whole set bundle.
    Set(SetName),
}
