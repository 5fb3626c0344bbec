//! `bpfkit push`: a set and its signatures to a repo.

use bpfkit_bundler::{self as bundler, Layout, PushEvent};
use bpfkit_schemas::{
    Code, Diagnostic,
    code::Exit,
    names::nearest,
    reference::{Reference, RepoUrl},
    report::{TransferReport, VERSION},
};

use super::bundle::{last_pinned, network};
use crate::{
    args::{Global, Push},
    failure::{Failure, Result},
    project::Project,
    ui::Ui,
};

pub(super) fn run(args: &Push, global: &Global, ui: &Ui) -> Result<Exit> {
    let project = Project::open(global, ui)?;
    let (last, _) = last_pinned(&project)?;
    let repo = repo(args, &project)?;
    let place = repo
        .join(project.manifest.name.as_str())
        .map_err(|e| Failure::usage(e.to_string(), "choose another name for the set"))?;
    let layout = Layout::open(project.layout_dir())?;

    let progress = ui.progress("pushing");
    let mut counts = Counts::default();
    let pinned = bundler::push(&network(), &layout, &last.version, &project.placed_at(&place), &mut |event| {
        counts.add(&event);
        progress.say(format!("pushing to {place}: {} sent, {} there before", counts.sent, counts.before));
        progress.suspend(|| ui.detail(&describe(&event)));
    })?;
    drop(progress);
    let reference = Reference { place: pinned.place, tag: Some(last.version), digest: Some(pinned.digest) };
    ui.say(&format!("pushed to {}: {} sent, {} there before", reference.place, counts.sent, counts.before));
    let report = TransferReport {
        version: VERSION,
        reference: reference.to_string(),
        digest: pinned.digest.to_string(),
        sent: counts.sent,
        there_before: counts.before,
    };
    ui.show(&report, || format!("{reference}\n"))?;
    Ok(Exit::Done)
}

/// How much had to be sent.
#[derive(Default)]
pub(super) struct Counts {
    /// Blobs, manifests, signatures and tags that were sent.
    pub(super) sent: usize,
    /// Those that were there.
    pub(super) before: usize,
}

impl Counts {
    /// Counts one event.
    pub(super) fn add(&mut self, event: &PushEvent) {
        let sent = match event {
            PushEvent::Blob { sent, .. }
            | PushEvent::Manifest { sent, .. }
            | PushEvent::Referrer { sent, .. }
            | PushEvent::Tagged { sent, .. } => sent,
            PushEvent::Skipped { .. } => return,
        };
        match sent {
            bundler::push::Sent::Now => self.sent += 1,
            bundler::push::Sent::Before => self.before += 1,
        }
    }
}

/// The repo to push to: by its name in the manifest, by its url, or the manifest's only one.
fn repo(args: &Push, project: &Project) -> Result<RepoUrl> {
    let repos = &project.manifest.repos;
    let names = || repos.iter().map(|r| r.name.as_str());
    if let Some(wanted) = &args.to {
        let named = repos.iter().find(|r| r.name.as_str() == wanted).map(|r| r.url.clone());
        return named.or_else(|| wanted.parse().ok()).ok_or_else(|| {
            let problem = Diagnostic::error(Code::UNKNOWN_REPO, format!("the manifest names no repo `{wanted}`"));
            Failure::one(match nearest(wanted, names()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help("declare it under `repos:`"),
            })
        });
    }
    match repos.as_slice() {
        [only] => Ok(only.url.clone()),
        [] => Err(Failure::one(
            Diagnostic::error(Code::SEVERAL_REPOS, "the manifest names no repo to push to")
                .help("declare one under `repos:`"),
        )),
        _ => Err(Failure::one(
            Diagnostic::error(Code::SEVERAL_REPOS, "the manifest names several repos")
                .help(format!("say which: --to {}", names().collect::<Vec<_>>().join(" or --to "))),
        )),
    }
}

fn describe(event: &PushEvent) -> String {
    match event {
        PushEvent::Blob { digest, size, sent } => format!("{} blob {} ({size} bytes)", word(*sent), digest.short()),
        PushEvent::Manifest { digest, sent } => format!("{} manifest {}", word(*sent), digest.short()),
        PushEvent::Referrer { digest, subject, sent } => {
            format!("{} signature {} of {}", word(*sent), digest.short(), subject.short())
        }
        PushEvent::Skipped { digest, subject } => {
            format!("left behind: {} on {} can't be read as a signature", digest.short(), subject.short())
        }
        PushEvent::Tagged { tag, digest, sent, .. } => format!("{} tag {tag} = {}", word(*sent), digest.short()),
    }
}

fn word(sent: bundler::push::Sent) -> &'static str {
    match sent {
        bundler::push::Sent::Now => "sent",
        bundler::push::Sent::Before => "there:",
    }
}
