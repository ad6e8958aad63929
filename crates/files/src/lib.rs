//! Text files that users hand in: orders, devices and definitions as YAML, JSON, NDJSON or CSV.
//!
//! The commands of the client and `plan` read such files here, so that one rule holds for all of them. Every
//! function is pure: bytes or a text in, a tree that knows its lines or all faults out. Nothing here knows
//! what an order or a device is, and nothing reads or writes files.

pub mod csv;
pub mod json;
pub mod text;
pub mod tree;
pub mod typing;
pub mod yaml;

pub use csv::Delimiter;
pub use tree::{Content, Entry, Node};

/// Largest file in bytes.
pub const MAX_FILE_BYTES: usize = 64 << 20;

/// A fault in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line from 1; none for the file as a whole.
    pub line: Option<u32>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Fault {
    /// A fault of the file as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into() }
    }

    /// A fault in a line.
    pub fn at(line: u32, message: impl Into<String>) -> Self {
        Self { line: Some(line), message: message.into() }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// One or several YAML documents; a list stands for its items.
    Yaml,
    /// One JSON value; an array stands for its items.
    Json,
    /// One JSON value a line.
    Ndjson,
    /// A heading line, then a row a line.
    Csv,
}

impl Syntax {
    /// The syntax that a file name's ending says.
    #[must_use]
    pub fn of_ending(ending: &str) -> Option<Self> {
        Some(match ending.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "csv" | "tsv" => Self::Csv,
            _ => return None,
        })
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Document {
    /// Its items in order.
    pub items: Vec<Item>,
    /// The headings of CSV; of other files empty.
    pub headings: Vec<String>,
    /// What stands around the items of a page of an API.
    pub page: Option<Page>,
}

/// One item of a file: an order, a device.
#[derive(Debug)]
pub struct Item {
    /// The line in which it begins.
    pub line: u32,
    /// What it says.
    pub tree: Node,
}

/// A page of an API: `{"count": …, "next": …, "results": […]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many items there are on all pages, if it says so.
    pub count: Option<u64>,
    /// Where the next page is, if there is one.
    pub next: Option<String>,
}

/// Reads a text.
///
/// # Errors
/// All faults of the file; at least one.
pub fn read(text: &str, syntax: Syntax, delimiter: Option<Delimiter>) -> Result<Document, Vec<Fault>> {
    match syntax {
        Syntax::Yaml => Ok(Document { items: yaml::items(text)?, ..Document::default() }),
        Syntax::Json => json::document(text).map_err(|fault| vec![fault]),
        Syntax::Ndjson => Ok(Document { items: json::lines(text)?, ..Document::default() }),
        Syntax::Csv => csv::document(text, delimiter),
    }
}
