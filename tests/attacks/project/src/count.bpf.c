// SPDX-License-Identifier: GPL-2.0
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *packets_seen = bpf_map_lookup_elem(&packets, &zero);

	if (packets_seen)
		__sync_fetch_and_add(packets_seen, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
