//! Skips that can't lie.
//!
//! A test that needs what a machine may lack (a kernel feature, a right) asks for
//! it here. If the machine is older than the feature, the test is skipped and says
//! so; if it is new enough and still refuses, the test fails, because then either
//! the probe is wrong or we are. The line that a skip prints is read by
//! `tools/skips`, which in CI fails for each one that `tests/skips.toml` doesn't list.

use std::io::Write as _;

/// A kernel's version, as far as features are dated.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// The running kernel's; `None` where `/proc` doesn't say.
    pub fn running() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
    }

    /// Reads `6.18.44-something`.
    pub fn read(release: &str) -> Option<Self> {
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Something that a live test needs of the machine.
pub struct Feature {
    /// What it is called in the message.
    pub name: &'static str,
    /// The first Linux that has it.
    pub since: Version,
    /// Tries it; the error is the machine's own words.
    pub probe: fn() -> Result<(), String>,
}

/// What to do with a live test on this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The feature is there.
    Run,
    /// The kernel is older than the feature; the reason to print.
    Skip(String),
    /// The kernel is new enough and refused: a bug in the probe or in us.
    Broken(String),
}

/// Decides from the probe's answer. Pure.
pub fn decide(feature: &Feature, probed: Result<(), String>, kernel: Version) -> Verdict {
    match probed {
        Ok(()) => Verdict::Run,
        Err(why) if kernel >= feature.since => {
            Verdict::Broken(format!("{} ought to work on Linux {kernel}: {why}", feature.name))
        }
        Err(_) => Verdict::Skip(format!("{} needs Linux {}, this is {kernel}", feature.name, feature.since)),
    }
}

/// Runs `test`, named `name`, if this machine has `feature`.
///
/// # Panics
///
/// If the kernel is new enough and the probe fails all the same.
#[track_caller]
pub fn live(name: &str, feature: &Feature, test: impl FnOnce()) {
    let kernel = Version::running().unwrap_or(Version(0, 0));
    match decide(feature, (feature.probe)(), kernel) {
        Verdict::Run => test(),
        Verdict::Skip(why) => skip(name, &why),
        Verdict::Broken(why) => assert!(why.is_empty(), "{why}"),
    }
}

/// Says that the test `name` is skipped, in the form that `tools/skips` reads.
pub fn skip(name: &str, why: &str) {
    // Not `eprintln!`: the test harness would swallow that of a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIP: {name}: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Feature = Feature { name: "tcx", since: Version(6, 6), probe: || Ok(()) };

    #[test]
    fn a_kernel_that_has_it_runs_the_test() {
        assert_eq!(decide(&NEW, Ok(()), Version(5, 10)), Verdict::Run);
        assert_eq!(decide(&NEW, Ok(()), Version(6, 6)), Verdict::Run);
    }

    #[test]
    fn an_older_kernel_skips_and_says_so() {
        let why = "tcx needs Linux 6.6, this is 6.1".to_owned();
        assert_eq!(decide(&NEW, Err("EINVAL".to_owned()), Version(6, 1)), Verdict::Skip(why));
    }

    #[test]
    fn a_kernel_that_is_new_enough_and_refuses_is_a_failure() {
        let why = "tcx ought to work on Linux 6.18: EPERM".to_owned();
        assert_eq!(decide(&NEW, Err("EPERM".to_owned()), Version(6, 18)), Verdict::Broken(why));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(Version::read("6.18.44-fc\n"), Some(Version(6, 18)));
        assert!(Version::read("6.18") > Version::read("6.9"));
        assert_eq!(Version::read("next"), None);
    }
}
