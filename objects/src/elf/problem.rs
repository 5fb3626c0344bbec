//! What can be wrong with an object file.

use bpfkit_schemas::{
    Code,
    diagnostic::{Diagnose, Diagnostic},
};
use thiserror::Error;

use super::MAX_SIZE;
use crate::btf::BtfError;

/// One thing that keeps an object from being used.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum ObjectProblem {
    /// It is something else.
    #[error("the file is no eBPF object: {why}")]
    NotAnObject {
        /// What gave it away.
        why: &'static str,
    },
    /// It is too large.
    #[error("the object has {size} bytes, more than the {MAX_SIZE} that are read")]
    TooLarge {
        /// Bytes.
        size: usize,
    },
    /// It is for big-endian machines.
    #[error("the object is big-endian, and this machine is little-endian")]
    BigEndian,
    /// Its ELF structure is broken.
    #[error("the object is damaged: {what}")]
    Damaged {
        /// What doesn't fit.
        what: &'static str,
    },
    /// It has no type information.
    #[error("the object has no BTF")]
    NoBtf,
    /// Its type information can't be read.
    #[error("the object's `{section}` can't be read")]
    Btf {
        /// `.BTF` or `.BTF.ext`.
        section: &'static str,
        /// Why.
        source: BtfError,
    },
    /// Maps as before libbpf 1.0.
    #[error("the section `{section}` holds maps in the old form, which libbpf 1.0 gave up")]
    LegacyMaps {
        /// The section.
        section: String,
    },
    /// A function's symbol makes no sense.
    #[error("the function `{function}` {what}")]
    Function {
        /// The function.
        function: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A map's definition makes no sense.
    #[error("the map `{map}` {what}")]
    Map {
        /// The map.
        map: String,
        /// What is wrong with it.
        what: String,
    },
    /// A map wants something that bpfkit doesn't do.
    #[error("the map `{map}` {what}, which bpfkit doesn't do")]
    MapUnsupported {
        /// The map.
        map: String,
        /// What it wants.
        what: &'static str,
    },
    /// A section of global variables can't be a map.
    #[error("the section `{section}` {what}")]
    Data {
        /// The section.
        section: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An instruction refers to something that can't be linked.
    #[error("an instruction of `{section}` refers to `{symbol}`, {what}")]
    Reference {
        /// The section of the instruction.
        section: String,
        /// The symbol.
        symbol: String,
        /// Why it can't.
        what: &'static str,
    },
}

impl ObjectProblem {
    fn code(&self) -> Code {
        match self {
            Self::NotAnObject { .. } => Code::OBJECT_IS_NONE,
            Self::TooLarge { .. } => Code::OBJECT_TOO_LARGE,
            Self::BigEndian => Code::OBJECT_BIG_ENDIAN,
            Self::Damaged { .. } => Code::OBJECT_DAMAGED,
            Self::NoBtf => Code::OBJECT_NO_BTF,
            Self::Btf { .. } => Code::OBJECT_BTF_DAMAGED,
            Self::LegacyMaps { .. } => Code::OBJECT_LEGACY_MAPS,
            Self::Function { .. } => Code::OBJECT_FUNCTION,
            Self::Map { .. } => Code::OBJECT_MAP,
            Self::MapUnsupported { .. } => Code::OBJECT_MAP_UNSUPPORTED,
            Self::Data { .. } => Code::OBJECT_DATA,
            Self::Reference { .. } => Code::OBJECT_REFERENCE,
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Self::NotAnObject { .. } => "compile with `clang -target bpf -g -O2 -c`",
            Self::TooLarge { .. } => "strip debug information with `llvm-strip -g`; BTF stays",
            Self::BigEndian => "compile with `-target bpfel`, or apply on a big-endian host's own tools",
            Self::Damaged { .. } | Self::Btf { .. } => {
                "build the object again; if it came over a network, fetch it again"
            }
            Self::NoBtf => "compile with `-g`, and don't strip `.BTF`",
            Self::LegacyMaps { .. } => "declare the maps in `SEC(\".maps\")` with `__uint` and `__type`",
            Self::Function { .. } => {
                "make programs global functions, each in its section; keep subprograms out of them"
            }
            Self::Map { .. } => {
                "write the map as in `bpf_helpers.h`: `__uint(type, …)`, `__type(key, …)`, `__type(value, …)`"
            }
            Self::MapUnsupported { .. } => "leave it out of the object and fill the map after it is loaded",
            Self::Data { .. } => "keep pointers and very large arrays out of global variables",
            Self::Reference { .. } => {
                "declare what it refers to in this object, or link the objects with `bpftool gen object`"
            }
        }
    }
}

impl Diagnose for ObjectProblem {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let mut diagnostic = Diagnostic::error(self.code(), self.to_string()).help(self.help());
        if let Some(source) = std::error::Error::source(self) {
            diagnostic = diagnostic.cause(source.to_string());
        }
        vec![diagnostic]
    }
}
