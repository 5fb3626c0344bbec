//! Why programs can't be fused, for people.

use bpfkit_schemas::{Code, Diagnostic, diagnostic::Diagnose, hook::Hook, names::ProgramName, object::ProgramType};
use thiserror::Error;

/// One reason why a chain can't become one program. A chain may have several.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[expect(missing_docs, reason = "the fields are what the message says")]
pub enum FuseProblem {
    /// The chain has no programs.
    #[error("the chain has no programs")]
    Empty,
    /// The program can't be taken out of its object, or not be relocated for this kernel.
    #[error("`{program}` can't be taken out of the bundle")]
    NoProgram { program: ProgramName, why: String },
    /// The object can't be read, or the program not be linked for this kernel.
    #[error("`{program}` can't be linked for this kernel")]
    Unlinkable { program: ProgramName, diagnostics: Vec<Diagnostic> },
    /// The program is of another type than the hook runs.
    #[error("`{program}` is a `{kind}` program and can't run at `{hook}`")]
    WrongType { program: ProgramName, kind: ProgramType, hook: Hook },
    /// The program uses kernel functions or variables by name.
    #[error("`{program}` uses a kernel {what}")]
    KernelSymbol { program: ProgramName, what: &'static str },
    /// The program's instructions aren't what a linked program has.
    #[error("`{program}` is malformed: {why}")]
    Malformed { program: ProgramName, why: String },
    /// A helper needs a GPL-compatible program, and not all are.
    #[error("`{caller}` calls a helper for GPL-compatible programs, and `{other}` is under `{license}`")]
    Licenses { caller: ProgramName, helper: u32, other: ProgramName, license: String },
    /// Some programs know multi-buffer packets and some don't.
    #[error("`{with}` knows multi-buffer packets (`xdp.frags`) and `{without}` doesn't")]
    Frags { with: ProgramName, without: ProgramName },
    /// More maps than the kernel allows in one program.
    #[error("the chain uses {maps} maps, {MAX_MAPS} are possible", MAX_MAPS = super::MAX_MAPS)]
    TooManyMaps { maps: usize },
    /// More instructions than the kernel takes.
    #[error("the chain has {instructions} instructions, {MAX} are possible", MAX = super::MAX_INSTRUCTIONS)]
    TooLong { instructions: usize },
    /// More functions than the kernel allows in one program.
    #[error("the chain has {functions} functions, {MAX} are possible", MAX = super::MAX_FUNCTIONS)]
    TooManyFunctions { functions: usize },
    /// A map whose values hold what the kernel manages by type, and bpfkit can't make.
    #[error("the map `{map}` of `{program}` holds {what}")]
    MapNeedsBtf { program: ProgramName, map: String, what: String },
    /// A map that can't be created by itself.
    #[error("the map `{map}` of `{program}` is of type `{kind}`")]
    MapKind { program: ProgramName, map: String, kind: String },
}

impl FuseProblem {
    /// The code of this problem.
    pub fn code(&self) -> Code {
        match self {
            Self::Empty => Code::FUSE_EMPTY,
            Self::NoProgram { .. } | Self::Unlinkable { .. } | Self::Malformed { .. } => Code::FUSE_NO_PROGRAM,
            Self::WrongType { .. } => Code::FUSE_WRONG_TYPE,
            Self::KernelSymbol { .. } => Code::FUSE_KERNEL_SYMBOL,
            Self::Licenses { .. } => Code::FUSE_LICENSES,
            Self::Frags { .. } => Code::FUSE_FRAGS,
            Self::TooManyMaps { .. } => Code::FUSE_TOO_MANY_MAPS,
            Self::TooLong { .. } | Self::TooManyFunctions { .. } => Code::FUSE_TOO_LONG,
            Self::MapNeedsBtf { .. } => Code::FUSE_MAP_NEEDS_BTF,
            Self::MapKind { .. } => Code::FUSE_MAP_KIND,
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Self::Empty => "name a program under the chain's `programs:`",
            Self::NoProgram { .. } | Self::Unlinkable { .. } => {
                "`bpfkit inspect` shows what the object holds and which kernel types it reads"
            }
            Self::Malformed { .. } => "build the object again; `bpfkit inspect` reads it the same way",
            Self::WrongType { .. } => "put it into a chain of its own type, or correct `type:`",
            Self::KernelSymbol { .. } => "use a helper that does the same",
            Self::Licenses { .. } => "relicense, leave the helper out, or use different hooks",
            Self::Frags { .. } => "build all programs of the chain with `SEC(\"xdp.frags\")`, or none",
            Self::TooManyMaps { .. } => "share maps (`maps:`), or move programs to another hook",
            Self::TooLong { .. } | Self::TooManyFunctions { .. } => "move programs to another hook",
            Self::MapNeedsBtf { .. } => "use atomic operations or a per-CPU map",
            Self::MapKind { .. } => "use a map type that stands by itself",
        }
    }
}

impl Diagnose for FuseProblem {
    /// What linking found comes with its own codes and places.
    fn diagnose(&self) -> Vec<Diagnostic> {
        if let Self::Unlinkable { diagnostics, .. } = self
            && !diagnostics.is_empty()
        {
            return diagnostics.clone();
        }
        let diagnostic = Diagnostic::error(self.code(), self.to_string()).help(self.help());
        vec![match self {
            Self::NoProgram { why, .. } => diagnostic.cause(why),
            Self::Licenses { helper, .. } => diagnostic.note(format!("the helper has number {helper}")),
            _ => diagnostic,
        }]
    }
}
