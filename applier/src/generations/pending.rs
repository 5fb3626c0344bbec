//! An apply that is put back unless somebody confirms it, as `netplan try` or Juniper's `commit confirmed`.
//!
//! In this order, so that whatever ends on the way, there is a way back:
//!
//! 1. The generation to go back to is read, held to its digests and trusted: a put-back must not fail for that.
//! 2. The new generation is kept, as pending, with its deadline.
//! 3. The process that will put it back is started, and says that it is there.
//! 4. The hooks change, and the deadline is counted from then on.
//!
//! Killed after 3, the run leaves a process behind that puts back whatever was changed. That process
//! ([`wait`], [`put_back`]) holds no lock while it waits, looks at the store twice a second, and ends once the
//! generation is anything but pending. A reboot ends it too: then nothing is live, and what is
//! restored is the last generation that somebody confirmed.

use std::{io, thread, time::Duration};

use bpfkit_schemas::names::SetName;

use super::{
    Generation, State, Store,
    again::{Today, session},
    carry::{
        Applied, Becoming, carry, change, give_up, is_untouched, new, pending, refuse_pending, take_back, unconfirmed,
    },
    deadline::Deadline,
    error::{GenerationError, StoreError},
};
use crate::{
    execute::Outcome,
    kernel::{KernelError, LinuxKernel, Places},
    live::LiveState,
    plan::Plan,
    session::Session,
};

/// How long `confirm` waits for the lock: an apply of another set must not make it too late.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often whoever waits looks whether it was confirmed.
const LOOK: Duration = Duration::from_millis(500);

/// Applies a session; what it brings is put back unless [`confirm`] comes within `patience`.
///
/// `watch` starts the process that calls [`put_back`], and returns once that is there. Where there is nothing
/// to change there is nothing to confirm either, and this is an ordinary apply.
pub fn apply(
    session: &Session,
    patience: Duration,
    today: &Today,
    watch: impl FnOnce(&SetName, u64) -> io::Result<()>,
) -> Result<Applied, GenerationError> {
    let mut kernel = session.kernel();
    let lock = kernel.lock()?;
    let store = Store::new(session.places(), session.set());
    store.recover()?;
    refuse_pending(&store)?;
    if session.plan_with(&kernel)?.is_empty() {
        return carry(session, &mut kernel, &lock, &store, Becoming::New { of: None });
    }
    settle_expired(&kernel, &store)?;
    let back_to = way_back(&kernel, &store, today)?;
    let deadline = || Deadline::after(patience).map_err(|source| GenerationError::NoClock { source });
    let waiting = |until| State::Pending { until, back_to };
    let mut generation = new(session, &store, waiting(deadline()?), None)?;
    let number = generation.number;
    store.add(&generation, session.parts(), back_to)?;
    if let Err(source) = watch(session.set(), number) {
        store.forget(number)?;
        return Err(GenerationError::NoWatcher { set: session.set().clone(), number, source });
    }
    let changed = change(session, &mut kernel, &lock, back_to);
    if is_untouched(changed.as_ref().ok().map(|(_, outcome)| outcome)) {
        // Whoever waits finds nothing to wait for.
        store.forget(number)?;
    }
    let (plan, outcome) = changed?;
    finish(plan, outcome, || {
        kernel.publish(number)?;
        generation.state = waiting(deadline()?);
        // If this can't be written, the first deadline holds.
        let unkept = store.write(&generation).and_then(|()| store.collect(Some(number))).err();
        Ok((generation, unkept))
    })
}

/// Keeps what waits to be confirmed. Waits for the host's lock for a while.
pub fn confirm(set: &SetName, places: &Places) -> Result<Generation, GenerationError> {
    let kernel = LinuxKernel::new(places.clone(), set.clone());
    let _lock = kernel.lock_within(PATIENCE)?;
    let store = Store::new(places, set);
    let newest = store.newest()?.ok_or_else(|| GenerationError::NothingPending { set: set.clone() })?;
    let number = newest.number;
    match &newest.state {
        State::Confirmed => Err(GenerationError::NothingPending { set: set.clone() }),
        State::Pending { .. } if pending(&store)?.is_some() => {
            // Killed after the first of three hooks, the apply left something that nobody meant to keep.
            if kernel.published() != Some(number) {
                return Err(GenerationError::NotWhole { set: set.clone(), number });
            }
            let kept = Generation { state: State::Confirmed, ..newest };
            store.write(&kept)?;
            Ok(kept)
        }
        State::Pending { .. } | State::PutBack => Err(GenerationError::TooLate { set: set.clone(), number }),
    }
}

/// How waiting for a confirmation ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Waited {
    /// The generation was confirmed, put back or forgotten: there is nothing to do.
    Settled,
    /// Its time is over.
    Over,
}

/// Waits until generation `number` waits no longer, or its time is over. Holds no lock and opens nothing meanwhile.
///
/// For a process of its own, which [detached](crate::kernel::detach::detach) before.
pub fn wait(set: &SetName, number: u64, places: &Places) -> Result<Waited, GenerationError> {
    let store = Store::new(places, set);
    let mut last: Option<Deadline> = None;
    loop {
        let until = match (waits(&store, number), &last) {
            (Ok(None), _) => return Ok(Waited::Settled),
            (Ok(Some(until)), _) => until,
            // A bad moment of a disk is no reason to leave: there is time until the deadline that was read before.
            (Err(_), Some(until)) => until.clone(),
            (Err(error), None) => return Err(error),
        };
        let left = left(&until)?;
        last = Some(until);
        match left {
            Some(left) => thread::sleep(left.min(LOOK)),
            None => return Ok(Waited::Over),
        }
    }
}

/// Puts generation `number` back, if its time is over. `None`: its deadline was moved, or it waits no longer.
pub fn put_back(set: &SetName, number: u64, today: &Today) -> Result<Option<Applied>, GenerationError> {
    let store = Store::new(&today.places, set);
    let mut kernel = LinuxKernel::new(today.places.clone(), set.clone());
    let lock = kernel.lock_within(PATIENCE)?;
    // Whoever held the lock until now may have confirmed it, or have moved its deadline.
    let waited = match store.read(number) {
        Ok(generation) => generation,
        Err(StoreError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let State::Pending { until, back_to } = &waited.state else { return Ok(None) };
    if left(until)?.is_some() {
        return Ok(None);
    }
    if !is_newest(&store, number)? {
        return Ok(None);
    }
    if kernel.published().is_some_and(|live| live != number) {
        // Another one is live as a whole: the run was cut off before it touched a hook, or somebody applied since.
        give_up(&store, number)?;
        return Ok(None);
    }
    let Some(back_to) = *back_to else { return take_back(&mut kernel, &lock, &store, number).map(Some) };
    let session = session(&store, &store.read(back_to)?, today)?;
    carry(&session, &mut kernel, &lock, &store, Becoming::Again(back_to)).map(Some)
}

/// Until when the generation waits; `None` where it does no longer, is forgotten, or another came after it.
fn waits(store: &Store, number: u64) -> Result<Option<Deadline>, GenerationError> {
    if !is_newest(store, number)? {
        return Ok(None);
    }
    match store.read(number) {
        Ok(Generation { state: State::Pending { until, .. }, .. }) => Ok(Some(until)),
        Ok(_) | Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether none came after generation `number`: what is live may be of a later one then, which is not ours to undo.
fn is_newest(store: &Store, number: u64) -> Result<bool, StoreError> {
    Ok(store.numbers()?.last() == Some(&number))
}

fn left(until: &Deadline) -> Result<Option<Duration>, GenerationError> {
    until.left().map_err(|source| GenerationError::NoClock { source })
}

/// Settles a generation whose time is over and that nobody has put back yet: it is given up where it isn't live. Where it
/// may be, this refuses: it is no way back itself, and whoever puts it back would take the new one along.
fn settle_expired(kernel: &LinuxKernel, store: &Store) -> Result<(), GenerationError> {
    let Some(Generation { number, .. }) = unconfirmed(store)? else { return Ok(()) };
    let may_be_live = match kernel.published() {
        Some(live) => live == number,
        None => is_live(&kernel.observe(&[])?),
    };
    if may_be_live {
        return Err(GenerationError::NotPutBack { set: store.set().clone(), number });
    }
    Ok(give_up(store, number)?)
}

/// The generation that would be put back, found fit for that; none where nothing of the set is live.
fn way_back(kernel: &LinuxKernel, store: &Store, today: &Today) -> Result<Option<u64>, GenerationError> {
    match kernel.published() {
        Some(number) => {
            let kept = store.read(number).map_err(|error| match error {
                StoreError::Missing { .. } => GenerationError::NoWayBack { set: store.set().clone() },
                other => other.into(),
            })?;
            if !kept.is_confirmed() {
                return Err(GenerationError::NoWayBack { set: store.set().clone() });
            }
            session(store, &kept, today)?;
            Ok(Some(number))
        }
        None if is_live(&kernel.observe(&[])?) => Err(GenerationError::NoWayBack { set: store.set().clone() }),
        None => Ok(None),
    }
}

fn is_live(live: &LiveState) -> bool {
    live.points.values().any(|point| point.ours.is_some())
}

/// Joins a run with the generation that it became, where it came to its end.
fn finish(
    plan: Plan,
    outcome: Outcome<KernelError>,
    become_live: impl FnOnce() -> Result<(Generation, Option<StoreError>), GenerationError>,
) -> Result<Applied, GenerationError> {
    if outcome.stopped.is_some() {
        return Ok(Applied { plan, outcome, generation: None, unkept: Vec::new() });
    }
    let (generation, unkept) = become_live()?;
    Ok(Applied { plan, outcome, generation: Some(generation), unkept: unkept.into_iter().collect() })
}

#[cfg(test)]
mod tests;
