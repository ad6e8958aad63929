//! Entries of a list, where they stand, and what becomes of them.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;
use turnup_files::{Document, Item, Node, Page, typing::typed};

/// An entry of a file.
#[derive(Debug)]
pub struct Entry {
    /// Where it stands, such as `line 4`.
    pub place: String,
    /// What it says.
    pub value: Value,
}

/// The entries of a file whose fields have the types of this JSON Schema.
pub fn entries(document: &Document, types: &Value) -> Vec<Entry> {
    document
        .items
        .iter()
        .map(|item| Entry { place: format!("line {}", item.line), value: typed(&item.tree, types) })
        .collect()
}

/// A device as the API takes it, and where it comes from.
#[derive(Debug)]
pub struct Row {
    /// Where its entry stands.
    pub place: String,
    /// The device.
    pub device: Value,
}

impl Row {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.device["name"].as_str().unwrap_or_default()
    }
}

/// Something that is said of an entry.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Named {
    /// File and place.
    pub place: String,
    /// The device's name in the file; empty where it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What is said.
    pub reason: String,
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
pub struct Read {
    /// Devices that can be used.
    pub rows: Vec<Row>,
    /// Entries that can't be used.
    pub bad: Vec<Named>,
    /// Entries that are not meant.
    pub skipped: Vec<Named>,
    /// The pages of an API that the files are, each with the ids of its entries; none: an entry without id.
    pub pages: Vec<(Page, Vec<Option<String>>)>,
}

impl Read {
    /// Adds what was read of another file.
    pub fn add(&mut self, more: Self) {
        self.rows.extend(more.rows);
        self.bad.extend(more.bad);
        self.skipped.extend(more.skipped);
        self.pages.extend(more.pages);
    }

    /// Adds the page of an API that a document is, if it is one.
    pub fn add_page(&mut self, document: Document) {
        let id = |item: &Item| item.tree.get("id").and_then(Node::text);
        let entries = document.items.iter().map(id).collect();
        self.pages.extend(document.page.map(|page| (page, entries)));
    }

    /// What is missing, if the files are pages of an API and not all of them.
    #[must_use]
    pub fn missing_pages(&self) -> Option<String> {
        // A page that is given twice is one page.
        let entries = || self.pages.iter().flat_map(|(_, entries)| entries);
        let different: BTreeSet<&String> = entries().flatten().collect();
        let here = different.len() + entries().filter(|id| id.is_none()).count();
        let count = self.pages.iter().filter_map(|(page, _)| page.count).max();
        let of = match count {
            Some(count) if (here as u64) < count => format!("{here} of {count} devices"),
            // Without a count only a page without next one says that all are here.
            None if !self.pages.is_empty() && self.pages.iter().all(|(page, _)| page.next.is_some()) => {
                format!("a part of the devices ({here})")
            }
            _ => return None,
        };
        let next = self.pages.iter().find_map(|(page, _)| page.next.as_deref());
        let next = next.map(|next| format!("; the next one is {next}")).unwrap_or_default();
        Some(format!("only {of}: these are not all pages of the API's answer{next}"))
    }

    /// Puts the file before every place.
    pub fn in_file(&mut self, file: &str) {
        let places = self.rows.iter_mut().map(|row| &mut row.place);
        let named = self.bad.iter_mut().chain(&mut self.skipped).map(|named| &mut named.place);
        for place in places.chain(named) {
            *place = format!("{file} {place}");
        }
    }

    /// One name is one device: the second entry with it is bad.
    pub fn refuse_twins(&mut self) {
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
