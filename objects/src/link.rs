//! One entry program of an object, made ready for a kernel: [`Object`] → [`Linked`].
//!
//! Pure; needs the kernel's BTF and nothing else of it. The result is what libbpf
//! would pass to `BPF_PROG_LOAD`, but that map descriptors are left 0 and listed
//! ([`MapRef`]) for whoever creates the maps.
//!
//! 1. CO-RE relocations are applied to the entry and to every subprogram that it
//!    reaches ([`crate::core_relo`]).
//! 2. Subprograms are appended behind the entry in the order in which libbpf meets
//!    them, each once, and calls are pointed at them.
//! 3. References to maps and variables become 64-bit loads of the kernel's pseudo kinds.
//! 4. What the kernel must provide by name isn't resolved: it is listed in [`Uses`], and
//!    the instruction is left in a form that every verifier refuses ([`Linked::unresolved`]).

mod code;
mod known;
mod maps;
mod problem;

use std::collections::BTreeSet;

use bpfkit_schemas::{
    Digest,
    chain::Globals,
    object::{MapDescriptor, ProgramType},
};

pub use known::{is_gpl_compatible, is_gpl_only};
pub use maps::special;
pub use problem::LinkProblem;

use crate::{
    btf::{Btf, TypeId},
    core_relo::CoreKind,
    elf::Object,
    insn::Insn,
};

/// An entry program with everything that belongs to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Linked {
    /// The entry's function.
    pub function: String,
    /// Its section's name.
    pub section: String,
    /// What the section's name means; `None` where libbpf knows no such section.
    pub kind: Option<ProgramType>,
    /// The `expected_attach_type` that the section's name asks for; 0 where it asks for none.
    pub attach_type: u32,
    /// Whether the section's name asks for multi-buffer XDP.
    pub frags: bool,
    /// Whether the section's name asks for a program that may sleep.
    pub sleepable: bool,
    /// The object's license.
    pub license: String,
    /// All instructions: the entry's, then those of the subprograms.
    pub instructions: Vec<Insn>,
    /// Where functions start; the entry is the first one.
    pub subprograms: Vec<Subprogram>,
    /// Which instructions need a map's descriptor.
    pub map_refs: Vec<MapRef>,
    /// The maps that those refer to, in the object's order.
    pub maps: Vec<LinkedMap>,
    /// Which instructions hold numbers of the object's types, ascending.
    pub type_refs: Vec<TypeRef>,
    /// Source lines, by instruction, ascending.
    pub lines: Vec<Line>,
    /// The helpers that are called, by number.
    pub helpers: BTreeSet<u32>,
    /// What else it uses.
    pub uses: Uses,
    /// What became of each CO-RE relocation, in the order of instructions.
    pub relocations: Vec<RelocationReport>,
}

/// A function in [`Linked::instructions`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subprogram {
    /// Its name.
    pub name: String,
    /// Its first instruction.
    pub start: usize,
    /// Whether the kernel is to verify it by itself.
    pub global: bool,
    /// Its `FUNC` among the object's types; `None` where the compiler noted none.
    pub ty: Option<TypeId>,
}

/// An instruction that holds the number of a type of the object (`bpf_core_type_id_local`): whoever gives
/// the types other numbers has to change it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TypeRef {
    /// The instruction.
    pub insn: usize,
    /// The type.
    pub ty: TypeId,
}

/// A 64-bit load that needs a map's descriptor in its first immediate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapRef {
    /// The load's first instruction.
    pub insn: usize,
    /// The index in [`Linked::maps`].
    pub map: usize,
    /// For an address inside the value, its offset (already in the second immediate); else the map itself is meant.
    pub value_offset: Option<u32>,
}

/// A map that the program uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkedMap {
    /// What the object says of it.
    pub descriptor: MapDescriptor,
    /// What global variables start as, with the manifest's values filled in; `None` for a declared map.
    pub initial: Option<Vec<u8>>,
    /// `map_extra`.
    pub extra: u64,
    /// The NUMA node, where one is asked for.
    pub numa_node: Option<u32>,
    /// What the maps in a map of maps look like.
    pub inner: Option<Box<LinkedMap>>,
    /// The key's C type, where the object says so.
    pub key_type: Option<String>,
    /// The value's C type, where the object says so.
    pub value_type: Option<String>,
    /// Stands for the names, types and places of everything in key and value: two maps with the same one
    /// can hold each other's entries. `None` where the object says nothing of the types.
    pub layout: Option<Digest>,
    /// What in the value the kernel must know by BTF: `bpf_spin_lock`, `bpf_timer`, `kptr`.
    pub special: Vec<String>,
}

/// A source line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// The first instruction that it made.
    pub insn: usize,
    /// The file, as the compiler was given it.
    pub file: String,
    /// 1-based line.
    pub line: u32,
    /// 1-based column.
    pub column: u32,
    /// The line's text; may be empty.
    pub text: String,
}

/// What a program uses that an engine may not carry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Uses {
    /// Whether it jumps into other programs (`bpf_tail_call`).
    pub tail_calls: bool,
    /// Functions whose address it takes, for `bpf_loop`, timers and the like.
    pub callbacks: Vec<String>,
    /// Kernel functions that it calls.
    pub kfuncs: Vec<String>,
    /// Kernel variables that it reads.
    pub ksyms: Vec<String>,
    /// Configuration values that it reads.
    pub kconfigs: Vec<String>,
    /// How many CO-RE relocations found nothing and left an instruction that only dead code may hold.
    pub poisoned: usize,
}

/// What became of one CO-RE relocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelocationReport {
    /// The instruction, counted from the start of `function`.
    pub insn: usize,
    /// The function.
    pub function: String,
    /// What it asks.
    pub kind: CoreKind,
    /// The access as C would write it: `struct task_struct.pid`.
    pub access: String,
    /// File and line, where the compiler noted them.
    pub line: Option<(String, u32)>,
    /// The answer.
    pub outcome: Outcome,
}

/// The answer to a CO-RE relocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is as the program was compiled.
    Found {
        /// The value.
        value: u64,
    },
    /// It is there, elsewhere or otherwise than the program was compiled.
    Moved {
        /// The compiled value.
        from: u64,
        /// The kernel's.
        to: u64,
    },
    /// It isn't there. An existence question was answered with 0; any other instruction is `poisoned`.
    Absent {
        /// Whether the instruction may only be dead code.
        poisoned: bool,
    },
    /// The kernel has several, which disagree; linking fails.
    Ambiguous {
        /// Each of them, for people.
        candidates: Vec<String>,
    },
}

impl Object {
    /// Links the entry program `entry` for the kernel whose types are `kernel`, with the manifest's `globals`.
    ///
    /// Every problem is reported, not the first alone.
    pub fn link(&self, entry: &str, kernel: &Btf, globals: &Globals) -> Result<Linked, Vec<LinkProblem>> {
        code::link(self, entry, kernel, globals)
    }

    /// What would become of every CO-RE relocation of `entry` on that kernel. Ambiguous ones are an
    /// answer here; a damaged relocation is a problem.
    pub fn relocations(&self, entry: &str, kernel: &Btf) -> Result<Vec<RelocationReport>, Vec<LinkProblem>> {
        code::relocations(self, entry, kernel)
    }
}

impl Linked {
    /// The helpers it calls that the kernel gives to GPL-compatible programs alone.
    pub fn gpl_only_helpers(&self) -> Vec<u32> {
        self.helpers.iter().copied().filter(|helper| is_gpl_only(*helper)).collect()
    }

    /// Whether the kernel counts its license as GPL-compatible.
    pub fn is_gpl_compatible(&self) -> bool {
        is_gpl_compatible(&self.license)
    }

    /// What the kernel must provide by name and bpfkit doesn't resolve: a program with any can't be loaded.
    pub fn unresolved(&self) -> Vec<LinkProblem> {
        problem::unresolved(&self.function, &self.uses)
    }

    /// The instructions' bytes with every map descriptor and value offset 0: what the kernel hashes for a
    /// program's tag (`bpf_prog_calc_tag`; SHA-256 since Linux 6.18, its first 8 bytes).
    pub fn tag_bytes(&self) -> Vec<u8> {
        known::tag_bytes(&self.instructions)
    }
}
