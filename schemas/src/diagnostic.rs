//! One problem, as a person will read it: what, where, and the next move.
//!
//! Every crate turns its errors into these; only `cli` draws them. So a message
//! reads the same in a terminal, in JSON and in a test.

use std::{ops::Range, sync::Arc};

use serde::Serialize;

use crate::Code;

/// A half-open range of bytes in a [`Source`]'s text.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The span as a range, for slicing and for renderers.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A text that spans point into, under the name that the user knows it by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// The file as the user named it (`bpfkit.yml`), or `--set` and the like.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Names a text, ready to be shared by many diagnostics.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// The 1-based line and column (in characters) at which byte `offset` lies.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The command did not do what was asked.
    Error,
    /// It did, and this should be known.
    Warning,
}

/// A place in a source, with the few words that stand beside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Label {
    /// The text pointed into.
    pub source: Arc<Source>,
    /// Where.
    pub span: Span,
    /// What is to be said about it; may be empty.
    pub text: String,
}

/// One problem.
///
/// `title` is one lower-case line without a full stop, with the user's nouns in
/// backticks. `causes` go from near to far and never repeat the title. There is
/// at most one `help`: the next move.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// The code that `explain` knows.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub title: String,
    /// Where; the first one is the place, the others are context.
    pub labels: Vec<Label>,
    /// Why, from near to far.
    pub causes: Vec<String>,
    /// Facts that help to understand, each on its own line.
    pub notes: Vec<String>,
    /// The next move.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with no place yet.
    pub fn error(code: Code, title: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            title: title.into(),
            labels: Vec::new(),
            causes: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// A warning with no place yet.
    pub fn warning(code: Code, title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, title) }
    }

    /// Points at a place.
    #[must_use]
    pub fn at(mut self, source: &Arc<Source>, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { source: Arc::clone(source), span, text: text.into() });
        self
    }

    /// Adds the next move.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds one cause.
    #[must_use]
    pub fn cause(mut self, text: impl Into<String>) -> Self {
        self.causes.push(text.into());
        self
    }

    /// Adds an error and everything behind it as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }
}

/// Turns an operation's error into what a person reads.
///
/// Each crate implements this for its error types; one error may be several problems.
pub trait Diagnose {
    /// The problems, the worst or first one first. Never empty.
    fn diagnose(&self) -> Vec<Diagnostic>;
}
