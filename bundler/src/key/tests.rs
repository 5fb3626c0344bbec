use std::{fs, os::unix::fs::PermissionsExt as _};

use bpfkit_schemas::{Code, diagnostic::Diagnose as _};

use super::*;

/// Made by `cosign generate-key-pair` 3.1.1 with the passphrase `hunter2`.
const COSIGNS_KEY: &str = include_str!("tests/cosign.key");
const COSIGNS_PUB: &str = include_str!("tests/cosign.pub");
const P384: &str = include_str!("tests/p384.pub");
const BARE: &str = include_str!("tests/bare.key");

fn code(error: &KeyError) -> &'static str {
    error.diagnose()[0].code.as_str()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_key_that_cosign_made_opens_and_is_its_own_public_half() {
    let key = PrivateKey::from_encrypted_pem(COSIGNS_KEY, &"hunter2".into()).unwrap();
    assert_eq!(*key.public(), PublicKey::from_pem(COSIGNS_PUB).unwrap());
    assert_eq!(key.public().pem(), COSIGNS_PUB);
    // As cosign 3.1.1 wrote it into a bundle.
    assert_eq!(key.public().hint(), "Sc0uB7UX1hq6FjAFawL2tgZdvevYw1SHYQC5x4XGrMg=");
}

#[test]
fn a_new_pair_reads_back_and_is_the_owners_alone() {
    let folder = folder();
    let made = keygen(&folder.path().join("ana.v2"), &"p".into()).unwrap();
    assert!(made.private.ends_with("ana.v2.key") && made.public.ends_with("ana.v2.pub"));
    let bits = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((bits(&made.private), bits(&made.public)), (0o600, 0o644));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left behind");

    let read = PrivateKey::read(&made.private, &"p".into()).unwrap();
    assert_eq!(*read.public(), made.key);
    assert_eq!(PublicKey::read(&made.public).unwrap(), made.key);
    assert!(fs::read_to_string(&made.private).unwrap().starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
}

#[test]
fn neither_file_of_a_pair_is_ever_replaced() {
    for there in ["k.key", "k.pub"] {
        let folder = folder();
        fs::write(folder.path().join(there), "precious").unwrap();
        let error = keygen(&folder.path().join("k"), &"p".into()).unwrap_err();
        assert_eq!(code(&error), Code::KEY_EXISTS.as_str());
        assert!(error.to_string().contains(there), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join(there)).unwrap(), "precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no half of a pair is left behind");
    }
}

#[test]
fn a_dangling_link_in_the_place_of_a_key_is_not_followed() {
    let folder = folder();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join("k.key")).unwrap();
    assert_eq!(code(&keygen(&folder.path().join("k"), &"p".into()).unwrap_err()), Code::KEY_EXISTS.as_str());
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn the_wrong_passphrase_has_its_own_code() {
    let error = PrivateKey::from_encrypted_pem(COSIGNS_KEY, &"hunter3".into()).unwrap_err();
    assert_eq!(code(&error), Code::WRONG_PASSPHRASE.as_str());
}

#[test]
fn a_private_key_that_others_can_get_at_is_refused() {
    let folder = folder();
    let path = folder.path().join("k.key");
    fs::write(&path, COSIGNS_KEY).unwrap();
    for mode in [0o604, 0o644, 0o666, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = PrivateKey::read(&path, &"hunter2".into()).unwrap_err();
        assert_eq!(code(&error), Code::KEY_EXPOSED.as_str(), "{mode:o}");
        assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
    }
    for mode in [0o600, 0o400, 0o440, 0o640] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(PrivateKey::read(&path, &"hunter2".into()).is_ok(), "{mode:o}");
    }
}

#[test]
fn keys_of_other_kinds_and_shapes_are_refused_by_name() {
    let open = |text: &str| PrivateKey::from_encrypted_pem(text, &"hunter2".into()).unwrap_err();
    assert_eq!(code(&open(BARE)), Code::KEY_NOT_ENCRYPTED.as_str());
    for text in [COSIGNS_PUB, "", "no PEM at all", &COSIGNS_KEY.replace("eyJr", "eyJs")] {
        assert_eq!(code(&open(text)), Code::NOT_A_PRIVATE_KEY.as_str(), "{text}");
    }
    let public = |text: &str| PublicKey::from_pem(text).unwrap_err();
    assert!(public(P384).to_string().contains("ECDSA P-384"));
    assert_eq!(code(&public(P384)), Code::KEY_KIND.as_str());
    for text in [COSIGNS_KEY, BARE, "", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        assert_eq!(code(&public(text)), Code::NOT_A_PUBLIC_KEY.as_str(), "{text}");
    }
    assert!(public(COSIGNS_KEY).to_string().contains("it is a private key"));
}

#[test]
fn a_point_off_the_curve_is_no_key() {
    let mut der = PublicKey::from_pem(COSIGNS_PUB).unwrap().der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(code(&PublicKey::from_der(&der).unwrap_err()), Code::NOT_A_PUBLIC_KEY.as_str());
}

#[test]
fn two_spellings_of_one_key_are_one_key() {
    use p256::elliptic_curve::sec1::ToSec1Point as _;
    let key = PublicKey::from_pem(COSIGNS_PUB).unwrap();
    // The same SubjectPublicKeyInfo with the point compressed: 33 bytes instead of 65.
    let point = p256::PublicKey::from_public_key_der(key.der()).unwrap();
    let compressed = point.as_affine().to_sec1_point(true);
    let header = &key.der()[..26];
    let mut der = header.to_vec();
    der[1] -= 32;
    der[24] -= 32;
    der.extend_from_slice(compressed.as_bytes());
    assert_ne!(der, key.der());
    assert_eq!(PublicKey::from_der(&der).unwrap(), key);
    // And in PEM with other line ends.
    assert_eq!(PublicKey::from_pem(&COSIGNS_PUB.replace('\n', "\r\n")).unwrap(), key);
}

/// The JSON inside a key file, changed and wrapped again.
fn rewrapped(from: &str, to: &str) -> String {
    let (label, json) = pem::decode_vec(COSIGNS_KEY.trim().as_bytes()).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert!(json.contains(from), "{json}");
    pem::encode_string(label, LineEnding::LF, json.replace(from, to).as_bytes()).unwrap()
}

#[test]
fn a_hostile_key_file_is_refused_without_panic_or_great_cost() {
    for (from, to) in [
        (r#""N":65536"#, r#""N":1073741824"#),
        (r#""N":65536"#, r#""N":0"#),
        (r#""r":8"#, r#""r":4294967295"#),
        (r#""p":1"#, r#""p":4096"#),
        (r#""nonce":"wrOG"#, r#""nonce":""#),
        (r#""nonce":"wrOG"#, r#""nonce":"wrOGwrOG"#),
        (r#""name":"scrypt""#, r#""name":"argon2""#),
        (r#""name":"nacl/secretbox""#, r#""name":"none""#),
        (r#"{"kdf""#, r#"{"x":1,"kdf""#),
    ] {
        let error = PrivateKey::from_encrypted_pem(&rewrapped(from, to), &"hunter2".into()).unwrap_err();
        assert_eq!(code(&error), Code::NOT_A_PRIVATE_KEY.as_str(), "{to}");
    }
    // An empty or changed ciphertext looks like a wrong passphrase; nothing can tell them apart.
    let error =
        PrivateKey::from_encrypted_pem(&rewrapped(r#""ciphertext":"soW1"#, r#""ciphertext":"soW2"#), &"hunter2".into())
            .unwrap_err();
    assert_eq!(code(&error), Code::WRONG_PASSPHRASE.as_str());
}

#[test]
fn a_file_without_end_is_read_no_further_than_a_key_can_be() {
    assert_eq!(code(&PublicKey::read(Path::new("/dev/zero")).unwrap_err()), Code::NOT_A_PUBLIC_KEY.as_str());
    let missing = PublicKey::read(Path::new("/nonexistent.pub")).unwrap_err();
    assert_eq!(code(&missing), Code::KEY_IO.as_str());
    assert!(missing.diagnose()[0].causes[0].contains("No such file"));
}

#[test]
fn signing_twice_gives_the_same_bytes() {
    let key = PrivateKey::from_encrypted_pem(COSIGNS_KEY, &"hunter2".into()).unwrap();
    assert_eq!(key.sign(b"x").unwrap(), key.sign(b"x").unwrap());
    assert_ne!(key.sign(b"x").unwrap(), key.sign(b"y").unwrap());
}

#[test]
fn sealing_twice_gives_different_files() {
    let key = PrivateKey::generate().unwrap();
    let (a, b) = (key.to_encrypted_pem(&"p".into()).unwrap(), key.to_encrypted_pem(&"p".into()).unwrap());
    assert_ne!(*a, *b);
}

#[test]
fn secrets_do_not_print_themselves() {
    let key = PrivateKey::from_encrypted_pem(COSIGNS_KEY, &"hunter2".into()).unwrap();
    let passphrase = Passphrase::from("hunter2");
    assert_eq!(format!("{passphrase:?}"), "Passphrase(…)");
    assert_eq!(format!("{key:?}"), format!("PrivateKey(of {})", key.public().spki_digest()));
    let error = PrivateKey::from_encrypted_pem(COSIGNS_KEY, &"hunter3".into()).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter"));
}

#[test]
fn a_passphrase_is_one_short_line() {
    let read = |bytes: &[u8]| Passphrase::read_from(bytes).map(|p| p.as_bytes().to_vec());
    assert_eq!(read(b"secret\n").unwrap(), b"secret");
    assert_eq!(read(b"secret\r\n").unwrap(), b"secret");
    assert_eq!(read(b" sec ret ").unwrap(), b" sec ret ");
    assert_eq!(read(b"").unwrap(), b"");
    assert_eq!(read(&[b'x'; PASSPHRASE_LIMIT]).unwrap().len(), PASSPHRASE_LIMIT);
    assert_eq!(code(&read(&[b'x'; PASSPHRASE_LIMIT + 1]).unwrap_err()), Code::BAD_PASSPHRASE.as_str());
    assert_eq!(code(&read(b"a\nb\n").unwrap_err()), Code::BAD_PASSPHRASE.as_str());
}
