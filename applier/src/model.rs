//! A kernel made of plain values, for tests: it can be asked, changed, disturbed, made to fail and killed.
//!
//! Pure. It does what Linux 6.18 does as far as [`Kernel`] asks: one link per hook
//! and set, XDP for one owner alone, tcx in order with a revision, pins that keep
//! things alive, ids that are never used twice. `model/script.rs` plays one script on
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
    execute::{Kernel, StepError},
    live::{
        Attachment, HeldBy, HookPoint, Interface, LinkId, Litter, LiveChain, LiveMap, LivePoint, LiveRecord, LiveState,
        LostChain, MapId, MapKey, MapShape, Namespace, OtherProgram, Owner, Pin, Presence, ProgramId, Record, Revision,
    },
};

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
    links: BTreeMap<LinkId, ModelLink>,
    programs: BTreeMap<ProgramId, ModelProgram>,
    maps: BTreeMap<MapId, MapShape>,
    link_pins: BTreeMap<HookPoint, LinkId>,
    /// The records that are pinned beside links, by hook.
    record_pins: BTreeMap<HookPoint, LiveRecord>,
    map_pins: BTreeMap<MapKey, MapId>,
    last_id: u32,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The call of this number fails and changes nothing.
    FailAt(usize),
    /// The process is killed just before the call of this number.
    CrashAt(usize),
}

#[derive(Clone, Debug, Default)]
struct ModelHook {
    /// Whoever is attached, in the order in which the kernel runs them.
    order: Vec<Occupant>,
    /// How often it changed.
    changes: u64,
}

#[derive(Clone, Debug)]
enum Occupant {
    Ours(LinkId),
    Other(OtherProgram),
}

#[derive(Clone, Debug)]
struct ModelLink {
    point: HookPoint,
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
        let ours = self.links.iter().map(|(id, link)| (link.point, *id));
        let by_point: BTreeMap<HookPoint, LinkId> = ours.collect();
        for point in asked.into_iter().chain(by_point.keys().copied()).chain(self.record_pins.keys().copied()) {
            if let Some(seen) = self.point(point, by_point.get(&point).copied()) {
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
        let ours = |model: &Self, point: &HookPoint| {
            model.links.iter().find(|(_, link)| link.point == *point).map(|(id, _)| *id)
        };
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
            Disturbance::RemoveForeign { point, name } => {
                let hook = self.hooks.entry(*point).or_default();
                hook.order.retain(|occupant| !matches!(occupant, Occupant::Other(other) if other.name == *name));
                hook.changes += 1;
            }
            Disturbance::DetachOurs { point } => {
                if let Some(link) = ours(self, point) {
                    self.leave(*point, link);
                    if !self.link_pins.values().any(|pinned| *pinned == link) {
                        self.links.remove(&link);
                    }
                }
            }
            Disturbance::UnpinOurs { point } => {
                if let Some(link) = self.link_pins.remove(point) {
                    self.leave(*point, link);
                    self.links.remove(&link);
                }
            }
            Disturbance::UnpinHeld { point } => {
                if self.link_pins.remove(point).is_some()
                    && !ours(self, point).is_some_and(|link| self.is_attached(link))
                {
                    self.links.retain(|_, link| link.point != *point);
                }
            }
            Disturbance::UnpinMap { key } => {
                self.map_pins.remove(key);
            }
            Disturbance::RemoveInterface { namespace, index } => {
                self.interfaces.remove(&(*namespace, *index));
                self.hooks.retain(|point, _| (point.namespace, point.index) != (*namespace, *index));
                let pins: BTreeSet<_> = self.link_pins.values().copied().collect();
                self.links.retain(|id, link| {
                    (link.point.namespace, link.point.index) != (*namespace, *index) || pins.contains(id)
                });
            }
            Disturbance::DamageRecord { point } => {
                let program = ours(self, point).and_then(|id| self.links.get(&id)).map(|link| link.program);
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
        hook.order.insert(place.min(hook.order.len()), Occupant::Other(other));
        hook.changes += 1;
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

    fn point(&self, point: HookPoint, ours: Option<LinkId>) -> Option<LivePoint> {
        let here = self.interfaces.get(&(point.namespace, point.index));
        let link = ours.and_then(|id| self.links.get(&id));
        let record = self.record_pins.get(&point);
        let named = |record: &LiveRecord| {
            let name = record.read().map_or_else(String::new, |record| record.interface.clone());
            Interface { namespace: Namespace { inode: point.namespace, path: None }, index: point.index, name }
        };
        let interface = here.cloned().or_else(|| link.map(|link| link.interface.clone())).or(record.map(named))?;
        let pin = || Litter { path: record_path(&point), what: "the record of a chain whose link is gone".to_owned() };
        let order = self.hooks.get(&point).map_or(&[][..], |hook| hook.order.as_slice());
        let changes = self.hooks.get(&point).map_or(0, |hook| hook.changes);
        Some(LivePoint {
            interface,
            presence: if here.is_some() { Presence::Here } else { Presence::Gone },
            ours: ours.and_then(|id| self.chain(id, order)),
            lost: record.filter(|_| ours.is_none()).map(|record| LostChain { record: record.clone(), pin: pin() }),
            others: self.others(point),
            revision: (point.hook != Hook::Xdp).then_some(Revision(changes + 1)),
        })
    }

    fn chain(&self, id: LinkId, order: &[Occupant]) -> Option<LiveChain> {
        let link = self.links.get(&id)?;
        let program = self.programs.get(&link.program)?;
        let place = order.iter().position(|occupant| matches!(occupant, Occupant::Ours(ours) if *ours == id));
        let pinned = self.link_pins.get(&link.point) == Some(&id);
        Some(LiveChain {
            link: id,
            program: link.program,
            record: program.record.clone(),
            attachment: if place.is_some() { Attachment::Attached } else { Attachment::Detached },
            pin: if pinned { Pin::Pinned } else { Pin::Gone },
            mode: link.mode,
            maps: program.maps.iter().filter_map(|(key, id)| Some((key.clone(), self.live_map(*id)?))).collect(),
            after: place.unwrap_or(0),
        })
    }

    fn live_map(&self, id: MapId) -> Option<LiveMap> {
        self.maps.get(&id).map(|shape| LiveMap { id, shape: shape.clone() })
    }

    fn is_attached(&self, id: LinkId) -> bool {
        let hook = self.links.get(&id).and_then(|link| self.hooks.get(&link.point));
        hook.is_some_and(|hook| hook.order.iter().any(|at| matches!(at, Occupant::Ours(ours) if *ours == id)))
    }

    /// Takes a link out of its hook.
    fn leave(&mut self, point: HookPoint, link: LinkId) {
        if let Some(hook) = self.hooks.get_mut(&point) {
            let before = hook.order.len();
            hook.order.retain(|occupant| !matches!(occupant, Occupant::Ours(ours) if *ours == link));
            hook.changes += u64::from(hook.order.len() != before);
        }
    }

    fn pin_record(&mut self, point: HookPoint, program: ProgramId) {
        if let Some(program) = self.programs.get(&program) {
            self.record_pins.insert(point, program.record.clone());
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
            Some(Fault::FailAt(at)) if at == number => Err(ModelError::Injected),
            Some(Fault::CrashAt(at)) if at <= number => Err(ModelError::Killed),
            _ => Ok(()),
        }
    }
}

fn record_path(point: &HookPoint) -> PathBuf {
    format!("records/{}-{}-{}", point.hook.slug(), point.namespace, point.index).into()
}

impl Kernel for Model {
    type Bundle = ();
    type Program = ProgramId;
    type Map = MapId;
    type Error = ModelError;

    fn open_map(&mut self, id: MapId) -> Result<MapId, ModelError> {
        self.call()?;
        let pinned = self.map_pins.values().any(|pinned| *pinned == id);
        let used = self.links.values().filter_map(|link| self.programs.get(&link.program));
        if pinned || used.into_iter().any(|program| program.maps.values().any(|map| *map == id)) {
            Ok(id)
        } else {
            Err(ModelError::Contended(format!("map {id}")))
        }
    }

    fn create_map(&mut self, (): &(), _: &MapKey, shape: &MapShape) -> Result<MapId, ModelError> {
        self.call()?;
        let id = MapId(self.id());
        self.maps.insert(id, shape.clone());
        Ok(id)
    }

    fn pin_map(&mut self, key: &MapKey, map: &MapId) -> Result<(), ModelError> {
        self.call()?;
        self.map_pins.insert(key.clone(), *map);
        Ok(())
    }

    fn unpin_map(&mut self, key: &MapKey) -> Result<(), ModelError> {
        self.call()?;
        self.map_pins.remove(key);
        Ok(())
    }

    fn load(&mut self, (): &(), record: &Record, maps: &BTreeMap<MapKey, MapId>) -> Result<ProgramId, ModelError> {
        self.call()?;
        let mut used = BTreeMap::new();
        for key in record.map_keys() {
            let id = maps
                .get(&key)
                .ok_or_else(|| ModelError::Senseless(format!("a chain needs `{key}`, which isn't open")))?;
            used.insert(key, *id);
        }
        let id = ProgramId(self.id());
        self.programs.insert(id, ModelProgram { record: LiveRecord::Read(Box::new(record.clone())), maps: used });
        Ok(id)
    }

    fn hold(&mut self, id: ProgramId) -> Result<ProgramId, ModelError> {
        self.call()?;
        if self.links.values().any(|link| link.program == id) {
            Ok(id)
        } else {
            Err(ModelError::Contended(format!("program {id}")))
        }
    }

    fn attach(
        &mut self,
        interface: &Interface,
        hook: Hook,
        mode: Mode,
        program: &ProgramId,
        expect: Option<Revision>,
    ) -> Result<LinkId, ModelError> {
        self.call()?;
        let point = HookPoint::of(interface, hook);
        if !self.interfaces.contains_key(&(point.namespace, point.index)) {
            return Err(ModelError::Contended(interface.name.clone()));
        }
        if self.link_pins.contains_key(&point) {
            return Err(ModelError::Senseless(format!("a link is pinned for {hook} of {} already", interface.name)));
        }
        let at = self.hooks.entry(point).or_default();
        let revised = expect.is_some_and(|expect| expect != Revision(at.changes + 1));
        if revised || (hook.is_exclusive() && !at.order.is_empty()) {
            return Err(ModelError::Contended(format!("{hook} of {}", interface.name)));
        }
        at.changes += 1;
        let id = LinkId(self.id());
        self.hooks.entry(point).or_default().order.insert(0, Occupant::Ours(id));
        self.links.insert(id, ModelLink { point, interface: interface.clone(), mode, program: *program });
        self.link_pins.insert(point, id);
        self.pin_record(point, *program);
        Ok(id)
    }

    fn replace(&mut self, link: LinkId, from: &ProgramId, to: &ProgramId) -> Result<(), ModelError> {
        self.call()?;
        let attached = self.is_attached(link);
        match self.links.get_mut(&link) {
            Some(known) if attached && known.program == *from => {
                known.program = *to;
                let point = known.point;
                if let Some(hook) = self.hooks.get_mut(&point) {
                    hook.changes += 1;
                }
                if self.link_pins.get(&point) == Some(&link) {
                    self.pin_record(point, *to);
                }
                Ok(())
            }
            _ => Err(ModelError::Contended(format!("link {link}"))),
        }
    }

    fn pin_link(&mut self, point: &HookPoint, link: LinkId) -> Result<(), ModelError> {
        self.call()?;
        let Some(program) = self.links.get(&link).map(|link| link.program) else {
            return Err(ModelError::Contended(format!("link {link}")));
        };
        self.link_pins.insert(*point, link);
        self.pin_record(*point, program);
        Ok(())
    }

    fn detach(&mut self, point: &HookPoint, link: LinkId) -> Result<(), ModelError> {
        self.call()?;
        if self.link_pins.get(point).is_some_and(|pinned| *pinned != link) {
            return Err(ModelError::Contended(format!("the pin of link {link}")));
        }
        self.leave(*point, link);
        self.link_pins.remove(point);
        self.record_pins.remove(point);
        self.links.remove(&link);
        Ok(())
    }

    fn sweep(&mut self, litter: &Litter) -> Result<(), ModelError> {
        self.call()?;
        self.litter.remove(litter);
        let pinned = &self.link_pins;
        self.record_pins.retain(|point, _| record_path(point) != litter.path || pinned.contains_key(point));
        Ok(())
    }
}
