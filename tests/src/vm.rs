//! The second tier: the same trials on kernels that this machine doesn't run.
//!
//! `bpfkit-vm` puts itself, `bpfkit`, a kit and a few tools into an initramfs, boots Debian's kernels with
//! it one after the other under qemu's software emulation, and is in there the first process,
//! which holds each trial and reports over a serial line. Nothing that comes over that line is
//! trusted to be whole: a report without its last line, a panic and a silence are failures.
//!
//! Times in there say nothing: an emulated CPU is some twenty times slower.

pub mod flood;
pub mod guest;
pub mod initramfs;
pub mod machine;
pub mod serial;
pub mod table;

/// Where everything that the initramfs brings for the trials lies in it.
pub const KIT: &str = "/kit";
