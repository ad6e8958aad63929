//! Edits for devices that speak base:1.0 only. RFC 4741 knows no operation `remove`, and its `delete` is an
//! error where there is nothing; so what is there decides.

use turnup_netconf::{
    model::{Model, child_path, entry_keys},
    namespace,
    xml::Element,
};

use crate::lacks::{is_key, is_same_node};

const OPERATION: &str = "operation";

/// The same edit for a device that holds `data`: `remove` becomes `delete` where the node is there, and is
/// left out where it is not. What has nothing left to say then is left out too: merging it would make an
/// entry that nobody asked for. `config` are the children of `<config>`, `data` is `<data>`.
pub(crate) fn without_remove(config: &[Element], data: &Element, model: &dyn Model) -> Vec<Element> {
    let mut deleted = Vec::new();
    config.iter().filter_map(|node| convert(node, Some(data), model, node.name(), &mut deleted)).collect()
}

fn convert<'d>(
    node: &Element,
    parent: Option<&'d Element>,
    model: &dyn Model,
    path: &str,
    deleted: &mut Vec<&'d Element>,
) -> Option<Element> {
    let found = parent.and_then(|parent| parent.children().find(|it| is_same_node(it, node, model, path)));
    match node.attribute_ns(namespace::BASE, OPERATION) {
        Some("remove") => {
            // Two orders may remove the same node; it is there only for the first.
            let found = found.filter(|found| !deleted.iter().any(|gone| std::ptr::eq(*gone, *found)))?;
            deleted.push(found);
            let mut delete = node.clone();
            delete.remove_attribute_ns(namespace::BASE, OPERATION);
            delete.set_attribute_ns(namespace::BASE, OPERATION, "delete");
            Some(delete)
        }
        // What is in there replaces, or is made or deleted with it.
        Some("replace" | "create" | "delete") => Some(node.clone()),
        _ => {
            let mut kept = node.clone();
            kept.nodes_mut().clear();
            let mut left_out = false;
            for part in node.nodes() {
                match part.element() {
                    None => kept.push(part.clone()),
                    Some(child) => {
                        match convert(child, found, model, &child_path(path, child.name()), deleted) {
                            Some(child) => kept.push(child),
                            None => left_out = true,
                        }
                    }
                }
            }
            let names = entry_keys(model, path, node).unwrap_or_default();
            let says_nothing = kept.children().all(|child| is_key(child, node, names));
            (!(left_out && says_nothing)).then_some(kept)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use turnup_netconf::xml::{Limits, parse_str};

    use super::*;

    fn parse(text: &str) -> Element {
        let text =
            format!(r#"<x xmlns="urn:a" xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0">{text}</x>"#);
        parse_str(&text, &Limits::default()).unwrap()
    }

    fn check(data: &str, edit: &str, wanted: &str) {
        let keys: BTreeMap<String, Vec<String>> = [("interface", "name"), ("unit", "id")]
            .map(|(list, key)| (list.to_owned(), vec![key.to_owned()]))
            .into();
        let (data, edit, wanted) = (parse(data), parse(edit), parse(wanted));
        let config: Vec<Element> = edit.children().cloned().collect();
        let found: Vec<String> = without_remove(&config, &data, &keys).iter().map(Element::to_xml).collect();
        let wanted: Vec<String> = wanted.children().map(Element::to_xml).collect();
        assert_eq!(found, wanted);
    }

    fn interface(inside: &str) -> String {
        format!("<interfaces><interface><name>e1</name>{inside}</interface></interfaces>")
    }

    #[test]
    fn what_is_there_is_deleted_and_what_is_not_is_left_out() {
        let edit = interface(
            r#"<mtu nc:operation="remove"/><unit nc:operation="remove"><id>7</id></unit><speed>1</speed>"#,
        );
        let data = interface("<unit><id>7</id><vlan>3</vlan></unit><unit><id>8</id></unit>");
        let wanted = interface(r#"<unit nc:operation="delete"><id>7</id></unit><speed>1</speed>"#);
        check(&data, &edit, &wanted);
        check(&interface(""), &edit, &interface("<speed>1</speed>"));
        check("", &edit, &interface("<speed>1</speed>"));
    }

    #[test]
    fn nothing_is_made_on_the_way_to_what_is_not_there() {
        let edit = interface(r#"<unit nc:operation="remove"><id>7</id></unit>"#);
        check("", &edit, "");
        check(&interface("<unit><id>8</id></unit>"), &edit, "");
        // An entry that is asked for as it is stays.
        check("", &interface("<unit><id>7</id></unit>"), &interface("<unit><id>7</id></unit>"));
        check("", "<a/>", "<a/>");
    }

    #[test]
    fn a_node_is_deleted_once_and_what_replaces_stays() {
        let gone = interface(r#"<unit nc:operation="remove"><id>7</id></unit>"#);
        let deleted = interface(r#"<unit nc:operation="delete"><id>7</id></unit>"#);
        check(&interface("<unit><id>7</id></unit>"), &format!("{gone}{gone}"), &deleted);
        let replace = interface(r#"<unit nc:operation="replace"><id>7</id><vlan>4</vlan></unit>"#);
        check(&interface("<unit><id>7</id></unit>"), &replace, &replace);
    }
}
