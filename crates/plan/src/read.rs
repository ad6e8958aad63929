//! Reading `definition.yaml` and the files that it names: every mistake is found, each with its line.

mod check;
mod drift;
mod parts;
mod resources;
mod retry;
mod sources;

use std::{path::Path, str::FromStr, sync::Arc};

use turnup_core::name::DefinitionName;
use turnup_files::{Content, Entry, Fault, Node, yaml};

use crate::{
    bundle::{Bundle, MAIN, is_file_name},
    definition::Definition,
    mistake::Mistake,
    schema::unknown,
};

const FIELDS: [&str; 13] = [
    "name",
    "version",
    "title",
    "description",
    "attributes",
    "resources",
    "endpoints",
    "same_device",
    "platforms",
    "audit",
    "drift",
    "retry",
    "example",
];

/// Reads a definition. Mistakes name files inside of `prefix`; `folder` is the name of the folder that the
/// bundle was read from.
pub(crate) fn definition(
    prefix: &Path,
    folder: Option<&str>,
    bundle: &Arc<Bundle>,
) -> Result<Definition, Vec<Mistake>> {
    let file = prefix.join(MAIN);
    let mut reader = Reader::new(&file);
    let root = match yaml::parse(bundle.file(MAIN).unwrap_or_default()) {
        Ok(root) => root,
        Err(faults) => {
            reader.faults(faults);
            return Err(reader.mistakes);
        }
    };
    let fields = reader.map(&root, "a definition", Some(&FIELDS));
    if !matches!(root.content, Content::Map(_)) {
        return Err(reader.mistakes);
    }
    let name = reader.definition_name(fields, root.line, folder);
    let version = reader.required(fields, "version", root.line);
    // Stored as a 32-bit number with sign.
    let version = version.and_then(|node| reader.number(node, "version", 1, i64::from(i32::MAX)));
    let title = reader.required(fields, "title", root.line).and_then(|node| reader.text(node, "title"));
    let description = find(fields, "description").and_then(|node| reader.text(node, "description"));
    let resources = reader.resources(find(fields, "resources"), false);
    let attributes = reader.schema(find(fields, "attributes"), &resources);
    let roles = reader.required(fields, "endpoints", root.line).map(|node| reader.roles(node));
    let same_device = find(fields, "same_device").is_some_and(|node| reader.bool(node, "same_device"));
    let platforms = reader.required(fields, "platforms", root.line).map(|node| reader.platforms(node));
    let platforms = platforms.unwrap_or_default();
    let (audit_every, before_confirm) =
        find(fields, "audit").map(|node| reader.audit(node)).unwrap_or_default();
    let retry = find(fields, "retry").map(|node| reader.retry(node)).unwrap_or_default();
    let drift = find(fields, "drift").map(|node| reader.drift(node)).unwrap_or_default();
    let mut sources = reader.main_templates(&platforms, bundle);
    let audits = reader.audit_files(&platforms, bundle, &mut sources);
    reader.files_named(&platforms, bundle);
    if let (Some(_), Some(node)) = (before_confirm, find(fields, "audit")) {
        reader.has_checks(&platforms, node);
    }
    reader.disclosed_nodes(&platforms, &sources);
    let templates = reader.templates(&sources);

    let (Some(name), Some(version), Some(title), Some(attributes), Some(roles), Some(templates)) =
        (name, version, title, attributes, roles, templates)
    else {
        return reader.failed();
    };
    let mut definition = Definition {
        name,
        version: u32::try_from(version).unwrap_or(u32::MAX),
        title,
        description: description.unwrap_or_default(),
        attributes,
        resources,
        roles,
        same_device,
        platforms: platforms.into_iter().map(|found| (found.name, found.platform)).collect(),
        templates,
        audit_every,
        before_confirm,
        drift,
        retry,
        audits,
        example: None,
        bundle: Arc::clone(bundle),
    };
    for (template, source) in &sources {
        reader.names_used(&definition, template, source);
        reader.shows_no_secret(&definition, template, source);
    }
    if let (Some(example), true) = (find(fields, "example"), reader.mistakes.is_empty()) {
        reader.example(&mut definition, example);
    }
    reader.done(definition)
}

pub(crate) fn find<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// A name of XML and YANG, in ASCII.
pub(crate) fn is_node_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Collects mistakes in one file and those beside it.
pub(crate) struct Reader<'f> {
    file: &'f Path,
    mistakes: Vec<Mistake>,
}

impl<'f> Reader<'f> {
    pub(crate) fn new(file: &'f Path) -> Self {
        Self { file, mistakes: Vec::new() }
    }

    pub(crate) fn mistake(&mut self, line: u32, message: impl Into<String>) {
        self.mistakes.push(Mistake { file: self.file.to_owned(), line, message: message.into() });
    }

    /// What makes a text no YAML.
    pub(crate) fn faults(&mut self, faults: Vec<Fault>) {
        for fault in faults {
            self.mistake(fault.line.unwrap_or(1), fault.message);
        }
    }

    /// What was read, or the mistakes in it.
    pub(crate) fn done<T>(self, read: T) -> Result<T, Vec<Mistake>> {
        if self.mistakes.is_empty() { Ok(read) } else { self.failed() }
    }

    fn failed<T>(mut self) -> Result<T, Vec<Mistake>> {
        self.mistakes.sort();
        self.mistakes.dedup();
        Err(self.mistakes)
    }

    /// A mistake in another file of the definition.
    fn mistake_in(&mut self, file: &str, line: usize, message: impl Into<String>) {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        let file = self.file.with_file_name(file);
        self.mistakes.push(Mistake { file, line, message: message.into() });
    }

    /// The entries of a map; with `known`, other keys are mistakes.
    pub(crate) fn map<'n>(&mut self, node: &'n Node, what: &str, known: Option<&[&str]>) -> &'n [Entry] {
        let Content::Map(entries) = &node.content else {
            self.mistake(node.line, format!("{what} must be a map, this is {}", node.kind()));
            return &[];
        };
        for entry in entries {
            if let Some(known) = known.filter(|known| !known.contains(&entry.key.as_str())) {
                self.mistake(entry.line, format!("in {what} {}", unknown("key", &entry.key, known)));
            }
        }
        entries
    }

    pub(crate) fn required<'n>(&mut self, entries: &'n [Entry], key: &str, line: u32) -> Option<&'n Node> {
        let found = find(entries, key);
        if found.is_none() {
            self.mistake(line, format!("the key {key:?} is missing"));
        }
        found
    }

    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.content {
            Content::Text(text) if !text.trim().is_empty() => Some(text.clone()),
            Content::Text(_) => {
                self.mistake(node.line, format!("{what} must not be empty"));
                None
            }
            _ => {
                self.mistake(node.line, format!("{what} must be a text, this is {}", node.kind()));
                None
            }
        }
    }

    fn bool(&mut self, node: &Node, what: &str) -> bool {
        let Content::Bool(value) = node.content else {
            self.mistake(node.line, format!("{what} must be true or false, this is {}", node.kind()));
            return false;
        };
        value
    }

    pub(crate) fn number(&mut self, node: &Node, what: &str, min: i64, max: i64) -> Option<i64> {
        let number = match &node.content {
            Content::Number(number) => number.as_i64(),
            _ => None,
        };
        let fits = number.filter(|number| (min..=max).contains(number));
        if fits.is_none() {
            self.mistake(node.line, format!("{what} must be a whole number from {min} to {max}"));
        }
        fits
    }

    pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, text: &str, line: u32) -> Option<T> {
        text.parse().map_err(|error| self.mistake(line, format!("{error}"))).ok()
    }

    /// A list of at least one text, if there must be one.
    fn names(&mut self, node: &Node, what: &str, may_be_empty: bool) -> Vec<String> {
        match &node.content {
            Content::List(items) if may_be_empty || !items.is_empty() => {
                items.iter().filter_map(|item| self.text(item, what)).collect()
            }
            _ => {
                let least = if may_be_empty { "" } else { " of at least one name" };
                self.mistake(node.line, format!("{what} must be a list{least}, this is {}", node.kind()));
                Vec::new()
            }
        }
    }

    /// The name of another file of the definition.
    fn file_name(&mut self, node: &Node, what: &str) -> Option<String> {
        let name = self.text(node, what)?;
        if !is_file_name(&name) {
            let message = format!("{name:?} must be the name of a file in the definition's own folder");
            self.mistake(node.line, message);
            return None;
        }
        Some(name)
    }

    fn definition_name(
        &mut self,
        fields: &[Entry],
        line: u32,
        folder: Option<&str>,
    ) -> Option<DefinitionName> {
        let node = self.required(fields, "name", line)?;
        let text = self.text(node, "name")?;
        let name: DefinitionName = self.parsed(&text, node.line)?;
        if folder.is_some_and(|folder| folder != name.as_str()) {
            self.mistake(node.line, format!("the folder of definition {name} must be named {name} too"));
        }
        Some(name)
    }
}
