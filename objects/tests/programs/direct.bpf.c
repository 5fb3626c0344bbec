#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Loads that CO-RE moves and resizes themselves: a typed tracepoint. */
struct kmem { int unused; };
struct task_struct {
	int pid;
	unsigned long long start_time;
	unsigned int flags;
	struct task_struct *real_parent;
	void *stack;
} __attribute__((preserve_access_index));

__u64 seen;

SEC("tp_btf/sched_switch")
int typed(unsigned long long *ctx)
{
	struct task_struct *prev = (void *)ctx[1];
	struct task_struct *parent = prev->real_parent;
	seen += prev->pid + prev->flags + prev->start_time + parent->pid;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
