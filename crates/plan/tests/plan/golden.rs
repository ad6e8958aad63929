//! What the shipped definitions render to, as files. After an intended change run the tests once with
//! `UPDATE_GOLDEN=1` and read the difference before committing it.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::{Value, json};
use turnup_core::audit::CheckAsk;
use turnup_netconf::xml::{Limits, parse_str};

use crate::{change, check, definition, line_endpoints, service, shipped};

/// Indented, so that differences can be read.
fn pretty(config: &str) -> String {
    let root = parse_str(&format!("<config>{config}</config>"), &Limits::default()).unwrap();
    root.children().map(|element| element.to_pretty_xml() + "\n").collect()
}

fn snapshot(name: &str, attributes: Value, endpoints: Value, platform: &str) {
    let definition = definition(shipped(), name.split('-').next().unwrap());
    let checked = check(definition, attributes, endpoints, platform).unwrap();
    let (attributes, endpoints) = (&checked.attributes, &checked.endpoints);
    let planned = definition.footprints(service(), attributes, endpoints, &checked.platforms).unwrap();
    let mut text = String::new();
    for (device, footprint) in planned {
        let provision = change(None, Some(&footprint)).unwrap();
        let decommission = change(Some(&footprint), None).unwrap();
        // What one merges the other has to bring back, and the reverse.
        assert_eq!(provision.edit, footprint.config());
        assert_eq!((&provision.edit, &provision.inverse), (&decommission.inverse, &decommission.edit));
        assert_eq!((&provision.after, &provision.before), (&decommission.before, &decommission.after));
        assert_eq!(provision.filter, decommission.filter);
        writeln!(text, "== {device} ({})", footprint.platform()).unwrap();
        writeln!(text, "-- owned nodes\n{}", footprint.owned_nodes().join("\n")).unwrap();
        let shared = footprint.shared_nodes();
        if !shared.is_empty() {
            let paths: Vec<&str> = shared.iter().map(|(path, _)| path.as_str()).collect();
            writeln!(text, "-- shared nodes\n{}", paths.join("\n")).unwrap();
        }
        writeln!(text, "-- keys\n{}", serde_json::to_string(&provision.keys).unwrap()).unwrap();
        writeln!(text, "-- edit\n{}", pretty(&provision.edit)).unwrap();
        writeln!(text, "-- inverse\n{}", pretty(&provision.inverse)).unwrap();
        writeln!(text, "-- filter\n{}", pretty(&provision.filter)).unwrap();
        let checks =
            definition.checks(service(), attributes, endpoints, &checked.platforms, &device).unwrap();
        for check in checks {
            let (how, asked) = match &check.ask {
                CheckAsk::Get(asked) => ("get", asked),
                CheckAsk::Rpc(asked) => ("rpc", asked),
            };
            writeln!(text, "-- check: {}\n{how}\n{}", check.name, pretty(asked).trim_end()).unwrap();
            for condition in &check.conditions {
                let line = format!("{} {} {}", condition.path, condition.test, condition.value);
                writeln!(text, "{}", line.trim_end()).unwrap();
            }
            text.push('\n');
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    for (n, (found, wanted)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(found, wanted, "{name}.txt line {}: see UPDATE_GOLDEN in golden.rs", n + 1);
    }
    assert_eq!(text.len(), golden.len(), "{name}.txt: see UPDATE_GOLDEN in golden.rs");
}

/// With what Junos needs beside.
fn junos_line() -> Value {
    let mut endpoints = line_endpoints();
    for (i, loopback) in ["192.0.2.1", "192.0.2.2"].iter().enumerate() {
        endpoints[i]["attributes"]["loopback"] = json!(loopback);
    }
    endpoints
}

#[test]
fn eline_with_defaults() {
    snapshot("eline-defaults", json!({"vc_id": 1001}), line_endpoints(), "sim");
}

#[test]
fn eline_with_everything() {
    let attributes = json!({"vc_id": 4_294_967_295_u32, "mtu": 9600, "control_word": false, "description": "Ams <-> \"Par\" & back"});
    snapshot("eline-everything", attributes, line_endpoints(), "sim");
}

#[test]
fn eline_with_bandwidth() {
    snapshot("eline-bandwidth", json!({"vc_id": 1, "bandwidth": 100_000}), line_endpoints(), "sim");
}

#[test]
fn eline_on_the_null_platform() {
    snapshot("eline-null", json!({"vc_id": 1}), line_endpoints(), "null");
}

#[test]
fn eline_on_junos() {
    let attributes = json!({"vc_id": 1001, "bandwidth": 1000, "description": "Ams <-> Par"});
    snapshot("eline-junos", attributes, junos_line(), "junos");
    snapshot("eline-junos-defaults", json!({"vc_id": 1001, "control_word": false}), junos_line(), "junos");
}

#[test]
fn interface_on_ietf() {
    let endpoints = json!([{"role": "device", "device": "cpe7"}]);
    snapshot("interface-ietf", json!({"name": "eth1", "description": "To the roof"}), endpoints, "ietf");
}

#[test]
fn interface_on_sim() {
    let endpoints = json!([{"role": "device", "device": "cpe7"}]);
    snapshot("interface-sim", json!({"name": "ge-0/0/1", "enabled": false}), endpoints, "sim");
}

#[test]
fn interface_on_the_null_platform() {
    let endpoints = json!([{"role": "device", "device": "cpe7"}]);
    snapshot("interface-null", json!({"name": "ge-0/0/1", "description": "x"}), endpoints, "null");
}

/// Three sites, two of them on one port, and on another device.
fn lan() -> (Value, Value) {
    let attributes = json!({
        "vpn_id": 100_000, "route_distinguisher": "65000:1000", "route_target": "65000:1001",
        "description": "Bakery LAN",
    });
    let endpoints = json!([
        {"role": "site", "device": "pe1", "attributes": {"port": "ge-0/0/1", "vlan": 2, "bandwidth": 100_000}},
        {"role": "site", "device": "pe1", "attributes": {"port": "ge-0/0/1", "vlan": 3, "bandwidth": 100_000}},
        {"role": "site", "device": "pe2", "attributes": {"port": "ge-0/0/7", "vlan": 200}},
    ]);
    (attributes, endpoints)
}

#[test]
fn elan_on_sim() {
    let (attributes, endpoints) = lan();
    snapshot("elan-sim", attributes, endpoints, "sim");
}

#[test]
fn elan_on_junos() {
    let (attributes, endpoints) = lan();
    snapshot("elan-junos", attributes, endpoints, "junos");
}

fn vpn() -> (Value, Value) {
    let attributes = json!({
        "route_distinguisher": "65000:1000", "route_target": "65000:1001", "description": "Bakery VPN",
    });
    let routes = json!([
        {"prefix": "198.51.100.0/24", "next_hop": "192.0.2.2"},
        {"prefix": "203.0.113.0/24", "next_hop": "192.0.2.2"},
    ]);
    let endpoints = json!([
        {"role": "site", "device": "pe1", "attributes": {
            "port": "ge-0/0/1", "vlan": 2, "address": "192.0.2.1/30", "bandwidth": 50_000, "static_routes": routes}},
        {"role": "site", "device": "pe1", "attributes": {
            "port": "ge-0/0/2", "vlan": 2, "address": "192.0.2.9/30", "bandwidth": 50_000}},
        {"role": "site", "device": "pe2", "attributes": {"port": "ge-0/0/7", "vlan": 200, "address": "192.0.2.5/30"}},
    ]);
    (attributes, endpoints)
}

#[test]
fn l3vpn_on_sim() {
    let (attributes, endpoints) = vpn();
    snapshot("l3vpn-sim", attributes, endpoints, "sim");
}

#[test]
fn l3vpn_on_junos() {
    let (attributes, endpoints) = vpn();
    snapshot("l3vpn-junos", attributes, endpoints, "junos");
}
