//! What people ask of an order.

use turnup_core::{
    failure::FailureClass,
    id::OrderId,
    lifecycle::{OrderEvent, OrderState},
};
use turnup_store::{Control, Decision, Refused, Store, Work, testing::Database};
use uuid::Uuid;

use crate::support::{
    REACH_MS, accept, add, failure, history, in_s, moved, now, order, settle, start, state,
};

fn control(event: OrderEvent) -> Control {
    Control {
        due: (event == OrderEvent::Schedule).then(|| in_s(3600)),
        event,
        why: Some("asked for".to_owned()),
        by: "anna".to_owned(),
        at: now(),
        event_id: Uuid::now_v7(),
    }
}

/// An order brought into `wanted` the way orders get there.
async fn order_in(store: &Store, wanted: OrderState, device: &str) -> OrderId {
    let mut new = order(&[device]);
    if wanted == OrderState::Requested {
        new.due = None;
    }
    let id = accept(store, new).await;
    if wanted == OrderState::Cancelled {
        store.control(id, &control(OrderEvent::Cancel), REACH_MS).await.unwrap();
    }
    let fate = match wanted {
        OrderState::Requested | OrderState::Scheduled | OrderState::Cancelled => None,
        OrderState::InProgress | OrderState::Completed => Some(vec![]),
        OrderState::Invalid => Some(vec![failure(FailureClass::Invalid)]),
        OrderState::FailedDeploy => Some(vec![failure(FailureClass::Busy)]),
    };
    if let Some(failures) = fate {
        let started = start(store, &[(id, 1)]).await;
        assert_eq!(started.len(), 1);
        if wanted != OrderState::InProgress {
            settle(store, &started, &failures).await;
        }
    }
    assert_eq!(state(store, id).await, wanted);
    id
}

#[tokio::test]
async fn every_request_in_every_state() {
    use OrderEvent as E;
    use OrderState as S;
    let database = Database::new().await;
    let store = database.store();
    for from in S::ALL {
        for event in E::ALL {
            // A device for each, so that no order is in another's way.
            let device = format!("d-{from}-{event}").replace('_', "-");
            add(store, &[&device]).await;
            let id = order_in(store, *from, &device).await;
            let before = store.order(id).await.unwrap().unwrap();
            let wanted = match (from, event) {
                (S::Requested | S::Scheduled | S::FailedDeploy, E::Schedule) => Some(S::Scheduled),
                (S::Scheduled, E::Unschedule) => Some(S::Requested),
                (S::Requested | S::Scheduled | S::FailedDeploy, E::Cancel) => Some(S::Cancelled),
                // Start, deployed and the like are nothing that people ask for.
                _ => None,
            };
            let asked = control(*event);
            let answer = store.control(id, &asked, REACH_MS).await;
            let after = store.order(id).await.unwrap().unwrap();
            match wanted {
                Some(to) => {
                    let answer = answer.unwrap();
                    assert_eq!((answer.state, after.state), (to, to));
                    assert_eq!(after.schedule_revision, before.schedule_revision + 1);
                    assert_eq!(after.scheduled_for, asked.due);
                    let last = after.history.unwrap().pop().unwrap();
                    assert_eq!((last.why.as_deref(), last.by.as_str()), (Some("asked for"), "anna"));
                    assert_eq!(after.errors.is_empty(), to != S::Cancelled || *from != S::FailedDeploy);
                }
                None => {
                    assert!(
                        matches!(&answer, Err(Refused::Illegal(state)) if state == from),
                        "{from} {event}: {answer:?}"
                    );
                    assert_eq!(after.sequence, before.sequence);
                    assert_eq!(after.schedule_revision, before.schedule_revision);
                }
            }
            history(store, id).await;
        }
    }
}

#[tokio::test]
async fn an_order_that_is_not_there() {
    let database = Database::new().await;
    let id = OrderId(Uuid::now_v7());
    let answer = database.store().control(id, &control(OrderEvent::Cancel), REACH_MS).await;
    assert!(matches!(answer, Err(Refused::NotFound(found)) if found == id));
}

#[tokio::test]
async fn a_schedule_without_a_time_and_a_cancel_with_one_are_refused() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let timeless = Control { due: None, ..control(OrderEvent::Schedule) };
    assert!(matches!(store.control(id, &timeless, REACH_MS).await, Err(Refused::Illegal(_))));
    let timed = Control { due: Some(now()), ..control(OrderEvent::Cancel) };
    assert!(matches!(store.control(id, &timed, REACH_MS).await, Err(Refused::Illegal(_))));
    assert_eq!(state(store, id).await, OrderState::Scheduled);
}

#[tokio::test]
async fn a_new_time_makes_the_old_message_void() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let view = store
        .control(id, &Control { due: Some(now()), ..control(OrderEvent::Schedule) }, REACH_MS)
        .await
        .unwrap();
    assert_eq!(view.schedule_revision, 2);
    let lease = store.lead_relay().await.unwrap().unwrap();
    let revisions: Vec<i32> = lease
        .take(0, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|row| match row.work {
            Work::Due(due) => due.revision,
            Work::Deployment { .. } => panic!(),
        })
        .collect();
    assert_eq!(revisions, [1, 2]);
    assert!(start(store, &[(id, 1)]).await.is_empty());
    assert_eq!(start(store, &[(id, 2)]).await.len(), 1);
}

#[tokio::test]
async fn whoever_waited_behind_a_withdrawn_order_is_told() {
    for event in [OrderEvent::Cancel, OrderEvent::Unschedule, OrderEvent::Schedule] {
        let database = Database::new().await;
        let store = database.store();
        add(store, &["d1", "d2"]).await;
        // `holder` has d1; `first` wants both and so blocks d2 for `second`.
        let holder = accept(store, order(&["d1"])).await;
        assert_eq!(start(store, &[(holder, 1)]).await.len(), 1);
        let first = accept(store, order(&["d1", "d2"])).await;
        assert!(start(store, &[(first, 1)]).await.is_empty());
        let second = accept(store, order(&["d2"])).await;
        assert!(start(store, &[(second, 1)]).await.is_empty(), "first come, first served");
        let third = accept(store, order(&["d1"])).await;
        assert!(start(store, &[(third, 1)]).await.is_empty());
        let waiting = store.order(second).await.unwrap().unwrap().waiting_for;
        assert_eq!(waiting.len(), 1);
        assert_eq!((waiting[0].device.as_str(), waiting[0].order), ("d2", first));
        let lease = store.lead_relay().await.unwrap().unwrap();
        let seen = lease.last_row().await.unwrap();
        store.control(first, &control(event), REACH_MS).await.unwrap();
        let woken: Vec<OrderId> = lease
            .take(seen, 10)
            .await
            .unwrap()
            .into_iter()
            .map(|row| match row.work {
                Work::Due(due) => due.order,
                Work::Deployment { .. } => panic!(),
            })
            .filter(|order| *order != first)
            .collect();
        assert_eq!(woken, [second], "{event}: d2 is free; d1, for which {third} waits, is not");
        assert_eq!(start(store, &[(second, 1)]).await.len(), 1);
        assert!(store.order(first).await.unwrap().unwrap().waiting_for.is_empty());
    }
}

#[tokio::test]
async fn a_withdrawal_races_with_a_start() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    let cancel = {
        let store = store.clone();
        tokio::spawn(async move { store.control(id, &control(OrderEvent::Cancel), REACH_MS).await })
    };
    let at = now();
    let (decisions, entries) = crate::support::decide(&starting, at);
    starting.finish(&decisions, &entries, at).await.unwrap();
    assert!(matches!(cancel.await.unwrap(), Err(Refused::Illegal(OrderState::InProgress))));
    history(store, id).await;
}

#[tokio::test]
async fn an_invalid_waiter_leaves_the_queue_and_the_next_is_told() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let holder = accept(store, order(&["d1"])).await;
    let held = start(store, &[(holder, 1)]).await;
    let first = accept(store, order(&["d1"])).await;
    let second = accept(store, order(&["d1"])).await;
    assert!(start(store, &[(first, 1), (second, 1)]).await.is_empty());
    settle(store, &held, &[]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let seen = lease.last_row().await.unwrap();
    let starting = store.begin_start(&[(first, 1)]).await.unwrap();
    assert!(starting.orders[0].ticket.is_some());
    let at = now();
    let due = &starting.orders[0];
    let entries = [
        moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at),
        moved(due, 2, OrderState::InProgress, OrderState::Invalid, at),
    ];
    let decisions = [Decision::Invalid(vec![failure(FailureClass::Invalid)])];
    starting.finish(&decisions, &entries, at).await.unwrap();
    assert_eq!(history(store, first).await.len(), 4);
    let woken = lease.take(seen, 10).await.unwrap();
    assert!(matches!(&woken[..], [row] if matches!(&row.work, Work::Due(due) if due.order == second)));
    assert_eq!(start(store, &[(second, 1)]).await.len(), 1);
}
