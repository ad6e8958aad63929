//! Several orders' edits, or filters, as one tree: what all of them lie in is there once. Servers differ in
//! what they make of a container that comes twice.

use turnup_netconf::{
    keys::ListKeys,
    xml::{Element, Node},
};

/// What is united.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Content of `<config>`.
    Edits,
    /// Content of a subtree filter (RFC 6241 §6): what selects all of a node takes in what selects a part.
    Filters,
}

/// The union of `all`. Elements with attributes, such as `operation`, stay as they are, each once: what is to
/// be removed twice is there to be removed once only.
pub(crate) fn unite(all: impl IntoIterator<Item = Element>, keys: &dyn ListKeys, of: Of) -> Vec<Element> {
    let mut whole = Element::base("config");
    for one in all {
        add(&mut whole, one, keys, of);
    }
    whole.into_children().collect()
}

fn add(parent: &mut Element, one: Element, keys: &dyn ListKeys, of: Of) {
    let Some(twin) = parent.children_mut().find(|there| is_twin(there, &one, keys)) else {
        if !parent.children().any(|there| *there == one) {
            parent.push(one);
        }
        return;
    };
    if one.is_leaf() && twin.is_leaf() {
        return;
    }
    if of == Of::Filters && (selects_all(twin, keys) || selects_all(&one, keys)) {
        if selects_all(&one, keys) {
            *twin = one;
        }
        return;
    }
    for child in one.into_children() {
        add(twin, child, keys, of);
    }
}

/// Whether both stand for the same node and say nothing different of it themselves.
fn is_twin(a: &Element, b: &Element, keys: &dyn ListKeys) -> bool {
    if !a.same_name(b) || !a.attributes().is_empty() || !b.attributes().is_empty() {
        return false;
    }
    match keys.keys_of(a) {
        Some(names) => names.iter().all(|name| match (a.own_child(name), b.own_child(name)) {
            (Some(a), Some(b)) => a.same_value(b),
            _ => false,
        }),
        None if a.is_leaf() && b.is_leaf() => a == b,
        // Entries of a list whose keys nobody has told would differ in a leaf.
        None => leaves(a).all(|leaf| leaves(b).all(|other| !leaf.same_name(other) || leaf.same_value(other))),
    }
}

fn leaves(element: &Element) -> impl Iterator<Item = &Element> {
    element.children().filter(|child| child.is_leaf())
}

/// Whether a node of a filter selects everything in it: it has nothing but its keys.
fn selects_all(node: &Element, keys: &dyn ListKeys) -> bool {
    let names = keys.keys_of(node).unwrap_or_default();
    let is_key = |child: &Element| names.iter().any(|name| child.is(node.namespace(), name));
    node.nodes().iter().filter_map(Node::element).all(is_key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use turnup_netconf::xml::{Limits, parse_str};

    use super::*;

    fn united(of: Of, all: &[&str]) -> String {
        let keys = BTreeMap::from([("port".to_owned(), vec!["name".to_owned()])]);
        let all = all.iter().flat_map(|text| {
            parse_str(&format!("<x>{text}</x>"), &Limits::default()).unwrap().into_children()
        });
        unite(all, &keys, of).iter().map(Element::to_xml).collect()
    }

    #[test]
    fn what_edits_share_is_there_once() {
        let found = united(
            Of::Edits,
            &[
                "<ports><port><name>1</name><on/><unit>7</unit></port></ports>",
                "<ports><port><name>1</name><on/><unit>8</unit></port><port><name>2</name></port></ports>",
            ],
        );
        let wanted = "<ports><port><name>1</name><on/><unit>7</unit><unit>8</unit></port><port><name>2</name></port></ports>";
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_has_an_operation_or_differs_stays_apart() {
        let gone = r#"<p><port operation="remove"><name>1</name></port></p>"#;
        let found = united(Of::Edits, &[gone, "<p><port><name>1</name></port></p>"]);
        assert_eq!(
            found,
            r#"<p><port operation="remove"><name>1</name></port><port><name>1</name></port></p>"#
        );
        // No keys are known of these, so they may be two entries.
        let found = united(Of::Edits, &["<host><ip>1</ip></host>", "<host><ip>2</ip></host>"]);
        assert_eq!(found, "<host><ip>1</ip></host><host><ip>2</ip></host>");
    }

    #[test]
    fn a_filter_for_all_of_a_node_takes_in_one_for_a_part() {
        let (all, part) = ("<p><port><name>1</name></port></p>", "<p><port><name>1</name><mtu/></port></p>");
        for order in [[all, part], [part, all]] {
            assert_eq!(united(Of::Filters, &order), all);
        }
        let other = "<p><port><name>1</name><unit/></port></p>";
        assert_eq!(united(Of::Filters, &[part, other]), "<p><port><name>1</name><mtu/><unit/></port></p>");
    }
}
