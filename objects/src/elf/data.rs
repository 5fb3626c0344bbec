//! Sections of global variables → maps with initial contents, and the variables in them.

use super::{
    Global, MAX_DATA, Map, ObjectProblem, maps,
    raw::{Elf, SHT_NOBITS, SHT_PROGBITS},
};
use crate::btf::{Btf, Kind, Linkage, TypeId};

const ARRAY: u32 = 2;
/// No program could use more maps (`MAX_USED_MAPS`).
const MOST_SECTIONS: u32 = 64;
/// Programs may only read it.
const RDONLY_PROG: u32 = 1 << 7;
/// User space may map it.
const MMAPABLE: u32 = 1 << 10;

/// Whether a section holds global variables, and whether they are constants.
fn is_constant(name: &str, kind: u32) -> Option<bool> {
    let is = |stem: &str| name.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    match kind {
        SHT_PROGBITS if is(".rodata") => Some(true),
        SHT_PROGBITS if is(".data") => Some(false),
        SHT_NOBITS if is(".bss") => Some(false),
        _ => None,
    }
}

/// Adds a map for each section of variables, in the file's order, and gives the variables.
pub(super) fn variables(
    elf: &Elf<'_>,
    btf: &Btf,
    maps: &mut Vec<Map>,
    problems: &mut Vec<ObjectProblem>,
) -> Vec<Global> {
    let mut globals = Vec::new();
    let (mut total, mut sections) = (0_u64, 0);
    for (number, section) in elf.sections.iter().enumerate() {
        let bad = |what| ObjectProblem::Data { section: section.name.to_owned(), what };
        if section.name.trim_start_matches('?').starts_with(".struct_ops") {
            problems.push(bad("holds struct_ops, which bpfkit doesn't load"));
        }
        let Some(constant) = is_constant(section.name, section.kind).filter(|_| section.size > 0) else { continue };
        total = total.saturating_add(section.size);
        sections += 1;
        if sections > MOST_SECTIONS {
            problems.push(bad("is one of more than 64 of global variables"));
            break;
        }
        if total > MAX_DATA {
            problems.push(bad("makes the object's global variables larger than 16 MiB"));
            continue;
        }
        let size = usize::try_from(section.size).unwrap_or(usize::MAX);
        let initial = if section.kind == SHT_NOBITS { vec![0; size] } else { section.bytes.to_vec() };
        let datasec = btf.by_name(section.name).find(|id| matches!(btf.kind(*id), Kind::Datasec { .. }));
        let found = datasec.map_or_else(Vec::new, |id| in_section(elf, btf, id, number, maps.len(), problems));
        // As libbpf: only what other files may see is worth mapping.
        let mappable = if found.iter().any(|global| global.global) { MMAPABLE } else { 0 };
        globals.extend(found);
        maps.push(Map {
            name: section.name.to_owned(),
            map_type: ARRAY,
            key_size: 4,
            value_size: u32::try_from(section.size).unwrap_or(u32::MAX),
            max_entries: 1,
            flags: mappable | if constant { RDONLY_PROG } else { 0 },
            value: datasec,
            initial: Some(initial),
            section: number,
            ..Map::default()
        });
    }
    globals
}

fn in_section(
    elf: &Elf<'_>,
    btf: &Btf,
    datasec: TypeId,
    section: usize,
    map: usize,
    problems: &mut Vec<ObjectProblem>,
) -> Vec<Global> {
    let Kind::Datasec { vars, .. } = btf.kind(datasec) else { return Vec::new() };
    let symbols = maps::symbols(elf, section);
    let end = elf.sections.get(section).map_or(0, |section| section.size);
    let mut globals = Vec::new();
    for var in vars {
        let Kind::Var { ty, linkage } = btf.kind(var.ty) else { continue };
        let name = btf.name(var.ty);
        let global = *linkage == Linkage::Global;
        // Only a linker writes the places of global variables into BTF; until then the symbol has them
        // (libbpf's `btf_fixup_datasec`).
        let offset = if global { symbols.get(name).copied() } else { Some(u64::from(var.offset)) };
        let offset = offset.filter(|offset| offset.checked_add(u64::from(var.size)).is_some_and(|last| last <= end));
        let Some(offset) = offset.and_then(|offset| u32::try_from(offset).ok()) else {
            problems.push(ObjectProblem::Data {
                section: btf.name(datasec).to_owned(),
                what: "has a variable outside of it, or one without a symbol",
            });
            continue;
        };
        globals.push(Global { name: name.to_owned(), map, offset, size: var.size, ty: *ty, global });
    }
    globals.sort_by_key(|global| global.offset);
    globals
}
