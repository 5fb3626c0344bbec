//! The manifest as checked: names are types, chains are in order, nothing dangles.
//!
//! [`check()`] turns the text of a manifest into a [`Manifest`], or into every
//! problem that it has, each with its code, its place and the next move. The
//! types as written live in [`wire`]; nothing outside this module reads them.

mod check;
mod decode;
mod scalar;
pub mod wire;

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    chain::{Chain, Globals, SharedMap},
    diagnostic::{Source, Span},
    names::{Platform, ProgramName, RepositoryName, SetName},
    object::ProgramType,
    reference::{Reference, Repo},
    trust::TrustBlock,
};

pub use check::{Checked, Overrides, check, check_policy, check_repos};
pub use decode::{At, Mapping};

/// A manifest that holds together.
///
/// Paths are as written, relative to the manifest's own folder; the caller knows that folder.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The text it was read from, for messages found later (an object that lacks a map, say).
    pub source: std::sync::Arc<Source>,
    /// The set's name.
    pub name: SetName,
    /// `vars:` with `--set` applied, rendered to text.
    pub vars: BTreeMap<String, String>,
    /// How objects are built.
    pub build: Build,
    /// Named repos, in order; the first is where `push` goes when there is one alone.
    pub repos: Vec<Repo>,
    /// The programs, in order.
    pub programs: Vec<Program>,
    /// Maps that the set shares.
    pub maps: Vec<SharedMap>,
    /// The chains, in order.
    pub chains: Vec<Chain>,
    /// The trust block; `None` where the manifest has none, which trusts nothing. Keys are still files.
    pub trust: Option<ManifestTrust>,
}

impl Manifest {
    /// The program of that name.
    pub fn program(&self, name: &ProgramName) -> Option<&Program> {
        self.programs.iter().find(|p| &p.name == name)
    }

    /// The canonical name of the repository that this set belongs to: in its only repo, else `local/<set>`.
    pub fn repository(&self) -> RepositoryName {
        match self.repos.as_slice() {
            [only] => only.url.identity(&self.name).unwrap_or_else(|_| RepositoryName::local(&self.name)),
            _ => RepositoryName::local(&self.name),
        }
    }
}

/// `build:`.
#[derive(Clone, Debug)]
pub struct Build {
    /// What to build for; the machine's own platform where the manifest says nothing. Never empty, sorted, no doubles.
    pub platforms: Vec<Platform>,
    /// What `vmlinux.h` is made from.
    pub btf: BtfChoice,
    /// Extra compiler flags, in order, each with its place; checked against the allow-list by the compiler driver.
    pub cflags: Vec<(String, Span)>,
}

/// `build.btf`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BtfChoice {
    /// `default`: the kernel BTF that comes with bpfkit, one per platform.
    Default,
    /// `host`: `/sys/kernel/btf/vmlinux` of the machine that builds; for its own platform alone.
    Host,
    /// A file: raw BTF, or an ELF with a `.BTF` section.
    File(PathBuf, Span),
}

/// One entry of `programs:`.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name in the set.
    pub name: ProgramName,
    /// Where it comes from.
    pub from: ProgramSource,
    /// The function, where the object has several programs or the name differs.
    pub entry: Option<(String, Span)>,
    /// The type, where the section name doesn't say.
    pub kind: Option<ProgramType>,
    /// Values for its global variables.
    pub globals: Globals,
    /// Where each global is set (by variable name), for messages.
    pub globals_at: BTreeMap<String, Span>,
    /// The place of the whole entry.
    pub at: Span,
}

/// Where a program comes from.
#[derive(Clone, Debug)]
pub enum ProgramSource {
    /// `source:` a C file.
    C(PathBuf, Span),
    /// `object:` a ready ELF.
    Object(PathBuf, Span),
    /// `image:` a bundle in some repository.
    Image {
        /// The reference, repo names resolved.
        reference: Reference,
        /// The repository's identity: what its signatures must name.
        identity: RepositoryName,
        /// Of a set bundle, the program to take (`program:`).
        pick: Option<ProgramName>,
        /// Where it is written.
        at: Span,
    },
}

/// `trust:` as a manifest has it: keys may be files, which the caller reads.
#[derive(Clone, Debug)]
pub struct ManifestTrust {
    /// The block; a key that is a file has an empty `pem` here; the caller reads [`ManifestTrust::files`].
    pub block: TrustBlock,
    /// The files, by key name.
    pub files: BTreeMap<crate::names::KeyName, (PathBuf, Span)>,
}

/// The JSON Schema of a manifest (draft 2020-12), for editors: generated from the types in [`wire`].
///
/// `schemas/manifest.schema.json` is this text; a test keeps the two equal.
pub fn json_schema() -> String {
    let schema =
        schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<wire::Manifest>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
