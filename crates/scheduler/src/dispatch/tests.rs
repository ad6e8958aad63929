//! In which regions an order is begun.

use jiff::Timestamp;
use serde_json::json;
use turnup_core::{
    audit::AuditWork,
    drift::{OnDrift, WholeService},
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    message::{Condition, DeviceEdit},
    name::PlatformName,
    order::{OrderKind, OrderOptions, Priority},
};
use turnup_store::OrderView;

use super::*;

fn name(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

/// Devices w… in the west, e… in the east.
fn device(device: &str) -> Device {
    Device {
        name: name(device),
        region: RegionName::new(if device.starts_with('w') { "west" } else { "east" }).unwrap(),
        platform: PlatformName::new("sim").unwrap(),
        address: "192.0.2.1".to_owned(),
        port: 830,
        host_key: None,
        credential: None,
        description: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

fn due(devices: &[&str]) -> DueOrder {
    let order = OrderView {
        id: OrderId(Uuid::from_u128(7)),
        kind: OrderKind::Provision,
        definition: "eline".to_owned(),
        definition_version: 1,
        service_id: ServiceId(Uuid::from_u128(8)),
        region: "multi".to_owned(),
        attributes: json!({}),
        endpoints: vec![],
        devices: devices.iter().map(|name| (*name).to_owned()).collect(),
        priority: Priority::Urgent,
        external_id: None,
        description: None,
        requester: "crm".to_owned(),
        derived_from: None,
        superseded_by: None,
        options: OrderOptions::default(),
        state: OrderState::Scheduled,
        schedule_revision: 1,
        scheduled_for: None,
        generation: 1,
        retry: None,
        sequence: 2,
        errors: vec![],
        waiting_for: vec![],
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        actions: vec![],
        deployments: None,
        history: None,
    };
    DueOrder { order, devices: devices.iter().map(|device| name(device)).collect(), ticket: None }
}

fn edit(text: &str) -> DeviceEdit {
    DeviceEdit {
        order: OrderId(Uuid::from_u128(7)),
        edit: text.to_owned(),
        inverse: String::new(),
        filter: String::new(),
        after: Condition::Contains(String::new()),
        before: Condition::Contains(String::new()),
        keys: BTreeMap::new(),
        nodes: turnup_core::nodes::NodeFacts::default(),
        joint: Vec::new(),
        whole: None,
    }
}

/// Footprints of all its devices, edits of those that change.
fn parts(devices: &[&str], changed: &[&str], text: &str) -> Parts {
    Parts {
        purpose: Purpose::Change,
        past_unknown: false,
        edits: changed.iter().map(|device| (name(device), edit(text))).collect(),
        audits: BTreeMap::new(),
        checks: BTreeMap::new(),
        footprints: devices.iter().map(|device| json!({"device": device})).collect(),
    }
}

fn begun(devices: &[&str], parts: &Parts) -> Result<Vec<Start>, Vec<Failure>> {
    let known = devices.iter().map(|name| (device(name).name, device(name))).collect();
    let epochs = devices.iter().map(|device| (name(device), 41)).collect();
    let (pending_tokens, profiles) = (HashMap::new(), Profiles::default());
    let field =
        Field { devices: &known, epochs: &epochs, pending_tokens: &pending_tokens, profiles: &profiles };
    deployments(&[(&due(devices), parts)], &field, &Limits::default())
}

/// Region, stage and devices of each.
fn short(starts: &[Start]) -> Vec<(&str, Stage, Vec<String>)> {
    let short = |start: &'_ Start| {
        let message = Deployment::decode(&start.message).unwrap();
        assert_eq!((message.deployment, message.region.as_str()), (start.deployment, start.region.as_str()));
        assert_eq!((message.generation, message.attempt, start.priority), (2, 1, Priority::Urgent));
        assert!(message.devices.iter().all(|work| work.epoch == 42));
        message.devices.iter().map(|work| work.device.to_string()).collect()
    };
    starts.iter().map(|start| (start.region.as_str(), start.stage, short(start))).collect()
}

#[test]
fn over_two_regions_an_order_has_a_part_in_each() {
    let devices = ["w1", "w2", "e1"];
    let starts = begun(&devices, &parts(&devices, &devices, "<x/>")).unwrap();
    assert_eq!(
        short(&starts),
        [
            ("east", Stage::Prepare, vec!["e1".to_owned()]),
            ("west", Stage::Prepare, vec!["w1".to_owned(), "w2".to_owned()])
        ]
    );
    let [first, second] = &starts[..] else { panic!() };
    assert_ne!(first.deployment, second.deployment);
    assert_eq!((first.transaction, second.transaction), (Some(first.deployment), Some(first.deployment)));
    assert_eq!(first.footprints.as_array().unwrap().len(), 3, "of the devices of all parts");
    assert_eq!(second.footprints, json!([]));
}

#[test]
fn what_changes_in_one_region_is_one_transaction_there() {
    let devices = ["w1", "w2", "e1"];
    for changed in [&["w1", "w2"][..], &["w2"]] {
        let starts = begun(&devices, &parts(&devices, changed, "<x/>")).unwrap();
        let names = changed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(short(&starts), [("west", Stage::Whole, names)]);
        assert_eq!((starts[0].transaction, starts[0].footprints.as_array().unwrap().len()), (None, 3));
    }
    // Nothing changes anywhere: somebody has to say so.
    let starts = begun(&devices, &parts(&devices, &[], "")).unwrap();
    assert_eq!(short(&starts), [("east", Stage::Whole, vec![])]);
}

#[test]
fn an_audit_is_whole_in_each_region() {
    let devices = ["w1", "e1"];
    let work = AuditWork { config: None, checks: vec![] };
    let audits = devices.iter().map(|device| (name(device), work.clone())).collect();
    let (edits, footprints) = (BTreeMap::new(), vec![]);
    let parts = Parts {
        purpose: Purpose::Audit,
        past_unknown: false,
        edits,
        audits,
        checks: BTreeMap::new(),
        footprints,
    };
    let starts = begun(&devices, &parts).unwrap();
    assert_eq!(
        short(&starts),
        [("east", Stage::Whole, vec!["e1".to_owned()]), ("west", Stage::Whole, vec!["w1".to_owned()])]
    );
    assert!(starts.iter().all(|start| start.transaction == Some(starts[0].deployment)));
}

/// The outbox wraps the parts of a transaction, and nobody else does.
#[test]
fn one_of_an_unknown_past_is_wrapped_once() {
    let unknown = |devices: &[&str]| {
        let parts = Parts { past_unknown: true, ..parts(devices, devices, "x") };
        begun(devices, &parts).unwrap()
    };
    let whole = Part::decode(&unknown(&["w1"])[0].message).unwrap();
    assert!(whole.stage == Stage::Whole && whole.deployment.past_unknown);
    for start in unknown(&["w1", "e1"]) {
        let sent = Part::wrap(start.stage, 1, &start.message);
        assert!(Part::decode(&sent).unwrap().deployment.past_unknown);
    }
}

#[test]
fn a_part_leaves_room_for_its_stage() {
    let long = |bytes| "x".repeat(bytes);
    let of = |devices: &[&str], text: &str| begun(devices, &parts(devices, devices, text));
    let empty = of(&["w1"], "").unwrap()[0].message.len();
    let most = long(MAX_BYTES - empty);
    assert!(of(&["w1"], &most).is_ok(), "in one region all of it is for the deployment");
    assert!(of(&["w1", "e1"], &long(MAX_BYTES - empty - Part::WRAPPING)).is_ok());
    let refused = of(&["w1", "e1"], &most).unwrap_err();
    assert!(refused[0].message.contains("region east"), "{refused:?}");
    assert!(refused[0].message.contains("one order per region"), "{refused:?}");
}

#[test]
fn what_yang_says_inside_of_owned_nodes_travels_once_per_device() {
    let judged = |default: &str| DeviceEdit {
        whole: Some(Box::new(WholeService {
            before: String::new(),
            rewrite: None,
            owned: Vec::new(),
            inside: NodeFacts {
                defaults: [(format!("a/{default}"), "1".to_owned())].into(),
                ..NodeFacts::default()
            },
            on_drift: OnDrift::Repair,
        })),
        ..edit("<x/>")
    };
    let mut one = parts(&["w1"], &[], "");
    one.edits.insert(name("w1"), judged("b"));
    let mut other = parts(&["w1"], &[], "");
    other.edits.insert(name("w1"), judged("c"));
    let devices = HashMap::from([(name("w1"), device("w1"))]);
    let (epochs, pending_tokens, profiles) = (HashMap::new(), HashMap::new(), Profiles::default());
    let field =
        Field { devices: &devices, epochs: &epochs, pending_tokens: &pending_tokens, profiles: &profiles };
    let due = due(&["w1"]);
    let starts = deployments(&[(&due, &one), (&due, &other)], &field, &Limits::default()).unwrap();
    let message = Part::decode(&starts[0].message).unwrap().deployment;
    let work = &message.devices[0];
    assert_eq!(work.inside.defaults.keys().collect::<Vec<_>>(), ["a/b", "a/c"]);
    assert!(work.edits.iter().all(|edit| edit.whole.as_ref().unwrap().inside.is_empty()));
}

#[test]
fn order_that_fits_into_no_message_is_told_its_size_and_why() {
    let mut parts = parts(&["w1"], &["w1"], &"x".repeat(MAX_BYTES / 2));
    let edit = parts.edits.get_mut(&name("w1")).unwrap();
    edit.whole = Some(Box::new(WholeService {
        before: "x".repeat(MAX_BYTES / 2),
        rewrite: None,
        owned: Vec::new(),
        inside: NodeFacts::default(),
        on_drift: OnDrift::Refuse,
    }));
    let refused = begun(&["w1"], &parts).unwrap_err();
    let message = &refused[0].message;
    assert!(
        message.contains("on 1 devices in region west") && message.contains("to find drift"),
        "{message}"
    );
    assert!(message.contains("at most 1048576"), "{message}");
}
