//! `bpfkit plan` and `bpfkit apply`: the same road up to the last call.

use std::time::Duration;

use bpfkit_applier::{
    generations::{self, Applied, State, StoreError, pending},
    kernel::{Places, detach::Left},
    session::{Authority, Declared, Session},
};
use bpfkit_bundler::Network;
use bpfkit_schemas::{
    Code, Diagnostic, Severity, bundle::ProgramOrigin, code::Exit, diagnostic::Diagnose as _, manifest::ProgramSource,
    report::PlanReport,
};

use super::{bundle, put_back, restore, verify};
use crate::{
    args::{self, Build, Global, Jobs},
    failure::{Failure, Result},
    host,
    project::{self, Project},
    ui::Ui,
};

/// `bpfkit plan`.
pub(super) fn plan(args: &args::Plan, global: &Global, ui: &Ui) -> Result<Exit> {
    root()?;
    let session = session(args.reference.reference.as_deref(), global, &bundle::network(), ui)?;
    let plan = session.plan()?;
    ui.show(&PlanReport::from(&plan), || plan.to_string())?;
    Ok(if args.exit_code && !plan.is_empty() { Exit::ChangesPending } else { Exit::Done })
}

/// `bpfkit apply`.
pub(super) fn run(args: &args::Apply, global: &Global, ui: &Ui) -> Result<Exit> {
    root()?;
    if args.last {
        if !global.set.is_empty() || names_a_manifest(global) {
            return Err(Failure::usage(
                "`--set`, `--file` and `--last` don't go together",
                "what is kept is applied as it was; name the set: `bpfkit apply --last NAME`",
            ));
        }
        return restore::run(args.what.as_deref(), ui);
    }
    let network = if args.offline { Network::offline() } else { bundle::network() };
    let session = session(args.what.as_deref(), global, &network, ui)?;
    match args.confirm {
        None => apply(&session, ui),
        Some(patience) => apply_until_confirmed(&session, patience, ui),
    }
}

/// Whether the command line names a manifest; one that the environment names is there for all commands.
fn names_a_manifest(global: &Global) -> bool {
    let file = global.file.as_os_str();
    file != "bpfkit.yml" && std::env::var_os("BPFKIT_FILE").is_none_or(|named| named != file)
}

/// Applies, and shows the plan and how it went.
pub(super) fn apply(session: &Session, ui: &Ui) -> Result<Exit> {
    let progress = ui.progress("applying");
    let applied = generations::apply(session)?;
    drop(progress);
    finish(&applied, ui)
}

/// Applies, and says what is to be done before the time is over.
fn apply_until_confirmed(session: &Session, patience: Duration, ui: &Ui) -> Result<Exit> {
    let today = host::today()?;
    let progress = ui.progress("applying");
    let mut left = Left::All;
    let watch = |set: &_, number| {
        left = put_back::start(set, number, &today.places)?;
        Ok(())
    };
    let applied = pending::apply(session, patience, &today, watch)?;
    drop(progress);
    if left == Left::AllButControlGroup {
        let title = "whoever would put this back can't leave its control group";
        let mut within = Diagnostic::error(Code::NO_WATCHER, title)
            .note("systemd ends it with the unit or the login that this runs in; nothing is put back then")
            .help("stay logged in until `bpfkit confirm`, or apply from a scope of its own: `systemd-run --scope`");
        within.severity = Severity::Warning;
        ui.diagnostics(&[within]);
    }
    let exit = finish(&applied, ui)?;
    match applied.generation.as_ref().map(|generation| (generation.number, &generation.state)) {
        Some((number, State::Pending { back_to, .. })) => {
            let set = session.set();
            let otherwise = match back_to {
                Some(back_to) => format!("generation {back_to} is put back"),
                None => format!("the chains of `{set}` are taken off"),
            };
            let seconds = patience.as_secs();
            ui.say(&format!(
                "generation {number} waits: `bpfkit confirm {set}` within {seconds} s keeps it, else {otherwise}"
            ));
        }
        _ if applied.plan.is_empty() => ui.say("nothing was changed, so there is nothing to confirm"),
        _ => {}
    }
    Ok(exit)
}

/// Shows a plan that was carried out, its outcome, and what could not be kept.
pub(super) fn finish(applied: &Applied, ui: &Ui) -> Result<Exit> {
    let Applied { plan, outcome, generation, .. } = applied;
    let problems = problems(applied);
    if outcome.stopped.is_some() {
        ui.diagnostics(&problems);
        return Ok(outcome.exit());
    }
    let mut report = PlanReport::from(plan);
    report.generation = generation.as_ref().map(|one| one.report(Some(one.number)));
    ui.show(&report, || plan.to_string())?;
    ui.diagnostics(&problems);
    if !plan.is_empty() {
        ui.say(&format!("done: {} steps", outcome.done.len()));
    }
    Ok(outcome.exit())
}

/// What went wrong; what could not be kept is a warning, since the chains are as they should be.
pub(super) fn problems(applied: &Applied) -> Vec<Diagnostic> {
    let mut problems = applied.outcome.diagnose();
    for unkept in applied.unkept.iter().flat_map(StoreError::diagnose) {
        problems.push(Diagnostic { severity: Severity::Warning, ..unkept });
    }
    problems
}

/// Loading and attaching takes root; saying so first beats a refusal from deep inside.
pub(super) fn root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::one(Diagnostic::error(Code::NOT_ROOT, "this needs root").help("run it with sudo")))
}

fn session(reference: Option<&str>, global: &Global, network: &Network, ui: &Ui) -> Result<Session> {
    match reference {
        Some(text) => {
            if !global.set.is_empty() {
                return Err(Failure::usage(
                    "`--set` and a reference don't go together",
                    "what was signed can't be changed by a variable; set it when bundling",
                ));
            }
            by_reference(text, global, network, ui)
        }
        None => by_manifest(&Project::open(global, ui)?, network, ui),
    }
}

/// Somebody else's word: everything comes from the signed bundle, and whom to believe from the host.
fn by_reference(text: &str, global: &Global, network: &Network, ui: &Ui) -> Result<Session> {
    let (fetched, asked) = verify::by_reference(&project::reference(text, global)?, network, ui)?;
    let verified = verify::believe(fetched, &asked, None)?;
    let declared = Declared::by_bundle(&verified);
    Ok(Session::new(verified, declared, Authority::Reference, host::facts(), Places::default())?)
}

/// The operator's own word: the manifest on this disk, programs from its bundle.
pub(super) fn by_manifest(project: &Project, network: &Network, ui: &Ui) -> Result<Session> {
    let only_images = project.manifest.programs.iter().all(|p| matches!(p.from, ProgramSource::Image { .. }));
    let last = bundle::last(project).ok().filter(|last| last.shape == bundle::shape(&project.manifest));
    if only_images && last.is_none() {
        // Nothing is to be compiled, so that fetching the images is all there is to do.
        let build = Build { jobs: Jobs { jobs: None }, locked: false };
        bundle::make(project, &args::Bundle { build, tag: "dev".to_owned() }, network, ui)?;
    }
    let (fetched, asked) = verify::of_project(project)?;
    let problems = stale(project, &fetched)?;
    if !problems.is_empty() {
        return Err(Failure(problems));
    }
    let verified = verify::believe(fetched, &asked, Some(project))?;
    let declared = Declared::by_manifest(&project.manifest, &verified);
    let authority = Authority::Manifest { trust: project.trust()?.unwrap_or_default() };
    Ok(Session::new(verified, declared, authority, host::facts(), Places::default())?)
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
