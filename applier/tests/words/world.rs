//! A host in words: `eth0`, `xdp eth0: guard, meter@2; tc/ingress eth*: shape`.
//!
//! | in a chain | means |
//! | --- | --- |
//! | `guard` | the program, as first built |
//! | `guard@2` | its second object |
//! | `guard#3` | its third set of globals |
//! | `guard[drop pass]` | goes on after these verdicts |
//! | `xdp:generic eth0` | mode |
//! | `tc/ingress:clsact eth0` | attached as a filter |
//! | `tc/ingress!refuse eth0` | what about strangers |
//! | `eth0^/run/netns/a` | in that namespace |

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use bpfkit_applier::{
    desired::{Desired, DesiredError, Host, MapFacts, NamespaceFacts, ProgramFacts, Wanted, expand},
    execute::{Outcome, execute},
    live::{HookPoint, Interface, LiveState, Namespace},
    model::{Disturbance, Model, ModelError, ScriptHost},
    plan::{Plan, PlanError, plan, remove},
    record::RecordedSource,
};
use bpfkit_schemas::{
    chain::{Chain, HostText, Link, SharedMap},
    diagnostic::{Diagnose, Span},
    hook::{Attach, Foreign, Hook, Mode},
    names::{Digest, ProgramName, SetName},
    object::MapDescriptor,
};

pub(crate) struct World {
    pub(crate) model: Model,
    /// Maps by the program that declares them.
    pub(crate) maps: BTreeMap<String, Vec<MapFacts>>,
    pub(crate) shared: Vec<SharedMap>,
    pub(crate) glue: u32,
    pub(crate) kernel_btf: u8,
    pub(crate) grounds: Vec<String>,
    /// How tc chains are attached where nothing is said.
    pub(crate) attach: Attach,
}

pub(crate) const HERE: u64 = 1;
pub(crate) const THERE: u64 = 2;

impl World {
    /// A host with these interfaces; `^` puts one into /run/netns/a. What begins with a slash is a cgroup.
    pub(crate) fn new(interfaces: &str) -> Self {
        let interfaces = interfaces.split_whitespace().zip(1..).map(|(name, index)| {
            if name.starts_with('/') {
                Interface::cgroup(1000 + u64::from(index), name.as_ref())
            } else {
                Interface {
                    namespace: if name.ends_with('^') { there() } else { here() },
                    index,
                    name: name.trim_end_matches('^').to_owned(),
                }
            }
        });
        Self {
            model: Model::new(interfaces),
            maps: BTreeMap::new(),
            shared: Vec::new(),
            glue: 1,
            kernel_btf: 9,
            grounds: Vec::new(),
            attach: Attach::Tcx,
        }
    }

    /// Lets `program` declare a map: `name type/key/value/entries`, `~n` for a layout.
    pub(crate) fn map(&mut self, program: &str, text: &str) {
        let (name, shape) = text.split_once(' ').unwrap();
        let (shape, layout) = shape.split_once('~').unwrap_or((shape, ""));
        let n: Vec<u32> = shape.split('/').map(|n| n.parse().unwrap()).collect();
        self.maps.entry(program.to_owned()).or_default().push(MapFacts {
            map: MapDescriptor {
                name: name.to_owned(),
                map_type: n[0],
                kind: "x".to_owned(),
                key_size: n[1],
                value_size: n[2],
                max_entries: n[3],
                flags: 0,
                pinned_by_name: false,
                internal: name.starts_with('.'),
            },
            layout: layout.parse().ok().map(digest),
        });
    }

    pub(crate) fn share(&mut self, map: &str) {
        self.shared.push(SharedMap { name: map.parse().unwrap(), max_entries: None, at: Span::default() });
    }

    pub(crate) fn host(&self) -> Host {
        let mut namespaces: BTreeMap<Option<PathBuf>, NamespaceFacts> = BTreeMap::new();
        namespaces.insert(None, NamespaceFacts { inode: HERE, interfaces: BTreeMap::new() });
        let cgroups = self.model.interfaces.values().filter(|interface| interface.is_cgroup());
        let cgroups = cgroups.map(|cgroup| (PathBuf::from(&cgroup.name), cgroup.namespace.inode)).collect();
        for interface in self.model.interfaces.values().filter(|interface| !interface.is_cgroup()) {
            let facts = namespaces.entry(interface.namespace.path.clone()).or_default();
            facts.inode = interface.namespace.inode;
            facts.interfaces.insert(interface.index, interface.name.clone());
        }
        Host { namespaces, processors: 4, attach: self.attach, cgroups, ..Host::default() }
    }

    pub(crate) fn want(&self, text: &str) -> Result<Desired, DesiredError> {
        self.want_with(text, "")
    }

    /// Like `want`, with programs that are in no chain.
    pub(crate) fn want_with(&self, text: &str, unchained: &str) -> Result<Desired, DesiredError> {
        let mut programs: BTreeMap<ProgramName, ProgramFacts> = BTreeMap::new();
        let chains: Vec<Chain> = split(text, ';').into_iter().map(|chain| self.chain(chain, &mut programs)).collect();
        for program in unchained.split_whitespace() {
            let facts = self.program(Hook::Xdp, program).0;
            programs.entry(facts.name.clone()).or_insert(facts);
        }
        let programs: Vec<_> = programs.into_values().collect();
        let origin = RecordedSource { reference: "bpfkit.yml".into(), version: None, signers: vec![] };
        expand(
            &Wanted {
                set: &set(),
                source: None,
                vars: &BTreeMap::new(),
                chains: &chains,
                maps: &self.shared,
                programs: &programs,
                origin: &origin,
                kernel_btf: digest(self.kernel_btf),
                glue: self.glue,
                grounds: &self.grounds,
            },
            &self.host(),
        )
    }

    fn chain(&self, text: &str, programs: &mut BTreeMap<ProgramName, ProgramFacts>) -> Chain {
        let (head, names) = text.split_once(": ").unwrap();
        let (hook, interfaces) = head.split_once(' ').unwrap();
        let (hook, foreign) = hook.split_once('!').map_or((hook, None), |(hook, foreign)| (hook, Some(foreign)));
        let (hook, mode) = hook.split_once(':').map_or((hook, None), |(hook, mode)| (hook, Some(mode)));
        let hook: Hook = hook.parse().unwrap();
        let (interfaces, netns) =
            interfaces.split_once('^').map_or((interfaces, None), |(name, netns)| (name, Some(netns)));
        let links = split(names, ',').into_iter().map(|name| {
            let (facts, proceed_on) = self.program(hook, name);
            let program = facts.name.clone();
            programs.entry(program.clone()).or_insert(facts);
            Link { program, proceed_on, at: Span::default() }
        });
        Chain {
            hook,
            cgroup: hook.is_cgroup().then(|| HostText(interfaces.to_owned())),
            interfaces: interfaces
                .split_whitespace()
                .filter(|_| !hook.is_cgroup())
                .map(|name| HostText(name.to_owned()))
                .collect(),
            netns: netns.map(|path| HostText(path.to_owned())),
            mode: if mode == Some("generic") { Mode::Generic } else { Mode::Native },
            attach: match mode {
                Some("clsact") => Some(Attach::Clsact),
                Some("tcx") => Some(Attach::Tcx),
                _ => None,
            },
            foreign: if foreign == Some("refuse") { Foreign::Refuse } else { Foreign::default_for(hook) },
            programs: links.collect(),
            at: Span::default(),
        }
    }

    fn program(&self, hook: Hook, text: &str) -> (ProgramFacts, bpfkit_schemas::hook::ProceedOn) {
        let (text, proceed_on) = match text.split_once('[') {
            Some((text, verdicts)) => {
                let verdicts = verdicts.trim_end_matches(']').split_whitespace();
                (text, verdicts.map(|verdict| hook.verdict(verdict).unwrap()).collect())
            }
            None => (text, hook.default_proceed_on()),
        };
        let (text, globals) = text.split_once('#').unwrap_or((text, "1"));
        let (name, object) = text.split_once('@').unwrap_or((text, "1"));
        // Different programs have different objects.
        let mut bytes = [object.parse().unwrap(); 32];
        bytes.iter_mut().skip(8).zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
        let facts = ProgramFacts {
            name: name.parse().unwrap(),
            kind: hook.program_type(),
            object: Digest::from_bytes(bytes),
            entry: name.to_owned(),
            globals: digest(globals.parse().unwrap()),
            maps: self.maps.get(name).cloned().unwrap_or_default(),
        };
        (facts, proceed_on)
    }

    pub(crate) fn live(&self, desired: Option<&Desired>) -> LiveState {
        let asked: Vec<_> = desired.map_or_else(Vec::new, |desired| desired.chains.keys().copied().collect());
        self.model.observe(&set(), asked)
    }

    pub(crate) fn plan(&self, text: &str) -> Result<Plan, PlanError> {
        let desired = self.want(text).unwrap();
        plan(&desired, &self.live(Some(&desired)))
    }

    /// What an operator reads before `apply`.
    pub(crate) fn planned(&self, text: &str) -> String {
        match self.plan(text) {
            Ok(plan) => plan.to_string(),
            Err(refused) => diagnosed(&refused),
        }
    }

    /// Applies and sees to it that there is nothing left to do.
    pub(crate) fn apply(&mut self, text: &str) {
        let outcome = self.try_apply(text);
        assert!(outcome.stopped.is_none() && outcome.left.is_empty(), "{text}: {outcome:?}");
        let again = self.plan(text).unwrap();
        assert!(again.is_empty(), "{text}: planned again\n{again}");
    }

    pub(crate) fn try_apply(&mut self, text: &str) -> Outcome<ModelError> {
        let plan = self.plan(text).unwrap_or_else(|refused| panic!("{text}: {}", diagnosed(&refused)));
        execute(&plan, &(), &mut self.model)
    }

    pub(crate) fn planned_removal(&self) -> String {
        remove(&self.live(None)).to_string()
    }

    pub(crate) fn at(&self, hook: &str, interface: &str) -> HookPoint {
        let of = self.model.interfaces.values().find(|known| known.name == interface).unwrap();
        HookPoint::of(of, hook.parse().unwrap())
    }

    pub(crate) fn foreign(&mut self, hook: &str, interface: &str, name: &str, place: usize) {
        let point = self.at(hook, interface);
        self.model.disturb(&Disturbance::AddForeign { point, name: name.to_owned(), place });
    }
}

impl ScriptHost for World {
    type Kernel = Model;

    fn kernel(&mut self) -> (&mut Model, &()) {
        (&mut self.model, &())
    }

    fn desired(&mut self, chains: &str) -> Result<Desired, String> {
        self.want(chains).map_err(|error| error.to_string())
    }

    fn point(&mut self, hook: Hook, interface: &str) -> Result<HookPoint, String> {
        Ok(self.at(hook.as_str(), interface))
    }

    fn observe(&mut self, desired: Option<&Desired>) -> Result<LiveState, String> {
        Ok(self.live(desired))
    }

    fn disturb(&mut self, disturbance: &Disturbance) -> Result<(), String> {
        self.model.disturb(disturbance);
        Ok(())
    }
}

/// Problems as one text: title, notes, help.
pub(crate) fn diagnosed(error: &impl Diagnose) -> String {
    let mut text = String::new();
    for problem in error.diagnose() {
        let _ = writeln!(text, "{} {}", problem.code, problem.title);
        for note in &problem.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        if let Some(help) = &problem.help {
            let _ = writeln!(text, "  help: {help}");
        }
    }
    text
}

/// Splits at `separator`, and leaves out what is empty.
fn split(text: &str, separator: char) -> Vec<&str> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty()).collect()
}

pub(crate) fn set() -> SetName {
    "edge".parse().unwrap()
}

pub(crate) fn here() -> Namespace {
    Namespace { inode: HERE, path: None }
}

pub(crate) fn there() -> Namespace {
    Namespace { inode: THERE, path: Some("/run/netns/a".into()) }
}

pub(crate) fn digest(n: u8) -> Digest {
    Digest::from_bytes([n; 32])
}
