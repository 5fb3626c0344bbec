#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");
__u64 sum;

static long each(void *map, __u32 *key, __u64 *value, void *ctx)
{
	sum += *value;
	return 0;
}

static long step(__u32 index, void *ctx)
{
	sum += index;
	bpf_for_each_map_elem(&table, each, 0, 0);
	return 0;
}

SEC("kprobe/do_unlinkat")
int loops(void *ctx)
{
	bpf_loop(4, step, 0, 0);
	bpf_for_each_map_elem(&table, each, 0, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
