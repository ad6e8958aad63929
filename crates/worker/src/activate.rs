//! Edits of what a device has deactivated: writing a node anew makes it active again.

use turnup_netconf::{
    compare::{inactive_mark, is_same_node},
    model::{Model, child_path},
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
    }
}
