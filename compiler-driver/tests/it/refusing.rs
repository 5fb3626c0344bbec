//! What is refused, with which code and at which place.

use bpfkit_schemas::{
    Span,
    chain::{GlobalValue, SharedMap},
    hook::Hook,
    manifest::{BtfChoice, ProgramSource},
    object::ProgramType,
};

use crate::bench::{ARM64, Bench, PASS, compile};

const PLACE: Span = Span { start: 11, end: 13 };

#[test]
fn every_program_that_clang_refuses_is_reported_with_clangs_own_words() {
    let mut bench = Bench::new();
    bench.write("src/guard.bpf.c", "int guard(void) { return nonsense; }\n");
    bench.write("src/meter.bpf.c", "#error not today\n");
    bench.write("src/good.c", PASS);
    bench.add_c("good", "src/good.c");
    let errors = bench.build().unwrap_err();
    let titles: Vec<_> = errors.problems().iter().map(|problem| problem.title.as_str()).collect();
    assert_eq!(titles, ["clang refused `guard` for linux/amd64", "clang refused `meter` for linux/amd64"]);
    assert!(
        errors.problems().iter().all(|p| p.code.as_str() == "C040" && p.labels[0].span == Span { start: 1, end: 2 })
    );
    {
        let log = bench.log.lock().unwrap();
        assert!(
            log.said.contains("src/guard.bpf.c:1:26: error: use of undeclared identifier 'nonsense'"),
            "{}",
            log.said
        );
        assert!(log.said.contains("not today"));
    }
    assert!(bench.target.join("objects/linux-amd64/good.bpf.o").exists(), "what could be built was");
    bench.write("src/guard.bpf.c", crate::bench::GUARD);
    bench.write("src/meter.bpf.c", PASS);
    assert_eq!(bench.made(), ["guard amd64", "meter amd64"]);
}

#[test]
fn a_failed_build_leaves_the_last_good_object() {
    let bench = Bench::new();
    let before = bench.build().unwrap()[0].clone();
    bench.write("src/guard.bpf.c", "#error\n");
    assert_eq!(bench.codes(), ["C040"]);
    assert!(before.bytes().is_ok());
}

#[test]
fn warnings_are_passed_on_and_remembered() {
    let mut bench = Bench::new();
    bench.manifest.build.cflags.push(("-Wall".into(), Span::default()));
    bench.write("src/meter.bpf.c", &PASS.replace("return 0", "int unused; return 0"));
    assert!(bench.build().unwrap()[1].said.contains("unused variable 'unused'"));
    assert!(bench.log.lock().unwrap().said.contains("unused variable"));
    assert!(bench.build().unwrap()[1].said.contains("unused variable 'unused'"));
    assert!(bench.log.lock().unwrap().said.is_empty());
}

#[test]
fn sources_that_are_not_there_or_not_in_the_project_are_refused_together() {
    let mut bench = Bench::new();
    bench.add_c("gone", "src/guard.c");
    bench.add_c("folder", "src");
    bench.add_c("far", "../far.c");
    bench.add_c("absolute", "/etc/passwd");
    assert_eq!(bench.codes(), ["C010", "C010", "C011", "C011"]);
    let errors = bench.build().unwrap_err();
    assert_eq!(errors.problems()[0].help.as_deref(), Some("there is a `guard.bpf.c` in the same folder"));
}

#[test]
fn a_source_may_not_include_files_of_this_machine() {
    let bench = Bench::new();
    std::fs::write(bench.folder.path().join("secret.h"), "#define LIMIT 1\n").unwrap();
    bench.write("src/limits.h", "#include \"../../secret.h\"\n");
    assert_eq!(bench.codes(), ["C011"]);
    bench.write("src/limits.h", "#include \"/etc/hostname\"\n");
    assert!(bench.codes().iter().all(|code| code == "C011" || code == "C040"));
}

#[test]
fn flags_are_refused_before_anything_runs() {
    let mut bench = Bench::cold("project");
    bench.manifest.build.cflags = vec![("-fplugin=./evil.so".into(), PLACE), ("-B.".into(), PLACE)];
    assert_eq!(bench.codes(), ["C020", "C020"]);
    assert!(!bench.target.exists());
}

#[test]
fn kernel_types_that_cant_be_used_are_refused_at_their_place() {
    let mut bench = Bench::new();
    bench.write("text.btf", "not BTF at all");
    bench.manifest.build.btf = BtfChoice::File("text.btf".into(), PLACE);
    let errors = bench.build().unwrap_err();
    assert_eq!((errors.problems()[0].code.as_str(), errors.problems()[0].labels[0].span), ("C030", PLACE));
    bench.manifest.build.btf = BtfChoice::File("gone.btf".into(), PLACE);
    assert_eq!(bench.codes(), ["C030"]);
    // Starts like BTF, and is cut short.
    std::fs::write(bench.root.join("half.btf"), &std::fs::read("/sys/kernel/btf/vmlinux").unwrap()[..100_000]).unwrap();
    bench.manifest.build.btf = BtfChoice::File("half.btf".into(), PLACE);
    assert_eq!(bench.codes(), ["C030"]);
    bench.manifest.build.btf = BtfChoice::Host;
    bench.manifest.build.platforms.push(ARM64);
    assert_eq!(bench.codes(), ["C031"]);
}

#[test]
fn a_ready_object_is_checked_and_copied_as_it_is() {
    let mut bench = Bench::new();
    let built = bench.build().unwrap();
    std::fs::copy(&built[1].path, bench.root.join("ready.o")).unwrap();
    bench.manifest.programs.clear();
    bench.toolchain = None;
    bench.add("ready", ProgramSource::Object("ready.o".into(), PLACE));
    let ready = bench.build().unwrap();
    assert_eq!(ready[0].bytes().unwrap(), built[1].bytes().unwrap());
    assert_eq!(ready[0].files.keys().collect::<Vec<_>>(), ["ready.o"]);
    assert!(bench.made().is_empty());
    bench.write("ready.o", "text");
    assert!(bench.codes()[0].starts_with("C5"));
}

#[test]
fn objects_without_btf_or_of_the_wrong_byte_order_are_refused_at_their_place() {
    let mut bench = Bench::new();
    bench.manifest.programs.clear();
    bench.toolchain = None;
    let code = "__attribute__((section(\"tc\"), used)) int f(void *ctx) { return 0; }\n";
    for (name, flags) in [("bare", ["-g0", "-w"]), ("big", ["-target", "bpfeb"])] {
        let object = compile(bench.folder.path(), code, &flags);
        std::fs::rename(object, bench.root.join(format!("{name}.o"))).unwrap();
        bench.add(name, ProgramSource::Object(format!("{name}.o").into(), PLACE));
    }
    let errors = bench.build().unwrap_err();
    assert_eq!(errors.problems().len(), 2, "{errors:?}");
    assert!(errors.problems()[0].title.contains("no BTF"), "{errors:?}");
    assert!(errors.problems()[1].title.contains("big-endian"), "{errors:?}");
    assert!(errors.problems().iter().all(|problem| problem.labels[0].span == PLACE));
}

const TWO: &str = r#"#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const volatile int level = 3;
SEC("xdp") int first(struct xdp_md *ctx) { return level; }
SEC("tc") int second_one(struct __sk_buff *ctx) { return level; }
SEC("classifier/third") int third(struct __sk_buff *ctx) { return level; }
"#;

fn with_two() -> Bench {
    let mut bench = Bench::new();
    bench.manifest.programs.clear();
    bench.write("two.c", TWO);
    bench
}

#[test]
fn the_program_is_the_one_named_or_the_only_one_or_the_one_of_the_same_name() {
    let mut bench = with_two();
    bench.add_c("first", "two.c");
    bench.add_c("second-one", "two.c");
    bench.add_c("other", "two.c").entry = Some(("first".into(), PLACE));
    let entries: Vec<_> = bench.build().unwrap().into_iter().map(|built| built.entry).collect();
    assert_eq!(entries, ["first", "second_one", "first"]);
    bench.add_c("none", "two.c");
    bench.add_c("wrong", "two.c").entry = Some(("fist".into(), PLACE));
    let errors = bench.build().unwrap_err();
    let errors: Vec<_> = errors.problems().iter().filter(|p| p.code.as_str() != "C059").collect();
    assert_eq!(errors[0].code.as_str(), "C055");
    assert_eq!(errors[0].help.as_deref(), Some("add `entry:`; its programs: `first`, `second_one`, `third`"));
    assert_eq!((errors[1].code.as_str(), errors[1].labels[0].span), ("C054", PLACE));
}

#[test]
fn a_type_comes_from_the_section_or_from_the_manifest_and_they_may_not_disagree() {
    let mut bench = with_two();
    bench.add_c("third", "two.c");
    assert!(bench.codes().contains(&"C056".to_owned()));
    bench.manifest.programs[0].kind = Some(ProgramType::SchedCls);
    assert_eq!(bench.build().unwrap()[0].kind, ProgramType::SchedCls);
    bench.add_c("first", "two.c").kind = Some(ProgramType::SchedCls);
    assert!(bench.codes().contains(&"C057".to_owned()));
}

#[test]
fn a_chain_that_runs_another_type_is_refused_at_its_own_place() {
    let mut bench = Bench::new();
    bench.chain(Hook::Xdp, "guard");
    bench.chain(Hook::TcIngress, "meter");
    bench.build().unwrap();
    bench.chain(Hook::TcEgress, "guard");
    let errors = bench.build().unwrap_err();
    assert_eq!(
        (errors.problems()[0].code.as_str(), errors.problems()[0].labels[0].span),
        ("C058", Span { start: 4, end: 7 })
    );
    assert_eq!(errors.problems()[0].title, "the chain at `tc/egress` runs `guard`, which is a program for xdp");
}

#[test]
fn a_missing_licence_is_a_warning() {
    let mut bench = with_two();
    bench.add_c("first", "two.c");
    assert_eq!(bench.build().unwrap()[0].warnings[0].code.as_str(), "C059");
}

#[test]
fn maps_and_globals_that_no_object_has_are_refused() {
    let mut bench = Bench::new();
    let map = |name: &str| SharedMap { name: name.parse().unwrap(), max_entries: None, at: PLACE };
    bench.manifest.maps = vec![map("blocklist")];
    bench.build().unwrap();
    bench.manifest.maps.push(map("blacklist"));
    let errors = bench.build().unwrap_err();
    assert_eq!((errors.problems()[0].code.as_str(), errors.problems()[0].labels[0].span), ("C060", PLACE));
    assert_eq!(errors.problems()[0].help.as_deref(), Some("the maps: `blocklist`"));
    bench.manifest.maps.pop();
    let guard = &mut bench.manifest.programs[0];
    guard.globals.insert("max_pp".into(), GlobalValue::Int(1));
    guard.globals_at.insert("max_pp".into(), PLACE);
    let errors = bench.build().unwrap_err();
    assert_eq!((errors.problems()[0].code.as_str(), errors.problems()[0].labels[0].span), ("C061", PLACE));
}

#[test]
fn an_object_without_a_program_is_refused() {
    let mut bench = Bench::new();
    bench.write(
        "src/meter.bpf.c",
        "int helper(int x) { return x; }\nchar L[] __attribute__((section(\"license\"), used)) = \"GPL\";\n",
    );
    bench.manifest.programs.remove(0);
    assert_eq!(bench.codes(), ["C053"]);
}

#[test]
fn a_target_folder_that_cant_be_written_is_an_error_with_its_name() {
    let mut bench = Bench::new();
    bench.write("file", "");
    bench.target = bench.root.join("file/below");
    assert_eq!(bench.codes(), ["C041"]);
}
