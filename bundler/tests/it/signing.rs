//! cosign (3.1.1, Debian sid) on the other side: keys and signatures, both ways, through a real registry.

use std::{collections::BTreeMap, path::Path, process::Command};

use bpfkit_bundler::{
    Limits, add_signature,
    key::{Passphrase, PrivateKey, PublicKey, keygen},
    pull, push,
    signature::{self, NotGenuine, check},
    statement::Claims,
};
use bpfkit_schemas::{bundle::ANNOTATION_REPOSITORY, reference::Pinned, trust::Role};

use crate::fixture::{Here, Registry, amd64, edge, lay_out, network, run, sid_tool};

const PASSWORD: &str = "correct horse";
const REPOSITORY: &str = "dev.bpfkit.repository";
const VERSION: &str = "dev.bpfkit.version";

fn cosign(home: &Path, verb: &str) -> Command {
    let mut command = Command::new(sid_tool("cosign"));
    // Its own home, so that no trust root or configuration of this machine's has a say.
    command.arg(verb).env("COSIGN_PASSWORD", PASSWORD).env("HOME", home).current_dir(home);
    if verb != "generate-key-pair" {
        command.arg("--allow-http-registry");
    }
    command
}

/// What `cosign verify` says of `pinned` with these annotations demanded.
fn verified(home: &Path, public: &Path, pinned: &Pinned, annotations: &[(&str, &str)]) -> bool {
    let mut command = cosign(home, "verify");
    command.args(["--insecure-ignore-tlog", "--key"]).arg(public);
    for (key, value) in annotations {
        command.args(["-a", &format!("{key}={value}")]);
    }
    command.arg(pinned.to_string()).output().unwrap().status.success()
}

fn signed_by_cosign(home: &Path, private: &Path, pinned: &Pinned, annotations: &[(&str, &str)]) {
    let mut command = cosign(home, "sign");
    command.args(["--tlog-upload=false", "--use-signing-config=false", "-y", "--key"]).arg(private);
    for (key, value) in annotations {
        command.args(["-a", &format!("{key}={value}")]);
    }
    run(command.arg(pinned.to_string()));
}

fn pushed(registry: &Registry) -> (Here, Pinned, Claims) {
    let here = lay_out(&edge("1.0"));
    let pinned = push(&network(), &here.layout, &"1.0".parse().unwrap(), &registry.place("edge"), &mut |_| ()).unwrap();
    let config = pull(&network(), &pinned, amd64(), &Limits::default()).unwrap().config;
    let claims = Claims { repository: config.repository, version: config.version, role: Some(Role::Author) };
    (here, pinned, claims)
}

#[test]
fn cosign_verifies_what_we_sign_with_our_key_and_sees_through_wrong_claims() {
    let registry = Registry::start();
    let (here, pinned, claims) = pushed(&registry);
    let home = here.dir.path();
    let files = keygen(&home.join("ours"), &Passphrase::from(PASSWORD)).unwrap();
    let key = PrivateKey::read(&files.private, &Passphrase::from(PASSWORD)).unwrap();
    let bundle = signature::sign(&key, pinned.digest, &claims).unwrap();
    add_signature(&network(), &pinned, &bundle, BTreeMap::new()).unwrap();

    let (repository, version) = (claims.repository.as_str(), claims.version.as_str());
    let good = [(REPOSITORY, repository), (VERSION, version)];
    assert!(verified(home, &files.public, &pinned, &good));
    assert!(verified(home, &files.public, &pinned, &[]));
    assert!(!verified(home, &files.public, &pinned, &[(REPOSITORY, "registry.example/evil"), (VERSION, version)]));
    assert!(!verified(home, &files.public, &pinned, &[(REPOSITORY, repository), (VERSION, "9.9")]));
    let other = keygen(&home.join("other"), &Passphrase::from(PASSWORD)).unwrap();
    assert!(!verified(home, &other.public, &pinned, &good));
}

#[test]
fn what_cosign_signs_with_our_key_file_is_genuine_here() {
    let registry = Registry::start();
    let (here, pinned, claims) = pushed(&registry);
    let home = here.dir.path();
    let files = keygen(&home.join("ours"), &Passphrase::from(PASSWORD)).unwrap();
    let annotations = [(REPOSITORY, claims.repository.as_str()), (VERSION, claims.version.as_str())];
    signed_by_cosign(home, &files.private, &pinned, &annotations);

    let fetched = pull(&network(), &pinned, amd64(), &Limits::default()).unwrap();
    assert_eq!(fetched.signatures.len(), 1);
    let genuine = check(&fetched.signatures[0].bytes, pinned.digest, &[&files.key]).unwrap();
    assert_eq!(genuine.annotations, Claims { role: None, ..claims }.annotations());
}

#[test]
fn plain_cosign_sign_is_genuine_and_claims_nothing() {
    let registry = Registry::start();
    let (here, pinned, _) = pushed(&registry);
    let files = keygen(&here.dir.path().join("ours"), &Passphrase::from(PASSWORD)).unwrap();
    signed_by_cosign(here.dir.path(), &files.private, &pinned, &[]);
    let fetched = pull(&network(), &pinned, amd64(), &Limits::default()).unwrap();
    let genuine = check(&fetched.signatures[0].bytes, pinned.digest, &[&files.key]).unwrap();
    // `applier::trust` refuses it as T007 unless the scope says `claims: digest_only`.
    assert!(!genuine.annotations.contains_key(ANNOTATION_REPOSITORY));
    let stranger = PrivateKey::generate().unwrap();
    let answer = check(&fetched.signatures[0].bytes, pinned.digest, &[stranger.public()]);
    assert_eq!(answer, Err(NotGenuine::UnknownKey { hint: files.key.hint() }));
}

#[test]
fn we_sign_with_a_key_file_that_cosign_made_and_cosign_verifies_it() {
    let registry = Registry::start();
    let (here, pinned, claims) = pushed(&registry);
    let home = here.dir.path();
    run(cosign(home, "generate-key-pair").args(["--output-key-prefix", "theirs"]));
    let key = PrivateKey::read(&home.join("theirs.key"), &Passphrase::from(PASSWORD)).unwrap();
    assert_eq!(*key.public(), PublicKey::read(&home.join("theirs.pub")).unwrap());
    let bundle = signature::sign(&key, pinned.digest, &claims).unwrap();
    add_signature(&network(), &pinned, &bundle, BTreeMap::new()).unwrap();
    let good = [(REPOSITORY, claims.repository.as_str()), (VERSION, claims.version.as_str())];
    assert!(verified(home, &home.join("theirs.pub"), &pinned, &good));
    assert!(PrivateKey::read(&home.join("theirs.key"), &Passphrase::from("wrong")).is_err());
}

#[test]
fn signing_again_adds_nothing_to_a_layout() {
    let here = lay_out(&edge("1.0"));
    let key = PrivateKey::generate().unwrap();
    let digest = here.bundled.pinned.digest;
    let claims = Claims { repository: "local/edge".parse().unwrap(), version: "1.0".parse().unwrap(), role: None };
    let add = || {
        here.layout.add_signature(&digest, &signature::sign(&key, digest, &claims).unwrap(), BTreeMap::new()).unwrap()
    };
    assert_eq!(add(), add());
    assert_eq!(here.layout.referrers(&digest).unwrap().len(), 1);
}
