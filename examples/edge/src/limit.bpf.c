/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * limit: at most `max_pps` packets a second from each IPv4 source, by a token bucket.
 *
 * A bucket holds up to `burst` tokens and gains `max_pps` a second; a packet costs one. Sources
 * that fall silent are forgotten first (LRU), which gives them a full bucket when they return.
 */
#include "packet.h"

#define SECOND 1000000000ULL /* ns */

const volatile __u32 max_pps = 1000;
const volatile __u32 burst = 100;

struct allowance {
	__u64 since;  /* ns since boot, when `tokens` was true */
	__u64 tokens; /* in units of 1/SECOND, so that nothing is lost to rounding */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct allowance);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps"); /* 0: let through, 1: dropped */

static __always_inline int answer(__u32 dropped)
{
	__u64 *n = bpf_map_lookup_elem(&seen, &dropped);

	if (n)
		*n += 1;
	return dropped ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int limit(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	__u64 full = burst * SECOND;
	__u64 now, gained;
	struct allowance *bucket;
	__u32 from;

	if (!ip)
		return XDP_PASS;
	from = ip->saddr;
	now = bpf_ktime_get_ns();
	bucket = bpf_map_lookup_elem(&buckets, &from);
	if (!bucket) {
		struct allowance first = {.since = now, .tokens = full - SECOND};

		bpf_map_update_elem(&buckets, &from, &first, BPF_ANY);
		return answer(0);
	}

	/* Two CPUs may do this at once for one source: then one packet goes uncounted. A lock
	 * would cost every packet more than that is worth. */
	gained = now - bucket->since;
	if (gained > SECOND)
		gained = SECOND; /* a bucket is full by then, and the product below can't overflow */
	gained = bucket->tokens + gained * max_pps;
	if (gained > full)
		gained = full;
	bucket->since = now;
	if (gained < SECOND) {
		bucket->tokens = gained;
		return answer(1);
	}
	bucket->tokens = gained - SECOND;
	return answer(0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
