//! ELF bytes → sections, symbols and relocations, as far as an eBPF object has them.
//!
//! Pure. Written here rather than taken from a general reader because an eBPF object
//! is one small corner of ELF (64-bit, little-endian, relocatable, `SHT_REL`), because
//! it may lie at any address of a larger buffer, and because each offset comes from
//! somebody else. Format: System V gABI, chapters 4 (sections, symbols, relocation).

use super::ObjectProblem;

/// The parts of an object file. Indices are ELF's.
#[derive(Debug)]
pub(super) struct Elf<'a> {
    pub(super) sections: Vec<Section<'a>>,
    pub(super) symbols: Vec<Symbol<'a>>,
}

#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    pub(super) kind: u32,
    pub(super) flags: u64,
    /// Its bytes; none for `.bss`.
    pub(super) bytes: &'a [u8],
    /// Its size, that of `.bss` included.
    pub(super) size: u64,
    /// For relocations: the section that they are for.
    pub(super) info: u32,
}

#[derive(Debug)]
pub(super) struct Symbol<'a> {
    pub(super) name: &'a str,
    pub(super) kind: u8,
    pub(super) binding: u8,
    pub(super) visibility: u8,
    pub(super) section: u16,
    pub(super) value: u64,
    pub(super) size: u64,
}

/// One `Elf64_Rel`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rel {
    pub(super) offset: u64,
    pub(super) symbol: u32,
}

pub(super) const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
pub(super) const SHT_NOBITS: u32 = 8;
pub(super) const SHT_REL: u32 = 9;
pub(super) const SHF_EXECINSTR: u64 = 4;
pub(super) const SHN_UNDEF: u16 = 0;
pub(super) const STT_FUNC: u8 = 2;
pub(super) const STT_SECTION: u8 = 3;
pub(super) const STB_LOCAL: u8 = 0;
/// `STV_INTERNAL` and `STV_HIDDEN`.
pub(super) const HIDDEN: [u8; 2] = [1, 2];

const EM_BPF: u16 = 247;
const ET_REL: u16 = 1;
const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
const REL: usize = 16;

/// Reads the parts. What is damaged is named; what is merely strange is left to the callers.
pub(super) fn parse(bytes: &[u8]) -> Result<Elf<'_>, ObjectProblem> {
    let not = |why| ObjectProblem::NotAnObject { why };
    let header = bytes.get(..HEADER).ok_or(not("it is too short"))?;
    let [magic0, magic1, magic2, magic3, class, data] = array(header, 0);
    if [magic0, magic1, magic2, magic3] != *b"\x7fELF" {
        return Err(not("it is no ELF file"));
    }
    if class != 2 {
        return Err(not("it is no 64-bit ELF file"));
    }
    if data == 2 {
        return Err(ObjectProblem::BigEndian);
    }
    if data != 1 {
        return Err(not("its byte order is unknown"));
    }
    if u16_at(header, 18) != EM_BPF {
        return Err(not("it is for another machine than eBPF"));
    }
    if u16_at(header, 16) != ET_REL {
        return Err(not("it is no relocatable object (`clang -c` makes one)"));
    }
    let damaged = |what| ObjectProblem::Damaged { what };
    if usize::from(u16_at(header, 58)) != SECTION_HEADER {
        return Err(damaged("its section headers have an unknown size"));
    }
    let (offset, count, names) = (u64_at(header, 40), u16_at(header, 60), u16_at(header, 62));
    let table = slice(bytes, offset, u64::from(count) * SECTION_HEADER as u64);
    let table = table.filter(|table| !table.is_empty()).ok_or(damaged("its section headers lie outside the file"))?;
    let headers: Vec<_> = table.as_chunks::<SECTION_HEADER>().0.iter().collect();
    let content = |header: &[u8; SECTION_HEADER]| match u32_at(header, 4) {
        0 | SHT_NOBITS => Some([].as_slice()),
        _ => slice(bytes, u64_at(header, 24), u64_at(header, 32)),
    };
    let names = headers.get(usize::from(names)).and_then(|header| content(header));
    let names = names.ok_or(damaged("its section names are missing"))?;

    let mut sections = Vec::with_capacity(headers.len());
    let mut symbols = None;
    for header in &headers {
        let bytes = content(header).ok_or(damaged("a section lies outside the file"))?;
        let name = text(names, u32_at(*header, 0)).ok_or(damaged("a section has no readable name"))?;
        let kind = u32_at(*header, 4);
        if kind == SHT_SYMTAB {
            let strings = headers.get(usize::try_from(u32_at(*header, 40)).unwrap_or(usize::MAX));
            let strings = strings.and_then(|header| content(header)).ok_or(damaged("its symbol names are missing"))?;
            symbols = Some((bytes, strings));
        }
        let (flags, size, info) = (u64_at(*header, 8), u64_at(*header, 32), u32_at(*header, 44));
        sections.push(Section { name, kind, flags, bytes, size, info });
    }

    let (table, strings) = symbols.ok_or(damaged("it has no symbol table"))?;
    let (entries, rest) = table.as_chunks::<SYMBOL>();
    if !rest.is_empty() {
        return Err(damaged("its symbol table ends in the middle of a symbol"));
    }
    let symbol = |entry: &[u8; SYMBOL]| {
        let [info, other] = array(entry, 4);
        Some(Symbol {
            name: text(strings, u32_at(entry, 0))?,
            kind: info & 0x0f,
            binding: info >> 4,
            visibility: other & 3,
            section: u16_at(entry, 6),
            value: u64_at(entry, 8),
            size: u64_at(entry, 16),
        })
    };
    let symbols: Option<Vec<_>> = entries.iter().map(symbol).collect();
    Ok(Elf { sections, symbols: symbols.ok_or(damaged("a symbol has no readable name"))? })
}

impl Section<'_> {
    /// The relocations of a `SHT_REL` section.
    pub(super) fn relocations(&self) -> Result<impl Iterator<Item = Rel> + '_, ObjectProblem> {
        let (entries, rest) = self.bytes.as_chunks::<REL>();
        if !rest.is_empty() {
            return Err(ObjectProblem::Damaged { what: "a relocation section ends in the middle of a relocation" });
        }
        Ok(entries.iter().map(|entry| Rel { offset: u64_at(entry, 0), symbol: u32_at(entry, 12) }))
    }
}

fn slice(bytes: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    bytes.get(start..end)
}

fn text(strings: &[u8], offset: u32) -> Option<&str> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// `N` bytes at `offset`; zeros where they aren't there, which callers rule out by the size of `bytes`.
fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array(bytes, offset))
}
