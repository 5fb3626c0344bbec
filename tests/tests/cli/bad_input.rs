//! Input of every bad kind: a coded error, the right exit code, a valid `--json`, and the host as it was.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    document::{codes_for_machines, codes_for_people},
    registry::free_port,
    sandbox::{Network, Sandbox, copy_of, outside},
};

/// What was done to a project that was fine, the command that meets it, and what it must say.
struct Bad {
    done: &'static str,
    command: &'static str,
    codes: &'static [&'static str],
    exit: i32,
}

const fn bad(done: &'static str, command: &'static str, codes: &'static [&'static str], exit: i32) -> Bad {
    Bad { done, command, codes, exit }
}

/// The manifest's text.
const TEXTS: &[Bad] = &[
    bad("rm bpfkit.yml", "bpfkit check", &["M026"], 2),
    bad("rm bpfkit.yml; mkdir bpfkit.yml", "bpfkit check", &["M026"], 2),
    bad(": >bpfkit.yml", "bpfkit check", &["M021"], 2),
    bad("echo '# nothing' >bpfkit.yml", "bpfkit build", &["M021"], 2),
    bad("head -c 10000000 /dev/zero | tr '\\0' '#' >>bpfkit.yml", "bpfkit check", &["M002"], 2),
    bad("head -c 100000 /dev/urandom >bpfkit.yml", "bpfkit check", &["M001"], 2),
    bad("printf 'version: 1\\nname: \\x00edge\\n' >bpfkit.yml", "bpfkit check", &["M001"], 2),
    bad("printf '\\x7fELF\\x02\\x01\\x01' >bpfkit.yml", "bpfkit check", &["M001"], 2),
    bad(
        "{ echo 'a0: &a0 [x,x,x,x,x,x,x,x,x]'; for i in 1 2 3 4 5 6 7 8 9; do p=\\*a$((i-1)); echo \"a$i: &a$i [$p,$p,$p,$p,$p,$p,$p,$p,$p]\"; done; } >bpfkit.yml",
        "bpfkit check",
        &["M002"],
        2,
    ),
    bad("{ head -c 50000 /dev/zero | tr '\\0' '['; } >bpfkit.yml", "bpfkit check", &["M001"], 2),
    bad("echo 'version: 1: 2' >bpfkit.yml", "bpfkit check", &["M001"], 2),
    bad("echo 'name: edge' >>bpfkit.yml", "bpfkit check", &["M003"], 2),
    bad("echo 'kernels: [host]' >>bpfkit.yml", "bpfkit check", &["M004"], 2),
    bad("sed -i 's/^repos:/build: {kernels: [host]}\\n&/' bpfkit.yml", "bpfkit check", &["M005"], 2),
    bad("sed -i 's/version: 1/version: 2/' bpfkit.yml", "bpfkit check", &["M019"], 2),
    bad("sed -i 's/name: edge/name: {{ vars.x }}/' bpfkit.yml", "bpfkit check", &["M009"], 2),
    bad("sed -i 's/.eth0./[\"{{ vars.uplink }}\"]/' bpfkit.yml", "bpfkit check", &["M010"], 2),
    bad("sed -i 's/guard, count/gard, count/' bpfkit.yml", "bpfkit check", &["M012"], 2),
    bad("true", "bpfkit check --set uplink=eth1", &["M020"], 2),
    bad("true", "bpfkit check --set uplink", &["M027"], 2),
];

/// Programs and objects.
const OBJECTS: &[Bad] = &[
    bad("rm src/count.bpf.c", "bpfkit build", &["C010"], 2),
    bad("sed -i 's/return/retrun/' src/count.bpf.c", "bpfkit build", &["C040"], 1),
    bad("sed -i 's|src/count.bpf.c|../count.bpf.c|' bpfkit.yml", "bpfkit build", &["M025"], 2),
    bad("sed -i 's|^repos:|build: {cflags: [-fplugin=evil.so]}\\n&|' bpfkit.yml", "bpfkit build", &["C020"], 2),
    bad("sed -i 's|source: src/count|object: src/count|' bpfkit.yml", "bpfkit build", &["C500"], 2),
    bad("$ready; : >count.o", "bpfkit build", &["C500"], 2),
    bad("$ready; $clang -target bpfel -O2 $inc -c src/count.bpf.c -o count.o", "bpfkit build", &["C504"], 2),
    bad("$ready; $clang -target bpfeb -g -O2 $inc -c src/count.bpf.c -o count.o", "bpfkit build", &["C502"], 1),
    bad("$ready; cp .bpfkit/objects/*/count.bpf.o o; head -c 700 o >count.o", "bpfkit build", &["C503"], 1),
    bad("$ready; cp /bin/true count.o", "bpfkit build", &["C500"], 2),
    bad("$ready; truncate -s 100M count.o", "bpfkit build", &["C501"], 1),
    bad("sed -i 's|src/count.bpf.c|&, globals: {nothing: 1}|' bpfkit.yml", "bpfkit build", &["C061"], 2),
];

/// Bundles, signatures and keys.
const BUNDLES: &[Bad] = &[
    bad("rm -r .bpfkit", "bpfkit sign --key keys/ana.key", &["M030"], 1),
    bad("rm -r .bpfkit", "bpfkit push", &["M030"], 1),
    bad("rm -r .bpfkit", "bpfkit apply", &["M030"], 1),
    bad("publish", "bpfkit verify oci:nowhere:1", &["B002"], 1),
    bad("publish", "bpfkit verify oci:dist/edge:9", &["B001"], 1),
    bad("publish", "bpfkit verify oci:dist/edge@sha256:12", &["M027"], 2),
    bad("publish", "bpfkit verify dits/edge:1", &["M017"], 2),
    bad("publish", "bpfkit verify 127.0.0.1:$PORT/acme/edge:1", &["B010"], 1),
    bad("publish", "bpfkit pull 127.0.0.1:$PORT/acme/edge:1 --to there", &["B010"], 1),
    bad("publish", "bpfkit push --to 127.0.0.1:$PORT/acme", &["B010"], 1),
    bad("publish", "bpfkit push --to dits", &["M017"], 2),
    bad("publish; f=$(biggest); truncate -s 300 $f", "bpfkit apply oci:dist/edge:1", &["B020"], 1),
    bad("publish; rm $(biggest)", "bpfkit apply oci:dist/edge:1", &["B001"], 1),
    bad("publish; cp bpfkit.yml $(biggest)", "bpfkit apply oci:dist/edge:1", &["B020"], 1),
    bad("publish; echo '{' >dist/edge/index.json", "bpfkit apply oci:dist/edge:1", &["B004"], 1),
    bad("publish", "bpfkit verify --key keys/mallory.pub oci:dist/edge:1", &["T004", "T009"], 4),
    bad("publish", "bpfkit verify --key keys/ana.key oci:dist/edge:1", &["B307"], 1),
    bad("publish", "bpfkit verify --key keys/nobody.pub oci:dist/edge:1", &["B301"], 1),
    bad("publish", "bpfkit verify --trust nothing.yml oci:dist/edge:1", &["M026"], 2),
    bad("bpfkit bundle -q", "bpfkit verify", &["T003"], 4),
    bad("publish", "BPFKIT_PASSWORD=wrong bpfkit sign --key keys/ana.key", &["B305"], 1),
    bad("publish; chmod 644 keys/ana.key", "bpfkit sign --key keys/ana.key", &["B302"], 1),
    bad("publish", "bpfkit sign --key keys/ana.pub", &["B304"], 1),
    bad("publish", "bpfkit trust keygen --output keys/ana", &["B300"], 1),
    bad("true", "bpfkit init", &["M029"], 1),
    bad("true", "bpfkit explain T999", &["M027"], 2),
];

/// What has to do with the host.
const HOSTS: &[Bad] = &[
    bad("publish", "bpfkit apply oci:dist/edge:1", &["T001"], 4),
    bad(
        "publish; sed -i 's/count.bpf.c/count2.bpf.c/' bpfkit.yml; cp src/count.bpf.c src/count2.bpf.c; sed -i 's/GPL/BSD/' src/count.bpf.c",
        "bpfkit apply",
        &["M032"],
        1,
    ),
    bad("sed -i 's/.eth0./[eth7]/' bpfkit.yml; publish", "bpfkit apply", &["A301"], 1),
    bad("sed -i 's|.eth0.|&\\n    netns: /run/netns/nowhere|' bpfkit.yml; publish", "bpfkit apply", &["A302"], 1),
    bad("publish", "as_nobody apply", &["A001"], 1),
    bad("publish", "as_nobody plan", &["A001"], 1),
    bad("publish", "as_nobody status edge", &["A001"], 1),
    bad("publish", "as_nobody remove edge", &["A001"], 1),
    bad("publish", "as_nobody dev", &["A001"], 1),
];

const PRELUDE: &str = r#"
publish() { bpfkit bundle --tag 1 -q >/dev/null && bpfkit sign --key keys/ana.key -q >/dev/null && bpfkit push -q >/dev/null; }
biggest() { ls -S dist/edge/blobs/sha256/* | sed -n 2p; }
as_nobody() { cp -L "$(command -v bpfkit)" /run/bpfkit-nobody && chmod -R a+rX . && setpriv --reuid=65534 --regid=65534 --clear-groups /run/bpfkit-nobody "$@"; }
clang=$(command -v clang-19 || command -v clang)
inc=-I/usr/include/$(uname -m)-linux-gnu
ready="sed -i 's|source: src/count.bpf.c|object: count.o|' bpfkit.yml; sed -i -e 's|<vmlinux.h>|<linux/bpf.h>|' -e 's/__u64/unsigned long long/; s/__u32/unsigned/' src/count.bpf.c"
"#;

fn meet(test: &str, cases: &[Bad]) {
    let Some(sandbox) = Sandbox::open(test, Network::Own) else { return };
    let fine = copy_of("tests/attacks/project");
    let made = outside(
        fine.path(),
        "mkdir keys && bpfkit trust keygen --output keys/ana -q && bpfkit trust keygen --output keys/mallory -q && bpfkit build -q; bpfkit schema output >schema",
    );
    assert_eq!(made.code, Some(0), "{made}");
    let schema: Value = std::fs::read_to_string(fine.path().join("schema"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let before = sandbox.host();
    let mut wrong = Vec::new();
    for case in cases {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
        crate::sandbox::copy(fine.path(), dir.path());
        let prelude = format!("PORT={}{PRELUDE}", free_port());
        let done =
            sandbox.bash(dir.path(), &format!("{prelude}set -e\n{}", case.done.replace("$ready", "eval \"$ready\"")));
        let checked = std::panic::catch_unwind(|| {
            assert_eq!(done.code, Some(0), "{}: {done}", case.done);
            let codes: BTreeSet<String> = case.codes.iter().map(|code| (*code).to_owned()).collect();
            let said = sandbox.bash(dir.path(), &format!("{prelude}{}", case.command));
            assert_eq!(
                (codes_for_people(&said), said.code),
                (codes.clone(), Some(case.exit)),
                "{}; {}: {said}",
                case.done,
                case.command
            );
            let said = sandbox.bash(dir.path(), &format!("{prelude}{} --json", case.command));
            assert_eq!(
                (codes_for_machines(&said, &schema), said.code),
                (codes, Some(case.exit)),
                "{}; {}: {said}",
                case.done,
                case.command
            );
        });
        if checked.is_err() {
            wrong.push(format!("{}; {}", case.done, case.command));
        }
    }
    assert!(wrong.is_empty(), "see above: {wrong:#?}");
    assert_eq!(before, sandbox.host(), "bad input changed the host");
}

#[test]
fn bad_manifests() {
    meet("bad_manifests", TEXTS);
}

#[test]
fn bad_programs_and_objects() {
    meet("bad_programs_and_objects", OBJECTS);
}

#[test]
fn bad_bundles_signatures_and_keys() {
    meet("bad_bundles_signatures_and_keys", BUNDLES);
}

#[test]
fn bad_hosts() {
    meet("bad_hosts", HOSTS);
}
