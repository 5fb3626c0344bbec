/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* mark: writes a DSCP into outgoing IPv4 that has none, and keeps the checksum true. */
#include "frame.h"

const volatile __u8 dscp = 0;

/* Packets that we marked. */
__u64 marked;

SEC("tc")
int mark(struct __sk_buff *skb)
{
	const int tos_at = sizeof(struct ethhdr) + bpf_core_field_offset(struct iphdr, tos);
	const int check_at = sizeof(struct ethhdr) + bpf_core_field_offset(struct iphdr, check);
	struct iphdr *ip = ipv4((void *)(long)skb->data, (void *)(long)skb->data_end);
	__u8 old, new;

	if (!ip || ip->tos >> 2 || !dscp)
		return -1; /* no opinion: whoever comes next decides */
	old = ip->tos;
	new = dscp << 2 | old;
	if (bpf_l3_csum_replace(skb, check_at, bpf_htons(old), bpf_htons(new), 2) ||
	    bpf_skb_store_bytes(skb, tos_at, &new, sizeof(new), 0))
		return -1;
	__sync_fetch_and_add(&marked, 1);
	return -1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
