//! Hooks and verdicts: where the kernel calls a chain and what its programs may answer.

mod cgroup;

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::cgroup::CgroupHook;
use crate::{
    names::{BadName, nearest},
    object::ProgramType,
};

/// Where the kernel calls programs. The manifest's `hook:`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Hook {
    /// `xdp`: in the driver (native) or after it (generic), before the stack sees the packet.
    Xdp,
    /// `tc/ingress`: as packets come in.
    TcIngress,
    /// `tc/egress`: as packets go out.
    TcEgress,
    /// One of a cgroup's.
    Cgroup(CgroupHook),
}

impl Hook {
    /// The hooks of interfaces.
    pub const OF_INTERFACES: [Self; 3] = [Self::Xdp, Self::TcIngress, Self::TcEgress];

    /// Every hook that chains can be attached to.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OF_INTERFACES.into_iter().chain(CgroupHook::ALL.iter().copied().map(Self::Cgroup))
    }

    /// The manifest's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::TcIngress => "tc/ingress",
            Self::TcEgress => "tc/egress",
            Self::Cgroup(hook) => hook.as_str(),
        }
    }

    /// The spelling as one path component (bpffs, file names): `tc-ingress`.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::TcIngress => "tc-ingress",
            Self::TcEgress => "tc-egress",
            Self::Cgroup(hook) => hook.slug(),
        }
    }

    /// Whether it is one of the two of tc, at which there are two ways to [attach](Attach).
    pub fn is_tc(self) -> bool {
        matches!(self, Self::TcIngress | Self::TcEgress)
    }

    /// Whether it is a cgroup's and not an interface's.
    pub fn is_cgroup(self) -> bool {
        matches!(self, Self::Cgroup(_))
    }

    /// The type of program that this hook runs.
    pub fn program_type(self) -> ProgramType {
        match self {
            Self::Xdp => ProgramType::Xdp,
            Self::TcIngress | Self::TcEgress => ProgramType::SchedCls,
            Self::Cgroup(hook) => hook.program_type(),
        }
    }

    /// Whether the hook holds one program alone, so that two owners can't share it.
    pub fn is_exclusive(self) -> bool {
        self == Self::Xdp
    }

    /// The verdicts that have names here, with their numbers (`linux/bpf.h`: `enum xdp_action`,
    /// `linux/pkt_cls.h`: `TC_ACT_*`).
    pub fn verdicts(self) -> &'static [(&'static str, i32)] {
        match self {
            Self::Xdp => &[("aborted", 0), ("drop", 1), ("pass", 2), ("tx", 3), ("redirect", 4)],
            Self::TcIngress | Self::TcEgress => &[
                ("unspec", -1),
                ("ok", 0),
                ("reclassify", 1),
                ("shot", 2),
                ("pipe", 3),
                ("stolen", 4),
                ("queued", 5),
                ("repeat", 6),
                ("redirect", 7),
                ("trap", 8),
            ],
            // `BPF_PROG_CGROUP_INET_EGRESS_RUN_ARRAY`: the second bit tells TCP of congestion.
            Self::Cgroup(CgroupHook::SkbEgress) => &[("deny", 0), ("allow", 1), ("deny_cn", 2), ("allow_cn", 3)],
            // `BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE`: low ports need no capability.
            Self::Cgroup(CgroupHook::Bind4 | CgroupHook::Bind6) => &[("deny", 0), ("allow", 1), ("allow_no_cap", 3)],
            // 0 makes the call fail with EPERM, or drops the packet; 1 lets it go on.
            Self::Cgroup(_) => &[("deny", 0), ("allow", 1)],
        }
    }

    /// The verdicts after which a chain goes on, where the manifest says nothing.
    pub fn default_proceed_on(self) -> ProceedOn {
        match self {
            Self::Xdp => ProceedOn::from_iter([2]),
            Self::TcIngress | Self::TcEgress => ProceedOn::from_iter([-1, 0, 3]),
            // What these answer is no verdict: all of them run.
            Self::Cgroup(CgroupHook::Sockops | CgroupHook::SockRelease) => ProceedOn::from_iter([0, 1]),
            // Both let it go on.
            Self::Cgroup(CgroupHook::SkbEgress | CgroupHook::Bind4 | CgroupHook::Bind6) => ProceedOn::from_iter([1, 3]),
            Self::Cgroup(_) => ProceedOn::from_iter([1]),
        }
    }

    /// The name of verdict `number`, or the number itself.
    pub fn verdict_name(self, number: i32) -> String {
        self.verdicts()
            .iter()
            .find(|(_, n)| *n == number)
            .map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
    }

    /// Reads a verdict: one of this hook's names, or any 32-bit number.
    pub fn verdict(self, text: &str) -> Result<i32, BadName> {
        if let Some((_, number)) = self.verdicts().iter().find(|(name, _)| *name == text) {
            return Ok(*number);
        }
        text.parse::<i32>().map_err(|_| {
            let names: Vec<_> = self.verdicts().iter().map(|(name, _)| *name).collect();
            BadName::new(text, "verdict", format!("`{self}` knows {}, or a number", names.join(", ")))
        })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Hook {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::all().find(|hook| hook.as_str() == text).ok_or_else(|| {
            let all = || {
                let of_cgroups: Vec<_> = CgroupHook::ALL.iter().map(|hook| hook.as_str()).collect();
                format!("the hooks are xdp, tc/ingress, tc/egress, and of cgroups {}", of_cgroups.join(", "))
            };
            let near = nearest(text, Self::all().map(Self::as_str));
            let why = near.map_or_else(all, |near| format!("did you mean `{near}`?"));
            BadName::new(text, "hook", why)
        })
    }
}

impl TryFrom<String> for Hook {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Hook> for String {
    fn from(hook: Hook) -> Self {
        hook.as_str().to_owned()
    }
}

/// The verdicts after which a chain goes on to its next program.
///
/// Compared as 32 bits, as the kernel does: -1 and `0xffff_ffff` are one verdict.
/// An empty set means that the chain never goes on, which is legal but useless
/// anywhere but at the end; `check` warns.
///
/// Never more than [`ProceedOn::MOST`]: each is a comparison in front of every packet.
#[derive(Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<i32>", into = "BTreeSet<i32>")]
pub struct ProceedOn(BTreeSet<i32>);

impl TryFrom<BTreeSet<i32>> for ProceedOn {
    type Error = BadName;
    fn try_from(verdicts: BTreeSet<i32>) -> Result<Self, BadName> {
        if verdicts.len() > Self::MOST {
            let why = format!("at most {} verdicts are allowed", Self::MOST);
            return Err(BadName::new(&format!("{} verdicts", verdicts.len()), "proceed_on", why));
        }
        Ok(Self(verdicts))
    }
}

impl From<ProceedOn> for BTreeSet<i32> {
    fn from(proceed_on: ProceedOn) -> Self {
        proceed_on.0
    }
}

impl ProceedOn {
    /// The most verdicts that one program's `proceed_on` may list.
    pub const MOST: usize = 64;

    /// Whether a program that answered `verdict` is followed by the next one.
    pub fn contains(&self, verdict: i32) -> bool {
        self.0.contains(&verdict)
    }

    /// The verdicts, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.iter().copied()
    }

    /// Whether there is no such verdict.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The verdicts by this hook's names, for people: `pass, 17`.
    pub fn describe(&self, hook: Hook) -> String {
        self.iter().map(|n| hook.verdict_name(n)).collect::<Vec<_>>().join(", ")
    }
}

/// Takes the first [`ProceedOn::MOST`]; whoever reads text checks the number first.
impl FromIterator<i32> for ProceedOn {
    fn from_iter<I: IntoIterator<Item = i32>>(verdicts: I) -> Self {
        Self(verdicts.into_iter().take(Self::MOST).collect())
    }
}

/// Where XDP runs. Never changed silently.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver (`XDP_FLAGS_DRV_MODE`).
    #[default]
    Native,
    /// In the stack, after the driver made an skb (`XDP_FLAGS_SKB_MODE`): works everywhere, costs more.
    Generic,
}

impl Mode {
    /// The manifest's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a chain hangs on a tc hook.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// By a link in the hook's tcx list (Linux 6.6 and later): nobody else can take it away by netlink.
    #[default]
    Tcx,
    /// As a `cls_bpf` filter of the `clsact` qdisc (Linux 4.5 and later), where older tools see it. Runs after
    /// everything that is in the tcx list.
    Clsact,
}

impl Attach {
    /// The manifest's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to do about programs at the hook that no set of ours put there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Foreign {
    /// Leave them where they are and run beside them.
    Keep,
    /// Refuse to plan, naming the owner.
    Refuse,
}

impl Foreign {
    /// What holds where the manifest says nothing: an exclusive hook refuses, a shared one keeps.
    pub fn default_for(hook: Hook) -> Self {
        if hook.is_exclusive() { Self::Refuse } else { Self::Keep }
    }

    /// The manifest's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Refuse => "refuse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_goes_on_after_every_verdict_of_a_cgroup_that_lets_go_on() {
        for (hook, wanted) in [
            (CgroupHook::SkbEgress, "allow, allow_cn"),
            (CgroupHook::Bind4, "allow, allow_no_cap"),
            (CgroupHook::Bind6, "allow, allow_no_cap"),
            (CgroupHook::SockRelease, "deny, allow"),
            (CgroupHook::SkbIngress, "allow"),
        ] {
            let hook = Hook::Cgroup(hook);
            assert_eq!(hook.default_proceed_on().describe(hook), wanted, "{hook}");
        }
    }
}
