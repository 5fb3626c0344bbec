//! `bpfkit build`: sources to checked objects.

use std::{num::NonZeroUsize, sync::Mutex, time::Instant};

use bpfkit_compiler_driver as compiler;
use bpfkit_schemas::{
    code::Exit,
    report::{BuildReport, ObjectReport, VERSION},
};
use compiler::{Built, Event, Request, Toolchain};

use super::lock;
use crate::{
    args::{Build, Global},
    failure::Result,
    project::Project,
    ui::Ui,
    view,
};

pub(super) fn run(args: &Build, global: &Global, ui: &Ui) -> Result<Exit> {
    let project = Project::open(global, ui)?;
    let built = objects(&project, args, ui)?;
    let report = BuildReport { version: VERSION, objects: built.iter().map(object).collect() };
    ui.show(&report, || view::lines(report.objects.iter().map(|o| &o.path)))?;
    Ok(Exit::Done)
}

/// Builds what is stale, keeps `bpfkit.lock`, and says on stderr what happened.
pub(super) fn objects(project: &Project, args: &Build, ui: &Ui) -> Result<Vec<Built>> {
    let started = Instant::now();
    let manifest = &project.manifest;
    let toolchain = if compiler::plan::needs_compiler(manifest) {
        Some(Toolchain::find(&std::env::var_os("PATH").unwrap_or_default(), &project.target)?)
    } else {
        None
    };
    let jobs: Option<NonZeroUsize> = args.jobs.jobs;
    let colour = if ui.has_colour() { compiler::plan::Colour::Always } else { compiler::plan::Colour::Never };
    let request = Request { manifest, root: &project.root, target_dir: &project.target, jobs, colour };
    let plan = compiler::plan(&request, toolchain.as_ref())?;
    lock::keep_build(project, toolchain.as_ref(), &plan, args.locked)?;

    let progress = Mutex::new(ui.progress("building"));
    let counts = Mutex::new((0, 0));
    let built = compiler::run(&plan, &|event| {
        let Ok(progress) = progress.lock() else { return };
        match event {
            Event::Waiting => ui.say("another build is at work here; waiting for it"),
            Event::Planned { objects, stale } => {
                if let Ok(mut counts) = counts.lock() {
                    *counts = (objects, stale);
                }
            }
            Event::Header { platform } => progress.say(format!("writing vmlinux.h for {platform}")),
            Event::Started { program, platform } => {
                progress.say(format!("compiling {program} for {platform}"));
                progress.suspend(|| ui.detail(&format!("compiling {program} for {platform}")));
            }
            Event::Said { bytes, .. } => progress.suspend(|| Ui::pass_on(bytes)),
            Event::Finished { .. } => {}
        }
    })?;
    drop(progress);
    for object in &built {
        ui.diagnostics(&object.warnings);
    }
    let (objects, stale) = counts.lock().map_or((0, 0), |c| *c);
    if objects > 0 {
        let compiler = toolchain.as_ref().map(|t| format!(" with {}", t.version())).unwrap_or_default();
        ui.say(&match stale {
            0 => format!("{objects} up to date"),
            _ => format!("built {stale} of {objects}{compiler} in {:.1} s", started.elapsed().as_secs_f64()),
        });
    }
    Ok(built)
}

fn object(built: &Built) -> ObjectReport {
    let function = built.descriptor.programs.iter().find(|p| p.function == built.entry);
    ObjectReport {
        program: built.program.to_string(),
        platform: built.platform.to_string(),
        path: built.path.display().to_string(),
        digest: built.descriptor.digest.to_string(),
        made: built.freshness == compiler::run::Freshness::Made,
        instructions: function.map_or(0, |p| p.instructions),
        core_relocations: built.descriptor.core_relocations,
    }
}
