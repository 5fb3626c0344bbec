//! BTF bytes → [`Btf`]. Pure; every offset, count and reference is checked here, once.

use std::sync::OnceLock;

use thiserror::Error;

use super::{
    Array, Btf, Composite, Enum, EnumValue, FwdKind, Int, Kind, Linkage, MAX_DEPTH, MAX_SIZE, Member, NameOff, Param,
    SectionVar, Type, TypeId, layout,
};

/// Why bytes are not BTF that we can use.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum BtfError {
    /// It is larger than any kernel's.
    #[error("it has {size} bytes, more than the {MAX_SIZE} that are read")]
    TooLarge {
        /// Bytes.
        size: usize,
    },
    /// It ends before something that it announces.
    #[error("it ends in the middle of {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// It starts with something else.
    #[error("it doesn't start with BTF's magic number")]
    NotBtf,
    /// It is for a machine of the other byte order.
    #[error("it is big-endian; only little-endian BTF is read")]
    BigEndian,
    /// A version that nobody has defined yet.
    #[error("it has version {version}, and only version 1 is known")]
    Version {
        /// The version.
        version: u8,
    },
    /// Its strings don't start with the empty one or don't end with a NUL.
    #[error("its strings don't start and end with a NUL")]
    Strings,
    /// A type of a kind that Linux 6.18 doesn't know.
    #[error("type {id} is of the unknown kind {kind}")]
    UnknownKind {
        /// The type.
        id: TypeId,
        /// `BTF_INFO_KIND`.
        kind: u32,
    },
    /// A name outside the strings.
    #[error("type {id} has a name outside the string table")]
    BadName {
        /// The type.
        id: TypeId,
    },
    /// A reference to a type that isn't there.
    #[error("type {id} refers to type {to}, which doesn't exist")]
    BadReference {
        /// The type.
        id: TypeId,
        /// What it refers to.
        to: TypeId,
    },
    /// A field that says something impossible.
    #[error("type {id} has {what}")]
    BadField {
        /// The type.
        id: TypeId,
        /// What is wrong.
        what: &'static str,
    },
    /// It contains itself by value, or its parts are nested beyond reason.
    #[error("type {id} contains itself, or is nested more than {MAX_DEPTH} deep")]
    Nesting {
        /// The type.
        id: TypeId,
    },
    /// A record of `.BTF.ext` that is smaller than its kind needs, or not a multiple of 4.
    #[error("its {what} records have {size} bytes each")]
    RecordSize {
        /// Which records.
        what: &'static str,
        /// Bytes.
        size: u32,
    },
}

const MAGIC: u16 = 0xeb9f;

/// Little-endian numbers, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8], what: &'static str) -> Self {
        Self { rest, what }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn skip(&mut self, bytes: usize) -> Result<(), BtfError> {
        self.rest = self.rest.get(bytes..).ok_or(BtfError::Truncated { what: self.what })?;
        Ok(())
    }

    pub(super) fn u32(&mut self) -> Result<u32, BtfError> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(BtfError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*number))
    }

    fn name(&mut self) -> Result<NameOff, BtfError> {
        self.u32().map(NameOff)
    }

    fn ty(&mut self) -> Result<TypeId, BtfError> {
        self.u32().map(TypeId)
    }

    /// Reads `count` records; what is announced but not there can't make us reserve memory.
    fn list<T>(
        &mut self,
        count: u32,
        record: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, BtfError>,
    ) -> Result<Vec<T>, BtfError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count.saturating_mul(record) > self.rest.len() {
            return Err(BtfError::Truncated { what: self.what });
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }
}

/// A header that `.BTF` and `.BTF.ext` share: checks it and gives its length and what follows its first 8 bytes.
pub(super) fn header(bytes: &[u8]) -> Result<(usize, Reader<'_>), BtfError> {
    if bytes.len() > MAX_SIZE {
        return Err(BtfError::TooLarge { size: bytes.len() });
    }
    let truncated = BtfError::Truncated { what: "its header" };
    let (start, rest) = bytes.split_first_chunk::<8>().ok_or(truncated)?;
    let [m0, m1, version, _flags, l0, l1, l2, l3] = *start;
    match u16::from_le_bytes([m0, m1]) {
        MAGIC => {}
        swapped if swapped == MAGIC.swap_bytes() => return Err(BtfError::BigEndian),
        _ => return Err(BtfError::NotBtf),
    }
    if version != 1 {
        return Err(BtfError::Version { version });
    }
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    Ok((length, Reader::new(rest, "its header")))
}

/// The part of `bytes` that a header announces by offset (from the header's end) and length.
pub(super) fn part<'a>(
    bytes: &'a [u8],
    header: usize,
    offset: u32,
    length: u32,
    what: &'static str,
) -> Result<&'a [u8], BtfError> {
    let range = || {
        let start = header.checked_add(usize::try_from(offset).ok()?)?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        bytes.get(start..end)
    };
    range().ok_or(BtfError::Truncated { what })
}

pub(super) fn parse(bytes: &[u8]) -> Result<Btf, BtfError> {
    let (length, mut fields) = header(bytes)?;
    let [type_off, type_len, str_off, str_len] = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
    let strings = part(bytes, length, str_off, str_len, "its strings")?;
    if strings.first() != Some(&0) || strings.last() != Some(&0) {
        return Err(BtfError::Strings);
    }

    let mut reader = Reader::new(part(bytes, length, type_off, type_len, "its types")?, "its types");
    let mut types = vec![Type { name: NameOff(0), kind: Kind::Void }];
    while !reader.is_empty() {
        let id = TypeId(u32::try_from(types.len()).unwrap_or(u32::MAX));
        types.push(read_type(&mut reader, id)?);
    }
    check_references(&types, strings.len())?;
    let layouts = layout::layouts(&types)?;
    Ok(Btf { types, strings: text(strings), layouts, names: OnceLock::new() })
}

fn read_type(reader: &mut Reader<'_>, id: TypeId) -> Result<Type, BtfError> {
    let name = reader.name()?;
    let info = reader.u32()?;
    let size = reader.u32()?;
    let ty = TypeId(size);
    // Bits 16 to 23 of the length and bits 29 and 30 of the kind are bpf-next's (2026); older BTF has zeros there.
    let (flag, kind, len) = (info >> 31 == 1, info >> 24 & 0x7f, info & 0x00ff_ffff);
    let kind = match kind {
        1 => Kind::Int(read_int(reader, size, id)?),
        2 => Kind::Ptr(ty),
        3 => Kind::Array(Array { item: reader.ty()?, index: reader.ty()?, len: reader.u32()? }),
        4 => Kind::Struct(Composite { size, members: read_members(reader, len, flag)? }),
        5 => Kind::Union(Composite { size, members: read_members(reader, len, flag)? }),
        6 | 19 => {
            if !matches!(size, 1 | 2 | 4 | 8) {
                return Err(BtfError::BadField { id, what: "a size that no enum has" });
            }
            let wide = kind == 19;
            let values = reader.list(len, if wide { 12 } else { 8 }, |r| {
                let (name, low) = (r.name()?, r.u32()?);
                let bits = if wide { u64::from(r.u32()?) << 32 | u64::from(low) } else { u64::from(low) };
                let value = match (wide, flag) {
                    (_, false) => i128::from(bits),
                    (true, true) => i128::from(bits.cast_signed()),
                    (false, true) => i128::from(low.cast_signed()),
                };
                Ok(EnumValue { name, value })
            })?;
            let any = Enum { size, signed: flag, values };
            if wide { Kind::Enum64(any) } else { Kind::Enum(any) }
        }
        7 => Kind::Fwd(if flag { FwdKind::Union } else { FwdKind::Struct }),
        8 => Kind::Typedef(ty),
        9 => Kind::Volatile(ty),
        10 => Kind::Const(ty),
        11 => Kind::Restrict(ty),
        12 => Kind::Func { proto: ty, linkage: linkage(len, id)? },
        13 => Kind::FuncProto { ret: ty, params: reader.list(len, 8, |r| Ok(Param { name: r.name()?, ty: r.ty()? }))? },
        14 => Kind::Var { ty, linkage: linkage(reader.u32()?, id)? },
        15 => Kind::Datasec {
            size,
            vars: reader.list(len, 12, |r| Ok(SectionVar { ty: r.ty()?, offset: r.u32()?, size: r.u32()? }))?,
        },
        16 => Kind::Float { size },
        17 => Kind::DeclTag { ty, component: reader.u32().map(|at| (at != u32::MAX).then_some(at))?, attribute: flag },
        18 => Kind::TypeTag { ty, attribute: flag },
        kind => return Err(BtfError::UnknownKind { id, kind }),
    };
    Ok(Type { name, kind })
}

fn read_int(reader: &mut Reader<'_>, size: u32, id: TypeId) -> Result<Int, BtfError> {
    let [bits, _, offset, encoding] = reader.u32()?.to_le_bytes();
    // The bits 16 to 23 are the offset, 24 to 27 the encoding (`BTF_INT_OFFSET`, `BTF_INT_ENCODING`).
    if !matches!(size, 1 | 2 | 4 | 8 | 16) || u32::from(bits) + u32::from(offset) > size * 8 {
        return Err(BtfError::BadField { id, what: "a size that no integer has" });
    }
    let [signed, char, bool] = [1, 2, 4].map(|flag| encoding & flag != 0);
    Ok(Int { size, signed, char, bool, bits, offset })
}

fn read_members(reader: &mut Reader<'_>, len: u32, flag: bool) -> Result<Vec<Member>, BtfError> {
    reader.list(len, 12, |r| {
        let (name, ty, offset) = (r.name()?, r.ty()?, r.u32()?);
        // With the kind flag, the upper 8 bits are a bit-field's width.
        let [b0, b1, b2, b3] = offset.to_le_bytes();
        let (bit_offset, bits) = if flag { (u32::from_le_bytes([b0, b1, b2, 0]), b3) } else { (offset, 0) };
        Ok(Member { name, ty, bit_offset, bits })
    })
}

fn linkage(number: u32, id: TypeId) -> Result<Linkage, BtfError> {
    match number {
        0 => Ok(Linkage::Static),
        1 => Ok(Linkage::Global),
        2 => Ok(Linkage::Extern),
        _ => Err(BtfError::BadField { id, what: "an unknown linkage" }),
    }
}

fn check_references(types: &[Type], strings: usize) -> Result<(), BtfError> {
    for (id, ty) in (0..).map(TypeId).zip(types) {
        let name = |name: NameOff| match usize::try_from(name.0) {
            Ok(offset) if offset < strings => Ok(()),
            _ => Err(BtfError::BadName { id }),
        };
        let reference =
            |to: TypeId| if to.index() < types.len() { Ok(()) } else { Err(BtfError::BadReference { id, to }) };
        name(ty.name)?;
        match &ty.kind {
            Kind::Void | Kind::Int(_) | Kind::Fwd(_) | Kind::Float { .. } => {}
            Kind::Ptr(to) | Kind::Typedef(to) | Kind::Volatile(to) | Kind::Const(to) | Kind::Restrict(to) => {
                reference(*to)?;
            }
            Kind::Var { ty, .. } | Kind::DeclTag { ty, .. } | Kind::TypeTag { ty, .. } => reference(*ty)?,
            Kind::Func { proto, .. } => {
                reference(*proto)?;
                if !matches!(types.get(proto.index()).map(|ty| &ty.kind), Some(Kind::FuncProto { .. })) {
                    return Err(BtfError::BadField { id, what: "a prototype that is none" });
                }
            }
            Kind::Array(array) => {
                reference(array.item)?;
                reference(array.index)?;
            }
            Kind::Struct(composite) | Kind::Union(composite) => {
                for member in &composite.members {
                    name(member.name)?;
                    reference(member.ty)?;
                }
            }
            Kind::Enum(any) | Kind::Enum64(any) => any.values.iter().try_for_each(|value| name(value.name))?,
            Kind::FuncProto { ret, params } => {
                reference(*ret)?;
                for param in params {
                    name(param.name)?;
                    reference(param.ty)?;
                }
            }
            Kind::Datasec { vars, .. } => vars.iter().try_for_each(|var| reference(var.ty))?,
        }
    }
    Ok(())
}

/// The bytes as text of the same length: what isn't UTF-8 becomes `?`, so that offsets stay.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}
