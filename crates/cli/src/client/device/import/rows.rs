//! Entries of a list, where they stand, and what becomes of them.

use std::{collections::HashMap, path::Path};

use serde::Serialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::Syntax;
use crate::client::input;

/// An entry of a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it stands, such as `line 4`.
    pub(super) place: String,
    pub(super) value: Value,
}

/// The entries of a file.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) entries: Vec<Entry>,
    /// A word about the file as a whole.
    pub(super) note: Option<Named>,
}

/// A device as the API takes it, and where it comes from.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) place: String,
    pub(super) device: Value,
}

impl Row {
    pub(super) fn name(&self) -> &str {
        self.device["name"].as_str().unwrap_or_default()
    }
}

/// Something that is said of an entry.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Named {
    /// File and place.
    pub(super) place: String,
    /// The device's name in the file; empty where it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    pub(super) reason: String,
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place)?;
        if !self.name.is_empty() {
            write!(f, ", {}", self.name)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) rows: Vec<Row>,
    /// Entries that can't be used.
    pub(super) bad: Vec<Named>,
    /// Entries that are not meant.
    pub(super) skipped: Vec<Named>,
}

impl Read {
    pub(super) fn add(&mut self, more: Self) {
        self.rows.extend(more.rows);
        self.bad.extend(more.bad);
        self.skipped.extend(more.skipped);
    }

    /// Puts the file before every place.
    pub(super) fn in_file(&mut self, file: &Path) {
        let places = self.rows.iter_mut().map(|row| &mut row.place);
        let named = self.bad.iter_mut().chain(&mut self.skipped).map(|named| &mut named.place);
        for place in places.chain(named) {
            *place = if place.is_empty() {
                file.display().to_string()
            } else {
                format!("{} {place}", file.display())
            };
        }
    }

    /// One name is one device: the second entry with it is bad.
    pub(super) fn refuse_twins(&mut self) {
        let mut first: HashMap<String, String> = HashMap::new();
        let bad = &mut self.bad;
        self.rows.retain(|row| match first.get(row.name()) {
            Some(place) => {
                let reason = format!("the same name as in {place}; a device is listed once");
                bad.push(Named { place: row.place.clone(), name: row.name().to_owned(), reason });
                false
            }
            None => {
                first.insert(row.name().to_owned(), row.place.clone());
                true
            }
        });
    }
}

/// Reads the entries of a file.
pub(super) fn entries(text: &str, syntax: Syntax) -> Result<Entries, String> {
    // Spreadsheets begin their files with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let entries = match syntax {
        Syntax::Csv => csv(text)?,
        Syntax::Yaml => yaml(text)?,
        Syntax::Ndjson => text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(i, line)| {
                let place = format!("line {}", i + 1);
                match serde_json::from_str(line) {
                    Ok(value) => Ok(Entry { place, value }),
                    Err(error) => Err(format!("{place}: {error}")),
                }
            })
            .collect::<Result<_, _>>()?,
        Syntax::Json => return json(text),
    };
    Ok(Entries { entries, note: None })
}

/// A list, one object, or a page of NetBox's API with its `results`.
fn json(text: &str) -> Result<Entries, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut note = None;
    if let Some(Value::Array(results)) = value.get_mut("results").map(Value::take) {
        if value["next"].is_string() {
            let (here, all) = (results.len(), value["count"].as_u64().unwrap_or_default());
            let reason = format!(
                "only {here} of {all} devices are in this file; ask NetBox again with ?limit=0 for all"
            );
            note = Some(Named { place: String::new(), name: String::new(), reason });
        }
        value = Value::Array(results);
    }
    let values = match value {
        Value::Array(values) => values,
        one => vec![one],
    };
    let number = |(i, value)| Entry { place: format!("entry {}", i + 1), value };
    Ok(Entries { entries: values.into_iter().enumerate().map(number).collect(), note })
}

fn yaml(text: &str) -> Result<Vec<Entry>, String> {
    let entry = |spanned: Spanned<Value>| Entry {
        place: format!("line {}", spanned.referenced.line()),
        value: spanned.value,
    };
    if let Ok(list) = serde_saphyr::from_str::<Vec<Spanned<Value>>>(text) {
        return Ok(list.into_iter().map(entry).collect());
    }
    // Several documents, or a single device.
    let documents = serde_saphyr::from_multiple::<Value>(text).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    for value in documents {
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        for value in values {
            entries.push(Entry { place: format!("entry {}", entries.len() + 1), value });
        }
    }
    Ok(entries)
}

/// A row is an object of texts by its headings; empty cells are left out.
fn csv(text: &str) -> Result<Vec<Entry>, String> {
    let mut reader = ::csv::ReaderBuilder::new().trim(::csv::Trim::All).from_reader(text.as_bytes());
    let headings = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut entries = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, ::csv::Position::line);
        let mut row = Map::new();
        for (heading, cell) in headings.iter().zip(&record).filter(|(_, cell)| !cell.is_empty()) {
            row.insert(heading.to_owned(), Value::from(cell));
        }
        if !row.is_empty() {
            entries.push(Entry { place: format!("line {line}"), value: Value::Object(row) });
        }
    }
    Ok(entries)
}

/// A cell of our own lists: numbers as such, in quotes within the cell as text.
pub(super) fn cell(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.clone(), input::cell_value)
}
