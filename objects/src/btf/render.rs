//! Types as C spells them, for messages.

use super::{Btf, FwdKind, Kind, TypeId};

/// The longest spelling; what is longer ends in `…`.
const LONGEST: usize = 200;
/// How many pointers, arrays, qualifiers and functions are followed.
const STEPS: u32 = 32;

impl Btf {
    /// The type as C spells it: `const volatile __u32`, `struct task_struct *`, `char[16]`,
    /// `int (*)(void *)`. For people: cut with `…` where it would be long.
    pub fn c_type(&self, id: TypeId) -> String {
        self.c_declaration(id, "")
    }

    /// A declaration of `name` with that type: `char comm[16]`. Cut like [`Btf::c_type`].
    pub fn c_declaration(&self, id: TypeId, name: &str) -> String {
        self.declare(id, name.to_owned(), STEPS)
    }

    fn declare(&self, mut id: TypeId, mut inner: String, steps: u32) -> String {
        let mut qualifiers = String::new();
        for _ in 0..steps {
            if inner.len() > LONGEST {
                break;
            }
            match self.kind(id) {
                Kind::Const(next) => {
                    qualifiers.push_str("const ");
                    id = *next;
                }
                Kind::Volatile(next) => {
                    qualifiers.push_str("volatile ");
                    id = *next;
                }
                Kind::Restrict(next) => {
                    qualifiers.push_str("restrict ");
                    id = *next;
                }
                Kind::TypeTag { ty, .. } | Kind::DeclTag { ty, .. } | Kind::Var { ty, .. } => id = *ty,
                Kind::Ptr(next) => {
                    // Qualifiers of a pointer stand right of its star.
                    inner = format!("*{}{inner}", std::mem::take(&mut qualifiers));
                    if matches!(self.kind(*next), Kind::Array(_) | Kind::FuncProto { .. }) {
                        inner = format!("({})", inner.trim_end());
                    }
                    id = *next;
                }
                Kind::Array(array) => {
                    let len = if array.len == 0 { String::new() } else { array.len.to_string() };
                    inner = format!("{inner}[{len}]");
                    id = array.item;
                }
                Kind::Func { proto, .. } => id = *proto,
                Kind::FuncProto { ret, params } => {
                    let mut list = String::new();
                    for param in params {
                        if list.len() > LONGEST {
                            break;
                        }
                        if !list.is_empty() {
                            list.push_str(", ");
                        }
                        let more = param.ty == TypeId::VOID;
                        list.push_str(&if more {
                            "...".to_owned()
                        } else {
                            self.declare(param.ty, String::new(), steps / 4)
                        });
                    }
                    inner = format!("{inner}({})", if list.is_empty() { "void" } else { &list });
                    id = *ret;
                }
                kind => {
                    let base = self.base(id, kind);
                    // `char[16]`, but `struct a *` and `int (*)(void)`.
                    let space = if inner.is_empty() || inner.starts_with('[') { "" } else { " " };
                    return cut(format!("{qualifiers}{base}{space}{}", inner.trim_end()));
                }
            }
        }
        "…".to_owned()
    }

    fn base(&self, id: TypeId, kind: &Kind) -> String {
        let name = self.name(id);
        let word = match kind {
            Kind::Struct(_) | Kind::Fwd(FwdKind::Struct) => "struct",
            Kind::Union(_) | Kind::Fwd(FwdKind::Union) => "union",
            Kind::Enum(_) | Kind::Enum64(_) => "enum",
            Kind::Void => return "void".to_owned(),
            _ => return name.to_owned(),
        };
        if name.is_empty() { format!("{word} {{…}}") } else { format!("{word} {name}") }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = text.floor_char_boundary(LONGEST);
        text.truncate(end);
        text.push('…');
    }
    text
}
