//! Values of pools with many writers at once: never given twice, never lost, all free at the end.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use turnup_core::{
    failure::FailureClass,
    id::{OrderId, ServiceId},
    lifecycle::{OrderEvent, OrderState},
    order::OrderKind,
};
use turnup_store::{Accepted, Control, NewOrder, Refused, Store, testing::Database};
use uuid::Uuid;

use crate::{
    resources::{claiming, vlan},
    support::{REACH_MS, add, count, failure, now, order, settle, start, state, with_entries},
};

const SCOPES: usize = 3;
const NUMBERS: i64 = 25;
const WRITERS: usize = 8;
const ROUNDS: usize = 60;

/// Rows that no unfinished order and no service needs, values that two services have, and needed values
/// without a row.
const WRONG: &str = "
    SELECT (SELECT count(*) FROM resources CROSS JOIN unnest(orders) AS claim
            WHERE NOT EXISTS (SELECT FROM orders WHERE id = claim AND state NOT IN ('completed', 'invalid', 'cancelled'))
              AND NOT EXISTS (SELECT FROM services WHERE services.wanted_by = claim))
         + (SELECT count(*) FROM (
                SELECT key->>'pool', key->>'scope', key->>'value'
                FROM order_requests JOIN orders ON orders.id = order_requests.id
                CROSS JOIN json_array_elements(options->'resources') AS key
                WHERE state NOT IN ('completed', 'invalid', 'cancelled')
                   OR EXISTS (SELECT FROM services WHERE wanted_by = orders.id)
                GROUP BY 1, 2, 3 HAVING count(DISTINCT orders.service_id) > 1) AS twice)
         + (SELECT count(*) FROM order_requests JOIN orders ON orders.id = order_requests.id
            CROSS JOIN json_array_elements(options->'resources') AS key
            WHERE (state NOT IN ('completed', 'invalid', 'cancelled')
                   OR EXISTS (SELECT FROM services WHERE wanted_by = orders.id))
              AND NOT EXISTS (SELECT FROM resources WHERE pool = key->>'pool' AND scope = key->>'scope'
                              AND value = key->>'value' AND orders.id = ANY (resources.orders)
                              AND resources.service_id = orders.service_id))";

type Live = Arc<Mutex<HashMap<ServiceId, Vec<OrderId>>>>;

fn random_order(random: &mut StdRng, live: &Live, device: &str) -> NewOrder {
    let scope = |random: &mut StdRng| format!("s{}", random.random_range(0..SCOPES));
    let claims = (0..random.random_range(1..4))
        .map(|_| {
            let scope = scope(random);
            let given = random.random_bool(0.4).then(|| json!(random.random_range(1..=NUMBERS)));
            vlan(&scope, 1, NUMBERS, given)
        })
        .collect();
    let mut new = claiming(claims);
    new.devices = vec![device.to_owned()];
    let known: Vec<ServiceId> = live.lock().unwrap().keys().copied().collect();
    if !known.is_empty() && random.random_bool(0.5) {
        new.facts.kind = OrderKind::Modify;
        new.facts.service_id = known[random.random_range(0..known.len())];
    }
    if random.random_bool(0.2) {
        new.facts.external_id = Some(format!("E{}", random.random_range(0..20)));
    }
    with_entries(new)
}

async fn cancel(store: &Store, id: OrderId) {
    let control = Control {
        event: OrderEvent::Cancel,
        due: None,
        why: None,
        by: "anna".to_owned(),
        at: now(),
        event_id: Uuid::now_v7(),
    };
    match store.control(id, &control, REACH_MS).await {
        Ok(_) | Err(Refused::Illegal(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn run_one(store: &Store, random: &mut StdRng, id: OrderId) {
    let started = start(store, &[(id, 1)]).await;
    let end = match random.random_range(0..4) {
        0 => vec![failure(FailureClass::Invalid)],
        1 => vec![failure(FailureClass::Busy)],
        _ => vec![],
    };
    if started.is_empty() {
        // It would be in the way of all who come later.
        return cancel(store, id).await;
    }
    settle(store, &started, &end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_twice_never_lost_and_all_free_at_the_end() {
    let database = Arc::new(Database::new().await);
    let store = database.store();
    let devices: Vec<String> = (0..WRITERS).map(|n| format!("d{n}")).collect();
    add(store, &devices.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let live: Live = Live::default();
    let (created, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, live) = (store.clone(), Arc::clone(&live));
            let (created, refused) = (Arc::clone(&created), Arc::clone(&refused));
            let (device, database) = (devices[writer].clone(), Arc::clone(&database));
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(seed.wrapping_add(writer as u64));
                for round in 0..ROUNDS {
                    if round % 10 == writer {
                        assert_eq!(count(&database, WRONG).await, 0, "in whatever moment");
                    }
                    let count = random.random_range(1..5);
                    let batch: Vec<NewOrder> =
                        (0..count).map(|_| random_order(&mut random, &live, &device)).collect();
                    let answers = store.accept(&batch, REACH_MS).await.unwrap();
                    let mut mine = Vec::new();
                    for (new, answer) in batch.iter().zip(answers) {
                        match answer {
                            Accepted::Created(filled) => {
                                assert!(!filled.resources.is_empty());
                                created.fetch_add(1, Ordering::Relaxed);
                                live.lock()
                                    .unwrap()
                                    .entry(new.facts.service_id)
                                    .or_default()
                                    .push(new.facts.id);
                                mine.push(new.facts.id);
                            }
                            Accepted::Known(_)
                            | Accepted::KeyReused(_)
                            | Accepted::Correctable(_)
                            | Accepted::NotCorrectable(..) => {}
                            Accepted::ResourceTaken(clashes) => {
                                assert!(clashes.iter().all(|clash| clash.service != new.facts.service_id));
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                            Accepted::PoolExhausted(_) => {
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                            Accepted::Busy(_) => panic!("nobody has asked for that"),
                        }
                    }
                    for id in mine {
                        match random.random_range(0..4) {
                            0 => cancel(&store, id).await,
                            1 => {}
                            _ => run_one(&store, &mut random, id).await,
                        }
                    }
                    let victim = {
                        let live = live.lock().unwrap();
                        let orders: Vec<OrderId> = live.values().flatten().copied().collect();
                        orders.get(random.random_range(0..orders.len().max(1))).copied()
                    };
                    if let Some(id) = victim {
                        cancel(&store, id).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (created, refused) = (created.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    assert!(created > WRITERS * ROUNDS / 4 && refused > 20, "{created} created, {refused} refused");
    assert_eq!(count(&database, WRONG).await, 0);
    // Everything ends.
    let all: Vec<OrderId> = live.lock().unwrap().values().flatten().copied().collect();
    for id in all {
        cancel(store, id).await;
        assert!(state(store, id).await != OrderState::InProgress);
    }
    assert_eq!(count(&database, WRONG).await, 0);
    let services: Vec<ServiceId> = live.lock().unwrap().keys().copied().collect();
    for service in services {
        if store.service(service).await.unwrap().is_none() {
            continue;
        }
        let mut end = order(&["d0"]);
        end.facts.kind = OrderKind::Decommission;
        end.facts.service_id = service;
        let id = crate::support::accept(store, end).await;
        let started = start(store, &[(id, 1)]).await;
        assert_eq!(started.len(), 1);
        settle(store, &started, &[]).await;
    }
    assert_eq!(count(&database, "SELECT count(*) FROM services").await, 0);
    assert_eq!(count(&database, "SELECT count(*) FROM resources").await, 0);
    let session = database.session().await.unwrap();
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(session.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
}
