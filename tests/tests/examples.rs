//! Holds the examples to what they say: manifests and policies that check, one
//! pipeline in three files, a unit that systemd accepts.
//!
//! That the pipeline and the set *work* is shown end to end elsewhere.
#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "a test whose inputs can't be read fails, and says which")]

use std::{fs, path::PathBuf, process::Command};

use bpfkit_schemas::{
    Diagnostic,
    diagnostic::Source,
    manifest::{Overrides, check, check_policy, check_repos},
};

fn example(path: &str) -> PathBuf {
    bpfkit_tests::root().join("examples").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(example(path)).unwrap_or_else(|error| panic!("examples/{path}: {error}"))
}

#[track_caller]
fn accepted<T>(path: &str, result: Result<T, Vec<Diagnostic>>) -> T {
    result.unwrap_or_else(|problems| panic!("examples/{path}: {problems:#?}"))
}

#[test]
fn every_manifest_checks_without_a_warning() {
    let machine = Overrides { set: Vec::new(), machine: "linux/amd64".parse().ok() };
    for path in ["edge/bpfkit.yml", "developer/bpfkit.yml"] {
        let checked = accepted(path, check(&Source::new(path, text(path)), &machine));
        assert!(checked.warnings.is_empty(), "examples/{path}: {:#?}", checked.warnings);
    }
}

#[test]
fn the_host_policy_and_repos_check() {
    let repos = accepted("host/repos.yml", check_repos(&Source::new("repos.yml", text("host/repos.yml"))));
    let policy = check_policy(&Source::new("trust.yml", text("host/trust.yml")), &repos);
    assert_eq!(accepted("host/trust.yml", policy).block.image.len(), 1);
}

/// The commands of a pipeline: the lines of `ci/commands` that aren't comments.
fn commands() -> Vec<String> {
    text("ci/commands").lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// The lines between a line that ends a step's head and the next key, without YAML's own marks.
fn script(path: &str) -> Vec<String> {
    let text = text(path);
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    let from_set = lines.skip_while(|line| *line != "set -eu").skip(1);
    from_set.take(commands().len()).map(str::to_owned).collect()
}

#[test]
fn both_pipelines_run_the_commands_that_we_test() {
    assert_eq!(script("ci/github.yml"), commands());
    assert_eq!(script("ci/gitlab.yml"), commands());
}

#[test]
fn systemd_accepts_the_unit() {
    // systemd looks whether the program is there, which on a machine that builds it is elsewhere.
    let unit = text("host/bpfkit-edge.service");
    assert!(unit.contains("ExecStart=/usr/local/bin/bpfkit apply ${REFERENCE}"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("bpfkit-edge.service");
    fs::write(&copy, unit.replace("/usr/local/bin/bpfkit", "/bin/true")).expect("write");
    let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output().expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "systemd-analyze verify: {said}");
}
