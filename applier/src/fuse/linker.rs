//! From a trusted bundle to components: the one road from bytes to instructions that may be loaded.
//!
//! Pure. A [`Linker`] owns the [`VerifiedBundle`], so what was checked is what is
//! linked. Each program is linked once, when it is first asked for: a run with
//! nothing to do links nothing and reads no BTF.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
};

use bpfkit_objects::{Linked, Object, btf::Btf, link::is_gpl_only};
use bpfkit_schemas::{
    bundle::BundledProgram,
    chain::Globals,
    diagnostic::{Diagnose, Diagnostic},
    names::ProgramName,
    object::ProgramType,
};

use super::{Component, FuseProblem, FusedChain};
use crate::{
    record::{Record, RecordedProgram},
    trust::VerifiedBundle,
};

/// A trusted bundle with what is needed to link its programs for one kernel.
#[derive(Debug)]
pub struct Linker {
    /// None where nothing is to be linked.
    bundle: Option<VerifiedBundle>,
    globals: BTreeMap<ProgramName, Globals>,
    kernel_btf: Vec<u8>,
    types: OnceCell<Btf>,
    linked: RefCell<BTreeMap<ProgramName, Ready>>,
}

/// A linked program, and the types of its object.
#[derive(Clone, Debug)]
struct Ready {
    linked: Rc<Linked>,
    types: Arc<Btf>,
}

impl Linker {
    /// Takes a bundle, the values of its programs' globals with host facts filled in, and the kernel's BTF as it is.
    pub fn new(bundle: VerifiedBundle, globals: BTreeMap<ProgramName, Globals>, kernel_btf: Vec<u8>) -> Self {
        Self { bundle: Some(bundle), globals, kernel_btf, types: OnceCell::new(), linked: RefCell::default() }
    }

    /// Links nothing: for plans that only take away.
    pub fn nothing() -> Self {
        let (globals, linked) = (BTreeMap::new(), RefCell::default());
        Self { bundle: None, globals, kernel_btf: Vec::new(), types: OnceCell::new(), linked }
    }

    /// The programs of the bundle, in its order.
    pub(super) fn programs(&self) -> impl Iterator<Item = &ProgramName> {
        self.bundle.iter().flat_map(|bundle| &bundle.config().programs).map(|program| &program.name)
    }

    fn program(&self, name: &ProgramName) -> Option<(&BundledProgram, &Arc<[u8]>)> {
        self.bundle.as_ref()?.program(name)
    }

    /// Fuses the chain that `record` describes, or says everything that is in the way.
    ///
    /// For planning and for loading alike, so that what a plan promised can be fused.
    pub fn fuse(&self, record: &Record) -> Result<FusedChain, Vec<FuseProblem>> {
        let mut components = Vec::new();
        let mut problems: Vec<FuseProblem> = Vec::new();
        for program in &record.programs {
            match Component::link(self, program) {
                Ok(component) => components.push(Rc::new(component)),
                // A program that is in the chain twice has its problems once.
                Err(found) => problems.extend(found.into_iter().filter(|p| !problems.contains(p)).collect::<Vec<_>>()),
            }
        }
        if problems.is_empty() { FusedChain::new(record, components) } else { Err(problems) }
    }

    /// What the global variables of `program` in the section `map` begin as; `None` where there is no such section.
    pub fn image(&self, program: &ProgramName, map: &str) -> Result<Option<Vec<u8>>, Vec<FuseProblem>> {
        let linked = self.link(program)?;
        if let Some(found) = linked.maps.iter().find(|linked| linked.descriptor.name == map) {
            return Ok(found.initial.clone());
        }
        // The program doesn't use it, so that nobody gave it values.
        let object = self.object(program)?;
        Ok(object.maps().iter().find(|declared| declared.name == map).and_then(|declared| declared.initial.clone()))
    }

    /// The program linked for the kernel.
    pub(super) fn link(&self, program: &ProgramName) -> Result<Rc<Linked>, Vec<FuseProblem>> {
        if let Some(ready) = self.linked.borrow().get(program) {
            return Ok(Rc::clone(&ready.linked));
        }
        let object = self.object(program)?;
        let entry = self.program(program).map(|(bundled, _)| bundled.entry.as_str()).unwrap_or_default();
        let none = Globals::new();
        let globals = self.globals.get(program).unwrap_or(&none);
        let linked = object.link(entry, self.types(program)?, globals).map_err(|found| unlinkable(program, &found))?;
        let linked = Rc::new(linked);
        let ready = Ready { linked: Rc::clone(&linked), types: object.shared_btf() };
        self.linked.borrow_mut().insert(program.clone(), ready);
        Ok(linked)
    }

    /// The types of a linked program's object.
    pub(super) fn types_of(&self, program: &ProgramName) -> Option<Arc<Btf>> {
        self.linked.borrow().get(program).map(|ready| Arc::clone(&ready.types))
    }

    /// The type that the bundle gives the program, its object's digest apart.
    pub(super) fn kind(&self, program: &RecordedProgram) -> Result<ProgramType, FuseProblem> {
        let found = self.program(&program.name);
        let found =
            found.filter(|(bundled, _)| bundled.object.digest == program.object && bundled.entry == program.entry);
        found.map(|(bundled, _)| bundled.kind).ok_or_else(|| FuseProblem::NoProgram {
            program: program.name.clone(),
            why: format!("the bundle doesn't hold `{}` of {}", program.entry, program.object.short()),
        })
    }

    pub(super) fn object(&self, program: &ProgramName) -> Result<Object, Vec<FuseProblem>> {
        let Some((bundled, bytes)) = self.program(program) else {
            let why = "the bundle doesn't hold it".to_owned();
            return Err(vec![FuseProblem::NoProgram { program: program.clone(), why }]);
        };
        let object = Object::parse(bytes).map_err(|found| unlinkable(program, &found))?;
        if object.digest() != bundled.object.digest {
            let why = "the bundle's object isn't the one that its config describes".to_owned();
            return Err(vec![FuseProblem::NoProgram { program: program.clone(), why }]);
        }
        Ok(object)
    }

    fn types(&self, program: &ProgramName) -> Result<&Btf, Vec<FuseProblem>> {
        if let Some(types) = self.types.get() {
            return Ok(types);
        }
        let types = Btf::parse(&self.kernel_btf).map_err(|error| {
            let why = format!("the kernel's BTF can't be read: {error}");
            vec![FuseProblem::NoProgram { program: program.clone(), why }]
        })?;
        Ok(self.types.get_or_init(|| types))
    }
}

/// The license's text, and the first helper that needs it to be compatible with the GPL.
pub(super) fn license(linked: &Linked) -> super::License {
    super::License {
        text: linked.license.clone(),
        compatible: linked.is_gpl_compatible(),
        needed_by: linked.helpers.iter().copied().find(|helper| is_gpl_only(*helper)),
    }
}

fn unlinkable(program: &ProgramName, found: &[impl Diagnose]) -> Vec<FuseProblem> {
    let diagnostics: Vec<Diagnostic> = found.iter().flat_map(Diagnose::diagnose).collect();
    vec![FuseProblem::Unlinkable { program: program.clone(), diagnostics }]
}
