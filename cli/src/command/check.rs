//! `bpfkit check`: the manifest, and nothing else touched.

use bpfkit_schemas::code::Exit;
use serde::Serialize;

use crate::{args::Global, failure::Result, project::Project, ui::Ui};

#[derive(Serialize)]
struct Summary {
    version: u32,
    set: String,
    programs: usize,
    chains: usize,
    platforms: Vec<String>,
}

pub(super) fn run(global: &Global, ui: &Ui) -> Result<Exit> {
    let project = Project::open(global, ui)?;
    let manifest = &project.manifest;
    let summary = Summary {
        version: 1,
        set: manifest.name.to_string(),
        programs: manifest.programs.len(),
        chains: manifest.chains.len(),
        platforms: manifest.build.platforms.iter().map(ToString::to_string).collect(),
    };
    ui.show(&summary, || {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!(
            "{}: set `{}`, {}, {}, for {}\n",
            global.file.display(),
            summary.set,
            count(summary.programs, "program"),
            count(summary.chains, "chain"),
            summary.platforms.join(", ")
        )
    })?;
    Ok(Exit::Done)
}
