//! Takes what isn't there yet out of chains: interfaces that are named and don't exist, namespaces and cgroups that don't.
//!
//! Pure. For a run that must not be all or nothing, a restore early in a boot: the chains of
//! what is there are expanded as ever, and the rest waits as a pattern without a match does.
//! What can't be rendered stays, so that the expansion says why.

use std::{collections::BTreeMap, path::PathBuf};

use bpfkit_schemas::{
    chain::{Chain, HostText},
    template::render_host,
};

use crate::{
    desired::{Host, Waiting, is_pattern},
    live::HookPoint,
    plan::{Cleanup, HookStep, Plan},
};

/// Lets a plan take no live chain off, and unpin no map: a chain that waits may be one that is live, at an interface
/// that was renamed or in a namespace whose name was unlinked.
pub(super) fn spare(plan: &mut Plan, is_wanted: impl Fn(&HookPoint) -> bool) {
    plan.hooks.retain(|hook| {
        is_wanted(&hook.point) || !hook.steps.iter().any(|step| matches!(step, HookStep::Detach { .. }))
    });
    plan.cleanup.retain(|cleanup| !matches!(cleanup, Cleanup::UnpinMap { .. }));
}

/// The chains of what is there, and what waits.
pub(super) fn apart(chains: &[Chain], vars: &BTreeMap<String, String>, host: &Host) -> (Vec<Chain>, Vec<Waiting>) {
    let mut waiting = Vec::new();
    let mut there = Vec::new();
    for chain in chains {
        let rendered = |text: &HostText| render_host(&text.0, vars, &host.facts).ok();
        if let Some(path) = chain.cgroup.as_ref().and_then(rendered)
            && !host.cgroups.contains_key(&PathBuf::from(&path))
        {
            waiting.push(Waiting { hook: chain.hook, pattern: path, netns: None });
            continue;
        }
        let netns = chain.netns.as_ref().map(|text| rendered(text).map(PathBuf::from));
        if chain.interfaces.is_empty() || netns == Some(None) {
            there.push(chain.clone());
            continue;
        }
        let netns = netns.flatten();
        let namespace = host.namespaces.get(&netns);
        let mut left = chain.clone();
        left.interfaces.retain(|text| {
            let Some(name) = rendered(text) else { return true };
            let present = namespace.is_some_and(|namespace| {
                is_pattern(&name) || namespace.interfaces.values().any(|found| *found == name)
            });
            if !present {
                waiting.push(Waiting { hook: chain.hook, pattern: name, netns: netns.clone() });
            }
            present
        });
        if !left.interfaces.is_empty() {
            there.push(left);
        }
    }
    (there, waiting)
}

#[cfg(test)]
mod tests {
    use bpfkit_schemas::{
        diagnostic::Span,
        hook::{Foreign, Hook, Mode},
        template::HostFacts,
    };

    use super::*;
    use crate::{
        desired::NamespaceFacts,
        live::{By, Hold, Interface, LinkId, Namespace, ProgramId},
        plan::{Because, HookPlan, Purpose, Seen},
    };

    fn chain(hook: &str, interfaces: &[&str], cgroup: Option<&str>, netns: Option<&str>) -> Chain {
        let text = |text: &str| HostText(text.to_owned());
        Chain {
            hook: hook.parse::<Hook>().unwrap(),
            interfaces: interfaces.iter().map(|name| text(name)).collect(),
            cgroup: cgroup.map(text),
            netns: netns.map(text),
            mode: Mode::Native,
            attach: None,
            foreign: Foreign::Keep,
            programs: Vec::new(),
            at: Span::default(),
        }
    }

    fn host() -> Host {
        let interfaces = [(1, "lo".to_owned()), (2, "web0".to_owned())].into();
        Host {
            facts: HostFacts { name: "web".to_owned(), ..HostFacts::default() },
            namespaces: [(None, NamespaceFacts { inode: 7, interfaces })].into(),
            cgroups: [(PathBuf::from("/sys/fs/cgroup/system.slice"), 9)].into(),
            ..Host::default()
        }
    }

    /// What is left of the interfaces of each chain, and what waits.
    fn told(chains: &[Chain]) -> (Vec<Vec<String>>, Vec<String>) {
        let (there, waiting) = apart(chains, &BTreeMap::new(), &host());
        let left = there.iter().map(|chain| chain.interfaces.iter().map(|text| text.0.clone()).collect());
        (left.collect(), waiting.into_iter().map(|one| one.pattern).collect())
    }

    #[test]
    fn what_is_there_stays_and_what_is_named_and_missing_waits() {
        let (left, waiting) = told(&[
            chain("xdp", &["lo", "eth7", "{{ host.name }}0"], None, None),
            chain("xdp", &["eth8"], None, None),
            chain("tc/ingress", &["wan*"], None, None),
            chain("xdp", &["eth0", "eth*"], None, Some("/run/netns/later")),
        ]);
        assert_eq!(left, [vec!["lo", "{{ host.name }}0"], vec!["wan*"]]);
        assert_eq!(waiting, ["eth7", "eth8", "eth0", "eth*"]);
    }

    #[test]
    fn a_chain_of_a_cgroup_stays_where_that_is_there_and_waits_where_it_is_not() {
        let (left, waiting) = told(&[
            chain("cgroup/connect4", &[], Some("/sys/fs/cgroup/system.slice"), None),
            chain("cgroup/connect4", &[], Some("/sys/fs/cgroup/later.slice"), None),
        ]);
        assert_eq!((left.len(), waiting), (1, vec!["/sys/fs/cgroup/later.slice".to_owned()]));
    }

    #[test]
    fn while_a_chain_waits_no_live_one_is_taken_off_and_what_is_dead_goes() {
        let namespace = Namespace { inode: 7, path: None };
        let detach =
            HookStep::Detach { hold: Hold::Link(LinkId(1)), by: By::Link(Mode::Native), program: ProgramId(1) };
        let drop = HookStep::Drop { hold: Hold::Link(LinkId(1)) };
        let hook = |index: u32, step: &HookStep| HookPlan {
            point: HookPoint { namespace: 7, index, hook: Hook::Xdp },
            interface: Interface { namespace: namespace.clone(), index, name: format!("e{index}") },
            mode: Mode::Native,
            attach: None,
            seen: Seen { revision: None, filters: None, ours: None },
            steps: vec![step.clone()],
            because: vec![Because::NoLongerInManifest],
            lines: Vec::new(),
            others: Vec::new(),
        };
        let mut plan = Plan {
            set: "edge".parse().unwrap(),
            purpose: Purpose::Apply,
            grounds: Vec::new(),
            maps: Vec::new(),
            hooks: vec![hook(1, &detach), hook(2, &drop), hook(3, &detach)],
            cleanup: Vec::new(),
            warnings: Vec::new(),
            unchanged: 0,
        };
        spare(&mut plan, |point| point.index == 3);
        assert_eq!(plan.hooks.iter().map(|hook| hook.point.index).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_cannot_be_rendered_stays_to_be_refused() {
        let (left, waiting) = told(&[
            chain("xdp", &["{{ host.nmae }}"], None, None),
            chain("xdp", &["eth9"], None, Some("{{ host.nmae }}")),
        ]);
        assert_eq!((left.len(), waiting.len()), (2, 0));
    }
}
