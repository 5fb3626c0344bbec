//! Output with holes in it: what differs from run to run is no news.
//!
//! Pure. [`tidy`] puts names in the place of digests, times and versions; both
//! what is expected and what was said go through it. In what is expected, `[..]`
//! then stands for anything within a line, and a line `[...]` for any lines.

/// Puts `[DIGEST]`, `[TIME]` and `[CLANG]` where they belong.
pub(crate) fn tidy(text: &str) -> String {
    text.split_inclusive('\n').map(|line| clang(&times(&hints(&digests(line))))).collect()
}

/// `sha256:` and at least as many digits as a shortened digest has.
fn digests(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("sha256:") {
        let end = after.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(after.len());
        let (hex, after) = after.split_at(end);
        out.push_str(before);
        if hex.len() >= 12 {
            out.push_str("[DIGEST]");
        } else {
            out.extend(["sha256:", hex]);
        }
        rest = after;
    }
    out + rest
}

/// A key's hint: 32 bytes in base64, between backticks.
fn hints(line: &str) -> String {
    let is_hint = |part: &&str| part.len() == 44 && part.ends_with('=') && !part.contains(' ');
    let parts: Vec<_> = line.split('`').map(|part| if is_hint(&part) { "[KEY]" } else { part }).collect();
    parts.join("`")
}

/// ` in 2.7 s`.
fn times(line: &str) -> String {
    let Some((before, after)) = line.rsplit_once(" in ") else { return line.to_owned() };
    let number = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(0);
    let (number, unit) = after.split_at(number);
    let unit = unit.strip_prefix(" ms").or_else(|| unit.strip_prefix(" s"));
    match unit {
        Some(rest) if !number.is_empty() && rest.trim_end_matches('\n').is_empty() => {
            format!("{before} in [TIME]{rest}")
        }
        _ => line.to_owned(),
    }
}

/// `Debian clang version 19.1.7 (3~deb12u1)`.
fn clang(line: &str) -> String {
    let Some(at) = line.find("clang version ") else { return line.to_owned() };
    let (before, after) = line.split_at(at);
    let before = before.strip_suffix("Debian ").unwrap_or(before);
    let end = after.find(" in [").or_else(|| after.find('\n')).unwrap_or(after.len());
    format!("{before}[CLANG]{}", after.get(end..).unwrap_or_default())
}

/// Whether what was said is what was expected, both tidied.
pub(crate) fn matches(expected: &str, said: &str) -> bool {
    let expected: Vec<_> = expected.lines().map(str::trim_end).collect();
    let said: Vec<_> = said.lines().map(str::trim_end).collect();
    lines(&expected, &said)
}

fn lines(expected: &[&str], said: &[&str]) -> bool {
    match (expected, said) {
        ([], []) => true,
        (["[...]", rest @ ..], _) => {
            (0..=said.len()).any(|skip| said.get(skip..).is_some_and(|said| lines(rest, said)))
        }
        ([first, expected @ ..], [line, said @ ..]) => within(first, line) && lines(expected, said),
        _ => false,
    }
}

fn within(expected: &str, line: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected == line,
        Some((before, expected)) => line.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| within(expected, rest.get(at..).unwrap_or_default()))
        }),
    }
}

#[test]
fn holes_take_what_differs_and_nothing_else() {
    let digest = format!("oci:dist@sha256:{}\n", "ab".repeat(32));
    assert_eq!(tidy(&digest), "oci:dist@[DIGEST]\n");
    assert_eq!(
        tidy("built 3 of 3 with Debian clang version 19.1.7 (3~deb12u1) in 2.7 s\n"),
        "built 3 of 3 with [CLANG] in [TIME]\n"
    );
    assert_eq!(tidy("lives in 3 seasons\n"), "lives in 3 seasons\n");
    assert_eq!(tidy("`host/path@sha256:…` and sha256:12\n"), "`host/path@sha256:…` and sha256:12\n");
    assert!(matches("a\n[...]\nd\n", "a\nb\nc\nd\n"));
    assert!(matches("a\n[...]\n", "a\n"));
    assert!(matches("for linux/[..], or so", "for linux/amd64, or so\n"));
    assert!(!matches("a\n[...]\nd\n", "a\nb\n"));
    assert!(!matches("a [..]b", "a c"));
    assert!(!matches("a", "a\nb"));
}
