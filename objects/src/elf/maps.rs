//! Map definitions in `.maps` → [`Map`] (libbpf's `parse_btf_map_def`, strict).

use std::collections::HashMap;

use super::{Map, ObjectProblem, raw::Elf};
use crate::btf::{Btf, Composite, Kind, Linkage, Member, TypeId};

const ARRAY_OF_MAPS: u32 = 12;
const HASH_OF_MAPS: u32 = 13;
const PROG_ARRAY: u32 = 3;

/// The maps that the object declares, in the section's order.
pub(super) fn declared(elf: &Elf<'_>, btf: &Btf, problems: &mut Vec<ObjectProblem>) -> Vec<Map> {
    let mut maps = Vec::new();
    let Some((number, section)) = elf.sections.iter().enumerate().find(|(_, section)| section.name == ".maps") else {
        return maps;
    };
    let datasec = btf.by_name(".maps").find_map(|id| match btf.kind(id) {
        Kind::Datasec { vars, .. } => Some(vars),
        _ => None,
    });
    let Some(vars) = datasec else {
        problems.push(ObjectProblem::Data { section: ".maps".to_owned(), what: "has no BTF" });
        return maps;
    };
    let symbols = symbols(elf, number);
    for var in vars {
        let name = btf.name(var.ty).to_owned();
        let bad = |what: &str| ObjectProblem::Map { map: name.clone(), what: what.to_owned() };
        let Kind::Var { ty, linkage: Linkage::Global } = btf.kind(var.ty) else {
            problems.push(bad("is no global variable"));
            continue;
        };
        let Kind::Struct(definition) = btf.resolved(*ty) else {
            problems.push(bad("is no struct"));
            continue;
        };
        let offset = symbols.get(name.as_str()).copied();
        let Some(offset) = offset.filter(|offset| *offset <= section.size && !name.is_empty()) else {
            problems.push(bad("has no symbol in `.maps`"));
            continue;
        };
        match definition_of(btf, definition, Level::Outer) {
            Ok(map) => maps.push(Map { name, section: number, offset, ..map }),
            Err(what) => problems.push(ObjectProblem::Map { map: name, what }),
        }
    }
    maps
}

/// Where the symbols of one section are, by name.
pub(super) fn symbols<'a>(elf: &Elf<'a>, section: usize) -> HashMap<&'a str, u64> {
    let here = elf.symbols.iter().filter(|symbol| usize::from(symbol.section) == section);
    here.map(|symbol| (symbol.name, symbol.value)).collect()
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Level {
    Outer,
    Inner,
}

fn definition_of(btf: &Btf, definition: &Composite, level: Level) -> Result<Map, String> {
    let mut map = Map::default();
    for (at, member) in definition.members.iter().enumerate() {
        let number =
            || number(btf, member).ok_or_else(|| format!("has a `{}` that is no number", btf.str(member.name)));
        let number32 = || number().and_then(|n| u32::try_from(n).map_err(|_| "has a number beyond 32 bits".to_owned()));
        let agree = |known: u32, size: u32, what: &str| {
            if known == 0 || known == size { Ok(size) } else { Err(format!("has two different sizes of its {what}")) }
        };
        match btf.str(member.name) {
            "type" => map.map_type = number32()?,
            "max_entries" => map.max_entries = number32()?,
            "map_flags" => map.flags = number32()?,
            "numa_node" => map.numa_node = Some(number32()?),
            "map_extra" => map.extra = number()?,
            "key_size" => map.key_size = agree(map.key_size, number32()?, "key")?,
            "value_size" => map.value_size = agree(map.value_size, number32()?, "value")?,
            "key" => {
                let (ty, size) = pointed(btf, member).ok_or("has a key whose size isn't known")?;
                map.key_size = agree(map.key_size, size, "key")?;
                map.key = Some(ty);
            }
            "value" => {
                let (ty, size) = pointed(btf, member).ok_or("has a value whose size isn't known")?;
                map.value_size = agree(map.value_size, size, "value")?;
                map.value = Some(ty);
            }
            "values" => {
                if level == Level::Inner {
                    return Err("has maps of maps inside".to_owned());
                }
                if at + 1 != definition.members.len() {
                    return Err("has something behind its `values`".to_owned());
                }
                map.value_size = agree(map.value_size, 4, "value")?;
                map.inner = inner(btf, member, map.map_type)?;
            }
            "pinning" => match number32()? {
                0 => {}
                1 if level == Level::Outer => map.pinned_by_name = true,
                _ => return Err("has an unknown `pinning`".to_owned()),
            },
            unknown => return Err(format!("has `{unknown}`, which libbpf doesn't know")),
        }
    }
    if map.map_type == 0 {
        return Err("has no type".to_owned());
    }
    Ok(map)
}

/// What `__array(values, …)` says: the definition of inner maps, or the type of programs (which says nothing more).
fn inner(btf: &Btf, member: &Member, map_type: u32) -> Result<Option<Box<Map>>, String> {
    let item = match btf.kind(member.ty) {
        Kind::Array(array) if array.len == 0 => match btf.resolved(array.item) {
            Kind::Ptr(to) => Some(btf.resolved(*to)),
            _ => None,
        },
        _ => None,
    };
    match (map_type, item) {
        (PROG_ARRAY, Some(Kind::FuncProto { .. })) => Ok(None),
        (ARRAY_OF_MAPS | HASH_OF_MAPS, Some(Kind::Struct(definition))) => {
            let inner =
                definition_of(btf, definition, Level::Inner).map_err(|what| format!("has an inner map that {what}"))?;
            Ok(Some(Box::new(inner)))
        }
        (PROG_ARRAY | ARRAY_OF_MAPS | HASH_OF_MAPS, _) => Err("has `values` of an unknown form".to_owned()),
        _ => Err("has `values`, though it holds neither maps nor programs".to_owned()),
    }
}

/// `__uint(name, N)`: a pointer to an array of N; `__ulong(name, N)`: an enum with one member.
fn number(btf: &Btf, member: &Member) -> Option<u64> {
    match btf.resolved(member.ty) {
        Kind::Ptr(to) => match btf.kind(*to) {
            Kind::Array(array) => Some(u64::from(array.len)),
            _ => None,
        },
        kind => match kind.any_enum()?.values.as_slice() {
            [only] => u64::try_from(only.value).ok(),
            _ => None,
        },
    }
}

/// `__type(name, T)`: a pointer to T.
fn pointed(btf: &Btf, member: &Member) -> Option<(TypeId, u32)> {
    match btf.kind(member.ty) {
        Kind::Ptr(to) => Some((*to, u32::try_from(btf.size(*to)?).ok()?)),
        _ => None,
    }
}
