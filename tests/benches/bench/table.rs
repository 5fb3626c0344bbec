//! Tables in Markdown, and the numbers in them.

use std::fmt::Write as _;

/// A table: the head, then the rows.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain(head.get(column).copied()).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::from("|");
        for (column, cell) in cells.enumerate() {
            let _ = write!(text, " {cell:<width$} |", width = width(column));
        }
        text + "\n"
    };
    let rule: Vec<_> = (0..head.len()).map(|column| "-".repeat(width(column))).collect();
    let mut text = line(&mut head.iter().copied()) + &line(&mut rule.iter().map(String::as_str));
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// `a` as so many times `b`.
pub(crate) fn times(a: f64, b: f64) -> String {
    format!("{:.2}", a / b)
}
