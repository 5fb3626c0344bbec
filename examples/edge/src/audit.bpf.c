/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * audit: counts packets that no honest stack sends, and can drop them.
 *
 * The TCP flags are bitfields, whose place differs between byte orders and may differ between
 * kernels: BPF_CORE_READ_BITFIELD asks for offset, size and shifts when the program is loaded.
 */
#include "packet.h"

enum oddity {
	NOTHING_ODD,
	LAND,	  /* from and to the same address */
	DYING,	  /* time to live below `min_ttl` */
	FRAGMENT, /* fragments hide their ports from whoever looks at one packet at a time */
	SYN_FIN,  /* opens and closes at once */
	NO_FLAGS, /* does nothing: a scan */
	ODDITIES,
};

const volatile __u8 min_ttl = 2;
const volatile bool enforce = false;

/* Not an array: `bpftool map dump` shows the names of the enum's values. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, ODDITIES);
	__type(key, enum oddity);
	__type(value, __u64);
} oddities SEC(".maps");

static __always_inline enum oddity judge(struct iphdr *ip, void *end)
{
	struct tcphdr *t;
	bool syn, fin;

	if (ip->saddr == ip->daddr)
		return LAND;
	if (ip->ttl < min_ttl)
		return DYING;
	if (ip->frag_off & bpf_htons(0x3fff))
		return FRAGMENT;
	t = tcp(ip, end);
	if (!t)
		return NOTHING_ODD;
	syn = BPF_CORE_READ_BITFIELD(t, syn);
	fin = BPF_CORE_READ_BITFIELD(t, fin);
	if (syn && fin)
		return SYN_FIN;
	if (!syn && !fin && !BPF_CORE_READ_BITFIELD(t, ack) && !BPF_CORE_READ_BITFIELD(t, rst))
		return NO_FLAGS;
	return NOTHING_ODD;
}

SEC("xdp")
int audit(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = ipv4((void *)(long)ctx->data, end);
	enum oddity odd;
	__u64 *n;

	if (!ip)
		return XDP_PASS;
	odd = judge(ip, end);
	n = bpf_map_lookup_elem(&oddities, &odd);
	if (n) {
		*n += 1;
	} else {
		__u64 one = 1;

		bpf_map_update_elem(&oddities, &odd, &one, BPF_NOEXIST);
	}
	return odd && enforce ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
