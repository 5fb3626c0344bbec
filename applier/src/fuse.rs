//! Joins the programs of a chain into one program.
//!
//! Pure. Each program's body is put into the one program, its exits turned into jumps to
//! a few generated instructions that compare the verdict with the program's `proceed_on`
//! and go on or end the chain. What can't be put there ([`Why`]) is called as a function:
//!
//! ```text
//!         *(u64 *)(r10 - 8) = r1      the context, kept
//!         …                           guard, spliced
//!         if w0 != 2 goto end         one line per verdict of proceed_on
//!         r1 = *(u64 *)(r10 - 8)
//!         call limit                  it makes tail calls
//!         if w0 != 2 goto end
//!         r1 = *(u64 *)(r10 - 8)
//!         …                           meter, spliced; the last one's verdict stands
//! end:    exit
//! limit:  …
//! ```
//!
//! Verdicts are compared as 32 bits (`BPF_JMP32`), as the kernel reads a program's
//! answer: what a program leaves in the upper half of `r0` is nobody's business, and
//! -1 is -1 however it was made. A program that is alone in its chain is the whole
//! program, as it came. A program that is in its chain twice is spliced twice, its other
//! functions are carried once. What follows a program whose `proceed_on` is empty can't be reached
//! and is left out, since the verifier refuses dead code.
//!
//! A component's own functions come along, and what its object says of them: names, types,
//! lines of C ([`FusedTypes`]). So callbacks and tail calls work as they do alone, and *global*
//! functions are verified once, by themselves.
//!
//! The result depends on nothing but the arguments, so that two hosts, or one host
//! twice, make the same program. What this form can't carry is refused here, when the
//! plan is made, with all reasons at once ([`FuseProblem`]).
//!
//! | module | what |
//! | --- | --- |
//! | [`component`], [`linker`] | a trusted bundle → programs that can be fused |
//! | [`form`], [`splice`], [`registers`] | which is spliced and which is called, and why |
//! | [`join`], [`pack`] | the instructions; constants that share a map |
//! | [`merge`] | BTF, functions and lines |

mod chain;
mod component;
mod entries;
mod form;
mod join;
mod license;
mod linker;
mod merge;
mod pack;
mod problem;
mod registers;
mod splice;

use std::collections::{BTreeMap, BTreeSet};

use bpfkit_objects::insn::Insn;
use bpfkit_schemas::{
    hook::{Hook, ProceedOn},
    names::ProgramName,
};

pub use chain::FusedChain;
pub(crate) use chain::program_name;
pub use component::{Component, ComponentMap, License, MapLoad, SourceLine};
pub use entries::Entries;
pub use form::{Form, Why};
pub use linker::Linker;
pub use merge::FusedTypes;
pub use problem::FuseProblem;

/// The version of what [`fuse`] puts between programs. It is part of each chain's
/// record, so that an upgrade of bpfkit that changes it replaces live chains.
pub const GLUE_VERSION: u32 = 2;

/// The maps that a chain may use: the kernel's 64 (`MAX_USED_MAPS`) less the record.
pub const MAX_MAPS: usize = 63;
/// The instructions that the kernel takes from a privileged loader (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const MAX_INSTRUCTIONS: usize = 1_000_000;
/// The functions that one program may have (`BPF_MAX_SUBPROGS`).
pub const MAX_FUNCTIONS: usize = 256;

/// One program of a chain, and when the chain goes on after it.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The program.
    pub component: &'a Component,
    /// The verdicts after which the next one runs; the last one isn't asked.
    pub proceed_on: &'a ProceedOn,
}

/// A whole chain as one program.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fused {
    /// The instructions. Loads of maps hold no descriptor yet.
    pub instructions: Vec<Insn>,
    /// Which instructions load which maps, ascending.
    pub loads: Vec<FusedLoad>,
    /// Which instructions came from which program, ascending; what lies in no span is glue.
    pub spans: Vec<ComponentSpan>,
    /// Its functions, ascending; the first is main.
    pub functions: Vec<FusedFunction>,
    /// What the glue does, by instruction, ascending.
    pub glue: Vec<GlueLine>,
    /// How each of the chain's programs is carried, in the chain's order.
    pub forms: Vec<Form>,
    /// Constants that share a map, by the flags that it is created with.
    pub packed: BTreeMap<u32, Vec<u8>>,
    /// The license that is declared to the kernel.
    pub license: String,
    /// Whether the chain knows multi-buffer packets.
    pub frags: bool,
}

/// A 64-bit load of a map, or of a place in its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FusedLoad {
    /// The index of the load's first instruction.
    pub at: usize,
    /// The map.
    pub map: FusedMap,
}

/// A map of a fused program.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum FusedMap {
    /// A map of the set.
    Set(crate::live::MapKey),
    /// Constants of one program (`.rodata`), made for each load.
    Constant(ProgramName, String),
    /// Constants of several programs, in a map with these flags.
    Packed(u32),
}

/// A function of a fused program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FusedFunction {
    /// Its first instruction.
    pub start: usize,
    /// Whose it is, and its number there; `None` for the chain's own.
    pub of: Option<(ProgramName, usize)>,
}

/// What the glue does from an instruction on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GlueLine {
    /// The instruction.
    pub at: usize,
    /// In words.
    pub text: String,
}

/// Where a program's instructions lie in the fused one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ComponentSpan {
    /// The program.
    pub program: ProgramName,
    /// Its first instruction.
    pub start: usize,
    /// One past its last.
    pub end: usize,
    /// What the first one's index is in the program itself.
    pub from: usize,
}

impl Fused {
    /// The distinct maps, ascending.
    pub fn maps(&self) -> BTreeSet<&FusedMap> {
        self.loads.iter().map(|load| &load.map).collect()
    }

    /// The program that instruction `at` came from, and its index there.
    pub fn locate(&self, at: usize) -> Option<(&ProgramName, usize)> {
        let span = self.spans.iter().find(|span| (span.start..span.end).contains(&at))?;
        Some((&span.program, at - span.start + span.from))
    }
}

/// Joins `hops`, which run at `hook`, into one program, or says everything that is in the way.
pub fn fuse(hook: Hook, hops: &[Hop<'_>]) -> Result<Fused, Vec<FuseProblem>> {
    let mut problems = check(hook, hops);
    // What can be reached: everything up to the first program after which the chain never goes on.
    let reached = hops.iter().position(|hop| hop.proceed_on.is_empty()).map_or(hops.len(), |last| last + 1);
    let left_out = hops.len().saturating_sub(reached);
    let hops = hops.get(..reached.min(hops.len())).unwrap_or_default();
    let license = license::of(hops).unwrap_or_else(|problem| {
        problems.push(problem);
        String::new()
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let components = distinct(hops);
    // Before anything looks at each function of each program.
    let problems_of_size = check_least(&components);
    if !problems_of_size.is_empty() {
        return Err(problems_of_size);
    }
    let forms = form::forms(&components, hops.len() == 1);
    let mut fused = join::join(hops, &components, &forms);
    fused.license = license;
    fused.frags = hops.first().is_some_and(|hop| hop.component.frags());
    let form = |hop: &Hop<'_>| forms.get(hop.component.name()).copied();
    fused.forms = hops.iter().filter_map(form).chain(std::iter::repeat_n(Form::LeftOut, left_out)).collect();
    pack::pack(&mut fused, &components);
    problems.extend(check_size(&fused));
    if problems.is_empty() { Ok(fused) } else { Err(problems) }
}

/// What is wrong with the programs, each by itself and as a chain.
fn check(hook: Hook, hops: &[Hop<'_>]) -> Vec<FuseProblem> {
    let mut problems = Vec::new();
    if hops.is_empty() {
        problems.push(FuseProblem::Empty);
    }
    for component in distinct(hops) {
        if component.kind() != hook.program_type() {
            let program = component.name().clone();
            problems.push(FuseProblem::WrongType { program, kind: component.kind(), hook });
        }
        problems.extend(component.check());
    }
    let frags = |wanted: bool| hops.iter().find(|hop| hop.component.frags() == wanted).map(|hop| hop.component.name());
    if let (Some(with), Some(without)) = (frags(true), frags(false)) {
        problems.push(FuseProblem::Frags { with: with.clone(), without: without.clone() });
    }
    problems
}

/// What is too much however the programs are carried.
fn check_least(components: &[&Component]) -> Vec<FuseProblem> {
    let mut problems = Vec::new();
    let instructions = components.iter().map(|component| component.instructions().len()).sum();
    if instructions > MAX_INSTRUCTIONS {
        problems.push(FuseProblem::TooLong { instructions });
    }
    // An entry that is spliced is no function any more.
    let functions = components.iter().map(|component| component.functions().len().saturating_sub(1)).sum();
    if functions > MAX_FUNCTIONS {
        problems.push(FuseProblem::TooManyFunctions { functions });
    }
    problems
}

fn check_size(fused: &Fused) -> Vec<FuseProblem> {
    let mut problems = Vec::new();
    let maps = fused.maps().len();
    if maps > MAX_MAPS {
        problems.push(FuseProblem::TooManyMaps { maps });
    }
    let instructions = fused.instructions.len();
    if instructions > MAX_INSTRUCTIONS {
        problems.push(FuseProblem::TooLong { instructions });
    }
    let functions = fused.functions.len();
    if functions > MAX_FUNCTIONS {
        problems.push(FuseProblem::TooManyFunctions { functions });
    }
    problems
}

/// The programs of a chain, each once, in the order in which they first run.
fn distinct<'a>(hops: &[Hop<'a>]) -> Vec<&'a Component> {
    let mut seen = BTreeSet::new();
    hops.iter().map(|hop| hop.component).filter(|component| seen.insert(component.name())).collect()
}

/// What a chain answers if its programs answer `verdicts`: the rule in words that [`fuse`] puts into instructions.
///
/// Verdicts are what `r0` holds, all 64 bits; the answer is 32, as the kernel reads it.
pub fn verdict(hops: &[(u64, &ProceedOn)]) -> Option<i32> {
    let mut answer = None;
    for (r0, proceed_on) in hops {
        #[expect(clippy::cast_possible_truncation, reason = "the kernel reads the lower half of r0")]
        let w0 = (*r0 as u32).cast_signed();
        answer = Some(w0);
        if !proceed_on.contains(w0) {
            break;
        }
    }
    answer
}

#[cfg(test)]
mod tests;
