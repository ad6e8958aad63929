//! Lists and leaf-lists whose order is part of the configuration.

use proptest::prelude::*;
use serde_json::{Value, json};
use turnup_core::message::{Condition, DeviceEdit};
use turnup_netconf::{
    compare,
    namespace::{BASE, YANG},
    xml::{Element, Limits, parse_str},
};
use turnup_plan::{Change, Footprint};

use crate::order;

fn config(rules: &[String], tags: &[String]) -> String {
    let rules: String = rules.iter().map(|name| format!("<rule><name>{name}</name></rule>")).collect();
    let tags: String = tags.iter().map(|tag| format!("<tag>{tag}</tag>")).collect();
    format!("<acls xmlns='urn:t'><acl><name>x</name>{rules}{tags}</acl></acls>")
}

fn footprint(owns: &str, ordered: &[&str], rules: &[String], tags: &[String]) -> Footprint {
    let stored = json!({
        "platform": "test", "config": config(rules, tags), "owns": [owns, "acls/acl/tag"],
        "keys": {"acl": ["name"], "rule": ["name"], "tag": ["."]}, "nodes": {"ordered": ordered},
    });
    let mut stored = stored;
    if owns == "acls/acl" {
        stored["owns"] = json!([owns]);
    }
    serde_json::from_value(stored).unwrap()
}

const ORDERED: [&str; 2] = ["acls/acl/rule", "acls/acl/tag"];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn edit(old: &Footprint, new: &Footprint, whole: bool) -> Option<DeviceEdit> {
    let change = Change { old: Some(old.clone()), new: Some(new.clone()), whole, ..Change::default() };
    change.edit(order(), &|_| false).map(|edit| edit.edit)
}

/// A device that keeps the order of entries, as RFC 7950 §7.8.6 and §7.7.9 say.
struct Device(Element);

impl Device {
    fn new(config: &str) -> Self {
        Self(parse(config))
    }

    fn edit(&mut self, edit: &str) {
        merge(&mut self.0, &parse(edit));
    }

    fn names(&self, list: &str) -> Vec<String> {
        let acl = self.0.children().flat_map(Element::children).next().unwrap();
        let entries = acl.children().filter(|entry| entry.name() == list);
        entries.map(|entry| entry.own_child("name").unwrap_or(entry).text().into_owned()).collect()
    }
}

fn parse(config: &str) -> Element {
    parse_str(&format!("<config>{config}</config>"), &Limits::default()).unwrap()
}

fn id(element: &Element) -> String {
    match element.own_child("name") {
        Some(name) => format!("{} {}", element.name(), name.text()),
        None if element.name() == "tag" => format!("tag {}", element.text()),
        None => element.name().to_owned(),
    }
}

fn merge(there: &mut Element, edit: &Element) {
    for child in edit.children() {
        let wanted = id(child);
        let mut nodes: Vec<Element> = there.children().cloned().collect();
        let found = nodes.iter().position(|known| id(known) == wanted);
        let operation = child.attribute_ns(BASE, "operation");
        let plain = || Element::new(child.namespace_shared(), child.name());
        let mut entry = match (found, operation) {
            (Some(at), Some("replace")) => {
                nodes[at] = plain();
                nodes[at].clone()
            }
            (Some(at), Some("remove")) => {
                nodes.remove(at);
                *there = Element::new(there.namespace_shared(), there.name()).with_children(nodes);
                continue;
            }
            (None, Some("remove")) => continue,
            (Some(at), _) => nodes[at].clone(),
            (None, _) => plain(),
        };
        match child.is_leaf() {
            true => entry = plain().with_text(child.raw_text()),
            false => merge(&mut entry, child),
        }
        let insert = child.attribute_ns(YANG, "insert");
        let target = || {
            let name = match child.attribute_ns(YANG, "value") {
                Some(value) => value.to_owned(),
                None => {
                    let key = child.attribute_ns(YANG, "key").unwrap();
                    assert!(
                        key.starts_with("[k:name='") && child.prefixes().any(|it| it == ("k", "urn:t")),
                        "{key}"
                    );
                    key.trim_start_matches("[k:name='").trim_end_matches("']").to_owned()
                }
            };
            format!("{} {name}", child.name())
        };
        match (found, insert) {
            (Some(at), None) => nodes[at] = entry,
            (None, None) => nodes.push(entry),
            (found, Some(word)) => {
                if let Some(at) = found {
                    nodes.remove(at);
                }
                let target = target();
                let at = nodes.iter().position(|known| id(known) == target).unwrap();
                nodes.insert(if word == "after" { at + 1 } else { at }, entry);
            }
        }
        *there = Element::new(there.namespace_shared(), there.name()).with_children(nodes);
    }
}

fn holds(condition: &Condition, device: &Device, keys: &dyn turnup_netconf::model::Model) -> bool {
    match condition {
        Condition::Contains(wanted) => compare::contains(&device.0, &parse(wanted), keys),
        Condition::All(all) => all.iter().all(|one| holds(one, device, keys)),
        Condition::Lacks(gone) => !compare::contains(&device.0, &parse(gone), keys),
    }
}

/// What the worker knows.
struct Known<'e>(&'e DeviceEdit);

impl turnup_netconf::model::Model for Known<'_> {
    fn list_keys(&self, path: &str) -> Option<&[String]> {
        self.0.keys.list_keys(path)
    }
    fn is_ordered(&self, path: &str) -> bool {
        self.0.nodes.ordered.contains(path)
    }
}

#[test]
fn a_move_is_written_and_taken_back() {
    for owns in ["acls/acl", "acls/acl/rule"] {
        let old = footprint(owns, &ORDERED, &names(&["deny-all", "permit-mgmt"]), &names(&["1", "2", "3"]));
        let new = footprint(owns, &ORDERED, &names(&["permit-mgmt", "deny-all"]), &names(&["3", "1", "2"]));
        let edit = edit(&old, &new, false).unwrap();
        let mut device = Device::new(old.config());
        assert!(holds(&edit.before, &device, &Known(&edit)) && !holds(&edit.after, &device, &Known(&edit)));
        device.edit(&edit.edit);
        assert_eq!(device.names("rule"), ["permit-mgmt", "deny-all"], "{}", edit.edit);
        assert_eq!(device.names("tag"), ["3", "1", "2"], "{}", edit.edit);
        assert!(holds(&edit.after, &device, &Known(&edit)) && !holds(&edit.before, &device, &Known(&edit)));
        device.edit(&edit.inverse);
        assert_eq!(device.names("rule"), ["deny-all", "permit-mgmt"], "{}", edit.inverse);
        assert_eq!(device.names("tag"), ["1", "2", "3"]);
    }
}

#[test]
fn the_plan_shows_moves() {
    let old = footprint("acls/acl", &ORDERED, &names(&["a", "b", "c"]), &[]);
    let new = footprint("acls/acl", &ORDERED, &names(&["b", "c", "a"]), &[]);
    let change = Change { old: Some(old), new: Some(new), ..Change::default() };
    let text = change.edit(order(), &|_| false).unwrap().text;
    assert_eq!(
        text, "  acls\n    acl[name='x']\n>     rule[name='a'] (after rule[name='c'])\n",
        "only what has to move"
    );
}

#[test]
fn where_nothing_says_that_the_order_counts_the_plan_says_that_it_is_not_kept() {
    use std::collections::BTreeMap;

    use turnup_core::{id::ServiceId, order::OrderKind};
    use turnup_plan::{Draft, Present};

    let (old, new) = (names(&["a", "b"]), names(&["b", "a"]));
    let plan = |ordered: &[&str]| {
        let device: turnup_core::name::DeviceName = "pe1".parse().unwrap();
        let present =
            Present { footprint: Some(footprint("acls/acl", ordered, &old, &[])), ..Present::default() };
        let wanted = BTreeMap::from([(device.clone(), footprint("acls/acl", ordered, &new, &[]))]);
        let service = ServiceId(uuid::Uuid::nil());
        let draft =
            Draft::new(OrderKind::Modify, order(), service, BTreeMap::from([(device, present)]), wanted);
        draft.finish(&[], &[]).unwrap()
    };
    let unknown = plan(&[]);
    assert!(unknown.is_empty());
    assert!(unknown.text().contains("note: the entries of acls/acl/rule are wanted in another order"));
    let known = plan(&ORDERED);
    assert!(!known.is_empty() && !known.text().contains("note:"));
}

fn some(of: Value) -> impl Strategy<Value = Vec<String>> {
    let all: Vec<String> = serde_json::from_value(of).unwrap();
    prop::sample::subsequence(all.clone(), 1..=all.len()).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_becomes_any_other_and_back(
        old in some(json!(["a", "b", "c", "d", "e"])),
        new in some(json!(["a", "b", "c", "d", "e"])),
        old_tags in some(json!(["1", "2", "3", "4"])),
        new_tags in some(json!(["1", "2", "3", "4"])),
        owned_whole in any::<bool>(),
        whole in any::<bool>(),
    ) {
        let owns = if owned_whole { "acls/acl" } else { "acls/acl/rule" };
        let (before, after) =
            (footprint(owns, &ORDERED, &old, &old_tags), footprint(owns, &ORDERED, &new, &new_tags));
        let mut device = Device::new(before.config());
        if let Some(edit) = edit(&before, &after, whole) {
            device.edit(&edit.edit);
            prop_assert_eq!(device.names("rule"), new.clone(), "{}", &edit.edit);
            prop_assert_eq!(device.names("tag"), new_tags, "{}", &edit.edit);
            prop_assert!(holds(&edit.after, &device, &Known(&edit)));
            device.edit(&edit.edit);
            prop_assert_eq!(device.names("rule"), new.clone(), "may be repeated: {}", &edit.edit);
            device.edit(&edit.inverse);
            prop_assert_eq!(device.names("rule"), old, "{}", &edit.inverse);
            prop_assert_eq!(device.names("tag"), old_tags, "{}", &edit.inverse);
        } else {
            prop_assert_eq!(old, new);
        }
    }
}
