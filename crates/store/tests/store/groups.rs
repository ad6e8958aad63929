//! Orders that start together, in one deployment.

use std::collections::BTreeSet;

use serde_json::Value;
use turnup_core::{
    failure::FailureClass,
    id::{DeploymentId, OrderId},
    lifecycle::OrderState,
    message::{DeviceReport, InForce},
    name::DeviceName,
    order::OrderKind,
};
use turnup_store::{Decision, Starting, testing::Database};

use crate::support::{
    accept, add, count, decide, deployment, failure, history, moved, now, order, settled, start, state,
};

/// All of the batch go together: the first with the deployment of all.
fn together(starting: &Starting) -> (Vec<Decision>, DeploymentId) {
    let mut starts: Vec<_> = starting.orders.iter().map(|due| deployment(due, starting)).collect();
    let footprints = starts.iter().flat_map(|start| start.footprints.as_array().unwrap().clone()).collect();
    let mut first = starts.remove(0);
    first.footprints = Value::Array(footprints);
    let id = first.deployment;
    let mut decisions = vec![Decision::Start(vec![first])];
    decisions.extend(starts.iter().map(|_| Decision::With(id)));
    (decisions, id)
}

async fn start_together(starting: Starting) -> DeploymentId {
    let at = now();
    let (decisions, id) = together(&starting);
    let entries: Vec<_> = starting
        .orders
        .iter()
        .map(|due| moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at))
        .collect();
    starting.finish(&decisions, &entries, at).await.unwrap();
    id
}

fn told(name: &str) -> DeviceReport {
    DeviceReport {
        device: DeviceName::new(name).unwrap(),
        in_force: InForce::Partly,
        steps: vec![],
        failures: vec![],
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    }
}

fn ids(starting: &Starting) -> BTreeSet<OrderId> {
    starting.orders.iter().map(|due| due.order.id).collect()
}

#[tokio::test]
async fn who_waits_comes_along_and_all_give_back_together() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2", "d3"]).await;
    let holder = accept(store, order(&["d1"])).await;
    let running = start(store, &[(holder, 1)]).await;
    let mut waiting = Vec::new();
    for devices in [&["d1"][..], &["d1", "d2"], &["d1", "d3"], &["d1"]] {
        let id = accept(store, order(devices)).await;
        assert!(start(store, &[(id, 1)]).await.is_empty());
        waiting.push(id);
    }
    // Nobody comes along for a device that is held.
    let starting = store.begin_start_with(&[(waiting[0], 1)], 10).await.unwrap();
    assert_eq!(starting.orders.len(), 1);
    drop(starting);
    crate::support::settle(store, &running, &[]).await;

    let starting = store.begin_start_with(&[(waiting[0], 1)], 3).await.unwrap();
    assert_eq!(ids(&starting), waiting[..3].iter().copied().collect(), "the first three of the queue");
    assert!(starting.orders.iter().all(|due| due.ticket.is_some()));
    // What somebody else deals with is left to him, without waiting.
    let last = [(waiting[3], 1)];
    let others = store.begin_start_with(&last, 10);
    let others = tokio::time::timeout(std::time::Duration::from_millis(300), others).await;
    assert!(others.is_err(), "the lease of the device is waited for");
    let id = start_together(starting).await;
    let held = "SELECT count(*) FROM leases WHERE order_id IS NOT NULL";
    assert_eq!(count(&database, held).await, 3);
    assert_eq!(count(&database, "SELECT count(*) FROM deployments").await, 2);
    assert_eq!(count(&database, "SELECT count(*) FROM deployment_orders").await, 4);
    assert_eq!(count(&database, "SELECT count(*) FROM lease_waits").await, 1);
    for order in &waiting[..3] {
        assert_eq!(history(store, *order).await.last(), Some(&OrderState::InProgress));
    }

    // The second is refused, the others are in force.
    let settling = store.begin_settle(&[id]).await.unwrap();
    assert_eq!(settling.orders.len(), 3);
    let at = now();
    let mut all = settled(&settling, &[(waiting[0], id), (waiting[2], id)], &[], at);
    let refused = settled(&settling, &[(waiting[1], id)], &[failure(FailureClass::Invalid)], at);
    all.deployments.truncate(1);
    all.deployments[0].state = turnup_core::lifecycle::DeploymentState::Partly;
    all.deployments[0].devices = ["d1", "d2", "d3"].map(told).to_vec();
    all.orders.extend(refused.orders);
    all.entries.extend(refused.entries);
    all.services.extend(refused.services);
    settling.finish(&all, at).await.unwrap();
    for (order, ended) in waiting.iter().zip([
        OrderState::Completed,
        OrderState::Invalid,
        OrderState::Completed,
        OrderState::Scheduled,
    ]) {
        assert_eq!(state(store, *order).await, ended);
        history(store, *order).await;
    }
    for (order, own) in [(waiting[0], &["d1"][..]), (waiting[1], &["d1", "d2"]), (waiting[2], &["d1", "d3"])]
    {
        let seen = store.order(order).await.unwrap().unwrap();
        let devices = seen.deployments.iter().flatten().flat_map(|deployment| &deployment.devices);
        assert_eq!(devices.map(|report| report.device.as_str()).collect::<Vec<_>>(), own, "its own devices");
    }
    let (whole, orders) = store.deployment(id).await.unwrap().unwrap();
    assert_eq!((whole.devices.len(), orders.len()), (3, 3));
    assert_eq!(count(&database, held).await, 0, "all devices are given back");
    // d1 of the holder, d1 of the first, d1 and d3 of the third: nothing of the one that was refused.
    assert_eq!(count(&database, "SELECT count(*) FROM footprints").await, 4);
    assert_eq!(count(&database, "SELECT count(DISTINCT service_id) FROM owned_nodes").await, 3);
    let woken = "SELECT count(*) FROM outbox WHERE order_id IS NOT NULL AND revision IS NOT NULL";
    assert!(count(&database, woken).await >= 1, "the fourth is woken");
}

#[tokio::test]
async fn who_is_locked_by_another_or_left_the_queue_does_not_come_along() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let holder = accept(store, order(&["d1"])).await;
    let running = start(store, &[(holder, 1)]).await;
    let mut waiting = Vec::new();
    for devices in [&["d1"][..], &["d1", "d2"], &["d1"]] {
        let id = accept(store, order(devices)).await;
        assert!(start(store, &[(id, 1)]).await.is_empty());
        waiting.push(id);
    }
    crate::support::settle(store, &running, &[]).await;
    // Another scheduler has d2, and someone is about to cancel the last.
    let elsewhere = accept(store, order(&["d2"])).await;
    let other = store.begin_start(&[(elsewhere, 1)]).await.unwrap();
    let mut session = database.session().await.unwrap();
    let tx = session.transaction().await.unwrap();
    tx.execute("SELECT FROM orders WHERE id = $1 FOR UPDATE", &[&waiting[2].0]).await.unwrap();
    let starting = store.begin_start_with(&[(waiting[0], 1)], 10).await.unwrap();
    assert_eq!(ids(&starting), BTreeSet::from([waiting[0]]));
    let (decisions, entries) = decide(&starting, now());
    assert!(matches!(decisions[..], [Decision::Start(_)]));
    starting.finish(&decisions, &entries, now()).await.unwrap();
    drop((tx, other));
    assert_eq!(state(store, waiting[1]).await, OrderState::Scheduled);
}

#[tokio::test]
async fn a_replaced_footprint_is_its_own_orders_alone() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let (first, second) = (order(&["d1"]), order(&["d1"]));
    let services = [first.facts.service_id, second.facts.service_id];
    for new in [first, second] {
        let id = accept(store, new).await;
        let started = start(store, &[(id, 1)]).await;
        crate::support::settle(store, &started, &[]).await;
    }
    let mut redeploys = Vec::new();
    for service in services {
        let mut again = order(&["d1"]);
        again.facts.kind = OrderKind::Redeploy;
        again.facts.service_id = service;
        redeploys.push(accept(store, again).await);
    }
    let starting = store.begin_start_with(&[(redeploys[0], 1), (redeploys[1], 1)], 10).await.unwrap();
    let id = start_together(starting).await;
    let settling = store.begin_settle(&[id]).await.unwrap();
    let at = now();
    let mut all = settled(&settling, &[(redeploys[0], id)], &[], at);
    let failed = settled(&settling, &[(redeploys[1], id)], &[failure(FailureClass::Invalid)], at);
    all.orders.extend(failed.orders);
    all.entries.extend(failed.entries);
    all.services.extend(failed.services);
    settling.finish(&all, at).await.unwrap();
    let session = database.session().await.unwrap();
    let of = |row: &tokio_postgres::Row| -> String { row.get(0) };
    let footprint = "SELECT footprint ->> 'of' FROM footprints WHERE service_id = $1";
    let replaced = session.query_one(footprint, &[&services[0].0]).await.unwrap();
    assert_eq!(of(&replaced), redeploys[0].to_string());
    let kept = session.query_one(footprint, &[&services[1].0]).await.unwrap();
    assert_ne!(of(&kept), redeploys[1].to_string(), "the failed one has not replaced what was there");
}
