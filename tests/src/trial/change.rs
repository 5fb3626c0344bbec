//! A chain that is replaced under traffic, and one that somebody takes off.

use std::time::{Duration, Instant};

use super::{Place, Stage, Stop, Trial, version};
use crate::{
    host::{measured, wait_until},
    kit::Version,
    set::Hop,
};

/// How long a flood lasts.
const SECONDS: u64 = 8;

/// Each packet that was sent was seen by each program once, and none got past the chain.
pub(super) const UNDER_TRAFFIC: Trial = Trial {
    name: "is replaced under traffic: sent is seen, nothing passes",
    at: |_| true,
    versions: two_forms,
    run: under_traffic,
};

fn two_forms(place: &Place) -> Vec<Version> {
    let (first, second) = (Hop::new("first", 0, place.on), Hop::new("second", 0, place.on));
    let (extra, last) = (Hop::new("extra", 0, place.on), Hop::new("last", 0, place.off));
    vec![version(place, "old", &[first, second, last]), version(place, "new", &[second, extra, first, last])]
}

fn under_traffic(stage: &Stage<'_>) -> Result<(), Stop> {
    let host = stage.host;
    stage.first("old")?;
    // Whoever gets past the chain finds no socket, which the kernel at the far end counts.
    let (enter, to, far) = match stage.place.hook {
        "tc/egress" => ("", "10.0.0.2:9", "nsenter --net=/run/netns/world "),
        _ => ("nsenter --net=/run/netns/world ", "10.0.0.1:9", ""),
    };
    let passed = || host.run(&format!("{far}grep '^Udp:' /proc/net/snmp")).exits(0).stdout;
    let before = passed();
    let mut flood = host.spawn(&format!("{enter}bpfkit-vm flood {to} {SECONDS}"));
    assert!(wait_until(10, || host.counter("programs/first/runs") > 0), "no flood: {}", flood.so_far());
    let (mut changes, began) = (0, Instant::now());
    while !flood.has_ended() && began.elapsed() < Duration::from_secs(30 * SECONDS) {
        for form in ["new", "old"] {
            stage.apply(form).says(&["replace"]);
            changes += 1;
        }
    }
    let said = flood.wait().exits(0).json();
    let sent = said.get("sent").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let seen = |program: &str| host.counter(&format!("programs/{program}/runs"));
    wait_until(5, || seen("last") == sent);
    let lost = host.run("ip -s link show eth0; ip -n world -s link show w0").stdout;
    for program in ["first", "second", "last"] {
        assert_eq!(seen(program), sent, "seen by `{program}`, and sent\n{lost}");
    }
    assert_eq!(passed(), before, "packets got past the chain");
    assert!(sent > 100 && changes >= 2, "{changes} changes under {sent} packets show nothing");
    measured(&format!("{}: {changes} changes under {sent} packets: all seen, 0 passed", stage.place.name));
    stage.removed();
    Ok(())
}

/// What somebody undoes is reported, and repaired by the next `apply`.
pub(super) const DRIFT: Trial =
    Trial { name: "drift is reported and repaired", at: |_| true, versions: one_form, run: drift };

fn one_form(place: &Place) -> Vec<Version> {
    vec![version(place, "only", &[Hop::new("a", 1, place.on), Hop::new("b", 2, place.on)])]
}

fn drift(stage: &Stage<'_>) -> Result<(), Stop> {
    let host = stage.host;
    stage.first("only")?;
    let clean = host.footprint();
    // As anybody with root can: off the hook, with the pin left; then the pin alone. Where there is no link, the
    // chain is a filter, and what goes is the filter and then its qdisc.
    let direction = stage.place.hook.trim_start_matches("tc/");
    let filter =
        |link: &str, filter: &str| format!("if ls $pins/links/* >/dev/null 2>&1; then {link}; else {filter}; fi");
    let detach = "bpftool link detach id $(bpftool -j link show pinned $pins/links/* | jq .id)";
    for damage in [
        filter(detach, &format!("tc filter del dev eth0 {direction} pref 1")),
        filter("rm $pins/links/*", "tc qdisc del dev eth0 clsact"),
        "rm -r $pins/programs".to_owned(),
    ] {
        host.run(&damage).exits(0);
        host.run("bpfkit status $set").exits(3);
        stage.apply("only");
        host.run("bpfkit status $set").exits(0);
        assert_eq!(stage.trail(), "12", "{damage}");
        wait_until(5, || host.footprint() == clean);
        assert_eq!(host.footprint(), clean, "{damage}");
    }
    stage.removed();
    Ok(())
}
