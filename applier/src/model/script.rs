//! One script for the model and for a real kernel: played on both, the transcripts must be equal.
//!
//! A script is lines. `#` starts a comment.
//!
//! ```text
//! apply xdp e0: guard, meter; tc/ingress e0: meter
//! remove
//! detach xdp e0               # somebody detaches our link, or deletes our filter
//! unpin xdp e0                # somebody removes our link's pin, and the link goes with it
//! unpin-held xdp e0           # the same, while another process holds the link
//! unpin-map meter/counts      # or blocklist, for a shared one
//! foreign tc/ingress e0 other # somebody attaches `other`, last
//! foreign-gone tc/ingress e0 other
//! filter tc/ingress e0 other  # somebody adds a filter, last
//! filter-gone tc/ingress e0 other
//! take tc/ingress e0 other    # somebody puts a program into our filter
//! ```
//!
//! The transcript says, after each line, what was planned, how it went and what is live
//! then, without ids, revisions and digests, in which two kernels may differ.

use std::{fmt::Write as _, path::PathBuf};

use bpfkit_schemas::hook::{Attach, Hook};
use thiserror::Error;

use crate::{
    desired::Desired,
    execute::{Kernel, execute},
    live::{Attachment, HookPoint, LiveState, MapKey, Pin, Qdisc},
    plan::{HookStep, Plan, plan, remove},
};

/// Something that somebody else does to the host.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the fields are the hook, the name and the place in question")]
pub enum Disturbance {
    /// Attaches a program as number `place` at the hook, or last.
    AddForeign { point: HookPoint, name: String, place: usize },
    /// Detaches it.
    RemoveForeign { point: HookPoint, name: String },
    /// Attaches a filter as number `place` of the hook's filters, or last; makes the qdisc if there is none.
    AddFilter { point: HookPoint, name: String, place: usize },
    /// Puts a program of its own into our filter.
    TakeFilter { point: HookPoint, name: String },
    /// Detaches our link (`BPF_LINK_DETACH`), or deletes our filter.
    DetachOurs { point: HookPoint },
    /// Removes our link's pin, which is the last that holds the link.
    UnpinOurs { point: HookPoint },
    /// Removes our link's pin. An attached link is held by somebody else and lives on.
    UnpinHeld { point: HookPoint },
    /// Removes a map's pin.
    UnpinMap { key: MapKey },
    /// Removes an interface.
    RemoveInterface { namespace: u64, index: u32 },
    /// Makes our chain's record unreadable.
    DamageRecord { point: HookPoint },
    /// Leaves something in the set's directory.
    Litter { path: PathBuf },
}

/// A host that a script can be played on.
pub trait ScriptHost {
    /// Its kernel.
    type Kernel: Kernel;
    /// The kernel, and where programs come from.
    fn kernel(&mut self) -> (&mut Self::Kernel, &<Self::Kernel as Kernel>::Bundle);
    /// The chains of an `apply` line (`xdp e0: guard, meter; ...`), expanded to this host.
    fn desired(&mut self, chains: &str) -> Result<Desired, String>;
    /// The point of a hook of an interface that is named in a script.
    fn point(&mut self, hook: Hook, interface: &str) -> Result<HookPoint, String>;
    /// Observes the set that scripts are about, with the points of `desired` and of every hook named before.
    fn observe(&mut self, desired: Option<&Desired>) -> Result<LiveState, String>;
    /// Lets somebody else do something.
    fn disturb(&mut self, disturbance: &Disturbance) -> Result<(), String>;
}

/// Why a script can't be played.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
#[error("line {line}: {why}")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// Plays `script` on `host` and returns the transcript.
pub fn play<H: ScriptHost>(host: &mut H, script: &str) -> Result<String, ScriptError> {
    let mut transcript = String::new();
    for (number, line) in script.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let said = one(host, line).map_err(|why| ScriptError { line: number + 1, why })?;
        let _ = writeln!(transcript, "> {line}\n{said}");
    }
    Ok(transcript)
}

fn one<H: ScriptHost>(host: &mut H, line: &str) -> Result<String, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match verb {
        "apply" => {
            let desired = host.desired(rest)?;
            let live = host.observe(Some(&desired))?;
            let mut said = match plan(&desired, &live) {
                Ok(plan) => carry_out(host, &plan),
                Err(refused) => {
                    let codes: Vec<_> = refused.problems.iter().map(|problem| problem.code().to_string()).collect();
                    format!("refused {}\n", codes.join(", "))
                }
            };
            said.push_str(&state(&host.observe(Some(&desired))?));
            Ok(said)
        }
        "remove" => {
            let live = host.observe(None)?;
            let mut said = carry_out(host, &remove(&live));
            said.push_str(&state(&host.observe(None)?));
            Ok(said)
        }
        _ => {
            let disturbance = disturbance(host, verb, rest)?;
            host.disturb(&disturbance)?;
            Ok(state(&host.observe(None)?))
        }
    }
}

fn disturbance<H: ScriptHost>(host: &mut H, verb: &str, rest: &str) -> Result<Disturbance, String> {
    if verb == "unpin-map" {
        return Ok(Disturbance::UnpinMap { key: map_key(rest)? });
    }
    let mut words = rest.split_whitespace();
    let hook: Hook = words.next().unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    let point = host.point(hook, words.next().unwrap_or_default())?;
    let name = || words.clone().next().map(str::to_owned).ok_or_else(|| "which program?".to_owned());
    match verb {
        "detach" => Ok(Disturbance::DetachOurs { point }),
        "unpin" => Ok(Disturbance::UnpinOurs { point }),
        "unpin-held" => Ok(Disturbance::UnpinHeld { point }),
        "foreign" => Ok(Disturbance::AddForeign { point, name: name()?, place: usize::MAX }),
        "filter" => Ok(Disturbance::AddFilter { point, name: name()?, place: usize::MAX }),
        "take" => Ok(Disturbance::TakeFilter { point, name: name()? }),
        "foreign-gone" | "filter-gone" => Ok(Disturbance::RemoveForeign { point, name: name()? }),
        _ => Err(format!("`{verb}` is no verb of scripts")),
    }
}

fn map_key(text: &str) -> Result<MapKey, String> {
    match text.split_once('/') {
        Some((program, map)) => {
            Ok(MapKey::Private(program.parse().map_err(|error| format!("{error}"))?, map.to_owned()))
        }
        None => Ok(MapKey::Shared(text.parse().map_err(|error| format!("{error}"))?)),
    }
}

fn carry_out<H: ScriptHost>(host: &mut H, plan: &Plan) -> String {
    let mut said = String::new();
    for map in &plan.maps {
        let _ = writeln!(said, "map {}: {:?}", map.key, map.because);
    }
    for hook in &plan.hooks {
        let steps: Vec<_> = hook
            .steps
            .iter()
            .map(|step| match step {
                HookStep::Pin { .. } => "pin",
                HookStep::Drop { .. } => "drop",
                HookStep::Attach { .. } => "attach",
                HookStep::Replace { .. } => "replace",
                HookStep::Detach { .. } => "detach",
            })
            .collect();
        let _ = writeln!(said, "{} {}: {}", hook.point.hook, hook.interface.name, steps.join(", "));
    }
    let (kernel, bundle) = host.kernel();
    let outcome = execute(plan, bundle, kernel);
    match outcome.stopped {
        None => said.push_str("done\n"),
        Some(stopped) => {
            let _ = writeln!(said, "stopped: could not {}: {}", stopped.step, stopped.cause);
        }
    }
    said
}

/// What is live, without what two kernels may differ in.
fn state(live: &LiveState) -> String {
    let mut said = String::new();
    for (point, at) in &live.points {
        let _ = write!(said, "  {} {}:", point.hook, at.interface.name);
        for ours in at.ours.iter().chain(&at.twin) {
            let programs: Vec<_> = ours
                .record
                .read()
                .map_or_else(Vec::new, |record| record.programs.iter().map(|p| p.name.to_string()).collect());
            let _ = write!(said, " [{}]", programs.join(", "));
            if ours.attach(point.hook) == Some(Attach::Clsact) {
                said.push_str(" by clsact");
            }
            if ours.attachment == Attachment::Detached {
                said.push_str(" detached");
            }
            if ours.pin == Pin::Gone {
                said.push_str(" unpinned");
            }
        }
        if let Some(lost) = &at.lost {
            let programs = lost.record.read().map_or(0, |record| record.programs.len());
            let _ = write!(said, " lost a chain of {programs}");
        }
        if at.filters.as_ref().is_some_and(|filters| filters.qdisc == Qdisc::There) {
            said.push_str(" on a qdisc");
        }
        for (place, other) in at.others.iter().enumerate() {
            let side = if at.ours.as_ref().is_some_and(|ours| place < ours.after) { "after" } else { "before" };
            let _ = write!(said, " {side} {}", other.name);
        }
        said.push('\n');
    }
    let maps: Vec<_> = live.maps.keys().map(ToString::to_string).collect();
    let _ = writeln!(said, "  maps: {}", if maps.is_empty() { "none".to_owned() } else { maps.join(", ") });
    said
}
