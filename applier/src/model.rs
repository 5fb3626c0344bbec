//! A kernel made of plain values, for tests: it can be asked, changed, disturbed, made to fail and killed.
//!
//! Pure. It does what Linux 6.18 does as far as [`Kernel`](crate::execute::Kernel) asks: one link per hook
//! and set, XDP for one owner alone, tcx in order with a revision, filters behind it on
//! a qdisc, pins that keep things alive, ids that are never used twice. `model/script.rs` plays one script on
//! the model and on a real kernel, so that the two can be held to each other.
//!
//! Every call of the trait is counted. A [`Fault`] makes one of them fail, or kills
//! the process there: a call that comes after that does nothing, as if nobody made it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use bpfkit_schemas::{
    Code, Diagnostic,
    diagnostic::Diagnose,
    hook::{Hook, Mode},
    names::SetName,
};
use thiserror::Error;

use crate::{
    execute::StepError,
    live::{
        Attachment, FilterId, Filters, HeldBy, Hold, HookPoint, Interface, LinkId, Litter, LiveChain, LiveMap,
        LivePoint, LiveRecord, LiveState, LostChain, MapId, MapKey, MapShape, Namespace, OtherProgram, Owner, Pin,
        Presence, ProgramId, Qdisc, Revision,
    },
    record::QdiscBy,
};

mod calls;
mod script;

pub use script::{Disturbance, ScriptError, ScriptHost, play};

/// A host, as far as one set and its neighbours on hooks are concerned.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The interfaces that exist, by namespace and index.
    pub interfaces: BTreeMap<(u64, u32), Interface>,
    /// Leftovers in the set's directory.
    pub litter: BTreeSet<Litter>,
    /// What will go wrong, if anything.
    pub fault: Option<Fault>,
    /// What somebody else does just before the call of that number.
    pub meanwhile: BTreeMap<usize, Disturbance>,
    /// The calls made so far.
    pub calls: usize,
    hooks: BTreeMap<HookPoint, ModelHook>,
    /// The interfaces that have a qdisc for filters.
    qdiscs: BTreeSet<(u64, u32)>,
    chains: BTreeMap<(HookPoint, Hold), ModelChain>,
    programs: BTreeMap<ProgramId, ModelProgram>,
    maps: BTreeMap<MapId, MapShape>,
    link_pins: BTreeMap<HookPoint, LinkId>,
    /// The records that are pinned beside links, by hook.
    record_pins: BTreeMap<HookPoint, (ProgramId, LiveRecord)>,
    map_pins: BTreeMap<MapKey, MapId>,
    last_id: u32,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The call of this number fails and changes nothing.
    FailAt(usize),
    /// The call of this number, if it detaches, does that and can't remove a pin afterwards; the next call fails.
    LeaveAt(usize),
    /// The process is killed just before the call of this number.
    CrashAt(usize),
}

#[derive(Clone, Debug, Default)]
struct ModelHook {
    /// Whoever is attached, in the order in which the kernel runs them.
    order: Vec<Occupant>,
    /// How often it changed, but for its filters.
    changes: u64,
    /// How often its filters changed.
    filter_changes: u64,
}

impl ModelHook {
    /// Where its filters begin: they run after everything else.
    fn filters(&self) -> usize {
        self.order.iter().position(Occupant::is_filter).unwrap_or(self.order.len())
    }

    fn holds(&self, hold: Hold) -> bool {
        self.order.iter().any(|at| at.is_ours(hold))
    }

    fn changed(&mut self, hold: Hold) {
        match hold {
            Hold::Link(_) => self.changes += 1,
            Hold::Filter(_) => self.filter_changes += 1,
        }
    }
}

#[derive(Clone, Debug)]
enum Occupant {
    Ours(Hold),
    Other(OtherProgram),
}

impl Occupant {
    fn filter(&self) -> Option<FilterId> {
        match self {
            Self::Ours(Hold::Filter(filter)) | Self::Other(OtherProgram { held_by: HeldBy::Filter(filter), .. }) => {
                Some(*filter)
            }
            _ => None,
        }
    }

    fn is_filter(&self) -> bool {
        self.filter().is_some()
    }

    fn is_ours(&self, hold: Hold) -> bool {
        matches!(self, Self::Ours(ours) if *ours == hold)
    }
}

#[derive(Clone, Debug)]
struct ModelChain {
    interface: Interface,
    mode: Mode,
    program: ProgramId,
}

#[derive(Clone, Debug)]
struct ModelProgram {
    record: LiveRecord,
    maps: BTreeMap<MapKey, MapId>,
}

/// Why the model did not do a call.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum ModelError {
    /// The [`Fault`] that was asked for.
    #[error("the fault that the test asked for")]
    Injected,
    /// The process is dead: nobody sees this.
    #[error("the process was killed")]
    Killed,
    /// Somebody else changed it.
    #[error("{0} changed meanwhile")]
    Contended(String),
    /// The call makes no sense here: a bug in the planner or the executor.
    #[error("{0}")]
    Senseless(String),
}

impl StepError for ModelError {
    fn is_contended(&self) -> bool {
        matches!(self, Self::Contended(_))
    }
}

impl Diagnose for ModelError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let code = if self.is_contended() { Code::HOOK_CHANGED } else { Code::KERNEL_CALL };
        vec![Diagnostic::error(code, self.to_string())]
    }
}

impl Model {
    /// A host with these interfaces and nothing attached.
    pub fn new(interfaces: impl IntoIterator<Item = Interface>) -> Self {
        let interfaces =
            interfaces.into_iter().map(|interface| ((interface.namespace.inode, interface.index), interface)).collect();
        Self { interfaces, ..Self::default() }
    }

    /// What an observer who looks for `set` sees, with `asked` hook points in it whether or not the set is there.
    pub fn observe(&self, set: &SetName, asked: impl IntoIterator<Item = HookPoint>) -> LiveState {
        let mut live = LiveState::empty(set.clone());
        let ours = self.chains.keys().map(|(point, _)| *point);
        for point in asked.into_iter().chain(ours).chain(self.record_pins.keys().copied()) {
            if let Some(seen) = self.point(point) {
                live.points.insert(point, seen);
            }
        }
        live.maps = self.map_pins.iter().filter_map(|(key, id)| Some((key.clone(), self.live_map(*id)?))).collect();
        live.litter = self.litter.iter().cloned().collect();
        live
    }

    /// Forgets the fault, the disturbances and the count of calls: a new process starts.
    pub fn restart(&mut self) {
        self.fault = None;
        self.meanwhile.clear();
        self.calls = 0;
    }

    /// Lets somebody else do something.
    pub fn disturb(&mut self, disturbance: &Disturbance) {
        let ours = |model: &Self, point: &HookPoint| model.holds(*point).next();
        match disturbance {
            Disturbance::AddForeign { point, name, place } => {
                let id = self.id();
                let mode = (point.hook == Hook::Xdp).then_some(Mode::Generic);
                let other = OtherProgram {
                    id: ProgramId(id),
                    name: name.clone(),
                    owner: Owner::Foreign(None),
                    held_by: if mode.is_some() { HeldBy::Netlink } else { HeldBy::Link(LinkId(id)) },
                    mode,
                };
                self.add_other(*point, other, *place);
            }
            Disturbance::AddFilter { point, name, place } => {
                let handle = self.id();
                let filter = FilterId { priority: FilterId::PRIORITY, handle };
                self.add_filter(*point, name, filter, *place);
            }
            Disturbance::TakeFilter { point, name } => {
                let ours = self.holds(*point).find(|hold| matches!(hold, Hold::Filter(_)));
                if let Some(Hold::Filter(filter)) = ours {
                    let hook = self.hooks.entry(*point).or_default();
                    let place = hook.order.iter().position(|at| at.filter() == Some(filter)).unwrap_or(0);
                    hook.order.remove(place);
                    let place = place - hook.filters();
                    self.chains.remove(&(*point, Hold::Filter(filter)));
                    self.add_filter(*point, name, filter, place);
                }
            }
            Disturbance::RemoveForeign { point, name } => {
                let hook = self.hooks.entry(*point).or_default();
                hook.order.retain(|occupant| !matches!(occupant, Occupant::Other(other) if other.name == *name));
                hook.changes += 1;
                hook.filter_changes += 1;
            }
            Disturbance::DetachOurs { point } => {
                if let Some(hold) = ours(self, point) {
                    self.leave(*point, hold);
                    if !hold.link().is_some_and(|link| self.link_pins.values().any(|pinned| *pinned == link)) {
                        self.chains.remove(&(*point, hold));
                    }
                }
            }
            Disturbance::UnpinOurs { point } => {
                if let Some(link) = self.link_pins.remove(point) {
                    self.leave(*point, Hold::Link(link));
                    self.chains.remove(&(*point, Hold::Link(link)));
                }
            }
            Disturbance::UnpinHeld { point } => {
                if let Some(link) = self.link_pins.remove(point).map(Hold::Link)
                    && !self.is_attached(*point, link)
                {
                    self.chains.remove(&(*point, link));
                }
            }
            Disturbance::UnpinMap { key } => {
                self.map_pins.remove(key);
            }
            Disturbance::RemoveInterface { namespace, index } => {
                self.interfaces.remove(&(*namespace, *index));
                self.hooks.retain(|point, _| (point.namespace, point.index) != (*namespace, *index));
                self.qdiscs.remove(&(*namespace, *index));
                let pins: BTreeSet<_> = self.link_pins.values().copied().collect();
                self.chains.retain(|(point, hold), _| {
                    (point.namespace, point.index) != (*namespace, *index)
                        || hold.link().is_some_and(|link| pins.contains(&link))
                });
            }
            Disturbance::DamageRecord { point } => {
                let program = ours(self, point).and_then(|hold| self.chains.get(&(*point, hold))).map(|at| at.program);
                if let Some(program) = program.and_then(|id| self.programs.get_mut(&id)) {
                    program.record = LiveRecord::Unreadable("it is damaged".to_owned());
                }
            }
            Disturbance::Litter { path } => {
                self.litter.insert(Litter { path: path.clone(), what: "a half-made pin".to_owned() });
            }
        }
    }

    /// Attaches somebody else's program as number `place` at a hook, or last.
    pub fn add_other(&mut self, point: HookPoint, other: OtherProgram, place: usize) {
        let hook = self.hooks.entry(point).or_default();
        if point.hook.is_exclusive() && !hook.order.is_empty() {
            return;
        }
        let last = hook.filters();
        hook.order.insert(place.min(last), Occupant::Other(other));
        hook.changes += 1;
    }

    /// Whether an interface has a qdisc for filters.
    pub fn has_qdisc(&self, point: &HookPoint) -> bool {
        self.qdiscs.contains(&(point.namespace, point.index))
    }

    /// Attaches somebody else's filter as number `place` of the filters at a hook, or last.
    fn add_filter(&mut self, point: HookPoint, name: &str, filter: FilterId, place: usize) {
        let other = OtherProgram {
            id: ProgramId(self.id()),
            name: name.to_owned(),
            owner: Owner::Foreign(None),
            held_by: HeldBy::Filter(filter),
            mode: None,
        };
        self.qdiscs.insert((point.namespace, point.index));
        let hook = self.hooks.entry(point).or_default();
        let place = hook.filters().saturating_add(place).min(hook.order.len());
        hook.order.insert(place, Occupant::Other(other));
        hook.filter_changes += 1;
    }

    /// Whoever else is at a hook, in order.
    pub fn others(&self, point: HookPoint) -> Vec<OtherProgram> {
        self.hooks.get(&point).map_or_else(Vec::new, |hook| {
            hook.order
                .iter()
                .filter_map(|occupant| match occupant {
                    Occupant::Other(other) => Some(other.clone()),
                    Occupant::Ours(_) => None,
                })
                .collect()
        })
    }

    /// What holds chains of ours at a hook, a link first.
    fn holds(&self, point: HookPoint) -> impl Iterator<Item = Hold> + '_ {
        self.chains.keys().filter(move |(at, _)| *at == point).map(|(_, hold)| *hold)
    }

    fn point(&self, point: HookPoint) -> Option<LivePoint> {
        let here = self.interfaces.get(&(point.namespace, point.index));
        let mut holds = self.holds(point);
        let (ours, twin) = (holds.next(), holds.next());
        let of = ours.and_then(|hold| self.chains.get(&(point, hold)));
        let record = self.record_pins.get(&point).map(|(_, record)| record);
        let named = |record: &LiveRecord| {
            let name = record.read().map_or_else(String::new, |record| record.interface.clone());
            Interface { namespace: Namespace { inode: point.namespace, path: None }, index: point.index, name }
        };
        let interface = here.cloned().or_else(|| of.map(|chain| chain.interface.clone())).or(record.map(named))?;
        let pin = || Litter { path: record_path(&point), what: "the record of a chain whose link is gone".to_owned() };
        let changes = self.hooks.get(&point).map_or(0, |hook| hook.changes);
        Some(LivePoint {
            interface,
            presence: if here.is_some() { Presence::Here } else { Presence::Gone },
            ours: ours.and_then(|hold| self.chain(point, hold)),
            twin: twin.and_then(|hold| self.chain(point, hold)),
            lost: record.filter(|_| ours.is_none()).map(|record| LostChain { record: record.clone(), pin: pin() }),
            others: self.others(point),
            revision: (!point.hook.is_exclusive()).then_some(Revision(changes + 1)),
            filters: point.hook.is_tc().then(|| self.filters(point)),
        })
    }

    fn filters(&self, point: HookPoint) -> Filters {
        let there = self.has_qdisc(&point);
        let changes = self.hooks.get(&point).map_or(0, |hook| hook.filter_changes);
        Filters {
            revision: Revision(changes + 1),
            qdisc: if there { Qdisc::There } else { Qdisc::Missing },
            blocked: None,
        }
    }

    fn chain(&self, point: HookPoint, hold: Hold) -> Option<LiveChain> {
        let chain = self.chains.get(&(point, hold))?;
        let program = self.programs.get(&chain.program)?;
        let order = self.hooks.get(&point).map_or(&[][..], |hook| hook.order.as_slice());
        let before = order.iter().take_while(|occupant| !occupant.is_ours(hold));
        let attached = self.is_attached(point, hold);
        let recorded = self.record_pins.get(&point).is_some_and(|(of, _)| *of == chain.program);
        let pinned = hold.link().is_none_or(|link| self.link_pins.get(&point) == Some(&link));
        Some(LiveChain {
            hold,
            program: chain.program,
            record: program.record.clone(),
            attachment: if attached { Attachment::Attached } else { Attachment::Detached },
            pin: if pinned && recorded { Pin::Pinned } else { Pin::Gone },
            mode: chain.mode,
            maps: program.maps.iter().filter_map(|(key, id)| Some((key.clone(), self.live_map(*id)?))).collect(),
            after: if attached { before.filter(|at| matches!(at, Occupant::Other(_))).count() } else { 0 },
        })
    }

    fn live_map(&self, id: MapId) -> Option<LiveMap> {
        self.maps.get(&id).map(|shape| LiveMap { id, shape: shape.clone() })
    }

    fn is_attached(&self, point: HookPoint, hold: Hold) -> bool {
        self.hooks.get(&point).is_some_and(|hook| hook.holds(hold))
    }

    /// Takes a chain out of its hook.
    fn leave(&mut self, point: HookPoint, hold: Hold) {
        if let Some(hook) = self.hooks.get_mut(&point) {
            let before = hook.order.len();
            hook.order.retain(|occupant| !occupant.is_ours(hold));
            if hook.order.len() != before {
                hook.changed(hold);
            }
        }
        self.forget(point);
    }

    /// Linux forgets the revision of a tcx hook that has neither programs nor a qdisc.
    fn forget(&mut self, point: HookPoint) {
        let has_qdisc = self.has_qdisc(&point);
        if let Some(hook) =
            self.hooks.get_mut(&point).filter(|hook| point.hook.is_tc() && !has_qdisc && hook.filters() == 0)
        {
            hook.changes = 0;
        }
    }

    fn pin_record(&mut self, point: HookPoint, id: ProgramId) {
        if let Some(program) = self.programs.get(&id) {
            self.record_pins.insert(point, (id, program.record.clone()));
        }
    }

    /// A link's record takes the place of a filter's that is gone.
    fn tidy_lost(&mut self, point: HookPoint, hold: Hold) {
        if let (Hold::Link(_), Some((_, record))) = (hold, self.record_pins.get(&point).cloned()) {
            self.tidy_qdisc(point, &record);
        }
    }

    /// Takes away the qdisc of an interface that has no filters, if the set made it.
    fn tidy_qdisc(&mut self, point: HookPoint, record: &LiveRecord) {
        let filters = |at: &HookPoint, hook: &ModelHook| {
            (at.namespace, at.index) == (point.namespace, point.index) && hook.filters() < hook.order.len()
        };
        if record.read().is_some_and(|record| record.clsact == Some(QdiscBy::Set))
            && !self.hooks.iter().any(|(at, hook)| filters(at, hook))
        {
            self.qdiscs.remove(&(point.namespace, point.index));
            for hook in [Hook::TcIngress, Hook::TcEgress] {
                self.forget(HookPoint { hook, ..point });
            }
        }
    }

    fn id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// Counts a call, and lets happen what was to happen at it.
    fn call(&mut self) -> Result<(), ModelError> {
        let number = self.calls;
        self.calls += 1;
        if let Some(disturbance) = self.meanwhile.remove(&number) {
            self.disturb(&disturbance);
        }
        match self.fault {
            Some(Fault::LeaveAt(at)) if at + 1 == number => Err(ModelError::Injected),
            Some(Fault::FailAt(at)) if at == number => Err(ModelError::Injected),
            Some(Fault::CrashAt(at)) if at <= number => Err(ModelError::Killed),
            _ => Ok(()),
        }
    }
}

fn record_path(point: &HookPoint) -> PathBuf {
    format!("records/{}-{}-{}", point.hook.slug(), point.namespace, point.index).into()
}
