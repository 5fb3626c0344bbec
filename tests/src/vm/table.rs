//! The table of `docs/kernels.md`: what each kernel carries, written from reports and read back to compare.
//!
//! Pure. The page is the expectation: a kernel whose cell says `pass` must pass again. Only the
//! cells count, by the names of their row and column; the words around them and the kernels' versions don't.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::serial::{Outcome, Report};

/// A row: place, engine, trial.
pub type Row = [String; 3];

/// What was found on some kernels.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Table {
    /// The kernels: name, package, `uname -r`.
    kernels: Vec<[String; 3]>,
    /// The rows, in the order of the trials.
    rows: Vec<Row>,
    /// By row and kernel.
    cells: BTreeMap<(Row, String), String>,
    /// Place, kernel, and what was said there instead of a pass.
    reasons: BTreeSet<[String; 3]>,
}

const HEAD: &str = "\
# What runs on which kernel

Generated from the reports of virtual machines: each of these kernels of Debian's was booted under qemu, and in each
the same static `bpfkit` applied the same signed sets, by reference. Made anew, with whatever versions Debian has by
then, by

    REGENERATE=1 make test-vm

and without `REGENERATE=1` compared with what is written here: a cell that says otherwise fails.
`make test-vm KERNELS=\"6.1 newest\"` does either for some of them. How each promise is tried is in `tests/src/trial`.

A tc chain hangs on a tcx link where the kernel has tcx (6.12 and later, here), and on a clsact filter elsewhere. A
`refused` is an error with that code (`bpfkit explain` has the long form), after which the host was what it was
before; a `skip` says what the kernel lacks that the trial, not bpfkit, needs. An emulated CPU measures nothing, so there
are no figures here.

";

impl Table {
    /// Adds a kernel's column.
    ///
    /// Trials are held side by side and end in any order; `order` says where each stands.
    pub fn add(&mut self, name: &str, version: &str, report: &Report, order: impl Fn(&Row) -> usize) {
        self.kernels.push([name, version, &report.release].map(str::to_owned));
        for one in &report.judged {
            let row = [&one.place, &one.engine, &one.trial].map(String::clone);
            let (cell, reason) = match &one.outcome {
                Outcome::Pass => ("pass".to_owned(), None),
                Outcome::Refused { code, reason } => (format!("refused {code}"), Some(format!("{code}: {reason}"))),
                Outcome::Skipped(why) => ("skip".to_owned(), Some(format!("skip: {why}"))),
                Outcome::Failed(_) => ("FAILS".to_owned(), None),
            };
            if let Some(reason) = reason {
                let in_a_cell = reason.replace(['\n', '|'], " ");
                self.reasons.insert([one.place.clone(), name.to_owned(), in_a_cell]);
            }
            self.cells.insert((row.clone(), name.to_owned()), cell);
            self.rows.push(row);
        }
        self.rows.sort_by_key(order);
        self.rows.dedup();
    }

    /// Takes the columns of kernels that aren't here from `known`, for trials that are still held.
    pub fn keep(&mut self, known: Self) {
        let here: Vec<String> = self.kernels.iter().map(|[name, ..]| name.clone()).collect();
        self.kernels.extend(known.kernels.into_iter().filter(|[name, ..]| !here.contains(name)));
        self.reasons.extend(known.reasons.into_iter().filter(|[_, kernel, _]| !here.contains(kernel)));
        let kept = |(row, kernel): &(Row, String)| !here.contains(kernel) && self.rows.contains(row);
        self.cells.extend(known.cells.into_iter().filter(|(at, _)| kept(at)).collect::<Vec<_>>());
        // By series; a name that is none is the newest.
        self.kernels.sort_by_key(|[name, ..]| {
            let series = name.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect::<Vec<_>>();
            (series, name.clone())
        });
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        let _ = writeln!(page, "## {}\n\n| kernel | package | `uname -r` |\n| --- | --- | --- |", Part::KERNELS);
        for kernel in &self.kernels {
            let _ = writeln!(page, "| {} |", kernel.join(" | "));
        }
        let names: Vec<&str> = self.kernels.iter().map(|[name, ..]| name.as_str()).collect();
        let (head, rule) = (names.join(" | "), "| --- ".repeat(names.len()));
        let _ = writeln!(page, "\n## Hooks and engines\n\n| hook | engine | {head} |\n| --- | --- {rule}|");
        let mut places: Vec<[&String; 2]> = self.rows.iter().map(|[place, engine, _]| [place, engine]).collect();
        places.dedup();
        for [place, engine] in places {
            let cells: Vec<&str> = names.iter().map(|name| self.summary(place, engine, name)).collect();
            let _ = writeln!(page, "| {place} | {engine} | {} |", cells.join(" | "));
        }
        let _ = writeln!(page, "\n## {}\n\n| hook | engine | what is tried | {head} |", Part::PROMISES);
        let _ = writeln!(page, "| --- | --- | --- {rule}|");
        for row in &self.rows {
            let cells: Vec<&str> = names.iter().map(|name| self.cell(row, name)).collect();
            let _ = writeln!(page, "| {} | {} |", row.join(" | "), cells.join(" | "));
        }
        if !self.reasons.is_empty() {
            let _ = writeln!(page, "\n## {}\n\n| hook | kernel | reason |\n| --- | --- | --- |", Part::REASONS);
        }
        for reason in &self.reasons {
            let _ = writeln!(page, "| {} |", reason.join(" | "));
        }
        page
    }

    /// Reads a page back.
    pub fn read(page: &str) -> Self {
        let (_, kernels) = Part::read(page, Part::KERNELS);
        let (head, promises) = Part::read(page, Part::PROMISES);
        let (_, reasons) = Part::read(page, Part::REASONS);
        let triple = |words: &Vec<&str>| <[&str; 3]>::try_from(words.get(..3)?).ok().map(|it| it.map(str::to_owned));
        let mut table = Self {
            kernels: kernels.iter().filter_map(triple).collect(),
            rows: promises.iter().filter_map(triple).collect(),
            cells: BTreeMap::new(),
            reasons: reasons.iter().filter_map(triple).collect(),
        };
        for (row, words) in table.rows.iter().zip(&promises) {
            for (name, cell) in head.iter().zip(words).skip(3) {
                table.cells.insert((row.clone(), (*name).to_owned()), (*cell).to_owned());
            }
        }
        table
    }

    /// What is otherwise than `known`, for the kernels that are here.
    pub fn differences(&self, known: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let rows = self.rows.iter().chain(known.rows.iter().filter(|row| !self.rows.contains(row)));
        for row in rows {
            let [place, engine, trial] = row;
            for [name, ..] in &self.kernels {
                let (was, is) = (known.cell(row, name), self.cell(row, name));
                if was != is {
                    found.push(format!("{place} ({engine}), {trial}, on {name}: was {was}, is {is}"));
                }
            }
        }
        found
    }

    fn cell(&self, row: &Row, kernel: &str) -> &str {
        self.cells.get(&(row.clone(), kernel.to_owned())).map_or("-", String::as_str)
    }

    /// `pass` where something passes and nothing is refused; the first refusal otherwise.
    fn summary(&self, place: &str, engine: &str, kernel: &str) -> &str {
        let rows = self.rows.iter().filter(|[at, by, _]| at == place && by == engine);
        let cells: Vec<&str> =
            rows.map(|row| self.cell(row, kernel)).filter(|cell| *cell != "-" && *cell != "skip").collect();
        cells.iter().find(|cell| **cell != "pass").or(cells.first()).map_or("-", |cell| cell)
    }
}

/// The parts of a page that are read back, each a table under its heading.
struct Part;

impl Part {
    const KERNELS: &str = "Kernels";
    const PROMISES: &str = "Each promise";
    const REASONS: &str = "Why not";

    /// A table's head and its rows, as words.
    fn read<'a>(page: &'a str, heading: &str) -> (Vec<&'a str>, Vec<Vec<&'a str>>) {
        let below = page.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_default();
        let below = below.split("\n## ").next().unwrap_or_default();
        let lines = below.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let mut lines = lines.filter(|line| !line.starts_with("---")).map(|line| line.split(" | ").collect());
        (lines.next().unwrap_or_default(), lines.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::serial::Judged;

    fn report(second: Outcome) -> Report {
        let one = |trial: &str, outcome| Judged {
            place: "tc/ingress".to_owned(),
            engine: "fused".to_owned(),
            trial: trial.to_owned(),
            outcome,
            milliseconds: 1,
        };
        Report { release: "6.1.0-56".to_owned(), judged: vec![one("drift", second), one("order", Outcome::Pass)] }
    }

    fn order(row: &Row) -> usize {
        usize::from(row[2] == "drift")
    }

    fn refused() -> Outcome {
        Outcome::Refused { code: "A102".to_owned(), reason: "no tcx".to_owned() }
    }

    fn table(old: Outcome, new: Outcome) -> Table {
        let mut table = Table::default();
        table.add("6.1", "6.1.192-2", &report(old), order);
        table.add("newest", "7.3.4-1", &report(new), order);
        table
    }

    #[test]
    fn a_page_that_is_read_back_says_the_same() {
        let table = table(refused(), Outcome::Pass);
        assert_eq!(Table::read(&table.page()), table);
        let rows =
            "| tc/ingress | fused | order | pass | pass |\n| tc/ingress | fused | drift | refused A102 | pass |\n";
        assert!(table.page().contains(rows), "{}", table.page());
        assert!(table.page().contains("| tc/ingress | fused | refused A102 | pass |"), "{}", table.page());
        assert!(table.page().contains("| tc/ingress | 6.1 | A102: no tcx |"), "{}", table.page());
    }

    #[test]
    fn what_passed_and_is_refused_now_is_a_difference() {
        let known = Table::read(&table(Outcome::Pass, Outcome::Pass).page());
        let found = table(refused(), Outcome::Pass).differences(&known);
        assert_eq!(found, ["tc/ingress (fused), drift, on 6.1: was pass, is refused A102"]);
    }

    #[test]
    fn what_was_refused_and_passes_now_is_one_too() {
        let known = Table::read(&table(refused(), Outcome::Pass).page());
        assert_eq!(table(Outcome::Pass, Outcome::Pass).differences(&known).len(), 1);
    }

    #[test]
    fn a_trial_that_wasnt_held_is_a_difference() {
        let known = Table::read(&table(Outcome::Pass, Outcome::Pass).page());
        let mut fewer = Table::default();
        let mut short = report(Outcome::Pass);
        short.judged.remove(0);
        fewer.add("6.1", "6.1.192-2", &short, order);
        assert_eq!(fewer.differences(&known), ["tc/ingress (fused), drift, on 6.1: was pass, is -"]);
    }

    #[test]
    fn kernels_that_werent_booted_are_not_compared_and_versions_dont_count() {
        let known = Table::read(&table(refused(), Outcome::Pass).page());
        let mut one = Table::default();
        one.add("newest", "7.4.1-1", &report(Outcome::Pass), order);
        assert_eq!(one.differences(&known), Vec::<String>::new());
    }

    #[test]
    fn a_kernel_that_is_tried_again_changes_its_own_column_alone() {
        let known = table(refused(), Outcome::Pass);
        let mut again = Table::default();
        again.add("6.1", "6.1.200-1", &report(Outcome::Pass), order);
        again.keep(Table::read(&known.page()));
        let mut wanted = table(Outcome::Pass, Outcome::Pass);
        wanted.kernels[0][1] = "6.1.200-1".to_owned();
        assert_eq!(again, wanted);
        let mut newest = Table::default();
        newest.add("newest", "7.3.4-1", &report(Outcome::Pass), order);
        newest.keep(known.clone());
        assert_eq!(newest, known, "in the order of the series");
    }

    #[test]
    fn a_page_that_was_cut_or_is_none_reads_as_a_table() {
        let page = table(refused(), Outcome::Pass).page();
        for end in 0..page.len() {
            let _ = Table::read(&page[..end]);
        }
        assert_eq!(Table::read(""), Table::default());
    }
}
