//! The steps for chains by clsact, where the kernel compares nothing.
//!
//! Each step looks at the hook's filters directly before it changes one and directly after.
//! What isn't as the plan saw it is a lost race, and nothing is done. What somebody changes in
//! the instant between the look and the change is overwritten if it is in our own filter,
//! and not touched elsewhere: every change names our priority and handle.
//!
//! A filter has no pin. Its record's pin stands for it, and comes before it and goes after
//! it, so that a run that is killed leaves a record without a filter and never the other way round.

use std::{io, path::Path};

use bpfkit_schemas::hook::Hook;

use super::{LinuxProgram, open_netns};
use crate::{
    execute::Detached,
    kernel::{
        LinuxKernel, bpffs,
        clsact::{self, Change, Listing},
        error::{KernelError, Spot},
        netns::Netns,
        observe,
        sys::{self, Map, Object, Program},
    },
    live::{FilterId, HookPoint, Interface, Revision},
    record::QdiscBy,
};

/// The name that filters have in `tc filter show`.
const NAME: &str = "bpfkit";

impl LinuxKernel {
    pub(super) fn attach_filter(
        &mut self,
        interface: &Interface,
        hook: Hook,
        filter: FilterId,
        program: &LinuxProgram,
        expect: Option<Revision>,
    ) -> Result<(), KernelError> {
        let (point, netns) = (HookPoint::of(interface, hook), open_netns(interface, hook)?);
        let found = look(&netns, interface, hook)?;
        if expect.is_some_and(|expect| expect != found.revision()) {
            return Err(changed(interface, hook, "its filters are others than when the plan was made"));
        }
        let before = self.pin_record(&point, program.record.as_ref())?;
        let attached = netns.run(|| Ok(attach(interface.index, hook, filter, program, &found)));
        match attached {
            Ok(Ok(())) => Ok(()),
            // The filter may be there: its record stays pinned, and the next run finds it.
            Ok(Err(NotAttached::Perhaps(source))) => Err(refused(interface, hook, source)),
            Ok(Err(NotAttached::Surely(source))) => {
                self.unpin_record(&point, before);
                Err(refused(interface, hook, source))
            }
            Err(error) => {
                self.unpin_record(&point, before);
                Err(error)
            }
        }
    }

    pub(super) fn replace_filter(
        &mut self,
        interface: &Interface,
        hook: Hook,
        filter: FilterId,
        from: &LinuxProgram,
        to: &LinuxProgram,
    ) -> Result<(), KernelError> {
        let (point, netns) = (HookPoint::of(interface, hook), open_netns(interface, hook)?);
        if look(&netns, interface, hook)?.program(filter) != Some(id_of(&from.program)?) {
            return Err(changed(interface, hook, "its filter has another program now"));
        }
        let after = id_of(&to.program)?;
        let put = |program: &Program| {
            netns.run(|| Ok(clsact::put(interface.index, hook, filter, program, NAME, Change::Replace)))
        };
        put(&to.program)?.map_err(|source| match source.raw_os_error() {
            // EINVAL: the qdisc is gone.
            Some(libc::ENOENT | libc::EINVAL | libc::ENODEV) => {
                KernelError::Changed { what: spot(interface, hook).to_string(), source }
            }
            _ => KernelError::call(format!("replacing the filter of {}", spot(interface, hook)), source),
        })?;
        let found = look(&netns, interface, hook).inspect_err(|_| {
            // Nobody knows whose it is now; a second look may tell.
            if look(&netns, interface, hook).is_ok_and(|found| found.program(filter) == Some(after)) {
                let _ = put(&from.program);
            }
        })?;
        if found.program(filter) != Some(after) {
            return Err(changed(interface, hook, "somebody changed the filter at the same time"));
        }
        if let Err(error) = self.pin_record(&point, to.record.as_ref()) {
            let _ = put(&from.program);
            return Err(error);
        }
        Ok(())
    }

    pub(super) fn pin_filter(
        &mut self,
        interface: &Interface,
        hook: Hook,
        filter: FilterId,
    ) -> Result<(), KernelError> {
        let found = look(&open_netns(interface, hook)?, interface, hook)?.program(filter);
        let Some(program) = found.and_then(|id| sys::prog_by_id(id).ok()) else {
            return Err(changed(interface, hook, "its filter is gone"));
        };
        self.pin_record(&HookPoint::of(interface, hook), observe::record_of(&program).as_ref()).map(drop)
    }

    pub(super) fn detach_filter(
        &mut self,
        interface: &Interface,
        hook: Hook,
        filter: FilterId,
    ) -> Result<Detached<KernelError>, KernelError> {
        let netns = open_netns(interface, hook)?;
        let found = look(&netns, interface, hook)?;
        let mut made = None;
        if let Some(id) = found.program(filter) {
            let record = observe::recorded(id);
            if record.as_ref().map(|record| &record.set) != Some(&self.set) {
                return Err(changed(interface, hook, "its filter is somebody else's now"));
            }
            made = record.and_then(|record| record.clsact);
            let removed = netns.run(|| Ok(clsact::remove(interface.index, hook, filter)))?;
            removed.map_err(|source| {
                KernelError::call(format!("removing the filter of {}", spot(interface, hook)), source)
            })?;
        }
        Ok(Detached::tidied(self.tidy_filter(&netns, interface, hook, made)))
    }

    /// Removes what a filter of ours leaves: the qdisc if we made it, and then the record that says so.
    fn tidy_filter(
        &self,
        netns: &Netns,
        interface: &Interface,
        hook: Hook,
        made: Option<QdiscBy>,
    ) -> Result<(), KernelError> {
        if made == Some(QdiscBy::Set) {
            remove_qdisc(netns, interface.index)?;
        }
        let point = HookPoint::of(interface, hook);
        if self.record_of_link(&point)? { Ok(()) } else { self.directory.unpin(&self.directory.record(&point)) }
    }

    /// The record of the set's filter at a tc hook, where there is one and a record is pinned.
    pub(super) fn record_of_filter(&self, interface: &Interface, hook: Hook) -> Result<Option<Map>, KernelError> {
        let pinned = self.directory.record(&HookPoint::of(interface, hook));
        if !hook.is_tc() || bpffs::open(&pinned)?.is_none() {
            return Ok(None);
        }
        let Ok(netns) = open_netns(interface, hook) else { return Ok(None) };
        let found = look(&netns, interface, hook)?;
        let ours = found.programs().filter(|(filter, _)| filter.priority == FilterId::PRIORITY);
        let records = ours.filter_map(|(_, id)| observe::record_of(&sys::prog_by_id(id).ok()?));
        let is_ours = |map: &Map| observe::read_record(map).is_some_and(|record| record.set == self.set);
        Ok(records.into_iter().find(is_ours))
    }

    /// Whether the record that is pinned for a hook is that of the link that is pinned beside it.
    fn record_of_link(&self, point: &HookPoint) -> Result<bool, KernelError> {
        let Some(Object::Map(record)) = bpffs::open(&self.directory.record(point))? else { return Ok(false) };
        let Some(Object::Link(link)) = bpffs::open(&self.directory.link(point))? else { return Ok(false) };
        let info = sys::link_info(&link).map_err(|source| KernelError::call("reading a pinned link", source))?;
        Ok(uses(info.program_id, map_id(&record)?))
    }
}

/// Takes the qdisc away that a lost chain's record says was the set's, if nothing is on it.
pub(super) fn sweep_qdisc(point: &HookPoint, record: &Path) -> Result<(), KernelError> {
    let Some(Object::Map(map)) = bpffs::open(record)? else { return Ok(()) };
    if observe::read_record(&map).is_none_or(|record| record.clsact != Some(QdiscBy::Set)) {
        return Ok(());
    }
    match observe::namespace(point.namespace)? {
        Some(netns) => remove_qdisc(&netns, point.index),
        None => Ok(()),
    }
}

fn refused(interface: &Interface, hook: Hook, source: io::Error) -> KernelError {
    let spot = spot(interface, hook);
    match source.raw_os_error() {
        Some(libc::EEXIST | libc::ESTALE) => KernelError::Changed { what: spot.to_string(), source },
        Some(libc::ENODEV) => KernelError::InterfaceGone { spot, source },
        Some(libc::ENOENT | libc::EOPNOTSUPP) => {
            KernelError::Unsupported { what: format!("`{hook}`: no clsact qdisc, or no cls_bpf filters"), source }
        }
        _ => KernelError::call(format!("attaching a filter to {spot}"), source),
    }
}

/// Why a filter was not attached, and whether that is known.
enum NotAttached {
    Surely(io::Error),
    /// It could not be looked, or not be taken away again.
    Perhaps(io::Error),
}

/// Makes the qdisc if there was none, then the filter, and sees to it that it is there. Takes back what it did.
fn attach(
    ifindex: u32,
    hook: Hook,
    filter: FilterId,
    program: &LinuxProgram,
    found: &Listing,
) -> Result<(), NotAttached> {
    let id = sys::program_info(&program.program).map_err(NotAttached::Surely)?.id;
    let made = found.qdisc.is_none();
    if made {
        clsact::make_qdisc(ifindex).map_err(NotAttached::Surely)?;
    }
    let is_there = || clsact::list(ifindex, hook).map(|found| found.program(filter) == Some(id));
    let attached = clsact::put(ifindex, hook, filter, &program.program, NAME, Change::New);
    let failed = match attached.and_then(|()| is_there()) {
        Ok(true) => return Ok(()),
        Ok(false) => io::Error::from_raw_os_error(libc::ESTALE),
        // It was there before us. No qdisc was made then.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => return Err(NotAttached::Surely(error)),
        Err(error) => error,
    };
    let removed = is_there().and_then(|there| if there { clsact::remove(ifindex, hook, filter) } else { Ok(()) });
    if removed.is_err() {
        return Err(NotAttached::Perhaps(failed));
    }
    if made {
        let _ = clsact::remove_empty_qdisc(ifindex);
    }
    Err(NotAttached::Surely(failed))
}

fn look(netns: &Netns, interface: &Interface, hook: Hook) -> Result<Listing, KernelError> {
    netns.run(|| {
        clsact::list(interface.index, hook)
            .map_err(|source| KernelError::call(format!("listing the filters of {}", spot(interface, hook)), source))
    })
}

fn remove_qdisc(netns: &Netns, ifindex: u32) -> Result<(), KernelError> {
    netns.run(|| {
        clsact::remove_empty_qdisc(ifindex)
            .map_err(|source| KernelError::call(format!("removing the qdisc of interface {ifindex}"), source))
    })
}

fn spot(interface: &Interface, hook: Hook) -> Spot {
    Spot { hook, interface: interface.name.clone() }
}

fn changed(interface: &Interface, hook: Hook, how: &str) -> KernelError {
    KernelError::Changed { what: spot(interface, hook).to_string(), source: io::Error::other(how.to_owned()) }
}

fn id_of(program: &Program) -> Result<u32, KernelError> {
    sys::program_info(program).map(|info| info.id).map_err(|source| KernelError::call("reading a program", source))
}

fn map_id(map: &Map) -> Result<u32, KernelError> {
    sys::map_info(map).map(|info| info.id).map_err(|source| KernelError::call("reading a pinned record", source))
}

/// Whether a program is bound to a map.
fn uses(program: u32, map: u32) -> bool {
    sys::prog_by_id(program).and_then(|program| sys::program_info(&program)).is_ok_and(|info| info.maps.contains(&map))
}
