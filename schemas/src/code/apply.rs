//! Codes of the apply stage: observing, planning, executing.

super::codes! {
    NOT_ROOT = "A001", Failed, "this needs root",
"Loading programs and changing hooks needs the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN,
which in practice means root.

Run the command with sudo. `check`, `build`, `bundle`, `inspect` and `verify` need no root.";

    NOT_PERMITTED = "A100", Failed, "the kernel does not permit this",
"The kernel answered EPERM or EACCES. Loading programs and changing hooks needs CAP_BPF,
CAP_NET_ADMIN, CAP_PERFMON and, to enter network namespaces and mount bpffs, CAP_SYS_ADMIN.

Run the command as root. Inside a container, give it these capabilities. Before Linux 5.11 maps and
programs count as locked memory: bpfkit lifts that limit where it may (CAP_SYS_RESOURCE); where it may
not, start it with `ulimit -l unlimited`. If you are root already, the kernel itself forbids it: look at `/proc/sys/kernel/unprivileged_bpf_disabled`, at lockdown
(`/sys/kernel/security/lockdown`) and at security modules.";
    KERNEL_CALL = "A101", Failed, "a call to the kernel failed",
"The kernel refused a call for a reason that bpfkit has no better words for. The message says what was
being done and to what; the cause is the kernel's own error.

Nothing that was done before it stays half done: hooks that were changed already are put back.
If it happens again with the same manifest, please report it with the kernel's release (`uname -r`).";
    KERNEL_TOO_OLD = "A102", Failed, "this kernel can't do this",
"The plan needs something that the running kernel doesn't offer. XDP links came with Linux 5.9, the
record map's binding (`BPF_PROG_BIND_MAP`) with 5.10, tcx with 6.6 (without it tc chains hang on `clsact`).
bpfkit asks the kernel and never compares version numbers, since distributions carry features back and forth.

Use a newer kernel, or a hook that this one has: `bpftool feature probe` lists what it can do.";
    NO_BPFFS = "A103", Failed, "there is no BPF file system",
"Chains outlive the process that made them because their links are pinned in bpffs, at
`/sys/fs/bpf/bpfkit`. An `apply` mounts bpffs there if nothing has; this time it could not, or another
file system is in its place, as happens under `ip netns exec`, which covers /sys with a fresh one.

Mount it (`mount -t bpf bpf /sys/fs/bpf`). To work in a network namespace, say `netns:` in the chain, or
use `nsenter --net=…`, which leaves the mounts alone.";
    PIN_FAILED = "A104", Failed, "a pin could not be made, read or removed",
"bpfkit keeps links and maps under `/sys/fs/bpf/bpfkit/<set>`. The kernel refused to make, open, move or
remove one of these files; the cause says why.

Look at the path in the message. Files there that bpfkit didn't make are best moved away; it never
removes what isn't in a place of its own.";
    WRONG_PIN = "A105", Failed, "something else is pinned where bpfkit keeps its own",
"Under `/sys/fs/bpf/bpfkit/<set>` each path has one meaning: links under `links`, maps under `maps` and
`programs`. A file there is of another kind than its place says, so somebody else put it there or
exchanged it. Using it could connect a chain to a map or link of a stranger.

Find out who did, remove the file, and apply again.";
    VERIFIER_REFUSED = "A107", Failed, "the verifier refused a chain",
"The kernel's verifier proves that a program can't crash or hang it. It refused the fused chain; the message
shows its last meaningful line, with the C line that it is about where the object has line information
(`-g`), and the instructions just before it. The whole log is in the file that the help names.

Nothing was attached: every chain is loaded before the first hook is touched. Correct the program. `R0 !read_ok` is
a missing return value, `invalid access to packet` a missing bounds check, `invalid mem access
'map_value_or_null'` a missing NULL check.";
    HOOK_TAKEN = "A108", Failed, "somebody else holds this hook",
"XDP runs one program per interface, and another one is attached: with a link or by netlink, in this mode
or in the other one. bpfkit never takes a hook from a stranger; replacing it would silently end
whatever it does, a firewall for instance.

Remove the other program with the tool that put it there (`ip link set … xdp off`, `xdp-loader unload`,
`bpfkit remove` for another set), or take the interface out of the chain.";
    HOOK_CHANGED = "A109", Contended, "somebody changed this hook meanwhile",
"Every change is made on condition that the hook is still as it was when the plan was made: the kernel compares the old
program of a link and the revision of a tcx hook, and bpfkit the filters of a clsact hook. It was not, so another tool, or another bpfkit, was there
in between. Nothing of theirs was overwritten.

Run the command again; it makes a new plan from what is live now. If it happens each time, two tools are fighting over the hook.";
    INTERFACE_GONE = "A110", Failed, "the interface is gone",
"The interface was removed, or moved to another network namespace, after the plan was made. A link that held it
is dead then; the next `apply` cleans it up.

Bring the interface back or take it out of the chain, and apply again.";
    NO_NATIVE_XDP = "A111", Failed, "the driver can't run this XDP program",
"In native mode XDP runs in the network driver. This one has no support for it, or can't
combine it with the interface's settings: an MTU that needs several buffers per packet and programs
without `xdp.frags`, LRO, too many queues. bpfkit never falls back to generic mode by itself, since that costs most of XDP's speed.

Say `mode: generic` in the chain if that is good enough, lower the MTU, or build all programs of the chain with `SEC(\"xdp.frags\")`.";
    NO_NETNS = "A112", Failed, "a network namespace can't be entered",
"A chain's `netns:` is the path of a network namespace, such as `/run/netns/edge` (made by `ip netns add edge`)
or `/proc/<pid>/ns/net`. It isn't there, isn't a network namespace, or this process may not enter it, which takes CAP_SYS_ADMIN.

Create it or correct the path; `ip netns list` shows the named ones.";
    HOST_LOCKED = "A113", Contended, "another bpfkit is changing this host",
"One bpfkit changes a host at a time; the lock is `/run/bpfkit/lock`. The kernel drops it with the process that
holds it, however that ends, so it is never stale and must not be removed by hand.

Wait for the other one to finish, then run the command again.";

    FUSE_NO_PROGRAM = "A120", Failed, "a program isn't in its object",
"The chain names a program whose entry function can't be found in the trusted bundle's object, or that could not be
relocated for this kernel: a struct or field that the program reads doesn't exist here.

`bpfkit inspect` lists the functions of an object and the kernel types that it reads. Correct `entry:`, or build for this kernel.";
    FUSE_WRONG_TYPE = "A121", Failed, "a program can't run at this hook",
"Each hook calls programs of one type: `xdp` runs XDP programs, `tc/ingress` and `tc/egress` run tc programs, the
hooks of cgroups those of their kinds (`cgroup/connect4` runs `cgroup_sock_addr` programs). The
program was compiled for another type, so it would read a context that isn't there.

Put it into a chain of its own type. Where the section name says nothing (`SEC(\"classifier\")` in old objects),
state `type:` in the manifest.";
    FUSE_KERNEL_SYMBOL = "A124", Failed, "a program that uses kernel functions or variables can't be fused",
"The program calls a kernel function (kfunc) or reads a kernel variable (`__ksym`). The loader has to look each up in the
kernel's own types and put its number into the program, which bpfkit doesn't do yet.

Use a helper that does the same (`bpf_*` in `bpf_helpers.h`), or `__kconfig` values as globals.";
    FUSE_LICENSES = "A125", Failed, "the licenses in a chain don't go together",
"The fused program has one license. At least one program calls a helper that the kernel offers to GPL-compatible programs
alone, and at least one other program of the chain isn't under such a license. Declaring the whole to be GPL would be a
false statement on somebody's behalf, so bpfkit doesn't.

Take the helper out, relicense, or put the programs on different hooks.";
    FUSE_FRAGS = "A126", Failed, "some programs of a chain know multi-buffer packets and some don't",
"A program in `SEC(\"xdp.frags\")` is ready for packets that span several buffers (jumbo frames); one in `SEC(\"xdp\")`
may take the first buffer for the whole packet. The kernel asks this of the fused program as a whole, so all have to say the same.

Build all programs of the chain with `xdp.frags`, or none.";
    FUSE_TOO_MANY_MAPS = "A127", Failed, "a chain uses too many maps",
"The kernel allows 64 maps in one program, and one of these is bpfkit's own record of what the chain consists of, so
63 are left. Each program brings its own maps and one each for its constants, initialised and
zeroed global variables.

The constants of all programs share a map where there would be too many; variables can't, since each program's
map of them has a path of its own.

Share maps between programs (`maps:` in the manifest), or put some programs on another hook.";
    FUSE_TOO_LONG = "A128", Failed, "a chain has too many instructions",
"The kernel takes programs of up to one million instructions (4,096 without CAP_BPF), and the fused chain is
longer than that, or so long that a call inside it can't be encoded.

Split the chain over two hooks, or make its programs shorter.";
    FUSE_MAP_NEEDS_BTF = "A129", Failed, "a map's values hold what needs type information",
"The value of the map holds a kernel pointer, a list, a tree or another field that the kernel manages by type and that programs
use through kernel functions, which bpfkit doesn't resolve yet; or a global variable is a lock or a timer.
Declared maps may hold spin locks and timers.

Move a lock or timer from a global variable into a map, or keep what the pointer led to in the map itself.";
    FUSE_MAP_KIND = "A130", Failed, "a map of this type can't be made",
"The program declares a map that can't be created from its type and sizes alone: maps of maps need an inner map, struct_ops
maps and arenas need type information.

Use a map type that stands by itself (hash, array, LPM trie, ring buffer, their per-CPU and LRU forms, program arrays,
device, CPU and socket maps).";
    FUSE_EMPTY = "A131", Failed, "a chain has no programs",
"A chain without programs can't be attached: there would be no verdict. The manifest's check refuses it; this one came from elsewhere.

Name at least one program under the chain's `programs:`, or remove the chain.";
    // A122, A123 and A132 were programs with tail calls, callbacks and old packet loads, before chains had types.

    NO_INTERFACE = "A301", Failed, "an interface that a chain names doesn't exist",
"A chain lists an interface by its full name, and this host has no interface of that name in the chain's
network namespace. A chain that is silently left out would be a filter that doesn't filter, so the whole
run is refused and nothing is changed.

Bring the interface up first, or correct the name. Where the interface may come later, write a pattern
(`eth0*`): a pattern that matches nothing is a warning, and the chain waits for the next `apply`.";
    NO_NAMESPACE = "A302", Failed, "a chain's network namespace doesn't exist",
"`netns:` names a path that leads to no network namespace on this host. `ip netns add NAME` makes one at
`/run/netns/NAME`; a container's is at `/proc/PID/ns/net`.

Make it, or correct the path.";
    HOOK_CLAIMED_TWICE = "A303", Usage, "two chains want the same hook of the same interface",
"A set has at most one chain at each hook of each interface, so that the order in which programs run stands in one
place. Two of its chains match the same interface here, usually because two patterns overlap, or because two
paths lead to one network namespace.

Make the patterns narrower, or put the programs into one chain in the order in which they should run.";
    MAPS_DISAGREE = "A304", Failed, "programs that share a map declare it differently",
"The manifest's `maps:` (or `LIBBPF_PIN_BY_NAME` in an object) says that these programs share one map, but their
objects declare it with another type, key, value, size or layout. Connecting them would let one program read the
other's bytes as something that they are not.

Build both against one header. If they aren't meant to share it, take the map out of `maps:`: then each
program has its own.";
    MAP_WITHOUT_ENTRIES = "A305", Failed, "nothing says how many entries a map has",
"The object leaves `max_entries` at 0, which the kernel refuses for this type of map, and the manifest doesn't fill it in.

Set it in the source, or list the map under `maps:` with `max_entries`.";
    SHARED_MAP_UNKNOWN = "A306", Failed, "`maps:` lists a map that no program declares",
"An entry of `maps:` makes the programs that declare a map of that name share it. No program of the set does: the name is
misspelt, or the map was renamed or optimised away. Left alone, programs that should share state would each have
their own, and nobody would notice.

Correct the name, or remove the entry. `bpfkit inspect` lists the maps of each program.";
    MAP_NAME_UNUSABLE = "A307", Failed, "an object has a map with an unusable name",
"A map's name becomes a path under `/sys/fs/bpf/bpfkit`. This one is no C identifier, so it could name a file outside
the set's own directory. No compiler makes such a name: the object was written by hand or tampered with.

Find out where the object comes from. If it is yours, rename the map.";
    INTERFACE_PATTERN = "A308", Usage, "a pattern for interfaces can't be read",
"`interfaces:` takes names and patterns. In a pattern `*` stands for anything, `?` for one character, `[a-z]` for one of
some and `{a,b}` for alternatives. This one isn't complete, often because of a bracket that isn't closed.

Correct the pattern.";
    HOST_TEMPLATE_FAILED = "A309", Usage, "a template can't be filled in on this host",
"The interfaces, `netns:`, `cgroup:` and globals of a bundle may hold templates over `host.…`, which are filled in on
the host that applies. This one names something that the host doesn't have, or fails for another reason.

The hosts' facts are `host.name`, `host.arch` and `host.kernel`; everything else comes from `vars:`.";
    CHAIN_UNRUNNABLE = "A310", Failed, "a chain can't run as the bundle has it",
"The chain is empty, names a program that the bundle doesn't hold, or names one whose type the hook can't run. `bpfkit check`
and `bpfkit bundle` refuse such a chain, so this bundle was made by something else, or the manifest was changed
since the bundle was made.

Bundle the set again.";
    MAP_NAME_COLLIDES = "A311", Failed, "a map's name stands for something else where maps are pinned",
"A program's own maps are pinned under their names, and bpffs takes no dots: global variables in `.data` and `.bss` are pinned
as `_data` and `_bss`, those in `.data.hot` as `_data_hot`. A map that the program itself calls `_bss`, or a section
like `.data.a.b` that can't be told from `.data.a_b`, would be taken for the other: counters would be read
as variables, or thrown away as left over.

Rename the map or the section: no `_data` or `_bss` at the front, and no further dot in a section's name.";
    NO_TCX = "A312", Failed, "this kernel has no tcx",
"The chain says `attach: tcx`, and the kernel answers that it has no such hook: tcx came with Linux 6.6, and a kernel can be built
without it. bpfkit asks the kernel and compares no versions.

Say `attach: clsact`, which hangs the chain on a filter of the `clsact` qdisc, or leave `attach` out: then tcx is taken where it
is, and clsact elsewhere.";
    NO_CGROUP = "A313", Failed, "a cgroup doesn't exist",
"A chain's `cgroup:` is the path of a directory of the unified cgroup hierarchy (cgroup2), such as `/sys/fs/cgroup/system.slice`.
It isn't there, or is something else: on hosts with both hierarchies, those of version 1 look alike and have no hooks.

Create it, correct the path, or apply after the service that owns it has started. `stat -f -c %T PATH` says `cgroup2fs` of one.";
    XDP_TAKEN = "A320", Failed, "somebody else's program holds the hook",
"XDP runs one program per interface, and somebody else's is attached. Replacing it would take down whatever it does,
so bpfkit never does that: the message names the program and what is known of its owner.

Detach it with the tool that attached it (`ip link set dev IF xdp off`, `xdp-loader unload`, Cilium's
configuration), or take the interface out of the chain.";
    SET_HOLDS_HOOK = "A321", Failed, "another set holds the hook",
"XDP runs one program per interface, and another bpfkit set has its chain there. Two sets can't share the hook, since nobody would say in
which order their programs run.

Put the programs into one set, or remove the other one: `bpfkit remove NAME`.";
    FOREIGN_REFUSED = "A322", Failed, "strangers are at the hook, and the manifest refuses them",
"The chain says `foreign: refuse`, and somebody else has a program attached at the same hook. The message names each with
what is known of its owner.

Detach them with the tool that attached them, or say `foreign: keep`: then the chain goes first and they
run after it.";
    MODE_NEEDS_GAP = "A323", Failed, "XDP's mode can't be changed without a gap",
"The chain is live in one mode and the manifest asks for the other. The kernel allows one XDP mode per interface at a time, so the old
chain has to go before the new one can come, and packets in between meet no chain at all. bpfkit
doesn't do that behind your back.

Keep the mode. To change it anyway, take the chain down first (`bpfkit remove NAME`, or the chain out of the manifest
and `bpfkit apply`) and apply again: that is the gap, at a time of your choosing.";
    MAP_SHAPE_CHANGED = "A324", Failed, "a live map has another shape than the programs declare now",
"The map's contents are kept over upgrades. The new programs declare it with another type, key, value, number of entries, flags or
layout, so the old contents don't fit. Throwing them away is a decision for you: blocked addresses, counters and
limits may be in there. Nothing was changed.

Restore the old shape; or give the map a new name, and the old one is unpinned when no program needs it; or, if its
contents may go, `bpfkit remove NAME` and apply again.";
    HOOK_FULL = "A325", Failed, "the hook holds as many programs as the kernel allows",
"tcx holds 63 programs per interface and direction (`bpf_mprog`). Others have taken all places.

A cgroup's hook holds 64. Detach some of them with the tools that attached them; `bpftool net show` and `bpftool cgroup show` list them.";
    FILTER_BLOCKED = "A326", Failed, "a filter of ours can't be the first at the hook",
"With `attach: clsact` a chain is a `cls_bpf` filter of priority 1, so that it runs before the filters of others. All filters of
one priority are of one kind and one protocol, and somebody's filter of another kind has this one; or the interface has the old
`ingress` qdisc, in whose place `clsact` would have to be for `tc/egress`. bpfkit takes nothing away from others.

Give the other filter another priority (`tc filter show dev IF ingress` lists them), or say `attach: tcx`: that hook runs
before all filters.";
    OBJECT_MISDESCRIBED = "A330", Failed, "an object is not what its bundle says it is",
"A set bundle's config describes each object: its digest, programs, maps, globals and license. The object
that is to be loaded is read again and held to that. They differ, so nobody can say what was reviewed and
signed: the description, or the bytes.

Bundle the set again. A bundle that bpfkit wrote never says this.";
    GLOBAL_TEMPLATE = "A331", Failed, "a global can't be rendered on this host",
"The manifest gives a global variable a template with host facts (`{{ host.name }}`), which is filled in on
the host that applies. It names something that this bpfkit doesn't know of the host, or doesn't come to an end.

The facts are `host.name`, `host.arch` and `host.kernel`.";
    NO_GENERATION = "A350", Failed, "there is no such generation",
"Each apply that brought something new is kept on this host as a generation, under a number. The last five are kept,
and always the last two that were meant to stay. The one that was asked for isn't among them, or nothing was kept yet.
`bpfkit remove` forgets all of a set's.

`bpfkit status NAME --generations` lists what can be gone back to.";
    GENERATION_DAMAGED = "A351", Failed, "a kept generation is damaged",
"A generation's file under `/var/lib/bpfkit/<set>/generations` begins with the digest of all that follows. It doesn't hash to
that, is of another format, or isn't a regular file: a disk went bad, somebody changed it, or another version of bpfkit
wrote it. Nothing of it is used: chains and the trust block would come out of it. The digest stops damage, and not root:
`/var/lib/bpfkit` is trusted as a manifest of root's own is.

Go back to another generation, or apply the set anew. What is live isn't touched by this.";
    NOT_KEPT = "A352", Failed, "the way back can't be kept",
"What was applied is kept under `/var/lib/bpfkit/<set>`, so that `bpfkit rollback` and `bpfkit apply --last` have something to go back
to. Writing there failed: the disk is full, mounted read-only, or not ours to write.

As a warning after an apply: the new chains are live, but the next boot restores the generation before. `apply --confirm` refuses
beforehand, since it couldn't keep its promise. `bpfkit remove` refuses as well, and touches no hook: what can't be forgotten would
be back with the next boot. Mend the file system and apply again, which keeps it.";
    GENERATION_PENDING = "A353", Contended, "a generation waits to be confirmed",
"Somebody applied with `--confirm` and has some time to say that all is well; otherwise the generation before is put back.
Another apply in between would be lost with it, or keep what nobody confirmed, so it is refused, whoever makes it.

`bpfkit confirm NAME` keeps what is live, `bpfkit rollback NAME` puts the generation before back at once, `bpfkit remove NAME`
takes the set off; or wait until the time is over.";
    NOTHING_PENDING = "A354", Failed, "there is nothing to confirm",
"`bpfkit confirm` keeps what was applied with `--confirm`. What is live of this set was applied without it, or was confirmed
already. Or the apply was cut off before it had come to its end: then a part of it is live, which nobody meant to keep, and which is
put back when its time is over.

`bpfkit status NAME` shows what is live, and whether it waits.";
    CONFIRMED_TOO_LATE = "A355", Failed, "it was not confirmed in time",
"The time that `apply --confirm` gave is over, or the machine was booted since. The generation before was put back, or is just
being put back; where that fails (its log in `/run/bpfkit` says why), what was not confirmed stays live until somebody puts it back. Another
`apply --confirm` is refused until then.

`bpfkit rollback NAME` puts it back. Go back to it by its number (`bpfkit rollback NAME NUMBER`), or apply again and give it more time.";
    NO_WATCHER = "A356", Failed, "nobody would put it back",
"`apply --confirm` starts a process that outlives it, its terminal and its connection, and puts the generation before back when
nobody confirms. That process could not be started, so nothing was changed: a change that nobody would take back is not
what was asked for.

The cause says why. Without `--confirm` no such process is needed.

As a warning: the process is there, but may not leave the control group of the unit or the login that it was started in, and systemd ends
it with that. Stay logged in until it is confirmed.";
    NO_WAY_BACK = "A357", Failed, "there is nothing to go back to",
"`apply --confirm` promises to put back what is live now. That isn't kept on this host: it was applied by a bpfkit that kept
nothing, the last apply was cut off, or `/var/lib/bpfkit` was lost. Nothing was changed.

Apply what is live once more without `--confirm`: that changes no chain, and keeps it.";
    RESTORE_INCOMPLETE = "A358", Failed, "not every chain could be restored yet",
"`apply --last` runs early in a boot, when some interfaces or network namespaces may not be there yet. Chains of those that are
there were applied; those that a chain names and that are missing have none, and the message lists them. One that is missing
doesn't leave the others bare, as it would in an ordinary apply.

Run it again when they are there: what is live already stays as it is. The unit of `bpfkit systemd install` does so by itself for a while.";
    UNIT_NOT_OURS = "A359", Failed, "a unit of that name is somebody else's",
"`bpfkit systemd install` writes `bpfkit-restore.service`, and `bpfkit systemd remove` removes it; a unit that bpfkit wrote says so in its
first line. The file that is there doesn't, so somebody wrote or changed it, and it is left alone.

Move it away, or put changes into a drop-in (`systemctl edit bpfkit-restore`) and let bpfkit write the unit itself.";

    LINK_NO_ENTRY = "A400", Failed, "an object has no such program",
"The bundle says which function of the object is the program, and the object has no entry program of that
name. Functions in `.text` are subprograms and can't be attached.

Compare `entry:` with the programs that the message lists, and bundle again.";
    LINK_CORE_AMBIGUOUS = "A401", Failed, "this kernel has several types of one name, and they disagree",
"CO-RE looks the object's types up in the kernel by name. Kernels can hold several structs of one name, in
different drivers for instance. They are no problem while they agree on what is asked; here they don't, so
whatever was chosen could read another field than was meant. libbpf refuses this as well.

Say which one is meant: test for it with `bpf_core_type_matches` on a flavour (`struct x___mine`).";
    LINK_CORE_MIXED = "A402", Failed, "one program's accesses fit different types of one name",
"Two accesses through one local type each fit only one of several kernel types of that name, and not the same
one. A loader that resolves each access by itself mixes two layouts and reads foreign memory without any
error; libbpf leaves an instruction that the verifier refuses without saying why.

Give each of the kernel's types a flavour of its own (`struct x___a`, `struct x___b`) and test which is there.";
    LINK_CORE_BROKEN = "A403", Failed, "a CO-RE relocation can't be applied",
"A relocation doesn't fit the object's own types or its instruction, or the kernel's field can't be reached by
the load that was compiled: beyond 32 KiB, or of a size that no load has. The object was damaged, or changed
after it was compiled, or the kernel's type differs too much.

Build the object again; read such a field with `bpf_core_read` or BPF_CORE_READ_BITFIELD.";
    LINK_INSTRUCTION = "A404", Failed, "an instruction of an object makes no sense",
"An instruction calls a place where no function starts, or loads the address of something that the object
doesn't name. A made-up number in such a load would mean whatever file the loader happens to have open, so it
is refused before the kernel sees it. Compilers don't write such instructions.

Build the object again.";
    LINK_TOO_LONG = "A405", Failed, "a program is too long for any verifier",
"The program with all subprograms that it calls has more than a million instructions, which is what the kernel
takes from the privileged at most (BPF_COMPLEXITY_LIMIT_INSNS).

Unroll fewer loops, or split the program into several of a chain.";
    LINK_EXTERN = "A406", Failed, "a program uses kernel symbols, which bpfkit doesn't resolve yet",
"The object calls kernel functions (kfuncs), or reads kernel variables (`__ksym`) or configuration values
(`__kconfig`), by name. The loader has to look those up in the running kernel; bpfkit doesn't yet, and a
program with a guessed number would call something else.

Use helpers and CO-RE instead, or load this program with libbpf.";
    LINK_TOO_MANY_MAPS = "A407", Failed, "a program uses more maps than the kernel allows",
"The kernel lets one program refer to 64 maps (MAX_USED_MAPS), those behind `.rodata`, `.data` and `.bss`
included. It would refuse this one; bpfkit says so before anything is loaded.

Put small maps together: one array or hash of structs costs one place.";
}
