//! `bpfkit confirm`: what was applied with `--confirm` stays.

use bpfkit_applier::{
    generations::{State, Store, pending, store},
    kernel::Places,
};
use bpfkit_schemas::{
    code::Exit,
    names::SetName,
    report::{ConfirmReport, VERSION},
};

use super::{apply, remove};
use crate::{
    args::{Confirm, Global},
    failure::{Failure, Result},
    project::Project,
    ui::Ui,
};

pub(super) fn run(args: &Confirm, global: &Global, ui: &Ui) -> Result<Exit> {
    apply::root()?;
    let places = Places::default();
    let set = match &args.name {
        Some(name) => remove::named(name)?,
        None if global.file.exists() => Project::open(global, ui)?.manifest.name,
        None => waiting(&places)?,
    };
    let generation = pending::confirm(&set, &places)?;
    let report = ConfirmReport { version: VERSION, set: set.to_string(), generation: generation.number };
    ui.show(&report, || format!("set {set}: generation {} stays\n", generation.number))?;
    Ok(Exit::Done)
}

/// The one set of this host that waits to be confirmed.
fn waiting(places: &Places) -> Result<SetName> {
    let mut found = Vec::new();
    for set in store::sets(places)? {
        if Store::new(places, &set).newest()?.is_some_and(|newest| matches!(newest.state, State::Pending { .. })) {
            found.push(set);
        }
    }
    let help = "`bpfkit confirm NAME` confirms one; `bpfkit status` shows which wait";
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::usage("no set of this host waits to be confirmed", help)),
        several => {
            let names: Vec<_> = several.iter().map(SetName::as_str).collect();
            Err(Failure::usage(format!("several sets wait to be confirmed: {}", names.join(", ")), help))
        }
    }
}
