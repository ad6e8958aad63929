//! The templates of a definition, and what they use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use turnup_core::order::Endpoint;

use super::{Reader, find, parts::Found};
use turnup_files::Node;

use crate::{
    bundle::{Bundle, MAIN},
    definition::Definition,
    example::Example,
    schema::unknown,
    template::Templates,
};

const EXAMPLE_FIELDS: [&str; 2] = ["attributes", "endpoints"];
/// What a template may use, and what each of them has.
const CONTEXT: [&str; 6] = ["attributes", "device", "endpoint", "endpoints", "peers", "service"];
const ENDPOINT_NAMES: [&str; 3] = ["attributes", "device", "role"];

/// The text of a template, and where it stands.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: String,
    /// Line in the file where it begins.
    pub(super) first_line: usize,
    pub(super) text: String,
    /// It writes XML; otherwise plain text.
    pub(super) markup: bool,
}

/// Templates by the name that the renderer knows them by.
pub(super) type Sources = BTreeMap<String, Source>;

impl Reader<'_> {
    /// The platforms' templates. The renderer knows them by their file names.
    pub(super) fn main_templates(&mut self, platforms: &[Found], bundle: &Bundle) -> Sources {
        let mut sources = Sources::new();
        let mut tried = BTreeSet::new();
        for Found { line, platform, .. } in platforms {
            if !tried.insert(&platform.template) {
                continue;
            }
            if let Some(text) = self.file_of(bundle, &platform.template, "template", *line) {
                let source = Source { file: platform.template.clone(), first_line: 1, text, markup: true };
                sources.insert(platform.template.clone(), source);
            }
        }
        sources
    }

    /// A file that the definition names on a line.
    pub(super) fn file_of(&mut self, bundle: &Bundle, name: &str, what: &str, line: u32) -> Option<String> {
        let found = bundle.file(name).map(str::to_owned);
        if found.is_none() {
            let message = format!("the {what} {name} can't be read: there is no such file in the folder");
            self.mistake(line, message);
        }
        found
    }

    /// All files of a bundle must be of use: it is published and kept as it is.
    pub(super) fn files_named(&mut self, platforms: &[Found], bundle: &Bundle) {
        for file in bundle.files().keys().filter(|file| *file != MAIN) {
            let named = platforms.iter().any(|Found { platform, .. }| {
                platform.template == *file || platform.audit.as_ref() == Some(file)
            });
            if !named {
                self.mistake_in(file, 1, format!("nothing in {MAIN} names this file; leave it out"));
            }
        }
    }

    pub(super) fn templates(&mut self, sources: &Sources) -> Option<Templates> {
        let of_kind = |markup: bool| {
            let sources = sources.iter().filter(move |(_, source)| source.markup == markup);
            sources.map(|(name, source)| (name.clone(), source.text.clone())).collect()
        };
        match Templates::compile(of_kind(true), of_kind(false)) {
            Ok(templates) => Some(templates),
            Err(found) => {
                for (template, error) in found {
                    if let Some(source) = sources.get(&template) {
                        self.mistake_in(&source.file, source.first_line + error.line - 1, error.reason);
                    }
                }
                None
            }
        }
    }

    /// A template must use only what there is.
    pub(super) fn names_used(&mut self, definition: &Definition, template: &str, source: &Source) {
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
                let line = source.text.lines().position(|line| line.contains(&used)).unwrap_or_default();
                self.mistake_in(&source.file, source.first_line + line, message);
            }
        }
    }

    /// What functional checks look for and find is shown, so they can't use secrets.
    pub(super) fn shows_no_secret(&mut self, definition: &Definition, template: &str, source: &Source) {
        if definition.platforms.values().any(|platform| platform.template == template) {
            return;
        }
        for used in definition.templates.names_used(template) {
            let is_secret = match used.split('.').collect::<Vec<_>>()[..] {
                ["attributes", name, ..] => definition.attributes.is_secret(name),
                ["endpoint", "attributes", name, ..] => {
                    definition.roles.iter().any(|role| role.attributes.is_secret(name))
                }
                _ => false,
            };
            if is_secret {
                let line = source.text.lines().position(|line| line.contains(&used)).unwrap_or_default();
                let message = format!(
                    "a functional check is shown with what it finds, so it can't use the secret {used:?}"
                );
                self.mistake_in(&source.file, source.first_line + line, message);
            }
        }
    }

    /// Reads the example order, plans it on every platform, and renders its checks.
    pub(super) fn example(&mut self, definition: &mut Definition, example: &Node) {
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
        // Every platform is the definition's own, so the first says whether the order is good.
        let Some(platform) = definition.platforms.keys().next() else { return };
        match definition.check(&attributes, &endpoints, |_| Some(platform.clone())) {
            Ok(checked) => {
                for (place, pool) in definition.left_out(&checked) {
                    let message = format!(
                        "the example must give {:?} a value, though orders may leave it to the pool {pool:?}",
                        place.attribute
                    );
                    self.mistake(example.line_at(&place.pointer()), message);
                }
            }
            Err(faults) => {
                for fault in faults {
                    self.mistake(example.line_at(&fault.pointer), fault.detail);
                }
            }
        }
        if self.mistakes.is_empty() {
            definition.example = Some(Example { attributes, endpoints, line: example.line });
            for (file, line, message) in definition.try_example(&|_| None, true) {
                self.mistake_in(&file, line, message);
            }
        }
    }
}
