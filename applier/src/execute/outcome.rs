//! How a run went: what was done, where it stopped, what was put back.

use std::fmt;

use bpfkit_schemas::{
    Diagnostic,
    code::Exit,
    diagnostic::{Diagnose, Severity},
};

use super::StepError;
use crate::{
    live::{Litter, MapId, MapKey, ProgramId},
    plan::{HookPlan, HookStep, label},
};

/// How a run went. A value even when it failed.
#[derive(Debug)]
pub struct Outcome<E> {
    /// The steps that succeeded, in order; those that were put back afterwards included.
    pub done: Vec<Step>,
    /// Where it stopped; none if everything was done.
    pub stopped: Option<Stopped<E>>,
    /// What could not be cleaned up. The new state is live all the same.
    pub left: Vec<(Step, E)>,
}

/// The step that failed and, apart from it, how putting things back went. Neither error hides the other.
#[derive(Debug)]
pub struct Stopped<E> {
    /// How far it had come.
    pub phase: Phase,
    /// The step that failed.
    pub step: Step,
    /// Why.
    pub cause: E,
    /// What was put back, or should have been, in the order in which that was tried.
    pub undone: Vec<Undone<E>>,
}

/// One change that was to be put back.
#[derive(Debug)]
pub struct Undone<E> {
    /// The step that puts it back.
    pub step: Step,
    /// Why that failed, if it did.
    pub error: Option<E>,
}

/// How far a run had come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Opening and loading: nothing on the host had been changed.
    Prepare,
    /// Changing pins and hooks.
    Change,
}

/// One step, for people: what is done, to what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// A live map is opened.
    OpenMap(MapKey, MapId),
    /// A map is made.
    CreateMap(MapKey),
    /// A map is pinned.
    PinMap(MapKey),
    /// A map's pin is removed.
    UnpinMap(MapKey),
    /// A live program is kept alive.
    Hold(ProgramId),
    /// Something is done for a hook.
    Hook {
        /// What.
        verb: HookVerb,
        /// The hook, as it is labelled in the plan.
        hook: String,
    },
    /// A leftover is removed.
    Sweep(Litter),
}

/// What is done for a hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HookVerb {
    /// Its chain is loaded.
    Load,
    /// [`HookStep::Attach`].
    Attach,
    /// [`HookStep::Replace`].
    Replace,
    /// [`HookStep::Detach`].
    Detach,
    /// [`HookStep::Pin`].
    Pin,
    /// [`HookStep::Drop`].
    Drop,
}

impl Step {
    pub(super) fn load(hook: &HookPlan) -> Self {
        Self::at(hook, HookVerb::Load)
    }

    pub(super) fn attach(hook: &HookPlan) -> Self {
        Self::at(hook, HookVerb::Attach)
    }

    pub(super) fn replace(hook: &HookPlan) -> Self {
        Self::at(hook, HookVerb::Replace)
    }

    pub(super) fn detach(hook: &HookPlan) -> Self {
        Self::at(hook, HookVerb::Detach)
    }

    pub(super) fn hook(hook: &HookPlan, step: &HookStep) -> Self {
        Self::at(
            hook,
            match step {
                HookStep::Pin { .. } => HookVerb::Pin,
                HookStep::Drop { .. } => HookVerb::Drop,
                HookStep::Attach { .. } => HookVerb::Attach,
                HookStep::Replace { .. } => HookVerb::Replace,
                HookStep::Detach { .. } => HookVerb::Detach,
            },
        )
    }

    fn at(hook: &HookPlan, verb: HookVerb) -> Self {
        Self::Hook { verb, hook: label(hook.point.hook, &hook.interface) }
    }
}

/// In the infinitive, to go after "could not".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenMap(key, id) => write!(f, "open the map `{key}` (id {id})"),
            Self::CreateMap(key) => write!(f, "create the map `{key}`"),
            Self::PinMap(key) => write!(f, "pin the map `{key}`"),
            Self::UnpinMap(key) => write!(f, "unpin the map `{key}`"),
            Self::Hold(id) => write!(f, "take hold of the live program {id}"),
            Self::Hook { verb, hook } => match verb {
                HookVerb::Load => write!(f, "load the chain of `{hook}`"),
                HookVerb::Attach => write!(f, "attach the chain of `{hook}`"),
                HookVerb::Replace => write!(f, "replace the chain of `{hook}`"),
                HookVerb::Detach => write!(f, "detach the chain of `{hook}`"),
                HookVerb::Pin => write!(f, "pin what holds the chain of `{hook}`"),
                HookVerb::Drop => write!(f, "remove the dead link of `{hook}`"),
            },
            Self::Sweep(litter) => {
                write!(f, "remove the leftover `{}`", litter.path.display().to_string().escape_default())
            }
        }
    }
}

impl<E> Outcome<E> {
    /// Whether something that was changed could not be put back.
    pub fn is_half_undone(&self) -> bool {
        self.stopped.as_ref().is_some_and(|stopped| stopped.undone.iter().any(|undone| undone.error.is_some()))
    }
}

impl<E: StepError> Outcome<E> {
    /// The exit code of a command that ends with this outcome.
    ///
    /// A lost race is 6 however far it had come; otherwise a run that had begun to change things is 5 if they were put
    /// back and 1 if they could not be; one that had not begun has the exit code of its cause.
    pub fn exit(&self) -> Exit {
        match &self.stopped {
            None if self.left.is_empty() => Exit::Done,
            None => Exit::Failed,
            Some(stopped) if stopped.undone.iter().any(|undone| undone.error.is_some()) => Exit::Failed,
            Some(stopped) if stopped.cause.is_contended() => Exit::Contended,
            Some(Stopped { phase: Phase::Change, .. }) => Exit::Stopped,
            Some(stopped) => stopped.cause.diagnose().first().map_or(Exit::Failed, |first| first.code.exit()),
        }
    }
}

impl<E: StepError> Diagnose for Outcome<E> {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let mut all = Vec::new();
        if let Some(stopped) = &self.stopped {
            let mut cause = stopped.cause.diagnose();
            if let Some(first) = cause.first_mut() {
                first.notes.push(match (stopped.phase, stopped.undone.iter().any(|undone| undone.error.is_some())) {
                    (Phase::Prepare, _) => format!("could not {}; nothing was changed", stopped.step),
                    (Phase::Change, false) => format!("could not {}; what had been changed was put back", stopped.step),
                    (Phase::Change, true) => format!("could not {}; not everything could be put back", stopped.step),
                });
            }
            all.extend(cause);
            for undone in &stopped.undone {
                let Some(error) = &undone.error else { continue };
                let mut problems = error.diagnose();
                if let Some(first) = problems.first_mut() {
                    first.notes.push(format!("while putting things back: could not {}", undone.step));
                }
                all.extend(problems);
            }
        }
        for (step, error) in &self.left {
            let mut problems = error.diagnose();
            for problem in &mut problems {
                problem.severity = Severity::Warning;
            }
            if let Some(first) = problems.first_mut() {
                first.notes.push(format!("could not {step}; the new state is live, and the next run will try again"));
            }
            all.extend(problems);
        }
        all
    }
}
