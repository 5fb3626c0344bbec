//! Turns a kernel's BTF into `vmlinux.h`. Pure; the same BTF gives the same bytes.
//!
//! The result declares every named type of the kernel, in an order that a C
//! compiler accepts, with the layout that the kernel has: padding, bit-fields,
//! packed structs. It means the same as what `bpftool btf dump … format c` prints
//! (libbpf's `btf_dump.c`), so programs written for that compile with this.
//!
//! # What it keeps
//!
//! 1. *Layout.* Every struct has the size and member offsets of its BTF; a test
//!    compiles assertions for all of them.
//! 2. *Names.* A second type of the same name gets `___2`, which CO-RE takes off
//!    again; the first keeps its name.
//! 3. *Bounds.* BTF may come from a stranger: depth and output are limited.
//!
//! Type tags (`__user`, `__rcu`) are left out: they say nothing about layout, and
//! the verifier reads them in the kernel's own BTF.
//!
//! [`order`] decides what is declared before what, [`names`] what things are
//! called, [`declare`] how C spells them.

mod declare;
mod names;
mod order;

use bpfkit_objects::btf::Btf;
use thiserror::Error;

/// Changed whenever the same BTF would give another header.
pub(crate) const VERSION: &str = "bpfkit-vmlinux-1";

/// The largest header that is written, in bytes. A distribution's kernel needs 3 MB.
const MAX_OUTPUT: usize = 64 << 20;

/// BTF whose types, spelt out, would be larger than any kernel's: it repeats itself on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Error)]
#[error("its types, spelt out in C, are larger than {} MiB", MAX_OUTPUT >> 20)]
pub struct TooLarge;

const TOP: &str = "\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

/* Made by bpfkit from a kernel's BTF. */

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

";

const BOTTOM: &str = "\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
";

/// The header for a kernel.
pub fn header(btf: &Btf) -> Result<String, TooLarge> {
    let mut out = String::from(TOP);
    let mut names = names::Names::new(btf);
    for item in order::order(btf) {
        declare::item(btf, &mut names, item, &mut out);
        if out.len() > MAX_OUTPUT {
            return Err(TooLarge);
        }
    }
    out.push_str(BOTTOM);
    Ok(out)
}
