//! Decides for each hook what is done there, if anything.

use std::collections::BTreeMap;

use bpfkit_schemas::hook::{Attach, Foreign, Hook, Mode};

use super::{Because, HookPlan, HookStep, MapPlan, MapSource, PlanProblem, Seen, Warning, diff};
use crate::{
    desired::DesiredChain,
    live::{
        Attachment, By, FilterId, Filters, HeldBy, HookPoint, Interface, LiveChain, LivePoint, LiveRecord, LiveState,
        MapKey, OtherProgram, Owner, Pin, Presence, Qdisc,
    },
    record::QdiscBy,
};

/// The most programs that tcx holds per interface and direction (`BPF_MPROG_MAX`, 64, less one; tried on 6.18).
const TCX_MAX: usize = 63;

/// For a chain that is to be a filter: who makes, or made, its qdisc.
///
/// The set did where there is none yet, and where the record of any of its chains on that interface says so: it is taken
/// away with the last filter, of whichever direction.
pub(super) fn clsact(chain: &DesiredChain, live: &LiveState) -> Option<QdiscBy> {
    if chain.attach != Some(Attach::Clsact) {
        return None;
    }
    let interface = (chain.interface.namespace.inode, chain.interface.index);
    let here = |point: &HookPoint| point.hook.is_tc() && (point.namespace, point.index) == interface;
    let mut points = live.points.iter().filter(|(point, _)| here(point)).map(|(_, at)| at);
    let missing = |at: &LivePoint| at.filters.as_ref().is_some_and(|filters| filters.qdisc == Qdisc::Missing);
    let made = |record: &LiveRecord| record.read().is_some_and(|record| record.clsact == Some(QdiscBy::Set));
    let is_ours = |at: &LivePoint| {
        let chains = at.ours.iter().chain(&at.twin).map(|chain| &chain.record);
        missing(at) || chains.chain(at.lost.iter().map(|lost| &lost.record)).any(made)
    };
    Some(if points.any(is_ours) { QdiscBy::Set } else { QdiscBy::Others })
}

/// The most programs that a cgroup holds per hook (`BPF_CGROUP_MAX_PROGS`).
const CGROUP_MAX: usize = 64;

/// What is to be done about one hook that the set wants; `None` where it is as wanted.
pub(super) fn wanted(
    (point, live): (HookPoint, Option<&LivePoint>),
    chain: &DesiredChain,
    clsact: Option<QdiscBy>,
    maps: &BTreeMap<MapKey, MapPlan>,
    problems: &mut Vec<PlanProblem>,
    warnings: &mut Vec<Warning>,
) -> Option<HookPlan> {
    let all = || live.into_iter().flat_map(|live| live.ours.iter().chain(&live.twin));
    let ours = all().find(|ours| ours.attach(point.hook) == chain.attach);
    let other_way = all().find(|ours| ours.attach(point.hook) != chain.attach);
    let others = live.map_or(&[][..], |live| live.others.as_slice());
    let is_attached = |ours: &&LiveChain| ours.attachment == Attachment::Attached;
    let attached = ours.filter(is_attached);
    let filters = live.and_then(|live| live.filters.as_ref()).filter(|_| chain.attach == Some(Attach::Clsact));
    strangers((point, filters), chain, attached, others, problems);

    let mut plan = HookPlan {
        point,
        interface: chain.interface.clone(),
        mode: chain.record.mode,
        attach: chain.attach,
        seen: Seen {
            revision: live.and_then(|live| live.revision),
            filters: filters.map(|filters| filters.revision),
            ours: all().next().map(|ours| (ours.hold, ours.program)),
        },
        steps: Vec::new(),
        because: Vec::new(),
        lines: Vec::new(),
        others: others.to_vec(),
    };
    let record = || Box::new(crate::live::Record { clsact, ..chain.record.clone() });
    // What holds nothing goes first: the new chain's pins take the place of its own.
    for dead in all().filter(|ours| !is_attached(ours)) {
        plan.steps.push(HookStep::Drop { hold: dead.hold });
    }
    let Some(attached) = attached else {
        let moved = other_way.filter(is_attached);
        plan.because.push(match (moved.and_then(|old| old.attach(point.hook)), chain.attach) {
            (Some(live), Some(wanted)) => Because::AttachedBy { live, wanted },
            _ if !plan.steps.is_empty() => Because::DetachedBySomebody,
            _ => match live.and_then(|live| live.lost.as_ref()) {
                Some(lost) if lost.was_filter() => Because::FilterGone,
                Some(_) => Because::LinkGone,
                None => Because::NotAttachedYet,
            },
        });
        let by = by(chain, others);
        let expect = match by {
            By::Link(_) => plan.seen.revision,
            By::Filter(_) => plan.seen.filters,
        };
        plan.steps.push(HookStep::Attach { chain: record(), by, expect });
        plan.steps.extend(moved.map(detach));
        plan.lines = match moved.and_then(|old| old.record.read()) {
            Some(old) => diff::diff(point.hook, &old.programs, &chain.record.programs),
            None => diff::all_new(&chain.record.programs),
        };
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
    // A cgroup's programs run whatever the others answer, so nobody is cut off.
    let cuts_off = !point.hook.is_cgroup();
    if let Some(before) = others.get(..attached.after.min(others.len())).filter(|before| cuts_off && !before.is_empty())
    {
        warnings.push(Warning::RunsAfterOthers {
            hook: point.hook,
            interface: chain.interface.clone(),
            before: before.to_vec(),
        });
    }
    if !plan.steps.is_empty() {
        plan.because.push(Because::DetachedBySomebody);
    }
    let differs = differences(chain, attached, maps);
    // A replacement pins its record by itself, but not the link.
    if attached.pin == Pin::Gone {
        plan.steps.push(HookStep::Pin { hold: attached.hold });
        plan.because.push(Because::PinGone);
    }
    if !differs.is_empty() {
        plan.steps.push(HookStep::Replace { chain: record(), hold: attached.hold, expect: attached.program });
        plan.because.extend(differs);
    }
    if let Some(twin) = other_way.filter(is_attached) {
        plan.steps.push(detach(twin));
        plan.because.push(Because::AttachedTwice);
    }
    plan.lines = match &attached.record {
        LiveRecord::Read(record) => diff::diff(point.hook, &record.programs, &chain.record.programs),
        LiveRecord::Unreadable(_) => diff::all_new(&chain.record.programs),
    };
    (!plan.steps.is_empty()).then_some(plan)
}

/// How a chain that isn't there is attached: as a filter, by the first handle that nobody else has.
fn by(chain: &DesiredChain, others: &[OtherProgram]) -> By {
    if chain.attach != Some(Attach::Clsact) {
        return By::Link(chain.record.mode);
    }
    let mut filter = FilterId::first_of(&chain.record.set);
    while others.iter().any(|other| other.held_by == HeldBy::Filter(filter)) {
        filter = filter.next();
    }
    By::Filter(filter)
}

fn detach(ours: &LiveChain) -> HookStep {
    HookStep::Detach { hold: ours.hold, by: ours.by(), program: ours.program }
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
    // The filter first: a link has a pin of its own, and keeps the record's where both can't be kept.
    let steps = live.twin.iter().chain(&live.ours).map(|ours| match ours.attachment {
        Attachment::Attached if !gone => detach(ours),
        _ => HookStep::Drop { hold: ours.hold },
    });
    Some(HookPlan {
        point,
        interface: live.interface.clone(),
        mode: ours.mode,
        attach: ours.attach(point.hook),
        seen: Seen { revision: live.revision, filters: None, ours: Some((ours.hold, ours.program)) },
        steps: steps.collect(),
        because: vec![match (gone, point.hook.is_cgroup()) {
            (true, false) => Because::InterfaceGone,
            (true, true) => Because::CgroupGone,
            (false, _) => because,
        }],
        lines: ours.record.read().map_or_else(Vec::new, |record| diff::all_gone(&record.programs)),
        others: live.others.clone(),
    })
}

/// Refuses what can't be done beside the others at a hook.
fn strangers(
    (point, filters): (HookPoint, Option<&Filters>),
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
    if attached.is_some() {
        return;
    }
    if chain.attach == Some(Attach::Clsact) {
        if let Some(by) = filters.and_then(|filters| filters.blocked.clone()) {
            problems.push(PlanProblem::FilterBlocked { hook: point.hook, interface: interface(), by });
        }
        return;
    }
    let links = others.iter().filter(|other| !matches!(other.held_by, HeldBy::Filter(_))).count();
    if links >= if point.hook.is_cgroup() { CGROUP_MAX } else { TCX_MAX } {
        problems.push(PlanProblem::HookFull { hook: point.hook, interface: interface(), others: links });
    }
}

/// A label for an interface's hook: `xdp eth0`, `tc/ingress eth0 in /run/netns/edge`.
pub(crate) fn label(hook: Hook, interface: &Interface) -> String {
    let name = interface.name.escape_default();
    match &interface.namespace.path {
        None => format!("{hook} {name}"),
        Some(_) if interface.is_cgroup() => format!("{hook} {name}"),
        Some(path) => format!("{hook} {name} in {}", path.display().to_string().escape_default()),
    }
}

/// `xdp eth0 (native, fused)`: with how the chain is realised. That a tc chain is in the tcx list goes without saying.
pub(crate) fn long_label(hook: Hook, interface: &Interface, mode: Mode, attach: Option<Attach>) -> String {
    let label = label(hook, interface);
    match (hook, attach) {
        (Hook::Xdp, _) => format!("{label} ({mode}, fused)"),
        (_, Some(Attach::Clsact)) => format!("{label} (clsact, fused)"),
        (Hook::TcIngress | Hook::TcEgress | Hook::Cgroup(_), _) => format!("{label} (fused)"),
    }
}
