//! The condition that things are gone.

use turnup_netconf::{keys::ListKeys, xml::Element};

/// Whether none of the innermost nodes of `gone` is in `data`: list entries with nothing but their keys,
/// and elements without children. What is around them may be there. Only the children of the two elements
/// are compared.
pub(crate) fn lacks(data: &Element, gone: &Element, keys: &dyn ListKeys) -> bool {
    gone.children().all(|node| {
        let mut found = data.children().filter(|candidate| is_same_node(candidate, node, keys));
        if is_innermost(node, keys) {
            found.next().is_none()
        } else {
            found.all(|candidate| lacks(candidate, &inside(node, keys), keys))
        }
    })
}

/// Whether nothing but what identifies the node is given.
fn is_innermost(node: &Element, keys: &dyn ListKeys) -> bool {
    let names = keys.keys_of(node).unwrap_or_default();
    node.children().all(|child| is_key(child, node, names))
}

/// Whether a child is one of these keys of the entry.
pub(crate) fn is_key(child: &Element, node: &Element, names: &[String]) -> bool {
    names.iter().any(|name| child.is(node.namespace(), name))
}

/// The node without its keys.
fn inside(node: &Element, keys: &dyn ListKeys) -> Element {
    let names = keys.keys_of(node).unwrap_or_default();
    let rest = node.children().filter(|child| !is_key(child, node, names)).cloned();
    Element::new(node.namespace_shared(), node.name()).with_children(rest)
}

/// Whether both stand for the same node of the data tree.
pub(crate) fn is_same_node(candidate: &Element, node: &Element, keys: &dyn ListKeys) -> bool {
    if !candidate.same_name(node) {
        return false;
    }
    match keys.keys_of(node) {
        Some(names) => names.iter().all(|name| match (candidate.own_child(name), node.own_child(name)) {
            (Some(theirs), Some(ours)) => theirs.same_value(ours),
            _ => false,
        }),
        // A leaf is gone with its value, or altogether if none is given.
        None if node.is_leaf() => node.is_empty() || candidate.same_value(node),
        None => true,
    }
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
        lacks(&parse(data), &parse(gone), &keys)
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
