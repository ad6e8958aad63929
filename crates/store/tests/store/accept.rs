//! Acceptance: once, whatever is repeated; all of it or nothing.

use std::collections::BTreeMap;

use turnup_core::{lifecycle::OrderState, order::Priority};
use turnup_store::{Accepted, EventFilter, NewOrder, OrderFilter, testing::Database};

use crate::support::{REACH_MS, accept, add, count, history, in_s, order, until, with_entries};

fn keyed(key: Option<&str>, external_id: Option<&str>, digest: u8) -> NewOrder {
    let mut order = order(&["d1"]);
    order.idempotency_key = key.map(str::to_owned);
    order.facts.external_id = external_id.map(str::to_owned);
    order.digest = [digest; 32];
    with_entries(order)
}

#[tokio::test]
async fn an_order_is_stored_as_given() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let mut new = order(&["d2", "d1"]);
    new.facts.external_id = Some("CRM-7".to_owned());
    new.description = Some("a → b".to_owned());
    new.priority = Priority::Urgent;
    let new = with_entries(new);
    let answers = store.accept(std::slice::from_ref(&new), REACH_MS).await.unwrap();
    let [Accepted::Created(filled)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((&filled.attributes, &filled.endpoints), (&new.attributes, &new.endpoints));
    let stored = store.order(new.facts.id).await.unwrap().unwrap();
    assert_eq!(stored.facts(), new.facts);
    assert_eq!(stored.state, OrderState::Scheduled);
    assert_eq!((stored.schedule_revision, stored.generation, stored.sequence), (1, 0, 2));
    assert_eq!(stored.scheduled_for, new.due);
    assert_eq!(stored.created_at, new.at);
    assert_eq!(stored.devices, ["d1", "d2"]);
    assert_eq!(stored.endpoints, new.endpoints);
    assert_eq!(stored.attributes, serde_json::Value::Object(new.attributes));
    assert_eq!(stored.description, new.description);
    assert_eq!(stored.priority, Priority::Urgent);
    assert_eq!(stored.actions, ["schedule", "unschedule", "cancel"]);
    assert_eq!(history(store, new.facts.id).await, [OrderState::Requested, OrderState::Scheduled]);
}

#[tokio::test]
async fn without_a_time_it_stays_requested_and_nothing_is_sent() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut new = order(&["d1"]);
    new.due = None;
    let id = accept(store, new).await;
    let stored = store.order(id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.schedule_revision, stored.sequence), (OrderState::Requested, 0, 1));
    let lease = store.lead_relay().await.unwrap().unwrap();
    assert!(lease.take(0, 10).await.unwrap().is_empty());
    assert_eq!(history(store, id).await, [OrderState::Requested]);
}

#[tokio::test]
async fn duplicates_within_one_batch() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let batch = [
        keyed(Some("k1"), None, 1),
        keyed(Some("k1"), None, 1),
        keyed(Some("k1"), None, 2),
        keyed(None, None, 1),
        keyed(None, None, 1),
        keyed(Some("k2"), Some("e2"), 1),
        keyed(Some("k3"), Some("e2"), 1),
        keyed(Some("k4"), Some("e2"), 9),
    ];
    let answers = store.accept(&batch, REACH_MS).await.unwrap();
    let winner = |group: &[usize]| {
        let created: Vec<usize> = group.iter().copied().filter(|i| answers[*i].is_created()).collect();
        assert_eq!(created.len(), 1, "one of {group:?} in {answers:?}");
        created[0]
    };
    for group in [&[0, 1, 2][..], &[5, 6, 7]] {
        let first = winner(group);
        let id = batch[first].facts.id;
        for i in group.iter().filter(|i| **i != first) {
            let same = batch[*i].digest == batch[first].digest;
            let wanted = if same { Accepted::Known(id) } else { Accepted::KeyReused(id) };
            assert_eq!(answers[*i], wanted);
        }
    }
    assert!(answers[3..5].iter().all(Accepted::is_created), "without a key nothing is repeated");
    let stored = store.orders(&OrderFilter { limit: 100, ..Default::default() }).await.unwrap().items;
    assert_eq!(stored.len(), 4);
    for order in stored {
        history(store, order.id).await;
    }
    let lease = store.lead_relay().await.unwrap().unwrap();
    assert_eq!(lease.take(0, 100).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_key_belongs_to_its_requester_and_goes_before_an_external_id() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let one = keyed(Some("k1"), Some("e1"), 1);
    let two = keyed(Some("k2"), Some("e2"), 2);
    let answers = store.accept(&[one.clone(), two.clone()], REACH_MS).await.unwrap();
    assert!(answers.iter().all(Accepted::is_created), "{answers:?}");
    let mut other = keyed(Some("k1"), Some("e1"), 1);
    other.facts.requester = "portal".to_owned();
    assert!(store.accept(&[other], REACH_MS).await.unwrap()[0].is_created());
    let answers = store
        .accept(
            &[
                keyed(Some("k1"), Some("e2"), 1),
                keyed(Some("k1"), Some("e2"), 2),
                keyed(None, Some("e2"), 2),
                keyed(Some("k9"), Some("e1"), 7),
            ],
            REACH_MS,
        )
        .await
        .unwrap();
    let (one, two) = (one.facts.id, two.facts.id);
    assert_eq!(
        answers,
        [Accepted::Known(one), Accepted::KeyReused(one), Accepted::Known(two), Accepted::KeyReused(one)]
    );
    let known = async |requester: &str, key: Option<&str>, external_id: &str, digest: u8| {
        store.known(requester, key, Some(external_id), [digest; 32]).await.unwrap()
    };
    assert_eq!(known("crm", Some("k1"), "e2", 1).await, Some(Accepted::Known(one)));
    assert_eq!(known("crm", None, "e2", 2).await, Some(Accepted::Known(two)));
    assert_eq!(known("crm", None, "e2", 3).await, Some(Accepted::KeyReused(two)));
    assert_eq!(known("nobody", Some("k1"), "e1", 1).await, None);
}

#[tokio::test]
async fn given_again_after_an_error_it_is_the_same_order() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    for new in [keyed(None, None, 1), keyed(Some("k"), Some("e"), 1)] {
        for _ in 0..2 {
            let answer = store.accept(std::slice::from_ref(&new), REACH_MS).await.unwrap();
            assert!(answer[0].is_created(), "{answer:?}");
        }
        assert_eq!(history(store, new.facts.id).await.len(), 2, "written once");
    }
}

#[tokio::test]
async fn fifty_tasks_with_the_same_keys() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    // Each the same ten requests, in an order of its own: no deadlock, and each accepted once.
    let tasks: Vec<_> = (0..50_usize)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut batch: Vec<NewOrder> =
                    (0..10).map(|n| keyed(Some(&format!("k{n}")), Some(&format!("e{n}")), 1)).collect();
                batch.rotate_left(task % 10);
                if task % 2 == 0 {
                    batch.reverse();
                }
                let answers = store.accept(&batch, REACH_MS).await.unwrap();
                batch
                    .iter()
                    .zip(answers)
                    .map(|(order, answer)| (order.idempotency_key.clone().unwrap(), order.facts.id, answer))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let (mut created, mut known) = (BTreeMap::new(), Vec::new());
    for task in tasks {
        for (key, id, answer) in task.await.unwrap() {
            match answer {
                Accepted::Created(_) => assert_eq!(created.insert(key, id), None, "created once"),
                Accepted::Known(id) => known.push((key, id)),
                other => panic!("the same request: {other:?}"),
            }
        }
    }
    assert_eq!((created.len(), known.len()), (10, 490));
    assert!(known.iter().all(|(key, id)| created[key] == *id));
    for id in created.into_values() {
        history(store, id).await;
    }
}

/// Two batches of the same orders, one the reverse of the other, stopped half-way and let go: they
/// wait for each other, never in a circle.
#[tokio::test]
async fn the_same_orders_in_another_order_do_not_deadlock() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let batch = || -> Vec<NewOrder> {
        (0..9).map(|n| keyed(Some(&format!("k{n}")), Some(&format!("e{n}")), 1)).collect()
    };
    let mut session = database.session().await.unwrap();
    let block = session.transaction().await.unwrap();
    block
        .batch_execute(
            "INSERT INTO order_requests VALUES (gen_random_uuid(), 'x', 1, gen_random_uuid(), 'eu', '{}', '[]', '{d1}',
             'normal', 'e4', NULL, 'crm', 'k4', sha256('x'), NULL, now())",
        )
        .await
        .unwrap();
    let mut reversed = batch();
    reversed.reverse();
    let tasks: Vec<_> = [batch(), reversed]
        .into_iter()
        .map(|batch| {
            let store = store.clone();
            tokio::spawn(async move { store.accept(&batch, REACH_MS).await.unwrap() })
        })
        .collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("both to wait", async || count(&database, waiting).await == 2).await;
    block.rollback().await.unwrap();
    let mut created = 0;
    for task in tasks {
        created += task.await.unwrap().iter().filter(|answer| answer.is_created()).count();
    }
    assert_eq!(created, 9);
}

#[tokio::test]
async fn far_ahead_orders_wait_in_the_outbox() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut far = order(&["d1"]);
    far.due = Some(in_s(100_000));
    let far_id = accept(store, far).await;
    let mut near = order(&["d1"]);
    near.due = Some(in_s(REACH_MS / 1000 - 60));
    let near_id = accept(store, near).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    // With a short reach the first one would be far ahead.
    let mut short = order(&["d1"]);
    short.due = Some(in_s(60));
    let short_id = short.facts.id;
    store.accept(&[with_entries(short)], 10_000).await.unwrap();
    let orders = |rows: Vec<turnup_store::OutboxRow>| -> Vec<_> {
        rows.into_iter()
            .map(|row| match row.work {
                turnup_store::Work::Due(due) => (due.order, due.revision),
                turnup_store::Work::Deployment { .. } => panic!("no deployment"),
            })
            .collect()
    };
    assert_eq!(orders(lease.take(0, 10).await.unwrap()), [(far_id, 1), (near_id, 1)]);
    assert_eq!(lease.release_later(in_s(49), 10).await.unwrap(), 0, "10 s before its time, not before");
    assert_eq!(lease.release_later(in_s(51), 10).await.unwrap(), 1);
    assert_eq!(orders(lease.take(0, 10).await.unwrap()), [(far_id, 1), (near_id, 1), (short_id, 1)]);
    assert_eq!(lease.release_later(in_s(51), 10).await.unwrap(), 0);
}

#[tokio::test]
async fn a_batch_that_is_refused_leaves_nothing() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let good = keyed(Some("k1"), None, 1);
    let mut bad = keyed(Some("k2"), None, 1);
    bad.entries[1].change = Some((Some(OrderState::Completed), OrderState::Scheduled));
    let error = store.accept(&[good, bad], REACH_MS).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    let mut without = order(&["d1"]);
    without.devices.clear();
    assert!(store.accept(&[with_entries(without)], REACH_MS).await.is_err(), "an order without devices");
    assert!(store.orders(&OrderFilter { limit: 10, ..Default::default() }).await.unwrap().items.is_empty());
    let lease = store.lead_relay().await.unwrap().unwrap();
    assert!(lease.take(0, 10).await.unwrap().is_empty());
    while lease.number_events(100).await.unwrap() > 0 {}
    let events = store.events(&EventFilter { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(events.len(), 1, "only that of the device");
}

#[tokio::test]
async fn lists_filter_and_page() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let mut ids = Vec::new();
    for n in 0..7 {
        let mut new = order(if n % 2 == 0 { &["d1"] } else { &["d1", "d2"] });
        new.facts.external_id = Some(format!("e{n}"));
        if n == 3 {
            new.facts.region = "us".to_owned();
            new.facts.definition = "interface".to_owned();
            new.due = None;
        }
        ids.push(accept(store, new).await);
    }
    ids.reverse();
    let list = async |filter: OrderFilter| {
        let page = store.orders(&filter).await.unwrap();
        (page.items.iter().map(|order| order.id).collect::<Vec<_>>(), page.next_cursor)
    };
    let all = OrderFilter { limit: 100, ..Default::default() };
    assert_eq!(list(all.clone()).await, (ids.clone(), None), "newest first");
    let (first, cursor) = list(OrderFilter { limit: 3, ..Default::default() }).await;
    assert_eq!(first, ids[..3]);
    let before = Some(cursor.unwrap().parse().unwrap());
    let (second, cursor) = list(OrderFilter { limit: 4, before, ..Default::default() }).await;
    assert_eq!((&second[..], cursor), (&ids[3..], None));
    let third = vec![ids[3]];
    for filter in [
        OrderFilter { states: vec![OrderState::Requested, OrderState::Completed], ..all.clone() },
        OrderFilter { region: Some("us".to_owned()), ..all.clone() },
        OrderFilter { definition: Some("interface".to_owned()), ..all.clone() },
        OrderFilter { external_id: Some("e3".to_owned()), ..all.clone() },
    ] {
        assert_eq!(list(filter.clone()).await.0, third, "{filter:?}");
    }
    assert_eq!(list(OrderFilter { device: Some("d2".to_owned()), ..all.clone() }).await.0.len(), 3);
    assert_eq!(list(OrderFilter { device: Some("d3".to_owned()), ..all.clone() }).await.0.len(), 0);
    assert_eq!(list(OrderFilter { created_before: Some(in_s(-60)), ..all.clone() }).await.0.len(), 0);
    assert_eq!(list(OrderFilter { created_after: Some(in_s(-60)), ..all.clone() }).await.0.len(), 7);
    let service = store.order(third[0]).await.unwrap().unwrap().service_id;
    assert_eq!(list(OrderFilter { service_id: Some(service), ..all }).await.0, third);
    assert_eq!(store.order_counts().await.unwrap(), [(OrderState::Requested, 1), (OrderState::Scheduled, 6)]);
}
