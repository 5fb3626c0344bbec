//! What is pinned under one set's directory.
//!
//! Reads and opens; makes and removes nothing. Names that mean nothing here are
//! left out (a person may keep files beside ours); a thing of the wrong kind in a
//! place of ours is an error, since every use of it would be a mistake.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use bpfkit_schemas::names::{Digest, ProgramName};

use crate::{
    kernel::{
        bpffs::{self, SetDirectory, TEMPORARY},
        data_map,
        error::KernelError,
        sys::{self, LinkInfo, Map, Object},
    },
    live::{HookPoint, Litter, LiveMap, MapId, MapKey, MapShape},
};

/// The most entries that are read of one directory; a set has far fewer.
const MAX_ENTRIES: usize = 65_536;

/// The pins of one set.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// The links, by the hook that their names say.
    pub(super) links: BTreeMap<HookPoint, LinkInfo>,
    /// The record maps beside them.
    pub(super) records: BTreeMap<HookPoint, Map>,
    /// The maps.
    pub(super) maps: BTreeMap<MapKey, LiveMap>,
    /// Half-made pins.
    pub(super) litter: Vec<Litter>,
}

/// Reads the set's directory; one that isn't there has no pins.
pub(super) fn read(directory: &SetDirectory) -> Result<Pins, KernelError> {
    let mut pins = Pins::default();
    for (name, path) in entries(&directory.path().join("links"))? {
        if let Some(point) = bpffs::read_point(&name)
            && let Some(object) = bpffs::open(&path)?
        {
            let Object::Link(link) = object else { return Err(wrong(&path, &object, "a link")) };
            let info = sys::link_info(&link).map_err(|source| KernelError::call("reading a pinned link", source))?;
            pins.links.insert(point, info);
        }
    }
    for (name, path) in entries(&directory.path().join("records"))? {
        let Some(point) = bpffs::read_point(&name) else { continue };
        if let Some(map) = open_map(&path)? {
            pins.records.insert(point, map);
        }
    }
    for (name, path) in entries(&directory.path().join("maps"))? {
        if let Ok(name) = name.parse()
            && let Some(map) = open_map(&path)?
        {
            let key = MapKey::Shared(name);
            let live = live_map(&key, &map)?;
            pins.maps.insert(key, live);
        }
    }
    for (program, path) in entries(&directory.path().join("programs"))? {
        let Ok(program) = program.parse::<ProgramName>() else { continue };
        for (name, path) in entries(&path)? {
            let Some(map) = open_map(&path)? else { continue };
            let key = MapKey::Private(program.clone(), bpffs::map_name(&name));
            let live = live_map(&key, &map)?;
            pins.maps.insert(key, live);
        }
    }
    for (name, path) in entries(directory.path())? {
        if name.starts_with(TEMPORARY)
            && let Some(object) = bpffs::open(&path)?
        {
            if let Object::Link(_) = object {
                // Unlinking it could end a chain; bpfkit never makes such a pin.
                return Err(wrong(&path, &object, "a map that was being pinned"));
            }
            pins.litter.push(Litter { path: PathBuf::from(name), what: "a half-made pin".to_owned() });
        }
    }
    Ok(pins)
}

/// What there is to say about a live map.
pub(super) fn live_map(key: &MapKey, map: &Map) -> Result<LiveMap, KernelError> {
    let info = sys::map_info(map).map_err(|source| KernelError::call(format!("reading the map `{key}`"), source))?;
    let layout: Option<Digest> = if key.is_data() { data_map::layout(&info.name) } else { None };
    Ok(LiveMap {
        id: MapId(info.id),
        shape: MapShape {
            map_type: info.map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: info.flags,
            layout,
        },
    })
}

fn open_map(path: &Path) -> Result<Option<Map>, KernelError> {
    match bpffs::open(path)? {
        None => Ok(None),
        Some(Object::Map(map)) => Ok(Some(map)),
        Some(other) => Err(wrong(path, &other, "a map")),
    }
}

fn wrong(path: &Path, found: &Object, wanted: &str) -> KernelError {
    let found = match found {
        Object::Map(_) => "a map",
        Object::Program(_) => "a program",
        Object::Link(_) => "a link",
    };
    KernelError::WrongPin { path: path.to_owned(), found: found.to_owned(), wanted: wanted.to_owned() }
}

/// The names and paths in a directory, ascending; none where it doesn't exist. Names that aren't UTF-8 aren't ours.
pub(in crate::kernel) fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, KernelError> {
    let failed = |source| KernelError::Pin { doing: "listing", path: directory.to_owned(), source };
    let read = match fs::read_dir(directory) {
        Ok(read) => read,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in read.take(MAX_ENTRIES) {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
