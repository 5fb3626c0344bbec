//! Whether a program's body can be put into the one program, and the body as it is then.
//!
//! Pure. In the one program all bodies have one stack frame, in whose first eight bytes
//! the context is kept. So a body's frame begins eight bytes further down, and every
//! use of `r10` is changed: the offset of a load or store, or the constant that is added to
//! a copy of `r10` in the instruction after it, as compilers write it. Everything below
//! keeps its place relative to everything else, and the verifier sees the whole. A body that
//! uses `r10` otherwise isn't changed but called, with a frame of its own.

use std::collections::BTreeSet;

use bpfkit_objects::insn::{Insn, JA, class};

use super::{Component, Why, registers};

/// The bytes of the frame that hold the context.
pub(super) const SLOT: i16 = 8;
/// The bytes of a frame (`MAX_BPF_STACK`).
pub(super) const STACK: u32 = 512;

/// `BPF_ALU64 | BPF_MOV | BPF_X`.
pub(super) const MOV64: u8 = 0xbf;
/// `BPF_ALU64 | BPF_ADD | BPF_K`.
const ADD64: u8 = 0x07;
/// `BPF_JMP | BPF_JCOND`: `may_goto`, for which the kernel puts a counter, and since Linux 6.16 a time, below the frame.
const MAY_GOTO: u8 = 0xe5;
const MAY_GOTO_STACK: u32 = 16;
/// The frame pointer.
const R10: u8 = 10;
/// `BPF_JMP | BPF_JA | BPF_X`: a jump to an address in a register.
const JA_REGISTER: u8 = 0x0d;

/// What keeps the body of a component from being spliced, if anything does.
pub(super) fn obstacle(component: &Component) -> Option<Why> {
    let end = component.body();
    if component.references().any(|(_, to)| to == 0) {
        return Some(Why::CalledByItself);
    }
    // Its exits become jumps of 16 bits.
    if i16::try_from(end).is_err() {
        return Some(Why::TooLong);
    }
    let body = || component.code().take_while(|(at, _)| *at < end);
    if body().any(|(_, insn)| insn.is_tail_call()) {
        return Some(Why::TailCalls);
    }
    if body().any(|(_, insn)| insn.is_packet_load()) {
        return Some(Why::PacketLoads);
    }
    let stays = |at: usize, insn: Insn| {
        insn.code != JA_REGISTER && insn.jump().is_none_or(|by| target(at, by).is_some_and(|to| to < end))
    };
    let falls_through = body().last().is_none_or(|(_, insn)| !insn.is_exit() && !insn.is_plain_jump());
    if falls_through || !body().all(|(at, insn)| stays(at, insn)) {
        return Some(Why::Jumps);
    }
    match lowest(component, 0, end) {
        None => Some(Why::StackUse),
        Some(depth) if depth + u32::from(SLOT.unsigned_abs()) > STACK => Some(Why::NoRoom),
        Some(_) => (!registers::are_set(component)).then_some(Why::Registers),
    }
}

/// How deep the frame of the function between `start` and `end` is, in bytes; `None` where it uses `r10` in a way
/// that doesn't show it.
pub(super) fn lowest(component: &Component, start: usize, end: usize) -> Option<u32> {
    let code: Vec<_> = component.code().filter(|(at, _)| (start..end).contains(at)).collect();
    let may_go = code.iter().any(|(_, insn)| insn.code == MAY_GOTO);
    let targets: BTreeSet<_> = code.iter().filter_map(|(at, insn)| target(*at, insn.jump()?)).collect();
    let mut lowest = 0;
    let mut copied = None;
    for (at, insn) in code {
        let from = copied.take();
        lowest = lowest.max(match use_of(insn) {
            _ if from.is_some_and(|register| register == insn.dst && insn.code == ADD64) && !targets.contains(&at) => {
                u32::try_from(insn.imm.checked_neg()?).ok().filter(|depth| (1..=STACK).contains(depth))?
            }
            _ if from.is_some() => return None,
            Use::None => 0,
            // Within the frame, and not a byte above it.
            Use::Memory(size) => {
                u32::try_from(-i32::from(insn.off)).ok().filter(|depth| (size..=STACK).contains(depth))?
            }
            Use::Copy => {
                copied = Some(insn.dst);
                0
            }
            Use::Other => return None,
        });
    }
    let more = if may_go { MAY_GOTO_STACK } else { 0 };
    copied.is_none().then_some(lowest + more)
}

/// The body of a component without [`obstacle`], its frame eight bytes further down. What it lets go on falls out of its end: an
/// `exit` becomes a jump there, and one that stands there goes. The body of the chain's last program keeps them.
pub(super) fn body(component: &Component, is_last: bool) -> Vec<Insn> {
    let mut code: Vec<_> = component.instructions().iter().take(component.body()).copied().collect();
    let mut copied = None;
    for (at, insn) in component.code().take_while(|(at, _)| *at < component.body()) {
        let Some(slot) = code.get_mut(at) else { break };
        match use_of(insn) {
            _ if copied.take() == Some(insn.dst) && insn.code == ADD64 => slot.imm = insn.imm - i32::from(SLOT),
            Use::Memory(_) => slot.off = insn.off - SLOT,
            Use::Copy => copied = Some(insn.dst),
            Use::None | Use::Other => {}
        }
    }
    if is_last {
        return code;
    }
    if code.last().is_some_and(|insn| insn.is_exit()) {
        code.pop();
    }
    let end = code.len();
    for (at, _) in component.code().filter(|(_, insn)| insn.is_exit()) {
        if let (Some(slot), Ok(off)) = (code.get_mut(at), i16::try_from(end.saturating_sub(at + 1))) {
            *slot = Insn { code: JA, off, ..Insn::default() };
        }
    }
    code
}

/// How an instruction uses `r10`.
enum Use {
    None,
    /// As the address of a load or store of so many bytes.
    Memory(u32),
    /// It is copied into another register.
    Copy,
    /// In another way.
    Other,
}

fn use_of(insn: Insn) -> Use {
    // `BPF_X`: the source is a register.
    let by_register = insn.code & 0x08 != 0;
    match insn.class() {
        class::LDX if insn.src == R10 => Use::Memory(size(insn)),
        // A load-acquire, of Linux 6.15, has its address here too.
        class::STX if insn.src == R10 => Use::Other,
        class::ST | class::STX if insn.dst == R10 => Use::Memory(size(insn)),
        class::ALU64 if insn.code == MOV64 && insn.src == R10 && insn.off == 0 && insn.dst != R10 => Use::Copy,
        class::ALU | class::ALU64 if insn.dst == R10 || by_register && insn.src == R10 => Use::Other,
        class::JMP | class::JMP32 if insn.is_jump() && (insn.dst == R10 || by_register && insn.src == R10) => {
            Use::Other
        }
        // The old packet loads, and address spaces.
        class::LD if !insn.is_ld_imm64() && insn.src == R10 => Use::Other,
        class::LD if insn.is_ld_imm64() && insn.dst == R10 => Use::Other,
        _ => Use::None,
    }
}

/// The bytes that a load or store moves (`BPF_SIZE`).
fn size(insn: Insn) -> u32 {
    match insn.code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

/// Where a jump at `at` by `by` leads.
fn target(at: usize, by: i32) -> Option<usize> {
    at.checked_add(1)?.checked_add_signed(isize::try_from(by).ok()?)
}
