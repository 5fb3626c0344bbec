//! SHA-256 over whole buffers. Pure; the one place where bytes become a [`Digest`].

use bpfkit_schemas::names::Digest;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}
