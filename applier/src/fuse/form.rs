//! How each program of a chain is carried: as the whole, spliced, or called.
//!
//! Pure. Spliced wherever it can be. The kernel gives a call with all that it calls 512 bytes
//! of stack (`check_max_stack_depth`, Linux 6.18) and less than 256 before a function
//! with tail calls; where the frame of the one program with its spliced bodies and the frames of
//! what it calls would be more, the body with the deepest frame is called instead, until it
//! fits. With nothing spliced there is no frame at all.

use std::{collections::BTreeMap, fmt};

use bpfkit_schemas::names::ProgramName;

use super::{
    Component,
    splice::{self, SLOT, STACK},
};

/// How a program is carried in the one program of its chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// It is alone, and the one program is it.
    Whole,
    /// Its body is part of the one program.
    Spliced,
    /// It is a function that the one program calls.
    Called(Why),
    /// The chain never gets to it.
    LeftOut,
}

/// Why a program is called and not spliced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// A tail call in the one program would leave the chain.
    TailCalls,
    /// A load that fails ends the function that it is in.
    PacketLoads,
    /// Its entry is called, or handed to the kernel, by one of its own functions.
    CalledByItself,
    /// It does with its frame's address what can't be followed.
    StackUse,
    /// The stack has no room for its frame in the one program's.
    NoRoom,
    /// Its jumps would be too far.
    TooLong,
    /// It jumps or runs out of its own function.
    Jumps,
    /// It reads a register that it hasn't set.
    Registers,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("the whole program"),
            Self::Spliced => f.write_str("spliced"),
            Self::Called(why) => write!(f, "called: {why}"),
            Self::LeftOut => f.write_str("left out: the chain never gets to it"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TailCalls => "it makes tail calls",
            Self::PacketLoads => "it reads the packet with `LD_ABS` or `LD_IND`",
            Self::CalledByItself => "its own functions call it",
            Self::StackUse => "its use of the stack can't be followed",
            Self::NoRoom => "the stack has no room for it",
            Self::TooLong => "it is too long for 16-bit jumps",
            Self::Jumps => "it jumps out of its function",
            Self::Registers => "it reads registers that it hasn't set",
        })
    }
}

/// What verifier and stack allow before a function with tail calls, in bytes.
const BEFORE_TAIL_CALLS: u32 = 256;

/// Decides for each of the chain's programs; `components` has each once.
pub(super) fn forms(components: &[&Component], is_alone: bool) -> BTreeMap<ProgramName, Form> {
    let named = |form: fn(&Component) -> Form| components.iter().map(|c| (c.name().clone(), form(c))).collect();
    if is_alone {
        return named(|_| Form::Whole);
    }
    let mut forms: BTreeMap<_, _> = named(|c| splice::obstacle(c).map_or(Form::Spliced, Form::Called));
    let frames: Vec<_> = components.iter().map(|component| Frames::of(component)).collect();
    loop {
        let spliced = |component: &Component| forms.get(component.name()) == Some(&Form::Spliced);
        let all = || components.iter().zip(&frames);
        let Some((deepest, _)) = all().filter(|(c, _)| spliced(c)).max_by_key(|(_, frames)| frames.entry) else {
            return forms;
        };
        let main = all().filter(|(c, _)| spliced(c)).map(|(_, frames)| frames.entry).max().unwrap_or_default();
        let main = round(main.saturating_add(u32::from(SLOT.unsigned_abs())));
        let fits = all().all(|(component, frames)| {
            let (below, before) = if spliced(component) {
                (frames.below, frames.before_tail_calls_below)
            } else {
                (round(frames.entry).saturating_add(frames.below), frames.before_tail_calls)
            };
            main.saturating_add(below) <= STACK && before.is_none_or(|before| main + before < BEFORE_TAIL_CALLS)
        });
        if fits {
            return forms;
        }
        forms.insert(deepest.name().clone(), Form::Called(Why::NoRoom));
    }
}

/// The kernel counts frames in steps of 32 bytes where it interprets, of 16 where it compiles (Linux 6.11).
fn round(depth: u32) -> u32 {
    depth.max(1).next_multiple_of(32)
}

/// The frames of a component, in bytes.
struct Frames {
    /// Its entry's, as deep as it shows.
    entry: u32,
    /// Of what the entry calls, along the deepest way.
    below: u32,
    /// Those before a function with tail calls, the entry's among them, if there is such a function.
    before_tail_calls: Option<u32>,
    /// The same without the entry and its frame.
    before_tail_calls_below: Option<u32>,
}

/// What is known of a function and of all that it calls.
#[derive(Clone, Copy, Default)]
struct Below {
    depth: u32,
    before_tail_calls: Option<u32>,
}

impl Frames {
    fn of(component: &Component) -> Self {
        let functions = component.functions();
        let range = |at: usize| {
            let start = functions.get(at).map_or(0, |function| function.start);
            (start, functions.get(at + 1).map_or(component.instructions().len(), |next| next.start))
        };
        let index = |place: usize| functions.partition_point(|function| function.start <= place).saturating_sub(1);
        let mut callees = vec![Vec::new(); functions.len()];
        for (at, to) in component.references() {
            if let Some(list) = callees.get_mut(index(at)) {
                list.push(index(to));
            }
        }
        let mut tail_calls = vec![false; functions.len()];
        for (at, _) in component.code().filter(|(_, insn)| insn.is_tail_call()) {
            if let Some(slot) = tail_calls.get_mut(index(at)) {
                *slot = true;
            }
        }
        let own = |at: usize| {
            let (start, end) = range(at);
            splice::lowest(component, start, end).unwrap_or(STACK)
        };
        // From the callees up, as often as calls can be nested (`MAX_CALL_FRAMES`): a cycle is the verifier's to refuse.
        let own: Vec<_> = (0..functions.len()).map(own).collect();
        let mut below = vec![Below::default(); functions.len()];
        for _ in 0..8 {
            below = callees
                .iter()
                .map(|callees| {
                    callees.iter().fold(Below::default(), |sum, callee| {
                        let frame = round(own.get(*callee).copied().unwrap_or(STACK));
                        let under = below.get(*callee).copied().unwrap_or_default();
                        let before = if tail_calls.get(*callee) == Some(&true) { Some(0) } else { None };
                        let under_tails = under.before_tail_calls.map(|before| before.saturating_add(frame));
                        Below {
                            depth: sum.depth.max(under.depth.saturating_add(frame)),
                            before_tail_calls: sum.before_tail_calls.max(before).max(under_tails),
                        }
                    })
                })
                .collect();
        }
        let entry = own.first().copied().unwrap_or_default();
        let first = below.first().copied().unwrap_or_default();
        let itself = if tail_calls.first() == Some(&true) { Some(0) } else { None };
        Self {
            entry,
            below: first.depth,
            before_tail_calls: itself.max(first.before_tail_calls.map(|before| before.saturating_add(round(entry)))),
            before_tail_calls_below: first.before_tail_calls,
        }
    }
}
