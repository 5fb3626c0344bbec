//! Types of several [`Btf`]s → one, for a program that is made of parts of several objects.
//!
//! Pure. A program's types are there for its functions: their names, their arguments,
//! and whether the kernel verifies them by themselves. So little comes along: functions
//! with their prototypes, what these refer to by value or through one pointer, and of
//! what lies behind a second pointer the name alone, since an object's BTF leads from
//! one `struct sk_buff` to half of the kernel. Type tags and the types of functions
//! behind pointers are left out too: no verifier asks for them. Names become C's, as
//! the kernel refuses others (`btf_name_valid_identifier`).
//!
//! Equal parts in equal order give equal bytes. Types of two objects aren't compared:
//! they may bear one name.

use std::collections::HashMap;

use super::{
    Btf, FwdKind, Kind, Linkage, TypeId,
    write::{self, Names},
};

/// The most types, a quarter of the kernel's (`BTF_MAX_TYPE`, Linux 6.18).
const MAX_TYPES: u32 = 1 << 18;
/// The most bytes of types, and of names, lines of source included: half of the kernel's (`BTF_MAX_SIZE`).
const MAX_BYTES: usize = 8 << 20;
/// How many pointers may be followed to a struct that is described.
const POINTERS: u8 = 1;
/// What a remark on a global function's parameter begins with (Linux 6.8: `__arg_ctx`, `__arg_nonnull`).
const PARAMETER: &str = "arg:";

/// A BTF that is put together.
#[derive(Debug)]
pub struct Merger {
    types: Vec<u8>,
    count: u32,
    names: Names,
    /// The prototype of functions that come without one.
    plain: Option<TypeId>,
}

/// A function to be added.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its [`Kind::Func`].
    pub ty: TypeId,
    /// Whether the kernel is to verify it by itself.
    pub linkage: Linkage,
}

/// The new numbers of what was asked for, in the order in which it was.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Added {
    /// Of the types.
    pub types: Vec<TypeId>,
    /// Of the functions.
    pub functions: Vec<TypeId>,
}

impl Default for Merger {
    fn default() -> Self {
        Self::new()
    }
}

impl Merger {
    /// Starts with `void` alone.
    pub fn new() -> Self {
        Self { types: Vec::new(), count: 0, names: Names::as_c(MAX_BYTES), plain: None }
    }

    /// Adds `types` and `functions` of one BTF, with what they need. Something that is no function counts as `void`.
    pub fn add(&mut self, btf: &Btf, types: &[TypeId], functions: &[Wanted]) -> Added {
        let mut part = Part { btf, first: self.count + 1, known: HashMap::new(), order: Vec::new() };
        let types = types.iter().map(|ty| part.number(*ty, 0)).collect();
        let mut protos = Vec::new();
        for wanted in functions {
            protos.push(match btf.kind(wanted.ty) {
                Kind::Func { proto, .. } => part.number(*proto, 0),
                _ => TypeId::VOID,
            });
        }
        let mut at = 0;
        while let Some((id, pointers)) = part.order.get(at).copied() {
            if self.is_full() {
                break;
            }
            let ty = btf.get(id);
            match &ty.kind {
                Kind::Struct(_) if pointers > POINTERS => {
                    write::forward(btf, ty.name, FwdKind::Struct, &mut self.names, &mut self.types);
                }
                Kind::Union(_) if pointers > POINTERS => {
                    write::forward(btf, ty.name, FwdKind::Union, &mut self.names, &mut self.types);
                }
                kind => {
                    let pointers = pointers + u8::from(matches!(kind, Kind::Ptr(_)));
                    let number = &mut |id| part.number(id, pointers);
                    write::ty(btf, ty, number, &mut self.names, &mut self.types);
                }
            }
            self.count += 1;
            at += 1;
        }
        let mut added = Vec::new();
        for (wanted, proto) in functions.iter().zip(protos) {
            added.push(if proto == TypeId::VOID {
                TypeId::VOID
            } else {
                self.put_function(btf.name(wanted.ty), wanted.linkage, proto)
            });
        }
        self.remarks(btf, functions, &added);
        Added { types, functions: added }
    }

    /// Adds a function about which nothing is known but its name: it takes nothing and returns an `int`.
    pub fn function(&mut self, name: &str, linkage: Linkage) -> TypeId {
        let plain = self.plain.unwrap_or_else(|| {
            let plain = write::plain_prototype(self.count + 1, &mut self.names, &mut self.types);
            self.count += 2;
            plain
        });
        self.plain = Some(plain);
        self.put_function(name, linkage, plain)
    }

    /// Adds a text (a file's name, a line of source), and gives its place among the names.
    pub fn text(&mut self, text: &str) -> u32 {
        self.names.offset(text)
    }

    /// The BTF: what [`Btf::parse`] and `BPF_BTF_LOAD` read. `None` where it would have more than 262,144 types, or
    /// more than 8 MiB of types or names.
    pub fn finish(self) -> Option<Vec<u8>> {
        if self.is_full() { None } else { write::whole(&self.types, self.names) }
    }

    fn is_full(&self) -> bool {
        self.count >= MAX_TYPES || self.types.len() > MAX_BYTES || self.names.is_full()
    }

    fn put_function(&mut self, name: &str, linkage: Linkage, proto: TypeId) -> TypeId {
        // A function without a name is refused, and a full table gives none: `finish` says so.
        write::function(name, linkage, proto, &mut self.names, &mut self.types);
        self.count += 1;
        TypeId(self.count)
    }

    /// Remarks on parameters of global functions: they say what the kernel may assume of arguments.
    fn remarks(&mut self, btf: &Btf, functions: &[Wanted], added: &[TypeId]) {
        let global: HashMap<_, _> = functions
            .iter()
            .zip(added)
            .filter(|(wanted, new)| wanted.linkage == Linkage::Global && **new != TypeId::VOID)
            .map(|(wanted, new)| (wanted.ty, *new))
            .collect();
        if global.is_empty() {
            return;
        }
        for (id, ty) in btf.iter() {
            if let Kind::DeclTag { ty, component: Some(parameter), attribute: false } = &ty.kind
                && let Some(new) = global.get(ty)
                && btf.name(id).starts_with(PARAMETER)
            {
                write::remark(btf.name(id), *new, *parameter, &mut self.names, &mut self.types);
                self.count += 1;
            }
        }
    }
}

/// The types of one BTF that are being added.
struct Part<'a> {
    btf: &'a Btf,
    /// The number of the first one.
    first: u32,
    /// New numbers, by old ones and by how many pointers were followed.
    known: HashMap<(TypeId, u8), TypeId>,
    /// In the new order.
    order: Vec<(TypeId, u8)>,
}

impl Part<'_> {
    /// The new number of a type that is met behind so many pointers; one that is met for the first time gets the next one.
    fn number(&mut self, mut id: TypeId, pointers: u8) -> TypeId {
        while let Kind::TypeTag { ty, .. } = self.btf.kind(id) {
            id = *ty;
        }
        let pointers = pointers.min(POINTERS + 1);
        let is_far = pointers > POINTERS;
        let nothing = match self.btf.kind(id) {
            Kind::Void | Kind::Func { .. } | Kind::Var { .. } | Kind::Datasec { .. } | Kind::DeclTag { .. } => true,
            Kind::FuncProto { .. } => pointers > 0,
            Kind::Struct(_) | Kind::Union(_) => is_far && self.btf.name(id).is_empty(),
            // An array of what isn't described has no size.
            Kind::Array(_) => is_far && self.holds_struct(id),
            _ => false,
        };
        if nothing {
            return TypeId::VOID;
        }
        if let Some(number) = self.known.get(&(id, pointers)) {
            return *number;
        }
        let place = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        let number = TypeId(self.first.saturating_add(place));
        self.order.push((id, pointers));
        self.known.insert((id, pointers), number);
        number
    }

    fn holds_struct(&self, id: TypeId) -> bool {
        let mut item = self.btf.resolve(id);
        // `Btf` guarantees that arrays end.
        while let Kind::Array(array) = self.btf.kind(item) {
            item = self.btf.resolve(array.item);
        }
        matches!(self.btf.kind(item), Kind::Struct(_) | Kind::Union(_) | Kind::Fwd(_))
    }
}
