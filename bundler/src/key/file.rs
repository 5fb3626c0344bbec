//! Key files on disk: made whole and never over another, read once, refused when exposed.

use std::{
    fs::{File, Permissions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use zeroize::Zeroizing;

use super::{KEY_FILE_LIMIT, KeyError};

/// Who may read a new file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Readers {
    /// Mode 0600.
    OwnerAlone,
    /// Mode 0644.
    Everyone,
}

/// Refuses where `path` names anything, a dangling link included.
pub(super) fn refuse_if_there(path: &Path) -> Result<(), KeyError> {
    match path.symlink_metadata() {
        Ok(_) => Err(KeyError::Exists { file: path.to_owned() }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(KeyError::Write { file: path.to_owned(), source: e }),
    }
}

/// Makes `path` with these bytes, and its folder: all of them, on the disk, or no file at all.
pub(super) fn create(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), KeyError> {
    let failed = |source| KeyError::Write { file: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = match readers {
        Readers::OwnerAlone => 0o600,
        Readers::Everyone => 0o644,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(".bpfkit-key-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)
        // Without the temporary name, which says nothing to anybody.
        .map_err(|e| failed(e.kind().into()))?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|e| match e.error.kind() {
        ErrorKind::AlreadyExists => KeyError::Exists { file: path.to_owned() },
        _ => failed(e.error),
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Removes a file that this call has just made; the error that led here is the one to tell.
pub(super) fn take_back(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Reads a private key's file, once, through one descriptor.
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source| KeyError::Read { file: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    // Others may do nothing with it; the group may read it, as mounted secrets have it, but not change it.
    let exposed = metadata.is_file() && mode & 0o027 != 0;
    let text = read(path, file).map_err(|e| match e {
        KeyError::NotAPublicKey { file, why } => KeyError::NotAPrivateKey { file, why },
        other => other,
    });
    match text {
        // A public key may be read by everybody: the mistake is another one.
        Ok(text) if text.contains("-BEGIN PUBLIC KEY-") => Ok(text),
        _ if exposed => Err(KeyError::Exposed { file: path.to_owned(), mode }),
        text => text,
    }
}

/// Reads a public key's file.
pub(super) fn read_public(path: &Path) -> Result<String, KeyError> {
    let file = File::open(path).map_err(|source| KeyError::Read { file: path.to_owned(), source })?;
    read(path, file).map(|text| text.to_string())
}

fn read(path: &Path, file: File) -> Result<Zeroizing<String>, KeyError> {
    let limit = usize::try_from(KEY_FILE_LIMIT).unwrap_or(usize::MAX);
    let mut text = Zeroizing::new(String::with_capacity(limit + 1));
    file.take(KEY_FILE_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|source| KeyError::Read { file: path.to_owned(), source })?;
    if text.len() > limit {
        let why = format!("it has more than {KEY_FILE_LIMIT} bytes");
        return Err(KeyError::NotAPublicKey { file: Some(path.to_owned()), why });
    }
    Ok(text)
}
