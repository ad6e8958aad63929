//! Edits of what a device has deactivated: writing a node anew makes it active again, and a change inside of what stays
//! deactivated would not be in force.

use turnup_netconf::{
    compare::{inactive_mark, is_same_node, step},
    model::{Model, child_path, entry_keys},
    namespace,
    xml::Element,
};

/// The same edit for a device that holds `data`: nodes that are written anew (`operation="replace"`), and those
/// around them, are activated where Junos shows them as inactive. `config` are the children of `<config>`.
pub(crate) fn activated(config: &[Element], data: &Element, model: &dyn Model) -> Vec<Element> {
    let nodes = config.iter().map(|node| {
        let mut node = node.clone();
        activate(&mut node, Some(data), model, "");
        node
    });
    nodes.collect()
}

/// Whether the node or something in it is written anew.
fn activate(node: &mut Element, parent: Option<&Element>, model: &dyn Model, path: &str) -> bool {
    let here = child_path(path, node.name());
    let found = parent
        .and_then(|parent| parent.children().find(|candidate| is_same_node(model, &here, candidate, node)));
    let mut is_anew = node.attribute_ns(namespace::BASE, "operation") == Some("replace");
    for child in node.children_mut() {
        is_anew |= activate(child, found, model, &here);
    }
    let is_inactive = found.and_then(inactive_mark).is_some_and(|mark| &*mark.name == "inactive");
    if is_anew && is_inactive && namespace::is_junos(node.namespace()) {
        node.set_attribute_ns("", "active", "active");
    }
    is_anew
}

/// The first node that stays deactivated on the device and that an edit would change something in, as it would not be in
/// force there: its canonical path and the device's mark. `config` is an edit as [`activated`] gives it. Removals are in
/// force in any case.
pub(crate) fn deactivated(config: &[Element], data: &Element, model: &dyn Model) -> Option<(String, String)> {
    config.iter().find_map(|node| deactivated_in(node, data, model, "", ""))
}

fn deactivated_in(
    node: &Element,
    parent: &Element,
    model: &dyn Model,
    path: &str,
    shown: &str,
) -> Option<(String, String)> {
    if matches!(node.attribute_ns(namespace::BASE, "operation"), Some("remove" | "delete")) {
        return None;
    }
    let here = child_path(path, node.name());
    let found = parent.children().find(|candidate| is_same_node(model, &here, candidate, node))?;
    let shown = format!("{shown}/{}", step(node, model, &here));
    let is_activated = node.attribute("active").is_some();
    if let Some(mark) =
        inactive_mark(found).filter(|_| !is_activated && changes_something(node, model, &here))
    {
        return Some((shown, format!("{}=\"{}\"", mark.name, mark.value)));
    }
    node.children().find_map(|child| deactivated_in(child, found, model, &here, &shown))
}

/// Whether an edit writes something in the node beside the keys that identify it.
fn changes_something(node: &Element, model: &dyn Model, path: &str) -> bool {
    if matches!(node.attribute_ns(namespace::BASE, "operation"), Some("remove" | "delete")) {
        return false;
    }
    let keys = entry_keys(model, path, node).unwrap_or_default();
    let is_key = |child: &Element| child.is_leaf() && keys.iter().any(|key| **key == *child.name());
    let mut children = node.children().filter(|child| !is_key(child)).peekable();
    match children.peek() {
        // A leaf, or an entry or container that is made.
        None => true,
        Some(_) => children.any(|child| changes_something(child, model, &child_path(path, child.name()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use turnup_netconf::xml::{Limits, parse_str};

    use super::*;

    #[test]
    fn what_is_written_anew_is_activated_with_all_around_it() {
        let parse = |text: &str| {
            let text = format!(
                r#"<x xmlns="http://xml.juniper.net/xnm/1.1/xnm" xmlns:nc="{}">{text}</x>"#,
                namespace::BASE
            );
            parse_str(&text, &Limits::default()).unwrap()
        };
        let keys: BTreeMap<String, Vec<String>> = [("port", "name"), ("unit", "id")]
            .map(|(list, key)| (list.to_owned(), vec![key.to_owned()]))
            .into();
        let data = parse(
            r#"<port inactive="inactive"><name>1</name><unit><id>1</id></unit><unit inactive="inactive"><id>2</id></unit></port>
               <port inactive="inactive"><name>2</name></port>"#,
        );
        let edit = |unit: &str, operation: &str| {
            parse(&format!(
                r#"<port><name>1</name><unit{operation}><id>{unit}</id></unit></port><port><name>2</name><mtu>9</mtu></port>"#
            ))
        };
        let activated = |edit: &Element| -> Vec<String> {
            let config: Vec<Element> = edit.children().cloned().collect();
            let found = activated(&config, &data, &keys);
            let names = found.iter().flat_map(|port| std::iter::once(port).chain(port.children()));
            let active = names.filter(|node| node.attribute("active") == Some("active"));
            active
                .map(|node| node.own_child("name").or(node.own_child("id")).unwrap().to_xml())
                .collect::<Vec<_>>()
        };
        assert_eq!(activated(&edit("1", r#" nc:operation="replace""#)).len(), 1, "the port");
        assert_eq!(activated(&edit("2", r#" nc:operation="replace""#)).len(), 2, "the port and the unit");
        assert_eq!(activated(&edit("2", "")), [""; 0], "a change inside leaves it as somebody wanted it");

        let stays = |text: &str| {
            let config: Vec<Element> = parse(text).children().cloned().collect();
            let config = super::activated(&config, &data, &keys);
            deactivated(&config, &data, &keys).map(|(path, _)| path)
        };
        let port = "/port[name='1']".to_owned();
        assert_eq!(stays("<port><name>1</name><unit><id>3</id></unit></port>"), Some(port.clone()));
        assert_eq!(stays("<port><name>1</name><unit><id>1</id><vlan>5</vlan></unit></port>"), Some(port));
        let anew = r#"<port><name>1</name><unit nc:operation="replace"><id>2</id></unit></port>"#;
        assert_eq!(stays(anew), None, "it is activated");
        let gone = r#"<port><name>1</name><unit nc:operation="remove"><id>2</id></unit></port>"#;
        assert_eq!(stays(gone), None, "a removal is in force everywhere");
        assert_eq!(stays("<port><name>3</name><mtu>9</mtu></port>"), None, "the device does not have it yet");
    }
}
