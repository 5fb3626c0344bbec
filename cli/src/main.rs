//! The `bpfkit` command: arguments, wording, colour and exit codes.
//!
//! No rule of the domain lives here. Each command reads, calls the crates that do
//! the work, shows what came back and says how to exit. stdout is for data,
//! stderr for talk.
#![forbid(unsafe_code)]

mod args;
mod command;
mod failure;
mod host;
mod passphrase;
mod progress;
mod project;
mod ui;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Cli, ui::Ui};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new(&cli.global);
    let exit = match command::run(&cli, &ui) {
        Ok(exit) => exit,
        Err(failure) => {
            ui.diagnostics(&failure.0);
            failure.exit()
        }
    };
    ExitCode::from(exit as u8)
}
