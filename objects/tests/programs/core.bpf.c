#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define CORE __attribute__((preserve_access_index))

struct list_head { struct list_head *next, *prev; } CORE;
struct mm_struct___mine { unsigned long start_stack; } CORE;
struct signal_struct { int nr_threads; struct list_head thread_head; } CORE;
struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *real_parent;
	struct signal_struct *signal;
	unsigned sched_reset_on_fork : 1;
	unsigned in_execve : 1;
	struct mm_struct___mine *mm;
	unsigned long long start_time;
} CORE;
struct task_struct___never { int no_such_field; int pid; } CORE;
struct no_such_struct { int x; } CORE;
enum pid_type { PIDTYPE_PID = 40, PIDTYPE_SID = 41 };
enum bpf_map_type___x { BPF_MAP_TYPE_NOT_THERE = 9 };
typedef struct { int counter; } atomic_t;
struct sk_buff___in { union { struct { struct sk_buff___in *next; }; }; unsigned int len; unsigned char cloned : 1; } CORE;

struct out { __u64 a[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct out);
} result SEC(".maps");

SEC("raw_tp/sched_switch")
int reads(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 zero = 0;
	struct out *out = bpf_map_lookup_elem(&result, &zero);
	if (!out)
		return 0;
	out->a[0] = BPF_CORE_READ(task, pid);
	out->a[1] = BPF_CORE_READ(task, real_parent, tgid);
	out->a[2] = BPF_CORE_READ(task, signal, nr_threads);
	out->a[3] = BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork);
	out->a[4] = BPF_CORE_READ_BITFIELD_PROBED(task, in_execve);
	bpf_core_read_str(&out->a[5], 8, &task->comm);
	out->a[6] = bpf_core_field_size(task->comm);
	out->a[7] = (__u64)__builtin_preserve_access_index(&task->comm[3]);
	out->a[8] = BPF_CORE_READ(task, signal, thread_head.next) != 0;
	out->a[9] = BPF_CORE_READ(task, mm, start_stack);
	struct sk_buff___in *skb = (void *)task;
	out->a[10] = BPF_CORE_READ(skb, next) != 0;
	out->a[11] = BPF_CORE_READ_BITFIELD_PROBED(skb, cloned);
	return 0;
}

SEC("raw_tp/sched_switch")
int asks(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct___never *never = (void *)task;
	__u32 zero = 0;
	struct out *out = bpf_map_lookup_elem(&result, &zero);
	if (!out)
		return 0;
	out->a[0] = bpf_core_field_exists(task->pid);
	out->a[1] = bpf_core_type_exists(struct task_struct);
	out->a[2] = bpf_core_type_exists(struct no_such_struct);
	out->a[3] = bpf_core_type_size(struct task_struct);
	out->a[4] = bpf_core_enum_value(enum pid_type, PIDTYPE_SID);
	out->a[5] = bpf_core_enum_value_exists(enum bpf_map_type___x, BPF_MAP_TYPE_NOT_THERE);
	out->a[6] = bpf_core_type_id_kernel(struct task_struct);
	out->a[7] = bpf_core_type_id_local(struct task_struct);
	out->a[8] = bpf_core_type_exists(atomic_t);
	out->a[9] = bpf_core_type_matches(struct list_head);
	out->a[10] = bpf_core_type_matches(struct task_struct);
	if (bpf_core_field_exists(never->no_such_field))
		out->a[11] = BPF_CORE_READ(never, no_such_field);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
