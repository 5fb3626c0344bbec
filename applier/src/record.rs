//! What a live chain says about itself: the record, to and from the bytes of a frozen map.
//!
//! Pure. Each fused program is bound to an array map of one entry, named
//! [`MAP_NAME`], which programs can't write (`BPF_F_RDONLY_PROG`) and nobody else
//! either once it is frozen. The record in it is all the memory that bpfkit has of
//! a chain: what is wanted and what is live are the same chain exactly if their
//! records say so ([`Record::runs_like`]), without linking or loading anything.
//!
//! # The bytes
//!
//! `bpfkit\0\0`, the format as a little-endian `u32`, the length of the JSON as
//! another, the JSON of a [`Stored`], then zeros to a multiple of eight. A reader
//! takes one format only, and the JSON only in the one spelling that
//! [`Stored::encode`] writes, so that two different byte strings are never one
//! record. Anything else is somebody else's map or a damaged one: an error, never a
//! panic, and never believed in part.

use std::collections::BTreeMap;

use bpfkit_schemas::{
    hook::{Hook, Mode, ProceedOn},
    names::{Digest, MapName, ProgramName, SetName, Tag},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::live::{MapId, MapKey};

/// The record map's name.
pub const MAP_NAME: &str = "bpfkit_record";

/// The format that this version writes and the only one that it reads.
pub const FORMAT: u32 = 1;

/// The most bytes that a record may take: enough for the 255 programs that the kernel can call from one.
pub const MAX_BYTES: usize = 256 * 1024;

const MAGIC: [u8; 8] = *b"bpfkit\0\0";
const HEADER: usize = MAGIC.len() + 4 + 4;

/// One live or wanted chain at one hook of one interface.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The set that the chain belongs to.
    pub set: SetName,
    /// The hook.
    pub hook: Hook,
    /// The interface's name when the chain was applied; for people, since names move.
    pub interface: String,
    /// XDP's mode; [`Mode::Native`] elsewhere.
    pub mode: Mode,
    /// The programs, in the order in which they run.
    pub programs: Vec<RecordedProgram>,
    /// The digest of the BTF of the kernel that the programs were relocated for.
    pub kernel_btf: Digest,
    /// The version of what is put between the programs ([`crate::fuse::GLUE_VERSION`]).
    pub glue: u32,
    /// For a chain that is attached as a filter: who made the qdisc that filters need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clsact: Option<QdiscBy>,
    /// Where the set came from, for `status`.
    pub source: RecordedSource,
}

/// Who made the qdisc that a filter is attached to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QdiscBy {
    /// Somebody else.
    Others,
    /// The set: there was none when its first filter came, so it goes with the last one.
    Set,
}

/// One program of a chain: everything that decides which instructions run.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedProgram {
    /// Its name in the set.
    pub name: ProgramName,
    /// The object that holds it.
    pub object: Digest,
    /// The function that is the program.
    pub entry: String,
    /// The values that the set gives its global variables, by whatever digest the wanted side uses.
    pub globals: Digest,
    /// The verdicts after which the next program runs.
    pub proceed_on: ProceedOn,
    /// The maps that it uses, but for those of constants; ascending.
    pub maps: Vec<RecordedMap>,
}

/// A map that a program uses. The program's name, for a private one, is the [`RecordedProgram`]'s.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum RecordedMap {
    /// Shared by the set.
    Shared(MapName),
    /// The program's own, by the object's name for it (`.bss` for global variables).
    Private(String),
}

/// Where a set came from.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedSource {
    /// The bundle's reference by digest, or the manifest's path.
    pub reference: String,
    /// The version that it was bundled as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Tag>,
    /// Whose signatures counted, and waivers with their reasons.
    #[serde(default)]
    pub signers: Vec<String>,
}

/// Why bytes are not a record, or a record has no bytes.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum RecordError {
    /// It doesn't begin as a record does.
    #[error("it is no record of bpfkit")]
    Foreign,
    /// Another bpfkit wrote it.
    #[error("it has format {0}, this bpfkit knows {FORMAT}")]
    Format(u32),
    /// It begins like a record and goes on like none.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It would be longer than a record may be.
    #[error("it takes {0} bytes, {MAX_BYTES} are allowed")]
    TooLong(usize),
}

/// What the record map holds: the record, and which of the kernel's maps are which of the record's.
///
/// The ids are no part of the [`Record`], since they are of one load: they let maps
/// whose pins were removed be found again through the chains that use them.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// What the chain says about itself.
    pub record: Record,
    /// The kernel's ids of the maps of [`Record::map_keys`], in that order.
    ids: Vec<u32>,
}

impl Stored {
    /// Joins a record with the ids of its maps; `None` where one is missing.
    pub fn new(record: Record, maps: &BTreeMap<MapKey, MapId>) -> Option<Self> {
        let ids = record.map_keys().iter().map(|key| maps.get(key).map(|id| id.0)).collect::<Option<_>>()?;
        Some(Self { record, ids })
    }

    /// The ids of the maps, by key.
    pub fn maps(&self) -> BTreeMap<MapKey, MapId> {
        self.record.map_keys().into_iter().zip(self.ids.iter().copied().map(MapId)).collect()
    }

    /// The bytes, a multiple of eight.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let json = serde_json::to_vec(self).map_err(|error| RecordError::Damaged(error.to_string()))?;
        let total = (HEADER + json.len()).next_multiple_of(8);
        let length = u32::try_from(json.len()).ok().filter(|_| total <= MAX_BYTES);
        let length = length.ok_or(RecordError::TooLong(total))?;
        let mut bytes = Vec::with_capacity(total);
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(json);
        bytes.resize(total, 0);
        Ok(bytes)
    }

    /// Reads what [`Stored::encode`] wrote. The bytes may be anybody's.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_BYTES {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(RecordError::Foreign)?;
        if *magic != MAGIC {
            return Err(RecordError::Foreign);
        }
        let damaged = |why: &str| RecordError::Damaged(why.to_owned());
        let (format, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it ends early"))?;
        match u32::from_le_bytes(*format) {
            FORMAT => {}
            other => return Err(RecordError::Format(other)),
        }
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it ends early"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let json = rest.get(..length).ok_or_else(|| damaged("it ends early"))?;
        let stored: Self = serde_json::from_slice(json).map_err(|error| RecordError::Damaged(error.to_string()))?;
        if stored.ids.len() != stored.record.map_keys().len() {
            return Err(damaged("it has other maps than ids"));
        }
        if stored.encode()? != bytes {
            return Err(damaged("it is not in the spelling of its writer"));
        }
        Ok(stored)
    }
}

impl Record {
    /// Whether the two chains run the same instructions, with the same maps, at the same kind of hook.
    ///
    /// Leaves out what is only said about them: where the set came from, what the
    /// interface was called and how the chain is attached to it. The last program's `proceed_on` is never asked and doesn't count.
    pub fn runs_like(&self, other: &Self) -> bool {
        let last = self.programs.len().saturating_sub(1);
        (&self.set, self.hook, self.mode, self.kernel_btf, self.glue)
            == (&other.set, other.hook, other.mode, other.kernel_btf, other.glue)
            && self.programs.len() == other.programs.len()
            && self.programs.iter().zip(&other.programs).enumerate().all(|(at, (ours, theirs))| {
                (&ours.name, &ours.object, &ours.entry, &ours.globals, &ours.maps)
                    == (&theirs.name, &theirs.object, &theirs.entry, &theirs.globals, &theirs.maps)
                    && (at == last || ours.proceed_on == theirs.proceed_on)
            })
    }

    /// The keys of the maps that the chain uses, ascending, each once.
    pub fn map_keys(&self) -> Vec<MapKey> {
        let mut keys: Vec<_> = self.programs.iter().flat_map(RecordedProgram::map_keys).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

impl RecordedProgram {
    /// The keys of the maps that the program uses.
    pub fn map_keys(&self) -> impl Iterator<Item = MapKey> + '_ {
        self.maps.iter().map(|map| match map {
            RecordedMap::Shared(name) => MapKey::Shared(name.clone()),
            RecordedMap::Private(name) => MapKey::Private(self.name.clone(), name.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        let program = |name: &str| RecordedProgram {
            name: name.parse().unwrap(),
            object: Digest::from_bytes([1; 32]),
            entry: name.to_owned(),
            globals: Digest::from_bytes([2; 32]),
            proceed_on: ProceedOn::from_iter([-1, 2]),
            maps: vec![RecordedMap::Shared("blocklist".parse().unwrap()), RecordedMap::Private(".bss".to_owned())],
        };
        Record {
            set: "edge".parse().unwrap(),
            hook: Hook::Xdp,
            interface: "eth0".to_owned(),
            mode: Mode::Native,
            programs: vec![program("guard"), program("meter")],
            kernel_btf: Digest::from_bytes([3; 32]),
            glue: 1,
            clsact: None,
            source: RecordedSource {
                reference: "registry.example/bpf/edge@sha256:00".to_owned(),
                version: Some("1.4".parse().unwrap()),
                signers: vec!["ana".to_owned()],
            },
        }
    }

    fn stored() -> Stored {
        let keys = record().map_keys();
        Stored::new(record(), &keys.into_iter().zip((7..).map(MapId)).collect()).unwrap()
    }

    #[test]
    fn a_record_survives_its_bytes() {
        let bytes = stored().encode().unwrap();
        assert_eq!(bytes.len() % 8, 0);
        assert_eq!(Stored::decode(&bytes).unwrap(), stored());
        let maps: Vec<_> = stored().maps().into_iter().map(|(key, id)| format!("{key} {id}")).collect();
        assert_eq!(maps, ["blocklist 7", "guard/.bss 8", "meter/.bss 9"]);
    }

    #[test]
    fn a_record_without_the_id_of_one_of_its_maps_is_not_made_and_not_read() {
        assert_eq!(Stored::new(record(), &BTreeMap::new()), None);
        let short = Stored { ids: vec![1], ..stored() };
        assert!(matches!(Stored::decode(&short.encode().unwrap()), Err(RecordError::Damaged(_))));
    }

    #[test]
    fn another_format_is_named_and_another_magic_is_foreign() {
        let mut bytes = stored().encode().unwrap();
        bytes[8] = 2;
        assert_eq!(Stored::decode(&bytes), Err(RecordError::Format(2)));
        bytes[0] = b'x';
        assert_eq!(Stored::decode(&bytes), Err(RecordError::Foreign));
        assert_eq!(Stored::decode(&[]), Err(RecordError::Foreign));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_an_error_or_another_record() {
        let whole = stored().encode().unwrap();
        for end in 0..whole.len() {
            assert!(Stored::decode(&whole[..end]).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            assert!(Stored::decode(&bytes) != Ok(stored()), "{at}");
        }
    }

    #[test]
    fn unknown_fields_other_spellings_and_trailing_bytes_are_damage() {
        let encode = |json: &str| {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(FORMAT.to_le_bytes());
            bytes.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
            bytes.extend(json.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        };
        let json = serde_json::to_string(&stored()).unwrap();
        assert!(Stored::decode(&encode(&json)).is_ok());
        assert!(Stored::decode(&encode(&json.replacen('{', "{\"x\":1,", 1))).is_err());
        assert!(Stored::decode(&encode(&json.replacen('{', "{ ", 1))).is_err());
        let mut longer = encode(&json);
        longer.extend([0; 8]);
        assert!(Stored::decode(&longer).is_err());
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_by_both_sides() {
        let mut stored = stored();
        stored.record.source.signers = vec!["x".repeat(MAX_BYTES)];
        assert!(matches!(stored.encode(), Err(RecordError::TooLong(_))));
        assert!(matches!(Stored::decode(&vec![0; MAX_BYTES + 8]), Err(RecordError::TooLong(_))));
    }

    type Change = fn(&mut Record);

    #[test]
    fn where_it_came_from_and_the_last_proceed_on_do_not_make_another_chain() {
        let mut other = record();
        other.source.version = None;
        other.interface = "eth1".to_owned();
        other.clsact = Some(QdiscBy::Set);
        other.programs[1].proceed_on = ProceedOn::from_iter([1]);
        assert!(record().runs_like(&other));

        let changes: [Change; 9] = [
            |r| r.set = "other".parse().unwrap(),
            |r| r.hook = Hook::TcIngress,
            |r| r.mode = Mode::Generic,
            |r| r.kernel_btf = Digest::from_bytes([9; 32]),
            |r| r.glue = 2,
            |r| r.programs[0].globals = Digest::from_bytes([9; 32]),
            |r| r.programs[0].proceed_on = ProceedOn::from_iter([2]),
            |r| r.programs.swap(0, 1),
            |r| drop(r.programs.pop()),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut other = record();
            change(&mut other);
            assert!(!record().runs_like(&other), "change {at}");
        }
    }

    #[test]
    fn keys_of_shared_maps_come_once_and_private_ones_once_a_program() {
        let keys: Vec<_> = record().map_keys().iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["blocklist", "guard/.bss", "meter/.bss"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Stored::decode(&tail);
            let mut bytes = MAGIC.to_vec();
            bytes.extend(FORMAT.to_le_bytes());
            bytes.extend(tail);
            let _ = Stored::decode(&bytes);
        }
    }
}
