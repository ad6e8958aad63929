//! All that a service has on a device: what of it is drift, whether all of it is in force, and how a repair is taken
//! back. Pure; `device::drift` reads and decides.

use std::collections::{BTreeMap, HashSet};

use turnup_core::{
    audit::{ConfigAudit, DeviceAudit},
    drift::{MAX_REPORTED, OnDrift, WholeService},
    id::OrderId,
};
use turnup_netconf::{
    compare::{self, Difference, Owned},
    crypt_hash,
    model::{Disclosure, Model as _, child_path, entry_keys},
    namespace,
    xml::Element,
};

use crate::{audit, nodes::Nodes, read_mode::ReadOptions};

/// A service on a device, parsed.
#[derive(Debug)]
pub(crate) struct Whole {
    /// What it has: children of a `<config>`.
    before: Element,
    /// The edit that writes all that it is to have: children of a `<config>`.
    rewrite: Element,
    owned: Vec<String>,
    pub(crate) on_drift: OnDrift,
}

/// Drift of one order's service.
#[derive(Debug, Clone)]
pub(crate) struct Drift {
    pub(crate) order: OrderId,
    /// The place of its edit at the device.
    pub(crate) place: usize,
    pub(crate) on_drift: OnDrift,
    /// Never empty.
    pub(crate) found: Vec<Difference>,
}

impl Whole {
    pub(crate) fn new(whole: &WholeService, before: Element, rewrite: Element) -> Self {
        Self { before, rewrite, owned: whole.owned.clone(), on_drift: whole.on_drift }
    }

    /// What in the data is neither as the service had it nor as it is to be. So neither what an order has done already
    /// is drift, nor what was done by hand and is just what the order wants.
    pub(crate) fn drift(&self, data: &Element, nodes: &Nodes, read: ReadOptions) -> Vec<Difference> {
        let was = self.compare(data, &self.before, nodes, read);
        if was.is_empty() {
            return was;
        }
        let paths = Paths::new(self.compare(data, &self.rewrite, nodes, read));
        was.into_iter().filter(|difference| paths.meets(&difference.path)).collect()
    }

    /// What in the data is not as it is to be, as an audit sees it.
    pub(crate) fn left(&self, data: &Element, nodes: &Nodes, read: ReadOptions) -> Vec<Difference> {
        self.compare(data, &self.rewrite, nodes, read)
    }

    /// The first place where something that is to be there is missing or different, or something is still there that
    /// is to be gone; but for what is inside or around `known` drift.
    pub(crate) fn not_in_force(&self, data: &Element, nodes: &Nodes, known: &[Difference]) -> Option<String> {
        if known.is_empty() {
            return compare::differences(data, &self.rewrite, nodes, 1).first().map(ToString::to_string);
        }
        let known = Paths::new(known.to_vec());
        let found = compare::differences(data, &self.rewrite, nodes, usize::MAX);
        found.iter().find(|difference| !known.meets(&difference.path)).map(ToString::to_string)
    }

    fn compare(&self, data: &Element, wanted: &Element, nodes: &Nodes, read: ReadOptions) -> Vec<Difference> {
        // Where a device shows all defaults and nothing says which they are, what is extra may be one of them.
        let tells_extras = nodes.is_typed() || !read.shows_defaults();
        let owned: HashSet<&str> = self.owned.iter().filter(|_| tells_extras).map(String::as_str).collect();
        compare::drift(data, wanted, nodes, Owned { nodes: &owned, only_set: read.only_set() })
    }

    /// The edit that writes all that the service is to have.
    pub(crate) fn rewrite(&self) -> impl Iterator<Item = &Element> {
        self.rewrite.children()
    }

    /// The edit that puts what the service owns back to what was `found` before it was rewritten. What it holds
    /// together with others stays rewritten, as they want it like that as well.
    pub(crate) fn restore(&self, found: &Element, nodes: &Nodes) -> Vec<Element> {
        restored(&self.rewrite, (Some(found), Some(&self.before)), nodes, "")
    }

    /// The removal of the entries of ordered lists that `config` replaces and the device has.
    pub(crate) fn replaced_entries_removed(
        config: &[Element],
        data: &Element,
        nodes: &Nodes,
    ) -> Vec<Element> {
        let removed = config.iter().filter_map(|node| entries_removed(node, data, nodes, ""));
        removed.collect()
    }

    /// What is left of an inverse edit beside [`Self::restore`].
    pub(crate) fn outside(&self, inverse: &Element, nodes: &Nodes) -> Vec<Element> {
        outside(inverse, &self.rewrite, nodes, "")
    }
}

impl Drift {
    /// The first differences, as they are told.
    pub(crate) fn told(&self) -> impl Iterator<Item = turnup_core::audit::Difference> {
        self.found.iter().take(MAX_REPORTED).cloned().map(audit::difference)
    }
}

/// What an audit would say of these differences.
pub(crate) fn as_audit(differences: Vec<Difference>) -> DeviceAudit {
    let config = if differences.is_empty() { ConfigAudit::InSync } else { ConfigAudit::Drifted };
    let differences_in_all = differences.len();
    let differences = differences.into_iter().take(MAX_REPORTED).map(audit::difference).collect();
    DeviceAudit { config, differences, differences_in_all, checks: Vec::new() }
}

/// Canonical paths, and those of all nodes around them.
struct Paths {
    exact: HashSet<String>,
    around: HashSet<String>,
}

impl Paths {
    fn new(differences: Vec<Difference>) -> Self {
        let exact: HashSet<String> = differences.into_iter().map(|difference| difference.path).collect();
        let around = exact.iter().flat_map(|path| above(path)).map(str::to_owned).collect();
        Self { exact, around }
    }

    /// Whether one of the paths is this one, inside of it, or around it.
    fn meets(&self, path: &str) -> bool {
        self.exact.contains(path)
            || self.around.contains(path)
            || above(path).any(|outer| self.exact.contains(outer))
    }
}

/// The paths of the nodes around that of a canonical path. Slashes inside of quotes are no steps.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    path.char_indices().filter_map(move |(at, char)| match (quote, char) {
        (Some(open), char) if char == open => {
            quote = None;
            None
        }
        (None, '\'' | '"') => {
            quote = Some(char);
            None
        }
        (None, '/') if at > 0 => path.get(..at),
        _ => None,
    })
}

fn has_operation(element: &Element) -> bool {
    element.attribute_ns(namespace::BASE, "operation").is_some()
}

/// Only the children of the elements are looked at, which are at `path`. `found` and `before`: what the device has
/// shown, and what turnup knows of it.
fn restored(
    rewrite: &Element,
    (found, before): (Option<&Element>, Option<&Element>),
    nodes: &Nodes,
    path: &str,
) -> Vec<Element> {
    let mut edit = Vec::new();
    for node in rewrite.children() {
        let here = child_path(path, node.name());
        let in_it = |around: Option<&'_ Element>| -> Option<Element> {
            let mut nodes_in = around?.children();
            nodes_in.find(|it| compare::is_same_node(nodes, &here, it, node)).cloned()
        };
        let (there, known) = (in_it(found), in_it(before));
        if has_operation(node) {
            let is_removal = node.attribute_ns(namespace::BASE, "operation") != Some("replace");
            let shown = there.as_ref().and_then(without_defaults);
            let restored = match with_known_secrets(shown, known.as_ref(), nodes, &here) {
                Some(mut was) => {
                    was.set_attribute_ns(namespace::BASE, "operation", "replace");
                    was
                }
                None if is_removal => continue,
                None => {
                    let mut gone = shell(node, nodes, &here);
                    gone.set_attribute_ns(namespace::BASE, "operation", "remove");
                    gone
                }
            };
            edit.push(restored);
        } else {
            let inside = restored(node, (there.as_ref(), known.as_ref()), nodes, &here);
            if !inside.is_empty() {
                let mut around = shell(node, nodes, &here);
                inside.into_iter().for_each(|child| around.push(child));
                edit.push(around);
            }
        }
    }
    edit
}

/// What a device has shown, with the secrets that turnup knows in place of those shown: what it shows of one is `****` or
/// a form that can't be written back, unless it is a hash (RFC 7317). None: nothing is left.
fn with_known_secrets(
    shown: Option<Element>,
    known: Option<&Element>,
    nodes: &Nodes,
    path: &str,
) -> Option<Element> {
    let disclosure = nodes.disclosure(path);
    let is_leaf = shown.as_ref().or(known).is_some_and(Element::is_leaf);
    if is_leaf && disclosure.is_secret() {
        return match shown {
            Some(shown) if crypt_hash::is_hash(&shown.text()) => Some(shown),
            Some(_) => known.cloned(),
            None => known.filter(|_| disclosure == Disclosure::WriteOnly).cloned(),
        };
    }
    let mut shown = shown?;
    if shown.is_leaf() || !nodes.may_differ() {
        return Some(shown);
    }
    let twin = |child: &Element, here: &str| {
        let mut known = known?.children();
        known.find(|it| compare::is_same_node(nodes, here, it, child))
    };
    let mut inside: Vec<Element> = Vec::new();
    for child in shown.children() {
        let here = child_path(path, child.name());
        inside.extend(with_known_secrets(Some(child.clone()), twin(child, &here), nodes, &here));
    }
    for hidden in known.into_iter().flat_map(Element::children) {
        let here = child_path(path, hidden.name());
        let is_shown = shown.children().any(|it| compare::is_same_node(nodes, &here, it, hidden));
        if !is_shown {
            inside.extend(with_known_secrets(None, Some(hidden), nodes, &here));
        }
    }
    shown.nodes_mut().clear();
    Some(shown.with_children(inside))
}

/// The nodes of an inverse edit that do not lie in what `rewrite` replaces or removes.
fn outside(inverse: &Element, rewrite: &Element, nodes: &Nodes, path: &str) -> Vec<Element> {
    let mut left = Vec::new();
    for node in inverse.children() {
        let here = child_path(path, node.name());
        let mut twins = rewrite.children().filter(|it| compare::is_same_node(nodes, &here, it, node));
        match twins.next() {
            Some(twin) if has_operation(twin) => {}
            Some(twin) if !node.is_leaf() && !has_operation(node) => {
                let inside = outside(node, twin, nodes, &here);
                if !inside.is_empty() {
                    let mut around = shell(node, nodes, &here);
                    // The keys are there already.
                    let keys: Vec<Element> = around.children().cloned().collect();
                    inside
                        .into_iter()
                        .filter(|child| !keys.contains(child))
                        .for_each(|child| around.push(child));
                    if around.children().count() > keys.len() {
                        left.push(around);
                    }
                }
            }
            _ => left.push(node.clone()),
        }
    }
    left
}

fn entries_removed(node: &Element, parent: &Element, nodes: &Nodes, path: &str) -> Option<Element> {
    let operation = node.attribute_ns(namespace::BASE, "operation");
    if matches!(operation, Some("remove" | "delete")) {
        return None;
    }
    let here = child_path(path, node.name());
    let found = parent.children().find(|candidate| compare::is_same_node(nodes, &here, candidate, node))?;
    if nodes.is_ordered(&here) && operation == Some("replace") {
        let mut gone = if node.is_leaf() { node.clone() } else { shell(node, nodes, &here) };
        let insert: Vec<(String, String)> = gone
            .attributes()
            .iter()
            .map(|attribute| (attribute.namespace.to_string(), attribute.name.to_string()))
            .collect();
        insert.iter().for_each(|(namespace, name)| drop(gone.remove_attribute_ns(namespace, name)));
        gone.set_attribute_ns(namespace::BASE, "operation", "remove");
        return Some(gone);
    }
    let inside: Vec<Element> =
        node.children().filter_map(|child| entries_removed(child, found, nodes, &here)).collect();
    let around = shell(node, nodes, &here);
    (!inside.is_empty()).then(|| around.with_children(inside))
}

/// Takes the attributes of moves (RFC 7950 §7.8.6) from entries that an edit replaces: made anew, they have the order in
/// which they are written.
pub(crate) fn written_in_order(edit: &mut Element) {
    if edit.attribute_ns(namespace::BASE, "operation") == Some("replace") {
        for name in ["insert", "key", "value"] {
            edit.remove_attribute_ns(namespace::YANG, name);
        }
    }
    edit.children_mut().for_each(written_in_order);
}

/// Whether an edit moves entries of a list (RFC 7950 §7.8.6).
pub(crate) fn moves_entries(edit: &Element) -> bool {
    edit.attribute_ns(namespace::YANG, "insert").is_some() || edit.children().any(moves_entries)
}

/// The element with nothing but what identifies it.
fn shell(element: &Element, nodes: &Nodes, path: &str) -> Element {
    let empty = Element::new(element.namespace_shared(), element.name());
    let keys = entry_keys(nodes, path, element).unwrap_or_default();
    let keys: Vec<Element> = keys.iter().filter_map(|key| element.own_child(key)).cloned().collect();
    empty.with_children(keys)
}

/// An element that a device has shown, as it is written: without what it shows as defaults (RFC 6243 §6). None: nothing
/// is left.
fn without_defaults(element: &Element) -> Option<Element> {
    if matches!(element.attribute_ns(namespace::DEFAULT, "default"), Some("true" | "1")) {
        return None;
    }
    let mark = compare::inactive_mark(element);
    let others = element.attributes().iter().filter(|attribute| Some(*attribute) != mark);
    let others: Vec<(String, String)> =
        others.map(|attribute| (attribute.namespace.to_string(), attribute.name.to_string())).collect();
    let mut copy = element.clone();
    for (namespace, name) in others {
        copy.remove_attribute_ns(&namespace, &name);
    }
    if !element.is_leaf() {
        let children: Vec<Element> = element.children().filter_map(without_defaults).collect();
        copy.nodes_mut().clear();
        copy = copy.with_children(children);
    }
    Some(copy)
}

/// What is found of several orders' services, by order.
pub(crate) type Audits = BTreeMap<OrderId, DeviceAudit>;

#[cfg(test)]
mod tests;
