//! The backstop: finds what has not moved, and nothing else.

use jiff::{SignedDuration, Timestamp};
use turnup_core::{
    id::OrderId,
    lifecycle::{DeploymentState, OrderEvent},
};
use turnup_store::{Control, DeploymentChange, RelayLease, Settled, Swept, Work, testing::Database};
use uuid::Uuid;

use crate::support::{REACH_MS, accept, add, in_s, now, order, settle, start, with_entries, woken};

async fn drain(lease: &RelayLease) -> i64 {
    let rows = lease.take(0, 10_000).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    lease.done(&ids).await.unwrap();
    ids.last().copied().unwrap_or_default()
}

fn only_orders(orders: u64) -> Swept {
    Swept { orders, ..Swept::default() }
}

#[tokio::test]
async fn an_overdue_order_is_sent_again_once_in_its_span() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2", "d3"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let mut overdue = order(&["d1"]);
    overdue.due = Some(in_s(-100));
    let overdue = accept(store, overdue).await;
    let started = accept(store, order(&["d2"])).await;
    start(store, &[(started, 1)]).await;
    let mut ahead = order(&["d3"]);
    ahead.due = Some(in_s(1000));
    accept(store, ahead).await;
    let sweep =
        async |overdue_s: i64| store.sweep(in_s(overdue_s), Timestamp::UNIX_EPOCH, None, 100).await.unwrap();
    assert_eq!(sweep(-30).await, Swept::default(), "its message has not left yet");
    let seen = drain(&lease).await;
    assert_eq!(sweep(-200).await, Swept::default(), "not so long overdue");
    assert_eq!(sweep(-30).await, only_orders(1));
    assert_eq!(woken(&lease, seen).await, [(overdue, 1)]);
    assert_eq!(sweep(-30).await, Swept::default(), "it is in the outbox");
    drain(&lease).await;
    assert_eq!(sweep(-30).await, Swept::default(), "and then it rests for the span");
    assert_eq!(sweep(1).await, only_orders(1), "after which it is sent again");
}

#[tokio::test]
async fn a_message_of_an_old_revision_in_the_outbox_hides_nothing() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let mut far = order(&["d1"]);
    far.due = Some(in_s(1_000_000));
    let id = far.facts.id;
    store.accept(&[with_entries(far)], 1000).await.unwrap();
    let sooner = Control {
        event: OrderEvent::Schedule,
        due: Some(in_s(-100)),
        why: None,
        by: "anna".to_owned(),
        at: now(),
        event_id: Uuid::now_v7(),
    };
    store.control(id, &sooner, REACH_MS).await.unwrap();
    // The broker loses the message.
    let seen = drain(&lease).await;
    assert_eq!(store.sweep(in_s(-30), Timestamp::UNIX_EPOCH, None, 10).await.unwrap(), only_orders(1));
    assert_eq!(woken(&lease, seen).await, [(id, 2)]);
    let seen = drain(&lease).await;
    assert_eq!(store.reconcile(now(), REACH_MS).await.unwrap(), only_orders(1));
    assert_eq!(woken(&lease, seen).await, [(id, 2)]);
}

#[tokio::test]
async fn who_is_first_in_the_queue_of_a_free_device_is_sent_again() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let mut ids = Vec::new();
    for ago in [300, 200, 100] {
        let mut new = order(&["d1"]);
        new.due = Some(in_s(-ago));
        ids.push((accept(store, new).await, 1));
    }
    let held = start(store, &ids).await;
    drain(&lease).await;
    let sweep = async || store.sweep(in_s(-30), Timestamp::UNIX_EPOCH, None, 10).await.unwrap();
    assert_eq!(sweep().await, Swept::default(), "the device is held");
    settle(store, &held, &[]).await;
    assert_eq!(sweep().await, Swept::default(), "the first was told already");
    let seen = drain(&lease).await;
    assert_eq!(sweep().await, Swept { waiting: 1, ..Swept::default() });
    assert_eq!(woken(&lease, seen).await, [ids[1]]);
    assert_eq!(sweep().await, Swept::default());
    drain(&lease).await;
    assert_eq!(sweep().await, Swept::default());
}

#[tokio::test]
async fn a_silent_deployment_is_sent_again_where_it_was_lost() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let mut started = Vec::new();
    for device in ["d1", "d2"] {
        let id = accept(store, order(&[device])).await;
        started.extend(start(store, &[(id, 1)]).await);
    }
    drain(&lease).await;
    let never = Timestamp::UNIX_EPOCH;
    let sweep = async |silent_s: i64, regions: Option<&[String]>| {
        store.sweep(never, in_s(silent_s), regions, 10).await.unwrap().deployments
    };
    assert_eq!(sweep(-60, None).await, 0);
    assert_eq!(store.silent_regions(in_s(-60)).await.unwrap(), [""; 0]);
    assert_eq!(store.silent_regions(in_s(60)).await.unwrap(), ["eu"]);
    assert_eq!(sweep(60, Some(&["us".to_owned()])).await, 0);
    let report = DeploymentChange {
        id: started[0].1,
        state: DeploymentState::Running,
        sequence: 1,
        phase: "lock".to_owned(),
        worker: "w".to_owned(),
        devices: vec![],
        in_doubt_since: None,
        confirm_by: None,
    };
    let settling = store.begin_settle(&[started[0].1]).await.unwrap();
    settling.finish(&Settled { deployments: vec![report], ..Default::default() }, in_s(120)).await.unwrap();
    assert_eq!(sweep(60, Some(&["eu".to_owned()])).await, 1, "only the one that nobody hears of");
    let rows = lease.take(0, 10).await.unwrap();
    assert!(
        matches!(&rows[..], [row] if matches!(row.work, Work::Deployment { id, .. } if id == started[1].1))
    );
    assert_eq!(sweep(60, None).await, 0, "it is in the outbox");
    drain(&lease).await;
    assert_eq!(sweep(-1, None).await, 0, "and then it rests for the span");
    settle(store, &started, &[]).await;
    assert_eq!(sweep(1000, None).await, 0, "what has ended is not sent");
}

#[tokio::test]
async fn a_row_that_somebody_works_on_is_left_to_him() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let mut new = order(&["d1"]);
    new.due = Some(in_s(-100));
    let id = accept(store, new).await;
    drain(&lease).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    assert_eq!(store.sweep(in_s(-30), Timestamp::UNIX_EPOCH, None, 10).await.unwrap(), Swept::default());
    drop(starting);
}

#[tokio::test]
async fn limits_are_kept_and_the_longest_overdue_go_first() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let mut ids: Vec<OrderId> = Vec::new();
    for ago in 1..=5 {
        let mut new = order(&["d1"]);
        new.due = Some(in_s(-100 * ago));
        ids.push(accept(store, new).await);
    }
    let seen = drain(&lease).await;
    assert_eq!(store.sweep(in_s(-30), Timestamp::UNIX_EPOCH, None, 2).await.unwrap(), only_orders(2));
    let mut sent = woken(&lease, seen).await;
    sent.sort();
    assert_eq!(sent, [(ids[3], 1), (ids[4], 1)]);
}

#[tokio::test]
async fn reconcile_sends_everything_that_is_owed() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2", "d3"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let ended = accept(store, order(&["d1"])).await;
    let ended = start(store, &[(ended, 1)]).await;
    settle(store, &ended, &[]).await;
    let running = accept(store, order(&["d1"])).await;
    let running = start(store, &[(running, 1)]).await;
    let waiting = accept(store, order(&["d1"])).await;
    start(store, &[(waiting, 1)]).await;
    let mut soon = order(&["d2"]);
    soon.due = Some(in_s(3600));
    let soon = accept(store, soon).await;
    let mut requested = order(&["d2"]);
    requested.due = None;
    accept(store, requested).await;
    let mut far = order(&["d3"]);
    far.due = Some(now() + SignedDuration::from_hours(24 * 100));
    accept(store, far).await;
    assert_eq!(store.reconcile(now(), REACH_MS).await.unwrap(), Swept::default(), "all is in the outbox");
    let seen = drain(&lease).await;
    let swept = store.reconcile(now(), REACH_MS).await.unwrap();
    assert_eq!(swept, Swept { orders: 2, waiting: 0, deployments: 1 });
    let mut sent = woken(&lease, seen).await;
    sent.sort();
    let mut wanted = [(waiting, 1), (soon, 1)];
    wanted.sort();
    assert_eq!(sent, wanted);
    let rows = lease.take(seen, 10).await.unwrap();
    let again = rows.iter().find(|row| matches!(row.work, Work::Deployment { id, .. } if id == running[0].1));
    assert!(
        again.unwrap().again,
        "a worker must ask before it does the work of a deployment that is sent again"
    );
}
