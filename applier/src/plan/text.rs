//! A plan as people read it: aligned, in ASCII, one fact a line.
//!
//! `+` comes, `-` goes, `~` changes, `!` loses something. The words after a hook say
//! what is done there and why; those beside a program say why it has its mark.

use std::fmt::{self, Display};

use super::{
    Because, ChainLine, Cleanup, HookPlan, HookStep, MapBecause, MapPlan, MapSource, Mark, Note, PinChange, Plan,
    Purpose, Warning, describe,
    hooks::{label, long_label},
};
use crate::fuse::Form;

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {}", self.set)?;
        let unchanged = match self.unchanged {
            1 => "1 hook as declared".to_owned(),
            n => format!("{n} hooks as declared"),
        };
        match (self.is_empty(), self.purpose) {
            (true, Purpose::Apply) => writeln!(f, ": nothing to do, {unchanged}")?,
            (true, Purpose::Remove) => writeln!(f, ": nothing to remove")?,
            (false, Purpose::Apply) => writeln!(f)?,
            (false, Purpose::Remove) => writeln!(f, ": remove")?,
        }
        if !self.is_empty() {
            for ground in &self.grounds {
                writeln!(f, "  trusted: {ground}")?;
            }
        }
        for hook in &self.hooks {
            write!(f, "{hook}")?;
        }
        self.write_maps(f)?;
        let sweeps: Vec<_> = self
            .cleanup
            .iter()
            .filter_map(|cleanup| match cleanup {
                Cleanup::Sweep(litter) => {
                    Some(("-", litter.path.display().to_string().escape_default().to_string(), litter.what.clone()))
                }
                Cleanup::UnpinMap { .. } => None,
            })
            .collect();
        section(f, "leftovers", &sweeps)?;
        if self.unchanged > 0 && !self.is_empty() {
            writeln!(f, "  {unchanged}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        Ok(())
    }
}

impl Plan {
    fn write_maps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stale = self.cleanup.iter().filter_map(|cleanup| match cleanup {
            Cleanup::UnpinMap { key, .. } => {
                let why = match self.purpose {
                    Purpose::Apply => "unpin, no program needs it any more; its contents are lost",
                    Purpose::Remove => "unpin; its contents are lost",
                };
                Some(("-", key.to_string(), why.to_owned()))
            }
            Cleanup::Sweep(_) => None,
        });
        let rows: Vec<_> = self.maps.iter().filter_map(MapPlan::row).chain(stale).collect();
        section(f, "maps", &rows)
    }
}

/// Writes rows of a mark, a name and some words, the words in one column.
fn section(f: &mut fmt::Formatter<'_>, title: &str, rows: &[(&str, String, String)]) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {title}")?;
    write_rows(f, rows)
}

fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[(&str, String, String)]) -> fmt::Result {
    let width = rows.iter().filter(|(_, _, words)| !words.is_empty()).map(|(_, name, _)| name.len()).max().unwrap_or(0);
    for (mark, name, words) in rows {
        let line = format!("    {mark} {name:width$}  {words}");
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

impl MapPlan {
    /// The line for this map; none where nothing happens to it.
    fn row(&self) -> Option<(&'static str, String, String)> {
        let (mark, words) = match (&self.because, self.pin, self.source) {
            (MapBecause::InUse, PinChange::Keep, _) => return None,
            (MapBecause::DataChanged { .. }, _, _) => {
                ("!", "recreate, its variables or their initial values changed; its values are lost".to_owned())
            }
            (_, _, MapSource::Create) => ("+", format!("create, {}", self.shape)),
            (MapBecause::PinIsAnother, _, MapSource::Reuse(_)) => {
                ("~", "move the pin to the map that the chains use".to_owned())
            }
            (_, _, MapSource::Reuse(_)) => ("~", "pin again, its pin is gone".to_owned()),
        };
        Some((mark, self.key.to_string(), words))
    }
}

impl Display for HookPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because: Vec<_> = self.because.iter().map(|because| because.words(&self.lines)).collect();
        writeln!(
            f,
            "  {}: {}, {}",
            long_label(self.point.hook, &self.interface, self.mode, self.attach),
            self.verb(),
            because.join(", ")
        )?;
        // That all are spliced is what is expected.
        let is_mixed = self.lines.iter().any(|line| line.form.is_some_and(|form| form != Form::Spliced));
        let rows: Vec<_> = self.lines.iter().map(|line| line.row(is_mixed)).collect();
        write_rows(f, &rows)?;
        if self.loads().is_some() && !self.others.is_empty() {
            let others: Vec<_> = self.others.iter().map(describe).collect();
            writeln!(f, "      beside {}", others.join(", "))?;
        }
        Ok(())
    }
}

impl HookPlan {
    /// What is done at this hook, in one word or two.
    pub fn verb(&self) -> &'static str {
        let has = |wanted: fn(&HookStep) -> bool| self.steps.iter().any(wanted);
        let drops = has(|step| matches!(step, HookStep::Drop { .. }));
        if has(|step| matches!(step, HookStep::Attach { .. })) {
            if has(|step| matches!(step, HookStep::Detach { .. })) {
                return "move";
            }
            if drops || self.because.iter().any(|because| matches!(because, Because::LinkGone | Because::FilterGone)) {
                "attach again"
            } else {
                "attach"
            }
        } else if has(|step| matches!(step, HookStep::Replace { .. })) {
            "replace"
        } else if has(|step| matches!(step, HookStep::Detach { .. })) {
            "detach"
        } else if drops {
            "unpin"
        } else {
            "pin again"
        }
    }
}

impl Because {
    /// The reason in words; `lines` is the chain that it is about.
    pub fn words(&self, lines: &[ChainLine]) -> String {
        match self {
            Self::NotAttachedYet => "not attached yet".to_owned(),
            Self::ChainDiffers => count(lines),
            Self::KernelChanged => "it was made for another kernel".to_owned(),
            Self::GlueChanged => "it was made by another bpfkit".to_owned(),
            Self::RecordUnreadable(why) => format!("its record can't be read ({})", why.escape_default()),
            Self::UsesAnotherMap(key) => format!("it uses another map than `{key}`"),
            Self::DetachedBySomebody => "somebody detached it".to_owned(),
            Self::PinGone => "its pin is gone".to_owned(),
            Self::LinkGone => "its link is gone: somebody removed it".to_owned(),
            Self::FilterGone => "its filter is gone: somebody removed or replaced it".to_owned(),
            Self::AttachedBy { live, wanted } => format!(
                "attached by {live}, wanted by {wanted}: attached anew before it is detached, so that a packet in between may meet both, and none meets neither"
            ),
            Self::AttachedTwice => "attached by both tcx and clsact: one goes".to_owned(),
            Self::NoLongerInManifest => "no longer in the manifest".to_owned(),
            Self::CgroupGone => "its cgroup is gone".to_owned(),
            Self::InterfaceGone => "its interface is gone".to_owned(),
            Self::SetRemoved => "the set is removed".to_owned(),
        }
    }
}

/// `1 added, 2 moved`: what the lines of a chain that differs amount to.
fn count(lines: &[ChainLine]) -> String {
    let marked = |mark: Mark| lines.iter().filter(move |line| line.mark == mark);
    let is_move = |note: &Note| matches!(note, Note::MovedAfter(_) | Note::MovedFirst);
    let moved = marked(Mark::Changed).filter(|line| line.notes.iter().any(is_move)).count();
    let changed = marked(Mark::Changed).filter(|line| !line.notes.iter().all(is_move)).count();
    let parts: Vec<_> = [
        (marked(Mark::Added).count(), "added"),
        (marked(Mark::Removed).count(), "removed"),
        (moved, "moved"),
        (changed, "changed"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if parts.is_empty() { "something about it changed".to_owned() } else { parts.join(", ") }
}

impl ChainLine {
    /// Mark, name and words; with how it is carried, where that `is_told`.
    fn row(&self, is_told: bool) -> (&'static str, String, String) {
        let form = self.form.filter(|_| is_told).map(|form| form.to_string());
        let notes: Vec<_> = self.notes.iter().map(ToString::to_string).chain(form).collect();
        (self.mark.as_str(), self.program.to_string(), notes.join(", "))
    }
}

impl Mark {
    /// The character before a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => " ",
            Self::Added => "+",
            Self::Removed => "-",
            Self::Changed => "~",
        }
    }
}

impl Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewInManifest => f.write_str("new in the manifest"),
            Self::NoLongerInManifest => f.write_str("no longer in the manifest"),
            Self::MovedAfter(program) => write!(f, "moved after `{program}`"),
            Self::MovedFirst => f.write_str("moved to the front"),
            Self::ObjectChanged { from, to } => write!(f, "object changed {from} -> {to}"),
            Self::EntryChanged { from, to } => {
                write!(f, "entry changed `{}` -> `{}`", from.escape_default(), to.escape_default())
            }
            Self::GlobalsChanged => f.write_str("globals changed"),
            Self::MapsChanged => f.write_str("maps changed"),
            Self::ProceedOnChanged { from, to } => write!(f, "proceed_on changed [{from}] -> [{to}]"),
        }
    }
}

impl Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(waiting) if waiting.hook.is_cgroup() => {
                let path = waiting.pattern.escape_default();
                write!(f, "there is no cgroup `{path}`; the {} chain waits for it", waiting.hook)
            }
            Self::Waiting(waiting) => {
                write!(f, "no interface matches `{}`", waiting.pattern.escape_default())?;
                if let Some(netns) = &waiting.netns {
                    write!(f, " in {}", netns.display().to_string().escape_default())?;
                }
                write!(f, "; the {} chain waits for one", waiting.hook)
            }
            Self::RunsAfterOthers { hook, interface, before } => {
                let before: Vec<_> = before.iter().map(describe).collect();
                write!(f, "{} runs after {}", label(*hook, interface), before.join(", "))
            }
        }
    }
}
