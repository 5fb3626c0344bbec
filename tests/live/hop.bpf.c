/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hop: one program of a chain, as the tests need it.
 *
 * Counts the IPv4 packets (or, of a cgroup, the connections) that it meets, in all and in a variable, writes its number to the
 * trail, and answers what it is told to. Its careless sister is for the verifier. The trail of one packet that met 1, 2 and 3
 * reads 0x123.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define ETH_P_IP 0x0800

const volatile int verdict = 2;
const volatile int number = 0; /* 0: leaves no trail */

__u64 packets; /* in .bss */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

#define TRAIL(trail_name)                                                                                              \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                      \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, __u64);                                                                                  \
	} trail_name SEC(".maps")

TRAIL(trail);
TRAIL(tc_trail);
TRAIL(cgroup_trail);

static __always_inline int note(void *trail_map)
{
	__u32 zero = 0;
	__u64 *n, *path;

	n = bpf_map_lookup_elem(&runs, &zero);
	if (n)
		*n += 1;
	packets += 1;
	path = number ? bpf_map_lookup_elem(trail_map, &zero) : 0;
	if (path)
		*path = *path << 4 | number;
	return verdict;
}

static __always_inline int meet(void *trail_map, void *data, void *end)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return verdict;
	return note(trail_map);
}

SEC("xdp")
int hop(struct xdp_md *ctx)
{
	return meet(&trail, (void *)(long)ctx->data, (void *)(long)ctx->data_end);
}

SEC("tc")
int tc_hop(struct __sk_buff *ctx)
{
	return meet(&tc_trail, (void *)(long)ctx->data, (void *)(long)ctx->data_end);
}

/* Counts connections; `verdict` is 0 or 1. */
SEC("cgroup/connect4")
int connect_hop(struct bpf_sock_addr *ctx)
{
	return note(&cgroup_trail);
}

/* What the verifier refuses: nobody looked where the packet ends. */
static __always_inline int trust(void *data)
{
	struct ethhdr *eth = data;

	return eth->h_proto == number ? 0 : verdict;
}

SEC("xdp")
int careless(struct xdp_md *ctx)
{
	return trust((void *)(long)ctx->data);
}

SEC("tc")
int tc_careless(struct __sk_buff *ctx)
{
	return trust((void *)(long)ctx->data);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
