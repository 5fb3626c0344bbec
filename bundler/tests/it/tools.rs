//! Other people's tools read what we write: skopeo (Debian) and oras (Debian sid).

use std::process::Command;

use bpfkit_bundler::{Layout, Limits, list, pin, push};
use bpfkit_schemas::{bundle::SIGNATURE_TYPE, reference::Place};

use crate::fixture::{Registry, at, edge, lay_out, network, run, sid_tool};

#[test]
fn skopeo_copies_a_pushed_set_and_every_digest_stays() {
    let registry = Registry::start();
    let here = lay_out(&edge("1.0"));
    let pushed = push(&network(), &here.layout, &"1.0".parse().unwrap(), &registry.place("edge"), &mut |_| ()).unwrap();
    let copy = here.dir.path().join("copy");
    for tag in ["1.0", "1.0.guard"] {
        run(Command::new("skopeo").args(["copy", "--all", "--preserve-digests", "--src-tls-verify=false"]).args([
            &format!("docker://127.0.0.1:{}/edge:{tag}", registry.port),
            &format!("oci:{}:{tag}", copy.display()),
        ]));
    }
    let there = pin(&network(), &at(&Place::Layout(copy.clone()), "1.0")).unwrap();
    assert_eq!(there.digest, pushed.digest);
    Layout::open(copy).unwrap();
}

#[test]
fn skopeo_copies_a_layout_to_a_registry_and_we_read_it_there() {
    let registry = Registry::start();
    let here = lay_out(&edge("1.0"));
    for tag in ["1.0", "1.0.guard", "1.0.meter"] {
        run(Command::new("skopeo").args(["copy", "--all", "--preserve-digests", "--dest-tls-verify=false"]).args([
            &format!("oci:{}:{tag}", here.layout.dir().display()),
            &format!("docker://127.0.0.1:{}/edge:{tag}", registry.port),
        ]));
    }
    let there = pin(&network(), &at(&registry.place("edge"), "1.0")).unwrap();
    assert_eq!(there.digest, here.bundled.pinned.digest);
    assert_eq!(list(&network(), &there).unwrap().programs.len(), 2);
    let labels = run(Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--format", "{{index .Labels \"io.ebpf.programs\"}}"])
        .arg(format!("docker://127.0.0.1:{}/edge:1.0.guard", registry.port)));
    assert_eq!(labels.trim(), r#"{"main_prog":"xdp"}"#);
}

#[test]
fn oras_discovers_the_signatures_of_a_layout() {
    let here = lay_out(&edge("1.0"));
    let signature =
        here.layout.add_signature(&here.bundled.pinned.digest, b"{}", std::collections::BTreeMap::default()).unwrap();
    let found = run(Command::new(sid_tool("oras"))
        .args(["discover", "--oci-layout", "--format", "json"])
        .arg(format!("{}:1.0", here.layout.dir().display())));
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let first =
        found["referrers"].as_array().or_else(|| found["manifests"].as_array()).unwrap_or_else(|| panic!("{found}"))[0]
            .clone();
    assert_eq!(first["digest"], signature.to_string());
    assert_eq!(first["artifactType"], SIGNATURE_TYPE);
}

#[test]
fn oras_pulls_a_set_and_discovers_its_signatures_in_a_registry() {
    let registry = Registry::start();
    let here = lay_out(&edge("1.0"));
    let signature =
        here.layout.add_signature(&here.bundled.pinned.digest, b"{}", std::collections::BTreeMap::default()).unwrap();
    push(&network(), &here.layout, &"1.0".parse().unwrap(), &registry.place("edge"), &mut |_| ()).unwrap();
    let reference = format!("127.0.0.1:{}/edge:1.0", registry.port);
    let out = here.dir.path().join("out");
    run(Command::new(sid_tool("oras"))
        .args(["pull", "--plain-http", "--platform", "linux/amd64", "-o"])
        .arg(&out)
        .arg(&reference));
    assert_eq!(std::fs::read(out.join("bpfkit.yml")).unwrap(), edge("1.0").manifest_yaml);
    let object = run(Command::new("tar").args(["-xzOf"]).arg(out.join("guard.o.tar.gz")));
    assert!(object.starts_with("\u{7f}ELF"));
    let names = run(Command::new("tar").args(["-tzvf"]).arg(out.join("guard.o.tar.gz")));
    assert!(names.starts_with("-rw-r--r-- 0/0"), "{names}");
    assert!(names.trim().ends_with("1970-01-01 00:00 guard.o"), "{names}");
    let found =
        run(Command::new(sid_tool("oras")).args(["discover", "--plain-http", "--format", "json"]).arg(&reference));
    assert!(found.contains(&signature.to_string()), "{found}");
}

#[test]
fn oras_copies_a_set_with_its_signatures_and_we_read_both() {
    let registry = Registry::start();
    let here = lay_out(&edge("1.0"));
    here.layout
        .add_signature(&here.bundled.pinned.digest, b"{\"a\":1}", std::collections::BTreeMap::default())
        .unwrap();
    push(&network(), &here.layout, &"1.0".parse().unwrap(), &registry.place("edge"), &mut |_| ()).unwrap();
    let copy = here.dir.path().join("copy");
    run(Command::new(sid_tool("oras"))
        .args(["cp", "-r", "--from-plain-http", "--to-oci-layout"])
        .arg(format!("127.0.0.1:{}/edge:1.0", registry.port))
        .arg(format!("{}:1.0", copy.display())));
    let there = pin(&network(), &at(&Place::Layout(copy), "1.0")).unwrap();
    let fetched = bpfkit_bundler::pull(&network(), &there, crate::fixture::amd64(), &Limits::default()).unwrap();
    assert_eq!(fetched.signatures.len(), 1);
}
