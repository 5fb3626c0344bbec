//! What an eBPF object holds, as crates other than its reader may know it.
//!
//! `bpfkit-objects` fills these in from the ELF; `compiler-driver` checks them,
//! `bundler` writes them into bundles, `cli` shows them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::Digest;

/// The kernel's program types, by libbpf's names for them (`libbpf_bpf_prog_type_str`).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant is the kernel's BPF_PROG_TYPE_… of the same name")]
pub enum ProgramType {
    SocketFilter,
    Kprobe,
    SchedCls,
    SchedAct,
    Tracepoint,
    Xdp,
    PerfEvent,
    CgroupSkb,
    CgroupSock,
    LwtIn,
    LwtOut,
    LwtXmit,
    SockOps,
    SkSkb,
    CgroupDevice,
    SkMsg,
    RawTracepoint,
    CgroupSockAddr,
    LwtSeg6local,
    SkReuseport,
    FlowDissector,
    CgroupSysctl,
    RawTracepointWritable,
    CgroupSockopt,
    Tracing,
    StructOps,
    Ext,
    Lsm,
    SkLookup,
    Syscall,
    Netfilter,
    LircMode2,
}

impl ProgramType {
    /// Every type, in the kernel's order.
    pub const ALL: [Self; 32] = [
        Self::SocketFilter,
        Self::Kprobe,
        Self::SchedCls,
        Self::SchedAct,
        Self::Tracepoint,
        Self::Xdp,
        Self::PerfEvent,
        Self::CgroupSkb,
        Self::CgroupSock,
        Self::LwtIn,
        Self::LwtOut,
        Self::LwtXmit,
        Self::SockOps,
        Self::SkSkb,
        Self::CgroupDevice,
        Self::SkMsg,
        Self::RawTracepoint,
        Self::CgroupSockAddr,
        Self::LwtSeg6local,
        Self::SkReuseport,
        Self::FlowDissector,
        Self::CgroupSysctl,
        Self::RawTracepointWritable,
        Self::CgroupSockopt,
        Self::Tracing,
        Self::StructOps,
        Self::Ext,
        Self::Lsm,
        Self::SkLookup,
        Self::Syscall,
        Self::Netfilter,
        Self::LircMode2,
    ];

    /// Finds a type by the name that [`Self::as_str`] gives it.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The name that people use and that the manifest's `type:` accepts.
    ///
    /// The kernel's own name, but for `tc`, which nobody calls `sched_cls`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SocketFilter => "socket_filter",
            Self::Kprobe => "kprobe",
            Self::SchedCls => "tc",
            Self::SchedAct => "action",
            Self::Tracepoint => "tracepoint",
            Self::Xdp => "xdp",
            Self::PerfEvent => "perf_event",
            Self::CgroupSkb => "cgroup_skb",
            Self::CgroupSock => "cgroup_sock",
            Self::LwtIn => "lwt_in",
            Self::LwtOut => "lwt_out",
            Self::LwtXmit => "lwt_xmit",
            Self::SockOps => "sock_ops",
            Self::SkSkb => "sk_skb",
            Self::CgroupDevice => "cgroup_device",
            Self::SkMsg => "sk_msg",
            Self::RawTracepoint => "raw_tracepoint",
            Self::CgroupSockAddr => "cgroup_sock_addr",
            Self::LwtSeg6local => "lwt_seg6local",
            Self::SkReuseport => "sk_reuseport",
            Self::FlowDissector => "flow_dissector",
            Self::CgroupSysctl => "cgroup_sysctl",
            Self::RawTracepointWritable => "raw_tracepoint_writable",
            Self::CgroupSockopt => "cgroup_sockopt",
            Self::Tracing => "tracing",
            Self::StructOps => "struct_ops",
            Self::Ext => "ext",
            Self::Lsm => "lsm",
            Self::SkLookup => "sk_lookup",
            Self::Syscall => "syscall",
            Self::Netfilter => "netfilter",
            Self::LircMode2 => "lirc_mode2",
        }
    }
}

impl fmt::Display for ProgramType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The byte order of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endian {
    /// bpfel.
    Little,
    /// bpfeb.
    Big,
}

/// What one ELF object holds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectDescriptor {
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its byte order.
    pub endian: Endian,
    /// The text of the `license` section, empty where there is none.
    pub license: String,
    /// The number of CO-RE relocations; an object without any reads no kernel struct by name.
    pub core_relocations: u32,
    /// Its entry programs, in file order.
    pub programs: Vec<ProgramDescriptor>,
    /// Its maps, those behind global variables included, in file order.
    pub maps: Vec<MapDescriptor>,
    /// Its global variables, in section and offset order.
    pub globals: Vec<GlobalDescriptor>,
}

/// One entry program of an object.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramDescriptor {
    /// The function's name.
    pub function: String,
    /// The section that it stands in, as written (`xdp.frags`, `tc`).
    pub section: String,
    /// What the section name means; `None` where libbpf knows no such section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProgramType>,
    /// Whether the section asks for multi-buffer XDP (`xdp.frags`).
    pub frags: bool,
    /// Its own instructions (8 bytes each), without the subprograms it calls.
    pub instructions: u32,
}

/// One map of an object.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapDescriptor {
    /// Its name: a C identifier, or `.rodata`, `.data`, `.bss` for global variables.
    pub name: String,
    /// The kernel's map type number (`enum bpf_map_type`).
    pub map_type: u32,
    /// The same by bpfman's and the kernel's name, `hash`, `lru_hash`, `ringbuf`; a number where it has none.
    pub kind: String,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// The number of entries; 0 where the object leaves it open.
    pub max_entries: u32,
    /// `BPF_F_*` creation flags.
    pub flags: u32,
    /// Whether the object asks to pin it by name (`LIBBPF_PIN_BY_NAME`): then it is the set's.
    pub pinned_by_name: bool,
    /// Whether it holds global variables.
    pub internal: bool,
}

/// One global variable.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalDescriptor {
    /// The variable's name.
    pub name: String,
    /// The section that holds it: `.rodata`, `.data`, `.bss` or `.rodata.x`.
    pub section: String,
    /// Its C type, for people: `const volatile __u32`.
    pub c_type: String,
    /// Bytes.
    pub size: u32,
}
