//! `bpfkit apply --last`: what was live and meant to stay, once more, from what this host keeps.
//!
//! Each set by itself: one that can't be restored doesn't hold up the others. The exit code is that of the
//! first that couldn't, but one that trying again may mend comes before one that it can't. Where no set is
//! named, those that have nothing to go back to are passed over.

use bpfkit_applier::{
    generations::{
        GenerationError,
        again::{self, Restored},
        store,
    },
    plan::Plan,
};
use bpfkit_schemas::{
    Code, Diagnostic,
    code::Exit,
    names::SetName,
    report::{PlanReport, ProblemReport, RestoreReport, RestoredReport, VERSION},
};

use super::{apply, remove};
use crate::{
    failure::{Failure, Result},
    host,
    ui::Ui,
};

/// How one set went.
struct One {
    set: SetName,
    plan: Option<(Plan, PlanReport)>,
    problems: Vec<Diagnostic>,
    exit: Exit,
}

pub(super) fn run(name: Option<&str>, ui: &Ui) -> Result<Exit> {
    let today = host::today()?;
    let sets = match name {
        Some(name) => vec![remove::named(name)?],
        None => store::sets(&today.places)?,
    };
    let mut done = Vec::new();
    for set in sets {
        let progress = ui.progress("restoring");
        progress.say(format!("restoring {set}"));
        let restored = again::restore(&set, &today);
        drop(progress);
        if name.is_none() && matches!(restored, Err(GenerationError::NothingKept { .. })) {
            continue;
        }
        done.push(match restored.map_err(Failure::from).map(|restored| told(&set, restored)) {
            Ok(one) => one,
            Err(Failure(problems)) => {
                let exit = Failure(problems.clone()).exit();
                One { set, plan: None, problems, exit }
            }
        });
    }
    let report = RestoreReport {
        version: VERSION,
        sets: done
            .iter()
            .map(|one| RestoredReport {
                set: one.set.to_string(),
                plan: one.plan.as_ref().map(|(_, report)| report.clone()),
                problems: one.problems.iter().map(ProblemReport::of).collect(),
            })
            .collect(),
    };
    ui.show(&report, || {
        if done.is_empty() {
            return "nothing is kept on this host\n".to_owned();
        }
        done.iter().filter_map(|one| one.plan.as_ref()).map(|(plan, _)| plan.to_string()).collect()
    })?;
    for one in &done {
        ui.beside_data(&one.problems);
    }
    let exits: Vec<_> = done.iter().map(|one| one.exit).collect();
    Ok(exit_of_all(&exits))
}

/// The exit code for several sets. Whoever runs this again (systemd) does so for the sake of any that it may mend.
fn exit_of_all(exits: &[Exit]) -> Exit {
    let is_final = |exit: Exit| matches!(exit, Exit::Usage | Exit::NotTrusted);
    let failed = || exits.iter().copied().filter(|exit| *exit != Exit::Done);
    failed().find(|exit| !is_final(*exit)).or_else(|| failed().next()).unwrap_or(Exit::Done)
}

fn told(set: &SetName, restored: Restored) -> One {
    let mut problems = apply::problems(&restored.applied);
    let mut exit = restored.applied.outcome.exit();
    if restored.applied.outcome.stopped.is_some() {
        return One { set: set.clone(), plan: None, problems, exit };
    }
    if !restored.absent.is_empty() {
        let title = format!("not every chain of `{set}` could be restored yet");
        let mut incomplete = Diagnostic::error(Code::RESTORE_INCOMPLETE, title);
        for absent in &restored.absent {
            let within = absent.netns.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default();
            incomplete.notes.push(format!("{} of `{}`{within}: it isn't there", absent.hook, absent.pattern));
        }
        problems.push(incomplete.help(format!("run `bpfkit apply --last {set}` when it is")));
        exit = exit.max(Exit::Failed);
    }
    let plan = restored.applied.plan;
    let mut report = PlanReport::from(&plan);
    report.generation = restored.applied.generation.as_ref().map(|one| one.report(Some(one.number)));
    One { set: set.clone(), plan: Some((plan, report)), problems, exit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_trying_again_may_mend_is_tried_again_whatever_became_of_the_others() {
        assert_eq!(exit_of_all(&[]), Exit::Done);
        assert_eq!(exit_of_all(&[Exit::Done, Exit::NotTrusted]), Exit::NotTrusted);
        assert_eq!(exit_of_all(&[Exit::NotTrusted, Exit::Done, Exit::Failed]), Exit::Failed);
        assert_eq!(exit_of_all(&[Exit::Usage, Exit::NotTrusted, Exit::Contended, Exit::Failed]), Exit::Contended);
    }
}
