//! One value into the bytes of one variable.

use std::collections::HashSet;

use bpfkit_schemas::chain::GlobalValue;

use super::{GlobalProblem, Misfit};
use crate::{
    btf::{Btf, Composite, Enum, Int, Kind, Member, TypeId},
    elf::{Global, Object},
};

pub(super) fn variable(
    object: &Object,
    name: &str,
    value: &GlobalValue,
    data: &mut [Option<Vec<u8>>],
) -> Result<(), GlobalProblem> {
    let btf = object.btf();
    let global = find(object, name)?;
    let map = object.maps().get(global.map);
    if map.is_some_and(|map| map.name.starts_with(".rodata")) && !is_volatile(btf, global.ty) {
        return Err(GlobalProblem::Folded { name: name.to_owned(), c_type: btf.c_type(global.ty) });
    }
    let start = usize::try_from(global.offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(usize::try_from(global.size).unwrap_or(usize::MAX));
    let bytes = data.get_mut(global.map).and_then(Option::as_mut).and_then(|data| data.get_mut(start..end));
    // `Object::parse` has checked that the variable lies in its section.
    Writer { btf }.write(global.ty, value, bytes.unwrap_or_default(), name)
}

fn find<'a>(object: &'a Object, name: &str) -> Result<&'a Global, GlobalProblem> {
    let same: Vec<_> = object.globals().iter().filter(|global| global.name == name).collect();
    match (same.as_slice(), same.iter().find(|global| global.global)) {
        (_, Some(global)) | ([global], None) => Ok(global),
        ([], None) => {
            let similar = similar(name, object.globals().iter().map(|global| global.name.as_str()));
            Err(GlobalProblem::Unknown { name: name.to_owned(), similar })
        }
        _ => Err(GlobalProblem::Ambiguous { name: name.to_owned() }),
    }
}

/// The name that was probably meant.
pub(crate) fn similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = names.map(|other| (strsim::damerau_levenshtein(name, other), other));
    let near = near.filter(|(distance, other)| *distance <= 1 + other.len() / 4);
    near.min().map(|(_, other)| other.to_owned())
}

/// Whether the compiler had to leave the value where it is: `volatile`, on the variable or on its items.
fn is_volatile(btf: &Btf, mut id: TypeId) -> bool {
    // No cycle: modifiers and arrays end (`btf::MAX_DEPTH`).
    loop {
        id = match btf.kind(id) {
            Kind::Volatile(_) => return true,
            Kind::Const(next) | Kind::Restrict(next) | Kind::Typedef(next) | Kind::TypeTag { ty: next, .. } => *next,
            Kind::Array(array) => array.item,
            _ => return false,
        };
    }
}

struct Writer<'a> {
    btf: &'a Btf,
}

impl Writer<'_> {
    /// Writes `value` into `bytes`, which are the whole of `place`.
    fn write(&self, ty: TypeId, value: &GlobalValue, bytes: &mut [u8], place: &str) -> Result<(), GlobalProblem> {
        let misfit = |misfit| GlobalProblem::Misfit { place: place.to_owned(), c_type: self.btf.c_type(ty), misfit };
        let size = self.btf.size(ty).and_then(|size| usize::try_from(size).ok());
        let Some(bytes) = size.and_then(|size| bytes.get_mut(..size)) else {
            return Err(misfit(Misfit::Unwritable { kind: "type without a size" }));
        };
        match self.btf.resolved(ty) {
            Kind::Int(int) => {
                let number = integer(*int, value, u32::from(int.bits)).map_err(misfit)?;
                set_bits(bytes, 0, bytes.len().saturating_mul(8), number);
                Ok(())
            }
            Kind::Enum(any) | Kind::Enum64(any) => {
                let number = self.member_value(any, value, any.size.saturating_mul(8)).map_err(misfit)?;
                set_bits(bytes, 0, bytes.len().saturating_mul(8), number);
                Ok(())
            }
            Kind::Array(array) => {
                let len = usize::try_from(array.len).unwrap_or(usize::MAX);
                match value {
                    GlobalValue::Text(text) if self.is_char(array.item) => {
                        if text.len() >= len {
                            return Err(misfit(Misfit::Length {
                                given: text.len(),
                                room: len.saturating_sub(1),
                                unit: "bytes",
                            }));
                        }
                        bytes.fill(0);
                        for (byte, from) in bytes.iter_mut().zip(text.bytes()) {
                            *byte = from;
                        }
                        Ok(())
                    }
                    GlobalValue::List(items) if items.len() > len => {
                        Err(misfit(Misfit::Length { given: items.len(), room: len, unit: "items" }))
                    }
                    GlobalValue::List(items) => {
                        let item = bytes.len().checked_div(len).unwrap_or(0).max(1);
                        for (at, (value, bytes)) in items.iter().zip(bytes.chunks_mut(item)).enumerate() {
                            self.write(array.item, value, bytes, &format!("{place}[{at}]"))?;
                        }
                        Ok(())
                    }
                    _ => Err(misfit(Misfit::Sort { given: sort(value), wanted: "a list" })),
                }
            }
            Kind::Struct(composite) | Kind::Union(composite) => {
                let GlobalValue::Map(members) = value else {
                    return Err(misfit(Misfit::Sort { given: sort(value), wanted: "a mapping of members" }));
                };
                for (name, value) in members {
                    let found = self.member(composite, name, 0, &mut HashSet::new());
                    let Some((member, bit_offset)) = found else {
                        let names = composite.members.iter().map(|member| self.btf.str(member.name));
                        let similar = similar(name, names.filter(|name| !name.is_empty()));
                        return Err(misfit(Misfit::NoMember { member: name.clone(), similar }));
                    };
                    self.write_member(member, bit_offset, value, bytes, &format!("{place}.{name}"))?;
                }
                Ok(())
            }
            kind => Err(misfit(Misfit::Unwritable {
                kind: match kind {
                    Kind::Ptr(_) => "pointer",
                    Kind::Float { .. } => "floating-point number",
                    _ => "value of this type",
                },
            })),
        }
    }

    fn write_member(
        &self,
        member: &Member,
        bit_offset: u64,
        value: &GlobalValue,
        bytes: &mut [u8],
        place: &str,
    ) -> Result<(), GlobalProblem> {
        let misfit =
            |misfit| GlobalProblem::Misfit { place: place.to_owned(), c_type: self.btf.c_type(member.ty), misfit };
        let bit_offset = usize::try_from(bit_offset).unwrap_or(usize::MAX);
        if member.bits == 0 {
            let rest = bytes.get_mut(bit_offset / 8..);
            return self.write(member.ty, value, rest.unwrap_or_default(), place);
        }
        let number = match self.btf.resolved(member.ty) {
            Kind::Int(int) => integer(*int, value, u32::from(member.bits)),
            Kind::Enum(any) | Kind::Enum64(any) => self.member_value(any, value, u32::from(member.bits)),
            _ => Err(Misfit::Unwritable { kind: "bit-field of this type" }),
        };
        set_bits(bytes, bit_offset, usize::from(member.bits), number.map_err(misfit)?);
        Ok(())
    }

    /// A member by name, looked for in anonymous parts too, and where it is.
    fn member<'c>(
        &'c self,
        composite: &'c Composite,
        name: &str,
        base: u64,
        seen: &mut HashSet<TypeId>,
    ) -> Option<(&'c Member, u64)> {
        composite.members.iter().find_map(|member| {
            let at = base + u64::from(member.bit_offset);
            let text = self.btf.str(member.name);
            if text == name {
                return Some((member, at));
            }
            let ty = self.btf.resolve(member.ty);
            // A part that was searched in vain needn't be searched again.
            let part = if text.is_empty() && seen.insert(ty) { self.btf.kind(ty).composite() } else { None };
            self.member(part?, name, at, seen)
        })
    }

    fn is_char(&self, item: TypeId) -> bool {
        let id = self.btf.resolve(item);
        matches!(self.btf.kind(id), Kind::Int(int) if int.size == 1 && (int.char || self.btf.name(id).contains("char")))
    }

    fn member_value(&self, any: &Enum, value: &GlobalValue, bits: u32) -> Result<i128, Misfit> {
        let number = match value {
            GlobalValue::Int(number) => *number,
            GlobalValue::Text(text) => {
                let text = text.trim();
                let member = any.values.iter().find(|member| self.btf.str(member.name) == text);
                if let Some(number) = member.map(|member| member.value).or_else(|| number(text)) {
                    number
                } else {
                    let names = any.values.iter().map(|member| self.btf.str(member.name));
                    return Err(Misfit::NoMember { member: text.to_owned(), similar: similar(text, names) });
                }
            }
            other => return Err(Misfit::Sort { given: sort(other), wanted: "a member's name or a whole number" }),
        };
        in_range(number, bits, if any.signed { Sign::Signed } else { Sign::Unsigned })
    }
}

fn integer(int: Int, value: &GlobalValue, bits: u32) -> Result<i128, Misfit> {
    let number = match value {
        GlobalValue::Int(number) => *number,
        GlobalValue::Bool(given) if int.bool => i128::from(*given),
        GlobalValue::Text(text) => match text.trim() {
            "true" if int.bool => 1,
            "false" if int.bool => 0,
            text => number(text).ok_or(Misfit::Sort {
                given: "text",
                wanted: if int.bool { "true or false" } else { "a whole number" },
            })?,
        },
        other => {
            let wanted = if int.bool { "true or false" } else { "a whole number" };
            return Err(Misfit::Sort { given: sort(other), wanted });
        }
    };
    let sign = if int.bool {
        Sign::Bool
    } else if int.signed {
        Sign::Signed
    } else {
        Sign::Unsigned
    };
    in_range(number, bits, sign)
}

#[derive(Clone, Copy)]
enum Sign {
    Signed,
    Unsigned,
    Bool,
}

fn in_range(value: i128, bits: u32, sign: Sign) -> Result<i128, Misfit> {
    let one = |bits: u32| 1_i128.checked_shl(bits.min(126)).unwrap_or(i128::MAX);
    let (least, most) = match sign {
        Sign::Bool => (0, 1),
        Sign::Unsigned => (0, one(bits) - 1),
        Sign::Signed => (-one(bits.saturating_sub(1)), one(bits.saturating_sub(1)) - 1),
    };
    if (least..=most).contains(&value) { Ok(value) } else { Err(Misfit::Range { value, least, most }) }
}

/// A whole number as C or YAML spell it: `17`, `-3`, `0x1f`.
fn number(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((digits, 10), |hex| (hex, 16));
    // `from_str_radix` takes a sign of its own.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

fn sort(value: &GlobalValue) -> &'static str {
    match value {
        GlobalValue::Int(_) => "a number",
        GlobalValue::Bool(_) => "true or false",
        GlobalValue::Text(_) => "text",
        GlobalValue::List(_) => "a list",
        GlobalValue::Map(_) => "a mapping",
    }
}

/// Writes the lowest `bits` of `value`, little-endian, from bit `offset` on; what lies outside `bytes` is dropped.
fn set_bits(bytes: &mut [u8], offset: usize, bits: usize, value: i128) {
    for bit in 0..bits.min(128) {
        let at = offset.saturating_add(bit);
        let Some(byte) = bytes.get_mut(at / 8) else { return };
        let mask = 1_u8 << (at % 8);
        if value >> bit & 1 == 1 {
            *byte |= mask;
        } else {
            *byte &= !mask;
        }
    }
}
