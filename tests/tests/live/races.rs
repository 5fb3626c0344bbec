//! Nothing to do is nothing done; two at once are one; and who comes in between is noticed.

use bpfkit_tests::host::{Host, Running, wait_until};

use crate::{
    drift::{stranger_at_tcx, stranger_attached, stranger_loaded},
    support::{Chain, Hop, among_others, apply, project, trail_of_one},
};

const XDP: Chain<'_> = Chain { hook: "xdp", more: "", hops: &[Hop::new("a", 1, 2), Hop::new("b", 2, 2)] };
const TC: Chain<'_> = Chain { hook: "tc/ingress", more: "", hops: &[Hop::new("c", 3, -1), Hop::new("d", 4, -1)] };

/// The `bpf(2)` commands that look and change nothing.
const LOOKS: [&str; 10] = [
    "BPF_OBJ_GET,",
    "BPF_PROG_GET_NEXT_ID,",
    "BPF_MAP_GET_NEXT_ID,",
    "BPF_LINK_GET_NEXT_ID,",
    "BPF_PROG_GET_FD_BY_ID,",
    "BPF_MAP_GET_FD_BY_ID,",
    "BPF_LINK_GET_FD_BY_ID,",
    "BPF_OBJ_GET_INFO_BY_FD,",
    "BPF_MAP_LOOKUP_ELEM,",
    "BPF_PROG_QUERY,",
];

#[test]
fn a_second_apply_plans_nothing_and_touches_nothing() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[XDP, TC]);
    let before = host.footprint();
    let traced = "bpf,rename,unlink,mkdir,rmdir,mount,sendto,sendmsg";
    let again = host.run(&format!("cd project && strace -f -qq -o ../trace -e trace={traced} bpfkit apply --json"));
    let again = again.exits(0);
    assert_eq!(again.json()["empty"], true, "{}", again.stdout);
    let trace = std::fs::read_to_string(host.folder().join("trace")).unwrap();
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains("bpf(")).collect();
    assert!(calls.len() > 10, "it looks: {trace}");
    for call in calls {
        let looks = LOOKS.iter().any(|command| call.contains(&format!("bpf({command}")));
        // strace 6.1 knows this command by number only in some of its tables.
        assert!(looks, "a no-op apply makes: {call}");
    }
    for line in trace.lines().filter(|line| !line.contains("bpf(")) {
        let looks = ["RTM_GETLINK", "RTM_GETQDISC", "RTM_GETTFILTER"].iter().any(|kind| line.contains(kind));
        let harmless = looks || line.contains("mkdir(\"/run/bpfkit\"") || line.contains("+++");
        assert!(harmless, "a no-op apply makes: {line}");
    }
    assert_eq!(host.footprint(), before);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
}

/// `bpfkit apply` for the first time, which stops for four seconds when everything is loaded and nothing attached yet:
/// at the first `rename`, which puts the first map's pin in its place.
#[track_caller]
pub(crate) fn slow(host: &Host) -> Running {
    let delay = "rename:delay_enter=4000000:when=1";
    let command = "bpfkit -f project/bpfkit.yml apply";
    let slow = host.spawn(&format!("strace -f -qq -o trace -e trace=bpf,rename -e inject={delay} {command}"));
    assert!(wait_until(10, || host.run("ls $pins/tmp-*").code == Some(0)), "it didn't come to its stop");
    slow
}

#[test]
fn of_two_applies_at_once_the_second_learns_who_is_first() {
    let _cpus = among_others();
    let host = Host::new();
    project(&host, "project", &[XDP]);
    let first = slow(&host);
    let holder = host.run("cat /run/bpfkit/lock").exits(0).stdout;
    let began = std::time::Instant::now();
    host.run("cd project && bpfkit apply").exits(6).says(&["A113", holder.trim()]);
    host.run("bpfkit remove $set").exits(6).says(&["A113", holder.trim()]);
    assert!(began.elapsed().as_millis() < 3000, "it says so at once");
    host.run("cd project && bpfkit plan").exits(0);
    first.wait().exits(0);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
}

#[test]
fn a_stranger_who_comes_between_plan_and_apply_keeps_the_xdp_hook() {
    let _cpus = among_others();
    let host = Host::new();
    project(&host, "project", &[XDP]);
    stranger_loaded(&host);
    let nothing = host.footprint();
    let ours = slow(&host);
    stranger_attached(&host);
    ours.wait().exits(1).says(&["`stranger`", "A320"]);
    host.run("bpftool net detach xdpdrv dev eth0").exits(0);
    host.run("bpfkit remove $set; rmdir /sys/fs/bpf/bpfkit");
    assert!(wait_until(3, || host.footprint() == nothing), "{:?}", host.footprint());
    host.run("cd project && bpfkit apply").exits(0);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
}

#[test]
fn on_tc_a_stranger_who_comes_between_costs_one_more_try() {
    let _cpus = among_others();
    let host = Host::new();
    project(&host, "project", &[TC]);
    let ours = slow(&host);
    let stranger = stranger_at_tcx(&host);
    ours.wait().exits(0).says(&["pps_catch"]);
    let trace = std::fs::read_to_string(host.folder().join("trace")).unwrap();
    let tries: Vec<&str> = trace.lines().filter(|line| line.contains("BPF_LINK_CREATE")).collect();
    assert!(tries.len() == 2 && tries[0].contains("ESTALE"), "the kernel compares: {tries:?}");
    host.run("cd project && bpfkit plan --exit-code").exits(0);
    drop(stranger);
}

/// A chain by clsact.
const CLSACT: Chain<'_> = Chain { more: "attach: clsact,", ..TC };

#[test]
fn a_second_apply_of_a_chain_by_clsact_touches_nothing() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[CLSACT]);
    host.run("cd project && strace -f -qq -o ../trace -e trace=sendto,sendmsg bpfkit apply").exits(0);
    let trace = std::fs::read_to_string(host.folder().join("trace")).unwrap();
    assert!(trace.contains("RTM_GETTFILTER"), "it looks: {trace}");
    for what in ["RTM_NEW", "RTM_DEL"] {
        assert!(!trace.contains(what), "a no-op apply makes: {trace}");
    }
}

#[test]
fn a_filter_that_comes_between_plan_and_apply_costs_one_more_try() {
    let _cpus = among_others();
    let host = Host::new();
    project(&host, "project", &[CLSACT]);
    let ours = slow(&host);
    host.run("tc qdisc add dev eth0 clsact").exits(0);
    host.run("tc filter add dev eth0 ingress pref 9 bpf da bytecode '1,6 0 0 4294967295'").exits(0);
    ours.wait().exits(0);
    host.run("tc filter show dev eth0 ingress").exits(0).says(&["pref 1 bpf", "pref 9 bpf"]);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
    host.run("bpfkit remove $set").exits(0);
    // The qdisc was somebody else's when the chain came.
    host.run("tc filter show dev eth0 ingress").exits(0).says(&["pref 9"]);
}
