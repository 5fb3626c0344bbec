//! Holds the examples to what they say: manifests and policies that check, one
//! pipeline in three files, a unit that systemd accepts.
//!
//! The pipeline's commands are run here too, from sources to a verified bundle in
//! a repo; that the set's chain works on a live interface is shown elsewhere.
#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "a test whose inputs can't be read fails, and says which")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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

/// A copy of an example in a folder of its own, since building and signing write into it.
fn copy_of(project: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    run(Command::new("cp").arg("-r").arg(example(project).join(".")).arg(folder.path()));
    folder
}

/// Runs a command that must succeed; what it said on stdout.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A shell in `folder` that finds our bpfkit first.
fn shell(folder: &Path, script: &str) -> Command {
    let bpfkit = bpfkit_tests::bpfkit();
    assert!(bpfkit.is_file(), "no {}: `cargo build -p bpfkit-cli` first", bpfkit.display());
    let mut path = vec![bpfkit.parent().unwrap_or(Path::new(".")).to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new("bash");
    command.args(["-euc", script]).current_dir(folder);
    command.env("PATH", std::env::join_paths(path).unwrap_or_default());
    // Not our caller's: neither cargo's nor make's pool of jobs is ours to draw on.
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env("BPFKIT_PASSWORD", "test");
    command
}

#[test]
fn the_pipeline_makes_a_bundle_that_verifies() {
    let project = copy_of("edge");
    run(&mut shell(project.path(), "mkdir trust && bpfkit trust keygen --output trust/ana && bpfkit build"));
    let mut pipeline = shell(project.path(), &commands().join("\n"));
    run(pipeline.env("TAG", "v1").env("KEY", "trust/ana.key").env("PUB", "trust/ana.pub"));
    let reference = fs::read_to_string(project.path().join("reference.txt")).unwrap_or_default();
    assert!(reference.starts_with("oci:./dist/edge:v1@sha256:"), "{reference}");
}

#[test]
fn make_builds_once_and_again_after_a_header_changed() {
    let project = copy_of("developer");
    let make = |script: &str| run(&mut shell(project.path(), script));
    assert!(make("make -j2").contains("bpfkit build"));
    assert!(make("make -j2").contains("Nothing to be done"), "a second make does something");
    assert!(make("echo '/* changed */' >>src/frame.h; make -j2").contains("bpfkit build"));
    assert!(make("make -j2").contains("Nothing to be done"), "a make after a changed header isn't the last");
}

#[test]
fn systemd_accepts_the_unit() {
    // systemd looks whether the program is there, which on a machine that builds it is elsewhere.
    let unit = text("host/bpfkit-edge.service");
    assert!(unit.contains("ExecStart=/usr/local/bin/bpfkit apply ${REFERENCE}"));
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    let copy = folder.path().join("bpfkit-edge.service");
    fs::write(&copy, unit.replace("/usr/local/bin/bpfkit", "/bin/true"))
        .unwrap_or_else(|error| panic!("write: {error}"));
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&copy)
        .output()
        .unwrap_or_else(|error| panic!("systemd-analyze runs: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "systemd-analyze verify: {said}");
}

/// Runs `bpfkit systemd VERB --dir folder`; what it said on stdout.
#[track_caller]
fn systemd(folder: &Path, verb: &str) -> String {
    run(Command::new(bpfkit_tests::bpfkit()).args(["systemd", verb, "--dir"]).arg(folder))
}

#[test]
fn the_unit_that_restores_is_written_once_accepted_by_systemd_and_removed() {
    if !rustix::process::geteuid().is_root() {
        return bpfkit_tests::skip::skip("the_unit_that_restores", "units take root");
    }
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    let unit = folder.path().join("bpfkit-restore.service");
    assert!(systemd(folder.path(), "install").ends_with("written\n"));
    let text = fs::read_to_string(&unit).unwrap_or_default();
    let bpfkit = bpfkit_tests::bpfkit();
    let exec = format!("ExecStart={} --quiet apply --last --offline\n", bpfkit.display());
    assert!(text.contains(&exec), "{text}");
    // Enabled: systemd reads this folder at boot, without being told.
    let wanted = folder.path().join("sysinit.target.wants/bpfkit-restore.service");
    assert_eq!(fs::read_to_string(&wanted).unwrap_or_default(), text);
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output();
    let output = output.unwrap_or_else(|error| panic!("systemd-analyze runs: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "systemd-analyze verify: {said}");

    let made = || fs::metadata(&unit).and_then(|file| file.modified()).ok();
    let before = made();
    assert!(systemd(folder.path(), "install").ends_with("unchanged\n"));
    assert_eq!(made(), before, "nothing is written twice");
    fs::remove_file(&wanted).unwrap_or_else(|error| panic!("{error}"));
    assert!(systemd(folder.path(), "install").ends_with("written\n"), "a link that is gone comes back");
    assert!(systemd(folder.path(), "remove").ends_with("removed\n"));
    assert_eq!(fs::read_dir(folder.path()).map(Iterator::count).ok(), Some(0));
    assert!(systemd(folder.path(), "remove").ends_with("unchanged\n"));
}

#[test]
fn a_unit_that_somebody_else_wrote_is_left_alone() {
    if !rustix::process::geteuid().is_root() {
        return bpfkit_tests::skip::skip("a_unit_that_somebody_else_wrote", "units take root");
    }
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    let unit = folder.path().join("bpfkit-restore.service");
    fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap_or_else(|error| panic!("{error}"));
    for verb in ["install", "remove"] {
        let output = Command::new(bpfkit_tests::bpfkit()).args(["systemd", verb, "--dir"]).arg(folder.path()).output();
        let output = output.unwrap_or_else(|error| panic!("bpfkit runs: {error}"));
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("A359"), "{output:?}");
    }
    assert!(fs::read_to_string(&unit).unwrap_or_default().starts_with("[Service]"));
}
