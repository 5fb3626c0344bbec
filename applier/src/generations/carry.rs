//! An apply with what is kept of it, and a removal with what is forgotten.
//!
//! All under the one lock of the host. The name of the live generation is taken away before a
//! hook is touched, and set when the run came to its end: [`crate::kernel`] says why. That a
//! generation can't be kept doesn't stop an apply, which may be the one that repairs the host;
//! it is said, loudly, beside the outcome.

use bpfkit_schemas::names::SetName;
use jiff::Timestamp;

use super::{
    Generation, State, Store,
    error::{GenerationError, StoreError},
};
use crate::{
    execute::Outcome,
    kernel::{HostLock, KernelError, LinuxKernel, Places},
    plan::Plan,
    session::{self, Session},
};

/// How an apply, a roll-back or a removal went.
#[derive(Debug)]
pub struct Applied {
    /// What was to be done.
    pub plan: Plan,
    /// How that went.
    pub outcome: Outcome<KernelError>,
    /// The generation that is live now; none where the run stopped, or nothing could be kept.
    pub generation: Option<Generation>,
    /// What could not be kept or forgotten, though the run came to its end.
    pub unkept: Vec<StoreError>,
}

/// What becomes of a run that came to its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Becoming {
    /// A new generation, unless it is the live or the newest one once more.
    New {
        /// The one that was gone back to.
        of: Option<u64>,
    },
    /// This one again.
    Again(u64),
}

/// Applies a session and keeps what it brought.
///
/// # Errors
///
/// Among others where a generation of the set waits to be confirmed: nothing was changed then.
pub fn apply(session: &Session) -> Result<Applied, GenerationError> {
    let mut kernel = session.kernel();
    let lock = kernel.lock()?;
    let store = Store::new(session.places(), session.set());
    // Where this fails, so will keeping, and that is told.
    let _ = store.recover();
    refuse_pending(&store)?;
    carry(session, &mut kernel, &lock, &store, Becoming::New { of: None })
}

/// Takes a set off this host, and forgets its generations: what was removed doesn't come back with the next boot.
pub fn remove(set: &SetName, places: &Places) -> Result<Applied, GenerationError> {
    let mut kernel = LinuxKernel::new(places.clone(), set.clone());
    let lock = kernel.lock()?;
    let store = Store::new(places, set);
    // What an earlier removal set aside that was cut off comes back if this one stops.
    store.recover()?;
    take_away(&mut kernel, &lock, &store)
}

/// [`remove`], under a lock that is held already.
pub(super) fn take_away(kernel: &mut LinuxKernel, lock: &HostLock, store: &Store) -> Result<Applied, GenerationError> {
    // First of all: killed after this, the set may still be live, and the next run finds what was set aside. Where that
    // fails, nothing is touched: the next boot would bring the set back that somebody believes removed.
    store.set_aside()?;
    let mut unkept = Vec::new();
    let taken = take_off(kernel, lock);
    if is_untouched(taken.as_ref().ok().map(|(_, outcome)| outcome)) {
        unkept.extend(store.put_back().err());
    }
    let (plan, outcome) = taken?;
    if outcome.stopped.is_none() {
        unkept.extend(store.drop_aside().err());
    }
    Ok(Applied { plan, outcome, generation: None, unkept })
}

/// Takes off the hooks of generation `number`, which nobody confirmed and before which nothing was live. What is kept
/// stays: there may be good generations among it, and after a reboot there usually are.
pub(super) fn take_back(
    kernel: &mut LinuxKernel,
    lock: &HostLock,
    store: &Store,
    number: u64,
) -> Result<Applied, GenerationError> {
    let (plan, outcome) = take_off(kernel, lock)?;
    let unkept = if outcome.stopped.is_none() { give_up(store, number).err() } else { None };
    Ok(Applied { plan, outcome, generation: None, unkept: unkept.into_iter().collect() })
}

/// Takes the hooks off. Where that stops and all is put back, so is the name of the generation that was live.
fn take_off(kernel: &mut LinuxKernel, lock: &HostLock) -> Result<(Plan, Outcome<KernelError>), KernelError> {
    let was = kernel.published();
    let taken = session::take_off(kernel, lock, |kernel, _| kernel.unpublish());
    if is_untouched(taken.as_ref().ok().map(|(_, outcome)| outcome)) {
        republish(kernel, was);
    }
    kernel.tidy();
    taken
}

/// Carries a session out, and lets it become a generation where it comes to its end. One that waited to be confirmed
/// waits no longer then: whoever calls this has made sure that it needn't.
pub(super) fn carry(
    session: &Session,
    kernel: &mut LinuxKernel,
    lock: &HostLock,
    store: &Store,
    becoming: Becoming,
) -> Result<Applied, GenerationError> {
    let was = kernel.published();
    let waited = unconfirmed(store)?.map(|waited| waited.number);
    let (plan, outcome) = change(session, kernel, lock, was)?;
    let mut applied = Applied { plan, outcome, generation: None, unkept: Vec::new() };
    if applied.outcome.stopped.is_some() {
        return Ok(applied);
    }
    if let Some(waited) = waited {
        applied.unkept.extend(give_up(store, waited).err());
    }
    match settle(session, kernel, store, was, becoming) {
        Ok(generation) => {
            kernel.publish(generation.number)?;
            if was != Some(generation.number) {
                // Of a run that was cut off, empty directories may be left.
                kernel.tidy();
                applied.unkept.extend(store.collect(Some(generation.number)).err());
            }
            applied.generation = Some(generation);
        }
        Err(error) => applied.unkept.push(error),
    }
    Ok(applied)
}

/// Changes the hooks. Where that stops and all is put back, so is the name of the generation that was live.
pub(super) fn change(
    session: &Session,
    kernel: &mut LinuxKernel,
    lock: &HostLock,
    was: Option<u64>,
) -> Result<(Plan, Outcome<KernelError>), GenerationError> {
    let changed =
        session.converge(kernel, lock, |kernel, plan| if plan.is_empty() { Ok(()) } else { kernel.unpublish() });
    if is_untouched(changed.as_ref().ok().map(|(_, outcome)| outcome)) {
        republish(kernel, was);
    }
    Ok(changed?)
}

/// Refuses while a generation waits to be confirmed: whoever applies now might lose what the other one tries
/// out, or keep it without knowing.
pub(super) fn refuse_pending(store: &Store) -> Result<(), GenerationError> {
    match pending(store)? {
        Some(generation) => Err(GenerationError::Pending { set: store.set().clone(), number: generation.number }),
        None => Ok(()),
    }
}

/// The generation that waits to be confirmed and still can be.
pub(super) fn pending(store: &Store) -> Result<Option<Generation>, GenerationError> {
    let Some(newest) = unconfirmed(store)? else { return Ok(None) };
    let State::Pending { until, .. } = &newest.state else { return Ok(None) };
    let left = until.left().map_err(|source| GenerationError::NoClock { source })?;
    Ok(left.is_some().then_some(newest))
}

/// The generation that waits to be confirmed, whether it still can be or not: the newest, or none.
pub(super) fn unconfirmed(store: &Store) -> Result<Option<Generation>, StoreError> {
    Ok(store.newest()?.filter(|newest| matches!(newest.state, State::Pending { .. })))
}

/// Says of generation `number`, if it waited, that it waits no longer: something else is live now, or nothing.
pub(super) fn give_up(store: &Store, number: u64) -> Result<(), StoreError> {
    let waited = store.read(number)?;
    match waited.state {
        State::Pending { .. } => store.write(&Generation { state: State::PutBack, ..waited }),
        State::Confirmed | State::PutBack => Ok(()),
    }
}

/// Makes a generation of what is live, or finds the one that it is.
fn settle(
    session: &Session,
    kernel: &LinuxKernel,
    store: &Store,
    was: Option<u64>,
    becoming: Becoming,
) -> Result<Generation, StoreError> {
    let of = match becoming {
        Becoming::Again(number) => return store.read(number),
        Becoming::New { of } => of,
    };
    let numbers = store.numbers()?;
    let mark = session.content().mark();
    let known = was.or(kernel.published()).into_iter().chain(numbers.last().copied());
    let same =
        known.filter_map(|number| store.read(number).ok()).find(|one| one.is_confirmed() && one.content.mark() == mark);
    if let Some(same) = same {
        return Ok(same);
    }
    let generation = new(session, store, State::Confirmed, of)?;
    store.add(&generation, session.parts(), was)?;
    Ok(generation)
}

/// A generation of what a session applies, with the next number. Writes nothing.
pub(super) fn new(session: &Session, store: &Store, state: State, of: Option<u64>) -> Result<Generation, StoreError> {
    Ok(Generation {
        number: store.numbers()?.last().copied().unwrap_or(0).saturating_add(1),
        made: Timestamp::now(),
        state,
        of,
        reference: session.origin().reference.clone(),
        grounds: session.origin().signers.clone(),
        content: session.content().clone(),
        parts: session.parts().digests().collect(),
    })
}

/// Whether what was live before a run is live after it: there was no run, or all that it did was put back.
pub(super) fn is_untouched(outcome: Option<&Outcome<KernelError>>) -> bool {
    let Some(outcome) = outcome else { return true };
    outcome.stopped.as_ref().is_some_and(|stopped| stopped.undone.iter().all(|undone| undone.error.is_none()))
}

/// Names the generation again that was live. A failure leaves it without a name, which the next run mends.
fn republish(kernel: &LinuxKernel, was: Option<u64>) {
    if let Some(was) = was {
        let _ = kernel.publish(was);
    }
}
