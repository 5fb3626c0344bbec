//! JSON as bundles use it: written compactly, read with doubled members refused.
//!
//! Pure. serde keeps the last of two equal keys where it fills a map; another
//! reader may keep the first. What was signed must mean one thing, so such a
//! document means nothing here. Depth is bounded by `serde_json` (128).

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};

/// Why a document can't be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl JsonError {
    /// An error that says `why`.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Reads one JSON document whose objects have no member twice.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let told = |error: serde_json::Error| JsonError(printable(&error.to_string()));
    serde_json::from_slice::<Once>(bytes).map_err(told)?;
    serde_json::from_slice(bytes).map_err(told)
}

/// Writes `value` without spaces, members in the order of the type.
///
/// The types of this crate can be written as JSON: their keys are strings. An
/// error would be a mistake in a type, and comes back as one rather than as a panic.
pub fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    serde_json::to_vec(value).map_err(|error| JsonError(error.to_string()))
}

/// Text from outside, fit for a message: no control characters, at most 200 characters.
pub fn printable(text: &str) -> String {
    let mut out: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if text.chars().nth(200).is_some() {
        out.push('…');
    }
    out
}

/// Any JSON value without doubled members; keeps nothing.
struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_str<E>(self, _: &str) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_unit<E>(self) -> Result<Once, E> {
        Ok(Once)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        while items.next_element::<Once>()?.is_some() {}
        Ok(Once)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Once, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            members.next_value::<Once>()?;
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("member `{}` is there twice", printable(&key))));
            }
            seen.insert(key);
        }
        Ok(Once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_there_twice_is_refused_at_any_depth() {
        assert!(read::<serde_json::Value>(br#"{"a":[{"b":1,"c":2}]}"#).is_ok());
        let error = read::<serde_json::Value>(br#"{"a":[{"b":1,"b":2}]}"#).unwrap_err();
        assert!(error.to_string().contains("`b` is there twice"), "{error}");
    }

    #[test]
    fn an_escaped_spelling_of_the_same_member_is_the_same_member() {
        assert!(read::<serde_json::Value>(br#"{"b":1,"\u0062":2}"#).is_err());
    }

    #[test]
    fn what_is_nested_too_deeply_or_followed_by_more_is_refused() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read::<serde_json::Value>(deep(100).as_bytes()).is_ok());
        assert!(read::<serde_json::Value>(deep(100_000).as_bytes()).is_err());
        assert!(read::<serde_json::Value>(b"{} {}").is_err());
    }

    #[test]
    fn messages_carry_no_control_characters_of_the_input() {
        let error =
            read::<serde_json::Value>("{\"\u{9b}31m\\u001b[2J\":1,\"\u{9b}31m\\u001b[2J\":1}".as_bytes()).unwrap_err();
        assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
    }
}
