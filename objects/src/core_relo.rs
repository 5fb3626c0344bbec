//! CO-RE: the compiler's notes about accesses, resolved against a kernel's types.
//!
//! Turns a record of `.BTF.ext` into the value that belongs in an instruction on
//! the kernel whose BTF is given. Pure. The rules are libbpf's `relo_core.c`
//! (July 2026), step by step, so that what it loads we load with the same bytes:
//!
//! 1. Candidates are the target's types of the same kind and the same name, flavours
//!    (`task_struct___old`) aside.
//! 2. A candidate matches if all named fields are found in it, looking through its
//!    anonymous structs and unions, and the types of the last ones go together.
//! 3. Several may match if they agree on the value; else the relocation is *ambiguous*.
//!    Those that didn't match are no candidates any more for later accesses through
//!    the same local type.
//! 4. Nothing matches: an existence question is answered with 0, and any other
//!    instruction is replaced by one that no verifier accepts, unless it is dead code.
//!
//! One rule is stricter than libbpf's. Where an access matches only a candidate that an
//! earlier access ruled out, libbpf goes to step 4 (aya-obj 0.3 silently mixes the two
//! structs); here it is an error, [`CoreProblem::Mixed`], that names both.
//!
//! Modules' BTF is not searched.

mod compat;
mod patch;
mod spec;

use std::{collections::HashMap, fmt};

use thiserror::Error;

use crate::btf::{Btf, Kind, NameOff, TypeId, essential_name, ext::CoreRecord};

pub use patch::{PatchProblem, patch};
use spec::Spec;

/// What a relocation asks (`enum bpf_core_relo_kind`).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum CoreKind {
    /// Where a field is, in bytes.
    FieldByteOffset,
    /// How many bytes a field has.
    FieldByteSize,
    /// Whether a field is there.
    FieldExists,
    /// Whether a field is signed.
    FieldSigned,
    /// How far to shift a bit-field left.
    FieldLeftShift,
    /// How far to shift it right again.
    FieldRightShift,
    /// The number of the local type.
    TypeIdLocal,
    /// The number of the target's type.
    TypeIdTarget,
    /// Whether a type is there.
    TypeExists,
    /// How many bytes a type has.
    TypeSize,
    /// Whether an enum has a member.
    EnumValueExists,
    /// The value of an enum's member.
    EnumValue,
    /// Whether a type is there and looks like the local one.
    TypeMatches,
}

impl CoreKind {
    const ALL: [Self; 13] = [
        Self::FieldByteOffset,
        Self::FieldByteSize,
        Self::FieldExists,
        Self::FieldSigned,
        Self::FieldLeftShift,
        Self::FieldRightShift,
        Self::TypeIdLocal,
        Self::TypeIdTarget,
        Self::TypeExists,
        Self::TypeSize,
        Self::EnumValueExists,
        Self::EnumValue,
        Self::TypeMatches,
    ];

    /// The kind with libbpf's number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    fn is_field(self) -> bool {
        matches!(
            self,
            Self::FieldByteOffset
                | Self::FieldByteSize
                | Self::FieldExists
                | Self::FieldSigned
                | Self::FieldLeftShift
                | Self::FieldRightShift
        )
    }

    fn is_enum_value(self) -> bool {
        matches!(self, Self::EnumValueExists | Self::EnumValue)
    }

    /// libbpf's word for it: `byte_off`, `type_exists`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FieldByteOffset => "byte_off",
            Self::FieldByteSize => "byte_sz",
            Self::FieldExists => "field_exists",
            Self::FieldSigned => "signed",
            Self::FieldLeftShift => "lshift_u64",
            Self::FieldRightShift => "rshift_u64",
            Self::TypeIdLocal => "local_type_id",
            Self::TypeIdTarget => "target_type_id",
            Self::TypeExists => "type_exists",
            Self::TypeSize => "type_size",
            Self::EnumValueExists => "enumval_exists",
            Self::EnumValue => "enumval_value",
            Self::TypeMatches => "type_matches",
        }
    }
}

impl fmt::Display for CoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a relocation has no value.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum CoreProblem {
    /// The record doesn't make sense: no compiler wrote it.
    #[error("its relocation is damaged: {0}")]
    Damaged(&'static str),
    /// It starts from a type without a name, which can't be searched for.
    #[error("it starts from a type without a name")]
    Anonymous,
    /// Types of the same name disagree.
    #[error("the kernel has several types of that name, and they disagree")]
    Ambiguous {
        /// How each candidate would be read: `struct dup [12], 16 bytes: byte_off is 8`.
        candidates: Vec<String>,
    },
    /// It matches only a type that an earlier access of the same program ruled out.
    #[error("the accesses of one program fit different types of that name")]
    Mixed {
        /// The types that earlier accesses chose.
        chosen: Vec<String>,
        /// The types that alone have what this access wants.
        wanted: Vec<String>,
    },
    /// Matching took more steps than any real types need.
    #[error("the types are too complicated to compare")]
    TooComplicated,
    /// Types of the kernel that can't be sized, or whose fields no load can reach.
    #[error("the kernel's type can't be used: {0}")]
    Target(&'static str),
}

/// The value of one relocation and what the instruction held before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "these are libbpf's four independent facts of a result")]
pub struct Resolution {
    /// What the compiler wrote, as far as it can be told.
    pub original: u64,
    /// What belongs there.
    pub value: u64,
    /// Whether anything was found.
    pub found: bool,
    /// Whether the instruction must be poisoned.
    pub poison: bool,
    /// Whether `original` must be what the instruction holds.
    validate: bool,
    /// Whether a load or store would read another value than meant, because the size differs.
    wrong_size: bool,
    /// Bytes of the field at home and at the target; 0 where it doesn't matter.
    sizes: (u32, u32),
}

/// The types that an access may mean.
#[derive(Debug)]
struct Candidates {
    all: Vec<TypeId>,
    kept: Vec<TypeId>,
}

/// Resolves the relocations of one program, in order, against one kernel.
#[derive(Debug)]
pub struct Resolver<'a> {
    local: &'a Btf,
    target: &'a Btf,
    candidates: HashMap<TypeId, Candidates>,
    steps: compat::Steps,
}

impl<'a> Resolver<'a> {
    /// Starts with nothing ruled out.
    pub fn new(local: &'a Btf, target: &'a Btf) -> Self {
        Self { local, target, candidates: HashMap::new(), steps: compat::Steps::new() }
    }

    /// The value for one record. Later records depend on earlier ones: see rule 3 of the module.
    pub fn resolve(&mut self, record: &CoreRecord) -> Result<Resolution, CoreProblem> {
        self.steps.begin()?;
        let kind = CoreKind::from_number(record.kind).ok_or(CoreProblem::Damaged("its kind is unknown"))?;
        let spec = Spec::parse(self.local, kind, record)?;
        if kind == CoreKind::TypeIdLocal {
            let id = u64::from(record.ty.0);
            return Ok(Resolution { original: id, value: id, found: true, ..Resolution::default() });
        }
        let name = essential_name(self.local.name(record.ty));
        if self.local.name(record.ty).is_empty() {
            return Err(CoreProblem::Anonymous);
        }
        let (local, target) = (self.local, self.target);
        let candidates = self.candidates.entry(record.ty).or_insert_with(|| {
            let all: Vec<_> = target
                .by_essential_name(name)
                .filter(|id| compat::same_kind(local.kind(record.ty), target.kind(*id)))
                .collect();
            Candidates { kept: all.clone(), all }
        });

        let mut matching = Vec::new();
        for id in &candidates.kept {
            if let Some(found) = spec::matched(&spec, local, target, *id, &mut self.steps)? {
                matching.push((*id, found.bit_offset, spec::resolution(&spec, Some(&found), local, target)?));
            }
        }
        if let Some((_, offset, first)) = matching.first().copied() {
            let same = |other: &Resolution| (other.poison, other.value) == (first.poison, first.value);
            if !matching.iter().all(|(_, other, result)| *other == offset && same(result)) {
                let describe = |(id, _, result): &(TypeId, u64, Resolution)| {
                    format!("{}: {kind} is {}", describe(target, *id), result.value)
                };
                return Err(CoreProblem::Ambiguous { candidates: matching.iter().map(describe).collect() });
            }
            candidates.kept = matching.iter().map(|(id, ..)| *id).collect();
            return Ok(first);
        }

        let mut wanted = Vec::new();
        for id in candidates.all.iter().filter(|id| !candidates.kept.contains(id)) {
            if spec::matched(&spec, local, target, *id, &mut self.steps)?.is_some() {
                wanted.push(describe(target, *id));
            }
        }
        if !wanted.is_empty() {
            let chosen = candidates.kept.iter().map(|id| describe(target, *id)).collect();
            return Err(CoreProblem::Mixed { chosen, wanted });
        }
        spec::resolution(&spec, None, local, target)
    }

    /// The access as C would write it: `struct task_struct.pid`, `enum bpf_map_type::BPF_MAP_TYPE_HASH`.
    pub fn describe(&self, record: &CoreRecord) -> String {
        let root = self.local.c_type(record.ty);
        let Some(spec) = CoreKind::from_number(record.kind).and_then(|kind| Spec::parse(self.local, kind, record).ok())
        else {
            return root;
        };
        format!("{root}{}", spec.suffix(self.local))
    }
}

/// One of the kernel's types, so that two of the same name can be told apart.
fn describe(btf: &Btf, id: TypeId) -> String {
    let size = btf.size(id).map_or_else(String::new, |size| format!(", {size} bytes"));
    let members: Vec<_> = match btf.resolved(id) {
        Kind::Struct(composite) | Kind::Union(composite) => {
            composite.members.iter().filter(|m| m.name != NameOff(0)).map(|m| btf.str(m.name)).take(6).collect()
        }
        kind => {
            kind.any_enum().map_or_else(Vec::new, |any| any.values.iter().map(|v| btf.str(v.name)).take(6).collect())
        }
    };
    let members = if members.is_empty() { String::new() } else { format!(" {{{}, …}}", members.join(", ")) };
    format!("{} {id}{size}{members}", btf.c_type(id))
}
