//! `kill -9` at each call that could leave something half done.
//!
//! strace kills bpfkit as it enters the N-th call of one kind, for every N up to the run that
//! ends by itself (of `rmdir`, of which there are many, at every few). After each: each hook runs the old or the new chain, by what the kernel says and
//! by what a packet meets; the next run converges; and what is there then is what an
//! undisturbed run leaves, to the last file, program, map and link.

use std::collections::BTreeSet;

use bpfkit_tests::host::{Footprint, Host, Output, measured};

use crate::support::{Chain, Hop, among_others, apply, live, project, trail_of_one};

/// The calls that change something. `bpf` is killed at those that only look, too.
const CALLS: [&str; 7] = ["bpf", "rename", "unlink", "mkdir", "rmdir", "sendto", "ftruncate"];

/// Runs `command` in `folder`, killed as it enters the `nth` `call`; whether it came to its end before that.
#[track_caller]
fn killed_at(host: &Host, folder: &str, command: &str, call: &str, nth: u32) -> bool {
    let strace = format!(
        "cd {folder} && exec strace -f -qq -o /dev/null -e trace={call} \
         -e inject={call}:signal=KILL:when={nth} {command}"
    );
    let Output { code, stdout, stderr, .. } = host.run(&strace);
    // strace ends as what it ran did: by the signal, which a shell or nsenter may turn into 137.
    assert!(matches!(code, Some(0 | 137) | None), "{call} {nth}: {code:?}\n{stdout}{stderr}");
    code == Some(0)
}

/// A set with two hooks in two states, the second with a program added and two reordered in each chain.
struct Stage {
    host: Host,
    old: Footprint,
    new: Footprint,
}

const ON_TC: i32 = 0;
const A: Hop = Hop::new("a", 1, 2);
const B: Hop = Hop::new("b", 2, 2);
const C: Hop = Hop::new("c", 3, 2);
const D: Hop = Hop::new("d", 4, ON_TC);
const E: Hop = Hop::new("e", 5, ON_TC);
const F: Hop = Hop::new("f", 6, ON_TC);

const HOOKS: [(&str, &str, &str); 2] = [("xdp", "12", "231"), ("tc/ingress", "45", "564")];

impl Stage {
    fn new() -> Self {
        Self::with("", "")
    }

    /// The chain of tc says `before` in its old state and `then` in its new one.
    fn with(before: &str, then: &str) -> Self {
        let host = Host::new();
        project(
            &host,
            "new",
            &[
                Chain { hook: "xdp", more: "", hops: &[B, C, A] },
                Chain { hook: "tc/ingress", more: then, hops: &[E, F, D] },
            ],
        );
        apply(
            &host,
            "old",
            &[
                Chain { hook: "xdp", more: "", hops: &[A, B] },
                Chain { hook: "tc/ingress", more: before, hops: &[D, E] },
            ],
        );
        let old = host.footprint();
        host.run("cd new && bpfkit apply").exits(0);
        let mut new = host.footprint();
        assert!(bpfkit_tests::host::wait_until(3, || {
            new = host.footprint();
            (new.programs, new.links) == (2, if then.contains("clsact") { 1 } else { 2 })
        }));
        Self { host, old, new }
    }

    /// What is live of each hook, in one line, told by names and by a packet.
    #[track_caller]
    fn chains(&self) -> Vec<(String, String)> {
        live(&self.host).into_iter().map(|(hook, programs)| (hook, programs.join(" "))).collect()
    }

    /// `apply` of `folder` once more: after that, nothing is left to do and nothing is there that shouldn't be.
    #[track_caller]
    fn converges(&self, folder: &str, to: &Footprint, after: &str) {
        let done = self.host.run(&format!("cd {folder} && bpfkit apply"));
        assert_eq!(done.code, Some(0), "{after}: the next apply: {}{}", done.stdout, done.stderr);
        let settled = self.host.run(&format!("cd {folder} && bpfkit plan --exit-code && bpfkit status $set"));
        assert_eq!(settled.code, Some(0), "{after}: after the next apply: {}{}", settled.stdout, settled.stderr);
        self.is(to, after);
    }

    /// Takes the set off; what is there then, once the kernel has freed what was let go.
    #[track_caller]
    fn removed(&self) -> Footprint {
        self.host.run("bpfkit remove $set").exits(0);
        let gone = || self.host.footprint().programs == 0;
        assert!(bpfkit_tests::host::wait_until(10, gone), "{:?}", self.host.footprint());
        self.host.footprint()
    }

    /// What is there of the set is this, once the kernel has freed what was let go.
    #[track_caller]
    fn is(&self, wanted: &Footprint, after: &str) {
        bpfkit_tests::host::wait_until(3, || self.host.footprint() == *wanted);
        assert_eq!(self.host.footprint(), *wanted, "{after}");
    }
}

fn words(hook: &str, which: usize) -> &'static str {
    match (hook, which) {
        ("xdp", 0) => "a b",
        ("xdp", _) => "b c a",
        (_, 0) => "d e",
        (_, _) => "e f d",
    }
}

/// Kills at each `call`, or at every `step`-th `rmdir`, of which there are many; `before` sets the stage for each, `after` judges.
fn at_each(
    stage: &Stage,
    calls: &[&str],
    (folder, command, step): (&str, &str, usize),
    mut before: impl FnMut(),
    mut after: impl FnMut(&str),
) {
    for call in calls {
        let step = if *call == "rmdir" { step } else { 1 };
        for nth in (1..).step_by(step) {
            assert!(nth < 400, "{call}: no end");
            before();
            let at = format!("{command} killed at {call} {nth}");
            let ended = killed_at(&stage.host, folder, command, call, nth);
            after(&at);
            if ended {
                let calls = nth - 1;
                let kills = (1..nth).step_by(step).count();
                measured(&format!("`{command}` killed at {kills} of about {calls} calls of {call}"));
                assert!(nth > 20 || *call != "bpf", "an apply that makes so few calls is none");
                break;
            }
        }
    }
}

/// Replaces the old chains by the new ones, and is killed at each of `calls`.
fn replace(calls: &[&str]) {
    replace_on(&Stage::new(), calls);
}

/// The same on another stage.
fn replace_on(stage: &Stage, calls: &[&str]) {
    let mut seen = BTreeSet::new();
    at_each(
        stage,
        calls,
        ("new", "bpfkit apply", 1),
        || stage.converges("old", &stage.old, "before"),
        |at| {
            let chains = stage.chains();
            assert_eq!(chains.len(), HOOKS.len(), "{at}: {chains:?}");
            for (hook, programs) in &chains {
                let which = usize::from(programs == words(hook, 1));
                assert_eq!(programs, words(hook, which), "{at}: half a chain at {hook}");
                seen.insert((hook.clone(), which));
                let wanted = HOOKS.iter().find(|(name, ..)| name == hook).map(|(_, old, new)| [old, new][which]);
                assert_eq!(Some(&trail_of_one(&stage.host, hook).as_str()), wanted, "{at}: {hook}");
            }
            stage.converges("new", &stage.new, at);
        },
    );
    assert_eq!(seen.len(), 4, "each hook was seen with each chain: {seen:?}");
}

#[test]
fn a_replacement_killed_at_any_bpf_call_leaves_the_old_or_the_new_chain() {
    let _cpus = among_others();
    replace(&CALLS[..1]);
}

#[test]
fn a_replacement_killed_at_any_other_call_leaves_the_old_or_the_new_chain() {
    let _cpus = among_others();
    replace(&CALLS[1..]);
}

/// Attaches the new chains for the first time, and is killed at each of `calls`.
fn first(calls: &[&str]) {
    let stage = Stage::new();
    let nothing = stage.removed();
    at_each(
        &stage,
        calls,
        ("new", "bpfkit apply", 3),
        || {
            stage.host.run("bpfkit remove $set").exits(0);
            stage.is(&nothing, "before");
        },
        |at| {
            for (hook, programs) in stage.chains() {
                assert_eq!(programs, words(&hook, 1), "{at}: half a chain at {hook}");
            }
            stage.converges("new", &stage.new, at);
        },
    );
}

#[test]
fn a_first_apply_killed_at_bpf_calls_leaves_nothing_or_the_chain() {
    let _cpus = among_others();
    first(&CALLS[..1]);
}

#[test]
fn a_first_apply_killed_at_any_other_call_leaves_nothing_or_the_chain() {
    let _cpus = among_others();
    first(&CALLS[1..]);
}

#[test]
fn a_removal_killed_at_any_call_leaves_the_chain_or_nothing() {
    let _cpus = among_others();
    let stage = Stage::new();
    let nothing = stage.removed();
    let mut forward = false;
    at_each(
        &stage,
        &CALLS,
        ("new", "bpfkit remove $set", 5),
        || {
            stage.converges("new", &stage.new, "before");
        },
        |at| {
            for (hook, programs) in stage.chains().into_iter().filter(|(_, programs)| !programs.is_empty()) {
                assert_eq!(programs, words(&hook, 1), "{at}: half a chain at {hook}");
            }
            // Half of the time the set is removed once more, half of the time it is applied after all.
            forward = !forward;
            if forward {
                stage.host.run("bpfkit remove $set").exits(0);
                stage.is(&nothing, at);
            }
        },
    );
}

const CLSACT: &str = "attach: clsact,";

#[test]
fn a_replacement_by_clsact_killed_at_any_call_leaves_the_old_or_the_new_chain() {
    let _cpus = among_others();
    replace_on(&Stage::with(CLSACT, CLSACT), &["sendto", "rename", "unlink"]);
}

/// Moves the chain of tc from `before` to `then`, and is killed at each call that could leave something half done.
fn moved(before: &str, then: &str) {
    let stage = Stage::with(before, then);
    let mut seen = BTreeSet::new();
    at_each(
        &stage,
        &["sendto", "rename", "unlink"],
        ("new", "bpfkit apply", 1),
        || stage.converges("old", &stage.old, "before"),
        |at| {
            // While both are there, a packet meets the one and then, if that hands it on, the other; never none.
            let met = trail_of_one(&stage.host, "tc/ingress");
            assert!(["45", "564", "45564", "56445"].contains(&met.as_str()), "{at}: {met}");
            seen.insert(met);
            stage.converges("new", &stage.new, at);
        },
    );
    assert!(seen.contains("45") && seen.contains("564"), "{seen:?}");
}

#[test]
fn a_move_to_clsact_killed_at_any_call_leaves_a_chain_at_every_instant() {
    let _cpus = among_others();
    moved("", CLSACT);
}

#[test]
fn a_move_to_tcx_killed_at_any_call_leaves_a_chain_at_every_instant() {
    let _cpus = among_others();
    moved(CLSACT, "");
}

#[test]
fn a_first_apply_by_clsact_killed_at_any_call_leaves_no_filter_and_no_qdisc_that_the_next_run_does_not_know() {
    let _cpus = among_others();
    let stage = Stage::with(CLSACT, CLSACT);
    let nothing = stage.removed();
    let mut forward = false;
    at_each(
        &stage,
        &["sendto", "rename"],
        ("new", "bpfkit apply", 1),
        || {
            stage.host.run("bpfkit remove $set").exits(0);
            stage.is(&nothing, "before");
            stage.host.run("tc qdisc show dev eth0 | grep clsact").exits(1);
        },
        |at| {
            for (hook, programs) in stage.chains().into_iter().filter(|(_, programs)| !programs.is_empty()) {
                assert_eq!(programs, words(&hook, 1), "{at}: half a chain at {hook}");
            }
            forward = !forward;
            if forward {
                stage.converges("new", &stage.new, at);
            }
        },
    );
}

#[test]
fn a_removal_by_clsact_killed_at_any_call_leaves_the_chain_or_nothing_and_no_qdisc_in_the_end() {
    let _cpus = among_others();
    let stage = Stage::with(CLSACT, CLSACT);
    let nothing = stage.removed();
    at_each(
        &stage,
        &["sendto", "unlink"],
        ("new", "bpfkit remove $set", 1),
        || {
            stage.converges("new", &stage.new, "before");
        },
        |at| {
            stage.host.run("bpfkit remove $set").exits(0);
            stage.is(&nothing, at);
            stage.host.run("tc qdisc show dev eth0 | grep clsact").exits(1);
        },
    );
}
