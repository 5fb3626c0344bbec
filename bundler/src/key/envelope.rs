//! cosign's encrypted PEM: scrypt makes a key of the passphrase, `NaCl`'s secretbox seals PKCS#8 under it.
//!
//! The format is go-securesystemslib's `encrypted/encrypted.go`: base64 in PEM of
//!
//! ```json
//! {"kdf":{"name":"scrypt","params":{"N":65536,"r":8,"p":1},"salt":"…"},
//!  "cipher":{"name":"nacl/secretbox","nonce":"…"},"ciphertext":"…"}
//! ```
//!
//! Pure but for random salts and nonces. The parameters in a file are hostile
//! input: only cosign's own sets are run, so memory stays below 130 MiB.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305, aead::Aead as _};
use p256::pkcs8::{LineEnding, der::pem};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KEY_FILE_LIMIT, KeyError, Passphrase};

/// What cosign 2 and 3 write.
const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign 1 wrote.
const LABEL_OF_OLD: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// log2(N) of the parameter sets that go-securesystemslib knows: legacy, standard, OWASP. r = 8, p = 1 in all.
const KNOWN_LOG_N: [u8; 3] = [15, 16, 17];
/// "Standard", what cosign 3.1.1 writes.
const LOG_N: u8 = 16;
const R: u32 = 8;
const P: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Seals `der`.
pub(super) fn seal(der: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<String>, KeyError> {
    let broken = |why: &str| KeyError::not_private(format!("it can't be sealed: {why}"));
    let (mut salt, mut nonce) = ([0_u8; 32], [0_u8; 24]);
    for random in [salt.as_mut_slice(), nonce.as_mut_slice()] {
        getrandom::fill(random).map_err(|e| KeyError::Random { why: e.to_string() })?;
    }
    let key = derive(passphrase, &salt, LOG_N)?;
    let ciphertext = XSalsa20Poly1305::new(&(*key).into())
        .encrypt(&nonce.into(), der)
        .map_err(|_| broken("the cipher refuses it"))?;
    let sealed = Sealed {
        kdf: Kdf { name: "scrypt".to_owned(), params: Params { n: 1 << LOG_N, r: R, p: P }, salt: BASE64.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".to_owned(), nonce: BASE64.encode(nonce) },
        ciphertext: BASE64.encode(ciphertext),
    };
    let json = crate::json::write(&sealed).map_err(|e| broken(&e.to_string()))?;
    pem::encode_string(LABEL, LineEnding::LF, &json).map(Zeroizing::new).map_err(|e| broken(&e.to_string()))
}

/// Opens what [`seal`] or cosign sealed.
pub(super) fn open(text: &str, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let refused = |why: String| KeyError::not_private(why);
    let text = text.trim();
    if text.len() as u64 > KEY_FILE_LIMIT {
        return Err(refused(format!("it has more than {KEY_FILE_LIMIT} bytes")));
    }
    match pem::decode_label(text.as_bytes()).map_err(|e| refused(format!("it is not PEM: {e}")))? {
        LABEL | LABEL_OF_OLD => {}
        "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" | "OPENSSH PRIVATE KEY" => {
            return Err(KeyError::NotEncrypted { file: None });
        }
        "PUBLIC KEY" => return Err(refused("it is a public key; signing needs the `.key` file beside it".to_owned())),
        other => return Err(refused(format!("it is a `{}`", crate::json::printable(other)))),
    }
    let (_, json) = pem::decode_vec(text.as_bytes()).map_err(|e| refused(format!("its base64 is damaged: {e}")))?;
    let sealed: Sealed = crate::json::read(&json).map_err(|e| refused(e.to_string()))?;

    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        return Err(refused("it is sealed in a way that cosign doesn't use".to_owned()));
    }
    let Params { n, r, p } = sealed.kdf.params;
    let log_n = KNOWN_LOG_N.into_iter().find(|log_n| 1_u64 << log_n == n && r == R && p == P);
    let log_n = log_n.ok_or_else(|| refused(format!("cosign doesn't use scrypt with N={n}, r={r}, p={p}")))?;
    let bytes = |what: &str, text: &str| BASE64.decode(text).map_err(|_| refused(format!("its {what} is not base64")));
    let salt = bytes("salt", &sealed.kdf.salt)?;
    let nonce: [u8; 24] = bytes("nonce", &sealed.cipher.nonce)?
        .try_into()
        .map_err(|_| refused("its nonce doesn't have 24 bytes".to_owned()))?;
    let ciphertext = bytes("ciphertext", &sealed.ciphertext)?;

    let key = derive(passphrase, &salt, log_n)?;
    // Poly1305 can't tell a wrong key from a changed file.
    XSalsa20Poly1305::new(&(*key).into())
        .decrypt(&nonce.into(), ciphertext.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| KeyError::WrongPassphrase { file: None })
}

fn derive(passphrase: &Passphrase, salt: &[u8], log_n: u8) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let params = scrypt::Params::new(log_n, R, P).map_err(|e| KeyError::not_private(e.to_string()))?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.as_bytes(), salt, &params, key.as_mut_slice())
        .map_err(|e| KeyError::not_private(e.to_string()))?;
    Ok(key)
}
