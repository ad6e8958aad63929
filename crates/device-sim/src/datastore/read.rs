//! Configuration and state as XML, whole or through a subtree filter (RFC 6241 §6).

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use turnup_netconf::filter;
use turnup_netconf::xml::Element;

use super::state::{Operational, State};
use crate::leaves::View;
use crate::path::{INACTIVE, Path, key_at, push_child, push_key};
use crate::personality::{Secrets, Spelling};
use crate::schema::{self, Kind, Node};

static NAMESPACE: LazyLock<Arc<str>> = LazyLock::new(|| schema::NAMESPACE.into());

/// The keys of the lists of the schema.
static KEYS: LazyLock<BTreeMap<String, Vec<String>>> = LazyLock::new(|| {
    fn collect(nodes: &[Node], keys: &mut BTreeMap<String, Vec<String>>) {
        for node in nodes {
            if let Some((key, _)) = node.key() {
                keys.insert(node.name.to_owned(), vec![key.to_owned()]);
            }
            collect(node.children(), keys);
        }
    }
    let mut keys = BTreeMap::new();
    collect(schema::TOP, &mut keys);
    keys
});

/// How values equal to their defaults are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reported {
    /// What was set.
    Explicit,
    /// All values.
    All,
    /// All values, with a mark at those that were not set, or with `equal` at all that equal their defaults.
    Tagged { equal: bool },
    /// Only values that differ from their defaults.
    Trimmed,
}

/// How a device reports its configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) defaults: Reported,
    /// How it keeps the keys that a filter names.
    pub(super) spelling: Spelling,
    /// How it shows secrets.
    pub(super) secrets: Secrets,
}

/// Namespace of the mark at defaults, RFC 6243 §6.
const DEFAULT_MARK: &str = "urn:ietf:params:xml:ns:netconf:default:1.0";

/// The `<data>` element that holds what `filter` selects: of the configuration, and of the state if it is
/// given, with the time by the device's clock, and of `others`, which aren't of the schema.
pub(super) fn read(
    view: View<'_>,
    state: Option<(&State, Timestamp)>,
    others: impl FnOnce() -> Vec<Element>,
    filter: Option<&Element>,
    Manner { defaults, spelling, secrets }: Manner,
) -> Element {
    let mut data = Element::base("data");
    let prefixes = match filter {
        None => vec![Vec::new()],
        Some(filter) => prefixes(filter, spelling),
    };
    let leaves = prefixes.iter().flat_map(|prefix| view.under(prefix));
    let operational = state.map(|(set, _)| Operational { view, set });
    let mut render = Render { leaves: leaves.peekable(), operational, defaults, secrets };
    render.children(schema::TOP, &mut Vec::with_capacity(64), &mut data);
    if let Some((state, now)) = state
        && prefixes.iter().any(|prefix| prefix.is_empty() || prefix.first() == CLOCK.as_bytes().first())
    {
        data.push(clock(state, now));
    }
    match filter {
        None => data.with_children(others()),
        Some(filter) => filter::subtree(&data.with_children(others()), filter, &*KEYS),
    }
}

static CLOCK: LazyLock<Path> =
    LazyLock::new(|| Path::parse("/system/clock/current-datetime").unwrap_or_default());

/// The state that belongs to no list entry: what the clock says, or was told to say.
fn clock(state: &State, now: Timestamp) -> Element {
    let text = state.get(&*CLOCK).cloned().unwrap_or_else(|| format!("{now:.3}").into());
    let element = |name| Element::new(NAMESPACE.clone(), name);
    element("system").with_child(element("clock").with_leaf("current-datetime", text))
}

/// Where all that a filter can select lies: disjoint subtrees in order. Without this, reading one service
/// back would cost a walk over all of them. What is in them besides is for the filter proper.
fn prefixes(filter: &Element, spelling: Spelling) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    Narrow { spelling, found: &mut found }.children(filter, schema::TOP, &mut Vec::new());
    found.sort_unstable();
    found.dedup_by(|later, earlier| later.starts_with(earlier));
    found
}

/// Finds the subtrees that a filter can select.
struct Narrow<'f> {
    spelling: Spelling,
    found: &'f mut Vec<Vec<u8>>,
}

impl Narrow<'_> {
    /// Adds the subtrees that the children of `spec` can select below `path`.
    fn children(&mut self, spec: &Element, siblings: &'static [Node], path: &mut Vec<u8>) {
        for spec in spec.children() {
            if !matches!(spec.namespace(), "" | schema::NAMESPACE) {
                continue;
            }
            let Some((at, node)) = schema::find(siblings, spec.name()) else { continue };
            let length = path.len();
            push_child(path, at);
            match &node.kind {
                Kind::Container(children) if !spec.is_leaf() => self.inner(spec, children, path),
                Kind::List(children) if !spec.is_leaf() => self.list(spec, node, children, path),
                _ => self.found.push(path.clone()),
            }
            path.truncate(length);
        }
    }

    /// A container or list entry, of which a part can be selected.
    fn inner(&mut self, spec: &Element, children: &'static [Node], path: &mut Vec<u8>) {
        self.found.push(marker(path));
        self.children(spec, children, path);
    }

    fn list(&mut self, spec: &Element, list: &'static Node, children: &'static [Node], path: &mut Vec<u8>) {
        let Some((name, value_type)) = list.key() else { return };
        let key = spec.children().find(|child| child.name() == name && !child.text().is_empty());
        let Some(key) = key else {
            return self.found.push(path.clone());
        };
        // A key that can't be selects nothing.
        let Ok(value) = value_type.spelled_key(&key.text(), self.spelling) else { return };
        push_key(path, value_type, &value);
        let only_matches = spec.children().all(|child| child.is_leaf() && !child.text().is_empty());
        if only_matches {
            self.found.push(path.clone());
        } else {
            // The key is among them.
            self.inner(spec, children, path);
        }
    }
}

/// Where it says whether the node at a path is deactivated.
fn marker(path: &[u8]) -> Vec<u8> {
    let mut marker = path.to_vec();
    marker.push(INACTIVE);
    marker
}

/// Makes elements of leaves in order.
struct Render<'v, I: Iterator<Item = (&'v Path, &'v str)>> {
    leaves: Peekable<I>,
    operational: Option<Operational<'v>>,
    defaults: Reported,
    secrets: Secrets,
}

impl<'v, I: Iterator<Item = (&'v Path, &'v str)>> Render<'v, I> {
    /// Appends what comes next of the children of the node at `path`.
    fn children(&mut self, siblings: &'static [Node], path: &mut Vec<u8>, parent: &mut Element) {
        let length = path.len();
        while let Some((next, value)) = self.leaves.peek().copied() {
            let bytes = next.as_bytes();
            let Some(at) = bytes.get(length).filter(|_| bytes.starts_with(path)) else { return };
            if *at == INACTIVE {
                parent.set_attribute_ns("", "inactive", "inactive");
                self.leaves.next();
                continue;
            }
            let Some(node) = usize::from(*at).checked_sub(1).and_then(|at| siblings.get(at)) else { return };
            let mut element = Element::new(NAMESPACE.clone(), node.name);
            match &node.kind {
                Kind::Leaf(leaf) => {
                    element.set_text(value);
                    self.leaves.next();
                    path.push(*at);
                    self.children(&[], path, &mut element);
                    let is_default = leaf.default == Some(value);
                    if leaf.secret && self.secrets == Secrets::Hidden {
                        path.truncate(length);
                        continue;
                    }
                    if leaf.secret && self.secrets == Secrets::Masked {
                        element.set_text("****");
                    }
                    match self.defaults {
                        Reported::Trimmed if is_default => {
                            path.truncate(length);
                            continue;
                        }
                        Reported::Tagged { equal: true } if is_default => mark(&mut element),
                        _ => {}
                    }
                }
                Kind::Container(children) => {
                    path.push(*at);
                    self.children(children, path, &mut element);
                }
                Kind::List(children) => {
                    let Some((_, end)) = key_at(bytes, length + 1, node) else { return };
                    path.extend_from_slice(&bytes[length..end]);
                    self.children(children, path, &mut element);
                    self.append_defaults(children, &mut element);
                    if let Some(operational) = self.operational {
                        append_state(operational, children, path, &mut element);
                    }
                }
            }
            path.truncate(length);
            parent.push(element);
        }
    }
}

impl<'v, I: Iterator<Item = (&'v Path, &'v str)>> Render<'v, I> {
    /// Appends the defaults of the leaves that a list entry does not have.
    fn append_defaults(&self, children: &'static [Node], entry: &mut Element) {
        let marks = matches!(self.defaults, Reported::Tagged { .. });
        if !marks && self.defaults != Reported::All {
            return;
        }
        for node in children {
            let Some(default) = node.leaf().and_then(|leaf| leaf.default) else { continue };
            if entry.own_child(node.name).is_some() {
                continue;
            }
            let mut element = Element::new(NAMESPACE.clone(), node.name).with_text(default);
            if marks {
                mark(&mut element);
            }
            entry.push(element);
        }
    }
}

/// Marks a value as the default.
fn mark(element: &mut Element) {
    element.set_prefix("wd", DEFAULT_MARK);
    element.set_attribute_ns(DEFAULT_MARK, "default", "true");
}

/// Appends the state of the list entry at `path`.
fn append_state(
    operational: Operational<'_>,
    children: &'static [Node],
    path: &mut Vec<u8>,
    parent: &mut Element,
) {
    for (at, node) in children.iter().enumerate() {
        if node.leaf().is_none_or(|leaf| leaf.config) {
            continue;
        }
        let length = path.len();
        push_child(path, at);
        let value = operational.value(path);
        path.truncate(length);
        parent.push(Element::new(NAMESPACE.clone(), node.name).with_text(value));
    }
}
