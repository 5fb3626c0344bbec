//! The same chain as its users would make it without bpfkit, in C: what it is measured beside.

use std::fmt::Write as _;

/// What one program of a chain does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Checks bounds, reads two bytes, counts in an array, branches: as `probe` does.
    Parse,
    /// Answers `XDP_PASS`.
    Nothing,
}

impl Work {
    /// How tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parse => "parses, counts, branches",
            Self::Nothing => "empty",
        }
    }

    /// The C of one program's body: statements that leave the verdict in `verdict`.
    fn body(self) -> &'static str {
        match self {
            Self::Parse => "verdict = probe(ctx);",
            Self::Nothing => "verdict = XDP_PASS; asm volatile(\"\" : \"+r\"(verdict));",
        }
    }
}

const HEAD: &str = r#"
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline int probe(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 *count;
	__u32 key;

	if (data + 14 > end)
		return XDP_DROP;
	key = *(volatile __u8 *)data & 7;
	count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		*count += 1;
	if (*(volatile __u8 *)(data + 1) == 0xee)
		return XDP_ABORTED;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"#;

/// One program that stands by itself: what bpfkit makes a chain of.
pub(crate) fn component(work: Work) -> String {
    format!(
        "{HEAD}\nSEC(\"xdp\") int hop(struct xdp_md *ctx)\n{{\n\tint verdict;\n\t{}\n\treturn verdict;\n}}\n",
        work.body()
    )
}

/// Somebody wrote the whole chain by hand: one function.
pub(crate) fn by_hand(work: Work, hops: usize) -> String {
    let mut text = format!("{HEAD}\nSEC(\"xdp\") int hop(struct xdp_md *ctx)\n{{\n\tint verdict;\n");
    for _ in 0..hops {
        let _ = write!(text, "\t{}\n\tif (verdict != XDP_PASS)\n\t\treturn verdict;\n", work.body());
    }
    text + "\treturn XDP_PASS;\n}\n"
}

/// As libxdp's dispatcher (`xdp-dispatcher.c.in`): a global function for each program, and after each a mask of
/// verdicts out of constants. The functions aren't replaced through a trampoline, which costs more.
pub(crate) fn dispatcher(work: Work, hops: usize) -> String {
    let mut text = HEAD.to_owned();
    let _ = writeln!(text, "const volatile __u32 masks[{hops}] = {{[0 ... {}] = 1U << XDP_PASS}};", hops - 1);
    for hop in 0..hops {
        let _ = writeln!(
            text,
            "__noinline int prog{hop}(struct xdp_md *ctx)\n{{\n\tint verdict;\n\tif (!ctx)\n\t\treturn XDP_ABORTED;\n\t{}\n\treturn verdict;\n}}",
            work.body()
        );
    }
    text += "SEC(\"xdp\") int hop(struct xdp_md *ctx)\n{\n\tint verdict;\n";
    for hop in 0..hops {
        let _ = write!(
            text,
            "\tverdict = prog{hop}(ctx);\n\tif (!((1U << (verdict & 31)) & masks[{hop}]))\n\t\treturn verdict;\n"
        );
    }
    text + "\treturn XDP_PASS;\n}\n"
}

/// As `L3AFd` and many others chain: each program calls the next one through a `PROG_ARRAY`.
pub(crate) fn tail_calls(work: Work, hops: usize) -> String {
    let mut text = HEAD.to_owned();
    let _ = write!(
        text,
        "struct {{\n\t__uint(type, BPF_MAP_TYPE_PROG_ARRAY);\n\t__uint(max_entries, {hops});\n\t__type(key, __u32);\n\
         \t__type(value, __u32);\n}} next SEC(\".maps\");\n"
    );
    for hop in 0..hops {
        let _ = write!(
            text,
            "SEC(\"xdp\") int hop{hop}(struct xdp_md *ctx)\n{{\n\tint verdict;\n\t{}\n\tif (verdict != XDP_PASS)\n\t\treturn verdict;\n",
            work.body()
        );
        if hop + 1 < hops {
            let _ = writeln!(text, "\tbpf_tail_call(ctx, &next, {});", hop + 1);
        }
        text += "\treturn XDP_PASS;\n}\n";
    }
    text
}
