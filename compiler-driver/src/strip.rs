//! Takes the debugger's part out of an object: ELF in, ELF out. Pure.
//!
//! clang's `-g` writes DWARF beside the BTF, ten times the size of the program,
//! and nothing that loads BPF reads it. This does what `llvm-strip -g` does, in
//! process: it needs no second tool that may be missing or of another version,
//! and the bytes depend on nothing but the input. Sections named `.debug…`, their
//! relocations and their symbols go; everything else stays in its order, with
//! indices renumbered and one string table for all names.
//!
//! The format: ELF-64 Object File Format 1.5; relocations of BPF are `SHT_REL`
//! (LLVM's `ELFRelocs/BPF.def`).

use std::collections::HashMap;

use thiserror::Error;

/// Why bytes are not an object that clang made for BPF.
#[derive(Debug, Eq, PartialEq, Error)]
#[error("not an ELF object for BPF: {0}")]
pub(crate) struct NotAnObject(&'static str);

const HEADER: usize = 64;
const SECTION: usize = 64;
const SYMBOL: usize = 24;
const RELOCATION: usize = 16;
const ET_REL: u64 = 1;
const EM_BPF: u64 = 247;
const SHT_NULL: u64 = 0;
const SHT_SYMTAB: u64 = 2;
const SHT_STRTAB: u64 = 3;
const SHT_RELA: u64 = 4;
const SHT_NOBITS: u64 = 8;
const SHT_REL: u64 = 9;
const SHT_GROUP: u64 = 17;
/// LLVM's list of symbols whose address matters: for linkers, and by symbol index.
const SHT_LLVM_ADDRSIG: u64 = 0x6fff_4c03;
/// From here on, a symbol's section is a special meaning.
const SHN_LORESERVE: u64 = 0xff00;

/// A field of an ELF structure: where it is, and how many bytes.
type Field = (usize, usize);
const E_SHOFF: Field = (0x28, 8);
const E_SHENTSIZE: Field = (0x3a, 2);
const E_SHNUM: Field = (0x3c, 2);
const E_SHSTRNDX: Field = (0x3e, 2);
const SH_NAME: Field = (0, 4);
const SH_TYPE: Field = (4, 4);
const SH_OFFSET: Field = (24, 8);
const SH_SIZE: Field = (32, 8);
const SH_LINK: Field = (40, 4);
const SH_INFO: Field = (44, 4);
const SH_ADDRALIGN: Field = (48, 8);
const ST_NAME: Field = (0, 4);
const ST_INFO: Field = (4, 1);
const ST_SHNDX: Field = (6, 2);
const R_SYM: Field = (12, 4);

fn get(bytes: &[u8], (at, len): Field) -> Result<u64, NotAnObject> {
    let field = at.checked_add(len).and_then(|end| bytes.get(at..end)).ok_or(NotAnObject("it is cut short"))?;
    Ok(field.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

fn set(bytes: &mut [u8], (at, len): Field, value: u64) -> Result<(), NotAnObject> {
    let field = at.checked_add(len).and_then(|end| bytes.get_mut(at..end)).ok_or(NotAnObject("it is cut short"))?;
    field.copy_from_slice(value.to_le_bytes().get(..len).unwrap_or_default());
    Ok(())
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn slice(bytes: &[u8], at: u64, len: u64) -> Result<&[u8], NotAnObject> {
    let end = at.checked_add(len).ok_or(NotAnObject("a part lies outside of it"))?;
    bytes.get(index(at)..index(end)).ok_or(NotAnObject("a part lies outside of it"))
}

fn text(table: &[u8], at: u64) -> Result<&[u8], NotAnObject> {
    let rest = table.get(index(at)..).ok_or(NotAnObject("a name lies outside its table"))?;
    rest.split(|byte| *byte == 0).next().ok_or(NotAnObject("a name does not end"))
}

struct Section {
    header: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    /// Its number in the result; `None` for one that goes.
    kept: Option<u64>,
}

impl Section {
    fn kind(&self) -> Result<u64, NotAnObject> {
        get(&self.header, SH_TYPE)
    }
}

/// The object without DWARF.
pub(crate) fn without_dwarf(elf: &[u8]) -> Result<Vec<u8>, NotAnObject> {
    // Class 64, little-endian, version 1.
    if elf.get(..7) != Some(b"\x7fELF\x02\x01\x01") {
        return Err(NotAnObject("it does not start like one"));
    }
    if get(elf, (0x10, 2))? != ET_REL || get(elf, (0x12, 2))? != EM_BPF {
        return Err(NotAnObject("it is for another machine, or linked"));
    }
    let mut sections = read(elf)?;
    choose(&mut sections)?;
    let mut names = Names::default();
    renumber(&mut sections, &mut names)?;
    write(elf, sections, &names)
}

fn read(elf: &[u8]) -> Result<Vec<Section>, NotAnObject> {
    if get(elf, E_SHENTSIZE)? != SECTION as u64 {
        return Err(NotAnObject("its section table is damaged"));
    }
    let table = get(elf, E_SHOFF)?;
    let count = get(elf, E_SHNUM)?;
    let mut sections = Vec::new();
    for number in 0..count {
        let at = table.checked_add(number * SECTION as u64).ok_or(NotAnObject("a part lies outside of it"))?;
        let header = slice(elf, at, SECTION as u64)?.to_vec();
        let kind = get(&header, SH_TYPE)?;
        let data = match kind {
            SHT_NULL | SHT_NOBITS => Vec::new(),
            _ => slice(elf, get(&header, SH_OFFSET)?, get(&header, SH_SIZE)?)?.to_vec(),
        };
        sections.push(Section { header, name: Vec::new(), data, kept: None });
    }
    let names =
        sections.get(index(get(elf, E_SHSTRNDX)?)).ok_or(NotAnObject("its sections have no names"))?.data.clone();
    for section in &mut sections {
        section.name = text(&names, get(&section.header, SH_NAME)?)?.to_vec();
    }
    Ok(sections)
}

/// Numbers the sections that stay.
fn choose(sections: &mut [Section]) -> Result<(), NotAnObject> {
    let is_debug: Vec<bool> = sections.iter().map(|section| section.name.starts_with(b".debug")).collect();
    let mut next = 0;
    for (section, own) in sections.iter_mut().zip(&is_debug) {
        let goes = match section.kind()? {
            SHT_GROUP | SHT_RELA => return Err(NotAnObject("it has sections that clang doesn't make for BPF")),
            SHT_REL => is_debug.get(index(get(&section.header, SH_INFO)?)).copied().unwrap_or(true),
            SHT_LLVM_ADDRSIG => true,
            _ => *own,
        };
        if !goes {
            section.kept = Some(next);
            next += 1;
        }
    }
    Ok(())
}

/// Renumbers what refers to sections and symbols by number, and to names by offset.
fn renumber(sections: &mut [Section], names: &mut Names) -> Result<(), NotAnObject> {
    let kept: Vec<Option<u64>> = sections.iter().map(|section| section.kept).collect();
    let new_number = |old: u64| kept.get(index(old)).copied().flatten();
    let mut symbols: HashMap<u64, u64> = HashMap::new();
    let strings: Vec<Vec<u8>> = sections
        .iter()
        .map(|section| if section.kind() == Ok(SHT_STRTAB) { section.data.clone() } else { Vec::new() })
        .collect();

    for section in sections.iter_mut().filter(|section| section.kept.is_some()) {
        if section.kind()? != SHT_SYMTAB {
            continue;
        }
        let table =
            strings.get(index(get(&section.header, SH_LINK)?)).ok_or(NotAnObject("its symbols have no names"))?;
        let (mut data, mut locals) = (Vec::new(), 0_u64);
        for (old, entry) in section.data.chunks_exact(SYMBOL).enumerate() {
            let mut entry = entry.to_vec();
            let home = get(&entry, ST_SHNDX)?;
            if home != 0 && home < SHN_LORESERVE {
                let Some(home) = new_number(home) else { continue };
                set(&mut entry, ST_SHNDX, home)?;
            }
            let name = names.add(text(table, get(&entry, ST_NAME)?)?)?;
            set(&mut entry, ST_NAME, name)?;
            symbols.insert(old as u64, (data.len() / SYMBOL) as u64);
            // Local symbols come first, and `sh_info` counts them.
            locals += u64::from(get(&entry, ST_INFO)? >> 4 == 0);
            data.extend(entry);
        }
        section.data = data;
        set(&mut section.header, SH_INFO, locals)?;
    }
    for section in sections.iter_mut().filter(|section| section.kept.is_some()) {
        if section.kind()? == SHT_REL {
            for entry in section.data.chunks_exact_mut(RELOCATION) {
                let symbol =
                    symbols.get(&get(entry, R_SYM)?).ok_or(NotAnObject("its code refers to debug information"))?;
                set(entry, R_SYM, *symbol)?;
            }
            let target =
                new_number(get(&section.header, SH_INFO)?).ok_or(NotAnObject("its section table is damaged"))?;
            set(&mut section.header, SH_INFO, target)?;
        }
        let link = new_number(get(&section.header, SH_LINK)?).ok_or(NotAnObject("its section table is damaged"))?;
        set(&mut section.header, SH_LINK, link)?;
        let name = names.add(&section.name)?;
        set(&mut section.header, SH_NAME, name)?;
    }
    Ok(())
}

/// Lays the parts out anew: header, sections in order, section table.
fn write(elf: &[u8], sections: Vec<Section>, names: &Names) -> Result<Vec<u8>, NotAnObject> {
    let names_at = sections.get(index(get(elf, E_SHSTRNDX)?)).and_then(|section| section.kept);
    let names_at = names_at.ok_or(NotAnObject("its sections have no names"))?;
    let mut out = elf.get(..HEADER).ok_or(NotAnObject("it is cut short"))?.to_vec();
    let mut table: Vec<u8> = Vec::new();
    let mut count = 0_u64;
    for mut section in sections.into_iter().filter(|section| section.kept.is_some()) {
        let kind = section.kind()?;
        if kind == SHT_STRTAB {
            section.data.clone_from(&names.table);
        }
        if kind != SHT_NULL {
            let align = get(&section.header, SH_ADDRALIGN)?.clamp(1, 4096);
            out.resize(out.len().next_multiple_of(index(align)), 0);
            set(&mut section.header, SH_OFFSET, out.len() as u64)?;
            if kind != SHT_NOBITS {
                set(&mut section.header, SH_SIZE, section.data.len() as u64)?;
            }
        }
        out.extend(&section.data);
        table.extend(&section.header);
        count += 1;
    }
    out.resize(out.len().next_multiple_of(8), 0);
    let table_at = out.len() as u64;
    set(&mut out, E_SHOFF, table_at)?;
    set(&mut out, E_SHNUM, count)?;
    set(&mut out, E_SHSTRNDX, names_at)?;
    out.extend(table);
    Ok(out)
}

/// A string table in the making: each name once, in the order in which they came.
#[derive(Default)]
struct Names {
    table: Vec<u8>,
    at: HashMap<Vec<u8>, u64>,
}

impl Names {
    fn add(&mut self, name: &[u8]) -> Result<u64, NotAnObject> {
        if self.table.is_empty() {
            self.table.push(0);
        }
        if name.is_empty() {
            return Ok(0);
        }
        if let Some(at) = self.at.get(name) {
            return Ok(*at);
        }
        let at = self.table.len() as u64;
        if at > u64::from(u32::MAX) {
            return Err(NotAnObject("its names are too long"));
        }
        self.table.extend(name);
        self.table.push(0);
        self.at.insert(name.to_vec(), at);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_object_are_refused() {
        assert!(without_dwarf(b"").is_err());
        assert!(without_dwarf(b"\x7fELF\x02\x01\x01").is_err());
        // An object of the machine that runs the test.
        assert!(without_dwarf(&std::fs::read("/proc/self/exe").unwrap()).is_err());
    }

    #[test]
    fn a_section_table_that_lies_is_an_error_and_no_panic() {
        let mut elf = vec![0_u8; 256];
        elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        elf[0x10] = 1;
        elf[0x12] = 247;
        elf[0x3a] = 64;
        elf[0x3c] = 2;
        for table in [0_u64, 63, 128, 255, u64::MAX, u64::MAX - 64] {
            elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
            for filler in [0, 1, 2, 9, 255] {
                elf[64..].fill(filler);
                let _ = without_dwarf(&elf);
            }
        }
    }
}
