//! [`Object`] → [`ObjectDescriptor`]: what the other crates may know of an object.

use bpfkit_schemas::{
    object::{Endian, GlobalDescriptor, MapDescriptor, ObjectDescriptor, ProgramDescriptor},
    section,
};

use super::{Map, Object};

/// bpfman's names of map types, by the kernel's numbers (`enum bpf_map_type`, Linux 6.18).
const MAP_KINDS: [&str; 35] = [
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "per_cpu_hash",
    "per_cpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_per_cpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "per_cpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
    "insn_array",
];

/// The name of a map type; the number itself where it has none.
pub(crate) fn map_kind(number: u32) -> String {
    let name = usize::try_from(number).ok().and_then(|number| MAP_KINDS.get(number));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

impl Map {
    /// What the other crates may know of it.
    pub fn descriptor(&self) -> MapDescriptor {
        MapDescriptor {
            name: self.name.clone(),
            map_type: self.map_type,
            kind: map_kind(self.map_type),
            key_size: self.key_size,
            value_size: self.value_size,
            max_entries: self.max_entries,
            flags: self.flags,
            pinned_by_name: self.pinned_by_name,
            internal: self.initial.is_some(),
        }
    }
}

impl Object {
    /// What the other crates may know of it.
    pub fn descriptor(&self) -> ObjectDescriptor {
        let entries = self.functions.iter().filter(|function| function.entry);
        let programs = entries.map(|function| {
            let name = self.section(function);
            let meaning = section::meaning(name);
            ProgramDescriptor {
                function: function.name.clone(),
                section: name.to_owned(),
                kind: meaning.map(|meaning| meaning.kind),
                frags: meaning.is_some_and(|meaning| meaning.frags),
                instructions: u32::try_from(function.len).unwrap_or(u32::MAX),
            }
        });
        let globals = self.globals.iter().map(|global| GlobalDescriptor {
            name: global.name.clone(),
            section: self.maps.get(global.map).map_or_else(String::new, |map| map.name.clone()),
            c_type: self.btf.c_type(global.ty),
            size: global.size,
        });
        let relocations = self.ext.relocations.values().map(Vec::len).sum::<usize>();
        ObjectDescriptor {
            digest: self.digest,
            size: self.size,
            endian: Endian::Little,
            license: self.license.clone(),
            core_relocations: u32::try_from(relocations).unwrap_or(u32::MAX),
            programs: programs.collect(),
            maps: self.maps.iter().map(Map::descriptor).collect(),
            globals: globals.collect(),
        }
    }
}
