//! Codes of the apply stage: observing, planning, executing.

super::codes! {
    NOT_ROOT = "A001", Failed, "this needs root",
"Loading programs and changing hooks needs the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN,
which in practice means root.

Run the command with sudo. `check`, `build`, `bundle`, `inspect` and `verify` need no root.";
}
