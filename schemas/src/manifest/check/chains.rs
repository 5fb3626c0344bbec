//! `chains:`: programs that exist, verdicts that the hook knows, one chain per hook of an interface.

use std::collections::BTreeSet;

use super::super::{
    Program,
    decode::{At, Context},
    wire,
};
use crate::{
    Code, Diagnostic,
    chain::{Chain, HostText, Link},
    hook::{Foreign, Hook, Mode, ProceedOn},
    names::{ProgramName, nearest},
};

pub(super) fn resolve(
    wire: Option<&At<Vec<At<wire::Chain>>>>,
    programs: &[Program],
    names: &[ProgramName],
    cx: &mut Context,
) -> Vec<Chain> {
    let wires = wire.into_iter().flat_map(|w| &w.value);
    let resolved: Vec<_> = wires.filter_map(|chain| Some((one(chain, programs, names, cx)?, chain))).collect();
    overlaps(&resolved, cx);
    let chains: Vec<Chain> = resolved.into_iter().map(|(chain, _)| chain).collect();
    if wire.is_some() {
        let used: BTreeSet<_> = chains.iter().flat_map(|c| c.programs.iter().map(|l| l.program.clone())).collect();
        for program in programs.iter().filter(|p| !used.contains(&p.name)) {
            let warning = Diagnostic::warning(Code::UNUSED, format!("no chain runs the program `{}`", program.name))
                .at(&cx.source().clone(), program.at, "declared here");
            cx.report(warning);
        }
    }
    chains
}

fn one(chain: &At<wire::Chain>, programs: &[Program], names: &[ProgramName], cx: &mut Context) -> Option<Chain> {
    let At { value: wire, span } = chain;
    let hook = wire.hook.value;
    let mode = match &wire.mode {
        Some(mode) if hook != Hook::Xdp => {
            cx.report_at(Code::MODE_NOT_XDP, format!("`{hook}` has no mode"), mode.span, "only xdp has one");
            Mode::default()
        }
        mode => mode.as_ref().map_or_else(Mode::default, |m| m.value),
    };
    let attach = match &wire.attach {
        Some(attach) if !hook.is_tc() => {
            let title = format!("`{hook}` has one way to attach");
            cx.report_at(Code::ATTACH_NOT_TC, title, attach.span, "only tc/ingress and tc/egress have two");
            None
        }
        attach => attach.as_ref().map(|attach| attach.value),
    };
    let foreign = wire.foreign.as_ref().map_or_else(|| Foreign::default_for(hook), |f| f.value);
    if let Some(at) = wire.foreign.as_ref().filter(|f| f.value == Foreign::Keep && hook.is_exclusive()) {
        let problem = Diagnostic::error(
            Code::FOREIGN_KEEP,
            format!("`{hook}` holds one program alone, so a foreign one can't be kept"),
        )
        .at(&cx.source().clone(), at.span, "here")
        .help("leave it out: `refuse` is the default on this hook");
        cx.report(problem);
    }
    let (interfaces, cgroup) = target(wire, cx);
    if let Some(netns) = &wire.netns
        && !netns.value.0.starts_with('/')
        && !crate::template::is_template(&netns.value.0)
    {
        cx.report_at(
            Code::BAD_VALUE,
            format!("`{}` is not an absolute path", netns.value.0),
            netns.span,
            "like /run/netns/edge",
        );
    }
    let links = links(wire, programs, names, cx)?;
    Some(Chain {
        hook,
        interfaces,
        cgroup,
        netns: wire.netns.as_ref().map(|n| n.value.clone()),
        mode,
        attach,
        foreign,
        programs: links,
        at: *span,
    })
}

/// What the chain is attached to: interfaces, or for the hooks of cgroups a cgroup. The other is an error.
fn target(chain: &wire::Chain, cx: &mut Context) -> (Vec<HostText>, Option<HostText>) {
    let (hook, of_cgroup) = (chain.hook.value, chain.hook.value.is_cgroup());
    let mut misplaced = |span, key: &str, wanted: &str| {
        let title = format!("`{hook}` is attached to {wanted}");
        cx.report_at(Code::CHAIN_TARGET, title, span, format!("`{key}` says nothing here"));
    };
    if of_cgroup {
        for (span, key) in [
            (chain.interfaces.as_ref().map(|at| at.span), "interfaces"),
            (chain.netns.as_ref().map(|at| at.span), "netns"),
        ] {
            if let Some(span) = span {
                misplaced(span, key, "a cgroup");
            }
        }
    } else if let Some(cgroup) = &chain.cgroup {
        misplaced(cgroup.span, "cgroup", "interfaces");
    }
    let missing = |cx: &mut Context, key: &str| {
        if chain.whole {
            cx.report_at(
                Code::CHAIN_TARGET,
                format!("a chain at `{hook}` needs `{key}`"),
                chain.hook.span,
                "this hook",
            );
        }
    };
    if !of_cgroup {
        if chain.interfaces.is_none() {
            missing(cx, "interfaces");
        }
        return (interfaces(chain, cx), None);
    }
    match &chain.cgroup {
        None => missing(cx, "cgroup"),
        Some(cgroup) if !is_clean(&cgroup.value.0) => cx.report_at(
            Code::BAD_VALUE,
            format!("`{}` is not the path of a cgroup", cgroup.value.0),
            cgroup.span,
            "absolute and without `.` and `..`, like /sys/fs/cgroup/system.slice",
        ),
        Some(_) => {}
    }
    (Vec::new(), chain.cgroup.as_ref().map(|cgroup| cgroup.value.clone()))
}

/// Whether a path is absolute and in its one spelling, or a template.
fn is_clean(path: &str) -> bool {
    let clean = path
        .strip_prefix('/')
        .is_some_and(|rest| !path.contains('\0') && rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    clean || crate::template::is_template(path)
}

fn interfaces(chain: &wire::Chain, cx: &mut Context) -> Vec<HostText> {
    let Some(wire) = &chain.interfaces else { return Vec::new() };
    if wire.value.is_empty() && chain.whole {
        cx.report_at(Code::BAD_VALUE, "a chain needs at least one interface", wire.span, "the list is empty");
    }
    for interface in &wire.value {
        let text = &interface.value.0.0;
        if crate::template::is_template(text) {
            continue;
        }
        // IFNAMSIZ is 16 with the final NUL; `/` and blanks are refused by the kernel (dev_valid_name).
        let plain = !text.contains(['*', '?', '[', '{']);
        if text.contains('/')
            || text.contains(char::is_whitespace)
            || (plain && (text.len() > 15 || text == "." || text == ".."))
        {
            cx.report_at(
                Code::BAD_VALUE,
                format!("`{text}` can't be the name of an interface"),
                interface.span,
                "at most 15 characters, no `/`, no blanks",
            );
        } else if let Err(error) = globset::Glob::new(text) {
            cx.report_at(Code::BAD_VALUE, format!("`{text}` is not a glob: {}", error.kind()), interface.span, "here");
        }
    }
    wire.value.iter().map(|i| i.value.0.clone()).collect()
}

fn links(chain: &wire::Chain, programs: &[Program], names: &[ProgramName], cx: &mut Context) -> Option<Vec<Link>> {
    let (hook, wire) = (chain.hook.value, &chain.programs);
    if wire.value.is_empty() {
        if !chain.whole {
            return None;
        }
        cx.report_at(Code::BAD_VALUE, "a chain needs at least one program", wire.span, "the list is empty");
        return None;
    }
    let mut seen: BTreeSet<&ProgramName> = BTreeSet::new();
    let mut whole = true;
    let mut links = Vec::new();
    let last = wire.value.len() - 1;
    for (index, link) in wire.value.iter().enumerate() {
        let name = &link.value.program;
        whole &= declared(hook, name, programs, names, cx);
        if !seen.insert(&name.value) {
            let problem =
                Diagnostic::error(Code::DUPLICATE_NAME, format!("`{}` stands twice in this chain", name.value))
                    .at(&cx.source().clone(), name.span, "again here")
                    .help("to run it twice, declare it under two names");
            cx.report(problem);
        }
        let proceed_on = match &link.value.proceed_on {
            None => hook.default_proceed_on(),
            Some(list) => {
                let mut verdicts = Vec::new();
                for verdict in &list.value {
                    match hook.verdict(&verdict.value.0) {
                        Ok(number) => verdicts.push(number),
                        Err(error) => cx.report_at(Code::BAD_VALUE, error.to_string(), verdict.span, "here"),
                    }
                }
                if verdicts.len() > ProceedOn::MOST {
                    let title = format!(
                        "`{}` goes on after {} verdicts; {} are allowed",
                        name.value,
                        verdicts.len(),
                        ProceedOn::MOST
                    );
                    cx.report_at(Code::BAD_VALUE, title, list.span, "here");
                }
                if verdicts.is_empty() && index != last {
                    let warning =
                        Diagnostic::warning(Code::UNUSED, format!("after `{}` the chain never goes on", name.value))
                            .at(&cx.source().clone(), list.span, "no verdict proceeds");
                    cx.report(warning);
                }
                ProceedOn::from_iter(verdicts)
            }
        };
        links.push(Link { program: name.value.clone(), proceed_on, at: link.span });
    }
    whole.then_some(links)
}

fn declared(hook: Hook, name: &At<ProgramName>, programs: &[Program], names: &[ProgramName], cx: &mut Context) -> bool {
    let Some(program) = programs.iter().find(|p| p.name == name.value) else {
        if names.contains(&name.value) {
            return false;
        }
        let problem = Diagnostic::error(
            Code::UNDECLARED_PROGRAM,
            format!("the chain at `{hook}` runs `{}`, which no program declares", name.value),
        )
        .at(&cx.source().clone(), name.span, "not under `programs`");
        let near = nearest(name.value.as_str(), names.iter().map(ProgramName::as_str));
        cx.report(match near {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
        return false;
    };
    if let Some(kind) = program.kind
        && kind != hook.program_type()
    {
        let problem = Diagnostic::error(
            Code::BAD_VALUE,
            format!("`{}` is declared as `{kind}`, and `{hook}` runs `{}` programs", program.name, hook.program_type()),
        )
        .at(&cx.source().clone(), name.span, "used here");
        cx.report(problem);
        return false;
    }
    true
}

/// The most interfaces and globs that all chains of a manifest may name together.
const MAX_INTERFACES: usize = 1024;

/// Finds chains that claim one hook of one interface by the same text, or by a glob over a plain name.
/// Globs that overlap only in what they match are found where interfaces are known, by the applier.
fn overlaps(chains: &[(Chain, &At<wire::Chain>)], cx: &mut Context) {
    let mut claims: Vec<Claim<'_>> = Vec::new();
    for (index, (chain, wire)) in chains.iter().enumerate() {
        if let Some(cgroup) = &chain.cgroup {
            let mut earlier = chains.get(..index).unwrap_or_default().iter();
            if let Some((first, _)) =
                earlier.find(|(other, _)| (other.hook, other.cgroup.as_ref()) == (chain.hook, Some(cgroup)))
            {
                let title = format!("two chains claim `{}` of `{}`", chain.hook, cgroup.0);
                let problem = Diagnostic::error(Code::CHAIN_OVERLAP, title)
                    .at(&cx.source().clone(), chain.at, "claimed again here")
                    .at(&cx.source().clone(), first.at, "the other chain");
                cx.report(problem);
            }
        }
        for interface in wire.value.interfaces.iter().flat_map(|interfaces| &interfaces.value) {
            if claims.len() == MAX_INTERFACES {
                let title = format!("the chains name more than {MAX_INTERFACES} interfaces");
                cx.report_at(Code::BAD_VALUE, title, interface.span, "use a glob");
                return;
            }
            let text = interface.value.0.0.as_str();
            let is_glob = text.contains(['*', '?', '[', '{']) && !crate::template::is_template(text);
            let glob = is_glob.then(|| globset::Glob::new(text).ok().map(|g| g.compile_matcher())).flatten();
            let claim = Claim { chain: index, text, glob, plain: !is_glob && !crate::template::is_template(text) };
            let other = claims.iter().find(|other| {
                let (first, second) = (chains.get(other.chain), chains.get(index));
                let same = first.zip(second).is_some_and(|((a, _), (b, _))| a.hook == b.hook && a.netns == b.netns);
                other.chain != index && same && other.meets(&claim)
            });
            if let Some((first, _)) = other.and_then(|other| chains.get(other.chain)) {
                let problem =
                    Diagnostic::error(Code::CHAIN_OVERLAP, format!("two chains claim `{}` of `{text}`", chain.hook))
                        .at(&cx.source().clone(), interface.span, "claimed again here")
                        .at(&cx.source().clone(), first.at, "the other chain");
                cx.report(problem);
            }
            claims.push(claim);
        }
    }
}

/// One interface text of one chain.
struct Claim<'a> {
    chain: usize,
    text: &'a str,
    glob: Option<globset::GlobMatcher>,
    plain: bool,
}

impl Claim<'_> {
    /// Whether both surely match one interface: equal texts, or a glob over a plain name.
    fn meets(&self, other: &Self) -> bool {
        let over = |glob: &Self, name: &Self| name.plain && glob.glob.as_ref().is_some_and(|g| g.is_match(name.text));
        self.text == other.text || over(self, other) || over(other, self)
    }
}
