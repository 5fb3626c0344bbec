//! `.BTF.ext` bytes → [`BtfExt`]: what the compiler says about instructions.
//!
//! Pure. Function records, source lines and CO-RE relocations, each by the ELF
//! section of the instruction. Offsets count bytes from the section's start.
//! Format: kernel documentation `bpf/btf.rst`, section 4.

use std::collections::BTreeMap;

use super::{
    Btf, BtfError, NameOff, TypeId,
    parse::{Reader, header, part},
};

/// What the compiler says about instructions, by section name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BtfExt {
    /// Where functions start, and their types.
    pub functions: BTreeMap<String, Vec<FunctionRecord>>,
    /// Source lines.
    pub lines: BTreeMap<String, Vec<LineRecord>>,
    /// CO-RE relocations.
    pub relocations: BTreeMap<String, Vec<CoreRecord>>,
}

/// A function's first instruction (`struct bpf_func_info`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FunctionRecord {
    /// Bytes from the section's start.
    pub offset: u32,
    /// The [`super::Kind::Func`].
    pub ty: TypeId,
}

/// A source line (`struct bpf_line_info`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LineRecord {
    /// Bytes from the section's start.
    pub offset: u32,
    /// The file's name.
    pub file: NameOff,
    /// The line's text, often empty or cut.
    pub text: NameOff,
    /// 1-based line.
    pub line: u32,
    /// 1-based column.
    pub column: u32,
}

/// A CO-RE relocation (`struct bpf_core_relo`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CoreRecord {
    /// Bytes from the section's start.
    pub offset: u32,
    /// The local type that the access starts from.
    pub ty: TypeId,
    /// The access: `0:1:2`.
    pub access: NameOff,
    /// `enum bpf_core_relo_kind`.
    pub kind: u32,
}

impl BtfExt {
    /// Reads `.BTF.ext`; `btf` holds the section names and types that it refers to.
    pub fn parse(bytes: &[u8], btf: &Btf) -> Result<Self, BtfError> {
        let (length, mut fields) = header(bytes)?;
        let mut next = |what| -> Result<&[u8], BtfError> {
            let (offset, len) = (fields.u32()?, fields.u32()?);
            part(bytes, length, offset, len, what)
        };
        let functions = next("its function records")?;
        let lines = next("its line records")?;
        // The CO-RE part came with Linux 5.4; a shorter header has none.
        let relocations = if length >= 32 { next("its relocation records")? } else { &[] };
        Ok(Self {
            functions: records(functions, btf, "function", 8, |r| {
                Ok(FunctionRecord { offset: r.u32()?, ty: TypeId(r.u32()?) })
            })?,
            lines: records(lines, btf, "line", 16, |r| {
                let (offset, file, text, place) = (r.u32()?, NameOff(r.u32()?), NameOff(r.u32()?), r.u32()?);
                Ok(LineRecord { offset, file, text, line: place >> 10, column: place & 0x3ff })
            })?,
            relocations: records(relocations, btf, "relocation", 16, |r| {
                Ok(CoreRecord { offset: r.u32()?, ty: TypeId(r.u32()?), access: NameOff(r.u32()?), kind: r.u32()? })
            })?,
        })
    }
}

/// Reads one part: the size of a record, then for each section its name, a count and the records.
fn records<T>(
    bytes: &[u8],
    btf: &Btf,
    what: &'static str,
    known: u32,
    read: impl Fn(&mut Reader<'_>) -> Result<T, BtfError>,
) -> Result<BTreeMap<String, Vec<T>>, BtfError> {
    let mut sections = BTreeMap::<String, Vec<T>>::new();
    if bytes.is_empty() {
        return Ok(sections);
    }
    let mut reader = Reader::new(bytes, "its records");
    let size = reader.u32()?;
    if size < known || !size.is_multiple_of(4) {
        return Err(BtfError::RecordSize { what, size });
    }
    // A newer compiler may have added fields behind those that we know.
    let extra = usize::try_from(size - known).unwrap_or(usize::MAX);
    while !reader.is_empty() {
        let name = btf.str(NameOff(reader.u32()?)).to_owned();
        let count = reader.u32()?;
        let list = sections.entry(name).or_default();
        for _ in 0..count {
            list.push(read(&mut reader)?);
            reader.skip(extra)?;
        }
    }
    Ok(sections)
}
