//! What holds for every plan and every run, over thousands of random hosts with a random past.
//!
//! A past is a list of wishes, each applied whole, stopped by a failure, or killed, with
//! disturbances by others in between. The laws are stated for the wish that comes next.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do: at once and with a trace"
)]

#[expect(dead_code, reason = "what only the golden plans need")]
#[path = "words/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use bpfkit_applier::{
    desired::Desired,
    execute::{Phase, converge, execute},
    live::{
        Attachment, HookPoint, LiveChain, LivePoint, LiveState, MapId, MapKey, OtherProgram, Pin, ProgramId, Record,
    },
    model::{Disturbance, Fault, play},
    plan::{HookStep, MapSource, Plan, plan, remove},
};
use bpfkit_schemas::{code::Exit, diagnostic::Diagnose as _, hook::Attach};
use proptest::{prelude::*, sample::subsequence};
use world::{World, set};

/// What the set is to be: chains, and the version of each program's object.
#[derive(Clone, Debug)]
struct Wish {
    chains: Vec<(&'static str, Vec<&'static str>)>,
    versions: BTreeMap<&'static str, u8>,
    refuse: bool,
    /// Which tc chains are filters.
    clsact: Vec<bool>,
}

/// One event of a host's past.
#[derive(Clone, Debug)]
enum Event {
    Apply(Wish, Option<Fault>),
    Remove(Option<Fault>),
    Disturb(usize, usize),
}

const POINTS: [&str; 8] = [
    "xdp eth0",
    "xdp eth1",
    "tc/ingress eth0",
    "tc/egress eth0",
    "tc/ingress eth1",
    "tc/ingress eth2^/run/netns/a",
    "cgroup/connect4 /grp",
    "cgroup/device /grp",
];

fn wish() -> impl Strategy<Value = Wish> {
    let chain = |point: &'static str| {
        let programs = match point.split_once(['/', ' ']).map(|(kind, _)| kind) {
            Some("xdp") => vec!["a", "b", "c", "d"],
            Some("tc") => vec!["s", "t", "u", "v"],
            _ if point.contains("device") => vec!["i", "j"],
            _ => vec!["k", "l", "m"],
        };
        let most = programs.len();
        subsequence(programs, 0..=most).prop_shuffle().prop_map(move |programs| (point, programs))
    };
    let chains = POINTS.map(chain).to_vec();
    let versions = prop::collection::btree_map(prop::sample::select(vec!["a", "b", "s", "t"]), 1..3_u8, 0..4);
    let clsact = prop::collection::vec(prop::bool::weighted(0.4), POINTS.len());
    (chains, versions, prop::bool::weighted(0.1), clsact).prop_map(|(mut chains, versions, refuse, clsact)| {
        chains.retain(|(_, programs)| !programs.is_empty());
        Wish { chains, versions, refuse, clsact }
    })
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        2 => Just(None),
        1 => (0..30_usize).prop_map(|at| Some(Fault::FailAt(at))),
        1 => (0..30_usize).prop_map(|at| Some(Fault::CrashAt(at))),
    ]
}

fn past() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        5 => (wish(), fault()).prop_map(|(wish, fault)| Event::Apply(wish, fault)),
        1 => fault().prop_map(Event::Remove),
        4 => (0..13_usize, 0..64_usize).prop_map(|(kind, which)| Event::Disturb(kind, which)),
    ];
    prop::collection::vec(event, 0..7)
}

impl Wish {
    /// The wish in words, and the maps that its programs declare: a private one, a shared one, and global data whose
    /// layout goes with the object.
    fn put(&self, world: &mut World) -> Desired {
        world.maps.clear();
        world.shared.clear();
        let used: BTreeSet<_> = self.chains.iter().flat_map(|(_, programs)| programs).copied().collect();
        for program in used {
            world.map(program, &format!(".bss 2/4/8/1~{}", self.version(program)));
            world.map(program, "counts 1/4/8/64");
            if ["a", "b", "s"].contains(&program) {
                world.map(program, "blocked 1/4/8/1024");
                world.shared.truncate(0);
                world.share("blocked");
            }
        }
        world.want(&self.text()).unwrap()
    }

    fn text(&self) -> String {
        let chains = self.chains.iter().zip(&self.clsact).map(|((point, programs), clsact)| {
            let (hook, interface) = point.split_once(' ').unwrap();
            let clsact = if *clsact && hook.starts_with("tc/") { ":clsact" } else { "" };
            let refuse = if self.refuse && hook != "xdp" { "!refuse" } else { "" };
            let programs: Vec<_> = programs.iter().map(|name| format!("{name}@{}", self.version(name))).collect();
            format!("{hook}{clsact}{refuse} {interface}: {}", programs.join(", "))
        });
        chains.collect::<Vec<_>>().join("; ")
    }

    fn version(&self, program: &str) -> u8 {
        self.versions.get(program).copied().unwrap_or(1)
    }
}

/// A host after its past.
fn after(past: &[Event]) -> World {
    let mut world = World::new("eth0 eth1 eth2^ /grp");
    for event in past {
        match event {
            Event::Apply(wish, fault) => {
                let desired = wish.put(&mut world);
                if let Ok(plan) = plan(&desired, &world.live(Some(&desired))) {
                    world.model.fault = *fault;
                    execute(&plan, &(), &mut world.model);
                }
            }
            Event::Remove(fault) => {
                let plan = remove(&world.live(None));
                world.model.fault = *fault;
                execute(&plan, &(), &mut world.model);
            }
            Event::Disturb(kind, which) => disturb(&mut world, *kind, *which),
        }
        world.model.restart();
    }
    world
}

fn points(world: &World) -> Vec<HookPoint> {
    [
        "xdp eth0",
        "xdp eth1",
        "tc/ingress eth0",
        "tc/egress eth0",
        "tc/ingress eth1",
        "tc/ingress eth2",
        "cgroup/connect4 /grp",
    ]
    .iter()
    .map(|point| point.split_once(' ').unwrap())
    .map(|(hook, interface)| world.at(hook, interface))
    .collect()
}

fn disturb(world: &mut World, kind: usize, which: usize) {
    let points = points(world);
    let point = points[which % points.len()];
    let keys: Vec<_> = world.live(None).maps.into_keys().collect();
    let disturbance = match kind {
        0 => Disturbance::DetachOurs { point },
        1 => Disturbance::UnpinOurs { point },
        2 => Disturbance::DamageRecord { point },
        3 => Disturbance::Litter { path: format!("x{which}").into() },
        4 if !keys.is_empty() => Disturbance::UnpinMap { key: keys[which % keys.len()].clone() },
        5 => Disturbance::UnpinHeld { point },
        6 => Disturbance::RemoveForeign { point, name: "theirs".into() },
        7 if point.hook.is_tc() => Disturbance::AddFilter { point, name: "theirs".into(), place: which % 3 },
        8 if point.hook.is_tc() => Disturbance::TakeFilter { point, name: "theirs".into() },
        // Strangers on XDP keep most wishes from being applied: rarely.
        _ if point.hook.is_exclusive() && !which.is_multiple_of(8) => return,
        _ => Disturbance::AddForeign { point, name: "theirs".into(), place: which % 3 },
    };
    world.model.disturb(&disturbance);
}

/// What packets meet at each hook of ours: the program that runs; two where it is attached in two ways.
fn running(live: &LiveState) -> BTreeMap<HookPoint, BTreeSet<ProgramId>> {
    let chains = |at: &LivePoint| at.ours.iter().chain(&at.twin).cloned().collect::<Vec<_>>();
    let ours = live.points.iter().flat_map(|(point, at)| chains(at).into_iter().map(|ours| (*point, ours)));
    let mut running = BTreeMap::<HookPoint, BTreeSet<ProgramId>>::new();
    for (point, ours) in ours.filter(|(_, ours)| ours.attachment == Attachment::Attached) {
        running.entry(point).or_default().insert(ours.program);
    }
    running
}

fn pins(live: &LiveState) -> BTreeMap<MapKey, MapId> {
    live.maps.iter().map(|(key, map)| (key.clone(), map.id)).collect()
}

fn others(world: &World) -> Vec<Vec<OtherProgram>> {
    points(world).into_iter().map(|point| world.model.others(point)).collect()
}

/// Fails unless the host is exactly what was wanted, with nothing left over.
fn assert_is(world: &World, desired: &Desired) {
    let live = world.live(Some(desired));
    for (point, chain) in &desired.chains {
        let ours = live.points[point].ours.as_ref().expect("a wanted chain is there");
        assert_eq!(
            (&live.points[point].twin, ours.attach(point.hook)),
            (&None, chain.attach),
            "in the wanted way alone"
        );
        assert_eq!((ours.attachment, ours.pin), (Attachment::Attached, Pin::Pinned));
        assert!(ours.record.read().unwrap().runs_like(&chain.record));
        for key in chain.record.map_keys() {
            assert_eq!(ours.maps[&key].id, live.maps[&key].id, "{key} is pinned and used");
            assert!(live.maps[&key].shape.serves(&desired.maps[&key].shape, &key));
        }
    }
    let has: BTreeSet<_> = live.points.iter().filter(|(_, at)| at.ours.is_some()).map(|(point, _)| *point).collect();
    assert_eq!(has, desired.chains.keys().copied().collect(), "no chain but the wanted ones");
    assert!(live.maps.keys().all(|key| desired.maps.contains_key(key)), "no stale map: {:?}", live.maps.keys());
    assert_eq!(live.litter, []);
    assert!(plan(desired, &live).unwrap().is_empty(), "planning again plans nothing");
}

/// Fails if the plan speaks of anything that neither the host nor the wish has.
fn assert_mentions_only_inputs(plan: &Plan, desired: &Desired, live: &LiveState) {
    let ours: Vec<_> = live.points.values().flat_map(|at| at.ours.iter().chain(&at.twin)).collect();
    let mine = |id: ProgramId| ours.iter().any(|chain| chain.program == id);
    for hook in &plan.hooks {
        for step in &hook.steps {
            match step {
                HookStep::Attach { .. } => {}
                HookStep::Replace { hold, expect, .. } | HookStep::Detach { hold, program: expect, .. } => {
                    assert!(mine(*expect) && ours.iter().any(|chain| chain.hold == *hold));
                }
                HookStep::Pin { hold } | HookStep::Drop { hold } => {
                    assert!(ours.iter().any(|chain| chain.hold == *hold));
                }
            }
        }
        if let Some(chain) = hook.loads() {
            let wanted = &desired.chains[&hook.point];
            assert_eq!(Record { clsact: None, ..chain.clone() }, wanted.record);
            assert_eq!(chain.clsact.is_some(), wanted.attach == Some(Attach::Clsact));
        }
    }
    let known: BTreeSet<_> =
        live.maps.values().chain(ours.iter().flat_map(|ours| ours.maps.values())).map(|map| map.id).collect();
    for map in &plan.maps {
        if let MapSource::Reuse(id) = map.source {
            assert!(known.contains(&id));
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn applying_a_plan_gives_what_was_wanted_and_touches_no_stranger(past in past(), wish in wish()) {
        let mut world = after(&past);
        let desired = wish.put(&mut world);
        let live = world.live(Some(&desired));
        let before = others(&world);
        let Ok(plan) = plan(&desired, &live) else { return Ok(()) };
        assert_mentions_only_inputs(&plan, &desired, &live);
        let outcome = execute(&plan, &(), &mut world.model);
        assert!(outcome.stopped.is_none() && outcome.left.is_empty(), "{outcome:?}\n{plan}");
        assert_is(&world, &desired);
        assert_eq!(before, others(&world), "strangers stand where they stood");
    }

    #[test]
    fn the_same_inputs_give_the_same_plan(past in past(), wish in wish()) {
        let mut world = after(&past);
        let desired = wish.put(&mut world);
        let live = world.live(Some(&desired));
        assert_eq!(plan(&desired, &live), plan(&desired, &live));
    }

    #[test]
    fn entries_survive_every_plan_that_keeps_their_map(past in past(), wish in wish()) {
        let mut world = after(&past);
        let desired = wish.put(&mut world);
        let live = world.live(Some(&desired));
        let Ok(plan) = plan(&desired, &live) else { return Ok(()) };
        for map in plan.maps.iter().filter(|map| !map.key.is_data() && map.source == MapSource::Create) {
            assert!(!live.maps.contains_key(&map.key), "{} was pinned", map.key);
            let attached = live.points.values().filter_map(|at| at.ours.as_ref()).filter(|ours| ours.attachment == Attachment::Attached);
            assert!(!attached.into_iter().any(|ours| ours.maps.contains_key(&map.key)), "{} was in use", map.key);
        }
    }

    #[test]
    fn a_removed_set_leaves_nothing_but_strangers(past in past()) {
        let mut world = after(&past);
        let before = others(&world);
        let outcome = execute(&remove(&world.live(None)), &(), &mut world.model);
        assert!(outcome.stopped.is_none() && outcome.left.is_empty());
        let live = world.live(None);
        assert!(live.points.is_empty() && live.maps.is_empty() && live.litter.is_empty(), "{live:?}");
        assert_eq!(before, others(&world));
        // A damaged record can't say who made the qdisc, and a stranger's filter keeps or makes one.
        let excused = past.iter().any(|event| matches!(event, Event::Disturb(2 | 7 | 8, _)));
        assert!(excused || points(&world).iter().all(|point| !world.model.has_qdisc(point)), "a qdisc of ours stays");
    }
}

proptest! {
    #![proptest_config(config(80))]

    #[test]
    fn killed_at_any_call_each_hook_has_the_old_chain_or_the_new_one_and_the_next_run_converges(past in past(), wish in wish()) {
        let mut world = after(&past);
        let desired = wish.put(&mut world);
        let live = world.live(Some(&desired));
        let Ok(planned) = plan(&desired, &live) else { return Ok(()) };
        let old = running(&live);
        for at in 0.. {
            let mut killed = World { model: world.model.clone(), maps: world.maps.clone(), shared: world.shared.clone(), grounds: vec![], ..world };
            killed.model.fault = Some(Fault::CrashAt(at));
            let outcome = execute(&planned, &(), &mut killed.model);
            if outcome.stopped.is_none() && outcome.left.is_empty() {
                break;
            }
            killed.model.restart();
            let found = killed.live(Some(&desired));
            for (point, seen) in &found.points {
                let ours: Vec<_> = seen.ours.iter().chain(&seen.twin).filter(|ours| ours.attachment == Attachment::Attached).collect();
                let old = old.get(point).cloned().unwrap_or_default();
                let wanted = desired.chains.get(point);
                // While a chain changes its way to be attached, the old one and the new one are there; never none.
                let is_new = |ours: &&LiveChain| {
                    let record = ours.record.read();
                    wanted.is_some_and(|wanted| record.is_some_and(|record| record.runs_like(&wanted.record)))
                };
                let is_old = ours.is_empty() == old.is_empty() && ours.iter().all(|ours| old.contains(&ours.program));
                let is_new = match wanted {
                    None => ours.is_empty() || ours.iter().all(|ours| old.contains(&ours.program)),
                    Some(_) => ours.iter().any(is_new) && ours.iter().all(|ours| is_new(ours) || old.contains(&ours.program)),
                };
                assert!(is_old || is_new, "neither old nor new at {point:?} after call {at}");
            }
            let again = plan(&desired, &found).unwrap();
            let outcome = execute(&again, &(), &mut killed.model);
            assert!(outcome.stopped.is_none() && outcome.left.is_empty(), "{outcome:?}");
            assert_is(&killed, &desired);
        }
    }

    #[test]
    fn a_failure_at_any_call_puts_everything_back(past in past(), wish in wish()) {
        let mut world = after(&past);
        let desired = wish.put(&mut world);
        let live = world.live(Some(&desired));
        let Ok(planned) = plan(&desired, &live) else { return Ok(()) };
        let strangers = others(&world);
        for at in 0.. {
            let mut failed = World { model: world.model.clone(), maps: world.maps.clone(), shared: world.shared.clone(), grounds: vec![], ..world };
            failed.model.fault = Some(Fault::FailAt(at));
            let outcome = execute(&planned, &(), &mut failed.model);
            let found = failed.live(Some(&desired));
            assert_eq!(strangers, others(&failed));
            match &outcome.stopped {
                Some(stopped) => {
                    assert!(stopped.undone.iter().all(|undone| undone.error.is_none()));
                    assert_eq!(running(&found), running(&live), "put back after call {at}: {}", stopped.step);
                    assert_eq!(pins(&found), pins(&live));
                    let wanted = if stopped.phase == Phase::Prepare { Exit::Failed } else { Exit::Stopped };
                    assert_eq!(outcome.exit(), wanted);
                }
                // Cleaning up doesn't put the new state at risk.
                None if !outcome.left.is_empty() => {
                    assert_eq!(outcome.left.len(), 1);
                    assert_eq!(outcome.exit(), Exit::Failed);
                }
                None => {
                    assert_eq!(outcome.exit(), Exit::Done);
                    break;
                }
            }
            failed.model.restart();
            execute(&plan(&desired, &found).unwrap(), &(), &mut failed.model);
            assert_is(&failed, &desired);
        }
    }

    #[test]
    fn what_a_detached_chain_leaves_is_no_reason_to_leave_the_hook_bare(past in past(), wish in wish()) {
        let mut world = after(&past);
        let desired = wish.put(&mut world);
        let live = world.live(Some(&desired));
        let Ok(planned) = plan(&desired, &live) else { return Ok(()) };
        for at in 0.. {
            let mut failed = World { model: world.model.clone(), maps: world.maps.clone(), shared: world.shared.clone(), grounds: vec![], ..world };
            failed.model.fault = Some(Fault::LeaveAt(at));
            let outcome = execute(&planned, &(), &mut failed.model);
            let found = failed.live(Some(&desired));
            match &outcome.stopped {
                Some(stopped) => {
                    assert!(stopped.undone.iter().all(|undone| undone.error.is_none()), "{outcome:?}");
                    assert_eq!(running(&found), running(&live), "put back after call {at}: {}", stopped.step);
                }
                None if outcome.left.is_empty() => break,
                None => assert_eq!(outcome.exit(), Exit::Failed),
            }
            failed.model.restart();
            let again = execute(&plan(&desired, &found).unwrap(), &(), &mut failed.model);
            assert!(again.stopped.is_none() && again.left.is_empty(), "{again:?}");
            assert_is(&failed, &desired);
        }
    }

    #[test]
    fn whoever_gets_in_between_is_never_overrun(past in past(), wish in wish(), at in 0..20_usize, which in 0..6_usize) {
        let mut world = after(&past);
        let desired = wish.put(&mut world);
        let point = points(&world)[which];
        if world.model.others(point).len() > 50 || point.hook.is_exclusive() && !world.model.others(point).is_empty() {
            return Ok(());
        }
        world.model.meanwhile.insert(at, Disturbance::AddForeign { point, name: "hasty".into(), place: 0 });
        let asked: Vec<_> = desired.chains.keys().copied().collect();
        let before = others(&world);
        let result = converge(&(), &mut world.model, |model| plan(&desired, &model.observe(&set(), asked.clone())));
        for (old, new) in before.iter().zip(others(&world)) {
            let kept: Vec<_> = new.into_iter().filter(|other| other.name != "hasty").collect();
            assert_eq!(*old, kept);
        }
        if let Ok((_, outcome)) = result {
            assert!(outcome.stopped.is_none(), "{outcome:?}");
            // A stranger who came after the last look may be one that the next plan refuses.
            if plan(&desired, &world.live(Some(&desired))).is_ok() {
                assert_is(&world, &desired);
            }
        }
    }
}

#[test]
fn a_race_lost_again_and_again_ends_after_three_attempts_with_its_own_exit_code() {
    let mut world = World::new("eth0");
    let desired = world.want("tc/ingress eth0: shape").unwrap();
    let point = world.at("tc/ingress", "eth0");
    let mut attempts = 0;
    let (_, outcome) = converge(&(), &mut world.model, |model| {
        attempts += 1;
        let next = model.calls + 1;
        model.meanwhile.insert(next, Disturbance::AddForeign { point, name: format!("hasty{next}"), place: 0 });
        plan(&desired, &model.observe(&set(), [point]))
    })
    .unwrap();
    assert_eq!(attempts, 3);
    assert_eq!(outcome.exit(), Exit::Contended);
    assert!(world.live(None).points.is_empty());
}

#[test]
fn a_lost_race_that_could_not_be_undone_is_not_tried_again() {
    let mut world = World::new("eth0 eth1");
    world.apply("xdp eth0 eth1: guard");
    let desired = world.want("xdp eth0 eth1: guard@2").unwrap();
    let (eth0, eth1) = (world.at("xdp", "eth0"), world.at("xdp", "eth1"));
    world.model.restart();
    world.model.meanwhile.insert(5, Disturbance::DetachOurs { point: eth1 });
    world.model.meanwhile.insert(6, Disturbance::DetachOurs { point: eth0 });
    let mut attempts = 0;
    let (_, outcome) = converge(&(), &mut world.model, |model| {
        attempts += 1;
        plan(&desired, &model.observe(&set(), [eth0, eth1]))
    })
    .unwrap();
    assert_eq!(attempts, 1);
    assert!(outcome.is_half_undone());
    assert_eq!(outcome.exit(), Exit::Failed);
}

#[test]
fn neither_the_cause_nor_a_failed_undo_is_hidden() {
    let mut world = World::new("eth0 eth1");
    world.apply("xdp eth0 eth1: guard");
    let desired = world.want("xdp eth0 eth1: guard@2").unwrap();
    let plan = plan(&desired, &world.live(Some(&desired))).unwrap();
    world.model.restart();
    // Calls: hold, load, hold, load, replace eth0, replace eth1 (lost), replace eth0 back (lost too).
    let (eth0, eth1) = (world.at("xdp", "eth0"), world.at("xdp", "eth1"));
    world.model.meanwhile.insert(5, Disturbance::DetachOurs { point: eth1 });
    world.model.meanwhile.insert(6, Disturbance::DetachOurs { point: eth0 });
    let outcome = execute(&plan, &(), &mut world.model);
    let stopped = outcome.stopped.as_ref().unwrap();
    assert_eq!(stopped.step.to_string(), "replace the chain of `xdp eth1`");
    assert_eq!(stopped.undone.len(), 1);
    assert!(stopped.undone[0].error.is_some());
    assert_eq!(outcome.exit(), Exit::Failed);
    let notes: Vec<_> = outcome.diagnose().into_iter().flat_map(|problem| problem.notes).collect();
    assert_eq!(
        notes,
        [
            "could not replace the chain of `xdp eth1`; not everything could be put back",
            "while putting things back: could not replace the chain of `xdp eth0`"
        ]
    );
}

#[test]
fn a_script_is_played_into_a_transcript_without_ids() {
    let mut world = World::new("e0");
    world.map("meter", "counts 1/4/8/64");
    let transcript = play(
        &mut world,
        "\
# what the live tests play on Linux too
apply xdp e0: guard, meter; tc/ingress e0: shape
foreign tc/ingress e0 theirs
detach xdp e0
apply xdp e0: meter; tc/ingress e0: shape
remove
",
    )
    .unwrap();
    assert_eq!(
        transcript,
        "\
> apply xdp e0: guard, meter; tc/ingress e0: shape
map meter/counts: NotThereYet
xdp e0: attach
tc/ingress e0: attach
done
  xdp e0: [guard, meter]
  tc/ingress e0: [shape]
  maps: meter/counts

> foreign tc/ingress e0 theirs
  xdp e0: [guard, meter]
  tc/ingress e0: [shape] before theirs
  maps: meter/counts

> detach xdp e0
  xdp e0: [guard, meter] detached
  tc/ingress e0: [shape] before theirs
  maps: meter/counts

> apply xdp e0: meter; tc/ingress e0: shape
map meter/counts: InUse
xdp e0: drop, attach
done
  xdp e0: [meter]
  tc/ingress e0: [shape] before theirs
  maps: meter/counts

> remove
xdp e0: detach
tc/ingress e0: detach
done
  maps: none

"
    );
}
