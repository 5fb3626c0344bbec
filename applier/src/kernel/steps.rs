//! The steps of a plan, done: [`Kernel`] for Linux.
//!
//! Each method makes the kernel compare: the old program of a link, the revision
//! of a tcx hook, the emptiness of an XDP hook. Filters can't be compared; [`filter`] looks. Where a step is more than one call and
//! a later one fails, the earlier ones are taken back before the error is returned.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Component, Path, PathBuf},
};

use bpfkit_schemas::hook::{Hook, Mode};

mod filter;

use super::{
    LinuxKernel, bpffs,
    cgroup::Cgroup,
    data_map,
    error::{KernelError, Spot},
    load::{self, Loaded},
    netns::Netns,
    observe::{self, tcx_attach_type},
    sys::{self, EntryTypes, Link, LinkSpec, Map, MapSpec, Object, Program},
};
use crate::{
    execute::{Detached, Kernel},
    fuse::{Entries, Linker},
    live::{
        By, Hold, HookPoint, Interface, LinkId, Litter, MapId, MapKey, MapShape, Owner, ProgramId, Record, Revision,
    },
};

/// An open map.
#[derive(Debug)]
pub struct LinuxMap(Map);

/// An open program, with the record that is bound to it.
#[derive(Debug)]
pub struct LinuxProgram {
    program: Program,
    /// None for a program that isn't ours.
    record: Option<Map>,
    /// What messages call it.
    name: String,
}

#[cfg(test)]
impl LinuxProgram {
    pub(super) fn of(loaded: Loaded, name: &str) -> Self {
        Self { program: loaded.program, record: Some(loaded.record), name: name.to_owned() }
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }
}

impl Kernel for LinuxKernel {
    type Bundle = Linker;
    type Program = LinuxProgram;
    type Map = LinuxMap;
    type Error = KernelError;

    fn open_map(&mut self, id: MapId) -> Result<LinuxMap, KernelError> {
        match sys::map_by_id(id.0) {
            Ok(map) => Ok(LinuxMap(map)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(KernelError::Changed { what: format!("map {id}"), source })
            }
            Err(source) => Err(KernelError::call(format!("opening map {id}"), source)),
        }
    }

    fn create_map(&mut self, bundle: &Linker, key: &MapKey, shape: &MapShape) -> Result<LinuxMap, KernelError> {
        let failed = |source| KernelError::call(format!("creating the map `{key}` ({shape})"), source);
        let name = match &shape.layout {
            Some(layout) if key.is_data() => data_map::name(key.name(), layout),
            _ => key.name().to_owned(),
        };
        let spec = MapSpec {
            map_type: shape.map_type,
            key_size: shape.key_size,
            value_size: shape.value_size,
            max_entries: shape.max_entries,
            flags: shape.flags,
            name: &name,
            entries: None,
        };
        let types = bundle.entries(key, shape).map_err(|problems| unfusable(key, problems))?;
        let map = typed_map(&spec, types).map_err(failed)?;
        if let (true, MapKey::Private(program, section)) = (key.is_data(), key) {
            let image = bundle.image(program, section).map_err(|problems| unfusable(key, problems))?;
            let image = image.ok_or_else(|| failed(io::Error::other("the object has no such section")))?;
            if image.iter().any(|byte| *byte != 0) {
                sys::array_update(&map, 0, &image).map_err(failed)?;
            }
        }
        Ok(LinuxMap(map))
    }

    fn pin_map(&mut self, key: &MapKey, map: &LinuxMap) -> Result<(), KernelError> {
        self.directory.pin(&map.0, &self.directory.map(key))
    }

    fn unpin_map(&mut self, key: &MapKey) -> Result<(), KernelError> {
        self.directory.unpin(&self.directory.map(key))
    }

    fn load(
        &mut self,
        bundle: &Linker,
        record: &Record,
        maps: &BTreeMap<MapKey, LinuxMap>,
    ) -> Result<LinuxProgram, KernelError> {
        let spot = Spot { hook: record.hook, interface: record.interface.clone() };
        let chain = bundle
            .fuse(record)
            .map_err(|problems| KernelError::Unfusable { what: format!("the chain for {spot}"), problems })?;
        let maps = maps.iter().map(|(key, map)| (key.clone(), &map.0)).collect();
        let Loaded { program, record } = load::load(&chain, record, &maps, &self.places.run)?;
        Ok(LinuxProgram { program, record: Some(record), name: spot.to_string() })
    }

    fn hold(&mut self, id: ProgramId) -> Result<LinuxProgram, KernelError> {
        let name = format!("program {id}");
        match sys::prog_by_id(id.0) {
            Ok(program) => Ok(LinuxProgram { record: observe::record_of(&program), program, name }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Err(KernelError::Changed { what: name, source }),
            Err(source) => Err(KernelError::call(format!("opening {name}"), source)),
        }
    }

    fn attach(
        &mut self,
        interface: &Interface,
        hook: Hook,
        by: By,
        program: &LinuxProgram,
        expect: Option<Revision>,
    ) -> Result<Hold, KernelError> {
        match by {
            By::Link(mode) => self.attach_link(interface, hook, mode, program, expect).map(Hold::Link),
            By::Filter(filter) => {
                self.attach_filter(interface, hook, filter, program, expect)?;
                Ok(Hold::Filter(filter))
            }
        }
    }

    fn replace(
        &mut self,
        interface: &Interface,
        hook: Hook,
        hold: Hold,
        from: &LinuxProgram,
        to: &LinuxProgram,
    ) -> Result<(), KernelError> {
        match hold {
            Hold::Link(link) => self.replace_link(link, from, to),
            Hold::Filter(filter) => self.replace_filter(interface, hook, filter, from, to),
        }
    }

    fn pin(&mut self, interface: &Interface, hook: Hook, hold: Hold) -> Result<(), KernelError> {
        match hold {
            Hold::Link(link) => self.pin_link(&HookPoint::of(interface, hook), link),
            Hold::Filter(filter) => self.pin_filter(interface, hook, filter),
        }
    }

    fn detach(&mut self, interface: &Interface, hook: Hook, hold: Hold) -> Result<Detached<KernelError>, KernelError> {
        match hold {
            Hold::Link(link) => self.detach_link(interface, hook, link),
            Hold::Filter(filter) => self.detach_filter(interface, hook, filter),
        }
    }

    fn sweep(&mut self, litter: &Litter) -> Result<(), KernelError> {
        let path = self.directory.path().join(&litter.path);
        if !litter.path.components().all(|part| matches!(part, Component::Normal(_))) {
            let source = io::Error::other("it leads out of the set's directory");
            return Err(KernelError::Pin { doing: "removing", path, source });
        }
        if let Ok(name) = litter.path.strip_prefix("records") {
            // A record without a link has one again if its chain was attached since.
            if self.directory.path().join("links").join(name).exists() {
                return Ok(());
            }
            if let Some(point) = name.to_str().and_then(bpffs::read_point) {
                filter::sweep_qdisc(&point, &path)?;
            }
        }
        self.directory.unpin(&path)
    }
}

impl LinuxKernel {
    fn attach_link(
        &mut self,
        interface: &Interface,
        hook: Hook,
        mode: Mode,
        program: &LinuxProgram,
        expect: Option<Revision>,
    ) -> Result<LinkId, KernelError> {
        let created = if let Hook::Cgroup(at) = hook {
            let cgroup = open_cgroup(interface, hook)?;
            let spec = LinkSpec {
                target: cgroup.directory.as_fd().as_raw_fd().cast_unsigned(),
                attach_type: at.attach_type(),
                flags: 0,
                expected_revision: expect.map_or(0, |revision| revision.0),
            };
            sys::link_create(&program.program, &spec)
        } else {
            let spec = link_spec(interface, hook, mode, expect);
            open_netns(interface, hook)?.run(|| Ok(sys::link_create(&program.program, &spec)))?
        };
        let link = created.map_err(|source| self.refused(interface, hook, mode, source))?;
        let point = HookPoint::of(interface, hook);
        let pinned = self.pin_both(&point, &link, program.record.as_ref());
        if let Err(error) = pinned {
            // Closing the link would do; this says when.
            let _ = sys::link_detach(&link);
            return Err(error);
        }
        let id = id_of(&link)?;
        self.links.insert(id, self.directory.record(&point));
        Ok(id)
    }

    fn replace_link(&mut self, link: LinkId, from: &LinuxProgram, to: &LinuxProgram) -> Result<(), KernelError> {
        let opened = open_link(link)?;
        sys::link_update(&opened, &to.program, &from.program).map_err(|source| match source.raw_os_error() {
            // Another program is there (EPERM of BPF_F_REPLACE), or the link was detached.
            Some(libc::EPERM | libc::ENOLINK | libc::ESTALE) => KernelError::Changed { what: to.name.clone(), source },
            _ => KernelError::call(format!("replacing the program of {}", to.name), source),
        })?;
        let (Some(record), Some(path)) = (&to.record, self.record_path(link)?) else { return Ok(()) };
        self.directory.pin(record, &path).inspect_err(|_| {
            let _ = sys::link_update(&opened, &from.program, &to.program);
        })
    }

    fn pin_link(&mut self, point: &HookPoint, link: LinkId) -> Result<(), KernelError> {
        let opened = open_link(link)?;
        let info =
            sys::link_info(&opened).map_err(|source| KernelError::call(format!("reading link {link}"), source))?;
        let record = sys::prog_by_id(info.program_id).ok().and_then(|program| observe::record_of(&program));
        self.pin_both(point, &opened, record.as_ref())?;
        self.links.insert(link, self.directory.record(point));
        Ok(())
    }

    fn detach_link(
        &mut self,
        interface: &Interface,
        hook: Hook,
        link: LinkId,
    ) -> Result<Detached<KernelError>, KernelError> {
        let point = HookPoint::of(interface, hook);
        let path = self.directory.link(&point);
        if let Some(Object::Link(pinned)) = bpffs::open(&path)?
            && id_of(&pinned)? != link
        {
            let source = io::Error::other(format!("`{}` is another link now", path.display()));
            return Err(KernelError::Changed { what: format!("link {link}"), source });
        }
        match sys::link_by_id(link.0) {
            Ok(opened) => sys::link_detach(&opened)
                .map_err(|source| KernelError::call(format!("detaching link {link}"), source))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KernelError::call(format!("opening link {link}"), source)),
        }
        self.links.remove(&link);
        Ok(Detached::tidied(self.tidy_link(interface, hook)))
    }

    /// Removes the pins of a link that holds nothing any more.
    fn tidy_link(&self, interface: &Interface, hook: Hook) -> Result<(), KernelError> {
        let point = HookPoint::of(interface, hook);
        // The record first: one that stays alone says that somebody else removed the link.
        let record = self.directory.record(&point);
        if let Some(of_filter) = self.record_of_filter(interface, hook)? {
            // A link that is put back had pinned its own record over that of the filter, which stays.
            self.directory.pin(&of_filter, &record)?;
        } else {
            filter::sweep_qdisc(&point, &record)?;
            self.directory.unpin(&record)?;
        }
        self.directory.unpin(&self.directory.link(&point))
    }

    /// Pins a program's record and, beside it, the link that holds the program.
    ///
    /// In this order: a run that is killed in between leaves a record without a link, which the next one
    /// finds. A link without its record would look complete for ever.
    fn pin_both(&self, point: &HookPoint, link: &Link, record: Option<&Map>) -> Result<(), KernelError> {
        // What is pinned may be the record of a filter that is gone, or that a killed run never came to.
        filter::sweep_qdisc(point, &self.directory.record(point))?;
        let before = self.pin_record(point, record)?;
        self.directory.pin_link(link, &self.directory.link(point)).inspect_err(|_| self.unpin_record(point, before))
    }

    /// Pins a record, and hands over the one that was pinned there.
    fn pin_record(&self, point: &HookPoint, record: Option<&Map>) -> Result<Option<Map>, KernelError> {
        let path = self.directory.record(point);
        let before = match bpffs::open(&path)? {
            Some(Object::Map(map)) => Some(map),
            _ => None,
        };
        if let Some(record) = record {
            self.directory.pin(record, &path)?;
        }
        Ok(before)
    }

    /// Takes [`Self::pin_record`] back.
    fn unpin_record(&self, point: &HookPoint, before: Option<Map>) {
        let path = self.directory.record(point);
        let _ = match before {
            Some(before) => self.directory.pin(&before, &path),
            None => self.directory.unpin(&path),
        };
    }

    /// Where the record of a link's program is pinned; `None` where the link itself isn't.
    fn record_path(&mut self, link: LinkId) -> Result<Option<PathBuf>, KernelError> {
        if let Some(path) = self.links.get(&link) {
            return Ok(Some(path.clone()));
        }
        for (name, path) in observe::entries(&self.directory.path().join("links"))? {
            if let Some(point) = bpffs::read_point(&name)
                && let Some(Object::Link(pinned)) = bpffs::open(&path)?
            {
                self.links.insert(id_of(&pinned)?, self.directory.record(&point));
            }
        }
        Ok(self.links.get(&link).cloned())
    }

    /// What a refused link means.
    fn refused(&self, interface: &Interface, hook: Hook, mode: Mode, source: io::Error) -> KernelError {
        let spot = Spot { hook, interface: interface.name.clone() };
        match source.raw_os_error() {
            // An XDP link to an index that nobody has any more is refused as nonsense (`bpf_xdp_link_attach`, 6.18).
            Some(libc::EINVAL) if is_gone(interface) => KernelError::InterfaceGone { spot, source },
            Some(libc::EBUSY | libc::EEXIST) => KernelError::Busy { owner: self.owner(interface, hook), spot, source },
            Some(libc::ESTALE) => KernelError::Changed { what: spot.to_string(), source },
            Some(libc::ENODEV) => KernelError::InterfaceGone { spot, source },
            Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ERANGE) if (hook, mode) == (Hook::Xdp, Mode::Native) => {
                KernelError::NoNativeXdp { spot, source }
            }
            Some(libc::EINVAL) if hook.is_tc() => {
                KernelError::Unsupported { what: format!("`{hook}`: tcx came with Linux 6.6"), source }
            }
            _ => KernelError::call(format!("attaching to {spot}"), source),
        }
    }

    /// Who holds a hook, for people.
    fn owner(&self, interface: &Interface, hook: Hook) -> Option<String> {
        let live = self.observe(&[(interface.clone(), hook)]).ok()?;
        let other = live.points.get(&HookPoint::of(interface, hook))?.others.first()?.clone();
        let name = other.name.escape_default();
        Some(match other.owner {
            Owner::Set(set) => format!("the set `{set}` (program `{name}`, id {})", other.id),
            Owner::Foreign(Some(facts)) => format!("program `{name}`, id {}, {facts}", other.id),
            Owner::Foreign(None) => format!("program `{name}`, id {}", other.id),
        })
    }
}

/// Creates a map with the types of its entries, where they are known.
///
/// A kernel that refuses the types (it is older than a kind among them, or a Rust name is no C identifier)
/// makes the map without, as libbpf does: they are for people who look at the map. Values with locks or
/// timers need theirs, and then the kernel's refusal stands.
pub(super) fn typed_map(spec: &MapSpec<'_>, types: Option<Entries>) -> io::Result<Map> {
    let Some(Entries { btf, key, value, special }) = types else { return sys::map_create(spec) };
    let typed = sys::btf_load(&btf).and_then(|types| {
        sys::map_create(&MapSpec { entries: Some(EntryTypes { types: &types, key, value }), ..spec.clone() })
    });
    if special { typed } else { typed.or_else(|_| sys::map_create(spec)) }
}

fn link_spec(interface: &Interface, hook: Hook, mode: Mode, expect: Option<Revision>) -> LinkSpec {
    let (attach_type, flags) = match (tcx_attach_type(hook), mode) {
        (Some(attach_type), _) => (attach_type, sys::F_BEFORE),
        (None, Mode::Native) => (sys::ATTACH_XDP, sys::XDP_DRV_MODE),
        (None, Mode::Generic) => (sys::ATTACH_XDP, sys::XDP_SKB_MODE),
    };
    LinkSpec {
        target: interface.index,
        attach_type,
        flags,
        expected_revision: expect.filter(|_| hook != Hook::Xdp).map_or(0, |revision| revision.0),
    }
}

/// Opens a cgroup, which must still be the one that it was.
fn open_cgroup(interface: &Interface, hook: Hook) -> Result<Cgroup, KernelError> {
    let path = interface.namespace.path.as_deref().unwrap_or(Path::new(""));
    let opened = Cgroup::open(path)?.filter(|cgroup| cgroup.id == interface.namespace.inode);
    opened.ok_or_else(|| {
        let spot = Spot { hook, interface: interface.name.clone() };
        KernelError::Changed {
            what: spot.to_string(),
            source: io::Error::other("its path leads to another cgroup now, or to none"),
        }
    })
}

/// Opens an interface's namespace, which must still be the one that it was.
fn open_netns(interface: &Interface, hook: Hook) -> Result<Netns, KernelError> {
    let netns = Netns::open(interface.namespace.path.as_deref())?;
    if netns.inode() != interface.namespace.inode {
        let source = io::Error::other("its path leads to another network namespace now");
        let spot = Spot { hook, interface: interface.name.clone() };
        return Err(KernelError::Changed { what: spot.to_string(), source });
    }
    Ok(netns)
}

/// Whether the namespace has no interface of that index any more.
fn is_gone(interface: &Interface) -> bool {
    let there = super::namespace(interface.namespace.path.as_deref());
    there.is_ok_and(|facts| !facts.interfaces.contains_key(&interface.index))
}

fn open_link(link: LinkId) -> Result<Link, KernelError> {
    sys::link_by_id(link.0).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KernelError::Changed { what: format!("link {link}"), source },
        _ => KernelError::call(format!("opening link {link}"), source),
    })
}

fn id_of(link: &Link) -> Result<LinkId, KernelError> {
    match sys::link_info(link) {
        Ok(info) => Ok(LinkId(info.id)),
        Err(source) => Err(KernelError::call("reading a link", source)),
    }
}

fn unfusable(key: &MapKey, problems: Vec<crate::fuse::FuseProblem>) -> KernelError {
    KernelError::Unfusable { what: format!("the map `{key}`"), problems }
}
