//! Each folder of `tests/attacks` is an attack: it meets the codes that it says, and its twin is accepted.
//!
//! A folder has a sentence in `README.md`, and a `recipe` of steps:
//!
//! ```text
//! live                  (the set is live before, and its chain is untouched by the attack)
//! registry              (there is one, at $REGISTRY)
//! do      COMMANDS      (bash, with attacks/prelude.sh)
//! attack  COMMANDS      (only in the attack)
//! twin    COMMANDS      (only in the twin)
//! judge   bpfkit …      (what has to see through it)
//! meets   T004 T009, exit 4
//! ```
//!
//! A line that begins with white space goes on with the line before.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use serde_json::Value;

use crate::{
    document::{codes_for_machines, codes_for_people},
    registry::Registry,
    sandbox::{Network, Sandbox, copy, copy_of, outside},
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Attack,
    Twin,
}

#[derive(Debug, Default)]
struct Recipe {
    live: bool,
    registry: bool,
    steps: Vec<(Option<Role>, String)>,
    judge: String,
    codes: BTreeSet<String>,
    exit: i32,
}

impl Recipe {
    fn parse(text: &str) -> Result<Self, String> {
        let mut recipe = Self::default();
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match lines.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => {
                    last.push('\n');
                    last.push_str(line);
                }
                _ => lines.push(line.to_owned()),
            }
        }
        for line in lines {
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
            let rest = rest.trim_start().to_owned();
            match word {
                "live" => recipe.live = true,
                "registry" => recipe.registry = true,
                "do" => recipe.steps.push((None, rest)),
                "attack" => recipe.steps.push((Some(Role::Attack), rest)),
                "twin" => recipe.steps.push((Some(Role::Twin), rest)),
                "judge" => recipe.judge = rest,
                "meets" => {
                    let (codes, exit) = rest.split_once(", exit ").ok_or("`meets` is `CODES, exit N`")?;
                    recipe.codes = codes.split(' ').map(str::to_owned).collect();
                    recipe.exit = exit.parse().map_err(|_| "exit is a number")?;
                }
                other => return Err(format!("what is `{other}`?")),
            }
        }
        if recipe.judge.is_empty() || recipe.codes.is_empty() {
            return Err("a recipe has `judge` and `meets`".to_owned());
        }
        Ok(recipe)
    }

    fn script(&self, role: Role) -> String {
        let steps = self.steps.iter().filter(|(whose, _)| whose.is_none_or(|whose| whose == role));
        steps.flat_map(|(_, step)| [step.as_str(), "\n"]).collect()
    }
}

fn folder() -> PathBuf {
    bpfkit_tests::root().join("tests/attacks")
}

/// The attacks by name. Everything in the folder that has a `README.md` is one.
fn attacks() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap_or_else(|error| panic!("tests/attacks: {error}"));
    let names = entries.flatten().filter(|entry| entry.path().join("README.md").is_file());
    let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The project that every recipe gets a copy of: built, with keys.
fn prepared() -> tempfile::TempDir {
    let project = copy_of("tests/attacks/project");
    let keys =
        "set -e; mkdir keys; for key in ana ben repo mallory; do bpfkit trust keygen --output keys/$key -q; done";
    let said = outside(project.path(), &format!("{keys}; bpfkit build -q"));
    assert_eq!(said.code, Some(0), "{said}");
    project
}

/// Plays one part of an attack; what went otherwise than it should.
fn play(name: &str, role: Role, recipe: &Recipe, prepared: &Path, schema: &Value) {
    let network = if recipe.registry { Network::Shared } else { Network::Own };
    let Some(sandbox) = Sandbox::open(&format!("attack {name}"), network) else { return };
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    copy(prepared, dir.path());
    let registry = recipe.registry.then(Registry::start);
    let prelude = format!(
        "REGISTRY={}; . {}\n",
        registry.as_ref().map(Registry::host).unwrap_or_default(),
        folder().join("prelude.sh").display()
    );
    if recipe.live {
        sandbox.must(
            dir.path(),
            &format!("{prelude}publish 1 ana; host_policy <trust.yml; bpfkit apply oci:dist/edge:1 >/dev/null 2>&1"),
        );
    }
    let untouched = || sandbox.host().lines().filter(|line| !line.starts_with("/etc/")).collect::<Vec<_>>().join("\n");
    let before = recipe.live.then(untouched);
    let steps = sandbox.bash(dir.path(), &format!("{prelude}{}", recipe.script(role)));
    assert_eq!(steps.code, Some(0), "the recipe itself fails: {steps}");
    let said = sandbox.bash(dir.path(), &format!("{prelude}{}", recipe.judge));
    if role == Role::Twin {
        assert_eq!(said.code, Some(0), "the twin is no attack, and is refused: {said}");
        return;
    }
    assert_eq!((codes_for_people(&said), said.code), (recipe.codes.clone(), Some(recipe.exit)), "{said}");
    let said = sandbox.bash(dir.path(), &format!("{prelude}{} --json", recipe.judge));
    assert_eq!((codes_for_machines(&said, schema), said.code), (recipe.codes.clone(), Some(recipe.exit)), "{said}");
    assert_eq!(before, recipe.live.then(untouched), "the attack changed the host");
}

#[test]
fn every_attack_meets_its_code_and_its_twin_is_accepted() {
    let only = std::env::var("ATTACK").ok();
    let names: Vec<_> = attacks().into_iter().filter(|name| only.as_ref().is_none_or(|only| only == name)).collect();
    assert!(names.len() >= 12 || only.is_some(), "{names:?}");
    let prepared = prepared();
    let schema = outside(prepared.path(), "bpfkit schema output").stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap_or_else(|error| panic!("schema output: {error}"));
    let parts = names.iter().flat_map(|name| [(name, Role::Attack), (name, Role::Twin)]);
    let (waiting, failed) = (Mutex::new(parts.collect::<Vec<_>>()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, role)) = waiting.lock().ok().and_then(|mut waiting| waiting.pop()) {
                    let played = std::panic::catch_unwind(|| {
                        let text = fs::read_to_string(folder().join(name).join("recipe")).unwrap_or_default();
                        let recipe = Recipe::parse(&text).unwrap_or_else(|why| panic!("{name}/recipe: {why}"));
                        play(name, role, &recipe, prepared.path(), &schema);
                    });
                    if played.is_err()
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.push(format!("{name} ({role:?})"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    assert!(failed.is_empty(), "see above: {failed:?}");
}

#[test]
fn every_attack_says_in_a_sentence_what_it_does_and_what_it_meets() {
    for name in attacks() {
        let text = fs::read_to_string(folder().join(&name).join("README.md")).unwrap_or_default();
        let recipe = fs::read_to_string(folder().join(&name).join("recipe")).unwrap_or_default();
        let recipe = Recipe::parse(&recipe).unwrap_or_else(|why| panic!("{name}/recipe: {why}"));
        assert!(text.len() > 60 && text.trim_end().ends_with('.'), "{name}/README.md");
        for code in &recipe.codes {
            assert!(text.contains(code), "{name}/README.md doesn't say that it meets {code}");
        }
        let differs = |role| recipe.steps.iter().any(|(whose, _)| *whose == Some(role));
        assert!(differs(Role::Attack) || differs(Role::Twin), "{name}: attack and twin are the same");
    }
}
