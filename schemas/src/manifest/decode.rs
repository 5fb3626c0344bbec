//! From YAML nodes to wire types, collecting every problem on the way.
//!
//! [`Decode`] is one value's rule. [`record!`] declares a mapping once and gets
//! from it the struct, the decoder (unknown, planned and missing keys, each with
//! its place) and the JSON Schema, so that the three can't drift apart.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{
    Code, Diagnostic, Source, Span,
    names::nearest,
    template,
    yaml::{Entry, Node, Value},
};

/// A value and its place in the manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub span: Span,
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What decoding carries along: the text, the variables, and the problems found so far.
pub(crate) struct Context {
    source: Arc<Source>,
    vars: BTreeMap<String, String>,
    problems: Vec<Diagnostic>,
}

/// A scalar after its template, if it was one, was rendered.
pub(crate) struct Scalar {
    /// The text.
    pub(crate) text: String,
    /// Whether it may be a number or a boolean: written without quotes, or rendered.
    pub(crate) plain: bool,
    /// Where it is.
    pub(crate) span: Span,
}

/// A value that can be read from a node; problems go to the context and `None` comes back.
pub(crate) trait Decode: Sized {
    /// Reads the value.
    fn decode(node: &Node, cx: &mut Context) -> Option<Self>;
}

impl Context {
    /// Starts with the variables that templates may name.
    pub(crate) fn new(source: &Arc<Source>, vars: BTreeMap<String, String>) -> Self {
        Self { source: Arc::clone(source), vars, problems: Vec::new() }
    }

    /// Notes a problem.
    pub(crate) fn report(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Notes a problem at one place.
    pub(crate) fn report_at(&mut self, code: Code, title: impl Into<String>, span: Span, label: impl Into<String>) {
        let problem = Diagnostic::error(code, title).at(&self.source, span, label);
        self.problems.push(problem);
    }

    /// How many problems were noted so far.
    pub(crate) fn problems(&self) -> usize {
        self.problems.len()
    }

    /// Everything noted.
    pub(crate) fn into_problems(self) -> Vec<Diagnostic> {
        self.problems
    }

    /// The text that spans point into.
    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Sets the variables once `vars:` was read.
    pub(crate) fn set_vars(&mut self, vars: BTreeMap<String, String>) {
        self.vars = vars;
    }

    /// A scalar in which `vars` are filled in and host facts are refused.
    pub(crate) fn scalar(&mut self, node: &Node, wanted: &str) -> Option<Scalar> {
        let (text, plain) = self.raw(node, wanted)?;
        if !template::is_template(text) {
            return Some(Scalar { text: text.to_owned(), plain, span: node.span });
        }
        if template::mentions_host(text) {
            let problem = Diagnostic::error(Code::HOST_TEMPLATE, "host facts are not allowed in this value")
                .at(&self.source, node.span, "it would differ from host to host")
                .help("use `vars:`; `host.…` may stand in interfaces, netns and globals alone");
            self.report(problem);
            return None;
        }
        match template::render(text, &self.vars) {
            Ok(text) => Some(Scalar { text, plain: true, span: node.span }),
            Err(error) => {
                self.bad_template(node.span, &error.0);
                None
            }
        }
    }

    /// A scalar that keeps its template if that asks for host facts (and is otherwise fine).
    pub(crate) fn host_scalar(&mut self, node: &Node, wanted: &str) -> Option<Scalar> {
        let (text, _) = self.raw(node, wanted)?;
        if !template::mentions_host(text) {
            return self.scalar(node, wanted);
        }
        if let Err(error) = template::check(text, &self.vars) {
            self.bad_template(node.span, &error.0);
            return None;
        }
        Some(Scalar { text: text.to_owned(), plain: false, span: node.span })
    }

    fn raw<'n>(&mut self, node: &'n Node, wanted: &str) -> Option<(&'n str, bool)> {
        match &node.value {
            _ if node.is_null() => {
                self.no_value(node.span, wanted);
                None
            }
            Value::Scalar { text, plain } => Some((text, *plain)),
            other => {
                self.wrong_shape(node.span, wanted, other);
                None
            }
        }
    }

    fn bad_template(&mut self, span: Span, why: &str) {
        let known: Vec<_> = self.vars.keys().map(|k| format!("vars.{k}")).collect();
        let mut problem = Diagnostic::error(Code::TEMPLATE, format!("the template can't be rendered: {why}")).at(
            &self.source,
            span,
            "here",
        );
        if why.ends_with("is not defined") {
            problem = problem.help(match known.as_slice() {
                [] => "declare it under `vars:`".to_owned(),
                _ => format!("defined are {}", known.join(", ")),
            });
        }
        self.report(problem);
    }

    fn no_value(&mut self, span: Span, wanted: &str) {
        self.report_at(Code::WRONG_SHAPE, format!("{wanted} is missing: there is no value"), span, "nothing here");
    }

    fn wrong_shape(&mut self, span: Span, wanted: &str, found: &Value) {
        let found = match found {
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        };
        self.report_at(
            Code::WRONG_SHAPE,
            format!("expected {wanted}, found {found}"),
            span,
            format!("this is {found}"),
        );
    }

    /// The entries of a mapping.
    pub(crate) fn mapping<'n>(&mut self, node: &'n Node, wanted: &str) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            _ if node.is_null() => {
                self.no_value(node.span, wanted);
                None
            }
            other => {
                self.wrong_shape(node.span, wanted, other);
                None
            }
        }
    }

    /// The items of a list.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, wanted: &str) -> Option<&'n [Arc<Node>]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ if node.is_null() => {
                self.no_value(node.span, wanted);
                None
            }
            other => {
                self.wrong_shape(node.span, wanted, other);
                None
            }
        }
    }

    /// Reports keys that are neither known nor planned, and those that are planned.
    pub(crate) fn check_keys(&mut self, entries: &[Entry], of: &str, known: &[&str], planned: &[&str]) {
        for entry in entries {
            let key = entry.key.as_str();
            if known.contains(&key) {
                continue;
            }
            let problem = if planned.contains(&key) {
                Diagnostic::error(
                    Code::PLANNED_KEY,
                    format!("unknown key `{key}` in {of}: planned, not in this version"),
                )
                .at(&self.source, entry.key_span, "does nothing yet, so it is refused")
            } else {
                let problem = Diagnostic::error(Code::UNKNOWN_KEY, format!("unknown key `{key}` in {of}")).at(
                    &self.source,
                    entry.key_span,
                    "no such key",
                );
                match nearest(key, known.iter().copied()) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("the keys are {}", known.join(", "))),
                }
            };
            self.report(problem);
        }
    }

    /// Reports a key that must be there.
    pub(crate) fn missing_key(&mut self, node: &Node, of: &str, key: &str) {
        let first_line = self
            .source
            .text
            .get(node.span.range())
            .and_then(|t| t.find('\n'))
            .map_or(node.span.end, |n| node.span.start + n);
        self.report_at(
            Code::MISSING_KEY,
            format!("{of} has no `{key}`"),
            Span { start: node.span.start, end: first_line },
            format!("`{key}` is missing here"),
        );
    }
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        Some(Self { value: T::decode(node, cx)?, span: node.span })
    }
}

impl<T: Decode> Decode for Vec<At<T>> {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        // An item that can't be read has been reported; the others are still looked at.
        Some(cx.list(node, "a list")?.iter().filter_map(|item| At::decode(item, cx)).collect())
    }
}

/// A mapping with free keys, in the order of writing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mapping<T>(pub Vec<(At<String>, At<T>)>);

impl<T> Default for Mapping<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Decode> Decode for Mapping<T> {
    fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
        let entries = cx.mapping(node, "a mapping")?;
        let pairs = entries.iter().filter_map(|entry| {
            let key = At { value: entry.key.clone(), span: entry.key_span };
            At::decode(&entry.value, cx).map(|value| (key, value))
        });
        Some(Self(pairs.collect()))
    }
}

impl<T: JsonSchema> JsonSchema for Mapping<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Mapping_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "object", "additionalProperties": values })
    }
}

/// The `type` of a field: required fields are there, optional ones may not be, and expected ones
/// are missed aloud but leave the rest of the mapping readable.
macro_rules! field_type {
    (required $ty:ty) => { At<$ty> };
    (expected $ty:ty) => { Option<At<$ty>> };
    (optional $ty:ty) => { Option<At<$ty>> };
}

/// Takes a decoded field out of its slot: a missing required one has been reported by now.
macro_rules! field_value {
    (required $slot:ident) => {
        $slot?
    };
    (expected $slot:ident) => {
        $slot
    };
    (optional $slot:ident) => {
        $slot
    };
}

/// Whether a field is required.
macro_rules! is_required {
    (required) => {
        true
    };
    (expected) => {
        true
    };
    (optional) => {
        false
    };
}

/// Declares one mapping of the manifest: struct, decoder and JSON Schema from one list of keys.
///
/// ```text
/// record! {
///     /// A named place for bundles.
///     Repo "a repo" {
///         /// The first part of `REPO/path`.
///         required name "name": RepoName,
///     }
///     planned ["mirrors"]
/// }
/// ```
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident $of:literal {
            $( $(#[doc = $field_doc:literal])* $need:ident $field:ident $key:literal : $ty:ty, )*
        }
        planned [$($planned:literal),*]
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: field_type!($need $ty), )*
            /// Whether nothing in it was reported; what a mapping that isn't whole lacks may be written there all the same.
            pub whole: bool,
        }

        impl Decode for $name {
            fn decode(node: &Node, cx: &mut Context) -> Option<Self> {
                let entries = cx.mapping(node, $of)?;
                let before = cx.problems();
                cx.check_keys(entries, $of, &[$($key),*], &[$($planned),*]);
                $(
                    let $field: Option<At<$ty>> = match entries.iter().find(|e| e.key == $key) {
                        Some(entry) => At::decode(&entry.value, cx),
                        None => {
                            if is_required!($need) {
                                cx.missing_key(node, $of, $key);
                            }
                            None
                        }
                    };
                )*
                Some(Self { $( $field: field_value!($need $field), )* whole: cx.problems() == before })
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let mut properties = serde_json::Map::new();
                let mut required: Vec<&str> = Vec::new();
                $(
                    let mut field = generator.subschema_for::<$ty>();
                    field.insert("description".to_owned(), concat!($($field_doc),*).trim().into());
                    properties.insert($key.to_owned(), field.into());
                    if is_required!($need) {
                        required.push($key);
                    }
                )*
                schemars::json_schema!({
                    "type": "object",
                    "description": concat!($($doc),*).trim(),
                    "properties": properties,
                    "required": required,
                    "additionalProperties": false,
                })
            }
        }
    };
}
pub(super) use {field_type, field_value, is_required, record};
