//! A set's generations, for people.

use std::fmt::Write as _;

use bpfkit_schemas::{names::SetName, report::GenerationReport};

/// One line: which generation is live, and whether it waits. Nothing where the set is neither live nor meant to be.
pub(crate) fn summary(set: &SetName, is_attached: bool, kept: &[GenerationReport]) -> String {
    let mut text = match kept.iter().find(|one| one.live) {
        Some(live) => match (live.seconds_left, live.back_to) {
            (None, _) => format!("  generation {}", live.number),
            (Some(0), _) => format!("  generation {}: not confirmed in time", live.number),
            (Some(left), back_to) => {
                let otherwise =
                    back_to.map_or_else(|| "its chains are taken off".to_owned(), |back| format!("{back} is put back"));
                format!(
                    "  generation {}: `bpfkit confirm {set}` within {left} s keeps it, else {otherwise}",
                    live.number
                )
            }
        },
        None if is_attached => "  generation unknown: the last run was cut off, or could not be kept".to_owned(),
        None if kept.iter().any(|one| one.state == "confirmed") => {
            format!("  kept, but not live: `bpfkit apply --last {set}` brings it back")
        }
        None => return String::new(),
    };
    text.push('\n');
    text
}

/// All of them, the newest first.
pub(crate) fn list(kept: &[GenerationReport]) -> String {
    let mut text = String::from(if kept.is_empty() { "  nothing is kept\n" } else { "  kept\n" });
    for one in kept {
        let state = match (one.live, one.state.as_str()) {
            (true, "confirmed") => "live",
            (true, "pending") => "live, not confirmed",
            (_, "put_back") => "put back",
            (_, other) => other,
        };
        let of = one.of.map(|of| format!(", {of} again")).unwrap_or_default();
        let _ = write!(text, "    {:<4} {state}{of}", one.number);
        if let (Some(made), Some(version), Some(reference)) = (&one.made, &one.applied, &one.reference) {
            // Seconds are enough for people.
            let made = made.split('.').next().unwrap_or(made).trim_end_matches('Z');
            let _ = write!(text, "  {made}Z  {version}  {reference}");
        }
        text.push('\n');
    }
    text
}
