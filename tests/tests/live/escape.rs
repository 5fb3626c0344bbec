//! No packet gets past a chain while it is replaced, and each is counted once.
//!
//! `pps` floods one end of a wire with a frame after the other; the chain at the other
//! end counts and drops all of them, in one of two forms that `apply` puts in each other's
//! place, by reference, as a host does. The counters live in maps that both forms
//! use. So each frame that was sent was seen by each program exactly once, or the
//! numbers differ; and what the chain misses, `pps` counts behind it.
//!
//! How fast the flood is depends on the machine: the test prints it, and fails only below half of
//! what is aimed at, since a slow flood would prove little and a busy machine is no bug.

use std::time::{Duration, Instant};

use bpfkit_tests::{
    host::{Host, measured},
    kit::{Kit, Version},
};
use serde_json::Value;

use crate::support::{Hop, alone};

/// How often the chain is replaced.
const CHANGES: u32 = 200;

/// Floods `chain` of `hook` while it is replaced [`CHANGES`] times; `least` is half of the frames a second aimed at.
#[track_caller]
fn nothing_escapes(hook: &'static str, more: &'static str, kind: &str, [on, off]: [i32; 2], least: u64) {
    let _cpus = alone();
    let host = Host::new();
    let (first, second) = (Hop::new("first", 0, on), Hop::new("second", 0, on));
    let (extra, last) = (Hop::new("extra", 0, on), Hop::new("last", 0, off));
    let version = |tag, hops: &[Hop]| Version { tag, hook, more, hops: hops.to_vec() };
    let forms = vec![version("old", &[first, second, last]), version("new", &[second, extra, first, last])];
    let kit = Kit::make(&host.folder().join("kit"), &[(host.set().to_owned(), forms)]);
    kit.install(&host);
    let [old, new] = ["old", "new"].map(|tag| kit.reference(host.set(), tag));
    host.run(&format!("bpfkit apply {old}")).exits(0);

    let (mut changes, mut sent, mut seconds) = (0, 0, 0.0);
    while changes < CHANGES {
        // `pps` floods for a minute at most; a machine that needs longer floods again.
        let flood = host.spawn(&format!("pps --from world:w0 --to :eth0 --chain {kind} --seconds 60 --ready"));
        assert!(bpfkit_tests::host::wait_until(5, || flood.so_far().contains("ready")), "no flood");
        let began = Instant::now();
        while changes < CHANGES && began.elapsed() < Duration::from_secs(50) {
            // The pair in one shell, so that less of the time goes to starting it.
            let pair =
                format!("bpfkit -q apply {new} >out && bpfkit -q apply {old} >>out; code=$?; cat out; exit $code");
            let done = host.run(&pair).exits(0);
            assert_eq!(done.stdout.matches("replace").count(), 2, "{}", done.stdout);
            changes += 2;
        }
        host.run("pkill -INT -x pps --ns 1 --nslist pid");
        let said = flood.wait().exits(0).stdout;
        let flood: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!((&flood["passed"], &flood["dropped"]), (&Value::from(0), &Value::from(0)), "{flood}");
        sent += flood["sent"].as_u64().unwrap();
        seconds += flood["seconds"].as_f64().unwrap();
    }
    for program in ["first", "second", "last"] {
        assert_eq!(host.counter(&format!("programs/{program}/runs")), sent, "seen by `{program}`, and sent");
    }
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
    let rate = (sent as f64 / seconds) as u64;
    measured(&format!(
        "{hook}: {changes} changes in {seconds:.1} s under {rate} frames a second: {sent} sent and seen, 0 passed"
    ));
    assert!(rate >= least, "{rate} frames a second are too few to show anything: this machine is busy or slow");
}

#[test]
fn no_packet_gets_past_a_native_xdp_chain_that_is_replaced_200_times() {
    nothing_escapes("xdp", "", "xdp", [2, 1], 500_000);
}

#[test]
fn no_packet_gets_past_a_generic_xdp_chain_that_is_replaced_200_times() {
    nothing_escapes("xdp", "mode: generic,", "generic", [2, 1], 250_000);
}

#[test]
fn no_packet_gets_past_a_chain_by_clsact_that_is_replaced_200_times() {
    nothing_escapes("tc/ingress", "attach: clsact,", "clsact", [0, 2], 250_000);
}

#[test]
fn no_packet_gets_past_a_tc_chain_that_is_replaced_200_times() {
    nothing_escapes("tc/ingress", "", "tcx", [0, 2], 250_000);
}
