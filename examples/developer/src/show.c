/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show: prints what `count` counted. A map's pin is a stable path; opening it takes no library.
 */
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIN "/sys/fs/bpf/bpfkit/developer/programs/count/lengths"

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

int main(void)
{
	union bpf_attr open = {.pathname = (uintptr_t)PIN};
	long map = bpf(BPF_OBJ_GET, &open);

	if (map < 0) {
		perror(PIN);
		return 1;
	}
	for (uint32_t slot = 0; slot < 16; slot++) {
		uint64_t packets = 0;
		union bpf_attr read = {.map_fd = (uint32_t)map, .key = (uintptr_t)&slot, .value = (uintptr_t)&packets};

		if (bpf(BPF_MAP_LOOKUP_ELEM, &read)) {
			perror("lengths");
			return 1;
		}
		printf("%5u bytes  %llu\n", (slot + 1) * 128, (unsigned long long)packets);
	}
	return 0;
}
