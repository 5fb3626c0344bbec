//! Finds the compiler. Spawns `clang --version` and `clang --print-targets`, nothing else.
//!
//! The search is the user's PATH, in this order: `clang`, then `clang-NN` with
//! the newest first. The first that is new enough and knows BPF is taken; if none
//! is, the error says what was wrong with each that was found.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bpfkit_schemas::{Code, Diagnostic, Digest};
use serde::{Deserialize, Serialize};

use crate::{
    digest::{Hasher, digest_of},
    error::BuildErrors,
    files::{self, Stamp},
};

/// The oldest clang whose BPF output we stand by: it has enum64 in BTF, `-mcpu=v3` and type tags.
pub const OLDEST: u32 = 15;

/// A compiler that was found, with what tells it from another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Toolchain {
    clang: PathBuf,
    version: String,
    identity: Digest,
}

impl Toolchain {
    /// Finds clang on `path_env`, the value of PATH.
    ///
    /// What an earlier call learnt about a binary that is still the same file is
    /// read from `target_dir`, so that a build with nothing to do starts no
    /// process. Scripts are always asked again: what they run may have changed.
    pub fn find(path_env: &OsStr, target_dir: &Path) -> Result<Self, BuildErrors> {
        let memory_file = target_dir.join("cache/toolchain.json");
        let mut memory = Memory::read(&memory_file);
        let mut refused = Vec::new();
        for candidate in candidates(path_env) {
            match memory.look_at(&candidate) {
                Ok(found) => {
                    memory.write(&memory_file);
                    return Ok(found);
                }
                Err(why) => refused.push(format!("{}: {why}", candidate.display())),
            }
        }
        let problem = Diagnostic::error(Code::COMPILER_NOT_FOUND, "no usable clang was found on PATH");
        let problem = refused.into_iter().fold(problem, Diagnostic::note);
        Err(problem.help(format!("install clang {OLDEST} or newer: `apt-get install clang`")).into())
    }

    /// The compiler's path, absolute, as found.
    pub fn clang(&self) -> &Path {
        &self.clang
    }

    /// The first line of `clang --version`.
    pub fn version(&self) -> &str {
        self.version.lines().next().unwrap_or_default()
    }

    /// What tells this compiler from another: its version output and its file's content.
    ///
    /// Independent of where it is installed, so that two machines with the same compiler agree.
    pub fn identity(&self) -> Digest {
        self.identity
    }
}

/// `clang` of each folder of PATH, then every `clang-NN`, the newest first. No double.
fn candidates(path_env: &OsStr) -> Vec<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(path_env).filter(|folder| folder.is_absolute()).collect();
    let mut found: Vec<PathBuf> = folders.iter().map(|folder| folder.join("clang")).collect();
    let mut numbered = Vec::new();
    for folder in &folders {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for name in entries.map(|entry| entry.file_name()) {
            let number = name.to_str().and_then(|name| name.strip_prefix("clang-")).and_then(|n| n.parse::<u32>().ok());
            if let Some(number) = number {
                numbered.push((number, folder.join(name)));
            }
        }
    }
    // Stable: among equals the earlier folder of PATH wins.
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.extend(numbered.into_iter().map(|(_, path)| path));
    found.retain(|path| path.is_file());
    found
}

/// What is remembered about compilers, by resolved path.
#[derive(Default, Serialize, Deserialize)]
struct Memory {
    #[serde(default)]
    known: BTreeMap<String, Known>,
    #[serde(skip)]
    changed: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    version: String,
    identity: Digest,
}

impl Memory {
    fn read(path: &Path) -> Self {
        // A memory that can't be read is no memory: everything is asked again.
        fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn write(&self, path: &Path) {
        if self.changed
            && let Ok(bytes) = serde_json::to_vec(self)
        {
            // Losing it costs one `clang --version`; a target folder that can't be written is reported by the build.
            let _ = files::write_if_changed(path, &bytes);
        }
    }

    fn look_at(&mut self, clang: &Path) -> Result<Toolchain, String> {
        let real = fs::canonicalize(clang).map_err(|error| error.to_string())?;
        let stamp = Stamp::of(&real).map_err(|error| error.to_string())?;
        let name = real.to_string_lossy().into_owned();
        if let Some(known) = self.known.get(&name)
            && known.stamp == stamp
        {
            let Known { version, identity, .. } = known.clone();
            return Ok(Toolchain { clang: clang.to_owned(), version, identity });
        }
        let found = ask(clang, &real)?;
        if !is_script(&real) {
            let known = Known { stamp, version: found.version.clone(), identity: found.identity };
            self.known.insert(name, known);
            self.changed = true;
        }
        Ok(found)
    }
}

fn ask(clang: &Path, real: &Path) -> Result<Toolchain, String> {
    let version = output(clang, "--version")?;
    let major = major(&version).ok_or("it doesn't say `clang version N`")?;
    if major < OLDEST {
        return Err(format!("version {major} is too old, {OLDEST} is needed"));
    }
    let targets = output(clang, "--print-targets")?;
    if !targets.lines().any(|line| line.split_whitespace().next() == Some("bpfel")) {
        return Err("it was built without the BPF target".into());
    }
    // `InstalledDir:` says where it is, not what it is.
    let what: Vec<&str> = version.lines().filter(|line| !line.starts_with("InstalledDir:")).collect();
    let mut identity = Hasher::new("bpfkit-compiler-1");
    identity.part(what.join("\n").as_bytes());
    identity.part(digest_of(&fs::read(real).map_err(|error| error.to_string())?).as_bytes());
    Ok(Toolchain { clang: clang.to_owned(), version, identity: identity.finish() })
}

fn output(clang: &Path, argument: &str) -> Result<String, String> {
    let output = Command::new(clang)
        .arg(argument)
        .env_clear()
        .envs(environment())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("`{argument}` ended with {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The environment that compilers run in: nothing of the user's, so that nothing of the user's is in the result
/// (`CPATH`, `CCC_OVERRIDE_OPTIONS`, `LANG`). PATH is for wrappers such as ccache's.
pub(crate) fn environment() -> [(OsString, OsString); 2] {
    [("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()), ("LC_ALL".into(), "C".into())]
}

fn major(version: &str) -> Option<u32> {
    let (_, after) = version.lines().find_map(|line| line.split_once("clang version "))?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_the_words_of_every_vendor() {
        for (text, expected) in [
            ("Debian clang version 19.1.7 (3~deb12u1)\nTarget: x86_64\n", Some(19)),
            ("clang version 22.1.8\n", Some(22)),
            ("Apple clang version 15.0.0 (clang-1500)\n", Some(15)),
            ("gcc (Debian) 12.2.0\n", None),
            ("clang version x\n", None),
        ] {
            assert_eq!(major(text), expected, "{text}");
        }
    }
}
