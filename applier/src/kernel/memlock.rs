//! Makes room for maps and programs where the kernel counts them as locked memory.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Lifts this process's `RLIMIT_MEMLOCK`.
///
/// Before Linux 5.11 each map and program is charged against it, 64 KiB by default, for root too; what
/// doesn't fit is refused with `EPERM`. Later kernels charge the memory cgroup and look at no limit. Nothing
/// says which kernel does what but a refusal half-way through, so it is always lifted; where that takes a
/// capability (`CAP_SYS_RESOURCE`) that we lack, the limit stays, and the kernel's own refusal tells if it matters.
pub(super) fn lift() {
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}
