//! Why a bundle is believed: who signed it, in which role, until when, and what was waived.
//!
//! Pure data: `plan`, `inspect` and `verify --explain` print it. Only
//! [`crate::trust::decide`] fills it in.

use std::{collections::BTreeMap, fmt};

use bpfkit_schemas::{
    names::{Digest, KeyName, ProgramName, RepositoryName, SetName, Tag},
    trust::Role,
};
use jiff::civil::Date;
use serde::Serialize;

use crate::policy::ScopeName;

/// Why one bundle is believed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Grounds {
    /// The set.
    pub name: SetName,
    /// Why the set bundle as a whole is believed.
    pub set: Ground,
    /// Why each of its programs is.
    pub programs: BTreeMap<ProgramName, Ground>,
    /// How the set's own trust block, which can only narrow, was satisfied as well.
    pub narrowed_by: Vec<Believed>,
    /// How the host's own policy was, where a manifest that was applied earlier is applied again.
    pub bounded_by: Vec<Believed>,
}

/// One reason to believe.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// Enough of the right keys signed it.
    Signed(Believed),
    /// It may go unsigned, and the operator says why.
    Waived {
        /// The operator's words.
        because: String,
    },
    /// A program: the signed set bundle pins it by digest.
    BySet,
    /// A set whose chains are the operator's own manifest: each of its programs is believed by itself.
    ByItsPrograms,
}

/// How one scope's demands were met.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Believed {
    /// The repository that was signed for.
    pub repository: RepositoryName,
    /// The version that was signed for, where one was asked for.
    pub version: Option<Tag>,
    /// The scope that applied; no other one was looked at.
    pub scope: ScopeName,
    /// Every role that the scope demands.
    pub roles: BTreeMap<Role, Met>,
    /// The last day (UTC) on which these signatures are enough; `None` where no day is set.
    pub until: Option<Date>,
}

/// How one role's quorum was met.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Met {
    /// How many had to sign.
    pub need: usize,
    /// Who did: different keys, by name.
    pub signers: Vec<Signer>,
}

/// One key that signed.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize)]
pub struct Signer {
    /// What the policy calls it.
    pub name: KeyName,
    /// The SHA-256 of its `SubjectPublicKeyInfo`.
    pub key: Digest,
    /// The last day (UTC) on which it counts.
    pub not_after: Option<Date>,
}

impl Met {
    /// The last day on which `need` of the signers still count.
    pub(crate) fn until(&self) -> Option<Date> {
        let mut days: Vec<Option<Date>> = self.signers.iter().map(|signer| signer.not_after).collect();
        // Those that last longest first; a key without a day lasts for ever.
        days.sort_by(|a, b| match (a, b) {
            (None, None) => std::cmp::Ordering::Equal,
            (None, Some(_)) => std::cmp::Ordering::Less,
            (Some(_), None) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => b.cmp(a),
        });
        days.get(self.need.checked_sub(1)?).copied().flatten()
    }
}

impl Grounds {
    /// One line for the set and one for each program that isn't simply part of it, for people.
    pub fn lines(&self) -> Vec<String> {
        let set = match &self.set {
            Ground::Signed(believed) => Some(format!("set `{}` {believed}", self.name)),
            Ground::Waived { because } => Some(format!("set `{}` waived: \"{because}\"", self.name)),
            Ground::BySet | Ground::ByItsPrograms => None,
        };
        let programs = self.programs.iter().filter_map(|(name, ground)| match ground {
            Ground::Signed(believed) => Some(format!("program `{name}` {believed}")),
            Ground::Waived { because } => Some(format!("program `{name}` waived: \"{because}\"")),
            Ground::BySet | Ground::ByItsPrograms => None,
        });
        let narrowed = self.narrowed_by.iter().map(|believed| format!("and, as the set itself demands, {believed}"));
        let bounded = self.bounded_by.iter().map(|believed| format!("and, as this host's policy demands, {believed}"));
        set.into_iter().chain(programs).chain(narrowed).chain(bounded).collect()
    }

    /// The keys that vouch for `program`: its own signers, or else the set's.
    pub fn signers(&self, program: &ProgramName) -> Vec<KeyName> {
        let ground = match self.programs.get(program) {
            None | Some(Ground::BySet) => &self.set,
            Some(ground) => ground,
        };
        let Ground::Signed(believed) = ground else { return Vec::new() };
        let mut names: Vec<KeyName> =
            believed.roles.values().flat_map(|met| &met.signers).map(|signer| signer.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The last day (UTC) on which all this holds; `None` where no day is set.
    pub fn until(&self) -> Option<Date> {
        let grounds = std::iter::once(&self.set).chain(self.programs.values());
        let signed =
            grounds.filter_map(|ground| if let Ground::Signed(believed) = ground { Some(believed) } else { None });
        signed.chain(&self.narrowed_by).chain(&self.bounded_by).filter_map(|believed| believed.until).min()
    }
}

impl fmt::Display for Believed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signed for `{}", self.repository)?;
        if let Some(version) = &self.version {
            write!(f, ":{version}")?;
        }
        f.write_str("` by")?;
        for (i, (role, met)) in self.roles.iter().enumerate() {
            let names: Vec<&str> = met.signers.iter().map(|signer| signer.name.as_str()).collect();
            write!(
                f,
                "{} {role} {} ({} of {})",
                if i == 0 { "" } else { ";" },
                names.join(", "),
                names.len(),
                met.need
            )?;
        }
        if let Some(day) = self.until {
            write!(f, ", until {day}")?;
        }
        Ok(())
    }
}
