//! Sizes and alignments of all types, computed once, and the proof that no type contains itself.

use super::{BtfError, Kind, MAX_DEPTH, Type, TypeId};

/// What is known of a type's place in memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    /// Bytes; `None` where it has none.
    pub(super) size: Option<u64>,
    /// Alignment in bytes; `None` where it has no size.
    pub(super) align: Option<u32>,
    /// Steps down to the deepest part, 1 for a type without parts; 0 while it isn't known.
    height: u32,
}

/// Pointers of the BPF machine, and of every kernel that we read.
const POINTER: u32 = 8;

pub(super) fn layouts(types: &[Type]) -> Result<Vec<Layout>, BtfError> {
    let mut layouts = vec![Layout::default(); types.len()];
    for (id, _) in (0..).map(TypeId).zip(types) {
        layout(types, &mut layouts, id, 0)?;
    }
    Ok(layouts)
}

/// Computes the layout of `id` and of all its parts. `depth` bounds the recursion: a cycle runs into it.
fn layout(types: &[Type], done: &mut Vec<Layout>, id: TypeId, depth: u32) -> Result<Layout, BtfError> {
    let known = done.get(id.index()).copied().unwrap_or_default();
    if known.height != 0 {
        return Ok(known);
    }
    if depth == MAX_DEPTH {
        return Err(BtfError::Nesting { id });
    }
    let Some(ty) = types.get(id.index()) else { return Ok(known) };
    let mut height = 0;
    let mut part = |part: TypeId| {
        let layout = layout(types, done, part, depth + 1)?;
        height = height.max(layout.height);
        Ok(layout)
    };
    let scalar = |size: u32| (Some(u64::from(size)), Some(size.clamp(1, POINTER)));
    let (size, align) = match &ty.kind {
        Kind::Void | Kind::Fwd(_) | Kind::Func { .. } | Kind::FuncProto { .. } | Kind::DeclTag { .. } => (None, None),
        Kind::Int(int) => scalar(int.size),
        Kind::Float { size } => scalar(*size),
        Kind::Enum(any) | Kind::Enum64(any) => scalar(any.size),
        Kind::Ptr(_) => scalar(POINTER),
        Kind::Typedef(ty)
        | Kind::Volatile(ty)
        | Kind::Const(ty)
        | Kind::Restrict(ty)
        | Kind::TypeTag { ty, .. }
        | Kind::Var { ty, .. } => {
            let inner = part(*ty)?;
            (inner.size, inner.align)
        }
        Kind::Array(array) => {
            let item = part(array.item)?;
            let size = item.size.and_then(|size| size.checked_mul(u64::from(array.len)));
            // No object of C is that large, and libbpf refuses it too.
            (size.filter(|size| u32::try_from(*size).is_ok()), item.align)
        }
        Kind::Struct(composite) | Kind::Union(composite) => {
            let (mut widest, mut packed) = (1, false);
            for member in &composite.members {
                let align = part(member.ty)?.align.unwrap_or(1);
                widest = widest.max(align);
                packed |= member.bits == 0 && !member.bit_offset.is_multiple_of(align.saturating_mul(8));
            }
            packed |= !composite.size.is_multiple_of(widest);
            (Some(u64::from(composite.size)), Some(if packed { 1 } else { widest }))
        }
        Kind::Datasec { size, vars } => {
            for var in vars {
                part(var.ty)?;
            }
            (Some(u64::from(*size)), None)
        }
    };
    let layout = Layout { size, align, height: height + 1 };
    if layout.height > MAX_DEPTH {
        return Err(BtfError::Nesting { id });
    }
    if let Some(slot) = done.get_mut(id.index()) {
        *slot = layout;
    }
    Ok(layout)
}
