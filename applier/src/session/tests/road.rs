//! From C to packets: what a program's author wrote is what runs, and what it counted stays.

use bpfkit_schemas::chain::GlobalValue;

use super::*;
use crate::kernel::tests::stranger::{first, run};

const HEAD: &str = r#"
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
char LICENSE[] SEC("license") = "GPL";
"#;

/// Everything that an object can bring along. `ANSWER` and `STEP` make other versions of it.
const GUARD: &str = r#"
enum action { ALLOW, DENY };
struct entry { enum action action; __u32 hits; };
struct task_struct { int pid; } __attribute__((preserve_access_index));
struct nobody { int has; } __attribute__((preserve_access_index));
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct entry); __uint(max_entries, 1); } verdicts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 8); } blocked SEC(".maps");
const volatile __u32 limit = 1;
volatile __u64 seen = 100;
struct { __u64 runs; __u64 limit; __u64 pid_offset; __u64 nobody; } volatile state;

static __noinline int verdict(__u64 runs) { return runs > limit ? XDP_DROP : ANSWER; }

SEC("xdp") int guard(struct xdp_md *ctx) {
  __u32 zero = 0;
  struct entry *entry = bpf_map_lookup_elem(&verdicts, &zero);
  if (!entry) return XDP_ABORTED;
  entry->hits++;
  entry->action = DENY;
  seen += STEP;
  state.runs++;
  state.limit = limit;
  state.pid_offset = bpf_core_field_offset(struct task_struct, pid);
  state.nobody = bpf_core_type_exists(struct nobody);
  __u64 one = 1;
  bpf_map_update_elem(&blocked, &zero, &one, BPF_ANY);
  return verdict(state.runs);
}
"#;

/// Reads the shared map, and has a private one of the name that guard's has.
const METER: &str = r#"
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 1); } verdicts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 8); } blocked SEC(".maps");
SEC("xdp") int meter(struct xdp_md *ctx) {
  __u32 zero = 0;
  __u64 *count = bpf_map_lookup_elem(&verdicts, &zero), *found = bpf_map_lookup_elem(&blocked, &zero);
  if (count && found) *count += *found;
  return XDP_TX;
}
"#;

fn guard(answer: &str, step: &str) -> String {
    HEAD.to_owned() + &GUARD.replace("ANSWER", answer).replace("STEP", step)
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(8).map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap())).collect()
}

fn apply(session: &Session) -> Plan {
    let crate::generations::Applied { plan, outcome, .. } = crate::generations::apply(session).unwrap();
    assert!(outcome.stopped.is_none() && outcome.left.is_empty(), "{:#?}", outcome.diagnose());
    plan
}

/// The answer of the live chain to one packet.
fn answer(bench: &Bench, session: &Session) -> u32 {
    let live = session.kernel().observe(&[]).unwrap();
    run(live.points[&bench.at(Hook::Xdp)].ours.as_ref().unwrap().program, &[0; 64])
}

#[test]
fn what_was_written_in_c_runs_and_what_it_counted_survives_an_update() {
    let bench = Bench::new("road");
    let meter = HEAD.to_owned() + METER;
    let globals = Globals::from([("limit".to_owned(), GlobalValue::Int(4))]);
    let session = |version: &str, guard: &str, globals: &Globals| {
        let mut session = bench.session(version, &[("guard", guard), ("meter", &meter)], &["blocked"], globals);
        session.declared.chains = bench.chains("xdp e0: guard, meter");
        session
    };

    let first_one = session("1", &guard("XDP_PASS", "1"), &globals);
    apply(&first_one);
    assert!(apply(&first_one).is_empty(), "a second apply plans nothing");
    // A pass goes on to meter, whose verdict stands.
    assert_eq!([answer(&bench, &first_one), answer(&bench, &first_one)], [3, 3]);

    let kernel = bpfkit_objects::btf::Btf::parse(&kernel::kernel_btf().unwrap()).unwrap();
    let task = kernel.by_name("task_struct").find_map(|id| kernel.kind(id).composite()).unwrap();
    let pid = task.members.iter().find(|member| kernel.str(member.name) == "pid").unwrap();
    let (bss, data) = (bench.pin("guard/_bss"), bench.pin("guard/_data"));
    assert_eq!(numbers(&first(&bss)), [2, 4, u64::from(pid.bit_offset / 8), 0]);
    assert_eq!(numbers(&first(&data)), [102]);
    assert_eq!(numbers(&first(&bench.pin("meter/verdicts"))), [2]);
    let dump = Command::new("bpftool").args(["-j", "map", "dump", "pinned"]).arg(bench.pin("guard/verdicts")).output();
    let dump: serde_json::Value = serde_json::from_slice(&dump.unwrap().stdout).unwrap();
    assert_eq!(dump[0]["formatted"]["value"], serde_json::json!({"action": "DENY", "hits": 2}));

    // Other code, the same variables: everything that was counted stays.
    let second = session("2", &guard("XDP_ABORTED", "5"), &globals);
    apply(&second);
    assert_eq!(answer(&bench, &second), 0, "an aborted one ends the chain");
    assert_eq!((numbers(&first(&bss))[0], numbers(&first(&data))[0]), (3, 107));
    assert_eq!(numbers(&first(&bench.pin("meter/verdicts"))), [2]);
    let dump = Command::new("bpftool").args(["-j", "map", "dump", "pinned"]).arg(bench.pin("guard/verdicts")).output();
    assert!(String::from_utf8(dump.unwrap().stdout).unwrap().contains(r#""hits":3"#));

    // Another limit is another chain, and no other map.
    let third = session("3", &guard("XDP_ABORTED", "5"), &Globals::from([("limit".to_owned(), GlobalValue::Int(2))]));
    let plan = apply(&third);
    assert!(plan.maps.iter().all(|map| map.source != crate::plan::MapSource::Create), "{plan}");
    assert_eq!(answer(&bench, &third), 1, "over the limit");

    let crate::generations::Applied { outcome, .. } = crate::generations::remove(third.set(), &third.places).unwrap();
    assert!(outcome.stopped.is_none() && outcome.left.is_empty());
    assert!(!Path::new(BPFFS).join("bpfkit").join(&bench.name).exists());
}

#[test]
fn what_the_verifier_refuses_is_shown_by_its_line_of_c_and_changes_nothing() {
    let bench = Bench::new("line");
    let bad = guard("XDP_PASS", "1").replace("entry->hits++", "entry->hits += *(__u8 *)(long)ctx->data");
    let line = 1 + bad.lines().position(|line| line.contains("ctx->data;")).unwrap();
    let mut session = bench.session("1", &[("guard", &bad)], &[], &Globals::new());
    session.declared.chains = bench.chains("xdp e0: guard");
    let crate::generations::Applied { outcome, .. } = crate::generations::apply(&session).unwrap();
    let problems = outcome.diagnose();
    let said = format!("{problems:?}");
    assert_eq!(problems[0].code, bpfkit_schemas::Code::VERIFIER_REFUSED);
    assert!(said.contains(&format!("guard.bpf.c:{line}")) && said.contains("invalid access to packet"), "{said}");
    assert!(session.kernel().observe(&asked(&session.desired().unwrap())).unwrap().maps.is_empty());
}
