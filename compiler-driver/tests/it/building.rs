//! What is built, and what is built again.

use std::{num::NonZeroUsize, os::unix::fs::PermissionsExt, path::Path, process::Command};

use bpfkit_compiler_driver::{Toolchain, files_changed, run::Freshness};
use bpfkit_schemas::{Span, manifest::BtfChoice, object::ProgramType};

use crate::bench::{ARM64, Bench, GUARD};

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_project_is_built_for_both_platforms_with_no_header_installed() {
    let mut bench = Bench::cold("project");
    bench.manifest.build.platforms.push(ARM64);
    let built = bench.build().unwrap();
    let names: Vec<_> =
        built.iter().map(|built| built.path.strip_prefix(&bench.target).unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "objects/linux-amd64/guard.bpf.o",
            "objects/linux-arm64/guard.bpf.o",
            "objects/linux-amd64/meter.bpf.o",
            "objects/linux-arm64/meter.bpf.o",
        ]
    );
    let guard = &built[0];
    assert_eq!((guard.entry.as_str(), guard.kind), ("guard", ProgramType::Xdp));
    assert!(guard.descriptor.core_relocations > 0);
    assert_eq!(guard.descriptor.globals[0].name, "max_pps");
    assert_eq!(guard.files.keys().collect::<Vec<_>>(), ["src/guard.bpf.c", "src/limits.h"]);
    assert_eq!(built[2].kind, ProgramType::SchedCls);
    assert_eq!(bench.log.lock().unwrap().headers, 2);
    assert!(files_changed(&bench.root, &guard.files).is_empty());
    bench.write("src/limits.h", "#define LIMIT 1\n");
    assert_eq!(files_changed(&bench.root, &guard.files), ["src/limits.h"]);
}

#[test]
fn the_object_has_btf_and_no_dwarf_and_no_path_and_readers_take_it() {
    let bench = Bench::new();
    let built = bench.build().unwrap();
    let bytes = built[0].bytes().unwrap();
    assert!(!contains(&bytes, ".debug"), "no DWARF");
    assert!(contains(&bytes, ".BTF.ext"));
    assert!(!contains(&bytes, bench.folder.path().to_str().unwrap()), "no path of this machine");
    for arguments in [vec!["btf", "dump", "file"], vec!["gen", "skeleton"]] {
        let output = Command::new("bpftool").args(&arguments).arg(&built[0].path).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = Command::new("readelf").args(["-a", "-W"]).arg(&built[0].path).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Needs root, as loading does everywhere.
#[test]
fn the_kernel_takes_the_object_through_libbpf() {
    let bench = Bench::new();
    let built = bench.build().unwrap();
    for built in &built {
        let pin = format!("/sys/fs/bpf/bpfkit-compiler-test-{}-{}", std::process::id(), built.program);
        let output = Command::new("bpftool").args(["prog", "load"]).arg(&built.path).arg(&pin).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let _ = std::fs::remove_file(&pin);
        // `bpf_get_current_task` isn't for xdp; that the verifier gets that far is what counts here.
        assert!(output.status.success() || said.contains("program of this type cannot use helper"), "{said}");
    }
}

#[test]
fn two_checkouts_and_two_target_folders_give_the_same_bytes() {
    let short = Bench::cold("a");
    let mut long = Bench::cold("another/place/with a space/much/further/down");
    long.target = long.folder.path().join("elsewhere");
    let (first, second) = (short.build().unwrap(), long.build().unwrap());
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.bytes().unwrap(), second.bytes().unwrap(), "{}", first.program);
    }
    // And a second build from nothing in the same place.
    std::fs::remove_dir_all(&short.target).unwrap();
    assert_eq!(short.build().unwrap()[0].descriptor.digest, first[0].descriptor.digest);
}

#[test]
fn a_build_with_nothing_to_do_touches_nothing() {
    let bench = Bench::new();
    assert!(bench.build().unwrap().iter().all(|built| built.freshness == Freshness::Made));
    let before = bench.snapshot();
    let built = bench.build().unwrap();
    assert!(built.iter().all(|built| built.freshness == Freshness::UpToDate));
    assert_eq!(bench.snapshot(), before);
    assert!(bench.log.lock().unwrap().started.is_empty());
}

#[test]
fn a_project_that_was_moved_is_not_built_again() {
    let mut bench = Bench::new();
    bench.build().unwrap();
    let moved = bench.folder.path().join("moved");
    std::fs::rename(&bench.root, &moved).unwrap();
    bench.target = moved.join(".bpfkit");
    bench.root = moved;
    assert!(bench.made().is_empty());
}

#[test]
fn a_changed_header_makes_what_includes_it_and_nothing_else() {
    let bench = Bench::new();
    bench.build().unwrap();
    bench.write("src/limits.h", "#define LIMIT 7\n");
    assert_eq!(bench.made(), ["guard amd64"]);
    // The same content at another time is the same content.
    bench.write("src/limits.h", "#define LIMIT 7\n");
    assert!(bench.made().is_empty());
}

#[test]
fn a_changed_comment_leaves_the_object_alone() {
    let bench = Bench::new();
    let before = bench.build().unwrap();
    let stamp = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let (object, modified) = (before[0].path.clone(), stamp(&before[0].path));
    bench.write("src/limits.h", "#define LIMIT 10000 /* a second */\n");
    assert_eq!(bench.made(), ["guard amd64"]);
    assert_eq!(stamp(&object), modified, "its bytes are the same");
}

#[test]
fn a_changed_flag_makes_everything() {
    let mut bench = Bench::new();
    bench.build().unwrap();
    bench.manifest.build.cflags.push(("-DX=1".into(), Span::default()));
    assert_eq!(bench.made(), ["guard amd64", "meter amd64"]);
    assert!(bench.made().is_empty());
}

#[test]
fn another_kernels_types_make_what_includes_them() {
    let mut bench = Bench::new();
    bench.build().unwrap();
    bench.manifest.build.btf = BtfChoice::Host;
    assert_eq!(bench.made(), ["guard amd64", "meter amd64"]);
    assert_eq!(bench.log.lock().unwrap().headers, 1);
    std::fs::copy("/sys/kernel/btf/vmlinux", bench.root.join("my.btf")).unwrap();
    bench.manifest.build.btf = BtfChoice::File("my.btf".into(), Span::default());
    assert!(bench.made().is_empty(), "the same types from a file");
}

#[test]
fn another_compiler_makes_everything() {
    let mut bench = Bench::new();
    bench.build().unwrap();
    let real = bench.toolchain.as_ref().unwrap().clang().to_owned();
    let shims = bench.folder.path().join("shims");
    std::fs::create_dir(&shims).unwrap();
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'clang version 19.9.9'; else exec {} \"$@\"; fi\n",
        real.display()
    );
    std::fs::write(shims.join("clang"), script).unwrap();
    std::fs::set_permissions(shims.join("clang"), PermissionsExt::from_mode(0o755)).unwrap();
    bench.toolchain = Some(Toolchain::find(shims.as_os_str(), &bench.target).unwrap());
    assert_eq!(bench.toolchain.as_ref().unwrap().version(), "clang version 19.9.9");
    assert_eq!(bench.made(), ["guard amd64", "meter amd64"]);
    assert!(bench.made().is_empty());
}

#[test]
fn a_compiler_that_is_too_old_or_not_there_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Toolchain::find(folder.path().as_os_str(), folder.path()).unwrap_err();
    assert_eq!(refused.problems()[0].code.as_str(), "C001");
    std::fs::write(folder.path().join("clang"), "#!/bin/sh\necho 'clang version 14.0.6'\n").unwrap();
    std::fs::set_permissions(folder.path().join("clang"), PermissionsExt::from_mode(0o755)).unwrap();
    let refused = Toolchain::find(folder.path().as_os_str(), folder.path()).unwrap_err();
    assert!(refused.problems()[0].notes[0].contains("version 14 is too old"), "{refused:?}");
}

#[test]
fn an_object_that_somebody_changed_or_deleted_is_made_again() {
    let bench = Bench::new();
    let built = bench.build().unwrap();
    std::fs::write(&built[0].path, "not an object").unwrap();
    assert!(built[0].bytes().is_err());
    assert_eq!(bench.made(), ["guard amd64"]);
    std::fs::remove_file(&built[1].path).unwrap();
    assert_eq!(bench.made(), ["meter amd64"]);
    // And a header of ours.
    let header =
        std::fs::read_dir(bench.target.join("include")).unwrap().flatten().map(|entry| entry.path().join("vmlinux.h"));
    let header = header.into_iter().find(|path| path.exists()).unwrap();
    std::fs::write(&header, "int x;\n").unwrap();
    bench.build().unwrap();
    assert!(std::fs::read_to_string(&header).unwrap().contains("task_struct"));
}

#[test]
fn what_a_killed_build_left_is_cleaned_away_and_a_broken_memory_costs_a_build() {
    let bench = Bench::new();
    bench.build().unwrap();
    std::fs::create_dir_all(bench.target.join("cache/tmp/left")).unwrap();
    std::fs::write(bench.target.join("cache/tmp/left/object.o"), "half").unwrap();
    std::fs::write(bench.target.join("cache/build.json"), "{\"version\":1,\"objects\":{").unwrap();
    assert_eq!(bench.made(), ["guard amd64", "meter amd64"]);
    assert!(!bench.target.join("cache/tmp").exists());
    assert!(bench.made().is_empty());
}

#[test]
fn the_user_environment_is_in_no_object() {
    let bench = Bench::new();
    let first = bench.build().unwrap()[0].descriptor.digest;
    std::fs::remove_dir_all(&bench.target).unwrap();
    let shim = bench.folder.path().join("clang");
    let real = bench.toolchain.as_ref().unwrap().clang().display().to_string();
    std::fs::write(&shim, format!("#!/bin/sh\nenv > {}/env\nexec {real} \"$@\"\n", bench.folder.path().display()))
        .unwrap();
    std::fs::set_permissions(&shim, PermissionsExt::from_mode(0o755)).unwrap();
    let mut bench = bench;
    bench.toolchain = Some(Toolchain::find(bench.folder.path().as_os_str(), &bench.target).unwrap());
    assert_eq!(bench.build().unwrap()[0].descriptor.digest, first);
    let seen = std::fs::read_to_string(bench.folder.path().join("env")).unwrap();
    let mut names: Vec<_> =
        seen.lines().filter_map(|line| line.split('=').next()).filter(|n| !["PWD", "SHLVL", "_"].contains(n)).collect();
    names.sort_unstable();
    assert_eq!(names, ["LC_ALL", "PATH"]);
}

#[test]
fn as_many_jobs_run_at_once_as_were_asked_for() {
    let mut bench = Bench::new();
    for number in 0..4 {
        bench.write(&format!("src/p{number}.c"), GUARD);
        bench.add_c(&format!("p{number}"), &format!("src/p{number}.c"));
    }
    bench.jobs = NonZeroUsize::new(1);
    bench.build().unwrap();
    assert_eq!(bench.log.lock().unwrap().most_at_once, 1);
    std::fs::remove_dir_all(&bench.target).unwrap();
    bench.jobs = NonZeroUsize::new(3);
    bench.build().unwrap();
    assert_eq!(bench.log.lock().unwrap().most_at_once, 3);
}

#[test]
fn make_reads_the_dependency_file_and_rebuilds_on_a_header() {
    let bench = Bench::new();
    let built = bench.build().unwrap();
    let rule = std::fs::read_to_string(format!("{}.d", built[0].path.display())).unwrap();
    for name in ["src/guard.bpf.c", "src/limits.h", "vmlinux.h", "bpf/bpf_helpers.h", "bpfkit.yml", "clang"] {
        assert!(rule.contains(name), "{name} in {rule}");
    }
    bench.write("bpfkit.yml", "");
    let object = built[0].path.display().to_string();
    let makefile = format!("{object}:\n\t@echo again\n-include {object}.d\n");
    bench.write("Makefile", &makefile);
    let make = || {
        let output = Command::new("make").arg("-s").arg(&object).current_dir(&bench.root).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    let touch = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
    touch(&built[0].path);
    assert!(!make().contains("again"));
    std::fs::File::options()
        .write(true)
        .open(bench.root.join("src/limits.h"))
        .unwrap()
        .set_modified(later + std::time::Duration::from_secs(5))
        .unwrap();
    assert!(make().contains("again"));
}
