//! A few types of a [`Btf`] → a small BTF of their own, for the kernel to keep with a map.
//!
//! Pure. An object's BTF describes every function and variable, and what of it concerns
//! one map is a dozen types. What those lead to comes along, renumbered in the order in
//! which it is met, so equal types give equal bytes. Format: as for [`super::parse`],
//! `struct btf_header` version 1, little-endian.

use std::collections::HashMap;

use super::{
    Btf, Kind, TypeId,
    write::{self, Names},
};

/// The most types that a subset may have: more is no map's entry.
const MAX_TYPES: usize = 1 << 16;
/// The most bytes of names. Names may share bytes in what was parsed, and don't here.
const MAX_NAMES: usize = 1 << 20;

/// Some types as a BTF of their own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subset {
    /// The BTF: what [`Btf::parse`] and `BPF_BTF_LOAD` read.
    pub bytes: Vec<u8>,
    /// The new numbers of the types that were asked for, in the order in which they were.
    pub roots: Vec<TypeId>,
}

impl Btf {
    /// The types `roots` with everything that they lead to, pointers included.
    ///
    /// Functions, variables, sections and remarks on declarations are no part of a value: where a type leads
    /// to one, which compilers don't write, it leads to `void` in the subset. `None` where the types are more
    /// than 65,536 or their names longer than 1 MiB together.
    pub fn subset(&self, roots: &[TypeId]) -> Option<Subset> {
        let mut numbers = Numbers { btf: self, known: HashMap::new(), order: Vec::new() };
        let roots = roots.iter().map(|root| numbers.of(*root)).collect();
        let (mut types, mut names) = (Vec::new(), Names::new(MAX_NAMES));
        let mut at = 0;
        while let Some(id) = numbers.order.get(at).copied() {
            if at >= MAX_TYPES {
                return None;
            }
            write::ty(self, self.get(id), &mut |id| numbers.of(id), &mut names, &mut types);
            at += 1;
        }
        let bytes = write::whole(&types, names)?;
        Some(Subset { bytes, roots })
    }
}

struct Numbers<'a> {
    btf: &'a Btf,
    /// New numbers by old ones.
    known: HashMap<TypeId, TypeId>,
    /// The old numbers in the new order; the first is 1.
    order: Vec<TypeId>,
}

impl Numbers<'_> {
    /// The new number of a type; a type that is met for the first time gets the next one.
    fn of(&mut self, id: TypeId) -> TypeId {
        if matches!(
            self.btf.kind(id),
            Kind::Void | Kind::Func { .. } | Kind::Var { .. } | Kind::Datasec { .. } | Kind::DeclTag { .. }
        ) {
            return TypeId::VOID;
        }
        if let Some(number) = self.known.get(&id) {
            return *number;
        }
        self.order.push(id);
        let number = TypeId(u32::try_from(self.order.len()).unwrap_or(u32::MAX));
        self.known.insert(id, number);
        number
    }
}
