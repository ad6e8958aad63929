//! Planning, with a shipped definition.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
};

use serde_json::{Map, Value, json};
use turnup_core::{
    id::{OrderId, ServiceId},
    lifecycle::ServiceState,
    message::InForce,
    name::{DeviceName, PlatformName},
    order::{Endpoint, OrderKind},
};
use turnup_library::planning::{self, Content, Task};
use turnup_plan::{Catalogue, Plan, Present};
use uuid::Uuid;

static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/services");
    Arc::new(Catalogue::load(&folder).unwrap())
});

fn plan(
    kind: OrderKind,
    service: u128,
    present: BTreeMap<DeviceName, Present>,
    mtu: u32,
) -> (Plan, Option<String>) {
    let attributes: Map<String, Value> =
        json!({"vc_id": 7, "mtu": mtu, "control_word": true}).as_object().unwrap().clone();
    let endpoints: Vec<Endpoint> = serde_json::from_value(json!([
        {"role": "a", "device": "pe1", "attributes": {"port": "ge-0/0/1", "vlan": 100}},
        {"role": "z", "device": "pe2", "attributes": {"port": "ge-0/0/2", "vlan": 200}},
    ]))
    .unwrap();
    let platforms =
        ["pe1", "pe2"].map(|name| (DeviceName::new(name).unwrap(), PlatformName::new("sim").unwrap())).into();
    let content = Content {
        definition: "eline",
        version: 1,
        attributes: &attributes,
        endpoints: &endpoints,
        platforms: &platforms,
    };
    let (order, service) = (OrderId(Uuid::from_u128(9)), ServiceId(Uuid::from_u128(service)));
    let task = Task { kind, order, service, present, content, hashed: true };
    planning::draft(task, &CATALOGUE, &|_| None).unwrap().finish(&[], &[]).unwrap()
}

/// What the plan leaves, as the store gives it back.
fn after(plan: &Plan, state: ServiceState) -> BTreeMap<DeviceName, Present> {
    let rows: Vec<(&DeviceName, Value)> =
        plan.devices.iter().map(|(device, done)| (device, json!(done.footprint))).collect();
    let rows = rows.iter().map(|(device, row)| (device.as_str(), row, InForce::New, &[][..]));
    planning::present(Some(state), rows).unwrap()
}

#[test]
fn a_service_that_failed_is_written_whole() {
    let (provisioned, _) = plan(OrderKind::Provision, 1, BTreeMap::new(), 1500);
    let modify = |state| plan(OrderKind::Modify, 1, after(&provisioned, state), 1500);
    let (deployed, _) = modify(ServiceState::Deployed);
    assert!(deployed.is_empty(), "from a to a there is nothing to do");
    let (failed, _) = modify(ServiceState::FailDeploy);
    assert_eq!(failed.devices.values().filter(|device| device.edit.is_some()).count(), 2);
    assert!(failed.text().contains("="), "{}", failed.text());
}

#[test]
fn plan_after_a_failure_shows_what_differs_from_what_is_in_force() {
    let (provisioned, _) = plan(OrderKind::Provision, 1, BTreeMap::new(), 1500);
    let present = after(&provisioned, ServiceState::FailDeploy);
    let (modify, _) = plan(OrderKind::Modify, 1, present.clone(), 9000);
    let text = modify.text();
    assert!(text.contains("mtu: 1500 -> 9000"), "{text}");
    assert!(text.contains("=     unit[id="), "the rest is written again: {text}");
    assert!(!text.contains("is not known"), "{text}");

    let unknown = present.into_iter().map(|(name, present)| (name, Present { unknown: true, ..present }));
    let (modify, _) = plan(OrderKind::Modify, 1, unknown.collect(), 9000);
    let text = modify.text();
    assert!(text.contains("mtu: 1500 -> 9000") && text.contains("is not known what is in force"), "{text}");
}

#[test]
fn a_hash_does_not_depend_on_a_new_services_id() {
    let of = |service| plan(OrderKind::Provision, service, BTreeMap::new(), 1500);
    let ((one, hash), (two, other)) = (of(1), of(2));
    assert_ne!(one.hash(), two.hash());
    assert_eq!(hash, other);
    assert_eq!(hash, of(0).1, "as it is shown before the service has an id");
    assert_ne!(hash, plan(OrderKind::Provision, 1, BTreeMap::new(), 1501).1);
}

#[test]
fn an_audit_changes_nothing_even_after_a_failure() {
    let (provisioned, _) = plan(OrderKind::Provision, 1, BTreeMap::new(), 1500);
    let (audit, _) = plan(OrderKind::Validate, 1, after(&provisioned, ServiceState::FailDeploy), 1500);
    assert!(audit.is_empty());
}
