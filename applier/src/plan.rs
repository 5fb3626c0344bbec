//! Turns what is wanted and what is live into what will be done.
//!
//! Pure. This module opens no file, socket or BPF object; it knows the host only
//! as a [`LiveState`] taken earlier by [`crate::kernel`], so any
//! rule here can be tested with two texts.
//!
//! # What every plan keeps
//!
//! 1. *It leaves nothing to decide.* Every step names the link, program, map and
//!    revision that it is about; nothing is looked up and no position worked out later.
//! 2. *It is tied to what it saw.* Each step carries what the kernel must still find
//!    there, and the kernel refuses the step if it doesn't.
//! 3. *It leaves strangers alone.* A program that this set didn't put there is named in
//!    warnings and refusals, and in no step.
//! 4. *It says what is lost.* A map whose contents go is a step of its own, with its reason.
//! 5. *It is repeatable.* The same two inputs give the same plan.
//!
//! On a hook that several owners share (tc) a new chain goes first, before whoever is
//! there: verdicts of others that end the hook's run (Cilium returns `TC_ACT_OK`) can't
//! cut it off. A chain that is live stays where it is, whoever came before it since.
//!
//! A tc chain that changes its way to be attached (tcx, clsact) is attached in the new way
//! before it is detached in the old one.

use bpfkit_schemas::{
    hook::{Attach, Hook, Mode},
    names::{ProgramName, SetName},
};

use crate::{
    desired::{Desired, Waiting},
    fuse::Form,
    live::{
        By, Hold, HookPoint, Interface, Litter, LiveState, MapId, MapKey, MapShape, OtherProgram, ProgramId, Record,
        Revision,
    },
};

mod diff;
mod hooks;
mod maps;
mod problem;
mod text;

pub(crate) use hooks::{label, long_label};
pub(crate) use problem::describe;
pub use problem::{PlanError, PlanProblem};

/// In what a live chain differs from a wanted one, a phrase each; empty where they run alike.
pub(crate) fn difference(live: &Record, wanted: &Record) -> Vec<String> {
    let lines = diff::diff(wanted.hook, &live.programs, &wanted.programs);
    let changed = lines.iter().flat_map(|line| line.notes.iter().map(move |note| format!("{} {note}", line.program)));
    let kernel = (live.kernel_btf != wanted.kernel_btf).then(|| "made for another kernel".to_owned());
    let glue = (live.glue != wanted.glue).then(|| "made by another bpfkit".to_owned());
    changed.chain(kernel).chain(glue).collect()
}

/// Plans what makes `live` what is `desired`, or says everything that stands against it.
///
/// `live` must have been observed with the points of `desired` asked for.
pub fn plan(desired: &Desired, live: &LiveState) -> Result<Plan, PlanError> {
    let mut problems = Vec::new();
    let mut warnings: Vec<_> = desired.waiting.iter().cloned().map(Warning::Waiting).collect();
    let map_plans = maps::decide(desired, live, &mut problems);

    let mut hooks = Vec::new();
    for (point, chain) in &desired.chains {
        let at = live.points.get(point);
        let clsact = hooks::clsact(chain, live);
        hooks.extend(hooks::wanted((*point, at), chain, clsact, &map_plans, &mut problems, &mut warnings));
    }
    let unchanged = desired.chains.len() - hooks.len().min(desired.chains.len());
    // With an interface's last filter goes its qdisc, and with that the revisions of its empty tcx hooks (Linux 6.18,
    // `tcx_entry_free`): whoever attaches there compares them before.
    hooks.sort_by_key(HookPlan::detaches_filter);
    hooks.extend(
        live.points
            .iter()
            .filter(|(point, _)| !desired.chains.contains_key(point))
            .filter_map(|(point, at)| hooks::unwanted(*point, at, Because::NoLongerInManifest)),
    );
    if !problems.is_empty() {
        return Err(PlanError { set: desired.set.clone(), problems });
    }

    let loads = |key: &MapKey| hooks.iter().filter_map(HookPlan::loads).any(|load| load.map_keys().contains(key));
    let maps = map_plans.into_values().filter(|map| map.pin != PinChange::Keep || loads(&map.key)).collect();
    let stale = live.maps.iter().filter(|(key, _)| !desired.maps.contains_key(key));
    Ok(Plan {
        set: desired.set.clone(),
        purpose: Purpose::Apply,
        grounds: desired.grounds.clone(),
        maps,
        hooks,
        cleanup: cleanup(stale, live, |point| desired.chains.contains_key(point)),
        warnings,
        unchanged,
    })
}

/// Plans what takes the whole set off the host. Nothing can stand against it.
pub fn remove(live: &LiveState) -> Plan {
    Plan {
        set: live.set.clone(),
        purpose: Purpose::Remove,
        grounds: Vec::new(),
        maps: Vec::new(),
        hooks: live.points.iter().filter_map(|(point, at)| hooks::unwanted(*point, at, Because::SetRemoved)).collect(),
        cleanup: cleanup(live.maps.iter(), live, |_| false),
        warnings: Vec::new(),
        unchanged: 0,
    }
}

fn cleanup<'a>(
    stale: impl Iterator<Item = (&'a MapKey, &'a crate::live::LiveMap)>,
    live: &LiveState,
    is_wanted: impl Fn(&HookPoint) -> bool,
) -> Vec<Cleanup> {
    // A chain that is attached where another one was lost takes over the pin of its record.
    let lost = live.points.iter().filter(|(point, _)| !is_wanted(point)).filter_map(|(_, at)| at.lost.as_ref());
    stale
        .map(|(key, map)| Cleanup::UnpinMap { key: key.clone(), map: map.id, shape: map.shape.clone() })
        .chain(lost.map(|lost| &lost.pin).chain(&live.litter).cloned().map(Cleanup::Sweep))
        .collect()
}

/// Everything that a run will do, in order. Print it, store it, compare it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// The set.
    pub set: SetName,
    /// What the plan is for.
    pub purpose: Purpose,
    /// Why the set's bundles are believed, one line each, as the trust decision words them.
    pub grounds: Vec<String>,
    /// The maps that the steps below need, and those whose pins change.
    pub maps: Vec<MapPlan>,
    /// The hooks that change, in the order in which they do; those that go away come last.
    pub hooks: Vec<HookPlan>,
    /// What is unpinned when everything else is done.
    pub cleanup: Vec<Cleanup>,
    /// What should be known before it is done.
    pub warnings: Vec<Warning>,
    /// The hooks that are as wanted.
    pub unchanged: usize,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty() && self.hooks.is_empty() && self.cleanup.is_empty()
    }
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To make the host what the set declares.
    Apply,
    /// To take the set off the host.
    Remove,
}

/// One map: where it comes from and what becomes of its pin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapPlan {
    /// Which.
    pub key: MapKey,
    /// Its shape.
    pub shape: MapShape,
    /// Where it comes from.
    pub source: MapSource,
    /// What becomes of its pin.
    pub pin: PinChange,
    /// Why.
    pub because: MapBecause,
}

/// Where a map comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MapSource {
    /// It is live: its contents stay.
    Reuse(MapId),
    /// It is made.
    Create,
}

/// What becomes of a map's pin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinChange {
    /// It is right.
    Keep,
    /// There is none; the map is pinned.
    Pin,
    /// It names another map, which the run holds until the end, and is moved.
    Replace {
        /// The map that is pinned now.
        was: MapId,
    },
}

/// Why a map is in the plan.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MapBecause {
    /// A chain that is loaded needs it, and it is there.
    InUse,
    /// It isn't there.
    NotThereYet,
    /// Its pin is gone, but a live chain still uses it.
    PinGone,
    /// The pin names another map than the live chains use, and theirs serves: a run was killed between moving
    /// the pin and changing the hooks, or somebody moved it.
    PinIsAnother,
    /// Global data whose variables or initial values changed: its values are lost.
    DataChanged {
        /// What is pinned.
        from: MapShape,
    },
}

/// What is done at one hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HookPlan {
    /// The hook.
    pub point: HookPoint,
    /// Its interface, as it is named now.
    pub interface: Interface,
    /// The mode of the chain.
    pub mode: Mode,
    /// How it is attached, at a tc hook.
    pub attach: Option<Attach>,
    /// What was there when the plan was made.
    pub seen: Seen,
    /// The steps, in order. Never empty.
    pub steps: Vec<HookStep>,
    /// Why. Never empty.
    pub because: Vec<Because>,
    /// The chain, old and new, line by line.
    pub lines: Vec<ChainLine>,
    /// Whoever else is at this hook, in the kernel's order.
    pub others: Vec<OtherProgram>,
}

impl HookPlan {
    fn detaches_filter(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, HookStep::Detach { hold: Hold::Filter(_), .. }))
    }

    /// The chain that is loaded for this hook, if one is.
    pub fn loads(&self) -> Option<&Record> {
        self.steps.iter().find_map(|step| match step {
            HookStep::Attach { chain, .. } | HookStep::Replace { chain, .. } => Some(&**chain),
            HookStep::Pin { .. } | HookStep::Drop { .. } | HookStep::Detach { .. } => None,
        })
    }

    /// Notes how each program of the chain that is loaded is carried, in the chain's order. A program that is alone
    /// is the whole, and nothing is said about it.
    pub fn tell(&mut self, forms: &[Form]) {
        let lines = self.lines.iter_mut().filter(|line| line.mark != Mark::Removed);
        for (line, form) in lines.zip(forms) {
            line.form = Some(*form).filter(|form| *form != Form::Whole);
        }
    }
}

/// What a hook plan was made from, and is only good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The hook's revision, where the kernel counts one.
    pub revision: Option<Revision>,
    /// What stands for the hook's filters, where the plan looks at them.
    pub filters: Option<Revision>,
    /// What holds the set's own chain, and its program.
    pub ours: Option<(Hold, ProgramId)>,
}

/// One call that changes a hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HookStep {
    /// Pin our link and the chain's record again.
    Pin {
        /// What holds the chain.
        hold: Hold,
    },
    /// Remove a link that holds nothing any more, and its pin. Changes no hook.
    Drop {
        /// The link.
        hold: Hold,
    },
    /// Attach a chain by a new link or filter.
    Attach {
        /// The chain, which is loaded before any hook is touched.
        chain: Box<Record>,
        /// By what.
        by: By,
        /// The revision that the hook, or its list of filters, must have.
        expect: Option<Revision>,
    },
    /// Put a chain in the place of the old one.
    Replace {
        /// The chain, which is loaded before any hook is touched.
        chain: Box<Record>,
        /// What holds it.
        hold: Hold,
        /// The program that it must hold.
        expect: ProgramId,
    },
    /// Detach our link or filter and remove its pins.
    Detach {
        /// What holds the chain.
        hold: Hold,
        /// How it would be attached again, for putting it back.
        by: By,
        /// The program that it holds, for putting it back.
        program: ProgramId,
    },
}

/// Why a hook changes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Because {
    /// The set has nothing there.
    NotAttachedYet,
    /// The chain's programs differ: the lines say how.
    ChainDiffers,
    /// The kernel's BTF is another than the one that the programs were relocated against.
    KernelChanged,
    /// This bpfkit joins programs in another way than the one that made the chain.
    GlueChanged,
    /// The chain's record can't be read, so nobody can tell what it runs.
    RecordUnreadable(String),
    /// It uses another map than the one that is to be used.
    UsesAnotherMap(MapKey),
    /// Somebody detached our link.
    DetachedBySomebody,
    /// The pin of our link or record is gone.
    PinGone,
    /// Somebody removed our link, by its pin.
    LinkGone,
    /// Somebody removed our filter, or put another in its place.
    FilterGone,
    /// It is attached in the other way than the wanted one.
    AttachedBy {
        /// How it is.
        live: Attach,
        /// How it should be.
        wanted: Attach,
    },
    /// It is attached in both ways: a run was killed while it changed from one to the other.
    AttachedTwice,
    /// No chain of the set wants this hook any more.
    NoLongerInManifest,
    /// The interface is gone.
    InterfaceGone,
    /// The cgroup is gone.
    CgroupGone,
    /// The set is being removed.
    SetRemoved,
}

/// One line of a chain's diff.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChainLine {
    /// The program.
    pub program: ProgramName,
    /// What happens to it.
    pub mark: Mark,
    /// Why, or in what it differs.
    pub notes: Vec<Note>,
    /// How it is carried in the chain's one program; `None` where none of several is loaded.
    pub form: Option<Form>,
}

/// What happens to a program of a chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mark {
    /// Nothing.
    Same,
    /// It is new here.
    Added,
    /// It goes.
    Removed,
    /// It stays, but something about it changes.
    Changed,
}

/// What is said beside a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// It is added to a chain that is live.
    NewInManifest,
    /// It is taken out of a chain that stays.
    NoLongerInManifest,
    /// It now runs after that program.
    MovedAfter(ProgramName),
    /// It now runs first.
    MovedFirst,
    /// Its object is another.
    ObjectChanged {
        /// The old one's digest, shortened.
        from: String,
        /// The new one's.
        to: String,
    },
    /// Another function of its object is the program.
    EntryChanged {
        /// The old function.
        from: String,
        /// The new one.
        to: String,
    },
    /// Its globals have other values.
    GlobalsChanged,
    /// It uses other maps: one became shared or private, or the bundle declares others.
    MapsChanged,
    /// The chain goes on after other verdicts.
    ProceedOnChanged {
        /// The old ones, by name.
        from: String,
        /// The new ones.
        to: String,
    },
}

/// Something that is removed when the new state is live.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cleanup {
    /// A pinned map that no program of the set needs; its contents go with the last chain that used it.
    UnpinMap {
        /// Which.
        key: MapKey,
        /// Its id.
        map: MapId,
        /// Its shape.
        shape: MapShape,
    },
    /// What a killed run left behind.
    Sweep(Litter),
}

/// Something that should be known before a plan is carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Warning {
    /// No interface matches; the chain waits for one.
    Waiting(Waiting),
    /// Somebody else's program runs before the chain and can keep packets from it.
    RunsAfterOthers {
        /// The hook.
        hook: Hook,
        /// Its interface.
        interface: Interface,
        /// Who runs before.
        before: Vec<OtherProgram>,
    },
}
