//! Network namespaces as they are now: interfaces, XDP programs, tcx lists, filters.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use bpfkit_schemas::hook::Hook;

use crate::{
    kernel::{
        cgroup::Cgroup,
        clsact::{self, Listing},
        error::KernelError,
        netlink,
        netns::Netns,
        sys::{self, TcxEntry},
    },
    live::{HookPoint, Namespace, Revision},
};

/// Where `ip netns add` puts namespaces.
const NAMED: &str = "/run/netns";

/// One namespace, as seen in one visit.
#[derive(Debug)]
pub(super) struct Place {
    /// Which.
    pub(super) namespace: Namespace,
    /// Its interfaces.
    pub(super) interfaces: BTreeMap<u32, netlink::Interface>,
    /// The tcx hooks that were asked about and that exist.
    pub(super) tcx: BTreeMap<HookPoint, (Revision, Vec<TcxEntry>)>,
    /// The filters of the tc hooks that were asked about and that exist.
    pub(super) filters: BTreeMap<HookPoint, Listing>,
}

/// Opens the namespaces that `paths` name, and of the named ones of the host those with an inode in `inodes`.
///
/// The process's own is always among them. One that the caller named must exist; the others may not.
pub(super) fn open(
    paths: &BTreeSet<Option<PathBuf>>,
    wanted: impl Fn(u64) -> bool,
) -> Result<BTreeMap<u64, (Option<PathBuf>, Netns)>, KernelError> {
    let own = Netns::open(None)?;
    let mut found = BTreeMap::from([(own.inode(), (None, own))]);
    for path in paths.iter().flatten() {
        let netns = Netns::open(Some(path))?;
        found.entry(netns.inode()).or_insert_with(|| (Some(path.clone()), netns));
    }
    for (_, path) in super::pins::entries(Path::new(NAMED))? {
        if let Ok(netns) = Netns::open(Some(&path))
            && wanted(netns.inode())
        {
            found.entry(netns.inode()).or_insert_with(|| (Some(path), netns));
        }
    }
    Ok(found)
}

/// Looks at one namespace: its interfaces, and the tcx hooks of those among `points` that lie in it.
pub(super) fn visit(path: Option<PathBuf>, netns: &Netns, points: &BTreeSet<HookPoint>) -> Result<Place, KernelError> {
    let inode = netns.inode();
    netns.run(|| {
        let interfaces = netlink::interfaces()?;
        let is_here = |point: &&HookPoint| point.namespace == inode && interfaces.contains_key(&point.index);
        let filters = filters(points.iter().filter(is_here))?;
        let mut tcx = BTreeMap::new();
        for point in points.iter().filter(is_here) {
            let Some(attach_type) = tcx_attach_type(point.hook) else { continue };
            match sys::tcx_query(point.index, attach_type) {
                Ok((revision, entries)) => {
                    tcx.insert(*point, (Revision(revision), entries));
                }
                // The interface went away between the two calls.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                // Before Linux 6.6 there is no tcx: nothing is attached, and an attach will say so.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                Err(source) => return Err(KernelError::call(format!("asking who is at `{}`", point.hook), source)),
            }
        }
        Ok(Place { namespace: Namespace { inode, path }, interfaces, tcx, filters })
    })
}

/// The filters of those among `points` that are of tc, in the namespace that this thread is in.
fn filters<'a>(points: impl Iterator<Item = &'a HookPoint>) -> Result<BTreeMap<HookPoint, Listing>, KernelError> {
    let points: Vec<_> = points.filter(|point| point.hook.is_tc()).collect();
    if points.is_empty() {
        return Ok(BTreeMap::new());
    }
    let qdiscs = clsact::qdiscs().map_err(|source| KernelError::call("listing the qdiscs", source))?;
    let listing = |point: &HookPoint| match qdiscs.get(&point.index) {
        Some(kind) => clsact::filters(point.index, point.hook, kind.clone())
            .map_err(|source| KernelError::call(format!("listing the filters of `{}`", point.hook), source)),
        None => Ok(Listing::default()),
    };
    points.into_iter().map(|point| Ok((*point, listing(point)?))).collect()
}

/// A cgroup, as seen in one visit.
#[derive(Debug)]
pub(super) struct CgroupPlace {
    /// The path by which it was found.
    pub(super) path: PathBuf,
    /// The programs of the hooks that were asked about, in order, and the revision where the kernel counts one.
    pub(super) hooks: BTreeMap<Hook, (Option<Revision>, Vec<u32>)>,
}

/// Looks at the cgroups among `points` that one of `paths` leads to.
pub(super) fn cgroups(
    paths: impl Iterator<Item = PathBuf>,
    points: &BTreeSet<HookPoint>,
) -> Result<BTreeMap<u64, CgroupPlace>, KernelError> {
    let mut found = BTreeMap::new();
    for path in paths {
        let Some(cgroup) = Cgroup::open(&path)? else { continue };
        if found.contains_key(&cgroup.id) {
            continue;
        }
        let mut hooks = BTreeMap::new();
        for point in points.iter().filter(|point| point.namespace == cgroup.id) {
            let Hook::Cgroup(hook) = point.hook else { continue };
            let (revision, programs) = sys::cgroup_query(&cgroup.directory, hook.attach_type())
                .map_err(|source| KernelError::call(format!("asking who is at `{}`", point.hook), source))?;
            hooks.insert(point.hook, (revision.map(Revision), programs));
        }
        found.insert(cgroup.id, CgroupPlace { path, hooks });
    }
    Ok(found)
}

/// The namespace with this inode: the process's own or a named one; `None` where it is neither.
pub(in crate::kernel) fn namespace(inode: u64) -> Result<Option<Netns>, KernelError> {
    Ok(open(&BTreeSet::new(), |found| found == inode)?.remove(&inode).map(|(_, netns)| netns))
}

/// Whether the kernel has tcx: a query at the loopback interface, which is number 1 everywhere, says so.
pub(in crate::kernel) fn has_tcx() -> Result<bool, KernelError> {
    match sys::tcx_query(1, sys::ATTACH_TCX_INGRESS) {
        Ok(_) => Ok(true),
        // Before Linux 6.6, or built without CONFIG_NET_XGRESS.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(source) => Err(KernelError::call("asking whether there is tcx", source)),
    }
}

/// tcx's attach type of a hook; `None` for the others.
pub(in crate::kernel) fn tcx_attach_type(hook: Hook) -> Option<u32> {
    match hook {
        Hook::Xdp | Hook::Cgroup(_) => None,
        Hook::TcIngress => Some(sys::ATTACH_TCX_INGRESS),
        Hook::TcEgress => Some(sys::ATTACH_TCX_EGRESS),
    }
}
