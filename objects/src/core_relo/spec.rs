//! An access, parsed at home and found again in a target type (`bpf_core_parse_spec`, `bpf_core_spec_match`,
//! `bpf_core_calc_relo`).

use super::{
    CoreKind, CoreProblem, Resolution,
    compat::{Steps, fields_compatible, types_compatible, types_match},
};
use crate::btf::{Array, Btf, Kind, TypeId, essential_name, ext::CoreRecord};

/// The most indices of an access (`BPF_CORE_SPEC_MAX_LEN`).
const LONGEST: usize = 64;

/// A named field, or an index.
#[derive(Clone, Debug)]
struct Accessor {
    /// For a field, the struct or union that has it; for an index, the type of an item.
    ty: TypeId,
    index: u32,
    name: Option<String>,
}

/// An access: what it starts from and the turns that matter.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    root: TypeId,
    kind: CoreKind,
    raw: Vec<u32>,
    accessors: Vec<Accessor>,
    pub(super) bit_offset: u64,
}

impl Spec {
    pub(super) fn parse(btf: &Btf, kind: CoreKind, record: &CoreRecord) -> Result<Self, CoreProblem> {
        let text = btf.str(record.access);
        let mut spec = Self { root: record.ty, kind, raw: Vec::new(), accessors: Vec::new(), bit_offset: 0 };
        if record.ty.index() >= btf.types().len() {
            return Err(CoreProblem::Damaged("its type doesn't exist"));
        }
        if !kind.is_field() && !kind.is_enum_value() {
            return if text == "0" { Ok(spec) } else { Err(CoreProblem::Damaged("a type has no fields to access")) };
        }
        for index in text.split(':') {
            let index = index.parse::<u32>().ok().filter(|index| i32::try_from(*index).is_ok());
            spec.raw.push(index.ok_or(CoreProblem::Damaged("its access isn't numbers"))?);
            if spec.raw.len() > LONGEST {
                return Err(CoreProblem::Damaged("its access is too long"));
            }
        }
        let (first, rest) = spec.raw.split_first().ok_or(CoreProblem::Damaged("its access is empty"))?;
        let (first, rest) = (*first, rest.to_vec());
        let mut id = btf.resolve(record.ty);
        spec.accessors.push(Accessor { ty: id, index: first, name: None });

        if kind.is_enum_value() {
            let value = btf.kind(id).any_enum().and_then(|any| any.values.get(usize::try_from(first).ok()?));
            let value = value.filter(|_| rest.is_empty()).ok_or(CoreProblem::Damaged("its enum has no such member"))?;
            if let Some(accessor) = spec.accessors.first_mut() {
                accessor.name = Some(btf.str(value.name).to_owned());
            }
            return Ok(spec);
        }
        let no_size = CoreProblem::Damaged("its type has no size");
        let too_far = CoreProblem::Damaged("its access goes beyond any type");
        let size = btf.size(id).ok_or_else(|| no_size.clone())?;
        spec.advance(first, size).ok_or_else(|| too_far.clone())?;
        for index in rest {
            id = btf.resolve(id);
            match btf.kind(id) {
                Kind::Struct(composite) | Kind::Union(composite) => {
                    let member = usize::try_from(index).ok().and_then(|at| composite.members.get(at));
                    let member = member.ok_or(CoreProblem::Damaged("its struct has no such member"))?;
                    spec.bit_offset += u64::from(member.bit_offset);
                    let name = btf.str(member.name);
                    if !name.is_empty() {
                        spec.accessors.push(Accessor { ty: id, index, name: Some(name.to_owned()) });
                    }
                    id = member.ty;
                }
                Kind::Array(array) => {
                    let flexible = is_flexible(btf, spec.accessors.last(), array);
                    if !flexible && index >= array.len {
                        return Err(CoreProblem::Damaged("its access is outside the array"));
                    }
                    id = btf.resolve(array.item);
                    spec.accessors.push(Accessor { ty: id, index, name: None });
                    let size = btf.size(id).ok_or_else(|| no_size.clone())?;
                    spec.advance(index, size).ok_or_else(|| too_far.clone())?;
                }
                _ => return Err(CoreProblem::Damaged("its access goes into a type without parts")),
            }
        }
        Ok(spec)
    }

    /// Moves by `index` items of `size` bytes; `None` beyond what C can have.
    fn advance(&mut self, index: u32, size: u64) -> Option<()> {
        let bits = u64::from(index).checked_mul(size)?.checked_mul(8)?;
        self.bit_offset = self.bit_offset.checked_add(bits)?;
        Some(())
    }

    /// What stands behind the root type in a message.
    pub(super) fn suffix(&self, btf: &Btf) -> String {
        if self.kind.is_enum_value() {
            let name = self.accessors.first().and_then(|accessor| accessor.name.as_deref());
            return name.map_or_else(String::new, |name| format!("::{name}"));
        }
        let mut text = String::new();
        for (at, accessor) in self.accessors.iter().enumerate() {
            match &accessor.name {
                Some(name) => text.extend([".", name]),
                None if at > 0 || accessor.index > 0 => text.extend(["[", &accessor.index.to_string(), "]"]),
                None => {}
            }
        }
        // A pointer to nothing but the struct itself still says which type.
        if text.is_empty() && btf.name(self.root).is_empty() { " (anonymous)".to_owned() } else { text }
    }
}

/// An array without length at the end of a struct (`is_flex_arr`).
fn is_flexible(btf: &Btf, before: Option<&Accessor>, array: &Array) -> bool {
    let Some(before) = before.filter(|before| before.name.is_some() && array.len == 0) else { return false };
    let members = btf.kind(before.ty).composite().map_or(0, |composite| composite.members.len());
    usize::try_from(before.index).is_ok_and(|index| index + 1 == members)
}

/// The same access in target type `id`; `None` where it doesn't fit.
pub(super) fn matched(
    spec: &Spec,
    local: &Btf,
    target: &Btf,
    id: TypeId,
    steps: &mut Steps,
) -> Result<Option<Spec>, CoreProblem> {
    let mut found = Spec { root: id, kind: spec.kind, raw: Vec::new(), accessors: Vec::new(), bit_offset: 0 };
    if spec.kind == CoreKind::TypeMatches {
        return Ok(types_match(local, spec.root, target, id, steps)?.then_some(found));
    }
    if spec.kind.is_enum_value() {
        let name = spec.accessors.first().and_then(|accessor| accessor.name.as_deref()).map(essential_name);
        let ty = target.resolve(id);
        let Some(any) = target.kind(ty).any_enum() else { return Ok(None) };
        any.values.iter().try_for_each(|_| steps.take())?;
        let index = any.values.iter().position(|value| Some(essential_name(target.str(value.name))) == name);
        let Some(index) = index.and_then(|index| u32::try_from(index).ok()) else { return Ok(None) };
        found.accessors.push(Accessor { ty, index, name: name.map(str::to_owned) });
        return Ok(Some(found));
    }
    if !spec.kind.is_field() {
        return Ok(types_compatible(local, spec.root, target, id, steps)?.then_some(found));
    }
    let mut id = id;
    for (at, accessor) in spec.accessors.iter().enumerate() {
        id = target.resolve(id);
        if accessor.name.is_some() {
            match member(local, accessor, target, id, &mut found, steps)? {
                Some(next) => id = next,
                None => return Ok(None),
            }
            continue;
        }
        // The first index is on the pointer that the access starts from, the others on arrays.
        if at > 0 {
            let Kind::Array(array) = target.kind(id) else { return Ok(None) };
            if !is_flexible(target, found.accessors.last(), array) && accessor.index >= array.len {
                return Ok(None);
            }
            id = target.resolve(array.item);
        }
        if found.raw.len() == LONGEST {
            return Err(CoreProblem::TooComplicated);
        }
        found.accessors.push(Accessor { ty: id, index: accessor.index, name: None });
        found.raw.push(accessor.index);
        let size = target.size(id).ok_or(CoreProblem::Target("a type on the way has no size"))?;
        found.advance(accessor.index, size).ok_or(CoreProblem::Target("the access goes beyond any type"))?;
    }
    Ok(Some(found))
}

/// Looks for a field by name in `id` and in its anonymous parts (`bpf_core_match_member`); gives the field's type.
fn member(
    local: &Btf,
    wanted: &Accessor,
    target: &Btf,
    id: TypeId,
    found: &mut Spec,
    steps: &mut Steps,
) -> Result<Option<TypeId>, CoreProblem> {
    let id = target.resolve(id);
    let Some(composite) = target.kind(id).composite() else { return Ok(None) };
    let home = local.kind(wanted.ty).composite();
    let home = home.and_then(|home| home.members.get(usize::try_from(wanted.index).ok()?));
    let home = home.ok_or(CoreProblem::Damaged("its struct has no such member"))?;
    for (index, member_here) in (0..).zip(&composite.members) {
        steps.take()?;
        if found.raw.len() == LONGEST {
            return Err(CoreProblem::TooComplicated);
        }
        found.bit_offset += u64::from(member_here.bit_offset);
        found.raw.push(index);
        let name = target.str(member_here.name);
        if name.is_empty() {
            if let Some(next) = member(local, wanted, target, member_here.ty, found, steps)? {
                return Ok(Some(next));
            }
        } else if wanted.name.as_deref() == Some(name) {
            if fields_compatible(local, home.ty, target, member_here.ty) {
                found.accessors.push(Accessor { ty: id, index, name: Some(name.to_owned()) });
                return Ok(Some(member_here.ty));
            }
            // As in libbpf, the search ends at the first field of that name.
            return Ok(None);
        }
        found.bit_offset -= u64::from(member_here.bit_offset);
        found.raw.pop();
    }
    Ok(None)
}

/// One side's share of a field relocation.
struct Field {
    value: u64,
    size: u32,
    ty: TypeId,
    validate: bool,
}

/// The value for `target_spec`, or for nothing found (`bpf_core_calc_relo`).
pub(super) fn resolution(
    spec: &Spec,
    target_spec: Option<&Spec>,
    local: &Btf,
    target: &Btf,
) -> Result<Resolution, CoreProblem> {
    let found = target_spec.is_some();
    let mut result = Resolution { found, validate: true, ..Resolution::default() };
    if spec.kind == CoreKind::FieldExists {
        result.original = 1;
        result.value = u64::from(found);
    } else if spec.kind.is_field() {
        let home = field(spec, local)?;
        result.original = home.value;
        result.validate = home.validate;
        let Some(target_spec) = target_spec else { return Ok(Resolution { poison: true, ..result }) };
        let there = field(target_spec, target).map_err(|problem| match problem {
            CoreProblem::Damaged(what) => CoreProblem::Target(what),
            other => other,
        })?;
        result.value = there.value;
        result.sizes = (home.size, there.size);
        result.wrong_size = home.size != there.size && !may_resize(local.kind(home.ty), target.kind(there.ty));
    } else if spec.kind.is_enum_value() {
        if spec.kind == CoreKind::EnumValueExists {
            result.original = 1;
            result.value = u64::from(found);
        } else {
            result.original = enum_value(spec, local)?;
            match target_spec {
                Some(target_spec) => result.value = enum_value(target_spec, target)?,
                None => result.poison = true,
            }
        }
    } else {
        let value = |spec: &Spec, btf: &Btf| match spec.kind {
            CoreKind::TypeIdTarget => Ok(u64::from(spec.root.0)),
            CoreKind::TypeSize => btf.size(spec.root).ok_or(CoreProblem::Target("it has no size")),
            _ => Ok(1),
        };
        result.original = value(spec, local)?;
        result.validate = spec.kind != CoreKind::TypeIdTarget;
        result.value = target_spec.map_or(Ok(0), |spec| value(spec, target))?;
    }
    Ok(result)
}

/// The relocated property of the last field of `spec` (`bpf_core_calc_field_relo`).
fn field(spec: &Spec, btf: &Btf) -> Result<Field, CoreProblem> {
    let no_size = || CoreProblem::Damaged("its field has no size");
    let last = spec.accessors.last().ok_or(CoreProblem::Damaged("its access is empty"))?;
    let bytes = |id: TypeId| btf.size(id).and_then(|size| u32::try_from(size).ok()).ok_or_else(no_size);
    // A load reads an item, not the whole array.
    let item_bytes = |id: TypeId| {
        let mut id = btf.resolve(id);
        while let Kind::Array(array) = btf.kind(id) {
            id = btf.resolve(array.item);
        }
        bytes(id)
    };
    if last.name.is_none() {
        let (value, size) = match spec.kind {
            CoreKind::FieldByteOffset => (spec.bit_offset / 8, item_bytes(last.ty)?),
            CoreKind::FieldByteSize => (u64::from(bytes(last.ty)?), 0),
            _ => return Err(CoreProblem::Damaged("an array's item is no field")),
        };
        return Ok(Field { value, size, ty: last.ty, validate: true });
    }
    let member =
        btf.kind(last.ty).composite().and_then(|composite| composite.members.get(usize::try_from(last.index).ok()?));
    let member = member.ok_or(CoreProblem::Damaged("its struct has no such member"))?;
    let ty = btf.resolve(member.ty);
    let bit_field = member.bits > 0;
    let mut size = u64::from(bytes(ty)?);
    let (mut offset, bits) = (spec.bit_offset / 8, if bit_field { u64::from(member.bits) } else { size * 8 });
    if bit_field {
        // The smallest integer that holds the whole bit-field.
        let round = |size: u64| (spec.bit_offset / 8).checked_div(size).map(|at| at * size).ok_or_else(no_size);
        offset = round(size)?;
        while spec.bit_offset + bits - offset * 8 > size * 8 {
            if size >= 8 {
                return Err(CoreProblem::Damaged("its bit-field can't be read with one load"));
            }
            size *= 2;
            offset = round(size)?;
        }
    }
    let plain = |value| Field { value, size: 0, ty, validate: !bit_field };
    Ok(match spec.kind {
        CoreKind::FieldByteOffset if bit_field => plain(offset),
        CoreKind::FieldByteOffset => Field { size: item_bytes(ty)?, ..plain(offset) },
        CoreKind::FieldByteSize => plain(size),
        CoreKind::FieldSigned => {
            let signed = match btf.kind(ty) {
                Kind::Enum(any) | Kind::Enum64(any) => any.signed,
                Kind::Int(int) => int.signed,
                _ => false,
            };
            Field { validate: true, ..plain(u64::from(signed)) }
        }
        // Little-endian: shift the bits above the field out at the top, then come back down.
        CoreKind::FieldLeftShift => plain(64_u64.wrapping_sub(spec.bit_offset + bits - offset * 8)),
        CoreKind::FieldRightShift => Field { validate: true, ..plain(64_u64.wrapping_sub(bits)) },
        _ => return Err(CoreProblem::Damaged("its kind is no field's")),
    })
}

/// Whether a load may read more or fewer bytes and still give the same number: pointers and unsigned integers.
fn may_resize(home: &Kind, there: &Kind) -> bool {
    // `btf_int_encoding(t) != BTF_INT_SIGNED`: `_Bool` and characters pass.
    let unsigned = |kind: &Kind| matches!(kind, Kind::Int(int) if !int.signed || int.char || int.bool);
    matches!((home, there), (Kind::Ptr(_), Kind::Ptr(_))) || (unsigned(home) && unsigned(there))
}

/// The number of the enum's member as libbpf writes it: the 32-bit ones sign-extended, whatever their sign.
fn enum_value(spec: &Spec, btf: &Btf) -> Result<u64, CoreProblem> {
    let missing = CoreProblem::Damaged("its enum has no such member");
    let accessor = spec.accessors.first().ok_or(missing.clone())?;
    let kind = btf.kind(accessor.ty);
    let value = kind.any_enum().and_then(|any| any.values.get(usize::try_from(accessor.index).ok()?)).ok_or(missing)?;
    let bytes = value.value.to_le_bytes();
    Ok(if matches!(kind, Kind::Enum(_)) {
        let low = bytes.first_chunk().copied().unwrap_or_default();
        i64::from(i32::from_le_bytes(low)).cast_unsigned()
    } else {
        u64::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
    })
}
