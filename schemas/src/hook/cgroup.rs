//! The hooks of cgroups: what each is called, and which programs it runs.
//!
//! The numbers are those of `enum bpf_attach_type` (`linux/bpf.h`), the names libbpf's section
//! names; where those have no slash (`sockops`) or another word (`cgroup/dev`), one of their kind.

use crate::object::ProgramType;

/// Declares each hook once: variant, the manifest's spelling, the same as one path component, number, type of program.
macro_rules! hooks {
    ($($(#[$doc:meta])* $variant:ident $name:literal $slug:literal $number:literal $kind:ident;)*) => {
        /// Where the kernel calls programs on behalf of the processes of a cgroup.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
        pub enum CgroupHook {
            $($(#[$doc])* $variant,)*
        }

        impl CgroupHook {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The manifest's spelling.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The spelling as one path component.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)* }
            }

            /// The kernel's number for it (`enum bpf_attach_type`).
            pub fn attach_type(self) -> u32 {
                match self { $(Self::$variant => $number,)* }
            }

            /// The type of program that it runs.
            pub fn program_type(self) -> ProgramType {
                match self { $(Self::$variant => ProgramType::$kind,)* }
            }
        }
    };
}

hooks! {
    /// `cgroup_skb/ingress`: packets that come in to sockets of the cgroup.
    SkbIngress "cgroup_skb/ingress" "cgroup_skb-ingress" 0 CgroupSkb;
    /// `cgroup_skb/egress`: packets that go out of sockets of the cgroup.
    SkbEgress "cgroup_skb/egress" "cgroup_skb-egress" 1 CgroupSkb;
    /// `cgroup/sock_create`: a socket is made.
    SockCreate "cgroup/sock_create" "cgroup-sock_create" 2 CgroupSock;
    /// `cgroup/sock_release`: a socket is closed.
    SockRelease "cgroup/sock_release" "cgroup-sock_release" 34 CgroupSock;
    /// `cgroup/post_bind4`: an IPv4 socket was bound.
    PostBind4 "cgroup/post_bind4" "cgroup-post_bind4" 12 CgroupSock;
    /// `cgroup/post_bind6`: an IPv6 socket was bound.
    PostBind6 "cgroup/post_bind6" "cgroup-post_bind6" 13 CgroupSock;
    /// `cgroup/bind4`: `bind` of an IPv4 socket.
    Bind4 "cgroup/bind4" "cgroup-bind4" 8 CgroupSockAddr;
    /// `cgroup/bind6`: `bind` of an IPv6 socket.
    Bind6 "cgroup/bind6" "cgroup-bind6" 9 CgroupSockAddr;
    /// `cgroup/connect4`: `connect` of an IPv4 socket.
    Connect4 "cgroup/connect4" "cgroup-connect4" 10 CgroupSockAddr;
    /// `cgroup/connect6`: `connect` of an IPv6 socket.
    Connect6 "cgroup/connect6" "cgroup-connect6" 11 CgroupSockAddr;
    /// `cgroup/sendmsg4`: `sendmsg` of an unconnected IPv4 socket.
    Sendmsg4 "cgroup/sendmsg4" "cgroup-sendmsg4" 14 CgroupSockAddr;
    /// `cgroup/sendmsg6`: `sendmsg` of an unconnected IPv6 socket.
    Sendmsg6 "cgroup/sendmsg6" "cgroup-sendmsg6" 15 CgroupSockAddr;
    /// `cgroup/recvmsg4`: `recvmsg` of an unconnected IPv4 socket.
    Recvmsg4 "cgroup/recvmsg4" "cgroup-recvmsg4" 19 CgroupSockAddr;
    /// `cgroup/recvmsg6`: `recvmsg` of an unconnected IPv6 socket.
    Recvmsg6 "cgroup/recvmsg6" "cgroup-recvmsg6" 20 CgroupSockAddr;
    /// `cgroup/getpeername4`: `getpeername` of an IPv4 socket.
    Getpeername4 "cgroup/getpeername4" "cgroup-getpeername4" 29 CgroupSockAddr;
    /// `cgroup/getpeername6`: `getpeername` of an IPv6 socket.
    Getpeername6 "cgroup/getpeername6" "cgroup-getpeername6" 30 CgroupSockAddr;
    /// `cgroup/getsockname4`: `getsockname` of an IPv4 socket.
    Getsockname4 "cgroup/getsockname4" "cgroup-getsockname4" 31 CgroupSockAddr;
    /// `cgroup/getsockname6`: `getsockname` of an IPv6 socket.
    Getsockname6 "cgroup/getsockname6" "cgroup-getsockname6" 32 CgroupSockAddr;
    /// `cgroup/sockops`: a TCP connection changes its state.
    Sockops "cgroup/sockops" "cgroup-sockops" 3 SockOps;
    /// `cgroup/device`: a device file is made or opened.
    Device "cgroup/device" "cgroup-device" 6 CgroupDevice;
    /// `cgroup/sysctl`: a sysctl is read or written.
    Sysctl "cgroup/sysctl" "cgroup-sysctl" 18 CgroupSysctl;
    /// `cgroup/getsockopt`: `getsockopt`.
    Getsockopt "cgroup/getsockopt" "cgroup-getsockopt" 21 CgroupSockopt;
    /// `cgroup/setsockopt`: `setsockopt`.
    Setsockopt "cgroup/setsockopt" "cgroup-setsockopt" 22 CgroupSockopt;
}
