//! `bpfkit bundle`: objects and images to a set in an OCI layout.

use std::{collections::BTreeMap, fs, path::PathBuf};

use bpfkit_bundler::{
    self as bundler, Bundled, Credentials, FetchedImage, Layout, Limits, Network, PackProgram, PackSet,
};
use bpfkit_compiler_driver::Built;
use bpfkit_objects::elf::Object;
use bpfkit_schemas::{
    Code, Diagnostic,
    bundle::ProgramOrigin,
    code::Exit,
    manifest::{BtfChoice, Manifest, Program, ProgramSource},
    names::{Digest, Platform, ProgramName, RepositoryName, Tag},
    reference::{Pinned, Place, Reference},
    report::{BundleReport, VERSION},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{build, lock};
use crate::{
    args::{self, Global},
    failure::{Failure, Result},
    project::Project,
    ui::Ui,
};

/// What `bundle` made last, as the other verbs find it: `.bpfkit/bundle.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    /// The version.
    pub(super) version: Tag,
    /// The digest of the set's index in `.bpfkit/oci`.
    pub(super) digest: Digest,
    /// Stands for what of the manifest shaped the bundle: see [`shape`].
    pub(super) shape: Digest,
}

pub(super) fn run(args: &args::Bundle, global: &Global, ui: &Ui) -> Result<Exit> {
    let project = Project::open(global, ui)?;
    let (tag, bundled) = make(&project, args, &network(), ui)?;
    let reference =
        Reference { place: bundled.pinned.place.clone(), tag: Some(tag.clone()), digest: Some(bundled.pinned.digest) };
    let report = BundleReport {
        version: VERSION,
        reference: reference.to_string(),
        tag: tag.to_string(),
        digest: bundled.pinned.digest.to_string(),
        programs: bundled.programs.iter().map(|(name, digest)| (name.to_string(), digest.to_string())).collect(),
    };
    ui.show(&report, || format!("{reference}\n"))?;
    Ok(Exit::Done)
}

/// Builds, lays out, and remembers what was made.
pub(super) fn make(project: &Project, args: &args::Bundle, network: &Network, ui: &Ui) -> Result<(Tag, Bundled)> {
    let version: Tag = args
        .tag
        .parse()
        .map_err(|e: bpfkit_schemas::names::BadName| Failure::usage(e.to_string(), "like `--tag 1.4`"))?;
    let built = build::objects(project, &args.build, ui)?;
    let images = images(project, args.build.locked, network, ui)?;
    let pack = pack(project, &version, &built, images)?;
    let layout = Layout::create(project.layout_dir())?;
    let bundled = bundler::bundle(&layout, &pack)?;
    remember(
        project,
        &Last { version: version.clone(), digest: bundled.pinned.digest, shape: shape(&project.manifest) },
    )?;
    Ok((version, bundled))
}

/// Stands for everything in a manifest that decides which bytes a bundle holds and that `apply` doesn't
/// take from the manifest itself: `build:`, and of each program all but the globals of its own objects.
///
/// Compared before a manifest is applied, so that no edit of it is silently left out.
pub(super) fn shape(manifest: &Manifest) -> Digest {
    let build = &manifest.build;
    let flags: Vec<_> = build.cflags.iter().map(|(flag, _)| flag).collect();
    let btf = match &build.btf {
        BtfChoice::Default => "default".to_owned(),
        BtfChoice::Host => "host".to_owned(),
        BtfChoice::File(path, _) => format!("file {}", path.display()),
    };
    let programs = manifest.programs.iter().map(|program| {
        let (from, globals) = match &program.from {
            ProgramSource::C(path, _) => (format!("source {}", path.display()), None),
            ProgramSource::Object(path, _) => (format!("object {}", path.display()), None),
            ProgramSource::Image { reference, pick, .. } => {
                let pick = pick.as_ref().map(|name| format!(" program {name}")).unwrap_or_default();
                (format!("image {reference}{pick}"), Some(&program.globals))
            }
        };
        (&program.name, from, program.entry.as_ref().map(|(entry, _)| entry), program.kind, globals)
    });
    let programs: Vec<_> = programs.collect();
    let said = serde_json::to_vec(&(&manifest.name, &build.platforms, btf, flags, programs)).unwrap_or_default();
    Digest::from_bytes(Sha256::digest(said).into())
}

fn pack(
    project: &Project,
    version: &Tag,
    built: &[Built],
    images: Vec<(ProgramName, FetchedImage)>,
) -> Result<PackSet> {
    let manifest = &project.manifest;
    let mut platforms: BTreeMap<Platform, Vec<PackProgram>> = BTreeMap::new();
    let mut problems = Vec::new();
    for &platform in &manifest.build.platforms {
        let mut programs = Vec::new();
        for program in &manifest.programs {
            let packed = match &program.from {
                ProgramSource::Image { identity, reference, .. } => {
                    let image = images.iter().find(|(name, _)| name == &program.name);
                    image.map(|(_, image)| from_image(program, identity, reference, image, platform))
                }
                _ => built
                    .iter()
                    .find(|b| b.program == program.name && b.platform == platform)
                    .map(|b| from_built(program, b)),
            };
            match packed {
                Some(Ok(packed)) => programs.push(packed),
                Some(Err(found)) => problems.extend(found.0),
                None => {}
            }
        }
        platforms.insert(platform, programs);
    }
    if !problems.is_empty() {
        return Err(Failure(problems));
    }
    Ok(PackSet {
        set: manifest.name.clone(),
        version: version.clone(),
        repository: manifest.repository(),
        vars: manifest.vars.clone(),
        maps: manifest.maps.clone(),
        chains: manifest.chains.clone(),
        trust: project.trust()?,
        manifest_yaml: manifest.source.text.clone().into_bytes(),
        platforms,
        created: source_date_epoch()?,
        images: images.into_iter().map(|(_, image)| image).collect(),
    })
}

fn from_built(program: &Program, built: &Built) -> Result<PackProgram> {
    Ok(PackProgram {
        name: program.name.clone(),
        entry: built.entry.clone(),
        kind: built.kind,
        globals: program.globals.clone(),
        origin: ProgramOrigin::Files { files: built.files.clone() },
        object: built.descriptor.clone(),
        bytes: built.bytes().map_err(|e| Failure::unreadable(&built.path, &e))?,
    })
}

fn from_image(
    program: &Program,
    identity: &RepositoryName,
    reference: &Reference,
    image: &FetchedImage,
    platform: Platform,
) -> Result<PackProgram> {
    let Some(found) = image.objects.get(&platform) else {
        return Err(Failure::one(Diagnostic::error(
            Code::BUNDLE_NOT_FOUND,
            format!("the image of `{}` has nothing for {platform}", program.name),
        )));
    };
    let object = Object::parse(&found.bytes).map_err(|problems| {
        Failure(problems.iter().flat_map(bpfkit_schemas::diagnostic::Diagnose::diagnose).collect())
    })?;
    let descriptor = object.descriptor();
    let picked = found.program.as_ref().map(|p| p.entry.clone());
    let entry = program.entry.as_ref().map(|(entry, _)| entry.clone()).or(picked);
    let chosen = match (&entry, descriptor.programs.as_slice()) {
        (Some(entry), programs) => programs.iter().find(|p| &p.function == entry),
        (None, [only]) => Some(only),
        (None, programs) => programs.iter().find(|p| p.function == program.name.as_str()),
    };
    let kind = program.kind.or(found.program.as_ref().map(|p| p.kind)).or(chosen.and_then(|p| p.kind));
    let (Some(chosen), Some(kind)) = (chosen, kind) else {
        let names: Vec<_> = descriptor.programs.iter().map(|p| p.function.as_str()).collect();
        return Err(Failure::one(
            Diagnostic::error(
                Code::BUNDLE_NOT_FOUND,
                format!("it is not clear which program of the image `{}` means", program.name),
            )
            .note(format!("the object has {}", names.join(", ")))
            .help("say which with `entry:` (and `type:` where the section doesn't say)"),
        ));
    };
    let mut globals = found.program.as_ref().map(|p| p.globals.clone()).unwrap_or_default();
    globals.extend(program.globals.clone());
    let origin = ProgramOrigin::Image {
        repository: identity.clone(),
        version: image.version.clone().or_else(|| reference.tag.clone()),
        digest: image.pinned.digest,
    };
    let entry = chosen.function.clone();
    Ok(PackProgram {
        name: program.name.clone(),
        entry,
        kind,
        globals,
        origin,
        object: descriptor,
        bytes: found.bytes.clone(),
    })
}

/// Fetches the images that programs come from, each by the digest that the lock knows or that its tag has now.
fn images(project: &Project, locked: bool, network: &Network, ui: &Ui) -> Result<Vec<(ProgramName, FetchedImage)>> {
    let known = lock::read(project)?.images;
    let mut used = BTreeMap::new();
    let mut images = Vec::new();
    let progress = ui.progress("fetching images");
    for program in &project.manifest.programs {
        let ProgramSource::Image { reference, pick, .. } = &program.from else { continue };
        progress.say(format!("fetching {reference}"));
        let pinned = match (reference.pinned(), known.get(&reference.to_string())) {
            (Some(pinned), _) => pinned,
            (None, Some(digest)) => Pinned { place: reference.place.clone(), digest: *digest },
            (None, None) => bundler::pin(network, &project.placed(reference))?,
        };
        if reference.digest.is_none() {
            used.insert(reference.to_string(), pinned.digest);
        }
        let pinned = Pinned { place: project.placed_at(&pinned.place), digest: pinned.digest };
        let image = bundler::pull_image(
            network,
            &pinned,
            &project.manifest.build.platforms,
            pick.as_ref(),
            &Limits::default(),
        )?;
        images.push((program.name.clone(), image));
    }
    drop(progress);
    if used != known {
        lock::keep_images(project, used, locked)?;
    }
    Ok(images)
}

/// `SOURCE_DATE_EPOCH`, or 1970: the time of the build says nothing about what was built.
fn source_date_epoch() -> Result<i64> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(0) };
    text.to_str().and_then(|t| t.parse().ok()).ok_or_else(|| {
        Failure::usage("SOURCE_DATE_EPOCH is not a number of seconds", "unset it, or set it to seconds since 1970")
    })
}

fn last_path(project: &Project) -> PathBuf {
    project.target.join("bundle.json")
}

fn remember(project: &Project, last: &Last) -> Result<()> {
    let path = last_path(project);
    let write = || {
        let file = tempfile::NamedTempFile::new_in(&project.target)?;
        serde_json::to_writer(&file, last)?;
        file.persist(&path).map_err(|e| e.error)
    };
    write().map(drop).map_err(|e| Failure::unwritable(&path, &e))
}

/// What `bundle` made last.
pub(super) fn last(project: &Project) -> Result<Last> {
    let path = last_path(project);
    let missing = |cause: String| {
        Failure::one(
            Diagnostic::error(Code::NOT_BUNDLED, format!("`{}` has not been bundled yet", project.manifest.name))
                .cause(cause)
                .help("run `bpfkit bundle` first, or `bpfkit dev`"),
        )
    };
    let text = fs::read_to_string(&path).map_err(|e| missing(format!("{}: {e}", path.display())))?;
    serde_json::from_str(&text).map_err(|e| missing(format!("{}: {e}", path.display())))
}

/// What `bundle` made last, as a reference by digest.
pub(super) fn last_pinned(project: &Project) -> Result<(Last, Pinned)> {
    let last = last(project)?;
    let pinned = Pinned { place: Place::Layout(project.layout_dir()), digest: last.digest };
    Ok((last, pinned))
}

/// The way to registries, with the user's credentials.
pub(super) fn network() -> Network {
    Network::new(Credentials::from_env())
}
