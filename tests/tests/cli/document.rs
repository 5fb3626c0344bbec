//! `--json` held to the schema that `bpfkit schema output` prints, and errors to the table of codes.

use std::collections::BTreeSet;

use bpfkit_schemas::Code;
use serde_json::Value;

use crate::sandbox::Said;

/// What a failing command says to people: nothing on stdout, and coded errors on stderr, whose codes these are.
#[track_caller]
pub(crate) fn codes_for_people(said: &Said) -> BTreeSet<String> {
    assert_eq!(said.stdout, "", "a failing command has no data\n{said}");
    decent(said);
    let mut codes = BTreeSet::new();
    for line in said.stderr.lines() {
        let Some((code, title)) = line.strip_prefix("error[").and_then(|rest| rest.split_once("]: ")) else { continue };
        assert!(Code::find(code).is_some(), "`explain` doesn't know {code}\n{said}");
        assert!(!title.ends_with('.') && !title.is_empty(), "{title}");
        codes.insert(code.to_owned());
    }
    assert!(!codes.is_empty(), "no coded error\n{said}");
    codes
}

/// What a failing command says with `--json`: a document of problems on stdout, whose codes these are.
#[track_caller]
pub(crate) fn codes_for_machines(said: &Said, schema: &Value) -> BTreeSet<String> {
    decent(said);
    let document: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("--json printed no JSON: {error}\n{said}"));
    if let Err(why) = fits(&document, "ProblemsReport", schema) {
        panic!("not as `bpfkit schema output` says: {why}\n{said}");
    }
    let problems = document.get("problems").and_then(Value::as_array).cloned().unwrap_or_default();
    let errors = problems.iter().filter(|problem| problem["severity"] == "error");
    let codes: BTreeSet<_> = errors.filter_map(|problem| problem["code"].as_str().map(str::to_owned)).collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| Code::find(code).is_some()), "{codes:?}\n{said}");
    codes
}

/// Nothing that only a programmer could read.
#[track_caller]
fn decent(said: &Said) {
    for bad in ["panicked", "RUST_BACKTRACE", "Os {", "Err(", "Some(", "\u{1b}["] {
        assert!(!said.stderr.contains(bad) && !said.stdout.contains(bad), "`{bad}` in\n{said}");
    }
}

/// Whether `document` is what `$defs/NAME` of `schema` describes. Knows the words that our schema uses.
pub(crate) fn fits(document: &Value, name: &str, schema: &Value) -> Result<(), String> {
    value(document, definition(name, schema)?, schema, name)
}

fn definition<'a>(name: &str, schema: &'a Value) -> Result<&'a Value, String> {
    schema.pointer(&format!("/$defs/{name}")).ok_or_else(|| format!("the schema has no `{name}`"))
}

fn value(found: &Value, shape: &Value, schema: &Value, place: &str) -> Result<(), String> {
    if let Some(name) = shape["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        return value(found, definition(name, schema)?, schema, place);
    }
    for word in ["anyOf", "oneOf"] {
        if let Some(shapes) = shape[word].as_array()
            && !shapes.iter().any(|shape| value(found, shape, schema, place).is_ok())
        {
            return Err(format!("{place}: {found} is none of `{word}`"));
        }
    }
    if let Some(kinds) = shape.get("type") {
        let kinds = kinds.as_array().cloned().unwrap_or_else(|| vec![kinds.clone()]);
        if !kinds.iter().any(|kind| is(found, kind.as_str().unwrap_or_default())) {
            return Err(format!("{place}: {found} is no {kinds:?}"));
        }
    }
    if let Some(values) = shape["enum"].as_array()
        && !values.contains(found)
    {
        return Err(format!("{place}: {found} is none of {values:?}"));
    }
    for key in shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if found.get(key).is_none() {
            return Err(format!("{place}: no `{key}`"));
        }
    }
    for (key, member) in found.as_object().into_iter().flatten() {
        match shape["properties"].get(key) {
            Some(shape) => value(member, shape, schema, &format!("{place}.{key}"))?,
            None if shape["properties"].is_object() && !shape["additionalProperties"].is_object() => {
                return Err(format!("{place}: `{key}` is not described"));
            }
            None => {}
        }
    }
    for (index, item) in found.as_array().into_iter().flatten().enumerate() {
        if let Some(shape) = shape.get("items") {
            value(item, shape, schema, &format!("{place}[{index}]"))?;
        }
    }
    Ok(())
}

fn is(found: &Value, kind: &str) -> bool {
    match kind {
        "object" => found.is_object(),
        "array" => found.is_array(),
        "string" => found.is_string(),
        "boolean" => found.is_boolean(),
        "null" => found.is_null(),
        "integer" => found.is_i64() || found.is_u64(),
        "number" => found.is_number(),
        _ => false,
    }
}

#[test]
fn the_check_of_documents_refuses() {
    let schema = serde_json::json!({"$defs": {"Thing": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}, "of": {"type": "array", "items": {"$ref": "#/$defs/Thing"}}}}}});
    let answer = |text: &str| fits(&serde_json::from_str(text).unwrap(), "Thing", &schema);
    assert_eq!(answer(r#"{"n": 1, "of": [{"n": 2}]}"#), Ok(()));
    for bad in ["[]", "{}", r#"{"n": "1"}"#, r#"{"n": 1, "of": [{}]}"#, r#"{"n": 1, "m": 2}"#] {
        assert!(answer(bad).is_err(), "{bad}");
    }
}
