//! Whole commands, by the clock on the wall.

use std::{fmt::Write as _, time::Instant};

use bpfkit_tests::host::Host;

use crate::table::{table, times};

const ROUNDS: u32 = 11;

/// The least time of some lines of bash, in ms, each run in turn, after `before`.
fn least<const N: usize>(host: &Host, lines: [(&str, &str); N]) -> [f64; N] {
    let mut least = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for ((before, line), least) in lines.iter().zip(&mut least) {
            host.run(before).exits(0);
            let began = Instant::now();
            host.run(line).exits(0);
            *least = least.min(began.elapsed().as_secs_f64() * 1000.0);
        }
    }
    // What entering the host and starting a shell costs is nobody's.
    let empty = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        host.run("true").exits(0);
        began.elapsed().as_secs_f64() * 1000.0
    });
    let empty = empty.fold(f64::INFINITY, f64::min);
    least.map(|least| (least - empty).max(0.0))
}

fn rows<const N: usize>(names: [&str; N], least: [f64; N]) -> String {
    let mine = least.first().copied().unwrap_or(f64::NAN);
    let rows: Vec<_> = names
        .iter()
        .zip(least)
        .map(|(name, ms)| vec![(*name).to_owned(), format!("{ms:.1}"), times(ms, mine)])
        .collect();
    table(&["", "ms", "times bpfkit's"], &rows)
}

/// `--version`, beside the least that a process can be.
pub(crate) fn start_up() -> String {
    let host = Host::new();
    let least = least(&host, [("true", "bpfkit --version"), ("true", "bpftool version"), ("true", "/bin/true")]);
    rows(["bpfkit --version", "bpftool version", "/bin/true"], least)
}

/// A set of ten programs on one tc hook.
fn ten(host: &Host) {
    let source = bpfkit_tests::root().join("tests/live/hop.bpf.c");
    let set = host.set();
    let source = std::fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    host.write("hop.bpf.c", &source);
    let programs: Vec<_> = (0..10)
        .map(|hop| format!("{{name: h{hop}, source: hop.bpf.c, entry: tc_hop, globals: {{verdict: -1}}}}"))
        .collect();
    let names: Vec<_> = (0..10).map(|hop| format!("h{hop}")).collect();
    host.write(
        "bpfkit.yml",
        &format!(
            "version: 1\nname: {set}\nprograms: [{}]\nchains: [{{hook: tc/ingress, interfaces: [eth0], programs: [{}]}}]\n\
             trust: {{default: reject, keys: {{ana: {{file: ana.pub}}}}, image: {{local/{set}: {{author: {{from: [ana]}}}}}}}}\n",
            programs.join(", "),
            names.join(", ")
        ),
    );
    host.run("bpfkit trust keygen -q --output ana && bpfkit bundle -q --tag 1 && bpfkit sign -q --key ana.key")
        .exits(0);
}

/// Ten programs on one tc hook: verified and applied, beside `tc filter add` ten times.
pub(crate) fn first() -> String {
    let host = Host::new();
    ten(&host);
    let mut tc = String::from("tc qdisc add dev eth0 clsact\n");
    for hop in 0..10 {
        let _ = writeln!(
            tc,
            "tc filter add dev eth0 ingress prio {} bpf direct-action object-file .bpfkit/objects/*/h{hop}.bpf.o section tc",
            hop + 1
        );
    }
    let clean = "bpfkit remove -q $set; tc qdisc del dev eth0 clsact 2>/dev/null; true";
    let least = least(&host, [(clean, "bpfkit apply -q"), (clean, &tc)]);
    let rows = rows(["bpfkit apply: signature checked, one chain, one swap", "tc filter add, ten times"], least);
    rows + "\nTen programs on `tc/ingress`, each with its own maps, from objects that are there.\n"
}

/// A hundred hooks that are as declared.
pub(crate) fn nothing_to_do() -> String {
    let host = Host::new();
    ten(&host);
    let mut links = String::new();
    for pair in 0..50 {
        let _ = writeln!(links, "ip link add b{pair} type veth peer name p{pair} && ip link set b{pair} up");
    }
    host.run(&links).exits(0);
    let apply = "sed -i -e 's/eth0/b*/' -e \
                 's/^chains: \\[\\(.*\\)\\]$/chains: [\\1, \\1]/' bpfkit.yml && sed -i 's/hook: tc.ingress/hook: tc\\/egress/2' \
                 bpfkit.yml && bpfkit bundle -q --tag 2 && bpfkit sign -q --key ana.key && bpfkit apply -q";
    host.run(apply).exits(0);
    let hooks = host.run("bpfkit status $set --json | jq '.sets[0].hooks | length'").exits(0).stdout;
    assert_eq!(hooks.trim(), "100", "not a hundred hooks");
    host.run("bpfkit apply").exits(0).says(&["nothing to do"]);
    let least = least(
        &host,
        [("true", "bpfkit apply -q"), ("true", "bpftool prog show >/dev/null && bpftool net show >/dev/null")],
    );
    let rows = rows(["bpfkit apply, nothing to do", "bpftool prog show, bpftool net show"], least);
    rows + "\n100 hooks, 10 programs each. bpfkit checks the set's signature and compares each chain with what is declared;\n\
            bpftool lists programs and hooks.\n"
}
