//! Orders, devices and the moves of scheduler and recorder, as short calls.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use turnup_core::{
    event::OrderFacts,
    failure::{Failure, FailureClass},
    id::{DeploymentId, OrderId, ServiceId},
    lease::{Admission, admit},
    lifecycle::{DeploymentState, OrderState, ServiceState, service_transition},
    message::{
        Body as _, Condition, Deployment, DeviceEdit, DeviceReport, DeviceWork, InForce, Limits, Purpose,
        Stage, Step,
    },
    name::{DeviceName, PlatformName, RegionName},
    order::{Endpoint, IfBusy, OrderKind, OrderOptions, Priority},
    settle::{order_event, service_event},
};
use turnup_store::{
    Accepted, Decision, DeploymentChange, Device, DeviceChange, DueOrder, Entry, NewOrder, RelayLease,
    ServiceChange, Settled, Settling, Start, Starting, Store, Work, testing::Database,
};
use uuid::Uuid;

/// How far ahead the ladder reaches in these tests.
pub(crate) const REACH_MS: i64 = 12 * 24 * 3600 * 1000;

/// Now, in the database's precision.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

pub(crate) fn in_s(seconds: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_secs(seconds)
}

pub(crate) fn name(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

pub(crate) fn device(device: &str) -> Device {
    let at = now();
    Device {
        name: name(device),
        region: RegionName::new("eu").unwrap(),
        platform: PlatformName::new("null").unwrap(),
        address: format!("{device}.example"),
        port: 830,
        host_key: None,
        credential: None,
        description: None,
        created_at: at,
        updated_at: at,
    }
}

pub(crate) async fn add(store: &Store, devices: &[&str]) {
    let devices: Vec<Device> = devices.iter().map(|name| device(name)).collect();
    let answers = store.add_devices(&devices, "test").await.unwrap();
    assert!(answers.iter().all(|answer| *answer == DeviceChange::Done), "{answers:?}");
}

/// A provision order that is due now.
pub(crate) fn order(devices: &[&str]) -> NewOrder {
    let at = now();
    let mut devices: Vec<String> = devices.iter().map(|d| (*d).to_owned()).collect();
    devices.sort();
    let facts = OrderFacts {
        id: OrderId(Uuid::now_v7()),
        kind: OrderKind::Provision,
        definition: "eline".to_owned(),
        service_id: ServiceId(Uuid::now_v7()),
        region: "eu".to_owned(),
        external_id: None,
        requester: "crm".to_owned(),
        undoes: None,
    };
    let endpoints = devices.iter().map(|device| Endpoint {
        role: "a".to_owned(),
        device: name(device),
        attributes: json!({"interface": "ge-0/0/1", "vlan": 7}).as_object().unwrap().clone(),
    });
    NewOrder {
        definition_version: 1,
        attributes: json!({"bandwidth_mbps": 100, "mtu": 1500}).as_object().unwrap().clone(),
        endpoints: endpoints.collect(),
        devices,
        priority: Priority::Normal,
        description: None,
        idempotency_key: None,
        digest: [7; 32],
        derived_from: None,
        due: Some(at),
        at,
        entries: vec![],
        options: OrderOptions::default(),
        claims: vec![],
        if_busy: IfBusy::Wait,
        facts,
    }
}

/// The same with its log entries, as intake writes them.
pub(crate) fn with_entries(mut order: NewOrder) -> NewOrder {
    let entry = |sequence, from, to| Entry {
        event: order.facts.event(Uuid::now_v7(), sequence, to, order.at, json!({})),
        change: Some((from, to)),
        why: None,
        by: "crm".to_owned(),
    };
    let mut entries = vec![entry(1, None, OrderState::Requested)];
    if order.due.is_some() {
        entries.push(entry(2, Some(OrderState::Requested), OrderState::Scheduled));
    }
    order.entries = entries;
    order
}

/// Accepts the order, which must be new.
pub(crate) async fn accept(store: &Store, order: NewOrder) -> OrderId {
    let id = order.facts.id;
    let answers = store.accept(&[with_entries(order)], REACH_MS).await.unwrap();
    assert!(matches!(answers[..], [Accepted::Created(_)]), "{answers:?}");
    id
}

pub(crate) async fn state(store: &Store, order: OrderId) -> OrderState {
    store.order(order).await.unwrap().unwrap().state
}

/// The history's states, checked to be gapless and to end in the order's state.
pub(crate) async fn history(store: &Store, order: OrderId) -> Vec<OrderState> {
    let view = store.order(order).await.unwrap().unwrap();
    let history = view.history.unwrap();
    let numbers: Vec<i32> = history.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, (1..=view.sequence).collect::<Vec<_>>(), "gapless");
    assert_eq!(history[0].from, None);
    for pair in history.windows(2) {
        assert_eq!(pair[1].from, Some(pair[0].to), "each from where the one before went to");
    }
    assert_eq!(history.last().unwrap().to, view.state);
    history.iter().map(|entry| entry.to).collect()
}

/// A deployment of the order, as the scheduler dispatches it.
pub(crate) fn deployment(due: &DueOrder, starting: &Starting) -> Start {
    let edit = |_: &DeviceName| DeviceEdit {
        order: due.order.id,
        edit: format!("<interfaces><interface><name>{}</name></interface></interfaces>", due.order.id),
        inverse: "<interfaces><interface/></interfaces>".to_owned(),
        filter: "<interfaces/>".to_owned(),
        after: Condition::Contains("<interfaces/>".to_owned()),
        before: Condition::Lacks("<interfaces/>".to_owned()),
        keys: BTreeMap::new(),
        nodes: turnup_core::nodes::NodeFacts::default(),
        joint: Vec::new(),
        whole: None,
    };
    let devices = due.devices.iter().map(|name| DeviceWork {
        device: name.clone(),
        address: "192.0.2.1".to_owned(),
        port: 830,
        platform: PlatformName::new("null").unwrap(),
        host_key: None,
        credential: None,
        epoch: starting.epochs[name] + 1,
        profile: Default::default(),
        pending_tokens: Vec::new(),
        before_confirm: None,
        inside: turnup_core::nodes::NodeFacts::default(),
        edits: vec![edit(name)],
        audit: None,
    });
    let message = Deployment {
        deployment: DeploymentId(Uuid::now_v7()),
        attempt: 1,
        generation: due.order.generation + 1,
        region: RegionName::new("eu").unwrap(),
        orders: vec![due.order.id],
        purpose: Purpose::Change,
        past_unknown: false,
        devices: devices.collect(),
        limits: Limits::default(),
    };
    let owned = due.devices.iter().map(|device| {
        json!({
            "service_id": due.order.service_id, "device": device, "footprint": {"of": due.order.id},
            "nodes": [format!("/interfaces/interface[name='{}']", due.order.service_id)],
            "shared": [{"node": "/interfaces/vlan-tagging", "value": "true"}],
        })
    });
    let footprints = if due.order.kind == OrderKind::Decommission { vec![] } else { owned.collect() };
    Start {
        deployment: message.deployment,
        region: message.region.to_string(),
        transaction: None,
        stage: Stage::Whole,
        priority: due.order.priority,
        message: message.encode().unwrap(),
        footprints: Value::Array(footprints),
    }
}

/// What the scheduler decides about a batch: who may start does, the others wait.
pub(crate) fn decide(starting: &Starting, at: Timestamp) -> (Vec<Decision>, Vec<Entry>) {
    let candidates: Vec<_> = starting.orders.iter().map(DueOrder::candidate).collect();
    let mut entries = Vec::new();
    let decisions = admit(&candidates, &starting.board)
        .into_iter()
        .zip(&starting.orders)
        .map(|(admission, due)| match admission {
            Admission::Wait(_) | Admission::Join(_) => Decision::Wait,
            Admission::Start => {
                entries.push(moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at));
                Decision::Start(vec![deployment(due, starting)])
            }
        })
        .collect();
    (decisions, entries)
}

pub(crate) fn moved(due: &DueOrder, step: i32, from: OrderState, to: OrderState, at: Timestamp) -> Entry {
    Entry {
        event: due.order.facts().event(Uuid::now_v7(), due.order.sequence + step, to, at, json!({})),
        change: Some((Some(from), to)),
        why: None,
        by: "scheduler".to_owned(),
    }
}

/// Starts a batch; gives what was dispatched.
pub(crate) async fn start(store: &Store, due: &[(OrderId, i32)]) -> Vec<(OrderId, DeploymentId)> {
    let starting = store.begin_start(due).await.unwrap();
    let at = now();
    let (decisions, entries) = decide(&starting, at);
    let started = started(&starting, &decisions);
    starting.finish(&decisions, &entries, at).await.unwrap();
    started
}

pub(crate) fn started(starting: &Starting, decisions: &[Decision]) -> Vec<(OrderId, DeploymentId)> {
    let each = starting.orders.iter().zip(decisions).flat_map(|(due, decision)| match decision {
        Decision::Start(starts) => starts.iter().map(|start| (due.order.id, start.deployment)).collect(),
        _ => vec![],
    });
    each.collect()
}

pub(crate) fn failure(class: FailureClass) -> Failure {
    Failure::new(class, "edit-config", "the device refused")
}

/// What the recorder makes of the end of deployments, all with the same failures (none: committed).
pub(crate) fn settled(
    settling: &Settling,
    ended: &[(OrderId, DeploymentId)],
    failures: &[Failure],
    at: Timestamp,
) -> Settled {
    let mut settled = Settled::default();
    for (order, deployment) in ended {
        let Some(known) = settling.deployments.get(deployment).filter(|known| !known.state.is_final()) else {
            continue;
        };
        let state =
            if failures.is_empty() { DeploymentState::Committed } else { DeploymentState::RolledBack };
        let stored = &settling.orders[order];
        settled.deployments.push(DeploymentChange {
            id: *deployment,
            state,
            sequence: known.sequence + 1,
            phase: "done".to_owned(),
            worker: "w1".to_owned(),
            devices: vec![DeviceReport {
                device: name("d1"),
                in_force: InForce::New,
                steps: ["connect", "lock", "edit-config", "commit", "unlock"]
                    .iter()
                    .map(|step| Step { step: (*step).to_owned(), at, took_us: 900 })
                    .collect(),
                failures: failures.to_vec(),
                audit: None,
                guarantee: None,
                tokens_cancelled: false,
                remarks: Vec::new(),
            }],
            in_doubt_since: None,
            confirm_by: None,
        });
        let event = order_event(failures);
        let to = turnup_core::lifecycle::order_transition(stored.state, event).unwrap();
        let sequence = stored.sequence + 1;
        settled.entries.push(Entry {
            event: stored.facts.event(Uuid::now_v7(), sequence, to, at, json!({"deployment": deployment})),
            change: Some((Some(stored.state), to)),
            why: failures.first().map(|failure| failure.message.clone()),
            by: "w1".to_owned(),
        });
        settled.orders.push((*order, to, sequence, failures.to_vec()));
        let Some(event) = service_event(stored.facts.kind, event) else { continue };
        let before = stored.service.map(|(state, _)| state);
        let sequence = stored.service.map_or(stored.earlier_events, |(_, sequence)| sequence) + 1;
        let service = stored.facts.service_id;
        let after = service_transition(before, event);
        settled.services.push(match (before, after) {
            (None, Some(_)) => ServiceChange::Create { order: *order, deployment: *deployment, sequence },
            (Some(_), Some(state)) if failures.is_empty() => {
                ServiceChange::Update { service, state, order: *order, deployment: *deployment, sequence }
            }
            (Some(_), Some(state)) => ServiceChange::Fail {
                service,
                state,
                order: *order,
                deployment: *deployment,
                sequence,
                in_force: vec![],
            },
            (Some(_), None) => ServiceChange::Remove { service },
            (None, None) => continue,
        });
        let mut event = stored.facts.event(Uuid::now_v7(), sequence, to, at, json!({"service": service}));
        event.entity = turnup_core::event::Entity::Service;
        event.entity_id = service.to_string();
        event.what = after.map_or("removed", ServiceState::word).to_owned();
        settled.entries.push(Entry { event, change: None, why: None, by: "w1".to_owned() });
    }
    settled
}

/// Ends deployments, all with the same failures (none: committed).
pub(crate) async fn settle(store: &Store, ended: &[(OrderId, DeploymentId)], failures: &[Failure]) {
    let ids: Vec<DeploymentId> = ended.iter().map(|(_, deployment)| *deployment).collect();
    let settling = store.begin_settle(&ids).await.unwrap();
    let at = now();
    let settled = settled(&settling, ended, failures, at);
    settling.finish(&settled, at).await.unwrap();
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition().await {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// All that the relay would send of due messages after row `seen`.
pub(crate) async fn woken(lease: &RelayLease, seen: i64) -> Vec<(OrderId, i32)> {
    let rows = lease.take(seen, 10_000).await.unwrap();
    let due = rows.into_iter().filter_map(|row| match row.work {
        Work::Due(due) => Some((due.order, due.revision)),
        Work::Deployment { .. } => None,
    });
    due.collect()
}

/// One number from the database.
pub(crate) async fn count(database: &Database, sql: &str) -> i64 {
    database.session().await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}
