//! What the model does when it is asked to: [`Kernel`], as Linux does it.

use std::collections::{BTreeMap, BTreeSet};

use bpfkit_schemas::hook::{Hook, Mode};

use super::{Fault, Model, ModelChain, ModelError, ModelProgram, Occupant, record_path};
use crate::{
    execute::{Detached, Kernel},
    live::{
        By, Hold, HookPoint, Interface, LinkId, Litter, LiveRecord, MapId, MapKey, MapShape, ProgramId, Record,
        Revision,
    },
};

impl Kernel for Model {
    type Bundle = ();
    type Program = ProgramId;
    type Map = MapId;
    type Error = ModelError;

    fn open_map(&mut self, id: MapId) -> Result<MapId, ModelError> {
        self.call()?;
        let pinned = self.map_pins.values().any(|pinned| *pinned == id);
        let used = self.chains.values().filter_map(|chain| self.programs.get(&chain.program));
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
        if self.chains.values().any(|chain| chain.program == id) {
            Ok(id)
        } else {
            Err(ModelError::Contended(format!("program {id}")))
        }
    }

    fn attach(
        &mut self,
        interface: &Interface,
        hook: Hook,
        by: By,
        program: &ProgramId,
        expect: Option<Revision>,
    ) -> Result<Hold, ModelError> {
        self.call()?;
        let point = HookPoint::of(interface, hook);
        if !self.interfaces.contains_key(&(point.namespace, point.index)) {
            return Err(ModelError::Contended(interface.name.clone()));
        }
        let taken = || ModelError::Contended(format!("{hook} of {}", interface.name));
        let filters = self.filters(point).revision;
        let at = self.hooks.entry(point).or_default();
        let (hold, place, mode) = match by {
            // A detached one's pin may have been left.
            By::Link(_) if self.link_pins.get(&point).is_some_and(|pinned| at.holds(Hold::Link(*pinned))) => {
                return Err(ModelError::Senseless(format!(
                    "a link is pinned for {hook} of {} already",
                    interface.name
                )));
            }
            By::Link(mode) => {
                let revised = expect.is_some_and(|expect| expect != Revision(at.changes + 1));
                if revised || (hook.is_exclusive() && !at.order.is_empty()) {
                    return Err(taken());
                }
                self.last_id += 1;
                // A cgroup's list grows at its end.
                let place = if hook.is_cgroup() { at.order.len() } else { 0 };
                (Hold::Link(LinkId(self.last_id)), place, mode)
            }
            By::Filter(filter) => {
                let revised = expect.is_some_and(|expect| expect != filters);
                if revised || at.order.iter().any(|at| at.filter() == Some(filter)) {
                    return Err(taken());
                }
                (Hold::Filter(filter), at.filters(), Mode::Native)
            }
        };
        at.changed(hold);
        at.order.insert(place, Occupant::Ours(hold));
        match hold {
            Hold::Link(link) => {
                if let Some(dead) = self.link_pins.insert(point, link) {
                    self.chains.remove(&(point, Hold::Link(dead)));
                }
            }
            Hold::Filter(_) => drop(self.qdiscs.insert((point.namespace, point.index))),
        }
        let chain = ModelChain { interface: interface.clone(), mode, program: *program };
        self.chains.insert((point, hold), chain);
        self.tidy_lost(point, hold);
        self.pin_record(point, *program);
        Ok(hold)
    }

    fn replace(
        &mut self,
        interface: &Interface,
        hook: Hook,
        hold: Hold,
        from: &ProgramId,
        to: &ProgramId,
    ) -> Result<(), ModelError> {
        self.call()?;
        let point = HookPoint::of(interface, hook);
        let attached = self.is_attached(point, hold);
        match self.chains.get_mut(&(point, hold)) {
            Some(known) if attached && known.program == *from => {
                known.program = *to;
                if let Some(hook) = self.hooks.get_mut(&point) {
                    hook.changed(hold);
                }
                if hold.link().is_none_or(|link| self.link_pins.get(&point) == Some(&link)) {
                    self.pin_record(point, *to);
                }
                Ok(())
            }
            _ => Err(ModelError::Contended(hold.to_string())),
        }
    }

    fn pin(&mut self, interface: &Interface, hook: Hook, hold: Hold) -> Result<(), ModelError> {
        self.call()?;
        let point = HookPoint::of(interface, hook);
        let Some(program) = self.chains.get(&(point, hold)).map(|chain| chain.program) else {
            return Err(ModelError::Contended(hold.to_string()));
        };
        if let Hold::Link(link) = hold {
            self.link_pins.insert(point, link);
        }
        self.tidy_lost(point, hold);
        self.pin_record(point, program);
        Ok(())
    }

    fn detach(&mut self, interface: &Interface, hook: Hook, hold: Hold) -> Result<Detached<ModelError>, ModelError> {
        let leaves = self.fault == Some(Fault::LeaveAt(self.calls));
        self.call()?;
        let point = HookPoint::of(interface, hook);
        let at = self.hooks.get(&point).map_or(&[][..], |hook| hook.order.as_slice());
        let another = match hold {
            Hold::Link(link) => self.link_pins.get(&point).is_some_and(|pinned| *pinned != link),
            Hold::Filter(filter) => at.iter().any(|at| at.filter() == Some(filter) && !at.is_ours(hold)),
        };
        if another {
            return Err(ModelError::Contended(format!("the pin of {hold}")));
        }
        self.leave(point, hold);
        if leaves {
            // Only a pin keeps what isn't attached.
            if hold.link().is_none_or(|link| self.link_pins.get(&point) != Some(&link)) {
                self.chains.remove(&(point, hold));
            }
            return Ok(Detached { left: Some(ModelError::Injected) });
        }
        let chain = self.chains.remove(&(point, hold));
        let stays = self.holds(point).filter_map(|hold| self.chains.get(&(point, hold))).map(|chain| chain.program);
        let stays: BTreeSet<ProgramId> = stays.collect();
        if !self.record_pins.get(&point).is_some_and(|(of, _)| stays.contains(of)) {
            self.record_pins.remove(&point);
        }
        match hold {
            Hold::Link(_) => drop(self.link_pins.remove(&point)),
            Hold::Filter(_) => {
                let record = chain.and_then(|chain| self.programs.get(&chain.program)).map(|of| of.record.clone());
                if let Some(record) = record {
                    self.tidy_qdisc(point, &record);
                }
            }
        }
        Ok(Detached { left: None })
    }

    fn sweep(&mut self, litter: &Litter) -> Result<(), ModelError> {
        self.call()?;
        self.litter.remove(litter);
        let swept = self.record_pins.iter().find(|(point, _)| record_path(point) == litter.path);
        let swept = swept.map(|(point, (_, record))| (*point, record.clone()));
        if let Some((point, record)) = swept
            && self.holds(point).next().is_none()
        {
            self.tidy_qdisc(point, &record);
            self.record_pins.remove(&point);
        }
        Ok(())
    }
}
