/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* count: how many IPv4 packets of each length class came in. */
#include "frame.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16); /* slot n: up to (n + 1) * 128 bytes; the last takes the rest */
	__type(key, __u32);
	__type(value, __u64);
} lengths SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	__u32 slot;
	__u64 *n;

	if (!ip)
		return XDP_PASS;
	slot = bpf_ntohs(ip->tot_len) / 128;
	if (slot > 15)
		slot = 15;
	n = bpf_map_lookup_elem(&lengths, &slot);
	if (n)
		__sync_fetch_and_add(n, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
