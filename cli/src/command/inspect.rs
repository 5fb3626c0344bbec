//! `bpfkit inspect`: what a set holds. Says nothing about whether it is to be believed.

use std::fmt::Write as _;

use bpfkit_bundler::{self as bundler, FetchedBundle};
use bpfkit_schemas::{
    bundle::{BundledProgram, ProgramOrigin},
    code::Exit,
    report::{InspectReport, VERSION},
};

use super::{
    bundle::{last_pinned, network},
    verify,
};
use crate::{
    args::{Global, ReferenceArg},
    failure::Result,
    project::{self, Project},
    ui::Ui,
};

pub(super) fn run(args: &ReferenceArg, global: &Global, ui: &Ui) -> Result<Exit> {
    let pinned = match &args.reference {
        Some(text) => bundler::pin(&network(), &project::reference(text, global)?)?,
        None => last_pinned(&Project::open(global, ui)?)?.1,
    };
    let fetched = verify::fetch(&pinned, &network())?;
    let config = serde_json::to_value(&fetched.config).unwrap_or_default();
    let report = InspectReport {
        version: VERSION,
        reference: fetched.pinned.to_string(),
        signatures: fetched.signatures.len(),
        config,
    };
    ui.show(&report, || human(&fetched))?;
    Ok(Exit::Done)
}

fn human(fetched: &FetchedBundle) -> String {
    let config = &fetched.config;
    let mut out = format!("set {} {}\n", config.set, config.version);
    let _ = writeln!(out, "  reference   {}", fetched.pinned);
    let _ = writeln!(out, "  repository  {}", config.repository);
    let _ = writeln!(out, "  platform    {}", config.platform);
    let signatures = match fetched.signatures.len() {
        0 => "none".to_owned(),
        n => format!("{n}, unchecked: `bpfkit verify` says whose"),
    };
    let _ = writeln!(out, "  signatures  {signatures}");
    for chain in &config.chains {
        let interfaces: Vec<_> = chain.interfaces.iter().chain(&chain.cgroup).map(|i| i.0.as_str()).collect();
        let netns = chain.netns.as_ref().map(|n| format!(" in {}", n.0)).unwrap_or_default();
        let mode = if chain.hook.is_exclusive() { format!(" ({})", chain.mode) } else { String::new() };
        let _ = writeln!(out, "\n  {}{mode} on {}{netns}", chain.hook, interfaces.join(", "));
        let last = chain.programs.len().saturating_sub(1);
        for (index, link) in chain.programs.iter().enumerate() {
            let goes_on = if index == last {
                String::new()
            } else {
                format!("  goes on after {}", link.proceed_on.describe(chain.hook))
            };
            let _ = writeln!(out, "    {}. {}{goes_on}", index + 1, link.program);
        }
    }
    for program in &config.programs {
        out.push('\n');
        one(&mut out, program);
    }
    out
}

fn one(out: &mut String, program: &BundledProgram) {
    let _ = writeln!(out, "  program {} ({})", program.name, program.kind);
    let _ = writeln!(
        out,
        "    object    {}, {} bytes, license \"{}\"",
        program.object.digest.short(),
        program.object.size,
        program.object.license
    );
    if let Some(function) = program.object.programs.iter().find(|p| p.function == program.entry) {
        let _ = writeln!(
            out,
            "    function  {} in {}, {} instructions",
            function.function, function.section, function.instructions
        );
    }
    let core = match program.object.core_relocations {
        0 => "none: it reads no kernel struct by name".to_owned(),
        n => format!("{n} relocations"),
    };
    let _ = writeln!(out, "    CO-RE     {core}");
    for map in program.object.maps.iter().filter(|m| !m.internal) {
        let _ = writeln!(
            out,
            "    map       {} ({}, key {}, value {}, {} entries)",
            map.name, map.kind, map.key_size, map.value_size, map.max_entries
        );
    }
    for global in &program.object.globals {
        let value = program.globals.get(&global.name).map(|v| format!(" = {}", value(v))).unwrap_or_default();
        let _ = writeln!(out, "    global    {} {}{value}", global.c_type, global.name);
    }
    match &program.origin {
        ProgramOrigin::Files { files } => {
            let names: Vec<_> = files.keys().map(String::as_str).collect();
            let _ = writeln!(out, "    from      {}", names.join(", "));
        }
        ProgramOrigin::Image { repository, version, digest } => {
            let version = version.as_ref().map(|v| format!(":{v}")).unwrap_or_default();
            let _ = writeln!(out, "    from      {repository}{version}@{}", digest.short());
        }
    }
}

fn value(value: &bpfkit_schemas::chain::GlobalValue) -> String {
    use bpfkit_schemas::chain::GlobalValue as V;
    match value {
        V::Int(n) => n.to_string(),
        V::Bool(b) => b.to_string(),
        V::Text(text) => format!("\"{}\"", text.escape_default()),
        V::List(items) => format!("[{}]", items.iter().map(self::value).collect::<Vec<_>>().join(", ")),
        V::Map(members) => format!(
            "{{{}}}",
            members.iter().map(|(k, v)| format!("{k}: {}", self::value(v))).collect::<Vec<_>>().join(", ")
        ),
    }
}
