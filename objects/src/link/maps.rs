//! [`Map`] → [`LinkedMap`]: with types spelt, layouts hashed and the parts named that the kernel must know by BTF.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
};

use bpfkit_schemas::Digest;
use sha2::{Digest as _, Sha256};

use super::LinkedMap;
use crate::{
    btf::{Btf, Kind, TypeId},
    elf::Map,
};

/// Structs in values that the kernel finds by BTF (`btf_get_field_type`, Linux 6.18).
const SPECIAL: [&str; 11] = [
    "bpf_spin_lock",
    "bpf_res_spin_lock",
    "bpf_timer",
    "bpf_wq",
    "bpf_task_work",
    "bpf_list_head",
    "bpf_list_node",
    "bpf_rb_root",
    "bpf_rb_node",
    "bpf_refcount",
    "bpf_dynptr",
];
/// Tags of pointers that the kernel finds by BTF.
const POINTER_TAGS: [&str; 4] = ["kptr", "kptr_untrusted", "percpu_kptr", "uptr"];

pub(super) fn linked(btf: &Btf, map: &Map, initial: Option<Vec<u8>>) -> LinkedMap {
    let parts = || [map.key, map.value].into_iter().flatten();
    let layout = (map.key.is_some() || map.value.is_some()).then(|| {
        let mut text = format!("key {} value {}\n", map.key_size, map.value_size);
        shape(btf, parts(), &mut text);
        Digest::from_bytes(Sha256::digest(text.as_bytes()).into())
    });
    let spelt = |id: Option<TypeId>| id.filter(|_| map.initial.is_none()).map(|id| btf.c_type(id));
    LinkedMap {
        descriptor: map.descriptor(),
        initial,
        extra: map.extra,
        numa_node: map.numa_node,
        inner: map.inner.as_ref().map(|inner| Box::new(linked(btf, inner, None))),
        key_type: spelt(map.key),
        value_type: spelt(map.value),
        layout,
        special: special(btf, parts()),
    }
}

/// Everything inside the types, each once, numbered as met: a text that is equal for equal layouts and for those alone.
/// Names of types don't count, names of members do; what a pointer points to is not inside.
fn shape(btf: &Btf, roots: impl Iterator<Item = TypeId>, text: &mut String) {
    let mut numbers = HashMap::new();
    let mut todo = Vec::new();
    let mut number = |todo: &mut Vec<TypeId>, id: TypeId| {
        let id = btf.resolve(id);
        let next = numbers.len();
        *numbers.entry(id).or_insert_with(|| {
            todo.push(id);
            next
        })
    };
    for root in roots {
        let _ = writeln!(text, "root #{}", number(&mut todo, root));
    }
    let mut at = 0;
    while let Some(id) = todo.get(at).copied() {
        let _ = match btf.kind(id) {
            Kind::Int(int) => writeln!(text, "#{at} int {} {} {}", int.size, int.signed, int.bool),
            Kind::Enum(any) | Kind::Enum64(any) => writeln!(text, "#{at} enum {} {}", any.size, any.signed),
            Kind::Float { size } => writeln!(text, "#{at} float {size}"),
            Kind::Array(array) => writeln!(text, "#{at} array {} #{}", array.len, number(&mut todo, array.item)),
            kind @ (Kind::Struct(composite) | Kind::Union(composite)) => {
                let _ = writeln!(text, "#{at} {} {}", kind.word(), composite.size);
                for member in &composite.members {
                    let (name, ty) = (btf.str(member.name), number(&mut todo, member.ty));
                    let _ = writeln!(text, "  {name} {}:{} #{ty}", member.bit_offset, member.bits);
                }
                Ok(())
            }
            Kind::Datasec { vars, .. } => {
                for var in vars {
                    let _ = writeln!(
                        text,
                        "  {} {} {} #{}",
                        btf.name(var.ty),
                        var.offset,
                        var.size,
                        number(&mut todo, var.ty)
                    );
                }
                Ok(())
            }
            Kind::Var { ty, .. } => writeln!(text, "#{at} var #{}", number(&mut todo, *ty)),
            kind => writeln!(text, "#{at} {}", kind.word()),
        };
        at += 1;
    }
}

/// What in the types the kernel must know by BTF, ascending: `bpf_spin_lock`, `bpf_timer`, `kptr`.
pub fn special(btf: &Btf, roots: impl Iterator<Item = TypeId>) -> Vec<String> {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut todo: Vec<_> = roots.collect();
    while let Some(id) = todo.pop() {
        let id = btf.resolve(id);
        if !seen.insert(id) {
            continue;
        }
        match btf.kind(id) {
            Kind::Struct(composite) | Kind::Union(composite) => {
                if SPECIAL.contains(&btf.name(id)) {
                    found.insert(btf.name(id).to_owned());
                }
                todo.extend(composite.members.iter().map(|member| member.ty));
            }
            Kind::Array(array) => todo.push(array.item),
            Kind::Var { ty, .. } => todo.push(*ty),
            Kind::Datasec { vars, .. } => todo.extend(vars.iter().map(|var| var.ty)),
            Kind::Ptr(to) if matches!(btf.kind(*to), Kind::TypeTag { .. }) && POINTER_TAGS.contains(&btf.name(*to)) => {
                found.insert(btf.name(*to).to_owned());
            }
            _ => {}
        }
    }
    found.into_iter().collect()
}
