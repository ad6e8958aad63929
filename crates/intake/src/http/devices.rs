//! The inventory of devices.

use axum::http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use turnup_core::{
    name::DeviceName,
    problem::{Fault, Problem, pointer_to},
};
use turnup_store::{Device, DeviceChange};

use super::{
    answer::{self, Answer, Refusal, ok},
    call::{Call, unknown_fields},
};
use crate::json::merge;

/// NETCONF over SSH (RFC 6242 §4).
const NETCONF_PORT: u16 = 830;
/// Most devices of one request.
const MAX_DEVICES: usize = 1_000;
/// Most characters of a description.
const MAX_DESCRIPTION_CHARS: usize = 1_024;
/// Longest address and host key, in bytes.
const MAX_ADDRESS_BYTES: usize = 255;
const MAX_HOST_KEY_BYTES: usize = 4_096;
const FIELDS: [&str; 8] =
    ["name", "region", "platform", "address", "port", "host_key", "credential", "description"];

pub(super) async fn list(call: Call) -> Answer {
    let query = &call.query;
    let (region, after) = (query.text("region")?, query.text("cursor")?);
    ok(&call.app.store.devices(region.as_deref(), after.as_deref(), query.limit()?).await?)
}

/// The device that the path names.
pub(super) async fn find(call: &Call) -> Result<Device, Refusal> {
    let name = call.device()?;
    let found = call.app.store.device(&name).await?;
    Ok(found.ok_or_else(|| missing(&name))?)
}

fn missing(name: &DeviceName) -> Problem {
    Problem::not_found(format!("there is no device {name}"))
}

pub(super) async fn show(call: Call) -> Answer {
    ok(&find(&call).await?)
}

pub(super) async fn add(call: Call) -> Answer {
    let now = Timestamp::now();
    let value = call.json()?;
    let (items, one) = match &value {
        Value::Array(items) if items.len() <= MAX_DEVICES => (items.as_slice(), false),
        Value::Array(_) => {
            let detail = format!("at most {MAX_DEVICES} devices at once; split it");
            return Err(Problem::invalid(vec![Fault::new("", "length", detail)]).into());
        }
        one => (std::slice::from_ref(one), true),
    };
    let (mut devices, mut faults) = (Vec::with_capacity(items.len()), Vec::new());
    for (i, item) in items.iter().enumerate() {
        let at = if one { String::new() } else { format!("/{i}") };
        match read(&at, item, now) {
            Ok(device) => devices.push(device),
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults).into());
    }
    let changes = call.app.store.add_devices(&devices, call.requester()?).await?;
    call.app.inventory.changed();
    let exists = |device: &Device| {
        Problem::conflict(format!("there is a device {} already; PATCH changes it", device.name), vec![])
    };
    if one && let ([device], [change]) = (devices.as_slice(), changes.as_slice()) {
        if *change != DeviceChange::Done {
            return Err(exists(device).into());
        }
        let mut response = answer::json(StatusCode::CREATED, device);
        if let Ok(location) = HeaderValue::from_str(&format!("/v1/devices/{}", device.name)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    let results: Vec<Value> = devices
        .iter()
        .zip(&changes)
        .map(|(device, change)| match change {
            DeviceChange::Done => json!({"name": device.name, "status": 201, "device": device}),
            _ => json!({"name": device.name, "status": 409, "problem": exists(device)}),
        })
        .collect();
    ok(&json!({"items": results}))
}

pub(super) async fn change(call: Call) -> Answer {
    let before = find(&call).await?;
    let patch = call.json()?;
    if !patch.is_object() {
        return Err(Problem::invalid(vec![Fault::new("", "wrong_type", "a merge patch is an object")]).into());
    }
    let mut value = json!({
        "name": before.name, "region": before.region, "platform": before.platform, "address": before.address,
        "port": before.port, "host_key": before.host_key, "credential": before.credential,
        "description": before.description,
    });
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    merge(&mut value, patch);
    let device = read("", &value, Timestamp::now()).map_err(Problem::invalid)?;
    if device.name != before.name {
        let detail = "a device keeps its name; remove it and add it under the other";
        return Err(Problem::invalid(vec![Fault::new("/name", "not_allowed", detail)]).into());
    }
    let device = Device { created_at: before.created_at, ..device };
    let change = call.app.store.update_device(&device, call.requester()?).await?;
    call.app.inventory.changed();
    match change {
        DeviceChange::Done => ok(&device),
        _ => Err(missing(&device.name).into()),
    }
}

pub(super) async fn remove(call: Call) -> Answer {
    let name = call.device()?;
    let change = call.app.store.remove_device(&name, call.requester()?, Timestamp::now()).await?;
    call.app.inventory.changed();
    match change {
        DeviceChange::Done => {
            let mut response = axum::response::Response::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        DeviceChange::InUse(users) => Err(Problem::conflict(
            format!("{users} services or unfinished orders are on device {name}; decommission or cancel them first"),
            vec![],
        )
        .into()),
        DeviceChange::Missing | DeviceChange::Exists => Err(missing(&name).into()),
    }
}

/// Reads a device, with all faults at once.
fn read(at: &str, value: &Value, now: Timestamp) -> Result<Device, Vec<Fault>> {
    let Value::Object(object) = value else {
        return Err(vec![Fault::new(at, "wrong_type", "a device is a JSON object")]);
    };
    let mut reader = Reader { at, object, faults: unknown_fields(at, object, &FIELDS) };
    let name = reader.name("name", true);
    let region = reader.name("region", true);
    let platform = reader.name("platform", true);
    let address = reader.text("address", true, |text| {
        let fits = (1..=MAX_ADDRESS_BYTES).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%'));
        fits.then_some(()).ok_or_else(|| "a host name or an IP address, without port or brackets".to_owned())
    });
    let port = reader.port();
    let host_key = reader.text("host_key", false, check_host_key);
    let credential = reader.name("credential", false);
    let description = reader.text("description", false, |text| {
        let fits = (1..=MAX_DESCRIPTION_CHARS).contains(&text.chars().count())
            && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
        fits.then_some(()).ok_or_else(|| {
            format!("1 to {MAX_DESCRIPTION_CHARS} characters, none of them a control character")
        })
    });
    match (name, region, platform, address, port, reader.faults.is_empty()) {
        (Some(name), Some(region), Some(platform), Some(address), Some(port), true) => Ok(Device {
            name,
            region,
            platform,
            address,
            port,
            host_key,
            credential,
            description,
            created_at: now,
            updated_at: now,
        }),
        _ => Err(reader.faults),
    }
}

/// An OpenSSH public key (`ssh-ed25519 AAAA…`) or a fingerprint (`SHA256:…`).
fn check_host_key(text: &str) -> Result<(), String> {
    let base64 = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
    };
    let fits = match text.strip_prefix("SHA256:") {
        Some(digest) => digest.len() == 43 && base64(digest),
        None => match text.split_once(' ') {
            Some((kind, rest)) => {
                (kind.starts_with("ssh-") || kind.starts_with("ecdsa-sha2-"))
                    && base64(rest.split(' ').next().unwrap_or_default())
                    && !text.chars().any(char::is_control)
            }
            None => false,
        },
    };
    if fits && text.len() <= MAX_HOST_KEY_BYTES {
        Ok(())
    } else {
        Err("an OpenSSH public key (ssh-ed25519 AAAA…) or a fingerprint (SHA256: and 43 characters)"
            .to_owned())
    }
}

struct Reader<'a> {
    at: &'a str,
    object: &'a Map<String, Value>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, field: &str, code: &str, detail: impl Into<String>) {
        self.faults.push(Fault::new(pointer_to(self.at, field), code, detail));
    }

    fn text(
        &mut self,
        field: &str,
        required: bool,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        match self.object.get(field) {
            None if required => {
                self.fault(field, "missing", format!("a device has a {field}"));
                None
            }
            None => None,
            Some(Value::String(text)) => match check(text) {
                Ok(()) => Some(text.clone()),
                Err(detail) => {
                    self.fault(field, "bad_value", detail);
                    None
                }
            },
            Some(_) => {
                self.fault(field, "wrong_type", "must be a text");
                None
            }
        }
    }

    fn name<T>(&mut self, field: &str, required: bool) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self
            .text(field, required, |text| text.parse::<T>().map(|_| ()).map_err(|error| error.to_string()))?;
        text.parse().ok()
    }

    fn port(&mut self) -> Option<u16> {
        let Some(value) = self.object.get("port") else { return Some(NETCONF_PORT) };
        let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        if port.is_none() {
            self.fault("port", "bad_value", "a number from 1 to 65535");
        }
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(value: &Value) -> Vec<String> {
        let faults = read("/3", value, Timestamp::UNIX_EPOCH).unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn a_device_is_read_with_defaults() {
        let value = json!({"name": "pe1.ams", "region": "eu", "platform": "sim", "address": "2001:db8::1"});
        let device = read("", &value, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((device.port, device.host_key), (830, None));
    }

    #[test]
    fn all_faults_at_once() {
        let faults = pointers(&json!({
            "name": "a b", "region": "eu.west", "address": "http://x/", "port": 0, "host_key": "AAAA",
            "credential": 3, "descripton": "x"
        }));
        for field in ["name", "region", "platform", "address", "port", "host_key", "credential", "descripton"]
        {
            assert!(faults.contains(&format!("/3/{field}")), "{field} in {faults:?}");
        }
    }

    #[test]
    fn host_keys() {
        for good in [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPr0q2Tl",
            "ssh-rsa AAAAB3NzaC1yc2E= admin@pe1",
            "SHA256:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ",
        ] {
            assert_eq!(check_host_key(good), Ok(()), "{good}");
        }
        for bad in
            ["", "x", "SHA256:abc", "ssh-ed25519", "ssh-ed25519 ", "ssh-rsa AA\nssh-rsa BB", "MD5:00:11"]
        {
            assert!(check_host_key(bad).is_err(), "{bad}");
        }
    }
}
