//! What went wrong while building, all of it.

use std::{fmt, sync::Arc};

use bpfkit_schemas::{
    Code, Diagnostic, Source, Span,
    diagnostic::Diagnose,
    names::{Platform, ProgramName},
};

/// The problems of one operation, in the manifest's order. Never empty.
#[derive(Debug)]
pub struct BuildErrors {
    problems: Vec<Diagnostic>,
}

impl BuildErrors {
    /// `Ok` where there is no problem.
    pub(crate) fn none_or(problems: Vec<Diagnostic>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// The problems, in the manifest's order.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }
}

impl From<Diagnostic> for BuildErrors {
    fn from(problem: Diagnostic) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [] => f.write_str("the build failed"),
            [only] => write!(f, "{}: {}", only.code, only.title),
            [first, rest @ ..] => write!(f, "{}: {} (and {} more)", first.code, first.title, rest.len()),
        }
    }
}

impl std::error::Error for BuildErrors {}

impl Diagnose for BuildErrors {
    fn diagnose(&self) -> Vec<Diagnostic> {
        self.problems.clone()
    }
}

/// A place in the manifest, to make diagnostics at.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) source: Arc<Source>,
    pub(crate) span: Span,
}

impl Place {
    /// An error here.
    pub(crate) fn error(&self, code: Code, title: impl Into<String>, label: &str) -> Diagnostic {
        Diagnostic::error(code, title).at(&self.source, self.span, label)
    }

    /// A warning here.
    pub(crate) fn warning(&self, code: Code, title: impl Into<String>, label: &str) -> Diagnostic {
        Diagnostic::warning(code, title).at(&self.source, self.span, label)
    }
}

/// `guard` for linux/amd64, for sentences.
pub(crate) fn build_of(program: &ProgramName, platform: Platform) -> String {
    format!("`{program}` for {platform}")
}
