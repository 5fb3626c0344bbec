//! What the kernel knows by heart: GPL-only helpers, GPL-compatible licenses, how it hashes a program.

use crate::insn::Insn;

/// Helpers with `.gpl_only = true` (Linux 6.18: asked from a running kernel's verifier for every program type, and
/// `probe_write_user` and `override_return` from `kernel/trace/bpf_trace.c`).
const GPL_ONLY: [u32; 41] = [
    4, 6, 22, 25, 27, 35, 36, 45, 55, 56, 58, 67, 69, 100, 110, 111, 112, 113, 114, 115, 119, 121, 126, 127, 150, 158,
    163, 165, 169, 170, 171, 172, 173, 175, 176, 177, 191, 204, 205, 206, 207,
];

/// Whether the kernel lets only GPL-compatible programs call that helper.
pub fn is_gpl_only(helper: u32) -> bool {
    GPL_ONLY.binary_search(&helper).is_ok()
}

/// Whether the kernel counts a license as compatible with the GPL (`license_is_gpl_compatible`, letter by letter).
pub fn is_gpl_compatible(license: &str) -> bool {
    matches!(license, "GPL" | "GPL v2" | "GPL and additional rights" | "Dual BSD/GPL" | "Dual MIT/GPL" | "Dual MPL/GPL")
}

/// Instructions as `bpf_prog_calc_tag` hashes them: descriptors differ from load to load, so both halves of a map's
/// load count as 0.
pub(super) fn tag_bytes(instructions: &[Insn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(instructions.len().saturating_mul(8));
    let mut second_half = false;
    for insn in instructions {
        let is_map = insn.is_map_load() && !second_half;
        let insn = if is_map || second_half { Insn { imm: 0, ..*insn } } else { *insn };
        second_half = is_map;
        bytes.extend(insn.encode());
    }
    bytes
}
