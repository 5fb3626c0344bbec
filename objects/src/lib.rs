//! Reads eBPF ELF objects and BTF, and relocates programs through CO-RE.
//!
//! Pure: bytes come in, values go out. This crate opens no file and knows no
//! kernel but the BTF that it is handed, so a plan for a machine that we are not
//! on is as good as one for this machine. What is read may be hostile: every
//! reader is bounded in size, depth and time, and answers with an error.
//!
//! | module | noun |
//! | --- | --- |
//! | [`btf`] | BPF Type Format: types, names, layouts, C spellings; `.BTF.ext` |
//! | [`insn`] | one instruction |
#![forbid(unsafe_code)]

pub mod btf;
pub mod insn;
