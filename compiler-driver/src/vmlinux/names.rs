//! What things are called in C. Pure.
//!
//! C has one name space for tags and one for everything else. A BTF may have
//! several types of one name (two drivers' `struct priv`); the second gets `___2`,
//! as libbpf's `btf_dump` does, and CO-RE reads such a name without the suffix.

use std::collections::HashMap;

use bpfkit_objects::btf::{Btf, FwdKind, Kind, TypeId};

/// The compiler's own: declaring it is an error (libbpf: `btf_dump_is_blacklisted`), and BPF's has
/// another size than the kernel's, so what it stands for is spelt out wherever it is used.
pub(super) const VA_LIST: &str = "__builtin_va_list";

/// Words that C23 took: a header for both has to leave them out there.
const NEW_WORDS: [&str; 4] = ["bool", "false", "true", "nullptr"];

/// Words that no name can have. Kernel types never do; those of another language might.
const KEYWORDS: [&str; 36] = [
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "typeof", "union", "unsigned", "void", "volatile", "while", "_Bool",
];

/// The names of all types, and the constants so far.
pub(super) struct Names<'a> {
    /// By type number: 1 for the first of its name.
    copies: Vec<u32>,
    /// How often each ordinary name is taken.
    ordinary: HashMap<&'a str, u32>,
}

impl<'a> Names<'a> {
    pub(super) fn new(btf: &'a Btf) -> Self {
        let mut copies = vec![1; btf.types().len()];
        let mut tags: HashMap<&str, u32> = HashMap::new();
        let mut ordinary: HashMap<&str, u32> = HashMap::new();
        // Whether the first of a name is a union: what is declared only belongs to it, if it is the same.
        let mut first: HashMap<&str, bool> = HashMap::new();
        let mut count = |id: TypeId, taken: &mut HashMap<&'a str, u32>| {
            let count = taken.entry(btf.name(id)).or_insert(0);
            *count += 1;
            if let Some(copy) = copies.get_mut(id.index()) {
                *copy = *count;
            }
        };
        for (id, ty) in btf.iter().filter(|(id, _)| !btf.name(*id).is_empty()) {
            match ty.kind {
                Kind::Struct(_) | Kind::Union(_) => {
                    first.entry(btf.name(id)).or_insert(matches!(ty.kind, Kind::Union(_)));
                    count(id, &mut tags);
                }
                Kind::Enum(_) | Kind::Enum64(_) => count(id, &mut tags),
                Kind::Typedef(_) => count(id, &mut ordinary),
                _ => {}
            }
        }
        let mut declared: HashMap<(&str, bool), u32> = HashMap::new();
        for (id, ty) in btf.iter() {
            let Kind::Fwd(kind) = ty.kind else { continue };
            let (name, is_union) = (btf.name(id), kind == FwdKind::Union);
            let copy = match first.get(name) {
                Some(same) if *same == is_union => 1,
                _ => *declared.entry((name, is_union)).or_insert_with(|| {
                    let count = tags.entry(name).or_insert(0);
                    *count += 1;
                    *count
                }),
            };
            if let Some(slot) = copies.get_mut(id.index()) {
                *slot = copy;
            }
        }
        Self { copies, ordinary }
    }

    /// The name of a type.
    pub(super) fn of(&self, btf: &Btf, id: TypeId) -> String {
        numbered(btf.name(id), self.copies.get(id.index()).copied().unwrap_or(1))
    }

    /// A name for a constant, which is taken from then on.
    pub(super) fn constant(&mut self, name: &'a str) -> String {
        let count = self.ordinary.entry(name).or_insert(0);
        *count += 1;
        numbered(name, *count)
    }
}

fn numbered(name: &str, copy: u32) -> String {
    let name = identifier(name);
    if copy > 1 { format!("{name}___{copy}") } else { name }
}

/// A name as C can have it.
pub(super) fn identifier(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) || KEYWORDS.contains(&name) {
        out.insert(0, '_');
    }
    out
}

/// Whether C23 knows the word by itself.
pub(super) fn is_new_word(name: &str) -> bool {
    NEW_WORDS.contains(&name)
}
