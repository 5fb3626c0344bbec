/* Loads an object with libbpf and prints what libbpf passed to the kernel: for each program its
 * name, the kernel's tag and the instructions, and the name behind every map descriptor. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct bpf_object *obj = bpf_object__open_file(argv[1], NULL);
	struct bpf_program *prog;
	struct bpf_map *map;

	if (!obj || bpf_object__load(obj))
		return 1;
	bpf_object__for_each_map(map, obj)
		printf("map %d %s\n", bpf_map__fd(map), bpf_map__name(map));
	bpf_object__for_each_program(prog, obj) {
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);
		const struct bpf_insn *insns = bpf_program__insns(prog);

		if (bpf_program__fd(prog) < 0)
			continue;
		if (bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len))
			return 2;
		printf("program %s ", bpf_program__name(prog));
		for (int i = 0; i < 8; i++)
			printf("%02x", info.tag[i]);
		printf(" ");
		for (size_t i = 0; i < bpf_program__insn_cnt(prog) * 8; i++)
			printf("%02x", ((const unsigned char *)insns)[i]);
		printf("\n");
	}
	return 0;
}
