//! What somebody else does to a host: for tests of the whole road.

use std::path::Path;

use bpfkit_schemas::hook::Hook;

use super::{EXIT, Insn, insn, sys};
use crate::{
    kernel::{netns::Netns, observe::tcx_attach_type},
    live::{Interface, LinkId, ProgramId},
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
    let spec = sys::ProgramSpec {
        program_type: if hook == Hook::Xdp { 6 } else { 3 },
        instructions: &code,
        license: c"GPL",
        name,
        flags: 0,
        attach_type: 0,
        described: None,
    };
    let program = sys::prog_load(&spec, None).unwrap();
    let (attach_type, flags) =
        tcx_attach_type(hook).map_or((sys::ATTACH_XDP, sys::XDP_SKB_MODE), |attach_type| (attach_type, 0));
    let link = sys::LinkSpec { ifindex: interface.index, attach_type, flags, expected_revision: 0 };
    let netns = Netns::open(interface.namespace.path.as_deref()).unwrap();
    let made = netns.run(|| Ok(sys::link_create(&program, &link))).unwrap();
    match made {
        Ok(link) => Some(Held(link)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => None,
        Err(error) => panic!("{error}"),
    }
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
