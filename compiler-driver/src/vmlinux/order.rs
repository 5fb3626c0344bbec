//! What is declared before what. Pure.
//!
//! C needs a struct to be complete where it is embedded, declared where it is
//! pointed to from a parameter list, and a typedef to be there wherever it is
//! named. Enums need nothing and come first. So a walk from each type to the types
//! it needs, deepest first, gives the order; the BTF's own numbers break ties.

use bpfkit_objects::btf::{Btf, Kind, TypeId};

use super::names::VA_LIST;

/// How far the walk goes through pointers and prototypes. C code nests less than ten deep.
const MAX_DEPTH: u32 = 400;

/// One declaration at the top of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Item {
    /// `struct x;`
    Forward(TypeId),
    /// A struct, union, enum or typedef in full.
    Define(TypeId),
}

/// How a type is needed.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Need {
    /// Its name has to be known.
    Name,
    /// Its size has to be known.
    Size,
}

/// Everything to declare, in order.
pub(super) fn order(btf: &Btf) -> Vec<Item> {
    let mut walk = Walk { btf, items: Vec::new(), done: vec![Done::default(); btf.types().len()] };
    let used = anonymous_used(btf);
    for (id, ty) in btf.iter() {
        let is_used = used.get(id.index()).copied().unwrap_or(false);
        // An enum without a name is spelt out where it is used; one that nothing uses only names constants.
        if ty.kind.any_enum().is_some() && (!btf.name(id).is_empty() || !is_used) {
            walk.items.push(Item::Define(id));
        }
    }
    for (id, ty) in btf.iter() {
        match ty.kind {
            Kind::Struct(_) | Kind::Union(_) if btf.name(id).is_empty() => {}
            Kind::Struct(_) | Kind::Union(_) => walk.visit(id, Need::Size, 0),
            Kind::Typedef(_) | Kind::Fwd(_) => walk.visit(id, Need::Name, 0),
            _ => {}
        }
    }
    walk.items
}

/// What the walk has seen of a type (`name`, `size`), and written (`declared`: a forward
/// declaration or the type itself).
#[derive(Clone, Copy, Default)]
struct Done {
    name: bool,
    size: bool,
    declared: bool,
}

struct Walk<'a> {
    btf: &'a Btf,
    items: Vec<Item>,
    done: Vec<Done>,
}

impl Walk<'_> {
    fn visit(&mut self, id: TypeId, need: Need, depth: u32) {
        let Some(done) = self.done.get_mut(id.index()) else { return };
        // Also set for a type that is being visited: a loop through pointers ends here.
        let again = match need {
            Need::Name => std::mem::replace(&mut done.name, true) || done.size,
            Need::Size => std::mem::replace(&mut done.size, true),
        };
        if again || depth > MAX_DEPTH {
            // A struct that is being walked isn't declared yet, and may be named now.
            self.forward(id);
            return;
        }
        let depth = depth + 1;
        let btf = self.btf;
        match btf.kind(id) {
            Kind::Ptr(to) => self.visit(*to, Need::Name, depth),
            Kind::Const(of) | Kind::Volatile(of) | Kind::Restrict(of) | Kind::TypeTag { ty: of, .. } => {
                self.visit(*of, need, depth);
            }
            // An item has to be complete, even in a pointer to an array.
            Kind::Array(array) => self.visit(array.item, Need::Size, depth),
            Kind::FuncProto { ret, params } => {
                self.visit(*ret, Need::Name, depth);
                for param in params {
                    self.visit(param.ty, Need::Name, depth);
                }
            }
            Kind::Struct(composite) | Kind::Union(composite) => {
                let named = !btf.name(id).is_empty();
                if named && need == Need::Name {
                    self.forward(id);
                    return;
                }
                for member in &composite.members {
                    self.visit(member.ty, Need::Size, depth);
                }
                if named {
                    self.mark(id, |done| done.declared = true);
                    self.items.push(Item::Define(id));
                }
            }
            Kind::Typedef(of) if btf.name(id) == VA_LIST => self.visit(*of, need, depth),
            Kind::Typedef(of) => {
                // First by name, so that what it stands for may point back to it.
                self.visit(*of, Need::Name, depth);
                if !self.done.get(id.index()).is_some_and(|done| done.declared) {
                    self.mark(id, |done| done.declared = true);
                    self.items.push(Item::Define(id));
                }
                if need == Need::Size {
                    self.visit(*of, Need::Size, depth);
                }
            }
            Kind::Fwd(_) => self.forward(id),
            _ => {}
        }
    }

    /// Declares a struct or union, once, unless it is already defined.
    fn forward(&mut self, id: TypeId) {
        let is_tag = matches!(self.btf.kind(id), Kind::Struct(_) | Kind::Union(_) | Kind::Fwd(_));
        let done = self.done.get(id.index()).copied().unwrap_or_default();
        if is_tag && !self.btf.name(id).is_empty() && !done.declared {
            self.mark(id, |done| done.declared = true);
            self.items.push(Item::Forward(id));
        }
    }

    fn mark(&mut self, id: TypeId, mark: impl FnOnce(&mut Done)) {
        if let Some(done) = self.done.get_mut(id.index()) {
            mark(done);
        }
    }
}

/// The types without a name that another type refers to, by number.
fn anonymous_used(btf: &Btf) -> Vec<bool> {
    let mut used = vec![false; btf.types().len()];
    let mut mark = |id: TypeId| {
        if let Some(used) = used.get_mut(id.index()) {
            *used = true;
        }
    };
    for (_, ty) in btf.iter() {
        match &ty.kind {
            Kind::Ptr(of)
            | Kind::Typedef(of)
            | Kind::Const(of)
            | Kind::Volatile(of)
            | Kind::Restrict(of)
            | Kind::TypeTag { ty: of, .. } => mark(*of),
            Kind::Array(array) => mark(array.item),
            Kind::Struct(composite) | Kind::Union(composite) => {
                for member in &composite.members {
                    mark(member.ty);
                }
            }
            Kind::FuncProto { ret, params } => {
                mark(*ret);
                for param in params {
                    mark(param.ty);
                }
            }
            _ => {}
        }
    }
    used
}
