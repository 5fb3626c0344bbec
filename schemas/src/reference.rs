//! References: where a bundle is, in one grammar, skopeo's and docker's.
//!
//! ```text
//! host/path[:tag][@sha256:…]        a registry
//! oci:DIR[:tag][@sha256:…]          a directory in OCI layout
//! REPO/path[:tag][@sha256:…]        a repo that the manifest (or the host's repos.yml) names
//! ```
//!
//! The first part is a host if it has a dot, a colon or is `localhost`; otherwise it must be a
//! repo's name. An unknown name is an error: it never means Docker Hub.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::names::{BadName, Digest, RepoName, RepositoryName, SetName, Tag};

/// A place that holds one repository.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Place {
    /// A repository in a registry.
    Registry(RepositoryName),
    /// A directory in OCI layout.
    Layout(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(name) => write!(f, "{name}"),
            Self::Layout(dir) => write!(f, "oci:{}", dir.display()),
        }
    }
}

/// What a reference picks in its place: at least one of the two.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Reference {
    /// The repository's place.
    pub place: Place,
    /// A name that can move.
    pub tag: Option<Tag>,
    /// A digest that can't; where both are given the tag is only for people.
    pub digest: Option<Digest>,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A bundle that cannot change under us: there is no tag in here to move.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Pinned {
    /// The repository's place.
    pub place: Place,
    /// The digest of the manifest or index.
    pub digest: Digest,
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.place, self.digest)
    }
}

/// A repo that a manifest or the host names: a registry prefix or a directory of layouts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    /// Its name, the first part of `REPO/path`.
    pub name: RepoName,
    /// Where it is.
    pub url: RepoUrl,
}

/// A repo's `url:`.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RepoUrl {
    /// `host[:port]/prefix` (or `host[:port]` alone); repositories are `prefix/<path>`.
    Registry(String),
    /// `oci:DIR`; repositories are layouts at `DIR/<path>`.
    Layout(PathBuf),
}

impl RepoUrl {
    /// The place of repository `path` in this repo.
    pub fn join(&self, path: &str) -> Result<Place, BadName> {
        match self {
            Self::Registry(prefix) => Ok(Place::Registry(format!("{prefix}/{path}").parse()?)),
            Self::Layout(dir) => {
                // The rule for repository paths keeps `..` and absolute paths out of the directory.
                format!("local/{path}").parse::<RepositoryName>()?;
                Ok(Place::Layout(dir.join(path)))
            }
        }
    }

    /// The canonical name of `set` in this repo: a layout has no host, so its sets are `local/<set>`.
    pub fn identity(&self, set: &SetName) -> Result<RepositoryName, BadName> {
        match self {
            Self::Registry(prefix) => format!("{prefix}/{set}").parse(),
            Self::Layout(_) => Ok(RepositoryName::local(set)),
        }
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(prefix) => f.write_str(prefix),
            Self::Layout(dir) => write!(f, "oci:{}", dir.display()),
        }
    }
}

impl FromStr for RepoUrl {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = |why: &'static str| BadName::new(text, "repo url", why);
        if let Some(dir) = text.strip_prefix("oci:") {
            return if dir.is_empty() {
                Err(bad("`oci:` is followed by a directory"))
            } else {
                Ok(Self::Layout(dir.into()))
            };
        }
        if text.contains("://") {
            return Err(bad(
                "write `host/path` without a scheme: registries are reached by https, and by http on loopback alone",
            ));
        }
        let host = text.split('/').next().unwrap_or_default();
        if !is_host(host) {
            return Err(bad("it starts with a host (`registry.example/bpf`, `localhost:5000`) or with `oci:`"));
        }
        // A path of one letter more stands for any repository below.
        format!("{text}/x").parse::<RepositoryName>().map_err(|e| BadName::new(text, "repo url", e.why))?;
        Ok(Self::Registry(text.to_owned()))
    }
}

impl TryFrom<String> for RepoUrl {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<RepoUrl> for String {
    fn from(url: RepoUrl) -> Self {
        url.to_string()
    }
}

/// Whether the first part of a reference is a host rather than a repo's name.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':'])
}

impl Reference {
    /// Reads a reference; `repos` are the names that `REPO/path` may use.
    pub fn parse(text: &str, repos: &[Repo]) -> Result<Self, BadName> {
        let bad = |why: String| BadName::new(text, "reference", why);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| bad(e.to_string()))?)),
            None => (text, None),
        };
        // A tag follows the last colon of the last path part; a colon before that is a port.
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') && path != "oci" => {
                (path, Some(tag.parse::<Tag>().map_err(|e| bad(e.to_string()))?))
            }
            _ => (rest, None),
        };
        let place = Self::place(path, repos).map_err(|e| bad(e.why.into_owned()))?;
        if tag.is_none() && digest.is_none() {
            return Err(bad("it needs a `:tag`, an `@sha256:…` digest, or both".to_owned()));
        }
        Ok(Self { place, tag, digest })
    }

    fn place(path: &str, repos: &[Repo]) -> Result<Place, BadName> {
        if let Some(dir) = path.strip_prefix("oci:") {
            return if dir.is_empty() {
                Err(BadName::new(path, "reference", "`oci:` is followed by a directory"))
            } else {
                Ok(Place::Layout(dir.into()))
            };
        }
        let (first, below) = path.split_once('/').unwrap_or((path, ""));
        if is_host(first) {
            return Ok(Place::Registry(path.parse()?));
        }
        match repos.iter().find(|repo| repo.name.as_str() == first) {
            Some(repo) => repo.url.join(below),
            None => Err(BadName::new(
                path,
                "reference",
                format!("no repo is named `{first}`; a registry is written with its host (`registry.example/…`)"),
            )),
        }
    }

    /// The pinned form, where a digest was given.
    pub fn pinned(&self) -> Option<Pinned> {
        Some(Pinned { place: self.place.clone(), digest: self.digest? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repos() -> Vec<Repo> {
        vec![
            Repo { name: "acme".parse().unwrap(), url: "registry.acme.example/bpf".parse().unwrap() },
            Repo { name: "here".parse().unwrap(), url: "oci:./dist".parse().unwrap() },
        ]
    }

    #[test]
    fn the_three_forms_are_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, want) in [
            ("acme/limit:1.4", "registry.acme.example/bpf/limit:1.4".to_owned()),
            ("here/edge:1", "oci:./dist/edge:1".to_owned()),
            ("oci:dist/edge:1.0", "oci:dist/edge:1.0".to_owned()),
            ("localhost:5000/x/y:z", "localhost:5000/x/y:z".to_owned()),
            (&format!("reg.example/x@{digest}"), format!("reg.example/x@{digest}")),
            (&format!("oci:d:1@{digest}"), format!("oci:d:1@{digest}")),
        ] {
            assert_eq!(Reference::parse(text, &repos()).unwrap().to_string(), want);
        }
    }

    #[test]
    fn an_unknown_repo_never_means_docker_hub() {
        let error = Reference::parse("library/limit:1", &repos()).unwrap_err();
        assert!(error.to_string().contains("no repo is named `library`"), "{error}");
    }

    #[test]
    fn paths_that_climb_out_and_references_that_pick_nothing_are_refused() {
        for text in [
            "here/../../etc:1",
            "here//x:1",
            "reg.example/x",
            "oci:",
            "oci::1",
            "reg.example/X:1",
            "reg.example/x@sha512:aa",
        ] {
            assert!(Reference::parse(text, &repos()).is_err(), "{text}");
        }
    }
}
