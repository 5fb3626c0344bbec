//! Types → the bytes of a BTF: the inverse of [`super::parse`]. Pure.
//!
//! Format: `struct btf_header` version 1 and `struct btf_type` of
//! `include/uapi/linux/btf.h`, little-endian.

use std::collections::HashMap;

use super::{Btf, Composite, Enum, FwdKind, Kind, Linkage, NameOff, Type, TypeId};

/// The bytes of `struct btf_header`.
const HEADER: u32 = 24;

/// A string table under construction: each text once.
#[derive(Debug)]
pub(super) struct Names {
    text: String,
    offsets: HashMap<String, u32>,
    most: usize,
    /// Whether identifiers are made valid C, as the kernel demands of a program's types.
    as_c: bool,
}

impl Names {
    /// Takes up to `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { text: String::new(), offsets: HashMap::new(), most, as_c: false }
    }

    /// Takes up to `most` bytes, and makes names of types and members valid C.
    pub(super) fn as_c(most: usize) -> Self {
        Self { as_c: true, ..Self::new(most) }
    }

    /// The offset of a text; 0 for an empty one, and for every one once the table is too long.
    pub(super) fn offset(&mut self, text: &str) -> u32 {
        if text.is_empty() || self.is_full() {
            return 0;
        }
        if let Some(offset) = self.offsets.get(text) {
            return *offset;
        }
        // The table begins with the empty name's zero byte.
        let offset = u32::try_from(self.text.len() + 1).unwrap_or(u32::MAX);
        self.text.push_str(text);
        self.text.push('\0');
        self.offsets.insert(text.to_owned(), offset);
        offset
    }

    /// The offset of a name that the kernel wants to be an identifier.
    pub(super) fn identifier(&mut self, name: &str) -> u32 {
        if self.as_c { self.offset(&identifier(name)) } else { self.offset(name) }
    }

    /// Whether more was asked of it than it takes.
    pub(super) fn is_full(&self) -> bool {
        self.text.len() > self.most
    }
}

/// The longest identifier that every kernel takes, in bytes (`KSYM_NAME_LEN` less one; 511 since Linux 6.1).
const LONGEST: usize = 127;

/// A name as the kernel takes it (`btf_name_valid_identifier`): Rust's have other characters too.
fn identifier(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let first = name.chars().next().filter(char::is_ascii_digit).map(|_| '_');
    first.into_iter().chain(letters).take(LONGEST).collect()
}

/// A whole BTF; `None` where it is too long for its own numbers, or the names were too many.
pub(super) fn whole(types: &[u8], names: Names) -> Option<Vec<u8>> {
    if names.is_full() {
        return None;
    }
    let strings = names.text.into_bytes();
    let (type_len, str_len) = (u32::try_from(types.len()).ok()?, u32::try_from(strings.len() + 1).ok()?);
    // Magic, version 1, no flags; offsets count from the header's end.
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    for number in [HEADER, 0, type_len, type_len, str_len] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(types);
    bytes.push(0);
    bytes.extend(strings);
    Some(bytes)
}

/// The head of a `struct btf_type`; the last word is a size or a type.
pub(super) struct Head {
    kind: u32,
    len: usize,
    flag: bool,
    last: u32,
}

impl Head {
    fn plain(kind: u32, last: u32) -> Self {
        Self { kind, len: 0, flag: false, last }
    }

    fn put(&self, name: u32, tail: &[u32], out: &mut Vec<u8>) {
        // A parsed type has at most 2^24 - 1 parts.
        let len = u32::try_from(self.len).unwrap_or(u32::MAX) & 0x00ff_ffff;
        let info = u32::from(self.flag) << 31 | self.kind << 24 | len;
        for word in [name, info, self.last].iter().chain(tail) {
            out.extend(word.to_le_bytes());
        }
    }
}

/// Adds one type, with new numbers for those that it refers to. Functions and remarks have [`function`] and
/// [`remark`]; sections and variables belong to no program and are left out.
pub(super) fn ty(btf: &Btf, ty: &Type, number: &mut dyn FnMut(TypeId) -> TypeId, names: &mut Names, out: &mut Vec<u8>) {
    let mut tail = Vec::new();
    let head = match &ty.kind {
        Kind::Int(int) => {
            let flags = u32::from(int.signed) | u32::from(int.char) << 1 | u32::from(int.bool) << 2;
            tail.push(flags << 24 | u32::from(int.offset) << 16 | u32::from(int.bits));
            Head::plain(1, int.size)
        }
        Kind::Ptr(to) => Head::plain(2, number(*to).0),
        Kind::Array(array) => {
            tail.extend([number(array.item).0, number(array.index).0, array.len]);
            Head::plain(3, 0)
        }
        Kind::Struct(members) => composite(btf, 4, members, number, names, &mut tail),
        Kind::Union(members) => composite(btf, 5, members, number, names, &mut tail),
        Kind::Enum(any) => values(btf, 6, any, names, &mut tail),
        Kind::Enum64(any) => values(btf, 19, any, names, &mut tail),
        Kind::Fwd(what) => return forward(btf, ty.name, *what, names, out),
        Kind::Typedef(to) => Head::plain(8, number(*to).0),
        Kind::Volatile(to) => Head::plain(9, number(*to).0),
        Kind::Const(to) => Head::plain(10, number(*to).0),
        Kind::Restrict(to) => Head::plain(11, number(*to).0),
        Kind::FuncProto { ret, params } => {
            let ret = number(*ret).0;
            for param in params {
                let ty = number(param.ty).0;
                // A function's parameters must have names (`btf_func_check`), but for the `...` at the end.
                let name = match names.identifier(btf.str(param.name)) {
                    0 if names.as_c && ty != 0 => names.offset("_"),
                    name => name,
                };
                tail.extend([name, ty]);
            }
            Head { len: params.len(), ..Head::plain(13, ret) }
        }
        Kind::Float { size } => Head::plain(16, *size),
        Kind::TypeTag { ty, attribute } => Head { flag: *attribute, ..Head::plain(18, number(*ty).0) },
        Kind::Void | Kind::Func { .. } | Kind::Var { .. } | Kind::Datasec { .. } | Kind::DeclTag { .. } => return,
    };
    let name = match &ty.kind {
        // `long unsigned int` is a name.
        Kind::Int(_) | Kind::Float { .. } | Kind::TypeTag { .. } => names.offset(btf.str(ty.name)),
        _ => names.identifier(btf.str(ty.name)),
    };
    head.put(name, &tail, out);
}

/// Adds a declaration of a struct or union that isn't described.
pub(super) fn forward(btf: &Btf, name: NameOff, what: FwdKind, names: &mut Names, out: &mut Vec<u8>) {
    let name = names.identifier(btf.str(name));
    Head { flag: what == FwdKind::Union, ..Head::plain(7, 0) }.put(name, &[], out);
}

/// Adds a function with this prototype.
pub(super) fn function(name: &str, linkage: Linkage, proto: TypeId, names: &mut Names, out: &mut Vec<u8>) {
    let len = match linkage {
        Linkage::Static => 0,
        Linkage::Global => 1,
        Linkage::Extern => 2,
    };
    let name = names.identifier(name);
    Head { len, ..Head::plain(12, proto.0) }.put(name, &[], out);
}

/// Adds a remark on a function's parameter.
pub(super) fn remark(text: &str, on: TypeId, parameter: u32, names: &mut Names, out: &mut Vec<u8>) {
    let text = names.offset(text);
    Head::plain(17, on.0).put(text, &[parameter], out);
}

/// Adds `int` and the prototype of a function that takes nothing and returns one; `next` is the first one's number.
pub(super) fn plain_prototype(next: u32, names: &mut Names, out: &mut Vec<u8>) -> TypeId {
    let name = names.offset("int");
    // Signed, 32 bits from bit 0.
    Head::plain(1, 4).put(name, &[1 << 24 | 32], out);
    Head::plain(13, next).put(0, &[], out);
    TypeId(next.saturating_add(1))
}

fn composite(
    btf: &Btf,
    kind: u32,
    composite: &Composite,
    number: &mut dyn FnMut(TypeId) -> TypeId,
    names: &mut Names,
    tail: &mut Vec<u32>,
) -> Head {
    let flag = composite.members.iter().any(|member| member.bits != 0);
    for member in &composite.members {
        let bits = if flag { u32::from(member.bits) << 24 } else { 0 };
        tail.extend([names.identifier(btf.str(member.name)), number(member.ty).0, bits | member.bit_offset]);
    }
    Head { kind, len: composite.members.len(), flag, last: composite.size }
}

fn values(btf: &Btf, kind: u32, any: &Enum, names: &mut Names, tail: &mut Vec<u32>) -> Head {
    for value in &any.values {
        tail.push(names.identifier(btf.str(value.name)));
        // Two's complement: the lower half, then, where there is one, the upper.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "split into halves")]
        let (low, high) = (value.value as u32, (value.value >> 32) as u32);
        tail.push(low);
        if kind == 19 {
            tail.push(high);
        }
    }
    Head { kind, len: any.values.len(), flag: any.signed, last: any.size }
}
