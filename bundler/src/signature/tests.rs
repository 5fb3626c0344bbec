use bpfkit_schemas::trust::Role;

use super::*;

/// `cosign sign --key cosign.key -a dev.bpfkit.repository=… -a dev.bpfkit.version=1.0`, cosign 3.1.1.
const COSIGNS: &str = include_str!("tests/cosign.json");
const COSIGNS_SUBJECT: &str = "sha256:993fa4d33382608d740f81339565ebf69803ff837d74230a561ff628d1eeadd4";

fn cosigns_key() -> PrivateKey {
    PrivateKey::from_encrypted_pem(include_str!("../key/tests/cosign.key"), &"hunter2".into()).unwrap()
}

fn subject() -> Digest {
    COSIGNS_SUBJECT.parse().unwrap()
}

fn claims(role: Option<Role>) -> Claims {
    Claims { repository: "registry.example/acme/edge".parse().unwrap(), version: "1.0".parse().unwrap(), role }
}

/// A bundle by `key` whose payload and payload type are the caller's, properly signed.
fn signed(key: &PrivateKey, payload_type: &str, payload: &str) -> String {
    let signature = BASE64.encode(key.sign(&pae(payload_type, payload.as_bytes())).unwrap());
    format!(
        r#"{{"mediaType":"{SIGNATURE_TYPE}","verificationMaterial":{{"publicKey":{{"hint":"{}"}}}},"dsseEnvelope":{{"payload":"{}","payloadType":"{payload_type}","signatures":[{{"sig":"{signature}"}}]}}}}"#,
        key.public().hint(),
        BASE64.encode(payload),
    )
}

#[test]
fn a_signature_that_cosign_made_is_genuine() {
    let key = cosigns_key();
    let genuine = check(COSIGNS.as_bytes(), subject(), &[key.public()]).unwrap();
    assert_eq!(genuine, Genuine { key: key.public().spki_digest(), annotations: claims(None).annotations() });
}

#[test]
fn what_we_sign_is_genuine_and_differs_from_cosigns_in_the_nonce_alone() {
    let key = cosigns_key();
    let ours = sign(&key, subject(), &claims(None)).unwrap();
    assert_eq!(check(&ours, subject(), &[key.public()]).unwrap().annotations, claims(None).annotations());
    let ours = String::from_utf8(ours).unwrap();
    let without = |text: &str| text.split(r#""signatures":"#).next().unwrap().to_owned();
    assert_eq!(without(&ours), without(COSIGNS));
    assert!(check(COSIGNS.as_bytes(), subject(), &[key.public()]).is_ok());
}

#[test]
fn signing_again_gives_the_same_bytes() {
    let key = PrivateKey::generate().unwrap();
    let sign = || sign(&key, subject(), &claims(Some(Role::Author))).unwrap();
    assert_eq!(sign(), sign());
}

#[test]
fn only_the_key_that_signed_is_found() {
    let (key, other) = (cosigns_key(), PrivateKey::generate().unwrap());
    let hint = key.public().hint();
    assert_eq!(
        check(COSIGNS.as_bytes(), subject(), &[other.public()]),
        Err(NotGenuine::UnknownKey { hint: hint.clone() })
    );
    assert_eq!(check(COSIGNS.as_bytes(), subject(), &[]), Err(NotGenuine::UnknownKey { hint: hint.clone() }));
    assert!(check(COSIGNS.as_bytes(), subject(), &[other.public(), key.public()]).is_ok());
    // A hint is a hint: to name somebody else's key makes nobody else the signer.
    let forged = COSIGNS.replace(&hint, &other.public().hint());
    let bad = Err(NotGenuine::BadSignature { key: other.public().spki_digest() });
    assert_eq!(check(forged.as_bytes(), subject(), &[other.public(), key.public()]), bad);
}

#[test]
fn a_signature_of_something_else_says_of_what() {
    let key = cosigns_key();
    let other = Digest::from_bytes([1; 32]);
    assert_eq!(
        check(COSIGNS.as_bytes(), other, &[key.public()]),
        Err(NotGenuine::AnotherSubject { signed: subject() })
    );
}

#[test]
fn a_payload_of_another_type_is_refused_however_well_it_is_signed() {
    let key = cosigns_key();
    let payload = String::from_utf8(Statement::new(subject(), &claims(None)).to_bytes().unwrap()).unwrap();
    assert!(check(signed(&key, PAYLOAD_TYPE, &payload).as_bytes(), subject(), &[key.public()]).is_ok());
    let other = signed(&key, "application/json", &payload);
    let found = "application/json".to_owned();
    assert_eq!(check(other.as_bytes(), subject(), &[key.public()]), Err(NotGenuine::PayloadType { found }));
    // The type is under the signature: it can't be put right afterwards.
    let mended = other.replace("application/json", PAYLOAD_TYPE);
    assert!(matches!(check(mended.as_bytes(), subject(), &[key.public()]), Err(NotGenuine::BadSignature { .. })));
}

#[test]
fn statements_are_judged_only_once_somebody_has_signed_them() {
    let key = cosigns_key();
    let payload = String::from_utf8(Statement::new(subject(), &claims(None)).to_bytes().unwrap()).unwrap();
    let sbom = payload.replace("https://sigstore.dev/cosign/sign/v1", "https://spdx.dev/Document");
    let checked = |text: String| check(text.as_bytes(), subject(), &[key.public()]);
    assert!(matches!(checked(signed(&key, PAYLOAD_TYPE, &sbom)), Err(NotGenuine::PredicateType { .. })));
    assert!(matches!(checked(signed(&key, PAYLOAD_TYPE, "{}")), Err(NotGenuine::Format { .. })));
    let unsigned = COSIGNS.replace(&BASE64.encode(&payload), &BASE64.encode(&sbom));
    assert!(matches!(checked(unsigned), Err(NotGenuine::BadSignature { .. })));
}

#[test]
fn log_entries_and_timestamps_are_allowed_and_change_nothing() {
    let key = cosigns_key();
    let hint = format!(r#""publicKey":{{"hint":"{}"}}"#, key.public().hint());
    for more in [
        r#","tlogEntries":[],"timestampVerificationData":{"rfc3161Timestamps":[]}"#,
        r#","tlogEntries":[{"logIndex":"1"}]"#,
        r#","timestampVerificationData":null"#,
    ] {
        let text = COSIGNS.replace(&hint, &format!("{hint}{more}"));
        assert!(check(text.as_bytes(), subject(), &[key.public()]).is_ok(), "{more}");
    }
    let with_key_id = COSIGNS.replace(r#"[{"sig""#, r#"[{"keyid":"","sig""#);
    assert!(check(with_key_id.as_bytes(), subject(), &[key.public()]).is_ok());
}

#[test]
fn a_bundle_of_another_shape_is_refused() {
    let key = cosigns_key();
    let hint = format!(r#"{{"publicKey":{{"hint":"{}"}}}}"#, key.public().hint());
    let envelope = COSIGNS.split_once(r#""dsseEnvelope":"#).unwrap().1.strip_suffix('}').unwrap();
    let signature = COSIGNS.split_once(r#""signatures":["#).unwrap().1.strip_suffix("]}}").unwrap();
    for (what, from, to) in [
        ("another version", "bundle.v0.3+json", "bundle.v0.2+json"),
        ("a member twice", r#""dsseEnvelope":"#, &*format!(r#""dsseEnvelope":{envelope},"dsseEnvelope":"#)),
        ("an unknown member", r#"{"mediaType""#, r#"{"x":1,"mediaType""#),
        ("two signatures", signature, &format!("{signature},{signature}")),
        ("no signature", signature, ""),
        ("no envelope", &format!(r#","dsseEnvelope":{envelope}"#), ""),
        (
            "a message signature as well",
            r#""dsseEnvelope":"#,
            r#""messageSignature":{"signature":"AA=="},"dsseEnvelope":"#,
        ),
        (
            "key and certificate",
            &hint,
            &hint.replace(r#"{"publicKey""#, r#"{"certificate":{"rawBytes":"AA=="},"publicKey""#),
        ),
        ("url-safe base64", r#""payload":"eyJf"#, r#""payload":"ey_f"#),
        ("unpadded base64", r#"="}]"#, r#""}]"#),
        ("more after the end", r#"="}]}}"#, r#"="}]}}{}"#),
    ] {
        assert!(COSIGNS.contains(from), "{what}");
        let bad = COSIGNS.replace(from, to);
        let answer = check(bad.as_bytes(), subject(), &[key.public()]);
        assert!(matches!(answer, Err(NotGenuine::Format { .. })), "{what}: {answer:?}");
    }
    let keyless = COSIGNS.replace(&hint, r#"{"certificate":{"rawBytes":"AA=="}}"#);
    assert_eq!(check(keyless.as_bytes(), subject(), &[key.public()]), Err(NotGenuine::Certificate));
    for junk in ["", "null", "[]", "\u{0}", "{"] {
        assert!(matches!(check(junk.as_bytes(), subject(), &[key.public()]), Err(NotGenuine::Format { .. })), "{junk}");
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_unread() {
    let key = cosigns_key();
    let padded = format!("{}{COSIGNS}", " ".repeat(SIGNATURE_LIMIT));
    assert!(matches!(check(padded.as_bytes(), subject(), &[key.public()]), Err(NotGenuine::Format { .. })));
    let fits = format!("{}{COSIGNS}", " ".repeat(SIGNATURE_LIMIT - COSIGNS.len()));
    assert!(check(fits.as_bytes(), subject(), &[key.public()]).is_ok());
    let deep = COSIGNS.replace(r#""tlogEntries""#, "").replace(
        r#"{"publicKey""#,
        &format!(r#"{{"tlogEntries":{}{},"publicKey""#, "[".repeat(100_000), "]".repeat(100_000)),
    );
    assert!(matches!(check(deep.as_bytes(), subject(), &[key.public()]), Err(NotGenuine::Format { .. })));
}

#[test]
fn what_is_quoted_from_a_stranger_carries_no_control_characters() {
    let text = COSIGNS.replace("Sc0uB7UX1hq6", r"\u001b[2J\u009b31m");
    let Err(NotGenuine::UnknownKey { hint }) = check(text.as_bytes(), subject(), &[]) else { panic!() };
    assert!(!hint.chars().any(char::is_control), "{hint:?}");
}

/// A small generator with a fixed seed (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }
}

#[test]
fn no_changed_byte_makes_another_signature_of_ours() {
    let key = cosigns_key();
    let ours = sign(&key, subject(), &claims(Some(Role::Author))).unwrap();
    let before = check(&ours, subject(), &[key.public()]).unwrap();
    let mut random = Random(0x00bb_f817);
    for _ in 0..2_000 {
        let mut changed = ours.clone();
        let (at, flip) = (random.below(changed.len()), u8::try_from(1 + random.below(255)).unwrap());
        changed[at] ^= flip;
        let answer = check(&changed, subject(), &[key.public()]);
        assert!(answer.is_err(), "byte {at} ^ {flip:#x}: {answer:?} instead of {before:?}");
    }
}

#[test]
fn the_only_bytes_that_may_change_are_those_that_nothing_rests_on() {
    // What is not under the signature and not looked at: white space between tokens, what
    // log entries, timestamps and the key id say.
    let key = cosigns_key();
    let ours = String::from_utf8(sign(&key, subject(), &claims(None)).unwrap()).unwrap();
    let padded = ours
        .replace(r#""}},"dsse"#, r#""},"tlogEntries":[ {"logIndex":"1"} ]}, "dsse"#)
        .replace(r#"[{"sig""#, r#"[{"keyid":"abc","sig""#);
    let before = check(padded.as_bytes(), subject(), &[key.public()]).unwrap();
    let entries = padded.find("[ {").unwrap()..padded.find("]}, ").unwrap();
    let key_id = padded.find("abc").unwrap()..padded.find("abc").unwrap() + 3;
    let white: Vec<usize> = padded.match_indices(' ').map(|(at, _)| at).collect();
    let mut survived = 0;
    for at in 0..padded.len() {
        for flip in [0x01, 0x04, 0x20, 0x29] {
            let mut changed = padded.clone().into_bytes();
            changed[at] ^= flip;
            if let Ok(after) = check(&changed, subject(), &[key.public()]) {
                survived += 1;
                assert_eq!(after, before);
                assert!(entries.contains(&at) || key_id.contains(&at) || white.contains(&at), "byte {at} ^ {flip:#x}");
            }
        }
    }
    assert!(survived > 0, "the test looks where something can change");
}
