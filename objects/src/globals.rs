//! The manifest's values for global variables → the bytes of the variables, by the object's types.
//!
//! Pure. Nothing is cut or wrapped: a value that doesn't fit its C type is an error that
//! names the type and the place. Text that spells a number is accepted for a number,
//! because host templates render to text.

mod encode;
mod problem;

use bpfkit_schemas::chain::{GlobalValue, Globals};

pub use problem::{GlobalProblem, Misfit};

use crate::elf::Object;

impl Object {
    /// Checks that every one of `globals` is a variable of this object and fits its type.
    pub fn check_globals(&self, globals: &Globals) -> Result<(), Vec<GlobalProblem>> {
        let mut data: Vec<_> = self.maps.iter().map(|map| map.initial.clone()).collect();
        self.encode_globals(globals, &mut data)
    }

    /// Writes `globals` into the maps' initial contents (by the map's index).
    pub(crate) fn encode_globals(
        &self,
        globals: &Globals,
        data: &mut [Option<Vec<u8>>],
    ) -> Result<(), Vec<GlobalProblem>> {
        let problems: Vec<_> =
            globals.iter().filter_map(|(name, value)| self.encode_global(name, value, data).err()).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn encode_global(
        &self,
        name: &str,
        value: &GlobalValue,
        data: &mut [Option<Vec<u8>>],
    ) -> Result<(), GlobalProblem> {
        encode::variable(self, name, value, data)
    }
}
