//! Orders that failed and are tried again by themselves.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use turnup_core::{
    failure::FailureClass,
    id::{DeploymentId, OrderId},
    lifecycle::{OrderEvent, OrderState},
    retry::RetryChanges,
};
use turnup_store::{Control, Entry, NewDefinition, Retry, RetryView, Store, StoreError, testing::Database};
use uuid::Uuid;

use crate::support::{
    REACH_MS, accept, add, count, failure, history, in_s, now, order, settle, settled, start, state, woken,
};

/// Ends a deployment as the recorder does with an order that is to be tried again at `due`.
async fn fail(
    store: &Store,
    (order, deployment): (OrderId, DeploymentId),
    due: Timestamp,
    reach_ms: i64,
) -> Result<Retry, StoreError> {
    let settling = store.begin_settle(&[deployment]).await.unwrap();
    let at = now();
    let mut settled = settled(&settling, &[(order, deployment)], &[failure(FailureClass::Busy)], at);
    let stored = &settling.orders[&order];
    let sequence = stored.sequence + 2;
    let number = stored.retry.series.retries + 2;
    let retry = Retry { order, sequence, revision: stored.retry.revision + 1, due, number, of: 3 };
    settled.entries.push(Entry {
        event: stored.facts.event(Uuid::now_v7(), sequence, OrderState::Scheduled, at, json!({})),
        change: Some((Some(OrderState::FailedDeploy), OrderState::Scheduled)),
        why: None,
        by: "recorder".to_owned(),
    });
    settled.retries.push(retry);
    settled.reach_ms = reach_ms;
    settling.finish(&settled, at).await.map(|()| retry)
}

/// An order that waits for its second attempt, due now.
async fn failed_once(store: &Store) -> (OrderId, Retry) {
    let id = accept(store, order(&["d1", "d2"])).await;
    let started = start(store, &[(id, 1)]).await;
    (id, fail(store, started[0], now(), REACH_MS).await.unwrap())
}

#[tokio::test]
async fn a_failed_order_waits_for_its_next_attempt_and_holds_nothing() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let id = accept(store, order(&["d1", "d2"])).await;
    let started = start(store, &[(id, 1)]).await;
    let seen = lease.last_row().await.unwrap();
    let due = in_s(30);
    let retry = fail(store, started[0], due, REACH_MS).await.unwrap();
    assert_eq!((retry.sequence, retry.revision, retry.number), (5, 2, 2));
    let view = store.order(id).await.unwrap().unwrap();
    assert_eq!(
        (view.state, view.scheduled_for, view.schedule_revision),
        (OrderState::Scheduled, Some(due), 2)
    );
    assert_eq!(view.retry, Some(RetryView { attempt: 2, of: 3, at: Some(due) }));
    assert_eq!(view.errors, [failure(FailureClass::Busy)], "why it is tried again");
    assert_eq!(woken(&lease, seen).await, [(id, 2)], "on its way to the ladder at once");
    assert_eq!(
        history(store, id).await[2..],
        [OrderState::InProgress, OrderState::FailedDeploy, OrderState::Scheduled]
    );
    let next = accept(store, order(&["d1"])).await;
    let between = start(store, &[(next, 1)]).await;
    assert_eq!(between.len(), 1, "its devices are free meanwhile");
    settle(store, &between, &[]).await;
    assert!(start(store, &[(id, 1)]).await.is_empty(), "what is left of the first attempt does nothing");
}

#[tokio::test]
async fn the_next_attempt_is_a_start_like_any_other_of_the_same_series() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let (id, retry) = failed_once(store).await;
    let began = store.order(id).await.unwrap().unwrap().history.unwrap()[2].at;
    let again = start(store, &[(id, retry.revision)]).await;
    let view = store.order(id).await.unwrap().unwrap();
    assert_eq!((view.state, view.generation), (OrderState::InProgress, 2));
    assert_eq!(view.retry, Some(RetryView { attempt: 2, of: 3, at: None }));
    assert!(view.errors.is_empty());
    let settling = store.begin_settle(&[again[0].1]).await.unwrap();
    let series = settling.orders[&id].retry.series;
    assert_eq!((series.retries, series.generation), (1, 2));
    assert_eq!(series.began, Some(began), "the first attempt's");
    drop(settling);
    settle(store, &again, &[]).await;
    let view = store.order(id).await.unwrap().unwrap();
    assert_eq!(view.state, OrderState::Completed);
    assert_eq!(view.retry, Some(RetryView { attempt: 2, of: 3, at: None }));
    assert_eq!(history(store, id).await.len(), 7);
    assert_eq!(count(&database, "SELECT count(*) FROM services").await, 1);
}

#[tokio::test]
async fn whoever_gives_a_time_begins_a_new_series() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    for (event, wanted) in [
        (OrderEvent::Schedule, OrderState::Scheduled),
        (OrderEvent::Unschedule, OrderState::Requested),
        (OrderEvent::Cancel, OrderState::Cancelled),
    ] {
        let (id, retry) = failed_once(store).await;
        let due = (event == OrderEvent::Schedule).then(now);
        let (by, at) = ("anna".to_owned(), now());
        let asked = Control { event, due, why: None, by, at, event_id: Uuid::now_v7() };
        let view = store.control(id, &asked, REACH_MS).await.unwrap();
        assert_eq!((view.state, view.schedule_revision), (wanted, 3), "{event}");
        assert_eq!(view.retry.is_some(), event == OrderEvent::Cancel, "{event}: {:?}", view.retry);
        assert!(start(store, &[(id, retry.revision)]).await.is_empty(), "{event}: the attempt is no more");
        if event == OrderEvent::Schedule {
            let again = start(store, &[(id, 3)]).await;
            let settling = store.begin_settle(&[again[0].1]).await.unwrap();
            let series = settling.orders[&id].retry.series;
            assert_eq!((series.retries, series.generation), (0, 2));
            assert!(series.began >= Some(at), "it begins anew");
            drop(settling);
            settle(store, &again, &[failure(FailureClass::Busy)]).await;
        }
        history(store, id).await;
    }
}

#[tokio::test]
async fn further_ahead_than_the_ladder_it_waits_in_the_outbox() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let started = start(store, &[(id, 1)]).await;
    let due = in_s(600);
    fail(store, started[0], due, 60_000).await.unwrap();
    let waits = database
        .session()
        .await
        .unwrap()
        .query_one("SELECT not_before FROM outbox WHERE order_id = $1 AND revision = 2", &[&id.0])
        .await
        .unwrap();
    assert_eq!(waits.get::<_, Timestamp>(0), due - SignedDuration::from_secs(60));
}

#[tokio::test]
async fn only_an_order_that_has_just_failed_is_tried_again() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let started = start(store, &[(id, 1)]).await;
    let settling = store.begin_settle(&[started[0].1]).await.unwrap();
    let mut done = settled(&settling, &started, &[], now());
    done.retries.push(Retry { order: id, sequence: 5, revision: 2, due: now(), number: 2, of: 3 });
    let error = settling.finish(&done, now()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(state(store, id).await, OrderState::InProgress, "nothing of it has happened");
}

#[tokio::test]
async fn a_recorder_reads_what_the_orders_definition_says() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let retry = RetryChanges { attempts: Some(7), total_ms: Some(60_000), ..RetryChanges::default() };
    let definition = |version, retry| NewDefinition {
        name: "eline".to_owned(),
        version,
        title: "a line".to_owned(),
        files: json!({"definition.yaml": ""}),
        digest: [1; 32],
        retry,
    };
    let versions = [definition(1, RetryChanges::default()), definition(2, retry)];
    store.publish(&versions, "anna", now()).await.unwrap();
    // The third was published nowhere.
    for (version, wanted) in [(1, RetryChanges::default()), (2, retry), (3, RetryChanges::default())] {
        let mut new = order(&["d1"]);
        new.definition_version = version;
        let id = accept(store, new).await;
        let started = start(store, &[(id, 1)]).await;
        let settling = store.begin_settle(&[started[0].1]).await.unwrap();
        assert_eq!(settling.orders[&id].retry.changes, wanted, "version {version}");
        assert_eq!(settling.orders[&id].retry.revision, 1);
        drop(settling);
        settle(store, &started, &[]).await;
    }
}
