//! From the manifest as written to a [`Manifest`]: references resolve, names are unique, chains make sense.

mod chains;
mod programs;
mod trust;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    BtfChoice, Build, Manifest, ManifestTrust,
    decode::{At, Context, Decode, Mapping},
    scalar::{ProjectPath, Text},
    wire,
};
use crate::{
    Code, Diagnostic, Platform, Severity, Source, Span,
    chain::SharedMap,
    names::nearest,
    reference::Repo,
    template,
    yaml::{self, Node, Value},
};

/// What comes from outside the manifest's text.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--set name=value`, in order; the last one of a name wins.
    pub set: Vec<(String, String)>,
    /// The platform of this machine, for manifests that name none.
    pub machine: Option<Platform>,
}

/// A manifest that holds together, and what should be known about it all the same.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The manifest.
    pub manifest: Manifest,
    /// Warnings, in order of place.
    pub warnings: Vec<Diagnostic>,
}

/// Checks a manifest. Every problem that it has comes back, in order of place.
pub fn check(source: &Arc<Source>, overrides: &Overrides) -> Result<Checked, Vec<Diagnostic>> {
    let root = document(source, "`bpfkit init` writes a manifest that works")?;
    let mut cx = Context::new(source, BTreeMap::new());
    let vars = vars(&root, overrides, &mut cx);
    cx.set_vars(vars.clone());
    let wire = wire::Manifest::decode(&root, &mut cx);
    let manifest = wire.and_then(|wire| resolve(&root, &wire, vars, overrides, &mut cx));
    finish(cx, manifest, |manifest, warnings| Checked { manifest, warnings })
}

/// Checks a host's trust policy: a trust block as a file of its own.
///
/// Keys that are files are left for the caller to read ([`ManifestTrust::files`]).
/// Waivers are refused: a host can't waive what it has not seen.
pub fn check_policy(source: &Arc<Source>, repos: &[Repo]) -> Result<ManifestTrust, Vec<Diagnostic>> {
    let root = document(source, "an empty policy trusts nothing and nobody")?;
    let mut cx = Context::new(source, BTreeMap::new());
    let decoded = wire::Trust::decode(&root, &mut cx);
    let policy = decoded.map(|wire| trust::resolve(&wire, trust::Owner::Host, repos, &[], &mut cx));
    finish(cx, policy, |policy, _| policy)
}

/// Checks a host's `repos.yml`.
pub fn check_repos(source: &Arc<Source>) -> Result<Vec<Repo>, Vec<Diagnostic>> {
    let root = document(source, "write `repos: []`, or remove the file")?;
    let mut cx = Context::new(source, BTreeMap::new());
    let decoded = wire::HostRepos::decode(&root, &mut cx);
    let repos = decoded.map(|wire| repos(Some(&wire.repos.value), &mut cx));
    finish(cx, repos, |repos, _| repos)
}

fn document(source: &Arc<Source>, help: &str) -> Result<Node, Vec<Diagnostic>> {
    yaml::read(source)?
        .ok_or_else(|| vec![Diagnostic::error(Code::EMPTY_MANIFEST, format!("`{}` is empty", source.name)).help(help)])
}

fn finish<T, U>(
    cx: Context,
    value: Option<T>,
    make: impl FnOnce(T, Vec<Diagnostic>) -> U,
) -> Result<U, Vec<Diagnostic>> {
    let source = Arc::clone(cx.source());
    let mut problems = cx.into_problems();
    problems.sort_by_key(|p| (p.labels.first().map(|l| l.span), p.code));
    problems.dedup();
    match value {
        Some(value) if problems.iter().all(|p| p.severity == Severity::Warning) => Ok(make(value, problems)),
        None if problems.is_empty() => {
            Err(vec![Diagnostic::error(Code::NOT_YAML, format!("`{}` can't be read", source.name))])
        }
        _ => {
            problems.retain(|p| p.severity == Severity::Error);
            Err(problems)
        }
    }
}

/// `vars:` comes first, since every other value may name a variable. Its own values are literal.
fn vars(root: &Node, overrides: &Overrides, cx: &mut Context) -> BTreeMap<String, String> {
    let mut vars = BTreeMap::new();
    if let Value::Map(entries) = &root.value
        && let Some(entry) = entries.iter().find(|e| e.key == "vars")
        && let Value::Map(declared) = &entry.value.value
    {
        for variable in declared {
            let Value::Scalar { text, .. } = &variable.value.value else { continue };
            if template::is_template(text) {
                cx.report_at(
                    Code::TEMPLATE,
                    "a variable can't be a template itself",
                    variable.value.span,
                    "write the value",
                );
            }
            vars.insert(variable.key.clone(), text.clone());
        }
    }
    for (name, value) in &overrides.set {
        if let Some(slot) = vars.get_mut(name) {
            slot.clone_from(value);
            continue;
        }
        let problem = Diagnostic::error(
            Code::UNKNOWN_VARIABLE,
            format!("`--set {name}={value}`: the manifest declares no variable `{name}`"),
        );
        cx.report(match nearest(name, vars.keys().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help("declare it under `vars:`"),
        });
    }
    vars
}

fn resolve(
    root: &Node,
    wire: &wire::Manifest,
    vars: BTreeMap<String, String>,
    overrides: &Overrides,
    cx: &mut Context,
) -> Option<Manifest> {
    if let Some(version) = wire.version.as_ref().filter(|v| v.value.0 != 1) {
        cx.report_at(
            Code::MANIFEST_VERSION,
            format!("manifest version {} is not known", version.value.0),
            version.span,
            "this bpfkit reads 1",
        );
    }
    let repos = repos(wire.repos.as_ref().map(|r| &r.value), cx);
    let declared = programs::declared(wire.programs.as_ref(), root);
    let programs = programs::resolve(wire.programs.as_ref(), &repos, cx);
    let maps = maps(wire.maps.as_ref(), cx);
    let chains = chains::resolve(wire.chains.as_ref(), &programs, &declared, cx);
    let name = wire.name.as_ref().map(|n| &n.value);
    let trust =
        wire.trust.as_ref().map(|t| trust::resolve(&t.value, trust::Owner::Manifest(name), &repos, &declared, cx));
    let build = build(wire.build.as_ref().map(|b| &b.value), overrides, cx)?;
    Some(Manifest {
        source: Arc::clone(cx.source()),
        name: name?.clone(),
        vars,
        build,
        repos,
        programs,
        maps,
        chains,
        trust,
    })
}

fn build(wire: Option<&wire::Build>, overrides: &Overrides, cx: &mut Context) -> Option<Build> {
    let mut platforms: Vec<Platform> = Vec::new();
    if let Some(list) = wire.and_then(|b| b.platforms.as_ref()) {
        for platform in &list.value {
            if platforms.contains(&platform.value) {
                cx.report_at(
                    Code::DUPLICATE_NAME,
                    format!("the platform `{}` is listed twice", platform.value),
                    platform.span,
                    "again here",
                );
            }
            platforms.push(platform.value);
        }
        if platforms.is_empty() && wire.is_some_and(|b| b.whole) {
            cx.report_at(
                Code::BAD_VALUE,
                "`platforms` is empty",
                list.span,
                "name one, or leave the key out for this machine's own",
            );
        }
    } else if let Some(machine) = overrides.machine {
        platforms.push(machine);
    } else {
        cx.report(
            Diagnostic::error(Code::MISSING_KEY, "bpfkit doesn't know this machine's platform")
                .help("name one under `build.platforms`"),
        );
    }
    platforms.sort_unstable();
    let btf = match wire.and_then(|b| b.btf.as_ref()) {
        None => BtfChoice::Default,
        Some(At { value: Text(text), span }) => match text.as_str() {
            "default" => BtfChoice::Default,
            "host" => BtfChoice::Host,
            _ => BtfChoice::File(file(text, *span, cx)?.0, *span),
        },
    };
    let cflags = wire
        .and_then(|b| b.cflags.as_ref())
        .map(|list| list.value.iter().map(|flag| (flag.value.0.clone(), flag.span)).collect())
        .unwrap_or_default();
    Some(Build { platforms, btf, cflags })
}

/// A path that was read as text because words may stand there too.
fn file(text: &str, span: Span, cx: &mut Context) -> Option<ProjectPath> {
    ProjectPath::decode(&Node { span, value: Value::Scalar { text: text.to_owned(), plain: true } }, cx)
}

fn repos(wire: Option<&Vec<At<wire::Repo>>>, cx: &mut Context) -> Vec<Repo> {
    let mut repos: Vec<Repo> = Vec::new();
    for repo in wire.into_iter().flatten() {
        let name = &repo.value.name;
        if repos.iter().any(|r| r.name == name.value) {
            cx.report_at(
                Code::DUPLICATE_NAME,
                format!("two repos are named `{}`", name.value),
                name.span,
                "again here",
            );
            continue;
        }
        repos.push(Repo { name: name.value.clone(), url: repo.value.url.value.clone() });
    }
    repos
}

fn maps(wire: Option<&At<Vec<At<wire::Map>>>>, cx: &mut Context) -> Vec<SharedMap> {
    let mut maps: Vec<SharedMap> = Vec::new();
    for map in wire.into_iter().flat_map(|w| &w.value) {
        let name = &map.value.name;
        if maps.iter().any(|m| m.name == name.value) {
            cx.report_at(
                Code::DUPLICATE_NAME,
                format!("the map `{}` is listed twice", name.value),
                name.span,
                "again here",
            );
            continue;
        }
        let max_entries = map.value.max_entries.as_ref().map(|n| {
            if n.value.0 == 0 {
                cx.report_at(Code::BAD_VALUE, "a map of 0 entries holds nothing", n.span, "at least 1");
            }
            n.value.0
        });
        maps.push(SharedMap { name: name.value.clone(), max_entries, at: map.span });
    }
    maps
}

/// Looks a key up in a free mapping's entries; shared by the trust resolver.
fn entries<T>(mapping: Option<&At<Mapping<T>>>) -> &[(At<String>, At<T>)] {
    mapping.map_or(&[], |m| &m.value.0)
}
