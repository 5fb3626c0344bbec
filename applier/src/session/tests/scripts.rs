//! Holds the model of a kernel to this machine's: one script on both, and the same transcript.

use std::collections::BTreeSet;

use super::*;
use crate::{
    kernel::tests::stranger::{self, Held},
    live::{FilterId, Hold, MapKey, Pin},
    model::{Disturbance, Model, ScriptHost, play},
};

const XDP: [&str; 3] = ["guard", "limit", "meter"];
const TC: [&str; 2] = ["shape", "count"];
const CGROUP: [&str; 2] = ["allow", "note"];
const HOOKS: [&str; 4] = ["xdp", "tc/ingress", "tc/egress", "cgroup/connect4"];

/// The programs that a hook can run.
fn programs_of(hook: &str) -> &'static [&'static str] {
    match hook {
        "xdp" => &XDP,
        "cgroup/connect4" => &CGROUP,
        _ => &TC,
    }
}

/// A program with a map of its own, a shared one and global variables.
fn program(name: &str) -> String {
    let (section, context, answer) = if XDP.contains(&name) {
        ("xdp", "struct xdp_md *ctx", 2)
    } else if TC.contains(&name) {
        ("tc", "struct __sk_buff *ctx", -1)
    } else {
        ("cgroup/connect4", "struct bpf_sock_addr *ctx", 1)
    };
    format!(
        r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {{ __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 8); }} own SEC(".maps");
struct {{ __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 8); }} common SEC(".maps");
volatile __u64 runs;
SEC("{section}") int {name}({context}) {{
  __u32 zero = 0;
  runs++;
  return bpf_map_lookup_elem(&own, &zero) && bpf_map_lookup_elem(&common, &zero) ? 0 : {answer};
}}
char LICENSE[] SEC("license") = "GPL";
"#
    )
}

/// What scripts are played with on either side: the same bundle, the same wishes.
struct Stage<'a> {
    bench: &'a Bench,
    session: Session,
}

impl Stage<'_> {
    fn desired(&mut self, chains: &str) -> Result<Desired, String> {
        self.session.declared.chains = self.bench.chains(chains);
        self.session.desired().map_err(|error| error.to_string())
    }
}

struct Modelled<'a> {
    stage: Stage<'a>,
    model: Model,
}

struct Linux<'a> {
    stage: Stage<'a>,
    kernel: LinuxKernel,
    /// What strangers hold: by hook and name.
    held: BTreeMap<(HookPoint, String), Held>,
    /// Strangers' filters.
    filters: BTreeMap<(HookPoint, String), FilterId>,
}

impl ScriptHost for Modelled<'_> {
    type Kernel = Model;

    fn kernel(&mut self) -> (&mut Model, &()) {
        (&mut self.model, &())
    }

    fn desired(&mut self, chains: &str) -> Result<Desired, String> {
        self.stage.desired(chains)
    }

    fn point(&mut self, hook: Hook, _: &str) -> Result<HookPoint, String> {
        Ok(self.stage.bench.at(hook))
    }

    fn observe(&mut self, desired: Option<&Desired>) -> Result<LiveState, String> {
        let asked: Vec<_> = desired.into_iter().flat_map(|desired| desired.chains.keys().copied()).collect();
        Ok(self.model.observe(self.stage.session.set(), asked))
    }

    fn disturb(&mut self, disturbance: &Disturbance) -> Result<(), String> {
        self.model.disturb(disturbance);
        Ok(())
    }
}

impl Linux<'_> {
    /// What holds our chain at a point, wherever its pin is.
    fn ours(&self, point: &HookPoint) -> Option<(Hold, Pin)> {
        let live = self.kernel.observe(&[(self.stage.bench.target(point.hook), point.hook)]).unwrap();
        let ours = live.points.get(point)?.ours.as_ref()?;
        Some((ours.hold, ours.pin))
    }

    fn link_pin(&self, point: &HookPoint) -> PathBuf {
        let file = format!("{}-{}-{}", point.hook.slug(), point.namespace, point.index);
        Path::new(BPFFS).join("bpfkit").join(&self.stage.bench.name).join("links").join(file)
    }

    /// Waits until the kernel has taken the link apart.
    fn wait_until_free(&self, point: &HookPoint) {
        for _ in 0..500 {
            let live = self.kernel.observe(&[(self.stage.bench.target(point.hook), point.hook)]).unwrap();
            let at = &live.points[point];
            let set = crate::live::Owner::Set(self.stage.session.set().clone());
            if at.ours.is_none() && at.others.iter().all(|other| other.owner != set) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("the hook is still taken");
    }
}

impl ScriptHost for Linux<'_> {
    type Kernel = LinuxKernel;

    fn kernel(&mut self) -> (&mut LinuxKernel, &Linker) {
        (&mut self.kernel, &self.stage.session.linker)
    }

    fn desired(&mut self, chains: &str) -> Result<Desired, String> {
        self.stage.desired(chains)
    }

    fn point(&mut self, hook: Hook, _: &str) -> Result<HookPoint, String> {
        Ok(self.stage.bench.at(hook))
    }

    fn observe(&mut self, desired: Option<&Desired>) -> Result<LiveState, String> {
        self.kernel.observe(&desired.map(asked).unwrap_or_default()).map_err(|error| error.to_string())
    }

    fn disturb(&mut self, disturbance: &Disturbance) -> Result<(), String> {
        let interface = self.stage.bench.interface();
        match disturbance {
            Disturbance::DetachOurs { point } => match self.ours(point) {
                Some((Hold::Link(link), _)) => stranger::detach(link),
                Some((Hold::Filter(filter), _)) => stranger::remove_filter(&interface, point.hook, filter),
                None => {}
            },
            Disturbance::UnpinOurs { point } => {
                if std::fs::remove_file(self.link_pin(point)).is_ok() {
                    // The pin is the last that holds the link, also where somebody held it once.
                    self.held.retain(|(at, name), _| at != point || !name.starts_with("link "));
                    self.wait_until_free(point);
                }
            }
            Disturbance::UnpinHeld { point } => {
                if let Some((Hold::Link(link), Pin::Pinned)) = self.ours(point) {
                    self.held.insert((*point, format!("link {link}")), stranger::hold(link));
                    std::fs::remove_file(self.link_pin(point)).unwrap();
                }
            }
            Disturbance::UnpinMap { key } => {
                let set = Path::new(BPFFS).join("bpfkit").join(&self.stage.bench.name);
                let path = match key {
                    MapKey::Shared(name) => set.join("maps").join(name.as_str()),
                    MapKey::Private(program, name) => {
                        set.join("programs").join(program.as_str()).join(name.replace('.', "_"))
                    }
                };
                let _ = std::fs::remove_file(path);
            }
            Disturbance::AddForeign { point, name, .. } => {
                if let Some(held) = stranger::attach(&self.stage.bench.target(point.hook), point.hook, name) {
                    self.held.insert((*point, name.clone()), held);
                }
            }
            Disturbance::AddFilter { point, name, .. } => {
                let filter = stranger::add_filter(&interface, point.hook, name);
                self.filters.insert((*point, name.clone()), filter);
            }
            Disturbance::TakeFilter { point, name } => {
                if let Some((Hold::Filter(filter), _)) = self.ours(point) {
                    stranger::take_filter(&interface, point.hook, filter, name);
                    self.filters.insert((*point, name.clone()), filter);
                }
            }
            Disturbance::RemoveForeign { point, name } => {
                if let Some(filter) = self.filters.remove(&(*point, name.clone())) {
                    stranger::remove_filter(&interface, point.hook, filter);
                }
                if self.held.remove(&(*point, name.clone())).is_some() && point.hook.is_exclusive() {
                    self.wait_until_free(point);
                }
            }
            other => return Err(format!("scripts have no {other:?}")),
        }
        Ok(())
    }
}

/// A small generator of numbers (Knuth's MMIX), so that seeds mean the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

/// A script of nine lines; strangers have a name each, so that none is there twice.
fn script(seed: u64) -> String {
    let mut dice = Dice(seed);
    let (mut lines, mut strangers) = (Vec::new(), BTreeSet::new());
    for at in 0..9 {
        let hook = dice.pick(&HOOKS);
        let line = match dice.roll(if at == 0 { 4 } else { 14 }) {
            0..=4 => {
                let chains = HOOKS.iter().filter_map(|hook| {
                    let programs = programs_of(hook);
                    let names: Vec<_> = (0..dice.roll(3)).map(|_| dice.pick(programs)).collect();
                    let clsact = if hook.starts_with("tc/") && dice.roll(2) == 0 { ":clsact" } else { "" };
                    (!names.is_empty()).then(|| format!("{hook}{clsact} e0: {}", names.join(", ")))
                });
                format!("apply {}", chains.collect::<Vec<_>>().join("; "))
            }
            5 => "remove".to_owned(),
            6 => format!("detach {hook} e0"),
            7 => format!("unpin {hook} e0"),
            8 => format!("unpin-held {hook} e0"),
            9 => format!("unpin-map {}", dice.pick(&["common", "guard/own", "shape/own", "guard/.bss"])),
            10 => match strangers.pop_first() {
                Some((hook, name)) => format!("foreign-gone {hook} e0 {name}"),
                None => continue,
            },
            11 | 12 if hook.starts_with("tc/") => {
                let name = format!("filter{at}");
                strangers.insert((hook, name.clone()));
                format!("{} {hook} e0 {name}", if dice.roll(2) == 0 { "filter" } else { "take" })
            }
            _ => {
                let name = format!("theirs{at}");
                strangers.insert((hook, name.clone()));
                format!("foreign {hook} e0 {name}")
            }
        };
        lines.push(line);
    }
    lines.push("remove".to_owned());
    lines.join("\n")
}

#[test]
fn the_model_does_what_linux_does() {
    let bench = Bench::new("script");
    let sources: Vec<_> = XDP.iter().chain(&TC).chain(&CGROUP).map(|name| (*name, program(name))).collect();
    let programs: Vec<Program<'_>> = sources.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let stage = || Stage { bench: &bench, session: bench.session("1", &programs, &["common"], &Globals::new()) };
    let (mut on_model, mut on_linux) = (stage(), stage());
    let mut seen = String::new();
    for seed in 0..80 {
        let script = script(seed);
        let kernel = on_linux.session.kernel();
        let mut linux = Linux { stage: on_linux, kernel, held: BTreeMap::new(), filters: BTreeMap::new() };
        let found = play(&mut linux, &script).unwrap();
        linux.held.clear();
        stranger::remove_qdisc(&bench.interface());
        for hook in HOOKS.map(|hook| hook.parse::<Hook>().unwrap()) {
            linux.wait_until_free(&bench.at(hook));
        }
        on_linux = linux.stage;
        let mut modelled = Modelled { stage: on_model, model: Model::new([bench.interface(), bench.cgroup.target()]) };
        let wanted = play(&mut modelled, &script).unwrap();
        on_model = modelled.stage;
        assert_eq!(found, wanted, "seed {seed}, Linux on the left, the model on the right\n{script}");
        seen.push_str(&found);
    }
    for word in [
        "attach",
        "replace",
        "detach",
        "pin",
        "drop",
        "lost",
        "detached",
        "unpinned",
        "before",
        "refused",
        "PinGone",
        "by clsact",
        "on a qdisc",
    ] {
        assert!(seen.contains(word), "no script came to `{word}`\n{seen}");
    }
}
