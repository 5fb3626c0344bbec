//! A program that is ready to be fused: linked for this kernel, out of a trusted bundle.

mod link;

use std::collections::{BTreeMap, BTreeSet};

use bpfkit_objects::insn::{HELPER_TAIL_CALL, Insn, PSEUDO_BTF_ID, class};
use bpfkit_schemas::{names::ProgramName, object::ProgramType};

use super::FuseProblem;
use crate::live::MapKey;

/// A program with its subprograms, relocated for one kernel, its maps still by name.
///
/// Its instructions came out of a bundle that the trust decision let in: nothing
/// else makes one.
#[derive(Clone, Debug)]
pub struct Component {
    name: ProgramName,
    kind: ProgramType,
    license: License,
    frags: bool,
    instructions: Vec<Insn>,
    loads: Vec<MapLoad>,
    constants: BTreeMap<String, Constants>,
    lines: Vec<SourceLine>,
    /// What its maps and the kernel's symbols keep from being fused.
    problems: Vec<FuseProblem>,
}

/// A license, and what hangs on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct License {
    /// The object's words.
    pub text: String,
    /// Whether the kernel takes it as compatible with the GPL.
    pub compatible: bool,
    /// A helper that the program calls and that needs such a license.
    pub needed_by: Option<u32>,
}

/// A map of constants: `.rodata` and the like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Constants {
    /// Its bytes, globals filled in.
    pub(crate) image: Vec<u8>,
    /// `BPF_F_*` creation flags.
    pub(crate) flags: u32,
}

/// An instruction that loads a map, or a place in its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapLoad {
    /// The index of the first of the load's two instructions.
    pub at: usize,
    /// The map.
    pub map: ComponentMap,
}

/// A map of a component.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum ComponentMap {
    /// A map of the set.
    Set(MapKey),
    /// Constants (`.rodata` and the like), which belong to a load.
    Constant(String),
}

/// A line of C, from the instruction on at which it begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceLine {
    /// The first instruction.
    pub at: usize,
    /// The file, as the compiler was given it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// Its text; may be empty.
    pub text: String,
}

/// Modes of `BPF_LD` that read packets (`BPF_ABS`, `BPF_IND`), in the opcode's upper three bits.
const LD_MODE: u8 = 0xe0;
const LD_ABS: u8 = 0x20;
const LD_IND: u8 = 0x40;

impl Component {
    /// The program's name in the set.
    pub fn name(&self) -> &ProgramName {
        &self.name
    }

    /// Its type.
    pub fn kind(&self) -> ProgramType {
        self.kind
    }

    /// Its license.
    pub fn license(&self) -> &License {
        &self.license
    }

    /// Whether it knows multi-buffer packets.
    pub fn frags(&self) -> bool {
        self.frags
    }

    /// Its instructions, the entry function first.
    pub(crate) fn instructions(&self) -> &[Insn] {
        &self.instructions
    }

    /// Its map loads, ascending.
    pub(crate) fn loads(&self) -> &[MapLoad] {
        &self.loads
    }

    /// Its constants, by the object's name for the map.
    pub(crate) fn constants(&self) -> &BTreeMap<String, Constants> {
        &self.constants
    }

    /// The line of C that instruction `at` belongs to.
    pub fn line(&self, at: usize) -> Option<&SourceLine> {
        self.lines.iter().take_while(|line| line.at <= at).last()
    }

    /// The number of its functions: the entry, and whatever is called.
    pub(crate) fn functions(&self) -> usize {
        self.code().filter_map(|(at, insn)| target(at, insn)).collect::<BTreeSet<_>>().len() + 1
    }

    /// What keeps it from being fused. `alone` is whether it is the chain's only program.
    pub(crate) fn check(&self, alone: bool) -> Vec<FuseProblem> {
        let program = || self.name.clone();
        let mut problems = self.problems.clone();
        for (at, insn) in self.code() {
            let problem = if insn.helper() == Some(HELPER_TAIL_CALL.unsigned_abs()) {
                FuseProblem::TailCall { program: program() }
            } else if insn.is_func_load() {
                FuseProblem::Callback { program: program() }
            } else if insn.is_kfunc_call() {
                FuseProblem::KernelSymbol { program: program(), what: "function (kfunc)" }
            } else if insn.is_ld_imm64() && insn.src == PSEUDO_BTF_ID {
                FuseProblem::KernelSymbol { program: program(), what: "variable (`__ksym`)" }
            } else if insn.class() == class::LD && matches!(insn.code & LD_MODE, LD_ABS | LD_IND) && !alone {
                FuseProblem::PacketLoad { program: program() }
            } else if target(at, insn).is_some_and(|to| to >= self.instructions.len()) {
                FuseProblem::Malformed { program: program(), why: format!("instruction {at} calls what isn't there") }
            } else if insn.is_map_load() && !self.loads.iter().any(|load| load.at == at) {
                FuseProblem::Malformed {
                    program: program(),
                    why: format!("instruction {at} loads a map without a name"),
                }
            } else {
                continue;
            };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if self.instructions.is_empty() {
            problems.push(FuseProblem::Malformed { program: program(), why: "it has no instructions".to_owned() });
        }
        problems
    }

    /// The instructions with their indexes, without the second halves of 64-bit loads.
    fn code(&self) -> impl Iterator<Item = (usize, Insn)> + '_ {
        let mut second = false;
        self.instructions.iter().copied().enumerate().filter(move |(_, insn)| {
            let skip = second;
            second = !skip && insn.is_ld_imm64();
            !skip
        })
    }

    /// Makes one out of thin air, for tests of what is done with them.
    #[cfg(test)]
    pub(crate) fn of(name: &str, kind: ProgramType, instructions: Vec<Insn>) -> Self {
        Self {
            name: name.parse().unwrap(),
            kind,
            license: License { text: "GPL".to_owned(), compatible: true, needed_by: None },
            frags: false,
            instructions,
            loads: Vec::new(),
            constants: BTreeMap::new(),
            lines: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Changes what [`Component::of`] made.
    #[cfg(test)]
    pub(crate) fn with(mut self, change: impl FnOnce(&mut ComponentParts<'_>)) -> Self {
        change(&mut ComponentParts {
            license: &mut self.license,
            frags: &mut self.frags,
            loads: &mut self.loads,
            lines: &mut self.lines,
        });
        self
    }
}

/// What a test may change of a component.
#[cfg(test)]
pub(crate) struct ComponentParts<'a> {
    pub(crate) license: &'a mut License,
    pub(crate) frags: &'a mut bool,
    pub(crate) loads: &'a mut Vec<MapLoad>,
    pub(crate) lines: &'a mut Vec<SourceLine>,
}

/// The index of the function that an instruction calls; out of range where it calls what isn't there.
fn target(at: usize, insn: Insn) -> Option<usize> {
    if !insn.is_subprogram_call() {
        return None;
    }
    let to = i64::try_from(at).unwrap_or(i64::MAX).saturating_add(1 + i64::from(insn.imm));
    Some(usize::try_from(to).unwrap_or(usize::MAX))
}
