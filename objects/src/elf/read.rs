//! The parts of an ELF file → [`Object`]: programs, references and what the object wants from the kernel.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bpfkit_schemas::Digest;
use sha2::{Digest as _, Sha256};

use super::{
    Code, Extern, ExternKind, Function, MAX_SIZE, Map, Object, ObjectProblem, Reference, data, maps,
    raw::{
        self, Elf, HIDDEN, SHF_EXECINSTR, SHN_UNDEF, SHT_PROGBITS, SHT_REL, STB_LOCAL, STT_FUNC, STT_SECTION, Symbol,
    },
};
use crate::{
    btf::{Btf, BtfExt, Kind},
    insn::{Insn, PSEUDO_CALL, PSEUDO_FUNC},
};

pub(super) fn object(bytes: &[u8]) -> Result<Object, Vec<ObjectProblem>> {
    if bytes.len() > MAX_SIZE {
        return Err(vec![ObjectProblem::TooLarge { size: bytes.len() }]);
    }
    let elf = raw::parse(bytes).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    for section in elf.sections.iter().filter(|section| section.name == "maps" || section.name.starts_with("maps/")) {
        problems.push(ObjectProblem::LegacyMaps { section: section.name.to_owned() });
    }
    let (btf, ext) = types(&elf, &mut problems);
    let license = license(&elf, &mut problems);
    let (code, code_of) = code(&elf, &mut problems);
    let functions = functions(&elf, &code, &code_of, &mut problems);
    let (maps, globals, externs) = match &btf {
        Some(btf) => {
            let mut maps = maps::declared(&elf, btf, &mut problems);
            let globals = data::variables(&elf, btf, &mut maps, &mut problems);
            (maps, globals, externs(&elf, btf))
        }
        None => (Vec::new(), Vec::new(), Externs::default()),
    };
    let mut object = Object {
        digest: Digest::from_bytes(Sha256::digest(bytes).into()),
        size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        btf: match btf {
            Some(btf) => Arc::new(btf),
            None => return Err(problems),
        },
        ext,
        license,
        code,
        functions,
        maps,
        globals,
        externs: externs.list,
    };
    references(&elf, &code_of, &externs.by_symbol, &mut object, &mut problems);
    if problems.is_empty() { Ok(object) } else { Err(problems) }
}

fn types(elf: &Elf<'_>, problems: &mut Vec<ObjectProblem>) -> (Option<Btf>, BtfExt) {
    let section = |name: &str| elf.sections.iter().find(|section| section.name == name);
    let Some(bytes) = section(".BTF") else {
        problems.push(ObjectProblem::NoBtf);
        return (None, BtfExt::default());
    };
    match Btf::parse(bytes.bytes) {
        Ok(btf) => {
            let ext = section(".BTF.ext").map_or(Ok(BtfExt::default()), |ext| BtfExt::parse(ext.bytes, &btf));
            let ext = ext.unwrap_or_else(|source| {
                problems.push(ObjectProblem::Btf { section: ".BTF.ext", source });
                BtfExt::default()
            });
            (Some(btf), ext)
        }
        Err(source) => {
            problems.push(ObjectProblem::Btf { section: ".BTF", source });
            (None, BtfExt::default())
        }
    }
}

fn license(elf: &Elf<'_>, problems: &mut Vec<ObjectProblem>) -> String {
    let Some(section) = elf.sections.iter().find(|section| section.name == "license") else { return String::new() };
    let text = section.bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    // The kernel copies 128 bytes at most (`bpf_prog_load`).
    match std::str::from_utf8(text) {
        Ok(text) if text.len() < 128 => text.to_owned(),
        _ => {
            problems.push(ObjectProblem::Damaged { what: "its license is no text of at most 127 bytes" });
            String::new()
        }
    }
}

/// The sections of instructions, and which of them is behind an ELF section number.
fn code(elf: &Elf<'_>, problems: &mut Vec<ObjectProblem>) -> (Vec<Code>, HashMap<usize, usize>) {
    let (mut code, mut code_of, mut names) = (Vec::new(), HashMap::new(), BTreeSet::new());
    for (number, section) in elf.sections.iter().enumerate() {
        if section.kind != SHT_PROGBITS || section.flags & SHF_EXECINSTR == 0 || section.bytes.is_empty() {
            continue;
        }
        // Lines and relocations are found by the section's name.
        if !names.insert(section.name) {
            problems.push(ObjectProblem::Damaged { what: "two sections of instructions have one name" });
        }
        match Insn::decode_all(section.bytes) {
            Some(instructions) => {
                code_of.insert(number, code.len());
                code.push(Code { name: section.name.to_owned(), instructions, references: BTreeMap::new() });
            }
            None => {
                problems.push(ObjectProblem::Damaged { what: "a section of instructions ends in the middle of one" });
            }
        }
    }
    (code, code_of)
}

fn functions(
    elf: &Elf<'_>,
    code: &[Code],
    code_of: &HashMap<usize, usize>,
    problems: &mut Vec<ObjectProblem>,
) -> Vec<Function> {
    let mut functions = Vec::new();
    for symbol in elf.symbols.iter().filter(|symbol| symbol.kind == STT_FUNC) {
        let Some(index) = code_of.get(&usize::from(symbol.section)) else { continue };
        let Some(section) = code.get(*index) else { continue };
        let bad = |what| ObjectProblem::Function { function: symbol.name.to_owned(), what };
        let whole = symbol.value.is_multiple_of(8) && symbol.size.is_multiple_of(8) && symbol.size > 0;
        let start = usize::try_from(symbol.value / 8).unwrap_or(usize::MAX);
        let len = usize::try_from(symbol.size / 8).unwrap_or(usize::MAX);
        if symbol.name.is_empty() || !whole {
            problems.push(bad("has no name or no whole number of instructions"));
        } else if start.checked_add(len).is_none_or(|end| end > section.instructions.len()) {
            problems.push(bad("reaches beyond its section"));
        } else {
            let entry = section.name != ".text";
            if entry && symbol.binding == STB_LOCAL {
                problems.push(bad("is an entry program and must not be `static`"));
            }
            let global = symbol.binding != STB_LOCAL && !HIDDEN.contains(&symbol.visibility);
            functions.push(Function { name: symbol.name.to_owned(), code: *index, start, len, global, entry });
        }
    }
    functions.sort_by_key(|function| (function.code, function.start));
    functions
}

#[derive(Default)]
struct Externs {
    list: Vec<Extern>,
    by_symbol: HashMap<u32, usize>,
}

/// What the symbols leave undefined; what it is, the section says that `__ksym` and `__kconfig` put it into.
fn externs(elf: &Elf<'_>, btf: &Btf) -> Externs {
    let mut kinds = HashMap::new();
    for (id, ty) in btf.iter() {
        let Kind::Datasec { vars, .. } = &ty.kind else { continue };
        let config = match btf.name(id) {
            ".ksyms" => false,
            ".kconfig" => true,
            _ => continue,
        };
        for var in vars {
            let kind = match btf.kind(var.ty) {
                _ if config => ExternKind::KernelConfig,
                Kind::Func { .. } => ExternKind::KernelFunction,
                _ => ExternKind::KernelVariable,
            };
            kinds.insert(btf.name(var.ty), kind);
        }
    }
    let mut externs = Externs::default();
    for (number, symbol) in (0..).zip(&elf.symbols) {
        if symbol.section == SHN_UNDEF && symbol.binding != STB_LOCAL && !symbol.name.is_empty() {
            let kind = kinds.get(symbol.name).copied().unwrap_or(ExternKind::KernelVariable);
            externs.by_symbol.insert(number, externs.list.len());
            externs.list.push(Extern { name: symbol.name.to_owned(), kind });
        }
    }
    externs
}

/// Works out what every relocated instruction refers to (`bpf_program__record_reloc`).
fn references(
    elf: &Elf<'_>,
    code_of: &HashMap<usize, usize>,
    externs: &HashMap<u32, usize>,
    object: &mut Object,
    problems: &mut Vec<ObjectProblem>,
) {
    let mut declared = HashMap::new();
    let mut variables = HashMap::new();
    for (index, map) in object.maps.iter().enumerate() {
        if map.initial.is_some() {
            variables.insert(map.section, index);
        } else {
            declared.insert((map.section, map.offset), index);
        }
    }
    let mut pointers = BTreeSet::new();
    let mut used = BTreeSet::new();
    for section in elf.sections.iter().filter(|section| section.kind == SHT_REL) {
        let of = usize::try_from(section.info).unwrap_or(usize::MAX);
        let relocations = match section.relocations() {
            Ok(relocations) => relocations,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if let Some(map) = variables.get(&of) {
            pointers.insert(*map);
            continue;
        }
        if let Some(maps) = elf.sections.get(of).filter(|section| section.name == ".maps") {
            filled_maps(&object.maps, of, relocations.map(|rel| rel.offset), maps.name, problems);
            continue;
        }
        let Some(index) = code_of.get(&of) else { continue };
        let Some(code) = object.code.get_mut(*index) else { continue };
        for rel in relocations {
            // Nobody reads more, and a hostile object could bring a million.
            if problems.len() > 100 {
                return;
            }
            let symbol = usize::try_from(rel.symbol).ok().and_then(|number| elf.symbols.get(number));
            let at = usize::try_from(rel.offset / 8).unwrap_or(usize::MAX);
            let insn = code.instructions.get(at).filter(|_| rel.offset.is_multiple_of(8));
            let (Some(symbol), Some(insn)) = (symbol, insn) else {
                problems
                    .push(ObjectProblem::Damaged { what: "a relocation points outside its section or at no symbol" });
                continue;
            };
            let found = if let Some(number) = externs.get(&rel.symbol) {
                if insn.is_call() || insn.is_ld_imm64() { Ok(Reference::Extern(*number)) } else { Err(NOT_LOADED) }
            } else {
                reference(symbol, *insn, code_of, &declared, &variables)
            };
            match found {
                Ok(reference) => {
                    if let Reference::Variable { map, .. } = reference {
                        used.insert(map);
                    }
                    code.references.insert(at, reference);
                }
                Err(what) => {
                    let name =
                        if symbol.kind == STT_SECTION { elf.sections.get(usize::from(symbol.section)) } else { None };
                    let symbol = name.map_or(symbol.name, |section| section.name).to_owned();
                    problems.push(ObjectProblem::Reference { section: code.name.clone(), symbol, what });
                }
            }
        }
    }
    // Addresses in global variables would stay null; libbpf says nothing and leaves them so.
    for map in pointers.intersection(&used) {
        let section = object.maps.get(*map).map_or_else(String::new, |map| map.name.clone());
        problems.push(ObjectProblem::Data { section, what: "holds addresses, which nobody fills in" });
    }
}

const NOT_LOADED: &str = "but neither calls it nor loads its address";

fn reference(
    symbol: &Symbol<'_>,
    insn: Insn,
    code_of: &HashMap<usize, usize>,
    declared: &HashMap<(usize, u64), usize>,
    variables: &HashMap<usize, usize>,
) -> Result<Reference, &'static str> {
    let section = usize::from(symbol.section);
    let function = || {
        let code = *code_of.get(&section)?;
        let offset = usize::try_from(symbol.value / 8).ok().filter(|_| symbol.value.is_multiple_of(8))?;
        Some(Reference::Function { code, offset })
    };
    if insn.is_call() {
        return if insn.src == PSEUDO_CALL {
            function().ok_or("which is no function of this object")
        } else {
            Err("but calls something else")
        };
    }
    if !insn.is_ld_imm64() {
        return Err(NOT_LOADED);
    }
    if let Some(function) = function() {
        // Clang leaves the kind to the loader.
        return if matches!(insn.src, 0 | PSEUDO_FUNC) {
            Ok(function)
        } else {
            Err("whose address it loads as if it were data")
        };
    }
    if let Some(map) = variables.get(&section) {
        let offset = u32::try_from(symbol.value).map_err(|_| "which lies beyond any variable")?;
        return Ok(Reference::Variable { map: *map, offset });
    }
    declared
        .get(&(section, symbol.value))
        .map(|map| Reference::Map(*map))
        .ok_or("which is neither a map nor a variable nor a function")
}

fn filled_maps(
    maps: &[Map],
    section: usize,
    offsets: impl Iterator<Item = u64>,
    name: &str,
    problems: &mut Vec<ObjectProblem>,
) {
    let mut filled = BTreeSet::new();
    // Enough to name some: an object that fills maps is refused by one as well as by all.
    for offset in offsets.take(100) {
        let holders = maps.iter().filter(|map| map.section == section && map.initial.is_none() && map.offset <= offset);
        filled.insert(holders.max_by_key(|map| map.offset).map_or(name, |map| &map.name));
    }
    for map in filled {
        problems.push(ObjectProblem::MapUnsupported { map: map.to_owned(), what: "lists its entries (`.values`)" });
    }
}
