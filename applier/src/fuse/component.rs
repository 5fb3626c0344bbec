//! A program that is ready to be fused: linked for this kernel, out of a trusted bundle.

mod link;

use std::{collections::BTreeMap, sync::Arc};

use bpfkit_objects::{
    btf::Btf,
    insn::{self, Insn, PSEUDO_BTF_ID},
    link::{Subprogram, TypeRef},
};
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
    functions: Vec<Subprogram>,
    lines: Vec<SourceLine>,
    types: Option<Arc<Btf>>,
    type_refs: Vec<TypeRef>,
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
    /// The column, from 1.
    pub column: u32,
    /// Its text; may be empty.
    pub text: String,
}

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

    /// The lines of C, by instruction, ascending.
    pub(crate) fn lines(&self) -> &[SourceLine] {
        &self.lines
    }

    /// Its functions in the order of instructions, the entry first.
    pub(crate) fn functions(&self) -> &[Subprogram] {
        &self.functions
    }

    /// The object's types; none where only tests know the program.
    pub(crate) fn types(&self) -> Option<&Btf> {
        self.types.as_deref()
    }

    /// The instructions that hold numbers of the object's types.
    pub(crate) fn type_refs(&self) -> &[TypeRef] {
        &self.type_refs
    }

    /// Where the entry's instructions end.
    pub(crate) fn body(&self) -> usize {
        self.functions.get(1).map_or(self.instructions.len(), |next| next.start)
    }

    /// Every call of a function of its own, and every load of the address of one, with the place that it leads to.
    pub(crate) fn references(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.code().filter_map(|(at, insn)| Some((at, reference(at, insn)?)))
    }

    /// What keeps it from being fused.
    pub(crate) fn check(&self) -> Vec<FuseProblem> {
        let program = || self.name.clone();
        let malformed = |why: String| FuseProblem::Malformed { program: program(), why };
        let mut problems = self.problems.clone();
        for (at, insn) in self.code() {
            let starts = |to: usize| self.functions.binary_search_by_key(&to, |function| function.start).is_ok();
            let problem = if insn.is_kfunc_call() {
                FuseProblem::KernelSymbol { program: program(), what: "function (kfunc)" }
            } else if insn.is_ld_imm64() && insn.src == PSEUDO_BTF_ID {
                FuseProblem::KernelSymbol { program: program(), what: "variable (`__ksym`)" }
            } else if reference(at, insn).is_some_and(|to| !starts(to)) {
                malformed(format!("instruction {at} calls what isn't there"))
            } else if insn.is_map_load() && self.loads.binary_search_by_key(&at, |load| load.at).is_err() {
                malformed(format!("instruction {at} loads a map without a name"))
            } else {
                continue;
            };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        if self.instructions.is_empty() {
            problems.push(malformed("it has no instructions".to_owned()));
        } else if self.functions.first().is_none_or(|entry| entry.start != 0) {
            problems.push(malformed("it doesn't begin with its entry".to_owned()));
        }
        problems
    }

    /// The instructions with their indexes, without the second halves of 64-bit loads.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, Insn)> + '_ {
        insn::code(&self.instructions)
    }

    /// Makes one out of thin air, for tests of what is done with them.
    #[cfg(test)]
    pub(crate) fn of(name: &str, kind: ProgramType, instructions: Vec<Insn>) -> Self {
        let mut component = Self {
            name: name.parse().unwrap(),
            kind,
            license: License { text: "GPL".to_owned(), compatible: true, needed_by: None },
            frags: false,
            instructions,
            loads: Vec::new(),
            constants: BTreeMap::new(),
            functions: Vec::new(),
            lines: Vec::new(),
            types: None,
            type_refs: Vec::new(),
            problems: Vec::new(),
        };
        let inside = component.references().map(|(_, to)| to).filter(|to| *to < component.instructions.len());
        let starts: std::collections::BTreeSet<_> = inside.chain([0]).collect();
        component.functions = starts
            .into_iter()
            .map(|start| Subprogram { name: format!("{name}_{start}"), start, global: false, ty: None })
            .collect();
        component
    }

    /// Changes what [`Component::of`] made.
    #[cfg(test)]
    pub(crate) fn with(mut self, change: impl FnOnce(&mut ComponentParts<'_>)) -> Self {
        change(&mut ComponentParts {
            license: &mut self.license,
            frags: &mut self.frags,
            loads: &mut self.loads,
            constants: &mut self.constants,
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
    pub(crate) constants: &'a mut BTreeMap<String, Constants>,
    pub(crate) lines: &'a mut Vec<SourceLine>,
}

/// The place that an instruction calls or whose address it loads; out of range where it isn't there.
fn reference(at: usize, insn: Insn) -> Option<usize> {
    if !insn.is_subprogram_call() && !insn.is_func_load() {
        return None;
    }
    let to = i64::try_from(at).unwrap_or(i64::MAX).saturating_add(1 + i64::from(insn.imm));
    Some(usize::try_from(to).unwrap_or(usize::MAX))
}
