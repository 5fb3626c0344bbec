//! What went wrong at the kernel's edge, in words: what was being done, to what, and the next move.
//!
//! Every variant keeps the kernel's `errno` as its source. Which variant it is, is
//! decided where the call is made, since one number means different things at
//! different calls (`EPERM` of a link update is a lost race, of a load a missing
//! capability).

use std::{fmt, io, path::PathBuf};

use bpfkit_schemas::{Code, Diagnostic, diagnostic::Diagnose, hook::Hook};
use thiserror::Error;

use crate::{execute::StepError, fuse::FuseProblem};

/// One hook of one interface, as messages name it: `xdp of eth0`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spot {
    /// The hook.
    pub hook: Hook,
    /// The interface, by the name that it had when it was last seen.
    pub interface: String,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of `{}`", self.hook, self.interface)
    }
}

/// Why the kernel did not do what it was asked.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The process lacks a capability, or the kernel is locked down.
    #[error("the kernel does not permit {doing}")]
    NotPermitted {
        /// What was being done, to what.
        doing: String,
        /// The errno.
        source: io::Error,
    },
    /// A call failed in a way that has no words of its own.
    #[error("{doing} failed")]
    Call {
        /// What was being done, to what.
        doing: String,
        /// The errno.
        source: io::Error,
    },
    /// The kernel has no such command, hook or flag.
    #[error("this kernel can't do {what}")]
    Unsupported {
        /// What it can't, with the version that brought it.
        what: String,
        /// The errno.
        source: io::Error,
    },
    /// bpffs isn't there and can't be mounted, or something else is in its place.
    #[error("no bpffs at `{path}`")]
    NoBpffs {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A pin could not be made, moved, opened or removed.
    #[error("{doing} `{path}` failed")]
    Pin {
        /// "pinning", "opening", …
        doing: &'static str,
        /// The path in bpffs.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A pin is not what its name says.
    #[error("`{path}` is {found}, not {wanted}")]
    WrongPin {
        /// The path in bpffs.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// The verifier refused a chain.
    #[error("the kernel would not load {what}: {reason}")]
    Verifier {
        /// The chain: hook and interface.
        what: String,
        /// The verifier's last meaningful line, with the C line that it is about.
        reason: String,
        /// The few log lines before it that show how it came to that.
        excerpt: Vec<String>,
        /// How many lines of the log are not in the excerpt.
        omitted: usize,
        /// The file that holds the whole log; none where it could not be written.
        log: Option<PathBuf>,
        /// The errno.
        source: io::Error,
    },
    /// Somebody else holds the hook.
    #[error("{spot} is taken")]
    Busy {
        /// The hook.
        spot: Spot,
        /// Who holds it, where that is known: program name, pin, process.
        owner: Option<String>,
        /// The errno.
        source: io::Error,
    },
    /// The hook is not as it was when the plan was made.
    #[error("{what} was changed by somebody else meanwhile")]
    Changed {
        /// The hook, or the link.
        what: String,
        /// The errno.
        source: io::Error,
    },
    /// The interface has gone away.
    #[error("the interface of {spot} is gone")]
    InterfaceGone {
        /// The hook.
        spot: Spot,
        /// The errno.
        source: io::Error,
    },
    /// The driver can't run XDP as asked.
    #[error("{spot} can't run a native XDP program")]
    NoNativeXdp {
        /// The hook.
        spot: Spot,
        /// The errno.
        source: io::Error,
    },
    /// The chain's programs can't be fused.
    #[error("{what} can't be made")]
    Unfusable {
        /// The chain, or the map.
        what: String,
        /// Every reason.
        problems: Vec<FuseProblem>,
    },
    /// A network namespace can't be entered.
    #[error("the network namespace `{path}` can't be entered")]
    Netns {
        /// Its path.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// Another bpfkit is at work on this host.
    #[error("another bpfkit is changing this host{}", holder.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The process that took the lock last.
        holder: Option<u32>,
    },
}

impl KernelError {
    /// The call `doing` failed: not permitted, or just failed.
    pub(crate) fn call(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { doing, source },
            Some(libc::ENOSYS) => Self::Unsupported { what: doing, source },
            _ => Self::Call { doing, source },
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NotPermitted { .. } => Code::NOT_PERMITTED,
            Self::Call { .. } => Code::KERNEL_CALL,
            Self::Unsupported { .. } => Code::KERNEL_TOO_OLD,
            Self::NoBpffs { .. } => Code::NO_BPFFS,
            Self::Pin { .. } => Code::PIN_FAILED,
            Self::WrongPin { .. } => Code::WRONG_PIN,
            Self::Verifier { .. } => Code::VERIFIER_REFUSED,
            Self::Busy { .. } => Code::HOOK_TAKEN,
            Self::Changed { .. } => Code::HOOK_CHANGED,
            Self::InterfaceGone { .. } => Code::INTERFACE_GONE,
            Self::NoNativeXdp { .. } => Code::NO_NATIVE_XDP,
            Self::Unfusable { problems, .. } => problems.first().map_or(Code::FUSE_EMPTY, FuseProblem::code),
            Self::Netns { .. } => Code::NO_NETNS,
            Self::Locked { .. } => Code::HOST_LOCKED,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotPermitted { .. } => {
                "run as root; in a container, CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN are needed"
                    .to_owned()
            }
            Self::Unsupported { .. } => "`bpftool feature probe` lists what this kernel can do".to_owned(),
            Self::NoBpffs { path, .. } => format!("mount it: `mount -t bpf bpf {}`", path.display()),
            Self::Pin { path, .. } | Self::WrongPin { path, .. } => {
                format!("see what lies there with `bpftool -f` or `ls -l {}`", path.display())
            }
            Self::Verifier { log: Some(log), .. } => format!("the verifier's whole log is in {}", log.display()),
            Self::Call { .. } | Self::Unfusable { .. } | Self::Verifier { log: None, .. } => return None,
            Self::Busy { .. } => {
                "remove the other program with the tool that put it there, then apply again".to_owned()
            }
            Self::Changed { .. } => "nothing was overwritten; run `bpfkit apply` again".to_owned(),
            Self::InterfaceGone { .. } => {
                "bring the interface back, or take it out of the chain, and apply again".to_owned()
            }
            Self::NoNativeXdp { .. } => "say `mode: generic` for this chain, or use another interface".to_owned(),
            Self::Netns { path, .. } => format!("create it (`ip netns add …`) or correct `netns: {}`", path.display()),
            Self::Locked { .. } => "wait for it to finish, then run the command again".to_owned(),
        })
    }
}

impl StepError for KernelError {
    /// A lost race, or a hook that is taken: what is live isn't what the plan was made for.
    fn is_contended(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Busy { .. } | Self::InterfaceGone { .. })
    }
}

impl Diagnose for KernelError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        if let Self::Unfusable { problems, .. } = self
            && !problems.is_empty()
        {
            return problems.iter().flat_map(Diagnose::diagnose).collect();
        }
        let mut diagnostic = Diagnostic::error(self.code(), self.to_string());
        if let Some(source) = std::error::Error::source(self) {
            diagnostic = diagnostic.caused_by(source);
        }
        match self {
            Self::Verifier { excerpt, omitted, .. } => {
                diagnostic.notes.extend(excerpt.iter().cloned());
                if *omitted > 0 {
                    diagnostic.notes.push(format!("{omitted} more lines of the log are left out"));
                }
            }
            Self::Busy { owner: Some(owner), .. } => diagnostic.notes.push(format!("held by {owner}")),
            _ => {}
        }
        if let Some(help) = self.help() {
            diagnostic = diagnostic.help(help);
        }
        vec![diagnostic]
    }
}
