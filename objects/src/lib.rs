//! Reads eBPF ELF objects and BTF, and makes programs ready for a kernel.
//!
//! Pure: bytes come in, values go out. This crate opens no file and knows no
//! kernel but the BTF that it is handed, so a plan for a machine that we are not
//! on is as good as one for this machine. What is read may be hostile: every
//! reader is bounded in size, depth and time, and answers with an error.
//!
//! | module | noun |
//! | --- | --- |
//! | [`elf`] | an object file: programs, maps, global variables |
//! | [`btf`] | BPF Type Format: types, names, layouts, C spellings; `.BTF.ext` |
//! | [`insn`] | one instruction |
//! | [`globals`] | the manifest's values → bytes of global variables |
//! | [`core_relo`] | CO-RE: the compiler's notes about accesses, resolved against a kernel's types |
//! | [`link`] | an entry program with its subprograms, ready but for map descriptors |
#![forbid(unsafe_code)]

pub mod btf;
pub mod core_relo;
pub mod elf;
pub mod globals;
pub mod insn;
pub mod link;

pub use elf::{Object, ObjectProblem};
pub use link::{LinkProblem, Linked};
