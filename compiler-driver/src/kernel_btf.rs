//! The kernel types that `vmlinux.h` is made from: bundled, the host's, or a file's. Reads files.
//!
//! The bundled ones are Debian 13's cloud kernels 6.12 (`btf/README.md` says
//! which, and how to renew them). They are a real distribution's configuration:
//! a header from a tiny one lacks members that ordinary programs read. Their
//! digests are pinned below and checked whenever they are unpacked.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
};

use bpfkit_objects::btf::MAX_SIZE;
use bpfkit_schemas::{
    Code, Diagnostic, Digest, Platform,
    manifest::{BtfChoice, Manifest},
    names::Arch,
};
use flate2::read::GzDecoder;

use crate::{digest::digest_of, error::Place, project::Project};

/// Where the running kernel's types are.
const HOST: &str = "/sys/kernel/btf/vmlinux";

/// A kernel BTF that comes with bpfkit.
struct Bundled {
    arch: Arch,
    packed: &'static [u8],
    /// Of the unpacked bytes.
    sha256: &'static str,
}

static BUNDLED: [Bundled; 2] = [
    Bundled {
        arch: Arch::Amd64,
        packed: include_bytes!("../btf/linux-amd64.btf.gz"),
        sha256: "sha256:be4e844db954ebf0aa7e9ebf861de7915a5583f4970061bc29b3556de4aeb61d",
    },
    Bundled {
        arch: Arch::Arm64,
        packed: include_bytes!("../btf/linux-arm64.btf.gz"),
        sha256: "sha256:f20fcb8223e9c35fce3c178335b3de2f948bb8ba44e7c8980d4d07e1986ccecb",
    },
];

/// The types of one kernel, known by their digest before they are unpacked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelBtf {
    digest: Digest,
    origin: Origin,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Origin {
    Bundled(Arch),
    Read(Vec<u8>),
}

impl KernelBtf {
    /// The BTF that comes with bpfkit for a platform.
    pub fn bundled(platform: Platform) -> Result<Self, Diagnostic> {
        let bundled = bundled(platform.arch)?;
        let digest = bundled.sha256.parse().map_err(|error| broken(platform.arch).caused_by(&error))?;
        Ok(Self { digest, origin: Origin::Bundled(platform.arch) })
    }

    /// Finds what `build.btf` chose for a platform.
    pub(crate) fn choose(manifest: &Manifest, project: &Project, platform: Platform) -> Result<Self, Diagnostic> {
        match &manifest.build.btf {
            BtfChoice::Default => Self::bundled(platform),
            BtfChoice::Host if Arch::of_this_machine() != Some(platform.arch) => {
                let title = format!("`btf: host` can't serve {platform}, which is not this machine's platform");
                Err(Diagnostic::error(Code::BTF_OF_ANOTHER_MACHINE, title).help("use `btf: default`"))
            }
            BtfChoice::Host => Self::read(Path::new(HOST)).map_err(|error| {
                Diagnostic::error(Code::BTF_UNUSABLE, "this kernel's types can't be read for `btf: host`")
                    .caused_by(&error)
                    .note(format!("looked in {HOST}"))
                    .help("use `btf: default`")
            }),
            BtfChoice::File(path, span) => {
                let place = Place { source: manifest.source.clone(), span: *span };
                Self::read(&project.locate(&path.to_string_lossy())).map_err(|error| {
                    let title = format!("the BTF file `{}` can't be used", path.display());
                    place.error(Code::BTF_UNUSABLE, title, "neither BTF nor an ELF with BTF").caused_by(&error)
                })
            }
        }
    }

    /// Reads raw BTF, or the `.BTF` section of an ELF file of 64 bits.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, 0)?;
        let bytes = match magic {
            [0x7f, b'E', b'L', b'F'] => btf_section(&file)?,
            [0x9f, 0xeb, ..] => {
                let mut bytes = Vec::new();
                file.take(u64::try_from(MAX_SIZE).unwrap_or(u64::MAX) + 1).read_to_end(&mut bytes)?;
                bytes
            }
            _ => return Err(invalid("it starts neither like BTF nor like ELF")),
        };
        if bytes.len() > MAX_SIZE {
            return Err(invalid("it is larger than 64 MiB"));
        }
        Ok(Self { digest: digest_of(&bytes), origin: Origin::Read(bytes) })
    }

    /// SHA-256 of the raw BTF.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The raw BTF, unpacked and with its digest checked.
    pub fn bytes(&self) -> Result<Vec<u8>, Diagnostic> {
        match &self.origin {
            Origin::Read(bytes) => Ok(bytes.clone()),
            Origin::Bundled(arch) => {
                let limit = u64::try_from(MAX_SIZE).unwrap_or(u64::MAX);
                let mut bytes = Vec::new();
                GzDecoder::new(bundled(*arch)?.packed)
                    .take(limit)
                    .read_to_end(&mut bytes)
                    .map_err(|error| broken(*arch).caused_by(&error))?;
                if digest_of(&bytes) == self.digest { Ok(bytes) } else { Err(broken(*arch)) }
            }
        }
    }
}

fn bundled(arch: Arch) -> Result<&'static Bundled, Diagnostic> {
    BUNDLED.iter().find(|bundled| bundled.arch == arch).ok_or_else(|| broken(arch))
}

fn broken(arch: Arch) -> Diagnostic {
    Diagnostic::error(Code::BTF_UNUSABLE, format!("the BTF that comes with bpfkit for `{}` is damaged", arch.oci()))
        .help("install bpfkit again: this file is part of the program")
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads `.BTF` of a little-endian 64-bit ELF file, and of the rest only the section table:
/// a `vmlinux` with DWARF has hundreds of megabytes. (ELF-64 Object File Format 1.5, tables 1 and 8.)
fn btf_section(file: &File) -> io::Result<Vec<u8>> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    if header.get(4..6) != Some(&[2, 1]) {
        return Err(invalid("the ELF file is not a little-endian one of 64 bits"));
    }
    let table = u64_at(&header, 0x28);
    let (entry, count, names) = (u16_at(&header, 0x3a), u16_at(&header, 0x3c), u16_at(&header, 0x3e));
    if entry != 64 {
        return Err(invalid("the ELF file's section table is damaged"));
    }
    let section = |index: u16| {
        let mut bytes = [0; 64];
        let at = table.checked_add(u64::from(index) * 64).ok_or_else(|| invalid("a section lies outside the file"))?;
        file.read_exact_at(&mut bytes, at).map(|()| bytes)
    };
    let names_at = u64_at(&section(names)?, 0x18);
    for index in 0..count {
        let bytes = section(index)?;
        let mut name = [0; 5];
        let at = names_at.saturating_add(u64::from(u32_at(&bytes, 0)));
        if file.read_exact_at(&mut name, at).is_ok() && &name == b".BTF\0" {
            let size = usize::try_from(u64_at(&bytes, 0x20)).unwrap_or(usize::MAX);
            if size > MAX_SIZE {
                return Err(invalid("its `.BTF` section is larger than 64 MiB"));
            }
            let mut btf = vec![0; size];
            file.read_exact_at(&mut btf, u64_at(&bytes, 0x18))?;
            return Ok(btf);
        }
    }
    Err(invalid("the ELF file has no `.BTF` section"))
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_types_unpack_to_what_is_pinned() {
        for arch in Arch::ALL {
            let btf = KernelBtf::bundled(Platform { arch }).unwrap();
            assert_eq!(digest_of(&btf.bytes().unwrap()), btf.digest());
        }
    }

    #[test]
    fn a_file_that_is_neither_btf_nor_elf_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [("text", &b"hello, world"[..]), ("short", b"x"), ("elf", b"\x7fELF\x02\x01 and no more")]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert!(KernelBtf::read(&path).is_err(), "{name}");
        }
        let mut elf = vec![0_u8; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x28..0x30].copy_from_slice(&u64::MAX.to_le_bytes());
        elf[0x3a] = 64;
        elf[0x3c] = 9;
        let path = folder.path().join("far");
        std::fs::write(&path, &elf).unwrap();
        assert!(KernelBtf::read(&path).is_err());
    }
}
