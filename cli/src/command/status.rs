//! `bpfkit status`: what is live, and whether it drifted.

use bpfkit_applier::{
    kernel::{self, Places},
    session,
    status::status,
};
use bpfkit_schemas::{
    code::Exit,
    names::SetName,
    report::{SetsReport, StatusReport, VERSION},
};

use super::apply;
use crate::{
    args::{Global, SetArg},
    failure::{Failure, Result},
    project::Project,
    ui::Ui,
};

pub(super) fn run(args: &SetArg, global: &Global, ui: &Ui) -> Result<Exit> {
    apply::root()?;
    let sets = sets(args, global, ui)?;
    let mut report = SetsReport { version: VERSION, sets: Vec::new() };
    let mut text = String::new();
    let mut drifted = false;
    for set in &sets {
        let live = session::observe(set, Places::default())?;
        let found = status(&live, None);
        drifted |= found.has_drifted();
        text.push_str(&found.to_string());
        report.sets.push(StatusReport::from(&found));
    }
    if sets.is_empty() {
        "no set is live on this host\n".clone_into(&mut text);
    }
    ui.show(&report, || text)?;
    Ok(if drifted { Exit::ChangesPending } else { Exit::Done })
}

/// The set that was asked for, else the manifest's, else every set that is live.
fn sets(args: &SetArg, global: &Global, ui: &Ui) -> Result<Vec<SetName>> {
    if let Some(name) = &args.name {
        return Ok(vec![name.parse().map_err(|e: bpfkit_schemas::names::BadName| {
            Failure::usage(e.to_string(), "`bpfkit status` without a name shows all")
        })?]);
    }
    if global.file.exists() {
        return Ok(vec![Project::open(global, ui)?.manifest.name]);
    }
    Ok(kernel::sets(&Places::default())?)
}
