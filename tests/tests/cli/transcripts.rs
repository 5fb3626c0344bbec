//! `tests/transcripts/*.txt`: commands and their exact output, as documentation that can't go stale.
//!
//! `$ COMMAND` runs in the transcript's own folder, which begins empty; what follows is
//! its stdout and stderr as they came, then `(exit N)` if N isn't 0. `# …` and empty lines
//! between are for the reader. `REGENERATE=1` writes the files anew.

use std::{fmt::Write as _, fs};

use crate::{
    matching::tidy,
    sandbox::{Network, Sandbox},
};

/// Before each command, which also has the checkout's folder as `$repo`.
const PRELUDE: &str = "sudo() { \"$@\"; }\n";

/// Runs a transcript's commands; the transcript as it is now.
fn played(sandbox: &Sandbox, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut now = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        now.push_str(line);
        now.push('\n');
        let Some(command) = line.strip_prefix("$ ") else { continue };
        // What was said before, up to the next comment, command or the empty line that ends it.
        while lines.peek().is_some_and(|line| !line.starts_with("$ ") && !line.starts_with("# ")) {
            lines.next();
        }
        let prelude = format!("{PRELUDE}repo='{}'\n", bpfkit_tests::root().display());
        let said = sandbox.bash(dir.path(), &format!("exec 2>&1\n{prelude}{command}"));
        let here = dir.path().display().to_string();
        now.push_str(&tidy(&said.stdout.replace(&here, "[DIR]")).replace(machine, "[ARCH]"));
        if said.code != Some(0) {
            let _ = writeln!(now, "(exit {})", said.code.unwrap_or(-1));
        }
        if lines.peek().is_some_and(|line| line.starts_with("# ")) {
            now.push('\n');
        }
    }
    now
}

#[test]
fn transcripts_are_what_the_commands_print() {
    let Some(sandbox) = Sandbox::open("transcripts", Network::Own) else { return };
    let folder = bpfkit_tests::root().join("tests/transcripts");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("tests/transcripts: {error}"));
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut stale = Vec::new();
    for file in files {
        let before = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let now = played(&sandbox, &before);
        for bad in ["panicked", "RUST_BACKTRACE", "No such file or directory (os error 2)\nerror:"] {
            assert!(!now.contains(bad), "`{bad}` in {now}");
        }
        if now != before {
            if std::env::var_os("REGENERATE").is_some() {
                fs::write(&file, &now).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
            let differs = before.lines().zip(now.lines()).enumerate().find(|(_, (before, now))| before != now);
            stale.push(format!("{}: {differs:#?}\n{now}", file.display()));
        }
    }
    assert!(
        stale.is_empty() || std::env::var_os("REGENERATE").is_some(),
        "run with REGENERATE=1 and look at the difference:\n{}",
        stale.join("\n")
    );
}
