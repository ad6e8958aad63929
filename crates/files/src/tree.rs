//! What a file says, as a tree that knows its lines.

use serde_json::{Map, Number, Value};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The line in which it begins; for an alias of YAML, the line of its anchor.
    pub line: u32,
    /// The value.
    pub content: Content,
    /// The characters of a plain YAML scalar that is no text by itself, such as `007` or `true`.
    pub written: Option<String>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A cell of CSV: its type is that of the field that it fills, see [`crate::typing`].
    Cell(String),
    /// A list.
    List(Vec<Node>),
    /// A map; every key is there once.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The line of the key.
    pub line: u32,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A value that stands in this line.
    #[must_use]
    pub fn new(line: u32, content: Content) -> Self {
        Self { line, content, written: None }
    }

    /// A JSON value; all of it stands in one line.
    #[must_use]
    pub fn of_json(line: u32, value: Value) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(value) => Content::Bool(value),
            Value::Number(number) => Content::Number(number),
            Value::String(text) => Content::Text(text),
            Value::Array(items) => {
                Content::List(items.into_iter().map(|item| Self::of_json(line, item)).collect())
            }
            Value::Object(map) => Content::Map(
                map.into_iter()
                    .map(|(key, value)| Entry { line, key, value: Self::of_json(line, value) })
                    .collect(),
            ),
        };
        Self::new(line, content)
    }

    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "a boolean",
            Content::Number(_) => "a number",
            Content::Text(_) | Content::Cell(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }

    /// The same as JSON; cells are texts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) | Content::Cell(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The value of a key, where this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text of a scalar as it is written; none for lists, maps and nothing.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        if let Some(written) = self.written.as_ref().filter(|_| self.content != Content::Null) {
            return Some(written.clone());
        }
        match &self.content {
            Content::Text(text) | Content::Cell(text) => Some(text.clone()),
            Content::Bool(value) => Some(value.to_string()),
            Content::Number(number) => Some(number.to_string()),
            Content::Null | Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The line of what a JSON pointer (RFC 6901) into this node means, or of the nearest thing around it.
    #[must_use]
    pub fn line_at(&self, pointer: &str) -> u32 {
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
