//! Several orders' edits, or filters, as one tree: what all of them lie in is there once. Servers differ in
//! what they make of a container that comes twice.

use turnup_netconf::{
    compare,
    model::{Model, child_path, entry_keys},
    spelling,
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
pub(crate) fn unite(all: impl IntoIterator<Item = Element>, model: &dyn Model, of: Of) -> Vec<Element> {
    let mut whole = Element::base("config");
    for one in all {
        let path = one.name().to_owned();
        add(&mut whole, one, model, &path, of);
    }
    whole.into_children().collect()
}

/// `path` is that of the element that is added.
fn add(parent: &mut Element, one: Element, model: &dyn Model, path: &str, of: Of) {
    let Some(twin) = parent.children_mut().find(|there| is_twin(there, &one, model, path)) else {
        if !parent.children().any(|there| *there == one) {
            parent.push(one);
        }
        return;
    };
    if one.is_leaf() && twin.is_leaf() {
        return;
    }
    if of == Of::Filters && (selects_all(twin, model, path) || selects_all(&one, model, path)) {
        if selects_all(&one, model, path) {
            *twin = one;
        }
        return;
    }
    for child in one.into_children() {
        let inner = child_path(path, child.name());
        add(twin, child, model, &inner, of);
    }
}

/// Whether both stand for the same node and say nothing different of it themselves.
fn is_twin(a: &Element, b: &Element, model: &dyn Model, path: &str) -> bool {
    if !compare::is_same_node(model, path, a, b) || !a.attributes().is_empty() || !b.attributes().is_empty() {
        return false;
    }
    match entry_keys(model, path, a) {
        Some(_) => true,
        None if a.is_leaf() && b.is_leaf() => a == b,
        // Entries of a list whose keys nobody has told would differ in a leaf.
        None => leaves(a).all(|leaf| {
            let kinds = model.kinds(&child_path(path, leaf.name()));
            leaves(b).all(|other| !leaf.same_name(other) || spelling::same_writing(leaf, other, kinds))
        }),
    }
}

fn leaves(element: &Element) -> impl Iterator<Item = &Element> {
    element.children().filter(|child| child.is_leaf())
}

/// Whether a node of a filter selects everything in it: it has nothing but its keys.
fn selects_all(node: &Element, model: &dyn Model, path: &str) -> bool {
    let names = entry_keys(model, path, node).unwrap_or_default();
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
