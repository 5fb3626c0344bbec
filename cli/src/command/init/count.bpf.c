// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Counts packets by IP protocol and lets every one of them pass.
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800

// Count one packet in so many; the manifest's `globals:` sets it.
const volatile __u32 sample = 1;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

__u64 seen;

SEC("xdp")
int count(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (sample > 1 && __sync_fetch_and_add(&seen, 1) % sample)
		return XDP_PASS;

	__u32 protocol = ip->protocol;
	__u64 *counter = bpf_map_lookup_elem(&packets, &protocol);
	if (counter)
		*counter += 1;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
