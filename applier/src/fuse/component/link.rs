//! Makes components out of linked programs.

use std::collections::BTreeMap;

use bpfkit_objects::link::LinkedMap;

use super::{Component, ComponentMap, Constants, MapLoad, SourceLine};
use crate::{
    fuse::{FuseProblem, Linker, linker},
    live::MapKey,
    record::{RecordedMap, RecordedProgram},
};

/// Types that can't be created from sizes alone: the two old cgroup storages, maps of maps, socket, inode, task and cgroup storage, `struct_ops`, arenas, instruction arrays (`enum bpf_map_type`).
const NOT_BY_ITSELF: [u32; 11] = [12, 13, 19, 21, 24, 26, 28, 29, 32, 33, 34];

/// Fields that need nothing but the types of the map's value: those of helpers, where others have kernel functions.
const MANAGED: [&str; 2] = ["bpf_spin_lock", "bpf_timer"];

impl Component {
    /// Links the program that `program` records, out of the bundle of `linker`. The only way to get a component.
    ///
    /// Problems with its maps come up when it is fused, together with all others.
    pub(crate) fn link(linker: &Linker, program: &RecordedProgram) -> Result<Self, Vec<FuseProblem>> {
        let kind = linker.kind(program).map_err(|problem| vec![problem])?;
        let ready = linker.link(&program.name)?;
        let mut problems: Vec<_> = ready.maps.iter().filter_map(|map| check(program, map)).collect();
        // Linking leaves these unresolved, so that their instructions may not show them.
        let symbols = [
            (&ready.uses.kfuncs, "function (kfunc)"),
            (&ready.uses.ksyms, "variable (`__ksym`)"),
            (&ready.uses.kconfigs, "configuration value (`__kconfig`)"),
        ];
        for (_, what) in symbols.into_iter().filter(|(names, _)| !names.is_empty()) {
            problems.push(FuseProblem::KernelSymbol { program: program.name.clone(), what });
        }
        let mut maps = Vec::new();
        let mut constants = BTreeMap::new();
        for map in &ready.maps {
            let name = &map.descriptor.name;
            let key = program.maps.iter().find_map(|recorded| match recorded {
                RecordedMap::Shared(shared) if shared.as_str() == name => Some(MapKey::Shared(shared.clone())),
                RecordedMap::Private(private) if private == name => {
                    Some(MapKey::Private(program.name.clone(), name.clone()))
                }
                _ => None,
            });
            maps.push(match (key, &map.initial) {
                (Some(key), _) => ComponentMap::Set(key),
                (None, Some(image)) => {
                    let made = Constants { image: image.clone(), flags: map.descriptor.flags };
                    constants.insert(name.clone(), made);
                    ComponentMap::Constant(name.clone())
                }
                (None, None) => {
                    let why = format!("the plan doesn't name its map `{name}`");
                    problems.push(FuseProblem::Malformed { program: program.name.clone(), why });
                    ComponentMap::Constant(name.clone())
                }
            });
        }
        let loads = ready
            .map_refs
            .iter()
            .filter_map(|load| Some(MapLoad { at: load.insn, map: maps.get(load.map)?.clone() }))
            .collect();
        let lines = ready.lines.iter().map(|line| SourceLine {
            at: line.insn,
            file: line.file.clone(),
            line: line.line,
            column: line.column,
            text: line.text.clone(),
        });
        let types = linker.types_of(&program.name);
        Ok(Self {
            name: program.name.clone(),
            kind,
            license: linker::license(&ready),
            frags: ready.frags,
            lines: lines.collect(),
            instructions: ready.instructions.clone(),
            loads,
            constants,
            functions: ready.subprograms.clone(),
            types,
            type_refs: ready.type_refs.clone(),
            problems,
        })
    }
}

/// What keeps a map from being made.
fn check(program: &RecordedProgram, map: &LinkedMap) -> Option<FuseProblem> {
    let (program, name) = (program.name.clone(), map.descriptor.name.clone());
    let unknown: Vec<_> = map.special.iter().map(String::as_str).filter(|what| !is_managed(map, what)).collect();
    if !unknown.is_empty() {
        return Some(FuseProblem::MapNeedsBtf { program, map: name, what: unknown.join(", ") });
    }
    let kind = if NOT_BY_ITSELF.contains(&map.descriptor.map_type) || map.inner.is_some() {
        map.descriptor.kind.clone()
    } else if map.extra != 0 {
        format!("{} with `map_extra`", map.descriptor.kind)
    } else if map.numa_node.is_some() {
        format!("{} with `numa_node`", map.descriptor.kind)
    } else {
        return None;
    };
    Some(FuseProblem::MapKind { program, map: name, kind })
}

/// Whether the types that a map is created with are all that the kernel needs to manage such a field.
fn is_managed(map: &LinkedMap, what: &str) -> bool {
    // Maps of global variables are created without types.
    map.initial.is_none() && MANAGED.contains(&what)
}
