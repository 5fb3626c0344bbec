//! What this host says: its facts, its policy, its repos.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bpfkit_applier::{generations::again::Today, kernel::Places, trust::Policy};
use bpfkit_schemas::{
    Code, Diagnostic, Source,
    manifest::{ManifestTrust, check_policy, check_repos},
    names::{Arch, Platform},
    reference::Repo,
    template::HostFacts,
    trust::TrustBlock,
};

use crate::failure::{Failure, Result};

/// The host's own word on whom to believe.
pub(crate) const POLICY: &str = "/etc/bpfkit/trust.yml";
/// The host's own names for places.
pub(crate) const REPOS: &str = "/etc/bpfkit/repos.yml";
/// The most bytes of a key file that are read.
const KEY_LIMIT: u64 = 16 * 1024;

/// The facts that templates may name.
pub(crate) fn facts() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    HostFacts {
        name: text(uname.nodename()),
        arch: Arch::of_this_machine().map_or_else(|| text(uname.machine()), |arch| arch.oci().to_owned()),
        kernel: text(uname.release()),
    }
}

/// This machine's platform, where bpfkit knows it.
pub(crate) fn platform() -> Option<Platform> {
    Arch::of_this_machine().map(|arch| Platform { arch })
}

/// This machine's platform, or why nothing can be applied here.
pub(crate) fn known_platform() -> Result<Platform> {
    platform().ok_or_else(|| {
        Failure::one(
            Diagnostic::error(Code::BUNDLE_NOT_FOUND, "bpfkit doesn't know this machine's platform")
                .help("it runs on linux/amd64 and linux/arm64"),
        )
    })
}

/// What this host says today, for whoever applies again what it keeps.
pub(crate) fn today() -> Result<Today> {
    let policy = match policy()? {
        Some(block) => Some(Policy::new(&block)?),
        None => None,
    };
    Ok(Today {
        policy,
        facts: facts(),
        platform: known_platform()?,
        now: jiff::Timestamp::now(),
        places: Places::default(),
    })
}

/// The repos that the host names; none where it has no such file.
pub(crate) fn repos() -> Result<Vec<Repo>> {
    let path = Path::new(REPOS);
    match fs::read_to_string(path) {
        Ok(text) => Ok(check_repos(&Source::new(REPOS, text)).map_err(Failure)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::unreadable(path, &error)),
    }
}

/// The host's policy; `None` where it has none.
pub(crate) fn policy() -> Result<Option<TrustBlock>> {
    let path = Path::new(POLICY);
    if !path.exists() {
        return Ok(None);
    }
    policy_file(path).map(Some)
}

/// A policy from a file; keys that it names are relative to it.
pub(crate) fn policy_file(path: &Path) -> Result<TrustBlock> {
    let text = fs::read_to_string(path).map_err(|e| Failure::unreadable(path, &e))?;
    let source = Source::new(path.display().to_string(), text);
    let trust = check_policy(&source, &repos()?).map_err(Failure)?;
    read_keys(trust, path.parent().unwrap_or(Path::new(".")), &source)
}

/// Reads the keys that a trust block names as files.
pub(crate) fn read_keys(trust: ManifestTrust, base: &Path, source: &std::sync::Arc<Source>) -> Result<TrustBlock> {
    let mut problems = Vec::new();
    let ManifestTrust { mut block, files } = trust;
    for (name, (file, span)) in files {
        let path: PathBuf = base.join(&file);
        match read_small(&path) {
            Ok(pem) => {
                if let Some(key) = block.keys.get_mut(&name) {
                    key.pem = pem;
                }
            }
            Err(error) => problems.push(
                Diagnostic::error(
                    Code::UNREADABLE,
                    format!("the key `{name}` can't be read from `{}`", path.display()),
                )
                .at(source, span, "named here")
                .caused_by(&error)
                .help("`bpfkit trust keygen --output PREFIX` makes a key pair; `bpfkit dev` makes its own"),
            ),
        }
    }
    if problems.is_empty() { Ok(block) } else { Err(Failure(problems)) }
}

fn read_small(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?.take(KEY_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}
