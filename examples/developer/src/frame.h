/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause */
/* Changing this file builds both programs again: each object's dependency file names it. */
#ifndef FRAME_H
#define FRAME_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800

static __always_inline struct iphdr *ipv4(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	return (void *)(ip + 1) <= end && eth->h_proto == bpf_htons(ETH_P_IP) ? ip : NULL;
}

#endif
