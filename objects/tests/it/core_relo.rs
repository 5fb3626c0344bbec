//! CO-RE against kernels that we make up: a "kernel" here is the BTF of another small C file.

use crate::building::{compile_text, object};
use bpfkit_objects::{
    LinkProblem, Linked, Object,
    core_relo::{CoreKind, CoreProblem},
    insn::Insn,
    link::Outcome,
};
use bpfkit_schemas::{Code, diagnostic::Diagnose};

const HEAD: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#define CORE __attribute__((preserve_access_index))
char LICENSE[] SEC("license") = "GPL";
"#;

fn made(name: &str, text: &str) -> Object {
    object(&compile_text(name, &format!("{HEAD}{text}")))
}

fn link(local: &Object, kernel: &Object) -> Result<Linked, Vec<LinkProblem>> {
    local.link("entry", kernel.btf(), &std::collections::BTreeMap::new())
}

/// A kernel in which two functions each know their own `struct dup`.
const TWO_DUPS: &str = "
    void *one(void) { static struct dup { int a; int b; int x; int both; } v; return &v; }
    void *two(void) { static struct dup { char pad[4008]; int y; int late; int both; } v; return &v; }
";

#[test]
fn same_named_structs_that_disagree_are_ambiguous_and_both_are_named() {
    let local = made(
        "ambiguous",
        "struct dup { int both; } CORE;
         SEC(\"xdp\") int entry(struct xdp_md *ctx) { struct dup *d = (void *)ctx; return d->both; }",
    );
    let kernel = made("two_dups_a", TWO_DUPS);
    let problems = link(&local, &kernel).unwrap_err();
    let [LinkProblem::Core { access, line, problem: CoreProblem::Ambiguous { candidates }, .. }] = problems.as_slice()
    else {
        panic!("{problems:?}")
    };
    assert_eq!(access, "struct dup.both");
    assert!(line.as_ref().unwrap().0.ends_with("ambiguous.bpf.c"));
    assert_eq!(candidates.len(), 2);
    assert!(candidates[0].contains("16 bytes {a, b, x, both, …}: byte_off is 12"), "{candidates:?}");
    assert!(candidates[1].contains("4020 bytes {pad, y, late, both, …}: byte_off is 4016"), "{candidates:?}");
    let shown = &problems[0].diagnose()[0];
    assert_eq!(shown.code, Code::LINK_CORE_AMBIGUOUS);
    assert_eq!(shown.notes.len(), 2);
}

#[test]
fn accesses_that_fit_different_structs_of_one_name_are_never_mixed() {
    let local = made(
        "mixed",
        "struct dup { int x; int y; } CORE;
         SEC(\"xdp\") int entry(struct xdp_md *ctx) { struct dup *d = (void *)ctx; return d->x + d->y; }",
    );
    let kernel = made("two_dups_b", TWO_DUPS);
    let problems = link(&local, &kernel).unwrap_err();
    let [LinkProblem::Core { access, problem: CoreProblem::Mixed { chosen, wanted }, .. }] = problems.as_slice() else {
        panic!("{problems:?}")
    };
    assert_eq!(access, "struct dup.y");
    assert!(chosen[0].contains("16 bytes") && wanted[0].contains("4020 bytes"), "{chosen:?} {wanted:?}");
    assert_eq!(problems[0].diagnose()[0].code, Code::LINK_CORE_MIXED);
    // For a matrix the same is an answer.
    let reports = local.relocations("entry", kernel.btf()).unwrap();
    assert_eq!(reports[0].outcome, Outcome::Moved { from: 0, to: 8 });
    assert!(matches!(&reports[1].outcome, Outcome::Ambiguous { candidates } if candidates.len() == 2));
}

#[test]
fn same_named_structs_that_agree_are_no_problem() {
    let local = made(
        "agree",
        "struct dup { int x; } CORE;
         SEC(\"xdp\") int entry(struct xdp_md *ctx) { struct dup *d = (void *)ctx; return d->x; }",
    );
    let kernel = made(
        "agreeing",
        "void *one(void) { static struct dup { int a; int x; } v; return &v; }
         void *two(void) { static struct dup { int b; int x; int c; } v; return &v; }",
    );
    let linked = link(&local, &kernel).unwrap();
    assert_eq!(linked.relocations[0].outcome, Outcome::Moved { from: 0, to: 4 });
}

#[test]
fn flavours_arrays_and_anonymous_members_are_found() {
    let local = made(
        "flavours",
        "struct thing___old { struct { int deep; }; int list[4]; short end[0]; } CORE;
         SEC(\"xdp\") int entry(struct xdp_md *ctx) {
             struct thing___old *t = (void *)ctx;
             return t->deep + t->list[2] + t->end[1];
         }",
    );
    let kernel = made(
        "thing",
        "struct thing { long pad; union { struct { char c; union { int deep; long wide; }; }; }; int list[3]; short end[]; };
         struct thing *keep; void *use(void) { return &keep; }",
    );
    let linked = link(&local, &kernel).unwrap();
    let told: Vec<_> = linked.relocations.iter().map(|r| (r.access.as_str(), r.kind, r.outcome.clone())).collect();
    assert_eq!(
        told,
        [
            ("struct thing___old.deep", CoreKind::FieldByteOffset, Outcome::Moved { from: 0, to: 16 }),
            ("struct thing___old.list[2]", CoreKind::FieldByteOffset, Outcome::Moved { from: 12, to: 32 }),
            ("struct thing___old.end[1]", CoreKind::FieldByteOffset, Outcome::Moved { from: 22, to: 38 }),
        ]
    );
}

#[test]
fn an_array_that_became_shorter_is_absent_and_poisoned() {
    let local = made(
        "shorter",
        "struct thing { int list[4]; } CORE;
         SEC(\"xdp\") int entry(struct xdp_md *ctx) { struct thing *t = (void *)ctx; return t->list[3]; }",
    );
    let kernel = made("short", "struct thing { int list[3]; }; struct thing keep;");
    let linked = link(&local, &kernel).unwrap();
    assert_eq!(linked.relocations[0].outcome, Outcome::Absent { poisoned: true });
    assert_eq!(linked.uses.poisoned, 1);
    assert!(linked.instructions.contains(&Insn::poison()));
    assert!(linked.helpers.is_empty(), "a poisoned instruction calls no helper");
}

#[test]
fn what_is_guarded_by_a_question_is_poisoned_and_the_question_answered_no() {
    let local = made(
        "guarded",
        "struct thing { int gone; int here; } CORE;
         SEC(\"xdp\") int entry(struct xdp_md *ctx) {
             struct thing *t = (void *)ctx;
             return bpf_core_field_exists(t->gone) ? t->gone : t->here;
         }",
    );
    let kernel = made("guarding", "struct thing { long a; int here; }; struct thing keep;");
    let linked = link(&local, &kernel).unwrap();
    let outcomes: Vec<_> = linked.relocations.iter().map(|r| (r.kind, r.outcome.clone())).collect();
    assert!(outcomes.contains(&(CoreKind::FieldExists, Outcome::Absent { poisoned: false })), "{outcomes:?}");
    assert!(outcomes.contains(&(CoreKind::FieldByteOffset, Outcome::Moved { from: 4, to: 8 })), "{outcomes:?}");
}

#[test]
fn enum_members_are_found_by_name_and_keep_their_sign() {
    let local = made(
        "enums",
        "enum e { E_MOVED = 1, E_NEGATIVE = 2 };
         SEC(\"xdp\") int entry(struct xdp_md *ctx) {
             return bpf_core_enum_value(enum e, E_MOVED) + bpf_core_enum_value(enum e, E_NEGATIVE);
         }",
    );
    let kernel = made("enumerated", "enum e { E_FIRST, E_NEGATIVE = -7, E_MOVED = 70000 }; enum e keep;");
    let linked = link(&local, &kernel).unwrap();
    let told: Vec<_> = linked.relocations.iter().map(|r| (r.access.as_str(), r.outcome.clone())).collect();
    assert!(told.contains(&("enum e::E_MOVED", Outcome::Moved { from: 1, to: 70_000 })), "{told:?}");
    let minus_seven = (-7_i64).cast_unsigned();
    assert!(told.contains(&("enum e::E_NEGATIVE", Outcome::Moved { from: 2, to: minus_seven })), "{told:?}");
}

#[test]
fn unsigned_loads_change_their_size_and_signed_ones_are_poisoned() {
    let local = made(
        "sizes",
        "struct thing { unsigned int u; int s; } CORE;
         SEC(\"xdp\") int entry(struct xdp_md *ctx) { struct thing *t = (void *)ctx; return t->u + t->s; }",
    );
    let kernel = made("sized", "struct thing { unsigned short u; long s; }; struct thing keep;");
    let linked = link(&local, &kernel).unwrap();
    let codes: Vec<_> = linked.instructions.iter().map(|insn| insn.code).collect();
    assert!(codes.contains(&0x69), "a two-byte load: {codes:x?}");
    assert_eq!(linked.uses.poisoned, 1);
}

#[test]
fn bit_fields_move_by_their_shifts() {
    let local = made(
        "bits",
        "struct thing { unsigned a : 3; unsigned b : 5; } CORE;
         SEC(\"xdp\") int entry(struct xdp_md *ctx) {
             struct thing *t = (void *)ctx;
             return BPF_CORE_READ_BITFIELD(t, b);
         }",
    );
    let kernel = made("bitten", "struct thing { unsigned long long x : 40, b : 6; }; struct thing keep;");
    let reports = local.relocations("entry", kernel.btf()).unwrap();
    let value = |kind| {
        reports.iter().find(|r| r.kind == kind).map(|r| match r.outcome {
            Outcome::Found { value } => value,
            Outcome::Moved { to, .. } => to,
            _ => panic!("{r:?}"),
        })
    };
    // Six bits from bit 40 of an 8-byte word.
    assert_eq!(value(CoreKind::FieldByteOffset), Some(0));
    assert_eq!(value(CoreKind::FieldLeftShift), Some(64 - 46));
    assert_eq!(value(CoreKind::FieldRightShift), Some(64 - 6));
}

#[test]
fn types_match_only_with_all_their_members() {
    let local = made(
        "matching",
        "struct a { int x; struct b *p; }; struct b { int y; };
         SEC(\"xdp\") int entry(struct xdp_md *ctx) {
             return bpf_core_type_matches(struct a) + 2 * bpf_core_type_matches(struct b) + 4 * bpf_core_type_exists(struct b);
         }",
    );
    let kernel = made(
        "matched",
        "struct b { long y; }; struct a { long z; struct b *p; int x; }; struct a keep; struct b kept;",
    );
    let linked = link(&local, &kernel).unwrap();
    let told: Vec<_> = linked.relocations.iter().map(|r| (r.access.as_str(), r.kind, r.outcome.clone())).collect();
    assert!(told.contains(&("struct a", CoreKind::TypeMatches, Outcome::Found { value: 1 })), "{told:?}");
    assert!(told.contains(&("struct b", CoreKind::TypeMatches, Outcome::Absent { poisoned: false })), "{told:?}");
    assert!(told.contains(&("struct b", CoreKind::TypeExists, Outcome::Found { value: 1 })), "{told:?}");
}
