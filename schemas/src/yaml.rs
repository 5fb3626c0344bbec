//! YAML text → a tree in which every value knows its place.
//!
//! Pure and bounded: at most [`MAX_BYTES`] of text, [`MAX_NODES`] values (aliases
//! counted as often as they are used, so that an alias bomb ends early) and
//! [`MAX_DEPTH`] levels. Scalars stay text; what they mean is for whoever decodes
//! them. All duplicate keys are reported; a syntax error ends the reading.
//!
//! The events come from `saphyr-parser`. Nothing outside this module knows that,
//! so that another YAML reader is a change of one file.

use std::{collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::{Code, Diagnostic, Source, Span};

/// The most bytes that a YAML file may have.
pub const MAX_BYTES: usize = 1 << 20;
/// The most values that it may hold, aliases expanded.
pub const MAX_NODES: usize = 20_000;
/// The most levels of nesting.
pub const MAX_DEPTH: usize = 32;

/// One value and its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Where it is written; for an alias, where the alias is.
    pub span: Span,
    /// What is written there.
    pub value: Value,
}

/// A value as YAML sees it, before anybody asks what it means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A scalar as text. `plain` means without quotes, so that `10` may be a number and `"10"` may not.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Arc<Node>>),
    /// A mapping in the order of writing; keys are scalars and unique.
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key is.
    pub key_span: Span,
    /// The value.
    pub value: Arc<Node>,
}

impl Node {
    /// Whether this is YAML's null: nothing at all, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

/// Reads one YAML document.
///
/// `Ok(None)` means that there is no document: an empty file, or comments alone.
pub fn read(source: &Arc<Source>) -> Result<Option<Node>, Vec<Diagnostic>> {
    if source.text.len() > MAX_BYTES {
        let title = format!("`{}` has {} bytes; a manifest may have {MAX_BYTES}", source.name, source.text.len());
        return Err(vec![Diagnostic::error(Code::YAML_TOO_LARGE, title)]);
    }
    if let Some(offset) = source.text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let title = format!("`{}` holds a control character and is no text file", source.name);
        let span = Span { start: offset, end: offset + 1 };
        return Err(vec![Diagnostic::error(Code::NOT_YAML, title).at(source, span, "here")]);
    }
    let mut reader = Reader::new(source);
    let root = reader.document();
    match root {
        Ok(_) if !reader.problems.is_empty() => Err(reader.problems),
        Ok(root) => Ok(root.map(|node| Arc::unwrap_or_clone(node.0))),
        Err(fatal) => {
            reader.problems.push(*fatal);
            Err(reader.problems)
        }
    }
}

/// A finished node and how many values it holds.
type Counted = (Arc<Node>, usize);
type Fatal = Box<Diagnostic>;

struct Reader<'a> {
    source: &'a Arc<Source>,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// Byte offset of each character: the parser counts characters.
    offsets: Vec<usize>,
    anchors: HashMap<usize, Counted>,
    nodes: usize,
    problems: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Arc<Source>) -> Self {
        let mut offsets: Vec<usize> = source.text.char_indices().map(|(at, _)| at).collect();
        offsets.push(source.text.len());
        Self {
            source,
            parser: Parser::new_from_str(&source.text),
            offsets,
            anchors: HashMap::new(),
            nodes: 0,
            problems: Vec::new(),
        }
    }

    fn document(&mut self) -> Result<Option<Counted>, Fatal> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                _ if root.is_some() => {
                    return Err(self.fatal(
                        Code::NOT_YAML,
                        "a manifest is one YAML document",
                        span,
                        "a second one starts here",
                    ));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Counted, Fatal> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.fatal(
                Code::YAML_TOO_LARGE,
                &format!("there are more than {MAX_NODES} values"),
                span,
                "reading stopped here",
            ));
        }
        if depth > MAX_DEPTH {
            return Err(self.fatal(
                Code::YAML_TOO_LARGE,
                &format!("values are nested more than {MAX_DEPTH} deep"),
                span,
                "here",
            ));
        }
        let before = self.nodes;
        let (anchor, tag, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (anchor, tag, Node { span, value: Value::Scalar { text: text.into_owned(), plain } })
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                let end = loop {
                    let (event, at) = self.next()?;
                    if event == Event::SequenceEnd {
                        break at.end;
                    }
                    items.push(self.node(event, at, depth + 1)?.0);
                };
                let span = self.shrink(span.start, end, items.last().map(|n| n.span.end));
                (anchor, tag, Node { span, value: Value::List(items) })
            }
            Event::MappingStart(anchor, tag) => {
                let (entries, end) = self.mapping(span, depth)?;
                let span = self.shrink(span.start, end, entries.last().map(|e| e.value.span.end.max(e.key_span.end)));
                (anchor, tag, Node { span, value: Value::Map(entries) })
            }
            Event::Alias(id) => {
                let Some((target, count)) = self.anchors.get(&id).cloned() else {
                    return Err(self.fatal(
                        Code::NOT_YAML,
                        "an alias stands inside the value that it repeats",
                        span,
                        "here",
                    ));
                };
                self.nodes = self.nodes.saturating_add(count);
                return Ok((Arc::new(Node { span, value: target.value.clone() }), count));
            }
            _ => return Err(self.fatal(Code::NOT_YAML, "a value is missing", span, "here")),
        };
        if let Some(tag) = tag
            && !tag.is_yaml_core_schema()
        {
            let title = format!("the tag `{}{}` has no meaning here", tag.handle, tag.suffix);
            self.problems.push(Diagnostic::error(Code::YAML_FEATURE, title).at(
                self.source,
                node.span,
                "remove the tag",
            ));
        }
        let counted = (Arc::new(node), self.nodes - before + 1);
        if anchor != 0 {
            self.anchors.insert(anchor, counted.clone());
        }
        Ok(counted)
    }

    fn mapping(&mut self, start: Span, depth: usize) -> Result<(Vec<Entry>, usize), Fatal> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        loop {
            let (event, at) = self.next()?;
            if event == Event::MappingEnd {
                return Ok((entries, at.end));
            }
            let (key, _) = self.node(event, at, depth + 1)?;
            let (event, at) = self.next()?;
            let (value, _) = self.node(event, at, depth + 1)?;
            let Value::Scalar { text, plain } = &key.value else {
                self.problems.push(self.odd_key(start, key.span));
                continue;
            };
            if *plain && text == "<<" {
                self.problems.push(
                    Diagnostic::error(Code::YAML_FEATURE, "merge keys (`<<`) are not read")
                        .at(self.source, key.span, "here")
                        .help("write the keys out, or repeat a whole value with an alias"),
                );
                continue;
            }
            if let Some(first) = seen.insert(text.clone(), key.span) {
                self.problems.push(
                    Diagnostic::error(Code::DUPLICATE_KEY, format!("the key `{text}` is written twice"))
                        .at(self.source, key.span, "again here")
                        .at(self.source, first, "first here"),
                );
                continue;
            }
            entries.push(Entry { key: text.clone(), key_span: key.span, value });
        }
    }

    /// A key that is itself a mapping: nearly always a template without its quotes.
    fn odd_key(&self, start: Span, key: Span) -> Diagnostic {
        let text = self.source.text.get(start.start..).unwrap_or_default();
        if text.starts_with("{{") {
            let end = text.find("}}").map_or(start.end, |at| start.start + at + 2);
            let template = self.source.text.get(start.start..end).unwrap_or_default();
            return Diagnostic::error(Code::BARE_TEMPLATE, "a template without quotes is a YAML mapping")
                .at(self.source, Span { start: start.start, end }, "YAML reads `{` as the start of a mapping")
                .help(format!("quote it: \"{template}\""));
        }
        Diagnostic::error(Code::WRONG_SHAPE, "a key must be a word, not a list or mapping").at(self.source, key, "here")
    }

    /// Block collections end where the next token starts; people see them end at their last value.
    fn shrink(&self, start: usize, end: usize, last: Option<usize>) -> Span {
        let text = self.source.text.get(start..end).unwrap_or_default();
        if text.ends_with([']', '}']) {
            return Span { start, end };
        }
        Span { start, end: last.unwrap_or(end).max(start) }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Fatal> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let span = Span { start: self.offset(span.start.index()), end: self.offset(span.end.index()) };
                Ok((event, span))
            }
            Some(Err(error)) => {
                let at = self.offset(error.marker().index());
                Err(Box::new(self.syntax(at, error.info())))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn syntax(&self, at: usize, info: &str) -> Diagnostic {
        let text = &self.source.text;
        let line_start = text.get(..at).and_then(|t| t.rfind('\n')).map_or(0, |n| n + 1);
        let line = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let span =
            Span { start: at, end: at + text.get(at..).and_then(|t| t.chars().next()).map_or(0, char::len_utf8) };
        // A plain scalar can't start with `{`, so `{{ x }}-eth` breaks in the middle of its line.
        if let Some(column) = line.find("{{")
            && !line.get(..column).unwrap_or_default().ends_with(['"', '\''])
        {
            let span = Span { start: line_start + column, end: line_start + line.len() };
            return Diagnostic::error(Code::BARE_TEMPLATE, "a template without quotes is a YAML mapping")
                .at(self.source, span, "YAML reads `{` as the start of a mapping")
                .help("put the whole value in double quotes");
        }
        let diagnostic = Diagnostic::error(Code::NOT_YAML, format!("`{}` is not YAML: {info}", self.source.name)).at(
            self.source,
            span,
            "here",
        );
        if line.contains('\t') { diagnostic.help("indent with spaces; YAML forbids tabs there") } else { diagnostic }
    }

    fn fatal(&self, code: Code, title: &str, span: Span, label: &str) -> Fatal {
        Box::new(Diagnostic::error(code, title).at(self.source, span, label))
    }

    fn offset(&self, characters: usize) -> usize {
        self.offsets.get(characters).copied().unwrap_or(self.source.text.len())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn problems(text: &str) -> Vec<(&'static str, String)> {
        let source = Source::new("t.yml", text);
        match read(&source) {
            Ok(_) => Vec::new(),
            Err(found) => found
                .iter()
                .map(|d| {
                    (
                        d.code.as_str(),
                        d.labels
                            .first()
                            .map_or(String::new(), |l| source.text.get(l.span.range()).unwrap_or("?").to_owned()),
                    )
                })
                .collect(),
        }
    }

    #[test]
    fn every_value_knows_its_place_even_after_wide_characters() {
        let source = Source::new("t.yml", "ä: [bö, c]\nd: {e: f}\n");
        let root = read(&source).unwrap().unwrap();
        let Value::Map(entries) = &root.value else { panic!() };
        let Value::List(items) = &entries[0].value.value else { panic!() };
        assert_eq!(&source.text[items[1].span.range()], "c");
        assert_eq!(&source.text[entries[0].value.span.range()], "[bö, c]");
        assert_eq!(&source.text[entries[1].key_span.range()], "d");
    }

    #[test]
    fn duplicate_keys_are_all_reported_at_the_second() {
        assert_eq!(problems("a: 1\nb: {c: 1, c: 2}\na: 2\n"), [("M003", "c".into()), ("M003", "a".into())]);
    }

    #[test]
    fn a_template_without_quotes_is_called_by_its_name() {
        assert_eq!(problems("a: {{ vars.x }}\n"), [("M009", "{{ vars.x }}".into())]);
        assert_eq!(problems("a: {{ vars.x }}-eth\n")[0].0, "M009");
        assert_eq!(problems("a: [{{ vars.x }}]\n")[0].0, "M009");
    }

    #[test]
    fn an_alias_is_read_and_an_alias_bomb_is_not() {
        assert!(problems("a: &x [1, 2]\nb: *x\n").is_empty());
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let prior = format!("*a{}", i - 1);
            writeln!(bomb, "a{i}: &a{i} [{}]", [prior.as_str(); 8].join(", ")).unwrap();
        }
        assert_eq!(problems(&bomb)[0].0, "M002");
    }

    #[test]
    fn an_alias_inside_its_own_anchor_is_refused() {
        assert_eq!(problems("a: &x [*x]\n")[0].0, "M001");
    }

    #[test]
    fn deep_large_binary_and_broken_texts_are_refused() {
        assert_eq!(problems(&"[".repeat(100))[0].0, "M002");
        assert_eq!(problems(&"a".repeat(MAX_BYTES + 1))[0].0, "M002");
        assert_eq!(problems("a: \u{1}\n")[0].0, "M001");
        assert_eq!(problems("a:\n\tb: 1\n")[0].0, "M001");
        assert_eq!(problems("a: 'x\n")[0].0, "M001");
        assert_eq!(problems("a: 1\n---\nb: 2\n")[0].0, "M001");
        assert_eq!(problems("a: !evil 1\n")[0].0, "M022");
        assert_eq!(problems("a: {b: 1}\nc: {<<: 1}\n")[0].0, "M022");
    }

    #[test]
    fn nothing_is_not_an_error_here() {
        assert_eq!(read(&Source::new("t.yml", "# only a comment\n")).unwrap(), None);
        assert_eq!(read(&Source::new("t.yml", "")).unwrap(), None);
    }
}
