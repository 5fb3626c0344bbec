//! From a trusted bundle and what is declared about it to what planning needs to know of each program.
//!
//! Pure. The bundle's config *describes* its objects; here each object is read
//! again and held to its description, so that nothing is planned by a description
//! that the bytes don't bear out.

use std::collections::BTreeMap;

use bpfkit_objects::Object;
use bpfkit_schemas::{
    Code, Diagnostic,
    chain::{GlobalValue, Globals},
    diagnostic::Diagnose,
    names::{Digest, ProgramName},
    object::{MapDescriptor, ObjectDescriptor},
    template::{HostFacts, TemplateError, is_template, render_host},
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    desired::{MapFacts, ProgramFacts},
    kernel::data_layout,
    trust::VerifiedBundle,
};

/// Why a bundle's programs can't be planned with.
#[derive(Debug, Error)]
pub enum FactsError {
    /// The object isn't what the config says it is.
    #[error("the object of `{program}` is not what the bundle says it is")]
    Misdescribed {
        /// The program.
        program: ProgramName,
        /// What differs, or why it can't be read.
        why: Vec<Diagnostic>,
    },
    /// A global's template can't be rendered on this host.
    #[error("the global `{global}` of `{program}` can't be rendered on this host")]
    Template {
        /// The program.
        program: ProgramName,
        /// The variable.
        global: String,
        /// Why.
        source: TemplateError,
    },
}

impl Diagnose for FactsError {
    fn diagnose(&self) -> Vec<Diagnostic> {
        match self {
            Self::Misdescribed { why, .. } => {
                let mut problem = Diagnostic::error(Code::OBJECT_MISDESCRIBED, self.to_string())
                    .help("bundle it again with `bpfkit bundle`");
                problem.causes.extend(why.iter().map(|d| d.title.clone()));
                vec![problem]
            }
            Self::Template { source, .. } => {
                vec![Diagnostic::error(Code::GLOBAL_TEMPLATE, self.to_string()).caused_by(source)]
            }
        }
    }
}

/// Fills host facts into the globals that mention them.
pub(crate) fn render_globals(
    declared: &BTreeMap<ProgramName, Globals>,
    vars: &BTreeMap<String, String>,
    host: &HostFacts,
) -> Result<BTreeMap<ProgramName, Globals>, Vec<FactsError>> {
    let mut problems = Vec::new();
    let mut rendered = BTreeMap::new();
    for (program, globals) in declared {
        let mut values = Globals::new();
        for (name, value) in globals {
            match render(value, vars, host) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(source) => {
                    problems.push(FactsError::Template { program: program.clone(), global: name.clone(), source });
                }
            }
        }
        rendered.insert(program.clone(), values);
    }
    if problems.is_empty() { Ok(rendered) } else { Err(problems) }
}

fn render(
    value: &GlobalValue,
    vars: &BTreeMap<String, String>,
    host: &HostFacts,
) -> Result<GlobalValue, TemplateError> {
    Ok(match value {
        GlobalValue::Text(text) if is_template(text) => GlobalValue::Text(render_host(text, vars, host)?),
        GlobalValue::List(items) => {
            GlobalValue::List(items.iter().map(|item| render(item, vars, host)).collect::<Result<_, _>>()?)
        }
        GlobalValue::Map(members) => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), render(value, vars, host)?)));
            GlobalValue::Map(members.collect::<Result<_, TemplateError>>()?)
        }
        other => other.clone(),
    })
}

/// Every program of the bundle, its object held to its description. `globals` have host facts filled in.
pub(crate) fn programs(
    bundle: &VerifiedBundle,
    globals: &BTreeMap<ProgramName, Globals>,
) -> Result<Vec<ProgramFacts>, Vec<FactsError>> {
    let none = Globals::new();
    let mut problems = Vec::new();
    let mut facts = Vec::new();
    for (program, bytes) in bundle.config().programs.iter().zip(bundle.objects()) {
        let globals = globals.get(&program.name).unwrap_or(&none);
        match Object::parse(bytes) {
            Err(found) => {
                let why = found.iter().flat_map(Diagnose::diagnose).collect();
                problems.push(FactsError::Misdescribed { program: program.name.clone(), why });
            }
            Ok(object) => {
                let descriptor = object.descriptor();
                if let Some(why) = misdescribed(&program.object, &descriptor, &program.entry) {
                    problems.push(FactsError::Misdescribed { program: program.name.clone(), why: vec![why] });
                    continue;
                }
                facts.push(ProgramFacts {
                    name: program.name.clone(),
                    kind: program.kind,
                    object: descriptor.digest,
                    entry: program.entry.clone(),
                    globals: digest(globals),
                    maps: descriptor.maps.iter().map(|map| map_facts(map, &object, &descriptor, globals)).collect(),
                });
            }
        }
    }
    if problems.is_empty() { Ok(facts) } else { Err(problems) }
}

fn misdescribed(said: &ObjectDescriptor, found: &ObjectDescriptor, entry: &str) -> Option<Diagnostic> {
    let why = if said.digest != found.digest {
        format!("its digest is {}, not {}", found.digest.short(), said.digest.short())
    } else if said.maps != found.maps {
        "its maps are others".to_owned()
    } else if !found.programs.iter().any(|p| p.function == entry) {
        format!("it has no program `{entry}`")
    } else if said != found {
        "its programs, globals or license are others".to_owned()
    } else {
        return None;
    };
    Some(Diagnostic::error(Code::OBJECT_MISDESCRIBED, why))
}

/// What is known of one map: for global variables, their layout and what they begin as.
///
/// Both go into one digest, cut to what a live map's name can keep: a map whose
/// variables moved, or would begin otherwise, doesn't serve.
fn map_facts(map: &MapDescriptor, object: &Object, descriptor: &ObjectDescriptor, globals: &Globals) -> MapFacts {
    let layout = map.internal.then(|| {
        let variables: Vec<_> = descriptor.globals.iter().filter(|g| g.section == map.name).collect();
        let set: Vec<_> = variables.iter().filter_map(|v| globals.get(&v.name).map(|value| (&v.name, value))).collect();
        let offsets: Vec<_> = object
            .globals()
            .iter()
            .map(|g| (&g.name, g.offset))
            .filter(|(name, _)| variables.iter().any(|v| &v.name == *name))
            .collect();
        let image =
            object.maps().iter().find(|m| m.name == map.name).and_then(|m| m.initial.as_deref()).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(&(&variables, &offsets, &set)).unwrap_or_default());
        hash.update(image);
        data_layout(&Digest::from_bytes(hash.finalize().into()))
    });
    MapFacts { map: map.clone(), layout }
}

/// Stands for a program's globals in its record.
fn digest(globals: &Globals) -> Digest {
    Digest::from_bytes(Sha256::digest(serde_json::to_vec(globals).unwrap_or_default()).into())
}
