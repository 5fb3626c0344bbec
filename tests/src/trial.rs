//! What must hold on each hook, written once: for this machine's own kernel and for those in virtual machines.
//!
//! A trial puts versions of a set on one place of one host, by reference, and judges what
//! becomes of packets and of the kernel. Where the kernel lacks something, the first `apply`
//! must be refused with a code and leave the host as it was: that is an outcome, too, which the
//! caller compares with what is expected of that kernel. Anything else that is
//! not as it should be is a panic.

mod change;
mod order;
mod refusal;

use serde_json::Value;

use crate::{
    host::{Host, Output, wait_until},
    kit::{Kit, Version},
    set::Hop,
};

/// A hook with an engine: where trials are held.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What it is called in the table.
    pub name: &'static str,
    /// How the chain is realised.
    pub engine: &'static str,
    /// The hook, as the manifest writes it.
    pub hook: &'static str,
    /// More of the chain's keys, each with its comma.
    pub more: &'static str,
    /// A verdict after which the chain goes on.
    pub on: i32,
    /// A verdict after which it doesn't; the packet is dropped.
    pub off: i32,
}

/// Native XDP.
pub const XDP_NATIVE: Place = Place { name: "xdp, native", engine: "fused", hook: "xdp", more: "", on: 2, off: 1 };
/// Generic XDP.
pub const XDP_GENERIC: Place =
    Place { name: "xdp, generic", engine: "fused", hook: "xdp", more: "mode: generic,", on: 2, off: 1 };
/// tc on the way in.
pub const TC_INGRESS: Place =
    Place { name: "tc/ingress", engine: "fused", hook: "tc/ingress", more: "", on: 0, off: 2 };
/// tc on the way out.
pub const TC_EGRESS: Place = Place { name: "tc/egress", engine: "fused", hook: "tc/egress", more: "", on: 3, off: 2 };
/// tc on the way in, by a filter of clsact also where the kernel has tcx.
pub const CLSACT_INGRESS: Place =
    Place { name: "tc/ingress, clsact", engine: "fused", hook: "tc/ingress", more: "attach: clsact,", on: 0, off: 2 };
/// tc on the way out, in the same way.
pub const CLSACT_EGRESS: Place =
    Place { name: "tc/egress, clsact", engine: "fused", hook: "tc/egress", more: "attach: clsact,", on: 3, off: 2 };

/// The places that each kernel is tried at. tc is on tcx or on clsact there, whichever the kernel has; clsact where there
/// is tcx, too, is tried by the live tests.
pub const PLACES: [Place; 4] = [XDP_NATIVE, XDP_GENERIC, TC_INGRESS, TC_EGRESS];

/// One promise, tried at a place.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// The promise, as the table says it.
    pub name: &'static str,
    /// Whether it is for this place.
    pub at: fn(&Place) -> bool,
    /// The versions of the set that it needs.
    pub versions: fn(&Place) -> Vec<Version>,
    /// Holds it.
    pub run: fn(&Stage<'_>) -> Result<(), Stop>,
}

/// All trials, in the table's order.
pub const TRIALS: [Trial; 7] = [
    order::FOLLOWS_ITS_MANIFEST,
    change::UNDER_TRAFFIC,
    change::DRIFT,
    refusal::VERIFIER,
    refusal::STRANGER,
    refusal::PEER,
    refusal::WITHOUT_BTF,
];

pub use self::{order::FOLLOWS_ITS_MANIFEST, refusal::PEER};

/// Each trial at each of its places, in the table's order.
pub fn all() -> impl Iterator<Item = (Trial, Place)> {
    PLACES
        .into_iter()
        .flat_map(|place| TRIALS.into_iter().filter(move |trial| (trial.at)(&place)).map(move |it| (it, place)))
}

/// Why a trial ended before its end, without anything being wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stop {
    /// `apply` said that this kernel can't carry it, and left the host as it was.
    Refused {
        /// The error's code.
        code: String,
        /// What it said, in a line.
        reason: String,
    },
    /// The trial needs what the kernel lacks; in its own words.
    Skipped(String),
}

/// A trial's host, with its kit and its place.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The host.
    pub host: &'a Host,
    /// What it applies.
    pub kit: &'a Kit,
    /// Where.
    pub place: &'a Place,
}

impl Stage<'_> {
    /// Applies a version, for the first time on this host: the kernel may lack something.
    ///
    /// # Panics
    ///
    /// If a refusal has no code, or changed anything.
    #[track_caller]
    pub fn first(&self, tag: &str) -> Result<(), Stop> {
        let before = self.host.state();
        let said = self.try_apply(tag);
        if said.code == Some(0) {
            return Ok(());
        }
        // Refused by the plan, or by the kernel at the hook and put back.
        assert!(matches!(said.code, Some(1 | 5)), "{said:?}");
        let refused = refusal_of(&said);
        self.forget_the_lock();
        assert_eq!(self.host.state(), before, "refused ({refused:?}), and the host isn't as it was");
        Err(refused)
    }

    /// Applies a version; it must succeed.
    #[track_caller]
    pub fn apply(&self, tag: &str) -> Output {
        self.host.run(&format!("bpfkit apply {}", self.kit.reference(self.host.set(), tag))).exits(0)
    }

    /// Tries to apply a version, and says how that went, as JSON.
    #[track_caller]
    pub fn try_apply(&self, tag: &str) -> Output {
        self.host.run(&format!("bpfkit apply --json {}", self.kit.reference(self.host.set(), tag)))
    }

    /// Sends `count` packets past the place.
    #[track_caller]
    pub fn packets(&self, count: u32) {
        if self.place.hook == "tc/egress" {
            self.host.send(count);
        } else {
            self.host.receive(count);
        }
    }

    /// The numbers of the programs that one packet met, in hexadecimal.
    #[track_caller]
    pub fn trail(&self) -> String {
        let map = if self.place.hook == "xdp" { "trail" } else { "tc_trail" };
        let zero = format!("bpftool map update pinned $pins/maps/{map} key 0 0 0 0 value 0 0 0 0 0 0 0 0");
        self.host.run(&zero).exits(0);
        self.packets(1);
        let mut met = 0;
        wait_until(5, || {
            met = self.host.counter(&format!("maps/{map}"));
            met != 0
        });
        format!("{met:x}")
    }

    /// Removes the set, and holds the host to having nothing of it.
    #[track_caller]
    fn removed(&self) {
        self.host.run("bpfkit remove $set").exits(0);
        self.host.run("rmdir /sys/fs/bpf/bpfkit 2>/dev/null");
        let empty = |footprint: &crate::host::Footprint| {
            footprint.pins.is_empty() && (footprint.programs, footprint.maps, footprint.links) == (0, 0, 0)
        };
        wait_until(5, || empty(&self.host.footprint()));
        let left = self.host.footprint();
        assert!(empty(&left), "`remove` leaves {left:?}");
        self.host.run("bpfkit status").exits(0).says(&["no set is live"]);
    }

    /// An `apply` that only looks leaves a lock behind in a folder that it made for it.
    fn forget_the_lock(&self) {
        self.host.run("rm -f /run/bpfkit/lock; rmdir /run/bpfkit 2>/dev/null");
    }
}

/// A chain at the place, as a version.
fn version(place: &Place, tag: &'static str, hops: &[Hop]) -> Version {
    Version { tag, hook: place.hook, more: place.more, hops: hops.to_vec() }
}

/// The first problem of a command that failed with `--json`.
#[track_caller]
fn refusal_of(said: &Output) -> Stop {
    let told = said.json();
    let problem = told.get("problems").and_then(|problems| problems.get(0)).cloned().unwrap_or_default();
    let text = |key: &str| problem.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (code, reason) = (text("code"), text("title"));
    assert!(!code.is_empty() && !reason.is_empty(), "no coded problem: {}{}", said.stdout, said.stderr);
    Stop::Refused { code, reason }
}
