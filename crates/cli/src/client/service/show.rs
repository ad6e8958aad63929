//! One service for people to read.

use serde_json::Value;
use turnup_core::{
    audit::ConfigAudit,
    lifecycle::{AuditState, ServiceState},
    message::InForce,
};

use super::audit;
use crate::client::{
    output::{field, fields, indented, items, text},
    paint::Paint,
    xml,
};

/// The service, line by line. `config`: the answer about its configuration, if it was asked for; its
/// footprints are shown if `with_config`, what failed attempts may have left there always.
pub(crate) fn lines(service: &Value, config: &Value, with_config: bool, paint: Paint) -> Vec<String> {
    let mut out = vec![field("service", text(service.get("id"))), field("state", state(service, paint))];
    let not_since = |known: String, word: &str, not_audited: &str| {
        let changed = service[word] == not_audited && service["audited_at"].is_string();
        if changed { "Not audited since the last change".to_owned() } else { known }
    };
    let functional = audit::state(service.get("audit_state"), paint);
    out.push(field("functional", not_since(functional, "audit_state", AuditState::NotAudited.word())));
    let config_audit = audit::config(service.get("config_audit"), paint);
    out.push(field("config", not_since(config_audit, "config_audit", ConfigAudit::NotAudited.word())));
    fields(
        &mut out,
        service,
        &[
            ("audited", "/audited_at"),
            ("audit says", "/audit_reason"),
            ("definition", "/definition"),
            ("version", "/definition_version"),
            ("region", "/region"),
            ("external id", "/external_id"),
            ("requester", "/requester"),
            ("wanted by", "/wanted_by"),
            ("last order", "/last_order"),
            ("created", "/created_at"),
            ("changed", "/updated_at"),
        ],
    );
    out.push(field("attributes", &service["attributes"]));
    for endpoint in items(&service["endpoints"]) {
        let attributes = endpoint.get("attributes").map(Value::to_string).unwrap_or_default();
        let place = format!("{} on {}", text(endpoint.get("role")), text(endpoint.get("device")));
        out.push(field("endpoint", format!("{place} {attributes}")));
    }
    let in_force = in_force(service);
    if in_force.is_empty() {
        fields(&mut out, service, &[("devices", "/devices")]);
    }
    for (device, which) in in_force {
        out.push(field("in force", format!("on {device}: {which}")));
    }
    if with_config {
        out.extend(self::config(config, paint));
    } else {
        for device in items(&config["devices"]) {
            out.extend(strays(device, paint));
        }
    }
    for order in items(&service["orders"]) {
        let word = |name: &str| text(order.get(name));
        out.push(field(
            "order",
            format!("{}  {}  {}  {}", word("id"), word("kind"), word("state"), word("updated_at")),
        ));
    }
    out
}

fn state(service: &Value, paint: Paint) -> String {
    match service["state"].as_str().and_then(|word| word.parse::<ServiceState>().ok()) {
        None => text(service.get("state")),
        Some(state @ ServiceState::Deployed) => paint.good(state.title()),
        Some(state @ ServiceState::FailDeploy) => paint.bad(state.title()),
    }
}

/// Which configuration each device has, as far as the service's view tells.
fn in_force(service: &Value) -> Vec<(String, String)> {
    let pairs = |entries: &[Value]| -> Vec<(String, String)> {
        let known = entries.iter().filter(|entry| !entry["in_force"].is_null());
        known.map(|entry| (text(entry.get("device")), which(&entry["in_force"]))).collect()
    };
    match &service["in_force"] {
        Value::Object(devices) => {
            devices.iter().map(|(device, word)| (device.clone(), which(word))).collect()
        }
        Value::Array(entries) => pairs(entries),
        _ => pairs(items(&service["devices"])),
    }
}

/// What attempts have left on a device, in words.
fn which(word: &Value) -> String {
    match word.as_str().and_then(|word| word.parse::<InForce>().ok()) {
        None => text(Some(word)),
        Some(InForce::New) => "as last deployed".to_owned(),
        Some(InForce::Old) => "as before the last deployment".to_owned(),
        Some(InForce::Unknown | InForce::Partly | InForce::Provisional) => "not known".to_owned(),
    }
}

/// What the service has on each device.
pub(crate) fn config(config: &Value, paint: Paint) -> Vec<String> {
    let mut out = Vec::new();
    for device in items(&config["devices"]) {
        let on = paint.bold(&format!("on {}", text(device.get("device"))));
        out.push(match &device["in_force"] {
            Value::Null => on,
            word => format!("{on}, in force: {}", which(word)),
        });
        match footprint(&device["footprint"]).or_else(|| footprint(&device["config"])) {
            Some(config) => out.extend(indented(&xml::pretty(config), "  ")),
            None => out.push("  nothing".to_owned()),
        }
        out.extend(strays(device, paint));
    }
    out
}

/// What failed attempts may have left on a device.
fn strays(device: &Value, paint: Paint) -> Vec<String> {
    let mut out = Vec::new();
    for stray in items(&device["strays"]) {
        let text = format!("a failed attempt may have left this on {}:", text(device.get("device")));
        out.push(paint.bad(&text));
        out.extend(indented(&xml::pretty(footprint(stray).unwrap_or_default()), "  "));
    }
    out
}

/// A footprint's configuration: as it is stored, or its XML alone.
fn footprint(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["config"].as_str()).or_else(|| value["footprint"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const XML: &str = "<a xmlns=\"urn:x\"><b>1</b></a>";

    fn service() -> Value {
        json!({
            "id": "S", "state": "fail_deploy", "audit_state": "down", "config_audit": "drifted", "audited_at": "T",
            "audit_reason": "pe1: state is down", "definition": "eline", "definition_version": 1, "region": "eu",
            "wanted_by": "O1", "last_order": "O2", "attributes": {"vc_id": 7},
            "endpoints": [{"role": "a", "device": "pe1", "attributes": {"vlan": 1}}], "devices": ["pe1", "pe2"],
            "orders": [{"id": "O2", "kind": "modify", "state": "failed_deploy", "updated_at": "T2"}],
        })
    }

    #[test]
    fn a_service_in_fail_deploy_shows_what_may_be_left() {
        let mut service = service();
        service["in_force"] =
            json!([{"device": "pe1", "in_force": "unknown"}, {"device": "pe2", "in_force": "old"}]);
        let config = json!({"devices": [
            {"device": "pe1", "footprint": XML, "in_force": "unknown", "strays": [XML]},
            {"device": "pe2", "footprint": {"config": XML}, "in_force": "old", "strays": []},
        ]});
        assert_eq!(
            lines(&service, &config, false, Paint::plain()),
            [
                "service      S",
                "state        Fail Deploy",
                "functional   Down",
                "config       Drifted",
                "audited      T",
                "audit says   pe1: state is down",
                "definition   eline",
                "version      1",
                "region       eu",
                "wanted by    O1",
                "last order   O2",
                "attributes   {\"vc_id\":7}",
                "endpoint     a on pe1 {\"vlan\":1}",
                "in force     on pe1: not known",
                "in force     on pe2: as before the last deployment",
                "a failed attempt may have left this on pe1:",
                "  <a xmlns=\"urn:x\">",
                "    <b>1</b>",
                "  </a>",
                "order        O2  modify  failed_deploy  T2",
            ]
        );
        let with_config = lines(&service, &config, true, Paint::plain()).join("\n");
        assert!(
            with_config.contains(
                "on pe2, in force: as before the last deployment\n  <a xmlns=\"urn:x\">\n    <b>1</b>\n  </a>"
            ),
            "{with_config}"
        );
        assert_eq!(with_config.matches("failed attempt").count(), 1);
    }

    #[test]
    fn devices_are_named_however_they_are_told() {
        let shown = lines(&service(), &Value::Null, false, Paint::plain());
        assert!(shown.contains(&"devices      pe1, pe2".to_owned()), "{shown:?}");
        let mut service = service();
        service["in_force"] = json!({"pe1": "new"});
        assert!(
            lines(&service, &Value::Null, false, Paint::plain())
                .contains(&"in force     on pe1: as last deployed".to_owned())
        );
        service["in_force"] = Value::Null;
        service["devices"] = json!([{"device": "pe1", "in_force": "old"}]);
        assert!(
            lines(&service, &Value::Null, false, Paint::plain())
                .contains(&"in force     on pe1: as before the last deployment".to_owned())
        );
    }
}
