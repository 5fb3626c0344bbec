//! BPF Type Format: the types of an object or of a kernel.
//!
//! Turns the bytes of a `.BTF` section or of `/sys/kernel/btf/vmlinux` into
//! [`Btf`], and `.BTF.ext` into [`BtfExt`] ([`ext`]). Pure.
//!
//! # What a parsed [`Btf`] guarantees
//!
//! 1. Every [`TypeId`] in it points to one of its types; 0 is `void`.
//! 2. Every name is in its string table and is valid UTF-8 up to its NUL.
//! 3. No type contains itself by value: following modifiers, typedefs, arrays and
//!    members ends after at most [`MAX_DEPTH`] steps. Pointers and functions may
//!    form cycles (a list node points to a list node), so code that follows those
//!    brings its own bound.
//! 4. [`Btf::size`] and [`Btf::align`] were computed once, without overflow.
//!
//! The format: kernel documentation `bpf/btf.rst`, `include/uapi/linux/btf.h`
//! (all 19 kinds of Linux 6.18, and the wider `vlen` of 2026's bpf-next). Only
//! little-endian BTF for machines with 8-byte pointers; split BTF (modules) is
//! not read here.

pub mod ext;
mod layout;
pub mod merge;
mod parse;
mod render;
mod subset;
mod write;

use std::{fmt, sync::OnceLock};

pub use ext::BtfExt;
pub use merge::Merger;
pub use parse::BtfError;
pub use subset::Subset;

/// The longest way through modifiers, typedefs, arrays and members.
pub const MAX_DEPTH: u32 = 64;
/// The largest BTF that is read, in bytes. A distribution's kernel has 5 to 12 MB.
pub const MAX_SIZE: usize = 64 << 20;

/// The number of a type in its [`Btf`]. 0 is `void`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`.
    pub const VOID: Self = Self(0);

    /// As an index into [`Btf::types`].
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0)
    }
}

/// The place of a name in its [`Btf`]'s strings; [`Btf::str`] reads it. 0 is the empty name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct NameOff(pub u32);

/// One type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Type {
    /// Its name, often empty; [`Btf::name`] reads it.
    pub name: NameOff,
    /// What it is.
    pub kind: Kind,
}

/// What a type is (`BTF_KIND_*`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `void`, the type with number 0.
    Void,
    /// An integer, `_Bool` and `char` included.
    Int(Int),
    /// A pointer to a type.
    Ptr(TypeId),
    /// An array.
    Array(Array),
    /// A struct.
    Struct(Composite),
    /// A union.
    Union(Composite),
    /// An enum of up to 32 bits.
    Enum(Enum),
    /// An enum of up to 64 bits.
    Enum64(Enum),
    /// A struct or union that is declared only.
    Fwd(FwdKind),
    /// Another name for a type.
    Typedef(TypeId),
    /// `volatile`.
    Volatile(TypeId),
    /// `const`.
    Const(TypeId),
    /// `restrict`.
    Restrict(TypeId),
    /// A function; its type is a [`Kind::FuncProto`].
    Func {
        /// The prototype.
        proto: TypeId,
        /// Static, global or extern.
        linkage: Linkage,
    },
    /// The type of a function.
    FuncProto {
        /// What it returns.
        ret: TypeId,
        /// Its parameters; a last one without name and with type `void` is `...`.
        params: Vec<Param>,
    },
    /// A global variable.
    Var {
        /// Its type.
        ty: TypeId,
        /// Static, global or extern.
        linkage: Linkage,
    },
    /// An ELF section full of variables; its name is the section's.
    Datasec {
        /// The section's size in bytes, 0 until the linker knew it.
        size: u32,
        /// Its variables, as the compiler ordered them.
        vars: Vec<SectionVar>,
    },
    /// A floating-point number of so many bytes.
    Float {
        /// Bytes.
        size: u32,
    },
    /// `btf_decl_tag`: a remark on a type, a member or a parameter.
    DeclTag {
        /// What is remarked on.
        ty: TypeId,
        /// The member's or parameter's index; `None` for the whole.
        component: Option<u32>,
        /// Whether the name is a C attribute rather than a tag (kind flag).
        attribute: bool,
    },
    /// `btf_type_tag`: a remark on what a pointer points to (`__user`, `__rcu`).
    TypeTag {
        /// The type behind the tag.
        ty: TypeId,
        /// Whether the name is a C attribute rather than a tag (kind flag).
        attribute: bool,
    },
}

/// An integer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Int {
    /// Bytes.
    pub size: u32,
    /// Whether it is signed.
    pub signed: bool,
    /// Whether it is meant as a character.
    pub char: bool,
    /// Whether it is `_Bool`.
    pub bool: bool,
    /// Its bits, no more than `size * 8`.
    pub bits: u8,
    /// Where its bits start: 0 but in very old BTF.
    pub offset: u8,
}

/// An array.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Array {
    /// The type of an item.
    pub item: TypeId,
    /// The type of an index.
    pub index: TypeId,
    /// The number of items; 0 also stands for "flexible".
    pub len: u32,
}

/// A struct or union.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Composite {
    /// Bytes.
    pub size: u32,
    /// Members in order.
    pub members: Vec<Member>,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its name; empty for an anonymous struct or union.
    pub name: NameOff,
    /// Its type.
    pub ty: TypeId,
    /// Where it starts, in bits.
    pub bit_offset: u32,
    /// The width of a bit-field in bits; 0 for anything else.
    pub bits: u8,
}

/// An enum of either size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Enum {
    /// Bytes.
    pub size: u32,
    /// Whether its values are signed (kind flag).
    pub signed: bool,
    /// Its members in order; none for a forward declaration.
    pub values: Vec<EnumValue>,
}

/// A member of an enum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EnumValue {
    /// Its name.
    pub name: NameOff,
    /// Its value, already with the enum's sign.
    pub value: i128,
}

/// What a forward declaration declares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FwdKind {
    /// `struct x;`
    Struct,
    /// `union x;`
    Union,
}

/// A function's parameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Param {
    /// Its name; may be empty.
    pub name: NameOff,
    /// Its type.
    pub ty: TypeId,
}

/// Linkage of a function or variable (`BTF_FUNC_*`, `BTF_VAR_*`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Linkage {
    /// Seen in its own file alone.
    Static,
    /// Defined here, seen everywhere.
    Global,
    /// Defined elsewhere: a kfunc, a ksym, a kconfig value.
    Extern,
}

/// A variable's place in its section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SectionVar {
    /// The [`Kind::Var`] (or, for kfuncs, the [`Kind::Func`]).
    pub ty: TypeId,
    /// Its offset in bytes; 0 until the linker knew it.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// The types of one object or kernel. See the module for what a value guarantees.
#[derive(Debug)]
pub struct Btf {
    types: Vec<Type>,
    strings: String,
    layouts: Vec<layout::Layout>,
    /// `(hash of the essential name, id)` of every named type, sorted; made on first use.
    names: OnceLock<Vec<(u64, TypeId)>>,
}

static VOID: Type = Type { name: NameOff(0), kind: Kind::Void };

impl Btf {
    /// Reads the bytes of a `.BTF` section or of a kernel's BTF file.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        parse::parse(bytes)
    }

    /// Every type by its number; the first is `void`.
    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// Every type with its number, `void` left out.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0..).map(TypeId).zip(&self.types).skip(1)
    }

    /// The type with that number; `void` for a number that isn't this BTF's.
    pub fn get(&self, id: TypeId) -> &Type {
        self.types.get(id.index()).unwrap_or(&VOID)
    }

    /// What the type with that number is.
    pub fn kind(&self, id: TypeId) -> &Kind {
        &self.get(id).kind
    }

    /// The name of the type with that number; empty for an anonymous one.
    pub fn name(&self, id: TypeId) -> &str {
        self.str(self.get(id).name)
    }

    /// The text at `offset` of the string table, up to its NUL; empty where there is none.
    /// Bytes that aren't UTF-8 (in quoted source lines, say) read as `?`.
    pub fn str(&self, offset: NameOff) -> &str {
        let start = usize::try_from(offset.0).unwrap_or(usize::MAX);
        let rest = self.strings.get(start..).unwrap_or_default();
        rest.split_once('\0').map_or("", |(text, _)| text)
    }

    /// The types with exactly this name, of whatever kind, in order.
    pub fn by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        self.by_essential_name(essential_name(name)).filter(move |id| self.name(*id) == name)
    }

    /// The types whose name without its flavour (`task_struct___old`) is `essential`, in order.
    pub fn by_essential_name<'a>(&'a self, essential: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        let names = self.names.get_or_init(|| {
            let mut names: Vec<_> = self
                .iter()
                .filter(|(_, ty)| ty.name != NameOff(0))
                .map(|(id, ty)| (hash(essential_name(self.str(ty.name))), id))
                .collect();
            names.sort_unstable();
            names
        });
        let wanted = hash(essential);
        let start = names.partition_point(|(hash, _)| *hash < wanted);
        let rest = names.get(start..).unwrap_or_default();
        rest.iter()
            .take_while(move |(hash, _)| *hash == wanted)
            .map(|(_, id)| *id)
            .filter(move |id| essential_name(self.name(*id)) == essential)
    }

    /// Follows `const`, `volatile`, `restrict`, type tags and typedefs to the type behind them.
    pub fn resolve(&self, mut id: TypeId) -> TypeId {
        while let Kind::Const(next)
        | Kind::Volatile(next)
        | Kind::Restrict(next)
        | Kind::Typedef(next)
        | Kind::TypeTag { ty: next, .. } = self.kind(id)
        {
            id = *next;
        }
        id
    }

    /// What the type is behind its modifiers and typedefs.
    pub fn resolved(&self, id: TypeId) -> &Kind {
        self.kind(self.resolve(id))
    }

    /// The size in bytes; `None` for `void`, functions and forward declarations.
    pub fn size(&self, id: TypeId) -> Option<u64> {
        self.layouts.get(id.index()).and_then(|layout| layout.size)
    }

    /// The alignment in bytes that C would give it: 1 for a packed struct (libbpf's
    /// `btf__align_of`); `None` where there is no size.
    pub fn align(&self, id: TypeId) -> Option<u32> {
        self.layouts.get(id.index()).and_then(|layout| layout.align)
    }
}

impl Kind {
    /// The word for it in messages: `struct`, `typedef`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Int(_) => "int",
            Self::Ptr(_) => "ptr",
            Self::Array(_) => "array",
            Self::Struct(_) => "struct",
            Self::Union(_) => "union",
            Self::Enum(_) => "enum",
            Self::Enum64(_) => "enum64",
            Self::Fwd(_) => "fwd",
            Self::Typedef(_) => "typedef",
            Self::Volatile(_) => "volatile",
            Self::Const(_) => "const",
            Self::Restrict(_) => "restrict",
            Self::Func { .. } => "func",
            Self::FuncProto { .. } => "func_proto",
            Self::Var { .. } => "var",
            Self::Datasec { .. } => "datasec",
            Self::Float { .. } => "float",
            Self::DeclTag { .. } => "decl_tag",
            Self::TypeTag { .. } => "type_tag",
        }
    }

    /// The struct or union, where it is one.
    pub fn composite(&self) -> Option<&Composite> {
        match self {
            Self::Struct(composite) | Self::Union(composite) => Some(composite),
            _ => None,
        }
    }

    /// The enum of either size, where it is one.
    pub fn any_enum(&self) -> Option<&Enum> {
        match self {
            Self::Enum(any) | Self::Enum64(any) => Some(any),
            _ => None,
        }
    }
}

/// A name without its flavour: what stands before the last `___` that has text on both sides
/// (libbpf's `bpf_core_essential_name_len`).
pub fn essential_name(name: &str) -> &str {
    let bytes = name.as_bytes();
    // From the end, as libbpf does: at `at`, the three underscores are `at + 1 ..= at + 3`.
    let flavour = (0..bytes.len().saturating_sub(4)).rev().find(|at| {
        matches!(bytes.get(*at..at + 5), Some([before, b'_', b'_', b'_', after]) if *before != b'_' && *after != b'_')
    });
    flavour.and_then(|at| name.get(..=at)).unwrap_or(name)
}

/// FNV-1a: names are short, and the kernel's are no attacker's; a collision costs a comparison.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
