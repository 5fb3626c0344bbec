//! Manifests in, manifests or every problem out.

use bpfkit_schemas::{
    Severity, Source,
    chain::GlobalValue,
    manifest::{Overrides, ProgramSource, check, check_policy, check_repos},
};

const GOOD: &str = include_str!("good.yml");

fn overrides(set: &[(&str, &str)]) -> Overrides {
    Overrides {
        set: set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        machine: "linux/amd64".parse().ok(),
    }
}

/// Each problem as `M004 12:3 unknown key …`.
fn problems(text: &str) -> Vec<String> {
    let source = Source::new("bpfkit.yml", text);
    let found = check(&source, &overrides(&[])).err().unwrap_or_default();
    found
        .iter()
        .map(|d| {
            let place = d.labels.first().map(|l| source.line_column(l.span.start)).unwrap_or_default();
            format!("{} {}:{} {}", d.code, place.0, place.1, d.title)
        })
        .collect()
}

/// The good manifest with one text replaced by another; it must be there.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in good.yml");
    GOOD.replacen(from, to, 1)
}

#[test]
fn the_whole_manifest_is_read() {
    let source = Source::new("bpfkit.yml", GOOD);
    let checked = check(&source, &overrides(&[("uplink", "eth7")])).unwrap();
    assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
    let m = checked.manifest;
    assert_eq!(m.name.as_str(), "edge");
    assert_eq!(m.chains[0].interfaces[0].0, "eth7");
    assert_eq!(m.chains[0].programs[1].proceed_on.iter().collect::<Vec<_>>(), [-1, 2, 17]);
    assert_eq!(m.chains[1].netns.as_ref().unwrap().0, "/run/netns/{{ host.name }}");
    assert_eq!(m.programs[0].globals["max_pps"], GlobalValue::Int(10_000));
    assert_eq!(m.programs[0].globals["where"], GlobalValue::Text("eth7".into()));
    assert!(
        matches!(&m.programs[2].from, ProgramSource::Image { identity, .. } if identity.as_str() == "registry.acme.example/bpf/limit")
    );
    assert_eq!(m.repository().as_str(), "registry.acme.example/bpf/edge");
    let trust = m.trust.unwrap();
    assert!(trust.block.org.contains_key("registry.acme.example/bpf"));
    assert!(trust.block.image.contains_key("registry.acme.example/bpf/limit"));
    assert_eq!(trust.files.len(), 2);
}

#[test]
fn every_problem_is_told_in_one_run_each_at_its_line() {
    let text = "\
version: 2
name: Edge
programs:
  - {name: guard, sorce: src/guard.c}
  - {name: guard, object: /etc/x.o}
  - {name: meter, source: a.c, object: b.o}
chains:
  - hook: xdp
    interfaces: [eth0, this-name-is-far-too-long]
    mode: nativ
    programs: [gaurd, {program: meter, proceed_on: [pas]}]
    engine: fused
trust:
  unsigned: [{program: nobody, because: \"\"}]
";
    assert_eq!(
        problems(text),
        [
            "M019 1:10 manifest version 2 is not known",
            "M008 2:7 `Edge` is not a set name: it must start with a lower-case letter or a digit",
            "M004 4:19 unknown key `sorce` in a program",
            "M013 5:12 two programs are named `guard`",
            "M025 5:27 `/etc/x.o` does not name a file below the manifest's folder",
            "M014 6:40 the program `meter` has `source` and `object` at once",
            "M008 9:24 `this-name-is-far-too-long` can't be the name of an interface",
            "M008 10:11 `nativ` is not a mode: the choices are native, generic",
            "M012 11:16 the chain at `xdp` runs `gaurd`, which no program declares",
            "M008 11:53 `pas` is not a verdict: `xdp` knows aborted, drop, pass, tx, redirect, or a number",
            "M005 12:5 unknown key `engine` in a chain: planned, not in this version",
            "M012 14:24 the waiver names `nobody`, which no program declares",
            "M018 14:41 a waiver needs a reason",
        ]
    );
}

#[test]
fn what_refers_to_nothing_is_told_with_the_nearest_name() {
    let text = with("programs: [guard, {", "programs: [gaurd, {");
    let source = Source::new("bpfkit.yml", text);
    let found = check(&source, &overrides(&[])).unwrap_err();
    assert_eq!(found[0].code.as_str(), "M012");
    assert_eq!(found[0].help.as_deref(), Some("did you mean `guard`?"));
}

#[test]
fn each_rule_has_a_code_and_a_place() {
    for (from, to, want) in [
        ("version: 1", "version: 1\nversion: 1", "M003"),
        ("version: 1", "version: 3", "M019"),
        ("name: edge", "nmae: edge", "M004"),
        ("name: edge", "name:", "M007"),
        ("name: edge", "name: [a]", "M007"),
        ("name: edge", "name: {{ vars.uplink }}", "M009"),
        ("name: edge", "name: \"{{ vars.nope }}\"", "M010"),
        ("name: edge", "name: \"{{ host.name }}\"", "M011"),
        ("hook: xdp", "hook: xpd", "M008"),
        ("mode: generic", "mode: auto", "M008"),
        ("interfaces: [\"{{ vars.uplink }}\"]", "interfaces: []", "M008"),
        ("interfaces: [\"{{ vars.uplink }}\"]", "interfaces: [{default_route: true}]", "M005"),
        ("interfaces: [eth*]", "interfaces: [eth*, eth1]\n    mode: native", "M023"),
        ("mode: generic", "attach: clsact", "M035"),
        ("mode: generic", "cgroup: /sys/fs/cgroup/x", "M036"),
        (
            "chains:",
            "chains:\n  - {hook: cgroup/connect4, interfaces: [eth0], cgroup: /sys/fs/cgroup/x, programs: [guard]}",
            "M036",
        ),
        ("chains:", "chains:\n  - {hook: cgroup/connect4, programs: [guard]}", "M036"),
        ("chains:", "chains:\n  - {hook: cgroup/connect4, cgroup: ../x, programs: [guard]}", "M008"),
        ("foreign: refuse", "foreign: keep", "M016"),
        ("foreign: refuse", "foreign: evict", "M008"),
        ("proceed_on: [pass, -1, 17]", "proceed_on: [ok]", "M008"),
        ("source: src/guard.bpf.c", "source: ../guard.bpf.c", "M025"),
        ("source: src/guard.bpf.c", "source: src/guard.bpf.c\n    object: x.o", "M014"),
        ("image: acme/limit:1.4", "image: acmee/limit:1.4", "M017"),
        ("image: acme/limit:1.4", "image: acme/limit", "M008"),
        ("name: limit", "name: guard", "M013"),
        ("max_entries: 65536", "max_entries: -1", "M008"),
        ("max_entries: 65536", "max_entries: 0", "M008"),
        ("threshold: 1, from: [ana]", "threshold: 0, from: [ana]", "M018"),
        ("threshold: 1, from: [ana]", "threshold: 2, from: [ana]", "M018"),
        ("threshold: 1, from: [ana]", "threshold: 1, from: []", "M018"),
        ("threshold: 1, from: [ana]", "threshold: 1, from: [eve]", "M018"),
        ("threshold: 1, from: [ana]", "threshold: 1, from: [ana, ana]", "M018"),
        ("threshold: 1, from: [ana]", "treshold: 1, from: [ana]", "M004"),
        ("default: reject", "default: accept", "M008"),
        ("not_after: 2027-06-01", "not_after: soon", "M008"),
        ("because: built on this host", "because: ''", "M018"),
        ("{program: guard, because", "{program: nobody, because", "M012"),
        ("{program: guard, because", "{because", "M018"),
        ("platforms: [linux/amd64]", "platforms: []", "M008"),
        ("platforms: [linux/amd64]", "platforms: [linux/x86_64]", "M008"),
        ("platforms: [linux/amd64]", "platforms: [linux/amd64]\n  kernels: [host]", "M005"),
        ("url: registry.acme.example/bpf", "url: https://registry.acme.example/bpf", "M008"),
    ] {
        let found = problems(&with(from, to));
        assert!(found.iter().any(|p| p.starts_with(want)), "{to:?} gave {found:?}, not {want}");
    }
}

#[test]
fn two_chains_on_one_hook_of_one_interface_are_refused_even_through_a_glob() {
    let twice =
        "\n  - {hook: tc/ingress, netns: '/run/netns/{{ host.name }}', interfaces: [eth3], programs: [guard]}\n";
    let text = with("\nmaps:", "\nmaps:").replace("\ntrust:", &format!("{twice}trust:"));
    assert!(problems(&text).iter().any(|p| p.starts_with("M015")), "{:?}", problems(&text));
}

#[test]
fn a_program_that_no_chain_runs_is_a_warning() {
    let text = with("    programs: [meter]", "    programs: [guard]");
    let checked = check(&Source::new("m.yml", text), &overrides(&[])).unwrap();
    assert_eq!(checked.warnings.len(), 1);
    assert_eq!(checked.warnings[0].severity, Severity::Warning);
}

#[test]
fn set_overrides_a_declared_variable_and_no_other() {
    let source = Source::new("m.yml", GOOD);
    let found = check(&source, &overrides(&[("uplnk", "x")])).unwrap_err();
    assert_eq!((found[0].code.as_str(), found[0].help.as_deref()), ("M020", Some("did you mean `uplink`?")));
}

#[test]
fn a_host_policy_is_a_trust_block_without_program_waivers() {
    let text = "keys: {ana: {file: ana.pub}}\norg: {registry.example/a: {author: {from: [ana]}}}\n";
    let policy = check_policy(&Source::new("trust.yml", text), &[]).unwrap();
    assert_eq!(policy.block.org.len(), 1);
    let waiver = format!("{text}unsigned: [{{program: guard, because: x}}]\n");
    assert_eq!(check_policy(&Source::new("trust.yml", waiver), &[]).unwrap_err()[0].code.as_str(), "M018");
    assert_eq!(check_policy(&Source::new("trust.yml", ""), &[]).unwrap_err()[0].code.as_str(), "M021");
}

#[test]
fn linuxkits_short_form_means_required_with_all_defaults() {
    let text = "keys: {ana: {file: a.pub}, bob: {file: b.pub}}\norg: [acme]\n";
    let repos = check_repos(&Source::new("repos.yml", "repos: [{name: acme, url: reg.example/bpf}]")).unwrap();
    let block = check_policy(&Source::new("trust.yml", text), &repos).unwrap().block;
    let quorum = &block.org["reg.example/bpf"].roles.values().next().unwrap();
    assert_eq!((quorum.threshold.get(), quorum.from.len()), (1, 2));
}

#[test]
fn no_byte_of_a_manifest_can_make_the_reader_panic() {
    // A fixed walk: every position, a few hostile bytes.
    for at in 0..GOOD.len() {
        for byte in [b'{', b'*', 0] {
            let mut text = GOOD.as_bytes().to_vec();
            text[at] = byte;
            if let Ok(text) = String::from_utf8(text) {
                let _ = check(&Source::new("m.yml", text), &overrides(&[]));
            }
        }
    }
}

#[test]
fn the_json_schema_accepts_the_good_manifest_and_refuses_misspelt_and_planned_keys() {
    let schema: serde_json::Value = serde_json::from_str(&bpfkit_schemas::manifest::json_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let manifest = serde_json::json!({
        "version": 1, "name": "edge", "vars": {"uplink": "eth0", "pps": 10},
        "build": {"platforms": ["linux/amd64"], "btf": "host", "cflags": ["-Wall"]},
        "repos": [{"name": "acme", "url": "registry.acme.example/bpf"}],
        "programs": [{"name": "guard", "source": "src/guard.bpf.c", "globals": {"max_pps": 10}}],
        "maps": [{"name": "blocklist", "max_entries": 65536}],
        "chains": [{"hook": "xdp", "interfaces": ["eth0"], "programs": ["guard", {"program": "guard", "proceed_on": ["pass", 17]}]}],
        "trust": {"org": ["acme"], "image": {"acme/limit": {"author": {"threshold": 1, "from": ["ana"]}}}},
    });
    assert!(
        validator.is_valid(&manifest),
        "{:?}",
        validator.iter_errors(&manifest).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    for (pointer, key) in [
        ("", "nmae"),
        ("/build", "kernels"),
        ("/repos/0", "mirrors"),
        ("/programs/0", "crate"),
        ("/chains/0", "engine"),
        ("/trust", "authorities"),
        ("/maps/0", "on_change"),
    ] {
        let mut wrong = manifest.clone();
        wrong.pointer_mut(pointer).unwrap()[key] = serde_json::json!([]);
        assert!(!validator.is_valid(&wrong), "{pointer}/{key} passes the schema");
    }
}
