//! Reads what a compiler, or somebody else, made, and describes it. Pure.

use bpfkit_objects::elf::Object;
use bpfkit_schemas::{Diagnostic, diagnostic::Diagnose, object::ObjectDescriptor};

use crate::error::Place;

/// What an object holds, or everything that keeps it from being used, each at its place in the manifest.
pub(crate) fn describe(bytes: &[u8], place: &Place, what: &str) -> Result<ObjectDescriptor, Vec<Diagnostic>> {
    match Object::parse(bytes) {
        Ok(object) => Ok(object.descriptor()),
        Err(problems) => Err(problems
            .iter()
            .flat_map(Diagnose::diagnose)
            .map(|problem| {
                problem.at(&place.source, place.span, "this object").note(format!("found in the object of {what}"))
            })
            .collect()),
    }
}
