//! Attributes, endpoint roles and platforms.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use turnup_core::{
    name::{PlatformName, near_misses},
    nodes::NodeFacts,
    order::MAX_ENDPOINTS,
};
use turnup_netconf::model::Model as _;

use super::{Reader, find, is_node_name, sources::Sources};
use turnup_files::{Entry, Node};

use crate::{
    definition::{Platform, ResourceUse, Role},
    schema::Schema,
    shape::Shape,
};

const ROLE_FIELDS: [&str; 5] = ["title", "min", "max", "attributes", "resources"];
const PLATFORM_FIELDS: [&str; 9] =
    ["template", "keys", "ordered", "owns", "shares", "secret", "write_only", "opaque", "audit"];

/// A platform of a definition, and where it stands.
pub(super) struct Found {
    pub(super) name: PlatformName,
    pub(super) line: u32,
    pub(super) platform: Platform,
    /// What it says of nodes that devices show differently: where, and by which key.
    pub(super) disclosed: Vec<Disclosed>,
}

/// A node named under `secret`, `write_only` or `opaque`.
pub(super) struct Disclosed {
    pub(super) line: u32,
    pub(super) key: &'static str,
    pub(super) path: String,
}

impl Reader<'_> {
    /// Without a node: an object that takes no attributes.
    pub(super) fn schema(&mut self, node: Option<&Node>, resources: &[ResourceUse]) -> Option<Schema> {
        let source = node.map_or_else(|| Value::Object(Map::new()), Node::to_json);
        let names: Vec<&str> = resources.iter().map(|resource| resource.attribute.as_str()).collect();
        match Schema::compile(source, &names) {
            Ok(schema) => {
                self.attributes_of_resources(&schema, resources);
                Some(schema)
            }
            Err(found) => {
                for (pointer, message) in found {
                    self.mistake(node.map_or(1, |node| node.line_at(&pointer)), message);
                }
                None
            }
        }
    }

    pub(super) fn roles(&mut self, node: &Node) -> Vec<Role> {
        let mut roles = Vec::new();
        let entries = self.map(node, "'endpoints'", None);
        if entries.is_empty() {
            self.mistake(node.line, "a service has at least one endpoint role");
        }
        for Entry { line, key, value } in entries {
            let fields = self.map(value, &format!("endpoint role {key:?}"), Some(&ROLE_FIELDS));
            if !is_node_name(key) {
                self.mistake(*line, format!("{key:?} is no role name; use letters, digits, '-' and '_'"));
            }
            let title = find(fields, "title").and_then(|node| self.text(node, "title"));
            let most = i64::try_from(MAX_ENDPOINTS).unwrap_or(i64::MAX);
            let mut count = |key, min| match find(fields, key) {
                Some(node) => self.number(node, key, min, most).and_then(|count| usize::try_from(count).ok()),
                None => Some(1),
            };
            let (min, max) = (count("min", 0), count("max", 1));
            let resources = self.resources(find(fields, "resources"), true);
            let attributes = self.schema(find(fields, "attributes"), &resources);
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
                roles.push(Role { name: key.clone(), title, min, max, attributes, resources });
            }
        }
        roles
    }

    pub(super) fn platforms(&mut self, node: &Node) -> Vec<Found> {
        let entries = self.map(node, "'platforms'", None);
        if entries.is_empty() {
            self.mistake(node.line, "a definition has at least one platform");
        }
        let mut platforms = Vec::new();
        for Entry { line, key, value } in entries {
            let name = self.parsed(key, *line);
            let fields = self.map(value, &format!("platform {key:?}"), Some(&PLATFORM_FIELDS));
            let template = self.required(fields, "template", *line);
            let template = template.and_then(|node| self.file_name(node, "template"));
            let audit = find(fields, "audit").and_then(|node| self.file_name(node, "audit"));
            let keys = find(fields, "keys").map(|node| self.keys(node));
            let declares_lists = keys.is_some();
            let owns_node = self.required(fields, "owns", *line);
            let owns = owns_node.map(|node| self.paths(node, "'owns'", false));
            let shares_node = find(fields, "shares");
            let shares = shares_node.map(|node| self.paths(node, "'shares'", true)).unwrap_or_default();
            let ordered = find(fields, "ordered").map(|node| self.ordered(node)).unwrap_or_default();
            if let (Some(node), Some(owns)) = (shares_node, &owns) {
                self.not_owned_too(node, &shares, owns);
            }
            let disclosed: Vec<Disclosed> = ["secret", "write_only", "opaque"]
                .into_iter()
                .flat_map(|key| find(fields, key).map(|node| self.disclosed(key, node)).unwrap_or_default())
                .collect();
            if let (Some(name), Some(template), Some(owns)) = (name, template, owns) {
                let named = |key: &str| -> BTreeSet<String> {
                    let named = disclosed.iter().filter(|node| node.key == key);
                    named.map(|node| node.path.clone()).collect()
                };
                let nodes = NodeFacts {
                    ordered,
                    secret: named("secret"),
                    write_only: named("write_only"),
                    opaque: named("opaque"),
                    ..NodeFacts::default()
                };
                let shape = Shape { keys: keys.unwrap_or_default(), owns, shares, nodes };
                let platform = Platform { template, audit, declares_lists, shape };
                self.check_disclosed(&disclosed, &platform.shape);
                platforms.push(Found { name, line: *line, platform, disclosed });
            }
        }
        platforms
    }

    fn keys(&mut self, node: &Node) -> BTreeMap<String, Vec<String>> {
        let mut keys = BTreeMap::new();
        for Entry { line, key: list, value } in self.map(node, "'keys'", None) {
            let names = self.names(value, &format!("the keys of list {list:?}"), false);
            // A leaf-list's entries are known by their own value.
            let leaf_list = names.iter().eq(["."]);
            for name in names.iter().filter(|name| !is_node_name(name)) {
                if !(leaf_list && name.as_str() == ".") {
                    self.mistake(*line, format!("{name:?} is no name of a leaf"));
                }
            }
            if !list.split('/').all(is_node_name) {
                let message = format!(
                    "{list:?} is no list; name it, or write its path like interfaces/interface, without prefixes"
                );
                self.mistake(*line, message);
            }
            keys.insert(list.clone(), names);
        }
        keys
    }

    /// Lists and leaf-lists whose order counts, by their paths.
    fn ordered(&mut self, node: &Node) -> BTreeSet<String> {
        let paths = self.names(node, "'ordered'", true);
        for (i, path) in paths.iter().enumerate() {
            if !path.split('/').all(is_node_name) {
                let message = format!("{path:?} is no path; write it like acls/acl/entry, without prefixes");
                self.mistake(node.line_at(&format!("/{i}")), message);
            }
        }
        paths.into_iter().collect()
    }

    /// Nodes that a device may show differently.
    fn disclosed(&mut self, key: &'static str, node: &Node) -> Vec<Disclosed> {
        let paths = self.names(node, &format!("'{key}'"), true);
        let line = |i: usize| node.line_at(&format!("/{i}"));
        paths.into_iter().enumerate().map(|(i, path)| Disclosed { line: line(i), key, path }).collect()
    }

    /// They must be inside of what the service has, and no keys.
    fn check_disclosed(&mut self, disclosed: &[Disclosed], shape: &Shape) {
        for Disclosed { line, key, path } in disclosed {
            if !path.split('/').all(is_node_name) {
                let message =
                    format!("{path:?} is no path; write it like system/user/password, without prefixes");
                self.mistake(*line, message);
                continue;
            }
            let has = shape.owns.iter().chain(&shape.shares);
            let has: Vec<&str> = has.map(String::as_str).collect();
            if !has.iter().any(|own| is_inside(path, own)) {
                let near = near_misses(path, has.iter().copied());
                let near = near.first().map(String::as_str).or(has.first().copied()).unwrap_or_default();
                self.mistake(
                    *line,
                    format!("{path:?} under '{key}' is inside of nothing that 'owns' or 'shares' names, such as {near:?}"),
                );
            } else if *key != "opaque" && is_key(path, shape) {
                let message = format!(
                    "{path:?} is a key, and keys are shown in every path; identify the entries by something else, or \
                     leave it out under '{key}'"
                );
                self.mistake(*line, message);
            }
        }
    }

    /// Names of nodes that no template writes are spelled wrong. Element names in templates are literal.
    pub(super) fn disclosed_nodes(&mut self, platforms: &[Found], sources: &Sources) {
        for Found { platform, disclosed, .. } in platforms {
            let Some(source) = sources.get(&platform.template) else { continue };
            let written = element_names(&source.text);
            let has = || platform.shape.owns.iter().chain(&platform.shape.shares);
            let inside = disclosed.iter().filter(|node| has().any(|own| is_inside(&node.path, own)));
            for Disclosed { line, key, path } in inside {
                let Some(name) = path.split('/').find(|step| !written.contains(*step)) else { continue };
                let near = near_misses(name, written.iter().copied());
                let hint = match near.first() {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "write its names as they are there, without prefixes".to_owned(),
                };
                let message =
                    format!("{path:?} under '{key}': {} writes no element {name:?}; {hint}", source.file);
                self.mistake(*line, message);
            }
        }
    }

    /// Paths of which none lies inside of another.
    fn paths(&mut self, node: &Node, what: &str, may_be_empty: bool) -> Vec<String> {
        let paths = self.names(node, what, may_be_empty);
        for (i, path) in paths.iter().enumerate() {
            let line = node.line_at(&format!("/{i}"));
            if !path.split('/').all(is_node_name) {
                let message =
                    format!("{path:?} is no path; write it like interfaces/interface, without prefixes");
                self.mistake(line, message);
            }
            let other = paths.iter().enumerate().find(|(j, other)| *j != i && is_inside(path, other));
            if let Some((_, other)) = other {
                let done = if what == "'owns'" { "owned" } else { "shared" };
                self.mistake(line, format!("{path:?} is {done} already with {other:?}; leave one out"));
            }
        }
        paths
    }

    fn not_owned_too(&mut self, node: &Node, shares: &[String], owns: &[String]) {
        for (i, path) in shares.iter().enumerate() {
            if let Some(own) = owns.iter().find(|own| is_inside(path, own) || is_inside(own, path)) {
                let message = format!(
                    "{path:?} can't be shared while {own:?} is owned: what one service owns goes with it"
                );
                self.mistake(node.line_at(&format!("/{i}")), message);
            }
        }
    }
}

/// Whether the node at this path is a key leaf, or a leaf-list, which is its own key.
fn is_key(path: &str, shape: &Shape) -> bool {
    let (list, leaf) = path.rsplit_once('/').unwrap_or(("", path));
    let has =
        |list: &str, key: &str| shape.list_keys(list).is_some_and(|keys| keys.iter().any(|it| it == key));
    has(list, leaf) || has(path, ".")
}

/// The local names of elements in a template.
fn element_names(template: &str) -> BTreeSet<&str> {
    let begins = template.split('<').skip(1);
    let names = begins.map(|rest| {
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let name = &rest[..end];
        name.rsplit(':').next().unwrap_or(name)
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// Whether a path is another or lies inside of it.
fn is_inside(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
