//! `bpfkit plan` and `bpfkit apply`: the same road up to the last call.

use bpfkit_applier::{
    execute::Outcome,
    kernel::{KernelError, Places},
    plan::Plan,
    session::{Declared, Session},
};
use bpfkit_schemas::{
    Code, Diagnostic, bundle::ProgramOrigin, code::Exit, diagnostic::Diagnose as _, manifest::ProgramSource,
    report::PlanReport,
};

use super::{bundle, verify};
use crate::{
    args::{self, Build, Global, Jobs, ReferenceArg},
    failure::{Failure, Result},
    host,
    project::{self, Project},
    ui::Ui,
};

/// `bpfkit plan`.
pub(super) fn plan(args: &args::Plan, global: &Global, ui: &Ui) -> Result<Exit> {
    root()?;
    let session = session(&args.reference, global, ui)?;
    let plan = session.plan()?;
    ui.show(&PlanReport::from(&plan), || plan.to_string())?;
    Ok(if args.exit_code && !plan.is_empty() { Exit::ChangesPending } else { Exit::Done })
}

/// `bpfkit apply`.
pub(super) fn run(args: &ReferenceArg, global: &Global, ui: &Ui) -> Result<Exit> {
    root()?;
    let session = session(args, global, ui)?;
    apply(&session, ui)
}

/// Applies, and shows the plan and how it went.
pub(super) fn apply(session: &Session, ui: &Ui) -> Result<Exit> {
    let progress = ui.progress("applying");
    let (plan, outcome) = session.apply()?;
    drop(progress);
    finish(&plan, &outcome, ui)
}

/// Shows a plan that was carried out, and its outcome.
pub(super) fn finish(plan: &Plan, outcome: &Outcome<KernelError>, ui: &Ui) -> Result<Exit> {
    let problems = outcome.diagnose();
    if outcome.stopped.is_some() {
        ui.diagnostics(&problems);
        return Ok(outcome.exit());
    }
    ui.show(&PlanReport::from(plan), || plan.to_string())?;
    ui.diagnostics(&problems);
    if !plan.is_empty() {
        ui.say(&format!("done: {} steps", outcome.done.len()));
    }
    Ok(outcome.exit())
}

/// Loading and attaching takes root; saying so first beats a refusal from deep inside.
pub(super) fn root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::one(Diagnostic::error(Code::NOT_ROOT, "this needs root").help("run it with sudo")))
}

fn session(args: &ReferenceArg, global: &Global, ui: &Ui) -> Result<Session> {
    match &args.reference {
        Some(text) => {
            if !global.set.is_empty() {
                return Err(Failure::usage(
                    "`--set` and a reference don't go together",
                    "what was signed can't be changed by a variable; set it when bundling",
                ));
            }
            by_reference(text, global, ui)
        }
        None => by_manifest(&Project::open(global, ui)?, ui),
    }
}

/// Somebody else's word: everything comes from the signed bundle, and whom to believe from the host.
fn by_reference(text: &str, global: &Global, ui: &Ui) -> Result<Session> {
    let (fetched, asked) = verify::by_reference(&project::reference(text, global)?, ui)?;
    let verified = verify::believe(fetched, &asked, None)?;
    let declared = Declared::by_bundle(&verified);
    Ok(Session::new(verified, declared, host::facts(), Places::default())?)
}

/// The operator's own word: the manifest on this disk, programs from its bundle.
pub(super) fn by_manifest(project: &Project, ui: &Ui) -> Result<Session> {
    let only_images = project.manifest.programs.iter().all(|p| matches!(p.from, ProgramSource::Image { .. }));
    let last = bundle::last(project).ok().filter(|last| last.shape == bundle::shape(&project.manifest));
    if only_images && last.is_none() {
        // Nothing is to be compiled, so that fetching the images is all there is to do.
        let build = Build { jobs: Jobs { jobs: None }, locked: false };
        bundle::make(project, &args::Bundle { build, tag: "dev".to_owned() }, ui)?;
    }
    let (fetched, asked) = verify::of_project(project)?;
    let problems = stale(project, &fetched)?;
    if !problems.is_empty() {
        return Err(Failure(problems));
    }
    let verified = verify::believe(fetched, &asked, Some(project))?;
    let declared = Declared::by_manifest(&project.manifest, &verified);
    Ok(Session::new(verified, declared, host::facts(), Places::default())?)
}

/// What the bundle says differently from the folder: what shaped it, programs that are not in it or come
/// from elsewhere than the manifest says, sources that changed since.
fn stale(project: &Project, fetched: &bpfkit_bundler::FetchedBundle) -> Result<Vec<Diagnostic>> {
    let manifest = &project.manifest;
    let again = "run `bpfkit bundle` and `bpfkit sign` again, or `bpfkit dev`";
    let mut problems = Vec::new();
    for program in &manifest.programs {
        let at = |problem: Diagnostic| problem.at(&manifest.source, program.at, "declared here").help(again);
        let Some(bundled) = fetched.config.programs.iter().find(|p| p.name == program.name) else {
            let title = format!("the bundle has no program `{}`", program.name);
            problems.push(at(Diagnostic::error(Code::NOT_IN_BUNDLE, title)));
            continue;
        };
        let same_origin = match (&program.from, &bundled.origin) {
            (ProgramSource::C(path, _) | ProgramSource::Object(path, _), ProgramOrigin::Files { files }) => {
                path.to_str().is_some_and(|path| files.contains_key(path))
            }
            (ProgramSource::Image { identity, reference, .. }, ProgramOrigin::Image { repository, digest, .. }) => {
                identity == repository && reference.digest.is_none_or(|pinned| pinned == *digest)
            }
            _ => false,
        };
        if !same_origin {
            let title = format!("the bundle's `{}` comes from elsewhere than the manifest says", program.name);
            problems.push(at(Diagnostic::error(Code::SOURCES_CHANGED, title)));
            continue;
        }
        if let ProgramOrigin::Files { files } = &bundled.origin {
            let changed = bpfkit_compiler_driver::files_changed(&project.root, files);
            if !changed.is_empty() {
                let title = format!("the sources of `{}` changed since they were bundled", program.name);
                let note = format!("changed: {}", changed.join(", "));
                problems.push(at(Diagnostic::error(Code::SOURCES_CHANGED, title).note(note)));
            }
        }
    }
    if problems.is_empty() && bundle::last(project)?.shape != bundle::shape(manifest) {
        let title = format!("`{}`'s `build:` or `programs:` changed since it was bundled", manifest.name);
        problems.push(Diagnostic::error(Code::SOURCES_CHANGED, title).help(again));
    }
    Ok(problems)
}
