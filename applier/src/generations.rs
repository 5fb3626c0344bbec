//! Generations: what was applied, kept on this host, so that there is a way back, in time and after a reboot.
//!
//! A **generation** is one applied state of a set: the bundle as it was verified, and what the
//! operator's own manifest said where it was that. Each apply that came to its end and brought
//! something new is kept ([`apply`]), under a number that no other one that is kept has.
//!
//! | module | what | touches |
//! | --- | --- | --- |
//! | `file` | a generation ⇄ its bytes | nothing |
//! | [`store`] | the generations of one set, below `/var/lib/bpfkit/<set>` | files |
//! | [`deadline`] | until when something may be confirmed | `/proc` |
//! | `carry` | an apply, with what is kept of it | all |
//! | [`pending`] | an apply that is put back unless it is confirmed | all |
//! | [`again`] | a kept generation is applied again: `rollback`, `apply --last` | all |
//!
//! # What is kept to
//!
//! 1. *What is kept decides nothing.* Whoever applies a generation again has trust decided again, by
//!    today's policy and clock ([`again`]), and the plan is made from what is live.
//! 2. *The kernel is the truth about what is live*: which generation that is stands in bpffs
//!    (`generation`), never here. What is here can be lost, and what is live stays.
//! 3. *Nothing is half-written*: each file is made beside its place, synced, and renamed into it;
//!    a kill or a loss of power leaves the old or the new one.
//! 4. *What is read back may be damaged*: it is bounded, held to its digest, refused with a code. The digest stops
//!    damage, and not root: whoever can write below `/var/lib/bpfkit` writes a generation with a trust block of its own,
//!    and is believed as root's own manifest is. A host policy with a scope for the repository binds that one, too.

pub mod again;
mod carry;
pub mod deadline;
pub mod error;
mod file;
pub mod pending;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};

use bpfkit_bundler::{hash::sha256, json};
use bpfkit_schemas::{
    chain::{Chain, Globals, SharedMap},
    names::{Digest, Platform, ProgramName, RepositoryName, SetName, Tag},
    trust::TrustBlock,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::deadline::Deadline;
pub use self::{
    carry::{Applied, apply, remove},
    error::{GenerationError, StoreError},
    store::Store,
};
use crate::kernel::{LinuxKernel, Places};

/// One applied state of a set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Its number: one more than the highest that is kept. An apply that came to nothing gives its number back, and
    /// after a removal they begin anew.
    pub number: u64,
    /// When it was applied, by the clock of the host.
    pub made: Timestamp,
    /// Whether it may be gone back to by itself.
    pub state: State,
    /// The generation that was gone back to, where this came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Where the bundle came from, as it was named.
    pub reference: String,
    /// Why it was believed then, for people: it is decided again each time.
    pub grounds: Vec<String>,
    /// What was applied.
    pub content: Content,
    /// Every part of the bundle.
    parts: BTreeSet<Digest>,
}

/// Whether a generation may be gone back to by itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// It was meant to stay.
    Confirmed,
    /// Somebody has to confirm it, or it is put back.
    Pending {
        /// Until when.
        until: Deadline,
        /// The generation to go back to; with none, its chains are taken off.
        back_to: Option<u64>,
    },
    /// Nobody confirmed it, and it was put back; it is gone back to by its number alone.
    PutBack,
}

/// What was applied, as far as it decides what runs and who is believed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The set's bundle: what its reference pinned.
    pub bundle: Digest,
    /// The repository that it belongs to.
    pub repository: RepositoryName,
    /// Its version.
    pub version: Tag,
    /// The platform.
    pub platform: Platform,
    /// By whose word.
    pub word: KeptWord,
}

/// By whose word a generation was applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KeptWord {
    /// Somebody else's: chains, maps and globals are the bundle's own, and the host's policy decides.
    Reference,
    /// The operator's own manifest.
    Manifest(Box<OwnWord>),
}

/// What a manifest said, beside its programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnWord {
    /// `vars:`, rendered.
    pub vars: BTreeMap<String, String>,
    /// The chains.
    pub chains: Vec<Chain>,
    /// `maps:`.
    pub maps: Vec<SharedMap>,
    /// Globals by program.
    pub globals: BTreeMap<ProgramName, Globals>,
    /// Whom to believe, keys inlined.
    pub trust: TrustBlock,
}

impl Content {
    /// Stands for the content: two generations of one mark are the same to whoever applies them.
    pub(crate) fn mark(&self) -> Digest {
        // These types can be written as JSON; see `json::write`.
        sha256(&json::write(self).unwrap_or_default())
    }
}

impl Generation {
    /// Whether it was meant to stay.
    pub fn is_confirmed(&self) -> bool {
        self.state == State::Confirmed
    }

    /// One word for its state.
    pub fn state_word(&self) -> &'static str {
        match self.state {
            State::Confirmed => "confirmed",
            State::Pending { .. } => "pending",
            State::PutBack => "put_back",
        }
    }
}

/// The number of the generation of `set` that is live, as the last run that came to its end left it in bpffs.
pub fn live(set: &SetName, places: &Places) -> Option<u64> {
    LinuxKernel::new(places.clone(), set.clone()).published()
}

#[cfg(test)]
mod tests;
