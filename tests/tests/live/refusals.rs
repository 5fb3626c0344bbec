//! What can't be done is said with a code, and the host stays as it was.

use bpfkit_tests::host::Host;

use crate::support::{Chain, Hop, among_others, apply, live, project, trail_of_one};

const A: Hop = Hop::new("a", 1, 2);
const B: Hop = Hop::new("b", 2, 2);
const XDP: Chain<'_> = Chain { hook: "xdp", more: "", hops: &[A, B] };

/// `plan` and `apply` of a set whose chain says `more` are refused in these words, whether it is live or not.
#[track_caller]
fn refused(more: &str, words: &[&str]) {
    let _cpus = among_others();
    let host = Host::new();
    project(&host, "bad", &[XDP, Chain { hook: "tc/ingress", more, hops: &[Hop::new("c", 3, 0)] }]);
    let empty = host.state();
    for verb in ["plan", "apply"] {
        host.run(&format!("cd bad && bpfkit {verb}")).exits(1).says(words);
    }
    host.run("rmdir /run/bpfkit 2>/dev/null; rm -f /run/bpfkit/lock; rmdir /run/bpfkit 2>/dev/null");
    assert_eq!(host.state(), empty, "a host without the set");

    apply(&host, "good", &[XDP]);
    let before = host.state();
    host.run("cd bad && bpfkit apply").exits(1).says(words);
    assert_eq!(host.state(), before, "a host with the set");
    assert_eq!(trail_of_one(&host, "xdp"), "12");
}

#[test]
fn an_interface_that_is_missing_is_refused_and_no_other_hook_is_touched() {
    refused("interfaces: [eth7],", &["A301", "eth7", "help"]);
}

#[test]
fn a_network_namespace_that_is_missing_is_refused_and_no_other_hook_is_touched() {
    refused("netns: /run/netns/nowhere,", &["A302", "/run/netns/nowhere", "help"]);
}

#[test]
fn a_file_that_is_no_network_namespace_is_refused() {
    let _cpus = among_others();
    let host = Host::new();
    host.run("touch /run/netns/file").exits(0);
    project(&host, "bad", &[Chain { hook: "xdp", more: "netns: /run/netns/file,", hops: &[A] }]);
    let before = host.state();
    host.run("cd bad && bpfkit plan").exits(1).says(&["/run/netns/file", "help"]);
    assert_eq!(host.state(), before);
}

#[test]
fn a_pattern_without_interfaces_waits_with_a_warning() {
    let _cpus = among_others();
    let host = Host::new();
    project(&host, "project", &[Chain { hook: "xdp", more: "interfaces: [wan*],", hops: &[A] }]);
    host.run("cd project && bpfkit apply").exits(0).says(&["wan*", "waits"]);
    host.run("ip link add wan0 type veth peer name wan1 && ip link set wan0 up").exits(0);
    host.run("cd project && bpfkit plan --exit-code").exits(3).says(&["wan0", "wan1"]);
    host.run("cd project && bpfkit apply").exits(0);
    assert_eq!(live(&host).len(), 2);
    // An interface that goes takes its chain with it; what is left of it goes with the next apply.
    host.run("ip link del wan0").exits(0);
    host.run("bpfkit status $set").exits(3).says(&["interface is gone"]);
    host.run("cd project && bpfkit apply").exits(0);
    host.run("cd project && bpfkit status").exits(0).says(&["wan*", "waits"]);
    host.run("bpfkit remove $set").exits(0);
    assert_eq!(host.footprint().links, 0);
}

#[test]
fn without_root_nothing_is_tried() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "project", &[XDP]);
    let before = host.state();
    // Tests may run from a folder that nobody else may look into.
    host.run("mkdir /run/open && cp $(command -v bpfkit) project/bpfkit.yml /run/open && chmod -R a+rX /run/open");
    for verb in ["plan", "apply", "status $set", "remove $set"] {
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
        host.run(&format!("cd /run/open && {nobody} ./bpfkit {verb}")).exits(1).says(&["A001", "root", "sudo"]);
    }
    host.run("rm -r /run/open").exits(0);
    assert_eq!(host.state(), before);
}

const REFUSED: &str = r#"#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int careless(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if (eth->h_proto == 8) /* line 8: nobody looked where the packet ends */
		return 1;
	return 2;
}
char LICENSE[] SEC("license") = "GPL";
"#;

#[test]
fn what_the_verifier_refuses_is_told_with_its_line_and_the_old_chain_stays() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, "good", &[XDP]);
    project(&host, "bad", &[XDP]);
    let manifest = std::fs::read_to_string(host.folder().join("bad/bpfkit.yml")).unwrap();
    let manifest = manifest
        .replace("programs:\n", "programs:\n  - {name: careless, source: careless.bpf.c}\n")
        .replace("[a, b]", "[a, careless, b]");
    host.write("bad/bpfkit.yml", &manifest);
    host.write("bad/careless.bpf.c", REFUSED);
    host.run("cd bad && bpfkit bundle").exits(0);
    let before = (host.footprint(), host.run("ip -j link show eth0 | jq '.[0].xdp.prog.id'").stdout);

    let said = host.run("cd bad && bpfkit apply --json").exits(1);
    let problem = &said.json()["problems"][0];
    assert_eq!(problem["code"], "A107", "{problem}");
    let text = problem.to_string();
    assert!(text.contains("careless.bpf.c:8") && text.contains("`careless`"), "{text}");
    assert!(text.contains("invalid access to packet"), "{text}");
    let help = problem["help"].as_str().unwrap();
    let log = help.split_whitespace().last().unwrap().trim_matches('`');
    host.run(&format!("cat {log}")).exits(0).says(&["invalid access to packet", "processed"]);

    let after = (host.footprint(), host.run("ip -j link show eth0 | jq '.[0].xdp.prog.id'").stdout);
    assert_eq!(after, before);
    assert_eq!(trail_of_one(&host, "xdp"), "12");
    host.run("bpfkit status $set").exits(0);
}
