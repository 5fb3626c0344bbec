//! A kept generation is applied again: `rollback`, and `apply --last` after a reboot.
//!
//! The bundle is read from the store, every digest held to its bytes, and trust is decided anew
//! with today's policy and clock: what was applied by reference by the host's, what was applied by
//! a manifest by that manifest's own trust block, and by the host's policy as well wherever that
//! has a scope for the repository. The network isn't touched, whatever is named.

use bpfkit_bundler::{Limits, Network, pull};
use bpfkit_schemas::{
    names::{Platform, SetName},
    reference::{Pinned, Place},
    template::HostFacts,
};
use jiff::Timestamp;

use super::{
    Generation, KeptWord, State, Store,
    carry::{Applied, Becoming, carry, pending, refuse_pending},
    error::GenerationError,
};
use crate::{
    desired::Waiting,
    kernel::Places,
    session::{Authority, Declared, Missing, Session},
    trust::{Asked, NoPolicy, Policy, Word, decide, decide_within},
};

/// What the host says today.
#[derive(Clone, Debug)]
pub struct Today {
    /// Whom it believes; none where it has no policy.
    pub policy: Option<Policy>,
    /// Its facts.
    pub facts: HostFacts,
    /// Its platform.
    pub platform: Platform,
    /// Its clock.
    pub now: Timestamp,
    /// Where it keeps things.
    pub places: Places,
}

/// How a restore went.
#[derive(Debug)]
pub struct Restored {
    /// The run.
    pub applied: Applied,
    /// The generation.
    pub number: u64,
    /// Chains of interfaces and namespaces that are named and aren't there yet.
    pub absent: Vec<Waiting>,
}

/// Goes back to `to`, or to the one before the live one; where one waits to be confirmed, to the one before that.
///
/// What is live then is a new generation, but where one that waited is put back.
pub fn rollback(set: &SetName, to: Option<u64>, today: &Today) -> Result<Applied, GenerationError> {
    let store = Store::new(&today.places, set);
    let mut kernel = crate::kernel::LinuxKernel::new(today.places.clone(), set.clone());
    let lock = kernel.lock()?;
    store.recover()?;
    let nothing = || GenerationError::NothingKept { set: set.clone() };
    let waiting = pending(&store)?;
    let (target, becoming) = match (to, &waiting) {
        (Some(number), _) => (store.read(number)?, Becoming::New { of: Some(number) }),
        (None, Some(Generation { state: State::Pending { back_to, .. }, .. })) => {
            let target = match back_to {
                Some(number) => store.read(*number)?,
                // Nothing was live before; the last good one may be from before a reboot.
                None => store.last_confirmed(None)?.ok_or_else(nothing)?,
            };
            let number = target.number;
            (target, Becoming::Again(number))
        }
        (None, _) => {
            let target = store.last_confirmed(kernel.published())?.ok_or_else(nothing)?;
            let number = target.number;
            (target, Becoming::New { of: Some(number) })
        }
    };
    let session = session(&store, &target, today)?;
    carry(&session, &mut kernel, &lock, &store, becoming)
}

/// Applies the last confirmed generation of a set again.
///
/// Interfaces and namespaces that are named and not there yet don't hold up the rest; they come back as absent.
pub fn restore(set: &SetName, today: &Today) -> Result<Restored, GenerationError> {
    let store = Store::new(&today.places, set);
    let mut kernel = crate::kernel::LinuxKernel::new(today.places.clone(), set.clone());
    let lock = kernel.lock()?;
    store.recover()?;
    refuse_pending(&store)?;
    let last = store.last_confirmed(None)?.ok_or_else(|| GenerationError::NothingKept { set: set.clone() })?;
    let number = last.number;
    let session = session(&store, &last, today)?.when_missing(Missing::Wait);
    let applied = carry(&session, &mut kernel, &lock, &store, Becoming::Again(number))?;
    let absent = session.absent()?;
    Ok(Restored { applied, number, absent })
}

/// Makes a session of a kept generation: its bundle read and held to its digests, and trusted today.
pub(super) fn session(store: &Store, generation: &Generation, today: &Today) -> Result<Session, GenerationError> {
    let number = generation.number;
    let content = &generation.content;
    let pinned = Pinned { place: Place::Layout(store.layout()), digest: content.bundle };
    let fetched = pull(&Network::offline(), &pinned, today.platform, &Limits::default())
        .map_err(|source| GenerationError::Bundle { number, source: Box::new(source) })?;
    let asked = |word| Asked {
        set: store.set().clone(),
        repository: Some(content.repository.clone()),
        version: Some(content.version.clone()),
        word,
    };
    let decided = match &content.word {
        KeptWord::Reference => {
            let policy = today.policy.as_ref().ok_or_else(|| NoPolicy { repository: content.repository.clone() })?;
            decide(policy, fetched, &asked(Word::Reference), today.now)
        }
        KeptWord::Manifest(own) => {
            let then = Policy::new(&own.trust)?;
            decide_within(&then, today.policy.as_ref(), fetched, &asked(Word::Manifest), today.now)
        }
    };
    let bundle = decided.map_err(|source| GenerationError::Denied { number, source: Box::new(source) })?;
    let (declared, authority) = match &content.word {
        KeptWord::Reference => (Declared::by_bundle(&bundle), Authority::Reference),
        KeptWord::Manifest(own) => {
            let declared = Declared {
                source: None,
                vars: own.vars.clone(),
                chains: own.chains.clone(),
                maps: own.maps.clone(),
                globals: own.globals.clone(),
            };
            (declared, Authority::Manifest { trust: own.trust.clone() })
        }
    };
    let session = Session::new(bundle, declared, authority, today.facts.clone(), today.places.clone())?;
    Ok(session.coming_from(generation.reference.clone()))
}
