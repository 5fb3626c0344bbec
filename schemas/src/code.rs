//! Error codes: one per user-facing error, with the long form that `bpfkit explain` prints.
//!
//! A letter for the stage and three digits: M manifest, C compile, B bundle,
//! T trust, A apply. A number is never given a second meaning. Each stage's table
//! is a file below; a test checks that they are unique, ordered and explained.

mod apply;
mod bundle;
mod compile;
mod manifest;
mod trust;

use std::fmt;

use serde::{Serialize, Serializer};

/// A code, with what is said about it. Compared by its text.
#[derive(Clone, Copy)]
pub struct Code(&'static Entry);

/// One row of a table.
pub struct Entry {
    /// `M012`.
    pub code: &'static str,
    /// One line: what is wrong.
    pub title: &'static str,
    /// The long form: what it means, which mistake or attack it stops, what to do. Markdown, wrapped at 80.
    pub explanation: &'static str,
    /// The exit code of a command that ends with it.
    pub exit: Exit,
}

/// Exit codes, part of the interface: scripts branch on these, so a number never changes its meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Bad usage or manifest.
    Usage = 2,
    /// Changes are pending (`plan --exit-code`, `status` with drift).
    ChangesPending = 3,
    /// Not trusted.
    NotTrusted = 4,
    /// Stopped part-way; what was changed was put back.
    Stopped = 5,
    /// Somebody else changed the host meanwhile, or holds the lock.
    Contended = 6,
}

/// Declares one stage's codes: constants on [`Code`] and the table for `explain`.
macro_rules! codes {
    ($($name:ident = $code:literal, $exit:ident, $title:literal, $explanation:literal;)*) => {
        impl crate::Code {
            $(
                #[doc = concat!("`", $code, "`: ", $title, ".")]
                pub const $name: Self = {
                    static ENTRY: crate::code::Entry = crate::code::Entry {
                        code: $code,
                        title: $title,
                        explanation: $explanation,
                        exit: crate::code::Exit::$exit,
                    };
                    Self::of(&ENTRY)
                };
            )*
        }
        pub(super) static CODES: &[crate::Code] = &[$(crate::Code::$name),*];
    };
}
pub(crate) use codes;

impl Code {
    const fn of(entry: &'static Entry) -> Self {
        Self(entry)
    }

    /// Every code, by stage and number.
    pub fn all() -> impl Iterator<Item = Self> {
        [manifest::CODES, compile::CODES, bundle::CODES, trust::CODES, apply::CODES].into_iter().flatten().copied()
    }

    /// Finds a code by its text, in any case.
    pub fn find(text: &str) -> Option<Self> {
        Self::all().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }

    /// `M012`.
    pub fn as_str(self) -> &'static str {
        self.0.code
    }

    /// One line: what is wrong.
    pub fn title(self) -> &'static str {
        self.0.title
    }

    /// The long form.
    pub fn explanation(self) -> &'static str {
        self.0.explanation
    }

    /// The exit code of a command that ends with it.
    pub fn exit(self) -> Exit {
        self.0.exit
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.0.code == other.0.code
    }
}
impl Eq for Code {}
impl PartialOrd for Code {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Code {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.code.cmp(other.0.code)
    }
}
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code)
    }
}
impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ordered_well_formed_and_explained() {
        let tables = [
            ("M", manifest::CODES),
            ("C", compile::CODES),
            ("B", bundle::CODES),
            ("T", trust::CODES),
            ("A", apply::CODES),
        ];
        for (letter, table) in tables {
            let names: Vec<_> = table.iter().map(|c| c.as_str()).collect();
            assert!(names.windows(2).all(|w| w[0] < w[1]), "not ascending: {names:?}");
            for code in table {
                let text = code.as_str();
                assert!(
                    text.starts_with(letter) && text.len() == 4 && text[1..].chars().all(|c| c.is_ascii_digit()),
                    "{text}"
                );
                assert!(code.explanation().len() > 80, "{text} is hardly explained");
                assert!(!code.title().ends_with('.'), "{text}");
            }
        }
    }
}
