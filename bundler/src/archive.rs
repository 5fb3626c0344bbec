//! One object ⇄ the tar+gzip layer that carries it.
//!
//! Pure, in memory; nothing is ever unpacked onto a disk. Written: exactly one
//! regular file, ustar, mode 0644, owner 0, time 0; gzip with time 0 and an
//! unknown system (RFC 1952, 2.3.1), so the same object gives the same layer
//! anywhere. The deflate stream comes from `miniz_oxide` by name: `flate2` would
//! use whichever backend the rest of the build happens to switch on.
//!
//! Read: sizes are capped before bytes are made, there is nothing but one
//! regular file, and nothing follows the archive.

use std::io::{self, Read as _};

use flate2::{Crc, bufread::GzDecoder};
use miniz_oxide::deflate::compress_to_vec;
use tar::{Archive, EntryType, Header};

/// The level of `miniz_oxide`; another one gives other bytes, so it belongs to the format.
const LEVEL: u8 = 9;
/// ID1 ID2, deflate, no flags, time 0, best compression, system 255 (unknown).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
/// A tar's own share beside the file: headers, long names, padding.
const TAR_OVERHEAD: u64 = 64 << 10;

/// Why a layer is not an archive with one object.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ArchiveError {
    /// It is larger than allowed when decompressed.
    #[error("it holds more than {max} bytes when decompressed")]
    TooLarge {
        /// The most that was allowed.
        max: u64,
    },
    /// It isn't gzip, or tar, or it breaks off.
    #[error("it is not a whole tar+gzip archive: {0}")]
    Broken(String),
    /// It holds something else than one regular file.
    #[error("it holds {0}, not one regular file alone")]
    NotOneFile(String),
    /// The file has another name.
    #[error("its file is named `{found}`, not `{want}`")]
    Name {
        /// What its name is.
        found: String,
        /// What it should be.
        want: String,
    },
    /// Something follows the archive.
    #[error("bytes follow the end of the archive")]
    Trailing,
}

/// A packed object.
pub struct Packed {
    /// The gzipped tar.
    pub gzip: Vec<u8>,
    /// The tar in it (its digest is the image config's `diff_id`).
    pub tar: Vec<u8>,
}

/// Packs `object` as the file `name`.
///
/// `name` is at most 100 bytes (a program's name and `.o`), the most that a ustar header holds.
pub fn pack(name: &str, object: &[u8]) -> io::Result<Packed> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(object.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::with_capacity(object.len() + 2048));
    builder.append(&header, object)?;
    let tar = builder.into_inner()?;

    let mut crc = Crc::new();
    crc.update(&tar);
    let mut gzip = GZIP_HEADER.to_vec();
    gzip.extend(compress_to_vec(&tar, LEVEL));
    gzip.extend(crc.sum().to_le_bytes());
    gzip.extend(crc.amount().to_le_bytes());
    Ok(Packed { gzip, tar })
}

/// Takes the object out of a layer of ours: its only file, of this name.
pub fn unpack(gzip: &[u8], name: &str, max: u64) -> Result<Vec<u8>, ArchiveError> {
    let tar = gunzip(gzip, max)?;
    let mut archive = Archive::new(tar.as_slice());
    let mut found = None;
    let mut end = 0;
    // Raw: a long-name or PAX header is an entry, and we never write one.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind != EntryType::Regular {
            return Err(ArchiveError::NotOneFile(describe(kind).to_owned()));
        }
        if found.is_some() {
            return Err(ArchiveError::NotOneFile("several files".to_owned()));
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if path != name {
            return Err(ArchiveError::Name { found: crate::json::printable(&path), want: name.to_owned() });
        }
        let size = entry.size();
        found = Some(contents(&mut entry, max)?);
        end = entry.raw_file_position().saturating_add(size);
    }
    let rest = usize::try_from(end).ok().and_then(|end| tar.get(end..)).unwrap_or_default();
    if rest.iter().any(|byte| *byte != 0) {
        return Err(ArchiveError::Trailing);
    }
    found.ok_or_else(|| ArchiveError::NotOneFile("nothing".to_owned()))
}

/// Takes the object out of somebody else's image: the only regular file, whatever its name.
///
/// Directories are passed over, since image builders write them; links, devices and a second file are refused.
pub fn unpack_foreign(gzip: &[u8], max: u64) -> Result<Vec<u8>, ArchiveError> {
    let tar = gunzip(gzip, max)?;
    let mut archive = Archive::new(tar.as_slice());
    let mut found = None;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        match entry.header().entry_type() {
            EntryType::Directory | EntryType::XGlobalHeader => {}
            EntryType::Regular if found.is_none() => found = Some(contents(&mut entry, max)?),
            EntryType::Regular => return Err(ArchiveError::NotOneFile("several files".to_owned())),
            other => return Err(ArchiveError::NotOneFile(describe(other).to_owned())),
        }
    }
    found.ok_or_else(|| ArchiveError::NotOneFile("nothing".to_owned()))
}

/// Decompresses one gzip member that is all there is.
fn gunzip(gzip: &[u8], max: u64) -> Result<Vec<u8>, ArchiveError> {
    let most = max.saturating_add(TAR_OVERHEAD);
    let mut decoder = GzDecoder::new(gzip);
    let mut tar = Vec::new();
    decoder.by_ref().take(most.saturating_add(1)).read_to_end(&mut tar).map_err(broken)?;
    if tar.len() as u64 > most {
        return Err(ArchiveError::TooLarge { max });
    }
    if !decoder.into_inner().is_empty() {
        return Err(ArchiveError::Trailing);
    }
    Ok(tar)
}

fn contents(entry: &mut tar::Entry<'_, &[u8]>, max: u64) -> Result<Vec<u8>, ArchiveError> {
    let size = entry.size();
    if size > max {
        return Err(ArchiveError::TooLarge { max });
    }
    let mut bytes = Vec::new();
    entry.take(size).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 != size {
        return Err(ArchiveError::Broken("its file breaks off".to_owned()));
    }
    Ok(bytes)
}

fn describe(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Directory => "a directory",
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::XHeader | EntryType::XGlobalHeader => "a PAX header",
        EntryType::GNULongName | EntryType::GNULongLink => "a long-name header",
        _ => "an entry of an unknown kind",
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn broken(error: io::Error) -> ArchiveError {
    ArchiveError::Broken(crate::json::printable(&error.to_string()))
}
