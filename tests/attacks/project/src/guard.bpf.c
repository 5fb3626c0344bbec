// SPDX-License-Identifier: GPL-2.0
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int guard(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data < 14 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
