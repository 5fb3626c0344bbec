//! Objects as clang makes them, and as nobody should.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::building::{compile, compile_text, kernel, object};
use bpfkit_objects::{LinkProblem, Object, ObjectProblem, btf::Btf};
use bpfkit_schemas::{
    chain::GlobalValue,
    diagnostic::Diagnose,
    object::{Endian, ProgramType},
};

fn text(value: &str) -> GlobalValue {
    GlobalValue::Text(value.to_owned())
}

fn globals(values: &[(&str, GlobalValue)]) -> BTreeMap<String, GlobalValue> {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn said(object: &Object, name: &str, value: GlobalValue) -> String {
    let problems = object.check_globals(&globals(&[(name, value)])).unwrap_err();
    let shown = problems[0].diagnose().remove(0);
    format!("{} {}{}", shown.code, shown.title, shown.help.map_or_else(String::new, |help| format!("; {help}")))
}

#[test]
fn an_object_is_described() {
    let descriptor = object(&compile("counter")).descriptor();
    assert_eq!((descriptor.endian, descriptor.license.as_str()), (Endian::Little, "Dual BSD/GPL"));
    let programs: Vec<_> =
        descriptor.programs.iter().map(|p| (p.function.as_str(), p.section.as_str(), p.kind)).collect();
    assert_eq!(programs, [("count", "xdp", Some(ProgramType::Xdp)), ("second", "xdp", Some(ProgramType::Xdp))]);
    let maps: Vec<_> =
        descriptor.maps.iter().map(|m| (m.name.as_str(), m.kind.as_str(), m.key_size, m.value_size)).collect();
    assert_eq!(maps, [("counts", "array", 4, 8), ("seen", "lru_hash", 8, 16)]);
    let tail = object(&compile("tail")).descriptor();
    assert!(tail.programs[0].frags);
    let core = object(&compile("core")).descriptor();
    assert!(core.core_relocations > 20, "{}", core.core_relocations);
}

#[test]
fn what_a_program_uses_is_told() {
    let kernel = kernel();
    let linked = |source: &str, entry: &str| object(&compile(source)).link(entry, &kernel, &BTreeMap::new()).unwrap();
    let tail = linked("tail", "jumps");
    assert!(tail.uses.tail_calls && tail.frags && tail.helpers.contains(&12));
    assert_eq!(tail.gpl_only_helpers(), [6]);
    assert!(tail.is_gpl_compatible());
    let callback = linked("callback", "loops");
    assert_eq!(callback.uses.callbacks, ["step", "each"]);
    let counter = linked("counter", "count");
    assert_eq!(counter.maps.len(), 2);
    assert_eq!(counter.maps[1].key_type.as_deref(), Some("struct key"));
    assert!(
        counter.lines.iter().any(|line| line.file.ends_with("counter.bpf.c") && line.text.contains("rx_queue_index"))
    );
    let second = linked("counter", "second");
    assert_eq!(second.maps.iter().map(|map| map.descriptor.name.as_str()).collect::<Vec<_>>(), ["seen"]);
    assert_eq!(second.maps[0].layout, counter.maps[1].layout);
    let calls = linked("calls", "first");
    let subprograms: Vec<_> = calls.subprograms.iter().map(|s| (s.name.as_str(), s.global)).collect();
    assert_eq!(subprograms[0], ("first", true));
    assert!(subprograms.contains(&("leaf", false)) && subprograms.contains(&("middle", true)), "{subprograms:?}");
}

#[test]
fn values_go_into_variables_by_their_types() {
    let object = object(&compile("data"));
    let limits = GlobalValue::Map(globals(&[
        ("rate", GlobalValue::Int(7)),
        ("small", GlobalValue::Int(5)),
        ("low", GlobalValue::Int(-2)),
        ("list", GlobalValue::List(vec![GlobalValue::Int(0x1122), text("0x33")])),
        ("mode", text("MODE_FAR")),
    ]));
    let linked = object
        .link(
            "use",
            &kernel(),
            &globals(&[
                ("max_pps", text("20000")),
                ("label", text("new")),
                ("limits", limits),
                ("strict", GlobalValue::Bool(true)),
                ("mode", text("MODE_ON")),
                ("tiny", GlobalValue::Int(-128)),
                ("start", GlobalValue::Int(i128::from(u64::MAX))),
                ("hidden", GlobalValue::Int(-1)),
            ]),
        )
        .unwrap();
    let bytes = |name: &str, size: usize| {
        let global = object.globals().iter().find(|global| global.name == name).unwrap();
        let section = object.descriptor().globals.into_iter().find(|global| global.name == name).unwrap().section;
        let map = linked.maps.iter().find(|map| map.descriptor.name == section).unwrap();
        let start = usize::try_from(global.offset).unwrap();
        map.initial.as_ref().unwrap()[start..start + size].to_vec()
    };
    assert_eq!(bytes("max_pps", 4), 20_000_u32.to_le_bytes());
    assert_eq!(bytes("label", 8), *b"new\0\0\0\0\0");
    assert_eq!(bytes("strict", 1), [1]);
    assert_eq!(bytes("mode", 4), 5_u32.to_le_bytes());
    assert_eq!(bytes("tiny", 1), [0x80]);
    assert_eq!(bytes("start", 8), [0xff; 8]);
    assert_eq!(bytes("hidden", 4), [0xff; 4]);
    let limits = bytes("limits", 40);
    assert_eq!(limits[..4], 7_u32.to_le_bytes());
    assert_eq!(limits[4], 5 | 9 << 3, "the bit-field beside stays");
    assert_eq!(limits[6..8], (-2_i16).to_le_bytes());
    assert_eq!(limits[8..16], 0x1122_u64.to_le_bytes());
    assert_eq!(limits[16..24], 0x33_u64.to_le_bytes());
    assert_eq!(limits[24..32], 3_u64.to_le_bytes(), "what is left out stays");
    assert_eq!(limits[32..36], (-3_i32).to_le_bytes());
}

#[test]
fn values_that_do_not_fit_are_refused_with_place_and_type() {
    let object = object(&compile("data"));
    let int = GlobalValue::Int;
    let member = |name: &str, value| GlobalValue::Map(globals(&[(name, value)]));
    for (name, value, want) in [
        ("max_pp", int(1), "C520 the object has no global variable `max_pp`; did you mean `max_pps`?"),
        (
            "max_pps",
            int(1 << 32),
            "C521 the value of `max_pps` doesn't fit `const volatile __u32`: 4294967296 is not between 0 and 4294967295",
        ),
        (
            "max_pps",
            int(-1),
            "C521 the value of `max_pps` doesn't fit `const volatile __u32`: -1 is not between 0 and 4294967295",
        ),
        (
            "max_pps",
            text("many"),
            "C521 the value of `max_pps` doesn't fit `const volatile __u32`: text was given where a whole number belongs",
        ),
        (
            "max_pps",
            GlobalValue::Bool(true),
            "C521 the value of `max_pps` doesn't fit `const volatile __u32`: true or false was given where a whole number belongs",
        ),
        (
            "tiny",
            int(128),
            "C521 the value of `tiny` doesn't fit `const volatile __s8`: 128 is not between -128 and 127",
        ),
        ("strict", int(2), "C521 the value of `strict` doesn't fit `const volatile _Bool`: 2 is not between 0 and 1"),
        (
            "label",
            text("12345678"),
            "C521 the value of `label` doesn't fit `const volatile char[8]`: 8 bytes were given, and there is room for 7",
        ),
        (
            "mode",
            text("MODE_OF"),
            "C521 the value of `mode` doesn't fit `const volatile enum mode`: it has no member `MODE_OF`; did you mean `MODE_OFF`?",
        ),
        (
            "limits",
            member("small", int(8)),
            "C521 the value of `limits.small` doesn't fit `__u8`: 8 is not between 0 and 7",
        ),
        (
            "limits",
            member("rates", int(8)),
            "C521 the value of `limits` doesn't fit `const volatile struct limits`: it has no member `rates`; did you mean `rate`?",
        ),
        (
            "limits",
            member("list", GlobalValue::List(vec![int(1); 4])),
            "C521 the value of `limits.list` doesn't fit `__u64[3]`: 4 items were given, and there is room for 3",
        ),
        (
            "limits",
            int(3),
            "C521 the value of `limits` doesn't fit `const volatile struct limits`: a number was given where a mapping of members belongs",
        ),
        (
            "folded",
            int(3),
            "C522 the global variable `folded` is `const __u32`, so the compiler has used its value already; declare it `const volatile`, or without `const`",
        ),
    ] {
        assert_eq!(said(&object, name, value), want);
    }
}

fn problems(name: &str, source: &str) -> Vec<ObjectProblem> {
    let path = compile_text(name, &format!("#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n{source}"));
    Object::parse(&std::fs::read(path).unwrap()).err().unwrap_or_default()
}

fn titles(name: &str, source: &str) -> String {
    let problems = problems(name, source);
    let lines: Vec<_> =
        problems.iter().flat_map(Diagnose::diagnose).map(|d| format!("{} {}\n", d.code, d.title)).collect();
    lines.concat()
}

#[test]
fn objects_that_libbpf_refuses_or_would_misread_are_refused() {
    let program = "SEC(\"xdp\") int p(struct xdp_md *ctx) { return 2; }";
    assert_eq!(
        titles("static_entry", "SEC(\"xdp\") static __attribute__((used)) int p(struct xdp_md *ctx) { return 2; }"),
        "C507 the function `p` is an entry program and must not be `static`\n"
    );
    assert_eq!(
        titles(
            "misspelt",
            &format!("struct {{ __uint(type, 1); __uint(max_entires, 1); }} m SEC(\".maps\"); {program}")
        ),
        "C508 the map `m` has `max_entires`, which libbpf doesn't know\n"
    );
    assert_eq!(
        titles("old_maps", &format!("struct {{ int type; }} m SEC(\"maps\") = {{1}}; {program}")),
        "C506 the section `maps` holds maps in the old form, which libbpf 1.0 gave up\n"
    );
    assert_eq!(
        titles(
            "filled",
            "struct in { __uint(type, 2); __uint(max_entries, 1); __type(key, int); __type(value, int); } in SEC(\".maps\");
             struct { __uint(type, 12); __uint(max_entries, 1); __type(key, int); __array(values, struct in); } m SEC(\".maps\")
                 = { .values = { &in } };"
        ),
        "C509 the map `m` lists its entries (`.values`), which bpfkit doesn't do\n"
    );
    assert_eq!(
        titles(
            "pointers",
            "static const char *volatile names[] = {\"a\", \"b\"};
             SEC(\"xdp\") int p(struct xdp_md *ctx) { return names[ctx->data & 1][0]; }"
        ),
        "C510 the section `.data` holds addresses, which nobody fills in\n"
    );
}

#[test]
fn an_object_without_btf_or_for_another_machine_is_refused() {
    let good = std::fs::read(compile("counter")).unwrap();
    let at = |offset: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[offset] = byte;
        Object::parse(&bytes).unwrap_err()
    };
    assert_eq!(at(5, 2), [ObjectProblem::BigEndian]);
    assert!(matches!(at(18, 62)[..], [ObjectProblem::NotAnObject { .. }]));
    assert!(matches!(at(16, 3)[..], [ObjectProblem::NotAnObject { .. }]));
    assert!(matches!(at(4, 1)[..], [ObjectProblem::NotAnObject { .. }]));
    assert!(matches!(Object::parse(b"#!/bin/sh").unwrap_err()[..], [ObjectProblem::NotAnObject { .. }]));
    let huge = vec![0; (16 << 20) + 1];
    assert!(matches!(Object::parse(&huge).unwrap_err()[..], [ObjectProblem::TooLarge { .. }]));
    let name = good.windows(5).position(|window| window == b".BTF\0").unwrap();
    assert_eq!(at(name + 1, b'X'), [ObjectProblem::NoBtf]);
}

#[test]
fn a_missing_entry_is_told_with_what_there_is() {
    let problems = object(&compile("counter")).link("cuont", &kernel(), &BTreeMap::new()).unwrap_err();
    assert!(matches!(problems[..], [LinkProblem::NoEntry { .. }]));
    assert_eq!(problems[0].diagnose()[0].help.as_deref(), Some("it has `count`, `second`"));
}

#[test]
fn kernel_symbols_are_listed_and_left_where_no_verifier_accepts_them() {
    let source = "#include <linux/bpf.h>
        #include <bpf/bpf_helpers.h>
        extern int bpf_iter_num_next(void *it) __ksym;
        extern const int runqueues __ksym;
        extern int LINUX_KERNEL_VERSION __kconfig;
        SEC(\"xdp\") int entry(struct xdp_md *ctx) { return bpf_iter_num_next(ctx) + (int)(long)&runqueues + LINUX_KERNEL_VERSION; }";
    let object = object(&compile_text("externs", source));
    let linked = object.link("entry", &kernel(), &BTreeMap::new()).unwrap();
    assert_eq!(linked.uses.kfuncs, ["bpf_iter_num_next"]);
    assert_eq!(linked.uses.ksyms, ["runqueues"]);
    assert_eq!(linked.uses.kconfigs, ["LINUX_KERNEL_VERSION"]);
    assert_eq!(linked.unresolved().len(), 3);
    let refused = linked.instructions.iter().filter(|insn| insn.imm == -1 && (insn.is_kfunc_call() || insn.src == 3));
    assert_eq!(refused.count(), 3);
}

#[test]
fn a_descriptor_that_the_object_made_up_is_refused() {
    let path = compile("counter");
    let mut bytes = std::fs::read(&path).unwrap();
    // Rename the relocations' section type away, and forge the load of `counts`.
    let load = bytes
        .windows(8)
        .position(|window| window[0] == 0x18 && window[1] & 0xf0 == 0 && window[2..] == [0; 6])
        .unwrap();
    bytes[load + 1] |= 0x10;
    bytes[load + 4] = 5;
    let start = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    for header in bytes[start..].chunks_exact_mut(64).filter(|header| header[4] == 9) {
        header[4] = 1;
    }
    let object = Object::parse(&bytes).unwrap();
    let problems = object.link("count", &kernel(), &BTreeMap::new()).unwrap_err();
    assert!(
        problems.iter().any(|p| p.to_string().contains("loads an address that the object doesn't name")),
        "{problems:?}"
    );
}

/// Reads, describes and links; whatever happens, it must not take long.
fn exercise(bytes: &[u8], kernel: &Btf) -> bool {
    let start = Instant::now();
    let read = Object::parse(bytes);
    let fine = match &read {
        Ok(object) => {
            let descriptor = object.descriptor();
            for program in &descriptor.programs {
                let _ = object.link(&program.function, kernel, &globals(&[("total", GlobalValue::Int(1))]));
            }
            for (id, _) in object.btf().iter() {
                let _ = object.btf().c_type(id);
            }
            true
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.diagnose().is_empty()));
            false
        }
    };
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    fine
}

#[test]
fn a_cut_object_is_an_error_and_never_a_panic() {
    let kernel = kernel();
    for source in ["core", "data"] {
        let bytes = std::fs::read(compile(source)).unwrap();
        for end in (0..bytes.len()).step_by(7) {
            assert!(!exercise(&bytes[..end], &kernel), "cut at {end}");
        }
    }
}

#[test]
fn flipped_bytes_never_panic_nor_hang() {
    let kernel = kernel();
    // A plain generator, so that a failure comes back.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let mut fine = 0;
    for source in ["core", "data", "calls", "callback"] {
        let good = std::fs::read(compile(source)).unwrap();
        for _ in 0..500 {
            let mut bytes = good.clone();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                bytes[at] = u8::try_from(next(256)).unwrap();
            }
            fine += usize::from(exercise(&bytes, &kernel));
        }
    }
    eprintln!("{fine} of 2000 damaged objects could still be read");
}
