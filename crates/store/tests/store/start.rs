//! Orders whose time has come: all of their devices or none, first come first served.

use turnup_core::{failure::FailureClass, lease::InFront, lifecycle::OrderState};
use turnup_store::{Decision, StoreError, Work, testing::Database};

use crate::support::{
    accept, add, decide, deployment, failure, history, in_s, moved, name, now, order, settle, start, state,
    until, woken,
};

#[tokio::test]
async fn an_order_starts_takes_its_devices_and_is_dispatched() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let id = accept(store, order(&["d1", "d2"])).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let seen = lease.last_row().await.unwrap();
    let started = start(store, &[(id, 1)]).await;
    let view = store.order(id).await.unwrap().unwrap();
    assert_eq!((view.state, view.generation), (OrderState::InProgress, 1));
    let deployments = view.deployments.unwrap();
    assert_eq!(deployments.len(), 1);
    assert_eq!((deployments[0].id, deployments[0].attempt), (started[0].1, 1));
    let rows = lease.take(seen, 10).await.unwrap();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    match &row.work {
        Work::Deployment { id, region, message, .. } => {
            assert_eq!((*id, region.as_str()), (started[0].1, "eu"));
            let message =
                <turnup_core::message::Deployment as turnup_core::message::Body>::decode(message).unwrap();
            assert_eq!(message.devices.len(), 2);
            assert!(message.devices.iter().all(|device| device.epoch == 1));
        }
        Work::Due(_) => panic!(),
    }
    history(store, id).await;
}

#[tokio::test]
async fn the_epoch_grows_with_each_lease() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    for epoch in 0..3 {
        let id = accept(store, order(&["d1"])).await;
        let starting = store.begin_start(&[(id, 1)]).await.unwrap();
        assert_eq!(starting.epochs[&name("d1")], epoch);
        drop(starting);
        let started = start(store, &[(id, 1)]).await;
        settle(store, &started, &[]).await;
    }
}

#[tokio::test]
async fn what_is_no_longer_current_is_left_out() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let id = accept(store, order(&["d1"])).await;
    let done = accept(store, order(&["d2"])).await;
    start(store, &[(done, 1)]).await;
    let starting = store.begin_start(&[(id, 2), (id, 0), (done, 1)]).await.unwrap();
    assert!(starting.orders.is_empty());
    starting.finish(&[], &[], now()).await.unwrap();
    // Said several times in one batch, it starts once.
    let starting = store.begin_start(&[(id, 1), (id, 1), (id, 2)]).await.unwrap();
    assert_eq!(starting.orders.len(), 1);
    let at = now();
    let (decisions, entries) = decide(&starting, at);
    starting.finish(&decisions, &entries, at).await.unwrap();
    assert_eq!(start(store, &[(id, 1)]).await, []);
    history(store, id).await;
}

#[tokio::test]
async fn all_devices_or_none_and_first_come_first_served() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2", "d3"]).await;
    let mut ids = Vec::new();
    for devices in [&["d1"][..], &["d1", "d2"], &["d2", "d3"], &["d3"]] {
        ids.push(accept(store, order(devices)).await);
    }
    let batch: Vec<_> = ids.iter().map(|id| (*id, 1)).collect();
    let first = start(store, &batch).await;
    assert_eq!(first.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ids[0]]);
    let waits = async |n: usize| store.order(ids[n]).await.unwrap().unwrap().waiting_for;
    let front = |device: &str, n: usize| InFront { device: name(device), order: ids[n], is_exam: false };
    assert_eq!(waits(1).await, [front("d1", 0)]);
    assert_eq!(waits(2).await, [front("d2", 1)]);
    assert_eq!(waits(3).await, [front("d3", 2)]);
    // A newcomer for a device that is free but asked for waits as well.
    let newcomer = accept(store, order(&["d3"])).await;
    assert!(start(store, &[(newcomer, 1)]).await.is_empty());
    let lease = store.lead_relay().await.unwrap().unwrap();
    let mut ended = first;
    // Each end wakes exactly the next in line.
    for next in [ids[1], ids[2], ids[3], newcomer] {
        let seen = lease.last_row().await.unwrap();
        settle(store, &ended, &[]).await;
        let woken: Vec<_> = lease.take(seen, 10).await.unwrap();
        let woken: Vec<_> = woken
            .iter()
            .map(|row| match &row.work {
                Work::Due(due) => (due.order, due.revision),
                Work::Deployment { .. } => panic!(),
            })
            .collect();
        assert_eq!(woken, [(next, 1)]);
        ended = start(store, &woken).await;
        assert_eq!(ended.len(), 1);
    }
    settle(store, &ended, &[]).await;
    let session = database.session().await.unwrap();
    let left: i64 = session
        .query_one("SELECT (SELECT count(*) FROM lease_waits) + (SELECT count(*) FROM leases WHERE order_id IS NOT NULL)", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}

/// A message that comes twice, to two schedulers: the second one waits for the first one's locks,
/// and a ticket drawn meanwhile must not be missed.
#[tokio::test]
async fn a_ticket_drawn_while_we_waited_for_the_order_is_seen() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let holder = accept(store, order(&["d1"])).await;
    let held = start(store, &[(holder, 1)]).await;
    let waiter = accept(store, order(&["d1"])).await;
    let starting = store.begin_start(&[(waiter, 1)]).await.unwrap();
    let second = {
        let store = store.clone();
        tokio::spawn(async move { store.begin_start(&[(waiter, 1)]).await })
    };
    let session = database.session().await.unwrap();
    until("the second to wait for the lock", async || {
        let row = session
            .query_one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", &[])
            .await
            .unwrap();
        row.get::<_, i64>(0) == 1
    })
    .await;
    let at = now();
    let (decisions, entries) = decide(&starting, at);
    assert!(matches!(decisions[..], [Decision::Wait]));
    starting.finish(&decisions, &entries, at).await.unwrap();
    let starting = second.await.unwrap().unwrap();
    assert!(starting.orders[0].ticket.is_some(), "the ticket that the first one drew");
    let (decisions, entries) = decide(&starting, at);
    starting.finish(&decisions, &entries, at).await.unwrap();
    let waits: i64 = session.query_one("SELECT count(*) FROM lease_waits", &[]).await.unwrap().get(0);
    assert_eq!(waits, 1, "in the queue once");
    settle(store, &held, &[]).await;
    assert_eq!(start(store, &[(waiter, 1)]).await.len(), 1);
    let waits: i64 = session.query_one("SELECT count(*) FROM lease_waits", &[]).await.unwrap().get(0);
    assert_eq!(waits, 0, "nobody is left behind in the queue");
}

#[tokio::test]
async fn an_invalid_order_ends_without_a_deployment() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    let at = now();
    let due = &starting.orders[0];
    let entries = [
        moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at),
        moved(due, 2, OrderState::InProgress, OrderState::Invalid, at),
    ];
    let failures = vec![failure(FailureClass::Invalid)];
    starting.finish(&[Decision::Invalid(failures.clone())], &entries, at).await.unwrap();
    let view = store.order(id).await.unwrap().unwrap();
    assert_eq!((view.state, view.errors), (OrderState::Invalid, failures));
    assert_eq!(history(store, id).await.len(), 4);
    let next = accept(store, order(&["d1"])).await;
    assert_eq!(start(store, &[(next, 1)]).await.len(), 1, "the device is free");
}

#[tokio::test]
async fn an_order_on_a_device_that_nobody_added_is_refused_and_nothing_happens() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let good = accept(store, order(&["d1"])).await;
    let bad = accept(store, order(&["d9"])).await;
    let starting = store.begin_start(&[(good, 1), (bad, 1)]).await.unwrap();
    assert!(!starting.devices.contains_key(&name("d9")));
    let at = now();
    let decisions: Vec<Decision> = starting
        .orders
        .iter()
        .map(|due| {
            if due.order.id == bad {
                Decision::Start(vec![turnup_store::Start {
                    deployment: turnup_core::id::DeploymentId(uuid::Uuid::now_v7()),
                    region: "eu".to_owned(),
                    transaction: None,
                    stage: turnup_core::message::Stage::Whole,
                    priority: due.order.priority,
                    message: vec![],
                    footprints: serde_json::json!([]),
                }])
            } else {
                Decision::Start(vec![deployment(due, &starting)])
            }
        })
        .collect();
    let entries: Vec<_> = starting
        .orders
        .iter()
        .map(|due| moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at))
        .collect();
    let error = starting.finish(&decisions, &entries, at).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(state(store, good).await, OrderState::Scheduled);
    assert_eq!(start(store, &[(good, 1)]).await.len(), 1);
}

#[tokio::test]
async fn one_decision_per_order() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    assert!(starting.finish(&[], &[], now()).await.is_err());
    assert_eq!(state(store, id).await, OrderState::Scheduled);
}

#[tokio::test]
async fn who_owns_what() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let first = accept(store, order(&["d1"])).await;
    let started = start(store, &[(first, 1)]).await;
    settle(store, &started, &[]).await;
    let service = store.order(first).await.unwrap().unwrap().service_id;
    let node = format!("/interfaces/interface[name='{service}']");
    let second = accept(store, order(&["d1"])).await;
    let starting = store.begin_start(&[(second, 1)]).await.unwrap();
    let asked = [
        ("d1".to_owned(), node.clone()),
        ("d2".to_owned(), node.clone()),
        ("d1".to_owned(), "/interfaces".to_owned()),
        ("d1".to_owned(), "/other".to_owned()),
    ];
    assert_eq!(starting.owners(&asked, &[]).await.unwrap(), [("d1".to_owned(), node, service)]);
    assert_eq!(starting.owners(&[], &[]).await.unwrap(), []);
    drop(starting);
}

#[tokio::test]
async fn first_due_first_served_within_a_batch() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut late = order(&["d1"]);
    late.due = Some(in_s(-1));
    let late = accept(store, late).await;
    let mut early = order(&["d1"]);
    early.due = Some(in_s(-5));
    let early = accept(store, early).await;
    let started = start(store, &[(late, 1), (early, 1)]).await;
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].0, early);
}

/// Whoever waits for an order of the same batch that turns out Invalid is told that it is gone.
#[tokio::test]
async fn an_invalid_order_does_not_keep_those_of_its_batch_waiting() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let mut first = order(&["d1", "d2"]);
    first.due = Some(in_s(-9));
    let first = accept(store, first).await;
    let second = accept(store, order(&["d2"])).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let seen = lease.last_row().await.unwrap();
    let starting = store.begin_start(&[(first, 1), (second, 1)]).await.unwrap();
    let at = now();
    let (mut decisions, _) = decide(&starting, at);
    assert!(matches!(decisions[..], [Decision::Start(_), Decision::Wait]));
    let due = &starting.orders[0];
    let entries = [
        moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at),
        moved(due, 2, OrderState::InProgress, OrderState::Invalid, at),
    ];
    decisions[0] = Decision::Invalid(vec![failure(FailureClass::Invalid)]);
    starting.finish(&decisions, &entries, at).await.unwrap();
    assert_eq!(woken(&lease, seen).await, [(second, 1)]);
    assert_eq!(start(store, &[(second, 1)]).await.len(), 1);
}

/// The same message at two schedulers: the second waits for the first, and finds nothing to do.
#[tokio::test]
async fn an_order_that_is_being_started_is_not_started_again() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    let second = {
        let store = store.clone();
        tokio::spawn(async move { store.begin_start(&[(id, 1)]).await })
    };
    let session = database.session().await.unwrap();
    until("the second to wait for the lock", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        session.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    let at = now();
    let (decisions, entries) = decide(&starting, at);
    starting.finish(&decisions, &entries, at).await.unwrap();
    assert!(second.await.unwrap().unwrap().orders.is_empty());
}

#[tokio::test]
async fn the_first_in_line_goes_first_whoever_asks_first() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push((accept(store, order(&["d1"])).await, 1));
    }
    let held = start(store, &ids[..1]).await;
    for id in &ids[1..] {
        assert!(start(store, &[*id]).await.is_empty());
    }
    settle(store, &held, &[]).await;
    assert!(start(store, &ids[2..3]).await.is_empty(), "the one before it has asked earlier");
    assert_eq!(start(store, &ids[1..2]).await.len(), 1);
}
