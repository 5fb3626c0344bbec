//! Why an entry program can't be linked for a kernel.

use bpfkit_schemas::{
    Code,
    diagnostic::{Diagnose, Diagnostic},
};
use thiserror::Error;

use super::Uses;
use crate::{
    core_relo::{CoreProblem, PatchProblem},
    elf::ExternKind,
    globals::GlobalProblem,
};

/// One thing that keeps a program from being linked.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum LinkProblem {
    /// The object has no such entry program.
    #[error("the object has no program `{entry}`")]
    NoEntry {
        /// What was asked for.
        entry: String,
        /// What it has.
        programs: Vec<String>,
    },
    /// A CO-RE relocation has no value.
    #[error("`{access}` in `{function}`{} can't be resolved on this kernel", place(line.as_ref()))]
    Core {
        /// The function.
        function: String,
        /// File and line, where the compiler noted them.
        line: Option<(String, u32)>,
        /// The access as C would write it.
        access: String,
        /// Why.
        #[source]
        problem: CoreProblem,
    },
    /// A CO-RE relocation's value doesn't go into its instruction.
    #[error("`{access}` in `{function}`{} can't be written into its instruction", place(line.as_ref()))]
    Patch {
        /// The function.
        function: String,
        /// File and line, where the compiler noted them.
        line: Option<(String, u32)>,
        /// The access as C would write it.
        access: String,
        /// Why.
        #[source]
        problem: PatchProblem,
    },
    /// An instruction makes no sense.
    #[error("instruction {at} of `{function}` {what}")]
    Instruction {
        /// The function.
        function: String,
        /// Counted from the function's start.
        at: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The program with its subprograms is longer than any verifier takes.
    #[error("`{entry}` and its subprograms have more than {most} instructions")]
    TooLong {
        /// The program.
        entry: String,
        /// How many are allowed.
        most: usize,
    },
    /// The program uses more maps than the kernel lets it.
    #[error("`{entry}` uses {count} maps, and the kernel allows {most}")]
    TooManyMaps {
        /// The program.
        entry: String,
        /// How many it uses.
        count: usize,
        /// How many are allowed.
        most: usize,
    },
    /// A value of the manifest doesn't go into its variable.
    #[error(transparent)]
    Global(#[from] GlobalProblem),
    /// The program uses something of the kernel that bpfkit doesn't resolve.
    #[error("`{entry}` uses the {} `{name}`, which bpfkit doesn't resolve yet", extern_word(*kind))]
    Extern {
        /// The program.
        entry: String,
        /// What it uses.
        name: String,
        /// What that is.
        kind: ExternKind,
    },
}

fn place(line: Option<&(String, u32)>) -> String {
    line.map_or_else(String::new, |(file, line)| format!(" ({file}:{line})"))
}

fn extern_word(kind: ExternKind) -> &'static str {
    match kind {
        ExternKind::KernelFunction => "kernel function",
        ExternKind::KernelVariable => "kernel variable",
        ExternKind::KernelConfig => "kernel configuration value",
    }
}

pub(super) fn unresolved(entry: &str, uses: &Uses) -> Vec<LinkProblem> {
    let each = |names: &[String], kind| {
        let problem = |name: &String| LinkProblem::Extern { entry: entry.to_owned(), name: name.clone(), kind };
        names.iter().map(problem).collect::<Vec<_>>()
    };
    let mut problems = each(&uses.kfuncs, ExternKind::KernelFunction);
    problems.extend(each(&uses.ksyms, ExternKind::KernelVariable));
    problems.extend(each(&uses.kconfigs, ExternKind::KernelConfig));
    problems
}

impl Diagnose for LinkProblem {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let diagnostic = |code| {
            let diagnostic = Diagnostic::error(code, self.to_string());
            match std::error::Error::source(self) {
                Some(source) => diagnostic.cause(source.to_string()),
                None => diagnostic,
            }
        };
        vec![match self {
            Self::Global(problem) => return problem.diagnose(),
            Self::NoEntry { programs, .. } => {
                let help = if programs.is_empty() {
                    "the object has subprograms alone; put the program into a section such as `SEC(\"xdp\")`".to_owned()
                } else {
                    format!("it has {}", programs.join(", "))
                };
                diagnostic(Code::LINK_NO_ENTRY).help(help)
            }
            Self::Core { problem: CoreProblem::Ambiguous { candidates }, .. } => {
                let diagnostic = diagnostic(Code::LINK_CORE_AMBIGUOUS)
                    .help("ask with `bpf_core_type_matches` and a flavour (`struct x___a`) for the one that you mean");
                candidates.iter().fold(diagnostic, Diagnostic::note)
            }
            Self::Core { problem: CoreProblem::Mixed { chosen, wanted }, .. } => {
                let diagnostic = diagnostic(Code::LINK_CORE_MIXED)
                    .help("give each of the kernel's types a flavour of its own (`struct x___a`, `struct x___b`)");
                let diagnostic =
                    chosen.iter().fold(diagnostic, |d, text| d.note(format!("earlier accesses fit {text}")));
                wanted.iter().fold(diagnostic, |d, text| d.note(format!("this one fits {text}")))
            }
            Self::Core { .. } | Self::Patch { .. } => diagnostic(Code::LINK_CORE_BROKEN),
            Self::Instruction { .. } => diagnostic(Code::LINK_INSTRUCTION),
            Self::TooLong { .. } => diagnostic(Code::LINK_TOO_LONG),
            Self::TooManyMaps { .. } => diagnostic(Code::LINK_TOO_MANY_MAPS),
            Self::Extern { .. } => diagnostic(Code::LINK_EXTERN),
        }]
    }
}
