//! Leases of device exams: never beside an order, and never for ever.

use jiff::SignedDuration;
use turnup_core::{
    id::OrderId,
    lease::{Admission, admit},
};
use turnup_store::{DueOrder, ExamLease, Store, testing::Database};
use uuid::Uuid;

use crate::support::*;

/// What becomes of orders whose time has come.
async fn admissions(store: &Store, due: &[(OrderId, i32)]) -> Vec<Admission> {
    let starting = store.begin_start(due).await.unwrap();
    let candidates: Vec<_> = starting.orders.iter().map(DueOrder::candidate).collect();
    admit(&candidates, &starting.board)
}

async fn due_messages(database: &Database, order: OrderId) -> i64 {
    count(database, &format!("SELECT count(*) FROM outbox WHERE order_id = '{order}'")).await
}

/// Tokens on record, as the next exam would get them.
async fn tokens(store: &Store, device: &str) -> Vec<String> {
    let exam = Uuid::now_v7();
    let lease = store.begin_exam(&name(device), exam, now(), in_s(60)).await.unwrap();
    store.end_exam(&name(device), exam, true, false).await.unwrap();
    taken(&lease).1.to_vec()
}

fn taken(lease: &ExamLease) -> (i64, &[String]) {
    let ExamLease::Taken { epoch, pending_tokens } = lease else { panic!("{lease:?}") };
    (*epoch, pending_tokens)
}

#[tokio::test]
async fn exam_keeps_orders_waiting_until_it_ends() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["a"]).await;
    let (exam, device) = (Uuid::now_v7(), name("a"));
    let lease = store.begin_exam(&device, exam, now(), in_s(60)).await.unwrap();
    assert_eq!(taken(&lease), (1, &[][..]));
    let other = store.begin_exam(&device, Uuid::now_v7(), now(), in_s(60)).await.unwrap();
    assert!(matches!(other, ExamLease::Examined(_)), "{other:?}");

    let order = order(&["a"]);
    let id = order.facts.id;
    accept(store, order).await;
    assert!(matches!(admissions(store, &[(id, 1)]).await[..], [Admission::Wait(_)]));
    assert!(start(store, &[(id, 1)]).await.is_empty(), "it waits");
    let view = store.order(id).await.unwrap().unwrap();
    assert!(view.waiting_for[0].is_exam, "{:?}", view.waiting_for);
    assert!(!store.end_exam(&device, Uuid::now_v7(), true, true).await.unwrap(), "of another exam");
    assert!(store.end_exam(&device, exam, true, true).await.unwrap());
    assert_eq!(admissions(store, &[(id, 1)]).await, [Admission::Start]);
    start(store, &[(id, 1)]).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    assert!(starting.pending_tokens.is_empty(), "{:?}", starting.pending_tokens);
}

#[tokio::test]
async fn exam_does_not_begin_beside_an_order() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["a", "b"]).await;
    let first = order(&["a"]);
    let second = order(&["a", "b"]);
    let (first_id, second_id) = (first.facts.id, second.facts.id);
    accept(store, first).await;
    accept(store, second).await;
    start(store, &[(first_id, 1)]).await;
    let lease = store.begin_exam(&name("a"), Uuid::now_v7(), now(), in_s(60)).await.unwrap();
    assert_eq!(lease, ExamLease::Held(first_id));
    start(store, &[(second_id, 1)]).await;
    let lease = store.begin_exam(&name("b"), Uuid::now_v7(), now(), in_s(60)).await.unwrap();
    assert_eq!(lease, ExamLease::Waiting(second_id), "b is free, and an order waits for it");
    let lease = store.begin_exam(&name("c"), Uuid::now_v7(), now(), in_s(60)).await.unwrap();
    assert_eq!(lease, ExamLease::Missing);
}

#[tokio::test]
async fn lease_of_a_lost_exam_ends_and_leaves_its_token_to_the_next() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["a"]).await;
    let (lost, device) = (Uuid::now_v7(), name("a"));
    store.begin_exam(&device, lost, now(), in_s(60)).await.unwrap();
    assert!(store.expire_exams(now(), 10).await.unwrap().is_empty(), "its time is not over");
    let order = order(&["a"]);
    let id = order.facts.id;
    accept(store, order).await;
    start(store, &[(id, 1)]).await;
    let before = due_messages(&database, id).await;
    assert_eq!(store.expire_exams(in_s(61), 10).await.unwrap(), ["a"]);
    assert_eq!(due_messages(&database, id).await, before + 1, "the order that waits is sent");
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    assert_eq!(starting.pending_tokens[&device], [lost.to_string()], "the next deployment cancels it");
}

#[tokio::test]
async fn tokens_go_as_far_as_they_were_cancelled() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["a"]).await;
    let device = name("a");
    let left = Uuid::now_v7();
    store.begin_exam(&device, left, now(), in_s(60)).await.unwrap();
    store.end_exam(&device, left, false, false).await.unwrap();
    let second = Uuid::now_v7();
    let lease = store.begin_exam(&device, second, now(), in_s(60)).await.unwrap();
    assert_eq!(taken(&lease).1, [left.to_string()]);
    store.end_exam(&device, second, true, false).await.unwrap();
    assert_eq!(tokens(store, "a").await, [left.to_string()], "its own is gone, the other is not");
    let third = Uuid::now_v7();
    store.begin_exam(&device, third, now(), in_s(60)).await.unwrap();
    store.end_exam(&device, third, false, true).await.unwrap();
    assert_eq!(tokens(store, "a").await, [third.to_string()], "only its own may be pending");
    // An expired lease is taken over, without waiting for the scheduler.
    let fourth = Uuid::now_v7();
    store.begin_exam(&device, fourth, now(), now() - SignedDuration::from_secs(1)).await.unwrap();
    let lease = store.begin_exam(&device, Uuid::now_v7(), now(), in_s(60)).await.unwrap();
    assert_eq!(taken(&lease).1, [third.to_string(), fourth.to_string()]);
}
