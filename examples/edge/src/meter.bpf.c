/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * meter: packets and bytes by IPv4 protocol.
 *
 * One array a CPU, so that counting takes no lock; readers add them up. Index 255 (reserved by
 * IANA) is everything that isn't IPv4.
 */
#include "packet.h"

#define OTHER 255

struct traffic {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct traffic);
} traffic SEC(".maps");

SEC("xdp")
int meter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = ipv4(data, end);
	__u32 protocol = ip ? ip->protocol : OTHER;
	struct traffic *to = bpf_map_lookup_elem(&traffic, &protocol);

	if (to) {
		to->packets += 1;
		to->bytes += end - data;
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
