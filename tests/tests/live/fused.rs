//! What programs do that are no plain functions of a packet: callbacks, timers, global functions, tail calls, many
//! constants, a whole stack. Made by clang, spliced or called, on the real kernel.

use std::fmt::Write as _;

use bpfkit_tests::host::{Host, wait_until};

use crate::support::{among_others, compile};

const HEAD: &str = "#include <vmlinux.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC(\"license\") = \"GPL\";\n\
    #define MAP(kind, entries, of) struct { __uint(type, BPF_MAP_TYPE_##kind); __uint(max_entries, entries); \
    __type(key, __u32); __type(value, of); }\n";

/// A set of one XDP chain of these programs, each a name and C; applied.
#[track_caller]
fn apply(host: &Host, programs: &[(&str, &str)], order: &str) {
    bundle(host, programs, order);
    host.run("cd chain && bpfkit apply").exits(0);
}

#[track_caller]
fn bundle(host: &Host, programs: &[(&str, &str)], order: &str) {
    let mut described = String::new();
    for (name, source) in programs {
        host.write(&format!("chain/{name}.bpf.c"), &format!("{HEAD}{source}"));
        let _ = writeln!(described, "  - {{name: {name}, source: {name}.bpf.c}}");
    }
    let set = host.set();
    let manifest = format!(
        "version: 1\nname: {set}\nprograms:\n{described}chains:\n  - {{hook: xdp, interfaces: [eth0], programs: [{order}]}}\n\
         trust: {{default: reject, unsigned: [{{set: {set}, because: made by a test}}]}}\n"
    );
    host.write("chain/bpfkit.yml", &manifest);
    host.run("cd chain && bpfkit bundle").exits(0);
}

/// Counts packets, and lets them pass.
const COUNT: &str = "MAP(ARRAY, 1, __u64) seen SEC(\".maps\");
SEC(\"xdp\") int count(struct xdp_md *ctx) {
    __u32 zero = 0; __u64 *n = bpf_map_lookup_elem(&seen, &zero);
    if (n) __sync_fetch_and_add(n, 1);
    return XDP_PASS;
}";

/// Sums 1 to 10 in a callback that gets at the caller's stack.
const LOOP: &str = "MAP(ARRAY, 1, __u64) sum SEC(\".maps\");
struct summing { __u64 sum; __u64 from; };
static long add(__u32 i, struct summing *state) { state->sum += state->from + i; return 0; }
SEC(\"xdp\") int looped(struct xdp_md *ctx) {
    struct summing state = {.sum = 0, .from = 1};
    __u32 zero = 0; __u64 *out = bpf_map_lookup_elem(&sum, &zero);
    if (bpf_loop(10, add, &state, 0) < 0) return XDP_ABORTED;
    if (out) *out = state.sum;
    return XDP_PASS;
}";

/// Adds up the values of a map in a callback.
const EACH: &str = "MAP(ARRAY, 4, __u64) values SEC(\".maps\"); MAP(ARRAY, 1, __u64) total SEC(\".maps\");
static long add(void *map, const __u32 *key, __u64 *value, __u64 *total) { *total += *value + 1; return 0; }
SEC(\"xdp\") int each(struct xdp_md *ctx) {
    __u64 all = 0; __u32 zero = 0; __u64 *out;
    bpf_for_each_map_elem(&values, add, &all, 0);
    out = bpf_map_lookup_elem(&total, &zero);
    if (out) *out = all;
    return XDP_PASS;
}";

/// Starts a timer, whose callback counts; the value is under a lock.
const TIMER: &str = "struct entry { struct bpf_timer timer; struct bpf_spin_lock lock; __u64 started; };
MAP(ARRAY, 1, struct entry) timers SEC(\".maps\"); MAP(ARRAY, 1, __u64) fired SEC(\".maps\");
static int fire(void *map, __u32 *key, struct entry *entry) {
    __u32 zero = 0; __u64 *n = bpf_map_lookup_elem(&fired, &zero);
    if (n) __sync_fetch_and_add(n, 1);
    return 0;
}
SEC(\"xdp\") int timed(struct xdp_md *ctx) {
    __u32 zero = 0; struct entry *entry = bpf_map_lookup_elem(&timers, &zero); __u64 before;
    if (!entry) return XDP_ABORTED;
    bpf_spin_lock(&entry->lock); before = entry->started++; bpf_spin_unlock(&entry->lock);
    if (before == 0) { bpf_timer_init(&entry->timer, &timers, 1); bpf_timer_set_callback(&entry->timer, fire); }
    bpf_timer_start(&entry->timer, 1000, 0);
    return XDP_PASS;
}";

/// Asks a global function, which the kernel verifies by itself.
const GLOBAL: &str = "MAP(ARRAY, 1, __u64) lengths SEC(\".maps\");
struct span_of { __u32 from, to; };
__noinline int length(struct xdp_md *ctx, struct span_of *range) {
    if (!range) return -1;
    range->to = (__u32)(ctx->data_end - ctx->data);
    return range->to - range->from;
}
SEC(\"xdp\") int global(struct xdp_md *ctx) {
    struct span_of range = {}; __u32 zero = 0; __u64 *out = bpf_map_lookup_elem(&lengths, &zero);
    int n = length(ctx, &range);
    if (out) *out = n;
    return n > 0 ? XDP_PASS : XDP_DROP;
}";

#[test]
fn callbacks_timers_locks_and_global_functions_work_in_a_chain() {
    let _cpus = among_others();
    let host = Host::new();
    let programs = [("count", COUNT), ("looped", LOOP), ("each", EACH), ("timed", TIMER), ("global", GLOBAL)];
    apply(&host, &programs, "looped, each, timed, global, count");
    host.receive(3);
    assert!(wait_until(2, || host.counter("programs/count/seen") == 3), "the chain goes to its end");
    assert_eq!(host.counter("programs/looped/sum"), 55);
    assert_eq!(host.counter("programs/each/total"), 4);
    assert_ne!(host.counter("programs/global/lengths"), 0);
    assert!(wait_until(2, || host.counter("programs/timed/fired") >= 1), "the timer fires");

    // Everything is spliced, which is what is expected; the JSON says it nevertheless.
    host.run("bpfkit remove $set").exits(0);
    let plan = host.run("cd chain && bpfkit plan --json").exits(0).json();
    let forms: Vec<_> = plan["hooks"][0]["programs"].as_array().unwrap().iter().map(|p| p["form"].clone()).collect();
    assert_eq!(forms, ["spliced"; 5], "{plan}");
    let plan = host.run("cd chain && bpfkit plan").exits(0);
    assert!(!plan.stdout.contains("spliced"), "{}", plan.stdout);
}

#[test]
fn functions_and_lines_have_their_names_in_the_kernel() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, &[("count", COUNT), ("looped", LOOP), ("global", GLOBAL)], "looped, global, count");
    let id = host.run("ip -j link show eth0 | jq '.[0].xdp.prog.id'").exits(0).stdout;
    let dump = host.run(&format!("bpftool prog dump xlated id {} linum", id.trim())).exits(0);
    dump.says(&[
        "looped.bpf.c",
        "state->sum += state->from + i",
        "add(",
        "length(",
        "the chain keeps its context",
        "looped has answered; the chain goes on after 2",
        "count.bpf.c",
    ]);
}

/// Jumps through a program array; where nothing is there, passes.
const TAIL: &str = "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, __u32);
    __type(value, __u32); } next SEC(\".maps\");
SEC(\"xdp\") int tail(struct xdp_md *ctx) { bpf_tail_call(ctx, &next, 1); return XDP_PASS; }";

#[test]
fn a_tail_call_returns_to_the_chain() {
    let _cpus = among_others();
    let host = Host::new();
    apply(&host, &[("tail", TAIL), ("count", COUNT), ("looped", LOOP)], "looped, tail, count");
    host.receive(2);
    assert!(wait_until(2, || host.counter("programs/count/seen") == 2), "an empty place is fallen through");

    // What the array leads to runs in place of the rest of `tail`, and its verdict is asked.
    for (verdict, seen) in [("XDP_DROP", 2), ("XDP_PASS", 4)] {
        let folder = tempfile::tempdir().unwrap();
        let target = format!("{HEAD}SEC(\"xdp\") int target(struct xdp_md *ctx) {{ return {verdict}; }}");
        let object = compile(folder.path(), &target, "target");
        std::fs::write(host.folder().join("target.o"), object).unwrap();
        host.run(
            "rm -f /sys/fs/bpf/target; bpftool prog load target.o /sys/fs/bpf/target type xdp && \
             bpftool map update pinned $pins/programs/tail/next key 1 0 0 0 value pinned /sys/fs/bpf/target",
        )
        .exits(0);
        host.receive(2);
        assert_eq!(host.counter("programs/count/seen"), seen, "{verdict}");
    }

    host.run("bpfkit remove $set").exits(0);
    host.run("cd chain && bpfkit plan").exits(0).says(&["called: it makes tail calls", "spliced"]);
}

/// Needs the whole stack for itself.
const DEEP: &str = "MAP(ARRAY, 1, __u64) bytes SEC(\".maps\");
SEC(\"xdp\") int deep(struct xdp_md *ctx) {
    volatile __u8 all[504]; __u32 zero = 0; __u64 *out, sum = 0;
    for (int i = 0; i < 504; i++) all[i] = 1;
    for (int i = 0; i < 504; i += 8) sum += all[i];
    out = bpf_map_lookup_elem(&bytes, &zero);
    if (out) *out = sum;
    return XDP_PASS;
}";

#[test]
fn a_program_with_a_whole_stack_is_called_and_so_are_its_neighbours() {
    let _cpus = among_others();
    let host = Host::new();
    bundle(&host, &[("deep", DEEP), ("first", COUNT), ("last", COUNT)], "first, deep, last");
    host.run("cd chain && bpfkit plan").exits(0).says(&["called: the stack has no room for it"]);
    host.run("cd chain && bpfkit apply").exits(0);
    host.receive(3);
    assert!(wait_until(2, || host.counter("programs/last/seen") == 3), "the chain goes to its end");
    assert_eq!(host.counter("programs/first/seen"), 3);
    assert_eq!(host.counter("programs/deep/bytes"), 63);
}

#[test]
fn a_chain_of_64_programs_with_constants_of_their_own_works() {
    let _cpus = among_others();
    let host = Host::new();
    // Each adds its own constant, found in a table by what the packet says, so that no compiler folds it away.
    let source = |number: usize| {
        format!(
            "static const volatile __u32 table[8] = {{[0 ... 7] = {number}}};
            struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64);
                __uint(pinning, LIBBPF_PIN_BY_NAME); }} sum SEC(\".maps\");
            SEC(\"xdp\") int p{number}(struct xdp_md *ctx) {{
                __u8 *data = (void *)(long)ctx->data; __u32 zero = 0; __u64 *out;
                if (data + 14 > (__u8 *)(long)ctx->data_end || data[12] != 8) return XDP_PASS;
                out = bpf_map_lookup_elem(&sum, &zero);
                if (out) *out += table[data[5] & 7];
                return XDP_PASS;
            }}"
        )
    };
    let names: Vec<_> = (1..=64).map(|number| format!("p{number}")).collect();
    let sources: Vec<_> = (1..=64).map(source).collect();
    let programs: Vec<_> = names.iter().zip(&sources).map(|(name, source)| (name.as_str(), source.as_str())).collect();
    apply(&host, &programs, &names.join(", "));
    host.receive(1);
    assert!(wait_until(2, || host.counter("maps/sum") == 64 * 65 / 2), "{}", host.counter("maps/sum"));
}

/// Reads a byte that nobody looked for, in a function of its own.
const CARELESS: &str = "MAP(ARRAY, 1, __u64) other SEC(\".maps\");
static __noinline int peek(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data;
    return data[9]; /* nobody looked */
}
SEC(\"xdp\") int careless(struct xdp_md *ctx) { return peek(ctx) ? XDP_PASS : XDP_DROP; }";

#[test]
fn the_verifiers_message_names_the_line_of_the_right_program() {
    let _cpus = among_others();
    let host = Host::new();
    bundle(&host, &[("looped", LOOP), ("careless", CARELESS), ("count", COUNT)], "looped, careless, count");
    let said = host.run("cd chain && bpfkit apply --json").exits(1);
    let problem = said.json()["problems"][0].to_string();
    for words in ["A107", "`careless` (./careless.bpf.c:9)", "invalid access to packet", "nobody looked"] {
        assert!(problem.contains(words), "`{words}` in {problem}");
    }
    assert_eq!(host.footprint().links, 0);
}
