//! Which maps a set has: shared or private, and of which shape.

use std::collections::{BTreeMap, BTreeSet};

use bpfkit_schemas::names::{MapName, ProgramName};

use super::{DesiredMap, DesiredProblem, Keys, MapFacts, ProgramFacts, Wanted};
use crate::{
    kernel::can_be_pinned,
    live::{MapKey, MapShape},
};

/// Map types whose `max_entries` the kernel takes as 0 (`bpf_local_storage_map_alloc_check`,
/// `cgroup_storage_map_alloc`): sk, inode, task, cgrp storage and the two old cgroup storages.
const ENTRIES_MAY_BE_ZERO: [u32; 6] = [19, 21, 24, 28, 29, 32];
/// `BPF_MAP_TYPE_PERF_EVENT_ARRAY`.
const PERF_EVENT_ARRAY: u32 = 4;

/// The maps of all programs of the set, and which of them each program uses.
pub(super) fn of_set(
    wanted: &Wanted<'_>,
    processors: u32,
    problems: &mut Vec<DesiredProblem>,
) -> (BTreeMap<MapKey, DesiredMap>, Keys) {
    let mut maps: BTreeMap<MapKey, DesiredMap> = BTreeMap::new();
    let mut keys = Keys::new();
    for program in wanted.programs {
        let of_program = keys.entry(program.name.clone()).or_default();
        for facts in &program.maps {
            if let Some(key) = key(wanted, program, facts, problems) {
                of_program.insert(key.clone());
                add(&mut maps, key, program, facts, problems);
            }
        }
    }
    for shared in wanted.maps {
        match maps.get_mut(&MapKey::Shared(shared.name.clone())) {
            Some(map) => map.shape.max_entries = shared.max_entries.unwrap_or(map.shape.max_entries),
            None => problems.push(DesiredProblem::NobodyDeclares { map: shared.name.clone(), at: shared.at }),
        }
    }
    for (key, map) in &mut maps {
        if map.shape.max_entries == 0 && map.shape.map_type == PERF_EVENT_ARRAY {
            map.shape.max_entries = processors;
        }
        if map.shape.max_entries == 0 && !ENTRIES_MAY_BE_ZERO.contains(&map.shape.map_type) {
            problems.push(DesiredProblem::NoEntries { map: key.clone(), programs: map.programs.clone() });
        }
    }
    (maps, keys)
}

/// Which map of the set this is; `None` for constants, which are a load's own, and for a name that is a problem.
fn key(
    wanted: &Wanted<'_>,
    program: &ProgramFacts,
    facts: &MapFacts,
    problems: &mut Vec<DesiredProblem>,
) -> Option<MapKey> {
    let name = &facts.map.name;
    let mut bad = || problems.push(DesiredProblem::BadMapName { program: program.name.clone(), map: name.clone() });
    if facts.map.internal {
        let data = name == ".data" || name == ".bss" || name.starts_with(".data.") || name.starts_with(".bss.");
        if !data {
            return None;
        }
        // The name ends up in a path: a section may be called anything.
        let safe = name.len() <= 128 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
        if !safe || name.contains("..") {
            bad();
            return None;
        }
        return private(program, name, problems);
    }
    let Ok(name) = name.parse::<MapName>() else {
        bad();
        return None;
    };
    let shared = facts.map.pinned_by_name || wanted.maps.iter().any(|map| map.name == name);
    if shared { Some(MapKey::Shared(name)) } else { private(program, name.as_str(), problems) }
}

/// A program's own map, unless its pin would be taken for another one's.
fn private(program: &ProgramFacts, map: &str, problems: &mut Vec<DesiredProblem>) -> Option<MapKey> {
    if can_be_pinned(map) {
        return Some(MapKey::Private(program.name.clone(), map.to_owned()));
    }
    problems.push(DesiredProblem::MapNameCollides { program: program.name.clone(), map: map.to_owned() });
    None
}

/// Adds a program's declaration of a map to what others said about it.
fn add(
    maps: &mut BTreeMap<MapKey, DesiredMap>,
    key: MapKey,
    program: &ProgramFacts,
    facts: &MapFacts,
    problems: &mut Vec<DesiredProblem>,
) {
    let shape = MapShape {
        map_type: facts.map.map_type,
        key_size: facts.map.key_size,
        value_size: facts.map.value_size,
        max_entries: facts.map.max_entries,
        flags: facts.map.flags,
        layout: facts.layout,
    };
    let Some(known) = maps.get_mut(&key) else {
        maps.insert(key, DesiredMap { shape, programs: BTreeSet::from([program.name.clone()]) });
        return;
    };
    let merged = MapShape {
        // 0 is "left open": another program or `maps:` says it.
        max_entries: if known.shape.max_entries == 0 { shape.max_entries } else { known.shape.max_entries },
        layout: known.shape.layout.or(shape.layout),
        ..known.shape
    };
    let filled = MapShape {
        max_entries: if shape.max_entries == 0 { merged.max_entries } else { shape.max_entries },
        layout: shape.layout.or(merged.layout),
        ..shape
    };
    if merged != filled {
        let first: Option<ProgramName> = known.programs.first().cloned();
        problems.push(DesiredProblem::MapsDisagree {
            map: key,
            first: (first.unwrap_or_else(|| program.name.clone()), known.shape.clone()),
            second: (program.name.clone(), shape),
        });
    }
    known.shape = merged;
    known.programs.insert(program.name.clone());
}
