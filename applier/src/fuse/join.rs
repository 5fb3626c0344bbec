//! The one program of a chain, instruction by instruction.
//!
//! Pure. Main comes first, then what it calls: of a called program all functions, of a
//! spliced one all but the entry, each program's once.

use std::collections::BTreeMap;

use bpfkit_objects::insn::{CALL, EXIT, Insn, PSEUDO_CALL, class};
use bpfkit_schemas::{hook::ProceedOn, names::ProgramName};

use super::{
    Component, ComponentMap, ComponentSpan, Form, Fused, FusedFunction, FusedLoad, FusedMap, GlueLine, Hop,
    splice::{self, MOV64, SLOT},
};

/// `BPF_JMP32 | BPF_JEQ | BPF_K`.
pub(super) const JEQ32: u8 = 0x16;
/// `BPF_JMP32 | BPF_JNE | BPF_K`.
pub(super) const JNE32: u8 = 0x56;
/// `BPF_STX | BPF_MEM | BPF_DW`.
pub(super) const STORE64: u8 = 0x7b;
/// `BPF_LDX | BPF_MEM | BPF_DW`.
pub(super) const LOAD64: u8 = 0x79;
/// The register that holds the context where nothing is spliced: calls preserve it.
const KEPT: u8 = 6;

const _: () = assert!(class::JMP32 == JEQ32 & 7 && class::ALU64 == MOV64 & 7 && class::STX == STORE64 & 7);

/// Joins `hops`, of which `components` has each program once, in these forms.
pub(super) fn join(hops: &[Hop<'_>], components: &[&Component], forms: &BTreeMap<ProgramName, Form>) -> Fused {
    let mut join = Join { fused: Fused::default(), forms, ends: Vec::new(), calls: Vec::new(), most: most(hops) };
    join.main(hops);
    join.carry(components);
    join.fused
}

struct Join<'a> {
    fused: Fused,
    forms: &'a BTreeMap<ProgramName, Form>,
    /// Jumps to the end of main.
    ends: Vec<usize>,
    /// Calls in main: where, of which program, and which of its instructions.
    calls: Vec<(usize, &'a ProgramName, usize)>,
    /// The instructions that main can't have more than.
    most: usize,
}

/// What main has at most: each hop's body or call, its comparisons, and four of glue.
fn most(hops: &[Hop<'_>]) -> usize {
    hops.iter().map(|hop| hop.component.body() + hop.proceed_on.iter().count() + 4).sum()
}

impl<'a> Join<'a> {
    fn main(&mut self, hops: &[Hop<'a>]) {
        let Some(last) = hops.len().checked_sub(1) else { return };
        if last == 0 {
            // The whole program comes as it is, with the functions that it has.
            return;
        }
        self.fused.functions.push(FusedFunction { start: 0, of: None });
        let in_slot = hops.iter().any(|hop| self.form(hop.component) == Form::Spliced);
        self.note("the chain keeps its context".to_owned());
        self.put(if in_slot {
            Insn { code: STORE64, dst: 10, src: 1, off: -SLOT, imm: 0 }
        } else {
            Insn { code: MOV64, dst: KEPT, src: 1, ..Insn::default() }
        });
        for (at, hop) in hops.iter().enumerate() {
            let name = hop.component.name();
            if at > 0 {
                self.note(format!("{name} gets the context"));
                self.put(if in_slot {
                    Insn { code: LOAD64, dst: 1, src: 10, off: -SLOT, imm: 0 }
                } else {
                    Insn { code: MOV64, dst: 1, src: KEPT, ..Insn::default() }
                });
            }
            if self.form(hop.component) == Form::Spliced {
                self.splice(hop.component, at == last);
            } else {
                self.note(format!("{name} is called"));
                self.calls.push((self.here(), name, 0));
                self.put(Insn { code: CALL, src: PSEUDO_CALL, ..Insn::default() });
            }
            if at < last {
                self.go_on(name, hop.proceed_on);
            }
        }
        let end = self.here();
        let called_last = hops.last().is_some_and(|hop| self.form(hop.component) != Form::Spliced);
        // What nothing leads to is refused as dead code.
        if called_last || !self.ends.is_empty() {
            self.note("the chain ends".to_owned());
            self.put(Insn { code: EXIT, ..Insn::default() });
        }
        for at in std::mem::take(&mut self.ends) {
            // `go_on` jumps here only where it is near enough.
            if let (Some(insn), Ok(off)) = (self.fused.instructions.get_mut(at), i16::try_from(end - at - 1)) {
                insn.off = off;
            }
        }
    }

    fn form(&self, component: &Component) -> Form {
        self.forms.get(component.name()).copied().unwrap_or(Form::Spliced)
    }

    fn here(&self) -> usize {
        self.fused.instructions.len()
    }

    fn put(&mut self, insn: Insn) {
        self.fused.instructions.push(insn);
    }

    fn note(&mut self, text: String) {
        self.fused.glue.push(GlueLine { at: self.here(), text });
    }

    fn splice(&mut self, component: &'a Component, is_last: bool) {
        let start = self.here();
        let body = splice::body(component, is_last);
        self.span(component, 0, body.len());
        self.fused.instructions.extend(body);
        for (at, to) in component.references().take_while(|(at, _)| *at < component.body()) {
            self.calls.push((start + at, component.name(), to));
        }
    }

    /// Notes that `len` instructions of `component` from `from` on follow here, with their loads.
    fn span(&mut self, component: &Component, from: usize, len: usize) {
        let start = self.here();
        let program = component.name().clone();
        let inside = component.loads().iter().filter(|load| (from..from + len).contains(&load.at));
        self.fused.loads.extend(inside.map(|load| FusedLoad {
            at: start + load.at - from,
            map: match &load.map {
                ComponentMap::Set(key) => FusedMap::Set(key.clone()),
                ComponentMap::Constant(name) => FusedMap::Constant(program.clone(), name.clone()),
            },
        }));
        self.fused.spans.push(ComponentSpan { program, start, end: start + len, from });
    }

    /// Goes on behind these instructions if `w0` is one of the verdicts, else to the end of main, or out where that is too far.
    fn go_on(&mut self, name: &ProgramName, proceed_on: &ProceedOn) {
        let count = proceed_on.iter().count();
        let verdicts: Vec<_> = proceed_on.iter().map(|verdict| verdict.to_string()).collect();
        self.note(format!("{name} has answered; the chain goes on after {}", verdicts.join(", ")));
        let is_near = i16::try_from(self.most.saturating_sub(self.here())).is_ok();
        for (at, verdict) in proceed_on.iter().enumerate() {
            let left = count - at - 1;
            if is_near && left == 0 {
                self.ends.push(self.here());
                self.put(Insn { code: JNE32, imm: verdict, ..Insn::default() });
                return;
            }
            // Over the comparisons that are left, and over the exit where it follows. More than 32,767 verdicts don't fit;
            // checked manifests have a handful, and the verifier refuses a jump that goes elsewhere.
            let off = i16::try_from(left + usize::from(!is_near)).unwrap_or(i16::MAX);
            self.put(Insn { code: JEQ32, off, imm: verdict, ..Insn::default() });
        }
        self.put(Insn { code: EXIT, ..Insn::default() });
    }

    /// Puts the functions behind main, and points main's calls at them.
    fn carry(&mut self, components: &[&'a Component]) {
        // Where the component's first instruction would lie, for each.
        let mut origins = BTreeMap::new();
        for component in components {
            let from = if self.form(component) == Form::Spliced { component.body() } else { 0 };
            let here = self.here();
            let rest = component.instructions().get(from..).unwrap_or_default();
            origins.insert(component.name(), (here, from));
            if rest.is_empty() {
                continue;
            }
            self.span(component, from, rest.len());
            self.fused.instructions.extend_from_slice(rest);
            for (index, function) in component.functions().iter().enumerate().filter(|(_, f)| f.start >= from) {
                let of = Some((component.name().clone(), index));
                self.fused.functions.push(FusedFunction { start: here + function.start - from, of });
            }
        }
        for (at, name, to) in std::mem::take(&mut self.calls) {
            let target = origins.get(name).and_then(|(here, from)| Some(here + to.checked_sub(*from)?));
            let distance = target.and_then(|target| i32::try_from(target.checked_sub(at + 1)?).ok());
            if let (Some(insn), Some(distance)) = (self.fused.instructions.get_mut(at), distance) {
                insn.imm = distance;
            }
        }
    }
}
