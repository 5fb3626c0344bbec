//! This machine's own kernel, read by us and by `bpftool`.

use std::{process::Command, time::Instant};

use bpfkit_objects::btf::{Btf, Kind};

fn kernel() -> Btf {
    Btf::parse(&std::fs::read("/sys/kernel/btf/vmlinux").unwrap()).unwrap()
}

#[test]
fn every_type_of_this_kernel_is_read_as_bpftool_reads_it() {
    let start = Instant::now();
    let btf = kernel();
    eprintln!("parsed {} types in {:?}", btf.types().len(), start.elapsed());
    let dump = Command::new("bpftool").args(["btf", "dump", "file", "/sys/kernel/btf/vmlinux"]).output().unwrap();
    let dump = String::from_utf8(dump.stdout).unwrap();

    let mut seen = 0;
    for line in dump.lines().filter(|line| line.starts_with('[')) {
        let (id, rest) = line[1..].split_once("] ").unwrap();
        let ty = &btf.types()[id.parse::<usize>().unwrap()];
        let (word, rest) = rest.split_once(' ').unwrap();
        assert_eq!(word.to_lowercase(), ty.kind.word(), "{line}");
        let name = rest.strip_prefix('\'').unwrap().split_once('\'').unwrap().0;
        assert_eq!(name.replace("(anon)", ""), btf.str(ty.name), "{line}");
        if let Some(size) = rest.split_once(" size=").and_then(|(_, r)| r.split(' ').next()) {
            let id = bpfkit_objects::btf::TypeId(id.parse().unwrap());
            assert_eq!(btf.size(id).unwrap().to_string(), size, "{line}");
        }
        if let Some(len) = rest.split_once(" vlen=").and_then(|(_, r)| r.split(' ').next()) {
            let ours = match &ty.kind {
                Kind::Struct(c) | Kind::Union(c) => c.members.len(),
                Kind::Enum(e) | Kind::Enum64(e) => e.values.len(),
                Kind::FuncProto { params, .. } => params.len(),
                Kind::Datasec { vars, .. } => vars.len(),
                other => panic!("{line}: {other:?}"),
            };
            assert_eq!(len, ours.to_string(), "{line}");
        }
        seen += 1;
    }
    assert_eq!(seen + 1, btf.types().len());
}

#[test]
fn kernel_types_are_found_by_name_and_spelt_as_c() {
    let btf = kernel();
    let task = btf.by_name("task_struct").find(|id| matches!(btf.kind(*id), Kind::Struct(_))).unwrap();
    let Kind::Struct(composite) = btf.kind(task) else { panic!() };
    let spelt = |name: &str| {
        let member = composite.members.iter().find(|m| btf.str(m.name) == name).unwrap();
        btf.c_declaration(member.ty, name)
    };
    assert_eq!(spelt("pid"), "pid_t pid");
    assert_eq!(spelt("comm"), "char comm[16]");
    assert_eq!(spelt("parent"), "struct task_struct *parent");
    assert_eq!(spelt("cpus_ptr"), "const cpumask_t *cpus_ptr");
    assert!(btf.size(task).unwrap() > 1000 && btf.align(task).is_some());
    assert!(btf.by_name("no_such_type_at_all").next().is_none());
}
