//! Properties of plans over any input.

use proptest::prelude::*;
use serde_json::json;
use turnup_core::message::{Condition, DeviceEdit};
use turnup_plan::{Footprint, overlap};

use crate::{
    change, definition,
    device::{Device, parse},
    plan, shipped,
};

fn leaf(config: &str, path: &[&str]) -> String {
    let root = parse(config);
    let mut element = &root;
    for name in path {
        element = element.children().find(|child| child.name() == *name).unwrap();
    }
    element.raw_text().into_owned()
}

/// Texts that XML can carry, with what is significant to it, to templates and to XPath more often than
/// chance would have it.
pub(crate) fn text(max_chars: usize) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        prop::sample::select(vec![
            '<', '>', '&', '"', '\'', ']', '{', '}', '%', '#', ';', ':', '/', '=', ' ', '\n', '\t', '\r'
        ]),
        any::<char>()
            .prop_filter("XML can't carry it", |c| !matches!(c, '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')),
    ];
    prop::collection::vec(character, 1..max_chars).prop_map(String::from_iter)
}

fn lines(port: &str, vlan: u16, description: &str) -> Vec<Footprint> {
    let endpoints = json!([
        {"role": "a", "device": "pe1", "attributes": {"port": port, "vlan": vlan}},
        {"role": "z", "device": "pe2", "attributes": {"port": "ge-0/0/7", "vlan": 200}},
    ]);
    let attributes = json!({"vc_id": 7, "description": description});
    plan(definition(shipped(), "eline"), attributes, endpoints, "sim").into_values().collect()
}

fn undo(edit: &DeviceEdit, device: &Device) {
    let mut now = device.clone();
    assert!(now.holds(&edit.before), "before {edit:?}");
    now.edit(&edit.edit);
    assert!(now.holds(&edit.after) && !now.holds(&edit.before), "after {edit:?}");
    let once = now.clone();
    now.edit(&edit.edit);
    assert_eq!(now.root, once.root, "twice is the same as once");
    now.edit(&edit.inverse);
    assert!(now.holds(&edit.before));
    assert_eq!(now.essence(), device.essence(), "the inverse undoes it");
    let undone = now.clone();
    now.edit(&edit.inverse);
    assert_eq!(now.root, undone.root, "also twice");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn values_come_back_from_xml_as_they_went_in(port in text(64), description in text(200)) {
        // A key that is nothing but white space identifies nothing.
        prop_assume!(port.contains(|c: char| !" \t\r\n".contains(c)));
        let footprint = &lines(&port, 100, &description)[0];
        let unit = ["interfaces", "interface", "unit", "description"];
        prop_assert_eq!(leaf(footprint.config(), &unit), &*description);
        prop_assert_eq!(leaf(footprint.config(), &["interfaces", "interface", "name"]), &*port);
        prop_assert_eq!(leaf(footprint.config(), &["pseudowires", "pseudowire", "interface"]), &*port);
        let edit = change(None, Some(footprint)).unwrap();
        prop_assert_eq!(leaf(&edit.filter, &["interfaces", "interface", "name"]), &*port);
        prop_assert_eq!(leaf(&edit.inverse, &["interfaces", "interface", "name"]), &*port);
    }

    #[test]
    fn stored_footprints_come_back(port in "[!-~]{1,64}", description in text(200)) {
        for footprint in lines(&port, 100, &description) {
            let stored = serde_json::to_string(&footprint).unwrap();
            let again: Footprint = serde_json::from_str(&stored).unwrap();
            prop_assert_eq!(&again, &footprint);
            prop_assert_eq!(
                change(Some(&again), None).unwrap(),
                change(Some(&footprint), None).unwrap()
            );
        }
    }

    /// Whatever else is on the device, and however often an edit is sent: the inverse brings back what
    /// was there.
    #[test]
    fn an_edit_can_be_undone(
        port in "[!-~]{1,20}",
        vlan in 1_u16..4095,
        description in text(50),
        others in prop::collection::vec((prop::sample::select(vec!["ge-0/0/1", "ge-0/0/2"]), 5000_u16..5003), 0..6),
        same_port in any::<bool>(),
    ) {
        let port = if same_port { "ge-0/0/1".to_owned() } else { port };
        let footprint = lines(&port, vlan, &description).swap_remove(0);
        let mut device = Device::new("", footprint.keys());
        for (port, unit) in others {
            device.edit(&format!(
                "<interfaces xmlns='urn:turnup:sim'><interface><name>{port}</name><description>x</description>\
                 <unit><id>{unit}</id><mtu>1400</mtu></unit></interface></interfaces>\
                 <pseudowires xmlns='urn:turnup:sim'><pseudowire><name>w{unit}</name></pseudowire></pseudowires>"
            ));
        }
        let provision = change(None, Some(&footprint)).unwrap();
        undo(&provision, &device);
        device.edit(&provision.edit);
        undo(&change(Some(&footprint), None).unwrap(), &device);
    }

    #[test]
    fn the_filter_selects_what_the_service_owns_and_nothing_else(port in "[!-~]{1,20}", vlan in 1_u16..4095) {
        let footprint = lines(&port, vlan, "mine").swap_remove(0);
        let edit = change(None, Some(&footprint)).unwrap();
        let mut device = Device::new("", footprint.keys());
        device.edit(
            "<interfaces xmlns='urn:turnup:sim'><interface><name>other port</name><unit><id>7</id></unit></interface>\
             </interfaces><pseudowires xmlns='urn:turnup:sim'><pseudowire><name>w</name></pseudowire></pseudowires>",
        );
        prop_assert!(!device.get(&edit.filter).to_xml().contains("mine"));
        device.edit(&edit.edit);
        device.edit(&edit.edit.replace(&format!("<id>{vlan}</id>"), "<id>4999</id>").replace("eline-", "other-"));
        let read = device.get(&edit.filter);
        let mut expected = Device::new("", footprint.keys());
        expected.edit(&edit.edit);
        prop_assert_eq!(read.to_xml(), expected.root.to_xml());
        prop_assert!(device.holds(&Condition::Contains(edit.edit)));
    }

    #[test]
    fn owned_nodes_differ_where_their_keys_do(a in text(20), b in text(20)) {
        let blank = |text: &str| text.chars().all(|c| " \t\r\n".contains(c));
        prop_assume!(!blank(&a) && !blank(&b));
        let node = |port: &str| lines(port, 100, "x")[0].owned_nodes().swap_remove(0);
        prop_assert_eq!(overlap(&node(&a), &node(&b)), a == b);
    }
}

#[test]
fn overlapping_nodes_are_the_same_or_one_inside_the_other() {
    let (port, unit) =
        ("/interfaces/interface[name='ge-0/0/1']", "/interfaces/interface[name='ge-0/0/1']/unit[id='1']");
    assert!(overlap(port, unit) && overlap(unit, port) && overlap(unit, unit));
    assert!(!overlap(unit, "/interfaces/interface[name='ge-0/0/1']/unit[id='10']"));
    assert!(!overlap(unit, "/interfaces/interface[name='ge-0/0/2']/unit[id='1']"));
    assert!(!overlap("/a/b", "/a/bc"));
}
