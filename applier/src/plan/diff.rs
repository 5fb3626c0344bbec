//! Compares a chain that is live with one that is wanted, program by program.
//!
//! Pure. What stays in order is a longest common subsequence of the names, so a
//! program put in the middle is one line and moves nothing else.

use std::collections::{BTreeMap, BTreeSet};

use bpfkit_schemas::{hook::Hook, names::ProgramName};

use super::{ChainLine, Mark, Note};
use crate::record::RecordedProgram;

/// The lines of a chain that isn't there yet: every program is added, and there is nothing to say about it.
pub(super) fn all_new(programs: &[RecordedProgram]) -> Vec<ChainLine> {
    lines(programs, Mark::Added)
}

/// The lines of a chain that goes.
pub(super) fn all_gone(programs: &[RecordedProgram]) -> Vec<ChainLine> {
    lines(programs, Mark::Removed)
}

fn lines(programs: &[RecordedProgram], mark: Mark) -> Vec<ChainLine> {
    programs
        .iter()
        .map(|program| ChainLine { program: program.name.clone(), mark, notes: Vec::new(), form: None })
        .collect()
}

/// The lines that turn `old` into `new`: the new chain in order, with what goes shown where it was.
pub(super) fn diff(hook: Hook, old: &[RecordedProgram], new: &[RecordedProgram]) -> Vec<ChainLine> {
    let (old_keys, new_keys) = (occurrences(old), occurrences(new));
    let stays = common(&old_keys, &new_keys);
    let olds: BTreeMap<_, _> =
        old_keys.iter().zip(old).enumerate().map(|(at, (key, program))| (*key, (at, program))).collect();
    let news: BTreeSet<_> = new_keys.iter().copied().collect();

    let mut gone = old_keys.iter().zip(old).peekable();
    let mut lines = Vec::with_capacity(new.len());
    for (at, (key, program)) in new_keys.iter().zip(new).enumerate() {
        // What goes is shown where it stood: after the program that stays before it, and before what is new there.
        while let Some((old_key, old_program)) = gone.next_if(|(old_key, _)| !stays.contains(old_key)) {
            if !news.contains(old_key) {
                lines.push(removed(&old_program.name));
            }
        }
        let Some((was_at, was)) = olds.get(key) else {
            lines.push(ChainLine {
                program: program.name.clone(),
                mark: Mark::Added,
                notes: vec![Note::NewInManifest],
                form: None,
            });
            continue;
        };
        let mut notes = Vec::new();
        if stays.contains(key) {
            gone.next();
        } else {
            notes.push(match at.checked_sub(1).and_then(|before| new.get(before)) {
                Some(before) => Note::MovedAfter(before.name.clone()),
                None => Note::MovedFirst,
            });
        }
        // The last program's verdict stands, whatever it is: only where it is asked in both chains it can differ.
        let asked = at + 1 < new.len() && was_at + 1 < old.len();
        notes.extend(changes(hook, was, program, asked));
        let mark = if notes.is_empty() { Mark::Same } else { Mark::Changed };
        lines.push(ChainLine { program: program.name.clone(), mark, notes, form: None });
    }
    lines.extend(gone.filter(|(key, _)| !news.contains(*key)).map(|(_, program)| removed(&program.name)));
    lines
}

fn removed(program: &ProgramName) -> ChainLine {
    ChainLine { program: program.clone(), mark: Mark::Removed, notes: vec![Note::NoLongerInManifest], form: None }
}

fn changes(hook: Hook, old: &RecordedProgram, new: &RecordedProgram, asked: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    if old.object != new.object {
        notes.push(Note::ObjectChanged { from: old.object.short(), to: new.object.short() });
    }
    if old.entry != new.entry {
        notes.push(Note::EntryChanged { from: old.entry.clone(), to: new.entry.clone() });
    }
    if old.globals != new.globals {
        notes.push(Note::GlobalsChanged);
    }
    if old.maps != new.maps {
        notes.push(Note::MapsChanged);
    }
    if asked && old.proceed_on != new.proceed_on {
        notes.push(Note::ProceedOnChanged { from: old.proceed_on.describe(hook), to: new.proceed_on.describe(hook) });
    }
    notes
}

/// A program's name and how often it came before in the same chain: unlike the name, unique there.
type Key<'a> = (&'a ProgramName, usize);

fn occurrences(programs: &[RecordedProgram]) -> Vec<Key<'_>> {
    let mut seen: BTreeMap<&ProgramName, usize> = BTreeMap::new();
    programs
        .iter()
        .map(|program| {
            let count = seen.entry(&program.name).or_default();
            *count += 1;
            (&program.name, *count)
        })
        .collect()
}

/// A longest common subsequence of two lists without doubles. Quadratic in time and space; a chain has at
/// most a few hundred programs.
fn common<'a>(old: &[Key<'a>], new: &[Key<'a>]) -> BTreeSet<Key<'a>> {
    // `lengths[i][j]`: how much `old[i..]` and `new[j..]` have in common.
    let mut lengths = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    let at =
        |lengths: &[Vec<usize>], i: usize, j: usize| lengths.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let length = if a == b {
                at(&lengths, i + 1, j + 1) + 1
            } else {
                at(&lengths, i + 1, j).max(at(&lengths, i, j + 1))
            };
            if let Some(cell) = lengths.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut stays = BTreeSet::new();
    while let (Some(a), Some(b)) = (old.get(i), new.get(j)) {
        if a == b {
            stays.insert(*a);
            (i, j) = (i + 1, j + 1);
        } else if at(&lengths, i, j + 1) >= at(&lengths, i + 1, j) {
            j += 1;
        } else {
            i += 1;
        }
    }
    stays
}
