//! Whether a body reads registers that it hasn't set.
//!
//! Pure. Alone, such a program is refused, since a program finds the context in `r1` and
//! nothing in the others. Behind another body they hold what that one left, and the verifier
//! would say nothing. So such a body isn't spliced: called, it is refused as it is alone.
//! How many arguments a helper reads isn't known here; reads of the stack aren't looked at either.

use std::collections::BTreeMap;

use bpfkit_objects::insn::{Insn, class};

use super::Component;

/// A set of registers, a bit each.
type Registers = u16;

/// `r1`, the context, and `r10`, the frame.
const AT_ENTRY: Registers = 1 << 1 | 1 << 10;
/// `r1` to `r5`, which a call leaves undefined.
const CLOBBERED: Registers = 0b11_1110;
/// `BPF_MOV`, in the opcode's upper four bits.
const MOV: u8 = 0xb0;
/// `may_goto`, `BPF_JCOND`, in the opcode's upper four bits: it asks no register.
const MAY_GOTO: u8 = 0xe0;
/// `BPF_ATOMIC`, in the opcode's upper three bits.
const ATOMIC: u8 = 0xc0;
/// `BPF_FETCH` and `BPF_CMPXCHG`, in the immediate of an atomic operation.
const FETCH: i32 = 0x01;
const CMPXCHG: i32 = 0xf1;
/// `BPF_LOAD_ACQ` (Linux 6.15), which is a load.
const LOAD_ACQUIRE: i32 = 0x100;

/// Whether every register that the body reads was set before, on every way that leads there.
pub(super) fn are_set(component: &Component) -> bool {
    let code: BTreeMap<usize, Insn> = component.code().take_while(|(at, _)| *at < component.body()).collect();
    // What is surely set before each instruction; it only ever shrinks, so this ends.
    let mut before: BTreeMap<usize, Registers> = BTreeMap::from([(0, AT_ENTRY)]);
    let mut todo = vec![0];
    while let Some(at) = todo.pop() {
        let (Some(insn), Some(set)) = (code.get(&at).copied(), before.get(&at).copied()) else { continue };
        if reads(insn) & !set != 0 {
            return false;
        }
        let after = writes(insn, set);
        let width = if insn.is_ld_imm64() { 2 } else { 1 };
        let next = (!insn.is_exit() && !insn.is_plain_jump()).then(|| at + width);
        let jump = insn.jump().and_then(|by| (at + 1).checked_add_signed(isize::try_from(by).ok()?));
        for to in [next, jump].into_iter().flatten() {
            let known = before.get(&to).copied();
            let joined = known.map_or(after, |known| known & after);
            if known != Some(joined) {
                before.insert(to, joined);
                todo.push(to);
            }
        }
    }
    true
}

fn bit(register: u8) -> Registers {
    1_u16.checked_shl(u32::from(register)).unwrap_or_default()
}

fn reads(insn: Insn) -> Registers {
    let (dst, src) = (bit(insn.dst), bit(insn.src));
    let by_register = if insn.code & 0x08 != 0 { src } else { 0 };
    match insn.class() {
        class::ALU | class::ALU64 if insn.code & 0xf0 == MOV => by_register,
        // `BPF_END` has the direction where others have the source.
        class::ALU | class::ALU64 if insn.code & 0xf0 == 0xd0 => dst,
        class::ALU | class::ALU64 => dst | by_register,
        class::LDX => src,
        class::ST => dst,
        class::STX if insn.code & 0xe0 == ATOMIC && insn.imm == CMPXCHG => dst | src | bit(0),
        class::STX if insn.code & 0xe0 == ATOMIC && insn.imm == LOAD_ACQUIRE => src,
        class::STX => dst | src,
        _ if insn.is_exit() => bit(0),
        _ if insn.is_jump() && !insn.is_plain_jump() && insn.code & 0xf0 != MAY_GOTO => dst | by_register,
        _ => 0,
    }
}

/// What is set after the instruction, if `set` was before.
fn writes(insn: Insn, set: Registers) -> Registers {
    match insn.class() {
        class::ALU | class::ALU64 | class::LDX => set | bit(insn.dst),
        class::LD if insn.is_ld_imm64() => set | bit(insn.dst),
        class::STX if insn.code & 0xe0 == ATOMIC && insn.imm == CMPXCHG => set | bit(0),
        class::STX if insn.code & 0xe0 == ATOMIC && insn.imm == LOAD_ACQUIRE => set | bit(insn.dst),
        class::STX if insn.code & 0xe0 == ATOMIC && insn.imm & FETCH != 0 => set | bit(insn.src),
        _ if insn.is_call() => set & !CLOBBERED | bit(0),
        _ => set,
    }
}
