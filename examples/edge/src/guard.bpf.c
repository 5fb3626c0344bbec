/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard: drops what comes from a blocked network.
 *
 * `blocklist` is filled by others, while we run; the longest matching prefix decides. Each entry
 * counts what it stopped, so an entry that stops nothing can be found and removed.
 */
#include "packet.h"

struct network {
	__u32 prefix; /* bits of `address` that count */
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, 1); /* BPF_F_NO_PREALLOC: tries demand it */
	__uint(max_entries, 1024);
	__type(key, struct network);
	__type(value, __u64);
} blocklist SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps"); /* 0: let through, 1: dropped */

/* Count, but drop nothing: how to try a new list on live traffic. */
const volatile bool dry_run = false;

static __always_inline void count(__u32 dropped)
{
	__u64 *n = bpf_map_lookup_elem(&seen, &dropped);

	if (n)
		*n += 1;
}

SEC("xdp")
int guard(struct xdp_md *ctx)
{
	struct iphdr *ip = ipv4((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	struct network from = {.prefix = 32};
	__u64 *stopped;

	if (!ip)
		return XDP_PASS;
	__builtin_memcpy(from.address, &ip->saddr, sizeof(from.address));
	stopped = bpf_map_lookup_elem(&blocklist, &from);
	if (!stopped) {
		count(0);
		return XDP_PASS;
	}
	__sync_fetch_and_add(stopped, 1);
	count(1);
	return dry_run ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
