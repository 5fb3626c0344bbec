//! Codes of the manifest stage: reading and checking the YAML, and the command line around it.

super::codes! {
    NOT_YAML = "M001", Usage, "the manifest is not YAML",
"The file can't be read as YAML 1.2: a tab where spaces belong, a quote that is not closed, bad
indentation, a control character, or a second document. The message points at the place where
the reader gave up, which is often just after the mistake.";
    YAML_TOO_LARGE = "M002", Usage, "the manifest is too large",
"A manifest may have 1 MiB of text, 20,000 values and 32 levels of nesting, with aliases counted as
often as they are used. Real manifests are far below that; a file beyond it is a mistake (another
file than you meant) or an attack on the reader (an alias bomb).";
    DUPLICATE_KEY = "M003", Usage, "a key is written twice",
"YAML would let the second value win in silence. In a file that says who is trusted and what runs
in front of every packet, that is never what was meant.

Remove one of the two.";
    UNKNOWN_KEY = "M004", Usage, "there is no such key",
"Every key that bpfkit accepts does something, so a key that it doesn't know is an error and never
skipped: a misspelt `trust` field that is silently ignored is a hole.

The message suggests the nearest key. `bpfkit schema` prints the JSON Schema, with which an editor
completes keys as you type.";
    PLANNED_KEY = "M005", Usage, "this key is planned, not built",
"The key is part of bpfkit's design but this version does not act on it yet. It is refused rather
than accepted and ignored.

Remove it, or use a version that has it.";
    MISSING_KEY = "M006", Usage, "a key is missing",
"A mapping lacks a key that it can't do without. The message points at the mapping and names the
key. `bpfkit schema` says which keys each mapping needs.";
    WRONG_SHAPE = "M007", Usage, "the value has the wrong shape",
"A list stands where one value belongs, a mapping where a list belongs, or a key has no value at
all. A key with nothing after it is YAML's null: give it a value or remove the key.";
    BAD_VALUE = "M008", Usage, "the value is not one that the key takes",
"The value has the right shape but breaks the rule of its key: a name with letters that names can't
have, a number out of range, a word that is none of the choices. The message says the rule.";
    BARE_TEMPLATE = "M009", Usage, "a template without quotes",
"`key: {{ vars.x }}` is not a template but YAML: `{` starts a mapping. The manifest is read as YAML
first, so that every value keeps its line, and only then are scalar values rendered.

Put the whole value in double quotes: `key: \"{{ vars.x }}\"`.";
    TEMPLATE = "M010", Usage, "a template can't be rendered",
"The template names a variable that nobody defined, or is not valid (minijinja's syntax, which is
Jinja's). Variables come from `vars:` (`{{ vars.name }}`), overridden by `--set name=value`, and
from the host (`{{ host.name }}`, `host.arch`, `host.kernel`). Expressions alone are read, with the filters `lower`,
`upper`, `trim` and `default`: nothing with which a short text could make an endless one.";
    HOST_TEMPLATE = "M011", Usage, "host facts are not allowed here",
"What is bundled and signed must not change with the host. So `host.…` may stand in interfaces, netns,
cgroup and globals alone; everything else is the same everywhere.

Use a variable (`vars:` and `--set`), which is rendered before signing.";
    UNDECLARED_PROGRAM = "M012", Usage, "a chain runs a program that nobody declares",
"Each name in a chain's `programs:` must be the `name:` of an entry of the top-level `programs:`.
The message suggests the nearest one.";
    DUPLICATE_NAME = "M013", Usage, "two things have one name",
"Programs, maps, repos and keys are known by their names, so a name may stand once in each list. A
program may stand once in a chain too: to run one twice, declare it under two names.";
    PROGRAM_ORIGIN = "M014", Usage, "a program needs exactly one origin",
"Each program comes from one of `source:` (a C file), `object:` (a ready ELF) or `image:` (an OCI
reference). None or several is an error: bpfkit doesn't guess which was meant.";
    CHAIN_OVERLAP = "M015", Usage, "two chains claim the same hook",
"Two chains of one set name the same hook of the same interface. One hook of one interface has one
chain, so that the order is written in one place. Merge their `programs:`.";
    FOREIGN_KEEP = "M016", Usage, "a foreign program can't be kept on this hook",
"The xdp hook holds one program alone, so ours can't run beside somebody else's there. `foreign: keep`
is for hooks that several owners share (tc). On xdp, `refuse` (the default) makes `plan` stop and
name the owner.";
    UNKNOWN_REPO = "M017", Usage, "the reference names no repo",
"`REPO/path` needs a repo of that name under `repos:` (or in the host's repos.yml). A registry is
written with its host (`registry.example/path:tag`). An unknown first part is never taken for
Docker Hub: that is how one name comes to mean another's program.";
    TRUST_MEANINGLESS = "M018", Usage, "the trust block can't mean anything",
"An empty list of keys, a threshold of zero or above the number of keys, a key that isn't declared,
a scope without roles: each would either let everything in or keep everything out without saying
so. Such a block is refused where it is read, before any signature is looked at.";
    MANIFEST_VERSION = "M019", Usage, "this manifest version is not known",
"`version:` is the version of the manifest's format. This bpfkit reads version 1.
A higher number comes from a newer bpfkit: upgrade, or rewrite the manifest for version 1.";
    UNKNOWN_VARIABLE = "M020", Usage, "--set names no variable",
"`--set name=value` overrides a variable that the manifest declares under `vars:`. A name that is not
there is a mistake in one of the two places, so it is an error.";
    EMPTY_MANIFEST = "M021", Usage, "the manifest is empty",
"The file has no content, or comments alone. `bpfkit init` writes a project that works.";
    YAML_FEATURE = "M022", Usage, "this YAML feature is not read",
"Merge keys and tags change what a text means in ways that a reader of the manifest does not see, and
YAML 1.2 dropped the former. Anchors and aliases for whole values are fine.";
    MODE_NOT_XDP = "M023", Usage, "only xdp has a mode",
"`mode: native` and `mode: generic` say where XDP runs. Chains on other hooks have no such choice.";
    UNUSED = "M024", Usage, "something is declared and not used",
"A warning: a program that no chain runs in a set that has chains, or a `proceed_on` after which
nothing can follow. It is legal, and often a typo.";
    PATH_OUTSIDE = "M025", Usage, "a path leaves the project",
"A set is a folder: sources and objects are named relative to the manifest, without `..` and not
absolutely. That keeps builds the same in every checkout, and lets `apply` say which file changed.";
    UNREADABLE = "M026", Usage, "the file can't be read",
"The manifest, or a file that it names, is not there, is not a regular file, or may not be read. The
message has the path and the system's reason.";
    USAGE = "M027", Usage, "the command line can't be understood",
"An argument has the wrong form: a reference without a tag or digest, a `--set` without `=`, a file
that is no plan. The message says what was expected. `--help` lists what each command takes.";
    LOCKED = "M028", Failed, "bpfkit.lock would change",
"`bpfkit.lock` says which compiler, which kernel BTF and which images a build was made with. With
`--locked` (as CI should run it) nothing else is accepted: the artifact is then made from what was
reviewed.

Run the same command without `--locked`, look at the change, and commit it.";
    EXISTS = "M029", Failed, "the file is there already",
"`init` writes a new project and never overwrites: a manifest, a source or a key that is there may be
all that is left of somebody's work. Choose another folder, or remove the file.";
    NOT_BUNDLED = "M030", Failed, "there is no bundle yet",
"`sign`, `push`, `verify` and `apply` without a reference work on what `bpfkit bundle` made last, and
nothing was bundled in this target folder.

Run `bpfkit bundle` first, or give a reference.";
    SEVERAL_REPOS = "M031", Usage, "the manifest has several repos, or none",
"`push` without `--to` goes to the manifest's only repo. Where there are several, say which with
`--to NAME`; where there is none, declare one under `repos:`.";
    SOURCES_CHANGED = "M032", Failed, "the sources changed since they were bundled",
"`apply` never compiles: programs come from the bundle. Files that went into it are different now, so
what would run is not what the folder says.

Run `bpfkit bundle` and `bpfkit sign` again (or `bpfkit dev`, which does it all).";
    NOT_IN_BUNDLE = "M033", Failed, "the bundle lacks a program of the manifest",
"The manifest declares a program that was not there when the bundle was made. `apply` takes programs
from the bundle alone.

Run `bpfkit bundle` and `bpfkit sign` again.";
    UNWRITABLE = "M034", Failed, "a file can't be written",
"A file that the command makes (a project's first files, `bpfkit.lock`, what lies in `.bpfkit`) can't be
written. The message has the path and the system's reason: a folder that is missing or belongs to another
user, a full or read-only disk. Nothing that was there was changed.";
    ATTACH_NOT_TC = "M035", Usage, "only tc chains have two ways to attach",
"`attach: tcx` and `attach: clsact` say how a chain hangs on `tc/ingress` or `tc/egress`: by a link in the
kernel's tcx list, or as a filter that older tools can see. On other hooks there is one way.

Take the key out.";
    CHAIN_TARGET = "M036", Usage, "a chain isn't attached to what its hook is of",
"`xdp`, `tc/ingress` and `tc/egress` are hooks of interfaces: their chains say `interfaces:`, and `netns:` where these are in
another network namespace. The hooks of cgroups (`cgroup/connect4`, `cgroup_skb/ingress`, …) are called for the processes of a
cgroup and of those below it, on whatever interface: their chains say `cgroup:`, the path of one.

Give the key that the hook needs, and take the other one out.";
}
