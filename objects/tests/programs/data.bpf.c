#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

enum mode { MODE_OFF, MODE_ON = 5, MODE_FAR = -3 };
struct limits {
	__u32 rate;
	__u8 small : 3, rest : 5;
	union { __s16 low; __u16 high; };
	__u64 list[3];
	enum mode mode;
};

const volatile __u32 max_pps = 1000;
const volatile char label[8] = "old";
const volatile struct limits limits = { .rate = 1, .small = 2, .rest = 9, .list = { 1, 2, 3 } };
const volatile bool strict = false;
const volatile enum mode mode = MODE_OFF;
const volatile __s8 tiny = -1;
const __u32 folded = 4;
__u64 total;
__u64 start = 77;
static volatile int hidden = 3;
static volatile int zero;

SEC("xdp")
int use(struct xdp_md *ctx)
{
	__u32 size = ctx->data_end - ctx->data;
	total += size;
	start++;
	hidden += zero;
	if (strict && mode == MODE_ON)
		return XDP_DROP;
	if (label[1] == 'x' || limits.list[2] == size || limits.small == 1 || limits.mode == MODE_FAR)
		return XDP_ABORTED;
	return size > max_pps + folded + tiny ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
