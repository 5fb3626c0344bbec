//! A chain runs in the declared order, verdicts decide, changes are changes, and `remove` leaves nothing.

use super::{Place, Stage, Stop, Trial, version};
use crate::{host::wait_until, kit::Version, set::Hop};

/// A chain that is put up, changed in every way, and taken off.
pub const FOLLOWS_ITS_MANIFEST: Trial =
    Trial { name: "runs in order, follows its manifest, leaves nothing behind", at: |_| true, versions, run };

fn versions(place: &Place) -> Vec<Version> {
    let (a, b, c) = (Hop::new("a", 1, place.on), Hop::new("b", 2, place.on), Hop::new("c", 3, place.on));
    vec![
        version(place, "first", &[a, b]),
        version(place, "added", &[a, c, b]),
        version(place, "reordered", &[b, a, c]),
        version(place, "ended", &[c, Hop::new("b", 2, place.off), a]),
        version(place, "shortened", &[c, a]),
    ]
}

fn run(stage: &Stage<'_>) -> Result<(), Stop> {
    let host = stage.host;
    stage.first("first")?;
    assert_eq!(stage.trail(), "12", "in the declared order");
    stage.packets(9);
    assert!(wait_until(5, || host.counter("programs/b/runs") == 10), "10 packets, {}", host.counter("programs/b/runs"));
    assert_eq!(host.counter("programs/a/runs"), 10);
    let before = host.state();
    stage.apply("first").says(&["nothing to do"]);
    assert_eq!(host.state(), before, "a second apply changes nothing");

    stage.apply("added");
    assert_eq!(stage.trail(), "132", "added in the middle");
    assert_eq!(host.counter("programs/a/runs"), 11, "counters live on");
    stage.apply("reordered");
    assert_eq!(stage.trail(), "213", "reordered");
    stage.apply("ended");
    assert_eq!(stage.trail(), "32", "what isn't gone on with ends the chain");
    stage.apply("shortened");
    assert_eq!(stage.trail(), "31", "removed");
    let pins = host.footprint().pins.join("\n");
    assert!(!pins.contains("programs/b"), "the maps of `b` stay:\n{pins}");
    let status = host.run("bpfkit status $set --json").exits(0).json();
    let live = |key: &str| status.pointer(&format!("/sets/0/hooks/0/{key}")).cloned().unwrap_or_default();
    assert_eq!((live("hook"), live("programs")), (stage.place.hook.into(), ["c", "a"].as_slice().into()));
    stage.removed();
    Ok(())
}
