//! `turnup device check`: what a device is, for people to read.

use serde_json::Value;

use crate::client::{
    order,
    output::{counted, field, items, text},
    paint::Paint,
};

/// Most YANG modules that are listed by name.
const MAX_MODULES: usize = 12;
/// Most devices with the same host key that are listed by name.
const MAX_TWINS: usize = 5;
/// A clock that is this far off, in milliseconds, gets a word about it.
const MUCH_SKEW_MS: i64 = 5_000;

/// The answer, line by line. `device`: as it stands in the inventory, null if that isn't known.
pub(super) fn lines(answer: &Value, device: &Value, paint: Paint) -> Vec<String> {
    let name = text(answer.get("device"));
    let check = &answer["check"];
    let mut out = vec![field("device", &name)];
    if let Some(platform) = device["platform"].as_str() {
        out.push(field("platform", platform));
    }
    if let Some(address) = device["address"].as_str() {
        out.push(field("address", format!("{address} port {}", device["port"])));
    }
    let worker = answer["worker"].as_str().map(|worker| format!(" by worker {worker}")).unwrap_or_default();
    out.push(field("checked", format!("{}{worker}", text(answer.get("at")))));
    out.extend(host_key(&name, check, paint));
    let twins = items(&answer["same_host_key"]);
    if !twins.is_empty() {
        out.push(field("warning", paint.notable(&self::twins(twins))));
    }
    if let Some(method) = check["method"].as_str() {
        out.push(field("method", method));
    }
    if let Some(took) = check["connect_ms"].as_u64() {
        out.push(field("connecting", format!("{took} ms")));
    }
    out.extend(clock(check, paint));
    for remark in items(&check["remarks"]) {
        out.push(field("remark", paint.notable(&text(Some(remark)))));
    }
    out.extend(modules(check));
    let schemas = items(&answer["schemas"]);
    if !schemas.is_empty() {
        out.push(field("fetched", format!("the texts of {}", counted(schemas.len(), "YANG module"))));
    }
    for module in items(&answer["left_out"]) {
        let message = format!("YANG left out: {}", text(Some(module)));
        out.push(field("warning", paint.notable(&message)));
    }
    let capabilities = items(&check["capabilities"]);
    // Modules are announced as capabilities too (RFC 6020 §5.6.4); they have their own line.
    let protocol: Vec<&str> = capabilities
        .iter()
        .filter_map(Value::as_str)
        .filter(|uri| !uri.contains("module=") && !uri.contains("?revision="))
        .collect();
    if !protocol.is_empty() {
        out.push("capabilities".to_owned());
        out.extend(protocol.iter().map(|uri| format!("  {uri}")));
    }
    for failure in items(&answer["failures"]) {
        out.push(field("error", paint.bad(&order::failure(failure))));
    }
    out
}

fn host_key(name: &str, check: &Value, paint: Paint) -> Vec<String> {
    let Some(key) = check["host_key"].as_str() else { return Vec::new() };
    let (word, pinned) = match check["trusted"].as_bool() {
        Some(true) => (paint.good("the pinned one"), true),
        Some(false) => (paint.bad("NOT the pinned one: another device, or someone in between"), false),
        None => (paint.notable("none is pinned yet, so nothing more was asked"), false),
    };
    let mut out = vec![field("host key", format!("{key}, {word}"))];
    if !pinned {
        out.push("  if this is the fingerprint that the device itself shows:".to_owned());
        out.push(format!("  turnup device trust {name} --fingerprint {key}"));
    }
    out
}

/// What to say of other devices with the same host key.
pub(super) fn twins(devices: &[Value]) -> String {
    let names: Vec<String> = devices.iter().take(MAX_TWINS).map(|name| text(Some(name))).collect();
    let more = if devices.len() > MAX_TWINS { ", …" } else { "" };
    format!(
        "{}{more} have the same host key: either it is one device under several names, or the key was copied with an \
         image or a backup; then give each device a key of its own",
        names.join(", ")
    )
}

fn clock(check: &Value, paint: Paint) -> Option<String> {
    let clock = check["clock"].as_str()?;
    let skew = check["clock_skew_ms"].as_i64().map(|skew| {
        let seconds = format!("{}.{:03}", skew.unsigned_abs() / 1000, skew.unsigned_abs() % 1000);
        let said = match skew {
            0 => "as the worker's".to_owned(),
            1.. => format!("{seconds} s ahead of the worker's"),
            _ => format!("{seconds} s behind the worker's"),
        };
        if skew.abs() >= MUCH_SKEW_MS { paint.notable(&said) } else { said }
    });
    Some(field("clock", skew.map_or_else(|| clock.to_owned(), |skew| format!("{clock}, {skew}"))))
}

fn modules(check: &Value) -> Option<String> {
    let modules = items(&check["modules"]);
    let name = |module: &Value| match module["revision"].as_str() {
        Some(revision) => format!("{}@{revision}", text(module.get("name"))),
        None => text(module.get("name")),
    };
    let mut named: Vec<String> = modules.iter().take(MAX_MODULES).map(name).collect();
    if modules.is_empty() {
        return None;
    }
    if modules.len() > MAX_MODULES {
        named.push(format!("and {} more (--output json lists all)", modules.len() - MAX_MODULES));
    }
    Some(field("YANG", format!("{}: {}", counted(modules.len(), "module"), named.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer() -> Value {
        json!({
            "device": "pe1", "at": "T", "worker": "w1", "failures": [], "schemas": [],
            "check": {
                "host_key": "SHA256:abc", "trusted": true, "method": "confirmed-commit:1.1", "connect_ms": 12,
                "capabilities": ["urn:ietf:params:netconf:base:1.1", "urn:x?module=x&revision=2020-01-01"],
                "clock": "2030-01-01T00:00:00Z", "clock_skew_ms": -6500,
                "remarks": ["only the candidate is locked"],
                "modules": [{"name": "x", "revision": "2020-01-01", "namespace": "urn:x"}, {"name": "y", "revision": null}],
            },
        })
    }

    #[test]
    fn a_device_tells_what_it_is() {
        let device = json!({"name": "pe1", "platform": "sim", "address": "192.0.2.1", "port": 830});
        assert_eq!(
            lines(&answer(), &device, Paint::plain()),
            [
                "device       pe1",
                "platform     sim",
                "address      192.0.2.1 port 830",
                "checked      T by worker w1",
                "host key     SHA256:abc, the pinned one",
                "method       confirmed-commit:1.1",
                "connecting   12 ms",
                "clock        2030-01-01T00:00:00Z, 6.500 s behind the worker's",
                "remark       only the candidate is locked",
                "YANG         2 modules: x@2020-01-01, y",
                "capabilities",
                "  urn:ietf:params:netconf:base:1.1",
            ]
        );
    }

    #[test]
    fn module_that_is_left_out_is_a_warning() {
        let mut answer = answer();
        answer["left_out"] = json!(["module dev-a:3: its target is missing"]);
        let out = lines(&answer, &Value::Null, Paint::plain()).join("\n");
        assert!(out.contains("warning      YANG left out: module dev-a:3: its target is missing"), "{out}");
    }

    #[test]
    fn shared_host_key_is_warned_of() {
        let mut answer = answer();
        answer["same_host_key"] = json!(["pe7", "pe8"]);
        let out = lines(&answer, &Value::Null, Paint::plain()).join("\n");
        assert!(out.contains("warning      pe7, pe8 have the same host key"), "{out}");
    }

    #[test]
    fn a_key_that_is_not_pinned_comes_with_the_command_that_pins_it() {
        for trusted in [json!(null), json!(false)] {
            let mut answer = answer();
            answer["check"] =
                json!({"host_key": "SHA256:abc", "trusted": trusted, "capabilities": [], "modules": []});
            let out = lines(&answer, &Value::Null, Paint::plain());
            assert!(
                out.contains(&"  turnup device trust pe1 --fingerprint SHA256:abc".to_owned()),
                "{out:?}"
            );
        }
    }

    #[test]
    fn failures_and_many_modules() {
        let mut answer = answer();
        let many: Vec<Value> = (0..20).map(|i| json!({"name": format!("m{i}"), "revision": null})).collect();
        answer["check"]["modules"] = Value::Array(many);
        answer["failures"] =
            json!([{"class": "unreachable", "phase": "connect", "message": "refused", "device": "pe1"}]);
        answer["schemas"] = json!(["m1", "m2"]);
        let out = lines(&answer, &Value::Null, Paint::plain()).join("\n");
        assert!(out.contains("20 modules: m0, ") && out.contains("and 8 more"), "{out}");
        assert!(out.contains("fetched      the texts of 2 YANG modules"), "{out}");
        assert!(out.contains("error        pe1: refused (class unreachable, phase connect)"), "{out}");
    }
}
