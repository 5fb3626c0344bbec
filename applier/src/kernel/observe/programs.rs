//! Programs and links of the whole host, by id: what they are and what their records say.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
};

use crate::{
    kernel::{
        error::KernelError,
        sys::{self, LinkInfo, Map, Program, ProgramInfo},
    },
    record::{MAP_NAME, MAX_BYTES, Record, RecordError, Stored},
};

/// The most links that are looked at.
const MAX_LINKS: usize = 1 << 20;

/// The XDP, tcx and cgroup links of the host, by id.
pub(super) fn links() -> Result<BTreeMap<u32, LinkInfo>, KernelError> {
    let mut found = BTreeMap::new();
    let mut last = 0;
    for _ in 0..MAX_LINKS {
        let next = sys::next_link_id(last).map_err(|source| KernelError::call("listing the host's links", source))?;
        let Some(id) = next else { break };
        last = id;
        // A link that is being made (EAGAIN) or went away (ENOENT) isn't there.
        let Ok(link) = sys::link_by_id(id) else { continue };
        let info = sys::link_info(&link).map_err(|source| KernelError::call("reading a link", source))?;
        if matches!(info.link_type, sys::LINK_TYPE_XDP | sys::LINK_TYPE_TCX | sys::LINK_TYPE_CGROUP) {
            found.insert(id, info);
        }
    }
    Ok(found)
}

/// One program, and the record that it is bound to.
#[derive(Debug)]
pub(super) struct Seen {
    /// What the kernel says.
    pub(super) info: ProgramInfo,
    /// What its record map says, where it has one.
    pub(super) record: Option<Result<Stored, RecordError>>,
}

/// Programs that were looked at, each once.
#[derive(Debug, Default)]
pub(super) struct Programs(BTreeMap<u32, Option<Seen>>);

impl Programs {
    /// Looks at a program; `None` where it is gone.
    pub(super) fn see(&mut self, id: u32) -> Result<Option<&Seen>, KernelError> {
        Ok(match self.0.entry(id) {
            Entry::Occupied(entry) => entry.into_mut().as_ref(),
            Entry::Vacant(entry) => {
                let seen = see(id).map_err(|source| KernelError::call(format!("reading program {id}"), source))?;
                entry.insert(seen).as_ref()
            }
        })
    }
}

fn see(id: u32) -> io::Result<Option<Seen>> {
    let program = match sys::prog_by_id(id) {
        Ok(program) => program,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let info = sys::program_info(&program)?;
    // PROG_BIND_MAP appends, so the record is the last map of ours.
    let record = info.maps.iter().rev().find_map(|id| record(*id));
    Ok(Some(Seen { info, record }))
}

fn record(id: u32) -> Option<Result<Stored, RecordError>> {
    read(&sys::map_by_id(id).ok()?)
}

/// The record map that a program is bound to.
pub(in crate::kernel) fn record_of(program: &Program) -> Option<Map> {
    let maps = sys::program_info(program).ok()?.maps;
    maps.iter().rev().find_map(|id| {
        let map = sys::map_by_id(*id).ok()?;
        sys::map_info(&map).is_ok_and(|info| info.name == MAP_NAME).then_some(map)
    })
}

/// What the record of a live program says; `None` where it has none that can be read, or is gone.
pub(in crate::kernel) fn recorded(id: u32) -> Option<Record> {
    read_record(&record_of(&sys::prog_by_id(id).ok()?)?)
}

/// What a record map says; `None` where it can't be read.
pub(in crate::kernel) fn read_record(map: &Map) -> Option<Record> {
    read(map)?.ok().map(|stored| stored.record)
}

/// Reads a record map; `None` where the map is another one.
pub(super) fn read(map: &Map) -> Option<Result<Stored, RecordError>> {
    let info = sys::map_info(map).ok()?;
    if info.name != MAP_NAME {
        return None;
    }
    if info.value_size as usize > MAX_BYTES {
        return Some(Err(RecordError::TooLong(info.value_size as usize)));
    }
    Some(match sys::array_lookup(map, 0) {
        Ok(bytes) => Stored::decode(&bytes),
        Err(error) => Err(RecordError::Damaged(error.to_string())),
    })
}
