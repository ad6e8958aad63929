//! Reading `definition.yaml`: every mistake is found, each with its line.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    str::FromStr,
};

use serde_json::{Map, Value};
use turnup_core::{
    id::ServiceId,
    name::{DefinitionName, PlatformName},
    order::{Endpoint, MAX_ENDPOINTS},
};

use crate::{
    definition::{Definition, Platform, Role},
    error::PlanError,
    mistake::Mistake,
    schema::{Schema, unknown},
    shape::Shape,
    template::Templates,
    yaml::{self, Content, Entry, Node},
};

const FIELDS: [&str; 9] = [
    "name",
    "version",
    "title",
    "description",
    "attributes",
    "endpoints",
    "same_device",
    "platforms",
    "example",
];
const ROLE_FIELDS: [&str; 4] = ["title", "min", "max", "attributes"];
const PLATFORM_FIELDS: [&str; 3] = ["template", "keys", "owns"];
const EXAMPLE_FIELDS: [&str; 2] = ["attributes", "endpoints"];
/// What a template may use, and what each of them has.
const CONTEXT: [&str; 6] = ["attributes", "device", "endpoint", "endpoints", "peers", "service"];
const ENDPOINT_NAMES: [&str; 3] = ["attributes", "device", "role"];

/// Reads a definition. `load` gives the text of another file in its folder.
pub(crate) fn definition(
    file: &Path,
    text: &str,
    load: &dyn Fn(&str) -> io::Result<String>,
) -> Result<Definition, Vec<Mistake>> {
    let mut reader = Reader { file, mistakes: Vec::new() };
    let root = match yaml::parse(text) {
        Ok(root) => root,
        Err((line, message)) => {
            reader.mistake(line, message);
            return Err(reader.mistakes);
        }
    };
    let fields = reader.map(&root, "a definition", Some(&FIELDS));
    if !matches!(root.content, Content::Map(_)) {
        return Err(reader.mistakes);
    }
    let name = reader.definition_name(fields, root.line);
    let version = reader.required(fields, "version", root.line);
    let version = version.and_then(|node| reader.count(node, "version", 1, u32::MAX as usize));
    let title = reader.required(fields, "title", root.line).and_then(|node| reader.text(node, "title"));
    let description = find(fields, "description").and_then(|node| reader.text(node, "description"));
    let attributes = reader.schema(find(fields, "attributes"));
    let roles = reader.required(fields, "endpoints", root.line).map(|node| reader.roles(node));
    let same_device = find(fields, "same_device").is_some_and(|node| reader.bool(node, "same_device"));
    let platforms = reader.required(fields, "platforms", root.line).map(|node| reader.platforms(node));
    let platforms = platforms.unwrap_or_default();
    let sources = reader.sources(&platforms, load);
    let templates = reader.templates(sources.clone());

    let (Some(name), Some(version), Some(title), Some(attributes), Some(roles), Some(templates)) =
        (name, version, title, attributes, roles, templates)
    else {
        return Err(reader.sorted());
    };
    let definition = Definition {
        name,
        version: u32::try_from(version).unwrap_or(u32::MAX),
        title,
        description: description.unwrap_or_default(),
        attributes,
        roles,
        same_device,
        platforms: platforms.into_iter().map(|(name, _, platform)| (name, platform)).collect(),
        templates,
    };
    for (template, source) in &sources {
        reader.names_used(&definition, template, source);
    }
    if let (Some(example), true) = (find(fields, "example"), reader.mistakes.is_empty()) {
        reader.example(&definition, example);
    }
    if reader.mistakes.is_empty() { Ok(definition) } else { Err(reader.sorted()) }
}

fn find<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// A name of XML and YANG, in ASCII.
fn is_node_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// A file directly in the definition's folder.
fn is_file_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

struct Reader<'f> {
    file: &'f Path,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, line: u32, message: impl Into<String>) {
        self.mistakes.push(Mistake { file: self.file.to_owned(), line, message: message.into() });
    }

    fn sorted(mut self) -> Vec<Mistake> {
        self.mistakes.sort();
        self.mistakes
    }

    fn template_mistake(&mut self, template: &str, line: usize, message: impl Into<String>) {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        self.mistakes.push(Mistake {
            file: self.file.with_file_name(template),
            line,
            message: message.into(),
        });
    }

    /// The entries of a map; with `known`, other keys are mistakes.
    fn map<'n>(&mut self, node: &'n Node, what: &str, known: Option<&[&str]>) -> &'n [Entry] {
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

    fn required<'n>(&mut self, entries: &'n [Entry], key: &str, line: u32) -> Option<&'n Node> {
        let found = find(entries, key);
        if found.is_none() {
            self.mistake(line, format!("the key {key:?} is missing"));
        }
        found
    }

    fn text(&mut self, node: &Node, what: &str) -> Option<String> {
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

    fn count(&mut self, node: &Node, what: &str, min: usize, max: usize) -> Option<usize> {
        let number = match &node.content {
            Content::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
            _ => None,
        };
        let fits = number.filter(|number| (min..=max).contains(number));
        if fits.is_none() {
            self.mistake(node.line, format!("{what} must be a whole number from {min} to {max}"));
        }
        fits
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, text: &str, line: u32) -> Option<T> {
        text.parse().map_err(|error| self.mistake(line, format!("{error}"))).ok()
    }

    fn definition_name(&mut self, fields: &[Entry], line: u32) -> Option<DefinitionName> {
        let node = self.required(fields, "name", line)?;
        let text = self.text(node, "name")?;
        let name: DefinitionName = self.parsed(&text, node.line)?;
        let folder = self.file.parent().and_then(Path::file_name);
        if folder.is_some_and(|folder| folder != name.as_str()) {
            self.mistake(node.line, format!("the folder of definition {name} must be named {name} too"));
        }
        Some(name)
    }

    /// Without a node: an object that takes no attributes.
    fn schema(&mut self, node: Option<&Node>) -> Option<Schema> {
        let source = node.map_or_else(|| Value::Object(Map::new()), Node::to_json);
        match Schema::compile(source) {
            Ok(schema) => Some(schema),
            Err(found) => {
                for (pointer, message) in found {
                    self.mistake(node.map_or(1, |node| node.line_at(&pointer)), message);
                }
                None
            }
        }
    }

    fn roles(&mut self, node: &Node) -> Vec<Role> {
        let mut roles = Vec::new();
        for Entry { line, key, value } in self.map(node, "'endpoints'", None) {
            let fields = self.map(value, &format!("endpoint role {key:?}"), Some(&ROLE_FIELDS));
            if !is_node_name(key) {
                self.mistake(*line, format!("{key:?} is no role name; use letters, digits, '-' and '_'"));
            }
            let title = find(fields, "title").and_then(|node| self.text(node, "title"));
            let mut count = |key, min| match find(fields, key) {
                Some(node) => self.count(node, key, min, MAX_ENDPOINTS),
                None => Some(1),
            };
            let (min, max) = (count("min", 0), count("max", 1));
            let attributes = self.schema(find(fields, "attributes"));
            if let (Some(min), Some(max), Some(attributes)) = (min, max, attributes) {
                if min > max {
                    self.mistake(
                        *line,
                        format!(
                            "role {key:?} has a min of {min} and a max of {max}; both are 1 unless given"
                        ),
                    );
                }
                let title = title.unwrap_or_default();
                roles.push(Role { name: key.clone(), title, min, max, attributes });
            }
        }
        if roles.is_empty() && self.mistakes.is_empty() {
            self.mistake(node.line, "a service has at least one endpoint role");
        }
        roles
    }

    fn platforms(&mut self, node: &Node) -> Vec<(PlatformName, u32, Platform)> {
        let entries = self.map(node, "'platforms'", None);
        if entries.is_empty() {
            self.mistake(node.line, "a definition has at least one platform");
        }
        let mut platforms = Vec::new();
        for Entry { line, key, value } in entries {
            let name = self.parsed(key, *line);
            let fields = self.map(value, &format!("platform {key:?}"), Some(&PLATFORM_FIELDS));
            let template = self.required(fields, "template", *line);
            let template = template.and_then(|node| self.template_name(node));
            let keys = find(fields, "keys").map(|node| self.keys(node)).unwrap_or_default();
            let owns = self.required(fields, "owns", *line).map(|node| self.owns(node));
            if let (Some(name), Some(template), Some(owns)) = (name, template, owns) {
                platforms.push((
                    name,
                    *line,
                    Platform { template, shape: Shape { keys, owns, shares: Vec::new() } },
                ));
            }
        }
        platforms
    }

    fn template_name(&mut self, node: &Node) -> Option<String> {
        let name = self.text(node, "template")?;
        if !is_file_name(&name) {
            let message = format!("{name:?} must be the name of a file in the definition's own folder");
            self.mistake(node.line, message);
            return None;
        }
        Some(name)
    }

    fn keys(&mut self, node: &Node) -> BTreeMap<String, Vec<String>> {
        let mut keys = BTreeMap::new();
        for Entry { line, key: list, value } in self.map(node, "'keys'", None) {
            let names = self.names(value, &format!("the keys of list {list:?}"));
            for name in names.iter().chain([list]).filter(|name| !is_node_name(name)) {
                self.mistake(*line, format!("{name:?} is no name of a list or leaf"));
            }
            keys.insert(list.clone(), names);
        }
        keys
    }

    fn owns(&mut self, node: &Node) -> Vec<String> {
        let paths = self.names(node, "'owns'");
        for (i, path) in paths.iter().enumerate() {
            let line = node.line_at(&format!("/{i}"));
            if !path.split('/').all(is_node_name) {
                let message =
                    format!("{path:?} is no path; write it like interfaces/interface, without prefixes");
                self.mistake(line, message);
            }
            let around = |other: &String| format!("{path}/").starts_with(&format!("{other}/"));
            if let Some(other) = paths.iter().enumerate().find(|(j, other)| *j != i && around(other)) {
                self.mistake(line, format!("{path:?} is owned already with {:?}; leave one out", other.1));
            }
        }
        paths
    }

    /// A list of at least one text.
    fn names(&mut self, node: &Node, what: &str) -> Vec<String> {
        match &node.content {
            Content::List(items) if !items.is_empty() => {
                items.iter().filter_map(|item| self.text(item, what)).collect()
            }
            _ => {
                self.mistake(node.line, format!("{what} must be a list of at least one name"));
                Vec::new()
            }
        }
    }

    fn sources(
        &mut self,
        platforms: &[(PlatformName, u32, Platform)],
        load: &dyn Fn(&str) -> io::Result<String>,
    ) -> BTreeMap<String, String> {
        let mut sources = BTreeMap::new();
        let mut tried = BTreeSet::new();
        for (_, line, platform) in platforms {
            if !tried.insert(&platform.template) {
                continue;
            }
            match load(&platform.template) {
                Ok(source) => {
                    sources.insert(platform.template.clone(), source);
                }
                Err(error) => {
                    self.mistake(*line, format!("the template {} can't be read: {error}", platform.template));
                }
            }
        }
        sources
    }

    fn templates(&mut self, sources: BTreeMap<String, String>) -> Option<Templates> {
        match Templates::compile(sources) {
            Ok(templates) => Some(templates),
            Err(found) => {
                for (template, error) in found {
                    self.template_mistake(&template, error.line, error.reason);
                }
                None
            }
        }
    }

    /// A template must use only what there is.
    fn names_used(&mut self, definition: &Definition, template: &str, source: &str) {
        for used in definition.templates.names_used(template) {
            let mut steps = used.split('.');
            let (root, first, second) = (steps.next().unwrap_or_default(), steps.next(), steps.next());
            let wrong = match (root, first, second) {
                ("attributes", Some(name), _) if !definition.attributes.is_open() => {
                    let known: Vec<&str> = definition.attributes.names().collect();
                    (!known.contains(&name)).then(|| unknown("attribute", name, known))
                }
                ("endpoint", Some("attributes"), Some(name)) => {
                    let open = definition.roles.iter().any(|role| role.attributes.is_open());
                    let known: Vec<&str> =
                        definition.roles.iter().flat_map(|role| role.attributes.names()).collect();
                    (!open && !known.contains(&name)).then(|| unknown("endpoint attribute", name, known))
                }
                ("endpoint", Some(name), _) if !ENDPOINT_NAMES.contains(&name) => {
                    Some(unknown("property of an endpoint", name, ENDPOINT_NAMES))
                }
                ("service", Some(name), _) if name != "id" => {
                    Some(unknown("property of the service", name, ["id"]))
                }
                (root, _, _) if !CONTEXT.contains(&root) => Some(unknown("variable", root, CONTEXT)),
                _ => None,
            };
            if let Some(message) = wrong {
                let line = source.lines().position(|line| line.contains(&used)).unwrap_or_default() + 1;
                self.template_mistake(template, line, message);
            }
        }
    }

    /// Plans the example order on every platform.
    fn example(&mut self, definition: &Definition, example: &Node) {
        let fields = self.map(example, "'example'", Some(&EXAMPLE_FIELDS));
        let attributes = match find(fields, "attributes").map(Node::to_json) {
            Some(Value::Object(attributes)) => attributes,
            _ => Map::new(),
        };
        let endpoints = find(fields, "endpoints").map_or(Value::Null, Node::to_json);
        let endpoints: Vec<Endpoint> = match serde_json::from_value(endpoints) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                let message = format!("'endpoints' of 'example' are written as in an order: {error}");
                return self.mistake(example.line, message);
            }
        };
        for (name, platform) in &definition.platforms {
            let checked = match definition.check(&attributes, &endpoints, |_| Some(name.clone())) {
                Ok(checked) => checked,
                Err(faults) => {
                    for fault in faults {
                        self.mistake(example.line_at(&fault.pointer), fault.detail);
                    }
                    return;
                }
            };
            let service = ServiceId(uuid::Uuid::nil());
            let planned = definition
                .footprints(service, &checked.attributes, &checked.endpoints, &checked.platforms)
                .map(drop);
            match planned {
                Ok(()) => {}
                Err(PlanError::Template { source, .. }) => {
                    let message = format!("the example on {name}: {}", source.reason);
                    self.template_mistake(&platform.template, source.line, message);
                }
                Err(PlanError::Content { source, .. }) => {
                    self.template_mistake(&platform.template, 1, format!("the example on {name}: {source}"));
                }
                Err(error) => self.mistake(example.line, format!("the example on {name}: {error}")),
            }
        }
    }
}
