//! `trust:`: keys that exist, quorums that can be reached, scopes that name a place.

use std::{collections::BTreeMap, num::NonZeroUsize};

use super::{
    super::{
        ManifestTrust,
        decode::{At, Context},
        wire,
    },
    entries,
};
use crate::{
    Code, Diagnostic, Span,
    names::{KeyName, ProgramName, SetName, nearest},
    reference::{Repo, RepoUrl},
    trust::{Demands, Quorum, Role, TrustBlock, TrustedKey, Waived, Waiver},
};

/// Whose block it is.
#[derive(Clone, Copy)]
pub(super) enum Owner<'a> {
    /// A manifest's, for the set of that name.
    Manifest(Option<&'a SetName>),
    /// The host's own policy.
    Host,
}

pub(super) fn resolve(
    wire: &wire::Trust,
    owner: Owner<'_>,
    repos: &[Repo],
    programs: &[ProgramName],
    cx: &mut Context,
) -> ManifestTrust {
    let (keys, files) = keys(wire, cx);
    let names: Vec<KeyName> = keys.keys().cloned().collect();
    let org = scopes(wire.org.as_ref(), "org", repos, &names, cx);
    let image = scopes(wire.image.as_ref(), "image", repos, &names, cx);
    let unsigned = waivers(wire, owner, programs, cx);
    let default = wire.default.as_ref().map(|d| d.value).unwrap_or_default();
    ManifestTrust { block: TrustBlock { default, keys, org, image, unsigned }, files }
}

type Keys = BTreeMap<KeyName, TrustedKey>;
type Files = BTreeMap<KeyName, (std::path::PathBuf, Span)>;

fn keys(wire: &wire::Trust, cx: &mut Context) -> (Keys, Files) {
    let mut keys = Keys::new();
    let mut files = Files::new();
    for (name_text, key) in entries(wire.keys.as_ref()) {
        let name: KeyName = match name_text.value.parse() {
            Ok(name) => name,
            Err(error) => {
                cx.report_at(Code::BAD_VALUE, format!("{error}"), name_text.span, "here");
                continue;
            }
        };
        let pem = match (&key.value.file, &key.value.pem) {
            (Some(file), None) => {
                files.insert(name.clone(), (file.value.0.clone().into(), file.span));
                String::new()
            }
            (None, Some(pem)) if pem.value.0.contains("PRIVATE KEY") => {
                cx.report_at(
                    Code::TRUST_MEANINGLESS,
                    format!("`{name}` is a private key"),
                    pem.span,
                    "a trust block holds public keys alone",
                );
                continue;
            }
            (None, Some(pem)) => pem.value.0.clone(),
            _ => {
                cx.report_at(
                    Code::TRUST_MEANINGLESS,
                    format!("the key `{name}` needs `file` or `pem`, one of the two"),
                    key.span,
                    "here",
                );
                continue;
            }
        };
        keys.insert(name, TrustedKey { pem, not_after: key.value.not_after.as_ref().map(|d| d.value.0) });
    }
    (keys, files)
}

fn scopes(
    wire: Option<&At<wire::Scopes>>,
    key: &str,
    repos: &[Repo],
    names: &[KeyName],
    cx: &mut Context,
) -> BTreeMap<String, Demands> {
    let mut scopes = BTreeMap::new();
    let mut add = |text: &str, span: Span, demands: Option<Demands>, cx: &mut Context| {
        let (Some(place), Some(demands)) = (place(text, span, key, repos, cx), demands) else { return };
        if scopes.insert(place.clone(), demands).is_some() {
            cx.report_at(Code::DUPLICATE_NAME, format!("`trust.{key}` names `{place}` twice"), span, "again here");
        }
    };
    match wire.map(|w| &w.value) {
        None => {}
        Some(wire::Scopes::Short(list)) => {
            if list.is_empty() {
                let span = wire.map(|w| w.span).unwrap_or_default();
                cx.report_at(
                    Code::TRUST_MEANINGLESS,
                    format!("`trust.{key}` is empty"),
                    span,
                    "name a scope, or leave the key out",
                );
            }
            for item in list {
                // "Required, with all defaults": one signature by any of the keys.
                let quorum = Quorum { threshold: NonZeroUsize::MIN, from: names.to_vec() };
                if names.is_empty() {
                    cx.report_at(
                        Code::TRUST_MEANINGLESS,
                        format!("`{}` must be signed, and no key is declared", item.value.0),
                        item.span,
                        "declare one under `trust.keys`",
                    );
                }
                let demands =
                    Demands { roles: [(Role::Author, quorum)].into(), claims: crate::trust::Claims::default() };
                add(&item.value.0, item.span, Some(demands), cx);
            }
        }
        Some(wire::Scopes::Long(mapping)) => {
            for (name, demands) in &mapping.0 {
                let resolved = self::demands(&name.value, demands, names, cx);
                add(&name.value, name.span, resolved, cx);
            }
        }
    }
    scopes
}

/// A scope's place in full: a repo's name as its first part stands for that repo's url.
fn place(text: &str, span: Span, key: &str, repos: &[Repo], cx: &mut Context) -> Option<String> {
    let (first, rest) = text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
    let full = if let Some(repo) = repos.iter().find(|r| r.name.as_str() == first) {
        let base = match &repo.url {
            RepoUrl::Registry(prefix) => prefix.clone(),
            // Sets in a layout are known as `local/<set>`.
            RepoUrl::Layout(_) => "local".to_owned(),
        };
        rest.map_or(base.clone(), |rest| format!("{base}/{rest}"))
    } else if first == "local" || first == "localhost" || first.contains(['.', ':']) {
        text.to_owned()
    } else {
        let problem = Diagnostic::error(
            Code::UNKNOWN_REPO,
            format!("`trust.{key}` names `{text}`, and no repo is named `{first}`"),
        )
        .at(&cx.source().clone(), span, "neither a host nor a repo")
        .help(
            "write the registry with its host, `registry.example/acme`, or `local/<set>` for sets without a registry",
        );
        cx.report(problem);
        return None;
    };
    // Checked as the parent of a repository (`org`) or as one (`image`).
    let probe = if key == "org" { format!("{full}/x") } else { full.clone() };
    match probe.parse::<crate::names::RepositoryName>() {
        Ok(_) => Some(full),
        Err(error) => {
            cx.report_at(Code::BAD_VALUE, format!("`{full}` names no repository: {}", error.why), span, "here");
            None
        }
    }
}

fn demands(scope: &str, wire: &At<wire::Demands>, names: &[KeyName], cx: &mut Context) -> Option<Demands> {
    let mut roles = BTreeMap::new();
    for (role, quorum) in [
        (Role::Author, &wire.value.author),
        (Role::Repository, &wire.value.repository),
        (Role::Reviewer, &wire.value.reviewer),
    ] {
        if let Some(quorum) = quorum {
            roles.insert(role, self::quorum(scope, role, quorum, names, cx)?);
        }
    }
    if roles.is_empty() {
        if !wire.value.whole {
            return None;
        }
        cx.report_at(
            Code::TRUST_MEANINGLESS,
            format!("the scope `{scope}` demands nothing"),
            wire.span,
            "name a role: `author`, `repository` or `reviewer`",
        );
        return None;
    }
    Some(Demands { roles, claims: wire.value.claims.as_ref().map(|c| c.value).unwrap_or_default() })
}

fn quorum(scope: &str, role: Role, wire: &At<wire::Quorum>, names: &[KeyName], cx: &mut Context) -> Option<Quorum> {
    let from = &wire.value.from;
    let mut keys: Vec<KeyName> = Vec::new();
    for key in &from.value {
        if !names.contains(&key.value) {
            let problem = Diagnostic::error(
                Code::TRUST_MEANINGLESS,
                format!("`{scope}` counts the key `{}`, which is not declared", key.value),
            )
            .at(&cx.source().clone(), key.span, "not under `trust.keys`");
            let near = nearest(key.value.as_str(), names.iter().map(KeyName::as_str));
            cx.report(match near {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
        if keys.contains(&key.value) {
            cx.report_at(
                Code::TRUST_MEANINGLESS,
                format!("the key `{}` is listed twice", key.value),
                key.span,
                "one key is one signer",
            );
            continue;
        }
        keys.push(key.value.clone());
    }
    let (threshold, at) = wire.value.threshold.as_ref().map_or((1, wire.span), |t| (t.value.0 as usize, t.span));
    let Some(threshold) = NonZeroUsize::new(threshold) else {
        cx.report_at(Code::TRUST_MEANINGLESS, format!("`{scope}` asks for 0 signatures by `{role}`"), at, "at least 1");
        return None;
    };
    if threshold.get() > keys.len() && wire.value.whole {
        cx.report_at(
            Code::TRUST_MEANINGLESS,
            format!("`{scope}` asks for {threshold} signatures by `{role}` and lists {} keys", keys.len()),
            if keys.is_empty() { from.span } else { at },
            "can never be reached",
        );
        return None;
    }
    Some(Quorum { threshold, from: keys })
}

fn waivers(wire: &wire::Trust, owner: Owner<'_>, programs: &[ProgramName], cx: &mut Context) -> Vec<Waiver> {
    let mut waivers = Vec::new();
    if let (Owner::Host, Some(list)) = (owner, &wire.unsigned) {
        let problem = Diagnostic::error(Code::TRUST_MEANINGLESS, "a host's policy waives nothing")
            .at(&cx.source().clone(), list.span, "anybody could call a bundle so")
            .help("sign the set, or apply it by a manifest on this host, whose own trust block may waive");
        cx.report(problem);
        return waivers;
    }
    for waiver in wire.unsigned.iter().flat_map(|w| &w.value) {
        let At { value: w, span } = waiver;
        if w.because.value.0.trim().is_empty() {
            cx.report_at(Code::TRUST_MEANINGLESS, "a waiver needs a reason", w.because.span, "why may it go unsigned?");
        }
        let what = match (&w.program, &w.set, owner) {
            (Some(program), None, Owner::Manifest(_)) => {
                if !programs.contains(&program.value) {
                    cx.report_at(
                        Code::UNDECLARED_PROGRAM,
                        format!("the waiver names `{}`, which no program declares", program.value),
                        program.span,
                        "not under `programs`",
                    );
                }
                Waived::Program(program.value.clone())
            }
            (None, Some(set), Owner::Manifest(Some(own))) if &set.value != own => {
                cx.report_at(
                    Code::TRUST_MEANINGLESS,
                    format!("the waiver is for the set `{}`; this is `{own}`", set.value),
                    set.span,
                    "not this set",
                );
                continue;
            }
            (None, Some(set), _) => Waived::Set(set.value.clone()),
            _ => {
                cx.report_at(
                    Code::TRUST_MEANINGLESS,
                    "a waiver is for a `program` or for a `set`, one of the two",
                    *span,
                    "here",
                );
                continue;
            }
        };
        waivers.push(Waiver { what, because: w.because.value.0.clone() });
    }
    waivers
}
