//! Subtree filtering, RFC 6241 §6, as a function on trees.

use crate::model::{Model, child_path, entry_keys};
use crate::spelling::{self, Kinds};
use crate::xml::{Element, Node};

/// What `filter` selects from `data`.
///
/// `filter` is the `<filter type="subtree">` element and `data` the element that holds the top-level nodes
/// of the data model (`<data>`); only the children of both are looked at. The result is an element of the
/// same name as `data`. A filter without children selects nothing (§6.4.2). A filter element without
/// namespace matches any namespace. With a `model`, the key leaves of a list entry are returned along with
/// what was selected in it (allowed by §6.2.5 and needed to make sense of the answer).
pub fn subtree(data: &Element, filter: &Element, model: &dyn Model) -> Element {
    let mut selected = Element::new(data.namespace_shared(), data.name());
    let Some(specs) = non_empty(filter.children().collect()) else { return selected };
    for node in data.children() {
        let matching: Vec<&Element> = specs.iter().copied().filter(|spec| names_match(node, spec)).collect();
        if let Some(kept) = select(node, &matching, model, node.name()) {
            selected.push(kept);
        }
    }
    selected
}

/// What the filter nodes `specs`, all of which match `data` by name and attributes, select of it.
fn select(data: &Element, specs: &[&Element], model: &dyn Model, path: &str) -> Option<Element> {
    let mut containments = Vec::new();
    for spec in specs {
        match kind(spec) {
            Kind::Selection => return Some(data.clone()),
            Kind::ContentMatch if data.is_leaf() && matches(data, spec) => return Some(data.clone()),
            Kind::ContentMatch => {}
            Kind::Containment => containments.push(*spec),
        }
    }
    // §6.2.5: content match nodes of a sibling set must all be true, or nothing of it counts.
    containments.retain(|spec| content_matches(data, spec));
    if containments.iter().any(|spec| spec.children().all(|child| kind(child) == Kind::ContentMatch)) {
        return Some(data.clone());
    }
    let specs = non_empty(containments.iter().flat_map(|spec| spec.children()).collect())?;
    let mut kept = Element::new(data.namespace_shared(), data.name());
    for attribute in data.attributes() {
        kept.set_attribute_ns(attribute.namespace.clone(), attribute.name.clone(), attribute.value.clone());
    }
    let names = entry_keys(model, path, data).unwrap_or_default();
    let mut found = false;
    for child in data.children() {
        let matching: Vec<&Element> = specs.iter().copied().filter(|spec| names_match(child, spec)).collect();
        let selected = select(child, &matching, model, &child_path(path, child.name()));
        found |= selected.is_some();
        let is_key =
            || child.namespace() == data.namespace() && names.iter().any(|name| name == child.name());
        match selected {
            Some(selected) => kept.push(Node::Element(selected)),
            None if is_key() => kept.push(child.clone()),
            None => {}
        }
    }
    found.then_some(kept)
}

#[derive(PartialEq)]
enum Kind {
    /// §6.2.3: has children.
    Containment,
    /// §6.2.4: empty.
    Selection,
    /// §6.2.5: holds simple content.
    ContentMatch,
}

fn kind(spec: &Element) -> Kind {
    match (spec.is_leaf(), spec.text().is_empty()) {
        (false, _) => Kind::Containment,
        (true, true) => Kind::Selection,
        (true, false) => Kind::ContentMatch,
    }
}

fn content_matches(data: &Element, spec: &Element) -> bool {
    spec.children()
        .filter(|child| kind(child) == Kind::ContentMatch)
        .all(|wanted| data.children().any(|leaf| names_match(leaf, wanted) && matches(leaf, wanted)))
}

/// §6.2.5: text counts as it is written, but for prefixes.
fn matches(data: &Element, spec: &Element) -> bool {
    spelling::same_writing(data, spec, Kinds::UNKNOWN)
}

/// §6.2.1 and §6.2.2: namespace, name, and every attribute of the filter node.
fn names_match(data: &Element, spec: &Element) -> bool {
    data.name() == spec.name()
        && (spec.namespace().is_empty() || data.namespace() == spec.namespace())
        && spec.attributes().iter().all(|a| data.attribute_ns(&a.namespace, &a.name) == Some(&*a.value))
}

fn non_empty(specs: Vec<&Element>) -> Option<Vec<&Element>> {
    (!specs.is_empty()).then_some(specs)
}

#[cfg(test)]
mod tests;
