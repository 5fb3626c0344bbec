//! Codes of the compile stage: from sources to checked objects.

super::codes! {
    COMPILER_NOT_FOUND = "C001", Failed, "no usable clang was found",
"bpfkit compiles C with clang. It looks for `clang` and `clang-<version>` (newest first) on PATH,
and needs version 15 or newer with the BPF target.

Install one (`apt-get install clang-19`), or put it on PATH. Hosts that only run `bpfkit apply` need
no compiler.";
    COMPILER_UNUSABLE = "C002", Failed, "clang can't be run",
"A clang was found and chosen, and starting it failed or it was killed by a signal. The cause says
which. Typical: a file that is not executable, a wrapper script that names a missing program, or the
kernel's out-of-memory killer (then build with fewer jobs: `bpfkit build -j 1`).";
    SOURCE_MISSING = "C010", Usage, "a program's file does not exist",
"The manifest names a C source or an object that is not there. Paths are relative to the manifest's
own folder, not to the folder that bpfkit was started in.

Correct the path in the manifest, or add the file.";
    PATH_LEAVES_PROJECT = "C011", Usage, "a path leads out of the manifest's folder",
"Sources, objects and include folders must lie in the manifest's folder or below it, links included.
A manifest may be somebody else's: this keeps it from pulling files of the machine that builds, a
private key say, into an object that is then published. It also keeps builds repeatable, since
another checkout would not have the file.

Move the file into the project, or put the manifest further up.";
    INPUT_UNREADABLE = "C012", Failed, "a file of the build can't be read",
"The file exists but reading it failed; the cause is the system's own message. Usually permissions,
or a folder where a file belongs.";
    FLAG_REFUSED = "C020", Usage, "a compiler flag is not allowed",
"`build.cflags` takes flags that choose warnings, macros, include folders, optimisation and language,
and no others. A manifest can come from a repository that you don't trust yet, and clang has flags
that run code (`-fplugin`, `-Xclang -load`, `-B`, `-wrapper`), read flags from elsewhere (`@file`,
`--config`), write files (`-o`, `-MF`) or switch the target away. CVE-2026-24905 in another builder
came in this way. bpfkit passes each flag as one argument without a shell, and only flags from a
list.

Allowed: `-W…` (but `-Wl,` `-Wa,` `-Wp,`), `-D…`, `-U…`, `-I<folder in the project>`, `-include<file
in the project>`, `-O1` `-O2` `-O3` `-Os` `-Oz`, `-std=…`, `-mcpu=v1` to `-mcpu=v4`, `-pedantic`, `-w`
and a few `-f…` that change code generation harmlessly (the help lists them).";
    BTF_UNUSABLE = "C030", Failed, "the BTF that `vmlinux.h` is made from can't be used",
"`build.btf` names a file that is neither raw BTF nor an ELF with a `.BTF` section, or one that is
damaged or larger than bpfkit reads (64 MiB); or it says `host` and this kernel has no
`/sys/kernel/btf/vmlinux` (it was built without CONFIG_DEBUG_INFO_BTF).

Use `btf: default`, the kernel types that come with bpfkit, or copy `/sys/kernel/btf/vmlinux` from a
machine that has it. With CO-RE the types need not be those of the kernel that runs the program.";
    BTF_OF_ANOTHER_MACHINE = "C031", Usage, "`btf: host` can't serve another platform",
"`build.btf: host` makes `vmlinux.h` from the kernel that runs the build, and `build.platforms` asks
for an architecture that this machine doesn't have. Its registers and struct layouts differ, so
programs that read them would be compiled against wrong types without any complaint.

Use `btf: default`, or build each platform on a machine of its own.";
    COMPILE_FAILED = "C040", Failed, "clang refused a program",
"clang's own messages stand above this one, unabridged. Nothing was written for this program: the
object of the last good build, if there is one, is still in place.

Where a type or field is unknown, compare `build.btf`: `vmlinux.h` is made from that kernel's types.";
    OUTPUT_UNWRITABLE = "C041", Failed, "the build's results can't be written",
"bpfkit writes objects, headers and its memory of earlier builds under `.bpfkit` beside the manifest
(`--target-dir` moves it). Each file is written under another name and renamed when complete, so
what was there before is still whole. The cause is the system's own message: permissions, or a full
disk.";
    SOURCE_CHANGED = "C042", Failed, "a source changed while it was compiled",
"A file that clang read was changed before the build was done, so nobody can say which version is in
the object. The object was thrown away. Build again.";
    OBJECT_HAS_NO_PROGRAM = "C053", Usage, "an object holds no program",
"The object has no function in a program section, so there is nothing to attach. A function becomes
an entry program by its section: `SEC(\"xdp\")`, `SEC(\"tc\")`. A `static` function is a subprogram and
never an entry.";
    ENTRY_UNKNOWN = "C054", Usage, "the object has no such program",
"`entry:` names a function that the object doesn't have as an entry program. Entry programs are the
global functions in program sections (`SEC(\"xdp\")`, `SEC(\"tc\")`); the message lists them.";
    ENTRY_AMBIGUOUS = "C055", Usage, "the object has several programs and none is chosen",
"A manifest's program is one function. Where an object has several, bpfkit takes the one that
`entry:` names, else the one whose function has the program's own name; it never guesses by order.

Add `entry: <function>`. To use several functions of one file, list the file several times with
different `entry:`.";
    TYPE_UNKNOWN = "C056", Usage, "the type of a program is not known",
"What kind of program a function is follows from its section name, by libbpf's table (`xdp`, `tc`,
`cgroup/connect4`). This section isn't in the table, as in older code (`classifier`, `xdp_prog`,
`ingress`).

Rename the section, or say `type: xdp` or `type: tc` in the manifest.";
    TYPE_CONTRADICTED = "C057", Usage, "`type:` contradicts the object",
"The manifest's `type:` says one thing and the section name of the function, by libbpf's table, says
another. One of them is a mistake: a program that is verified as one type reads its context wrongly
when it is attached as another.

`type:` is for sections that say nothing. Remove it, or correct the section.";
    TYPE_DOES_NOT_FIT = "C058", Usage, "a chain runs a program of another type",
"Each hook calls one type of program: `xdp` calls xdp programs, `tc/ingress` and `tc/egress` call tc
programs. Their contexts and verdicts differ (2 passes a packet in xdp and drops it in tc), so the
kernel refuses a mix, and bpfkit says so before anything is bundled.";
    LICENSE_MISSING = "C059", Failed, "an object names no licence",
"The kernel reads the `license` section, and helpers marked GPL-only (`bpf_trace_printk`, most
tracing ones) are refused to programs without a GPL-compatible one. A chain is fused into one
program only if all its programs are GPL-compatible or none calls such a helper.

Add `char LICENSE[] SEC(\"license\") = \"GPL\";` or another of the kernel's licence strings.";
    MAP_UNKNOWN = "C060", Usage, "no program has the map that `maps:` lists",
"`maps:` shares maps between programs by their name in the objects. This one is in no object of the
set, so the entry would do nothing: programs that were meant to share it would each have a private
map of their own, and user space would look at the wrong one.

Compare the spelling with the object's maps, which the message lists.";
    GLOBAL_UNKNOWN = "C061", Usage, "the object has no such global variable",
"`globals:` sets variables of the object before it is loaded. This name is not among them. A variable
that the code never reads is removed by the compiler; one that may be set must be declared `const
volatile` or be used in a way that the compiler can't see through.";
    OBJECT_IS_NONE = "C500", Usage, "a file is no eBPF object",
"The file is not what clang writes for `-target bpf -c`: a 64-bit little-endian relocatable ELF file for
the machine eBPF. A linked program, an archive, bytecode of LLVM or an object for the host's own machine
can't be loaded.

Compile with `clang -target bpf -g -O2 -c`, or let bpfkit do it with `source:`.";
    OBJECT_TOO_LARGE = "C501", Failed, "an object is too large",
"Objects of up to 16 MiB are read; real ones have some tens of kilobytes, and readers of bpfman's images
take no more either. The limit keeps a hostile bundle from using up memory before it is understood.

Strip debug information with `llvm-strip -g` (BTF stays), or make large tables maps that are filled later.";
    OBJECT_BIG_ENDIAN = "C502", Failed, "an object is big-endian",
"eBPF has the byte order of the machine that runs it, and this bpfkit runs on, and builds for, little-endian
machines (x86-64, arm64, riscv64). Swapping the bytes of such an object would not help: the compiler has
already laid out its data and its bit-fields for the other order.

Compile with `-target bpfel` or plain `-target bpf`.";
    OBJECT_DAMAGED = "C503", Failed, "an object is damaged",
"The file is an eBPF object by its header, but a part that it announces lies outside of it, overlaps or makes
no sense. No compiler writes that: the file was cut off, changed on the way or made to attack a reader. It is
not used in part.

Build or fetch it again.";
    OBJECT_NO_BTF = "C504", Usage, "an object carries no BTF",
"BTF says what types an object's maps, variables and accesses to the kernel have. Without it nothing can be
relocated to another kernel, no variable can be set by name and no map can be read by its members, so an
object without BTF would fail on some hosts and misread memory on others.

Compile with `-g`, and strip with `llvm-strip -g`, which leaves `.BTF` and `.BTF.ext` in place.";
    OBJECT_BTF_DAMAGED = "C505", Failed, "an object's BTF can't be read",
"The section `.BTF` or `.BTF.ext` is there but isn't well-formed: a type refers to one that doesn't exist,
contains itself, or is of a kind that Linux 6.18 doesn't know. Each reference is checked before it is
followed, so that a hostile object can neither crash nor stall the reader.

Build the object again, with a compiler that isn't newer than this bpfkit knows.";
    OBJECT_LEGACY_MAPS = "C506", Usage, "an object declares its maps in the old form",
"Maps in a section `maps` (`struct bpf_map_def`) have no BTF: key and value types are unknown. libbpf 1.0
gave this form up in 2022, and bpfkit doesn't read it.

Declare each map as a struct in `SEC(\".maps\")` with `__uint(type, …)`, `__type(key, …)`, `__type(value, …)`.";
    OBJECT_FUNCTION = "C507", Usage, "a function of an object can't be used",
"Entry programs are global functions, each in a section that says their type; functions in `.text` are
subprograms. A `static` entry program, or one that reaches beyond its section, is refused by libbpf and here:
nobody could tell what would be loaded.

Remove `static` from the program, or remove `SEC(…)` from the subprogram.";
    OBJECT_MAP = "C508", Usage, "a map's definition is wrong",
"The struct in `.maps` doesn't describe a map: a member has an unknown name, a size is given twice and
differs, the type is missing. A misspelt member (`max_entires`) would otherwise silently make another map
than was meant.

Compare it with the examples in `bpf_helpers.h`.";
    OBJECT_MAP_UNSUPPORTED = "C509", Failed, "a map asks for something that bpfkit doesn't do",
"libbpf can fill maps of maps and program arrays from a list in the object (`.values = { … }`). bpfkit doesn't,
and a map that silently stayed empty would make its programs behave otherwise than they were written.

Leave the list out, and fill the map from user space through its pin.";
    OBJECT_DATA = "C510", Failed, "a section of global variables can't be made a map",
"Global variables live in maps that are made from `.rodata`, `.data` and `.bss`. Variables that hold
addresses (`const char *names[]`) can't: nobody knows the address of a map's value when the map is filled, and
libbpf leaves them null without a word. struct_ops and more than 16 MiB of variables are refused as well.

Use arrays of characters instead of pointers, and maps for large tables.";
    OBJECT_REFERENCE = "C511", Failed, "an instruction refers to something that can't be linked",
"A relocation of the object names a symbol that is no function, map or variable of it, or uses one as
something that it is not. Usually an object was compiled from one of several files that belong together.

Put the files into one source, or link their objects with `bpftool gen object`.";
    GLOBAL_NOT_IN_OBJECT = "C520", Usage, "an object has no such variable to set",
"`globals:` names a variable that isn't among the object's global variables, or one of several `static` ones
of that name. Setting nothing without a word would leave a limit at its default that somebody believes to
have changed. A variable that no code reads is removed by the compiler.

Compare the spelling with `bpfkit inspect`, which lists an object's variables.";
    GLOBAL_MISFIT = "C521", Usage, "a value doesn't fit its variable's C type",
"Values in `globals:` are written by the variable's own C type: numbers within its range, members by name,
text only into arrays of characters, with room for the final NUL. Nothing is cut off or wrapped around: a
`__u8` of 300 would otherwise become 44.

The message names the place, its type and what would fit.";
    GLOBAL_FOLDED = "C522", Usage, "a constant can't be set any more",
"The variable is `const` without `volatile`: the compiler may rely on its value and has put it into the
instructions. Changing the variable afterwards would change nothing, or only some of its uses.

Declare it `const volatile`: the verifier still treats it as a constant and removes dead code.";
}
