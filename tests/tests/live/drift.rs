//! Somebody else changes what we applied: `status` says what, `apply` repairs it, and strangers are left alone.

use std::fs;

use bpfkit_tests::host::{Host, Running, wait_until};

use crate::support::{Chain, Hop, among_others, apply, compile, project, trail_of_one};

const A: Hop = Hop::new("a", 1, 2);
const B: Hop = Hop::new("b", 2, 2);
const XDP: Chain<'_> = Chain { hook: "xdp", more: "", hops: &[A, B] };

/// Unpins nothing, but detaches the chain's link as anybody with root can.
const DETACH: &str = "bpftool link detach id $(bpftool -j link show pinned $pins/links/* | jq .id)";

/// `status` must find drift and say `words`; `apply` must then repair it, and the chain run as before.
#[track_caller]
fn repaired_after(host: &Host, damage: &str, words: &[&str], trail: &str) {
    repaired_at(host, "xdp", damage, words, trail);
}

/// The same for a chain of another hook.
#[track_caller]
fn repaired_at(host: &Host, hook: &str, damage: &str, words: &[&str], trail: &str) {
    let clean = host.footprint();
    assert_eq!(clean.programs, 1);
    host.run(damage).exits(0);
    host.run("bpfkit status $set").exits(3).says(words);
    host.run("cd project && bpfkit plan --exit-code").exits(3);
    host.run("cd project && bpfkit apply").exits(0);
    host.run("bpfkit status $set").exits(0);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
    assert_eq!(trail_of_one(host, hook), trail, "{damage}");
    wait_until(3, || host.footprint() == clean);
    assert_eq!(host.footprint(), clean, "{damage}");
}

#[test]
fn what_somebody_undoes_is_reported_and_repaired() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[XDP]);
    host.receive(5);
    wait_until(2, || host.counter("programs/a/runs") == 5);
    repaired_after(&host, DETACH, &["xdp eth0", "somebody detached it"], "12");
    repaired_after(&host, "rm $pins/links/*", &["xdp eth0", "somebody removed it"], "12");
    repaired_after(&host, "rm $pins/programs/a/runs", &["a/runs", "pin is gone"], "12");
    assert_eq!(host.counter("programs/a/runs"), 8, "counters outlive all of it");
    repaired_after(&host, "rm -r $pins/programs $pins/maps", &["a/runs", "pin is gone"], "12");
    assert_eq!(host.counter("programs/a/runs"), 9, "and this too, since the live chain holds them");
    repaired_after(&host, "rm -r $pins/programs $pins/maps $pins/links", &["xdp eth0", "somebody removed it"], "12");
    assert_eq!(host.counter("programs/a/runs"), 1, "with the last pin and the chain gone, the maps were gone, too");
}

#[test]
fn a_record_pin_that_is_lost_is_drift_and_is_pinned_again() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[XDP]);
    let clean = host.footprint();
    host.run("rm $pins/records/*").exits(0);
    host.run("bpfkit status $set").exits(3).says(&["a, b", "its pin is gone"]);
    host.run("cd project && bpfkit apply").exits(0);
    host.run("cd project && bpfkit plan --exit-code && bpfkit status $set").exits(0);
    assert_eq!(host.footprint(), clean);
    host.run("bpfkit remove $set").exits(0);
    assert_eq!(host.footprint().links, 0);
}

/// A chain by clsact; `a` and `b` hand on what they see.
const CLSACT: Chain<'_> =
    Chain { hook: "tc/ingress", more: "attach: clsact,", hops: &[Hop::new("a", 1, 0), Hop::new("b", 2, -1)] };

/// Loads a filter that lets everything go on, as a stranger would, and pins it at `/sys/fs/bpf/stranger`.
#[track_caller]
fn stranger_filter(host: &Host) {
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n\
                  SEC(\"tc\") int stranger(struct __sk_buff *skb) { return -1; }\n\
                  char LICENSE[] SEC(\"license\") = \"GPL\";\n";
    let object = compile(folder.path(), source, "stranger");
    fs::write(host.folder().join("stranger.o"), object).unwrap();
    host.run("bpftool prog load stranger.o /sys/fs/bpf/stranger").exits(0);
}

#[test]
fn what_somebody_does_to_our_filter_is_reported_and_repaired() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[CLSACT]);
    let gone = ["tc/ingress eth0 (clsact, fused)", "its filter is gone"];
    repaired_at(&host, "tc/ingress", "tc filter del dev eth0 ingress pref 1", &gone, "12");
    repaired_at(&host, "tc/ingress", "tc qdisc del dev eth0 clsact", &gone, "12");
    assert_eq!(host.counter("programs/a/runs"), 2, "the maps' pins outlive all of it");
    // The record's pin is what a filter is found by without the manifest.
    host.run("rm $pins/records/*").exits(0);
    host.run("cd project && bpfkit status").exits(3).says(&["its pin is gone"]);
    host.run("cd project && bpfkit apply").exits(0).says(&["pin again"]);
    host.run("bpfkit status $set").exits(0).says(&["tc/ingress eth0 (clsact, fused): a, b"]);
    host.run("bpfkit remove $set").exits(0);
    host.run("tc qdisc show dev eth0 | grep clsact").exits(1);
}

#[test]
fn a_stranger_in_our_filter_is_left_there_and_we_go_before_it() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[CLSACT]);
    stranger_filter(&host);
    let handle = host.run("tc -j filter show dev eth0 ingress | jq -r '.[].options.handle // empty'").exits(0).stdout;
    let handle = handle.trim();
    host.run(&format!(
        "tc filter replace dev eth0 ingress pref 1 handle {handle} bpf da object-pinned /sys/fs/bpf/stranger"
    ))
    .exits(0);
    host.run("bpfkit status $set").exits(3).says(&[
        "its filter is gone",
        "`stranger`",
        "pref 1",
        "/sys/fs/bpf/stranger",
    ]);
    host.run("cd project && bpfkit apply").exits(0).says(&["attach again", "beside `stranger`"]);
    assert_eq!(trail_of_one(&host, "tc/ingress"), "12");
    host.run("bpfkit status $set").exits(0).says(&["`stranger`"]);
    host.run("bpfkit remove $set").exits(0);
    host.run("tc filter show dev eth0 ingress").exits(0).says(&["stranger", handle]);
}

#[test]
fn a_foreign_filter_is_refused_where_the_manifest_says_so_and_kept_elsewhere() {
    let _cpus = among_others();
    let host = Host::new();
    stranger_filter(&host);
    host.run("tc qdisc add dev eth0 clsact").exits(0);
    host.run("tc filter add dev eth0 ingress pref 7 bpf da object-pinned /sys/fs/bpf/stranger").exits(0);
    for attach in ["clsact", "tcx"] {
        let more = format!("attach: {attach}, foreign: refuse,");
        project(&host, "refuse", &[Chain { more: &more, ..CLSACT }]);
        host.run("cd refuse && bpfkit apply").exits(1).says(&["A322", "`stranger`", "filter pref 7 handle 0x1"]);
    }
    apply(&host, "keep", &[CLSACT]);
    assert_eq!(trail_of_one(&host, "tc/ingress"), "12");
    host.run("bpfkit remove $set").exits(0);
    host.run("tc filter show dev eth0 ingress").exits(0).says(&["pref 7", "stranger"]);
}

#[test]
fn a_filter_of_another_kind_at_our_priority_is_refused_by_name() {
    let _cpus = among_others();
    let host = Host::new();
    host.run("tc qdisc add dev eth0 clsact && tc filter add dev eth0 ingress pref 1 u32 match u32 0 0 classid 1:1")
        .exits(0);
    project(&host, "project", &[CLSACT]);
    host.run("cd project && bpfkit apply").exits(1).says(&["A326", "`u32`", "priority 1"]);
    host.run("tc filter del dev eth0 ingress pref 1").exits(0);
    host.run("cd project && bpfkit apply").exits(0);
}

/// Loads a program that passes everything, as a stranger would, and attaches it to `eth0` without a link.
#[track_caller]
fn stranger_at_xdp(host: &Host) {
    stranger_loaded(host);
    stranger_attached(host);
}

/// The stranger's program, loaded and pinned.
#[track_caller]
pub(crate) fn stranger_loaded(host: &Host) {
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\n\
                  SEC(\"xdp\") int stranger(struct xdp_md *ctx) { return 2; }\n\
                  char LICENSE[] SEC(\"license\") = \"GPL\";\n";
    let object = compile(folder.path(), source, "stranger");
    fs::write(host.folder().join("stranger.o"), object).unwrap();
    host.run("bpftool prog load stranger.o /sys/fs/bpf/stranger").exits(0);
}

/// Attaches it.
#[track_caller]
pub(crate) fn stranger_attached(host: &Host) {
    host.run("bpftool net attach xdpdrv pinned /sys/fs/bpf/stranger dev eth0").exits(0);
}

/// The program at `eth0`'s XDP hook.
fn at_xdp(host: &Host) -> String {
    host.run("ip -j link show eth0 | jq '.[0].xdp.prog.id'").stdout
}

#[test]
fn a_stranger_at_xdp_is_named_and_left_alone() {
    let _cpus = among_others();
    let host = Host::new();
    stranger_at_xdp(&host);
    project(&host, "project", &[XDP]);
    let (before, at) = (host.footprint(), at_xdp(&host));
    for verb in ["plan", "apply"] {
        host.run(&format!("cd project && bpfkit {verb}")).exits(1).says(&["A320", "`stranger`", "eth0", at.trim()]);
    }
    assert_eq!((host.footprint(), at_xdp(&host)), (before, at));
}

#[test]
fn a_stranger_who_took_our_place_is_drift_and_is_left_alone() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[XDP]);
    host.run(DETACH).exits(0);
    stranger_at_xdp(&host);
    let (before, at) = (host.footprint(), at_xdp(&host));
    host.run("bpfkit status $set").exits(3).says(&["`stranger`", at.trim()]);
    host.run("cd project && bpfkit apply").exits(1).says(&["A320", "`stranger`"]);
    assert_eq!((host.footprint(), at_xdp(&host)), (before, at));
    host.run("bpftool net detach xdpdrv dev eth0").exits(0);
    host.run("cd project && bpfkit apply").exits(0);
    host.run("bpfkit status $set").exits(0);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
}

/// A stranger at tc/ingress, `pps`'s own program there, which counts what gets as far as it.
#[track_caller]
pub(crate) fn stranger_at_tcx(host: &Host) -> Running {
    let pps = host.spawn("pps --from world:w0 --to :eth0 --chain tcx --rate 200 --batch 1 --seconds 60 --ready");
    assert!(wait_until(5, || pps.so_far().contains("ready")), "no flood: {}", pps.so_far());
    pps
}

#[test]
fn on_tc_a_stranger_is_kept_and_runs_after_us() {
    let _cpus = among_others();
    let host = Host::new();
    let stranger = stranger_at_tcx(&host);
    let refuse = [Chain { hook: "tc/ingress", more: "foreign: refuse,", hops: &[Hop::new("a", 1, 0)] }];
    project(&host, "refuse", &refuse);
    host.run("cd refuse && bpfkit apply").exits(1).says(&["A322", "pps_catch", "eth0"]);
    assert_eq!(host.footprint().pins, Vec::<String>::new());

    // -1 hands the packet on to whoever is next at the hook.
    let keep = [Chain { hook: "tc/ingress", more: "", hops: &[Hop::new("a", 1, -1)] }];
    project(&host, "keep", &keep);
    host.run("cd keep && bpfkit apply").exits(0).says(&["pps_catch"]);
    assert!(wait_until(5, || host.counter("programs/a/runs") > 20), "no packets");
    host.run("bpfkit status $set").exits(0).says(&["pps_catch"]);
    host.run("pkill -INT -x pps --ns 1 --nslist pid");
    let said = stranger.wait().exits(0);
    let last: serde_json::Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    assert!(last["passed"].as_u64() > Some(20), "the stranger runs after us: {last}");
    assert_eq!(last["passed"], last["sent"], "and sees all that we hand on: {last}");
}

#[test]
fn on_tc_a_new_chain_goes_before_the_strangers() {
    let _cpus = among_others();
    let host = Host::new();
    let stranger = stranger_at_tcx(&host);
    let shot = [Chain { hook: "tc/ingress", more: "", hops: &[Hop::new("a", 0, 2)] }];
    apply(&host, "project", &shot);
    let (from, at) = (host.counter("programs/a/runs"), 200);
    assert!(wait_until(10, || host.counter("programs/a/runs") > from + at), "no packets");
    host.run("pkill -INT -x pps --ns 1 --nslist pid");
    let said = stranger.wait().exits(0);
    let last: serde_json::Value = serde_json::from_str(said.stdout.lines().last().unwrap()).unwrap();
    let (sent, passed) = (last["sent"].as_u64().unwrap(), last["passed"].as_u64().unwrap());
    assert_eq!(sent - passed, host.counter("programs/a/runs"), "what we dropped, the stranger didn't see: {last}");
}
