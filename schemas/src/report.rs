//! The shapes of `--json` output: plain values with a version, and a published schema.
//!
//! Pure. The crates that know the facts fill these in. A shape changes only by fields
//! that are added; anything else raises [`VERSION`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{Diagnostic, Severity};

/// The version of every shape here, in each document's `version`.
pub const VERSION: u32 = 1;

/// `plan --json`, `apply --json`, `remove --json`, `dev --json`: what would be done, or was.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct PlanReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set.
    pub set: String,
    /// `apply` or `remove`.
    pub purpose: String,
    /// Whether there is nothing to do.
    pub empty: bool,
    /// Why the set's bundles are believed.
    pub grounds: Vec<String>,
    /// Maps whose pins or contents change, and those that are loaded with chains.
    pub maps: Vec<MapReport>,
    /// Hooks that change, in order.
    pub hooks: Vec<HookReport>,
    /// What is removed at the end: pins of maps, leftovers.
    pub cleanup: Vec<String>,
    /// What should be known.
    pub warnings: Vec<String>,
    /// How many hooks are as declared.
    pub unchanged: usize,
    /// The generation that this became or was already, after an apply or a roll-back; none in a plan.
    pub generation: Option<GenerationReport>,
}

/// One generation of a set, as it is kept on this host.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct GenerationReport {
    /// Its number.
    pub number: u64,
    /// Whether it is what is live, as far as the last run that came to its end says.
    pub live: bool,
    /// `confirmed`, `pending`, `put_back`, or `damaged`: then the rest isn't known.
    pub state: String,
    /// Of a pending one: for how many more seconds it can be confirmed; 0 where it is too late.
    pub seconds_left: Option<u64>,
    /// Of a pending one: the generation that is put back otherwise; none where the set is removed then.
    pub back_to: Option<u64>,
    /// When it was applied, RFC 3339.
    pub made: Option<String>,
    /// The generation that was gone back to, where it came of that.
    pub of: Option<u64>,
    /// The version of its bundle.
    pub applied: Option<String>,
    /// Where its bundle came from.
    pub reference: Option<String>,
}

/// One map of a plan.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct MapReport {
    /// `blocklist`, or `meter/counts` for a private one.
    pub map: String,
    /// Its shape in words.
    pub shape: String,
    /// The live map whose contents stay; none where one is created.
    pub reuses: Option<u32>,
    /// Whether its pin changes.
    pub pins: bool,
    /// The map that is pinned there now, where the pin moves.
    pub was: Option<u32>,
    /// Whether contents are lost.
    pub loses_contents: bool,
}

/// One hook of a plan.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct HookReport {
    /// `xdp`, `tc/ingress`, `tc/egress`, or a cgroup's.
    pub hook: String,
    /// The interface's name; for a cgroup's hook, the cgroup's path.
    pub interface: String,
    /// Its index; 0 for a cgroup.
    pub index: u32,
    /// The inode of its network namespace; for a cgroup, its id.
    pub namespace: u64,
    /// The namespace's path, where it isn't the caller's own.
    pub netns: Option<String>,
    /// `native` or `generic`.
    pub mode: String,
    /// On tc, how the chain is attached: `tcx` or `clsact`.
    pub attach: Option<String>,
    /// How the chain is realised: `fused`.
    pub engine: String,
    /// `attach`, `attach again`, `move`, `replace`, `pin again`, `detach`, `unpin`.
    pub change: String,
    /// Why.
    pub because: Vec<String>,
    /// The revision that the hook must still have, where the kernel counts one.
    pub seen_revision: Option<u64>,
    /// What stands for the hook's filters, which must still be the same; for a chain by clsact.
    pub seen_filters: Option<u64>,
    /// Our link that must still be there.
    pub seen_link: Option<u32>,
    /// Our filter that must still be there: `filter pref 1 handle 0x62…`.
    pub seen_filter: Option<String>,
    /// The program that it must still hold.
    pub seen_program: Option<u32>,
    /// The chain, old and new.
    pub programs: Vec<LineReport>,
    /// What identifies the chain that is loaded: each program's name, object digest, entry and globals digest.
    pub loads: Vec<ProgramReport>,
    /// Programs of others at the hook.
    pub others: Vec<String>,
}

/// One line of a chain's diff.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct LineReport {
    /// The program.
    pub program: String,
    /// `same`, `added`, `removed`, `changed`.
    pub change: String,
    /// In what, or why.
    pub notes: Vec<String>,
    /// How it is carried in the one program of a chain that is loaded: `spliced`, or `called: …` or `left out: …` with
    /// the reason. None for a program that is alone or goes, or where nothing is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
}

/// One program that is loaded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct ProgramReport {
    /// Its name.
    pub program: String,
    /// Its object's digest.
    pub object: String,
    /// The function.
    pub entry: String,
    /// The digest of its globals.
    pub globals: String,
    /// The verdicts after which the chain goes on.
    pub proceed_on: Vec<i32>,
}

/// One set of `status --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct StatusReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set.
    pub set: String,
    /// Whether anything isn't as it was applied or is declared.
    pub drifted: bool,
    /// Its hooks.
    pub hooks: Vec<HookStatusReport>,
    /// Its maps.
    pub maps: Vec<MapStatusReport>,
    /// Leftovers in the set's directory.
    pub leftovers: Vec<String>,
    /// What should be known.
    pub warnings: Vec<String>,
    /// What is kept of the set, the newest first.
    pub generations: Vec<GenerationReport>,
}

/// One hook of a set that is live or should be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct HookStatusReport {
    /// `xdp`, `tc/ingress`, `tc/egress`, or a cgroup's.
    pub hook: String,
    /// The interface's name; for a cgroup's hook, the cgroup's path.
    pub interface: String,
    /// The namespace's path, where it isn't the caller's own.
    pub netns: Option<String>,
    /// On tc, how the chain is attached: `tcx` or `clsact`.
    pub attach: Option<String>,
    /// The link's id.
    pub link: Option<u32>,
    /// The filter, for a chain by clsact: `filter pref 1 handle 0x62…`.
    pub filter: Option<String>,
    /// The fused program's id.
    pub program: Option<u32>,
    /// The programs of the live chain, in order.
    pub programs: Vec<String>,
    /// The version that was applied.
    pub applied: Option<String>,
    /// The version that is wanted, where the manifest is known.
    pub wanted: Option<String>,
    /// Programs of others at the hook.
    pub others: Vec<String>,
    /// In what it has drifted.
    pub drift: Vec<String>,
}

/// One map of a set.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct MapStatusReport {
    /// `blocklist`, or `meter/counts` for a private one.
    pub map: String,
    /// Its id.
    pub id: Option<u32>,
    /// Its shape in words.
    pub shape: Option<String>,
    /// In what it has drifted.
    pub drift: Vec<String>,
}

/// `status --json`: the set that was asked for, or every set that is live.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct SetsReport {
    /// [`VERSION`].
    pub version: u32,
    /// The sets.
    pub sets: Vec<StatusReport>,
}

/// `apply --last --json`: each set by itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct RestoreReport {
    /// [`VERSION`].
    pub version: u32,
    /// The sets, in the order in which they were restored.
    pub sets: Vec<RestoredReport>,
}

/// One set of `apply --last`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct RestoredReport {
    /// The set.
    pub set: String,
    /// What was done; none where that was refused.
    pub plan: Option<PlanReport>,
    /// What went wrong, or isn't there yet.
    pub problems: Vec<ProblemReport>,
}

/// `confirm --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct ConfirmReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set.
    pub set: String,
    /// The generation that is kept.
    pub generation: u64,
}

/// `systemd install --json`, `systemd remove --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct UnitReport {
    /// [`VERSION`].
    pub version: u32,
    /// The unit's file, and the link that has it started at boot.
    pub files: Vec<String>,
    /// `written`, `removed`, or `unchanged`.
    pub change: String,
}

/// What any command prints with `--json` where it has problems.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct ProblemsReport {
    /// [`VERSION`].
    pub version: u32,
    /// The problems.
    pub problems: Vec<ProblemReport>,
}

/// One problem.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct ProblemReport {
    /// What `explain` knows.
    pub code: String,
    /// `error` or `warning`.
    pub severity: String,
    /// What is wrong.
    pub title: String,
    /// Where; the first is the place, the others are context.
    pub places: Vec<PlaceReport>,
    /// Why, from near to far.
    pub causes: Vec<String>,
    /// Facts.
    pub notes: Vec<String>,
    /// The next move.
    pub help: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct PlaceReport {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// What is to be said about it.
    pub text: String,
}

/// `init --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct InitReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set's name.
    pub set: String,
    /// The files that were written.
    pub files: Vec<String>,
}

/// `check --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct CheckReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set's name.
    pub set: String,
    /// How many programs it has.
    pub programs: usize,
    /// How many chains.
    pub chains: usize,
    /// What it is built for.
    pub platforms: Vec<String>,
}

/// `build --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct BuildReport {
    /// [`VERSION`].
    pub version: u32,
    /// The objects, in the manifest's order.
    pub objects: Vec<ObjectReport>,
}

/// One object of a build.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct ObjectReport {
    /// The program.
    pub program: String,
    /// What it is for.
    pub platform: String,
    /// Where it is.
    pub path: String,
    /// SHA-256 of the file.
    pub digest: String,
    /// Whether this run made it.
    pub made: bool,
    /// The program's own instructions, 8 bytes each.
    pub instructions: u32,
    /// The object's CO-RE relocations.
    pub core_relocations: u32,
}

/// `bundle --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct BundleReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set by tag and digest.
    pub reference: String,
    /// The tag.
    pub tag: String,
    /// The digest of the set's index.
    pub digest: String,
    /// The digest of each program's image index, by program.
    pub programs: BTreeMap<String, String>,
}

/// `sign --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct SignReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set, by digest.
    pub reference: String,
    /// The repository that is bound.
    pub repository: String,
    /// The version that is bound.
    pub tag: String,
    /// The role that is claimed.
    pub role: String,
    /// SHA-256 of the key's `SubjectPublicKeyInfo`.
    pub key: String,
    /// How many programs the set has.
    pub programs: usize,
    /// Every manifest and index that was signed.
    pub signed: Vec<String>,
}

/// `push --json`, `pull --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct TransferReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set where it is now.
    pub reference: String,
    /// The digest of the set's index.
    pub digest: String,
    /// How many blobs, manifests, signatures and tags were sent.
    pub sent: usize,
    /// How many were there before.
    pub there_before: usize,
}

/// `verify --json`, where a set is trusted; where it isn't, problems are printed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set, by digest.
    pub reference: String,
    /// The repository that it belongs to.
    pub repository: String,
    /// Its version.
    pub tag: String,
    /// Why it is believed, one line each.
    pub grounds: Vec<String>,
    /// The last day (UTC) on which that holds; none where no day is set.
    pub until: Option<String>,
}

/// `inspect --json`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct InspectReport {
    /// [`VERSION`].
    pub version: u32,
    /// The set, by digest.
    pub reference: String,
    /// How many signatures hang on it, unchecked.
    pub signatures: usize,
    /// The set bundle's config, as it is in the bundle.
    pub config: serde_json::Value,
}

/// `trust keygen --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct KeygenReport {
    /// [`VERSION`].
    pub version: u32,
    /// The private key's file.
    pub private: String,
    /// The public key's file.
    pub public: String,
    /// SHA-256 of the key's `SubjectPublicKeyInfo`.
    pub spki: String,
}

/// `explain --json`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct ExplainReport {
    /// [`VERSION`].
    pub version: u32,
    /// The code that was asked for, or all.
    pub codes: Vec<CodeReport>,
}

/// One error code.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct CodeReport {
    /// The code.
    pub code: String,
    /// One line.
    pub title: String,
    /// The long form.
    pub explanation: String,
    /// The exit code of a command that ends with it.
    pub exit: u8,
}

impl ProblemsReport {
    /// The JSON form of problems.
    pub fn of<'a>(problems: impl IntoIterator<Item = &'a Diagnostic>) -> Self {
        Self { version: VERSION, problems: problems.into_iter().map(ProblemReport::of).collect() }
    }
}

impl ProblemReport {
    /// The JSON form of one problem.
    pub fn of(problem: &Diagnostic) -> Self {
        let places = problem.labels.iter().map(|label| {
            let (line, column) = label.source.line_column(label.span.start);
            PlaceReport { file: label.source.name.clone(), line, column, text: label.text.clone() }
        });
        Self {
            code: problem.code.to_string(),
            severity: match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            }
            .to_owned(),
            title: problem.title.clone(),
            places: places.collect(),
            causes: problem.causes.clone(),
            notes: problem.notes.clone(),
            help: problem.help.clone(),
        }
    }
}

/// The JSON Schema (draft 2020-12) of these shapes, by name under `$defs`.
///
/// `schemas/output.schema.json` is this text; a test keeps the two equal.
pub fn json_schema() -> String {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    generator.subschema_for::<PlanReport>();
    generator.subschema_for::<SetsReport>();
    generator.subschema_for::<RestoreReport>();
    generator.subschema_for::<ConfirmReport>();
    generator.subschema_for::<UnitReport>();
    generator.subschema_for::<ProblemsReport>();
    generator.subschema_for::<InitReport>();
    generator.subschema_for::<CheckReport>();
    generator.subschema_for::<BuildReport>();
    generator.subschema_for::<BundleReport>();
    generator.subschema_for::<SignReport>();
    generator.subschema_for::<TransferReport>();
    generator.subschema_for::<VerifyReport>();
    generator.subschema_for::<InspectReport>();
    generator.subschema_for::<KeygenReport>();
    generator.subschema_for::<ExplainReport>();
    let definitions = generator.take_definitions(true);
    let schema = serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What bpfkit prints with --json",
        "$defs": definitions,
    });
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
