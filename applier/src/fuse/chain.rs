//! A fused chain with the components that it was made of. Pure.

use std::rc::Rc;

use super::{Component, FuseProblem, Fused, Hop, fuse};
use crate::record::Record;

/// A chain that is ready to be loaded: its one program, and what its programs bring along.
#[derive(Clone, Debug)]
pub struct FusedChain {
    fused: Fused,
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
        let fused = fuse(record.hook, &hops)?;
        Ok(Self { fused, components })
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
