//! What matters of a verifier's log.
//!
//! Pure. A log may have a hundred thousand lines of which one says why. Here are the
//! rules by which that one, the instruction that it is about, and the few lines
//! before it are found; `cilium/ebpf`'s `internal/errors.go` has the same idea.
//! Statistics come last in a log and say nothing; a line that names a register or a
//! reason comes just before them; instructions have the form `12: (85) call …`.

/// The part of a log that is shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Summary {
    /// The verifier's reason, as it said it.
    pub(super) reason: String,
    /// The instruction that it was looking at, then those before it, latest first; a few.
    pub(super) instructions: Vec<usize>,
    /// The lines before the reason, in their order.
    pub(super) excerpt: Vec<String>,
    /// How many lines are in neither.
    pub(super) omitted: usize,
}

/// The instructions that are kept: enough to get from a chain's glue back into the program that it called.
const INSTRUCTIONS: usize = 64;
/// The lines before the reason that are kept.
const EXCERPT: usize = 5;
/// Longer lines (register dumps) are cut; in characters.
const LINE: usize = 160;
/// How lines begin that come after the reason and are none.
const STATISTICS: [&str; 8] = [
    "processed ",
    "verification time ",
    "stack depth ",
    "peak_states",
    "insns processed",
    "max_states_per_insn",
    "arg#",
    "mark_read",
];
/// The parts of a log that are the verifier thinking aloud.
const ASIDES: [&str; 11] = [
    "mark_precise:",
    "from ",
    "caller:",
    "callee:",
    "returning from callee:",
    "to caller at ",
    "Live regs before insn:",
    "func#",
    "(0) ",
    "cur state:",
    "old state:",
];

/// How Linux 7.3 and later begin a second telling of the same, after the reason: headings, source, advice.
const REPORT: &str = "Verification failed: ";

/// Finds what matters in `log`.
pub(super) fn summarise(log: &str) -> Summary {
    let all: Vec<&str> = log.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    let told = all.iter().rposition(|line| line.starts_with(REPORT)).unwrap_or(all.len());
    // A log that is nothing but such a report is taken as it is.
    let lines = if told == 0 { all.as_slice() } else { all.get(..told).unwrap_or_default() };
    let said = lines.iter().rposition(|line| !is_statistics(line));
    let Some(at) = said else {
        return Summary { omitted: all.len(), ..Summary::default() };
    };
    // Reasons may have a second line of numbers; the reason is the last line that isn't an instruction or an aside.
    let at = lines.iter().take(at + 1).rposition(|line| is_reason(line)).unwrap_or(at);
    let before = lines.get(..at).unwrap_or_default();
    let seen = before.iter().rev().filter_map(|line| instruction(line)).take(INSTRUCTIONS);
    let mut instructions: Vec<_> = seen.collect();
    if instructions.is_empty() {
        instructions.extend(named(lines.get(at).copied().unwrap_or_default()));
    }
    let steps: Vec<_> = before.iter().filter(|line| !is_aside(line)).collect();
    let excerpt: Vec<_> = steps.iter().skip(steps.len().saturating_sub(EXCERPT)).map(|line| cut(line)).collect();
    Summary {
        reason: cut(lines.get(at).copied().unwrap_or_default()),
        instructions,
        omitted: all.len() - 1 - excerpt.len(),
        excerpt,
    }
}

fn is_statistics(line: &str) -> bool {
    STATISTICS.iter().any(|start| line.starts_with(start))
}

fn is_aside(line: &str) -> bool {
    ASIDES.iter().any(|start| line.trim_start().starts_with(start)) || is_liveness(line)
}

fn is_reason(line: &str) -> bool {
    !is_statistics(line) && !is_aside(line) && instruction(line).is_none() && !is_state(line) && !line.starts_with(';')
}

/// Whether the line is a dump of registers: `12: R1=ctx(off=0,imm=0) R10=fp0`, ` R6_w=…`.
fn is_state(line: &str) -> bool {
    let rest = line.split_once(": ").filter(|(n, _)| n.parse::<usize>().is_ok()).map_or(line, |(_, rest)| rest);
    let first = rest.split_whitespace().next().unwrap_or_default();
    let Some((register, _)) = first.split_once('=') else { return false };
    let register = register.split('_').next().unwrap_or_default();
    register.strip_prefix('R').is_some_and(|n| n.parse::<u8>().is_ok()) || register.starts_with("fp")
}

/// Whether the line is of the table of live registers: `   3: .1........ (bf) r3 = r1`.
fn is_liveness(line: &str) -> bool {
    line.split_once(": ").and_then(|(_, rest)| rest.split_once(' ')).is_some_and(|(registers, _)| {
        registers.len() == 10 && registers.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
    })
}

/// The index of the instruction that a line shows: `12: (85) call bpf_map_lookup_elem#1`.
fn instruction(line: &str) -> Option<usize> {
    let (index, rest) = line.split_once(": (")?;
    let (opcode, _) = rest.split_once(')')?;
    u8::from_str_radix(opcode, 16).ok()?;
    index.parse().ok()
}

/// The instruction that a reason names itself: `unreachable insn 7`, `last insn is not an exit`.
fn named(reason: &str) -> Option<usize> {
    let (_, rest) = reason.split_once(" insn ")?;
    rest.split_whitespace().next()?.parse().ok()
}

fn cut(line: &str) -> String {
    if line.chars().count() <= LINE {
        return line.to_owned();
    }
    line.chars().take(LINE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_that_newer_kernels_add_is_not_taken_for_the_reason() {
        let summary = summarise(include_str!("verifier/report.log"));
        assert_eq!(summary.reason, "R1 min value is outside of the allowed memory range");
        assert_eq!(summary.instructions.first(), Some(&50));
        assert!(summary.excerpt.iter().any(|line| line.starts_with("invalid access to packet")), "{summary:?}");
        assert_eq!(summarise("Verification failed: all of it\n").reason, "Verification failed: all of it");
    }

    #[test]
    fn a_missing_return_value_is_found() {
        let summary = summarise(include_str!("verifier/no_return_value.log"));
        assert_eq!((summary.reason.as_str(), summary.instructions.first().copied()), ("R0 !read_ok", Some(0)));
    }

    #[test]
    fn a_missing_bounds_check_is_found_below_its_registers() {
        let summary = summarise(include_str!("verifier/no_bounds_check.log"));
        assert_eq!(summary.reason, "R1 offset is outside of the packet");
        assert_eq!(summary.instructions.first().copied(), Some(5));
        assert!(summary.excerpt.iter().any(|line| line.starts_with("5: (71)")), "{:?}", summary.excerpt);
    }

    #[test]
    fn a_missing_null_check_is_found() {
        let summary = summarise(include_str!("verifier/no_null_check.log"));
        assert_eq!(summary.reason, "R0 invalid mem access 'map_value_or_null'");
        assert_eq!(summary.instructions.first().copied(), Some(7));
    }

    #[test]
    fn dead_code_is_found_by_the_number_in_the_reason() {
        let summary = summarise(include_str!("verifier/unreachable.log"));
        assert_eq!((summary.reason.as_str(), summary.instructions.first().copied()), ("unreachable insn 2", Some(2)));
    }

    #[test]
    fn an_endless_loop_is_found_among_thousands_of_lines() {
        let summary = summarise(include_str!("verifier/endless.log"));
        assert!(summary.reason.contains("infinite loop detected"), "{}", summary.reason);
        assert!(summary.excerpt.len() <= EXCERPT);
    }

    #[test]
    fn nothing_and_nonsense_are_no_panic() {
        assert_eq!(summarise(""), Summary::default());
        assert_eq!(summarise("processed 1 insns\n").reason, "");
        for log in [": (", "1: (", "1: (zz)", "R=", "R1_=", "99999999999999999999: (85) x", "é: (85)", " insn "] {
            let _ = summarise(log);
        }
    }
}
