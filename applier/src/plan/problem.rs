//! Why there is no plan, for people.

use std::collections::BTreeSet;

use bpfkit_schemas::{
    Code, Diagnostic,
    diagnostic::Diagnose,
    hook::{Hook, Mode},
    names::{ProgramName, SetName},
};
use thiserror::Error;

use super::hooks::label;
use crate::live::{HeldBy, Interface, MapKey, MapShape, OtherProgram, Owner};

/// Everything that keeps a set from being applied to this host as it is.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("`{set}` can't be applied: {} problems", problems.len())]
pub struct PlanError {
    /// The set.
    pub set: SetName,
    /// The problems, by hook, then by map. Never empty.
    pub problems: Vec<PlanProblem>,
}

/// One such problem.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the fields are what `diagnose` says in words")]
pub enum PlanProblem {
    /// A stranger holds an exclusive hook.
    Taken { hook: Hook, interface: Interface, by: OtherProgram },
    /// Another set holds an exclusive hook.
    SetHoldsHook { hook: Hook, interface: Interface, set: SetName },
    /// Strangers are at a hook of which the manifest says `foreign: refuse`.
    ForeignRefused { hook: Hook, interface: Interface, foreign: Vec<OtherProgram> },
    /// A filter of ours can't be first.
    FilterBlocked { hook: Hook, interface: Interface, by: String },
    /// The hook has no place left.
    HookFull { hook: Hook, interface: Interface, others: usize },
    /// A live chain would have to change its mode.
    Mode { interface: Interface, live: Mode, wanted: Mode },
    /// A live map's contents don't fit what the programs declare.
    MapShape { key: MapKey, programs: BTreeSet<ProgramName>, live: MapShape, wanted: MapShape },
}

impl Diagnose for PlanError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        self.problems.iter().map(|problem| problem.diagnostic(&self.set)).collect()
    }
}

impl PlanProblem {
    /// The code of this problem.
    pub fn code(&self) -> Code {
        match self {
            Self::Taken { .. } => Code::XDP_TAKEN,
            Self::SetHoldsHook { .. } => Code::SET_HOLDS_HOOK,
            Self::ForeignRefused { .. } => Code::FOREIGN_REFUSED,
            Self::HookFull { .. } => Code::HOOK_FULL,
            Self::FilterBlocked { .. } => Code::FILTER_BLOCKED,
            Self::Mode { .. } => Code::MODE_NEEDS_GAP,
            Self::MapShape { .. } => Code::MAP_SHAPE_CHANGED,
        }
    }

    /// The problem in the user's words; `set` is the set that was to be applied.
    pub fn diagnostic(&self, set: &SetName) -> Diagnostic {
        let error = |title: String| Diagnostic::error(self.code(), title);
        match self {
            Self::Taken { hook, interface, by } => {
                error(format!("`{}` is taken by {}", label(*hook, interface), describe(by))).help(match by.held_by {
                    HeldBy::Netlink | HeldBy::Filter(_) => format!(
                        "if it isn't needed: `ip link set dev {} xdp off`; or leave this interface out of the chain",
                        interface.name.escape_default()
                    ),
                    HeldBy::Link(link) => format!(
                        "if it isn't needed: `bpftool link detach id {link}`; or leave this interface out of the chain"
                    ),
                })
            }
            Self::SetHoldsHook { hook, interface, set: holder } => {
                error(format!("`{}` is held by the set `{holder}`", label(*hook, interface)))
                    .help(format!("put the programs into one set, or take the other one off: `bpfkit remove {holder}`"))
            }
            Self::ForeignRefused { hook, interface, foreign } => {
                let others: Vec<_> = foreign.iter().map(describe).collect();
                error(format!(
                    "`{}` has strangers, and the chain says `foreign: refuse`: {}",
                    label(*hook, interface),
                    others.join(", ")
                ))
                .help("detach them with the tool that attached them, or say `foreign: keep`: the chain goes first, they run after it")
            }
            Self::HookFull { hook, interface, others } => error(format!(
                "`{}` is full: {others} programs of others are attached, and the kernel takes no more",
                label(*hook, interface)
            ))
            .help(if hook.is_cgroup() {
                "`bpftool cgroup show PATH` lists them"
            } else {
                "`bpftool net show` lists them"
            }),
            Self::FilterBlocked { hook, interface, by } => error(format!(
                "`{}` can't have a filter of ours in front: {}",
                label(*hook, interface),
                by.escape_default()
            ))
            .help("give the other one another place, or say `attach: tcx`"),
            Self::Mode { interface, live, wanted } => error(format!(
                "`{}` runs in `{live}` mode and can't be changed to `{wanted}` without a gap",
                label(Hook::Xdp, interface)
            ))
            .note("the kernel allows one XDP mode per interface at a time; in between, packets would meet no chain")
            .note("doing it in one go, with the gap, is planned (`allow_gap`) and not possible yet")
            .help(format!(
                "keep `mode: {live}`, or choose the moment yourself: `bpfkit remove {set}`, then `bpfkit apply`"
            )),
            Self::MapShape { key, programs, live, wanted } => {
                let programs: Vec<_> = programs.iter().map(|program| format!("`{program}`")).collect();
                let same = live.to_string() == wanted.to_string();
                let mut problem =
                    error(format!("the live map `{key}` doesn't fit what {} declares now", programs.join(" and ")))
                        .note(format!("live:     {live}"))
                        .note(format!("declared: {wanted}"));
                if same {
                    problem = problem.note("the sizes agree; the BTF types of its key or value differ");
                }
                problem.help(format!(
                    "restore the old shape or rename the map; or, if its contents may go, `bpfkit remove {set}`, then `bpfkit apply`"
                ))
            }
        }
    }
}

/// A program of somebody else, with everything that helps to find its owner:
/// `` `cil_from_netdev` (program 12, link 3, pinned at …) ``.
pub(crate) fn describe(other: &OtherProgram) -> String {
    let name = if other.name.is_empty() {
        "a program without a name".to_owned()
    } else {
        format!("`{}`", other.name.escape_default())
    };
    let held = match other.held_by {
        HeldBy::Link(link) => format!("link {link}"),
        HeldBy::Filter(filter) => filter.to_string(),
        HeldBy::Netlink => "attached without a link".to_owned(),
    };
    let owner = match &other.owner {
        Owner::Set(set) => format!(", set `{set}`"),
        Owner::Foreign(Some(text)) => format!(", {}", text.escape_default()),
        Owner::Foreign(None) => String::new(),
    };
    format!("{name} (program {}, {held}{owner})", other.id)
}
