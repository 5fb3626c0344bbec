//! Who is at a hook: `BPF_PROG_QUERY`, for tcx and for cgroups.

use std::{io, os::fd::AsFd};

use super::{
    attr::{self, Command},
    bpf, length, raw,
};

/// `BPF_PROG_QUERY` of a cgroup's hook: its own programs in the order in which they run, and the revision where the
/// kernel counts one. Of its ancestors' programs, which run too, nothing is said.
pub(crate) fn cgroup_query(cgroup: &impl AsFd, attach_type: u32) -> io::Result<(Option<u64>, Vec<u32>)> {
    let mut programs = [0_u32; MPROG_MAX];
    let mut attr = attr::ProgQuery {
        target_ifindex: raw(cgroup),
        attach_type,
        prog_ids: programs.as_mut_ptr().expose_provenance() as u64,
        count: length(MPROG_MAX)?,
        ..attr::ProgQuery::default()
    };
    // SAFETY: the attribute of PROG_QUERY; the kernel writes at most `count` ids to the array, which has as many,
    // and skips arrays whose address is zero.
    let asked = unsafe { bpf(Command::ProgQuery, &mut attr) };
    match asked {
        Ok(_) => {}
        // A kernel that knows no revision (before Linux 6.6) refuses the attribute that has a place for one.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return short_cgroup_query(cgroup, attach_type),
        Err(error) => return Err(error),
    }
    let revision = (attr.revision != 0).then_some(attr.revision);
    Ok((revision, programs.into_iter().take(attr.count as usize).collect()))
}

/// The same with the attribute of older kernels.
fn short_cgroup_query(cgroup: &impl AsFd, attach_type: u32) -> io::Result<(Option<u64>, Vec<u32>)> {
    let mut programs = [0_u32; MPROG_MAX];
    let mut attr = attr::ShortProgQuery {
        target_fd: raw(cgroup),
        attach_type,
        prog_ids: programs.as_mut_ptr().expose_provenance() as u64,
        count: length(MPROG_MAX)?,
        ..attr::ShortProgQuery::default()
    };
    // SAFETY: as in `cgroup_query`.
    unsafe { bpf(Command::ProgQuery, &mut attr) }?;
    Ok((None, programs.into_iter().take(attr.count as usize).collect()))
}

/// One entry of a tcx list: a program and, where a link holds it, the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TcxEntry {
    pub(crate) program_id: u32,
    /// 0 for a program that was attached without a link.
    pub(crate) link_id: u32,
}

/// The most programs on one tcx hook (`BPF_MPROG_MAX`).
const MPROG_MAX: usize = 64;

/// `BPF_PROG_QUERY` of a tcx hook: its programs in the order in which they run, and its revision.
pub(crate) fn tcx_query(ifindex: u32, attach_type: u32) -> io::Result<(u64, Vec<TcxEntry>)> {
    let mut programs = [0_u32; MPROG_MAX];
    let mut links = [0_u32; MPROG_MAX];
    let mut attr = attr::ProgQuery {
        target_ifindex: ifindex,
        attach_type,
        prog_ids: programs.as_mut_ptr().expose_provenance() as u64,
        link_ids: links.as_mut_ptr().expose_provenance() as u64,
        count: length(MPROG_MAX)?,
        ..attr::ProgQuery::default()
    };
    // SAFETY: the attribute of PROG_QUERY; the kernel writes at most `count` ids to
    // each of the two arrays, which have as many, and skips arrays whose address is zero.
    unsafe { bpf(Command::ProgQuery, &mut attr) }?;
    let entries = programs.into_iter().zip(links).take(attr.count as usize);
    Ok((attr.revision, entries.map(|(program_id, link_id)| TcxEntry { program_id, link_id }).collect()))
}
