//! What commands show, for people; machines get the shapes of `bpfkit_schemas::report`.

pub(crate) mod diagnostic;
pub(crate) mod generations;

use std::fmt::Write as _;

/// Escapes control characters but line ends: what others named (a license, a file, an interface)
/// must not talk to the terminal.
pub(crate) fn tame(text: &str) -> String {
    let odd = |c: char| c.is_control() && c != '\n';
    if !text.contains(odd) {
        return text.to_owned();
    }
    text.chars().map(|c| if odd(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Each item on a line of its own.
pub(crate) fn lines(items: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    items.into_iter().fold(String::new(), |mut text, item| {
        let _ = writeln!(text, "{item}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::tame;

    #[test]
    fn a_name_with_an_escape_sequence_is_shown_and_not_obeyed() {
        assert_eq!(tame("GPL\u{1b}[2J\nnext\r"), "GPL\\u{1b}[2J\nnext\\r");
        assert_eq!(tame("plain ü\n"), "plain ü\n");
    }
}
