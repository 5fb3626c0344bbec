//! What a set says of itself, against what it was asked for by → fit to be signed or not.
//!
//! Pure.

use bpfkit_schemas::{
    Code,
    diagnostic::{Diagnose, Diagnostic},
    names::{RepositoryName, Tag},
    reference::{Place, Reference},
};

/// Why a set must not be signed as what a reference calls it. All reasons are there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what is at `{asked}` is not what its name says")]
pub struct ClaimError {
    /// What was asked for.
    pub asked: Reference,
    /// What differs.
    pub misfits: Vec<Misfit>,
}

/// One thing that differs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Misfit {
    /// It belongs to another repository.
    #[error("the set belongs to `{says}`, not to `{named}`")]
    Repository {
        /// By the reference.
        named: RepositoryName,
        /// By the set.
        says: RepositoryName,
    },
    /// It is another version.
    #[error("the set is version `{says}`, not `{named}`")]
    Version {
        /// By the reference.
        named: Tag,
        /// By the set.
        says: Tag,
    },
}

pub(super) fn fits(repository: &RepositoryName, version: &Tag, asked: &Reference) -> Result<(), ClaimError> {
    let mut misfits = Vec::new();
    if let Place::Registry(named) = &asked.place
        && named != repository
    {
        misfits.push(Misfit::Repository { named: named.clone(), says: repository.clone() });
    }
    if let Some(named) = &asked.tag
        && named != version
    {
        misfits.push(Misfit::Version { named: named.clone(), says: version.clone() });
    }
    if misfits.is_empty() { Ok(()) } else { Err(ClaimError { asked: asked.clone(), misfits }) }
}

impl Diagnose for ClaimError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let of = |misfit: &Misfit| {
            Diagnostic::error(Code::CLAIM_UNFIT, self.to_string()).caused_by(misfit).help(match misfit {
                Misfit::Repository { .. } => "sign it where it belongs, or in its layout, and `bpfkit copy` it here",
                Misfit::Version { .. } => "name it by its version, or by its digest alone (`@sha256:…`)",
            })
        };
        self.misfits.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &str) -> Result<(), ClaimError> {
        let asked = Reference::parse(asked, &[]).unwrap();
        fits(&"registry.acme.example/bpf/edge".parse().unwrap(), &"1.4".parse().unwrap(), &asked)
    }

    #[test]
    fn a_set_is_signed_under_its_own_name_by_digest_alone_and_from_any_layout() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        let own = "registry.acme.example/bpf/edge";
        for asked in [format!("{own}:1.4"), format!("{own}{digest}"), format!("{own}:1.4{digest}")] {
            assert_eq!(check(&asked), Ok(()), "{asked}");
        }
        for asked in ["oci:.bpfkit/oci:1.4".to_owned(), format!("oci:/anywhere{digest}")] {
            assert_eq!(check(&asked), Ok(()), "{asked}");
        }
    }

    #[test]
    fn another_repository_or_version_is_refused_with_every_reason() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        for (asked, reasons) in [
            ("registry.acme.example/bpf/other:1.4".to_owned(), 1),
            ("mirror.acme.example/bpf/edge:1.4".to_owned(), 1),
            ("registry.acme.example:443/bpf/edge:1.4".to_owned(), 1),
            ("registry.acme.example/bpf/edge:1.5".to_owned(), 1),
            // A digest beside it doesn't make the tag true.
            (format!("registry.acme.example/bpf/edge:1.5{digest}"), 1),
            ("oci:.bpfkit/oci:latest".to_owned(), 1),
            ("evil.example/bpf/edge:1.3".to_owned(), 2),
        ] {
            let diagnostics = check(&asked).unwrap_err().diagnose();
            assert_eq!(diagnostics.len(), reasons, "{asked}");
            for diagnostic in diagnostics {
                assert_eq!(diagnostic.code, Code::CLAIM_UNFIT);
                assert_eq!((diagnostic.causes.len(), diagnostic.help.is_some()), (1, true), "{asked}");
            }
        }
    }
}
