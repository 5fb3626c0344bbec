//! Why a set's chains can't be expanded to this host, for people.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use bpfkit_schemas::{
    Code, Diagnostic,
    diagnostic::{Diagnose, Source, Span},
    hook::Hook,
    names::{MapName, ProgramName},
    object::ProgramType,
};
use thiserror::Error;

use crate::live::{MapKey, MapShape};

/// Everything that keeps a set's chains from being expanded to this host.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("{} problems with what the set declares for this host", problems.len())]
pub struct DesiredError {
    /// What the spans point into.
    pub text: Option<Arc<Source>>,
    /// The problems, in the order of the chains. Never empty.
    pub problems: Vec<DesiredProblem>,
}

/// One such problem.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the fields are what `diagnose` says in words")]
pub enum DesiredProblem {
    /// A host template can't be rendered.
    Template { text: String, why: String, at: Span },
    /// A pattern isn't one.
    BadPattern { pattern: String, why: String, at: Span },
    /// An interface that is named doesn't exist. `there` are those that do.
    NoInterface { name: String, netns: Option<PathBuf>, there: BTreeSet<String>, at: Span },
    /// A network namespace doesn't exist.
    NoNamespace { hook: Hook, path: PathBuf, at: Span },
    /// Two chains of the set want one hook of one interface.
    ClaimedTwice { hook: Hook, interface: String, patterns: (String, String), at: (Span, Span) },
    /// Two programs declare a shared map differently.
    MapsDisagree { map: MapKey, first: (ProgramName, MapShape), second: (ProgramName, MapShape) },
    /// Nobody says how many entries a map has.
    NoEntries { map: MapKey, programs: BTreeSet<ProgramName> },
    /// `maps:` lists a map that no program has.
    NobodyDeclares { map: MapName, at: Span },
    /// An object gives a map a name that no path can have.
    BadMapName { program: ProgramName, map: String },
    /// A map's pin would be taken for another one's.
    MapNameCollides { program: ProgramName, map: String },
    /// A chain without programs.
    EmptyChain { hook: Hook, at: Span },
    /// A chain names a program that the bundle lacks.
    NotInBundle { program: ProgramName, hook: Hook, at: Span },
    /// A program is of a type that the hook can't run.
    WrongType { program: ProgramName, kind: ProgramType, hook: Hook, at: Span },
    /// A cgroup doesn't exist.
    NoCgroup { hook: Hook, path: PathBuf, at: Span },
    /// A chain is to be attached by tcx, which this kernel lacks.
    NoTcx { hook: Hook, at: Span },
}

impl Diagnose for DesiredError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        self.problems.iter().map(|problem| problem.diagnostic(self.text.as_ref())).collect()
    }
}

impl DesiredProblem {
    /// The code of this problem.
    pub fn code(&self) -> Code {
        match self {
            Self::NoInterface { .. } => Code::NO_INTERFACE,
            Self::NoNamespace { .. } => Code::NO_NAMESPACE,
            Self::ClaimedTwice { .. } => Code::HOOK_CLAIMED_TWICE,
            Self::MapsDisagree { .. } => Code::MAPS_DISAGREE,
            Self::NoEntries { .. } => Code::MAP_WITHOUT_ENTRIES,
            Self::NobodyDeclares { .. } => Code::SHARED_MAP_UNKNOWN,
            Self::BadMapName { .. } => Code::MAP_NAME_UNUSABLE,
            Self::MapNameCollides { .. } => Code::MAP_NAME_COLLIDES,
            Self::BadPattern { .. } => Code::INTERFACE_PATTERN,
            Self::Template { .. } => Code::HOST_TEMPLATE_FAILED,
            Self::NoTcx { .. } => Code::NO_TCX,
            Self::NoCgroup { .. } => Code::NO_CGROUP,
            Self::EmptyChain { .. } | Self::NotInBundle { .. } | Self::WrongType { .. } => Code::CHAIN_UNRUNNABLE,
        }
    }

    fn diagnostic(&self, source: Option<&Arc<Source>>) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.code(), self.title());
        let at = |diagnostic: Diagnostic, span: Span, text: &str| match source {
            Some(source) if span != Span::default() => diagnostic.at(source, span, text),
            _ => diagnostic,
        };
        match self {
            Self::Template { why, at: span, .. } => at(diagnostic, *span, "in this chain").cause(why),
            Self::BadPattern { why, at: span, .. } => {
                at(diagnostic, *span, "in this chain").cause(why).help("patterns know `*`, `?`, `[a-z]` and `{a,b}`")
            }
            Self::NoInterface { there, at: span, .. } => {
                let there: Vec<_> = there.iter().map(|name| format!("`{}`", name.escape_default())).collect();
                let note = match there.len() {
                    0 => "there are no interfaces".to_owned(),
                    1..=12 => format!("there are {}", there.join(", ")),
                    n => format!("there are {n} others"),
                };
                at(diagnostic, *span, "this chain names it").note(note).help(
                    "bring it up first, correct the name, or write a pattern: a chain may wait for one that matches",
                )
            }
            Self::NoNamespace { path, at: span, .. } => at(diagnostic, *span, "this chain names it").help(format!(
                "make it (`ip netns add NAME` gives /run/netns/NAME), or correct `netns: {}`",
                path.display()
            )),
            Self::ClaimedTwice { at: (first, second), patterns, .. } => {
                let diagnostic = at(diagnostic, *second, &format!("`{}` matches it", patterns.1));
                at(diagnostic, *first, &format!("`{}` matches it too", patterns.0))
                    .help("make the patterns narrower, or put the programs into one chain: it runs them in order")
            }
            Self::MapsDisagree { first, second, .. } => diagnostic
                .note(format!("`{}` declares {}", first.0, first.1))
                .note(format!("`{}` declares {}", second.0, second.1))
                .note("where the sizes agree, the BTF types of key or value differ")
                .help("build both against one definition, or give the maps different names to keep them apart"),
            Self::NoEntries { map, .. } => diagnostic.help(format!(
                "set `max_entries` in the source, or in the manifest: `maps: [{{name: {}, max_entries: …}}]`",
                map.name()
            )),
            Self::NobodyDeclares { at: span, .. } => {
                at(diagnostic, *span, "declared here").help("correct the name, or take the entry out of `maps:`")
            }
            Self::BadMapName { .. } => {
                diagnostic.help("map names are C identifiers: the name becomes a path under /sys/fs/bpf")
            }
            Self::MapNameCollides { map, .. } if map.starts_with('.') => {
                diagnostic.help("rename the section: one dot at the front, one behind `.data` or `.bss`, no more")
            }
            Self::MapNameCollides { .. } => {
                diagnostic.help("rename the map: `_data` and `_bss` are where global variables are pinned")
            }
            Self::EmptyChain { at: span, .. } => {
                at(diagnostic, *span, "it has no programs").help("list a program, or remove the chain")
            }
            Self::NotInBundle { at: span, .. } => {
                at(diagnostic, *span, "named here").help("bundle the set again: `bpfkit bundle`")
            }
            Self::NoCgroup { at: span, .. } => at(diagnostic, *span, "this chain names it")
                .help("create it, or correct the path: it must lie in a cgroup2 hierarchy"),
            Self::NoTcx { at: span, .. } => at(diagnostic, *span, "this chain asks for it")
                .help("say `attach: clsact`, or leave `attach` out: then the kernel decides"),
            Self::WrongType { hook, at: span, .. } => {
                at(diagnostic, *span, "named here").help(format!("`{hook}` runs `{}` programs", hook.program_type()))
            }
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Template { text, .. } => format!("`{text}` can't be filled in on this host"),
            Self::BadPattern { pattern, .. } => format!("`{pattern}` is no pattern for interfaces"),
            Self::NoInterface { name, netns: None, .. } => format!("there is no interface `{name}`"),
            Self::NoInterface { name, netns: Some(path), .. } => {
                format!("there is no interface `{name}` in `{}`", path.display())
            }
            Self::NoNamespace { hook, path, .. } => {
                format!("the `{hook}` chain's network namespace `{}` doesn't exist", path.display())
            }
            Self::ClaimedTwice { hook, interface, .. } => format!("two chains want `{hook}` of `{interface}`"),
            Self::MapsDisagree { map, first, second } => {
                format!("`{}` and `{}` share the map `{map}` but declare it differently", first.0, second.0)
            }
            Self::NoEntries { map, .. } => format!("nothing says how many entries the map `{map}` has"),
            Self::NobodyDeclares { map, .. } => format!("no program declares the map `{map}`"),
            Self::BadMapName { program, map } => {
                format!("`{program}` has a map with an unusable name, `{}`", map.escape_default())
            }
            Self::MapNameCollides { program, map } => {
                format!("`{map}` of `{program}` can't be pinned under its name, which stands for something else there")
            }
            Self::EmptyChain { hook, .. } => format!("the `{hook}` chain is empty"),
            Self::NotInBundle { program, hook, .. } => {
                format!("the `{hook}` chain runs `{program}`, which the bundle doesn't hold")
            }
            Self::NoCgroup { hook, path, .. } => {
                format!("the `{hook}` chain's cgroup `{}` doesn't exist", path.display())
            }
            Self::NoTcx { hook, .. } => format!("this kernel has no tcx for the `{hook}` chain"),
            Self::WrongType { program, kind, hook, .. } => {
                format!("`{program}` is a `{kind}` program and can't run at `{hook}`")
            }
        }
    }
}
