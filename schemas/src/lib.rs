//! bpfkit's vocabulary: every noun that more than one crate needs, and nothing that touches the world.
//!
//! Pure. This crate opens no file, socket or BPF object and reads neither clock
//! nor environment (`clippy.toml` beside it enforces that); text and facts come
//! in as arguments, values and [`Diagnostic`]s go out.
//!
//! | module | noun |
//! | --- | --- |
//! | [`manifest`] | the YAML file: as written ([`manifest::wire`]) and as checked ([`manifest::Manifest`]) |
//! | [`names`] | names of sets, programs, maps, keys, repos; [`names::Digest`], [`names::Tag`], [`names::Platform`] |
//! | [`mod@reference`] | where a bundle is: `host/path:tag@sha256:…`, `oci:DIR`, `REPO/path` |
//! | [`hook`] | hooks, verdicts, modes |
//! | [`chain`] | the ordered list of programs at one hook |
//! | [`object`] | what an ELF object holds, as the other crates may know it |
//! | [`section`] | libbpf's section names and the program types they mean |
//! | [`bundle`] | the set bundle's config, media types, annotations |
//! | [`trust`] | trust blocks: keys, scopes, quorums, waivers |
//! | [`yaml`] | YAML text → a tree in which every value knows its place |
//! | [`template`] | `{{ vars.x }}` and `{{ host.name }}` in scalars |
//! | [`code`] | error codes and their long explanations |
//! | [`diagnostic`] | one problem, with its place and the next move |
//! | [`report`] | the shapes of `--json` output |
#![forbid(unsafe_code)]

pub mod bundle;
pub mod chain;
pub mod code;
pub mod diagnostic;
pub mod hook;
pub mod manifest;
pub mod names;
pub mod object;
pub mod reference;
pub mod report;
pub mod section;
pub mod template;
pub mod trust;
pub mod yaml;

pub use code::Code;
pub use diagnostic::{Diagnostic, Severity, Source, Span};
pub use names::{Digest, Platform, ProgramName, SetName, Tag};
