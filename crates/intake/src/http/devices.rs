//! The inventory of devices.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use turnup_core::{
    inventory::{did_you_mean, fingerprint, normalized_address},
    name::{DeviceName, PlatformName, RegionName},
    problem::{Fault, Problem, pointer_to},
};
use turnup_store::{Device, DeviceChange};

use super::{
    answer::{self, Answer, Refusal, ok},
    call::{Call, unknown_fields},
    filter::check_names,
};
use crate::{app::App, json::merge};

/// NETCONF over SSH (RFC 6242 §4).
const NETCONF_PORT: u16 = 830;
/// Most devices of one request.
const MAX_DEVICES: usize = 1_000;
/// Most characters of a description.
pub(super) const MAX_DESCRIPTION_CHARS: usize = 1_024;
/// Longest host key, in bytes.
const MAX_HOST_KEY_BYTES: usize = 4_096;
const FIELDS: [&str; 8] =
    ["name", "region", "platform", "address", "port", "host_key", "credential", "description"];

pub(super) async fn list(call: Call) -> Answer {
    let query = &call.query;
    let (region, after) = (query.text("region")?, query.text("cursor")?);
    let page = call.app.store.devices(region.as_deref(), after.as_deref(), query.limit()?).await?;
    if page.items.is_empty() {
        check_names(&call, region.as_deref(), None, None).await?;
    }
    let items: Vec<Value> = page.items.iter().map(shown).collect::<Result<_, _>>()?;
    ok(&json!({"items": items, "next_cursor": page.next_cursor}))
}

/// A device as the API shows it.
fn shown(device: &Device) -> Result<Value, Problem> {
    let mut value = serde_json::to_value(device)
        .map_err(|_| Problem::internal("the device could not be written as JSON"))?;
    value["fingerprint"] = json!(device.host_key.as_deref().and_then(fingerprint));
    Ok(value)
}

/// The same with the other devices that have pinned the same host key. Devices share one after a restore from
/// another's backup or from a common image, so it is allowed; but the key then proves less.
async fn shown_with_twins(app: &App, device: &Device) -> Result<Value, Refusal> {
    let mut value = shown(device)?;
    value["same_host_key"] = json!(twins(app, device, None).await?);
    Ok(value)
}

/// The other devices with the host key of `device`, or with the one that it presents.
pub(super) async fn twins(
    app: &App,
    device: &Device,
    presented: Option<&str>,
) -> Result<BTreeSet<String>, Refusal> {
    let pinned = device.host_key.as_deref().and_then(fingerprint);
    let keys: Vec<String> = pinned.into_iter().chain(presented.map(str::to_owned)).collect();
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    let found = app.store.devices_with_key(&keys).await?;
    Ok(found.into_iter().map(|(_, name)| name).filter(|name| *name != device.name.as_str()).collect())
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
    ok(&shown_with_twins(&call.app, &find(&call).await?).await?)
}

/// Regions and platforms that a device may have.
struct Known<'a> {
    regions: &'a [RegionName],
    platforms: BTreeSet<String>,
}

impl<'a> Known<'a> {
    /// What is known now; looks for newly published definitions if one of `wanted` is not.
    async fn with(app: &'a App, wanted: &[&PlatformName]) -> Result<Self, Refusal> {
        let mut platforms = app.library.platforms();
        if wanted.iter().any(|name| !platforms.contains(name.as_str())) {
            app.library.refresh().await?;
            platforms = app.library.platforms();
        }
        Ok(Self { regions: &app.regions, platforms })
    }

    /// What is wrong with region and platform of `device`. `before`: the device as it was; what stays as it was is
    /// not checked, so that a device whose region was removed can still be changed.
    fn faults(&self, at: &str, device: &Device, before: Option<&Device>) -> Vec<Fault> {
        let mut faults = Vec::new();
        let region = &device.region;
        if before.is_none_or(|before| before.region != *region) && !self.regions.contains(region) {
            let known: Vec<&str> = self.regions.iter().map(RegionName::as_str).collect();
            let detail = format!(
                "region {region:?} is not configured; {} A new region goes into 'regions' of the configuration; then \
                 run 'turnup migrate' and start a worker for it",
                ended(did_you_mean(region.as_str(), &known)),
                region = region.as_str()
            );
            faults.push(Fault::new(pointer_to(at, "region"), "unknown_region", detail));
        }
        let platform = &device.platform;
        if before.is_none_or(|before| before.platform != *platform)
            && !self.platforms.contains(platform.as_str())
        {
            let known: Vec<&str> = self.platforms.iter().map(String::as_str).collect();
            let detail = format!(
                "platform {platform:?} is not known; {} A new platform is one that a published definition has a \
                 template for",
                ended(did_you_mean(platform.as_str(), &known)),
                platform = platform.as_str()
            );
            faults.push(Fault::new(pointer_to(at, "platform"), "unknown_platform", detail));
        }
        faults
    }
}

/// As a sentence of its own.
fn ended(text: String) -> String {
    if text.ends_with('?') { text } else { text + "." }
}

/// Whether the request is only to be checked.
fn is_dry_run(call: &Call) -> Result<bool, Problem> {
    Ok(call.query.parsed::<bool>("dry_run")?.unwrap_or(false))
}

pub(super) async fn add(call: Call) -> Answer {
    let (now, dry_run) = (Timestamp::now(), is_dry_run(&call)?);
    let value = call.json()?;
    let (items, one) = match &value {
        Value::Array(items) if items.len() <= MAX_DEVICES => (items.as_slice(), false),
        Value::Array(_) => {
            let detail = format!("at most {MAX_DEVICES} devices at once; split it");
            return Err(Problem::invalid(vec![Fault::new("", "length", detail)]).into());
        }
        one => (std::slice::from_ref(one), true),
    };
    let (mut devices, mut places, mut faults) = (Vec::with_capacity(items.len()), Vec::new(), Vec::new());
    for (i, item) in items.iter().enumerate() {
        let at = if one { String::new() } else { format!("/{i}") };
        match read(&at, item, now) {
            Ok(device) => {
                devices.push(device);
                places.push(at);
            }
            Err(found) => faults.extend(found),
        }
    }
    let wanted: Vec<&PlatformName> = devices.iter().map(|device| &device.platform).collect();
    let known = Known::with(&call.app, &wanted).await?;
    let unknown = places.iter().zip(&devices).flat_map(|(at, device)| known.faults(at, device, None));
    faults.extend(unknown);
    if !faults.is_empty() {
        return Err(Problem::invalid(faults).into());
    }
    let changes = if dry_run {
        rehearse(&call.app, &devices).await?
    } else {
        let changes = call.app.store.add_devices(&devices, call.requester()?).await?;
        call.app.inventory.changed();
        changes
    };
    if one && let ([device], [change]) = (devices.as_slice(), changes.as_slice()) {
        if let Some(problem) = refused(device, change) {
            return Err(problem.into());
        }
        let shown = shown_with_twins(&call.app, device).await?;
        if dry_run {
            return ok(&shown);
        }
        let mut response = answer::json(StatusCode::CREATED, &shown);
        if let Ok(location) = HeaderValue::from_str(&format!("/v1/devices/{}", device.name)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    let mut results = Vec::with_capacity(devices.len());
    for (device, change) in devices.iter().zip(&changes) {
        results.push(match refused(device, change) {
            None => json!({
                "name": device.name, "status": if dry_run { 200 } else { 201 }, "device": shown(device)?,
            }),
            Some(problem) => json!({"name": device.name, "status": 409, "problem": problem}),
        });
    }
    ok(&json!({"items": results}))
}

/// What adding these devices would answer.
async fn rehearse(app: &App, devices: &[Device]) -> Result<Vec<DeviceChange>, Refusal> {
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    let existing = app.store.devices_named(&names).await?;
    let mut seen: BTreeSet<&DeviceName> = existing.iter().map(|device| &device.name).collect();
    let neighbours = app.store.address_neighbours(&devices.iter().collect::<Vec<_>>()).await?;
    let mut addresses: BTreeMap<(&str, u16), &DeviceName> = BTreeMap::new();
    let mut answers = Vec::with_capacity(devices.len());
    for device in devices {
        let place = (device.address.as_str(), device.port);
        let other = neighbours.get(&device.name).or(addresses.get(&place).copied());
        answers.push(match other {
            _ if seen.contains(&device.name) => DeviceChange::Exists,
            Some(other) => DeviceChange::AddressTaken(other.clone()),
            None => {
                seen.insert(&device.name);
                addresses.insert(place, &device.name);
                DeviceChange::Done
            }
        });
    }
    Ok(answers)
}

/// Why a device was neither added nor changed; none: it was.
fn refused(device: &Device, change: &DeviceChange) -> Option<Problem> {
    let name = &device.name;
    match change {
        DeviceChange::Done => None,
        DeviceChange::AddressTaken(other) => {
            let Device { address, port, .. } = device;
            let detail = format!(
                "device {other} has the address {address} port {port} already, and two names for one device would \
                 configure it twice: use {other}, or correct the address of one of them ('turnup device set {other} \
                 --address ADDRESS'), or remove {other} if {name} replaces it"
            );
            Some(Problem::new(409, "address_taken", "The address belongs to another device", detail))
        }
        DeviceChange::Exists => {
            let detail = format!(
                "there is a device {name} already; 'turnup device set {name}' (PATCH) changes it, and \
                 'turnup device import --update' changes many"
            );
            Some(Problem::new(409, "device_exists", "The device exists already", detail))
        }
        DeviceChange::Missing | DeviceChange::InUse(_) => Some(missing(name)),
    }
}

pub(super) async fn change(call: Call) -> Answer {
    let dry_run = is_dry_run(&call)?;
    let before = find(&call).await?;
    let patch = call.json()?;
    let Value::Object(fields) = &patch else {
        return Err(Problem::invalid(vec![Fault::new("", "wrong_type", "a merge patch is an object")]).into());
    };
    // Also of a field that is to be removed.
    let unknown = unknown_fields("", fields, &FIELDS);
    if !unknown.is_empty() {
        return Err(Problem::invalid(unknown).into());
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
    let known = Known::with(&call.app, &[&device.platform]).await?;
    let faults = known.faults("", &device, Some(&before));
    if !faults.is_empty() {
        return Err(Problem::invalid(faults).into());
    }
    let device = Device { created_at: before.created_at, ..device };
    let change = if dry_run {
        let moves = (&before.address, before.port) != (&device.address, device.port);
        let other = call.app.store.address_neighbours(&[&device]).await?.remove(&device.name);
        other.filter(|_| moves).map_or(DeviceChange::Done, DeviceChange::AddressTaken)
    } else {
        let change = call.app.store.update_device(&device, call.requester()?).await?;
        call.app.inventory.changed();
        change
    };
    match refused(&device, &change) {
        None => ok(&shown_with_twins(&call.app, &device).await?),
        Some(problem) => Err(problem.into()),
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
        DeviceChange::InUse(users) => {
            let (users, are) = match users {
                1 => ("1 service or unfinished order".to_owned(), "is"),
                many => (format!("{many} services and unfinished orders"), "are"),
            };
            let detail = format!(
                "{users} {are} on device {name}; 'turnup service list --device {name}' and 'turnup order list \
                 --device {name}' list them: decommission or cancel them first"
            );
            Err(Problem::conflict(detail, vec![]).into())
        }
        DeviceChange::Missing | DeviceChange::Exists | DeviceChange::AddressTaken(_) => {
            Err(missing(&name).into())
        }
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
    let address = reader.text("address", true, |text| normalized_address(text).map(drop));
    let address = address.and_then(|text| normalized_address(&text).ok());
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
