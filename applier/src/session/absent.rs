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

use crate::desired::{Host, Waiting, is_pattern};

/// The chains of what is there, and what waits.
pub(super) fn apart(chains: &[Chain], vars: &BTreeMap<String, String>, host: &Host) -> (Vec<Chain>, Vec<Waiting>) {
    let mut waiting = Vec::new();
    let mut there = Vec::new();
    for chain in chains {
        let rendered = |text: &HostText| render_host(&text.0, vars, &host.facts).ok();
        if let Some(path) = chain.cgroup.as_ref().and_then(&rendered).filter(|_| chain.hook.is_cgroup()) {
            if host.cgroups.contains_key(&PathBuf::from(&path)) {
                there.push(chain.clone());
            } else {
                waiting.push(Waiting { hook: chain.hook, pattern: path, netns: None });
            }
            continue;
        }
        let netns = chain.netns.as_ref().map(|text| rendered(text).map(PathBuf::from));
        if netns == Some(None) {
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
        if !left.interfaces.is_empty() || chain.hook.is_cgroup() {
            there.push(left);
        }
    }
    (there, waiting)
}
