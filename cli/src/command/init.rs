//! `bpfkit init`: a project in which `bpfkit dev` works at once.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use bpfkit_schemas::{
    Code, Diagnostic,
    code::Exit,
    names::SetName,
    report::{InitReport, VERSION},
};

use crate::{
    args::{Example, Global, Init},
    failure::{Failure, Result},
    ui::Ui,
    view,
};

const MANIFEST: &str = include_str!("init/bpfkit.yml");
const SOURCE: &str = include_str!("init/count.bpf.c");
/// `examples/edge`, as it is in the tree.
const EDGE_MANIFEST: &str = include_str!("../../../examples/edge/bpfkit.yml");
const EDGE_SOURCES: [(&str, &str); 6] = [
    ("audit.bpf.c", include_str!("../../../examples/edge/src/audit.bpf.c")),
    ("guard.bpf.c", include_str!("../../../examples/edge/src/guard.bpf.c")),
    ("limit.bpf.c", include_str!("../../../examples/edge/src/limit.bpf.c")),
    ("meter.bpf.c", include_str!("../../../examples/edge/src/meter.bpf.c")),
    ("packet.h", include_str!("../../../examples/edge/src/packet.h")),
    ("rtt.bpf.c", include_str!("../../../examples/edge/src/rtt.bpf.c")),
];
const IGNORE: &str = "/.bpfkit/\n*.key\n";

pub(super) fn run(args: &Init, global: &Global, ui: &Ui) -> Result<Exit> {
    let name = name(args)?;
    let mut files = vec![(args.dir.join(".gitignore"), IGNORE.to_owned())];
    match args.example {
        Example::Count => {
            files.push((args.dir.join(&global.file), MANIFEST.replace("NAME", name.as_str())));
            files.push((args.dir.join("src/count.bpf.c"), SOURCE.to_owned()));
        }
        Example::Edge => {
            let manifest = EDGE_MANIFEST.replacen("name: edge ", &format!("name: {name} "), 1);
            files.push((args.dir.join(&global.file), manifest.replace("local/edge", &format!("local/{name}"))));
            let sources = EDGE_SOURCES.iter().map(|(file, text)| (args.dir.join("src").join(file), (*text).to_owned()));
            files.extend(sources);
        }
    }
    // Nothing is written if anything is in the way.
    let there: Vec<_> =
        files.iter().filter(|(path, _)| path.exists()).filter(|(path, _)| !path.ends_with(".gitignore")).collect();
    if !there.is_empty() {
        return Err(Failure(
            there
                .iter()
                .map(|(path, _)| {
                    Diagnostic::error(Code::EXISTS, format!("`{}` is there already", path.display()))
                        .help("choose another folder: `bpfkit init DIR`")
                })
                .collect(),
        ));
    }
    let mut written = Vec::new();
    for (path, text) in &files {
        if write_new(path, text).map_err(|e| Failure::unwritable(path, &e))? {
            written.push(tidy(path));
        }
    }
    let report = InitReport { version: VERSION, set: name.to_string(), files: written };
    ui.show(&report, || view::lines(&report.files))?;
    let place = if args.dir == Path::new(".") { String::new() } else { format!("cd {} && ", args.dir.display()) };
    ui.say(&match args.example {
        Example::Count => format!("next: {place}sudo bpfkit dev"),
        Example::Edge => format!("next: {place}bpfkit trust keygen --output trust/ana"),
    });
    Ok(Exit::Done)
}

/// The set's name: as given, else the folder's with what names can't have replaced.
fn name(args: &Init) -> Result<SetName> {
    if let Some(name) = &args.name {
        return name
            .parse()
            .map_err(|e: bpfkit_schemas::names::BadName| Failure::usage(e.to_string(), "like `--name edge`"));
    }
    let folder =
        std::path::absolute(&args.dir).ok().and_then(|p| p.file_name().map(|n| n.to_string_lossy().to_lowercase()));
    let tame: String = folder
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .collect();
    let tame = tame.trim_start_matches(['-', '_']);
    let tame: String = if tame.is_empty() { "set".to_owned() } else { tame.chars().take(63).collect() };
    tame.parse()
        .map_err(|e: bpfkit_schemas::names::BadName| Failure::usage(e.to_string(), "give it one: `--name edge`"))
}

/// Writes a file that isn't there; says whether it did.
fn write_new(path: &Path, text: &str) -> std::io::Result<bool> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn tidy(path: &Path) -> String {
    path.components().filter(|c| *c != std::path::Component::CurDir).collect::<PathBuf>().display().to_string()
}
