//! What a chain hangs on goes away, or becomes something else, between plan and apply: each has its outcome.

use bpfkit_tests::host::{Host, wait_until};

use crate::{
    races::slow,
    support::{Chain, Hop, among_others, apply, live, project, trail_of_one},
};

const A: Hop = Hop::new("a", 1, 2);
const B: Hop = Hop::new("b", 2, 2);
const D: Hop = Hop::new("d", 4, 0);
const XDP: Chain<'_> = Chain { hook: "xdp", more: "", hops: &[A, B] };

/// A second interface, `gone0`.
const GONE: &str = "ip link add gone0 type veth peer name gone1 && ip link set gone0 up";
/// An interface in a namespace of its own.
const EDGE: &str =
    "ip netns add edge && ip -n edge link add eth1 type veth peer name w1 && ip -n edge link set eth1 up";

/// A host where `a` is live on `eth0`, and `project` wants `a b` there and then `more`.
fn stage(setup: &str, more: Chain<'_>) -> Host {
    let host = Host::new();
    host.run(setup).exits(0);
    apply(&host, "old", &[Chain { hops: &[A], ..XDP }]);
    project(&host, "project", &[XDP, more]);
    host
}

/// The run stopped, and what it had changed was put back.
#[track_caller]
fn put_back(host: &Host, before: &bpfkit_tests::host::Footprint) {
    assert_eq!(trail_of_one(host, "xdp"), "1", "what was changed before is put back");
    assert_eq!(live(host), [("xdp".to_owned(), vec!["a".to_owned()])]);
    host.run("bpfkit status $set").exits(0).says(&["generation 1\n"]);
    host.run("cd old && bpfkit apply").exits(0);
    assert!(wait_until(3, || host.footprint() == *before), "{:?}\nwas {before:?}", host.footprint());
}

#[test]
fn an_interface_that_vanishes_midway_stops_the_run_and_all_is_put_back() {
    let _cpus = among_others();
    for (hook, hops) in [("tc/ingress", &[D]), ("xdp", &[A])] {
        let host = stage(GONE, Chain { hook, more: "interfaces: [gone0],", hops });
        let before = host.footprint();
        let ours = slow(&host);
        host.run("ip link del gone0").exits(0);
        // What was changed is put back, the host is looked at once more, and the name is nobody's.
        ours.wait().exits(1).says(&["A301", "gone0"]);
        let trace = std::fs::read_to_string(host.folder().join("trace")).unwrap();
        assert!(trace.matches("BPF_LINK_UPDATE").count() == 2, "{hook}: changed and put back: {trace}");
        put_back(&host, &before);
        host.run("cd project && bpfkit apply").exits(1).says(&["A301", "gone0"]);
    }
}

#[test]
fn an_interface_that_is_renamed_midway_gets_the_chain_that_was_planned_for_it() {
    let _cpus = among_others();
    let host = stage(GONE, Chain { hook: "tc/ingress", more: "interfaces: [gone0],", hops: &[D] });
    let ours = slow(&host);
    host.run("ip link set gone0 down && ip link set gone0 name wan0 && ip link set wan0 up").exits(0);
    ours.wait().exits(0);
    host.run("bpfkit status $set").exits(0).says(&["tc/ingress wan0", "a, b"]);
    // The manifest's name is nobody's now, which the next run says; nothing is taken down for that.
    host.run("cd project && bpfkit apply").exits(1).says(&["A301", "gone0"]);
    assert_eq!(live(&host).len(), 2);
    host.run("ip link set wan0 down && ip link set wan0 name gone0 && ip link set gone0 up").exits(0);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
}

#[test]
fn a_namespace_that_vanishes_midway_stops_the_run_and_all_is_put_back() {
    let _cpus = among_others();
    let host = stage(EDGE, Chain { hook: "xdp", more: "interfaces: [eth1], netns: /run/netns/edge,", hops: &[A] });
    let before = host.footprint();
    let ours = slow(&host);
    host.run("ip netns del edge").exits(0);
    ours.wait().exits(5).says(&["A112", "/run/netns/edge", "put back"]);
    put_back(&host, &before);
    host.run("cd project && bpfkit apply").exits(1).says(&["A302", "/run/netns/edge"]);
}

#[test]
fn a_namespace_that_is_another_midway_is_looked_at_again() {
    let _cpus = among_others();
    let host = stage(EDGE, Chain { hook: "xdp", more: "interfaces: [eth1], netns: /run/netns/edge,", hops: &[A] });
    let ours = slow(&host);
    host.run(&format!("ip netns del edge && {EDGE}")).exits(0);
    ours.wait().exits(0);
    host.run("cd project && bpfkit plan --exit-code && bpfkit status").exits(0).says(&["eth1"]);
    assert_eq!((trail_of_one(&host, "xdp").as_str(), live(&host).len()), ("12", 2));
}

#[test]
fn a_link_that_somebody_detaches_midway_is_attached_again() {
    let _cpus = among_others();
    let host = stage(GONE, Chain { hook: "tc/ingress", more: "interfaces: [gone0],", hops: &[D] });
    let ours = slow(&host);
    host.run("bpftool link detach id $(bpftool -j link show pinned $pins/links/xdp-* | jq .id)").exits(0);
    ours.wait().exits(0).says(&["attach again"]);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    host.run("cd project && bpfkit plan --exit-code && bpfkit status").exits(0);
}

#[test]
fn a_generation_that_somebody_applies_midway_is_a_generation_of_its_own() {
    let _cpus = among_others();
    let host = stage(GONE, Chain { hook: "tc/ingress", more: "interfaces: [gone0],", hops: &[D] });
    let ours = slow(&host);
    // Whoever comes second learns who is first, whatever the verb, and nothing of the store is touched.
    for command in [
        "cd old && bpfkit apply",
        "bpfkit rollback $set 1",
        "bpfkit apply --last",
        "cd old && bpfkit apply --confirm 9s",
    ] {
        host.run(command).exits(6).says(&["A113"]);
    }
    ours.wait().exits(0);
    host.run("bpfkit status $set --generations").exits(0).says(&["generation 2\n", "1    confirmed"]);
}
