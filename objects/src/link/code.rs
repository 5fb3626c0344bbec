//! The instructions of an entry program and of all that it calls (libbpf's `bpf_object__reloc_code` and
//! `bpf_object__relocate_data`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bpfkit_schemas::{chain::Globals, section};

use super::{Line, LinkProblem, Linked, MapRef, Outcome, RelocationReport, Subprogram, TypeRef, Uses, maps};
use crate::{
    btf::{
        Btf, Kind, TypeId,
        ext::{CoreRecord, LineRecord},
    },
    core_relo::{CoreKind, CoreProblem, Resolution, Resolver, patch},
    elf::{ExternKind, Function, Object, Reference},
    insn::{
        HELPER_TAIL_CALL, Insn, POISON, PSEUDO_BTF_ID, PSEUDO_CALL, PSEUDO_FUNC, PSEUDO_KFUNC_CALL, PSEUDO_MAP_FD,
        PSEUDO_MAP_VALUE,
    },
};

/// The kernel's limit for the privileged (`BPF_COMPLEXITY_LIMIT_INSNS`).
const LONGEST: usize = 1_000_000;
/// How many problems are worth reading.
const MOST_PROBLEMS: usize = 100;
/// The kernel's limit of maps in a program (`MAX_USED_MAPS`).
const MOST_MAPS: usize = 64;
/// A type that no kernel has: what refers to it is refused.
const NO_TYPE: i32 = -1;

pub(super) fn link(object: &Object, entry: &str, kernel: &Btf, globals: &Globals) -> Result<Linked, Vec<LinkProblem>> {
    let mut linker = Linker::new(object, entry, kernel)?;
    linker.run();
    let Linker {
        mut problems, instructions, placed, order, references, mut type_refs, lines, reports, mut uses, ..
    } = linker;

    let mut data: Vec<_> = object.maps.iter().map(|map| map.initial.clone()).collect();
    if let Err(misfits) = object.encode_globals(globals, &mut data) {
        problems.extend(misfits.into_iter().map(LinkProblem::Global));
    }
    let used: BTreeSet<usize> = references.iter().map(|reference| reference.map).collect();
    if used.len() > MOST_MAPS {
        problems.push(LinkProblem::TooManyMaps { entry: entry.to_owned(), count: used.len(), most: MOST_MAPS });
        return Err(problems);
    }
    let positions: HashMap<usize, usize> = used.iter().enumerate().map(|(at, map)| (*map, at)).collect();
    let mut linked_maps = Vec::new();
    for index in &used {
        if let (Some(map), Some(initial)) = (object.maps.get(*index), data.get_mut(*index)) {
            linked_maps.push(maps::linked(&object.btf, map, initial.take()));
        }
    }
    // In the order of instructions, not in that in which functions were met.
    let mut map_refs: Vec<_> = references
        .into_iter()
        .map(|reference| MapRef { map: positions.get(&reference.map).copied().unwrap_or_default(), ..reference })
        .collect();
    map_refs.sort_by_key(|reference| reference.insn);
    let mut lines = lines;
    lines.sort_by_key(|line| line.insn);
    type_refs.sort_by_key(|reference| reference.insn);

    let helpers: BTreeSet<u32> = helpers(&instructions);
    uses.tail_calls = u32::try_from(HELPER_TAIL_CALL).is_ok_and(|helper| helpers.contains(&helper));
    let subprograms = order.iter().filter_map(|index| {
        let function = object.functions.get(*index)?;
        Some(Subprogram {
            name: function.name.clone(),
            start: *placed.get(index)?,
            global: function.global,
            ty: function_type(object, function),
        })
    });
    let section = order.first().and_then(|index| object.functions.get(*index)).map_or("", |f| object.section(f));
    let meaning = section::meaning(section);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Linked {
        function: entry.to_owned(),
        section: section.to_owned(),
        kind: meaning.map(|meaning| meaning.kind),
        attach_type: meaning.map_or(0, |meaning| meaning.attach_type),
        frags: meaning.is_some_and(|meaning| meaning.frags),
        sleepable: meaning.is_some_and(|meaning| meaning.sleepable),
        license: object.license.clone(),
        subprograms: subprograms.collect(),
        instructions,
        map_refs,
        maps: linked_maps,
        type_refs,
        lines,
        helpers,
        uses,
        relocations: reports,
    })
}

pub(super) fn relocations(
    object: &Object,
    entry: &str,
    kernel: &Btf,
) -> Result<Vec<RelocationReport>, Vec<LinkProblem>> {
    let mut linker = Linker::new(object, entry, kernel)?;
    linker.run();
    let disagree = |problem: &LinkProblem| {
        matches!(problem, LinkProblem::Core { problem: CoreProblem::Ambiguous { .. } | CoreProblem::Mixed { .. }, .. })
    };
    linker.problems.retain(|problem| !disagree(problem));
    if linker.problems.is_empty() { Ok(linker.reports) } else { Err(linker.problems) }
}

fn helpers(instructions: &[Insn]) -> BTreeSet<u32> {
    let called = instructions.iter().filter(|insn| insn.imm != POISON).filter_map(|insn| insn.helper());
    called.collect()
}

/// The function's type, where `.BTF.ext` notes one for its first instruction.
fn function_type(object: &Object, function: &Function) -> Option<TypeId> {
    let records = object.ext.functions.get(object.section(function))?;
    let record = records.iter().find(|record| record.offset == bytes(function.start))?;
    matches!(object.btf.kind(record.ty), Kind::Func { .. }).then_some(record.ty)
}

struct Linker<'a> {
    object: &'a Object,
    resolver: Resolver<'a>,
    /// Functions by section and first instruction.
    starts: HashMap<(usize, usize), usize>,
    /// By section: relocations and lines, by offset in bytes.
    records: Vec<Records>,
    instructions: Vec<Insn>,
    /// Where functions were put, and in which order.
    placed: HashMap<usize, usize>,
    order: Vec<usize>,
    /// With the object's map numbers.
    references: Vec<MapRef>,
    type_refs: Vec<TypeRef>,
    lines: Vec<Line>,
    reports: Vec<RelocationReport>,
    uses: Uses,
    problems: Vec<LinkProblem>,
}

#[derive(Default)]
struct Records {
    relocations: BTreeMap<u32, Vec<CoreRecord>>,
    lines: BTreeMap<u32, LineRecord>,
}

impl<'a> Linker<'a> {
    fn new(object: &'a Object, entry: &str, kernel: &'a Btf) -> Result<Self, Vec<LinkProblem>> {
        let entries = || object.functions.iter().enumerate().filter(|(_, function)| function.entry);
        let Some((first, _)) = entries().find(|(_, function)| function.name == entry) else {
            let programs = entries().map(|(_, function)| format!("`{}`", function.name)).collect();
            return Err(vec![LinkProblem::NoEntry { entry: entry.to_owned(), programs }]);
        };
        let records = object.code.iter().map(|code| {
            let mut records = Records::default();
            for record in object.ext.relocations.get(&code.name).into_iter().flatten() {
                records.relocations.entry(record.offset).or_default().push(*record);
            }
            let lines = object.ext.lines.get(&code.name).into_iter().flatten();
            records.lines = lines.map(|line| (line.offset, *line)).collect();
            records
        });
        let mut starts = HashMap::new();
        for (index, function) in object.functions.iter().enumerate() {
            starts.entry((function.code, function.start)).or_insert(index);
        }
        let mut linker = Self {
            object,
            resolver: Resolver::new(&object.btf, kernel),
            starts,
            records: records.collect(),
            instructions: Vec::new(),
            placed: HashMap::new(),
            order: Vec::new(),
            references: Vec::new(),
            type_refs: Vec::new(),
            lines: Vec::new(),
            reports: Vec::new(),
            uses: Uses::default(),
            problems: Vec::new(),
        };
        linker.append(first);
        Ok(linker)
    }

    /// Goes through the functions as libbpf does: into a subprogram as soon as it is met first.
    fn run(&mut self) {
        let Some(first) = self.order.first().copied() else { return };
        // A stack of our own: a hostile chain of calls can be as long as the object.
        let mut stack = vec![(first, 0)];
        while let Some((index, at)) = stack.last_mut() {
            let (index, here) = (*index, *at);
            let Some(function) = self.object.functions.get(index).filter(|function| here < function.len) else {
                stack.pop();
                continue;
            };
            let wide = self.insn(function, here).is_some_and(Insn::is_ld_imm64);
            *at += if wide { 2 } else { 1 };
            if let Some(callee) = self.instruction(index, function, here) {
                stack.push((callee, 0));
            }
        }
    }

    fn insn(&self, function: &Function, at: usize) -> Option<Insn> {
        let code = self.object.code.get(function.code)?;
        code.instructions.get(function.start.checked_add(at)?).copied()
    }

    /// Adds a function's instructions behind the others, relocated through CO-RE.
    fn append(&mut self, index: usize) {
        let (Some(function), start) = (self.object.functions.get(index), self.instructions.len()) else { return };
        let end = function.start.saturating_add(function.len);
        let code = self.object.code.get(function.code).and_then(|code| code.instructions.get(function.start..end));
        let code = code.unwrap_or_default();
        self.placed.insert(index, start);
        self.order.push(index);
        if start.saturating_add(code.len()) > LONGEST {
            let entry = self.order.first().and_then(|first| self.object.functions.get(*first));
            let entry = entry.map_or_else(String::new, |function| function.name.clone());
            self.problems.push(LinkProblem::TooLong { entry, most: LONGEST });
            return;
        }
        self.instructions.extend_from_slice(code);
        self.relocate(function, start);
        self.note_lines(function, start);
    }

    fn relocate(&mut self, function: &Function, start: usize) {
        let object = self.object;
        let Some(records) = self.records.get(function.code) else { return };
        let range = bytes(function.start)..bytes(function.start.saturating_add(function.len));
        let mut todo = Vec::new();
        for (offset, list) in records.relocations.range(range) {
            let line = records.lines.range(bytes(function.start)..=*offset).next_back().map(|(_, line)| *line);
            todo.extend(list.iter().map(|record| (*record, line)));
        }
        for (record, line) in todo {
            let at = usize::try_from(record.offset / 8).unwrap_or(usize::MAX).saturating_sub(function.start);
            let access = self.resolver.describe(&record);
            let line = line.map(|line| (object.btf.str(line.file).to_owned(), line.line));
            let name = function.name.clone();
            let resolved = if record.offset.is_multiple_of(8) {
                self.resolver.resolve(&record)
            } else {
                Err(CoreProblem::Damaged("it is for the middle of an instruction"))
            };
            let outcome = match &resolved {
                Ok(resolution) => {
                    let window = self.instructions.get_mut(start..).unwrap_or_default();
                    if let Err(problem) = patch(window, at, resolution) {
                        let (function, line, access) = (name.clone(), line.clone(), access.clone());
                        self.problems.push(LinkProblem::Patch { function, line, access, problem });
                    }
                    let poisoned = window.get(at) == Some(&Insn::poison());
                    self.uses.poisoned += usize::from(poisoned);
                    outcome(resolution, poisoned)
                }
                Err(problem) => {
                    let hopeless = *problem == CoreProblem::TooComplicated;
                    let (function, line, access) = (name.clone(), line.clone(), access.clone());
                    self.problems.push(LinkProblem::Core { function, line, access, problem: problem.clone() });
                    match problem {
                        CoreProblem::Ambiguous { candidates } => Outcome::Ambiguous { candidates: candidates.clone() },
                        CoreProblem::Mixed { chosen, wanted } => {
                            Outcome::Ambiguous { candidates: chosen.iter().chain(wanted).cloned().collect() }
                        }
                        _ if hopeless || self.problems.len() > MOST_PROBLEMS => return,
                        _ => continue,
                    }
                }
            };
            let Some(kind) = CoreKind::from_number(record.kind) else { continue };
            if kind == CoreKind::TypeIdLocal {
                self.type_refs.push(TypeRef { insn: start.saturating_add(at), ty: record.ty });
            }
            self.reports.push(RelocationReport { insn: at, function: name, kind, access, line, outcome });
        }
    }

    fn note_lines(&mut self, function: &Function, start: usize) {
        let Some(records) = self.records.get(function.code) else { return };
        let range = bytes(function.start)..bytes(function.start.saturating_add(function.len));
        for (offset, line) in records.lines.range(range) {
            let at = usize::try_from(offset / 8).unwrap_or(usize::MAX).saturating_sub(function.start);
            self.lines.push(Line {
                insn: start.saturating_add(at),
                file: self.object.btf.str(line.file).to_owned(),
                line: line.line,
                column: line.column,
                text: self.object.btf.str(line.text).to_owned(),
            });
        }
    }

    /// Points one instruction at what it refers to; gives a function that was met for the first time.
    fn instruction(&mut self, index: usize, function: &Function, at: usize) -> Option<usize> {
        let place = self.placed.get(&index)?.checked_add(at)?;
        let insn = *self.instructions.get(place)?;
        // As the compiler wrote it: CO-RE may have poisoned it since.
        let written = self.insn(function, at)?;
        let code = self.object.code.get(function.code)?;
        let reference = code.references.get(&function.start.checked_add(at)?).copied();
        let mut wrong = |what| {
            self.problems.push(LinkProblem::Instruction { function: function.name.clone(), at, what });
            None
        };
        if insn == Insn::poison() && written != insn {
            return match reference {
                Some(_) => wrong("refers to two things at once"),
                None => None,
            };
        }
        if insn.is_ld_imm64() && at + 1 >= function.len {
            return wrong("is half of a 64-bit load");
        }
        match reference {
            Some(Reference::Map(map)) => {
                self.set(place, PSEUDO_MAP_FD, 0, None);
                self.references.push(MapRef { insn: place, map, value_offset: None });
                None
            }
            Some(Reference::Variable { map, offset }) => {
                let size = self.object.maps.get(map).map_or(0, |map| map.value_size);
                let at = i64::from(offset) + i64::from(insn.imm);
                let offset = u32::try_from(at).ok().filter(|offset| *offset < size);
                let Some((offset, imm)) = offset.and_then(|offset| Some((offset, i32::try_from(offset).ok()?))) else {
                    return wrong("refers to a place outside its variables");
                };
                self.set(place, PSEUDO_MAP_VALUE, 0, Some(imm));
                self.references.push(MapRef { insn: place, map, value_offset: Some(offset) });
                None
            }
            Some(Reference::Extern(number)) => {
                let wanted = self.object.externs.get(number)?;
                let list = match wanted.kind {
                    ExternKind::KernelFunction => &mut self.uses.kfuncs,
                    ExternKind::KernelVariable => &mut self.uses.ksyms,
                    ExternKind::KernelConfig => &mut self.uses.kconfigs,
                };
                if !list.contains(&wanted.name) {
                    list.push(wanted.name.clone());
                }
                let source = if insn.is_call() { PSEUDO_KFUNC_CALL } else { PSEUDO_BTF_ID };
                self.set(place, source, NO_TYPE, (!insn.is_call()).then_some(0));
                None
            }
            Some(Reference::Function { code, offset }) => {
                let target = if insn.is_call() {
                    offset_by(offset, insn.imm, 1)
                } else {
                    // Here the immediate counts bytes.
                    (insn.imm % 8 == 0).then(|| offset_by(offset, insn.imm / 8, 0)).flatten()
                };
                self.go(index, place, target.map(|target| (code, target)))
            }
            None if insn.is_subprogram_call() => {
                // Within its own section the compiler needs no relocation.
                let target = offset_by(function.start + at, insn.imm, 1);
                self.go(index, place, target.map(|target| (function.code, target)))
            }
            // A number that the object made up would mean whatever descriptor the loader has open.
            None if insn.is_ld_imm64() && insn.src != 0 => wrong("loads an address that the object doesn't name"),
            None if insn.is_call() && insn.src != 0 => wrong("calls something that the object doesn't name"),
            None => None,
        }
    }

    /// Points a call, or a load of a function's address, at the function that starts there.
    fn go(&mut self, index: usize, place: usize, target: Option<(usize, usize)>) -> Option<usize> {
        let callee = target.and_then(|target| self.starts.get(&target).copied());
        let Some((callee, name)) = callee.and_then(|callee| Some((callee, &self.object.functions.get(callee)?.name)))
        else {
            let function = self.object.functions.get(index).map_or_else(String::new, |function| function.name.clone());
            let at = self.placed.get(&index).map_or(0, |start| place - start);
            let what = "calls a place where no function starts";
            self.problems.push(LinkProblem::Instruction { function, at, what });
            return None;
        };
        let insn = self.instructions.get(place).copied()?;
        if insn.is_ld_imm64() && !self.uses.callbacks.contains(name) {
            self.uses.callbacks.push(name.clone());
        }
        let is_new = !self.placed.contains_key(&callee);
        if is_new {
            self.append(callee);
        }
        let start = *self.placed.get(&callee)?;
        let distance = i64::try_from(start).ok()? - i64::try_from(place).ok()? - 1;
        let source = if insn.is_call() { PSEUDO_CALL } else { PSEUDO_FUNC };
        self.set(place, source, i32::try_from(distance).ok()?, insn.is_ld_imm64().then_some(0));
        is_new.then_some(callee)
    }

    /// Sets kind and immediate of the instruction at `place`, and the immediate of its second half.
    fn set(&mut self, place: usize, source: u8, imm: i32, second: Option<i32>) {
        if let Some(insn) = self.instructions.get_mut(place) {
            insn.src = source;
            insn.imm = imm;
        }
        if let (Some(imm), Some(insn)) = (second, self.instructions.get_mut(place + 1)) {
            insn.imm = imm;
        }
    }
}

fn outcome(resolution: &Resolution, poisoned: bool) -> Outcome {
    if poisoned || !resolution.found {
        Outcome::Absent { poisoned }
    } else if resolution.original == resolution.value {
        Outcome::Found { value: resolution.value }
    } else {
        Outcome::Moved { from: resolution.original, to: resolution.value }
    }
}

/// An instruction's index as the byte offset that records use.
fn bytes(index: usize) -> u32 {
    u32::try_from(index.saturating_mul(8)).unwrap_or(u32::MAX)
}

fn offset_by(from: usize, by: i32, more: usize) -> Option<usize> {
    // First up, then down: a call of a section's first function has -1 in it.
    from.checked_add(more)?.checked_add_signed(isize::try_from(by).ok()?)
}
