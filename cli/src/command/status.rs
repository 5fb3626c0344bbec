//! `bpfkit status`: what is live, and whether it drifted.

use bpfkit_applier::{
    generations::{
        self, Store,
        store::{self, Listed},
    },
    kernel::{self, Places},
    session,
    status::{Status, status},
};
use bpfkit_schemas::{
    Diagnostic, Severity,
    code::Exit,
    names::SetName,
    report::{GenerationReport, SetsReport, StatusReport, VERSION},
};

use super::{apply, bundle};
use crate::{
    args::{Global, SetArg},
    failure::{Failure, Result},
    project::Project,
    ui::Ui,
    view,
};

pub(super) fn run(args: &SetArg, global: &Global, ui: &Ui) -> Result<Exit> {
    apply::root()?;
    let mut report = SetsReport { version: VERSION, sets: Vec::new() };
    let mut text = String::new();
    let mut drifted = false;
    for found in statuses(args, global, ui)? {
        // A set that was asked for by name, or by its manifest, and is nowhere, is not as it was applied;
        // unless all that its manifest wants is to wait for an interface.
        drifted |= found.has_drifted() || found.hooks.is_empty() && found.waiting.is_empty();
        let kept = kept(&found.set)?;
        text.push_str(&found.to_string());
        text.push_str(&view::generations::summary(
            &found.set,
            found.hooks.iter().any(|hook| hook.ours.is_some()),
            &kept,
        ));
        if args.generations {
            text.push_str(&view::generations::list(&kept));
        }
        report.sets.push(StatusReport { generations: kept, ..StatusReport::from(&found) });
    }
    if report.sets.is_empty() {
        "no set is live on this host\n".clone_into(&mut text);
    }
    ui.show(&report, || text)?;
    Ok(if drifted { Exit::ChangesPending } else { Exit::Done })
}

/// What is kept of a set, the newest first; a damaged one by its number alone.
fn kept(set: &SetName) -> Result<Vec<GenerationReport>> {
    let places = Places::default();
    let live = generations::live(set, &places);
    let damaged = |number| GenerationReport {
        number,
        live: live == Some(number),
        state: "damaged".to_owned(),
        seconds_left: None,
        back_to: None,
        made: None,
        of: None,
        applied: None,
        reference: None,
    };
    let all = Store::new(&places, set).all()?;
    Ok(all
        .into_iter()
        .map(|Listed { number, read }| read.map_or_else(|_| damaged(number), |one| one.report(live)))
        .collect())
}

/// The set that was asked for, else the manifest's, compared with it, else every set that is live or should be.
fn statuses(args: &SetArg, global: &Global, ui: &Ui) -> Result<Vec<Status>> {
    let from_records =
        |set: &SetName| -> Result<Status> { Ok(status(&session::observe(set, Places::default())?, None)) };
    if let Some(name) = &args.name {
        let set = name.parse().map_err(|e: bpfkit_schemas::names::BadName| {
            Failure::usage(e.to_string(), "`bpfkit status` without a name shows all")
        })?;
        return Ok(vec![from_records(&set)?]);
    }
    if !global.file.exists() {
        let places = Places::default();
        let mut sets = kernel::sets(&places)?;
        // One that is kept and isn't live should be: its restore failed, or somebody unmounted bpffs.
        let is_kept = |set: &SetName| !matches!(Store::new(&places, set).last_confirmed(None), Ok(None));
        sets.extend(store::sets(&places)?.into_iter().filter(is_kept));
        sets.sort();
        sets.dedup();
        return sets.iter().map(from_records).collect();
    }
    let project = Project::open(global, ui)?;
    let wanted = apply::by_manifest(&project, &bundle::network(), ui).and_then(|session| Ok(session.survey()?));
    Ok(vec![match wanted {
        Ok((desired, live)) => status(&live, Some(&desired)),
        Err(failure) => {
            // What is live can be told all the same; what it should be can't, and this says why.
            let warnings = failure.0.into_iter().map(|problem| Diagnostic { severity: Severity::Warning, ..problem });
            ui.diagnostics(&warnings.collect::<Vec<_>>());
            from_records(&project.manifest.name)?
        }
    }])
}
