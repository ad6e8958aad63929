//! One definition for people to read.

use serde_json::Value;

use crate::client::{
    output::{field, fields, items, text},
    table::{self, cut, whole},
};

/// The definition, line by line.
pub(super) fn lines(definition: &Value) -> Vec<String> {
    let mut out = Vec::new();
    fields(
        &mut out,
        definition,
        &[
            ("definition", "/name"),
            ("version", "/version"),
            ("versions", "/versions"),
            ("title", "/title"),
            ("description", "/description"),
            ("platforms", "/platforms"),
        ],
    );
    if let Some(every) = definition["audit_every_s"].as_u64() {
        let every = jiff::SignedDuration::from_secs(i64::try_from(every).unwrap_or(i64::MAX));
        out.push(field("audited", format!("every {every:#}")));
    }
    if let Some(found) = definition["drift"]["found"].as_str() {
        let reach = match definition["drift"]["untouched_devices"] == true {
            true => "looked for on all devices of the service",
            false => "looked for on devices that change",
        };
        out.push(field("drift", format!("{found}, {reach}")));
    }
    if let Some(retry) = definition["retry"].as_object() {
        let said: Vec<String> = retry.iter().map(|(key, value)| format!("{key} {value}")).collect();
        out.push(field("retry", said.join(", ")));
    }
    out.push("attributes".to_owned());
    out.extend(attributes(&definition["attributes"], &definition["resources"]));
    for role in items(&definition["endpoints"]) {
        let count = match (role["min"].as_u64(), role["max"].as_u64()) {
            (Some(min), Some(max)) if min == max => format!(", exactly {min}"),
            (Some(min), Some(max)) => format!(", {min} to {max}"),
            _ => String::new(),
        };
        out.push(field(
            "endpoint",
            format!("{} ({}{count})", text(role.get("role")), text(role.get("title"))),
        ));
        out.extend(attributes(&role["attributes"], &role["resources"]));
    }
    out
}

/// A schema's properties as a table.
fn attributes(schema: &Value, resources: &Value) -> Vec<String> {
    let required = items(&schema["required"]);
    let rows: Vec<Value> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let pool = resources[name].as_str();
            let how = match (pool, property.get("default")) {
                (Some(pool), _) => format!("else from pool {pool}"),
                (None, Some(default)) => format!("else {default}"),
                (None, None) if required.iter().any(|entry| entry == name.as_str()) => "required".to_owned(),
                (None, None) => "optional".to_owned(),
            };
            serde_json::json!({
                "name": name, "type": property["type"], "how": how, "limits": limits(property), "title": property["title"],
            })
        })
        .collect();
    if rows.is_empty() {
        return vec!["  none".to_owned()];
    }
    let columns = [
        whole(0, "attribute", "/name"),
        whole(1, "type", "/type"),
        cut(2, 12, "", "/how"),
        cut(3, 12, "limits", "/limits"),
        cut(4, 12, "title", "/title"),
    ];
    table::lines(&rows, &columns, table::width())
}

/// What a value must be beside its type.
fn limits(property: &Value) -> String {
    let mut parts = Vec::new();
    if property["writeOnly"] == true {
        parts.push("secret".to_owned());
    }
    if let Some(values) = property.get("enum") {
        parts.push(text(Some(values)));
    }
    match (property["minimum"].as_i64(), property["maximum"].as_i64()) {
        (Some(min), Some(max)) => parts.push(format!("{min} to {max}")),
        (Some(min), None) => parts.push(format!("at least {min}")),
        (None, Some(max)) => parts.push(format!("at most {max}")),
        (None, None) => {}
    }
    if let Some(pattern) = property["pattern"].as_str() {
        parts.push(pattern.to_owned());
    }
    match (property["minLength"].as_i64(), property["maxLength"].as_i64()) {
        (Some(min), Some(max)) => parts.push(format!("{min} to {max} characters")),
        (None, Some(max)) => parts.push(format!("at most {max} characters")),
        _ => {}
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_definition_says_what_an_order_needs() {
        let definition = json!({
            "name": "eline", "version": 2, "versions": [1, 2], "title": "Ethernet line", "platforms": ["ietf", "sim"],
            "attributes": {"properties": {
                "vc_id": {"type": "integer", "minimum": 1, "maximum": 99, "title": "Circuit"},
                "mtu": {"type": "integer", "default": 1500},
                "mode": {"type": "string", "enum": ["p2p", "hub"]},
                "customer": {"type": "string", "maxLength": 20},
            }, "required": ["customer"]},
            "resources": {"vc_id": "vc-ids"}, "audit_every_s": 21600, "retry": {"attempts": 5},
            "drift": {"found": "repair", "untouched_devices": true},
            "endpoints": [
                {"role": "a", "title": "First end", "min": 1, "max": 1, "attributes": {"properties": {}}},
                {"role": "z", "title": "Others", "min": 1, "max": 8, "attributes": {}},
            ],
        });
        let out = lines(&definition).join("\n");
        for wanted in [
            "versions     1, 2",
            "audited      every 6h",
            "drift        repair, looked for on all devices of the service",
            "retry        attempts 5",
            "else from pool vc-ids",
            "else 1500",
            "required",
            "1 to 99",
            "p2p, hub",
            "at most 20 characters",
            "endpoint     a (First end, exactly 1)\n  none",
            "endpoint     z (Others, 1 to 8)",
        ] {
            assert!(out.contains(wanted), "{wanted}\n--- in\n{out}");
        }
    }
}
