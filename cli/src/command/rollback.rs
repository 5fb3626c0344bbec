//! `bpfkit rollback`: back to what was applied before, as this host keeps it.

use bpfkit_applier::generations::again;
use bpfkit_schemas::{code::Exit, names::SetName};

use super::{apply, remove};
use crate::{
    args::{Global, Rollback},
    failure::{Failure, Result},
    host,
    project::Project,
    ui::Ui,
};

pub(super) fn run(args: &Rollback, global: &Global, ui: &Ui) -> Result<Exit> {
    apply::root()?;
    let (set, number) = target(&args.what)?;
    let set: SetName = match set {
        Some(name) => remove::named(name)?,
        None => Project::open(global, ui)?.manifest.name,
    };
    let progress = ui.progress("applying");
    let applied = again::rollback(&set, number, &host::today()?)?;
    drop(progress);
    let exit = apply::finish(&applied, ui)?;
    if let Some(generation) = &applied.generation {
        let of = generation.of.map(|of| format!(", which is generation {of} again")).unwrap_or_default();
        ui.say(&format!("generation {} is live{of}", generation.number));
    }
    Ok(exit)
}

/// What was typed: a set, a generation, or both. A number alone is a generation.
fn target(what: &[String]) -> Result<(Option<&str>, Option<u64>)> {
    match what {
        [] => Ok((None, None)),
        [only] => Ok(match only.parse() {
            Ok(number) => (None, Some(number)),
            Err(_) => (Some(only), None),
        }),
        [set, number, ..] => match number.parse() {
            Ok(number) => Ok((Some(set), Some(number))),
            Err(_) => Err(Failure::usage(
                format!("`{number}` is not a generation's number"),
                "`bpfkit status NAME --generations` lists them",
            )),
        },
    }
}
