//! How the manifest's scalars are read: names, numbers, words, and text with templates.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{Context, Decode};
use crate::{
    Code,
    chain::{GlobalValue, HostText},
    hook::{Attach, Foreign, Hook, Mode},
    names::{BadName, KeyName, MapName, Platform, ProgramName, RepoName, SetName},
    object::ProgramType,
    reference::RepoUrl,
    trust::{Claims, DefaultVerdict},
    yaml::{Node, Value},
};

/// Text, `vars` filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Text(pub String);

/// A whole number that is not negative.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Count(pub u32);

/// A date, `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Day(pub jiff::civil::Date);

/// A path relative to the manifest's folder that stays inside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProjectPath(pub std::path::PathBuf);

/// A program type as `type:` names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeclaredType(pub ProgramType);

/// Declares how a type with [`std::str::FromStr`] is read, and its schema.
macro_rules! from_text {
    ($ty:ty, $name:literal, $wanted:literal, $schema:tt) => {
        impl Decode for $ty {
            fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
                let scalar = cx.scalar(node, $wanted)?;
                scalar
                    .text
                    .parse()
                    .map_err(|e: BadName| cx.report_at(Code::BAD_VALUE, e.to_string(), scalar.span, "here"))
                    .ok()
            }
        }
        scalar_schema!($ty, $name, $schema);
    };
}

macro_rules! scalar_schema {
    ($ty:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $ty {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

// A name or a template that renders to one.
from_text!(SetName, "SetName", "a set name", { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$|\\{\\{" });
from_text!(ProgramName, "ProgramName", "a program name", { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$|\\{\\{" });
from_text!(RepoName, "RepoName", "a repo name", { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$|\\{\\{" });
from_text!(KeyName, "KeyName", "a key name", { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$|\\{\\{" });
from_text!(MapName, "MapName", "a map name", { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$|\\{\\{" });
from_text!(Hook, "Hook", "a hook", { "type": "string", "enum": ["xdp", "tc/ingress", "tc/egress"] });
from_text!(Platform, "Platform", "a platform", { "type": "string", "enum": ["linux/amd64", "linux/arm64"] });
from_text!(RepoUrl, "RepoUrl", "a repo url", { "type": "string", "description": "`host[:port]/path` of a registry, or `oci:DIR`", "examples": ["registry.example/bpf", "oci:./dist"] });

/// Declares how a closed list of words is read, and its schema.
macro_rules! words {
    ($ty:ty, $name:literal, $wanted:literal, [$($word:literal => $value:expr),*], refused [$($no:literal : $why:literal),*]) => {
        impl Decode for $ty {
            fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
                let scalar = cx.scalar(node, $wanted)?;
                match scalar.text.as_str() {
                    $($word => Some($value),)*
                    $($no => {
                        cx.report_at(Code::BAD_VALUE, concat!("`", $no, "` is not possible: ", $why), scalar.span, "here");
                        None
                    })*
                    other => {
                        let words = [$($word),*].join(", ");
                        cx.report_at(Code::BAD_VALUE, format!("`{other}` is not {}: the choices are {words}", $wanted), scalar.span, "here");
                        None
                    }
                }
            }
        }
        scalar_schema!($ty, $name, { "type": "string", "enum": [$($word),*] });
    };
}

words!(Attach, "Attach", "a way to attach", ["tcx" => Attach::Tcx, "clsact" => Attach::Clsact], refused []);
words!(Mode, "Mode", "a mode", ["native" => Mode::Native, "generic" => Mode::Generic], refused []);
words!(Foreign, "Foreign", "an answer to foreign programs", ["keep" => Foreign::Keep, "refuse" => Foreign::Refuse],
    refused ["evict": "evicting somebody else's program is planned, not in this version"]);
words!(DefaultVerdict, "DefaultVerdict", "a default", ["reject" => DefaultVerdict::Reject],
    refused ["accept": "nothing is trusted by default; name what may go unsigned under `unsigned`, with a reason"]);
words!(Claims, "Claims", "a demand on claims", ["bound" => Claims::Bound, "digest_only" => Claims::DigestOnly], refused []);

impl Decode for DeclaredType {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let scalar = cx.scalar(node, "a program type")?;
        let found = ProgramType::named(&scalar.text);
        if let Some(kind) = found {
            Some(Self(kind))
        } else {
            cx.report_at(
                Code::BAD_VALUE,
                format!("`{}` is not a program type, like `xdp` or `tc`", scalar.text),
                scalar.span,
                "here",
            );
            None
        }
    }
}
scalar_schema!(DeclaredType, "DeclaredType", { "type": "string", "examples": ["xdp", "tc"] });

impl Decode for Text {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        cx.scalar(node, "text").map(|s| Self(s.text))
    }
}
scalar_schema!(Text, "Text", { "type": ["string", "number", "boolean"] });

impl Decode for HostText {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let scalar = cx.host_scalar(node, "text")?;
        if scalar.text.is_empty() {
            cx.report_at(Code::BAD_VALUE, "the value is empty", scalar.span, "here");
            return None;
        }
        Some(Self(scalar.text))
    }
}
scalar_schema!(HostText, "HostText", { "type": "string", "minLength": 1 });

impl Decode for Count {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let scalar = cx.scalar(node, "a number")?;
        if let Some(n) = number(&scalar.text).filter(|_| scalar.plain).and_then(|n| u32::try_from(n).ok()) {
            Some(Self(n))
        } else {
            cx.report_at(
                Code::BAD_VALUE,
                format!("`{}` is not a whole number from 0 to {}", scalar.text, u32::MAX),
                scalar.span,
                "here",
            );
            None
        }
    }
}
scalar_schema!(Count, "Count", { "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 }, { "type": "string", "pattern": "\\{\\{" }] });

impl Decode for Day {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let scalar = cx.scalar(node, "a date")?;
        if let Ok(day) = scalar.text.parse() {
            Some(Self(day))
        } else {
            cx.report_at(
                Code::BAD_VALUE,
                format!("`{}` is not a date like 2027-06-01", scalar.text),
                scalar.span,
                "here",
            );
            None
        }
    }
}
scalar_schema!(Day, "Day", { "type": "string", "format": "date" });

impl Decode for ProjectPath {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let scalar = cx.scalar(node, "a path")?;
        let path = std::path::PathBuf::from(&scalar.text);
        let inside =
            path.components().all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
        if scalar.text.is_empty() || !inside || scalar.text.contains('\0') {
            cx.report_at(
                Code::PATH_OUTSIDE,
                format!("`{}` does not name a file below the manifest's folder", scalar.text),
                scalar.span,
                "relative, without `..`",
            );
            return None;
        }
        // `./src/x.c` and `src/x.c` are one file with one name.
        Some(Self(path.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect()))
    }
}
scalar_schema!(ProjectPath, "ProjectPath", { "type": "string", "examples": ["src/guard.bpf.c"] });

/// Reads a whole number: decimal, `0x…`, `0o…` or `0b…`, with `_` between digits.
pub(super) fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| digits.strip_prefix(prefix).map(|rest| (radix, rest)))
        .unwrap_or((10, digits));
    if digits.starts_with(['_', '+', '-']) || digits.len() > 40 {
        return None;
    }
    i128::from_str_radix(&digits.replace('_', ""), radix).ok().map(|n| sign * n)
}

impl Decode for GlobalValue {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        match &node.value {
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| Self::decode(item, cx)).collect();
                items.into_iter().collect::<Option<_>>().map(Self::List)
            }
            Value::Map(entries) => {
                let members: Vec<_> =
                    entries.iter().map(|e| Self::decode(&e.value, cx).map(|v| (e.key.clone(), v))).collect();
                members.into_iter().collect::<Option<BTreeMap<_, _>>>().map(Self::Map)
            }
            Value::Scalar { .. } => {
                let scalar = cx.host_scalar(node, "a value")?;
                Some(match scalar.text.as_str() {
                    "true" if scalar.plain => Self::Bool(true),
                    "false" if scalar.plain => Self::Bool(false),
                    text => match number(text) {
                        Some(n) if scalar.plain => Self::Int(n),
                        _ => Self::Text(scalar.text),
                    },
                })
            }
        }
    }
}
scalar_schema!(GlobalValue, "GlobalValue", { "description": "typed by the object's own BTF" });
