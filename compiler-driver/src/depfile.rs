//! Dependency files in make's syntax: reads clang's, writes ours. Pure.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The prerequisites in a file that `clang -MD` wrote.
///
/// clang escapes a space as `\ `, `#` as `\#` and `$` as `$$`, and continues lines
/// with a backslash (`clang/lib/Frontend/DependencyFile.cpp`, `PrintFilename`).
pub(crate) fn parse(text: &str) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut chars = text.split_once(": ").map_or("", |(_, after)| after).chars().peekable();
    let mut finish = |name: &mut String| {
        if !name.is_empty() {
            names.push(PathBuf::from(std::mem::take(name)));
        }
    };
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('\n')) => {
                chars.next();
                finish(&mut name);
            }
            ('\\', Some(&next @ (' ' | '#'))) => {
                chars.next();
                name.push(next);
            }
            ('$', Some('$')) => {
                chars.next();
                name.push('$');
            }
            (' ' | '\t' | '\r', _) => finish(&mut name),
            // The rule ends; phony rules may follow.
            ('\n', _) => break,
            (c, _) => name.push(c),
        }
    }
    finish(&mut name);
    names
}

/// A rule for `output`, and an empty rule for each prerequisite, so that one that
/// is deleted makes a rebuild and not an error (as `-MP`).
pub(crate) fn render(output: &Path, inputs: &[PathBuf]) -> String {
    let mut text = format!("{}:", escape(output));
    for input in inputs {
        let _ = write!(text, " \\\n  {}", escape(input));
    }
    text.push('\n');
    for input in inputs {
        let _ = write!(text, "\n{}:\n", escape(input));
    }
    text
}

fn escape(path: &Path) -> String {
    let mut out = String::new();
    for c in path.to_string_lossy().chars() {
        match c {
            ' ' | '#' => out.extend(['\\', c]),
            '$' => out.push_str("$$"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clang_writes_is_read() {
        let text = "out.o: src/a\\ b.c \\\n  /usr/include/x\\#y.h \\\n  dollar$$.h\n\nsrc/z.h:\n";
        assert_eq!(parse(text), ["src/a b.c", "/usr/include/x#y.h", "dollar$.h"].map(PathBuf::from));
        assert!(parse("").is_empty());
        assert!(parse("no rule").is_empty());
    }

    #[test]
    fn what_we_write_reads_back() {
        let inputs = ["src/a b.c", "x#y.h", "d$.h"].map(PathBuf::from);
        let text = render(Path::new("out dir/a.o"), &inputs);
        assert!(text.starts_with("out\\ dir/a.o: \\\n  src/a\\ b.c \\\n"), "{text}");
        assert!(text.ends_with("\nd$$.h:\n"));
        assert_eq!(parse(&text), inputs);
    }
}
