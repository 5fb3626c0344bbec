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
    /// The kernels, in the order of the columns: name, and what exactly it was.
    kernels: Vec<[String; 3]>,
    /// The rows, in the order of the trials.
    rows: Vec<Row>,
    /// By row and kernel.
    cells: BTreeMap<(Row, String), String>,
    /// Reasons: which kernels gave it where, by what was said.
    reasons: BTreeMap<String, BTreeSet<(String, String)>>,
}

const HEAD: &str = "\
# What runs on which kernel

Generated from the reports of virtual machines: each of these kernels of Debian's was booted under qemu, and in each
the same static `bpfkit` applied the same signed sets, by reference. Made anew, with whatever versions Debian has by
then, by

    REGENERATE=1 make test-vm

and without `REGENERATE=1` compared with what is written here: a cell that says otherwise fails. `make test-vm
KERNELS=\"6.1 newest\"` does that for some of them. How each promise is tried is in `tests/src/trial`.

";

impl Table {
    /// Adds a kernel's column.
    ///
    /// Trials are held side by side and end in any order; `order` says where each stands.
    pub fn add(&mut self, name: &str, version: &str, report: &Report, order: impl Fn(&Row) -> usize) {
        self.kernels.push([name.to_owned(), version.to_owned(), report.release.clone()]);
        for one in &report.judged {
            let row = [one.place.clone(), one.engine.clone(), one.trial.clone()];
            self.rows.push(row.clone());
            let (cell, reason) = match &one.outcome {
                Outcome::Pass => ("pass".to_owned(), None),
                Outcome::Refused { code, reason } => (format!("refused {code}"), Some(format!("`{code}`: {reason}"))),
                Outcome::Skipped(why) => ("skip".to_owned(), Some(format!("skip: {why}"))),
                Outcome::Failed(_) => ("FAILS".to_owned(), None),
            };
            if let Some(reason) = reason {
                self.reasons.entry(reason).or_default().insert((one.place.clone(), name.to_owned()));
            }
            self.cells.insert((row, name.to_owned()), cell);
        }
        self.rows.sort_by_key(&order);
        self.rows.dedup();
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        let _ = writeln!(page, "| kernel | package | `uname -r` |\n| --- | --- | --- |");
        for [name, version, release] in &self.kernels {
            let _ = writeln!(page, "| {name} | {version} | {release} |");
        }
        let names: Vec<&str> = self.kernels.iter().map(|[name, ..]| name.as_str()).collect();
        let rule = "| --- ".repeat(names.len());
        let _ =
            writeln!(page, "\n## Hooks and engines\n\n| hook | engine | {} |\n| --- | --- {rule}|", names.join(" | "));
        let mut places: Vec<[&String; 2]> = Vec::new();
        for [place, engine, _] in &self.rows {
            if !places.contains(&[place, engine]) {
                places.push([place, engine]);
            }
        }
        for [place, engine] in places {
            let cells: Vec<String> = names.iter().map(|name| self.summary(place, engine, name)).collect();
            let _ = writeln!(page, "| {place} | {engine} | {} |", cells.join(" | "));
        }
        let _ = writeln!(page, "\n## Each promise\n\n| hook | engine | what is tried | {} |", names.join(" | "));
        let _ = writeln!(page, "| --- | --- | --- {rule}|");
        for row in &self.rows {
            let cells: Vec<&str> = names.iter().map(|name| self.cell(row, name)).collect();
            let [place, engine, trial] = row;
            let _ = writeln!(page, "| {place} | {engine} | {trial} | {} |", cells.join(" | "));
        }
        if !self.reasons.is_empty() {
            let _ = writeln!(page, "\n## Why not\n");
        }
        for (reason, where_) in &self.reasons {
            let mut by_place: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (place, kernel) in where_ {
                by_place.entry(place).or_default().push(kernel);
            }
            let places: Vec<String> =
                by_place.iter().map(|(place, on)| format!("{place} on {}", on.join(", "))).collect();
            let _ = writeln!(page, "* {}: {}", places.join("; "), reason.replace('\n', " "));
        }
        page
    }

    /// Reads the cells of a page back.
    pub fn read(page: &str) -> Self {
        let mut table = Self::default();
        let promises = page.split("## Each promise").nth(1).unwrap_or_default();
        let mut lines = promises.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let Some(head) = lines.next() else { return table };
        let names: Vec<&str> = head.split(" | ").skip(3).collect();
        table.kernels = names.iter().map(|name| [(*name).to_owned(), String::new(), String::new()]).collect();
        for line in lines.filter(|line| !line.starts_with("---")) {
            let words: Vec<&str> = line.split(" | ").collect();
            let [place, engine, trial, cells @ ..] = words.as_slice() else { continue };
            let row = [place, engine, trial].map(|word| (*word).to_owned());
            for (name, cell) in names.iter().zip(cells) {
                table.cells.insert((row.clone(), (*name).to_owned()), (*cell).to_owned());
            }
            table.rows.push(row);
        }
        table
    }

    /// What is otherwise than `known`, for the kernels that are here.
    pub fn differences(&self, known: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let rows = self.rows.iter().chain(known.rows.iter().filter(|row| !self.rows.contains(row)));
        for row in rows {
            for [name, ..] in &self.kernels {
                let (was, is) = (known.cell(row, name), self.cell(row, name));
                if was != is {
                    found.push(format!("{} ({}), {}, on {name}: was {was}, is {is}", row[0], row[1], row[2]));
                }
            }
        }
        found
    }

    fn cell(&self, row: &Row, kernel: &str) -> &str {
        self.cells.get(&(row.clone(), kernel.to_owned())).map_or("-", String::as_str)
    }

    /// `pass` where something passes and nothing is refused; the first refusal otherwise.
    fn summary(&self, place: &str, engine: &str, kernel: &str) -> String {
        let rows = self.rows.iter().filter(|row| row[0] == place && row[1] == engine);
        let cells: Vec<&str> =
            rows.map(|row| self.cell(row, kernel)).filter(|cell| *cell != "-" && *cell != "skip").collect();
        let worst = cells.iter().find(|cell| **cell != "pass").or(cells.first());
        worst.map_or("-", |cell| cell).to_owned()
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
        assert_eq!(table.differences(&Table::read(&table.page())), Vec::<String>::new());
        let rows =
            "| tc/ingress | fused | order | pass | pass |\n| tc/ingress | fused | drift | refused A102 | pass |\n";
        assert!(table.page().contains(rows), "{}", table.page());
        assert!(table.page().contains("| tc/ingress | fused | refused A102 | pass |"), "{}", table.page());
        assert!(table.page().contains("* tc/ingress on 6.1: `A102`: no tcx"), "{}", table.page());
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
}
