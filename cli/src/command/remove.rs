//! `bpfkit remove`: a set off this host.

use bpfkit_applier::{generations, kernel::Places};
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
        Some(name) => named(name)?,
        None => Project::open(global, ui)?.manifest.name,
    };
    apply::finish(&generations::remove(&set, &Places::default())?, ui)
}

/// A set's name as it was typed.
pub(super) fn named(name: &str) -> Result<SetName> {
    name.parse().map_err(|e: bpfkit_schemas::names::BadName| {
        Failure::usage(e.to_string(), "`bpfkit status` shows the sets of this host")
    })
}
