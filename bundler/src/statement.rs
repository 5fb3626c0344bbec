//! What a signature says: an in-toto statement, and its bytes.
//!
//! Pure. The statement is cosign's own (predicate type
//! `https://sigstore.dev/cosign/sign/v1`), so `cosign verify -a key=value` reads
//! ours and we read what `cosign sign -a key=value` writes. What cosign leaves
//! open we close: exactly one subject with exactly one digest, and repository,
//! version and role as annotations of that subject, so that a signature can't be
//! carried to another repository or another version.
//!
//! The bytes are cosign 3.1.1's, member for member: the same claims give the same bytes.

use std::collections::BTreeMap;

use bpfkit_schemas::{
    Digest, Tag,
    bundle::{ANNOTATION_REPOSITORY, ANNOTATION_ROLE, ANNOTATION_VERSION},
    names::RepositoryName,
    trust::Role,
};
use serde::{Deserialize, Serialize};

use crate::{json, signature::NotGenuine};

/// in-toto attestation framework v1, "Statement".
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What `cosign sign` states about an image since 3.0.
pub const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";
/// DSSE's payload type for in-toto statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The most annotations that a subject may have; cosign sets no limit, an attacker might use that.
const ANNOTATIONS_LIMIT: usize = 64;

/// What a signer vouches for, apart from the digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claims {
    /// The repository's canonical name (`dev.bpfkit.repository`).
    pub repository: RepositoryName,
    /// The version (`dev.bpfkit.version`).
    pub version: Tag,
    /// The role (`dev.bpfkit.role`); without one the signature counts for any role that the key has.
    pub role: Option<Role>,
}

impl Claims {
    /// The claims as annotations of the subject.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let role = self.role.map(|role| (ANNOTATION_ROLE, role.as_str()));
        [(ANNOTATION_REPOSITORY, self.repository.as_str()), (ANNOTATION_VERSION, self.version.as_str())]
            .into_iter()
            .chain(role)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

/// One statement: this digest, with these annotations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// The digest of the manifest or index that is vouched for.
    pub subject: Digest,
    /// What is said about it.
    pub annotations: BTreeMap<String, String>,
}

impl Statement {
    /// States `claims` about `subject`.
    pub fn new(subject: Digest, claims: &Claims) -> Self {
        Self { subject, annotations: claims.annotations() }
    }

    /// The bytes that are signed, through DSSE.
    ///
    /// # Errors
    ///
    /// None that an input could cause; see [`json::write`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, json::JsonError> {
        json::write(&Wire {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject {
                digest: BTreeMap::from([("sha256".to_owned(), self.subject.hex())]),
                annotations: self.annotations.clone(),
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Some(Predicate {}),
        })
    }

    /// Reads a statement, strictly: nothing in it may be left over that somebody else would read.
    ///
    /// # Errors
    ///
    /// [`NotGenuine::PredicateType`], [`NotGenuine::Subjects`], [`NotGenuine::Format`].
    pub fn parse(payload: &[u8]) -> Result<Self, NotGenuine> {
        // The predicate type first: a statement of another kind has its own rules, and is named as what it is.
        let kind: Kind =
            json::read(payload).map_err(|e| NotGenuine::format(format!("its statement can't be read: {e}")))?;
        if kind.statement_type != STATEMENT_TYPE {
            return Err(NotGenuine::format("its payload is not an in-toto statement, version 1"));
        }
        if kind.predicate_type != PREDICATE_TYPE {
            return Err(NotGenuine::PredicateType { found: json::printable(&kind.predicate_type) });
        }
        if kind.subject.len() != 1 {
            return Err(NotGenuine::Subjects { count: kind.subject.len() });
        }

        let wire: Wire =
            json::read(payload).map_err(|e| NotGenuine::format(format!("its statement can't be read: {e}")))?;
        let [subject] =
            <[Subject; 1]>::try_from(wire.subject).map_err(|all| NotGenuine::Subjects { count: all.len() })?;
        if subject.annotations.len() > ANNOTATIONS_LIMIT {
            return Err(NotGenuine::format(format!("its subject has more than {ANNOTATIONS_LIMIT} annotations")));
        }
        let digest = match subject.digest.iter().collect::<Vec<_>>().as_slice() {
            [(algorithm, hex)] if *algorithm == "sha256" => format!("sha256:{hex}").parse::<Digest>().ok(),
            _ => None,
        };
        let digest = digest.ok_or_else(|| NotGenuine::format("its subject is not named by one SHA-256 digest"))?;
        Ok(Self { subject: digest, annotations: subject.annotations })
    }
}

/// As much of any statement as says what kind it is.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<serde::de::IgnoredAny>,
}

/// The whole statement, members in cosign's order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    // cosign before 3.0.5 left it out.
    #[serde(default)]
    predicate: Option<Predicate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    digest: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// `{}`: this predicate type says nothing there.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::from_bytes([0xab; 32])
    }

    fn statement(annotations: &str) -> String {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}{annotations}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
            digest().hex()
        )
    }

    #[test]
    fn the_bytes_are_those_that_cosign_writes() {
        let claims = Claims {
            repository: "registry.example/acme/edge".parse().unwrap(),
            version: "1.0".parse().unwrap(),
            role: None,
        };
        let bytes = Statement::new(digest(), &claims).to_bytes().unwrap();
        // As cosign 3.1.1 wrote it for `-a dev.bpfkit.repository=… -a dev.bpfkit.version=1.0`.
        let annotations =
            r#","annotations":{"dev.bpfkit.repository":"registry.example/acme/edge","dev.bpfkit.version":"1.0"}"#;
        assert_eq!(String::from_utf8(bytes).unwrap(), statement(annotations));
    }

    #[test]
    fn a_statement_reads_back_as_it_was_written() {
        for role in [None, Some(Role::Author), Some(Role::Repository), Some(Role::Reviewer)] {
            let claims = Claims { repository: "local/edge".parse().unwrap(), version: "1".parse().unwrap(), role };
            let statement = Statement::new(digest(), &claims);
            assert_eq!(Statement::parse(&statement.to_bytes().unwrap()), Ok(statement));
        }
    }

    #[test]
    fn a_statement_without_annotations_or_predicate_is_read() {
        let text = statement("");
        assert!(Statement::parse(text.as_bytes()).unwrap().annotations.is_empty());
        assert!(Statement::parse(text.replace(r#","predicate":{}"#, "").as_bytes()).is_ok());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let good = statement("");
        let sha256 = format!(r#""sha256":"{}""#, digest().hex());
        for (what, from, to) in [
            ("a member twice", r#""predicate":{}"#, r#""predicate":{},"predicate":{}"#),
            ("an unknown member", r#""predicate":{}"#, r#""predicate":{},"x":1"#),
            ("an unknown member of the subject", r#"[{"digest""#, r#"[{"name":"evil","digest""#),
            ("a predicate with content", r#""predicate":{}"#, r#""predicate":{"x":1}"#),
            ("a second digest", &sha256, &format!(r#"{sha256},"sha512":"00""#)),
            ("another algorithm", r#""sha256":"#, r#""sha512":"#),
            ("an upper-case digest", &digest().hex(), &digest().hex().to_uppercase()),
            ("no digest", &format!("{{{sha256}}}"), "{}"),
            ("another statement version", "Statement/v1", "Statement/v0.1"),
            ("more after the end", r#""predicate":{}}"#, r#""predicate":{}} {}"#),
        ] {
            assert!(good.contains(from), "{what}");
            let bad = good.replace(from, to);
            assert!(matches!(Statement::parse(bad.as_bytes()), Err(NotGenuine::Format { .. })), "{what}: {bad}");
        }
        assert!(Statement::parse(good.as_bytes()).is_ok());
    }

    #[test]
    fn an_attestation_of_another_kind_is_named_as_such() {
        let sbom = statement("")
            .replace(PREDICATE_TYPE, "https://spdx.dev/Document")
            .replace(r#""predicate":{}"#, r#""predicate":{"a":1}"#);
        assert_eq!(
            Statement::parse(sbom.as_bytes()),
            Err(NotGenuine::PredicateType { found: "https://spdx.dev/Document".to_owned() })
        );
    }

    #[test]
    fn two_subjects_and_none_are_refused() {
        let one = format!(r#"{{"digest":{{"sha256":"{}"}}}}"#, digest().hex());
        let two = statement("").replace(&one, &format!("{one},{one}"));
        assert_eq!(Statement::parse(two.as_bytes()), Err(NotGenuine::Subjects { count: 2 }));
        let none = statement("").replace(&one, "");
        assert_eq!(Statement::parse(none.as_bytes()), Err(NotGenuine::Subjects { count: 0 }));
    }
}
