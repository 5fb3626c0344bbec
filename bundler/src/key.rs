//! Keys: ECDSA P-256 pairs in cosign's own files.
//!
//! | thing | here |
//! | --- | --- |
//! | a pair of files `PREFIX.key`, `PREFIX.pub` | [`keygen`] |
//! | the private half | [`PrivateKey`]: it can't be printed, copied or serialised, and is wiped when dropped |
//! | what opens it | [`Passphrase`], just as shy |
//! | the public half | [`PublicKey`]: always the canonical encoding, so that one key has one digest |
//!
//! Both ways compatible with `cosign generate-key-pair` (3.1.1 is the judge in
//! `tests/it/signing.rs`). The cipher of the file lives in `key/envelope.rs`, the
//! disk in `key/file.rs`; this file and the envelope are pure but for the
//! operating system's random numbers.
//!
//! The `sigstore` crate can read these files too. It isn't used: a nonce of the
//! wrong length in the file makes it panic, it wipes neither the derived key nor
//! the decrypted one, and it reads kinds of keys that nothing here takes.

mod envelope;
mod error;
mod file;
mod secret;

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bpfkit_schemas::Digest;
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::{
        AssociatedOid as _, DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
        LineEnding, ObjectIdentifier, PrivateKeyInfoRef, der::pem, spki::AlgorithmIdentifierRef,
        spki::SubjectPublicKeyInfoRef,
    },
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub use self::{
    error::KeyError,
    secret::{PASSPHRASE_LIMIT, Passphrase},
};

/// The largest key file that is read, in bytes. cosign's have about 650.
pub const KEY_FILE_LIMIT: u64 = 16 * 1024;

/// What [`keygen`] wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFiles {
    /// `PREFIX.key`: cosign's encrypted PEM, mode 0600.
    pub private: PathBuf,
    /// `PREFIX.pub`: `SubjectPublicKeyInfo` in PEM, mode 0644.
    pub public: PathBuf,
    /// The public half.
    pub key: PublicKey,
}

/// Makes a key pair and writes it as `PREFIX.key` and `PREFIX.pub`.
///
/// Neither file may be there already: a key that somebody still signs with must
/// not be lost to a second call. Each file appears whole or not at all.
///
/// # Errors
///
/// [`KeyError::Exists`], [`KeyError::Write`], [`KeyError::Random`].
pub fn keygen(prefix: &Path, passphrase: &Passphrase) -> Result<KeyFiles, KeyError> {
    // Appended, not `with_extension`: `ana.v2` becomes `ana.v2.key`.
    let with = |suffix: &str| {
        let mut path = prefix.as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    };
    let (private, public) = (with(".key"), with(".pub"));
    file::refuse_if_there(&private)?;
    file::refuse_if_there(&public)?;

    let key = PrivateKey::generate()?;
    let sealed = key.to_encrypted_pem(passphrase)?;
    file::create(&private, sealed.as_bytes(), file::Readers::OwnerAlone)?;
    if let Err(error) = file::create(&public, key.public().pem().as_bytes(), file::Readers::Everyone) {
        // Half a pair is of no use, and would be in the way of the next try.
        file::take_back(&private);
        return Err(error);
    }
    Ok(KeyFiles { private, public, key: key.public().clone() })
}

/// A private key, ready to sign.
///
/// It can't be cloned, serialised or printed (`Debug` shows the public half's
/// digest), and its scalar is wiped from memory when it is dropped.
pub struct PrivateKey {
    signing: SigningKey,
    public: PublicKey,
}

impl PrivateKey {
    /// Makes a new key from the operating system's random numbers.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`] where the system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        // A scalar is any number from 1 to n-1; 32 random bytes miss that once in 2^32.
        for _ in 0..16 {
            let mut bytes = Zeroizing::new([0_u8; 32]);
            getrandom::fill(bytes.as_mut_slice()).map_err(|e| KeyError::Random { why: e.to_string() })?;
            if let Ok(secret) = p256::SecretKey::from_slice(bytes.as_slice()) {
                return Self::of(&secret);
            }
        }
        Err(KeyError::Random { why: "sixteen draws in a row were no P-256 scalar".to_owned() })
    }

    /// Reads `path`, cosign's encrypted PEM, and opens it.
    ///
    /// # Errors
    ///
    /// Everything but [`KeyError::Exists`] and [`KeyError::Write`]; above all
    /// [`KeyError::Exposed`] for a file that others may read or its group may change.
    pub fn read(path: &Path, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let text = file::read_private(path)?;
        Self::from_encrypted_pem(&text, passphrase).map_err(|e| e.in_file(path))
    }

    /// Opens cosign's encrypted PEM (`ENCRYPTED SIGSTORE PRIVATE KEY`, or `… COSIGN …` of old).
    ///
    /// # Errors
    ///
    /// [`KeyError::NotEncrypted`], [`KeyError::NotAPrivateKey`],
    /// [`KeyError::WrongPassphrase`], [`KeyError::Kind`].
    pub fn from_encrypted_pem(text: &str, passphrase: &Passphrase) -> Result<Self, KeyError> {
        let der = envelope::open(text, passphrase)?;
        let info = PrivateKeyInfoRef::try_from(der.as_slice())
            .map_err(|e| KeyError::not_private(format!("what it seals is no PKCS#8 key: {e}")))?;
        p256_alone(&info.algorithm)?;
        let secret = p256::SecretKey::from_pkcs8_der(&der)
            .map_err(|e| KeyError::not_private(format!("what it seals is no P-256 key: {e}")))?;
        Self::of(&secret)
    }

    /// Seals the key under `passphrase`: cosign's encrypted PEM. New salt and nonce each time.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`].
    pub fn to_encrypted_pem(&self, passphrase: &Passphrase) -> Result<Zeroizing<String>, KeyError> {
        let der = p256::SecretKey::from(&self.signing)
            .to_pkcs8_der()
            .map_err(|e| KeyError::not_private(format!("it can't be encoded: {e}")))?;
        envelope::seal(der.as_bytes(), passphrase)
    }

    /// Signs `message`: ECDSA over its SHA-256, in DER.
    ///
    /// The nonce is RFC 6979's, derived from key and message, so the same message
    /// is always signed by the same bytes: signing twice adds nothing to a repository,
    /// and no random number can be so bad as to give the key away.
    ///
    /// # Errors
    ///
    /// [`KeyError::Signing`]; no input is known that causes it.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature: Signature = self.signing.try_sign(message).map_err(|_| KeyError::Signing)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn of(secret: &p256::SecretKey) -> Result<Self, KeyError> {
        let public = PublicKey::of(&secret.public_key())?;
        Ok(Self { signing: SigningKey::from(secret), public })
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey(of {})", self.public.spki_digest)
    }
}

/// A public key: a point of P-256, checked to be on the curve.
///
/// Held in its one canonical encoding (uncompressed point), so two texts that
/// spell the same key have one [`PublicKey::spki_digest`], which is who it is.
#[derive(Clone, Eq, PartialEq)]
pub struct PublicKey {
    pem: String,
    der: Vec<u8>,
    spki_digest: Digest,
}

impl PublicKey {
    /// Reads `SubjectPublicKeyInfo` in PEM (`-----BEGIN PUBLIC KEY-----`).
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAPublicKey`], [`KeyError::Kind`] for anything but ECDSA P-256.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let label =
            pem::decode_label(text.as_bytes()).map_err(|e| KeyError::not_public(format!("it is not PEM: {e}")))?;
        if label != "PUBLIC KEY" {
            return Err(KeyError::not_public(match label {
                label if label.ends_with("PRIVATE KEY") => {
                    "it is a private key; name the `.pub` file beside it".to_owned()
                }
                "CERTIFICATE" => "it is a certificate, and only plain keys are supported".to_owned(),
                label => format!("it is a `{}`, not a `PUBLIC KEY`", crate::json::printable(label)),
            }));
        }
        if text.len() as u64 > KEY_FILE_LIMIT {
            return Err(KeyError::not_public(format!("it has more than {KEY_FILE_LIMIT} bytes")));
        }
        let (_, der) = pem::decode_vec(text.as_bytes())
            .map_err(|e| KeyError::not_public(format!("its base64 is damaged: {e}")))?;
        Self::from_der(&der)
    }

    /// Reads `SubjectPublicKeyInfo` in DER.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAPublicKey`], [`KeyError::Kind`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::try_from(der)
            .map_err(|e| KeyError::not_public(format!("it holds no SubjectPublicKeyInfo: {e}")))?;
        p256_alone(&spki.algorithm)?;
        let point = p256::PublicKey::from_public_key_der(der)
            .map_err(|_| KeyError::not_public("its point is not on the curve P-256"))?;
        Self::of(&point)
    }

    /// Reads the file `path` (`PREFIX.pub`).
    ///
    /// # Errors
    ///
    /// [`KeyError::Read`], and those of [`PublicKey::from_pem`], which then name the file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = file::read_public(path)?;
        Self::from_pem(&text).map_err(|e| e.in_file(path))
    }

    /// The key in PEM, as canonical as its DER, with a newline at the end.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// `SubjectPublicKeyInfo` in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER: the identity over which thresholds are counted.
    pub fn spki_digest(&self) -> Digest {
        self.spki_digest
    }

    /// What cosign writes as `publicKey.hint`: the digest in base64.
    pub fn hint(&self) -> String {
        BASE64.encode(self.spki_digest.as_bytes())
    }

    fn of(point: &p256::PublicKey) -> Result<Self, KeyError> {
        let document =
            point.to_public_key_der().map_err(|e| KeyError::not_public(format!("it can't be encoded: {e}")))?;
        let pem = document
            .to_pem("PUBLIC KEY", LineEnding::LF)
            .map_err(|e| KeyError::not_public(format!("it can't be encoded: {e}")))?;
        let der = document.as_bytes().to_vec();
        let spki_digest = Digest::from_bytes(Sha256::digest(&der).into());
        Ok(Self { pem, der, spki_digest })
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.spki_digest)
    }
}

/// Lets ECDSA P-256 pass and says of any other algorithm what it is.
fn p256_alone(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<(), KeyError> {
    const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    let curve = algorithm.parameters_oid().ok();
    if algorithm.oid == EC && curve == Some(p256::NistP256::OID) {
        return Ok(());
    }
    let named = if algorithm.oid == EC { curve.unwrap_or(EC) } else { algorithm.oid }.to_string();
    let kind = match named.as_str() {
        "1.2.840.113549.1.1.1" => "RSA",
        "1.3.101.112" => "Ed25519",
        "1.3.132.0.34" => "ECDSA P-384",
        "1.3.132.0.35" => "ECDSA P-521",
        "1.3.132.0.10" => "ECDSA secp256k1",
        other => other,
    };
    Err(KeyError::Kind { file: None, kind: kind.to_owned() })
}

#[cfg(test)]
mod tests;
