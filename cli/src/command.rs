//! One file per verb: read, call, show, exit.

mod apply;
mod build;
mod bundle;
mod check;
mod confirm;
mod dev;
mod explain;
mod init;
mod inspect;
mod lock;
mod pages;
mod pull;
mod push;
mod put_back;
mod remove;
mod restore;
mod rollback;
mod sign;
mod status;
mod systemd;
mod trust;
mod verify;

use bpfkit_schemas::code::Exit;

use crate::{
    args::{Cli, Verb},
    failure::Result,
    ui::Ui,
};

/// Runs what was typed.
pub(crate) fn run(cli: &Cli, ui: &Ui) -> Result<Exit> {
    let global = &cli.global;
    match &cli.verb {
        Verb::Init(args) => init::run(args, global, ui),
        Verb::Dev(args) => dev::run(args, global, ui),
        Verb::Check => check::run(global, ui),
        Verb::Build(args) => build::run(args, global, ui),
        Verb::Bundle(args) => bundle::run(args, global, ui),
        Verb::Sign(args) => sign::run(args, global, ui),
        Verb::Push(args) => push::run(args, global, ui),
        Verb::Pull(args) => pull::run(args, global, ui),
        Verb::Verify(args) => verify::run(args, global, ui),
        Verb::Inspect(args) => inspect::run(args, global, ui),
        Verb::Plan(args) => apply::plan(args, global, ui),
        Verb::Apply(args) => apply::run(args, global, ui),
        Verb::Confirm(args) => confirm::run(args, global, ui),
        Verb::Rollback(args) => rollback::run(args, global, ui),
        Verb::Status(args) => status::run(args, global, ui),
        Verb::Remove(args) => remove::run(args, global, ui),
        Verb::Systemd(args) => systemd::run(args, ui),
        Verb::PutBack(args) => put_back::run(args, ui),
        Verb::Trust(args) => trust::run(args, ui),
        Verb::Explain(args) => explain::run(args, ui),
        Verb::Schema(args) => Ok(pages::schema(args)),
        Verb::Completions(args) => Ok(pages::completions(args)),
        Verb::Man(args) => pages::man(args, ui),
    }
}
