//! Takes a [`LiveState`] from the host: what one set has in the kernel, and who else is at its hooks.
//!
//! Looks and changes nothing: no file is made, no program loaded, not even to
//! find out what the kernel can do. It takes no lock either, so what it says may be
//! old by the time it is read; every change is compared by the kernel with what was
//! seen here.
//!
//! A chain is the set's if its link is pinned in the set's directory, if its program is
//! bound to a record map that is pinned there, or, at a hook that the caller asks about, to
//! one that names the set: neither a removed pin nor a removed record hides it.

mod owner;
mod pins;
mod places;
mod programs;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::{Path, PathBuf},
};

use bpfkit_schemas::{
    hook::{Hook, Mode},
    names::SetName,
};

pub(super) use self::{
    pins::entries,
    places::{has_tcx, namespace, tcx_attach_type},
    programs::{read_record, record_of, recorded},
};
use self::{
    places::{CgroupPlace, Place},
    programs::{Programs, Seen},
};
use super::{
    bpffs::SetDirectory,
    clsact::Listing,
    error::KernelError,
    sys::{self, LinkInfo, Map},
};
use crate::{
    live::{
        Attachment, FilterId, HeldBy, Hold, HookPoint, Interface, LinkId, Litter, LiveChain, LiveMap, LivePoint,
        LiveRecord, LiveState, LostChain, MapKey, Namespace, OtherProgram, Owner, Pin, Presence, ProgramId,
    },
    record::{Record, Stored},
};

/// Observes `set` on this host, and the hook points in `asked`.
pub(super) fn observe(bpffs: &Path, set: &SetName, asked: &[(Interface, Hook)]) -> Result<LiveState, KernelError> {
    let directory = SetDirectory::new(bpffs, set);
    let pins = pins::read(&directory)?;
    let links = programs::links()?;
    let programs = Programs::default();

    // A link that isn't pinned here is looked for where the caller asks alone: another bpffs (a container's)
    // may hold a set of this name, at hooks of its own, and that one is not ours to touch.
    let mut points: BTreeSet<HookPoint> =
        asked.iter().map(|(interface, hook)| HookPoint::of(interface, *hook)).collect();
    points.extend(pins.links.keys().chain(pins.records.keys()));
    let of_interfaces = asked.iter().filter(|(interface, _)| !interface.is_cgroup());
    let paths = of_interfaces.map(|(interface, _)| interface.namespace.path.clone()).collect();
    let inodes: BTreeSet<u64> =
        points.iter().filter(|point| !point.hook.is_cgroup()).map(|point| point.namespace).collect();
    let opened = places::open(&paths, |inode| inodes.contains(&inode))?;
    let mut places = BTreeMap::new();
    for (inode, (path, netns)) in opened {
        places.insert(inode, places::visit(path, &netns, &points)?);
    }

    let of_cgroups = pins.records.iter().filter(|(point, _)| point.hook.is_cgroup());
    let recorded = of_cgroups.filter_map(|(_, map)| programs::read_record(map));
    let cgroups = recorded.filter(|record| record.hook.is_cgroup()).map(|record| PathBuf::from(record.interface));
    let named = asked.iter().filter(|(interface, _)| interface.is_cgroup());
    let named = named.filter_map(|(interface, _)| interface.namespace.path.clone());
    let cgroups = places::cgroups(cgroups.chain(named), &points)?;

    let mut observer = Observer { bpffs, set, links, places, cgroups, programs, maps: Maps::default() };
    let mut state = LiveState { set: set.clone(), points: BTreeMap::new(), maps: pins.maps, litter: pins.litter };
    for point in points {
        let pinned = pins.links.get(&point);
        let asked = asked.iter().find(|(interface, hook)| HookPoint::of(interface, *hook) == point);
        let kept = pins.records.get(&point).map(|map| Kept::read(&directory, &point, map)).transpose()?;
        let live = observer.point(&point, pinned, asked.map(|(interface, _)| interface), kept)?;
        state.points.insert(point, live);
    }
    Ok(state)
}

/// A record map that is pinned for a hook.
struct Kept<'a> {
    id: u32,
    map: &'a Map,
    pin: Litter,
}

impl<'a> Kept<'a> {
    fn read(directory: &SetDirectory, point: &HookPoint, map: &'a Map) -> Result<Self, KernelError> {
        let info = sys::map_info(map).map_err(|source| KernelError::call("reading a pinned record", source))?;
        let path = directory.record(point);
        let path = path.strip_prefix(directory.path()).unwrap_or(&path).to_owned();
        let pin = Litter { path, what: "the record of a chain whose link is gone".to_owned() };
        Ok(Self { id: info.id, map, pin })
    }

    /// What it says: asked where the chain itself doesn't say it.
    fn record(&self) -> LiveRecord {
        match programs::read(self.map) {
            Some(Ok(stored)) => LiveRecord::Read(Box::new(stored.record)),
            Some(Err(error)) => LiveRecord::Unreadable(error.to_string()),
            None => LiveRecord::Unreadable("another map is pinned in its place".to_owned()),
        }
    }
}

/// The set that a program's record names.
fn set_of(seen: &Seen) -> Option<&SetName> {
    match &seen.record {
        Some(Ok(stored)) => Some(&stored.record.set),
        _ => None,
    }
}

/// Maps that were looked at, by id: one that a hundred chains use is looked at once.
#[derive(Default)]
struct Maps(BTreeMap<(MapKey, u32), Option<LiveMap>>);

impl Maps {
    /// The maps that a record names and that its program really uses.
    fn used(&mut self, stored: &Stored, used: &[u32]) -> Result<BTreeMap<MapKey, LiveMap>, KernelError> {
        let mut maps = BTreeMap::new();
        for (key, id) in stored.maps().into_iter().filter(|(_, id)| used.contains(&id.0)) {
            let seen = match self.0.entry((key.clone(), id.0)) {
                Entry::Occupied(seen) => seen.into_mut(),
                Entry::Vacant(unseen) => {
                    let map = sys::map_by_id(id.0).ok();
                    unseen.insert(map.map(|map| pins::live_map(&key, &map)).transpose()?)
                }
            };
            maps.extend(seen.clone().map(|live| (key, live)));
        }
        Ok(maps)
    }
}

struct Observer<'a> {
    bpffs: &'a Path,
    set: &'a SetName,
    links: BTreeMap<u32, LinkInfo>,
    places: BTreeMap<u64, Place>,
    cgroups: BTreeMap<u64, CgroupPlace>,
    programs: Programs,
    maps: Maps,
}

/// A program at a hook, in the order in which the kernel runs them.
#[derive(Clone, Copy)]
struct Attached {
    program: u32,
    link: Option<u32>,
    filter: Option<FilterId>,
    mode: Option<Mode>,
}

/// A chain of ours at a hook: its program, and what holds it.
#[derive(Clone, Copy)]
struct Ours {
    program: u32,
    hold: Hold,
    /// Whether the kernel runs it.
    attachment: Attachment,
    /// Whether what holds it is pinned, as far as it can be.
    pinned: bool,
}

impl Ours {
    fn by_link(link: &LinkInfo, pinned: bool) -> Self {
        let attachment = if link.target == 0 { Attachment::Detached } else { Attachment::Attached };
        Self { program: link.program_id, hold: Hold::Link(LinkId(link.id)), attachment, pinned }
    }

    fn is(&self, attached: &Attached) -> bool {
        match self.hold {
            Hold::Link(_) => attached.filter.is_none() && attached.program == self.program,
            Hold::Filter(filter) => attached.filter == Some(filter),
        }
    }
}

impl Observer<'_> {
    fn point(
        &mut self,
        point: &HookPoint,
        pinned: Option<&LinkInfo>,
        asked: Option<&Interface>,
        kept: Option<Kept<'_>>,
    ) -> Result<LivePoint, KernelError> {
        let attached = self.attached(point);
        let link = match pinned {
            Some(link) => Some(link.clone()),
            None => self.unpinned(&attached, asked.is_some(), kept.as_ref().map(|kept| kept.id))?,
        };
        let filter = self.filter(&attached, asked.is_some(), kept.as_ref().map(|kept| kept.id))?;
        let found: Vec<Ours> = link.iter().map(|link| Ours::by_link(link, pinned.is_some())).chain(filter).collect();
        let mut chains = Vec::new();
        for ours in &found {
            // Both pins or none: a record of another program there is a run's that was killed.
            let of = self.programs.see(ours.program)?.map(|seen| seen.info.maps.clone()).unwrap_or_default();
            let recorded = of.is_empty() || kept.as_ref().is_some_and(|kept| of.contains(&kept.id));
            let before = attached.iter().take_while(|one| !ours.is(one));
            let after = before.filter(|one| !found.iter().any(|ours| ours.is(one))).count();
            let at = attached.iter().find(|one| ours.is(one));
            let chain = self.chain(point, Ours { pinned: ours.pinned && recorded, ..*ours }, at)?;
            chains.push(LiveChain { after: if at.is_some() { after } else { 0 }, ..chain });
        }
        let mut others = Vec::new();
        for one in &attached {
            if !found.iter().any(|ours| ours.is(one)) {
                others.extend(self.other(*one)?);
            }
        }
        let mut chains = chains.into_iter();
        let (ours, twin) = (chains.next(), chains.next());
        let told = kept.filter(|_| ours.is_none()).map(|kept| (kept.record(), kept.pin));
        let record = ours.as_ref().map(|chain| &chain.record).or(told.as_ref().map(|(record, _)| record));
        let record = record.and_then(LiveRecord::read);
        let (interface, presence) = self.interface(point, asked, record, link.as_ref());
        let place = self.places.get(&point.namespace);
        let revision = match self.cgroups.get(&point.namespace).filter(|_| point.hook.is_cgroup()) {
            Some(cgroup) => cgroup.hooks.get(&point.hook).and_then(|(at, _)| *at),
            None => place.and_then(|place| place.tcx.get(point)).map(|(at, _)| *at),
        };
        let filters = place.and_then(|place| place.filters.get(point)).map(|listing| listing.filters(point.hook));
        let lost = told.map(|(record, pin)| LostChain { record, pin });
        Ok(LivePoint { interface, presence, ours, twin, lost, others, revision, filters })
    }

    /// Who is at the hook.
    fn attached(&self, point: &HookPoint) -> Vec<Attached> {
        if let Hook::Cgroup(hook) = point.hook {
            let programs = self.cgroups.get(&point.namespace).and_then(|cgroup| cgroup.hooks.get(&point.hook));
            let programs = programs.map(|(_, programs)| programs.as_slice()).unwrap_or_default();
            // The query tells no links, so each is found by what it holds.
            let held = |program: u32| {
                self.links.values().find(|link| {
                    (link.link_type, link.target, link.attach_type, link.program_id)
                        == (sys::LINK_TYPE_CGROUP, point.namespace, hook.attach_type(), program)
                })
            };
            return programs
                .iter()
                .map(|id| Attached { program: *id, link: held(*id).map(|link| link.id), filter: None, mode: None })
                .collect();
        }
        let Some(place) = self.places.get(&point.namespace) else { return Vec::new() };
        if point.hook != Hook::Xdp {
            let entries = place.tcx.get(point).map(|(_, entries)| entries.as_slice()).unwrap_or_default();
            let link = |id: u32| (id != 0).then_some(id);
            let links = entries.iter().map(|entry| Attached {
                program: entry.program_id,
                link: link(entry.link_id),
                filter: None,
                mode: None,
            });
            // tcx runs before all filters (`sch_handle_ingress`, `sch_handle_egress`).
            let filters = place.filters.get(point).into_iter().flat_map(Listing::programs);
            let filters =
                filters.map(|(filter, program)| Attached { program, link: None, filter: Some(filter), mode: None });
            return links.chain(filters).collect();
        }
        let Some(interface) = place.interfaces.get(&point.index) else { return Vec::new() };
        let slots = [
            (interface.offloaded, None),
            (interface.native, Some(Mode::Native)),
            (interface.generic, Some(Mode::Generic)),
        ];
        slots
            .into_iter()
            .filter_map(|(program, mode)| {
                let program = program?;
                let held = |link: &&LinkInfo| {
                    link.link_type == sys::LINK_TYPE_XDP
                        && link.program_id == program
                        && link.target == u64::from(point.index)
                };
                let link = self.links.values().find(held).map(|link| link.id);
                Some(Attached { program, link, filter: None, mode })
            })
            .collect()
    }

    /// The set's own link among those who are at a hook, where none is pinned for it: its program is bound to the
    /// record map `kept`, or, if the caller `asked`, to any that names the set.
    fn unpinned(
        &mut self,
        attached: &[Attached],
        asked: bool,
        kept: Option<u32>,
    ) -> Result<Option<LinkInfo>, KernelError> {
        for one in attached {
            let Some(link) = one.link.and_then(|id| self.links.get(&id)) else { continue };
            let is_ours = |seen: &Seen| {
                asked && set_of(seen) == Some(self.set) || kept.is_some_and(|kept| seen.info.maps.contains(&kept))
            };
            if self.programs.see(one.program)?.is_some_and(is_ours) {
                return Ok(Some(link.clone()));
            }
        }
        Ok(None)
    }

    /// The set's own filter among those who are at a hook: its program is bound to the record map `kept`, or, where
    /// the caller `asked` or a record is kept, to any that names the set.
    ///
    /// A filter has no pin of its own, so the record's stands for it, whichever chain's it is: a run may have been
    /// killed between moving that and changing the filter.
    fn filter(&mut self, attached: &[Attached], asked: bool, kept: Option<u32>) -> Result<Option<Ours>, KernelError> {
        for one in attached {
            let Some(filter) = one.filter.filter(|filter| filter.priority == FilterId::PRIORITY) else { continue };
            let is_ours = |seen: &Seen| {
                (asked || kept.is_some()) && set_of(seen) == Some(self.set)
                    || kept.is_some_and(|kept| seen.info.maps.contains(&kept))
            };
            if self.programs.see(one.program)?.is_some_and(is_ours) {
                return Ok(Some(Ours {
                    program: one.program,
                    hold: Hold::Filter(filter),
                    attachment: Attachment::Attached,
                    pinned: true,
                }));
            }
        }
        Ok(None)
    }

    fn chain(&mut self, point: &HookPoint, ours: Ours, at: Option<&Attached>) -> Result<LiveChain, KernelError> {
        let seen = self.programs.see(ours.program)?;
        let (record, maps) = match seen.map(|seen| (&seen.record, &seen.info.maps)) {
            Some((Some(Ok(stored)), used)) => {
                (LiveRecord::Read(Box::new(stored.record.clone())), self.maps.used(stored, used)?)
            }
            Some((Some(Err(error)), _)) => (LiveRecord::Unreadable(error.to_string()), BTreeMap::new()),
            Some((None, _)) => (LiveRecord::Unreadable("its program has none".to_owned()), BTreeMap::new()),
            None => (LiveRecord::Unreadable("its program is gone".to_owned()), BTreeMap::new()),
        };
        let recorded = record.read().map(|record| record.mode).unwrap_or_default();
        let seen_mode = at.and_then(|one| one.mode);
        Ok(LiveChain {
            hold: ours.hold,
            program: ProgramId(ours.program),
            record,
            attachment: ours.attachment,
            pin: if ours.pinned { Pin::Pinned } else { Pin::Gone },
            mode: if point.hook == Hook::Xdp { seen_mode.unwrap_or(recorded) } else { Mode::Native },
            maps,
            after: 0,
        })
    }

    fn other(&mut self, one: Attached) -> Result<Option<OtherProgram>, KernelError> {
        // A program that was replaced since the hook was read isn't there any more.
        let Some(seen) = self.programs.see(one.program)? else { return Ok(None) };
        let owner = match set_of(seen) {
            Some(set) => Owner::Set(set.clone()),
            None => Owner::Foreign(owner::describe(self.bpffs, seen, one.link)),
        };
        Ok(Some(OtherProgram {
            id: ProgramId(one.program),
            name: seen.info.name.clone(),
            owner,
            held_by: match (one.link, one.filter) {
                (Some(id), _) => HeldBy::Link(LinkId(id)),
                (None, Some(filter)) => HeldBy::Filter(filter),
                (None, None) => HeldBy::Netlink,
            },
            mode: one.mode,
        }))
    }

    /// The interface as it is now, or as far as it is known where it is gone or in a namespace that has no name.
    fn interface(
        &self,
        point: &HookPoint,
        asked: Option<&Interface>,
        record: Option<&Record>,
        link: Option<&LinkInfo>,
    ) -> (Interface, Presence) {
        if point.hook.is_cgroup() {
            let here = self.cgroups.get(&point.namespace);
            let path = here.map(|cgroup| cgroup.path.clone());
            let path = path.or_else(|| record.map(|record| PathBuf::from(&record.interface)));
            let path = path.unwrap_or_else(|| PathBuf::from(format!("cgroup {}", point.namespace)));
            // A cgroup that was renamed or is elsewhere in this mount namespace: the link knows whether it is there.
            let there = here.is_some() || link.is_some_and(|link| link.target != 0);
            let presence = if there { Presence::Here } else { Presence::Gone };
            return (Interface::cgroup(point.namespace, &path), presence);
        }
        let place = self.places.get(&point.namespace);
        let here = place.and_then(|place| place.interfaces.get(&point.index));
        let name = here
            .map(|interface| interface.name.clone())
            .or_else(|| record.map(|record| record.interface.clone()))
            .or_else(|| asked.map(|interface| interface.name.clone()))
            .unwrap_or_else(|| format!("interface {}", point.index));
        let namespace = match (asked, place) {
            (Some(interface), _) => interface.namespace.clone(),
            (None, Some(place)) => place.namespace.clone(),
            (None, None) => Namespace { inode: point.namespace, path: None },
        };
        let presence = match (place, here) {
            (Some(_), Some(_)) => Presence::Here,
            // Nobody could look; the link knows.
            (None, _) if link.is_some_and(|link| link.target != 0) => Presence::Here,
            _ => Presence::Gone,
        };
        (Interface { namespace, index: point.index, name }, presence)
    }
}
