//! A set bundle's reference → the digests of everything that belongs to that version.
//!
//! This is what gets signed and what gets pushed, so a program image counts only
//! if its layers are those of the set bundle: whoever can move a tag can't slip
//! another image in between. Nor can whoever writes to a repository have a set
//! signed that says it is another: [`Listing::fits`] compares what was asked for
//! with what came.

use std::collections::BTreeSet;

use bpfkit_schemas::{
    bundle::{ProgramOrigin, SetConfig},
    names::{Digest, Platform, ProgramName, RepositoryName, SetName, Tag},
    reference::{Pinned, Reference},
};

pub use self::claim::{ClaimError, Misfit};

use crate::{
    hash::sha256,
    limits::Limits,
    network::Network,
    oci::{Document, Manifest},
    pull::{FormatError, PullError, read},
    referrers::Failed,
    set::program_tag,
    store::{Store, Want},
    transfer::TransferError,
};

mod claim;

/// Everything that belongs to one version of a set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// The set's index (or manifest) that was listed.
    pub pinned: Pinned,
    /// The set.
    pub set: SetName,
    /// The version.
    pub version: Tag,
    /// The repository that it belongs to.
    pub repository: RepositoryName,
    /// The set bundles.
    pub bundle: Listed,
    /// The images of the programs, in order.
    pub programs: Vec<(ProgramName, Listed)>,
    /// The images that programs came from, as they are carried along. They are signed by others.
    pub images: Vec<Digest>,
}

/// An index and the manifests in it; or one manifest, which is then both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The index.
    pub digest: Digest,
    /// What it lists.
    pub platforms: Vec<(Platform, Digest)>,
}

impl Listing {
    /// Whether this is what `asked` names, so that a signature may say so.
    ///
    /// The set names its own repository and version, and a signature repeats
    /// them. A registry that serves another set under the name that was asked
    /// for (another one's, an older version) must not get that signed: a
    /// repository that was named must be the set's own, and a tag its version.
    /// A layout has no name to compare.
    pub fn fits(&self, asked: &Reference) -> Result<(), ClaimError> {
        claim::fits(&self.repository, &self.version, asked)
    }
}

impl Listed {
    /// Every digest that is to be signed: the index, and each manifest in it.
    pub fn digests(&self) -> Vec<Digest> {
        let mut digests = vec![self.digest];
        digests.extend(self.platforms.iter().map(|(_, digest)| *digest).filter(|digest| *digest != self.digest));
        digests
    }
}

/// Lists what belongs to the set bundle that `pinned` names. Program images are found by their tags.
pub fn list(network: &Network, pinned: &Pinned) -> Result<Listing, PullError> {
    Store::open(network, &pinned.place, &Limits::default())
        .map_err(Failed::from)
        .and_then(|store| in_store(&store, pinned))
        .map_err(|failed| match failed {
            Failed::Transfer(source) => PullError::Transfer { reference: pinned.to_string(), source },
            Failed::Format(source) => PullError::Format { reference: pinned.to_string(), source },
        })
}

pub(crate) fn in_store(store: &Store<'_>, pinned: &Pinned) -> Result<Listing, Failed> {
    let limits = Limits::default();
    let bytes = store.fetch_one(Want::Manifest(pinned.digest))?;
    let children = children(store, pinned.digest, &bytes)?;
    let wants = children.iter().map(|(_, _, manifest)| {
        read::set_layers(manifest, &limits)?;
        Ok(Want::Blob(manifest.config.clone()))
    });
    let wants = wants.collect::<Result<Vec<_>, FormatError>>()?;
    let mut configs: Vec<SetConfig> = Vec::new();
    let mut platforms = Vec::new();
    for ((platform, digest, manifest), bytes) in children.iter().zip(store.fetch_all(&wants)?) {
        let platform = match platform {
            Some(platform) => *platform,
            // A manifest by itself says what it is for.
            None => read::platform_of(&bytes)?,
        };
        let config = read::set_config(&bytes, platform)?;
        read::layers_fit(&config, read::set_layers(manifest, &limits)?.0)?;
        platforms.push((platform, *digest));
        configs.push(config);
    }
    let Some(first) = configs.first() else {
        return Err(FormatError::NotASet { found: "an index of nothing".to_owned() }.into());
    };
    // One signature speaks for all of them.
    for config in &configs {
        let what = if config.set != first.set {
            "set"
        } else if config.repository != first.repository {
            "repository"
        } else if config.version != first.version {
            "version"
        } else {
            continue;
        };
        return Err(FormatError::PlatformsDisagree { what, one: first.platform, other: config.platform }.into());
    }
    let mut programs = Vec::new();
    for program in &first.programs {
        programs.push((program.name.clone(), program_image(store, &program.name, &configs)?));
    }
    let mut seen = BTreeSet::new();
    let images = configs.iter().flat_map(|config| &config.programs).filter_map(|program| match &program.origin {
        ProgramOrigin::Image { digest, .. } => seen.insert(*digest).then_some(*digest),
        ProgramOrigin::Files { .. } => None,
    });
    let images = images.collect();
    Ok(Listing {
        pinned: pinned.clone(),
        set: first.set.clone(),
        version: first.version.clone(),
        repository: first.repository.clone(),
        bundle: Listed { digest: pinned.digest, platforms },
        programs,
        images,
    })
}

/// The image of one program, which must hold the very layers that the set bundles name.
fn program_image(store: &Store<'_>, name: &ProgramName, configs: &[SetConfig]) -> Result<Listed, Failed> {
    let missing =
        |what: &str| TransferError::NotFound { place: store.place(), what: format!("{what} of program `{name}`") };
    let Some(version) = configs.first().map(|config| &config.version) else { return Err(missing("a version").into()) };
    let tag = program_tag(version, name).map_err(|_| missing("a tag"))?;
    let bytes = store.tagged(&tag)?;
    let digest = sha256(&bytes);
    let mut platforms = Vec::new();
    let children = children(store, digest, &bytes)?;
    for config in configs {
        let fitting =
            children.iter().find(|(platform, ..)| platform.is_none_or(|platform| platform == config.platform));
        let Some((_, child, manifest)) = fitting else {
            return Err(FormatError::NoPlatform { want: config.platform, have: Vec::new() }.into());
        };
        let layer = config.programs.iter().find(|program| program.name == *name).map(|program| program.layer);
        if layer.is_none() || manifest.layers.iter().map(|layer| Some(layer.digest)).ne([layer]) {
            return Err(FormatError::LayerSwapped { program: name.clone() }.into());
        }
        platforms.push((config.platform, *child));
    }
    // What isn't in the set would be signed without having been looked at.
    if children.len() != configs.len() {
        return Err(FormatError::LayerSwapped { program: name.clone() }.into());
    }
    Ok(Listed { digest, platforms })
}

/// The manifests of an index; or the one that stands by itself, whose platform is unknown here.
fn children(
    store: &Store<'_>,
    digest: Digest,
    bytes: &[u8],
) -> Result<Vec<(Option<Platform>, Digest, Manifest)>, Failed> {
    let index = match read::document(&digest, bytes)? {
        Document::Manifest(manifest) => return Ok(vec![(None, digest, manifest)]),
        Document::Index(index) => index,
    };
    let mut entries = Vec::new();
    for platform in read::platforms(&index)? {
        entries.push((platform, read::child(&index, platform)?));
    }
    let wants: Vec<_> = entries.iter().map(|(_, entry)| Want::Manifest(entry.digest)).collect();
    let mut children = Vec::new();
    for ((platform, entry), bytes) in entries.into_iter().zip(store.fetch_all(&wants)?) {
        read::same_size(entry, &bytes)?;
        match read::document(&entry.digest, &bytes)? {
            Document::Manifest(manifest) => children.push((Some(platform), entry.digest, manifest)),
            Document::Index(_) => return Err(FormatError::NestedIndex.into()),
        }
    }
    Ok(children)
}
