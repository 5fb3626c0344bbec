//! Which types go together: `bpf_core_fields_are_compat`, `bpf_core_types_are_compat`, `bpf_core_types_match`.

use std::mem::discriminant;

use super::CoreProblem;
use crate::btf::{Btf, Composite, Enum, Kind, NameOff, TypeId, essential_name};

/// How deep types are followed (libbpf's 32).
const DEPTH: u32 = 32;
/// How many types and members the relocations of one program may look at; a real one needs some hundred thousand.
const STEPS: u32 = 20_000_000;
/// What a relocation costs at least, so that no object brings more than 200,000.
const RELOCATION: u32 = 100;

/// What is left of the effort that one program may cost.
#[derive(Debug)]
pub(super) struct Steps(u32);

impl Steps {
    pub(super) fn new() -> Self {
        Self(STEPS)
    }

    /// Pays for a relocation as such.
    pub(super) fn begin(&mut self) -> Result<(), CoreProblem> {
        self.pay(RELOCATION)
    }

    /// Pays for looking at one type or member.
    pub(super) fn take(&mut self) -> Result<(), CoreProblem> {
        self.pay(1)
    }

    fn pay(&mut self, steps: u32) -> Result<(), CoreProblem> {
        self.0 = self.0.checked_sub(steps).ok_or(CoreProblem::TooComplicated)?;
        Ok(())
    }
}

/// Two kinds that may stand for each other: the same, or enums of either size.
pub(super) fn same_kind(local: &Kind, target: &Kind) -> bool {
    discriminant(local) == discriminant(target) || (local.any_enum().is_some() && target.any_enum().is_some())
}

fn names_match(local: &Btf, a: NameOff, target: &Btf, b: NameOff) -> bool {
    essential_name(local.str(a)) == essential_name(target.str(b))
}

/// Whether a field of type `a` may be read as one of type `b`.
pub(super) fn fields_compatible(local: &Btf, mut a: TypeId, target: &Btf, mut b: TypeId) -> bool {
    // Arrays can't nest deeper than types do (`btf::MAX_DEPTH`).
    loop {
        a = local.resolve(a);
        b = target.resolve(b);
        let (ka, kb) = (local.kind(a), target.kind(b));
        if ka.composite().is_some() && kb.composite().is_some() {
            return true;
        }
        if !same_kind(ka, kb) {
            return false;
        }
        match (ka, kb) {
            (Kind::Ptr(_) | Kind::Float { .. }, _) => return true,
            (Kind::Fwd(_) | Kind::Enum(_) | Kind::Enum64(_), _) => {
                let (na, nb) = (essential_name(local.name(a)), essential_name(target.name(b)));
                return na.is_empty() || nb.is_empty() || na == nb;
            }
            (Kind::Int(ia), Kind::Int(ib)) => return ia.offset == 0 && ib.offset == 0,
            (Kind::Array(aa), Kind::Array(ab)) => (a, b) = (aa.item, ab.item),
            _ => return false,
        }
    }
}

/// Whether `b` may stand for `a` where only the type as a whole is asked for.
pub(super) fn types_compatible(
    local: &Btf,
    a: TypeId,
    target: &Btf,
    b: TypeId,
    steps: &mut Steps,
) -> Result<bool, CoreProblem> {
    if !same_kind(local.kind(a), target.kind(b)) {
        return Ok(false);
    }
    compatible(local, a, target, b, DEPTH, steps)
}

fn compatible(
    local: &Btf,
    mut a: TypeId,
    target: &Btf,
    mut b: TypeId,
    level: u32,
    steps: &mut Steps,
) -> Result<bool, CoreProblem> {
    for _ in 0..DEPTH {
        steps.take()?;
        a = local.resolve(a);
        b = target.resolve(b);
        let (ka, kb) = (local.kind(a), target.kind(b));
        if !same_kind(ka, kb) {
            return Ok(false);
        }
        match (ka, kb) {
            (Kind::Void | Kind::Struct(_) | Kind::Union(_) | Kind::Enum(_) | Kind::Enum64(_) | Kind::Fwd(_), _) => {
                return Ok(true);
            }
            (Kind::Int(ia), Kind::Int(ib)) => return Ok(ia.offset == 0 && ib.offset == 0),
            (Kind::Ptr(pa), Kind::Ptr(pb)) => (a, b) = (*pa, *pb),
            (Kind::Array(aa), Kind::Array(ab)) => (a, b) = (aa.item, ab.item),
            (Kind::FuncProto { ret: ra, params: pa }, Kind::FuncProto { ret: rb, params: pb }) => {
                if pa.len() != pb.len() {
                    return Ok(false);
                }
                for (pa, pb) in pa.iter().zip(pb) {
                    let level = level.checked_sub(1).ok_or(CoreProblem::TooComplicated)?;
                    if !compatible(local, pa.ty, target, pb.ty, level, steps)? {
                        return Ok(false);
                    }
                }
                (a, b) = (*ra, *rb);
            }
            _ => return Ok(false),
        }
    }
    Err(CoreProblem::TooComplicated)
}

/// Whether a type is inside one that is looked at, or only pointed to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Place {
    Inside,
    BehindPointer,
}

/// Whether `b` has everything that `a` has.
pub(super) fn types_match(
    local: &Btf,
    a: TypeId,
    target: &Btf,
    b: TypeId,
    steps: &mut Steps,
) -> Result<bool, CoreProblem> {
    matching(local, a, target, b, Place::Inside, DEPTH, steps)
}

fn matching(
    local: &Btf,
    mut a: TypeId,
    target: &Btf,
    mut b: TypeId,
    mut place: Place,
    level: u32,
    steps: &mut Steps,
) -> Result<bool, CoreProblem> {
    if level == 0 {
        return Err(CoreProblem::TooComplicated);
    }
    for _ in 0..DEPTH {
        steps.take()?;
        a = local.resolve(a);
        b = target.resolve(b);
        if !names_match(local, local.get(a).name, target, target.get(b).name) {
            return Ok(false);
        }
        let behind = place == Place::BehindPointer;
        match (local.kind(a), target.kind(b)) {
            (Kind::Void, Kind::Void) => return Ok(true),
            (Kind::Fwd(fa), Kind::Fwd(fb)) => return Ok(fa == fb),
            (Kind::Fwd(fwd), kind) | (kind, Kind::Fwd(fwd)) if behind => {
                use crate::btf::FwdKind;
                return Ok(matches!(
                    (fwd, kind),
                    (FwdKind::Struct, Kind::Struct(_)) | (FwdKind::Union, Kind::Union(_))
                ));
            }
            (Kind::Enum(ea) | Kind::Enum64(ea), Kind::Enum(eb) | Kind::Enum64(eb)) => {
                return enums_match(local, ea, target, eb, steps);
            }
            (Kind::Struct(ca), Kind::Struct(cb)) | (Kind::Union(ca), Kind::Union(cb)) => {
                return if behind { Ok(true) } else { composites_match(local, ca, target, cb, level, steps) };
            }
            (Kind::Int(ia), Kind::Int(ib)) => return Ok(ia.size == ib.size && ia.signed == ib.signed),
            (Kind::Ptr(pa), Kind::Ptr(pb)) => {
                place = Place::BehindPointer;
                (a, b) = (*pa, *pb);
            }
            (Kind::Array(aa), Kind::Array(ab)) if aa.len == ab.len => (a, b) = (aa.item, ab.item),
            (Kind::FuncProto { ret: ra, params: pa }, Kind::FuncProto { ret: rb, params: pb }) => {
                if pa.len() != pb.len() {
                    return Ok(false);
                }
                for (pa, pb) in pa.iter().zip(pb) {
                    if !matching(local, pa.ty, target, pb.ty, place, level - 1, steps)? {
                        return Ok(false);
                    }
                }
                (a, b) = (*ra, *rb);
            }
            _ => return Ok(false),
        }
    }
    Err(CoreProblem::TooComplicated)
}

fn enums_match(local: &Btf, a: &Enum, target: &Btf, b: &Enum, steps: &mut Steps) -> Result<bool, CoreProblem> {
    if a.size != b.size || a.values.len() > b.values.len() {
        return Ok(false);
    }
    for value in &a.values {
        let mut found = false;
        for other in &b.values {
            steps.take()?;
            if names_match(local, value.name, target, other.name) {
                found = true;
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

fn composites_match(
    local: &Btf,
    a: &Composite,
    target: &Btf,
    b: &Composite,
    level: u32,
    steps: &mut Steps,
) -> Result<bool, CoreProblem> {
    if a.members.len() > b.members.len() {
        return Ok(false);
    }
    for member in &a.members {
        let mut found = false;
        for other in &b.members {
            steps.take()?;
            if names_match(local, member.name, target, other.name)
                && matching(local, member.ty, target, other.ty, Place::Inside, level - 1, steps)?
            {
                found = true;
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}
