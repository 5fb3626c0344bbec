//! A few types of a [`Btf`] → a small BTF of their own, for the kernel to keep with a map.
//!
//! Pure. An object's BTF describes every function and variable, and what of it concerns
//! one map is a dozen types. What those lead to comes along, renumbered in the order in
//! which it is met, so equal types give equal bytes. Format: as for [`super::parse`],
//! `struct btf_header` version 1, little-endian.

use std::collections::HashMap;

use super::{Btf, Composite, Enum, FwdKind, Kind, NameOff, Type, TypeId};

/// The bytes of `struct btf_header` (`include/uapi/linux/btf.h`).
const HEADER: u32 = 24;
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
        let mut writer = Writer { btf: self, numbers: HashMap::new(), order: Vec::new(), names: Names::default() };
        let roots = roots.iter().map(|root| writer.number(*root)).collect();
        let mut types = Vec::new();
        let mut at = 0;
        while let Some(id) = writer.order.get(at).copied() {
            if at >= MAX_TYPES {
                return None;
            }
            writer.write(self.get(id), &mut types);
            if writer.names.text.len() > MAX_NAMES {
                return None;
            }
            at += 1;
        }
        let strings = writer.names.bytes();
        let (type_len, str_len) = (u32::try_from(types.len()).ok()?, u32::try_from(strings.len()).ok()?);
        // Magic, version 1, no flags; offsets count from the header's end.
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for number in [HEADER, 0, type_len, type_len, str_len] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        Some(Subset { bytes, roots })
    }
}

struct Writer<'a> {
    btf: &'a Btf,
    /// New numbers by old ones.
    numbers: HashMap<TypeId, TypeId>,
    /// The old numbers in the new order; the first is 1.
    order: Vec<TypeId>,
    names: Names,
}

/// A string table under construction: each name once.
#[derive(Default)]
struct Names {
    text: String,
    offsets: HashMap<String, u32>,
}

impl Names {
    fn offset(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(offset) = self.offsets.get(name) {
            return *offset;
        }
        // The table begins with the empty name's zero byte.
        let offset = u32::try_from(self.text.len() + 1).unwrap_or(u32::MAX);
        self.text.push_str(name);
        self.text.push('\0');
        self.offsets.insert(name.to_owned(), offset);
        offset
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(self.text.into_bytes());
        bytes
    }
}

/// The head of a `struct btf_type`; the last word is a size or a type.
struct Head {
    kind: u32,
    len: usize,
    flag: bool,
    last: u32,
}

impl Head {
    fn plain(kind: u32, last: u32) -> Self {
        Self { kind, len: 0, flag: false, last }
    }
}

impl Writer<'_> {
    /// The new number of a type; a type that is met for the first time gets the next one.
    fn number(&mut self, id: TypeId) -> TypeId {
        if matches!(
            self.btf.kind(id),
            Kind::Void | Kind::Func { .. } | Kind::Var { .. } | Kind::Datasec { .. } | Kind::DeclTag { .. }
        ) {
            return TypeId::VOID;
        }
        if let Some(number) = self.numbers.get(&id) {
            return *number;
        }
        self.order.push(id);
        let number = TypeId(u32::try_from(self.order.len()).unwrap_or(u32::MAX));
        self.numbers.insert(id, number);
        number
    }

    fn name(&mut self, name: NameOff) -> u32 {
        // One type may have any number of names; the caller looks after each type.
        if self.names.text.len() > MAX_NAMES {
            return 0;
        }
        self.names.offset(self.btf.str(name))
    }

    fn write(&mut self, ty: &Type, out: &mut Vec<u8>) {
        let mut tail = Vec::new();
        let head = match &ty.kind {
            Kind::Int(int) => {
                let flags = u32::from(int.signed) | u32::from(int.char) << 1 | u32::from(int.bool) << 2;
                tail.push(flags << 24 | u32::from(int.offset) << 16 | u32::from(int.bits));
                Head::plain(1, int.size)
            }
            Kind::Ptr(to) => Head::plain(2, self.number(*to).0),
            Kind::Array(array) => {
                tail.extend([self.number(array.item).0, self.number(array.index).0, array.len]);
                Head::plain(3, 0)
            }
            Kind::Struct(composite) => self.composite(4, composite, &mut tail),
            Kind::Union(composite) => self.composite(5, composite, &mut tail),
            Kind::Enum(any) => self.values(6, any, &mut tail),
            Kind::Enum64(any) => self.values(19, any, &mut tail),
            Kind::Fwd(what) => Head { flag: *what == FwdKind::Union, ..Head::plain(7, 0) },
            Kind::Typedef(to) => Head::plain(8, self.number(*to).0),
            Kind::Volatile(to) => Head::plain(9, self.number(*to).0),
            Kind::Const(to) => Head::plain(10, self.number(*to).0),
            Kind::Restrict(to) => Head::plain(11, self.number(*to).0),
            Kind::FuncProto { ret, params } => {
                let ret = self.number(*ret).0;
                for param in params {
                    tail.extend([self.name(param.name), self.number(param.ty).0]);
                }
                Head { len: params.len(), ..Head::plain(13, ret) }
            }
            Kind::Float { size } => Head::plain(16, *size),
            Kind::TypeTag { ty, attribute } => Head { flag: *attribute, ..Head::plain(18, self.number(*ty).0) },
            // `number` gives these no number, so they are never written.
            Kind::Void | Kind::Func { .. } | Kind::Var { .. } | Kind::Datasec { .. } | Kind::DeclTag { .. } => return,
        };
        // A parsed type has at most 2^24 - 1 parts.
        let len = u32::try_from(head.len).unwrap_or(u32::MAX) & 0x00ff_ffff;
        let info = u32::from(head.flag) << 31 | head.kind << 24 | len;
        for word in [self.name(ty.name), info, head.last].into_iter().chain(tail) {
            out.extend(word.to_le_bytes());
        }
    }

    fn composite(&mut self, kind: u32, composite: &Composite, tail: &mut Vec<u32>) -> Head {
        let flag = composite.members.iter().any(|member| member.bits != 0);
        for member in &composite.members {
            let bits = if flag { u32::from(member.bits) << 24 } else { 0 };
            tail.extend([self.name(member.name), self.number(member.ty).0, bits | member.bit_offset]);
        }
        Head { kind, len: composite.members.len(), flag, last: composite.size }
    }

    fn values(&mut self, kind: u32, any: &Enum, tail: &mut Vec<u32>) -> Head {
        for value in &any.values {
            tail.push(self.name(value.name));
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
}
