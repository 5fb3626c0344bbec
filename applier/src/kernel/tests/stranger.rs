//! What somebody else does to a host: for tests of the whole road.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use bpfkit_schemas::hook::{CgroupHook, Hook};

use super::{EXIT, Insn, insn, sys};
use crate::{
    kernel::{cgroup::Cgroup, clsact, netns::Netns, observe::tcx_attach_type},
    live::{FilterId, Interface, LinkId, ProgramId},
};

/// A stranger's hold on a link: it lives until this is dropped.
pub(crate) struct Held(#[expect(dead_code, reason = "held, not used")] sys::Link);

/// Holds a link open.
pub(crate) fn hold(link: LinkId) -> Held {
    Held(sys::link_by_id(link.0).unwrap())
}

/// Detaches somebody's link.
pub(crate) fn detach(link: LinkId) {
    sys::link_detach(&sys::link_by_id(link.0).unwrap()).unwrap();
}

/// Attaches a program that answers 0, last; `None` where the hook takes no more.
pub(crate) fn attach(interface: &Interface, hook: Hook, name: &str) -> Option<Held> {
    let code = Insn::encode_all(&[insn(0xb7, 0, 0, 0, 0), insn(EXIT, 0, 0, 0, 0)]);
    let connect = CgroupHook::Connect4.attach_type();
    let (program_type, attach_type) = match hook {
        Hook::Xdp => (6, 0),
        Hook::TcIngress | Hook::TcEgress => (3, 0),
        Hook::Cgroup(_) => (18, connect),
    };
    let license = c"GPL";
    let spec =
        sys::ProgramSpec { program_type, instructions: &code, license, name, flags: 0, attach_type, described: None };
    let program = sys::prog_load(&spec, None).unwrap();
    if hook.is_cgroup() {
        let opened = Cgroup::open(interface.namespace.path.as_deref().unwrap()).unwrap().unwrap();
        let target = opened.directory.as_fd().as_raw_fd().cast_unsigned();
        let link = sys::LinkSpec { target, attach_type: connect, flags: 0, expected_revision: 0 };
        return Some(Held(sys::link_create(&program, &link).unwrap()));
    }
    let (attach_type, flags) =
        tcx_attach_type(hook).map_or((sys::ATTACH_XDP, sys::XDP_SKB_MODE), |attach_type| (attach_type, 0));
    let link = sys::LinkSpec { target: interface.index, attach_type, flags, expected_revision: 0 };
    let netns = Netns::open(interface.namespace.path.as_deref()).unwrap();
    let made = netns.run(|| Ok(sys::link_create(&program, &link))).unwrap();
    match made {
        Ok(link) => Some(Held(link)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Adds a filter that answers -1, as the last; makes the qdisc if there is none.
pub(crate) fn add_filter(interface: &Interface, hook: Hook, name: &str) -> FilterId {
    let netns = Netns::open(interface.namespace.path.as_deref()).unwrap();
    let found = netns.run(|| Ok(clsact::list(interface.index, hook))).unwrap().unwrap();
    let last = found.programs().map(|(id, _)| id.priority).max().unwrap_or(FilterId::PRIORITY);
    let filter = FilterId { priority: last + 1, handle: 1 };
    if found.qdisc.is_none() {
        netns.run(|| Ok(clsact::make_qdisc(interface.index))).unwrap().unwrap();
    }
    put_filter(interface, hook, filter, name, clsact::Change::New);
    filter
}

/// Puts a program of its own into somebody's filter.
pub(crate) fn take_filter(interface: &Interface, hook: Hook, filter: FilterId, name: &str) {
    put_filter(interface, hook, filter, name, clsact::Change::Replace);
}

fn put_filter(interface: &Interface, hook: Hook, filter: FilterId, name: &str, change: clsact::Change) {
    let code = Insn::encode_all(&[insn(0xb7, 0, 0, 0, -1), insn(EXIT, 0, 0, 0, 0)]);
    let spec = sys::ProgramSpec {
        program_type: 3,
        instructions: &code,
        license: c"GPL",
        name,
        flags: 0,
        attach_type: 0,
        described: None,
    };
    let program = sys::prog_load(&spec, None).unwrap();
    let netns = Netns::open(interface.namespace.path.as_deref()).unwrap();
    netns.run(|| Ok(clsact::put(interface.index, hook, filter, &program, name, change))).unwrap().unwrap();
}

/// Removes somebody's filter.
pub(crate) fn remove_filter(interface: &Interface, hook: Hook, filter: FilterId) {
    let netns = Netns::open(interface.namespace.path.as_deref()).unwrap();
    netns.run(|| Ok(clsact::remove(interface.index, hook, filter))).unwrap().unwrap();
}

/// Removes the qdisc with all filters, if there is one.
pub(crate) fn remove_qdisc(interface: &Interface) {
    let path = interface.namespace.path.as_deref().unwrap().display();
    let command = format!("nsenter --net={path} tc qdisc del dev {} clsact 2>/dev/null || true", interface.name);
    super::sh(&command);
}

/// Runs a live program on `packet` once, and gives its answer.
pub(crate) fn run(program: ProgramId, packet: &[u8]) -> u32 {
    sys::prog_test_run(&sys::prog_by_id(program.0).unwrap(), packet).unwrap()
}

/// The value of a pinned array's first entry.
pub(crate) fn first(pin: &Path) -> Vec<u8> {
    let name = std::ffi::CString::new(pin.to_str().unwrap()).unwrap();
    let sys::Object::Map(map) = sys::obj_get(&name).unwrap() else { panic!("{} is no map", pin.display()) };
    sys::array_lookup(&map, 0).unwrap()
}
