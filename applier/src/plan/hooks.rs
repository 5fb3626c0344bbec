//! Decides for each hook what is done there, if anything.

use std::collections::BTreeMap;

use bpfkit_schemas::hook::{Foreign, Hook, Mode};

use super::{Because, HookPlan, HookStep, MapPlan, MapSource, PlanProblem, Seen, Warning, diff};
use crate::{
    desired::DesiredChain,
    live::{
        Attachment, HookPoint, Interface, LiveChain, LivePoint, LiveRecord, MapKey, OtherProgram, Owner, Pin, Presence,
    },
};

/// The most programs that tcx holds per interface and direction (`BPF_MPROG_MAX`, 64, less one; tried on 6.18).
const TCX_MAX: usize = 63;

/// What is to be done about one hook that the set wants; `None` where it is as wanted.
pub(super) fn wanted(
    point: HookPoint,
    chain: &DesiredChain,
    live: Option<&LivePoint>,
    maps: &BTreeMap<MapKey, MapPlan>,
    problems: &mut Vec<PlanProblem>,
    warnings: &mut Vec<Warning>,
) -> Option<HookPlan> {
    let ours = live.and_then(|live| live.ours.as_ref());
    let others = live.map_or(&[][..], |live| live.others.as_slice());
    let attached = ours.filter(|ours| ours.attachment == Attachment::Attached);
    strangers(point, chain, attached, others, problems);

    let mut plan = HookPlan {
        point,
        interface: chain.interface.clone(),
        mode: chain.record.mode,
        seen: Seen { revision: live.and_then(|live| live.revision), ours: ours.map(|ours| (ours.link, ours.program)) },
        steps: Vec::new(),
        because: Vec::new(),
        lines: Vec::new(),
        others: others.to_vec(),
    };
    let Some(attached) = attached else {
        plan.because.push(match ours {
            Some(dead) => {
                plan.steps.push(HookStep::Drop { link: dead.link });
                Because::DetachedBySomebody
            }
            None if live.is_some_and(|live| live.lost.is_some()) => Because::LinkGone,
            None => Because::NotAttachedYet,
        });
        plan.steps.push(HookStep::Attach { chain: Box::new(chain.record.clone()), expect: plan.seen.revision });
        plan.lines = diff::all_new(&chain.record.programs);
        return Some(plan);
    };

    if point.hook == Hook::Xdp && attached.mode != chain.record.mode {
        problems.push(PlanProblem::Mode {
            interface: chain.interface.clone(),
            live: attached.mode,
            wanted: chain.record.mode,
        });
        return None;
    }
    if let Some(before) = others.get(..attached.after.min(others.len())).filter(|before| !before.is_empty()) {
        warnings.push(Warning::RunsAfterOthers {
            hook: point.hook,
            interface: chain.interface.clone(),
            before: before.to_vec(),
        });
    }
    if attached.pin == Pin::Gone {
        plan.steps.push(HookStep::PinLink { link: attached.link });
        plan.because.push(Because::PinGone);
    }
    let differs = differences(chain, attached, maps);
    if !differs.is_empty() {
        plan.steps.push(HookStep::Replace {
            chain: Box::new(chain.record.clone()),
            link: attached.link,
            expect: attached.program,
        });
        plan.because.extend(differs);
    }
    plan.lines = match &attached.record {
        LiveRecord::Read(record) => diff::diff(point.hook, &record.programs, &chain.record.programs),
        LiveRecord::Unreadable(_) => diff::all_new(&chain.record.programs),
    };
    (!plan.steps.is_empty()).then_some(plan)
}

/// What makes a live chain another than the wanted one.
fn differences(chain: &DesiredChain, live: &LiveChain, maps: &BTreeMap<MapKey, MapPlan>) -> Vec<Because> {
    let mut because = Vec::new();
    match &live.record {
        LiveRecord::Unreadable(why) => because.push(Because::RecordUnreadable(why.clone())),
        LiveRecord::Read(record) if !record.runs_like(&chain.record) => {
            if record.kernel_btf != chain.record.kernel_btf {
                because.push(Because::KernelChanged);
            }
            if record.glue != chain.record.glue {
                because.push(Because::GlueChanged);
            }
            // Whatever else there is to differ in shows in the lines.
            let same_programs = Box::new(crate::live::Record {
                kernel_btf: chain.record.kernel_btf,
                glue: chain.record.glue,
                ..(**record).clone()
            });
            if !same_programs.runs_like(&chain.record) {
                because.push(Because::ChainDiffers);
            }
        }
        LiveRecord::Read(_) => {}
    }
    // A chain that is made anew gets the right maps anyway.
    for key in if because.is_empty() { chain.record.map_keys() } else { Vec::new() } {
        let (Some(plan), Some(used)) = (maps.get(&key), live.maps.get(&key)) else { continue };
        if plan.source != MapSource::Reuse(used.id) {
            because.push(Because::UsesAnotherMap(key));
        }
    }
    because
}

/// What is to be done about a hook that the set has and doesn't want; `None` where it has nothing there.
pub(super) fn unwanted(point: HookPoint, live: &LivePoint, because: Because) -> Option<HookPlan> {
    let ours = live.ours.as_ref()?;
    let gone = live.presence == Presence::Gone;
    let step = match ours.attachment {
        Attachment::Attached if !gone => HookStep::Detach { link: ours.link, program: ours.program },
        _ => HookStep::Drop { link: ours.link },
    };
    Some(HookPlan {
        point,
        interface: live.interface.clone(),
        mode: ours.mode,
        seen: Seen { revision: live.revision, ours: Some((ours.link, ours.program)) },
        steps: vec![step],
        because: vec![if gone { Because::InterfaceGone } else { because }],
        lines: ours.record.read().map_or_else(Vec::new, |record| diff::all_gone(&record.programs)),
        others: live.others.clone(),
    })
}

/// Refuses what can't be done beside the others at a hook.
fn strangers(
    point: HookPoint,
    chain: &DesiredChain,
    attached: Option<&LiveChain>,
    others: &[OtherProgram],
    problems: &mut Vec<PlanProblem>,
) {
    let interface = || chain.interface.clone();
    if point.hook.is_exclusive() {
        // While our link is there nobody else can be, so what is there came instead of us.
        for other in others.iter().filter(|_| attached.is_none()) {
            problems.push(match &other.owner {
                Owner::Set(set) => {
                    PlanProblem::SetHoldsHook { hook: point.hook, interface: interface(), set: set.clone() }
                }
                Owner::Foreign(_) => PlanProblem::Taken { hook: point.hook, interface: interface(), by: other.clone() },
            });
        }
        return;
    }
    if chain.foreign == Foreign::Refuse {
        let foreign: Vec<_> = others.iter().filter(|other| matches!(other.owner, Owner::Foreign(_))).cloned().collect();
        if !foreign.is_empty() {
            problems.push(PlanProblem::ForeignRefused { hook: point.hook, interface: interface(), foreign });
        }
    }
    if attached.is_none() && others.len() >= TCX_MAX {
        problems.push(PlanProblem::HookFull { hook: point.hook, interface: interface(), others: others.len() });
    }
}

/// A label for an interface's hook: `xdp eth0`, `tc/ingress eth0 in /run/netns/edge`.
pub(crate) fn label(hook: Hook, interface: &Interface) -> String {
    let name = interface.name.escape_default();
    match &interface.namespace.path {
        None => format!("{hook} {name}"),
        Some(path) => format!("{hook} {name} in {}", path.display().to_string().escape_default()),
    }
}

/// `xdp eth0 (native, fused)`: with how the chain is realised.
pub(crate) fn long_label(hook: Hook, interface: &Interface, mode: Mode) -> String {
    let label = label(hook, interface);
    match hook {
        Hook::Xdp => format!("{label} ({mode}, fused)"),
        Hook::TcIngress | Hook::TcEgress => format!("{label} (fused)"),
    }
}
