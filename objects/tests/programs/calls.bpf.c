#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static __u64 grand;

static __attribute__((noinline)) int leaf(int x)
{
	grand += x;
	return x * 3 + bpf_get_prandom_u32();
}

__attribute__((noinline)) int middle(int x)
{
	return leaf(x) + leaf(x + 1);
}

__attribute__((noinline)) int weak_end(int x) __attribute__((weak));
__attribute__((noinline)) int weak_end(int x)
{
	return middle(x) - 1;
}

static __attribute__((noinline)) int unused_by_second(struct __sk_buff *skb)
{
	return leaf(skb->len) + weak_end(3);
}

SEC("tc")
int first(struct __sk_buff *skb)
{
	return unused_by_second(skb) + leaf(5);
}

SEC("tc")
int second(struct __sk_buff *skb)
{
	return middle(skb->mark);
}

SEC("cgroup_skb/egress")
int third(struct __sk_buff *skb)
{
	return weak_end(skb->len) & 1;
}

char LICENSE[] SEC("license") = "GPL";
