//! `schema`, `completions` and `man`: what other tools read.

use std::fs;

use bpfkit_schemas::{code::Exit, manifest, report};
use clap::CommandFactory as _;

use crate::{
    args::{Cli, Completions, Man, Schema, SchemaOf},
    failure::{Failure, Result},
    ui::Ui,
};

pub(super) fn schema(args: &Schema) -> Exit {
    Ui::data(&match args.of {
        SchemaOf::Manifest => manifest::json_schema(),
        SchemaOf::Output => report::json_schema(),
    });
    Exit::Done
}

pub(super) fn completions(args: &Completions) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bpfkit", &mut text);
    Ui::data(&String::from_utf8_lossy(&text));
    Exit::Done
}

pub(super) fn man(args: &Man, ui: &Ui) -> Result<Exit> {
    let command = Cli::command();
    let Some(dir) = &args.dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut text)
            .map_err(|e| Failure::usage(format!("the manual page can't be made: {e}"), "report this as a bug"))?;
        Ui::data(&String::from_utf8_lossy(&text));
        return Ok(Exit::Done);
    };
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command, dir))
        .map_err(|e| Failure::unwritable(dir, &e))?;
    ui.say(&format!("wrote the manual pages into `{}`", dir.display()));
    Ok(Exit::Done)
}
