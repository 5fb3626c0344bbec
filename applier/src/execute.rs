//! Carries out a [`Plan`](crate::plan::Plan), and puts things back if a step fails.
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
//! 2. *Change*: the hooks, then the pins of maps, then the chains that go away. A
//!    failure puts back, in reverse, what this phase changed.
//! 3. *Clean up*: unpin what nothing needs any more. The new state is live by
//!    then, so a failure here is reported and nothing is put back: the next run finds
//!    the leftover and plans the same step again.
//!
//! Killed at any instant, a run leaves each hook with the old or the new chain; maps
//! that weren't pinned yet are kept by the chains that use them, and found there.

use std::collections::BTreeMap;

use bpfkit_schemas::diagnostic::Diagnose;

use crate::live::{HookPoint, Interface, LinkId, Litter, MapId, MapKey, MapShape, ProgramId, Record, Revision};

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

    /// Attaches `program` by a new link, and pins the link.
    ///
    /// On tcx it goes first (`BPF_F_BEFORE` with no neighbour), and `expect`, where there is one, is the revision
    /// that the hook must have. On XDP the hook must be empty. A taken hook is [contended](StepError::is_contended).
    /// `record` says hook and mode; for the pin the point counts.
    fn attach(
        &mut self,
        interface: &Interface,
        record: &Record,
        program: &Self::Program,
        expect: Option<Revision>,
    ) -> Result<LinkId, Self::Error>;

    /// Makes `link` hold `to` in place of `from`: `BPF_LINK_UPDATE` with `BPF_F_REPLACE` and the old program.
    ///
    /// A link that holds another program or was detached meanwhile (`ENOLINK`) is [contended](StepError::is_contended).
    fn replace(&mut self, link: LinkId, from: &Self::Program, to: &Self::Program) -> Result<(), Self::Error>;

    /// Pins `link` at `point`'s path again.
    fn pin_link(&mut self, point: &HookPoint, link: LinkId) -> Result<(), Self::Error>;

    /// Detaches `link` and removes its pin. That either is gone already is no error.
    /// A pin of another link at that path is [contended](StepError::is_contended).
    fn detach(&mut self, point: &HookPoint, link: LinkId) -> Result<(), Self::Error>;

    /// Removes what a killed run left behind. That it is gone already is no error.
    fn sweep(&mut self, litter: &Litter) -> Result<(), Self::Error>;
}

/// An error of a [`Kernel`]: what it says, and whether the step lost a race.
pub trait StepError: std::error::Error + Diagnose {
    /// Whether somebody else changed the host since it was observed, so that observing and planning again may do.
    fn is_contended(&self) -> bool;
}
