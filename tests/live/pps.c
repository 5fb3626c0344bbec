/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pps: floods one end of a veth pair and says to the frame what became of the flood.
 *
 *     pps --from NETNS:IFACE --to NETNS:IFACE [--chain xdp|generic|tcx|clsact]
 *         [--packets N] [--seconds S] [--rate PPS] [--batch N] [--cpu N]
 *         [--protocol udp|tcp|icmp] [--source A.B.C.D] [--destination A.B.C.D] [--port N] [--size BYTES]
 *         [--ready]
 *
 * The kernel makes the frames itself: BPF_PROG_RUN with BPF_F_TEST_XDP_LIVE_FRAMES (Linux 5.18) runs
 * a program of four instructions that redirects each frame to --from, 1.5 million a second from
 * one CPU. They arrive at --to, where the chain under test is. Needs root and nothing but libc: the
 * three little programs below are written as instructions.
 *
 * NETNS is a name in /run/netns, a path, or empty (`:veth0`) for the caller's own.
 * --chain says what is being tested at --to, so that frames get there:
 *     xdp      a native XDP chain; attach it first: a veth takes no redirected frames otherwise
 *     generic  a generic XDP chain: pps switches GRO on at --to, which makes the veth take them
 *     tcx      a chain at tc/ingress: pps attaches an XDP program that passes everything
 *     clsact   the same for a chain that is a filter of clsact; attach it first: the catch below is a filter, too
 * Without --packets it floods until SIGINT or SIGTERM, or for --seconds (60 at most, and by
 * default, so that a forgotten flood ends).
 *
 * Whatever gets past the chain is caught by a tcx program (for clsact: a filter) of ours, the last at --to's ingress,
 * which counts IPv4 and drops it. So a chain that drops everything lets `passed` stay 0, and a chain
 * that was off for an instant, or half there, shows.
 *
 * At the end, when all have landed, one line. With --ready, before it, `{"ready":true}` once all is in
 * place and the flood begins.
 *
 *     {"version":1,       the shape of this line
 *      "generated":N,     frames that the kernel made
 *      "sent":N,          of those, accepted by the link: what the chain must have seen, to the frame (with
 *                         IPv6 left on, it also sees some neighbour discovery: count by protocol or source)
 *      "lost":N,          generated - sent: the link's queue was full (choose a smaller --batch or --rate)
 *      "dropped":N,       accepted, then lost by the receiving driver before any program: 0, or sent is no measure
 *      "passed":N,        seen after the chain
 *      "seconds":S,       how long it flooded
 *      "pps":N}           sent a second
 *
 * Exit codes: 0 done; 1 the kernel refused something; 2 bad usage.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Linux 6.6; Debian 12's headers are older. */
#define TCX_INGRESS 46
/* Frames to a call of BPF_PROG_RUN: tens of milliseconds, which is how late we notice a signal. */
#define CHUNK 65536

struct end {
	int netns; /* -1: the caller's own */
	char name[IFNAMSIZ];
	int index;
	uint8_t mac[ETH_ALEN];
};

enum chain { XDP, GENERIC, TCX, CLSACT };

static void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	fprintf(stderr, "pps: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, error ? ": %s\n" : "\n", strerror(error));
	exit(1);
}

static void usage(const char *why)
{
	fprintf(stderr, "pps: %s\nusage: pps --from NETNS:IFACE --to NETNS:IFACE [--chain xdp|generic|tcx|clsact] ...\n", why);
	exit(2);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
	struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9)};

	nanosleep(&t, NULL);
}

/* Ends: a network namespace and an interface in it. */

static void enter(const struct end *end)
{
	if (end->netns >= 0 && setns(end->netns, CLONE_NEWNET))
		die("can't enter the network namespace of %s", end->name);
}

static int control(const struct end *end, unsigned long request, void *data)
{
	struct ifreq ifr = {.ifr_data = data};
	int fd, result;

	enter(end);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	strcpy(ifr.ifr_name, end->name);
	result = ioctl(fd, request, &ifr);
	close(fd);
	if (!result && request == SIOCGIFHWADDR)
		memcpy(data, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
	return result;
}

static struct end find(const char *text)
{
	const char *colon = text ? strrchr(text, ':') : NULL;
	struct end end = {.netns = -1};
	char path[4096];

	if (!colon || strlen(colon + 1) >= IFNAMSIZ || !colon[1])
		usage("--from and --to are NETNS:IFACE");
	strcpy(end.name, colon + 1);
	snprintf(path, sizeof(path), "%s%.*s", *text == '/' ? "" : "/run/netns/", (int)(colon - text), text);
	/* The caller's own is held too: by the time that we come back to it we have been elsewhere. */
	end.netns = open(colon == text ? "/proc/self/ns/net" : path, O_RDONLY | O_CLOEXEC);
	if (end.netns < 0)
		die("can't open %s", path);
	return end;
}

static void look_up(struct end *end)
{
	enter(end);
	errno = 0;
	end->index = if_nametoindex(end->name);
	if (!end->index)
		die("no interface %s there", end->name);
	if (control(end, SIOCGIFHWADDR, end->mac))
		die("can't read the address of %s", end->name);
}

/* The sum of the driver's counters whose names end in `suffix`; 0 where it has none. */
static uint64_t counters(const struct end *end, const char *suffix)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ethtool_gstrings *names;
	struct ethtool_stats *values;
	uint64_t sum = 0;

	if (control(end, SIOCETHTOOL, &info) || !info.n_stats)
		return 0;
	names = calloc(1, sizeof(*names) + (size_t)info.n_stats * ETH_GSTRING_LEN);
	values = calloc(1, sizeof(*values) + (size_t)info.n_stats * sizeof(uint64_t));
	if (!names || !values)
		die("no memory");
	*names = (struct ethtool_gstrings){.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_STATS, .len = info.n_stats};
	*values = (struct ethtool_stats){.cmd = ETHTOOL_GSTATS, .n_stats = info.n_stats};
	if (control(end, SIOCETHTOOL, names) || control(end, SIOCETHTOOL, values))
		die("can't read the counters of %s", end->name);
	for (uint32_t i = 0; i < info.n_stats; i++) {
		const char *name = (char *)names->data + i * ETH_GSTRING_LEN;
		size_t length = strnlen(name, ETH_GSTRING_LEN), tail = strlen(suffix);

		if (length >= tail && !strncmp(name + length - tail, suffix, tail))
			sum += values->data[i];
	}
	free(names);
	free(values);
	return sum;
}

static void switch_on_gro(const struct end *end)
{
	struct ethtool_value on = {.cmd = ETHTOOL_SGRO, .data = 1};

	if (control(end, SIOCETHTOOL, &on))
		die("can't switch on GRO at %s", end->name);
}

/* bpf(2), and three programs. */

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int load(enum bpf_prog_type type, const char *name, const struct bpf_insn *code, size_t count)
{
	static char log[4096];
	union bpf_attr attr = {
		.prog_type = type,
		.insns = (uintptr_t)code,
		.insn_cnt = (uint32_t)count,
		.license = (uintptr_t) "Dual BSD/GPL",
		.log_buf = (uintptr_t)log,
		.log_size = sizeof(log),
		.log_level = 1,
	};
	int fd;

	strncpy(attr.prog_name, name, sizeof(attr.prog_name) - 1);
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0)
		die("the kernel refused the program %s (%s)", name, log);
	return fd;
}

static int attach(int program, const struct end *end, int type, uint32_t flags)
{
	union bpf_attr attr = {.link_create = {.prog_fd = (uint32_t)program,
					       .target_ifindex = (uint32_t)end->index,
					       .attach_type = (uint32_t)type,
					       .flags = flags}};
	int fd;

	enter(end);
	fd = bpf(BPF_LINK_CREATE, &attr);
	if (fd < 0)
		die("can't attach to %s", end->name);
	return fd;
}

/* Makes or removes the last filter of the interface's clsact, at ingress, which runs `program`. */
static void filter(const struct end *end, uint16_t type, uint16_t flags, int program)
{
	struct {
		struct nlmsghdr head;
		struct tcmsg tc;
		struct nlattr kind_head;
		char kind[4];
		struct nlattr options;
		struct nlattr fd_head;
		int32_t fd;
		struct nlattr name_head;
		char name[12];
		struct nlattr flags_head;
		uint32_t flags;
	} ask = {
		.head = {sizeof(ask), type, (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags), 0, 0},
		.tc = {.tcm_ifindex = end->index,
		       .tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
		       .tcm_handle = 1,
		       .tcm_info = TC_H_MAKE(0xffffU << 16, htons(ETH_P_ALL))},
		.kind_head = {sizeof(struct nlattr) + 4, TCA_KIND},
		.kind = "bpf",
		.options = {(uint16_t)(sizeof(ask) - offsetof(__typeof__(ask), options)), TCA_OPTIONS},
		.fd_head = {sizeof(struct nlattr) + 4, TCA_BPF_FD},
		.fd = program,
		.name_head = {sizeof(struct nlattr) + 12, TCA_BPF_NAME},
		.name = "pps_catch",
		.flags_head = {sizeof(struct nlattr) + 4, TCA_BPF_FLAGS},
		.flags = TCA_BPF_FLAG_ACT_DIRECT,
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[4096];
	} answer;
	int fd;

	enter(end);
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0 || send(fd, &ask, sizeof(ask), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0)
		die("netlink");
	close(fd);
	errno = -answer.error.error;
	if (errno)
		die("can't change the filters of %s (is there a chain by clsact?)", end->name);
}

#define INSN(op, dst, src, offset, value)                                                                              \
	((struct bpf_insn){.code = (op), .dst_reg = (dst), .src_reg = (src), .off = (offset), .imm = (value)})
#define SET(dst, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define COPY(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define ADD(dst, value) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define LOAD(program, type, code) load(type, program, code, sizeof(code) / sizeof((code)[0]))

/* Sends each frame out of `to`. */
static int redirect(const struct end *to)
{
	struct bpf_insn code[] = {SET(1, to->index), SET(2, 0), CALL(BPF_FUNC_redirect), EXIT};

	return LOAD("pps_redirect", BPF_PROG_TYPE_XDP, code);
}

/* Passes everything: what makes a veth take redirected frames. */
static int pass(void)
{
	struct bpf_insn code[] = {SET(0, XDP_PASS), EXIT};

	return LOAD("pps_pass", BPF_PROG_TYPE_XDP, code);
}

/* Counts in `map` the IPv4 that gets as far as this, and drops it. IPv6's neighbour discovery goes by uncounted. */
static int catch_all(int map)
{
	struct bpf_insn code[] = {
		SET(0, TC_ACT_UNSPEC),
		INSN(BPF_LDX | BPF_MEM | BPF_W, 2, 1, offsetof(struct __sk_buff, protocol), 0),
		INSN(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 11, htons(ETHERTYPE_IP)),
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0), /* key 0 */
		COPY(2, 10),
		ADD(2, -4),
		INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		CALL(BPF_FUNC_map_lookup_elem),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3, 0), /* no such element: never */
		INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 0, 0, 0),
		ADD(1, 1),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 0, 1, 0, 0),
		SET(0, TC_ACT_SHOT),
		EXIT, /* where the jumps above end */
	};

	return LOAD("pps_catch", BPF_PROG_TYPE_SCHED_CLS, code);
}

static int counter(void)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_PERCPU_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};
	int fd;

	strcpy(attr.map_name, "pps_passed");
	fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0)
		die("can't create a map");
	return fd;
}

static uint64_t total(int map)
{
	/* One value for each CPU that could ever be there: more than any machine has. */
	static uint64_t values[8192];
	uint32_t key = 0;
	union bpf_attr attr = {.map_fd = (uint32_t)map, .key = (uintptr_t)&key, .value = (uintptr_t)values};
	uint64_t sum = 0;

	if (bpf(BPF_MAP_LOOKUP_ELEM, &attr))
		die("can't read a map");
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		sum += values[i];
	return sum;
}

/* The frame. */

static uint16_t checksum(const void *data, size_t length)
{
	const uint8_t *bytes = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < length; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

struct frame {
	uint8_t bytes[1514];
	uint32_t size, source, destination;
	uint8_t protocol;
	uint16_t port;
};

static void compose(struct frame *frame, const struct end *from, const struct end *to)
{
	struct ethhdr {
		uint8_t destination[ETH_ALEN], source[ETH_ALEN];
		uint16_t protocol;
	} __attribute__((packed)) eth = {.protocol = htons(ETHERTYPE_IP)};
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = frame->protocol,
		.tot_len = htons((uint16_t)(frame->size - sizeof(eth))),
		.saddr = frame->source,
		.daddr = frame->destination,
	};
	uint8_t *payload = frame->bytes + sizeof(eth) + sizeof(ip);
	uint16_t length = htons((uint16_t)(frame->size - sizeof(eth) - sizeof(ip)));
	uint16_t port = htons(frame->port);

	memcpy(eth.destination, to->mac, ETH_ALEN);
	memcpy(eth.source, from->mac, ETH_ALEN);
	ip.check = checksum(&ip, sizeof(ip));
	memcpy(frame->bytes, &eth, sizeof(eth));
	memcpy(frame->bytes + sizeof(eth), &ip, sizeof(ip));
	switch (frame->protocol) {
	case IPPROTO_UDP: /* no checksum: IPv4 allows it */
		memcpy(payload, &port, 2);
		memcpy(payload + 2, &port, 2);
		memcpy(payload + 4, &length, 2);
		break;
	case IPPROTO_TCP: /* a SYN; its checksum is wrong, which no program here looks at */
		memcpy(payload, &port, 2);
		memcpy(payload + 2, &port, 2);
		payload[12] = 5 << 4;
		payload[13] = 0x02;
		break;
	case IPPROTO_ICMP: /* an echo request */
		payload[0] = 8;
		uint16_t check = checksum(payload, frame->size - sizeof(eth) - sizeof(ip));

		memcpy(payload + 2, &check, 2);
		break;
	}
}

static void flood(int program, const struct frame *frame, uint32_t count, uint32_t batch)
{
	union bpf_attr attr = {.test = {.prog_fd = (uint32_t)program,
					.data_in = (uintptr_t)frame->bytes,
					.data_size_in = frame->size,
					.repeat = count,
					.flags = BPF_F_TEST_XDP_LIVE_FRAMES,
					.batch_size = batch}};

	if (bpf(BPF_PROG_TEST_RUN, &attr))
		die("the kernel refused to run the flood");
}

static double number(const char *text, const char *option, double most)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text || !(value >= 0 && value <= most)) {
		fprintf(stderr, "pps: --%s takes a number from 0 to %.0f, not `%s`\n", option, most, text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"from", 1, NULL, 'f'},	   {"to", 1, NULL, 't'},	  {"chain", 1, NULL, 'c'},
		{"packets", 1, NULL, 'n'}, {"seconds", 1, NULL, 's'},	  {"rate", 1, NULL, 'r'},
		{"batch", 1, NULL, 'b'},   {"cpu", 1, NULL, 'p'},	  {"protocol", 1, NULL, 'P'},
		{"source", 1, NULL, 'S'},  {"destination", 1, NULL, 'D'}, {"port", 1, NULL, 'o'},
		{"size", 1, NULL, 'z'},	   {"ready", 0, NULL, 'y'},	  {NULL, 0, NULL, 0},
	};
	struct frame frame = {.size = 64, .protocol = IPPROTO_UDP, .port = 9};
	const char *from_text = NULL, *to_text = NULL;
	enum chain chain = XDP;
	uint64_t packets = 0, generated = 0;
	double seconds = 60, rate = 0;
	uint32_t batch = 64;
	bool announce = false;
	int cpu = sched_getcpu();

	inet_pton(AF_INET, "192.0.2.1", &frame.source);
	inet_pton(AF_INET, "198.51.100.1", &frame.destination);
	for (int which, at = 0; (which = getopt_long(argc, argv, "", options, &at)) != -1;) {
		const char *name = options[at].name;

		switch (which) {
		case 'f': from_text = optarg; break;
		case 't': to_text = optarg; break;
		case 'c':
			if (strcmp(optarg, "xdp") && strcmp(optarg, "generic") && strcmp(optarg, "tcx") && strcmp(optarg, "clsact"))
				usage("--chain is xdp, generic, tcx or clsact");
			chain = *optarg == 'x' ? XDP : *optarg == 'g' ? GENERIC : *optarg == 't' ? TCX : CLSACT;
			break;
		case 'n': packets = (uint64_t)number(optarg, name, 1e12); break;
		case 's': seconds = number(optarg, name, 60); break;
		case 'r': rate = number(optarg, name, 1e8); break;
		case 'b': batch = (uint32_t)number(optarg, name, 256); break;
		case 'p': cpu = (int)number(optarg, name, CPU_SETSIZE - 1); break;
		case 'P':
			if (strcmp(optarg, "udp") && strcmp(optarg, "tcp") && strcmp(optarg, "icmp"))
				usage("--protocol is udp, tcp or icmp");
			frame.protocol = *optarg == 'u' ? IPPROTO_UDP : *optarg == 't' ? IPPROTO_TCP : IPPROTO_ICMP;
			break;
		case 'S':
		case 'D':
			if (inet_pton(AF_INET, optarg, which == 'S' ? &frame.source : &frame.destination) != 1)
				usage("--source and --destination are IPv4 addresses");
			break;
		case 'o': frame.port = (uint16_t)number(optarg, name, 65535); break;
		case 'z': frame.size = (uint32_t)number(optarg, name, sizeof(frame.bytes)); break;
		case 'y': announce = true; break;
		default: usage("unknown option");
		}
	}
	if (optind != argc)
		usage("there is nothing but options");
	if (frame.size < 60)
		usage("--size is at least 60, Ethernet's least");

	struct end from = find(from_text), to = find(to_text);
	look_up(&from);
	look_up(&to);
	compose(&frame, &from, &to);

	/* A veth's frames are received on the CPU that sent them: one CPU, and none is lost. */
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		die("can't stay on CPU %d", cpu);

	/* Blocked signals don't interrupt BPF_PROG_RUN, which would lose count; we ask for them. */
	sigset_t stop;
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigprocmask(SIG_BLOCK, &stop, NULL);

	int map = counter(), catch = catch_all(map), caught = -1;
	if (chain == CLSACT)
		filter(&to, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, catch);
	else
		caught = attach(catch, &to, TCX_INGRESS, 0);
	if (chain == TCX || chain == CLSACT)
		attach(pass(), &to, BPF_XDP, XDP_FLAGS_DRV_MODE);
	if (chain == GENERIC)
		switch_on_gro(&to);
	int program = redirect(&from);
	if (announce) {
		printf("{\"ready\":true}\n");
		fflush(stdout);
	}

	uint64_t sent = counters(&from, "_xdp_xmit"), dropped = counters(&to, "_drops") - counters(&to, "_xdp_drops");
	enter(&from); /* where BPF_PROG_RUN looks for the interface */
	double began = now();
	while (now() - began < seconds && (!packets || generated < packets)) {
		uint32_t count = CHUNK;

		if (rate) { /* what is due by now, in steps of a hundredth of a second */
			double due = (now() - began) * rate - (double)generated;

			if (due < rate / 100) {
				pause_for((rate / 100 - due) / rate);
				due = rate / 100;
			}
			count = due < 1 ? 1 : due > CHUNK ? CHUNK : (uint32_t)due;
		}
		if (packets && packets - generated < count)
			count = (uint32_t)(packets - generated);
		flood(program, &frame, count, batch);
		generated += count;
		if (sigtimedwait(&stop, NULL, &(struct timespec){0}) > 0)
			break;
	}
	double took = now() - began;

	pause_for(0.1); /* the last frames are still in the receiver's queue */
	sent = counters(&from, "_xdp_xmit") - sent;
	dropped = counters(&to, "_drops") - counters(&to, "_xdp_drops") - dropped;
	printf("{\"version\":1,\"generated\":%llu,\"sent\":%llu,\"lost\":%llu,\"dropped\":%llu,\"passed\":%llu,"
	       "\"seconds\":%.3f,\"pps\":%.0f}\n",
	       (unsigned long long)generated, (unsigned long long)sent, (unsigned long long)(generated - sent),
	       (unsigned long long)dropped, (unsigned long long)total(map), took, (double)sent / took);
	if (chain == CLSACT)
		filter(&to, RTM_DELTFILTER, 0, catch);
	else
		close(caught);
	return 0;
}
