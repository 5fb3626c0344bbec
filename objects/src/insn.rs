//! One eBPF instruction, to and from its 8 bytes (RFC 9669, section 3). Pure.

/// One instruction; a 64-bit immediate load is two of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct Insn {
    /// The opcode: class in the low three bits.
    pub code: u8,
    /// The destination register.
    pub dst: u8,
    /// The source register, or what kind of immediate or call this is (`BPF_PSEUDO_*`).
    pub src: u8,
    /// A signed offset.
    pub off: i16,
    /// A signed immediate.
    pub imm: i32,
}

/// Instruction classes (`code & 7`).
pub mod class {
    /// Loads that aren't from memory.
    pub const LD: u8 = 0;
    /// Loads from memory into a register.
    pub const LDX: u8 = 1;
    /// Stores of an immediate.
    pub const ST: u8 = 2;
    /// Stores of a register.
    pub const STX: u8 = 3;
    /// 32-bit arithmetic.
    pub const ALU: u8 = 4;
    /// 64-bit jumps.
    pub const JMP: u8 = 5;
    /// 32-bit jumps.
    pub const JMP32: u8 = 6;
    /// 64-bit arithmetic.
    pub const ALU64: u8 = 7;
}

/// `BPF_LD | BPF_IMM | BPF_DW`: a 64-bit immediate, this and the next instruction's.
pub const LD_IMM64: u8 = 0x18;
/// `BPF_JMP | BPF_CALL`.
pub const CALL: u8 = 0x85;
/// `BPF_JMP | BPF_EXIT`.
pub const EXIT: u8 = 0x95;
/// `BPF_JMP | BPF_JA`: jump by `off`.
pub const JA: u8 = 0x05;
/// `BPF_JMP32 | BPF_JA`: jump by `imm` (`gotol`).
pub const JA32: u8 = 0x06;
/// `src` of [`LD_IMM64`]: the immediate is a map's descriptor.
pub const PSEUDO_MAP_FD: u8 = 1;
/// `src` of [`LD_IMM64`]: descriptor, and in the second immediate an offset into the map's value.
pub const PSEUDO_MAP_VALUE: u8 = 2;
/// `src` of [`LD_IMM64`]: the address of a kernel variable.
pub const PSEUDO_BTF_ID: u8 = 3;
/// `src` of [`LD_IMM64`]: the address of a subprogram, relative to this instruction.
pub const PSEUDO_FUNC: u8 = 4;
/// `src` of [`CALL`]: a subprogram, `imm` counts from the next instruction.
pub const PSEUDO_CALL: u8 = 1;
/// `src` of [`CALL`]: a kernel function.
pub const PSEUDO_KFUNC_CALL: u8 = 2;
/// The helper that jumps into another program (`bpf_tail_call`).
pub const HELPER_TAIL_CALL: i32 = 12;
/// The helper number that libbpf writes where a CO-RE relocation could not be resolved ("bad relo"):
/// the verifier refuses it unless the code is dead.
pub const POISON: i32 = 0x0bad_2310;

/// The mode of a load, in the opcode's upper three bits (`BPF_MODE`).
const LD_MODE: u8 = 0xe0;
const LD_ABS: u8 = 0x20;
const LD_IND: u8 = 0x40;

/// Instructions with their indexes, without the second halves of 64-bit loads.
pub fn code(instructions: &[Insn]) -> impl Iterator<Item = (usize, Insn)> + '_ {
    let mut second = false;
    instructions.iter().copied().enumerate().filter(move |(_, insn)| {
        let skip = second;
        second = !skip && insn.is_ld_imm64();
        !skip
    })
}

impl Insn {
    /// Reads an instruction's 8 little-endian bytes.
    pub fn decode(bytes: [u8; 8]) -> Self {
        let [code, registers, o0, o1, i0, i1, i2, i3] = bytes;
        Self {
            code,
            dst: registers & 0x0f,
            src: registers >> 4,
            off: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    /// Its 8 little-endian bytes.
    pub fn encode(self) -> [u8; 8] {
        let ([o0, o1], [i0, i1, i2, i3]) = (self.off.to_le_bytes(), self.imm.to_le_bytes());
        [self.code, self.dst & 0x0f | self.src << 4, o0, o1, i0, i1, i2, i3]
    }

    /// Reads a section's instructions; `None` where the length is no multiple of 8.
    pub fn decode_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        rest.is_empty().then(|| chunks.iter().map(|chunk| Self::decode(*chunk)).collect())
    }

    /// The bytes of many instructions.
    pub fn encode_all(instructions: &[Self]) -> Vec<u8> {
        instructions.iter().flat_map(|insn| insn.encode()).collect()
    }

    /// What stands in place of an instruction that could not be relocated.
    pub fn poison() -> Self {
        Self { code: CALL, imm: POISON, ..Self::default() }
    }

    /// Its class; see [`class`].
    pub fn class(self) -> u8 {
        self.code & 7
    }

    /// Whether it is the first half of a 64-bit immediate load.
    pub fn is_ld_imm64(self) -> bool {
        self.code == LD_IMM64
    }

    /// Whether it calls anything: helper, subprogram, kernel function.
    pub fn is_call(self) -> bool {
        self.code == CALL
    }

    /// The number of the helper that it calls, where it calls one.
    pub fn helper(self) -> Option<u32> {
        (self.is_call() && self.src == 0).then(|| u32::try_from(self.imm).ok()).flatten()
    }

    /// Whether it calls a subprogram of the same program.
    pub fn is_subprogram_call(self) -> bool {
        self.is_call() && self.src == PSEUDO_CALL
    }

    /// Whether it calls a kernel function by its BTF.
    pub fn is_kfunc_call(self) -> bool {
        self.is_call() && self.src == PSEUDO_KFUNC_CALL
    }

    /// Whether it loads the address of a map or of a place in a map's value.
    pub fn is_map_load(self) -> bool {
        self.is_ld_imm64() && matches!(self.src, PSEUDO_MAP_FD | PSEUDO_MAP_VALUE)
    }

    /// Whether it loads the address of a subprogram.
    pub fn is_func_load(self) -> bool {
        self.is_ld_imm64() && self.src == PSEUDO_FUNC
    }

    /// Whether it leaves the function.
    pub fn is_exit(self) -> bool {
        self.code == EXIT
    }

    /// Whether it jumps into another program (`bpf_tail_call`).
    pub fn is_tail_call(self) -> bool {
        self.is_call() && self.src == 0 && self.imm == HELPER_TAIL_CALL
    }

    /// Whether it reads the packet as classic BPF does (`LD_ABS`, `LD_IND`), and leaves its function where that fails.
    pub fn is_packet_load(self) -> bool {
        self.class() == class::LD && matches!(self.code & LD_MODE, LD_ABS | LD_IND)
    }

    /// Whether it jumps without a condition.
    pub fn is_plain_jump(self) -> bool {
        matches!(self.code, JA | JA32)
    }

    /// Whether it jumps, with a condition or without (calls and exits don't count).
    pub fn is_jump(self) -> bool {
        matches!(self.class(), class::JMP | class::JMP32) && !self.is_call() && !self.is_exit()
    }

    /// How far it jumps, counted from the next instruction, where it jumps.
    pub fn jump(self) -> Option<i32> {
        self.is_jump().then(|| if self.code == JA32 { self.imm } else { i32::from(self.off) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_survives_its_bytes() {
        let bytes = [0x18, 0x21, 0xfe, 0xff, 0x78, 0x56, 0x34, 0x92];
        let insn = Insn::decode(bytes);
        assert_eq!((insn.dst, insn.src, insn.off, insn.imm), (1, 2, -2, 0x9234_5678_u32.cast_signed()));
        assert_eq!(insn.encode(), bytes);
        assert!(insn.is_ld_imm64() && insn.is_map_load() && !insn.is_call());
    }

    #[test]
    fn half_an_instruction_is_none() {
        assert_eq!(Insn::decode_all(&[0; 12]), None);
        assert_eq!(Insn::decode_all(&[0; 16]).map(|all| all.len()), Some(2));
    }

    #[test]
    fn only_numbers_of_helpers_are_helpers() {
        let call = |src, imm| Insn { code: CALL, src, imm, ..Insn::default() };
        assert_eq!(call(0, 5).helper(), Some(5));
        assert_eq!(call(PSEUDO_CALL, 5).helper(), None);
        assert_eq!(call(PSEUDO_KFUNC_CALL, 5).helper(), None);
        assert_eq!(call(0, -1).helper(), None);
        assert_eq!(Insn { code: JA32, imm: 70_000, ..Insn::default() }.jump(), Some(70_000));
        assert_eq!(Insn { code: EXIT, ..Insn::default() }.jump(), None);
    }
}
