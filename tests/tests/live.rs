//! The binary against this machine's own kernel: a manifest, packets, verdicts.
//!
//! Each test has a host of its own ([`bpfkit_tests::host`]) and nothing in common with
//! the others but the CPUs. What measures or counts on them takes [`support::alone`].
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside of the functions that clippy takes for tests"
)]

#[path = "live/support.rs"]
mod support;

#[path = "live/apart.rs"]
mod apart;
#[path = "live/cgroups.rs"]
mod cgroups;
#[path = "live/chains.rs"]
mod chains;
#[path = "live/confirm.rs"]
mod confirm;
#[path = "live/demo.rs"]
mod demo;
#[path = "live/drift.rs"]
mod drift;
#[path = "live/escape.rs"]
mod escape;
#[path = "live/fused.rs"]
mod fused;
#[path = "live/kill.rs"]
mod kill;
#[path = "live/maps.rs"]
mod maps;
#[path = "live/midway.rs"]
mod midway;
#[path = "live/races.rs"]
mod races;
#[path = "live/refusals.rs"]
mod refusals;
#[path = "live/wayback.rs"]
mod wayback;
