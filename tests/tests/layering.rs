//! Holds the workspace to the picture in `ARCHITECTURE.md`.
//!
//! Reads `cargo metadata`, `Cargo.lock` and the sources as text; builds and runs
//! nothing. A rule that cargo, rustc or clippy can hold isn't repeated here: this
//! is for what they can't see, such as a crate that forgot to opt in to the lints.
//!
//! An exception is a line in one of the tables below, with its reason. A line
//! that is no longer needed fails, so the tables can't rot.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test whose inputs can't be read fails, and says which"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Who may depend on whom, within the workspace. What isn't here is not allowed.
///
/// The line that matters most is the one that isn't there: `applier` on
/// `compiler-driver`. A host that applies has no clang.
const MAY_USE: &[(&str, &[&str])] = &[
    ("bpfkit-schemas", &[]),
    ("bpfkit-objects", &["bpfkit-schemas"]),
    ("bpfkit-compiler-driver", &["bpfkit-schemas", "bpfkit-objects"]),
    ("bpfkit-bundler", &["bpfkit-schemas"]),
    ("bpfkit-applier", &["bpfkit-schemas", "bpfkit-objects", "bpfkit-bundler"]),
    ("bpfkit-cli", &["bpfkit-schemas", "bpfkit-objects", "bpfkit-compiler-driver", "bpfkit-bundler", "bpfkit-applier"]),
    (
        "bpfkit-tests",
        &[
            "bpfkit-schemas",
            "bpfkit-objects",
            "bpfkit-compiler-driver",
            "bpfkit-bundler",
            "bpfkit-applier",
            "bpfkit-cli",
        ],
    ),
];

/// Doors to the world that one crate holds for all: the dependency, and who may name it.
const ONE_DOOR: &[(&str, &[&str])] = &[
    // The async runtime and the registry stay behind the bundler's blocking functions.
    ("tokio", &["bpfkit-bundler"]),
    ("reqwest", &["bpfkit-bundler"]),
    ("sigstore", &["bpfkit-bundler"]),
    // The kernel's.
    ("netlink-sys", &["bpfkit-applier"]),
];

/// Crates that may not be in `Cargo.lock`, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "one TLS, rustls; and the binary stays static"),
    ("native-tls", "one TLS, rustls; and the binary stays static"),
    ("rsa", "RUSTSEC-2023-0071 (timing) has no fix, and we sign with ECDSA"),
    ("serde_yaml", "archived; the manifest is read with saphyr-parser, which keeps places"),
    ("serde_yml", "RUSTSEC-2025-0068, unsound"),
    ("oci-distribution", "renamed: oci-client"),
    ("aya", "programs are loaded by applier's own bpf(2) calls, which take verified bytes alone"),
    ("libbpf-sys", "programs are loaded by applier's own bpf(2) calls, which take verified bytes alone"),
];

/// Crates of which two versions would be two opinions on one input.
const ONE_VERSION: &[&str] = &["rustls", "saphyr-parser", "serde_json", "reqwest", "sigstore-types"];

/// Where `unsafe` may stand.
const UNSAFE_IN: &str = "applier/src/kernel/sys";

/// Files longer than [`LONG`] lines that we looked at again and left whole, and why.
const LONG_BECAUSE: &[(&str, &str)] = &[];

/// Look again at this many lines, tests included.
const LONG: usize = 600;

/// File names that say nothing about what is inside.
const VAGUE: &[&str] = &["mod.rs", "utils.rs", "util.rs", "helpers.rs", "common.rs", "types.rs", "imp.rs", "misc.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// The members, as `cargo metadata` has them, by name.
fn members() -> BTreeMap<String, Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().map(|p| (p["name"].as_str().expect("name").to_owned(), p.clone())).collect()
}

/// The names that a member depends on, whether to run, to build or to test.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    package["dependencies"].as_array().expect("dependencies").iter().map(|d| d["name"].as_str().expect("name"))
}

/// Every file that git knows or would add, relative to the root.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("our file names are UTF-8");
    // A file that was deleted and not yet committed is still listed.
    text.lines().filter(|f| root().join(f).is_file()).map(str::to_owned).collect()
}

/// Our Rust files with their text.
fn sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|f| Path::new(f).extension().is_some_and(|e| e == "rs"));
    rust.map(|f| (f.clone(), fs::read_to_string(root().join(&f)).expect("a source is UTF-8"))).collect()
}

/// `(name, version)` of each package in `Cargo.lock`.
fn locked(lock: &str) -> Vec<(String, String)> {
    let value =
        |line: &str, key: &str| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"').map(str::to_owned);
    let mut found = Vec::new();
    let mut name = None;
    for line in lock.lines() {
        if let Some(it) = value(line, "name") {
            name = Some(it);
        } else if let (Some(version), Some(name)) = (value(line, "version"), name.take()) {
            found.push((name, version));
        }
    }
    found
}

fn lock() -> Vec<(String, String)> {
    locked(&fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock"))
}

/// A line of Rust without its comment and without the contents of its strings: enough to look for keywords.
fn code(line: &str) -> String {
    let mut kept = String::new();
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                chars.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => kept.push(c),
        }
    }
    kept
}

/// Whether a line holds the keyword `unsafe` (the lint `unsafe_code` is another word).
fn is_unsafe(line: &str) -> bool {
    code(line).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
}

/// Fails with all of `problems`, if there are any.
#[track_caller]
fn none(rule: &str, problems: &[String]) {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "  {problem}");
    }
    assert!(problems.is_empty(), "{rule}:\n{text}");
}

#[test]
fn each_crate_uses_only_those_below_it() {
    let members = members();
    let table: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let names: BTreeSet<_> = members.keys().map(String::as_str).collect();
    assert_eq!(names, table.keys().copied().collect(), "the members and the table of layers differ");

    let mut problems = Vec::new();
    for (name, package) in &members {
        for used in dependencies(package).filter(|used| names.contains(used)) {
            if !table[name.as_str()].contains(&used) {
                problems.push(format!("{name} depends on {used}"));
            }
        }
    }
    none("a dependency that the picture doesn't have", &problems);
}

#[test]
fn nobody_needs_the_tests() {
    let members = members();
    for (name, package) in &members {
        assert!(dependencies(package).all(|used| used != "bpfkit-tests"), "{name} depends on bpfkit-tests");
    }
}

#[test]
fn each_door_to_the_world_is_in_one_crate() {
    let mut problems = Vec::new();
    for (name, package) in &members() {
        for used in dependencies(package) {
            if ONE_DOOR.iter().any(|(door, holders)| *door == used && !holders.contains(&name.as_str())) {
                problems.push(format!("{name} depends on {used}"));
            }
        }
    }
    none("a dependency that another crate holds for all", &problems);
}

#[test]
fn every_member_opts_in_to_the_lints() {
    let mut problems = Vec::new();
    for (name, package) in &members() {
        let path = package["manifest_path"].as_str().expect("manifest_path");
        let text = fs::read_to_string(path).expect("a manifest is UTF-8");
        let mut lines = text.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
        if lines.find(|line| !line.is_empty()) != Some("workspace = true") {
            problems.push(format!("{name}: {path} lacks `[lints]` with `workspace = true`"));
        }
    }
    none("the workspace's lints don't reach", &problems);
}

#[test]
fn every_crate_but_the_applier_forbids_unsafe() {
    let mut problems = Vec::new();
    for (name, package) in &members() {
        let is_crate =
            |target: &&Value| target["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == "lib" || k == "bin"));
        for target in package["targets"].as_array().expect("targets").iter().filter(is_crate) {
            let path = target["src_path"].as_str().expect("src_path");
            let text = fs::read_to_string(path).expect("a source is UTF-8");
            if name != "bpfkit-applier" && !text.lines().any(|line| line == "#![forbid(unsafe_code)]") {
                problems.push(format!("{path} lacks `#![forbid(unsafe_code)]`"));
            }
        }
    }
    none("unsafe isn't forbidden", &problems);
}

/// Whether a file is the module that may hold `unsafe`, or lies in its folder.
fn is_at_the_edge(file: &str) -> bool {
    file.strip_prefix(UNSAFE_IN).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[test]
fn unsafe_stands_in_one_module() {
    let mut problems = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !is_at_the_edge(file)) {
        for (n, line) in text.lines().enumerate().filter(|(_, line)| is_unsafe(line)) {
            problems.push(format!("{file}:{}: {}", n + 1, line.trim()));
        }
    }
    none(&format!("unsafe outside {UNSAFE_IN}"), &problems);
}

#[test]
fn the_search_for_unsafe_sees_code_and_nothing_else() {
    for line in ["unsafe { f() }", "pub(crate) unsafe fn f()", "let x = unsafe{f()};", r#"f("//"); unsafe { g() }"#] {
        assert!(is_unsafe(line), "{line}");
    }
    for line in ["// unsafe", "#![forbid(unsafe_code)]", "panic!(\"unsafe\")", "let unsafely = 1;"] {
        assert!(!is_unsafe(line), "{line}");
    }
}

#[test]
fn no_file_is_too_long_to_hold_in_the_head() {
    let excused: BTreeMap<_, _> = LONG_BECAUSE.iter().copied().collect();
    let mut problems = Vec::new();
    let mut long = BTreeSet::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > LONG {
            if !excused.contains_key(file.as_str()) {
                problems.push(format!("{file} has {lines} lines; split it by noun, or say in LONG_BECAUSE why not"));
            }
            long.insert(file);
        }
    }
    for file in excused.keys().filter(|file| !long.contains(**file)) {
        problems.push(format!("{file} is excused in LONG_BECAUSE and isn't long"));
    }
    none("long files", &problems);
}

#[test]
fn files_are_named_after_what_is_in_them() {
    let vague = files().into_iter().filter(|file| VAGUE.iter().any(|name| file.rsplit('/').next() == Some(*name)));
    none("a name that says nothing", &vague.collect::<Vec<_>>());
}

#[test]
fn every_module_says_what_it_is() {
    // A module's tests are what they are.
    let mute = sources().into_iter().filter(|(file, text)| !text.starts_with("//!") && !file.ends_with("/tests.rs"));
    let mute = mute.map(|(file, _)| file);
    none("a file without a module header (`//!`)", &mute.collect::<Vec<_>>());
}

#[test]
fn nothing_that_is_built_is_kept() {
    let built = |file: &String| file.split('/').any(|part| part == "target" || part == ".bpfkit");
    none("a built file in the tree", &files().into_iter().filter(built).collect::<Vec<_>>());
}

#[test]
fn the_pure_crate_keeps_the_rules_of_all() {
    // A member's own clippy.toml replaces the root's.
    let shared = fs::read_to_string(root().join("clippy.toml")).expect("clippy.toml");
    let own = fs::read_to_string(root().join("schemas/clippy.toml")).expect("schemas/clippy.toml");
    for line in shared.lines().filter(|line| line.starts_with("allow-")) {
        assert!(own.lines().any(|it| it == line), "schemas/clippy.toml lacks `{line}`");
    }
    for door in ["std::fs::", "std::process::", "std::net::", "SystemTime::now", "std::env::var"] {
        assert!(own.contains(door), "schemas/clippy.toml doesn't disallow `{door}`");
    }
}

#[test]
fn no_banned_crate_is_locked() {
    let mut problems = Vec::new();
    for (name, version) in lock() {
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            problems.push(format!("{name} {version}: {why}"));
        }
    }
    none("banned crates in Cargo.lock", &problems);
}

#[test]
fn some_crates_are_locked_once() {
    let lock = lock();
    let mut problems = Vec::new();
    for name in ONE_VERSION {
        let versions: Vec<_> = lock.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
        if versions.len() != 1 {
            problems.push(format!("{name}: {} versions {}", versions.len(), versions.join(", ")));
        }
    }
    none("not exactly one version", &problems);
}

#[test]
fn the_lock_is_read_as_cargo_writes_it() {
    let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\ndependencies = [\n \"b\",\n]\n\n\
                [[package]]\nname = \"b\"\nversion = \"0.1.0\"\n";
    let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    assert_eq!(locked(lock), [pair("a", "1.2.3"), pair("b", "0.1.0")]);
    assert!(lock_has_all_of_ours(), "Cargo.lock is read wrongly: our own crates aren't in it");
}

fn lock_has_all_of_ours() -> bool {
    let names: BTreeSet<_> = lock().into_iter().map(|(name, _)| name).collect();
    MAY_USE.iter().all(|(name, _)| names.contains(*name))
}

#[test]
fn deny_toml_bans_the_same_crates() {
    let deny = fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    for (name, _) in BANNED {
        assert!(deny.contains(&format!("crate = \"{name}\"")), "deny.toml doesn't ban {name}");
    }
}
