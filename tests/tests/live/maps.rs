//! Map state: kept over updates, or refused or announced before anything happens.

use bpfkit_tests::host::{Host, wait_until};

use crate::support::{Chain, Hop, among_others, apply, project};

const KEEPER: &str = r#"#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
__u64 packets;
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, VALUE);
} counts SEC(".maps");
SEC("xdp") int keeper(struct xdp_md *ctx)
{
	__u32 zero = 0;
	VALUE *n = bpf_map_lookup_elem(&counts, &zero);
	if (n)
		*n += 1;
	packets += 1;
	EXTRA;
	return 2;
}
char LICENSE[] SEC("license") = "GPL";
"#;

#[track_caller]
fn bundle(host: &Host, entries: &str, value: &str, extra: &str) {
    let source = KEEPER.replace("ENTRIES", entries).replace("VALUE", value).replace("EXTRA", extra);
    host.write("keep/keeper.bpf.c", &source);
    let set = host.set();
    host.write(
        "keep/bpfkit.yml",
        &format!(
            "version: 1\nname: {set}\nprograms: [{{name: keeper, source: keeper.bpf.c}}]\n\
             chains: [{{hook: xdp, interfaces: [eth0], programs: [keeper]}}]\n\
             trust: {{default: reject, unsigned: [{{set: {set}, because: made by a test}}]}}\n"
        ),
    );
    host.run("cd keep && bpfkit bundle").exits(0);
}

#[test]
fn counters_and_variables_survive_a_new_program() {
    let _cpus = among_others();
    let host = Host::new();
    bundle(&host, "4", "__u64", "");
    host.run("cd keep && bpfkit apply").exits(0);
    host.receive(7);
    assert!(wait_until(2, || host.counter("programs/keeper/counts") == 7));
    bundle(&host, "4", "__u64", "if (bpf_get_prandom_u32() == 7) return 1");
    host.run("cd keep && bpfkit apply").exits(0).says(&["object changed"]);
    host.receive(1);
    assert!(wait_until(2, || host.counter("programs/keeper/counts") == 8));
    assert_eq!(host.counter("programs/keeper/_bss"), 8, "the variable `packets`");
}

#[test]
fn a_map_whose_shape_changed_is_refused_before_anything_happens() {
    let _cpus = among_others();
    let host = Host::new();
    bundle(&host, "4", "__u64", "");
    host.run("cd keep && bpfkit apply").exits(0);
    host.receive(3);
    let before = host.footprint();
    let chain = host.run("ip -j link show eth0 | jq '.[0].xdp.prog.id'").stdout;
    for (entries, value, words) in [("8", "__u64", "8 entries"), ("4", "__u32", "value 4")] {
        bundle(&host, entries, value, "");
        for verb in ["plan", "apply"] {
            let refused = host.run(&format!("cd keep && bpfkit {verb}")).exits(1);
            refused.says(&["A324", "keeper/counts", "live:     array, key 4, value 8, 4 entries", words]);
        }
    }
    assert_eq!(host.footprint(), before);
    assert_eq!(host.run("ip -j link show eth0 | jq '.[0].xdp.prog.id'").stdout, chain);
    assert_eq!(host.counter("programs/keeper/counts"), 3);
}

#[test]
fn variables_whose_layout_changed_are_announced_as_lost() {
    let _cpus = among_others();
    let host = Host::new();
    bundle(&host, "4", "__u64", "");
    host.run("cd keep && bpfkit apply").exits(0);
    host.receive(3);
    bundle(&host, "4", "__u64", "static __u64 more; __sync_fetch_and_add(&more, 1)");
    host.run("cd keep && bpfkit plan").exits(0).says(&["keeper/.bss", "its values are lost"]);
    assert_eq!(host.counter("programs/keeper/_bss"), 3, "a plan changes nothing");
    host.run("cd keep && bpfkit apply").exits(0).says(&["keeper/.bss", "its values are lost"]);
    assert_eq!(host.counter("programs/keeper/counts"), 3, "the other map is kept");
    let clean = host.footprint();
    assert_eq!((clean.programs, clean.links), (1, 1));
}

#[test]
fn a_shared_map_is_one_and_private_maps_are_many() {
    let _cpus = among_others();
    let host = Host::new();
    let (a, b) = (Hop::new("a", 1, 2), Hop::new("b", 2, 2));
    apply(&host, "project", &[Chain { hook: "xdp", more: "", hops: &[a, b] }]);
    let id = |map: &str| host.run(&format!("bpftool -j map show pinned $pins/{map} | jq .id")).exits(0).stdout;
    assert_ne!(id("programs/a/runs"), id("programs/b/runs"));
    assert_ne!(id("programs/a/_bss"), id("programs/b/_bss"));
    host.run("test -e $pins/maps/trail && ! test -e $pins/programs/a/trail").exits(0);
    // A second bundle of the same bytes is nothing to do.
    project(&host, "project", &[Chain { hook: "xdp", more: "", hops: &[a, b] }]);
    host.run("cd project && bpfkit plan --exit-code").exits(0);
}
