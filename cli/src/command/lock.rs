//! `bpfkit.lock`: what a build was made with, so that `--locked` can refuse anything else.
//!
//! It lies beside the manifest and belongs into version control. It holds the
//! compiler, the digest of the kernel BTF of each platform, and what each `image:`
//! reference with a tag meant.

use std::{collections::BTreeMap, fs, io::Write as _, path::PathBuf};

use bpfkit_compiler_driver::{BuildPlan, Toolchain};
use bpfkit_schemas::{Code, Diagnostic, names::Digest};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, Result},
    project::Project,
};

const VERSION: u32 = 1;

/// The file's content.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    version: u32,
    /// The compiler, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compiler: Option<String>,
    /// SHA-256 of the BTF that `vmlinux.h` is made from, by platform.
    #[serde(default)]
    btf: BTreeMap<String, Digest>,
    /// What each reference with a tag means.
    #[serde(default)]
    pub(super) images: BTreeMap<String, Digest>,
}

fn path(project: &Project) -> PathBuf {
    project.root.join("bpfkit.lock")
}

/// Reads the lock; an empty one where there is none.
pub(super) fn read(project: &Project) -> Result<Lock> {
    let path = path(project);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Lock { version: VERSION, ..Lock::default() });
        }
        Err(error) => return Err(Failure::unreadable(&path, &error)),
    };
    let lock: Lock = serde_json::from_str(&text).map_err(|error| {
        Failure::one(
            Diagnostic::error(Code::UNREADABLE, format!("`{}` is not a lock file", path.display()))
                .cause(error.to_string())
                .help("remove it, and build again without --locked"),
        )
    })?;
    if lock.version != VERSION {
        return Err(Failure::one(
            Diagnostic::error(
                Code::UNREADABLE,
                format!("`{}` has version {}; this bpfkit reads {VERSION}", path.display(), lock.version),
            )
            .help("remove it, and build again"),
        ));
    }
    Ok(lock)
}

/// Keeps what the build uses in the lock, or refuses a change if `locked`.
pub(super) fn keep_build(
    project: &Project,
    toolchain: Option<&Toolchain>,
    plan: &BuildPlan<'_>,
    locked: bool,
) -> Result<()> {
    let old = read(project)?;
    let new = Lock {
        version: VERSION,
        compiler: toolchain.map(|t| t.version().to_owned()),
        btf: plan.headers.iter().map(|h| (h.platform.to_string(), h.btf.digest())).collect(),
        images: old.images.clone(),
    };
    write(project, &old, &new, locked)
}

/// Keeps what images mean in the lock, or refuses a change if `locked`.
pub(super) fn keep_images(project: &Project, images: BTreeMap<String, Digest>, locked: bool) -> Result<()> {
    let old = read(project)?;
    let new = Lock { images, ..old.clone() };
    write(project, &old, &new, locked)
}

fn write(project: &Project, old: &Lock, new: &Lock, locked: bool) -> Result<()> {
    let path = path(project);
    if old == new && path.exists() {
        return Ok(());
    }
    if locked {
        return Err(Failure::one(changed(&path, old, new)));
    }
    let mut text = serde_json::to_string_pretty(new).unwrap_or_default();
    text.push('\n');
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(&project.root)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        // Readable as other files of the project are; a temporary file is its owner's alone.
        fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.persist(&path).map_err(|e| e.error)
    };
    write().map(drop).map_err(|e| Failure::unwritable(&path, &e))
}

fn changed(path: &std::path::Path, old: &Lock, new: &Lock) -> Diagnostic {
    let mut problem =
        Diagnostic::error(Code::LOCKED, format!("`{}` would change, and --locked forbids it", path.display()))
            .help("run the same command without --locked, look at the change, and commit it");
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    if old.compiler != new.compiler {
        problem = problem.note(format!("the compiler is {}, not {}", shown(&new.compiler), shown(&old.compiler)));
    }
    for (what, old, new) in [("the BTF for", &old.btf, &new.btf), ("the image", &old.images, &new.images)] {
        for (name, digest) in new {
            match old.get(name) {
                Some(was) if was == digest => {}
                Some(was) => {
                    problem = problem.note(format!("{what} {name} is {}, not {}", digest.short(), was.short()));
                }
                None => problem = problem.note(format!("{what} {name} is not in it")),
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            problem = problem.note(format!("{what} {name} is no longer used"));
        }
    }
    problem
}
