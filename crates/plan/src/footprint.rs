//! A footprint: what one service wants on one device.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use turnup_core::{name::PlatformName, nodes::NodeFacts};
use turnup_netconf::{
    compare,
    model::{Model as _, child_path},
    xml::{Element, Limits, Node, parse_str},
};

use crate::{
    error::BadContent,
    secret,
    shape::{Place, Shape},
    template::MAX_OUTPUT_BYTES,
    yang::{Violation, Yang},
};

/// What one service wants on one device, checked and in canonical form: list keys first (RFC 7950 §7.8.5),
/// entries that several endpoints share written once, no white space between elements, and where YANG is
/// known, values as it writes them (§9.1).
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
    values: CheckedValues,
}

/// The set of YANG modules that has read all values already. No part of what a footprint is.
#[derive(Debug, Clone, Default)]
struct CheckedValues(Option<String>);

impl PartialEq for CheckedValues {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for CheckedValues {}

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

    /// The same of what a template has written. What `shape` doesn't declare is as YANG says.
    pub(crate) fn rendered(
        platform: PlatformName,
        config: &str,
        shape: Shape,
        yang: Option<&Yang>,
    ) -> Result<Self, BadContent> {
        let footprint = Self::arranged(platform, config, shape, yang)?;
        no_secret_keys(&footprint.tree, &footprint.shape)?;
        Ok(footprint)
    }

    fn arranged(
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
        let mut tree = arrange_above(tree, &shape, "", "")?;
        let mut config = to_xml(&tree);
        let mut values = CheckedValues::default();
        if let Some(yang) = yang
            && let Some(canonical) = yang.canonical(&tree, &config)
        {
            values.0 = Some(yang.digest().to_owned());
            let NodeFacts { ordered, mut secret, write_only, opaque, .. } = std::mem::take(&mut shape.nodes);
            secret.extend(canonical.facts.secret.iter().cloned());
            shape.nodes = NodeFacts { ordered, secret, write_only, opaque, ..canonical.facts };
            if let Some(canonical) = canonical.tree {
                // Two entries that were written differently may be one.
                tree = arrange_above(canonical, &shape, "", "")?;
                config = to_xml(&tree);
            }
        }
        Ok(Self { platform, config, shape, tree, values })
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

    /// The same with secret values masked.
    #[must_use]
    pub fn shown_config(&self) -> String {
        secret::masked(&self.config, &self.shape.nodes)
    }

    /// Lists, by path or name → names of their key leaves.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<String, Vec<String>> {
        &self.shape.keys
    }

    /// What else is known of the nodes in it.
    #[must_use]
    pub fn nodes(&self) -> &NodeFacts {
        &self.shape.nodes
    }

    /// What is known of the nodes in it, and with YANG also of those that a device may show inside of what the
    /// service owns.
    #[must_use]
    pub fn nodes_for_audit(&self, yang: Option<&Yang>) -> NodeFacts {
        let mut facts = self.shape.nodes.clone();
        facts.add_inside(&self.facts_inside(yang));
        facts
    }

    /// What YANG says of nodes that a device may show inside of what the service owns.
    #[must_use]
    pub(crate) fn facts_inside(&self, yang: Option<&Yang>) -> NodeFacts {
        let mut facts = NodeFacts::default();
        if let Some(yang) = yang {
            let is_owned = |path: &str| self.shape.place(path) == Place::Owned;
            yang.add_inside(&self.tree, &is_owned, &mut facts);
        }
        facts
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
        to_xml(&bones(self.tree.iter(), &self.shape, ""))
    }

    /// Namespaces in it that no module of the platform's YANG has: what is in them is not checked.
    #[must_use]
    pub fn unchecked(&self, yang: &Yang) -> Vec<String> {
        yang.unchecked(&self.tree).into_iter().map(str::to_owned).collect()
    }

    /// Checks it against the platform's YANG: types, ranges, keys, patterns, and that nothing mandatory is
    /// missing in what is the service's as a whole.
    ///
    /// # Errors
    /// Every violation, with its path.
    pub fn check(&self, yang: &Yang) -> Result<(), Vec<Violation>> {
        let whole = |path: &str| matches!(self.shape.place(path), Place::Owned | Place::Shared);
        let values_are_checked = self.values.0.as_deref() == Some(yang.digest());
        yang.check_tree(&self.tree, &self.config, &whole, values_are_checked)
    }

    pub(crate) fn tree(&self) -> &[Element] {
        &self.tree
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Calls `found` with every owned and shared node and its path.
    fn visit(&self, found: &mut dyn FnMut(Place, &str, &Element)) {
        visit(self.tree.iter(), &self.shape, "", "", found);
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

/// The elements of configuration, as they are written.
pub(crate) fn parse(config: &str) -> Result<Vec<Element>, BadContent> {
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

/// What identifies an entry is in every path to it, so it can be no secret.
fn no_secret_keys(tree: &[Element], shape: &Shape) -> Result<(), BadContent> {
    fn inside<'e>(
        elements: impl Iterator<Item = &'e Element>,
        shape: &Shape,
        path: &str,
    ) -> Result<(), BadContent> {
        for element in elements {
            let here = child_path(path, element.name());
            if shape.is_leaf_list(&here, element) && shape.nodes.is_secret(&here) {
                return Err(BadContent::SecretKey { list: here, key: ".".to_owned() });
            }
            let is_secret = |key: &&String| shape.nodes.is_secret(&child_path(&here, key));
            if let Some(key) = shape.keys_of(&here, element).iter().find(is_secret) {
                return Err(BadContent::SecretKey { list: here, key: key.clone() });
            }
            inside(element.children(), shape, &here)?;
        }
        Ok(())
    }
    if !shape.nodes.has_secrets() {
        return Ok(());
    }
    inside(tree.iter(), shape, "")
}

/// Takes over what YANG says of the lists in `tree` whose paths aren't declared. It knows every node, and so
/// wins over what is declared for all lists of a name.
fn declare(tree: &[Element], yang: &Yang, shape: &mut Shape) {
    fn inside<'e>(
        elements: impl Iterator<Item = &'e Element>,
        top: Option<&str>,
        path: &str,
        yang: &Yang,
        shape: &mut Shape,
    ) {
        for element in elements {
            let top = top.unwrap_or(element.namespace());
            let here = child_path(path, element.name());
            if let Some(list) = yang.list(top, &here, element.namespace()) {
                if shape.keys.list_keys(&here) != Some(list.keys.as_slice())
                    && !shape.keys.contains_key(&here)
                {
                    shape.keys.insert(here.clone(), list.keys.clone());
                }
                if list.ordered && !shape.nodes.ordered.contains(&here) {
                    shape.nodes.ordered.insert(here.clone());
                }
            }
            inside(element.children(), Some(top), &here, yang, shape);
        }
    }
    inside(tree.iter(), None, "", yang, shape);
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

/// `at` is where the elements are in local names, `path` the same with keys.
fn arrange_above(
    elements: Vec<Element>,
    shape: &Shape,
    at: &str,
    path: &str,
) -> Result<Vec<Element>, BadContent> {
    let mut groups: Vec<Group> = Vec::new();
    for element in elements {
        check_plain(&element, path)?;
        let inner = child_path(at, element.name());
        let step = step_of(&element, shape, &inner, path)?;
        let here = format!("{path}/{step}");
        let place = shape.place(&inner);
        let known = groups.iter_mut().find(|group| group.step == step && group.shell.same_name(&element));
        match (place, known) {
            (Place::Outside, _) => return Err(BadContent::NotOwned { path: here }),
            (Place::Owned, Some(_)) => return Err(BadContent::Duplicate { path: here }),
            // Two endpoints on one port hold the same shared node; they must agree on it.
            (Place::Shared, Some(known)) => {
                if known.shell != arrange_inside(element, shape, &inner, path)? {
                    return Err(BadContent::Duplicate { path: here });
                }
            }
            (Place::Owned | Place::Shared, None) => {
                let shell = arrange_inside(element, shape, &inner, path)?;
                groups.push(Group { step, shell, rest: None });
            }
            (Place::Above, known) => {
                let (shell, rest) = split(element, shape, &inner, &here)?;
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
                let inner = child_path(at, shell.name());
                let rest = arrange_above(rest, shape, &inner, &format!("{path}/{step}"))?;
                Ok(shell.with_children(rest))
            }
        })
        .collect()
}

/// `at` is the element's own path in local names, `parent` the path around it with keys.
fn arrange_inside(element: Element, shape: &Shape, at: &str, parent: &str) -> Result<Element, BadContent> {
    check_plain(&element, parent)?;
    let path = format!("{parent}/{}", step_of(&element, shape, at, parent)?);
    if element.is_leaf() {
        return Ok(element);
    }
    let (mut shell, rest) = split(element, shape, at, &path)?;
    let mut seen = BTreeSet::new();
    for child in rest {
        let inner = child_path(at, child.name());
        let child = arrange_inside(child, shape, &inner, &path)?;
        let mut step = step_of(&child, shape, &inner, &path)?;
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
fn split(
    element: Element,
    shape: &Shape,
    at: &str,
    path: &str,
) -> Result<(Element, Vec<Element>), BadContent> {
    let keys = shape.keys_of(at, &element);
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
/// `at` is its path in local names, `parent` that around it with keys.
pub(crate) fn step_of(
    element: &Element,
    shape: &Shape,
    at: &str,
    parent: &str,
) -> Result<String, BadContent> {
    for key in shape.keys_of(at, element) {
        if !element.own_child(key).is_some_and(|leaf| leaf.is_leaf() && !leaf.is_empty()) {
            let (path, list) = (format!("{parent}/{}", element.name()), at.to_owned());
            return Err(BadContent::MissingKey { path, key: key.clone(), list });
        }
    }
    Ok(compare::step(element, shape, at))
}

fn visit<'e>(
    tree: impl Iterator<Item = &'e Element>,
    shape: &Shape,
    at: &str,
    path: &str,
    found: &mut dyn FnMut(Place, &str, &Element),
) {
    for element in tree {
        let inner = child_path(at, element.name());
        let place = shape.place(&inner);
        if place == Place::Outside {
            continue; // A key of an entry above.
        }
        // Construction has checked that the keys are there.
        let here = format!("{path}/{}", compare::step(element, shape, &inner));
        match place {
            Place::Above => visit(element.children(), shape, &inner, &here, found),
            place => found(place, &here, element),
        }
    }
}

/// The element at this path with nothing but its keys; an entry of a leaf-list with its value.
pub(crate) fn shell_of(element: &Element, shape: &Shape, at: &str) -> Element {
    if shape.is_leaf_list(at, element) {
        return element.clone();
    }
    let mut shell = Element::new(element.namespace_shared(), element.name());
    for key in shape.keys_of(at, element) {
        if let Some(leaf) = element.own_child(key) {
            shell.push(leaf.clone());
        }
    }
    shell
}

fn bones<'e>(tree: impl Iterator<Item = &'e Element>, shape: &Shape, at: &str) -> Vec<Element> {
    let mut found = Vec::new();
    for element in tree {
        let inner = child_path(at, element.name());
        match shape.place(&inner) {
            Place::Owned | Place::Shared => found.push(shell_of(element, shape, &inner)),
            Place::Above => {
                let mut bone = shell_of(element, shape, &inner);
                for child in bones(element.children(), shape, &inner) {
                    bone.push(child);
                }
                found.push(bone);
            }
            Place::Outside => {} // A key of an entry above; its shell has it.
        }
    }
    found
}
