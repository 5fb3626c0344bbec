//! Turns C sources and ready ELF files into checked eBPF objects.
//!
//! [`plan()`] makes the commands, as data; [`run()`] carries out those whose result
//! is not there yet, in parallel, and checks every object against the manifest.
//! Nothing here knows registries, keys or the hooks of a host.
//!
//! | module | |
//! | --- | --- |
//! | [`toolchain`] | finds clang (spawns) |
//! | `flags` | which `cflags` pass: an allow-list |
//! | [`kernel_btf`] | which kernel's types `vmlinux.h` is made from |
//! | [`vmlinux`] | BTF → `vmlinux.h` (pure) |
//! | `headers` | libbpf's helper headers, embedded |
//! | [`plan`](mod@plan) | manifest → [`BuildPlan`]: argv, keys, outputs |
//! | `state` | what earlier builds left, and whether it still holds |
//! | `jobs` | how much may run at once: `-j` and make's jobserver |
//! | [`run`](mod@run) | carries a plan out (spawns, writes) |
//! | `strip` | ELF without DWARF (pure) |
//! | `check` | object against manifest (pure) |
#![forbid(unsafe_code)]
#![expect(clippy::result_large_err, reason = "a diagnostic is made when a build fails, never in a loop that matters")]

mod check;
mod compile;
mod depfile;
mod digest;
mod error;
mod files;
mod flags;
mod headers;
mod jobs;
pub mod kernel_btf;
mod object;
pub mod plan;
mod project;
pub mod run;
mod state;
mod strip;
#[cfg(test)]
mod testing;
pub mod toolchain;
pub mod vmlinux;

pub use error::BuildErrors;
pub use headers::LIBBPF_VERSION;
pub use kernel_btf::KernelBtf;
pub use plan::{BuildPlan, Request, plan};
pub use run::{Built, Event, files_changed, run};
pub use toolchain::Toolchain;
