//! Carries out a [`Plan`], and puts things back if a step fails.
//!
//! The kernel is reached through [`Kernel`] alone, so that the same code runs
//! against Linux ([`crate::kernel`]) and against a model of it ([`crate::model`]).
//! There are no decisions here. If you want an `if`, it belongs in the planner.
//!
//! # The order, and what it buys
//!
//! 1. *Prepare*: open or create the maps, load every program, take hold of every
//!    program that will be replaced. No hook has been touched; whatever fails here
//!    leaves the host as it was once our file descriptors are closed.
//! 2. *Change*: the pins of maps, then the hooks, those that the set leaves last. A
//!    failure puts back, in reverse, what this phase changed.
//! 3. *Clean up*: unpin what nothing needs any more. The new state is live by
//!    then, so a failure here is reported and nothing is put back: the next run finds
//!    the leftover and plans the same step again.
//!
//! Killed at any instant, a run leaves each hook with the old or the new chain. A map
//! whose pin was moved already is kept by the chain that still uses it, and found there.

use std::collections::BTreeMap;

use bpfkit_schemas::{diagnostic::Diagnose, hook::Hook};

use crate::{
    live::{By, Hold, Interface, Litter, MapId, MapKey, MapShape, ProgramId, Record, Revision},
    plan::{Cleanup, HookPlan, HookStep, MapPlan, MapSource, PinChange, Plan},
};

mod outcome;

pub use outcome::{Outcome, Phase, Step, Stopped, Undone};

/// All that we ever ask of a kernel.
///
/// Small on purpose: a method is added when a step needs it, never because the
/// kernel has it. Each method either happens or doesn't: where it takes several
/// system calls, a failure in the middle is undone before it returns, and a crash
/// in the middle leaves what the method found or what it promises, and at most [`Litter`].
///
/// `expect` makes the kernel, not us, notice a chain that moved: on a mismatch the
/// method changes nothing and fails with an error that [is contended](StepError::is_contended).
pub trait Kernel {
    /// What programs and initial map contents come from: for Linux, verified bundles and nothing else.
    type Bundle: ?Sized;
    /// An open program: while we have it, the program stays alive. Dropping it closes it.
    type Program;
    /// An open map: while we have it, the map stays alive. Dropping it closes it.
    type Map;
    /// Why a method did not do what it was asked.
    type Error: StepError;

    /// Opens a live map by id.
    fn open_map(&mut self, id: MapId) -> Result<Self::Map, Self::Error>;

    /// Creates a map with its initial contents (global data: the image, globals set). Doesn't pin it.
    fn create_map(&mut self, bundle: &Self::Bundle, key: &MapKey, shape: &MapShape) -> Result<Self::Map, Self::Error>;

    /// Pins `map` at `key`'s path, in one step if something else is pinned there (`rename` over it).
    fn pin_map(&mut self, key: &MapKey, map: &Self::Map) -> Result<(), Self::Error>;

    /// Removes the pin of `key`. That it is gone already is no error.
    fn unpin_map(&mut self, key: &MapKey) -> Result<(), Self::Error>;

    /// Fuses the chain that `record` describes, lets the kernel verify it, and loads it. Attaches nothing.
    ///
    /// `maps` holds every map that the chain's programs need but the constant ones (`.rodata`),
    /// which belong to the load and not to the set.
    fn load(
        &mut self,
        bundle: &Self::Bundle,
        record: &Record,
        maps: &BTreeMap<MapKey, Self::Map>,
    ) -> Result<Self::Program, Self::Error>;

    /// Takes hold of a live program, so that it can be put back after it was replaced.
    fn hold(&mut self, id: ProgramId) -> Result<Self::Program, Self::Error>;

    /// Attaches `program` by a new link or as a new filter, and pins what there is to pin.
    ///
    /// On tcx it goes first (`BPF_F_BEFORE` with no neighbour), and `expect`, where there is one, is the revision
    /// that the hook must have. On XDP the hook must be empty. A filter goes before all others of its priority, and
    /// `expect` is what the hook's list of filters must be. A taken hook is [contended](StepError::is_contended).
    fn attach(
        &mut self,
        interface: &Interface,
        hook: Hook,
        by: By,
        program: &Self::Program,
        expect: Option<Revision>,
    ) -> Result<Hold, Self::Error>;

    /// Makes `hold` hold `to` in place of `from`, in one step for the packets.
    ///
    /// A link by `BPF_LINK_UPDATE` with `BPF_F_REPLACE` and the old program; one that holds another program or was
    /// detached meanwhile (`ENOLINK`) is [contended](StepError::is_contended). A filter by a change of the same priority
    /// and handle. The kernel compares nothing then, so the method looks directly before and after, and a
    /// filter that has another program is contended; what somebody puts there in between is overwritten.
    fn replace(
        &mut self,
        interface: &Interface,
        hook: Hook,
        hold: Hold,
        from: &Self::Program,
        to: &Self::Program,
    ) -> Result<(), Self::Error>;

    /// Pins what holds a chain again, and the chain's record.
    fn pin(&mut self, interface: &Interface, hook: Hook, hold: Hold) -> Result<(), Self::Error>;

    /// Detaches a chain and removes its pins. That any of it is gone already is no error.
    ///
    /// A pin of another link at that path is [contended](StepError::is_contended), and so is a filter that isn't ours.
    /// The record's pin stays if it is of another chain. The qdisc goes with the last filter if the set made it.
    ///
    /// From when the kernel has detached the chain, the step has succeeded: that a pin or the qdisc could not be
    /// removed is [left](Detached::left), and the next run finds it.
    fn detach(&mut self, interface: &Interface, hook: Hook, hold: Hold) -> Result<Detached<Self::Error>, Self::Error>;

    /// Removes what a killed run left behind. That it is gone already is no error.
    fn sweep(&mut self, litter: &Litter) -> Result<(), Self::Error>;
}

/// A chain was detached.
#[derive(Debug)]
pub struct Detached<E> {
    /// Why something of it (a pin, the qdisc) is still there, if anything is.
    pub left: Option<E>,
}

impl<E> Detached<E> {
    /// Takes how removing its pins went, which doesn't attach the chain again.
    pub(crate) fn tidied(result: Result<(), E>) -> Self {
        Self { left: result.err() }
    }
}

/// An error of a [`Kernel`]: what it says, and whether the step lost a race.
pub trait StepError: std::error::Error + Diagnose {
    /// Whether somebody else changed the host since it was observed, so that observing and planning again may do.
    fn is_contended(&self) -> bool;
}

/// Carries out the steps in order and stops at the first that fails.
pub fn execute<K: Kernel>(plan: &Plan, bundle: &K::Bundle, kernel: &mut K) -> Outcome<K::Error> {
    let mut run = Run { bundle, kernel, done: Vec::new(), left: Vec::new() };
    let prepared = match run.prepare(plan) {
        Ok(prepared) => prepared,
        // Nothing was changed yet: closing what was opened is all that there is to put back.
        Err((step, cause)) => return run.stopped(Phase::Prepare, step, cause, Vec::new()),
    };
    let mut changes = Vec::new();
    if let Err((step, cause)) = run.change(&prepared, &mut changes) {
        let undone = run.put_back(changes);
        return run.stopped(Phase::Change, step, cause, undone);
    }
    run.clean_up(plan);
    Outcome { done: run.done, stopped: None, left: run.left }
}

/// Observes, plans and executes until nobody gets in between, at most [`ATTEMPTS`] times.
///
/// `observe_and_plan` is asked anew after each lost race; what it refuses is passed on. The outcome of the last
/// attempt is returned: if that lost a race as well, its cause [is contended](StepError::is_contended). An attempt that could
/// not be undone is the last one: what it left is for whoever reads the outcome, and another attempt would hide it.
pub fn converge<K: Kernel, R>(
    bundle: &K::Bundle,
    kernel: &mut K,
    mut observe_and_plan: impl FnMut(&mut K) -> Result<Plan, R>,
) -> Result<(Plan, Outcome<K::Error>), R> {
    let mut attempt = 1;
    loop {
        let plan = observe_and_plan(kernel)?;
        let outcome = execute(&plan, bundle, kernel);
        let contended = outcome.stopped.as_ref().is_some_and(|stopped| stopped.cause.is_contended());
        if !contended || outcome.is_half_undone() || attempt == ATTEMPTS {
            return Ok((plan, outcome));
        }
        attempt += 1;
    }
}

/// How often [`converge`] tries.
pub const ATTEMPTS: usize = 3;

/// A run under way: what it works with, and what it did so far.
struct Run<'a, K: Kernel> {
    bundle: &'a K::Bundle,
    kernel: &'a mut K,
    done: Vec<Step>,
    /// What could not be tidied up after a step that was done.
    left: Vec<(Step, K::Error)>,
}

/// What the first phase opened: every handle that the rest of the run needs, in its place.
struct Prepared<'p, K: Kernel> {
    /// The maps that chains are loaded with and that are pinned.
    maps: BTreeMap<MapKey, K::Map>,
    /// The pins that change, each with what is pinned there now.
    pins: BTreeMap<MapKey, Option<K::Map>>,
    /// The steps at hooks.
    hooks: Vec<Ready<'p, K>>,
}

/// A [`HookStep`] with its handles.
struct Ready<'p, K: Kernel> {
    hook: &'p HookPlan,
    step: &'p HookStep,
    call: Call<K>,
}

enum Call<K: Kernel> {
    Pin { hold: Hold },
    Drop { hold: Hold },
    Attach { new: K::Program, by: By, expect: Option<Revision> },
    Replace { hold: Hold, old: K::Program, new: K::Program },
    Detach { hold: Hold, by: By, old: K::Program },
}

/// A change that was made, with what putting it back takes.
enum Changed<'r, K: Kernel> {
    Pinned { key: &'r MapKey, before: Option<&'r K::Map> },
    Attached { hook: &'r HookPlan, hold: Hold },
    Replaced { hook: &'r HookPlan, hold: Hold, old: &'r K::Program, new: &'r K::Program },
    Detached { hook: &'r HookPlan, by: By, old: &'r K::Program },
}

/// A step that was done: what it changed, and what it could not tidy up.
struct Taken<'r, K: Kernel> {
    changed: Option<Changed<'r, K>>,
    left: Option<K::Error>,
}

type Failed<K> = (Step, <K as Kernel>::Error);

impl<K: Kernel> Run<'_, K> {
    fn prepare<'p>(&mut self, plan: &'p Plan) -> Result<Prepared<'p, K>, Failed<K>> {
        let (mut maps, mut pins) = (BTreeMap::new(), BTreeMap::new());
        for MapPlan { key, shape, source, pin, .. } in &plan.maps {
            let open = match *source {
                MapSource::Reuse(id) => self.step(Step::OpenMap(key.clone(), id), |kernel, _| kernel.open_map(id)),
                MapSource::Create => {
                    self.step(Step::CreateMap(key.clone()), |kernel, bundle| kernel.create_map(bundle, key, shape))
                }
            }?;
            maps.insert(key.clone(), open);
            let before = match *pin {
                PinChange::Keep => continue,
                PinChange::Pin => None,
                PinChange::Replace { was } => {
                    Some(self.step(Step::OpenMap(key.clone(), was), |kernel, _| kernel.open_map(was))?)
                }
            };
            pins.insert(key.clone(), before);
        }
        let mut hooks = Vec::new();
        for hook in &plan.hooks {
            for step in &hook.steps {
                let call = self.ready(hook, step, &maps)?;
                hooks.push(Ready { hook, step, call });
            }
        }
        Ok(Prepared { maps, pins, hooks })
    }

    /// Opens and loads what one step at a hook needs.
    fn ready(
        &mut self,
        hook: &HookPlan,
        step: &HookStep,
        maps: &BTreeMap<MapKey, K::Map>,
    ) -> Result<Call<K>, Failed<K>> {
        Ok(match step {
            HookStep::Pin { hold } => Call::Pin { hold: *hold },
            HookStep::Drop { hold } => Call::Drop { hold: *hold },
            HookStep::Attach { chain, by, expect } => {
                Call::Attach { new: self.load(hook, chain, maps)?, by: *by, expect: *expect }
            }
            HookStep::Replace { chain, hold, expect } => {
                let old = self.hold(*expect)?;
                Call::Replace { hold: *hold, old, new: self.load(hook, chain, maps)? }
            }
            HookStep::Detach { hold, by, program } => Call::Detach { hold: *hold, by: *by, old: self.hold(*program)? },
        })
    }

    fn hold(&mut self, id: ProgramId) -> Result<K::Program, Failed<K>> {
        self.step(Step::Hold(id), |kernel, _| kernel.hold(id))
    }

    fn load(
        &mut self,
        hook: &HookPlan,
        chain: &Record,
        maps: &BTreeMap<MapKey, K::Map>,
    ) -> Result<K::Program, Failed<K>> {
        self.step(Step::load(hook), |kernel, bundle| kernel.load(bundle, chain, maps))
    }

    /// Moves pins, then changes hooks; on a failure, `changes` is what was changed until then.
    fn change<'r>(
        &mut self,
        prepared: &'r Prepared<'_, K>,
        changes: &mut Vec<Changed<'r, K>>,
    ) -> Result<(), Failed<K>> {
        for (key, map) in &prepared.maps {
            let Some(before) = prepared.pins.get(key) else { continue };
            self.step(Step::PinMap(key.clone()), |kernel, _| kernel.pin_map(key, map))?;
            changes.push(Changed::Pinned { key, before: before.as_ref() });
        }
        for ready in &prepared.hooks {
            let step = || Step::hook(ready.hook, ready.step);
            let taken = self.step(step(), |kernel, _| ready.take(kernel))?;
            changes.extend(taken.changed);
            self.left.extend(taken.left.map(|error| (step(), error)));
        }
        Ok(())
    }

    /// Undoes `changes`, the last one first, and goes on where one can't be undone.
    fn put_back(&mut self, changes: Vec<Changed<'_, K>>) -> Vec<Undone<K::Error>> {
        changes.into_iter().rev().map(|change| change.undo(self.kernel)).collect()
    }

    /// Unpins what nothing needs any more, and goes on where something can't be.
    fn clean_up(&mut self, plan: &Plan) {
        for cleanup in &plan.cleanup {
            let result = match cleanup {
                Cleanup::UnpinMap { key, .. } => {
                    self.step(Step::UnpinMap(key.clone()), |kernel, _| kernel.unpin_map(key))
                }
                Cleanup::Sweep(litter) => self.step(Step::Sweep(litter.clone()), |kernel, _| kernel.sweep(litter)),
            };
            self.left.extend(result.err());
        }
    }

    fn stopped(self, phase: Phase, step: Step, cause: K::Error, undone: Vec<Undone<K::Error>>) -> Outcome<K::Error> {
        Outcome { done: self.done, stopped: Some(Stopped { phase, step, cause, undone }), left: self.left }
    }

    /// Takes one step and writes down that it was done, or which one failed.
    fn step<T>(
        &mut self,
        step: Step,
        call: impl FnOnce(&mut K, &K::Bundle) -> Result<T, K::Error>,
    ) -> Result<T, Failed<K>> {
        match call(self.kernel, self.bundle) {
            Ok(value) => {
                self.done.push(step);
                Ok(value)
            }
            Err(cause) => Err((step, cause)),
        }
    }
}

impl<K: Kernel> Ready<'_, K> {
    /// Makes the call, and says how to undo it where it must be undone.
    ///
    /// A pinned link stays pinned and a dropped one stays dropped, whatever comes after: neither changes what
    /// packets meet, and unpinning a link again could take its chain down.
    fn take(&self, kernel: &mut K) -> Result<Taken<'_, K>, K::Error> {
        let hook = self.hook;
        let (interface, at) = (&hook.interface, hook.point.hook);
        let mut left = None;
        let changed = match &self.call {
            Call::Pin { hold } => {
                kernel.pin(interface, at, *hold)?;
                None
            }
            Call::Drop { hold } => {
                left = kernel.detach(interface, at, *hold)?.left;
                None
            }
            Call::Attach { new, by, expect } => {
                let hold = kernel.attach(interface, at, *by, new, *expect)?;
                Some(Changed::Attached { hook, hold })
            }
            Call::Replace { hold, old, new } => {
                kernel.replace(interface, at, *hold, old, new)?;
                Some(Changed::Replaced { hook, hold: *hold, old, new })
            }
            Call::Detach { hold, by, old } => {
                left = kernel.detach(interface, at, *hold)?.left;
                Some(Changed::Detached { hook, by: *by, old })
            }
        };
        Ok(Taken { changed, left })
    }
}

impl<K: Kernel> Changed<'_, K> {
    fn undo(self, kernel: &mut K) -> Undone<K::Error> {
        let (what, result) = match self {
            Self::Pinned { key, before: Some(map) } => (Step::PinMap(key.clone()), kernel.pin_map(key, map)),
            Self::Pinned { key, before: None } => (Step::UnpinMap(key.clone()), kernel.unpin_map(key)),
            Self::Attached { hook, hold } => {
                let detached = kernel.detach(&hook.interface, hook.point.hook, hold);
                (Step::detach(hook), detached.and_then(|detached| detached.left.map_or(Ok(()), Err)))
            }
            Self::Replaced { hook, hold, old, new } => {
                (Step::replace(hook), kernel.replace(&hook.interface, hook.point.hook, hold, new, old))
            }
            // Where it stood among others at the hook is lost; it goes first, as every new chain does.
            Self::Detached { hook, by, old } => {
                let again = kernel.attach(&hook.interface, hook.point.hook, by, old, None);
                (Step::attach(hook), again.map(drop))
            }
        };
        Undone { step: what, error: result.err() }
    }
}
