//! A tiny device: a configuration tree with merge and remove (RFC 6241 §7.2), subtree filters (§6) and
//! turnup's conditions, written apart from the planner.

use std::collections::BTreeMap;

use turnup_core::message::Condition;
use turnup_netconf::{
    namespace::BASE,
    xml::{Element, Limits, parse_str},
};

pub(crate) type Keys = BTreeMap<String, Vec<String>>;

/// A configuration; list entries are known by their keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Device {
    pub(crate) root: Element,
    keys: Keys,
}

pub(crate) fn parse(config: &str) -> Element {
    parse_str(&format!("<config>{config}</config>"), &Limits::default()).unwrap()
}

impl Device {
    pub(crate) fn new(config: &str, keys: &Keys) -> Self {
        Self { root: parse(config), keys: keys.clone() }
    }

    /// `edit-config` with default operation merge.
    pub(crate) fn edit(&mut self, edit: &str) {
        merge(&mut self.root, &parse(edit), &self.keys);
    }

    pub(crate) fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Contains(config) => contains(&self.root, &parse(config), &self.keys),
            Condition::Lacks(config) => lacks(&self.root, &parse(config), &self.keys),
            Condition::All(conditions) => conditions.iter().all(|condition| self.holds(condition)),
        }
    }

    /// `get-config` with a subtree filter.
    pub(crate) fn get(&self, filter: &str) -> Element {
        select(&self.root, &parse(filter))
    }

    /// Without containers and shared entries that are left with nothing but keys, in a fixed order: what
    /// two configurations have in common that mean the same to everyone else.
    pub(crate) fn essence(&self) -> Element {
        let mut root = self.root.clone();
        prune(&mut root, &self.keys);
        root
    }
}

fn key_names<'k>(element: &Element, keys: &'k Keys) -> &'k [String] {
    match keys.get(element.name()) {
        Some(names) if !element.is_leaf() => names,
        _ => &[],
    }
}

fn same_node(a: &Element, b: &Element, keys: &Keys) -> bool {
    let value =
        |element: &Element, key: &str| element.own_child(key).map(|leaf| leaf.raw_text().into_owned());
    if is_leaf_list(b, keys) {
        return a.same_name(b) && a.raw_text() == b.raw_text();
    }
    a.same_name(b) && key_names(b, keys).iter().all(|key| value(a, key) == value(b, key))
}

/// An entry of a leaf-list is known by its value.
fn is_leaf_list(element: &Element, keys: &Keys) -> bool {
    element.is_leaf() && keys.get(element.name()).is_some_and(|names| names.iter().eq(["."]))
}

fn merge(into: &mut Element, edit: &Element, keys: &Keys) {
    for child in edit.children() {
        let operation = child.attribute_ns(BASE, "operation");
        let matches = |node: &turnup_netconf::xml::Node| {
            // A node to be removed is named by what identifies it, whatever else is in it.
            node.element().is_some_and(|own| match (operation, child.is_leaf()) {
                (Some(_), true) if !is_leaf_list(child, keys) => own.same_name(child),
                _ => same_node(own, child, keys),
            })
        };
        match operation {
            Some("remove") => into.nodes_mut().retain(|node| !matches(node)),
            Some("replace") => {
                into.nodes_mut().retain(|node| !matches(node));
                let mut new = child.clone();
                new.remove_attribute_ns(BASE, "operation");
                into.push(new);
            }
            Some(other) => panic!("operation {other:?}"),
            None => match into.nodes().iter().position(matches) {
                None => into.push(stripped(child, keys)),
                Some(at) => {
                    let Some(own) = into.children_mut().nth(at) else { unreachable!("only elements here") };
                    if child.is_leaf() { *own = child.clone() } else { merge(own, child, keys) }
                }
            },
        }
    }
}

/// A new node without the parts that an edit removes.
fn stripped(edit: &Element, keys: &Keys) -> Element {
    if edit.is_leaf() {
        return edit.clone();
    }
    let mut new = Element::new(edit.namespace_shared(), edit.name());
    merge(&mut new, edit, keys);
    new
}

fn contains(own: &Element, wanted: &Element, keys: &Keys) -> bool {
    wanted.children().all(|wanted| {
        own.children().any(|own| {
            same_node(own, wanted, keys)
                && if wanted.is_leaf() {
                    own.raw_text() == wanted.raw_text()
                } else {
                    contains(own, wanted, keys)
                }
        })
    })
}

/// The innermost entries, those with nothing but keys, are absent.
fn lacks(own: &Element, skeleton: &Element, keys: &Keys) -> bool {
    skeleton.children().all(|bone| {
        let names = key_names(bone, keys);
        let is_key = |child: &&Element| names.iter().any(|key| *key == child.name());
        let innermost = bone.children().all(|child| is_key(&child));
        let is_leaf = bone.is_leaf() && !is_leaf_list(bone, keys);
        own.children().filter(|own| same_node(own, bone, keys) || is_leaf && own.same_name(bone)).all(|own| {
            if innermost {
                return false;
            }
            let mut rest = bone.clone();
            rest.nodes_mut().retain(|node| node.element().is_some_and(|child| !is_key(&child)));
            lacks(own, &rest, keys)
        })
    })
}

/// Subtree filtering: leaves with text are content match nodes, empty ones selections.
fn select(own: &Element, filter: &Element) -> Element {
    let mut out = Element::new(own.namespace_shared(), own.name());
    let content = |f: &Element| f.is_leaf() && !f.is_empty();
    for child in own.children() {
        for wanted in filter.children().filter(|wanted| wanted.same_name(child)) {
            if wanted.is_leaf() {
                out.push(child.clone());
                continue;
            }
            let matched = wanted
                .children()
                .filter(|f| content(f))
                .all(|f| child.children().any(|c| c.same_name(f) && c.raw_text() == f.raw_text()));
            if !matched {
                continue;
            }
            if wanted.children().all(content) {
                out.push(child.clone());
            } else {
                out.push(select(child, wanted));
            }
        }
    }
    out
}

fn prune(element: &mut Element, keys: &Keys) {
    for child in element.children_mut() {
        prune(child, keys);
    }
    element.nodes_mut().retain(|node| {
        node.element().is_none_or(|child| {
            child.is_leaf() && !child.is_empty()
                || child.children().any(|c| !key_names(child, keys).iter().any(|key| *key == c.name()))
        })
    });
    element.nodes_mut().sort_by_key(|node| node.element().map(Element::to_xml));
}
