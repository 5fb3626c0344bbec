//! What the kernel is told about a fused program: its functions, their types, its lines of source.
//!
//! Pure. With it the kernel accepts callbacks, tail calls in functions, global functions
//! that it verifies by themselves, and names functions and lines in its messages, in
//! `bpftool prog dump` and in profiles. Rules: `check_btf_func` and `check_btf_line` of
//! `kernel/bpf/verifier.c` (Linux 6.18): a record for each function, the first for main; lines
//! ascending, none within a load of 64 bits, and one at the start of each function.

use std::collections::BTreeMap;

use bpfkit_objects::{
    btf::{
        Linkage, Merger, TypeId,
        merge::{Added, Wanted},
    },
    insn::Insn,
};
use bpfkit_schemas::names::ProgramName;

use super::{Component, Fused};

/// Types, functions and lines, as `BPF_BTF_LOAD` and `BPF_PROG_LOAD` take them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FusedTypes {
    /// The BTF.
    pub btf: Vec<u8>,
    /// A `struct bpf_func_info` for each function: its first instruction, and its number among the types.
    pub functions: Vec<[u32; 2]>,
    /// A `struct bpf_line_info` for each line: its first instruction, the file's and the text's places among the
    /// names, and line and column in one word.
    pub lines: Vec<[u32; 4]>,
}

/// The file that lines of glue are said to be in.
const GLUE: &str = "bpfkit";

/// Merges the types of `components` for `fused`, whose main function is called `main`, and changes the numbers of
/// types that instructions hold. `None` where that would be more than a kernel takes.
pub(super) fn merge(fused: &mut Fused, components: &[&Component], main: &str) -> Option<FusedTypes> {
    let mut merger = Merger::new();
    // Without a main of ours the whole program is the one component.
    let is_whole = fused.functions.first().is_some_and(|first| first.of.is_some());
    let part = |component: &&'_ Component| Part::new(component, is_whole, &mut merger);
    let parts: BTreeMap<_, _> = components.iter().map(|c| c.name()).zip(components.iter().map(part)).collect();
    let mut functions = Vec::new();
    for function in &fused.functions {
        let known = function.of.as_ref().and_then(|(name, index)| parts.get(name)?.functions.get(*index).copied());
        let ty = known.unwrap_or_else(|| merger.function(main, Linkage::Global));
        functions.push([u32::try_from(function.start).ok()?, ty.0]);
    }
    renumber(fused, components, &parts);
    let lines = lines(fused, components, &mut merger)?;
    Some(FusedTypes { btf: merger.finish()?, functions, lines })
}

/// One component's numbers among the merged types.
struct Part {
    /// Of its functions.
    functions: Vec<TypeId>,
    /// Of the types that its instructions name.
    types: Vec<TypeId>,
}

impl Part {
    fn new(component: &Component, is_whole: bool, merger: &mut Merger) -> Self {
        let linkage = |index: usize, global: bool| {
            // A called entry is verified where it is called, as a static function: with the chain's context, and with
            // what is known of its answer, which some hooks restrict.
            if global && (index > 0 || is_whole) { Linkage::Global } else { Linkage::Static }
        };
        let functions = || component.functions().iter().enumerate();
        let wanted: Vec<_> = functions()
            .filter_map(|(index, f)| Some(Wanted { ty: f.ty?, linkage: linkage(index, f.global) }))
            .collect();
        let types: Vec<_> = component.type_refs().iter().map(|reference| reference.ty).collect();
        let added = component.types().map_or_else(Added::default, |btf| merger.add(btf, &types, &wanted));
        let mut known = added.functions.into_iter();
        let functions = functions()
            .map(|(index, f)| {
                let ty = f.ty.and_then(|_| known.next()).filter(|ty| *ty != TypeId::VOID);
                ty.unwrap_or_else(|| merger.function(&f.name, linkage(index, f.global)))
            })
            .collect();
        Self { functions, types: added.types }
    }
}

/// Writes the new numbers of types into the instructions that hold old ones.
fn renumber(fused: &mut Fused, components: &[&Component], parts: &BTreeMap<&ProgramName, Part>) {
    for span in &fused.spans {
        let Some(component) = components.iter().find(|component| *component.name() == span.program) else { continue };
        let Some(part) = parts.get(&span.program) else { continue };
        for (reference, ty) in component.type_refs().iter().zip(&part.types) {
            let Some(at) = reference.insn.checked_sub(span.from).map(|at| span.start + at) else { continue };
            if at >= span.end {
                continue;
            }
            if let Some(insn) = fused.instructions.get_mut(at) {
                insn.imm = i32::try_from(ty.0).unwrap_or_default();
            }
        }
    }
}

/// The lines of glue and of programs, by instruction.
fn lines(fused: &Fused, components: &[&Component], merger: &mut Merger) -> Option<Vec<[u32; 4]>> {
    let mut lines: BTreeMap<usize, [u32; 3]> = BTreeMap::new();
    let file = merger.text(GLUE);
    for (number, glue) in (1_u32..).zip(&fused.glue) {
        lines.insert(glue.at, [file, merger.text(&glue.text), place(number, 0)]);
    }
    for span in &fused.spans {
        let Some(component) = components.iter().find(|component| *component.name() == span.program) else { continue };
        // What comes first may belong to a line that begins before it.
        let first = component.line(span.from).map(|line| (span.from, line));
        let all = component.lines().iter().filter(|line| line.at >= span.from).map(|line| (line.at, line));
        for (at, line) in first.into_iter().chain(all) {
            let at = span.start + (at - span.from);
            if at < span.end {
                let texts = [merger.text(&line.file), merger.text(&line.text)];
                lines.insert(at, [texts[0], texts[1], place(line.line, line.column)]);
            }
        }
    }
    for function in &fused.functions {
        lines.entry(function.start).or_insert([file, 0, 0]);
    }
    // The second half of a load has a code that no instruction has.
    let stands = |at: usize| fused.instructions.get(at).is_some_and(|insn: &Insn| insn.code != 0);
    let ascending = lines.into_iter().filter(|(at, _)| stands(*at));
    ascending.map(|(at, [file, text, place])| Some([u32::try_from(at).ok()?, file, text, place])).collect()
}

/// Line and column in one word (`BPF_LINE_INFO_LINE_NUM`, `BPF_LINE_INFO_LINE_COL`).
fn place(line: u32, column: u32) -> u32 {
    line.min(0x3f_ffff) << 10 | column.min(0x3ff)
}
