//! Checks objects against the manifest that asked for them. Pure.
//!
//! An object is good when the manifest's program can be found in it, is of a
//! known type, and is what its chains expect. What the kernel alone can say (the
//! verifier's part) is the applier's.

use bpfkit_schemas::{
    Code, Diagnostic, Severity, Span,
    manifest::{Manifest, Program, ProgramSource},
    object::{ObjectDescriptor, ProgramDescriptor, ProgramType},
};

use crate::error::Place;

/// The program of an object that the manifest means.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) entry: String,
    pub(crate) kind: ProgramType,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Checks one program's object. All that is wrong is reported.
pub(crate) fn object(
    manifest: &Manifest,
    program: &Program,
    object: &ObjectDescriptor,
) -> Result<Chosen, Vec<Diagnostic>> {
    let at = |span: Span| Place { source: manifest.source.clone(), span };
    let from = at(source_span(program));
    let name = &program.name;
    let mut problems = Vec::new();

    if object.license.is_empty() {
        let title = format!("the object of `{name}` names no licence, so the kernel refuses it GPL-only helpers");
        let warning = from.warning(Code::LICENSE_MISSING, title, "no `license` section");
        problems.push(warning.help("add `char LICENSE[] SEC(\"license\") = \"GPL\";`"));
    }
    problems.extend(globals(manifest, program, object));
    let mut chosen = None;
    match choose(manifest, program, object) {
        Err(problem) => problems.push(problem),
        Ok(found) => match kind(manifest, program, found) {
            Err(problem) => problems.push(problem),
            Ok(kind) => {
                problems.extend(chains(manifest, program, found, kind));
                chosen = Some((found.function.clone(), kind));
            }
        },
    }
    match chosen {
        Some((entry, kind)) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
            Ok(Chosen { entry, kind, warnings: problems })
        }
        _ => Err(problems),
    }
}

/// Checks that each map of `maps:` is in some object, where all objects are known.
pub(crate) fn maps<'a>(manifest: &Manifest, objects: impl Iterator<Item = &'a ObjectDescriptor>) -> Vec<Diagnostic> {
    if manifest.programs.iter().any(|program| matches!(program.from, ProgramSource::Image { .. })) {
        // An image's maps are known once it is pulled.
        return Vec::new();
    }
    let mut known: Vec<&str> =
        objects.flat_map(|object| &object.maps).filter(|map| !map.internal).map(|map| map.name.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    let unknown = manifest.maps.iter().filter(|map| !known.contains(&map.name.as_str()));
    unknown
        .map(|map| {
            let title = format!("no program has the map `{}`", map.name);
            let place = Place { source: manifest.source.clone(), span: map.at };
            place.error(Code::MAP_UNKNOWN, title, "in no object").help(candidates("the maps", &known))
        })
        .collect()
}

fn source_span(program: &Program) -> Span {
    match &program.from {
        ProgramSource::C(_, span) | ProgramSource::Object(_, span) => *span,
        ProgramSource::Image { at, .. } => *at,
    }
}

/// The rule: `entry:` if given, else the only program, else the one of the program's own name.
fn choose<'a>(
    manifest: &Manifest,
    program: &Program,
    object: &'a ObjectDescriptor,
) -> Result<&'a ProgramDescriptor, Diagnostic> {
    let at = |span: Span| Place { source: manifest.source.clone(), span };
    let functions: Vec<&str> = object.programs.iter().map(|found| found.function.as_str()).collect();
    let find = |name: &str| object.programs.iter().find(|found| found.function == name);
    if functions.is_empty() {
        let title = format!("the object of `{}` holds no program", program.name);
        let problem =
            at(source_span(program)).error(Code::OBJECT_HAS_NO_PROGRAM, title, "no function in a program section");
        return Err(problem.help("put the function into a section: `SEC(\"xdp\")`, `SEC(\"tc\")`"));
    }
    if let Some((entry, span)) = &program.entry {
        return find(entry).ok_or_else(|| {
            let title = format!("the object of `{}` has no program `{entry}`", program.name);
            at(*span)
                .error(Code::ENTRY_UNKNOWN, title, "not in the object")
                .help(candidates("its programs", &functions))
        });
    }
    if let [only] = object.programs.as_slice() {
        return Ok(only);
    }
    // `-` can't stand in a C identifier.
    find(program.name.as_str()).or_else(|| find(&program.name.as_str().replace('-', "_"))).ok_or_else(|| {
        let title = format!("the object of `{}` has several programs and none is chosen", program.name);
        at(source_span(program))
            .error(Code::ENTRY_AMBIGUOUS, title, "which one?")
            .help(format!("add `entry:`; {}", candidates("its programs", &functions)))
    })
}

fn kind(manifest: &Manifest, program: &Program, found: &ProgramDescriptor) -> Result<ProgramType, Diagnostic> {
    let place = |span: Span| Place { source: manifest.source.clone(), span };
    match (found.kind, program.kind) {
        (Some(kind), None) | (None, Some(kind)) => Ok(kind),
        (Some(kind), Some(said)) if kind == said => Ok(kind),
        (Some(kind), Some(said)) => {
            let title = format!("`type: {said}` of `{}` contradicts its section `{}`", program.name, found.section);
            let problem =
                place(program.at).error(Code::TYPE_CONTRADICTED, title, format!("the object says {kind}").as_str());
            Err(problem.help("remove `type:`, or correct the section"))
        }
        (None, None) => {
            let title = format!("the section `{}` doesn't say what type `{}` is", found.section, program.name);
            let problem = place(source_span(program)).error(Code::TYPE_UNKNOWN, title, "type unknown");
            Err(problem.help("rename the section (`SEC(\"xdp\")`, `SEC(\"tc\")`), or add `type: xdp` or `type: tc`"))
        }
    }
}

/// The chains that run this program as something that it is not.
fn chains(manifest: &Manifest, program: &Program, found: &ProgramDescriptor, kind: ProgramType) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for chain in &manifest.chains {
        for link in chain.programs.iter().filter(|link| link.program == program.name) {
            if chain.hook.program_type() != kind {
                let title =
                    format!("the chain at `{}` runs `{}`, which is a program for {kind}", chain.hook, program.name);
                let place = Place { source: manifest.source.clone(), span: link.at };
                problems.push(
                    place
                        .error(Code::TYPE_DOES_NOT_FIT, title, &format!("section `{}`", found.section))
                        .help(format!("this hook runs programs for {}", chain.hook.program_type())),
                );
            }
        }
    }
    problems
}

fn globals(manifest: &Manifest, program: &Program, object: &ObjectDescriptor) -> Vec<Diagnostic> {
    let known: Vec<&str> = object.globals.iter().map(|global| global.name.as_str()).collect();
    let unknown = program.globals.keys().filter(|name| !known.contains(&name.as_str()));
    unknown
        .map(|name| {
            let title = format!("the object of `{}` has no global variable `{name}`", program.name);
            let span = program.globals_at.get(name).copied().unwrap_or(program.at);
            let place = Place { source: manifest.source.clone(), span };
            place.error(Code::GLOBAL_UNKNOWN, title, "not in the object").help(candidates("its globals", &known))
        })
        .collect()
}

/// `its programs are a, b`, not too long.
fn candidates(what: &str, names: &[&str]) -> String {
    match names {
        [] => format!("{what}: none"),
        names if names.len() > 20 => {
            format!("{what}: {} and {} more", quoted(names.get(..20).unwrap_or(names)), names.len() - 20)
        }
        names => format!("{what}: {}", quoted(names)),
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
