//! Names that can't be mistaken for one another, each checked once, where it enters.
//!
//! A name is a type, not a convention: a [`ProgramName`] has been looked at, so
//! nothing later has to ask whether it fits into a path, a tag or a bpffs entry.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a string is not a name of the kind that was asked for.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("`{text}` is not a {kind}: {why}")]
pub struct BadName {
    /// What was written.
    pub text: String,
    /// The kind of name, for a sentence: "program name", "digest".
    pub kind: &'static str,
    /// The rule that it breaks.
    pub why: Cow<'static, str>,
}

impl BadName {
    /// Makes the error for `text`.
    pub fn new(text: &str, kind: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.to_owned(), kind, why: why.into() }
    }
}

/// Declares a string type with one rule.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                $check(text).map_err(|why| BadName::new(text, $kind, why))?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a set. Lower-case letters, digits, `-` and `_`, at most 63:
    /// it is a bpffs directory (which refuses dots), a repository path component and a unit name.
    SetName,
    "set name",
    short_name
);
name!(
    /// The name of a program in a set. Same letters as a [`SetName`]; it is part of tags and pins.
    ProgramName,
    "program name",
    short_name
);
name!(
    /// The name of a map, as the object spells it: a C identifier.
    MapName,
    "map name",
    c_identifier
);
name!(
    /// The name that a trust block gives to a key.
    KeyName,
    "key name",
    short_name
);
name!(
    /// The name that a manifest gives to a repo, used as the first part of `REPO/path`.
    RepoName,
    "repo name",
    short_name
);
name!(
    /// An OCI tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (OCI distribution spec 1.1, "Pulling manifests").
    Tag,
    "tag",
    tag
);
name!(
    /// A repository's canonical name: `host[:port]/path`, or `local/<set>` for a set that no registry holds.
    ///
    /// It is identity, not place: signatures name it, mirrors and copies keep it.
    RepositoryName,
    "repository name",
    repository
);

fn short_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 63 {
        return Err("it must have 1 to 63 characters");
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        return Err("it must start with a lower-case letter or a digit");
    }
    if !text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_') {
        return Err("only lower-case letters, digits, `-` and `_` are allowed");
    }
    Ok(())
}

fn c_identifier(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 128 {
        return Err("it must have 1 to 128 characters");
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("it must be a C identifier");
    }
    Ok(())
}

fn tag(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 128 {
        return Err("it must have 1 to 128 characters");
    }
    if text.starts_with(['.', '-']) || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    {
        return Err("only letters, digits, `.`, `_` and `-` are allowed, and it starts with neither `.` nor `-`");
    }
    Ok(())
}

/// OCI distribution spec 1.1: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`, after a host.
fn repository(text: &str) -> Result<(), &'static str> {
    let Some((host, path)) = text.split_once('/') else {
        return Err("it must be `host/path`");
    };
    if text.len() > 255 {
        return Err("it must have at most 255 characters");
    }
    if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']')) {
        return Err("the host has characters that no host has");
    }
    for part in path.split('/') {
        let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !ends_well(part.chars().next()) || !ends_well(part.chars().last()) {
            return Err("each part of the path starts and ends with a lower-case letter or a digit");
        }
        if !part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
            || part.contains("..")
        {
            return Err("the path may hold lower-case letters, digits, `.`, `_` and `-` alone");
        }
    }
    Ok(())
}

impl RepositoryName {
    /// The identity of a set that names no registry: `local/<set>`.
    pub fn local(set: &SetName) -> Self {
        Self(format!("local/{set}"))
    }

    /// Whether `prefix` is this name or one of its parents, compared part by part:
    /// `registry.example/acme` covers `registry.example/acme/limit`, not `registry.example/acme-evil`.
    pub fn is_under(&self, prefix: &str) -> bool {
        self.0 == prefix || self.0.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// A SHA-256 digest, the only algorithm that bpfkit writes or believes. Shown as `sha256:<64 hex>`.
#[derive(Clone, Copy, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the 32 bytes that a hash function returned.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    /// `sha256:` and the first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        format!("sha256:{}", self.hex().get(..12).unwrap_or_default())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = |why: &'static str| BadName::new(text, "digest", why);
        let hex = text.strip_prefix("sha256:").ok_or_else(|| bad("only `sha256:…` digests are accepted"))?;
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(bad("`sha256:` is followed by 64 lower-case hexadecimal digits"));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, digit| {
                (value << 4) | if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
            });
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The processor architectures that bpfkit builds for, in OCI's names.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// `AArch64`.
    Arm64,
}

impl Arch {
    /// Every architecture, in OCI's order.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// OCI's name (`platform.architecture`), never uname's.
    pub fn oci(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// libbpf's `__TARGET_ARCH_<…>` suffix (`bpf_tracing.h`).
    pub fn target_define(self) -> &'static str {
        match self {
            Self::Amd64 => "x86",
            Self::Arm64 => "arm64",
        }
    }

    /// The architecture that this program was compiled for, where bpfkit knows it.
    pub fn of_this_machine() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }
}

/// A platform that objects are built for: always `linux/<arch>`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    /// The architecture.
    pub arch: Arch,
}

impl Platform {
    /// `<os>-<arch>`, as a folder under `.bpfkit/objects`.
    pub fn folder(self) -> String {
        format!("linux-{}", self.arch.oci())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.arch.oci())
    }
}

impl FromStr for Platform {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        Arch::ALL
            .into_iter()
            .map(|arch| Self { arch })
            .find(|platform| platform.to_string() == text)
            .ok_or_else(|| BadName::new(text, "platform", "bpfkit builds for linux/amd64 and linux/arm64"))
    }
}

impl TryFrom<String> for Platform {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

/// The candidate that `text` was most likely meant to be.
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(text.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_what_it_shows() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
    }

    #[test]
    fn a_digest_of_another_algorithm_or_case_is_refused() {
        for text in ["sha512:00", "sha256:00", &format!("sha256:{}", "A".repeat(64)), ""] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_repository_covers_its_children_and_no_neighbour() {
        let name: RepositoryName = "registry.example/acme/limit".parse().unwrap();
        assert!(name.is_under("registry.example/acme"));
        assert!(name.is_under("registry.example/acme/limit"));
        assert!(!name.is_under("registry.example/acm"));
        assert!(!name.is_under("registry.example/acme/limit/x"));
    }

    #[test]
    fn names_that_could_climb_or_confuse_are_refused() {
        for text in ["", "..", "a/b", "A", "a.b", "-x", "a b", "é"] {
            assert!(text.parse::<SetName>().is_err(), "{text}");
        }
        for text in ["host", "host/", "host/../x", "host/A", "host/a//b", "/a"] {
            assert!(text.parse::<RepositoryName>().is_err(), "{text}");
        }
    }
}
