//! What we link is what libbpf loads: same instructions, same tag, same maps.
//!
//! Needs root, clang, libbpf's headers and library, and this machine's kernel.

use std::{collections::HashMap, process::Command};

use crate::building::{compile, kernel, object};
use bpfkit_objects::{btf::Btf, insn::Insn};

struct Loaded {
    tag: String,
    instructions: Vec<Insn>,
}

/// Loads an object with libbpf; gives programs and, by descriptor, the names of maps.
fn by_libbpf(object: &std::path::Path) -> (HashMap<String, Loaded>, HashMap<i32, String>) {
    let oracle = crate::building::oracle();
    let output = Command::new(oracle).arg(object).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut programs, mut maps) = (HashMap::new(), HashMap::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["map", fd, name] => drop(maps.insert(fd.parse().unwrap(), name.to_owned())),
            ["program", name, tag, hex] => {
                let bytes: Vec<u8> =
                    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
                let instructions = Insn::decode_all(&bytes).unwrap();
                programs.insert(name.to_owned(), Loaded { tag: tag.to_owned(), instructions });
            }
            _ => panic!("{line}"),
        }
    }
    (programs, maps)
}

fn compare(source: &str, kernel: &Btf) -> usize {
    let path = compile(source);
    let object = object(&path);
    let (programs, maps) = by_libbpf(&path);
    assert!(!programs.is_empty());
    for (name, loaded) in &programs {
        let linked = object
            .link(name, kernel, &std::collections::BTreeMap::new())
            .unwrap_or_else(|e| panic!("{source} {name}: {e:#?}"));
        // Put libbpf's descriptors where we say that descriptors belong.
        let mut ours = linked.instructions.clone();
        for reference in &linked.map_refs {
            let wanted = &linked.maps[reference.map].descriptor.name;
            let fd =
                maps.iter().find(|(_, name)| *name == wanted || (wanted.starts_with('.') && name.ends_with(wanted)));
            ours[reference.insn].imm = *fd.unwrap_or_else(|| panic!("{wanted} in {maps:?}")).0;
        }
        for (at, (ours, theirs)) in ours.iter().zip(&loaded.instructions).enumerate() {
            assert_eq!(ours, theirs, "{source} {name}: instruction {at}");
        }
        assert_eq!(ours.len(), loaded.instructions.len(), "{source} {name}");
        let hash = crate::building::sha256(&linked.tag_bytes());
        assert_eq!(hash[..16], loaded.tag, "{source} {name}: the kernel's tag");
    }
    programs.len()
}

#[test]
fn programs_are_linked_as_libbpf_links_them() {
    let kernel = kernel();
    let sources = ["counter", "data", "calls", "core", "direct", "nested", "callback", "tail"];
    let programs: usize = sources.iter().map(|source| compare(source, &kernel)).sum();
    assert!(programs >= 12, "{programs}");
}
