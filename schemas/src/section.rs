//! libbpf's section names and what they mean.
//!
//! Turns what a programmer wrote in `SEC("…")` into a program type. Pure.
//!
//! The table is `section_defs` of libbpf's `libbpf.c` as of July 2026 (1.8 in
//! the making, a superset of 1.7), in its order, and so are the rules: a name
//! ending in `+` stands for itself and for `name/anything`, every other one for
//! itself alone, and a `?` in front means "don't load unless asked". Older
//! libbpfs also took `xdp_foo` and `classifier/foo`; libbpf 1.0 stopped that, and
//! here the manifest's `type:` says what such a section is.

use crate::object::ProgramType;

/// What a section name says about the program in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SectionMeaning<'a> {
    /// The program's type.
    pub kind: ProgramType,
    /// The `expected_attach_type` that libbpf loads it with (`enum bpf_attach_type`), 0 where it doesn't matter.
    pub attach_type: u32,
    /// Whether it may sleep (`.s`, `syscall`).
    pub sleepable: bool,
    /// Whether it reads multi-buffer XDP packets (`xdp.frags`).
    pub frags: bool,
    /// Whether it is loaded unless somebody says otherwise: there is no `?` in front.
    pub autoload: bool,
    /// The table's name for it, without `?` and without the rest: `kprobe`, `xdp.frags`, `tc/ingress`.
    pub family: &'static str,
    /// What follows `family/`: `do_unlinkat` of `kprobe/do_unlinkat`; `None` where nothing does.
    pub extra: Option<&'a str>,
}

/// What the section named `section` holds; `None` where libbpf knows no such name.
pub fn meaning(section: &str) -> Option<SectionMeaning<'_>> {
    let name = section.strip_prefix('?');
    let autoload = name.is_none();
    let name = name.unwrap_or(section);
    TABLE.iter().find_map(|row| {
        let extra = match row.name.strip_suffix('+') {
            None => (name == row.name).then_some(None),
            Some(family) => match name.strip_prefix(family)? {
                "" => Some(None),
                rest => rest.strip_prefix('/').map(Some),
            },
        }?;
        Some(SectionMeaning {
            kind: row.kind,
            attach_type: row.attach_type,
            sleepable: row.flags == SLEEPABLE,
            frags: row.flags == FRAGS,
            autoload,
            family: row.name.strip_suffix('+').unwrap_or(row.name),
            extra,
        })
    })
}

struct Row {
    name: &'static str,
    kind: ProgramType,
    attach_type: u32,
    flags: Flags,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Flags {
    Plain,
    Sleepable,
    Frags,
}

const PLAIN: Flags = Flags::Plain;
const SLEEPABLE: Flags = Flags::Sleepable;
const FRAGS: Flags = Flags::Frags;

const fn row(name: &'static str, kind: ProgramType, attach_type: u32, flags: Flags) -> Row {
    Row { name, kind, attach_type, flags }
}

#[rustfmt::skip]
const TABLE: &[Row] = {
    use ProgramType::{CgroupDevice, CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockopt, CgroupSysctl, Ext, FlowDissector, Kprobe, LircMode2, Lsm, LwtIn, LwtOut, LwtSeg6local, LwtXmit, Netfilter, PerfEvent, RawTracepoint, RawTracepointWritable, SchedAct, SchedCls, SkLookup, SkMsg, SkReuseport, SkSkb, SockOps, SocketFilter, StructOps, Syscall, Tracepoint, Tracing, Xdp};
    &[
        row("socket", SocketFilter, 0, PLAIN),
        row("sk_reuseport/migrate", SkReuseport, 40, PLAIN), // BPF_SK_REUSEPORT_SELECT_OR_MIGRATE
        row("sk_reuseport", SkReuseport, 39, PLAIN), // BPF_SK_REUSEPORT_SELECT
        row("kprobe+", Kprobe, 0, PLAIN),
        row("uprobe+", Kprobe, 0, PLAIN),
        row("uprobe.s+", Kprobe, 0, SLEEPABLE),
        row("kretprobe+", Kprobe, 0, PLAIN),
        row("uretprobe+", Kprobe, 0, PLAIN),
        row("uretprobe.s+", Kprobe, 0, SLEEPABLE),
        row("kprobe.multi+", Kprobe, 42, PLAIN), // BPF_TRACE_KPROBE_MULTI
        row("kretprobe.multi+", Kprobe, 42, PLAIN), // BPF_TRACE_KPROBE_MULTI
        row("kprobe.session+", Kprobe, 56, PLAIN), // BPF_TRACE_KPROBE_SESSION
        row("uprobe.multi+", Kprobe, 48, PLAIN), // BPF_TRACE_UPROBE_MULTI
        row("uretprobe.multi+", Kprobe, 48, PLAIN), // BPF_TRACE_UPROBE_MULTI
        row("uprobe.session+", Kprobe, 57, PLAIN), // BPF_TRACE_UPROBE_SESSION
        row("uprobe.multi.s+", Kprobe, 48, SLEEPABLE), // BPF_TRACE_UPROBE_MULTI
        row("uretprobe.multi.s+", Kprobe, 48, SLEEPABLE), // BPF_TRACE_UPROBE_MULTI
        row("uprobe.session.s+", Kprobe, 57, SLEEPABLE), // BPF_TRACE_UPROBE_SESSION
        row("ksyscall+", Kprobe, 0, PLAIN),
        row("kretsyscall+", Kprobe, 0, PLAIN),
        row("usdt+", Kprobe, 0, PLAIN),
        row("usdt.s+", Kprobe, 0, SLEEPABLE),
        row("tc/ingress", SchedCls, 46, PLAIN), // BPF_TCX_INGRESS
        row("tc/egress", SchedCls, 47, PLAIN), // BPF_TCX_EGRESS
        row("tcx/ingress", SchedCls, 46, PLAIN), // BPF_TCX_INGRESS
        row("tcx/egress", SchedCls, 47, PLAIN), // BPF_TCX_EGRESS
        row("tc", SchedCls, 0, PLAIN),
        row("classifier", SchedCls, 0, PLAIN),
        row("action", SchedAct, 0, PLAIN),
        row("netkit/primary", SchedCls, 54, PLAIN), // BPF_NETKIT_PRIMARY
        row("netkit/peer", SchedCls, 55, PLAIN), // BPF_NETKIT_PEER
        row("tracepoint+", Tracepoint, 0, PLAIN),
        row("tp+", Tracepoint, 0, PLAIN),
        row("tracepoint.s+", Tracepoint, 0, SLEEPABLE),
        row("tp.s+", Tracepoint, 0, SLEEPABLE),
        row("raw_tracepoint+", RawTracepoint, 0, PLAIN),
        row("raw_tp+", RawTracepoint, 0, PLAIN),
        row("raw_tracepoint.s+", RawTracepoint, 0, SLEEPABLE),
        row("raw_tp.s+", RawTracepoint, 0, SLEEPABLE),
        row("raw_tracepoint.w+", RawTracepointWritable, 0, PLAIN),
        row("raw_tp.w+", RawTracepointWritable, 0, PLAIN),
        row("tp_btf+", Tracing, 23, PLAIN), // BPF_TRACE_RAW_TP
        row("tp_btf.s+", Tracing, 23, SLEEPABLE), // BPF_TRACE_RAW_TP
        row("fentry+", Tracing, 24, PLAIN), // BPF_TRACE_FENTRY
        row("fmod_ret+", Tracing, 26, PLAIN), // BPF_MODIFY_RETURN
        row("fexit+", Tracing, 25, PLAIN), // BPF_TRACE_FEXIT
        row("fentry.s+", Tracing, 24, SLEEPABLE), // BPF_TRACE_FENTRY
        row("fmod_ret.s+", Tracing, 26, SLEEPABLE), // BPF_MODIFY_RETURN
        row("fexit.s+", Tracing, 25, SLEEPABLE), // BPF_TRACE_FEXIT
        row("fsession+", Tracing, 58, PLAIN), // BPF_TRACE_FSESSION
        row("fsession.s+", Tracing, 58, SLEEPABLE), // BPF_TRACE_FSESSION
        row("fsession.multi+", Tracing, 61, PLAIN), // BPF_TRACE_FSESSION_MULTI
        row("fsession.multi.s+", Tracing, 61, SLEEPABLE), // BPF_TRACE_FSESSION_MULTI
        row("fentry.multi+", Tracing, 59, PLAIN), // BPF_TRACE_FENTRY_MULTI
        row("fexit.multi+", Tracing, 60, PLAIN), // BPF_TRACE_FEXIT_MULTI
        row("fentry.multi.s+", Tracing, 59, SLEEPABLE), // BPF_TRACE_FENTRY_MULTI
        row("fexit.multi.s+", Tracing, 60, SLEEPABLE), // BPF_TRACE_FEXIT_MULTI
        row("freplace+", Ext, 0, PLAIN),
        row("lsm+", Lsm, 27, PLAIN), // BPF_LSM_MAC
        row("lsm.s+", Lsm, 27, SLEEPABLE), // BPF_LSM_MAC
        row("lsm_cgroup+", Lsm, 43, PLAIN), // BPF_LSM_CGROUP
        row("iter+", Tracing, 28, PLAIN), // BPF_TRACE_ITER
        row("iter.s+", Tracing, 28, SLEEPABLE), // BPF_TRACE_ITER
        row("syscall", Syscall, 0, SLEEPABLE),
        row("xdp.frags/devmap", Xdp, 33, FRAGS), // BPF_XDP_DEVMAP
        row("xdp/devmap", Xdp, 33, PLAIN), // BPF_XDP_DEVMAP
        row("xdp.frags/cpumap", Xdp, 35, FRAGS), // BPF_XDP_CPUMAP
        row("xdp/cpumap", Xdp, 35, PLAIN), // BPF_XDP_CPUMAP
        row("xdp.frags", Xdp, 37, FRAGS), // BPF_XDP
        row("xdp", Xdp, 37, PLAIN), // BPF_XDP
        row("perf_event", PerfEvent, 0, PLAIN),
        row("lwt_in", LwtIn, 0, PLAIN),
        row("lwt_out", LwtOut, 0, PLAIN),
        row("lwt_xmit", LwtXmit, 0, PLAIN),
        row("lwt_seg6local", LwtSeg6local, 0, PLAIN),
        row("sockops", SockOps, 3, PLAIN), // BPF_CGROUP_SOCK_OPS
        row("sk_skb/stream_parser", SkSkb, 4, PLAIN), // BPF_SK_SKB_STREAM_PARSER
        row("sk_skb/stream_verdict", SkSkb, 5, PLAIN), // BPF_SK_SKB_STREAM_VERDICT
        row("sk_skb/verdict", SkSkb, 38, PLAIN), // BPF_SK_SKB_VERDICT
        row("sk_skb", SkSkb, 0, PLAIN),
        row("sk_msg", SkMsg, 7, PLAIN), // BPF_SK_MSG_VERDICT
        row("lirc_mode2", LircMode2, 16, PLAIN), // BPF_LIRC_MODE2
        row("flow_dissector", FlowDissector, 17, PLAIN), // BPF_FLOW_DISSECTOR
        row("cgroup_skb/ingress", CgroupSkb, 0, PLAIN), // BPF_CGROUP_INET_INGRESS
        row("cgroup_skb/egress", CgroupSkb, 1, PLAIN), // BPF_CGROUP_INET_EGRESS
        row("cgroup/skb", CgroupSkb, 0, PLAIN),
        row("cgroup/sock_create", CgroupSock, 2, PLAIN), // BPF_CGROUP_INET_SOCK_CREATE
        row("cgroup/sock_release", CgroupSock, 34, PLAIN), // BPF_CGROUP_INET_SOCK_RELEASE
        row("cgroup/sock", CgroupSock, 2, PLAIN), // BPF_CGROUP_INET_SOCK_CREATE
        row("cgroup/post_bind4", CgroupSock, 12, PLAIN), // BPF_CGROUP_INET4_POST_BIND
        row("cgroup/post_bind6", CgroupSock, 13, PLAIN), // BPF_CGROUP_INET6_POST_BIND
        row("cgroup/bind4", CgroupSockAddr, 8, PLAIN), // BPF_CGROUP_INET4_BIND
        row("cgroup/bind6", CgroupSockAddr, 9, PLAIN), // BPF_CGROUP_INET6_BIND
        row("cgroup/connect4", CgroupSockAddr, 10, PLAIN), // BPF_CGROUP_INET4_CONNECT
        row("cgroup/connect6", CgroupSockAddr, 11, PLAIN), // BPF_CGROUP_INET6_CONNECT
        row("cgroup/connect_unix", CgroupSockAddr, 49, PLAIN), // BPF_CGROUP_UNIX_CONNECT
        row("cgroup/sendmsg4", CgroupSockAddr, 14, PLAIN), // BPF_CGROUP_UDP4_SENDMSG
        row("cgroup/sendmsg6", CgroupSockAddr, 15, PLAIN), // BPF_CGROUP_UDP6_SENDMSG
        row("cgroup/sendmsg_unix", CgroupSockAddr, 50, PLAIN), // BPF_CGROUP_UNIX_SENDMSG
        row("cgroup/recvmsg4", CgroupSockAddr, 19, PLAIN), // BPF_CGROUP_UDP4_RECVMSG
        row("cgroup/recvmsg6", CgroupSockAddr, 20, PLAIN), // BPF_CGROUP_UDP6_RECVMSG
        row("cgroup/recvmsg_unix", CgroupSockAddr, 51, PLAIN), // BPF_CGROUP_UNIX_RECVMSG
        row("cgroup/getpeername4", CgroupSockAddr, 29, PLAIN), // BPF_CGROUP_INET4_GETPEERNAME
        row("cgroup/getpeername6", CgroupSockAddr, 30, PLAIN), // BPF_CGROUP_INET6_GETPEERNAME
        row("cgroup/getpeername_unix", CgroupSockAddr, 52, PLAIN), // BPF_CGROUP_UNIX_GETPEERNAME
        row("cgroup/getsockname4", CgroupSockAddr, 31, PLAIN), // BPF_CGROUP_INET4_GETSOCKNAME
        row("cgroup/getsockname6", CgroupSockAddr, 32, PLAIN), // BPF_CGROUP_INET6_GETSOCKNAME
        row("cgroup/getsockname_unix", CgroupSockAddr, 53, PLAIN), // BPF_CGROUP_UNIX_GETSOCKNAME
        row("cgroup/sysctl", CgroupSysctl, 18, PLAIN), // BPF_CGROUP_SYSCTL
        row("cgroup/getsockopt", CgroupSockopt, 21, PLAIN), // BPF_CGROUP_GETSOCKOPT
        row("cgroup/setsockopt", CgroupSockopt, 22, PLAIN), // BPF_CGROUP_SETSOCKOPT
        row("cgroup/dev", CgroupDevice, 6, PLAIN), // BPF_CGROUP_DEVICE
        row("struct_ops+", StructOps, 0, PLAIN),
        row("struct_ops.s+", StructOps, 0, SLEEPABLE),
        row("sk_lookup", SkLookup, 36, PLAIN), // BPF_SK_LOOKUP
        row("netfilter", Netfilter, 45, PLAIN), // BPF_NETFILTER
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The 73 names that people write, as `name type attach_type`.
    const USUAL: &str = "
        socket SocketFilter 0
        sk_reuseport/migrate SkReuseport 40
        sk_reuseport SkReuseport 39
        kprobe/do_unlinkat Kprobe 0
        kretprobe/do_unlinkat Kprobe 0
        uprobe//bin/sh:main Kprobe 0
        uretprobe//bin/sh:main Kprobe 0
        uprobe.s//bin/sh:main Kprobe 0
        kprobe.multi/tcp_* Kprobe 42
        kretprobe.multi/tcp_* Kprobe 42
        uprobe.multi//bin/sh:m* Kprobe 48
        ksyscall/openat Kprobe 0
        kretsyscall/openat Kprobe 0
        usdt Kprobe 0
        tc SchedCls 0
        tc/ingress SchedCls 46
        tc/egress SchedCls 47
        tcx/ingress SchedCls 46
        tcx/egress SchedCls 47
        classifier SchedCls 0
        action SchedAct 0
        netkit/primary SchedCls 54
        netkit/peer SchedCls 55
        tracepoint/syscalls/sys_enter_openat Tracepoint 0
        tp/sched/sched_switch Tracepoint 0
        raw_tracepoint/sched_switch RawTracepoint 0
        raw_tp/sched_switch RawTracepoint 0
        raw_tp.w/sched_switch RawTracepointWritable 0
        tp_btf/sched_switch Tracing 23
        fentry/tcp_v4_connect Tracing 24
        fexit/tcp_v4_connect Tracing 25
        fmod_ret/security_file_open Tracing 26
        fentry.s/tcp_v4_connect Tracing 24
        freplace/func Ext 0
        lsm/file_open Lsm 27
        lsm.s/file_open Lsm 27
        lsm_cgroup/socket_bind Lsm 43
        iter/task Tracing 28
        iter.s/task Tracing 28
        syscall Syscall 0
        xdp Xdp 37
        xdp.frags Xdp 37
        xdp/devmap Xdp 33
        xdp.frags/devmap Xdp 33
        xdp/cpumap Xdp 35
        xdp.frags/cpumap Xdp 35
        ?xdp Xdp 37
        perf_event PerfEvent 0
        lwt_in LwtIn 0
        lwt_out LwtOut 0
        lwt_xmit LwtXmit 0
        lwt_seg6local LwtSeg6local 0
        sockops SockOps 3
        sk_skb/stream_parser SkSkb 4
        sk_skb/stream_verdict SkSkb 5
        sk_skb SkSkb 0
        sk_msg SkMsg 7
        lirc_mode2 LircMode2 16
        flow_dissector FlowDissector 17
        cgroup_skb/ingress CgroupSkb 0
        cgroup_skb/egress CgroupSkb 1
        cgroup/skb CgroupSkb 0
        cgroup/sock CgroupSock 2
        cgroup/connect4 CgroupSockAddr 10
        cgroup/connect_unix CgroupSockAddr 49
        cgroup/sysctl CgroupSysctl 18
        cgroup/getsockopt CgroupSockopt 21
        cgroup/dev CgroupDevice 6
        struct_ops StructOps 0
        struct_ops/ssthresh StructOps 0
        struct_ops.s/init StructOps 0
        sk_lookup SkLookup 36
        netfilter Netfilter 45";

    #[test]
    fn the_usual_names_mean_what_libbpf_says() {
        let lines: Vec<_> = USUAL.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 73);
        for line in lines {
            let [name, kind, attach] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let found = meaning(name).unwrap_or_else(|| panic!("{name} is unknown"));
            assert_eq!(
                (format!("{:?}", found.kind).as_str(), found.attach_type.to_string().as_str()),
                (kind, attach),
                "{name}"
            );
        }
    }

    #[test]
    fn every_row_of_the_table_means_itself() {
        for row in TABLE {
            let name = row.name.trim_end_matches('+');
            let found = meaning(name).unwrap();
            assert_eq!(
                (found.family, found.kind, found.attach_type, found.extra),
                (name, row.kind, row.attach_type, None)
            );
            let below = format!("{name}/below");
            let is_family = row.name.ends_with('+');
            assert_eq!(meaning(&below).map(|found| found.extra), is_family.then_some(Some("below")), "{below}");
        }
    }

    #[test]
    fn marks_in_the_name_are_told_apart() {
        let xdp = meaning("xdp").unwrap();
        assert!(xdp.autoload && !xdp.frags && !xdp.sleepable);
        assert!(!meaning("?xdp").unwrap().autoload);
        assert!(meaning("xdp.frags").unwrap().frags && meaning("xdp.frags/cpumap").unwrap().frags);
        assert!(meaning("lsm.s/file_open").unwrap().sleepable && meaning("syscall").unwrap().sleepable);
        assert_eq!(meaning("uprobe//bin/sh:main").unwrap().extra, Some("/bin/sh:main"));
        assert_eq!(meaning("usdt.s/x").unwrap().family, "usdt.s");
    }

    #[test]
    fn names_that_libbpf_gave_up_mean_nothing() {
        for name in [
            "xdp_ratelimit",
            "xdp/foo",
            "classifier/x",
            "tc/foo",
            "socket1",
            "kprobex",
            ".text",
            "",
            "?",
            "XDP",
            "xdp.frag",
        ] {
            assert_eq!(meaning(name), None, "{name}");
        }
    }
}
