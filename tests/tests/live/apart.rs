//! A set applied elsewhere than where it was made: by reference, in a network namespace, from real sources.

use bpfkit_tests::host::{Host, wait_until};

use crate::support::{Chain, Hop, among_others, apply, manifest};

/// A host with `examples/edge`, built, signed and pushed to `dist`, its sources gone; the reference by digest.
fn published() -> (Host, String) {
    let host = Host::new();
    let edge = bpfkit_tests::root().join("examples/edge");
    host.run(&format!(
        "cp -r {} made && cd made && mkdir trust && bpfkit trust keygen --output trust/ana",
        edge.display()
    ))
    .exits(0);
    host.run(&format!("sed -i 's/^name: edge/name: {0}/; s,local/edge,local/{0},' made/bpfkit.yml", host.set()))
        .exits(0);
    let pushed = host.run("cd made && bpfkit bundle --tag 1 >&2 && bpfkit sign --key trust/ana.key && bpfkit push");
    let pushed = pushed.exits(0).stdout;
    let digest = pushed.trim().rsplit_once('@').unwrap().1.to_owned();
    host.run("mv made/dist made/trust/ana.pub . && rm -r made && test ! -e made").exits(0);
    let reference = format!("oci:{}/dist/{}@{digest}", host.folder().display(), host.set());
    (host, reference)
}

/// A place with nothing but the binary and the few tools that are no compiler.
const BARE: &str = "mkdir -p bin empty && cp $(command -v bpfkit) bin/ && cd empty && env -i PATH=$PWD/../bin HOME=/";

#[test]
fn a_host_applies_a_set_by_reference_with_its_own_policy_and_nothing_else() {
    let _cpus = among_others();
    let (host, reference) = published();
    let nothing = host.footprint();

    let refused = host.run(&format!("{BARE} bpfkit apply {reference}")).exits(4);
    // The starter policy is for `/etc/bpfkit/trust.yml` and says `reject` for the rest.
    refused.says(&["/etc/bpfkit/trust.yml", "default: reject", &format!("local/{}", host.set())]);
    assert_eq!(host.footprint(), nothing);

    let policy =
        "default: reject\nkeys:\n  ana: {file: /etc/bpfkit/ana.pub}\nimage:\n  local/$set:\n    author: {from: [ana]}";
    host.run(&format!("cp ana.pub /etc/bpfkit/ && printf '%s\\n' \"{policy}\" >/etc/bpfkit/trust.yml")).exits(0);
    host.run(&format!("{BARE} bash -c 'command -v clang clang-19'")).exits(127);
    host.run(&format!("{BARE} bpfkit apply {reference}")).exits(0).says(&["by author ana"]);
    host.run(&format!("{BARE} bpfkit apply {reference}")).exits(0).says(&["nothing to do"]);

    // The real programs do their work: the source that is blocked stops at `guard`, which comes first.
    host.run("bpftool map update pinned $pins/maps/blocklist key 32 0 0 0 192 0 2 1 value 0 0 0 0 0 0 0 0").exits(0);
    host.run("pps --from world:w0 --to :eth0 --packets 500").exits(0).says(&["\"passed\":0"]);
    let dropped =
        "bpftool -j map lookup pinned $pins/programs/guard/seen key 1 0 0 0 | jq '[.formatted.values[].value] | add'";
    assert!(wait_until(2, || host.run(dropped).stdout.trim() == "500"), "{}", host.run(dropped).stdout);
    assert_eq!(host.counter("programs/limit/seen"), 0);
    host.run(&format!("{BARE} bpfkit remove {}", host.set())).exits(0);
    assert_eq!(host.footprint().links, 0);
}

#[test]
fn a_policy_that_asks_for_another_key_refuses_the_reference() {
    let _cpus = among_others();
    let (host, reference) = published();
    host.run("bpfkit trust keygen --output bert && cp bert.pub /etc/bpfkit/").exits(0);
    let policy =
        "default: reject\nkeys:\n  bert: {file: /etc/bpfkit/bert.pub}\norg:\n  local:\n    author: {from: [bert]}";
    host.run(&format!("printf '%s\\n' \"{policy}\" >/etc/bpfkit/trust.yml")).exits(0);
    let nothing = host.footprint();
    host.run(&format!("{BARE} bpfkit apply {reference}")).exits(4).says(&["author"]);
    assert_eq!(host.footprint(), nothing);
}

#[test]
fn a_chain_is_applied_in_another_network_namespace_from_outside() {
    let _cpus = among_others();
    let host = Host::new();
    let empty = host.footprint();
    let hops = [Hop::new("a", 1, 2), Hop::new("b", 2, 2)];
    let more = "netns: /run/netns/world, interfaces: [w*],";
    apply(&host, "project", &[Chain { hook: "xdp", more, hops: &hops }]);
    host.run("ip -n world -j link show w0 | jq -e '.[0].xdp.prog.id'").exits(0);
    host.run("ip -j link show eth0 | jq -e '.[0].xdp'").exits(1);
    host.send(3);
    assert!(wait_until(2, || host.counter("programs/b/runs") == 3), "{}", host.counter("programs/b/runs"));
    host.run("bpfkit status $set").exits(0).says(&["w0", "a, b"]);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
    host.run("bpftool link detach id $(bpftool -j link show pinned $pins/links/* | jq .id)").exits(0);
    host.run("bpfkit status $set").exits(3).says(&["w0", "detached"]);
    host.run("cd project && bpfkit apply").exits(0);
    host.run("bpfkit remove $set").exits(0);
    host.run("rmdir /sys/fs/bpf/bpfkit 2>/dev/null");
    assert_eq!(host.footprint(), empty);
}

#[test]
fn a_set_that_is_live_needs_its_manifest_no_more() {
    let _cpus = among_others();
    let host = Host::new();
    let chain = Chain { hook: "xdp", more: "", hops: &[Hop::new("a", 1, 2)] };
    assert!(manifest(host.set(), &[chain]).contains("hop.bpf.o"));
    apply(&host, "project", &[chain]);
    host.run("rm -r project && cd / && bpfkit status").exits(0).says(&[host.set(), "xdp eth0"]);
    host.run("cd / && bpfkit remove $set").exits(0);
    host.run("cd / && bpfkit status").exits(0).says(&["no set is live"]);
}
