//! Whose a foreign program is, as far as it can be found out cheaply: a pin, a well-known name, a process.
//!
//! Looked up only once a stranger is at a hook of ours. Every search is bounded,
//! and what isn't found is left unsaid.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::programs::Seen;
use crate::kernel::{
    bpffs,
    sys::{self, Object},
};

/// The most pins that are opened, and how deep directories are entered.
const MAX_PINS: usize = 4_096;
const MAX_DEPTH: usize = 6;
/// The most descriptors of other processes that are looked at.
const MAX_DESCRIPTORS: usize = 20_000;

/// What can be said about the owner of a program, which `link` may hold.
pub(super) fn describe(bpffs: &Path, seen: &Seen, link: Option<u32>) -> Option<String> {
    let mut facts = Vec::new();
    if seen.info.name == "xdp_dispatcher" {
        facts.push("a libxdp dispatcher".to_owned());
    } else if seen.info.name.starts_with("cil_") {
        facts.push("Cilium by its name".to_owned());
    }
    if let Some(path) = pin(bpffs, seen.info.id, link) {
        facts.push(format!("pinned at {}", path.display()));
    } else if let Some(process) = process(seen.info.id, link) {
        facts.push(process);
    }
    (!facts.is_empty()).then(|| facts.join(", "))
}

/// Where the program or its link is pinned.
fn pin(bpffs: &Path, program: u32, link: Option<u32>) -> Option<PathBuf> {
    let mut left = MAX_PINS;
    let mut directories = vec![(bpffs.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().map_while(Result::ok) {
            left = left.checked_sub(1)?;
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() && depth < MAX_DEPTH {
                directories.push((path, depth + 1));
            } else if kind.is_file() && is_held_by(&path, program, link) {
                return Some(path);
            }
        }
    }
    None
}

fn is_held_by(path: &Path, program: u32, link: Option<u32>) -> bool {
    match bpffs::open(path) {
        Ok(Some(Object::Program(found))) => sys::program_info(&found).is_ok_and(|info| info.id == program),
        Ok(Some(Object::Link(found))) => sys::link_info(&found).is_ok_and(|info| Some(info.id) == link),
        _ => false,
    }
}

/// The process that holds the program or its link open: `process 812 (loader)`.
fn process(program: u32, link: Option<u32>) -> Option<String> {
    let mut left = MAX_DESCRIPTORS;
    for process in fs::read_dir("/proc").ok()?.map_while(Result::ok) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().map_while(Result::ok) {
            left = left.checked_sub(1)?;
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let (field, id) = match target.to_str() {
                Some("anon_inode:bpf-prog") => ("prog_id", program),
                Some("anon_inode:bpf_link" | "anon_inode:bpf-link") if link.is_some() => {
                    ("link_id", link.unwrap_or_default())
                }
                _ => continue,
            };
            let info = process.path().join("fdinfo").join(descriptor.file_name());
            if fs::read_to_string(info).is_ok_and(|text| says(&text, field, id)) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("held by process {pid} ({})", name.trim_end().escape_default()));
            }
        }
    }
    None
}

/// Whether an fdinfo has the line `field:\tid`.
fn says(fdinfo: &str, field: &str, id: u32) -> bool {
    fdinfo
        .lines()
        .any(|line| line.split_once(':').is_some_and(|(name, value)| name == field && value.trim().parse() == Ok(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_fdinfo_is_read_by_whole_fields() {
        let text = "pos:\t0\nlink_type:\txdp\nlink_id:\t12\nprog_tag:\t00\nprog_id:\t123\n";
        assert!(says(text, "prog_id", 123) && says(text, "link_id", 12));
        assert!(!says(text, "prog_id", 12) && !says(text, "id", 123) && !says("", "prog_id", 0));
    }
}
