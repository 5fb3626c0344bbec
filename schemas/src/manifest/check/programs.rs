//! `programs:`: unique names, one origin each, references that resolve.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::{
    Program, ProgramSource,
    decode::{At, Context},
    wire,
};
use crate::{
    Code, Span,
    names::{ProgramName, RepositoryName},
    reference::{Place, Reference, Repo},
    yaml::{Node, Value},
};

/// Every name under `programs:`, those of entries that could not be read included, so that a
/// chain which runs such a program is not blamed as well.
pub(super) fn declared(wire: Option<&At<Vec<At<wire::Program>>>>, root: &Node) -> Vec<ProgramName> {
    let mut names: Vec<ProgramName> =
        wire.into_iter().flat_map(|w| &w.value).map(|p| p.value.name.value.clone()).collect();
    let field = |node: &Node, key: &str| match &node.value {
        Value::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| Arc::clone(&e.value)),
        _ => None,
    };
    if let Some(list) = field(root, "programs")
        && let Value::List(items) = &list.value
    {
        for name in items.iter().filter_map(|item| field(item, "name")) {
            if let Value::Scalar { text, .. } = &name.value
                && let Ok(name) = text.parse()
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
    }
    names
}

pub(super) fn resolve(wire: Option<&At<Vec<At<wire::Program>>>>, repos: &[Repo], cx: &mut Context) -> Vec<Program> {
    let mut programs: Vec<Program> = Vec::new();
    let mut seen: BTreeSet<&ProgramName> = BTreeSet::new();
    for program in wire.into_iter().flat_map(|w| &w.value) {
        let name = &program.value.name;
        if !seen.insert(&name.value) {
            cx.report_at(
                Code::DUPLICATE_NAME,
                format!("two programs are named `{}`", name.value),
                name.span,
                "again here",
            );
            continue;
        }
        let Some(from) = origin(program, repos, cx) else { continue };
        let globals = program.value.globals.as_ref().map(|g| g.value.0.as_slice()).unwrap_or_default();
        let entry = program.value.entry.as_ref().map(|e| (e.value.0.clone(), e.span));
        programs.push(Program {
            name: name.value.clone(),
            from,
            entry,
            kind: program.value.kind.as_ref().map(|k| k.value.0),
            globals: globals.iter().map(|(key, value)| (key.value.clone(), value.value.clone())).collect(),
            globals_at: globals
                .iter()
                .map(|(key, value)| (key.value.clone(), Span { start: key.span.start, end: value.span.end }))
                .collect::<BTreeMap<_, _>>(),
            at: program.span,
        });
    }
    programs
}

fn origin(program: &At<wire::Program>, repos: &[Repo], cx: &mut Context) -> Option<ProgramSource> {
    let p = &program.value;
    let mut found = Vec::new();
    if let Some(path) = &p.source {
        found.push(("source", path.span));
    }
    if let Some(path) = &p.object {
        found.push(("object", path.span));
    }
    if let Some(image) = &p.image {
        found.push(("image", image.span));
    }
    let name = &p.name.value;
    match found.as_slice() {
        [] if !p.whole => return None,
        [] => {
            cx.report_at(
                Code::PROGRAM_ORIGIN,
                format!("the program `{name}` has no origin"),
                p.name.span,
                "add `source:`, `object:` or `image:`",
            );
            return None;
        }
        [_] => {}
        [_, (second, at), ..] => {
            let keys: Vec<_> = found.iter().map(|(key, _)| format!("`{key}`")).collect();
            cx.report_at(
                Code::PROGRAM_ORIGIN,
                format!("the program `{name}` has {} at once", keys.join(" and ")),
                *at,
                format!("`{second}` besides another"),
            );
            return None;
        }
    }
    if let Some(pick) = p.program.as_ref().filter(|_| p.image.is_none()) {
        cx.report_at(
            Code::PROGRAM_ORIGIN,
            "`program` picks from an `image`, and there is none",
            pick.span,
            "remove it",
        );
        return None;
    }
    if let Some(path) = &p.source {
        return Some(ProgramSource::C(path.value.0.clone(), path.span));
    }
    if let Some(path) = &p.object {
        return Some(ProgramSource::Object(path.value.0.clone(), path.span));
    }
    let image = p.image.as_ref()?;
    let reference = match Reference::parse(&image.value.0, repos) {
        Ok(reference) => reference,
        Err(error) => {
            let code = if error.why.starts_with("no repo is named") { Code::UNKNOWN_REPO } else { Code::BAD_VALUE };
            cx.report_at(code, error.to_string(), image.span, "here");
            return None;
        }
    };
    let identity = match &reference.place {
        Place::Registry(name) => name.clone(),
        // A layout has no host: what lies in it is known by the last part of its path.
        Place::Layout(dir) => {
            let last = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            match format!("local/{last}").parse::<RepositoryName>() {
                Ok(name) => name,
                Err(error) => {
                    cx.report_at(
                        Code::BAD_VALUE,
                        error.to_string(),
                        image.span,
                        "the layout's folder names the repository",
                    );
                    return None;
                }
            }
        }
    };
    Some(ProgramSource::Image {
        reference,
        identity,
        pick: p.program.as_ref().map(|p| p.value.clone()),
        at: image.span,
    })
}
