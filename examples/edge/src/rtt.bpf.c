/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rtt: how far away our TCP peers are: a histogram of smoothed round-trip times, as data leaves.
 *
 * Reads the kernel's own `struct tcp_sock`, which is no stable interface: where its fields lie,
 * and whether they are there at all, is settled by CO-RE against the kernel that loads us.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define SLOTS 32

/* No opinion: whoever comes next decides (TCX_NEXT since Linux 6.6). */
#define TC_ACT_UNSPEC (-1)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS); /* slot n: 2^n <= rtt < 2^(n+1) microseconds */
	__type(key, __u32);
	__type(value, __u64);
} rtt_us SEC(".maps");

/* Packets that left while their socket was sending lost segments again. */
__u64 in_recovery;

static __always_inline __u32 slot_of(__u32 value)
{
	__u32 slot = 0;

	for (int step = 16; step; step /= 2) {
		if (value >> step) {
			value >>= step;
			slot += step;
		}
	}
	return slot;
}

SEC("tc")
int rtt(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *tcp;
	__u64 *n;
	__u32 slot;

	if (!sk)
		return TC_ACT_UNSPEC;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp || !bpf_core_field_exists(tcp->srtt_us))
		return TC_ACT_UNSPEC;
	if (bpf_core_field_exists(tcp->retrans_out) && tcp->retrans_out)
		__sync_fetch_and_add(&in_recovery, 1);
	slot = slot_of(tcp->srtt_us >> 3); /* the kernel keeps eight times the value */
	n = bpf_map_lookup_elem(&rtt_us, &slot);
	if (n)
		*n += 1;
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
