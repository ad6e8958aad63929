//! The condition that things are gone.

use turnup_netconf::{
    compare,
    model::{Model, child_path, entry_keys},
    spelling,
    xml::Element,
};

/// Whether none of the innermost nodes of `gone` is in `data`: list entries with nothing but their keys,
/// and elements without children. What is around them may be there. Only the children of the two elements
/// are compared, which are at `path`.
pub(crate) fn lacks(data: &Element, gone: &Element, model: &dyn Model, path: &str) -> bool {
    gone.children().all(|node| {
        let here = child_path(path, node.name());
        let mut found = data.children().filter(|candidate| is_same_node(candidate, node, model, &here));
        if is_innermost(node, model, &here) {
            found.next().is_none()
        } else {
            found.all(|candidate| lacks(candidate, &inside(node, model, &here), model, &here))
        }
    })
}

/// Whether nothing but what identifies the node is given.
fn is_innermost(node: &Element, model: &dyn Model, path: &str) -> bool {
    let names = entry_keys(model, path, node).unwrap_or_default();
    node.children().all(|child| is_key(child, node, names))
}

/// Whether a child is one of these keys of the entry.
pub(crate) fn is_key(child: &Element, node: &Element, names: &[String]) -> bool {
    names.iter().any(|name| child.is(node.namespace(), name))
}

/// The node without its keys.
fn inside(node: &Element, model: &dyn Model, path: &str) -> Element {
    let names = entry_keys(model, path, node).unwrap_or_default();
    let rest = node.children().filter(|child| !is_key(child, node, names)).cloned();
    Element::new(node.namespace_shared(), node.name()).with_children(rest)
}

/// Whether both stand for the same node of the data tree. Keys count as they are written, but for spellings
/// that are known: `01` and `1` may be two entries.
pub(crate) fn is_same_node(candidate: &Element, node: &Element, model: &dyn Model, path: &str) -> bool {
    let is_entry = entry_keys(model, path, node).is_some();
    compare::is_same_node(model, path, candidate, node)
        // A leaf is gone with its value, or altogether if none is given.
        && (is_entry
            || !node.is_leaf()
            || node.is_empty()
            || spelling::same_writing(candidate, node, model.kinds(path)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use turnup_netconf::xml::{Limits, parse_str};

    use super::*;

    fn check(data: &str, gone: &str) -> bool {
        let parse = |text: &str| parse_str(&format!("<x>{text}</x>"), &Limits::default()).unwrap();
        let keys: BTreeMap<String, Vec<String>> = [("interface", "name"), ("unit", "id")]
            .map(|(list, key)| (list.to_owned(), vec![key.to_owned()]))
            .into();
        lacks(&parse(data), &parse(gone), &keys, "")
    }

    const GONE: &str = r#"<interfaces xmlns="urn:a"><interface><name>e1</name><unit><id>7</id></unit></interface></interfaces>"#;

    fn with(units: &str) -> String {
        format!(r#"<interfaces xmlns="urn:a"><interface><name>e1</name>{units}</interface></interfaces>"#)
    }

    #[test]
    fn what_is_around_may_be_there_or_not() {
        assert!(check("", GONE));
        assert!(check(r#"<interfaces xmlns="urn:a"/>"#, GONE));
        assert!(check(&with(""), GONE));
        assert!(check(&with("<unit><id>8</id></unit>"), GONE));
    }

    #[test]
    fn the_innermost_entry_may_not() {
        assert!(!check(&with("<unit><id>7</id></unit>"), GONE));
        assert!(!check(&with("<unit><id>8</id></unit><unit><mtu>1</mtu><id> 7 </id></unit>"), GONE));
        let interface = r#"<interfaces xmlns="urn:a"><interface><name>e1</name></interface></interfaces>"#;
        assert!(!check(&with("<unit><id>8</id></unit>"), interface));
    }

    #[test]
    fn other_namespaces_and_keys_are_others() {
        assert!(check(&with("<unit><id>7</id></unit>").replace("urn:a", "urn:b"), GONE));
        assert!(check(&with("<unit><id>7</id></unit>").replace("e1", "e2"), GONE));
    }

    #[test]
    fn one_of_several_is_enough() {
        let two = format!("{GONE}{}", GONE.replace("e1", "e2"));
        assert!(check("", &two));
        assert!(!check(&with("<unit><id>7</id></unit>").replace("e1", "e2"), &two));
    }
}
