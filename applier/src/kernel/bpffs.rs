//! Where a set's pins lie in bpffs, and making, moving and removing them.
//!
//! | path below `<bpffs>/bpfkit/<set>` | what |
//! | --- | --- |
//! | `maps/<name>` | a map that the set shares |
//! | `programs/<program>/<map>` | one program's map; `_data`, `_bss` for `.data`, `.bss`, since bpffs refuses dots |
//! | `links/<hook>-<namespace>-<index>` | the link of one hook: namespace by inode, interface by index; cgroup by id, and 0 |
//! | `records/<hook>-<namespace>-<index>` | that hook's record map, so that it is known when the link is gone |
//! | `generation` | a symbolic link to the number of the generation that is live ([`super::published`]) |
//! | `tmp-…` | what a step that was cut off left behind |
//!
//! A pin appears or is exchanged in one step: it is made under a temporary name and
//! renamed (bpffs renames over a pin as other file systems do). Directories, `bpfkit`
//! among them, come with the first pin and go with the last.

use std::{
    ffi::CString,
    fs, io,
    os::{fd::AsFd, unix::ffi::OsStrExt as _, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use bpfkit_schemas::{hook::Hook, names::SetName};
use rustix::mount::{MountFlags, mount};

use crate::{
    kernel::{
        error::KernelError,
        sys::{self, Link, Object},
    },
    live::{HookPoint, MapKey},
};

/// `BPF_FS_MAGIC` (`linux/magic.h`).
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// What the name of a half-made pin begins with. No directory of a set does.
pub(crate) const TEMPORARY: &str = "tmp-";

/// The directory of one set.
#[derive(Clone, Debug)]
pub(crate) struct SetDirectory {
    bpffs: PathBuf,
    path: PathBuf,
}

impl SetDirectory {
    /// Names the directory; nothing is opened or made.
    pub(crate) fn new(bpffs: &Path, set: &SetName) -> Self {
        Self { bpffs: bpffs.to_owned(), path: bpffs.join("bpfkit").join(set.as_str()) }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a map is pinned.
    pub(crate) fn map(&self, key: &MapKey) -> PathBuf {
        match key {
            MapKey::Shared(name) => self.path.join("maps").join(name.as_str()),
            MapKey::Private(program, name) => self.path.join("programs").join(program.as_str()).join(map_file(name)),
        }
    }

    /// Where a hook's link is pinned.
    pub(crate) fn link(&self, point: &HookPoint) -> PathBuf {
        self.path.join("links").join(point_file(point))
    }

    /// Where a hook's record map is pinned.
    pub(crate) fn record(&self, point: &HookPoint) -> PathBuf {
        self.path.join("records").join(point_file(point))
    }

    /// Pins `object` at `path` of this set, in place of whatever is pinned there.
    pub(crate) fn pin(&self, object: &impl AsFd, path: &Path) -> Result<(), KernelError> {
        self.make_directory(path.parent().unwrap_or(&self.path))?;
        let pinning = |source| KernelError::Pin { doing: "pinning", path: path.to_owned(), source };
        let temporary = self.path.join(format!("{TEMPORARY}{}", std::process::id()));
        // The lock makes the name ours alone; an older one is a killed run's.
        remove(&temporary)?;
        sys::obj_pin(object, &c_path(&temporary).map_err(pinning)?).map_err(pinning)?;
        fs::rename(&temporary, path).map_err(|source| {
            let _ = fs::remove_file(&temporary);
            pinning(source)
        })
    }

    /// Pins a link at `path`, where nothing may be but the pin of a link that holds nothing any more.
    ///
    /// Never under a temporary name: a run that is killed would leave a chain behind that nobody finds.
    pub(crate) fn pin_link(&self, link: &Link, path: &Path) -> Result<(), KernelError> {
        self.make_directory(path.parent().unwrap_or(&self.path))?;
        let pinning = |source| KernelError::Pin { doing: "pinning", path: path.to_owned(), source };
        let name = c_path(path).map_err(pinning)?;
        match sys::obj_pin(link, &name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map_err(pinning),
        }
        if let Some(Object::Link(old)) = open(path)? {
            let (there, wanted) = (sys::link_info(&old).map_err(pinning)?, sys::link_info(link).map_err(pinning)?);
            if there.id == wanted.id {
                return Ok(());
            }
            if there.target == 0 {
                remove(path)?;
            }
        }
        sys::obj_pin(link, &name).map_err(pinning)
    }

    /// Removes the pin at `path`, and directories of ours that are empty then. That it is gone is no error.
    pub(crate) fn unpin(&self, path: &Path) -> Result<(), KernelError> {
        remove(path)?;
        self.tidy();
        Ok(())
    }

    /// Removes every directory of ours that is empty, up to `bpfkit` itself.
    pub(crate) fn tidy(&self) {
        let programs = self.path.join("programs");
        let of_programs = fs::read_dir(&programs).into_iter().flatten().map_while(Result::ok).map(|entry| entry.path());
        let ours = ["links", "records", "maps"].map(|name| self.path.join(name));
        let above = [programs.clone(), self.path.clone(), self.bpffs.join("bpfkit")];
        for directory in of_programs.chain(ours).chain(above) {
            // Not empty, gone, no directory, or somebody is faster: all the same to us.
            let _ = fs::remove_dir(directory);
        }
    }

    /// Mounts bpffs if nobody has, and makes `path` with its parents.
    pub(super) fn make_directory(&self, path: &Path) -> Result<(), KernelError> {
        if path.is_dir() {
            return Ok(());
        }
        ensure_mounted(&self.bpffs)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| KernelError::Pin {
            doing: "making the directory",
            path: path.to_owned(),
            source,
        })
    }
}

/// Whether `path` is on a bpffs; false where there is nothing.
pub(crate) fn is_bpffs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| u32::try_from(stat.f_type) == Ok(BPF_FS_MAGIC))
}

fn ensure_mounted(bpffs: &Path) -> Result<(), KernelError> {
    if is_bpffs(bpffs) {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", bpffs, "bpf", flags, c"mode=0700")
        .map_err(|errno| KernelError::NoBpffs { path: bpffs.to_owned(), source: errno.into() })
}

/// Opens what is pinned at `path`; `None` where nothing is.
pub(crate) fn open(path: &Path) -> Result<Option<Object>, KernelError> {
    let opening = |source| KernelError::Pin { doing: "opening", path: path.to_owned(), source };
    match sys::obj_get(&c_path(path).map_err(opening)?) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(opening(error)),
    }
}

/// Unlinks `path`. That it is gone is no error.
pub(crate) fn remove(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(source) => Err(KernelError::Pin { doing: "removing", path: path.to_owned(), source }),
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// How bpffs spells a map's name. Map names come from objects, so whatever isn't
/// part of a C identifier is an underscore: the result is one path component.
pub(crate) fn map_file(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// The name that a file under `programs/<program>` stands for, as far as it can be told: `_bss` is `.bss`.
pub(crate) fn map_name(file: &str) -> String {
    match file {
        "_data" | "_bss" => file.replacen('_', ".", 1),
        _ => match file.strip_prefix("_data_").map(|rest| (".data.", rest)) {
            Some((section, rest)) => format!("{section}{rest}"),
            None => match file.strip_prefix("_bss_") {
                Some(rest) => format!(".bss.{rest}"),
                None => file.to_owned(),
            },
        },
    }
}

fn point_file(point: &HookPoint) -> String {
    format!("{}-{}-{}", point.hook.slug(), point.namespace, point.index)
}

/// Reads what [`point_file`] wrote; `None` for any other name.
pub(crate) fn read_point(file: &str) -> Option<HookPoint> {
    let (rest, index) = file.rsplit_once('-')?;
    let (slug, namespace) = rest.rsplit_once('-')?;
    let hook = Hook::all().find(|hook| hook.slug() == slug)?;
    let point = HookPoint { namespace: namespace.parse().ok()?, index: index.parse().ok()?, hook };
    // One spelling only: no `+1`, no leading zeros.
    (point_file(&point) == file).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> SetDirectory {
        SetDirectory::new(Path::new("/sys/fs/bpf"), &"edge".parse().unwrap())
    }

    #[test]
    fn each_pin_has_the_place_that_the_design_promises() {
        let point = HookPoint { namespace: 4_026_531_840, index: 3, hook: Hook::TcIngress };
        let paths = [
            directory().map(&MapKey::Shared("blocklist".parse().unwrap())),
            directory().map(&MapKey::Private("meter".parse().unwrap(), "counts".to_owned())),
            directory().map(&MapKey::Private("meter".parse().unwrap(), ".bss".to_owned())),
            directory().link(&point),
            directory().record(&point),
        ];
        let paths: Vec<_> = paths.iter().map(|path| path.strip_prefix("/sys/fs/bpf/bpfkit/edge").unwrap()).collect();
        let wanted = [
            "maps/blocklist",
            "programs/meter/counts",
            "programs/meter/_bss",
            "links/tc-ingress-4026531840-3",
            "records/tc-ingress-4026531840-3",
        ];
        assert_eq!(paths, wanted.map(Path::new));
    }

    #[test]
    fn a_map_name_from_a_hostile_object_stays_in_its_directory() {
        for name in ["../../x", "a/b", "..", "a\0b", "é"] {
            let file = map_file(name);
            assert!(file.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{file}");
        }
    }

    #[test]
    fn names_of_global_data_are_read_back() {
        for name in [".data", ".bss", ".data.hot", "counts", "_other"] {
            assert_eq!(map_name(&map_file(name)), name);
        }
    }

    #[test]
    fn a_point_is_read_in_its_one_spelling_only() {
        for hook in Hook::all() {
            let point = HookPoint { namespace: 4_026_531_840, index: 12, hook };
            assert_eq!(read_point(&point_file(&point)), Some(point));
        }
        for file in ["", "xdp", "xdp-1", "xdp-01-2", "xdp-1-+2", "tc-1-2", "xdp-1-2-3", "xdp--1-2"] {
            assert_eq!(read_point(file), None, "{file}");
        }
    }
}
