//! How a command fails: with problems that a person can read.

use bpfkit_schemas::{Code, Diagnostic, Severity, code::Exit, diagnostic::Diagnose};

/// The problems that ended a command. Never empty.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Vec<Diagnostic>);

/// What commands return.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// One problem.
    pub(crate) fn one(problem: Diagnostic) -> Self {
        Self(vec![problem])
    }

    /// A command line that can't be understood.
    pub(crate) fn usage(title: impl Into<String>, help: impl Into<String>) -> Self {
        Self::one(Diagnostic::error(Code::USAGE, title).help(help))
    }

    /// A file that could not be read.
    pub(crate) fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::one(Diagnostic::error(Code::UNREADABLE, format!("`{}` can't be read", path.display())).caused_by(error))
    }

    /// A file that could not be written.
    pub(crate) fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::one(
            Diagnostic::error(Code::UNWRITABLE, format!("`{}` can't be written", path.display())).caused_by(error),
        )
    }

    /// The exit code: the first error's.
    pub(crate) fn exit(&self) -> Exit {
        self.0.iter().find(|p| p.severity == Severity::Error).map_or(Exit::Failed, |p| p.code.exit())
    }
}

impl<E: Diagnose> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.diagnose())
    }
}
