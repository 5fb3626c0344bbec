//! `bpfkit check`: the manifest, and nothing else touched.

use bpfkit_schemas::{
    code::Exit,
    report::{CheckReport, VERSION},
};

use crate::{args::Global, failure::Result, project::Project, ui::Ui};

pub(super) fn run(global: &Global, ui: &Ui) -> Result<Exit> {
    let project = Project::open(global, ui)?;
    let manifest = &project.manifest;
    let summary = CheckReport {
        version: VERSION,
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
