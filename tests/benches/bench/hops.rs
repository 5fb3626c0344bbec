//! What one more program costs a packet, by `BPF_PROG_TEST_RUN`.

use std::fmt::Write as _;

use bpfkit_tests::host::Host;
use serde_json::Value;

use crate::{
    rivals::{Work, by_hand, component, dispatcher, tail_calls},
    table::{table, times},
};

const LENGTHS: [usize; 5] = [1, 2, 5, 10, 30];
const ROUNDS: u32 = 15;
const REPEAT: u32 = 500_000;

/// How a chain is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Fused,
    ByHand,
    Dispatcher,
    TailCalls,
}

impl Way {
    const ALL: [Self; 4] = [Self::Fused, Self::ByHand, Self::Dispatcher, Self::TailCalls];

    fn name(self) -> &'static str {
        match self {
            Self::Fused => "bpfkit, fused",
            Self::ByHand => "one program, written by hand",
            Self::Dispatcher => "libxdp's dispatcher, by its shape",
            Self::TailCalls => "tail calls",
        }
    }
}

/// A chain that is loaded and pinned, and its least time so far, in ns a packet.
struct Loaded {
    way: Way,
    work: Work,
    hops: usize,
    pin: String,
    least: f64,
}

/// The table.
pub(crate) fn hops() -> String {
    let host = Host::new();
    // A frame that every program lets through.
    host.run("mkdir -p /sys/fs/bpf/bench && head -c 64 /dev/zero >frame").exits(0);
    let mut chains = Vec::new();
    for work in [Work::Parse, Work::Nothing] {
        for hops in LENGTHS {
            for way in Way::ALL {
                let pin = load(&host, way, work, hops);
                chains.push(Loaded { way, work, hops, pin, least: f64::INFINITY });
            }
        }
    }
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            chain.least = chain.least.min(time(&host, &chain.pin));
        }
    }
    let mut text = String::new();
    for work in [Work::Parse, Work::Nothing] {
        let of = |way: Way, hops: usize| {
            let found = chains.iter().find(|chain| (chain.way, chain.work, chain.hops) == (way, work, hops));
            found.map_or(f64::NAN, |chain| chain.least)
        };
        // The first program's cost has the call of the chain itself in it.
        let hop = |way: Way| (of(way, 30) - of(way, 1)) / 29.0;
        let rows: Vec<_> = Way::ALL
            .into_iter()
            .map(|way| {
                let lengths = LENGTHS.iter().map(|hops| format!("{:.0}", of(way, *hops)));
                let beside = if way == Way::Fused { "1".to_owned() } else { times(hop(way), hop(Way::Fused)) };
                [way.name().to_owned()].into_iter().chain(lengths).chain([format!("{:.2}", hop(way)), beside]).collect()
            })
            .collect();
        let title = format!("each program {}", work.name());
        let head = [title.as_str(), "1", "2", "5", "10", "30", "ns a hop", "times bpfkit's hop"];
        let _ = writeln!(text, "{}", table(&head, &rows));
    }
    text + "ns a packet for chains of 1, 2, 5, 10 and 30 programs; a hop is a 29th of what 30 cost more than 1.\n"
}

/// Loads a chain; its pin.
fn load(host: &Host, way: Way, work: Work, hops: usize) -> String {
    let name = format!("{way:?}_{work:?}_{hops}").to_lowercase();
    let pin = format!("/sys/fs/bpf/bench/{name}");
    let build = |source: &str, entry: &str| {
        host.write(&format!("{name}/hop.bpf.c"), source);
        let manifest = format!(
            "version: 1\nname: bench\nprograms: [{{name: hop, source: hop.bpf.c, entry: {entry}}}]\n\
             trust: {{default: reject, unsigned: [{{set: bench, because: never applied}}]}}\n"
        );
        host.write(&format!("{name}/bpfkit.yml"), &manifest);
        host.run(&format!("cd {name} && bpfkit build -q && cp .bpfkit/objects/*/hop.bpf.o .")).exits(0);
    };
    match way {
        Way::Fused => {
            build(&component(work), "hop");
            let names: Vec<_> = (0..hops).map(|hop| format!("h{hop}")).collect();
            let programs: Vec<_> = names.iter().map(|name| format!("{{name: {name}, object: hop.bpf.o}}")).collect();
            let set = host.set();
            let manifest = format!(
                "version: 1\nname: {set}\nprograms: [{}]\nmaps: [{{name: counts}}]\n\
                 chains: [{{hook: xdp, interfaces: [eth0], programs: [{}]}}]\n\
                 trust: {{default: reject, unsigned: [{{set: {set}, because: a benchmark}}]}}\n",
                programs.join(", "),
                names.join(", ")
            );
            // A set without its map is no manifest: an empty program has none.
            let manifest =
                if work == Work::Nothing { manifest.replace("maps: [{name: counts}]\n", "") } else { manifest };
            host.write(&format!("{name}/bpfkit.yml"), &manifest);
            host.run(&format!(
                "cd {name} && bpfkit bundle -q --tag 1 && bpfkit apply -q && bpftool prog pin id \
                 $(ip -j link show eth0 | jq '.[0].xdp.prog.id') {pin} && bpfkit remove -q $set"
            ))
            .exits(0);
        }
        Way::ByHand | Way::Dispatcher => {
            let source = if way == Way::ByHand { by_hand(work, hops) } else { dispatcher(work, hops) };
            build(&source, "hop");
            host.run(&format!("bpftool prog load {name}/hop.bpf.o {pin} type xdp")).exits(0);
        }
        Way::TailCalls => {
            build(&tail_calls(work, hops), "hop0");
            let mut fill = String::new();
            for hop in 1..hops {
                let value = format!("value pinned {pin}_all/hop{hop}");
                let _ = writeln!(fill, "bpftool map update pinned {pin}_maps/next key {hop} 0 0 0 {value}");
            }
            host.run(&format!(
                "set -e\nbpftool prog loadall {name}/hop.bpf.o {pin}_all type xdp pinmaps {pin}_maps\n{fill}\
                 mv {pin}_all/hop0 {pin}"
            ))
            .exits(0);
        }
    }
    pin
}

/// One round of a chain, in ns a packet.
fn time(host: &Host, pin: &str) -> f64 {
    let ran = host.run(&format!("bpftool -j prog run pinned {pin} data_in frame repeat {REPEAT}")).exits(0).json();
    match (ran.get("retval").and_then(Value::as_u64), ran.get("duration").and_then(Value::as_f64)) {
        (Some(2), Some(duration)) => duration,
        _ => panic!("{pin} answers otherwise: {ran}"),
    }
}
