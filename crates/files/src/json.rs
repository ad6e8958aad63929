//! JSON and NDJSON, read strictly: a name that is there twice in an object is refused (RFC 8259 §4 calls
//! the result unpredictable), as the intake does.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, value::RawValue};

use crate::{Document, Fault, Item, Node, Page, text::line_at};

/// Reads one JSON value. The depth is bounded by the parser.
///
/// # Errors
/// A text for people, with line and column.
pub fn read(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice::<Strict>(bytes)
        .map(|strict| strict.0)
        .map_err(|error| format!("not a JSON value: {error}"))
}

/// Reads a file of one value: an array stands for its items, and so does a page of an API.
///
/// # Errors
/// The first fault.
pub fn document(text: &str) -> Result<Document, Fault> {
    let blank = text.len() - text.trim_start().len();
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
        return Ok(Document { items: items_of(text, &items)?, ..Document::default() });
    }
    let value = value_at(text, 1)?;
    if let Value::Object(object) = &value
        && object.get("results").is_some_and(Value::is_array)
        && let Ok(raw) = serde_json::from_str::<RawPage<'_>>(text)
    {
        let page = Page {
            count: object.get("count").and_then(Value::as_u64),
            next: object.get("next").and_then(Value::as_str).map(str::to_owned),
        };
        return Ok(Document {
            items: items_of(text, &raw.results)?,
            page: Some(page),
            ..Document::default()
        });
    }
    let line = line_at(text, blank);
    let items =
        if value.is_null() { Vec::new() } else { vec![Item { line, tree: Node::of_json(line, value) }] };
    Ok(Document { items, ..Document::default() })
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// The items that stand within `text`, each with its line.
fn items_of(text: &str, raw: &[&RawValue]) -> Result<Vec<Item>, Fault> {
    let (mut line, mut from) = (1, 0);
    let mut items = Vec::with_capacity(raw.len());
    for item in raw {
        // The raw values are parts of `text`.
        let at = (item.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len());
        line += line_at(&text[from..], at.saturating_sub(from)) - 1;
        from = at;
        items.push(Item { line, tree: Node::of_json(line, value_at(item.get(), line)?) });
    }
    Ok(items)
}

/// Reads a value that begins in this line of its file.
fn value_at(text: &str, line: u32) -> Result<Value, Fault> {
    serde_json::from_str::<Strict>(text).map(|strict| strict.0).map_err(|error| fault(&error, line))
}

fn fault(error: &serde_json::Error, line: u32) -> Fault {
    let whole = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = whole.strip_suffix(&place).unwrap_or(&whole);
    let inner = u32::try_from(error.line()).unwrap_or(u32::MAX).max(1);
    Fault::at(line.saturating_add(inner - 1), format!("{message} (column {})", error.column()))
}

/// Reads a value a line; blank lines count for nothing.
///
/// # Errors
/// Every line that is no JSON.
pub fn lines(text: &str) -> Result<Vec<Item>, Vec<Fault>> {
    let (mut items, mut faults) = (Vec::new(), Vec::new());
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        match value_at(content, line) {
            Ok(value) => items.push(Item { line, tree: Node::of_json(line, value) }),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(items) } else { Err(faults) }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StrictValue.deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct StrictValue;

impl<'de> DeserializeSeed<'de> for StrictValue {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self)?;
            if object.contains_key(&name) {
                let name: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format_args!("the name {name:?} is there twice")));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(text: &str) -> Vec<(u32, Value)> {
        let document = document(text).unwrap();
        document.items.iter().map(|item| (item.line, item.tree.to_json())).collect()
    }

    #[test]
    fn values_are_read_as_they_are() {
        let text = r#"{"a":[1,-2,2.5,1e3,true,null,"x\u00e9"],"b":{"c":{}},"d":18446744073709551615}"#;
        assert_eq!(read(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for bad in
            [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":1,"a":1}}]"#, "{} x", "{}{}", "", "{", "\u{feff}{}", "NaN"]
        {
            assert!(read(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(read(b"\xff").is_err());
        assert!(read("[".repeat(100_000).as_bytes()).is_err(), "depth is bounded");
        assert!(read(br#"{"a":1,"a":2}"#).unwrap_err().contains("twice"));
    }

    #[test]
    fn items_know_their_lines() {
        assert_eq!(found("\n{\"a\": 1}\n"), [(2, json!({"a": 1}))]);
        assert_eq!(
            found("[\n {\"a\":\n  1},\r\n\n {\"a\": \"\u{e9}\"}, 3]"),
            [(2, json!({"a": 1})), (5, json!({"a": "\u{e9}"})), (5, json!(3))]
        );
        assert_eq!(found("[]"), []);
        assert_eq!(found("null"), []);
    }

    #[test]
    fn a_page_is_known() {
        let text =
            "{\"count\": 9, \"next\": \"http://x/?offset=1\",\n \"results\": [\n{\"a\": 1},\n{\"a\": 2}]}";
        let document = document(text).unwrap();
        assert_eq!(document.page, Some(Page { count: Some(9), next: Some("http://x/?offset=1".to_owned()) }));
        assert_eq!(document.items.iter().map(|item| item.line).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn names_that_are_there_twice_are_placed() {
        for (text, line) in [
            ("{\"a\": 1,\n \"a\": 2}", 2),
            ("[{},\n {\"b\": {\"a\": 1,\n  \"a\": 2}}]", 3),
            ("{\"results\": [\n{\"a\": 1, \"a\": 2}]}", 2),
        ] {
            let fault = document(text).unwrap_err();
            assert_eq!(fault.line, Some(line), "{fault:?}");
            assert!(fault.message.starts_with("the name \"a\" is there twice"), "{fault:?}");
        }
    }

    #[test]
    fn every_bad_line_is_named() {
        let faults = lines("{}\n{\n\n{\"a\": 1, \"a\": 2}\n{}\n").unwrap_err();
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [Some(2), Some(4)]);
        let items = lines("{\"a\": 1}\n\n{\"a\": 2}").unwrap();
        assert_eq!(items.iter().map(|item| item.line).collect::<Vec<_>>(), [1, 3]);
    }
}
