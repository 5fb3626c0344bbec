//! What is live on a host, as far as one set is concerned: the planner's only view of the kernel.
//!
//! Pure data. [`crate::kernel`] takes it ("observe"), [`crate::plan`] and
//! [`crate::status`] read it, [`crate::model`] keeps one to stand in for a host.
//! Nothing in here is a handle: a value may be printed, compared and thrown away.
//!
//! # What an observer owes
//!
//! 1. Every hook point at which a link or a chain's record is pinned in the set's directory, attached or not.
//! 2. Every hook point that the caller asked for, even where nothing is attached. There a link is
//!    the set's also without a pin, if its program references a record map that names the set.
//! 3. Every pin under the set's directory, as a chain's link, as a map, or as litter.
//!
//! Text that comes from the host (names of foreign programs) is hostile: the
//! observer cuts it to what the kernel allows and the views here escape it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use bpfkit_schemas::{
    hook::{Attach, Hook, Mode},
    names::{Digest, MapName, ProgramName, SetName},
};

pub use crate::record::Record;

/// Declares a number that the kernel gives out and that must not be mistaken for another.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A program's id (`bpf_prog_info.id`). Never given out twice between two boots, until 2^31 are used up.
    ProgramId(u32)
);
id!(
    /// A link's id (`bpf_link_info.id`).
    LinkId(u32)
);
id!(
    /// A map's id (`bpf_map_info.id`).
    MapId(u32)
);
id!(
    /// The revision of a tcx hook (`BPF_PROG_QUERY`, Linux 6.6) or of a cgroup's (6.17): it starts at 1 and grows with every change.
    Revision(u64)
);

/// A filter of a `clsact` qdisc, by the two numbers that `tc` names it by. Unique at one hook alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct FilterId {
    /// Its priority (`pref`), from 1: filters of a lower one run first.
    pub priority: u16,
    /// Its handle among the filters of that priority.
    pub handle: u32,
}

impl FilterId {
    /// The priority of our filters: the first that there is.
    pub const PRIORITY: u16 = 1;

    /// The first handle that a set takes: one that no other tool gives out, and another for nearly each set.
    ///
    /// Tools count handles from 1, and the kernel gives out the lowest that is free.
    pub fn first_of(set: &SetName) -> Self {
        // FNV-1a: the number must be the same on every host and for ever.
        let hash =
            set.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self { priority: Self::PRIORITY, handle: 0x6200_0000 | (hash >> 8) }
    }

    /// The next handle of the same priority.
    #[must_use]
    pub fn next(self) -> Self {
        Self { handle: self.handle.wrapping_add(1).max(1), ..self }
    }
}

/// `filter pref 1 handle 0x62a1b2c3`, as `tc` writes it.
impl fmt::Display for FilterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter pref {} handle {:#x}", self.priority, self.handle)
    }
}

/// What holds a chain of ours at its hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Hold {
    /// A link.
    Link(LinkId),
    /// A filter of the interface's `clsact`.
    Filter(FilterId),
}

impl Hold {
    /// The link, where it is one.
    pub fn link(self) -> Option<LinkId> {
        match self {
            Self::Link(link) => Some(link),
            Self::Filter(_) => None,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => write!(f, "link {link}"),
            Self::Filter(filter) => filter.fmt(f),
        }
    }
}

/// How a chain is to be attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum By {
    /// By a new link: in XDP's mode, first of the tcx list, or last of the cgroup's list.
    Link(Mode),
    /// As this filter, which must not be there yet.
    Filter(FilterId),
}

/// A network namespace: what it is, and one way to get there.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Namespace {
    /// The inode of its nsfs file, which is its identity for as long as it lives.
    pub inode: u64,
    /// The path by which the manifest names it; `None` for the one that we run in.
    pub path: Option<PathBuf>,
}

/// An interface as it is now. The name may change under the index; the index is what links hold on to.
///
/// For the hooks of cgroups, which are of no interface, this is the cgroup: see [`Interface::cgroup`].
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Interface {
    /// The namespace that it is in; for a cgroup, its id and path.
    pub namespace: Namespace,
    /// Its index there, from 1; 0 for a cgroup.
    pub index: u32,
    /// Its name there, now; for an interface that is gone, the last name that we know. For a cgroup, its path.
    pub name: String,
}

impl Interface {
    /// A cgroup, in an interface's place: its id (the inode of its directory), which the kernel gives out once, and
    /// the path by which it is named. No interface has the index 0.
    pub fn cgroup(id: u64, path: &Path) -> Self {
        let namespace = Namespace { inode: id, path: Some(path.to_owned()) };
        Self { namespace, index: 0, name: path.display().to_string() }
    }

    /// Whether it stands for a cgroup.
    pub fn is_cgroup(&self) -> bool {
        self.index == 0
    }
}

/// One hook of one interface or cgroup, by identity: the key of everything that is per hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct HookPoint {
    /// The namespace's inode; the id of a cgroup.
    pub namespace: u64,
    /// The interface's index there; 0 for a cgroup.
    pub index: u32,
    /// The hook.
    pub hook: Hook,
}

impl HookPoint {
    /// The point at which `hook` of `interface` is.
    pub fn of(interface: &Interface, hook: Hook) -> Self {
        Self { namespace: interface.namespace.inode, index: interface.index, hook }
    }
}

/// What is live, of one set and of everybody who shares a hook with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveState {
    /// The set that was asked about.
    pub set: SetName,
    /// Hook points that the set has a link at, or that were asked for.
    pub points: BTreeMap<HookPoint, LivePoint>,
    /// The set's pinned maps.
    pub maps: BTreeMap<MapKey, LiveMap>,
    /// What else lies in the set's directory: leftovers of a run that was killed.
    pub litter: Vec<Litter>,
}

impl LiveState {
    /// A host on which `set` has nothing and nobody was asked about.
    pub fn empty(set: SetName) -> Self {
        Self { set, points: BTreeMap::new(), maps: BTreeMap::new(), litter: Vec::new() }
    }
}

/// One hook point.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LivePoint {
    /// Its interface.
    pub interface: Interface,
    /// Whether the interface is still there.
    pub presence: Presence,
    /// The set's own chain.
    pub ours: Option<LiveChain>,
    /// The set's chain that is attached besides, in the other of tc's two ways: a run was killed between
    /// attaching in one and detaching in the other. A link is [`LivePoint::ours`] then, a filter this.
    pub twin: Option<LiveChain>,
    /// The chain of the set that was here, where there is none now and its record is still pinned: somebody
    /// removed its link. Never beside [`LivePoint::ours`].
    pub lost: Option<LostChain>,
    /// Everybody else who is attached here, in the order in which the kernel runs them.
    pub others: Vec<OtherProgram>,
    /// The hook's revision, where the kernel counts one (tcx, and cgroups on newer kernels).
    pub revision: Option<Revision>,
    /// The filters of the hook; none where it has none (XDP).
    pub filters: Option<Filters>,
}

/// What there is to know of a tc hook's filters before one is added.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filters {
    /// Stands for the list: which filter runs which program, in which order. The kernel counts no revision of it.
    pub revision: Revision,
    /// Whether there is a qdisc for them.
    pub qdisc: Qdisc,
    /// Why a filter of ours can't be first, in a few words: "a `u32` filter has priority 1".
    pub blocked: Option<String>,
}

/// Whether an interface has the qdisc that filters of its tc hooks are attached to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Qdisc {
    /// It has.
    There,
    /// It hasn't: the first filter needs one.
    Missing,
}

/// Whether an interface that a link was made for is still there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Presence {
    /// It is.
    Here,
    /// It was removed, with or without its namespace: the link that is left holds nothing.
    Gone,
}

/// The set's chain at one hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveChain {
    /// What holds it.
    pub hold: Hold,
    /// The fused program behind that.
    pub program: ProgramId,
    /// What the program says about itself.
    pub record: LiveRecord,
    /// Whether the kernel still runs it.
    pub attachment: Attachment,
    /// Whether the pins are there: the link's, where there is one, and the record's.
    pub pin: Pin,
    /// The mode that the link was made in; [`Mode::Native`] on hooks that have none.
    pub mode: Mode,
    /// The maps of the set that the program uses, pinned or not.
    pub maps: BTreeMap<MapKey, LiveMap>,
    /// How many programs of others run before ours at this hook.
    pub after: usize,
}

impl LiveChain {
    /// How it is attached at a tc hook; at XDP there is one way.
    pub fn attach(&self, hook: Hook) -> Option<Attach> {
        hook.is_tc().then_some(match self.hold {
            Hold::Link(_) => Attach::Tcx,
            Hold::Filter(_) => Attach::Clsact,
        })
    }

    /// How it would be attached again.
    pub fn by(&self) -> By {
        match self.hold {
            Hold::Link(_) => By::Link(self.mode),
            Hold::Filter(filter) => By::Filter(filter),
        }
    }
}

/// A chain whose link or filter is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LostChain {
    /// What it was.
    pub record: LiveRecord,
    /// The record's pin. A new chain at the hook takes it over.
    pub pin: Litter,
}

impl LostChain {
    /// Whether it was attached as a filter, as far as its record can be read.
    pub fn was_filter(&self) -> bool {
        self.record.read().is_some_and(|record| record.clsact.is_some())
    }
}

/// Whether the kernel still runs what a link holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Attachment {
    /// It does.
    Attached,
    /// Somebody detached the link (`BPF_LINK_DETACH`), or its interface is gone. It can't be attached again.
    Detached,
}

/// Whether something has its pin in bpffs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Pin {
    /// It has.
    Pinned,
    /// It hasn't: somebody removed the file, and the object lives on another reference only.
    Gone,
}

/// A live chain's record, or why there is none to be had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LiveRecord {
    /// The record.
    Read(Box<Record>),
    /// The record map is missing, damaged, or of a version that this bpfkit doesn't know; in a few words.
    Unreadable(String),
}

impl LiveRecord {
    /// The record, where it could be read.
    pub fn read(&self) -> Option<&Record> {
        match self {
            Self::Read(record) => Some(record),
            Self::Unreadable(_) => None,
        }
    }
}

/// A program at one of our hooks that isn't this set's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OtherProgram {
    /// Its id.
    pub id: ProgramId,
    /// The kernel's name for it, at most 15 characters; may be empty.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What holds it there.
    pub held_by: HeldBy,
    /// The mode, for XDP.
    pub mode: Option<Mode>,
}

/// Whose program it is.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Owner {
    /// Another bpfkit set's.
    Set(SetName),
    /// A stranger's, with what can be said about it: a pin path, "libxdp dispatcher", "uid 0".
    Foreign(Option<String>),
}

/// What holds a program at a hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum HeldBy {
    /// A `bpf_link`.
    Link(LinkId),
    /// A filter of `clsact`.
    Filter(FilterId),
    /// A netlink attachment (`ip link set … xdp`) or `BPF_PROG_ATTACH`: nobody's file descriptor keeps it.
    Netlink,
}

/// Which map of a set: the part of a pin's path that means something.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum MapKey {
    /// Shared by all programs that declare it: `maps/<name>`.
    Shared(MapName),
    /// One program's own: `programs/<program>/<map>`. `.data` and `.bss` are here too, by their section's
    /// name; how bpffs, which allows no dots, spells them is the kernel module's affair.
    Private(ProgramName, String),
}

impl MapKey {
    /// The name that the object gives the map.
    pub fn name(&self) -> &str {
        match self {
            Self::Shared(name) => name.as_str(),
            Self::Private(_, name) => name,
        }
    }

    /// Whether it holds global variables (`.data`, `.bss` and their named parts) and not entries.
    pub fn is_data(&self) -> bool {
        self.name().starts_with('.')
    }
}

/// `blocklist` for a shared map, `meter/counts` for a private one.
impl fmt::Display for MapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(name) => fmt::Display::fmt(name, f),
            Self::Private(program, name) => write!(f, "{program}/{name}"),
        }
    }
}

/// What must agree before a map can be used again.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct MapShape {
    /// The kernel's map type (`enum bpf_map_type`).
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// The number of entries.
    pub max_entries: u32,
    /// `BPF_F_*` creation flags.
    pub flags: u32,
    /// What the bytes mean, as a digest. For a map of entries: of its key's and value's BTF, by whatever function
    /// both sides share. For `.data` and `.bss`: of the variables' layout *and* their initial image.
    ///
    /// `None` is "it can't be told". Two maps of entries of which one can't be told agree; global data that
    /// can't be told agrees with nothing, since reading old bytes as new variables is worse than losing them.
    pub layout: Option<Digest>,
}

/// `BPF_F_RDONLY_PROG`, which the kernel sets on device maps by itself (`kernel/bpf/devmap.c`, `dev_map_alloc`).
const RDONLY_PROG: u32 = 1 << 7;

impl MapShape {
    /// Whether a live map of shape `self` serves where `wanted` is declared.
    ///
    /// `key` says whether the map holds entries or global data.
    pub fn serves(&self, wanted: &Self, key: &MapKey) -> bool {
        let flags = |shape: &Self| match shape.map_type {
            // BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH.
            14 | 25 => shape.flags & !RDONLY_PROG,
            _ => shape.flags,
        };
        let layout = match (self.layout, wanted.layout) {
            // A live map of global data tells the first four bytes of the digest, by its name.
            (Some(live), Some(wanted)) if key.is_data() => {
                live.as_bytes().first_chunk::<4>() == wanted.as_bytes().first_chunk()
            }
            (Some(live), Some(wanted)) => live == wanted,
            _ => !key.is_data(),
        };
        layout
            && (self.map_type, self.key_size, self.value_size, self.max_entries, flags(self))
                == (wanted.map_type, wanted.key_size, wanted.value_size, wanted.max_entries, flags(wanted))
    }
}

/// `hash, key 4, value 8, 1024 entries`, with flags where there are any.
impl fmt::Display for MapShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MAP_TYPES.get(self.map_type as usize) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "type {}", self.map_type)?,
        }
        let entries = if self.max_entries == 1 { "entry" } else { "entries" };
        write!(f, ", key {}, value {}, {} {entries}", self.key_size, self.value_size, self.max_entries)?;
        if self.flags != 0 {
            write!(f, ", flags {:#x}", self.flags)?;
        }
        Ok(())
    }
}

/// `enum bpf_map_type` of Linux 6.18 by number, in bpftool's spelling.
const MAP_TYPES: [&str; 35] = [
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
    "insn_array",
];

/// A live map of the set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LiveMap {
    /// Its id.
    pub id: MapId,
    /// Its shape.
    pub shape: MapShape,
}

/// Something under the set's directory that is neither a chain's link nor a map in its place:
/// what a killed run left behind. Unlinking it changes no hook.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Litter {
    /// Its path below the set's directory.
    pub path: PathBuf,
    /// What it is, in a few words: "a half-made generation".
    pub what: String,
}
