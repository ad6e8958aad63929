//! Lists of devices with our own fields.

use serde_json::{Map, Value, json};
use turnup_core::name::{CredentialRef, DeviceName, PlatformName, RegionName, near_misses};

use crate::{Defaults, Entry, Named, Read, Row};

/// The fields of a device.
pub const FIELDS: [&str; 8] =
    ["name", "region", "platform", "address", "port", "host_key", "credential", "description"];
/// Most characters of a suggested name.
const MAX_NAME_CHARS: usize = 128;

/// Reads devices; `defaults` give what an entry leaves out.
pub fn read(entries: &[Entry], defaults: &Defaults) -> Read {
    let mut read = Read::default();
    for entry in entries {
        let name = entry.value["name"].as_str().unwrap_or_default().to_owned();
        match device(&entry.value, defaults) {
            Ok(device) => read.rows.push(Row { place: entry.place.clone(), device }),
            Err(reason) => read.bad.push(Named { place: entry.place.clone(), name, reason }),
        }
    }
    read
}

fn device(value: &Value, defaults: &Defaults) -> Result<Value, String> {
    let Value::Object(given) = value else { return Err("a device is an object with fields".to_owned()) };
    let mut faults = Vec::new();
    let mut device = Map::new();
    for (field, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        if FIELDS.contains(&field.as_str()) {
            device.insert(field.clone(), if field == "port" { as_number(value) } else { as_text(value) });
        } else {
            let hint = match near_misses(field, FIELDS).first() {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known are {}", FIELDS.join(", ")),
            };
            faults.push(format!("there is no field {field:?}; {hint}"));
        }
    }
    complete(&mut device, defaults);
    faults.extend(check(&device));
    if faults.is_empty() { Ok(Value::Object(device)) } else { Err(faults.join("; ")) }
}

/// Only the port is a number; a name such as 7 is a text in any case. A number with a fraction or exponent
/// has lost how it was written.
fn as_text(value: &Value) -> Value {
    match value {
        Value::Number(number) if !number.is_f64() => Value::String(number.to_string()),
        other => other.clone(),
    }
}

fn as_number(value: &Value) -> Value {
    value.as_str().and_then(|text| text.parse::<u16>().ok()).map_or_else(|| value.clone(), Value::from)
}

/// The JSON Schema of an entry.
pub fn types() -> Value {
    json!({"properties": {"port": {"type": "integer"}}, "additionalProperties": {"type": "string"}})
}

/// Puts in what is left out.
pub(crate) fn complete(device: &mut Map<String, Value>, defaults: &Defaults) {
    let texts = [
        ("region", &defaults.region),
        ("platform", &defaults.platform),
        ("credential", &defaults.credential),
    ];
    for (field, value) in texts {
        if let (Some(value), false) = (value, device.contains_key(field)) {
            device.insert(field.to_owned(), json!(value));
        }
    }
    if let (Some(port), false) = (defaults.port, device.contains_key("port")) {
        device.insert("port".to_owned(), json!(port));
    }
}

/// What the intake would refuse, as far as that can be told here, so that it is told with its line.
pub(crate) fn check(device: &Map<String, Value>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut text = |field: &str, option: Option<&str>| -> Option<String> {
        match device.get(field) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                faults.push(format!("{field} must be a text; write it in quotes"));
                None
            }
            None => {
                if let Some(option) = option {
                    faults.push(format!("it has no {field}{option}"));
                }
                None
            }
        }
    };
    let name = text("name", Some(""));
    let region = text("region", Some("; give --region for all"));
    let platform = text("platform", Some("; give --platform for all"));
    let address = text("address", Some(""));
    let credential = text("credential", None);
    for field in ["host_key", "description"] {
        text(field, None);
    }
    if let Some(bad) = name.and_then(|name| bad_name(&name)) {
        faults.push(bad);
    }
    let named = [
        region.and_then(|region| RegionName::new(region).err()),
        platform.and_then(|platform| PlatformName::new(platform).err()),
        credential.and_then(|credential| CredentialRef::new(credential).err()),
    ];
    faults.extend(named.into_iter().flatten().map(|error| error.to_string()));
    if let Some(address) = address {
        let fits = (1..=255).contains(&address.len())
            && address.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%'));
        if !fits {
            faults.push(format!("address {address:?} must be a host name or an IP address, without port"));
        }
    }
    match device.get("port") {
        Some(port) if !port.as_u64().is_some_and(|port| (1..=65535).contains(&port)) => {
            faults.push("port must be a number from 1 to 65535".to_owned());
        }
        _ => {}
    }
    faults
}

/// Why a text is no device name, with one that would do.
pub(crate) fn bad_name(name: &str) -> Option<String> {
    let error = DeviceName::new(name).err()?;
    Some(match suggestion(name) {
        Some(suggestion) => format!("{error}; for example {suggestion}"),
        None => error.to_string(),
    })
}

/// A device name that is like the text.
pub(crate) fn suggestion(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    for c in name.trim().chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    let trimmed = out.trim_start_matches(['-', '_', '.']).trim_end_matches('-');
    let short: String = trimmed.chars().take(MAX_NAME_CHARS).collect();
    DeviceName::new(short).ok().map(String::from)
}
