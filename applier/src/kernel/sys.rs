//! `bpf(2)` itself: one function per command that bpfkit uses, safe to call with anything.
//!
//! The only module of the crate with `unsafe`. It turns slices, descriptors and
//! numbers into the kernel's attribute structs and the kernel's answers into
//! descriptors and numbers; errors are the bare `errno`, which [`super::error`]
//! puts into words. It knows no hook, no chain and no path of ours.
//!
//! Each command sends the shortest attribute that holds the fields it needs: a
//! kernel refuses (`E2BIG`) non-zero bytes beyond what it knows, and takes a shorter
//! attribute as if zeros followed.

mod attr;
mod detach;
mod program;
mod query;

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use attr::Command;
pub(crate) use detach::{close_on_exec, ignore_hangup};
#[cfg(test)]
pub(crate) use program::prog_test_run;
pub(crate) use program::{Described, ProgramSpec, prog_bind_map, prog_load};
pub(crate) use query::{TcxEntry, cgroup_query, tcx_query};

/// A descriptor that is known to be a map.
#[derive(Debug)]
pub(crate) struct Map(OwnedFd);

/// A descriptor that is known to be a program.
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

/// A descriptor that is known to be a link.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

/// A descriptor that is known to be BTF.
#[derive(Debug)]
pub(crate) struct Types(OwnedFd);

/// What was pinned under some name.
#[derive(Debug)]
pub(crate) enum Object {
    Map(Map),
    Program(Program),
    Link(Link),
}

macro_rules! descriptors {
    ($($name:ident),*) => {$(
        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }
    )*};
}
descriptors!(Map, Program, Link, Types);

/// `BPF_MAP_TYPE_ARRAY`.
pub(crate) const MAP_TYPE_ARRAY: u32 = 2;
/// `BPF_F_RDONLY_PROG`: programs can't write the map.
pub(crate) const F_RDONLY_PROG: u32 = 1 << 7;
/// `BPF_LINK_TYPE_CGROUP`.
pub(crate) const LINK_TYPE_CGROUP: u32 = 3;
/// `BPF_LINK_TYPE_XDP`.
pub(crate) const LINK_TYPE_XDP: u32 = 6;
/// `BPF_LINK_TYPE_TCX`.
pub(crate) const LINK_TYPE_TCX: u32 = 11;
/// `BPF_XDP` of `enum bpf_attach_type`.
pub(crate) const ATTACH_XDP: u32 = 37;
/// `BPF_TCX_INGRESS` of `enum bpf_attach_type`.
pub(crate) const ATTACH_TCX_INGRESS: u32 = 46;
/// `BPF_TCX_EGRESS` of `enum bpf_attach_type`.
pub(crate) const ATTACH_TCX_EGRESS: u32 = 47;
/// `XDP_FLAGS_SKB_MODE` (`linux/if_link.h`).
pub(crate) const XDP_SKB_MODE: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE` (`linux/if_link.h`).
pub(crate) const XDP_DRV_MODE: u32 = 1 << 2;
/// `BPF_F_BEFORE`: with no neighbour named, the head of the list.
pub(crate) const F_BEFORE: u32 = 1 << 3;
/// `BPF_F_REPLACE`: the link update compares the old program.
const F_REPLACE: u32 = 1 << 2;

/// What `MAP_CREATE` is asked for.
#[derive(Clone, Debug)]
pub(crate) struct MapSpec<'a> {
    /// `enum bpf_map_type`.
    pub(crate) map_type: u32,
    /// Bytes of a key.
    pub(crate) key_size: u32,
    /// Bytes of a value.
    pub(crate) value_size: u32,
    /// Entries; bytes for a ring buffer.
    pub(crate) max_entries: u32,
    /// `BPF_F_*`.
    pub(crate) flags: u32,
    /// At most 15 bytes are kept.
    pub(crate) name: &'a str,
    /// What its entries are, for those who look at it; without, they are bytes.
    pub(crate) entries: Option<EntryTypes<'a>>,
}

/// The types of a map's entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryTypes<'a> {
    /// The BTF.
    pub(crate) types: &'a Types,
    /// The key's number in it, 0 for a map without keys.
    pub(crate) key: u32,
    /// The value's.
    pub(crate) value: u32,
}

/// `BPF_BTF_LOAD` (Linux 4.18): the kernel checks the types and keeps them.
///
/// Where the attribute ends in padding, Linux 6.4 and later write the length of the log.
pub(crate) fn btf_load(bytes: &[u8]) -> io::Result<Types> {
    let mut attr = attr::BtfLoad { btf: address(bytes), btf_size: length(bytes.len())?, ..attr::BtfLoad::default() };
    // SAFETY: the attribute of BTF_LOAD; the kernel reads `btf_size` bytes of a slice that
    // has them, and writes no log, as there is no buffer. The descriptor is new.
    unsafe { bpf_fd(Command::BtfLoad, &mut attr) }.map(Types)
}

/// `BPF_MAP_CREATE`.
pub(crate) fn map_create(spec: &MapSpec<'_>) -> io::Result<Map> {
    let mut attr = attr::MapCreate {
        map_type: spec.map_type,
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        map_flags: spec.flags,
        map_name: object_name(spec.name),
        btf_fd: spec.entries.map_or(0, |entries| raw(entries.types)),
        btf_key_type_id: spec.entries.map_or(0, |entries| entries.key),
        btf_value_type_id: spec.entries.map_or(0, |entries| entries.value),
        ..attr::MapCreate::default()
    };
    // SAFETY: the attribute of MAP_CREATE; it holds no pointer, and the descriptor
    // that comes back is new.
    unsafe { bpf_fd(Command::MapCreate, &mut attr) }.map(Map)
}

/// `BPF_MAP_UPDATE_ELEM` on an array map: sets entry `index`.
///
/// `EINVAL` where the map isn't a plain array or `value` hasn't its value's size.
pub(crate) fn array_update(map: &Map, index: u32, value: &[u8]) -> io::Result<()> {
    if array_value_size(map)? != value.len() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let key = index.to_ne_bytes();
    let mut attr =
        attr::MapElem { map_fd: raw(map), key: address(&key), value: address(value), ..attr::MapElem::default() };
    // SAFETY: an array's key has four bytes, as `key` has, and `value` was compared
    // with the map's own value size; both live until the end of the function.
    unsafe { bpf(Command::MapUpdateElem, &mut attr) }.map(drop)
}

/// `BPF_MAP_LOOKUP_ELEM` on an array map: reads entry `index`.
///
/// `EINVAL` where the map isn't a plain array.
pub(crate) fn array_lookup(map: &Map, index: u32) -> io::Result<Vec<u8>> {
    let mut value = vec![0; array_value_size(map)?];
    let key = index.to_ne_bytes();
    let mut attr = attr::MapElem {
        map_fd: raw(map),
        key: address(&key),
        value: address_mut(&mut value),
        ..attr::MapElem::default()
    };
    // SAFETY: an array's key has four bytes, as `key` has, and the kernel writes one
    // value of the size that it stated, for which `value` has room.
    unsafe { bpf(Command::MapLookupElem, &mut attr) }?;
    Ok(value)
}

/// The number of bytes that the kernel reads and writes for a value of an array.
/// Other types are refused: per-CPU maps copy more than their value size says.
fn array_value_size(map: &Map) -> io::Result<usize> {
    let info = map_info(map)?;
    if info.map_type == MAP_TYPE_ARRAY && info.key_size == 4 {
        Ok(info.value_size as usize)
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

/// `BPF_MAP_FREEZE` (Linux 5.2): user space can't write the map any more.
pub(crate) fn map_freeze(map: &Map) -> io::Result<()> {
    let mut attr = raw(map);
    // SAFETY: the attribute of MAP_FREEZE is the map's descriptor alone.
    unsafe { bpf(Command::MapFreeze, &mut attr) }.map(drop)
}

/// `BPF_OBJ_PIN`: gives a map, program or link a name in bpffs.
pub(crate) fn obj_pin(object: &impl AsFd, name: &CStr) -> io::Result<()> {
    let mut attr = attr::Obj { pathname: path(name), bpf_fd: raw(object), file_flags: 0 };
    // SAFETY: the attribute of OBJ_PIN; the path ends with a zero byte and lives for the call.
    unsafe { bpf(Command::ObjPin, &mut attr) }.map(drop)
}

/// `BPF_OBJ_GET`: opens what is pinned at `path`.
///
/// What it is, is read off the name of the descriptor's anonymous inode, since
/// `OBJ_GET_INFO_BY_FD` alone would fill a link's info with a map's numbers.
/// `EINVAL` where it is something else again, such as an iterator.
pub(crate) fn obj_get(name: &CStr) -> io::Result<Object> {
    let mut attr = attr::Obj { pathname: path(name), ..attr::Obj::default() };
    // SAFETY: the attribute of OBJ_GET; as in `obj_pin`, and the descriptor is new.
    let fd = unsafe { bpf_fd(Command::ObjGet, &mut attr) }?;
    let target = std::fs::read_link(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()))?;
    match target.to_str() {
        Some("anon_inode:bpf-map") => Ok(Object::Map(Map(fd))),
        Some("anon_inode:bpf-prog") => Ok(Object::Program(Program(fd))),
        // The kernel spells it either way, by who made the descriptor (`bpf_link_prime`, `bpf_link_new_fd`).
        Some("anon_inode:bpf_link" | "anon_inode:bpf-link") => Ok(Object::Link(Link(fd))),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

/// `BPF_PROG_GET_FD_BY_ID`.
pub(crate) fn prog_by_id(id: u32) -> io::Result<Program> {
    by_id(Command::ProgGetFdById, id).map(Program)
}

/// `BPF_MAP_GET_FD_BY_ID`.
pub(crate) fn map_by_id(id: u32) -> io::Result<Map> {
    by_id(Command::MapGetFdById, id).map(Map)
}

/// `BPF_LINK_GET_FD_BY_ID`.
pub(crate) fn link_by_id(id: u32) -> io::Result<Link> {
    by_id(Command::LinkGetFdById, id).map(Link)
}

fn by_id(command: Command, id: u32) -> io::Result<OwnedFd> {
    let mut attr = attr::ById { start: id, ..attr::ById::default() };
    // SAFETY: the attribute of the three *_GET_FD_BY_ID, without pointers; the descriptor is new.
    unsafe { bpf_fd(command, &mut attr) }
}

/// `BPF_LINK_GET_NEXT_ID`: the smallest link id above `after`, `None` after the last.
pub(crate) fn next_link_id(after: u32) -> io::Result<Option<u32>> {
    let mut attr = attr::ById { start: after, ..attr::ById::default() };
    // SAFETY: the attribute of LINK_GET_NEXT_ID, without pointers; the answer is written into it.
    match unsafe { bpf(Command::LinkGetNextId, &mut attr) } {
        Ok(_) => Ok(Some(attr.next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel says of a map.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MapInfo {
    pub(crate) map_type: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    pub(crate) name: String,
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a map.
pub(crate) fn map_info(map: &Map) -> io::Result<MapInfo> {
    let mut info = attr::MapInfo::default();
    let mut attr = info_by_fd(map, &mut info)?;
    // SAFETY: the attribute of OBJ_GET_INFO_BY_FD with a map's info: plain integers
    // without padding, into which the kernel writes at most `info_len` bytes.
    unsafe { bpf(Command::ObjGetInfoByFd, &mut attr) }?;
    Ok(MapInfo {
        map_type: info.map_type,
        id: info.id,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
        name: text(&info.name),
    })
}

/// What the kernel says of a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ProgramInfo {
    pub(crate) program_type: u32,
    pub(crate) id: u32,
    pub(crate) name: String,
    /// The ids of the maps that it uses or that are bound to it.
    pub(crate) maps: Vec<u32>,
}

/// The most map ids that are read of one program: the verifier allows 64
/// (`MAX_USED_MAPS`), and `PROG_BIND_MAP` adds to them.
const MAX_MAP_IDS: usize = 128;

/// `BPF_OBJ_GET_INFO_BY_FD` of a program, with its maps.
pub(crate) fn program_info(program: &Program) -> io::Result<ProgramInfo> {
    let mut ids = [0_u32; MAX_MAP_IDS];
    let mut info = attr::ProgInfo {
        nr_map_ids: length(MAX_MAP_IDS)?,
        map_ids: ids.as_mut_ptr().expose_provenance() as u64,
        ..attr::ProgInfo::default()
    };
    let mut attr = info_by_fd(program, &mut info)?;
    // SAFETY: as in `map_info`; besides, the kernel writes at most `nr_map_ids` ids
    // to `ids`, which has as many; the other pointers are zero with zero lengths.
    unsafe { bpf(Command::ObjGetInfoByFd, &mut attr) }?;
    let count = (info.nr_map_ids as usize).min(MAX_MAP_IDS);
    Ok(ProgramInfo {
        program_type: info.prog_type,
        id: info.id,
        name: text(&info.name),
        maps: ids.into_iter().take(count).collect(),
    })
}

/// What the kernel says of a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LinkInfo {
    /// `enum bpf_link_type`: [`LINK_TYPE_XDP`], [`LINK_TYPE_TCX`], [`LINK_TYPE_CGROUP`].
    pub(crate) link_type: u32,
    pub(crate) id: u32,
    pub(crate) program_id: u32,
    /// XDP and tcx: the interface, cgroup: its id; 0 once the link is detached.
    pub(crate) target: u64,
    /// tcx and cgroup: `enum bpf_attach_type`.
    pub(crate) attach_type: u32,
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a link.
pub(crate) fn link_info(link: &Link) -> io::Result<LinkInfo> {
    let mut info = attr::LinkInfo::default();
    let mut attr = info_by_fd(link, &mut info)?;
    // SAFETY: as in `map_info`, with a link's info.
    unsafe { bpf(Command::ObjGetInfoByFd, &mut attr) }?;
    let (target, attach_type) = match info.link_type {
        LINK_TYPE_CGROUP => {
            // One number of eight bytes stands where other links have two of four.
            let bytes = [info.ifindex.to_ne_bytes(), info.attach_type.to_ne_bytes()].concat();
            (bytes.first_chunk().map_or(0, |eight| u64::from_ne_bytes(*eight)), info.cgroup_attach_type)
        }
        _ => (info.ifindex.into(), info.attach_type),
    };
    Ok(LinkInfo { link_type: info.link_type, id: info.id, program_id: info.prog_id, target, attach_type })
}

fn info_by_fd<I>(object: &impl AsFd, info: &mut I) -> io::Result<attr::InfoByFd> {
    Ok(attr::InfoByFd {
        bpf_fd: raw(object),
        info_len: length(size_of::<I>())?,
        info: std::ptr::from_mut(info).expose_provenance() as u64,
    })
}

/// What `LINK_CREATE` is asked for.
pub(crate) struct LinkSpec {
    /// The interface, in the calling thread's network namespace; or a cgroup's open directory, as a number.
    pub(crate) target: u32,
    /// `enum bpf_attach_type`.
    pub(crate) attach_type: u32,
    /// XDP's mode, or tcx's place.
    pub(crate) flags: u32,
    /// tcx and cgroups: the revision that the list must have, 0 for any.
    pub(crate) expected_revision: u64,
}

/// `BPF_LINK_CREATE`.
pub(crate) fn link_create(program: &Program, spec: &LinkSpec) -> io::Result<Link> {
    let mut attr = attr::LinkCreate {
        prog_fd: raw(program),
        target_ifindex: spec.target,
        attach_type: spec.attach_type,
        flags: spec.flags,
        relative_id: 0,
        pad: 0,
        expected_revision: spec.expected_revision,
    };
    // SAFETY: the attribute of LINK_CREATE, without pointers for these attach types
    // (XDP, tcx and cgroups read numbers alone); the descriptor is new.
    unsafe { bpf_fd(Command::LinkCreate, &mut attr) }.map(Link)
}

/// `BPF_LINK_UPDATE` with `BPF_F_REPLACE`: `EPERM` where the link's program isn't `old` any more.
pub(crate) fn link_update(link: &Link, new: &Program, old: &Program) -> io::Result<()> {
    let mut attr =
        attr::LinkUpdate { link_fd: raw(link), new_prog_fd: raw(new), flags: F_REPLACE, old_prog_fd: raw(old) };
    // SAFETY: the attribute of LINK_UPDATE, without pointers.
    unsafe { bpf(Command::LinkUpdate, &mut attr) }.map(drop)
}

/// `BPF_LINK_DETACH`: the hook stops calling the program at once, whoever else holds the link.
pub(crate) fn link_detach(link: &Link) -> io::Result<()> {
    let mut attr = raw(link);
    // SAFETY: the attribute of LINK_DETACH is the link's descriptor alone.
    unsafe { bpf(Command::LinkDetach, &mut attr) }.map(drop)
}

/// Calls `bpf(2)`; what a success returns depends on the command.
///
/// # Safety
///
/// `attr` must be the attribute that `command` reads, and every pointer and length
/// in it must describe memory that is valid for the call, writable where the
/// kernel writes.
unsafe fn bpf<A>(command: Command, attr: &mut A) -> io::Result<i32> {
    // SAFETY: the caller vouches for `attr`, which lives for the whole call; the
    // length that we pass is its own.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command as u32, std::ptr::from_mut(attr), size_of::<A>()) };
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(ret).map_err(io::Error::other)
}

/// Calls `bpf(2)` with a command whose success is a new file descriptor.
///
/// # Safety
///
/// As for [`bpf`]; and `command` must return a descriptor that nobody else owns.
unsafe fn bpf_fd<A>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for `attr`.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the call succeeded, so `fd` isn't negative, and the caller vouches
    // that this command's descriptor is new and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel keeps 15 bytes of a name (`BPF_OBJ_NAME_LEN`) and refuses all but `[A-Za-z0-9_.]`,
/// so other letters become underscores.
fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().take(15).zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() || from == b'.' { from } else { b'_' };
    }
    out
}

/// The text of a name from the kernel, up to its zero byte.
fn text(name: &[u8]) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned()
}

/// The map's descriptor, as an instruction that loads the map holds it.
pub(crate) fn raw_fd(map: &Map) -> i32 {
    map.as_fd().as_raw_fd()
}

fn raw(object: &impl AsFd) -> u32 {
    // A descriptor is never negative.
    object.as_fd().as_raw_fd().cast_unsigned()
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

fn path(name: &CStr) -> u64 {
    name.as_ptr().expose_provenance() as u64
}

fn length(count: usize) -> io::Result<u32> {
    u32::try_from(count).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))
}
