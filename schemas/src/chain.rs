//! Chains: the ordered list of programs at one hook, as a set declares them.
//!
//! These types are shared by the checked manifest and by the set bundle's config,
//! so that a chain that was signed and a chain that was written on this host are
//! the same value. Spans are for messages only and are left out when serialised.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    diagnostic::Span,
    hook::{Attach, Foreign, Hook, Mode, ProceedOn},
    names::{MapName, ProgramName},
};

/// Text that may still hold a `{{ host.… }}` template.
///
/// Everything else was rendered when the manifest was checked; host facts are
/// filled in on the host that applies ([`crate::template::render_host`]).
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostText(pub String);

/// One chain: a hook of one or more interfaces or of a cgroup, and the programs that run there in order.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Where the kernel calls it.
    pub hook: Hook,
    /// Interface names or globs (`eth*`), each possibly with a host template; none for a cgroup's hook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<HostText>,
    /// The cgroup as a path (`/sys/fs/cgroup/system.slice`), for a cgroup's hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<HostText>,
    /// The network namespace as a path (`/run/netns/edge`); none means the one that `apply` runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<HostText>,
    /// XDP's mode; meaningless and [`Mode::Native`] elsewhere.
    pub mode: Mode,
    /// How a tc chain is attached; none elsewhere, and where the host decides: tcx where its kernel has it, else clsact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<Attach>,
    /// What to do about strangers.
    pub foreign: Foreign,
    /// The programs, in the order in which they run.
    pub programs: Vec<Link>,
    /// Where the manifest declares it.
    #[serde(skip)]
    pub at: Span,
}

/// One program's place in a chain.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The program.
    pub program: ProgramName,
    /// The verdicts after which the next one runs. The last program's is not asked: its verdict stands.
    pub proceed_on: ProceedOn,
    /// Where the manifest names it.
    #[serde(skip)]
    pub at: Span,
}

/// A map that the whole set shares.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedMap {
    /// Its name in the objects; every program that declares a map of this name uses this one.
    pub name: MapName,
    /// Replaces the object's `max_entries`, or fills it in where the object leaves it 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<u32>,
    /// Where the manifest declares it.
    #[serde(skip)]
    pub at: Span,
}

/// The value of a global variable, as the manifest writes it; typed by the object's BTF later.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GlobalValue {
    /// A whole number; wide enough for `u64` and `i64`.
    Int(i128),
    /// `true` or `false`.
    Bool(bool),
    /// Text: for `char[]`, an enum's member by name, or a host template that renders to one of the others.
    Text(String),
    /// An array, item by item; items that are left out stay as the object has them.
    List(Vec<GlobalValue>),
    /// A struct's members by name; members that are left out stay as the object has them.
    Map(BTreeMap<String, GlobalValue>),
}

/// The globals that a manifest sets for one program, by variable name.
pub type Globals = BTreeMap<String, GlobalValue>;
