//! A fused chain with the components that it was made of. Pure.

use std::{collections::BTreeSet, rc::Rc};

use bpfkit_objects::insn;

use super::{Component, Form, FuseProblem, Fused, FusedTypes, Hop, fuse, merge};
use crate::record::Record;

/// A chain that is ready to be loaded: its one program, and what its programs bring along.
#[derive(Clone, Debug)]
pub struct FusedChain {
    fused: Fused,
    types: Option<FusedTypes>,
    components: Vec<Rc<Component>>,
}

impl FusedChain {
    /// Fuses the chain that `record` describes out of its `components`, one for each of the record's programs.
    pub(crate) fn new(record: &Record, components: Vec<Rc<Component>>) -> Result<Self, Vec<FuseProblem>> {
        let hops: Vec<_> = components
            .iter()
            .zip(&record.programs)
            .map(|(component, program)| Hop { component, proceed_on: &program.proceed_on })
            .collect();
        let mut fused = fuse(record.hook, &hops)?;
        let mut seen = BTreeSet::new();
        let distinct: Vec<_> = components.iter().map(Rc::as_ref).filter(|c| seen.insert(c.name())).collect();
        let types = merge::merge(&mut fused, &distinct, &program_name(record));
        Ok(Self { fused, types, components })
    }

    /// What the kernel is told about the program; `None` where it would be more than a kernel takes.
    pub fn types(&self) -> Option<&FusedTypes> {
        self.types.as_ref()
    }

    /// Whether the program can't be loaded without them: with a callback, or where a function that it calls makes
    /// tail calls or reads packets the old way.
    pub fn needs_types(&self) -> bool {
        let main = self.fused.functions.get(1).map_or(self.fused.instructions.len(), |next| next.start);
        insn::code(&self.fused.instructions)
            .any(|(at, insn)| insn.is_func_load() || at >= main && (insn.is_tail_call() || insn.is_packet_load()))
    }

    /// How each of the chain's programs is carried, in the chain's order.
    pub fn forms(&self) -> &[Form] {
        &self.fused.forms
    }

    /// The program.
    pub fn fused(&self) -> &Fused {
        &self.fused
    }

    /// The components, in the chain's order.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().map(Rc::as_ref)
    }

    /// Where instruction `at` comes from, for people: `` `guard` (src/guard.bpf.c:41) ``.
    pub fn place(&self, at: usize) -> Option<String> {
        let (name, at) = self.fused.locate(at)?;
        let component = self.components().find(|component| component.name() == name)?;
        Some(match component.line(at) {
            Some(line) => format!("`{name}` ({}:{})", line.file, line.line),
            None => format!("`{name}`"),
        })
    }
}

/// What the kernel calls the chain's one program; it keeps 15 characters, and all of them with the types.
pub(crate) fn program_name(record: &Record) -> String {
    format!("bk_{}", record.set)
}
