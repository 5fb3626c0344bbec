//! Turns a set's chains into what each hook of this host should run.
//!
//! Pure: the interfaces that exist, the host's facts and what each object holds are
//! arguments. Patterns become interfaces, templates become text, and every map that a
//! program declares becomes one map of the set: shared or private, of one shape.
//!
//! | rule | otherwise |
//! | --- | --- |
//! | an interface that is named exists, and so does its namespace | A301, A302 |
//! | a cgroup that is named exists | A313 |
//! | a pattern may match nothing: the chain waits | a warning in the plan |
//! | one hook of one interface has one chain of the set | A303 |
//! | programs that share a map agree about its shape | A304 |
//! | a chain that is to be attached by tcx is on a kernel that has it | A312 |
//!
//! Same-named maps are private to each program, unless `maps:` lists the name or the
//! object asks to pin it by name: then the set shares one. Constant data (`.rodata`)
//! belongs to a load, not to the set, and isn't here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use bpfkit_schemas::{
    chain::{Chain, HostText, SharedMap},
    diagnostic::{Source, Span},
    hook::{Attach, Foreign, Hook},
    names::{Digest, ProgramName, SetName},
    object::{MapDescriptor, ProgramType},
    template::{HostFacts, render_host},
};

use crate::{
    live::{HookPoint, Interface, MapKey, MapShape, Namespace, Record},
    record::{RecordedMap, RecordedProgram, RecordedSource},
};

mod maps;
mod problem;

pub use problem::{DesiredError, DesiredProblem};

/// What a set declares, as its verified bundles and its manifest say it.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The set.
    pub set: &'a SetName,
    /// The text that the chains' spans point into, where there is one.
    pub source: Option<&'a Arc<Source>>,
    /// `vars:`, for templates.
    pub vars: &'a BTreeMap<String, String>,
    /// The chains.
    pub chains: &'a [Chain],
    /// `maps:`.
    pub maps: &'a [SharedMap],
    /// Every program of the set, in a chain or not.
    pub programs: &'a [ProgramFacts],
    /// Where the set comes from, for the records.
    pub origin: &'a RecordedSource,
    /// SHA-256 of the kernel's BTF.
    pub kernel_btf: Digest,
    /// The version of the instructions that join programs.
    pub glue: u32,
    /// Why all this is believed, one line each; shown in the plan.
    pub grounds: &'a [String],
}

/// One program, as far as planning needs to know it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProgramFacts {
    /// Its name in the set.
    pub name: ProgramName,
    /// Its type.
    pub kind: ProgramType,
    /// SHA-256 of its object.
    pub object: Digest,
    /// The function.
    pub entry: String,
    /// SHA-256 over its globals, host facts filled in.
    pub globals: Digest,
    /// The maps that its object declares.
    pub maps: Vec<MapFacts>,
}

/// One map that an object declares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapFacts {
    /// As the object says it.
    pub map: MapDescriptor,
    /// [`MapShape::layout`].
    pub layout: Option<Digest>,
}

/// What there is on this host to attach to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Host {
    /// Facts for templates.
    pub facts: HostFacts,
    /// The namespaces that [`namespaces`] named, by path; `None` is the one that we run in.
    /// A path that leads to no namespace is left out.
    pub namespaces: BTreeMap<Option<PathBuf>, NamespaceFacts>,
    /// The cgroups that [`cgroups`] named, by path, with their ids. A path that leads to none is left out.
    pub cgroups: BTreeMap<PathBuf, u64>,
    /// How many processors there may be (`/sys/devices/system/cpu/possible`): the size of a
    /// `perf_event_array` that the object leaves open, as in libbpf.
    pub processors: u32,
    /// How tc chains are attached here where their manifest doesn't say: by tcx if the kernel has it.
    pub attach: Attach,
}

/// One namespace that exists.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamespaceFacts {
    /// Its inode.
    pub inode: u64,
    /// Its interfaces' names, by index.
    pub interfaces: BTreeMap<u32, String>,
}

/// What each hook of this host should run, and with which maps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Desired {
    /// The set.
    pub set: SetName,
    /// The chains, by the hook that they go to.
    pub chains: BTreeMap<HookPoint, DesiredChain>,
    /// Patterns that match no interface now.
    pub waiting: Vec<Waiting>,
    /// The maps of every program of the set, in a chain or not: none of these is stale.
    pub maps: BTreeMap<MapKey, DesiredMap>,
    /// Why all this is believed.
    pub grounds: Vec<String>,
}

/// What one hook should run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DesiredChain {
    /// The interface.
    pub interface: Interface,
    /// What about strangers.
    pub foreign: Foreign,
    /// How it is attached, at a tc hook.
    pub attach: Option<Attach>,
    /// What the chain will say about itself: its mode, its programs, their maps.
    pub record: Record,
}

/// One map of the set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DesiredMap {
    /// Its shape.
    pub shape: MapShape,
    /// The programs that declare it.
    pub programs: BTreeSet<ProgramName>,
}

/// A pattern that matches no interface now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// The hook.
    pub hook: Hook,
    /// The pattern.
    pub pattern: String,
    /// The namespace's path, where it isn't ours.
    pub netns: Option<PathBuf>,
}

/// The namespaces that the chains name, for the caller to look up; `None` is the one that we run in.
///
/// A template that can't be rendered is left out here and reported by [`expand`].
pub fn namespaces(wanted: &Wanted<'_>, facts: &HostFacts) -> BTreeSet<Option<PathBuf>> {
    let path = |text: &HostText| render_host(&text.0, wanted.vars, facts).ok().map(PathBuf::from);
    wanted
        .chains
        .iter()
        .filter(|chain| !chain.hook.is_cgroup())
        .filter_map(|chain| match &chain.netns {
            None => Some(None),
            Some(text) => path(text).map(Some),
        })
        .collect()
}

/// The cgroups that the chains name, for the caller to look up; as [`namespaces`].
pub fn cgroups(wanted: &Wanted<'_>, facts: &HostFacts) -> BTreeSet<PathBuf> {
    let texts = wanted.chains.iter().filter_map(|chain| chain.cgroup.as_ref());
    texts.filter_map(|text| render_host(&text.0, wanted.vars, facts).ok().map(PathBuf::from)).collect()
}

/// Expands what `wanted` says to the interfaces of `host`. All problems are found in one go.
pub fn expand(wanted: &Wanted<'_>, host: &Host) -> Result<Desired, DesiredError> {
    let mut expansion = Expansion { wanted, host, chains: BTreeMap::new(), waiting: Vec::new(), problems: Vec::new() };
    let (maps, keys) = maps::of_set(wanted, host.processors, &mut expansion.problems);
    for chain in wanted.chains {
        expansion.chain(chain, &keys);
    }
    if !expansion.problems.is_empty() {
        return Err(DesiredError { text: wanted.source.cloned(), problems: expansion.problems });
    }
    Ok(Desired {
        set: wanted.set.clone(),
        chains: expansion.chains.into_iter().map(|(point, claim)| (point, claim.chain)).collect(),
        waiting: expansion.waiting,
        maps,
        grounds: wanted.grounds.to_vec(),
    })
}

/// Whether an entry of `interfaces:` is a pattern, which may match nothing, and not a name.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// The maps of each program.
type Keys = BTreeMap<ProgramName, BTreeSet<MapKey>>;

struct Expansion<'a> {
    wanted: &'a Wanted<'a>,
    host: &'a Host,
    chains: BTreeMap<HookPoint, Claim<'a>>,
    waiting: Vec<Waiting>,
    problems: Vec<DesiredProblem>,
}

/// A program's maps as its record names them.
fn recorded(keys: Option<&BTreeSet<MapKey>>) -> Vec<RecordedMap> {
    let mut maps: Vec<_> = keys
        .into_iter()
        .flatten()
        .map(|key| match key {
            MapKey::Shared(name) => RecordedMap::Shared(name.clone()),
            MapKey::Private(_, name) => RecordedMap::Private(name.clone()),
        })
        .collect();
    maps.sort();
    maps
}

/// A problem that is among the expansion's already.
struct Reported;

/// A hook that is taken, and by which chain and pattern.
struct Claim<'a> {
    by: &'a Chain,
    pattern: String,
    chain: DesiredChain,
}

impl<'a> Expansion<'a> {
    fn chain(&mut self, chain: &'a Chain, keys: &Keys) {
        let programs = self.programs(chain, keys);
        if chain.hook.is_cgroup() {
            self.cgroup(chain, programs);
            return;
        }
        let Ok(netns) = self.netns(chain) else { return };
        let Some(namespace) = self.host.namespaces.get(&netns) else {
            self.problems.push(DesiredProblem::NoNamespace {
                hook: chain.hook,
                path: netns.unwrap_or_else(|| PathBuf::from("/proc/self/ns/net")),
                at: chain.at,
            });
            return;
        };
        let attach = chain.hook.is_tc().then_some(chain.attach.unwrap_or(self.host.attach));
        if attach == Some(Attach::Tcx) && self.host.attach != Attach::Tcx {
            self.problems.push(DesiredProblem::NoTcx { hook: chain.hook, at: chain.at });
            return;
        }
        for text in &chain.interfaces {
            let Some(pattern) = self.render(text, chain.at) else { continue };
            let Some(matches) = self.matches(chain, &pattern, netns.as_deref(), namespace) else { continue };
            for (index, name) in matches {
                let namespace = Namespace { inode: namespace.inode, path: netns.clone() };
                let interface = Interface { namespace, index, name };
                let record = self.record(chain, &interface, programs.clone());
                let wanted = DesiredChain { interface, foreign: chain.foreign, attach, record };
                self.claim(chain, pattern.clone(), wanted);
            }
        }
    }

    /// A chain at a hook of a cgroup.
    fn cgroup(&mut self, chain: &'a Chain, programs: Vec<RecordedProgram>) {
        // Without one the manifest isn't checked; what a bundle says is held to the same rule here.
        let text = chain.cgroup.clone().unwrap_or(HostText(String::new()));
        let Some(path) = self.render(&text, chain.at).map(PathBuf::from) else { return };
        let Some(id) = self.host.cgroups.get(&path) else {
            self.problems.push(DesiredProblem::NoCgroup { hook: chain.hook, path, at: chain.at });
            return;
        };
        let interface = Interface::cgroup(*id, &path);
        let record = self.record(chain, &interface, programs);
        let pattern = interface.name.clone();
        self.claim(chain, pattern, DesiredChain { interface, foreign: chain.foreign, attach: None, record });
    }

    fn record(&self, chain: &Chain, interface: &Interface, programs: Vec<RecordedProgram>) -> Record {
        Record {
            set: self.wanted.set.clone(),
            hook: chain.hook,
            interface: interface.name.clone(),
            mode: chain.mode,
            programs,
            kernel_btf: self.wanted.kernel_btf,
            glue: self.wanted.glue,
            clsact: None,
            source: self.wanted.origin.clone(),
        }
    }

    /// Takes a hook for a chain, unless another chain has it.
    fn claim(&mut self, by: &'a Chain, pattern: String, chain: DesiredChain) {
        let point = HookPoint::of(&chain.interface, by.hook);
        match self.chains.get(&point) {
            None => {
                self.chains.insert(point, Claim { by, pattern, chain });
            }
            // One chain may name an interface twice (`eth0`, `eth*`): that is one claim.
            Some(first) if std::ptr::eq(first.by, by) => {}
            Some(first) => self.problems.push(DesiredProblem::ClaimedTwice {
                hook: by.hook,
                interface: chain.interface.name,
                patterns: (first.pattern.clone(), pattern),
                at: (first.by.at, by.at),
            }),
        }
    }

    fn programs(&mut self, chain: &Chain, keys: &Keys) -> Vec<RecordedProgram> {
        let mut programs = Vec::new();
        if chain.programs.is_empty() {
            self.problems.push(DesiredProblem::EmptyChain { hook: chain.hook, at: chain.at });
        }
        for link in &chain.programs {
            let Some(facts) = self.wanted.programs.iter().find(|program| program.name == link.program) else {
                self.problems.push(DesiredProblem::NotInBundle {
                    program: link.program.clone(),
                    hook: chain.hook,
                    at: link.at,
                });
                continue;
            };
            if facts.kind != chain.hook.program_type() {
                self.problems.push(DesiredProblem::WrongType {
                    program: link.program.clone(),
                    kind: facts.kind,
                    hook: chain.hook,
                    at: link.at,
                });
            }
            programs.push(RecordedProgram {
                name: facts.name.clone(),
                object: facts.object,
                entry: facts.entry.clone(),
                globals: facts.globals,
                proceed_on: link.proceed_on.clone(),
                maps: recorded(keys.get(&facts.name)),
            });
        }
        programs
    }

    /// The path of the chain's namespace; `None` for the one that we run in.
    fn netns(&mut self, chain: &Chain) -> Result<Option<PathBuf>, Reported> {
        match &chain.netns {
            None => Ok(None),
            Some(text) => self.render(text, chain.at).map(|path| Some(PathBuf::from(path))).ok_or(Reported),
        }
    }

    fn render(&mut self, text: &HostText, at: Span) -> Option<String> {
        match render_host(&text.0, self.wanted.vars, &self.host.facts) {
            Ok(text) => Some(text),
            Err(why) => {
                self.problems.push(DesiredProblem::Template { text: text.0.clone(), why: why.to_string(), at });
                None
            }
        }
    }

    /// The interfaces that `pattern` matches; `None` where that is a problem or a chain that waits.
    fn matches(
        &mut self,
        chain: &Chain,
        pattern: &str,
        netns: Option<&Path>,
        namespace: &NamespaceFacts,
    ) -> Option<Vec<(u32, String)>> {
        let all = || namespace.interfaces.iter().map(|(index, name)| (*index, name.clone()));
        if !is_pattern(pattern) {
            let found: Vec<_> = all().filter(|(_, name)| name == pattern).collect();
            if found.is_empty() {
                self.problems.push(DesiredProblem::NoInterface {
                    name: pattern.to_owned(),
                    netns: netns.map(Path::to_path_buf),
                    there: namespace.interfaces.values().cloned().collect(),
                    at: chain.at,
                });
                return None;
            }
            return Some(found);
        }
        let matcher = match globset::Glob::new(pattern) {
            Ok(glob) => glob.compile_matcher(),
            Err(error) => {
                self.problems.push(DesiredProblem::BadPattern {
                    pattern: pattern.to_owned(),
                    why: error.kind().to_string(),
                    at: chain.at,
                });
                return None;
            }
        };
        let found: Vec<_> = all().filter(|(_, name)| matcher.is_match(name)).collect();
        if found.is_empty() {
            self.waiting.push(Waiting {
                hook: chain.hook,
                pattern: pattern.to_owned(),
                netns: netns.map(Path::to_path_buf),
            });
            return None;
        }
        Some(found)
    }
}
