//! What the shipped definitions render to, as files. After an intended change run the tests once with
//! `UPDATE_GOLDEN=1` and read the difference before committing it.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::json;
use turnup_core::message::Condition;
use turnup_netconf::xml::{Limits, parse_str};

use crate::{change, definition, line_endpoints, plan, shipped};

/// Indented, so that differences can be read.
fn pretty(config: &str) -> String {
    let root = parse_str(&format!("<config>{config}</config>"), &Limits::default()).unwrap();
    root.children().map(|element| element.to_pretty_xml() + "\n").collect()
}

fn snapshot(name: &str, attributes: serde_json::Value, endpoints: serde_json::Value, platform: &str) {
    let catalogue = shipped();
    let definition_name = name.split('-').next().unwrap();
    let mut text = String::new();
    for (device, footprint) in plan(definition(&catalogue, definition_name), attributes, endpoints, platform)
    {
        let provision = change(None, Some(&footprint)).unwrap();
        let decommission = change(Some(&footprint), None).unwrap();
        // What one merges the other has to bring back, and the reverse.
        assert_eq!(provision.edit, footprint.config());
        assert_eq!((&provision.edit, &provision.inverse), (&decommission.inverse, &decommission.edit));
        assert_eq!((&provision.after, &provision.before), (&decommission.before, &decommission.after));
        assert_eq!(provision.filter, decommission.filter);
        assert_eq!(provision.after, Condition::Contains(provision.edit.clone()));
        assert_eq!(provision.before, Condition::Lacks(provision.filter.clone()));
        writeln!(text, "== {device} ({})", footprint.platform()).unwrap();
        writeln!(text, "-- owned nodes\n{}", footprint.owned_nodes().join("\n")).unwrap();
        writeln!(text, "-- keys\n{}", serde_json::to_string(&provision.keys).unwrap()).unwrap();
        writeln!(text, "-- edit\n{}", pretty(&provision.edit)).unwrap();
        writeln!(text, "-- inverse\n{}", pretty(&provision.inverse)).unwrap();
        writeln!(text, "-- filter\n{}", pretty(&provision.filter)).unwrap();
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, golden, "{name}: see UPDATE_GOLDEN in golden.rs");
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
fn eline_on_the_null_platform() {
    snapshot("eline-null", json!({"vc_id": 1}), line_endpoints(), "null");
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
