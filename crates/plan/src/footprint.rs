//! A footprint: what one service wants on one device.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};
use turnup_core::name::PlatformName;
use turnup_netconf::xml::{Element, Limits, Node, parse_str};

use crate::{
    error::BadContent,
    shape::{Place, Shape},
    template::MAX_OUTPUT_BYTES,
    yang::{Violation, Yang},
};

/// What one service wants on one device, checked and in canonical form: list keys first (RFC 7950 §7.8.5),
/// entries that several endpoints share written once, no white space between elements.
///
/// It is stored with the service and holds all that is needed to take it away again, whatever has become
/// of its definition since. Reading a stored one checks it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Footprint {
    platform: PlatformName,
    config: String,
    shape: Shape,
    tree: Vec<Element>,
}

/// How a footprint is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    platform: PlatformName,
    config: String,
    #[serde(flatten)]
    shape: Shape,
}

impl TryFrom<Stored> for Footprint {
    type Error = BadContent;

    fn try_from(stored: Stored) -> Result<Self, BadContent> {
        Self::new(stored.platform, &stored.config, stored.shape)
    }
}

impl From<Footprint> for Stored {
    fn from(footprint: Footprint) -> Self {
        Self { platform: footprint.platform, config: footprint.config, shape: footprint.shape }
    }
}

impl Footprint {
    /// Checks configuration and brings it into canonical form.
    fn new(platform: PlatformName, config: &str, shape: Shape) -> Result<Self, BadContent> {
        Self::rendered(platform, config, shape, None)
    }

    /// The same of what a template has written. Lists that `shape` doesn't declare are as YANG says.
    pub(crate) fn rendered(
        platform: PlatformName,
        config: &str,
        mut shape: Shape,
        yang: Option<&Yang>,
    ) -> Result<Self, BadContent> {
        let tree = parse(config)?;
        if let Some(yang) = yang {
            // Only of what is in here: a footprint is stored with its declarations.
            declare(&tree, yang, &mut shape);
        }
        let tree = arrange_above(tree, &shape, &mut Vec::new(), "")?;
        let config = to_xml(&tree);
        Ok(Self { platform, config, shape, tree })
    }

    /// The device's platform when this was planned.
    #[must_use]
    pub fn platform(&self) -> &PlatformName {
        &self.platform
    }

    /// Canonical XML: content of `<config>` (RFC 6241 §7.2) without operations.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.config
    }

    /// List name → names of its key leaves.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<String, Vec<String>> {
        &self.shape.keys
    }

    /// The nodes that belong to the service alone, as canonical paths such as
    /// `/interfaces/interface[name='ge-0/0/1']/unit[id='100']`, in document order. Paths carry no
    /// namespaces: of two modules with the same names one is taken for the other, on the safe side.
    /// Compare paths with [`overlap`].
    #[must_use]
    pub fn owned_nodes(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.visit(&mut |place, path, _| {
            if place == Place::Owned {
                found.push(path.to_owned());
            }
        });
        found
    }

    /// The nodes that are held together with other services, as canonical paths with their content.
    #[must_use]
    pub fn shared_nodes(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.visit(&mut |place, path, element| {
            if place == Place::Shared {
                found.push((path.to_owned(), to_xml(std::slice::from_ref(element))));
            }
        });
        found
    }

    /// A subtree filter's content (RFC 6241 §6) that selects the owned and shared nodes whole, by nothing
    /// but what identifies them.
    #[must_use]
    pub fn filter(&self) -> String {
        to_xml(&bones(self.tree.iter(), &self.shape, &mut Vec::new()))
    }

    /// Checks it against the platform's YANG: types, ranges, keys, patterns, and that nothing mandatory is
    /// missing in what is the service's as a whole.
    ///
    /// # Errors
    /// Every violation, with its path.
    pub fn check(&self, yang: &Yang) -> Result<(), Vec<Violation>> {
        let whole = |path: &str| {
            let names: Vec<&str> = path.split('/').collect();
            matches!(self.shape.place(&names), Place::Owned | Place::Shared)
        };
        yang.check_tree(&self.tree, &self.config, &whole)
    }

    pub(crate) fn tree(&self) -> &[Element] {
        &self.tree
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Calls `found` with every owned and shared node and its path.
    fn visit(&self, found: &mut dyn FnMut(Place, &str, &Element)) {
        visit(self.tree.iter(), &self.shape, &mut Vec::new(), "", found);
    }
}

/// Whether one of two owned nodes is, or lies inside, the other: then two services can't have both.
#[must_use]
pub fn overlap(a: &str, b: &str) -> bool {
    // Whatever path another begins with ends outside of quotes, so a slash after it is a step.
    let holds = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    holds(a, b) || holds(b, a)
}

fn parse(config: &str) -> Result<Vec<Element>, BadContent> {
    const OPEN: &str = "<config>";
    let limits =
        Limits { max_bytes: MAX_OUTPUT_BYTES + 64, max_depth: 64, max_attributes: 32, max_nodes: 50_000 };
    let wrapped = format!("{OPEN}{config}</config>");
    let root = parse_str(&wrapped, &limits).map_err(|source| {
        let at = match &source {
            turnup_netconf::xml::XmlError::Malformed { at, .. } => at.saturating_sub(OPEN.len()),
            _ => 0,
        };
        let line = 1 + config.bytes().take(at).filter(|byte| *byte == b'\n').count();
        BadContent::Xml { line, source }
    })?;
    if let Some(text) = root.nodes().iter().find_map(Node::text) {
        return Err(BadContent::Mixed { path: "the top level".to_owned(), text: beginning(text) });
    }
    if root.is_leaf() {
        return Err(BadContent::Empty);
    }
    Ok(root.into_children().collect())
}

/// Takes over what YANG says of the lists in `tree` that aren't declared.
fn declare(tree: &[Element], yang: &Yang, shape: &mut Shape) {
    let mut left: Vec<&Element> = tree.iter().collect();
    while let Some(element) = left.pop() {
        if !shape.keys.contains_key(element.name())
            && let Some(keys) = yang.keys().get(element.name())
        {
            shape.keys.insert(element.name().to_owned(), keys.clone());
        }
        left.extend(element.children());
    }
}

pub(crate) fn to_xml(tree: &[Element]) -> String {
    let mut out = String::with_capacity(512);
    for element in tree {
        element.write_xml(&mut out);
    }
    out
}

fn beginning(text: &str) -> String {
    text.trim().chars().take(40).collect()
}

/// Elements above the owned nodes that are the same node, written together.
struct Group {
    step: String,
    /// The element itself, with its keys if it is a list entry.
    shell: Element,
    /// What is left of its children; none for an owned node, which is complete in `shell`.
    rest: Option<Vec<Element>>,
}

fn arrange_above(
    elements: Vec<Element>,
    shape: &Shape,
    names: &mut Vec<String>,
    path: &str,
) -> Result<Vec<Element>, BadContent> {
    let mut groups: Vec<Group> = Vec::new();
    for element in elements {
        check_plain(&element, path)?;
        let step = step_of(&element, shape, path)?;
        let here = format!("{path}/{step}");
        names.push(element.name().to_owned());
        let place = shape.place(names);
        names.pop();
        let known = groups.iter_mut().find(|group| group.step == step && group.shell.same_name(&element));
        match (place, known) {
            (Place::Outside, _) => return Err(BadContent::NotOwned { path: here }),
            (Place::Owned, Some(_)) => return Err(BadContent::Duplicate { path: here }),
            // Two endpoints on one port hold the same shared node; they must agree on it.
            (Place::Shared, Some(known)) => {
                if known.shell != arrange_inside(element, shape, path)? {
                    return Err(BadContent::Duplicate { path: here });
                }
            }
            (Place::Owned | Place::Shared, None) => {
                let shell = arrange_inside(element, shape, path)?;
                groups.push(Group { step, shell, rest: None });
            }
            (Place::Above, known) => {
                let (shell, rest) = split(element, shape, &here)?;
                if rest.is_empty() {
                    return Err(BadContent::NotOwned { path: here });
                }
                match known {
                    Some(Group { rest: Some(known), .. }) => known.extend(rest),
                    _ => groups.push(Group { step, shell, rest: Some(rest) }),
                }
            }
        }
    }
    groups
        .into_iter()
        .map(|Group { step, shell, rest }| match rest {
            None => Ok(shell),
            Some(rest) => {
                names.push(shell.name().to_owned());
                let rest = arrange_above(rest, shape, names, &format!("{path}/{step}"))?;
                names.pop();
                Ok(shell.with_children(rest))
            }
        })
        .collect()
}

fn arrange_inside(element: Element, shape: &Shape, parent: &str) -> Result<Element, BadContent> {
    check_plain(&element, parent)?;
    let path = format!("{parent}/{}", step_of(&element, shape, parent)?);
    if element.is_leaf() {
        return Ok(element);
    }
    let (mut shell, rest) = split(element, shape, &path)?;
    let mut seen = BTreeSet::new();
    for child in rest {
        let child = arrange_inside(child, shape, &path)?;
        let mut step = step_of(&child, shape, &path)?;
        let same = format!(
            "{step} {} {}",
            child.namespace(),
            if child.is_leaf() { child.raw_text() } else { "".into() }
        );
        if !seen.insert(same) {
            step.insert(0, '/');
            return Err(BadContent::Duplicate { path: path + &step });
        }
        shell.push(child);
    }
    Ok(shell)
}

/// What every element must fulfil.
fn check_plain(element: &Element, parent: &str) -> Result<(), BadContent> {
    let path = || format!("{parent}/{}", element.name());
    if element.namespace().is_empty() {
        return Err(BadContent::NoNamespace { path: path() });
    }
    if let Some(attribute) = element.attributes().first() {
        return Err(BadContent::Attribute { path: path(), attribute: attribute.name.to_string() });
    }
    if let (false, Some(text)) = (element.is_leaf(), element.nodes().iter().find_map(Node::text)) {
        return Err(BadContent::Mixed { path: path(), text: beginning(text) });
    }
    Ok(())
}

/// Takes an element apart: itself with its keys, and its other children.
fn split(element: Element, shape: &Shape, path: &str) -> Result<(Element, Vec<Element>), BadContent> {
    let keys = shape.keys_of(&element).unwrap_or_default();
    let mut shell = Element::new(element.namespace_shared(), element.name());
    let mut found: Vec<Option<Element>> = vec![None; keys.len()];
    let mut rest = Vec::new();
    for child in element.into_children() {
        let key = keys.iter().position(|key| child.is(shell.namespace(), key));
        match key.and_then(|i| found.get_mut(i)) {
            None => rest.push(child),
            Some(Some(_)) => return Err(BadContent::Duplicate { path: format!("{path}/{}", child.name()) }),
            Some(place) => {
                check_plain(&child, path)?;
                *place = Some(child);
            }
        }
    }
    for key in found.into_iter().flatten() {
        shell.push(key);
    }
    Ok((shell, rest))
}

/// An element's step in a canonical path: name, and the keys of a list entry or the value of a leaf-list's.
pub(crate) fn step_of(element: &Element, shape: &Shape, parent: &str) -> Result<String, BadContent> {
    let mut step = element.name().to_owned();
    if shape.is_leaf_list(element) {
        step.push_str(&format!("[.={}]", literal(&key_text(element))));
    }
    for key in shape.keys_of(element).unwrap_or_default() {
        let leaf = element.own_child(key).filter(|leaf| leaf.is_leaf() && !leaf.is_empty());
        let Some(leaf) = leaf else {
            let path = format!("{parent}/{}", element.name());
            return Err(BadContent::MissingKey { path, key: key.clone() });
        };
        step.push_str(&format!("[{key}={}]", literal(&key_text(leaf))));
    }
    Ok(step)
}

/// A key's value. A prefix may be another in another rendering, and means the same.
fn key_text(leaf: &Element) -> Cow<'_, str> {
    if leaf.prefixes().next().is_some() { leaf.expanded_text() } else { leaf.raw_text() }
}

/// A value as XPath 1.0 literal; one with both kinds of quotes as `concat(…)`.
fn literal(value: &str) -> String {
    match (value.contains('\''), value.contains('"')) {
        (false, _) => format!("'{value}'"),
        (true, false) => format!("\"{value}\""),
        (true, true) => {
            let parts: Vec<String> = value.split('\'').map(|part| format!("'{part}'")).collect();
            format!("concat({})", parts.join(",\"'\","))
        }
    }
}

fn visit<'e>(
    tree: impl Iterator<Item = &'e Element>,
    shape: &Shape,
    names: &mut Vec<String>,
    path: &str,
    found: &mut dyn FnMut(Place, &str, &Element),
) {
    for element in tree {
        names.push(element.name().to_owned());
        // Construction has checked that the keys are there.
        let here = step_of(element, shape, path).map(|step| format!("{path}/{step}")).unwrap_or_default();
        match shape.place(names) {
            place @ (Place::Owned | Place::Shared) => found(place, &here, element),
            Place::Above => visit(element.children(), shape, names, &here, found),
            Place::Outside => {} // A key of an entry above.
        }
        names.pop();
    }
}

/// The element with nothing but its keys; an entry of a leaf-list with its value.
pub(crate) fn shell_of(element: &Element, shape: &Shape) -> Element {
    if shape.is_leaf_list(element) {
        return element.clone();
    }
    let mut shell = Element::new(element.namespace_shared(), element.name());
    for key in shape.keys_of(element).unwrap_or_default() {
        if let Some(leaf) = element.own_child(key) {
            shell.push(leaf.clone());
        }
    }
    shell
}

fn bones<'e>(
    tree: impl Iterator<Item = &'e Element>,
    shape: &Shape,
    names: &mut Vec<String>,
) -> Vec<Element> {
    let mut found = Vec::new();
    for element in tree {
        names.push(element.name().to_owned());
        match shape.place(names) {
            Place::Owned | Place::Shared => found.push(shell_of(element, shape)),
            Place::Above => {
                let inside = bones(element.children(), shape, names);
                let mut bone = shell_of(element, shape);
                for child in inside {
                    bone.push(child);
                }
                found.push(bone);
            }
            Place::Outside => {} // A key of an entry above; its shell has it.
        }
        names.pop();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_values_are_xpath_literals() {
        assert_eq!(literal("ge-0/0/1"), "'ge-0/0/1'");
        assert_eq!(literal("it's"), "\"it's\"");
        assert_eq!(literal("say \"hi\""), "'say \"hi\"'");
        assert_eq!(literal("it's \"x\""), "concat('it',\"'\",'s \"x\"')");
    }
}
