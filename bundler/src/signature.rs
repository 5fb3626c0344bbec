//! Signatures: made, and found genuine or not.
//!
//! Pure. A signature is a Sigstore bundle v0.3 that holds one DSSE envelope with
//! one signature by a plain key, the form that `cosign sign --key` has written
//! since 3.0. [`sign`] writes it and [`check`] reads it, and nobody else does either.
//!
//! *Genuine* means: these bytes say, over a signature by one of the given keys,
//! that this digest is vouched for. Whether that key counts, for which repository
//! and which role, is the policy's to say (`applier::trust`). So a signature that
//! is [`NotGenuine`] isn't an error here: strangers may sign what they like.
//!
//! # What every check keeps
//!
//! 1. *It is bounded*: [`SIGNATURE_LIMIT`] bytes, 128 levels, one signature, one key tried.
//! 2. *It is strict*: no member twice, none unknown, base64 in its one spelling.
//! 3. *The signature comes first*: what a statement says is looked at only once somebody has vouched for it.
//!
//! Log entries and timestamps are allowed, not believed: no rule of ours rests on them.

mod reason;

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bpfkit_schemas::{Digest, bundle::SIGNATURE_TYPE};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use sigstore_crypto::{SigningScheme, VerificationKey};
use sigstore_types::{DerPublicKey, SignatureBytes, dsse::pae};

use crate::{
    json,
    key::{KeyError, PrivateKey, PublicKey},
    statement::{Claims, PAYLOAD_TYPE, Statement},
};

pub use self::reason::NotGenuine;

/// The largest signature that is read, in bytes. Ours and cosign's have about 800.
pub const SIGNATURE_LIMIT: usize = 1024 * 1024;

/// A signature that somebody made, about the digest that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Genuine {
    /// Whose key: the SHA-256 of its `SubjectPublicKeyInfo`.
    pub key: Digest,
    /// What the signer said about the subject.
    pub annotations: BTreeMap<String, String>,
}

/// Signs `subject` with `key`, as a Sigstore bundle in JSON.
///
/// The same key, subject and claims give the same bytes, today and in a year.
///
/// # Errors
///
/// [`KeyError::Signing`]; no input is known that causes it.
pub fn sign(key: &PrivateKey, subject: Digest, claims: &Claims) -> Result<Vec<u8>, KeyError> {
    let payload = Statement::new(subject, claims).to_bytes().map_err(|_| KeyError::Signing)?;
    let signature = key.sign(&pae(PAYLOAD_TYPE, &payload))?;
    let bundle = Wire {
        media_type: SIGNATURE_TYPE.to_owned(),
        verification_material: Material {
            public_key: Some(Hint { hint: key.public().hint() }),
            certificate: None,
            x509_certificate_chain: None,
            tlog_entries: None,
            timestamp_verification_data: None,
        },
        dsse_envelope: Some(Envelope {
            payload: BASE64.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature { sig: BASE64.encode(signature), keyid: None }],
        }),
        message_signature: None,
    };
    json::write(&bundle).map_err(|_| KeyError::Signing)
}

/// Whether `bundle` is a signature over `subject` by one of `keys`.
///
/// # Errors
///
/// Why it isn't. See [`NotGenuine`] for the order in which that is found out.
pub fn check(bundle: &[u8], subject: Digest, keys: &[&PublicKey]) -> Result<Genuine, NotGenuine> {
    if bundle.len() > SIGNATURE_LIMIT {
        return Err(NotGenuine::format(format!("it has more than {SIGNATURE_LIMIT} bytes")));
    }
    let wire: Wire = json::read(bundle).map_err(|e| NotGenuine::format(e.to_string()))?;
    if wire.media_type != SIGNATURE_TYPE {
        return Err(NotGenuine::format(format!("its media type is `{}`", json::printable(&wire.media_type))));
    }
    let Some(envelope) = wire.dsse_envelope else {
        return Err(NotGenuine::format(
            "it holds no DSSE envelope; `cosign sign-blob` writes such signatures, `cosign sign` doesn't",
        ));
    };
    if wire.message_signature.is_some() {
        return Err(NotGenuine::format("it holds a message signature beside the DSSE envelope"));
    }
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(NotGenuine::PayloadType { found: json::printable(&envelope.payload_type) });
    }
    let [signature] = <[Signature; 1]>::try_from(envelope.signatures)
        .map_err(|all| NotGenuine::format(format!("its envelope has {} signatures instead of one", all.len())))?;
    let material = wire.verification_material;
    let Some(Hint { hint }) = material.public_key else {
        return Err(NotGenuine::Certificate);
    };
    if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
        return Err(NotGenuine::format("it names a key and a certificate"));
    }

    // The hint isn't signed, and needn't be: it only picks the key that has to fit.
    let key = keys
        .iter()
        .find(|key| key.hint() == hint)
        .ok_or_else(|| NotGenuine::UnknownKey { hint: json::printable(&hint) })?;
    let payload = BASE64.decode(&envelope.payload).map_err(|_| NotGenuine::format("its payload is not base64"))?;
    let signature = BASE64.decode(&signature.sig).map_err(|_| NotGenuine::format("its signature is not base64"))?;
    if !signed_by(key, &pae(PAYLOAD_TYPE, &payload), &signature) {
        return Err(NotGenuine::BadSignature { key: key.spki_digest() });
    }

    let Statement { subject: signed, annotations } = Statement::parse(&payload)?;
    if signed != subject {
        return Err(NotGenuine::AnotherSubject { signed });
    }
    Ok(Genuine { key: key.spki_digest(), annotations })
}

/// ECDSA P-256 over SHA-256, signature in DER.
fn signed_by(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let spki = DerPublicKey::from_bytes(key.der());
    VerificationKey::from_spki_with_scheme(&spki, SigningScheme::EcdsaP256Sha256)
        .and_then(|key| key.verify(message, &SignatureBytes::from_bytes(signature)))
        .is_ok()
}

/// A Sigstore bundle (`sigstore_bundle.proto` of protobuf-specs 0.3), members in cosign's order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    media_type: String,
    verification_material: Material,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<Envelope>,
    #[serde(default, skip_serializing)]
    message_signature: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<Hint>,
    #[serde(default, skip_serializing)]
    certificate: Option<IgnoredAny>,
    #[serde(default, skip_serializing)]
    x509_certificate_chain: Option<IgnoredAny>,
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "allowed, not believed")]
    tlog_entries: Option<Vec<IgnoredAny>>,
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "allowed, not believed")]
    timestamp_verification_data: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
}

#[cfg(test)]
mod tests;
