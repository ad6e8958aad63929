//! Orders against the shipped definitions.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use turnup_core::problem::Fault;
use turnup_plan::PlanError;

use crate::{check, definition, endpoints, folder::Folder, line_endpoints, plan, service, shipped};

fn places(faults: &[Fault]) -> Vec<(&str, &str)> {
    let mut places: Vec<_> =
        faults.iter().map(|fault| (fault.pointer.as_str(), fault.code.as_str())).collect();
    places.sort_unstable();
    places
}

#[test]
fn defaults_are_filled_in() {
    let catalogue = shipped();
    let checked =
        check(definition(catalogue, "eline"), json!({"vc_id": 7}), line_endpoints(), "sim").unwrap();
    assert_eq!(Value::Object(checked.attributes), json!({"vc_id": 7, "mtu": 1500, "control_word": true}));
    assert_eq!(checked.endpoints, endpoints(line_endpoints()));
    assert_eq!(checked.platforms.len(), 2);
}

#[test]
fn all_faults_at_once_with_their_places() {
    let catalogue = shipped();
    let given = json!([
        {"role": "a", "device": "pe1", "attributes": {"port": "ge-0/0/1", "vlan": 4095, "vlna": 1}},
        {"role": "zz", "device": "pe1"},
        {"role": "a", "device": "pe3", "attributes": {"port": "", "vlan": 1}},
    ]);
    let attributes = json!({"vc_id": 0, "mtu": "big", "decription": "x"});
    let faults = check(definition(catalogue, "eline"), attributes, given, "iosxr").unwrap_err();
    assert_eq!(
        places(&faults),
        [
            ("/attributes/decription", "unknown_attribute"),
            ("/attributes/mtu", "wrong_type"),
            ("/attributes/vc_id", "out_of_range"),
            ("/endpoints", "missing_endpoint"),
            ("/endpoints/0/attributes/vlan", "out_of_range"),
            ("/endpoints/0/attributes/vlna", "unknown_attribute"),
            ("/endpoints/0/device", "unsupported_platform"),
            ("/endpoints/1/device", "same_device"),
            ("/endpoints/1/role", "unknown_role"),
            ("/endpoints/2/attributes/port", "length"),
            ("/endpoints/2/device", "unsupported_platform"),
            ("/endpoints/2/role", "too_many_endpoints"),
        ]
    );
    let detail = |pointer: &str| &faults.iter().find(|fault| fault.pointer == pointer).unwrap().detail;
    assert_eq!(
        detail("/attributes/decription"),
        "there is no attribute \"decription\"; did you mean \"description\"?"
    );
    assert_eq!(
        detail("/endpoints/0/device"),
        "device pe1 has platform iosxr, eline supports junos, null, sim"
    );
    assert_eq!(detail("/endpoints/1/role"), "there is no endpoint role \"zz\"; did you mean \"z\"?");
}

#[test]
fn unknown_devices_and_missing_attributes() {
    let catalogue = shipped();
    let eline = definition(catalogue, "eline");
    let without_port = json!([
        {"role": "a", "device": "pe1-ams", "attributes": {"vlan": 100}},
        {"role": "z", "device": "pe1-par", "attributes": {"port": "ge-0/0/7", "vlan": 200}},
    ]);
    let faults = eline.check(&serde_json::Map::new(), &endpoints(without_port), |_| None).unwrap_err();
    assert_eq!(
        places(&faults),
        [
            ("/endpoints/0/attributes/port", "missing"),
            ("/endpoints/0/device", "unknown_device"),
            ("/endpoints/1/device", "unknown_device"),
        ]
    );
    let faults = check(eline, json!({"vc_id": 1}), json!([]), "sim").unwrap_err();
    assert_eq!(places(&faults), [("/endpoints", "missing_endpoint"), ("/endpoints", "missing_endpoint")]);
}

#[test]
fn the_list_of_faults_is_bounded() {
    let catalogue = shipped();
    let attributes: Value =
        (0..5_000).map(|n| (format!("attribute{n}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let faults = check(definition(catalogue, "eline"), attributes, line_endpoints(), "sim").unwrap_err();
    assert_eq!(faults.len(), 100);
    assert_eq!(faults[99].code, "more");
}

#[test]
fn plans_need_a_supported_platform() {
    let catalogue = shipped();
    let eline = definition(catalogue, "eline");
    let checked = check(eline, json!({"vc_id": 7}), line_endpoints(), "sim").unwrap();
    let with = |platforms| eline.footprints(service(), &checked.attributes, &checked.endpoints, &platforms);
    assert!(matches!(with(BTreeMap::new()), Err(PlanError::NoPlatform { .. })));
    let iosxr = checked.platforms.keys().map(|device| (device.clone(), "iosxr".parse().unwrap())).collect();
    let error = with(iosxr).unwrap_err();
    assert!(matches!(error, PlanError::UnsupportedPlatform { .. }));
    assert!(error.to_string().contains("eline supports junos, null, sim"), "{error}");
}

#[test]
fn summaries_show_what_an_order_may_say() {
    let catalogue = shipped();
    let summary = serde_json::to_value(definition(catalogue, "eline").summary()).unwrap();
    assert_eq!(summary["name"], "eline");
    assert_eq!(summary["version"], 1);
    assert_eq!(summary["platforms"], json!(["junos", "null", "sim"]));
    assert_eq!(summary["attributes"]["properties"]["mtu"]["default"], 1500);
    assert_eq!(summary["attributes"]["additionalProperties"], false);
    assert_eq!(summary["endpoints"][1]["role"], "z");
    assert_eq!(summary["endpoints"][1]["attributes"]["required"], json!(["port"]));
    assert_eq!(summary["resources"], json!({"vc_id": "vc-id"}));
    assert_eq!(summary["endpoints"][0]["resources"], json!({"vlan": "vlan"}));
    assert!(summary.get("audit_every_s").is_none());
    assert_eq!(
        serde_json::to_value(definition(catalogue, "elan").summary()).unwrap()["audit_every_s"],
        6 * 3600
    );
    let names: Vec<_> = catalogue.names().map(|name| name.as_str()).collect();
    assert_eq!(names, ["elan", "eline", "interface", "l3vpn", "user"]);
}

const BRIDGE: &str = "
name: bridge
version: 1
title: Several ports on any devices
same_device: true
endpoints:
  port: {min: 2, max: 8, attributes: {properties: {port: {type: string}, unit: {type: integer}}, required: [port, unit]}}
platforms:
  sim: {template: sim.xml.j2, keys: {interface: [name], unit: [id]}, owns: [interfaces/interface/unit]}
";

/// A designer loops over endpoints; that two of them share a port is no reason to write it cleverly.
#[test]
fn entries_that_endpoints_share_are_written_once() {
    let folder = Folder::with(&[
        ("bridge/definition.yaml", BRIDGE),
        (
            "bridge/sim.xml.j2",
            "<interfaces xmlns='urn:turnup:sim'>{% for e in endpoints %}<interface>\
             <unit><mtu>1500</mtu><id>{{ e.attributes.unit }}</id></unit><name>{{ e.attributes.port }}</name>\
             </interface>{% endfor %}</interfaces>",
        ),
    ]);
    let catalogue = folder.load().unwrap();
    let bridge = definition(&catalogue, "bridge");
    let port = |device: &str, port: &str, unit: u16| json!({"role": "port", "device": device, "attributes": {"port": port, "unit": unit}});
    let given =
        json!([port("pe1", "p1", 1), port("pe1", "p1", 2), port("pe1", "p2", 1), port("pe2", "p1", 1)]);
    let footprints = plan(bridge, json!({}), given, "sim");
    let footprint = &footprints[&"pe1".parse().unwrap()];
    assert_eq!(
        footprint.config(),
        "<interfaces xmlns=\"urn:turnup:sim\"><interface><name>p1</name>\
         <unit><id>1</id><mtu>1500</mtu></unit><unit><id>2</id><mtu>1500</mtu></unit></interface>\
         <interface><name>p2</name><unit><id>1</id><mtu>1500</mtu></unit></interface></interfaces>"
    );
    assert_eq!(
        footprint.owned_nodes(),
        [
            "/interfaces/interface[name='p1']/unit[id='1']",
            "/interfaces/interface[name='p1']/unit[id='2']",
            "/interfaces/interface[name='p2']/unit[id='1']",
        ]
    );
    let twice = json!([port("pe1", "p1", 1), port("pe1", "p1", 1)]);
    let checked = check(bridge, json!({}), twice, "sim").unwrap();
    let error = bridge
        .footprints(service(), &checked.attributes, &checked.endpoints, &checked.platforms)
        .unwrap_err();
    assert!(
        error.to_string().contains("/interfaces/interface[name='p1']/unit[id='1'] is there twice"),
        "{error}"
    );
}
