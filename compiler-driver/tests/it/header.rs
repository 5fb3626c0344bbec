//! `vmlinux.h`: it compiles, and every struct has the kernel's layout.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    process::Command,
};

use bpfkit_compiler_driver::{KernelBtf, vmlinux};
use bpfkit_objects::btf::{Btf, Kind};
use bpfkit_schemas::{Platform, names::Arch};

use crate::bench::{compile, toolchain};

/// Assertions on the size and the member offsets of every struct and union that has a name of its own.
/// Made from the BTF alone, so that another writer's header can be held to them.
fn assertions(btf: &Btf) -> (String, usize) {
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, ty) in btf.iter() {
        if matches!(ty.kind, Kind::Struct(_) | Kind::Union(_) | Kind::Enum(_) | Kind::Enum64(_) | Kind::Fwd(_)) {
            *names.entry(btf.name(id)).or_default() += 1;
        }
    }
    let (mut text, mut count) = (String::from("#include \"vmlinux.h\"\n"), 0);
    for (id, ty) in btf.iter() {
        let name = btf.name(id);
        if name.is_empty() || names.get(name) != Some(&1) {
            continue;
        }
        let (word, composite) = match &ty.kind {
            Kind::Struct(composite) => ("struct", composite),
            Kind::Union(composite) => ("union", composite),
            Kind::Enum(any) | Kind::Enum64(any) if !any.values.is_empty() => {
                writeln!(text, "_Static_assert(sizeof(enum {name}) == {}, \"enum {name}\");", any.size).unwrap();
                count += 1;
                continue;
            }
            _ => continue,
        };
        writeln!(text, "_Static_assert(sizeof({word} {name}) == {}, \"{word} {name}\");", composite.size).unwrap();
        count += 1;
        for member in composite.members.iter().filter(|member| member.bits == 0 && !btf.str(member.name).is_empty()) {
            let field = btf.str(member.name);
            let offset = member.bit_offset / 8;
            writeln!(
                text,
                "_Static_assert(__builtin_offsetof({word} {name}, {field}) == {offset}, \"{name}.{field}\");"
            )
            .unwrap();
            count += 1;
        }
    }
    (text, count)
}

fn check(btf: &[u8]) {
    let btf = Btf::parse(btf).unwrap();
    let header = vmlinux::header(&btf).unwrap();
    assert_eq!(header, vmlinux::header(&btf).unwrap(), "the same BTF gives the same bytes");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vmlinux.h"), &header).unwrap();
    let (text, count) = assertions(&btf);
    assert!(count > 50_000, "{count} assertions");
    compile(folder.path(), &text, &[]);
    // Also for C23, where `bool` is a keyword.
    compile(folder.path(), "#include \"vmlinux.h\"\nbool yes(u64 x) { return x; }\n", &["-std=c2x"]);
    let definitions: BTreeSet<&str> =
        header.lines().filter(|line| line.starts_with("struct ") && line.ends_with('{')).collect();
    for name in ["task_struct", "sk_buff", "xdp_md", "__sk_buff", "ethhdr", "iphdr", "pt_regs", "bpf_map"] {
        assert!(definitions.contains(format!("struct {name} {{").as_str()), "{name}");
    }
}

#[test]
fn the_header_for_amd64_has_the_layout_of_its_kernel() {
    check(&KernelBtf::bundled(Platform { arch: Arch::Amd64 }).unwrap().bytes().unwrap());
}

#[test]
fn the_header_for_arm64_has_the_layout_of_its_kernel() {
    check(&KernelBtf::bundled(Platform { arch: Arch::Arm64 }).unwrap().bytes().unwrap());
}

#[test]
fn the_header_of_this_machine_has_the_layout_of_its_kernel() {
    check(&std::fs::read("/sys/kernel/btf/vmlinux").unwrap());
}

/// bpftool's own header passes nearly all of the same assertions, so they say what everybody means.
/// (bpftool 7.1 gets enums of one byte wrong, and with them `struct inode`.)
#[test]
fn the_assertions_hold_for_bpftools_header_too() {
    let host = Path::new("/sys/kernel/btf/vmlinux");
    let output =
        Command::new("bpftool").args(["btf", "dump", "file"]).arg(host).args(["format", "c"]).output().unwrap();
    assert!(output.status.success());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vmlinux.h"), &output.stdout).unwrap();
    let (text, count) = assertions(&Btf::parse(&std::fs::read(host).unwrap()).unwrap());
    std::fs::write(folder.path().join("probe.c"), text).unwrap();
    let output = Command::new(toolchain().clang())
        .args(["-target", "bpf", "-ferror-limit=0", "-fsyntax-only", "probe.c"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = said.lines().filter(|line| line.contains(" error: static assertion failed")).count();
    assert_eq!(failed, said.lines().filter(|line| line.contains(" error: ")).count(), "{said}");
    assert!(failed * 100 < count, "{failed} of {count} assertions fail");
}
