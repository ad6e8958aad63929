//! A YAML document as a tree that remembers its lines, so that all mistakes of a definition can be
//! reported at once, each where it is.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// A YAML node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Where it is written; for an alias, where its anchor is.
    pub(crate) line: u32,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) line: u32,
    pub(crate) key: String,
    pub(crate) value: Node,
}

/// Parses a document.
///
/// # Errors
/// Line and text, for syntax that isn't YAML, a key given twice, or aliases that expand beyond reason.
pub(crate) fn parse(text: &str) -> Result<Node, (u32, String)> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| (error.location().map_or(1, |at| line_of(at.line())), error.to_string()))
}

fn line_of(line: u64) -> u32 {
    u32::try_from(line.max(1)).unwrap_or(u32::MAX)
}

impl Node {
    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "a boolean",
            Content::Number(_) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// The same as JSON.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The line of what a JSON pointer (RFC 6901) into this node means, or of the nearest thing around it.
    pub(crate) fn line_at(&self, pointer: &str) -> u32 {
        let (mut node, mut line) = (self, self.line);
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next = match &node.content {
                Content::Map(entries) => {
                    entries.iter().find(|entry| entry.key == token).map(|entry| (&entry.value, entry.line))
                }
                Content::List(items) => {
                    token.parse::<usize>().ok().and_then(|i| items.get(i)).map(|item| (item, item.line))
                }
                _ => None,
            };
            let Some(found) = next else { break };
            (node, line) = found;
        }
        line
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { line: line_of(spanned.defined.line()), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Content, E> {
        Number::from_f64(value)
            .map(Content::Number)
            .ok_or_else(|| E::custom("a number that JSON can't hold; use a finite one"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let line = line_of(key.defined.line());
            entries.push(Entry { line, key: key.value, value: map.next_value()? });
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_keys_values_and_aliases() {
        let text = "# comment\na: 1\nb:\n  c: [x, y]\n  d: &d {e: true}\nf: *d\n\"null\": ~\n";
        let node = parse(text).unwrap();
        assert_eq!(
            node.to_json(),
            json!({"a": 1, "b": {"c": ["x", "y"], "d": {"e": true}}, "f": {"e": true}, "null": null})
        );
        assert_eq!(node.line_at("/a"), 2);
        assert_eq!(node.line_at("/b/c/1"), 4);
        assert_eq!(node.line_at("/b/c/7/x"), 4);
        assert_eq!(node.line_at("/f"), 6);
        assert_eq!(node.line_at("/f/e"), 5);
    }

    #[test]
    fn what_is_no_yaml_is_named_with_its_line() {
        let (line, message) = parse("a: 1\nb: [1\nc: 2\n").unwrap_err();
        assert!(line >= 2, "{line}: {message}");
        let (line, message) = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(line, 3, "{message}");
        assert!(message.contains("dup"), "{message}");
    }

    #[test]
    fn yes_and_no_are_texts() {
        assert_eq!(parse("[yes, no, on, true]").unwrap().to_json(), json!(["yes", "no", "on", true]));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let p = n - 1;
            text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{p}"); 10].join(", ")));
        }
        assert!(parse(&text).is_err());
    }
}
