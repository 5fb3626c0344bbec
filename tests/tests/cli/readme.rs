//! Every command of the README's `console` blocks is run, and prints what the README says.
//!
//! One section (`## …` and what is below it) runs in one copy of `examples/edge`, in
//! order, on a machine with an `eth0`. What stands after a command is its stdout, or all
//! that it says. A section that makes no key finds one at `trust/ana.key`.

use crate::{
    matching::{matches, tidy},
    sandbox::{Network, Sandbox, copy_of},
};

struct Step {
    command: String,
    output: String,
    line: usize,
}

/// The steps of each section that has any.
fn sections(text: &str) -> Vec<Vec<Step>> {
    let mut sections: Vec<Vec<Step>> = vec![Vec::new()];
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (false, line) if line.starts_with("## ") => sections.push(Vec::new()),
            (true, line) => {
                let Some(section) = sections.last_mut() else { continue };
                match (line.strip_prefix("$ "), section.last_mut()) {
                    (Some(command), _) => {
                        section.push(Step { command: command.to_owned(), output: String::new(), line: index + 1 });
                    }
                    (None, Some(step)) => step.output.extend([line, "\n"]),
                    (None, None) => panic!("line {}: output before a command", index + 1),
                }
            }
            (false, _) => {}
        }
    }
    sections.retain(|steps| !steps.is_empty());
    sections
}

#[test]
fn every_command_of_the_readme_prints_what_it_says() {
    let readme = bpfkit_tests::root().join("README.md");
    let text = std::fs::read_to_string(readme).unwrap_or_else(|error| panic!("README.md: {error}"));
    let sections = sections(&text);
    assert!(sections.len() >= 2, "the README's blocks are gone");
    let mut wrong = Vec::new();
    for steps in sections {
        let Some(sandbox) = Sandbox::open("readme", Network::Own) else { return };
        let dir = copy_of("examples/edge");
        if !steps.iter().any(|step| step.command.contains("trust keygen")) {
            sandbox.must(dir.path(), "mkdir -p trust && bpfkit trust keygen -q --output trust/ana");
        }
        for step in steps {
            let said = sandbox.bash(dir.path(), &format!("sudo() {{ \"$@\"; }}\n{}", step.command));
            let (data, talk) = (&said.stdout, &said.stderr);
            let (before, after) = (format!("{talk}{data}"), format!("{data}{talk}"));
            let expected = tidy(&step.output.replace("sha256:…", "[DIGEST]"));
            if ![data, &before, &after].iter().any(|said| matches(&expected, &tidy(said))) {
                wrong.push(format!(
                    "README.md:{}: $ {}\n--- says\n{expected}--- printed\n{before}",
                    step.line, step.command
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sections_are_read_as_they_are_meant() {
    let text = "```console\n$ a\nb\n$ c\n```\n## Two\n```yaml\n$ no\n```\n### Three\n```console\n$ d\n```\n";
    let read: Vec<Vec<_>> = sections(text)
        .iter()
        .map(|s| s.iter().map(|s| (s.command.clone(), s.output.clone(), s.line)).collect())
        .collect();
    assert_eq!(
        read,
        [
            vec![("a".to_owned(), "b\n".to_owned(), 2), ("c".to_owned(), String::new(), 4)],
            vec![("d".to_owned(), String::new(), 12)]
        ]
    );
}

#[test]
fn the_first_manifest_of_the_readme_is_the_edge_example() {
    let read = |name: &str, text: &str| {
        let source = bpfkit_schemas::Source::new(name, text);
        let checked = bpfkit_schemas::manifest::check(
            &source,
            &bpfkit_schemas::manifest::Overrides { machine: "linux/amd64".parse().ok(), ..Default::default() },
        );
        let manifest = checked.unwrap_or_else(|problems| panic!("{name}: {problems:?}")).manifest;
        let flags: Vec<_> = manifest.build.cflags.iter().map(|(flag, _)| flag.clone()).collect();
        let programs: Vec<_> = manifest.programs.iter().map(|p| (p.name.clone(), p.globals.clone())).collect();
        // Without their places, which differ.
        let said = serde_json::to_string(&(&manifest.maps, &manifest.chains, &manifest.repos)).unwrap();
        (manifest.name, flags, programs, said, manifest.trust.map(|trust| trust.block))
    };
    let root = bpfkit_tests::root();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (first, _) = rest.split_once("```").unwrap();
    let example = std::fs::read_to_string(root.join("examples/edge/bpfkit.yml")).unwrap();
    assert_eq!(read("README.md", first), read("examples/edge/bpfkit.yml", &example));
}
