//! The manifest's folder: which paths lie in it, and how they are spelt. Looks at the file system, changes nothing.
//!
//! There are two spellings. *Inside* names are relative to the folder, as clang
//! gets them and as build records keep them, so a checkout can move. *Spelt*
//! names start from the caller's working directory, as the user sees them.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use bpfkit_schemas::{Code, Diagnostic};

use crate::error::Place;

/// The manifest's folder.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    spelt: PathBuf,
    real: PathBuf,
}

impl Project {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        Ok(Self { spelt: root.to_owned(), real: fs::canonicalize(root)? })
    }

    /// The folder itself, absolute and without links.
    pub(crate) fn real(&self) -> &Path {
        &self.real
    }

    /// Where an inside or absolute name is.
    pub(crate) fn locate(&self, inside: &str) -> PathBuf {
        self.real.join(inside)
    }

    /// Resolves a path of the manifest, refusing what leads out of the folder, links included.
    /// A path that doesn't exist is judged by its spelling.
    pub(crate) fn inside(&self, path: &Path, place: &Place) -> Result<PathBuf, Diagnostic> {
        let full = self.real.join(path);
        let stays = match fs::canonicalize(&full) {
            Ok(real) => real.starts_with(&self.real),
            Err(_) => plain(&full).starts_with(&self.real),
        };
        if stays && !path.is_absolute() {
            return Ok(full);
        }
        let title = format!("`{}` leads out of the manifest's folder", path.display());
        Err(place
            .error(Code::PATH_LEAVES_PROJECT, title, "outside the project")
            .help("move the file into the manifest's folder, or the manifest further up"))
    }

    /// A path relative to the folder, as an argument that is neither a flag nor a response file.
    pub(crate) fn argument(path: &Path) -> String {
        let text = plain(path).to_string_lossy().into_owned();
        if text.is_empty() {
            ".".to_owned()
        } else if text.starts_with(['-', '@']) {
            format!("./{text}")
        } else {
            text
        }
    }

    /// The inside name of a file that clang read (relative to the folder, or absolute); absolute for one outside.
    pub(crate) fn name(&self, path: &Path) -> String {
        let full = plain(&self.real.join(path));
        full.strip_prefix(&self.real).unwrap_or(&full).to_string_lossy().into_owned()
    }

    /// How the caller would spell an inside name.
    pub(crate) fn spell(&self, inside: &str) -> PathBuf {
        plain(&self.spelt.join(inside))
    }
}

/// The path without `.` and, where that is possible by spelling alone, `..`.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
