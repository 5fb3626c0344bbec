//! `tools/demo` runs to its end, leaves nothing behind, and does nothing that the README doesn't say.

use std::{collections::BTreeSet, process::Command};

use crate::support::alone;

/// A command as it is written, less what differs from host to host: `sudo`, a comment at the end, digests.
fn spelled(command: &str) -> String {
    let bare = command.strip_prefix("sudo ").unwrap_or(command);
    let bare = bare.split_once("   # ").map_or(bare, |(bare, _)| bare).trim_end();
    let mut parts = bare.split("sha256:");
    let mut spelled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == '…');
        spelled.extend(["sha256:…", rest]);
    }
    spelled
}

/// The commands of a document in Markdown: indented blocks, `$ ` in consoles, and those named in the text.
fn written(text: &str) -> BTreeSet<String> {
    let (fences, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("```"));
    assert!(fences.len().is_multiple_of(2), "a block without an end");
    let blocks = lines.iter().filter_map(|line| line.strip_prefix("    ").or_else(|| line.strip_prefix("$ ")));
    let quoted = lines.iter().flat_map(|line| line.split('`').skip(1).step_by(2));
    blocks.chain(quoted).map(spelled).collect()
}

#[test]
fn the_demo_runs_and_the_readme_has_each_of_its_commands() {
    let _cpus = alone();
    let root = bpfkit_tests::root();
    let bpfkit = bpfkit_tests::bpfkit();
    let mut path = vec![bpfkit.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let before = namespaces();
    let output = Command::new(root.join("tools/demo"))
        .env("PATH", std::env::join_paths(path).unwrap())
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap_or_else(|error| panic!("tools/demo: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let tail = said.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(output.status.success(), "{}\n{tail}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("slipped through while the chain was replaced: 0\n"), "{tail}");
    assert_eq!(namespaces(), before, "the demo left network namespaces behind");

    let run: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("$ ")).map(spelled).collect();
    assert!(run.len() > 40, "a demo of {} commands", run.len());
    let readme = written(&std::fs::read_to_string(root.join("README.md")).unwrap());
    let missing: Vec<_> = run.iter().filter(|command| !readme.contains(*command)).collect();
    assert!(missing.is_empty(), "the README hasn't: {missing:#?}");
}

/// Those of the demo's network namespaces that have a name on this host, with their inodes.
fn namespaces() -> Vec<(&'static str, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |name: &str| std::fs::metadata(format!("/run/netns/{name}")).ok().map(|found| found.ino());
    ["world", "laptop", "far"].into_iter().filter_map(|name| Some((name, inode(name)?))).collect()
}

#[test]
fn a_command_is_the_same_with_sudo_a_comment_and_another_digest() {
    assert_eq!(spelled("sudo bpfkit apply oci:x@sha256:0a1b   # again"), spelled("bpfkit apply oci:x@sha256:…"));
    assert_ne!(spelled("bpfkit apply oci:x@sha256:…"), spelled("bpfkit apply oci:y@sha256:…"));
    let readme = "Text with `clang-19 --version`.\n\n    one   # why\n\n```console\n$ sudo two\nthree\n```\n";
    assert_eq!(written(readme), ["clang-19 --version", "one", "two"].map(str::to_owned).into());
}
