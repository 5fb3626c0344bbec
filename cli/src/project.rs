//! A manifest on disk, with the folder that it describes.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bpfkit_schemas::{
    Code, Diagnostic, Source,
    manifest::{Checked, Manifest, Overrides, check},
    names::nearest,
    reference::{Place, Reference, Repo, RepoUrl},
    trust::TrustBlock,
    yaml::MAX_BYTES,
};

use crate::{
    args::Global,
    failure::{Failure, Result},
    host,
    ui::Ui,
};

/// A project: a checked manifest and where it lies.
pub(crate) struct Project {
    /// The manifest.
    pub(crate) manifest: Manifest,
    /// Its folder; everything that it names is relative to that.
    pub(crate) root: PathBuf,
    /// Where objects and bundles go.
    pub(crate) target: PathBuf,
}

impl Project {
    /// Reads and checks the manifest; shows its warnings.
    pub(crate) fn open(global: &Global, ui: &Ui) -> Result<Self> {
        let source = read(&global.file)?;
        let Checked { manifest, warnings } = check(&source, &overrides(global)?).map_err(Failure)?;
        ui.diagnostics(&warnings);
        let root = root_of(&global.file);
        let target = global
            .target_dir
            .clone()
            .unwrap_or_else(|| if root == Path::new(".") { PathBuf::from(".bpfkit") } else { root.join(".bpfkit") });
        Ok(Self { manifest, root, target })
    }

    /// The layout that `bundle` writes.
    pub(crate) fn layout_dir(&self) -> PathBuf {
        self.target.join("oci")
    }

    /// A place as this process can reach it: a layout that the manifest names is relative to the manifest.
    pub(crate) fn placed_at(&self, place: &Place) -> Place {
        match place {
            Place::Layout(dir) if self.root != Path::new(".") => Place::Layout(self.root.join(dir)),
            other => other.clone(),
        }
    }

    /// A reference of the manifest as this process can reach it.
    pub(crate) fn placed(&self, reference: &Reference) -> Reference {
        Reference { place: self.placed_at(&reference.place), ..reference.clone() }
    }

    /// The trust block with its keys read; `None` where the manifest has none.
    pub(crate) fn trust(&self) -> Result<Option<TrustBlock>> {
        let Some(trust) = &self.manifest.trust else { return Ok(None) };
        host::read_keys(trust.clone(), &self.root, &self.manifest.source).map(Some)
    }
}

/// A reference as typed: the manifest's repos count where there is a manifest, then the host's.
///
/// A layout that the manifest names lies beside the manifest, wherever the command was typed.
pub(crate) fn reference(text: &str, global: &Global) -> Result<Reference> {
    let mut repos = Vec::new();
    let mut broken = None;
    if global.file.exists() {
        match check(&read(&global.file)?, &overrides(global)?) {
            Ok(checked) => {
                let root = root_of(&global.file);
                repos.extend(
                    checked.manifest.repos.into_iter().map(|repo| Repo { url: beside(repo.url, &root), ..repo }),
                );
            }
            Err(problems) => broken = Some(problems),
        }
    }
    for repo in host::repos()? {
        if !repos.iter().any(|known| known.name == repo.name) {
            repos.push(repo);
        }
    }
    Reference::parse(text, &repos).map_err(|e| match broken {
        // The name may well be in the manifest that can't be read.
        Some(problems) if e.why.starts_with("no repo is named") => Failure(problems),
        None if e.why.starts_with("no repo is named") => {
            let first = text.split('/').next().unwrap_or(text);
            let near = nearest(first, repos.iter().map(|repo| repo.name.as_str()));
            Failure::one(Diagnostic::error(Code::UNKNOWN_REPO, e.to_string()).help(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it under `repos:`; a directory is written `oci:DIR:tag`".to_owned(),
            }))
        }
        _ => Failure::usage(
            e.to_string(),
            "a reference is `host/path:tag`, `host/path@sha256:…`, `oci:DIR:tag` or `REPO/path:tag`",
        ),
    })
}

/// The folder of a manifest.
fn root_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn beside(url: RepoUrl, root: &Path) -> RepoUrl {
    match url {
        RepoUrl::Layout(dir) if root != Path::new(".") => RepoUrl::Layout(root.join(dir)),
        other => other,
    }
}

fn overrides(global: &Global) -> Result<Overrides> {
    let mut set = Vec::new();
    for text in &global.set {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`--set {text}` has no `=`"), "write `--set name=value`"))?;
        set.push((name.to_owned(), value.to_owned()));
    }
    Ok(Overrides { set, machine: host::platform() })
}

/// Reads a manifest's text: one read, bounded, of whatever the path leads to.
fn read(path: &Path) -> Result<Arc<Source>> {
    let file = fs::File::open(path).map_err(|error| {
        let failure = Failure::unreadable(path, &error);
        if error.kind() == std::io::ErrorKind::NotFound {
            return Failure(
                failure
                    .0
                    .into_iter()
                    .map(|d| d.help("`bpfkit init` writes a project; `-f FILE` names another manifest"))
                    .collect(),
            );
        }
        failure
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|e| Failure::unreadable(path, &e))?;
    if bytes.len() > MAX_BYTES {
        let title = format!("`{}` has more than {MAX_BYTES} bytes, the most that a manifest may have", path.display());
        return Err(Failure::one(Diagnostic::error(bpfkit_schemas::Code::YAML_TOO_LARGE, title)));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::one(Diagnostic::error(
            bpfkit_schemas::Code::NOT_YAML,
            format!("`{}` is not text in UTF-8", path.display()),
        ))
    })?;
    Ok(Source::new(path.display().to_string(), text))
}
