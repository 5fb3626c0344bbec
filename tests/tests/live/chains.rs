//! Each hook: programs run in the declared order, verdicts decide, changes are changes, and `remove` leaves nothing.

use bpfkit_tests::{
    host::{Host, wait_until},
    kit::Kit,
    trial::{
        CLSACT_EGRESS, CLSACT_INGRESS, FOLLOWS_ITS_MANIFEST, PEER, Place, Stage, TC_EGRESS, TC_INGRESS, TRIALS, Trial,
        XDP_GENERIC, XDP_NATIVE,
    },
};

use crate::support::{Chain, Hop, alone, among_others, apply, trail_of_one};

const XDP_PASS: i32 = 2;
const XDP_DROP: i32 = 1;
const TC_UNSPEC: i32 = -1;
const TC_OK: i32 = 0;
const TC_SHOT: i32 = 2;

/// Holds `trials` at a place of this machine's kernel, which lacks nothing for them; each on a host of its own.
#[track_caller]
fn hold(place: &Place, trials: impl Iterator<Item = Trial>) {
    let trials: Vec<Trial> = trials.filter(|trial| (trial.at)(place)).collect();
    let workshop = Host::new();
    let set = workshop.set().to_owned();
    let versions = trials.iter().flat_map(|trial| (trial.versions)(place)).collect();
    let kit = Kit::make(&workshop.folder().join("kit"), &[(set.clone(), versions)]);
    for trial in trials {
        let host = Host::named(set.clone());
        kit.install(&host);
        assert_eq!((trial.run)(&Stage { host: &host, kit: &kit, place }), Ok(()), "{}: {}", place.name, trial.name);
    }
}

/// What virtual machines try on other kernels, but for what has a test of its own here, and for the dispatcher, which
/// needs a kernel that lets programs replace functions.
fn others() -> impl Iterator<Item = Trial> {
    TRIALS.into_iter().filter(|trial| ![FOLLOWS_ITS_MANIFEST.name, PEER.name].contains(&trial.name))
}

#[test]
fn a_native_xdp_chain_runs_in_order_and_follows_its_manifest() {
    let _cpus = among_others();
    hold(&XDP_NATIVE, [FOLLOWS_ITS_MANIFEST].into_iter());
}

#[test]
fn a_generic_xdp_chain_runs_in_order_and_follows_its_manifest() {
    let _cpus = among_others();
    hold(&XDP_GENERIC, [FOLLOWS_ITS_MANIFEST].into_iter());
}

#[test]
fn a_chain_at_tc_ingress_runs_in_order_and_follows_its_manifest() {
    let _cpus = among_others();
    hold(&TC_INGRESS, [FOLLOWS_ITS_MANIFEST].into_iter());
}

#[test]
fn a_chain_at_tc_egress_runs_in_order_and_follows_its_manifest() {
    let _cpus = among_others();
    hold(&TC_EGRESS, [FOLLOWS_ITS_MANIFEST].into_iter());
}

#[test]
fn a_native_xdp_chain_keeps_the_promises_that_it_keeps_on_other_kernels() {
    let _cpus = among_others();
    hold(&XDP_NATIVE, others());
}

#[test]
fn a_generic_xdp_chain_keeps_the_promises_that_it_keeps_on_other_kernels() {
    let _cpus = among_others();
    hold(&XDP_GENERIC, others());
}

#[test]
fn a_chain_at_tc_ingress_keeps_the_promises_that_it_keeps_on_other_kernels() {
    let _cpus = among_others();
    hold(&TC_INGRESS, others());
}

#[test]
fn a_chain_at_tc_egress_keeps_the_promises_that_it_keeps_on_other_kernels() {
    let _cpus = among_others();
    hold(&TC_EGRESS, others());
}

#[test]
fn a_chain_by_clsact_at_ingress_runs_in_order_and_follows_its_manifest() {
    let _cpus = among_others();
    hold(&CLSACT_INGRESS, [FOLLOWS_ITS_MANIFEST].into_iter());
}

#[test]
fn a_chain_by_clsact_at_egress_runs_in_order_and_follows_its_manifest() {
    let _cpus = among_others();
    hold(&CLSACT_EGRESS, [FOLLOWS_ITS_MANIFEST].into_iter());
}

/// Whether `eth0` has the qdisc that filters need.
fn has_clsact(host: &Host) -> bool {
    host.run("tc qdisc show dev eth0").exits(0).stdout.contains("clsact")
}

#[test]
fn a_chain_moves_from_tcx_to_clsact_and_back_with_its_counters_and_leaves_no_qdisc() {
    let _cpus = among_others();
    let host = Host::new();
    let (a, b) = (Hop::new("a", 1, TC_OK), Hop::new("b", 2, TC_OK));
    let chain = |more, hops: &[Hop]| apply(&host, "project", &[Chain { hook: "tc/ingress", more, hops }]);
    chain("attach: tcx,", &[a, b]);
    assert_eq!(trail_of_one(&host, "tc/ingress"), "12");
    let by_tcx = host.footprint();
    for _ in 0..2 {
        chain("attach: clsact,", &[b, a]);
        assert_eq!(trail_of_one(&host, "tc/ingress"), "21");
        host.run("tc filter show dev eth0 ingress").exits(0).says(&["pref 1 bpf", "direct-action", "bpfkit"]);
        host.run("bpfkit status $set").exits(0).says(&["tc/ingress eth0 (clsact, fused): b, a"]);
        assert!(has_clsact(&host) && host.footprint().links == 0);
        chain("", &[a, b]);
        assert_eq!(trail_of_one(&host, "tc/ingress"), "12");
        assert!(!has_clsact(&host), "who made the qdisc takes it away");
        assert!(wait_until(3, || host.footprint() == by_tcx), "{:?}", host.footprint());
    }
    assert_eq!(host.counter("programs/a/runs"), 5, "counters live on");
}

#[test]
fn a_move_to_clsact_is_told_before_it_is_done() {
    let _cpus = among_others();
    let host = Host::new();
    let hops = [Hop::new("a", 1, TC_OK)];
    apply(&host, "project", &[Chain { hook: "tc/ingress", more: "", hops: &hops }]);
    crate::support::project(&host, "project", &[Chain { hook: "tc/ingress", more: "attach: clsact,", hops: &hops }]);
    let plan = host.run("cd project && bpfkit plan --exit-code").exits(3);
    plan.says(&["tc/ingress eth0 (clsact, fused): move, attached by tcx, wanted by clsact", "may meet both"]);
    let plan = host.run("cd project && bpfkit plan --json").exits(0).json();
    assert_eq!(
        (&plan["hooks"][0]["change"], &plan["hooks"][0]["attach"]),
        (&"move".into(), &"clsact".into()),
        "{plan}"
    );
    host.run("cd project && bpfkit status").exits(3).says(&["not attached by clsact, as declared"]);
}

#[test]
fn a_qdisc_that_was_there_before_stays() {
    let _cpus = among_others();
    let host = Host::new();
    host.run("tc qdisc add dev eth0 clsact").exits(0);
    let (a, b) = (Hop::new("a", 1, TC_OK), Hop::new("b", 2, TC_OK));
    let chain = |hook| Chain { hook, more: "attach: clsact,", hops: &[] };
    apply(&host, "project", &[Chain { hops: &[a], ..chain("tc/ingress") }, Chain { hops: &[b], ..chain("tc/egress") }]);
    host.run("bpfkit remove $set").exits(0);
    assert!(has_clsact(&host));
    // Without it, the first chain makes it, and the last takes it away, whichever direction that is.
    host.run("tc qdisc del dev eth0 clsact").exits(0);
    apply(&host, "project", &[Chain { hops: &[a], ..chain("tc/ingress") }]);
    apply(&host, "project", &[Chain { hops: &[a], ..chain("tc/ingress") }, Chain { hops: &[b], ..chain("tc/egress") }]);
    apply(&host, "project", &[Chain { hops: &[b], ..chain("tc/egress") }]);
    assert!(has_clsact(&host));
    host.run("bpfkit remove $set").exits(0);
    assert!(!has_clsact(&host));
}

/// What one packet meets where the first program answers `verdict` and the chain goes on after `proceed_on`.
#[track_caller]
fn goes_on(host: &Host, hook: &str, verdict: i32, proceed_on: &'static str) -> bool {
    let first = Hop::new("first", 1, verdict).then(proceed_on);
    let second = Hop::new("second", 2, if hook == "xdp" { XDP_DROP } else { TC_SHOT });
    apply(host, "project", &[Chain { hook, more: "", hops: &[first, second] }]);
    match trail_of_one(host, hook).as_str() {
        "12" => true,
        "1" => false,
        other => panic!("{verdict} {proceed_on}: {other}"),
    }
}

#[test]
fn xdp_goes_on_after_the_declared_verdicts_and_no_others() {
    let _cpus = among_others();
    let host = Host::new();
    let goes_on = |verdict, proceed_on| goes_on(&host, "xdp", verdict, proceed_on);
    assert!(goes_on(XDP_PASS, "[pass]"));
    assert!(!goes_on(XDP_DROP, "[pass]"));
    assert!(goes_on(XDP_DROP, "[drop, aborted]"));
    assert!(!goes_on(XDP_PASS, "[drop, aborted]"));
    assert!(goes_on(0, "[aborted]"));
    assert!(goes_on(1000, "[1000]"), "verdicts that XDP doesn't know");
    assert!(!goes_on(1000, "[pass]"));
    assert!(!goes_on(34, "[pass]"), "34 is 2 modulo 32: no mask of bits is at work");
    assert!(goes_on(-1, "[-1]"));
    assert!(!goes_on(-1, "[pass]"));
}

#[test]
fn tc_goes_on_after_the_declared_verdicts_and_no_others() {
    let _cpus = among_others();
    let host = Host::new();
    let goes_on = |verdict, proceed_on| goes_on(&host, "tc/ingress", verdict, proceed_on);
    assert!(goes_on(TC_UNSPEC, "[unspec]"), "-1 is compared as 32 bits");
    assert!(!goes_on(TC_UNSPEC, "[ok]"));
    assert!(!goes_on(TC_OK, "[unspec]"));
    assert!(goes_on(TC_OK, "[unspec, ok, pipe]"));
    assert!(!goes_on(TC_SHOT, "[unspec, ok, pipe]"));
    assert!(goes_on(99, "[99]"), "verdicts that tc doesn't know");
    assert!(!goes_on(99, "[unspec, ok, pipe]"));
    assert!(!goes_on(-5, "[unspec]"));
}

#[test]
fn removing_a_set_gives_the_kernel_everything_back() {
    // Counts over the whole machine: nobody else of us may make or remove anything meanwhile.
    let _cpus = alone();
    let host = Host::new();
    let counts = || host.run("for what in prog map link; do bpftool -j $what show | jq 'length'; done").stdout;
    let before = counts();
    let (a, b) = (Hop::new("a", 1, XDP_PASS), Hop::new("b", 2, XDP_PASS));
    let (c, d) = (Hop::new("c", 3, TC_OK), Hop::new("d", 4, TC_OK));
    apply(
        &host,
        "project",
        &[
            Chain { hook: "xdp", more: "", hops: &[a, b] },
            Chain { hook: "tc/ingress", more: "", hops: &[c, d] },
            Chain { hook: "tc/egress", more: "", hops: &[d, c] },
        ],
    );
    assert_ne!(counts(), before);
    host.run("bpfkit remove $set").exits(0);
    // The kernel frees programs and maps a moment after the last one lets go of them.
    assert!(wait_until(10, || counts() == before), "before\n{before}after\n{}", counts());
}
