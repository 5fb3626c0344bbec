//! `bpfkit verify`: who signed a set, by which policy. Changes nothing.

use std::path::Path;

use bpfkit_applier::trust::{Asked, NoPolicy, Policy, VerifiedBundle, Word, decide};
use bpfkit_bundler::{self as bundler, FetchedBundle, Limits, Network, key::PublicKey};
use bpfkit_schemas::{
    bundle::ProgramOrigin,
    code::Exit,
    names::KeyName,
    reference::{Pinned, Place, Reference},
    report::{VERSION, VerifyReport},
    trust::{Claims, Demands, Quorum, Role, TrustBlock, TrustedKey},
};

use super::bundle::{last_pinned, network};
use crate::{
    args::{Global, Verify},
    failure::{Failure, Result},
    host,
    project::{self, Project},
    ui::Ui,
    view,
};

pub(super) fn run(args: &Verify, global: &Global, ui: &Ui) -> Result<Exit> {
    let project = match args.reference {
        Some(_) => None,
        None => Some(Project::open(global, ui)?),
    };
    let (fetched, asked) = match (&args.reference, &project) {
        (Some(text), _) => by_reference(&project::reference(text, global)?, &network(), ui)?,
        (None, Some(project)) => of_project(project)?,
        (None, None) => return Err(Failure::usage("there is nothing to verify", "name a set by reference")),
    };
    let policy = match (&args.trust, &args.key, &project) {
        (Some(file), _, _) => policy(&host::policy_file(file)?)?,
        (None, Some(file), _) => one_key(file, &fetched)?,
        (None, None, Some(project)) => of_manifest(project)?,
        (None, None, None) => of_host(&fetched)?,
    };
    let verified = decide(&policy, fetched, &asked, jiff::Timestamp::now())?;
    let config = verified.config();
    let report = VerifyReport {
        version: VERSION,
        reference: verified.pinned().to_string(),
        repository: config.repository.to_string(),
        tag: config.version.to_string(),
        grounds: verified.grounds().lines(),
        until: verified.grounds().until().map(|day| day.to_string()),
    };
    ui.show(&report, || {
        let grounds = report.grounds.iter().map(|line| format!("  {line}"));
        view::lines(std::iter::once(report.reference.clone()).chain(grounds))
    })?;
    Ok(Exit::Done)
}

/// Fetches what a reference names, and what it must then be.
///
/// In a registry a repository's place is its name, and what lies there must be signed for it: a
/// registry can't pass one repository's bundle off as another's. A layout has no name of its own.
pub(super) fn by_reference(reference: &Reference, network: &Network, ui: &Ui) -> Result<(FetchedBundle, Asked)> {
    let progress = ui.progress("fetching");
    progress.say(format!("fetching {reference}"));
    let pinned = bundler::pin(network, reference)?;
    let fetched = fetch(&pinned, network)?;
    let repository = match &reference.place {
        Place::Registry(name) => Some(name.clone()),
        Place::Layout(_) => None,
    };
    let asked =
        Asked { set: fetched.config.set.clone(), repository, version: reference.tag.clone(), word: Word::Reference };
    Ok((fetched, asked))
}

/// Fetches what `bundle` made last, and what it must be.
pub(super) fn of_project(project: &Project) -> Result<(FetchedBundle, Asked)> {
    let (last, pinned) = last_pinned(project)?;
    let manifest = &project.manifest;
    let asked = Asked {
        set: manifest.name.clone(),
        repository: Some(manifest.repository()),
        version: Some(last.version),
        word: Word::Manifest,
    };
    // A layout beside the manifest.
    Ok((fetch(&pinned, &Network::offline())?, asked))
}

/// Pulls a set for this machine.
pub(super) fn fetch(pinned: &Pinned, network: &Network) -> Result<FetchedBundle> {
    let platform = host::known_platform()?;
    Ok(bundler::pull(network, pinned, platform, &Limits::default())?)
}

/// The policy of a manifest's own trust block; without one nothing is believed.
pub(super) fn of_manifest(project: &Project) -> Result<Policy> {
    policy(&project.trust()?.unwrap_or_default())
}

/// The host's policy; where there is none, the error prints a start.
pub(super) fn of_host(fetched: &FetchedBundle) -> Result<Policy> {
    if let Some(block) = host::policy()? {
        return policy(&block);
    }
    Err(NoPolicy { repository: fetched.config.repository.clone() }.into())
}

fn policy(block: &TrustBlock) -> Result<Policy> {
    Ok(Policy::new(block)?)
}

/// "Signed by this key as author, for the repository that it says": what `verify --key` means.
fn one_key(file: &Path, fetched: &FetchedBundle) -> Result<Policy> {
    let key = PublicKey::read(file)?;
    let name: KeyName = "key"
        .parse()
        .map_err(|e: bpfkit_schemas::names::BadName| Failure::usage(e.to_string(), "report this as a bug"))?;
    let quorum = Quorum { threshold: std::num::NonZeroUsize::MIN, from: vec![name.clone()] };
    let trusted = TrustedKey { pem: key.pem().to_owned(), not_after: None };
    let demands = Demands { roles: [(Role::Author, quorum)].into(), claims: Claims::default() };
    let mut block = TrustBlock { keys: [(name, trusted)].into(), ..TrustBlock::default() };
    block.image.insert(fetched.config.repository.to_string(), demands.clone());
    // Programs that came from somebody else's image are that somebody's: this key may have signed them too.
    for program in &fetched.config.programs {
        if let ProgramOrigin::Image { repository, .. } = &program.origin {
            block.image.insert(repository.to_string(), demands.clone());
        }
    }
    policy(&block)
}

/// Decides about a fetched set by the policy that its word calls for.
pub(super) fn believe(fetched: FetchedBundle, asked: &Asked, project: Option<&Project>) -> Result<VerifiedBundle> {
    let policy = match project {
        Some(project) => of_manifest(project)?,
        None => of_host(&fetched)?,
    };
    Ok(decide(&policy, fetched, asked, jiff::Timestamp::now())?)
}
