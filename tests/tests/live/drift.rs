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
    let clean = host.footprint();
    assert_eq!((clean.programs, clean.links), (1, 1));
    host.run(damage).exits(0);
    host.run("bpfkit status $set").exits(3).says(words);
    host.run("cd project && bpfkit plan --exit-code").exits(3);
    host.run("cd project && bpfkit apply").exits(0);
    host.run("bpfkit status $set").exits(0);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
    assert_eq!(trail_of_one(host, "xdp"), trail, "{damage}");
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
