//! Joins the programs of a chain into one program.
//!
//! Pure. The fused program calls each component as a function with the context, looks
//! at its verdict, and goes on or returns it:
//!
//! ```text
//!         r6 = r1                     the context, kept
//!         r1 = r6
//!         call guard
//!         if w0 == 2 goto +1          one line per verdict of proceed_on
//!         exit
//!         r1 = r6
//!         call meter                  the last one's verdict stands
//!         exit
//! guard:  …
//! meter:  …
//! ```
//!
//! Verdicts are compared as 32 bits (`BPF_JMP32`), as the kernel reads a program's
//! answer: what a program leaves in the upper half of `r0` is nobody's business, and
//! -1 is -1 however it was made. A program that is alone in its chain is the whole
//! program, without a call. A program that is in its chain twice is carried once and
//! called twice. What follows a program whose `proceed_on` is empty can't be reached
//! and is left out, since the verifier refuses dead code.
//!
//! A component's own subprograms come along; calls are relative and stay right.
//! *Global* functions are carried as static ones: the fused program has no type
//! information, so the verifier checks them at each call with what is really passed,
//! which allows more than checking them alone would, and costs verification time.
//!
//! The result depends on nothing but the arguments, so that two hosts, or one host
//! twice, make the same program. What this form can't carry is refused here, when the
//! plan is made, with all reasons at once ([`FuseProblem`]).

mod chain;
mod component;
mod entries;
mod license;
mod linker;
mod problem;

use std::collections::BTreeSet;

use bpfkit_objects::insn::{CALL, EXIT, Insn, PSEUDO_CALL, class};
use bpfkit_schemas::{
    hook::{Hook, ProceedOn},
    names::ProgramName,
};

pub use chain::FusedChain;
pub use component::{Component, ComponentMap, License, MapLoad, SourceLine};
pub use entries::Entries;
pub use linker::Linker;
pub use problem::FuseProblem;

/// The version of what [`fuse`] puts between programs. It is part of each chain's
/// record, so that an upgrade of bpfkit that changes it replaces live chains.
pub const GLUE_VERSION: u32 = 1;

/// The maps that a chain may use: the kernel's 64 (`MAX_USED_MAPS`) less the record.
pub const MAX_MAPS: usize = 63;
/// The instructions that the kernel takes from a privileged loader (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const MAX_INSTRUCTIONS: usize = 1_000_000;
/// The functions that one program may have (`BPF_MAX_SUBPROGS`).
pub const MAX_FUNCTIONS: usize = 256;

/// `BPF_ALU64 | BPF_MOV | BPF_X`.
const MOV64: u8 = 0xbf;
/// `BPF_JMP32 | BPF_JEQ | BPF_K`.
const JEQ32: u8 = 0x16;

/// One program of a chain, and when the chain goes on after it.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The program.
    pub component: &'a Component,
    /// The verdicts after which the next one runs; the last one isn't asked.
    pub proceed_on: &'a ProceedOn,
}

/// A whole chain as one program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fused {
    /// The instructions. Loads of maps hold no descriptor yet.
    pub instructions: Vec<Insn>,
    /// Which instructions load which maps, ascending.
    pub loads: Vec<FusedLoad>,
    /// Which instructions came from which program, ascending; what lies in no span is glue.
    pub spans: Vec<ComponentSpan>,
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
}

impl Fused {
    /// The distinct maps, ascending.
    pub fn maps(&self) -> BTreeSet<&FusedMap> {
        self.loads.iter().map(|load| &load.map).collect()
    }

    /// The program that instruction `at` came from, and its index there.
    pub fn locate(&self, at: usize) -> Option<(&ProgramName, usize)> {
        let span = self.spans.iter().find(|span| (span.start..span.end).contains(&at))?;
        Some((&span.program, at - span.start))
    }
}

/// Joins `hops`, which run at `hook`, into one program, or says everything that is in the way.
pub fn fuse(hook: Hook, hops: &[Hop<'_>]) -> Result<Fused, Vec<FuseProblem>> {
    let mut problems = check(hook, hops);
    // What can be reached: everything up to the first program after which the chain never goes on.
    let reached = hops.iter().position(|hop| hop.proceed_on.is_empty()).map_or(hops.len(), |last| last + 1);
    let hops = hops.get(..reached.min(hops.len())).unwrap_or_default();
    if let Err(license) = license::of(hops) {
        problems.push(license);
    }
    let fused = join(hops);
    problems.extend(check_size(&fused, hops));
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
        problems.extend(component.check(hops.len() == 1));
    }
    let frags = |wanted: bool| hops.iter().find(|hop| hop.component.frags() == wanted).map(|hop| hop.component.name());
    if let (Some(with), Some(without)) = (frags(true), frags(false)) {
        problems.push(FuseProblem::Frags { with: with.clone(), without: without.clone() });
    }
    problems
}

fn check_size(fused: &Fused, hops: &[Hop<'_>]) -> Vec<FuseProblem> {
    let mut problems = Vec::new();
    let maps = fused.maps().len();
    if maps > MAX_MAPS {
        problems.push(FuseProblem::TooManyMaps { maps });
    }
    let instructions = fused.instructions.len();
    if instructions > MAX_INSTRUCTIONS {
        problems.push(FuseProblem::TooLong { instructions });
    }
    let functions = usize::from(hops.len() > 1) + distinct(hops).iter().map(|c| c.functions()).sum::<usize>();
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

fn join(hops: &[Hop<'_>]) -> Fused {
    let components = distinct(hops);
    let main = if hops.len() > 1 { hops.iter().map(|hop| 3 + hop.proceed_on.iter().count()).sum() } else { 0 };
    let mut fused = Fused {
        instructions: Vec::new(),
        loads: Vec::new(),
        spans: Vec::new(),
        license: license::of(hops).unwrap_or_default(),
        frags: hops.first().is_some_and(|hop| hop.component.frags()),
    };
    if let (Some(last), 2..) = (hops.len().checked_sub(1), hops.len()) {
        // Main: `r6 = r1`, three and its verdicts for each but the last, three for the last.
        let glue = 1 + main - hops.last().map_or(0, |hop| hop.proceed_on.iter().count());
        let mut start = glue;
        let mut starts = Vec::new();
        for component in &components {
            starts.push((component.name(), start));
            start += component.instructions().len();
        }
        fused.instructions.push(mov(6, 1));
        for (at, hop) in hops.iter().enumerate() {
            let target = starts.iter().find(|(name, _)| *name == hop.component.name()).map_or(0, |(_, start)| *start);
            fused.instructions.push(mov(1, 6));
            let next = fused.instructions.len() + 1;
            fused.instructions.push(call(target.saturating_sub(next)));
            if at < last {
                fused.instructions.extend(go_on(hop.proceed_on));
            }
            fused.instructions.push(Insn { code: EXIT, ..Insn::default() });
        }
    }
    for component in components {
        let start = fused.instructions.len();
        fused.instructions.extend_from_slice(component.instructions());
        fused.loads.extend(component.loads().iter().map(|load| FusedLoad {
            at: start + load.at,
            map: match &load.map {
                ComponentMap::Set(key) => FusedMap::Set(key.clone()),
                ComponentMap::Constant(name) => FusedMap::Constant(component.name().clone(), name.clone()),
            },
        }));
        let end = fused.instructions.len();
        fused.spans.push(ComponentSpan { program: component.name().clone(), start, end });
    }
    fused
}

fn mov(dst: u8, src: u8) -> Insn {
    Insn { code: MOV64, dst, src, ..Insn::default() }
}

/// Calls a function that lies `distance` instructions after the next one.
fn call(distance: usize) -> Insn {
    // Programs are far shorter than 2^31 instructions; `check_size` says so.
    Insn { code: CALL, src: PSEUDO_CALL, imm: i32::try_from(distance).unwrap_or(i32::MAX), ..Insn::default() }
}

/// Jumps over the `exit` that follows if `w0` is one of the verdicts.
fn go_on(proceed_on: &ProceedOn) -> Vec<Insn> {
    let count = proceed_on.iter().count();
    proceed_on
        .iter()
        .enumerate()
        .map(|(at, verdict)| Insn {
            code: JEQ32,
            // Over the comparisons that are left, and the exit. More than 32,767 verdicts don't fit; `Component`s of
            // a checked manifest have a handful, and the verifier refuses a jump that goes elsewhere.
            off: i16::try_from(count - at).unwrap_or(i16::MAX),
            imm: verdict,
            ..Insn::default()
        })
        .collect()
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

const _: () = assert!(class::JMP32 == JEQ32 & 7 && class::ALU64 == MOV64 & 7);

#[cfg(test)]
mod tests;
