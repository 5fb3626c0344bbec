//! What a virtual machine reports, line by line, and how it is read back.
//!
//! Pure. Each line begins with the nonce that this boot was given, so that nothing
//! else on the line (a kernel's message, an earlier boot's file) is taken for one. The first names the kernel, the
//! last counts the results; without either, or with another count, the report is not whole.

use serde_json::{Value, json};

use crate::trial::Stop;

/// How one trial ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// The first `apply` was refused, coded, and the host was left as it was.
    Refused {
        /// The error's code.
        code: String,
        /// What it said.
        reason: String,
    },
    /// The kernel lacks what the trial, not `bpfkit`, needs.
    Skipped(String),
    /// It doesn't hold; what the assertion said.
    Failed(String),
}

impl From<Result<(), Stop>> for Outcome {
    fn from(ended: Result<(), Stop>) -> Self {
        match ended {
            Ok(()) => Self::Pass,
            Err(Stop::Refused { code, reason }) => Self::Refused { code, reason },
            Err(Stop::Skipped(why)) => Self::Skipped(why),
        }
    }
}

/// One trial at one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judged {
    /// The place's name.
    pub place: String,
    /// The engine's.
    pub engine: String,
    /// The trial's.
    pub trial: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took in there; for whoever wonders where the time goes.
    pub milliseconds: u64,
}

/// A whole report.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// `uname -r`.
    pub release: String,
    /// The results, in the order in which they came.
    pub judged: Vec<Judged>,
}

/// Why a report can't be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Torn {
    /// No line names the kernel: it never got so far.
    NotBegun,
    /// The last line is missing; after this many results.
    NotEnded(usize),
    /// A line with the right nonce that isn't one of ours.
    Garbled(String),
    /// The last line counts otherwise.
    Miscounted {
        /// How many there are.
        seen: usize,
        /// How many it says.
        said: u64,
    },
}

impl std::fmt::Display for Torn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBegun => write!(f, "it never reported"),
            Self::NotEnded(seen) => write!(f, "its report stops after {seen} results"),
            Self::Garbled(line) => write!(f, "its report has a garbled line: {line}"),
            Self::Miscounted { seen, said } => write!(f, "its report has {seen} results and says {said}"),
        }
    }
}

/// The line that begins a report.
pub fn begin(nonce: &str, release: &str) -> String {
    line(nonce, &json!({"kernel": release}))
}

/// The line of one result.
pub fn judged(nonce: &str, one: &Judged) -> String {
    let (outcome, code, text) = match &one.outcome {
        Outcome::Pass => ("pass", "", ""),
        Outcome::Refused { code, reason } => ("refused", code.as_str(), reason.as_str()),
        Outcome::Skipped(why) => ("skipped", "", why.as_str()),
        Outcome::Failed(text) => ("failed", "", text.as_str()),
    };
    let Judged { place, engine, trial, milliseconds, .. } = one;
    let value = json!({
        "place": place, "engine": engine, "trial": trial, "outcome": outcome, "code": code, "text": text,
        "milliseconds": milliseconds,
    });
    line(nonce, &value)
}

/// The line that ends a report of `count` results.
pub fn end(nonce: &str, count: usize) -> String {
    line(nonce, &json!({"end": count}))
}

fn line(nonce: &str, value: &Value) -> String {
    // A newline of its own before it, lest somebody's half line be in the way.
    format!("\n{nonce} {value}\n")
}

/// Reads a report back.
pub fn read(text: &str, nonce: &str) -> Result<Report, Torn> {
    let mut report = Report::default();
    for line in text.lines() {
        let Some(line) = line.strip_prefix(nonce).and_then(|rest| rest.strip_prefix(' ')) else { continue };
        let garbled = || Torn::Garbled(line.chars().take(200).collect());
        let value: Value = serde_json::from_str(line).map_err(|_| garbled())?;
        if let Some(release) = value.get("kernel").and_then(Value::as_str) {
            release.clone_into(&mut report.release);
        } else if let Some(said) = value.get("end").and_then(Value::as_u64) {
            let seen = report.judged.len();
            return match (report.release.is_empty(), u64::try_from(seen) == Ok(said)) {
                (true, _) => Err(Torn::NotBegun),
                (false, true) => Ok(report),
                (false, false) => Err(Torn::Miscounted { seen, said }),
            };
        } else {
            report.judged.push(one(&value).ok_or_else(garbled)?);
        }
    }
    if report.release.is_empty() { Err(Torn::NotBegun) } else { Err(Torn::NotEnded(report.judged.len())) }
}

fn one(value: &Value) -> Option<Judged> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let outcome = match value.get("outcome")?.as_str()? {
        "pass" => Outcome::Pass,
        "refused" => Outcome::Refused { code: text("code")?, reason: text("text")? },
        "skipped" => Outcome::Skipped(text("text")?),
        "failed" => Outcome::Failed(text("text")?),
        _ => return None,
    };
    Some(Judged {
        place: text("place")?,
        engine: text("engine")?,
        trial: text("trial")?,
        outcome,
        milliseconds: value.get("milliseconds")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        let one = |trial: &str, outcome| Judged {
            place: "xdp, native".to_owned(),
            engine: "fused".to_owned(),
            trial: trial.to_owned(),
            outcome,
            milliseconds: 7,
        };
        let refused = Outcome::Refused { code: "A102".to_owned(), reason: "no tcx".to_owned() };
        let judged = vec![
            one("order", Outcome::Pass),
            one("change", refused),
            one("peer", Outcome::Skipped("EPERM".to_owned())),
            one("drift", Outcome::Failed("two\nlines".to_owned())),
        ];
        Report { release: "6.1.0".to_owned(), judged }
    }

    fn written(report: &Report, nonce: &str) -> String {
        let lines: Vec<_> = report.judged.iter().map(|one| judged(nonce, one)).collect();
        format!("{}{}{}", begin(nonce, &report.release), lines.concat(), end(nonce, report.judged.len()))
    }

    #[test]
    fn what_is_reported_is_read_back_among_other_lines() {
        let text = format!("[    1.0] booting\n{}[   99.0] reboot: Power down\n", written(&sample(), "n1"));
        assert_eq!(read(&text, "n1"), Ok(sample()));
    }

    #[test]
    fn a_report_that_stops_anywhere_is_torn() {
        let text = written(&sample(), "n1");
        let whole = text.trim_end().len();
        for end in (0..whole).filter(|end| text.is_char_boundary(*end)) {
            assert!(read(&text[..end], "n1").is_err(), "cut at {end}");
        }
        assert_eq!(read(&text[..whole], "n1"), Ok(sample()));
    }

    #[test]
    fn a_report_with_another_nonce_is_none() {
        assert_eq!(read(&written(&sample(), "n1"), "n2"), Err(Torn::NotBegun));
        assert_eq!(read(&written(&sample(), "n11"), "n1"), Err(Torn::NotBegun));
    }

    #[test]
    fn a_report_that_lost_a_result_is_torn() {
        let mut lost = written(&sample(), "n1").lines().map(str::to_owned).collect::<Vec<_>>();
        lost.retain(|line| !line.contains("drift"));
        assert_eq!(read(&lost.join("\n"), "n1"), Err(Torn::Miscounted { seen: 3, said: 4 }));
    }

    #[test]
    fn a_line_that_is_none_of_ours_is_garbled() {
        for line in ["{", "{}", "{\"outcome\":\"maybe\"}"] {
            assert_eq!(read(&format!("n1 {line}"), "n1"), Err(Torn::Garbled(line.to_owned())));
        }
    }
}
