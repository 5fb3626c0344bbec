//! The manifest as written: one type per mapping, every value with its place.
//!
//! These types say which keys there are and what shape their values have; that
//! names refer to something and that chains make sense is for [`super::check()`].
//! Keys of the design that this version does not act on are listed as `planned`:
//! using one is an error that says so.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    decode::{At, Context, Decode, Mapping, field_type, field_value, is_required, record},
    scalar::{Count, Day, DeclaredType, ProjectPath, Text},
};
use crate::{
    Code,
    chain::{GlobalValue, HostText},
    hook::{Attach, Foreign, Hook, Mode},
    names::{KeyName, MapName, Platform, ProgramName, RepoName, SetName},
    reference::RepoUrl,
    trust::{Claims, DefaultVerdict},
    yaml::{Node, Value},
};

record! {
    /// A bpfkit manifest: programs, their order at each hook, and who is trusted.
    Manifest "the manifest" {
        /// The version of the manifest's format: 1.
        expected version "version": Count,
        /// The set's name: lower-case letters, digits, `-` and `_`.
        expected name "name": SetName,
        /// Variables for templates (`{{ vars.x }}`); `--set x=…` overrides them.
        optional vars "vars": Mapping<Text>,
        /// How objects are built.
        optional build "build": Build,
        /// Named places for bundles.
        optional repos "repos": Vec<At<Repo>>,
        /// The programs.
        optional programs "programs": Vec<At<Program>>,
        /// Maps that the whole set shares.
        optional maps "maps": Vec<At<Map>>,
        /// What runs where, in which order.
        optional chains "chains": Vec<At<Chain>>,
        /// Who must have signed what.
        optional trust "trust": Trust,
    }
    planned ["tests", "secure"]
}

record! {
    /// How objects are built.
    Build "`build`" {
        /// What to build for; this machine's platform where nothing is said.
        optional platforms "platforms": Vec<At<Platform>>,
        /// What `vmlinux.h` is made from: `default` (comes with bpfkit), `host`, or a file (raw BTF, or an ELF with `.BTF`).
        optional btf "btf": Text,
        /// Compiler flags: warnings, defines, include paths inside the project, `-O`, `-std`, `-mcpu`.
        optional cflags "cflags": Vec<At<Text>>,
    }
    planned ["kernels"]
}

record! {
    /// A named place for bundles.
    Repo "a repo" {
        /// The first part of `REPO/path` in references.
        required name "name": RepoName,
        /// A registry prefix (`registry.example/bpf`) or a directory in OCI layout (`oci:./dist`).
        required url "url": RepoUrl,
    }
    planned ["mirrors", "tls", "freshness"]
}

record! {
    /// One eBPF program, from exactly one of `source`, `object` and `image`.
    Program "a program" {
        /// Its name in chains, tags and pins.
        required name "name": ProgramName,
        /// A C file, compiled through CO-RE.
        optional source "source": ProjectPath,
        /// A ready ELF object.
        optional object "object": ProjectPath,
        /// An OCI reference: `REPO/path:tag`, `host/path@sha256:…` or `oci:DIR:tag`.
        optional image "image": Text,
        /// Of an `image` that is a set bundle, the program to take.
        optional program "program": ProgramName,
        /// The function, where the object has several programs.
        optional entry "entry": Text,
        /// The type, where the section name doesn't say: `xdp` or `tc`.
        optional kind "type": DeclaredType,
        /// Values for global variables, typed by the object's own BTF.
        optional globals "globals": Mapping<GlobalValue>,
    }
    planned ["crate", "sources", "include", "defines", "confidential"]
}

record! {
    /// A map that every program of the set which declares it shares.
    Map "a map" {
        /// Its name in the objects.
        required name "name": MapName,
        /// The number of entries, where the object leaves it open or another is wanted.
        optional max_entries "max_entries": Count,
    }
    planned ["on_change", "entries"]
}

record! {
    /// The programs at one hook, in the order in which they run.
    Chain "a chain" {
        /// `xdp`, `tc/ingress`, `tc/egress`, or a cgroup's (`cgroup/connect4`, …).
        required hook "hook": Hook,
        /// Interface names or globs.
        optional interfaces "interfaces": Vec<At<Interface>>,
        /// For the hooks of cgroups: the cgroup by its path (`/sys/fs/cgroup/system.slice`).
        optional cgroup "cgroup": HostText,
        /// A network namespace by its path (`/run/netns/edge`).
        optional netns "netns": HostText,
        /// Where XDP runs: `native` (the default) or `generic`; never changed silently.
        optional mode "mode": Mode,
        /// How a tc chain is attached: `tcx` (the default where the kernel has it) or `clsact`.
        optional attach "attach": Attach,
        /// What to do about programs that no set put there: `refuse` (the default on xdp) or `keep` (elsewhere).
        optional foreign "foreign": Foreign,
        /// The programs, by name, or with the verdicts after which the chain goes on.
        required programs "programs": Vec<At<Link>>,
    }
    planned ["engine", "sharing", "allow_gap", "on_missing", "counters", "priority", "target"]
}

record! {
    /// A program in a chain, with its `proceed_on`.
    DetailedLink "a program of a chain" {
        /// The program's name.
        required program "program": ProgramName,
        /// The verdicts after which the next program runs: names (`pass`, `ok`) or numbers.
        optional proceed_on "proceed_on": Vec<At<Text>>,
    }
    planned []
}

/// A program in a chain: its name, or a mapping with its `proceed_on`.
#[derive(Clone, Debug)]
pub struct Link {
    /// The program's name.
    pub program: At<ProgramName>,
    /// The verdicts, where they are given.
    pub proceed_on: Option<At<Vec<At<Text>>>>,
}

impl Decode for Link {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            let link = DetailedLink::decode(node, cx)?;
            return Some(Self { program: link.program, proceed_on: link.proceed_on });
        }
        Some(Self { program: At::decode(node, cx)?, proceed_on: None })
    }
}

impl JsonSchema for Link {
    fn schema_name() -> Cow<'static, str> {
        "Link".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<ProgramName>();
        let detailed = generator.subschema_for::<DetailedLink>();
        json_schema!({ "anyOf": [name, detailed] })
    }
}

/// An interface: a name or glob.
#[derive(Clone, Debug)]
pub struct Interface(pub HostText);

impl Decode for Interface {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        if let Value::Map(entries) = &node.value {
            cx.check_keys(entries, "an interface", &[], &["default_route"]);
            if entries.is_empty() {
                cx.report_at(Code::WRONG_SHAPE, "an interface is a name or a glob", node.span, "an empty mapping");
            }
            return None;
        }
        HostText::decode(node, cx).map(Self)
    }
}

impl JsonSchema for Interface {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Interface".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "examples": ["eth0", "eth*"] })
    }
}

record! {
    /// Who must have signed what. One scope applies: an `image`, else the longest `org` prefix, else `default`.
    Trust "`trust`" {
        /// What holds where no scope applies: `reject`.
        optional default "default": DefaultVerdict,
        /// Public keys by name.
        optional keys "keys": Mapping<Key>,
        /// Demands for every repository below a prefix (`registry.example/bpf`); or a list: required, with all defaults.
        optional org "org": Scopes,
        /// Demands for one repository; or a list: required, with all defaults.
        optional image "image": Scopes,
        /// What may go unsigned, and why.
        optional unsigned "unsigned": Vec<At<Waiver>>,
    }
    planned ["authorities", "freshness", "expires", "mode", "expiry_warning", "on_expired"]
}

record! {
    /// A public key.
    Key "a key" {
        /// A PEM file with the public half (`-----BEGIN PUBLIC KEY-----`).
        optional file "file": Text,
        /// The PEM text itself.
        optional pem "pem": Text,
        /// The last day (UTC) on which its signatures count.
        optional not_after "not_after": Day,
    }
    planned ["spki_sha256"]
}

record! {
    /// What a scope demands: each role that is named must be satisfied.
    Demands "a scope" {
        /// Who wrote it.
        optional author "author": Quorum,
        /// Who published it.
        optional repository "repository": Quorum,
        /// Who read it.
        optional reviewer "reviewer": Quorum,
        /// `bound` (the default): signatures must name repository and version. `digest_only`: the digest is enough.
        optional claims "claims": Claims,
    }
    planned ["freshness", "programs", "attestations", "hooks", "interfaces", "kernel_signature", "expires"]
}

record! {
    /// How many of which keys, counted over distinct key material.
    Quorum "a quorum" {
        /// How many must have signed: at least 1.
        optional threshold "threshold": Count,
        /// The keys that count.
        required from "from": Vec<At<KeyName>>,
    }
    planned []
}

record! {
    /// Something that may go unsigned; it shows in the plan.
    Waiver "a waiver" {
        /// A program of this manifest.
        optional program "program": ProgramName,
        /// A set as a whole.
        optional set "set": SetName,
        /// Why.
        required because "because": Text,
    }
    planned []
}

/// Scopes with their demands, or `LinuxKit`'s short form: a list, "required, with all defaults".
#[derive(Clone, Debug)]
pub enum Scopes {
    /// `[acme, …]`: one signature by any of the keys.
    Short(Vec<At<Text>>),
    /// `{acme: {author: …}}`.
    Long(Mapping<Demands>),
}

impl Decode for Scopes {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        if matches!(node.value, Value::List(_)) {
            return Vec::decode(node, cx).map(Self::Short);
        }
        Mapping::decode(node, cx).map(Self::Long)
    }
}

impl JsonSchema for Scopes {
    fn schema_name() -> Cow<'static, str> {
        "Scopes".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let short = generator.subschema_for::<Vec<At<Text>>>();
        let long = generator.subschema_for::<Mapping<Demands>>();
        json_schema!({ "anyOf": [short, long] })
    }
}

record! {
    /// The host's `/etc/bpfkit/repos.yml`: places that references on this host may name.
    HostRepos "repos.yml" {
        /// Named places for bundles.
        required repos "repos": Vec<At<Repo>>,
    }
    planned []
}
