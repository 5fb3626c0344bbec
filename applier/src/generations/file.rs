//! A generation ⇄ the bytes of its file.
//!
//! Pure. The first line is `bpfkit generation 1 sha256:…`, the format and the digest of all that
//! follows; the rest is the generation as JSON. Bytes that don't hash to that digest, another
//! format, doubled or unknown members are damage: an error, never believed in part.

use bpfkit_bundler::{hash::sha256, json};

use super::{Generation, error::Damage};

/// The format that is written, and the only one that is read.
const FORMAT: &str = "1";
/// What the first line begins with.
const MAGIC: &str = "bpfkit generation ";

/// The most bytes that a generation's file may have: a manifest's chains and maps, and not its programs.
pub(super) const MAX_BYTES: u64 = 8 << 20;

/// Writes a generation.
pub(super) fn encode(generation: &Generation) -> Result<Vec<u8>, Damage> {
    let body = json::write(generation).map_err(|error| Damage::Json(error.to_string()))?;
    let mut bytes = format!("{MAGIC}{FORMAT} {}\n", sha256(&body)).into_bytes();
    bytes.extend(body);
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Damage::TooLong);
    }
    Ok(bytes)
}

/// Reads what [`encode`] wrote. The bytes may be anybody's.
pub(super) fn decode(bytes: &[u8]) -> Result<Generation, Damage> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Damage::TooLong);
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Damage::Foreign)?;
    let (head, body) = bytes.split_at(end);
    let body = body.get(1..).unwrap_or_default();
    let head = std::str::from_utf8(head).ok().and_then(|head| head.strip_prefix(MAGIC)).ok_or(Damage::Foreign)?;
    let (format, digest) = head.split_once(' ').ok_or(Damage::Foreign)?;
    if format != FORMAT {
        return Err(Damage::Format(json::printable(format)));
    }
    if digest != sha256(body).to_string() {
        return Err(Damage::Digest);
    }
    json::read(body).map_err(|error| Damage::Json(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generations::tests::generation;

    #[test]
    fn a_generation_survives_its_bytes() {
        let one = generation(7);
        let read = decode(&encode(&one).unwrap()).unwrap();
        assert_eq!((read.number, &read.state, read.content.mark()), (7, &one.state, one.content.mark()));
        assert_eq!(encode(&read).unwrap(), encode(&one).unwrap());
    }

    #[test]
    fn each_flipped_byte_and_each_truncation_is_damage() {
        let whole = encode(&generation(7)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(decode(&bytes).is_err(), "byte {at}");
            assert!(decode(&whole[..at]).is_err(), "the first {at} bytes");
        }
    }

    #[test]
    fn another_format_is_named_and_unknown_or_doubled_members_are_damage() {
        let body = json::write(&generation(7)).unwrap();
        let with =
            |format: &str, body: &str| format!("{MAGIC}{format} {}\n{body}", sha256(body.as_bytes())).into_bytes();
        let body = String::from_utf8(body).unwrap();
        assert!(decode(&with("1", &body)).is_ok());
        assert!(matches!(decode(&with("2", &body)), Err(Damage::Format(found)) if found == "2"));
        for more in ["\"x\":1,", "\"number\":8,"] {
            assert!(matches!(decode(&with("1", &body.replacen('{', &format!("{{{more}"), 1))), Err(Damage::Json(_))));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&tail);
            let mut bytes = format!("{MAGIC}{FORMAT} {}\n", sha256(&tail)).into_bytes();
            bytes.extend(tail);
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
