//! Why a bundle was kept out: every rule that it broke, not the first, each with its code and the next move.
//!
//! Pure data and its wording. Only [`crate::trust::decide`] makes a [`Denial`].

use bpfkit_bundler::signature::NotGenuine;
use bpfkit_schemas::{
    Code, Diagnostic,
    diagnostic::Diagnose,
    names::{Digest, KeyName, ProgramName, RepositoryName, SetName, Tag},
    reference::Pinned,
    trust::Role,
};
use jiff::civil::Date;
use thiserror::Error;

use crate::policy::ScopeName;

/// A bundle that is not trusted, and all the reasons.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("the bundle {bundle} is not trusted")]
pub struct Denial {
    /// The bundle.
    pub bundle: Pinned,
    /// The set that was asked for.
    pub set: SetName,
    /// The reasons, in the order of [`Reason`]; never empty, none twice.
    pub findings: Vec<Finding>,
}

/// One reason, and what it is about.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Finding {
    /// Why not.
    pub reason: Reason,
    /// What isn't trusted.
    pub about: About,
    /// Whose demand it is.
    pub by: Whose,
}

/// What a reason is about.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum About {
    /// The set bundle.
    Set,
    /// A program that came from somebody's image.
    Program(ProgramName),
}

/// Whose demand wasn't met.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Whose {
    /// The policy that decides: the manifest's own block, or the host's.
    Policy,
    /// The trust block inside a set that was named by reference.
    SetsOwn,
    /// The host's policy of today, over a manifest that was applied earlier.
    Host,
}

/// One rule that was broken.
///
/// Those about a whole bundle come first; those about a single signature say why
/// it was passed over, which matters only because not enough others were left.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Reason {
    /// The bundle is of another set.
    WrongSet {
        /// What it says it is.
        found: SetName,
    },
    /// The set calls itself otherwise than its repository is called.
    SetElsewhere {
        /// What it calls itself.
        set: SetName,
        /// Where it says that it belongs.
        repository: RepositoryName,
    },
    /// Nothing in the policy covers the repository.
    NoScope {
        /// The repository.
        repository: RepositoryName,
    },
    /// Nobody signed, or the signatures were taken away.
    NoSignature,
    /// A role's quorum isn't met.
    TooFewSigners {
        /// The role.
        role: Role,
        /// How many different keys signed.
        have: usize,
        /// How many must.
        need: usize,
        /// The scope that says so.
        scope: ScopeName,
    },
    /// A signature, or the bundle itself where `key` is `None`, is for another repository.
    WrongRepository {
        /// The signer.
        key: Option<KeyName>,
        /// The repository that is named.
        signed_for: String,
        /// The one that was asked for.
        wanted: RepositoryName,
    },
    /// A signature, or the bundle itself where `key` is `None`, is for another version.
    WrongVersion {
        /// The signer.
        key: Option<KeyName>,
        /// The version that is named.
        signed_for: String,
        /// The one that was asked for.
        wanted: Tag,
    },
    /// A signature names neither repository nor version, or only one of them.
    MissingClaims {
        /// The signer.
        key: KeyName,
        /// The annotations that are missing.
        missing: Vec<&'static str>,
    },
    /// The signer's last day is over.
    KeyExpired {
        /// The signer.
        key: KeyName,
        /// The last day on which it counted.
        not_after: Date,
    },
    /// The signer counts for no role that the signature may count for.
    RoleNotHeld {
        /// The signer.
        key: KeyName,
        /// The role that the signature claims, if it claims one.
        claimed: Option<String>,
        /// The scope that says which key counts for what.
        scope: ScopeName,
    },
    /// A signature by somebody whom the policy doesn't name.
    SignedByUnknownKey {
        /// What the signature says of the key.
        hint: String,
    },
    /// A signature that its key didn't make.
    BadSignature {
        /// The key that it names.
        key: KeyName,
    },
    /// A signature over another digest.
    SubjectMismatch {
        /// What was signed.
        signed: Digest,
    },
    /// A signature over more than one thing.
    SeveralSubjects {
        /// How many.
        count: usize,
    },
    /// A statement of another kind: an SBOM, say.
    OtherStatement {
        /// The kind.
        found: String,
    },
    /// A signature through a certificate.
    Keyless,
    /// Something attached as a signature that can't be read as one.
    UnreadableSignature {
        /// What is wrong with it.
        why: String,
    },
    /// A program isn't what its image holds, or the image doesn't travel with the set.
    OriginUnproven {
        /// The image's repository.
        repository: RepositoryName,
        /// What is wrong.
        why: String,
    },
    /// There is a waiver, and it doesn't count for a set that is named by reference.
    WaiverNotCounted {
        /// Its reason.
        because: String,
    },
    /// The set's own trust block can't be used.
    OwnBlockUnusable {
        /// Its first problem.
        why: String,
    },
}

impl Reason {
    pub(crate) fn of_signature(why: NotGenuine, name_of: impl Fn(&Digest) -> Option<KeyName>) -> Self {
        match why {
            NotGenuine::Format { why } => Self::UnreadableSignature { why },
            NotGenuine::PayloadType { found } => {
                Self::UnreadableSignature { why: format!("it signs a payload of type `{found}`") }
            }
            NotGenuine::Certificate => Self::Keyless,
            NotGenuine::UnknownKey { hint } => Self::SignedByUnknownKey { hint },
            NotGenuine::BadSignature { key } => match name_of(&key) {
                Some(key) => Self::BadSignature { key },
                None => Self::SignedByUnknownKey { hint: key.to_string() },
            },
            NotGenuine::PredicateType { found } => Self::OtherStatement { found },
            NotGenuine::Subjects { count } => Self::SeveralSubjects { count },
            NotGenuine::AnotherSubject { signed } => Self::SubjectMismatch { signed },
        }
    }

    /// The code that `explain` knows.
    pub fn code(&self) -> Code {
        match self {
            Self::WrongSet { .. } | Self::SetElsewhere { .. } => Code::WRONG_SET,
            Self::NoScope { .. } => Code::NO_SCOPE,
            Self::NoSignature => Code::NO_SIGNATURE,
            Self::TooFewSigners { .. } => Code::TOO_FEW_SIGNERS,
            Self::WrongRepository { .. } => Code::WRONG_REPOSITORY,
            Self::WrongVersion { .. } => Code::WRONG_VERSION,
            Self::MissingClaims { .. } => Code::MISSING_CLAIMS,
            Self::KeyExpired { .. } => Code::KEY_EXPIRED,
            Self::RoleNotHeld { .. } => Code::ROLE_NOT_HELD,
            Self::SignedByUnknownKey { .. } => Code::UNKNOWN_SIGNER,
            Self::BadSignature { .. } => Code::BAD_SIGNATURE,
            Self::SubjectMismatch { .. } => Code::SUBJECT_MISMATCH,
            Self::SeveralSubjects { .. } => Code::SEVERAL_SUBJECTS,
            Self::OtherStatement { .. } => Code::OTHER_STATEMENT,
            Self::Keyless => Code::KEYLESS_SIGNATURE,
            Self::UnreadableSignature { .. } => Code::UNREADABLE_SIGNATURE,
            Self::OriginUnproven { .. } => Code::ORIGIN_UNPROVEN,
            Self::WaiverNotCounted { .. } => Code::WAIVER_NOT_COUNTED,
            Self::OwnBlockUnusable { .. } => Code::OWN_BLOCK_UNUSABLE,
        }
    }

    fn next_move(&self, set: &SetName) -> String {
        match self {
            Self::WrongSet { found } => format!("apply `{found}` under its own name, or run `bpfkit bundle` for `{set}`"),
            Self::SetElsewhere { set, .. } => format!("bundle it for the repository of `{set}`, or give the set its repository's name"),
            Self::NoScope { repository } => format!("add `{repository}` under `trust.image`, or a prefix of it under `trust.org`"),
            Self::NoSignature => "sign it with `bpfkit sign --key FILE`, or waive it under `trust.unsigned` with a reason".to_owned(),
            Self::TooFewSigners { role, .. } => format!("have another key that counts for `{role}` sign it: `bpfkit sign --key FILE --role {role}`"),
            Self::WrongRepository { .. } => "take the bundle from the repository that it was signed for, or have it signed for this one".to_owned(),
            Self::WrongVersion { wanted, .. } => format!("look where the tag `{wanted}` points: it holds another version than it says"),
            Self::MissingClaims { .. } => {
                "sign with `bpfkit sign`, or `cosign sign -a dev.bpfkit.repository=… -a dev.bpfkit.version=…`, or say `claims: digest_only`".to_owned()
            }
            Self::KeyExpired { key, .. } => format!("have a newer key sign it, or move the `not_after` of `{key}` if the key is still good"),
            Self::RoleNotHeld { key, .. } => format!("sign with a key that holds the role, or list `{key}` under the role's `from`"),
            Self::SignedByUnknownKey { .. } => "if you trust the signer, add the public key under `trust.keys` and to a role's `from`".to_owned(),
            Self::BadSignature { .. } | Self::SubjectMismatch { .. } | Self::SeveralSubjects { .. } | Self::UnreadableSignature { .. } => {
                "fetch the bundle again from its own repository; if it stays so, ask the signer to sign anew".to_owned()
            }
            Self::OtherStatement { .. } => "an attestation is no signature; sign it with `bpfkit sign --key FILE`".to_owned(),
            Self::Keyless => "have it signed by a key too: `bpfkit sign --key FILE`".to_owned(),
            Self::OriginUnproven { .. } => "run `bpfkit bundle` again, so that the image travels with the set".to_owned(),
            Self::WaiverNotCounted { .. } => "have it signed, or apply it from a manifest of your own".to_owned(),
            Self::OwnBlockUnusable { .. } => "tell the set's publisher; nothing on this host can mend it".to_owned(),
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = |key: &Option<KeyName>| {
            key.as_ref().map_or_else(|| "the bundle is".to_owned(), |key| format!("the signature by `{key}` is"))
        };
        match self {
            Self::WrongSet { found } => write!(f, "the bundle is of the set `{found}`"),
            Self::SetElsewhere { set, repository } => {
                write!(f, "it calls itself `{set}` and belongs to the repository `{repository}`")
            }
            Self::NoScope { repository } => write!(f, "no scope of the trust block covers `{repository}`"),
            Self::NoSignature => f.write_str("it has no signature"),
            Self::TooFewSigners { role, have, need, scope } => {
                write!(f, "it has {have} of the {need} signatures by `{role}` that {scope} demands")
            }
            Self::WrongRepository { key, signed_for, wanted } => {
                write!(f, "{} for the repository `{signed_for}`, not `{wanted}`", by(key))
            }
            Self::WrongVersion { key, signed_for, wanted } => {
                write!(f, "{} for the version `{signed_for}`, not `{wanted}`", by(key))
            }
            Self::MissingClaims { key, missing } => {
                write!(f, "the signature by `{key}` does not say `{}`", missing.join("` and `"))
            }
            Self::KeyExpired { key, not_after } => {
                write!(f, "the key `{key}` counts no longer: its last day was {not_after}")
            }
            Self::RoleNotHeld { key, claimed: Some(claimed), scope } => {
                write!(f, "the signature by `{key}` claims the role `{claimed}`, for which {scope} doesn't count it")
            }
            Self::RoleNotHeld { key, claimed: None, scope } => {
                write!(f, "the key `{key}` signed and counts for nothing that {scope} demands")
            }
            Self::SignedByUnknownKey { hint } => {
                write!(f, "a key that the trust block doesn't name signed it (`{hint}`)")
            }
            Self::BadSignature { key } => write!(f, "a signature says that it is by `{key}`, and is not"),
            Self::SubjectMismatch { signed } => write!(f, "a signature is over another digest, {}", signed.short()),
            Self::SeveralSubjects { count } => write!(f, "a signature is over {count} subjects instead of one"),
            Self::OtherStatement { found } => write!(f, "a signature states something else (`{found}`)"),
            Self::Keyless => {
                f.write_str("a signature was made through a certificate, which a block of keys can't judge")
            }
            Self::UnreadableSignature { why } => write!(f, "a signature can't be read: {why}"),
            Self::OriginUnproven { repository, why } => write!(f, "it is said to come from `{repository}`, and {why}"),
            Self::WaiverNotCounted { because } => {
                write!(f, "its waiver (\"{because}\") doesn't count for a set that is named by reference")
            }
            Self::OwnBlockUnusable { why } => write!(f, "the set's own trust block can't be used: {why}"),
        }
    }
}

impl Denial {
    /// Sorts the findings and leaves out doubles.
    pub(crate) fn new(bundle: Pinned, set: SetName, mut findings: Vec<Finding>) -> Self {
        findings.sort();
        findings.dedup();
        Self { bundle, set, findings }
    }
}

impl Diagnose for Denial {
    fn diagnose(&self) -> Vec<Diagnostic> {
        self.findings
            .iter()
            .map(|Finding { reason, about, by }| {
                let what = match about {
                    About::Set => format!("the set `{}`", self.set),
                    About::Program(name) => format!("the program `{name}` of the set `{}`", self.set),
                };
                let one = Diagnostic::error(reason.code(), format!("{what} is not trusted: {reason}"))
                    .note(format!("bundle {}", self.bundle));
                let one = match by {
                    Whose::Policy => one,
                    Whose::SetsOwn => one.note("the trust block inside the set demands it"),
                    Whose::Host => one.note("this host's policy demands it, /etc/bpfkit/trust.yml"),
                };
                one.help(reason.next_move(&self.set))
            })
            .collect()
    }
}
