//! The crate as its callers use it, with the catalogue that turnup ships and with bad ones.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; the exception in clippy.toml does not cover their helpers"
)]

mod audits;
mod bundles;
mod by_path;
mod device;
mod drift;
mod folder;
mod golden;
mod lives;
mod mistakes;
mod ordered;
mod orders;
mod properties;
mod resources;
mod retries;
mod secrets;
mod shared;
mod shipped;
mod simulator;
mod templates;
mod together;
mod versions;

use std::{collections::BTreeMap, path::Path, sync::OnceLock};

use serde_json::{Value, json};
use turnup_core::message::DeviceEdit;
use turnup_core::{
    id::{OrderId, ServiceId},
    name::{DeviceName, PlatformName},
    order::Endpoint,
};
use turnup_plan::{Catalogue, Change, Checked, Definition, Footprint};
use uuid::Uuid;

/// The catalogue that turnup ships. Loaded once: compiling schemas takes its time.
fn shipped() -> &'static Catalogue {
    static SHIPPED: OnceLock<Catalogue> = OnceLock::new();
    SHIPPED.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/services");
        Catalogue::load(&dir).unwrap_or_else(|mistakes| {
            panic!("{}", mistakes.iter().map(|m| format!("{m}\n")).collect::<String>())
        })
    })
}

fn definition<'c>(catalogue: &'c Catalogue, name: &str) -> &'c Definition {
    catalogue.get(&name.parse().unwrap()).unwrap()
}

fn service() -> ServiceId {
    ServiceId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0001))
}

fn order() -> OrderId {
    OrderId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0002))
}

fn endpoints(value: Value) -> Vec<Endpoint> {
    serde_json::from_value(value).unwrap()
}

fn line_endpoints() -> Value {
    json!([
        {"role": "a", "device": "pe1-ams", "attributes": {"port": "ge-0/0/1", "vlan": 100}},
        {"role": "z", "device": "pe1-par", "attributes": {"port": "ge-0/0/7", "vlan": 200}},
    ])
}

/// Checks an order with all devices of one platform.
fn check(
    definition: &Definition,
    attributes: Value,
    given: Value,
    platform: &str,
) -> Result<Checked, Vec<turnup_core::problem::Fault>> {
    let platform: PlatformName = platform.parse().unwrap();
    definition.check(attributes.as_object().unwrap(), &endpoints(given), |_| Some(platform.clone()))
}

fn plan(
    definition: &Definition,
    attributes: Value,
    given: Value,
    platform: &str,
) -> BTreeMap<DeviceName, Footprint> {
    let checked = check(definition, attributes, given, platform).unwrap();
    definition.footprints(service(), &checked.attributes, &checked.endpoints, &checked.platforms).unwrap()
}

/// The edit from one footprint to another, where no one else holds what is shared.
fn change(old: Option<&Footprint>, new: Option<&Footprint>) -> Option<DeviceEdit> {
    let change = Change { old: old.cloned(), new: new.cloned(), ..Change::default() };
    change.edit(order(), &|_| false).map(|edit| edit.edit)
}
