//! How C spells a type. Pure.
//!
//! A declarator is built from the inside out: the name, then what is around it
//! (`*`, `[4]`, `(int)`), and the base type in front at the end.

use std::fmt::Write as _;

use bpfkit_objects::btf::{Btf, Composite, Enum, Kind, Param, TypeId};

use super::{
    MAX_OUTPUT,
    names::{Names, VA_LIST, identifier, is_new_word},
    order::Item,
};

/// How deep structs without a name and prototypes may nest in one declaration.
const MAX_DEPTH: usize = 64;

/// How many pointers, arrays and qualifiers one declaration may pile up.
const MAX_CHAIN: u32 = 256;

const C23: &str = "#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L\n";

/// Writes one declaration of the file.
pub(super) fn item<'a>(btf: &'a Btf, names: &mut Names<'a>, item: Item, out: &mut String) {
    let mut printer = Printer { btf, names, out };
    match item {
        Item::Forward(id) => {
            let _ = write!(printer.out, "{} {};\n\n", tag_word(btf, id), printer.names.of(btf, id));
        }
        Item::Define(id) => printer.define(id),
    }
}

fn tag_word(btf: &Btf, id: TypeId) -> &'static str {
    use bpfkit_objects::btf::FwdKind;
    match btf.kind(id) {
        Kind::Union(_) | Kind::Fwd(FwdKind::Union) => "union",
        Kind::Enum(_) | Kind::Enum64(_) => "enum",
        _ => "struct",
    }
}

struct Printer<'a, 'p> {
    btf: &'a Btf,
    names: &'p mut Names<'a>,
    out: &'p mut String,
}

impl<'a> Printer<'a, '_> {
    fn define(&mut self, id: TypeId) {
        let btf = self.btf;
        match btf.kind(id) {
            Kind::Typedef(of) => {
                let name = self.names.of(btf, id);
                let text = self.declarator(*of, name, 0);
                self.guarded(is_new_word(btf.name(id)), &format!("typedef {text};"));
            }
            Kind::Enum(any) | Kind::Enum64(any) => {
                let text = self.enum_body(id, any, 0);
                let clashes = any.values.iter().any(|value| is_new_word(btf.str(value.name)));
                self.guarded(clashes, &format!("{text};"));
            }
            Kind::Struct(_) | Kind::Union(_) => {
                let text = self.composite_body(id, 0);
                self.guarded(false, &format!("{text};"));
            }
            _ => {}
        }
    }

    fn guarded(&mut self, clashes: bool, text: &str) {
        if clashes {
            let _ = write!(self.out, "{C23}{text}\n#endif\n\n");
        } else {
            let _ = write!(self.out, "{text}\n\n");
        }
    }

    /// `name` declared as of type `id`; `level` is the depth of indentation and nesting.
    fn declarator(&mut self, mut id: TypeId, name: String, level: usize) -> String {
        let btf = self.btf;
        let mut inner = name;
        // Qualifiers seen since the last pointer; they belong to the next one, or to the base.
        let (mut qualifiers, mut restrict) = (String::new(), false);
        let mut after_pointer = false;
        for _ in 0..MAX_CHAIN {
            match btf.kind(id) {
                Kind::Const(of) => {
                    if !qualifiers.contains("const") {
                        qualifiers.push_str("const ");
                    }
                    id = *of;
                }
                Kind::Volatile(of) => {
                    if !qualifiers.contains("volatile") {
                        qualifiers.push_str("volatile ");
                    }
                    id = *of;
                }
                Kind::Restrict(of) => {
                    restrict = true;
                    id = *of;
                }
                Kind::TypeTag { ty, .. } => id = *ty,
                Kind::Typedef(of) if btf.name(id) == VA_LIST => id = *of,
                Kind::Ptr(to) => {
                    inner = format!("*{qualifiers}{}{inner}", if restrict { "restrict " } else { "" });
                    qualifiers.clear();
                    restrict = false;
                    after_pointer = true;
                    id = *to;
                }
                Kind::Array(array) => {
                    if std::mem::take(&mut after_pointer) {
                        inner = format!("({inner})");
                    }
                    let _ = write!(inner, "[{}]", array.len);
                    id = array.item;
                }
                Kind::FuncProto { ret, params } => {
                    if std::mem::take(&mut after_pointer) {
                        inner = format!("({inner})");
                    }
                    let params = self.params(params, level);
                    let _ = write!(inner, "({params})");
                    qualifiers.clear();
                    id = *ret;
                }
                _ => break,
            }
            if inner.len() > MAX_OUTPUT {
                break;
            }
        }
        let base = self.base(id, level);
        if inner.is_empty() { format!("{qualifiers}{base}") } else { format!("{qualifiers}{base} {inner}") }
    }

    fn params(&mut self, params: &'a [Param], level: usize) -> String {
        let btf = self.btf;
        let mut parts = Vec::new();
        for (position, param) in params.iter().enumerate() {
            let is_void = param.ty == TypeId::VOID && btf.str(param.name).is_empty();
            if is_void && position + 1 == params.len() && position > 0 {
                parts.push("...".to_owned());
            } else if is_void || level >= MAX_DEPTH {
                parts.push("void *".to_owned());
            } else {
                let name = match btf.str(param.name) {
                    "" => String::new(),
                    name => identifier(name),
                };
                parts.push(self.declarator(param.ty, name, level + 1));
            }
        }
        match params {
            [] => "void".to_owned(),
            // A lone `...`, or a `void` that some writers spell out.
            [only] if only.ty == TypeId::VOID => "void".to_owned(),
            _ => parts.join(", "),
        }
    }

    /// What stands in front of a declarator.
    fn base(&mut self, id: TypeId, level: usize) -> String {
        let btf = self.btf;
        match btf.kind(id) {
            Kind::Int(int) => int_name(btf.name(id), int.size, int.signed, int.bool),
            Kind::Float { size: 2 } => "_Float16".to_owned(),
            Kind::Float { size: 4 } => "float".to_owned(),
            Kind::Float { size: 8 } => "double".to_owned(),
            // BPF's `long double` has 8 bytes; this has the size at least.
            Kind::Float { size } => format!("struct {{ char bytes[{size}]; }}"),
            Kind::Typedef(_) => self.names.of(btf, id),
            Kind::Struct(_) | Kind::Union(_) if btf.name(id).is_empty() => {
                if level < MAX_DEPTH && self.out.len() < MAX_OUTPUT {
                    self.composite_body(id, level)
                } else {
                    format!("{} {{ char bytes[{}]; }}", tag_word(btf, id), btf.size(id).unwrap_or(0))
                }
            }
            Kind::Enum(any) | Kind::Enum64(any) if btf.name(id).is_empty() => self.enum_body(id, any, level),
            Kind::Struct(_) | Kind::Union(_) | Kind::Fwd(_) | Kind::Enum(_) | Kind::Enum64(_) => {
                format!("{} {}", tag_word(btf, id), self.names.of(btf, id))
            }
            _ => "void".to_owned(),
        }
    }

    fn enum_body(&mut self, id: TypeId, any: &'a Enum, level: usize) -> String {
        let btf = self.btf;
        let is_wide = matches!(btf.kind(id), Kind::Enum64(_));
        let mut text = String::from("enum");
        if !btf.name(id).is_empty() {
            let _ = write!(text, " {}", self.names.of(btf, id));
        }
        if any.values.is_empty() {
            return text;
        }
        text.push_str(" {\n");
        let indent = "\t".repeat(level + 1);
        for value in &any.values {
            let name = self.names.constant(btf.str(value.name));
            let suffix = match (is_wide, any.signed) {
                (false, _) => "",
                (true, true) => "LL",
                (true, false) => "ULL",
            };
            // The most negative number is no constant of its own in C.
            let number = match value.value {
                least if is_wide && least == i128::from(i64::MIN) => format!("({}LL - 1)", i64::MIN + 1),
                number => format!("{number}{suffix}"),
            };
            let _ = writeln!(text, "{indent}{name} = {number},");
        }
        let _ = write!(text, "{}}}", "\t".repeat(level));
        let fits_32 = any.values.iter().all(|v| i32::try_from(v.value).is_ok() || u32::try_from(v.value).is_ok());
        // C picks a size by the values; where the kernel's differs, an attribute says so.
        text.push_str(match any.size {
            1 => " __attribute__((mode(byte)))",
            2 => " __attribute__((mode(HI)))",
            8 if fits_32 => " __attribute__((mode(word)))",
            _ => "",
        });
        text
    }

    fn composite_body(&mut self, id: TypeId, level: usize) -> String {
        let btf = self.btf;
        let Some(composite) = btf.kind(id).composite() else { return String::new() };
        let is_struct = matches!(btf.kind(id), Kind::Struct(_));
        let packed = is_packed(btf, composite, is_struct);
        let indent = "\t".repeat(level + 1);
        let mut text = String::from(tag_word(btf, id));
        if !btf.name(id).is_empty() {
            let _ = write!(text, " {}", self.names.of(btf, id));
        }
        text.push_str(" {");
        let (mut at, mut after_bits) = (0_u64, false);
        for member in &composite.members {
            let offset = u64::from(member.bit_offset);
            let align = if packed { 1 } else { u64::from(btf.align(member.ty).unwrap_or(1)) };
            if is_struct {
                pad(&mut text, &indent, at, offset, align, after_bits && member.bits != 0);
            }
            let name = match btf.str(member.name) {
                "" => String::new(),
                name => identifier(name),
            };
            let declared = self.declarator(member.ty, name, level + 1);
            let _ = write!(text, "\n{indent}{declared}");
            after_bits = member.bits != 0;
            if after_bits {
                let _ = write!(text, ": {}", member.bits);
                at = offset + u64::from(member.bits);
            } else {
                at = offset.saturating_add(btf.size(member.ty).unwrap_or(0).saturating_mul(8));
            }
            text.push(';');
            if text.len() > MAX_OUTPUT {
                return text;
            }
        }
        let size = u64::from(composite.size);
        if is_struct {
            let align = if packed { 1 } else { natural_align(btf, composite) };
            pad(&mut text, &indent, at, size.saturating_mul(8), align, false);
        } else if natural_size(btf, composite, packed) < size {
            // Aligned beyond its members: BTF keeps the size alone.
            let _ = write!(text, "\n{indent}struct {{");
            pad(&mut text, &format!("{indent}\t"), 0, size.saturating_mul(8), 1, false);
            let _ = write!(text, "\n{indent}}};");
        }
        if !composite.members.is_empty() || size > 0 {
            let _ = write!(text, "\n{}", "\t".repeat(level));
        }
        text.push('}');
        if packed {
            text.push_str(" __attribute__((packed))");
        }
        text
    }
}

/// A C spelling of an integer; the compiler that made the BTF may have had words of its own (`__Poly8_t`).
fn int_name(name: &str, size: u32, signed: bool, is_bool: bool) -> String {
    let words = ["char", "signed", "unsigned", "short", "int", "long", "_Bool", "__int128"];
    if !name.is_empty() && name.split(' ').all(|word| words.contains(&word)) {
        return name.to_owned();
    }
    let base = match size {
        1 if is_bool => return "_Bool".to_owned(),
        1 => "char",
        2 => "short",
        4 => "int",
        16 => "__int128",
        _ => "long long",
    };
    format!("{} {base}", if signed { "signed" } else { "unsigned" })
}

fn natural_align(btf: &Btf, composite: &Composite) -> u64 {
    composite.members.iter().filter_map(|member| btf.align(member.ty)).max().map_or(1, |align| u64::from(align.max(1)))
}

fn natural_size(btf: &Btf, composite: &Composite, packed: bool) -> u64 {
    let size = |member: &bpfkit_objects::btf::Member| match member.bits {
        0 => btf.size(member.ty).unwrap_or(0),
        bits => u64::from(bits).div_ceil(8),
    };
    let largest = composite.members.iter().map(size).max().unwrap_or(0);
    if packed { largest } else { largest.next_multiple_of(natural_align(btf, composite)) }
}

/// Whether the layout needs `packed`: its size or a member isn't where alignment would put it
/// (libbpf's `btf_is_struct_packed`).
fn is_packed(btf: &Btf, composite: &Composite, is_struct: bool) -> bool {
    if !u64::from(composite.size).is_multiple_of(natural_align(btf, composite)) {
        return true;
    }
    is_struct
        && composite.members.iter().any(|member| {
            let align = u64::from(btf.align(member.ty).unwrap_or(1).max(1));
            member.bits == 0 && !u64::from(member.bit_offset).is_multiple_of(8 * align)
        })
}

const PADS: [(&str, u64); 4] = [("long", 64), ("int", 32), ("short", 16), ("char", 8)];

/// The most bytes that are filled with padding words; more is an array.
const MAX_PADS: u64 = 1024;

/// Fills the gap from bit `at` to bit `next` with nameless bit-fields, where the compiler
/// wouldn't leave it by itself (libbpf's `btf_dump_emit_bit_padding`).
fn pad(text: &mut String, indent: &str, mut at: u64, next: u64, next_align: u64, in_bits: bool) {
    if at >= next {
        return;
    }
    if next - at > MAX_PADS * 64 && at.is_multiple_of(8) && next.is_multiple_of(8) {
        // Only a struct that was made up has so large a hole; a nameless array keeps the text small.
        let _ = write!(text, "\n{indent}char __hole_{at}[{}];", (next - at) / 8);
        return;
    }
    let (mut word, mut bits) = ("char", 8);
    for (name, size) in PADS {
        (word, bits) = (name, size);
        if at.next_multiple_of(size) <= next {
            break;
        }
    }
    let aligned = at.next_multiple_of(bits);
    if aligned > at && aligned <= next {
        // A mark `long: 0` is needed if the next member wouldn't go there by itself, or if
        // the filler after it would fit into the hole before it.
        let by_itself = at.next_multiple_of(next_align.max(1) * 8) == aligned;
        if in_bits || (aligned == next && !by_itself) || (aligned != next && next - aligned <= aligned - at) {
            let _ = write!(text, "\n{indent}{word}: {};", if in_bits { aligned - at } else { 0 });
        }
        at = aligned;
    }
    while at < next {
        let rest = (next - at).min(bits);
        // The last one is as small as will do.
        let (word, _) = if rest == bits {
            (word, bits)
        } else {
            PADS.into_iter().rev().find(|(_, size)| *size >= rest).unwrap_or((word, bits))
        };
        let _ = write!(text, "\n{indent}{word}: {rest};");
        at += rest;
    }
}
