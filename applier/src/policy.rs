//! A trust block, resolved: keys are keys, scopes are found, and every demand can be met.
//!
//! Pure. [`Policy::new`] is the second reading of a block: the manifest stage has
//! checked the text, but a block may also come out of somebody's bundle, and only
//! here do names become key material. So the rules that need the material live
//! here (one key under two names is one signer), and the others once more.
//!
//! What a policy then decides is in [`crate::trust`].

use std::collections::{BTreeMap, BTreeSet};

use bpfkit_bundler::key::PublicKey;
use bpfkit_schemas::{
    Code, Diagnostic,
    diagnostic::Diagnose,
    names::{Digest, KeyName, ProgramName, RepositoryName, SetName},
    trust::{Claims, Role, TrustBlock, Waived},
};
use jiff::civil::Date;
use serde::Serialize;
use thiserror::Error;

/// A trust block whose keys have been read and whose demands can be met.
#[derive(Clone, Debug)]
pub struct Policy {
    keys: BTreeMap<Digest, PolicyKey>,
    image: BTreeMap<String, Scope>,
    org: BTreeMap<String, Scope>,
    set_waivers: BTreeMap<SetName, String>,
    program_waivers: BTreeMap<ProgramName, String>,
}

/// One key of a policy.
#[derive(Clone, Debug)]
pub(crate) struct PolicyKey {
    pub(crate) name: KeyName,
    pub(crate) key: PublicKey,
    pub(crate) not_after: Option<Date>,
}

/// One scope of a policy.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) quorums: BTreeMap<Role, CountedQuorum>,
    pub(crate) claims: Claims,
}

/// A quorum over key material.
#[derive(Clone, Debug)]
pub(crate) struct CountedQuorum {
    pub(crate) need: usize,
    /// A set: one key can't be there twice.
    pub(crate) from: BTreeSet<Digest>,
}

/// Where in a trust block a demand stands.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeName {
    /// `image:`, one repository.
    Image(String),
    /// `org:`, a prefix.
    Org(String),
}

impl std::fmt::Display for ScopeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(text) => write!(f, "image `{text}`"),
            Self::Org(text) => write!(f, "org `{text}`"),
        }
    }
}

/// Why a trust block can't be used. Every problem that it has.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("the trust block can't be used")]
pub struct PolicyError {
    /// The problems; never empty.
    pub problems: Vec<PolicyProblem>,
}

/// One thing that makes a trust block meaningless, or weaker than it looks.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum PolicyProblem {
    /// Two names for one key: a threshold of two would be met by one person.
    #[error("the keys `{first}` and `{second}` are the same key")]
    DuplicateKey {
        /// One name.
        first: KeyName,
        /// The other.
        second: KeyName,
    },
    /// Not an ECDSA P-256 key in PEM.
    #[error("the key `{key}` can't be read: {why}")]
    BadKey {
        /// Its name.
        key: KeyName,
        /// What is wrong with it.
        why: String,
    },
    /// A quorum counts a key that isn't declared.
    #[error("{scope} counts the key `{key}`, which is not declared")]
    UndeclaredKey {
        /// The scope.
        scope: ScopeName,
        /// The key.
        key: KeyName,
    },
    /// A scope without a role, or a role without a key: the empty list that anything satisfies.
    #[error("{scope} demands nothing{}", .role.map(|r| format!(" of the role `{r}`")).unwrap_or_default())]
    EmptyQuorum {
        /// The scope.
        scope: ScopeName,
        /// The role, where it is there and empty.
        role: Option<Role>,
    },
    /// More signatures than there are keys.
    #[error("{scope} asks for {need} signatures by `{role}`, and the keys for that are {have}")]
    Unreachable {
        /// The scope.
        scope: ScopeName,
        /// The role.
        role: Role,
        /// The threshold.
        need: usize,
        /// How many different keys could meet it.
        have: usize,
    },
    /// A scope that no repository can have.
    #[error("{scope} names no repository: {why}")]
    BadScope {
        /// The scope.
        scope: ScopeName,
        /// What is wrong with it.
        why: String,
    },
    /// A waiver without a reason, or two for one thing.
    #[error("the waiver for `{what}` {why}")]
    BadWaiver {
        /// What is waived.
        what: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// There is no policy to decide with.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("this host has no trust policy, and `{repository}` needs one")]
pub struct NoPolicy {
    /// The repository of what was to be applied.
    pub repository: RepositoryName,
}

impl Policy {
    /// Resolves `block`; no key may be left as a file.
    ///
    /// # Errors
    ///
    /// Every [`PolicyProblem`] that the block has.
    pub fn new(block: &TrustBlock) -> Result<Self, PolicyError> {
        let mut problems = Vec::new();
        let (keys, names) = keys(block, &mut problems);
        let mut scopes = |demands: &BTreeMap<String, bpfkit_schemas::trust::Demands>, name: fn(String) -> ScopeName| {
            let resolved = demands.iter().map(|(text, demands)| {
                let scope = name(text.clone());
                check_scope(&scope, &mut problems);
                let quorums = demands.roles.iter().map(|(role, quorum)| {
                    let from = quorum.from.iter().filter_map(|key| {
                        if !block.keys.contains_key(key) {
                            problems.push(PolicyProblem::UndeclaredKey { scope: scope.clone(), key: key.clone() });
                        }
                        names.get(key).copied()
                    });
                    let from: BTreeSet<Digest> = from.collect();
                    let need = quorum.threshold.get();
                    if quorum.from.is_empty() {
                        problems.push(PolicyProblem::EmptyQuorum { scope: scope.clone(), role: Some(*role) });
                    } else if from.len() < need && quorum.from.iter().all(|key| names.contains_key(key)) {
                        problems.push(PolicyProblem::Unreachable {
                            scope: scope.clone(),
                            role: *role,
                            need,
                            have: from.len(),
                        });
                    }
                    (*role, CountedQuorum { need, from })
                });
                let quorums: BTreeMap<Role, CountedQuorum> = quorums.collect();
                if quorums.is_empty() {
                    problems.push(PolicyProblem::EmptyQuorum { scope, role: None });
                }
                (text.clone(), Scope { quorums, claims: demands.claims })
            });
            resolved.collect::<BTreeMap<_, _>>()
        };
        let image = scopes(&block.image, ScopeName::Image);
        let org = scopes(&block.org, ScopeName::Org);

        let (mut set_waivers, mut program_waivers) = (BTreeMap::new(), BTreeMap::new());
        for waiver in &block.unsigned {
            let (what, before) = match &waiver.what {
                Waived::Set(set) => (set.to_string(), set_waivers.insert(set.clone(), waiver.because.clone())),
                Waived::Program(program) => {
                    (program.to_string(), program_waivers.insert(program.clone(), waiver.because.clone()))
                }
            };
            if before.is_some() {
                problems.push(PolicyProblem::BadWaiver { what, why: "is there twice" });
            } else if waiver.because.trim().is_empty() {
                problems.push(PolicyProblem::BadWaiver { what, why: "has no reason" });
            }
        }

        if problems.is_empty() {
            Ok(Self { keys, image, org, set_waivers, program_waivers })
        } else {
            Err(PolicyError { problems })
        }
    }

    /// The one scope that covers `repository`: its `image`, else the longest `org` above it.
    pub fn scope_of(&self, repository: &RepositoryName) -> Option<ScopeName> {
        self.scope(repository).map(|(name, _)| name)
    }

    pub(crate) fn scope(&self, repository: &RepositoryName) -> Option<(ScopeName, &Scope)> {
        if let Some((text, scope)) = self.image.get_key_value(repository.as_str()) {
            return Some((ScopeName::Image(text.clone()), scope));
        }
        let above = self.org.iter().filter(|(prefix, _)| repository.is_under(prefix));
        above.max_by_key(|(prefix, _)| prefix.len()).map(|(prefix, scope)| (ScopeName::Org(prefix.clone()), scope))
    }

    pub(crate) fn keys(&self) -> Vec<&PublicKey> {
        self.keys.values().map(|known| &known.key).collect()
    }

    pub(crate) fn key(&self, digest: &Digest) -> Option<&PolicyKey> {
        self.keys.get(digest)
    }

    pub(crate) fn waived_set(&self, set: &SetName) -> Option<&str> {
        self.set_waivers.get(set).map(String::as_str)
    }

    pub(crate) fn waived_program(&self, program: &ProgramName) -> Option<&str> {
        self.program_waivers.get(program).map(String::as_str)
    }
}

/// The keys by who they are, and who each name is.
fn keys(
    block: &TrustBlock,
    problems: &mut Vec<PolicyProblem>,
) -> (BTreeMap<Digest, PolicyKey>, BTreeMap<KeyName, Digest>) {
    let (mut keys, mut names) = (BTreeMap::<Digest, PolicyKey>::new(), BTreeMap::new());
    for (name, trusted) in &block.keys {
        let key = match PublicKey::from_pem(&trusted.pem) {
            Ok(key) => key,
            Err(error) => {
                problems.push(PolicyProblem::BadKey { key: name.clone(), why: error.to_string() });
                continue;
            }
        };
        let digest = key.spki_digest();
        names.insert(name.clone(), digest);
        if let Some(first) = keys.get(&digest) {
            problems.push(PolicyProblem::DuplicateKey { first: first.name.clone(), second: name.clone() });
            continue;
        }
        keys.insert(digest, PolicyKey { name: name.clone(), key, not_after: trusted.not_after });
    }
    (keys, names)
}

/// An `image` is a repository; an `org` is whatever a repository can lie below.
fn check_scope(scope: &ScopeName, problems: &mut Vec<PolicyProblem>) {
    let probe = match scope {
        ScopeName::Image(text) => text.clone(),
        ScopeName::Org(text) => format!("{text}/x"),
    };
    if let Err(error) = probe.parse::<RepositoryName>() {
        problems.push(PolicyProblem::BadScope { scope: scope.clone(), why: error.why.into_owned() });
    }
}

/// A trust policy to begin with, as `/etc/bpfkit/trust.yml` would have it.
///
/// It believes one key for one repository. Without `key_pem` the key is a file
/// that has to be put there, because nothing but the operator's own hand should
/// say whose key it is.
pub fn starter_policy(repository: &RepositoryName, key_pem: Option<&str>) -> String {
    let key = match key_pem {
        Some(pem) => {
            let lines: Vec<String> = pem.trim().lines().map(|line| format!("      {}", line.trim())).collect();
            format!("  publisher:\n    pem: |\n{}\n", lines.join("\n"))
        }
        None => "  # The publisher's public key, from the publisher by a way that you trust.\n  publisher: {file: /etc/bpfkit/keys/publisher.pub}\n".to_owned(),
    };
    format!(
        "# /etc/bpfkit/trust.yml: who may be believed on this host.\n\
         default: reject\n\
         keys:\n\
         {key}\
         image:\n  {repository}:\n    author: {{threshold: 1, from: [publisher]}}\n"
    )
}

impl PolicyProblem {
    fn code(&self) -> Code {
        match self {
            Self::DuplicateKey { .. } => Code::SAME_KEY_TWICE,
            Self::BadKey { .. } => Code::BAD_POLICY_KEY,
            Self::UndeclaredKey { .. } => Code::UNDECLARED_KEY,
            Self::EmptyQuorum { .. } => Code::EMPTY_QUORUM,
            Self::Unreachable { .. } => Code::UNREACHABLE_THRESHOLD,
            Self::BadScope { .. } => Code::BAD_SCOPE,
            Self::BadWaiver { .. } => Code::BAD_WAIVER,
        }
    }

    fn next_move(&self) -> &'static str {
        match self {
            Self::DuplicateKey { .. } => "leave one of the names out, or name the other person's key",
            Self::BadKey { .. } => "use the `.pub` file that `bpfkit trust keygen` or `cosign generate-key-pair` wrote",
            Self::UndeclaredKey { .. } => "declare it under `keys`",
            Self::EmptyQuorum { .. } => {
                "name a role and at least one key, or leave the scope out: what no scope covers is rejected"
            }
            Self::Unreachable { .. } => "lower `threshold`, or name more keys under `from`",
            Self::BadScope { .. } => {
                "write the registry's host and a path, without a scheme, a tag or a slash at the end"
            }
            Self::BadWaiver { .. } => "say once, under `because`, why it may go unsigned",
        }
    }
}

impl Diagnose for PolicyError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        self.problems
            .iter()
            .map(|problem| Diagnostic::error(problem.code(), problem.to_string()).help(problem.next_move()))
            .collect()
    }
}

impl Diagnose for NoPolicy {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let start = starter_policy(&self.repository, None);
        let mut one = Diagnostic::error(Code::NO_POLICY, self.to_string());
        one.notes = vec![format!("a policy to begin with:\n{}", start.trim_end())];
        vec![one.help("write `/etc/bpfkit/trust.yml`, or look without applying: `bpfkit verify --trust FILE`")]
    }
}
