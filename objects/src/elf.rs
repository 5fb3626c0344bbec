//! eBPF object files: ELF bytes → [`Object`].
//!
//! Pure. Everything that an object says about itself is checked here, once: what
//! [`Object::parse`] returns can be linked, described and asked without looking at
//! bytes again. All problems are collected, not the first alone. The rules are
//! libbpf's (`bpf_object__elf_collect` and what it calls, July 2026): programs by
//! section, functions in `.text` are subprograms, maps by BTF in `.maps`, global
//! variables in `.rodata*`, `.data*`, `.bss*`.
//!
//! What libbpf accepts and we don't: objects without BTF, `static` linking's
//! leftovers, `struct_ops` and arena maps, maps and data that hold pointers to
//! other things of the object. Each is a problem with its code.

mod data;
mod describe;
mod maps;
mod problem;
mod raw;
mod read;

use std::{collections::BTreeMap, sync::Arc};

use bpfkit_schemas::Digest;

pub use problem::ObjectProblem;

use crate::{
    btf::{Btf, BtfExt, TypeId},
    insn::Insn,
};

/// The largest object that is read, in bytes: what bpfman's readers take from an image.
pub const MAX_SIZE: usize = 16 << 20;
/// The largest section of global variables, in bytes.
pub const MAX_DATA: u64 = 16 << 20;

/// One object file, read and checked.
#[derive(Debug)]
pub struct Object {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) btf: Arc<Btf>,
    pub(crate) ext: BtfExt,
    pub(crate) license: String,
    pub(crate) code: Vec<Code>,
    pub(crate) functions: Vec<Function>,
    pub(crate) maps: Vec<Map>,
    pub(crate) globals: Vec<Global>,
    pub(crate) externs: Vec<Extern>,
}

/// A section of instructions.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) name: String,
    pub(crate) instructions: Vec<Insn>,
    /// What instructions refer to, by index.
    pub(crate) references: BTreeMap<usize, Reference>,
}

/// What an instruction refers to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reference {
    /// A map, by its index.
    Map(usize),
    /// A place in a map of global variables: the symbol's offset, to which the instruction adds its own.
    Variable { map: usize, offset: u32 },
    /// A function, by its code section and the symbol's offset in instructions.
    Function { code: usize, offset: usize },
    /// Something that the kernel must provide, by its index.
    Extern(usize),
}

/// A function: an entry program or a subprogram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The index of its section among those with code.
    pub(crate) code: usize,
    /// Its first instruction in the section.
    pub(crate) start: usize,
    /// Its number of instructions.
    pub len: usize,
    /// Whether the kernel is to verify it by itself (global, and not hidden).
    pub global: bool,
    /// Whether it is an entry program: it doesn't stand in `.text`.
    pub entry: bool,
}

/// A map: declared in `.maps`, or the one behind a section of global variables.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Map {
    /// Its name; the section's for global variables.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// The number of entries; 0 where the object leaves it open.
    pub max_entries: u32,
    /// `BPF_F_*` creation flags.
    pub flags: u32,
    /// The NUMA node, where one is asked for.
    pub numa_node: Option<u32>,
    /// `map_extra`: what it means depends on the type.
    pub extra: u64,
    /// Whether it is to be pinned by name.
    pub pinned_by_name: bool,
    /// The key's type, where the object says so.
    pub key: Option<TypeId>,
    /// The value's type, where the object says so; the `DATASEC` for global variables.
    pub value: Option<TypeId>,
    /// What the maps in a map of maps look like.
    pub inner: Option<Box<Map>>,
    /// What global variables start as; `None` for a declared map.
    pub initial: Option<Vec<u8>>,
    /// ELF's number of the section.
    section: usize,
    /// Its place in `.maps`.
    offset: u64,
}

/// A global variable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Global {
    /// Its name.
    pub name: String,
    /// The index of the map that holds it.
    pub(crate) map: usize,
    /// Its offset in the map's value.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Its type.
    pub ty: TypeId,
    /// Whether other files may see it; `static` variables can share a name.
    pub global: bool,
}

/// Something that the kernel must provide.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extern {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
}

/// What an extern is, by the section that the header's macro puts it into.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum ExternKind {
    /// A kernel function (`__ksym` on a function).
    KernelFunction,
    /// A kernel variable (`__ksym` on a variable).
    KernelVariable,
    /// A configuration value (`__kconfig`).
    KernelConfig,
}

impl Object {
    /// Reads an object.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<ObjectProblem>> {
        read::object(bytes)
    }

    /// The object's own types.
    pub fn btf(&self) -> &Btf {
        &self.btf
    }

    /// The object's own types, to be kept for longer than the object.
    pub fn shared_btf(&self) -> Arc<Btf> {
        Arc::clone(&self.btf)
    }

    /// SHA-256 of the file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The text of the `license` section; empty where there is none.
    pub fn license(&self) -> &str {
        &self.license
    }

    /// Every function, entry programs and subprograms, in file order.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The name of the section that a function stands in.
    pub fn section(&self, function: &Function) -> &str {
        self.code.get(function.code).map_or("", |code| &code.name)
    }

    /// Every map: the declared ones, then those of global variables.
    pub fn maps(&self) -> &[Map] {
        &self.maps
    }

    /// Every global variable, in section and offset order.
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    /// What the object wants from the kernel by name, whether a program uses it or not.
    pub fn externs(&self) -> &[Extern] {
        &self.externs
    }
}
