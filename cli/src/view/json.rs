//! Problems as machines read them.

use bpfkit_schemas::{Code, Diagnostic, Severity};
use serde::Serialize;

/// What `--json` prints where a command has problems.
#[derive(Serialize)]
pub(crate) struct Problems<'a> {
    version: u32,
    problems: Vec<Problem<'a>>,
}

#[derive(Serialize)]
struct Problem<'a> {
    code: Code,
    severity: Severity,
    title: &'a str,
    places: Vec<Place<'a>>,
    causes: &'a [String],
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    text: &'a str,
}

impl<'a> Problems<'a> {
    /// The JSON form of `problems`.
    pub(crate) fn of(problems: &[&'a Diagnostic]) -> Self {
        Self { version: 1, problems: problems.iter().map(|p| Problem::of(p)).collect() }
    }
}

impl<'a> Problem<'a> {
    fn of(problem: &'a Diagnostic) -> Self {
        let places = problem.labels.iter().map(|label| {
            let (line, column) = label.source.line_column(label.span.start);
            Place { file: &label.source.name, line, column, text: &label.text }
        });
        Self {
            code: problem.code,
            severity: problem.severity,
            title: &problem.title,
            places: places.collect(),
            causes: &problem.causes,
            notes: &problem.notes,
            help: problem.help.as_deref(),
        }
    }
}
