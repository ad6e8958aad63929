//! From a footprint of one version of a definition to one of another, which declares other things.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use turnup_core::message::DeviceEdit;
use turnup_plan::{Change, Footprint};

use crate::{device::Device, order};

fn keys(unit: &[&str]) -> Value {
    json!({"port": ["name"], "unit": unit, "tag": ["."]})
}

fn footprint(ports: &str, unit: &[&str], owns: &[&str]) -> Footprint {
    let config = format!("<ports xmlns='urn:t'>{ports}</ports>");
    serde_json::from_value(json!({"platform": "test", "config": config, "owns": owns, "keys": keys(unit)}))
        .unwrap()
}

fn edit(old: &Footprint, new: Option<&Footprint>, whole: bool) -> DeviceEdit {
    let change = Change { old: Some(old.clone()), new: new.cloned(), whole, ..Change::default() };
    change.edit(order(), &|_| false).unwrap().edit
}

/// What a device has of ports that were there before, once it has the old footprint and then the edit.
fn result(before: &str, old: &Footprint, new: &Footprint, whole: bool) -> (Device, Device) {
    let keys: BTreeMap<String, Vec<String>> = serde_json::from_value(keys(&["id"])).unwrap();
    let config = format!("<ports xmlns='urn:t'>{before}</ports>");
    let mut device = Device::new(&config, &keys);
    device.edit(old.config());
    device.edit(&edit(old, Some(new), whole).edit);
    let mut wanted = Device::new(&config, &keys);
    wanted.edit(new.config());
    (device, wanted)
}

const FACTORY: &str = "<port><name>p0</name><mtu>9000</mtu></port><port><name>p1</name><mtu>9000</mtu>\
                       <unit><id>others</id></unit></port>";

#[test]
fn a_port_that_only_the_new_version_owns_is_not_taken_away_with_the_old_one() {
    let old = footprint("<port><name>p0</name><unit><id>1</id></unit></port>", &["id"], &["ports/port/unit"]);
    let new = footprint("<port><name>lo7</name><mtu>1500</mtu></port>", &["id"], &["ports/port"]);
    for whole in [false, true] {
        let (device, wanted) = result(FACTORY, &old, &new, whole);
        assert_eq!(device.essence(), wanted.essence(), "whole: {whole}");
    }
}

#[test]
fn a_port_that_only_the_old_version_owned_is_not_replaced_by_the_new_one() {
    let old = footprint("<port><name>lo7</name><mtu>1500</mtu></port>", &["id"], &["ports/port"]);
    let unit = |port: &str| format!("<port><name>{port}</name><unit><id>1</id></unit></port>");
    let new = footprint(&(unit("p1") + &unit("lo7")), &["id"], &["ports/port/unit"]);
    for whole in [false, true] {
        let (device, wanted) = result(FACTORY, &old, &new, whole);
        assert_eq!(device.essence(), wanted.essence(), "whole: {whole}");
    }
    // And back again.
    let mut device = result(FACTORY, &old, &new, false).0;
    device.edit(&edit(&old, Some(&new), false).inverse);
    let (mut wanted, _) = result(FACTORY, &old, &old.clone(), true);
    wanted.edit(old.config());
    assert_eq!(device.essence(), wanted.essence());
}

#[test]
fn entries_that_the_new_version_knows_by_another_key_go_by_their_own() {
    let old = footprint(
        "<port><name>p0</name><unit><id>1</id></unit><unit><id>2</id></unit></port>",
        &["id"],
        &["ports/port/unit"],
    );
    let new = footprint(
        "<port><name>p0</name><unit><label>a</label></unit></port>",
        &["label"],
        &["ports/port/unit"],
    );
    let edit = edit(&old, Some(&new), false);
    for id in ["1", "2"] {
        let removed = format!("operation=\"remove\"><id>{id}</id></unit>");
        assert!(edit.edit.contains(&removed), "{}", edit.edit);
    }
    assert!(edit.edit.contains("<unit><label>a</label></unit>"), "{}", edit.edit);
    assert!(edit.inverse.contains("operation=\"remove\"><label>a</label></unit>"), "{}", edit.inverse);
}

/// An identityref means the same under any prefix, as a leaf, as a key and in a leaf-list.
#[test]
fn another_prefix_is_no_change() {
    let with = |prefix: &str| {
        let value = |name: &str| format!("<{name} xmlns:{prefix}='urn:id'>{prefix}:gold</{name}>");
        footprint(
            &format!(
                "<port><name>p0</name><unit>{}{}{}</unit></port>",
                value("id"),
                value("class"),
                value("tag")
            ),
            &["id"],
            &["ports/port/unit"],
        )
    };
    let change = Change { old: Some(with("a")), new: Some(with("b")), ..Change::default() };
    assert_eq!(change.edit(order(), &|_| false), None);
    assert_eq!(with("a").owned_nodes(), with("b").owned_nodes());
}
