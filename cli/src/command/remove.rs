//! `bpfkit remove`: a set off this host.

use bpfkit_applier::{kernel::Places, session};
use bpfkit_schemas::{code::Exit, names::SetName};

use super::apply;
use crate::{
    args::{Global, Remove},
    failure::{Failure, Result},
    project::Project,
    ui::Ui,
};

pub(super) fn run(args: &Remove, global: &Global, ui: &Ui) -> Result<Exit> {
    apply::root()?;
    let set: SetName = match &args.name {
        Some(name) => name.parse().map_err(|e: bpfkit_schemas::names::BadName| {
            Failure::usage(e.to_string(), "`bpfkit status` shows the sets of this host")
        })?,
        None => Project::open(global, ui)?.manifest.name,
    };
    let (plan, outcome) = session::take_off(&set, Places::default())?;
    apply::finish(&plan, &outcome, ui)
}
