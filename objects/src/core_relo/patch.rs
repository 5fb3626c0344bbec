//! A relocation's value, written into its instruction (`bpf_core_patch_insn`).

use thiserror::Error;

use super::Resolution;
use crate::insn::{Insn, class};

/// Why a value can't be written.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum PatchProblem {
    /// The instruction is none that the compiler relocates.
    #[error("instruction {at} is none that can be relocated")]
    Instruction {
        /// Its index in the function.
        at: usize,
    },
    /// The instruction doesn't hold what the compiler's types say.
    #[error("instruction {at} holds {holds}, though the object's own types say {says}")]
    Unexpected {
        /// Its index in the function.
        at: usize,
        /// What it holds.
        holds: i64,
        /// What it should hold.
        says: u64,
    },
    /// The field is further from the struct's start than a load can say.
    #[error("instruction {at} can't reach byte {value}")]
    TooFar {
        /// Its index in the function.
        at: usize,
        /// The field's offset.
        value: u64,
    },
    /// The field has a size that no load has.
    #[error("instruction {at} can't load {size} bytes")]
    Size {
        /// Its index in the function.
        at: usize,
        /// Bytes.
        size: u32,
    },
}

const MODE_AND_CLASS: u8 = 0xe7;

/// Writes `resolution` into instruction `at`; poisons it where there is no value.
pub fn patch(instructions: &mut [Insn], at: usize, resolution: &Resolution) -> Result<(), PatchProblem> {
    let rest = instructions.get_mut(at..).unwrap_or_default();
    let (insn, second) = match rest {
        [] => return Err(PatchProblem::Instruction { at }),
        [insn] => (insn, None),
        [insn, second, ..] => (insn, Some(second)),
    };
    if resolution.poison {
        return poison(insn, second, at);
    }
    let (original, value) = (resolution.original, resolution.value);
    let expect = |holds: i64| {
        let as_expected = !resolution.validate || holds.cast_unsigned() == original;
        if as_expected { Ok(()) } else { Err(PatchProblem::Unexpected { at, holds, says: original }) }
    };
    let [low, high] = [low(value), low(value >> 32)];
    match insn.class() {
        class::ALU | class::ALU64 if insn.code & 0x08 == 0 => {
            expect(i64::from(insn.imm))?;
            insn.imm = low;
        }
        class::LDX | class::ST | class::STX => {
            expect(i64::from(insn.off))?;
            let offset = i16::try_from(value).map_err(|_| PatchProblem::TooFar { at, value })?;
            if resolution.wrong_size {
                // Reading fewer or more bytes would give another number, so nobody may run this.
                return poison(insn, second, at);
            }
            insn.off = offset;
            let (home, there) = resolution.sizes;
            if home != there {
                if size_of_access(insn.code) != home {
                    return Err(PatchProblem::Size { at, size: home });
                }
                let bits = match there {
                    8 => 0x18,
                    4 => 0x00,
                    2 => 0x08,
                    1 => 0x10,
                    size => return Err(PatchProblem::Size { at, size }),
                };
                insn.code = insn.code & MODE_AND_CLASS | bits;
            }
        }
        class::LD => {
            let second = second.filter(|second| {
                let bare = |insn: &Insn| (insn.src, insn.off) == (0, 0);
                insn.is_ld_imm64() && bare(insn) && bare(second) && (second.code, second.dst) == (0, 0)
            });
            let second = second.ok_or(PatchProblem::Instruction { at })?;
            let holds = i64::from(second.imm) << 32 | i64::from(insn.imm.cast_unsigned());
            expect(holds)?;
            insn.imm = low;
            second.imm = high;
        }
        _ => return Err(PatchProblem::Instruction { at }),
    }
    Ok(())
}

fn poison(insn: &mut Insn, second: Option<&mut Insn>, at: usize) -> Result<(), PatchProblem> {
    // Both halves of a 64-bit load, so that the verifier complains about the call rather than about the second half.
    if insn.is_ld_imm64() {
        *second.ok_or(PatchProblem::Instruction { at })? = Insn::poison();
    }
    *insn = Insn::poison();
    Ok(())
}

fn size_of_access(code: u8) -> u32 {
    match code & 0x18 {
        0x18 => 8,
        0x00 => 4,
        0x08 => 2,
        _ => 1,
    }
}

fn low(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}
