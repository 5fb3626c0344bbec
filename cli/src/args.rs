//! What was typed.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use bpfkit_schemas::trust::Role;
use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  bad usage or manifest
  3  changes pending (`plan --exit-code`, `status` with drift)
  4  not trusted
  5  stopped part-way, put back
  6  somebody else changed the host meanwhile, or holds the lock

`bpfkit explain CODE` says more about an error.";

/// Builds, ships and applies chains of eBPF programs from one manifest.
#[derive(Debug, Parser)]
#[command(name = "bpfkit", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The manifest
    #[arg(short, long, global = true, env = "BPFKIT_FILE", default_value = "bpfkit.yml", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print data as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Override a variable of the manifest
    #[arg(long = "set", global = true, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Where objects and bundles go [default: .bpfkit beside the manifest]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) target_dir: Option<PathBuf>,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless the environment says `NO_COLOR`
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write a project that works
    Init(Init),
    /// Build, bundle, sign with a local key and apply (root)
    Dev(Jobs),
    /// Check the manifest
    Check,
    /// Compile the programs and check the objects
    Build(Build),
    /// Build, and lay the set out as OCI artifacts; prints the set's reference by digest
    Bundle(Bundle),
    /// Sign the set and its programs
    Sign(Sign),
    /// Carry the set and its signatures to a repo; prints the pushed reference by digest
    Push(Push),
    /// Fetch a set by reference into an OCI layout; prints its reference by digest
    Pull(Pull),
    /// Check who signed a set, without changing anything
    Verify(Verify),
    /// Show what a set holds
    Inspect(ReferenceArg),
    /// Show what apply would do (root)
    Plan(Plan),
    /// Make this host match the manifest, or a set by reference (root)
    Apply(Apply),
    /// Keep what was applied with `--confirm` (root)
    Confirm(Confirm),
    /// Go back to what was applied before (root)
    Rollback(Rollback),
    /// Show what is live, and whether it drifted (root)
    Status(SetArg),
    /// Take a set off this host (root)
    Remove(Remove),
    /// Have every set restored when this host boots (root)
    #[command(subcommand)]
    Systemd(Systemd),
    /// Make and manage keys
    #[command(subcommand)]
    Trust(Trust),
    /// Explain an error code
    Explain(Explain),
    /// Print the JSON Schema of the manifest, or of a command's JSON output
    Schema(Schema),
    /// Print shell completions
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
    /// Wait for a confirmation, else put the generation before back: what `apply --confirm` starts
    #[command(hide = true)]
    PutBack(PutBack),
}

/// `init`.
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The folder [default: this one]
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The set's name [default: the folder's]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What to begin with
    #[arg(long, value_enum, default_value_t = Example::Count)]
    pub(crate) example: Example,
}

/// What a project begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Example {
    /// One program that counts packets on the loopback interface
    Count,
    /// A blocklist, a rate limit and counters on eth0, bundled, signed and pushed: the README's road
    Edge,
}

/// How much may run at once.
#[derive(Args, Debug)]
pub(crate) struct Jobs {
    /// How many compilers may run at once [default: the number of processors, or make's jobserver]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

/// `build`.
#[derive(Args, Debug)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) jobs: Jobs,
    /// Refuse to change bpfkit.lock
    #[arg(long)]
    pub(crate) locked: bool,
}

/// `bundle`.
#[derive(Args, Debug)]
pub(crate) struct Bundle {
    #[command(flatten)]
    pub(crate) build: Build,
    /// The version
    #[arg(long, default_value = "dev", value_name = "TAG")]
    pub(crate) tag: String,
}

/// `sign`.
#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// The private key (cosign's encrypted PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// What the signature vouches for
    #[arg(long, value_enum, default_value_t = RoleArg::Author)]
    pub(crate) role: RoleArg,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArg,
    /// A set in a registry or layout [default: what `bundle` made]
    pub(crate) reference: Option<String>,
}

/// Where a passphrase comes from.
#[derive(Args, Debug)]
pub(crate) struct PassphraseArg {
    /// Read the passphrase from this file descriptor [else: `BPFKIT_PASSWORD`, a systemd credential
    /// `bpfkit.password`, or a prompt on the terminal]
    #[arg(long, value_name = "N")]
    pub(crate) password_fd: Option<i32>,
}

/// What a signature vouches for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Wrote it
    Author,
    /// Published it
    Repository,
    /// Read it
    Reviewer,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Author => Self::Author,
            RoleArg::Repository => Self::Repository,
            RoleArg::Reviewer => Self::Reviewer,
        }
    }
}

/// `push`.
#[derive(Args, Debug)]
pub(crate) struct Push {
    /// The repo, by its name in the manifest or by its url [default: the manifest's only one]
    #[arg(long, value_name = "REPO")]
    pub(crate) to: Option<String>,
}

/// `pull`.
#[derive(Args, Debug)]
pub(crate) struct Pull {
    /// `host/path:tag`, `host/path@sha256:…`, `oci:DIR:tag` or `REPO/path:tag`
    pub(crate) reference: String,
    /// The directory for the OCI layout
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
}

/// `verify`.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The set [default: what `bundle` made]
    pub(crate) reference: Option<String>,
    /// The policy [default: the manifest's, or /etc/bpfkit/trust.yml for a reference]
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub(crate) trust: Option<PathBuf>,
    /// One public key that must have signed as author
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

/// A set by reference, or the manifest's.
#[derive(Args, Debug)]
pub(crate) struct ReferenceArg {
    /// A set by reference [default: the manifest's]
    pub(crate) reference: Option<String>,
}

/// `plan`.
#[derive(Args, Debug)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) reference: ReferenceArg,
    /// Exit with 3 if there is something to do
    #[arg(long)]
    pub(crate) exit_code: bool,
}

/// `apply`.
#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// A set by reference; with `--last`, its name [default: the manifest's; with `--last`, every set that is kept]
    pub(crate) what: Option<String>,
    /// Put what was live before back, unless `bpfkit confirm` comes within this time (90s, 5m, 1h)
    #[arg(long, value_name = "TIME", value_parser = patience, conflicts_with = "last")]
    pub(crate) confirm: Option<Duration>,
    /// Apply once more what was applied and confirmed last, from what this host keeps; the manifest isn't read
    #[arg(long)]
    pub(crate) last: bool,
    /// Don't so much as try to reach a network
    #[arg(long)]
    pub(crate) offline: bool,
}

/// `confirm`.
#[derive(Args, Debug)]
pub(crate) struct Confirm {
    /// The set's name [default: the manifest's, or the one that waits where there is no manifest]
    pub(crate) name: Option<String>,
}

/// `rollback`.
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// The set's name, the generation's number, or both; a number alone is a generation [default: the
    /// manifest's set, and the generation before the live one]
    #[arg(value_names = ["SET", "GENERATION"], num_args = 0..=2)]
    pub(crate) what: Vec<String>,
}

/// `put-back`.
#[derive(Args, Debug)]
pub(crate) struct PutBack {
    /// The set
    pub(crate) set: String,
    /// The generation that waits
    pub(crate) generation: u64,
}

/// `systemd`.
#[derive(Debug, Subcommand)]
pub(crate) enum Systemd {
    /// Write bpfkit-restore.service, which runs `bpfkit apply --last --offline` before the network is up
    Install(UnitDir),
    /// Remove it
    Remove(UnitDir),
}

/// Where units lie.
#[derive(Args, Debug)]
pub(crate) struct UnitDir {
    /// The folder of units
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    pub(crate) dir: PathBuf,
}

/// Reads how long to wait: seconds, or a number with s, m or h; from a second to a day.
fn patience(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.get(number.len()..).unwrap_or_default()),
        None => (text, "s"),
    };
    let factor = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    // One spelling only: digits.
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = number.parse::<u64>().ok().filter(|_| digits).and_then(|number| number.checked_mul(factor));
    match seconds {
        Some(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("a time is written `90s`, `5m` or `1h`, from one second to one day".to_owned()),
    }
}

/// `status`.
#[derive(Args, Debug)]
pub(crate) struct SetArg {
    /// The set's name [default: the manifest's, or every set where there is no manifest]
    pub(crate) name: Option<String>,
    /// List what can be gone back to
    #[arg(long)]
    pub(crate) generations: bool,
}

/// `remove`.
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The set's name [default: the manifest's]
    pub(crate) name: Option<String>,
}

/// `trust`.
#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Make a key pair: PREFIX.key (encrypted, cosign's format) and PREFIX.pub
    Keygen(Keygen),
}

/// `trust keygen`.
#[derive(Args, Debug)]
pub(crate) struct Keygen {
    /// Where to write the two files
    #[arg(long, value_name = "PREFIX")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseArg,
}

/// `explain`.
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The code, like M012; all of them if left out
    pub(crate) code: Option<String>,
}

/// `schema`.
#[derive(Args, Debug)]
pub(crate) struct Schema {
    /// What to describe
    #[arg(value_enum, default_value_t = SchemaOf::Manifest)]
    pub(crate) of: SchemaOf,
}

/// What `schema` describes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// The manifest
    Manifest,
    /// What commands print with --json
    Output,
}

/// `completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `man`.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Write a page per command into this folder [default: print the main page]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
