//! Why a value doesn't go into a global variable.

use bpfkit_schemas::{
    Code,
    diagnostic::{Diagnose, Diagnostic},
};
use thiserror::Error;

/// One of the manifest's values that doesn't go into its variable.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum GlobalProblem {
    /// There is no such variable.
    #[error("the object has no global variable `{name}`")]
    Unknown {
        /// The variable.
        name: String,
        /// A variable with a similar name.
        similar: Option<String>,
    },
    /// Several `static` variables have the name.
    #[error("the object has several `static` variables `{name}`")]
    Ambiguous {
        /// The variable.
        name: String,
    },
    /// The compiler has put the value into the instructions already.
    #[error("the global variable `{name}` is `{c_type}`, so the compiler has used its value already")]
    Folded {
        /// The variable.
        name: String,
        /// Its type.
        c_type: String,
    },
    /// The value doesn't fit.
    #[error("the value of `{place}` doesn't fit `{c_type}`: {misfit}")]
    Misfit {
        /// The variable, with member or index: `limits.rates[2]`.
        place: String,
        /// The C type of that place.
        c_type: String,
        /// Why.
        misfit: Misfit,
    },
}

/// Why a value doesn't fit a type.
#[derive(Clone, Debug, Eq, PartialEq, Error)]
pub enum Misfit {
    /// It is of another sort.
    #[error("{given} was given where {wanted} belongs")]
    Sort {
        /// What was given.
        given: &'static str,
        /// What belongs there.
        wanted: &'static str,
    },
    /// It is out of range.
    #[error("{value} is not between {least} and {most}")]
    Range {
        /// What was given.
        value: i128,
        /// The smallest value.
        least: i128,
        /// The largest.
        most: i128,
    },
    /// It is too long.
    #[error("{given} {unit} were given, and there is room for {room}")]
    Length {
        /// How many were given.
        given: usize,
        /// How many fit.
        room: usize,
        /// Bytes or items.
        unit: &'static str,
    },
    /// The struct or enum has no such member.
    #[error("it has no member `{member}`")]
    NoMember {
        /// What was asked for.
        member: String,
        /// A member with a similar name.
        similar: Option<String>,
    },
    /// Nobody can write down such a value.
    #[error("a manifest can't give a {kind}")]
    Unwritable {
        /// The kind of type.
        kind: &'static str,
    },
}

impl Diagnose for GlobalProblem {
    fn diagnose(&self) -> Vec<Diagnostic> {
        let suggest = |similar: &Option<String>| similar.as_ref().map(|name| format!("did you mean `{name}`?"));
        let (code, help) = match self {
            Self::Unknown { similar, .. } => (Code::GLOBAL_NOT_IN_OBJECT, suggest(similar)),
            Self::Ambiguous { .. } => (Code::GLOBAL_NOT_IN_OBJECT, Some("give them different names".to_owned())),
            Self::Folded { .. } => {
                (Code::GLOBAL_FOLDED, Some("declare it `const volatile`, or without `const`".to_owned()))
            }
            Self::Misfit { misfit: Misfit::NoMember { similar, .. }, .. } => (Code::GLOBAL_MISFIT, suggest(similar)),
            Self::Misfit { .. } => (Code::GLOBAL_MISFIT, None),
        };
        let diagnostic = Diagnostic::error(code, self.to_string());
        vec![match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }]
    }
}
