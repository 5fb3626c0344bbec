//! The decision, rule by rule: every refusal stands beside a twin that is let in.

use std::{num::NonZeroUsize, sync::LazyLock};

use bpfkit_bundler::{
    CarriedImage,
    key::PrivateKey,
    statement::{Claims as Said, PAYLOAD_TYPE},
};
use bpfkit_schemas::{
    bundle::FORMAT,
    diagnostic::Diagnose as _,
    names::KeyName,
    object::{Endian, ObjectDescriptor, ProgramType},
    reference::Place,
    trust::{Demands, Quorum, TrustBlock, TrustedKey, Waived, Waiver},
};

use super::*;

mod again;
mod attacks;
mod block;
mod programs;
mod reference;

struct People {
    ana: PrivateKey,
    bob: PrivateKey,
    repo: PrivateKey,
    eve: PrivateKey,
}

static PEOPLE: LazyLock<People> = LazyLock::new(|| {
    let key = || PrivateKey::generate().unwrap();
    People { ana: key(), bob: key(), repo: key(), eve: key() }
});

const EDGE: &str = "registry.example/acme/edge";

fn repository(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn program(text: &str) -> ProgramName {
    text.parse().unwrap()
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

/// The digest of the set's index, of the manifest chosen from it, and of an image.
static INDEX: LazyLock<Digest> = LazyLock::new(|| Digest::from_bytes([1; 32]));
static CHILD: LazyLock<Digest> = LazyLock::new(|| Digest::from_bytes([2; 32]));
static IMAGE: LazyLock<Digest> = LazyLock::new(|| Digest::from_bytes([3; 32]));

fn quorum(threshold: usize, from: &[&str]) -> Quorum {
    Quorum { threshold: NonZeroUsize::new(threshold).unwrap(), from: from.iter().map(|key| name(key)).collect() }
}

fn demands(roles: &[(Role, Quorum)]) -> Demands {
    Demands { roles: roles.iter().cloned().collect(), claims: Claims::Bound }
}

fn trusted(key: &PrivateKey) -> TrustedKey {
    TrustedKey { pem: key.public().pem().to_owned(), not_after: None }
}

/// `org: registry.example/acme: author: {threshold: 1, from: [ana]}`, with ana, bob and repo declared.
fn block() -> TrustBlock {
    TrustBlock {
        keys: [("ana", &PEOPLE.ana), ("bob", &PEOPLE.bob), ("repo", &PEOPLE.repo)]
            .map(|(text, key)| (name(text), trusted(key)))
            .into(),
        org: [("registry.example/acme".to_owned(), demands(&[(Role::Author, quorum(1, &["ana"]))]))].into(),
        ..TrustBlock::default()
    }
}

/// The same with other quorums.
fn demanding(roles: &[(Role, Quorum)]) -> TrustBlock {
    TrustBlock { org: [("registry.example/acme".to_owned(), demands(roles))].into(), ..block() }
}

fn policy(block: &TrustBlock) -> Policy {
    Policy::new(block).unwrap()
}

fn waiver(what: Waived) -> Waiver {
    Waiver { what, because: "built on this host".to_owned() }
}

fn said(role: Option<Role>) -> Said {
    Said { repository: repository(EDGE), version: tag("1.4"), role }
}

/// A signature of `subject` by `key`.
fn signature_of(key: &PrivateKey, subject: Digest, said: &Said) -> RawSignature {
    hung_on(subject, signature::sign(key, subject, said).unwrap())
}

fn hung_on(subject: Digest, bytes: Vec<u8>) -> RawSignature {
    RawSignature { subject, manifest: bpfkit_bundler::hash::sha256(&bytes), bytes }
}

/// A signature of the set's index, properly claimed.
fn by(key: &PrivateKey) -> RawSignature {
    signature_of(key, *INDEX, &said(None))
}

/// A properly signed envelope with a payload of the caller's own making.
fn handmade(key: &PrivateKey, payload_type: &str, payload: &str) -> Vec<u8> {
    let base64 = |bytes: &[u8]| {
        // This crate has no base64 of its own.
        const TABLE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        bytes.chunks(3).fold(String::new(), |mut out, chunk| {
            let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for i in 0..4 {
                out.push(if i <= chunk.len() { char::from(TABLE[(word >> (18 - 6 * i)) as usize & 63]) } else { '=' });
            }
            out
        })
    };
    let pae = format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len());
    let envelope = serde_json::json!({
        "mediaType": bpfkit_schemas::bundle::SIGNATURE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.public().hint()}},
        "dsseEnvelope": {
            "payload": base64(payload.as_bytes()),
            "payloadType": payload_type,
            "signatures": [{"sig": base64(&key.sign(pae.as_bytes()).unwrap())}],
        },
    });
    envelope.to_string().into_bytes()
}

fn files() -> ProgramOrigin {
    ProgramOrigin::Files { files: BTreeMap::new() }
}

fn bundled(name: &str, origin: ProgramOrigin) -> BundledProgram {
    let digest = Digest::from_bytes([9; 32]);
    BundledProgram {
        name: program(name),
        entry: name.to_owned(),
        kind: ProgramType::Xdp,
        globals: BTreeMap::new(),
        layer: digest,
        object: ObjectDescriptor {
            digest,
            size: 0,
            endian: Endian::Little,
            license: "GPL".to_owned(),
            core_relocations: 0,
            programs: Vec::new(),
            maps: Vec::new(),
            globals: Vec::new(),
        },
        origin,
    }
}

/// Set `edge` 1.4 of `registry.example/acme/edge` with the program `guard`, under these signatures.
fn edge(signatures: Vec<RawSignature>) -> FetchedBundle {
    FetchedBundle {
        pinned: Pinned { place: Place::Registry(repository(EDGE)), digest: *INDEX },
        signed: vec![*INDEX, *CHILD],
        platform: "linux/amd64".parse().unwrap(),
        config: SetConfig {
            format: FORMAT,
            set: "edge".parse().unwrap(),
            version: tag("1.4"),
            repository: repository(EDGE),
            platform: "linux/amd64".parse().unwrap(),
            vars: BTreeMap::new(),
            programs: vec![bundled("guard", files())],
            maps: Vec::new(),
            chains: Vec::new(),
            trust: None,
        },
        objects: vec![Arc::from(&b"object"[..])],
        manifest: Vec::new(),
        signatures,
        images: Vec::new(),
        ignored_referrers: 0,
        parts: bpfkit_bundler::Parts::default(),
    }
}

fn asked(word: Word) -> Asked {
    Asked { set: "edge".parse().unwrap(), repository: Some(repository(EDGE)), version: Some(tag("1.4")), word }
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// Both ways to apply must let it in; the grounds of the one by reference.
#[track_caller]
fn let_in(block: &TrustBlock, signatures: &[RawSignature]) -> Grounds {
    let decided = |word| decide(&policy(block), edge(signatures.to_vec()), &asked(word), now());
    let by_hand = decided(Word::Manifest).unwrap();
    let by_reference = decided(Word::Reference).unwrap();
    assert_eq!(by_hand.grounds(), by_reference.grounds());
    by_reference.grounds
}

/// Both ways must refuse, for the same reasons; their codes in order.
#[track_caller]
fn kept_out(block: &TrustBlock, signatures: &[RawSignature]) -> Vec<&'static str> {
    let decided = |word| decide(&policy(block), edge(signatures.to_vec()), &asked(word), now());
    let by_hand = decided(Word::Manifest).unwrap_err();
    let by_reference = decided(Word::Reference).unwrap_err();
    assert_eq!(by_hand.findings, by_reference.findings);
    codes(&by_reference)
}

#[track_caller]
fn codes(denial: &Denial) -> Vec<&'static str> {
    let diagnostics = denial.diagnose();
    assert!(!diagnostics.is_empty());
    for one in &diagnostics {
        assert!(one.help.is_some() && one.title.contains('`') && !one.title.ends_with('.'), "{one:?}");
        assert_eq!(one.code.exit(), bpfkit_schemas::code::Exit::NotTrusted);
    }
    diagnostics.iter().map(|one| one.code.as_str()).collect()
}

#[test]
fn grounds_say_who_signed_in_which_role_and_until_when() {
    let mut block = demanding(&[(Role::Author, quorum(1, &["ana"])), (Role::Repository, quorum(1, &["repo"]))]);
    block.keys.get_mut(&name("ana")).unwrap().not_after = Some("2027-06-01".parse().unwrap());
    let grounds = let_in(&block, &[by(&PEOPLE.ana), by(&PEOPLE.repo)]);
    assert_eq!(
        grounds.lines(),
        [
            "set `edge` signed for `registry.example/acme/edge:1.4` by author ana (1 of 1); repository repo (1 of 1), until 2027-06-01"
        ]
    );
    assert_eq!(grounds.signers(&program("guard")), [name("ana"), name("repo")]);
    assert_eq!(grounds.until(), Some("2027-06-01".parse().unwrap()));
    assert_eq!(grounds.programs[&program("guard")], Ground::BySet);
}

#[test]
fn trust_ends_when_a_quorum_does_not_when_the_first_key_does() {
    let mut block = demanding(&[(Role::Author, quorum(1, &["ana", "bob"]))]);
    block.keys.get_mut(&name("ana")).unwrap().not_after = Some("2027-01-01".parse().unwrap());
    block.keys.get_mut(&name("bob")).unwrap().not_after = Some("2028-01-01".parse().unwrap());
    assert_eq!(let_in(&block, &[by(&PEOPLE.ana), by(&PEOPLE.bob)]).until(), Some("2028-01-01".parse().unwrap()));
    block.keys.get_mut(&name("bob")).unwrap().not_after = None;
    assert_eq!(let_in(&block, &[by(&PEOPLE.ana), by(&PEOPLE.bob)]).until(), None);
    block.org.values_mut().next().unwrap().roles.get_mut(&Role::Author).unwrap().threshold =
        NonZeroUsize::new(2).unwrap();
    assert_eq!(let_in(&block, &[by(&PEOPLE.ana), by(&PEOPLE.bob)]).until(), Some("2027-01-01".parse().unwrap()));
}

#[test]
fn a_verified_bundle_has_the_bytes_that_were_fetched() {
    let fetched = edge(vec![by(&PEOPLE.ana)]);
    let object = Arc::clone(&fetched.objects[0]);
    let verified = decide(&policy(&block()), fetched, &asked(Word::Reference), now()).unwrap();
    assert!(Arc::ptr_eq(verified.program(&program("guard")).unwrap().1, &object));
    assert_eq!(verified.objects().len(), 1);
    assert!(verified.program(&program("other")).is_none());
}

#[test]
fn strangers_may_sign_what_they_like_beside_those_who_count() {
    let junk = hung_on(*INDEX, b"junk".to_vec());
    let grounds = let_in(&block(), &[junk, by(&PEOPLE.eve), by(&PEOPLE.bob), by(&PEOPLE.ana)]);
    assert_eq!(grounds.signers(&program("guard")), [name("ana")]);
}

#[test]
fn a_denial_lists_every_reason_once() {
    let junk = hung_on(*INDEX, b"junk".to_vec());
    let answer = kept_out(&block(), &[junk.clone(), junk, by(&PEOPLE.eve), by(&PEOPLE.bob)]);
    assert_eq!(answer, ["T004", "T016", "T009", "T012"]);
}
