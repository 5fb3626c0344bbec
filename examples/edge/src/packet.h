/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause */
/*
 * Finding IPv4 in a frame, with the bounds checks that the kernel's verifier wants to see.
 *
 * Every struct comes from vmlinux.h, so each field below is found by CO-RE in the BTF of the
 * kernel that loads the program, not where it lay in the kernel that we compiled against.
 */
#ifndef PACKET_H
#define PACKET_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* vmlinux.h has types and no macros. */
#define ETH_P_IP 0x0800

/* The IPv4 header of an Ethernet frame, or NULL: another protocol, or cut short. */
static __always_inline struct iphdr *ipv4(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return NULL;
	return ip;
}

/* The TCP header behind an IPv4 header, or NULL: another protocol, a later fragment, or cut short. */
static __always_inline struct tcphdr *tcp(struct iphdr *ip, void *end)
{
	__u32 words = BPF_CORE_READ_BITFIELD(ip, ihl);
	struct tcphdr *tcp;

	if (ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(0x1fff) || words < 5)
		return NULL;
	tcp = (void *)ip + words * 4;
	if ((void *)(tcp + 1) > end)
		return NULL;
	return tcp;
}

#endif
