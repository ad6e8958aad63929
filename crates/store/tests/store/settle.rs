//! The end of deployments: orders, services, what services own, leases.

use turnup_core::{
    failure::FailureClass,
    id::{DeploymentId, OrderId},
    lifecycle::{DeploymentState, OrderState, ServiceState},
    order::OrderKind,
};
use turnup_store::{
    DeploymentChange, NewOrder, ServiceFilter, Settled, Store, StoreError, testing::Database,
};

use crate::support::{
    accept, add, count, failure, history, now, order, settle, settled, start, state, until, woken,
};

async fn provisioned(store: &Store, devices: &[&str]) -> NewOrder {
    let new = order(devices);
    accept(store, new.clone()).await;
    let started = start(store, &[(new.facts.id, 1)]).await;
    settle(store, &started, &[]).await;
    new
}

fn decommission(of: &NewOrder) -> NewOrder {
    let devices: Vec<&str> = of.devices.iter().map(String::as_str).collect();
    let mut new = order(&devices);
    new.facts.kind = OrderKind::Decommission;
    new.facts.service_id = of.facts.service_id;
    new
}

#[tokio::test]
async fn a_completed_provision_leaves_a_service_with_all_it_owns() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let new = provisioned(store, &["d1", "d2"]).await;
    let view = store.order(new.facts.id).await.unwrap().unwrap();
    assert_eq!(view.state, OrderState::Completed);
    let deployments = view.deployments.unwrap();
    assert_eq!(
        (deployments[0].state, deployments[0].worker.as_deref()),
        (DeploymentState::Committed, Some("w1"))
    );
    let service = store.service(new.facts.service_id).await.unwrap().unwrap();
    assert_eq!((service.state, service.last_order), (ServiceState::Deployed, new.facts.id));
    assert_eq!(service.devices, ["d1", "d2"]);
    assert_eq!(service.endpoints, new.endpoints);
    let footprints = store.footprints(new.facts.service_id).await.unwrap();
    assert_eq!(footprints.iter().map(|f| f.device.as_str()).collect::<Vec<_>>(), ["d1", "d2"]);
    assert_eq!(count(&database, "SELECT count(*) FROM owned_nodes").await, 2);
    assert_eq!(count(&database, "SELECT count(*) FROM leases WHERE order_id IS NOT NULL").await, 0);
    history(store, new.facts.id).await;
    let listed = |filter| async move { store.services(&filter).await.unwrap().items.len() };
    let all = ServiceFilter { limit: 10, ..Default::default() };
    assert_eq!(listed(all.clone()).await, 1);
    assert_eq!(listed(ServiceFilter { device: Some("d2".to_owned()), ..all.clone() }).await, 1);
    assert_eq!(listed(ServiceFilter { device: Some("d3".to_owned()), ..all.clone() }).await, 0);
    assert_eq!(listed(ServiceFilter { state: Some(ServiceState::FailDeploy), ..all }).await, 0);
}

#[tokio::test]
async fn a_failed_provision_leaves_none_and_may_be_tried_again() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let started = start(store, &[(id, 1)]).await;
    let failures = [failure(FailureClass::Unreachable)];
    settle(store, &started, &failures).await;
    let view = store.order(id).await.unwrap().unwrap();
    assert_eq!((view.state, view.errors.as_slice()), (OrderState::FailedDeploy, &failures[..]));
    assert_eq!(count(&database, "SELECT count(*) FROM services").await, 0);
    assert_eq!(count(&database, "SELECT count(*) FROM footprints").await, 0);
    let next = accept(store, order(&["d1"])).await;
    assert_eq!(start(store, &[(next, 1)]).await.len(), 1, "the device is free again");
}

#[tokio::test]
async fn a_failed_decommission_fails_the_service_and_a_completed_one_frees_all() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let new = provisioned(store, &["d1", "d2"]).await;
    let service = new.facts.service_id;
    let first = decommission(&new);
    accept(store, first.clone()).await;
    let starting = store.begin_start(&[(first.facts.id, 1)]).await.unwrap();
    assert_eq!(starting.services[&service].state, ServiceState::Deployed);
    assert_eq!(starting.footprints[&service].len(), 2);
    drop(starting);
    let started = start(store, &[(first.facts.id, 1)]).await;
    settle(store, &started, &[failure(FailureClass::Busy)]).await;
    let view = store.service(service).await.unwrap().unwrap();
    assert_eq!((view.state, view.last_order), (ServiceState::FailDeploy, first.facts.id));
    assert_eq!(store.footprints(service).await.unwrap().len(), 2, "still there");
    let second = decommission(&new);
    accept(store, second.clone()).await;
    let started = start(store, &[(second.facts.id, 1)]).await;
    settle(store, &started, &[]).await;
    assert!(store.service(service).await.unwrap().is_none());
    assert_eq!(
        count(&database, "SELECT (SELECT count(*) FROM footprints) + (SELECT count(*) FROM owned_nodes) + (SELECT count(*) FROM shared_nodes)")
            .await,
        0
    );
    let gaps = "SELECT count(*) FROM (SELECT FROM events WHERE entity = 'service' GROUP BY entity_id
                HAVING max(sequence) <> count(*)) AS gaps";
    assert_eq!(count(&database, gaps).await, 0);
    assert_eq!(count(&database, "SELECT count(*) FROM events WHERE entity = 'service'").await, 3);
}

#[tokio::test]
async fn progress_is_noted_without_an_end() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let [(_, deployment)] = start(store, &[(id, 1)]).await[..] else { panic!() };
    let settling = store.begin_settle(&[deployment, DeploymentId(uuid::Uuid::now_v7())]).await.unwrap();
    assert_eq!(settling.deployments.len(), 1, "what is unknown is not there");
    let since = now();
    let change = DeploymentChange {
        id: deployment,
        state: DeploymentState::InDoubt,
        sequence: 4,
        phase: "confirm".to_owned(),
        worker: "w7".to_owned(),
        devices: vec![],
        in_doubt_since: Some(since),
        confirm_by: None,
    };
    let changed = Settled { deployments: vec![change], ..Default::default() };
    settling.finish(&changed, now()).await.unwrap();
    let settling = store.begin_settle(&[deployment]).await.unwrap();
    let known = &settling.deployments[&deployment];
    assert_eq!((known.state, known.attempt, known.sequence), (DeploymentState::InDoubt, 1, 4));
    assert_eq!(known.in_doubt_since, Some(since));
    settling.finish(&Settled::default(), now()).await.unwrap();
    let view = store.order(id).await.unwrap().unwrap();
    assert_eq!(view.state, OrderState::InProgress);
    assert_eq!(view.deployments.unwrap()[0].phase.as_deref(), Some("confirm"));
}

/// Two recorders with the same report: the second waits, and then sees what the first has written.
#[tokio::test]
async fn a_report_that_comes_to_two_recorders_counts_once() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let started = start(store, &[(id, 1)]).await;
    let settling = store.begin_settle(&[started[0].1]).await.unwrap();
    let second = {
        let (store, started) = (store.clone(), started.clone());
        tokio::spawn(async move { store.begin_settle(&[started[0].1]).await })
    };
    let session = database.session().await.unwrap();
    until("the second to wait for the lock", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        session.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let at = now();
    let first = settled(&settling, &started, &[], at);
    settling.finish(&first, at).await.unwrap();
    let settling = second.await.unwrap().unwrap();
    assert_eq!(settling.deployments[&started[0].1].state, DeploymentState::Committed);
    assert_eq!(settling.orders[&id].state, OrderState::Completed);
    assert!(settling.orders[&id].service.is_some(), "the service that the first one made");
    drop(settling);
    history(store, id).await;
}

#[tokio::test]
async fn an_order_that_is_not_in_progress_is_not_ended() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let started = start(store, &[(id, 1)]).await;
    settle(store, &started, &[]).await;
    let settling = store.begin_settle(&[started[0].1]).await.unwrap();
    let again = Settled {
        orders: vec![(id, OrderState::FailedDeploy, 5, vec![failure(FailureClass::Busy)])],
        deployments: vec![DeploymentChange {
            id: started[0].1,
            state: DeploymentState::RolledBack,
            sequence: 9,
            phase: "x".to_owned(),
            worker: "w".to_owned(),
            devices: vec![],
            in_doubt_since: None,
            confirm_by: None,
        }],
        ..Default::default()
    };
    let error = settling.finish(&again, now()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    let view = store.order(id).await.unwrap().unwrap();
    assert_eq!(view.state, OrderState::Completed);
    assert_eq!(view.deployments.unwrap()[0].state, DeploymentState::Committed, "nothing of it has happened");
}

#[tokio::test]
async fn the_first_in_each_queue_of_a_freed_device_is_told_once() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2", "d3"]).await;
    let holder = accept(store, order(&["d1", "d2", "d3"])).await;
    let held = start(store, &[(holder, 1)]).await;
    let mut waiters: Vec<OrderId> = Vec::new();
    for devices in [&["d1", "d2"][..], &["d1"], &["d3"], &["d3"]] {
        let id = accept(store, order(devices)).await;
        assert!(start(store, &[(id, 1)]).await.is_empty());
        waiters.push(id);
    }
    let lease = store.lead_relay().await.unwrap().unwrap();
    let seen = lease.last_row().await.unwrap();
    settle(store, &held, &[]).await;
    let mut told = woken(&lease, seen).await;
    told.sort();
    assert_eq!(told, [(waiters[0], 1), (waiters[2], 1)]);
}

#[tokio::test]
async fn many_at_once_some_failed() {
    let database = Database::new().await;
    let store = database.store();
    let names: Vec<String> = (0..20).map(|n| format!("d{n:02}")).collect();
    add(store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut batch = Vec::new();
    for name in &names {
        batch.push((accept(store, order(&[name])).await, 1));
    }
    let started = start(store, &batch).await;
    assert_eq!(started.len(), 20);
    settle(store, &started[..10], &[]).await;
    settle(store, &started[10..], &[failure(FailureClass::Invalid)]).await;
    for (n, (id, _)) in started.iter().enumerate() {
        let wanted = if n < 10 { OrderState::Completed } else { OrderState::Invalid };
        assert_eq!(state(store, *id).await, wanted);
    }
    assert_eq!(count(&database, "SELECT count(*) FROM services").await, 10);
}
