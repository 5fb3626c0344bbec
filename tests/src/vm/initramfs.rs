//! Makes an initramfs: a cpio archive in memory, without a tool and without a root user.
//!
//! The format is `newc` of `Documentation/driver-api/early-userspace/buffer-format.rst`. It isn't compressed:
//! an emulated CPU takes longer to unpack than qemu to hand it over.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// An archive that grows.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a folder, with those above it.
    pub fn folder(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        if !path.is_empty() && self.names.insert(path.to_owned()) {
            self.entry(path, 0o040_755, &[]);
        }
    }

    /// Adds a file, with its folders; one that is there already stays.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        let path = path.trim_start_matches('/');
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        if self.names.insert(path.to_owned()) {
            self.entry(path, 0o100_000 | mode & 0o777, bytes);
        }
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        let path = path.trim_start_matches('/');
        if self.names.insert(path.to_owned()) {
            self.entry(path, 0o120_777, target.as_bytes());
        }
    }

    /// Adds a file of this machine, with its permissions, and the same for whatever is below a folder.
    pub fn copy(&mut self, from: &Path, to: &str) -> io::Result<()> {
        let metadata = fs::metadata(from)?;
        if metadata.is_dir() {
            self.folder(to);
            let mut names: Vec<_> =
                fs::read_dir(from)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
            names.sort();
            for name in names {
                self.copy(&from.join(&name), &format!("{to}/{}", name.display()))?;
            }
            return Ok(());
        }
        self.file(to, metadata.permissions().mode(), &fs::read(from)?);
        Ok(())
    }

    /// Adds a program of this machine to `/usr/bin`, with the libraries that it is linked with where the
    /// dynamic linker looks for them.
    pub fn program(&mut self, program: &Path) -> io::Result<()> {
        let name = program.file_name().unwrap_or_default().display().to_string();
        self.file(&format!("usr/bin/{name}"), 0o755, &fs::read(program)?);
        let said = Command::new("ldd").arg(program).output()?;
        for library in String::from_utf8_lossy(&said.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            // Debian's /lib is a link to /usr/lib, here as there.
            let to = library.trim_start_matches("/usr").trim_start_matches('/');
            self.file(&format!("usr/{to}"), 0o755, &fs::read(library)?);
        }
        Ok(())
    }

    /// The archive, ended, and filled up so that another can follow.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.pad(512);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // inode, mode, owner, group, links, time, size, device and special device, name's length, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad(4);
        self.bytes.extend_from_slice(bytes);
        self.pad(4);
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

/// The first of `PATH` that holds an executable of this name, or one of the folders that only root has in it.
pub fn which(name: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut found = folders.map(|folder| folder.join(name)).filter(|file| file.is_file());
    found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no `{name}` on this machine")))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn an_archive_is_what_others_read_as_one() {
        let mut archive = Archive::default();
        archive.file("/a/b/c.txt", 0o644, b"hello");
        archive.file("a/b/c.txt", 0o644, b"not twice");
        archive.folder("a/empty");
        archive.link("bin", "usr/bin");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 512, 0);
        // bsdtar and cpio read it; where neither is installed, the kernel does in each boot.
        let Ok(cpio) = which("cpio") else { return };
        let mut child = Command::new(cpio)
            .args(["--list", "--quiet"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let said = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "a\na/b\na/b/c.txt\na/empty\nbin\n");
    }

    #[test]
    fn a_tool_that_is_missing_is_named() {
        assert!(which("no-such-tool").unwrap_err().to_string().contains("`no-such-tool`"));
        assert!(which("bash").is_ok());
    }
}
