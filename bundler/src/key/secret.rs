//! The passphrase of a key file, in a type that can't print itself.

use std::io::Read;

use zeroize::{Zeroize, Zeroizing};

use super::KeyError;

/// The longest passphrase, in bytes.
pub const PASSPHRASE_LIMIT: usize = 1024;

/// What opens a private key file. Wiped when dropped; `Debug` shows nothing of it.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes over; the caller keeps no copy. An empty passphrase is one, as with cosign.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Reads a passphrase to the end of `source` (a descriptor, a credential file), less one line end.
    ///
    /// # Errors
    ///
    /// [`KeyError::Passphrase`] where it can't be read, has more than one line or
    /// more than [`PASSPHRASE_LIMIT`] bytes.
    pub fn read_from(source: impl Read) -> Result<Self, KeyError> {
        // Its final capacity from the start: a vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(PASSPHRASE_LIMIT + 3));
        source
            .take(PASSPHRASE_LIMIT as u64 + 3)
            .read_to_end(&mut bytes)
            .map_err(|e| KeyError::Passphrase { why: format!("it can't be read: {e}") })?;
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if bytes.len() > PASSPHRASE_LIMIT {
            return Err(KeyError::Passphrase { why: format!("it has more than {PASSPHRASE_LIMIT} bytes") });
        }
        if bytes.contains(&b'\n') {
            return Err(KeyError::Passphrase { why: "it has more than one line".to_owned() });
        }
        Ok(Self(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Passphrase {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<&str> for Passphrase {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl Zeroize for Passphrase {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}
