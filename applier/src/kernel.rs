//! Linux: the one place of bpfkit that touches the kernel.
//!
//! Looks ([`LinuxKernel::observe`]) and does what [`crate::execute`] asks, step by
//! step. It decides nothing: which step comes when, and whether, is the plan's. What
//! it takes as code is a [`Linker`], which is made from a
//! [`VerifiedBundle`](crate::trust::VerifiedBundle) alone; no function here takes
//! bytes, a path or a reference for instructions.
//!
//! | module | what |
//! | --- | --- |
//! | [`sys`] | `bpf(2)` and two calls for [`detach`]: the only `unsafe` |
//! | [`bpffs`] | where pins lie, and making, moving and removing them |
//! | [`netns`], [`netlink`] | network namespaces and their interfaces |
//! | [`clsact`] | filters of tc hooks |
//! | [`mod@cgroup`] | cgroups |
//! | [`observe`] | the host → [`LiveState`] |
//! | [`published`] | which generation is live: one name in bpffs |
//! | [`load`], [`verifier`] | a fused chain → a loaded program, or the verifier's reason |
//! | [`detach`] | a process that outlives whoever started it |
//! | [`error`], [`lock`] | what went wrong, in words; one bpfkit at a time |
//! | [`memlock`] | room for maps on kernels that count them as locked memory |

mod bpffs;
mod cgroup;
mod clsact;
mod data_map;
pub mod detach;
pub mod error;
mod load;
pub mod lock;
mod memlock;
mod netlink;
mod netns;
mod observe;
mod published;
mod steps;
#[expect(unsafe_code, reason = "bpf(2), fcntl and signal are called here and nowhere else")]
mod sys;
mod verifier;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bpfkit_schemas::{
    hook::{Attach, Hook},
    names::{Digest, SetName},
};

use self::{bpffs::SetDirectory, netns::Netns};
pub use self::{
    error::KernelError,
    lock::{HostLock, RUN_DIRECTORY},
    steps::{LinuxMap, LinuxProgram},
};
use crate::{
    desired::NamespaceFacts,
    live::{Interface, LinkId, LiveState},
};

#[cfg(doc)]
use crate::fuse::Linker;

/// Where bpffs is mounted.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Where generations are kept.
pub const STATE_DIRECTORY: &str = "/var/lib/bpfkit";

/// The running kernel's BTF, which programs are relocated against.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Where bpfkit keeps what it needs on a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Places {
    /// bpffs: pins lie in `bpfkit/<set>` below it.
    pub bpffs: PathBuf,
    /// The lock, and the verifier's logs.
    pub run: PathBuf,
    /// What must outlive a reboot: generations lie in `<set>` below it.
    pub state: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { bpffs: PathBuf::from(BPFFS), run: PathBuf::from(RUN_DIRECTORY), state: PathBuf::from(STATE_DIRECTORY) }
    }
}

/// This host's kernel, for one set.
#[derive(Debug)]
pub struct LinuxKernel {
    places: Places,
    set: SetName,
    directory: SetDirectory,
    /// The pins of links that this run has made or met, by link: where the records go.
    links: BTreeMap<LinkId, PathBuf>,
}

impl LinuxKernel {
    /// Names the kernel and the set; opens and makes nothing.
    pub fn new(places: Places, set: SetName) -> Self {
        let directory = SetDirectory::new(&places.bpffs, &set);
        Self { places, set, directory, links: BTreeMap::new() }
    }

    /// Takes the right to change this host, or says who has it. For `apply`, `rollback` and `remove`; readers need none.
    pub fn lock(&self) -> Result<HostLock, KernelError> {
        let lock = HostLock::take(&self.places.run)?;
        memlock::lift();
        Ok(lock)
    }

    /// Takes the right to change this host, and waits for it that long.
    pub(crate) fn lock_within(&self, patience: Duration) -> Result<HostLock, KernelError> {
        HostLock::take_within(&self.places.run, patience)
    }

    /// Removes the directories of the set in which nothing is pinned. For the end of a removal: an empty
    /// one may be left where somebody else removed a pin.
    pub(crate) fn tidy(&self) {
        self.directory.tidy();
    }

    /// What the set has in the kernel, and who else is at its hooks and at those in `asked`. Changes nothing.
    pub fn observe(&self, asked: &[(Interface, Hook)]) -> Result<LiveState, KernelError> {
        observe::observe(&self.places.bpffs, &self.set, asked)
    }
}

/// The interfaces of the network namespace at `path`, or of the one that this process runs in.
pub fn namespace(path: Option<&Path>) -> Result<NamespaceFacts, KernelError> {
    let netns = Netns::open(path)?;
    let interfaces = netns.run(netlink::interfaces)?;
    Ok(NamespaceFacts {
        inode: netns.inode(),
        interfaces: interfaces.into_iter().map(|(index, interface)| (index, interface.name)).collect(),
    })
}

/// How tc chains are attached here where their manifest doesn't say: by tcx if the kernel has it. Asks the kernel.
pub fn attach() -> Result<Attach, KernelError> {
    Ok(if observe::has_tcx()? { Attach::Tcx } else { Attach::Clsact })
}

/// The id of the cgroup at `path`; `None` where there is none.
pub fn cgroup(path: &Path) -> Result<Option<u64>, KernelError> {
    Ok(cgroup::Cgroup::open(path)?.map(|cgroup| cgroup.id))
}

/// The sets that have something pinned on this host, ascending.
pub fn sets(places: &Places) -> Result<Vec<SetName>, KernelError> {
    let found = observe::entries(&places.bpffs.join("bpfkit"))?;
    Ok(found
        .into_iter()
        .filter(|(_, path)| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()))
        .filter_map(|(name, _)| name.parse().ok())
        .collect())
}

/// What a live map of global variables can tell of its layout's digest; see [`data_map`].
pub(crate) fn data_layout(digest: &Digest) -> Digest {
    data_map::kept(digest)
}

/// Whether a program's map of this name can be told by the name of its pin.
pub(crate) fn can_be_pinned(name: &str) -> bool {
    bpffs::map_name(&bpffs::map_file(name)) == name
}

/// The bytes of the running kernel's BTF.
pub fn kernel_btf() -> Result<Vec<u8>, KernelError> {
    fs::read(KERNEL_BTF).map_err(|source| KernelError::Unsupported {
        what: format!("CO-RE: `{KERNEL_BTF}` can't be read (Linux 5.4 with CONFIG_DEBUG_INFO_BTF has it)"),
        source,
    })
}

#[cfg(test)]
pub(crate) mod tests;
