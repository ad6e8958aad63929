//! Values of pools: whoever takes one has it alone, for as long as it is needed.

use serde_json::{Value, json};
use turnup_core::{
    failure::FailureClass,
    id::{OrderId, ServiceId},
    lifecycle::{OrderEvent, OrderState},
    order::{IfBusy, OrderKind},
    resource::{Place, Pool, PoolScope, ResourceClaim, ResourceKey},
};
use turnup_store::{
    Accepted, Control, Decision, Filled, NewOrder, ResourceFilter, ResourceRow, Store, testing::Database,
};
use uuid::Uuid;

use crate::support::{
    REACH_MS, accept, add, count, failure, moved, now, order, settle, start, state, with_entries,
};

pub(crate) fn pool(from: i64, to: i64, format: Option<&str>) -> Pool {
    Pool { title: String::new(), scope: PoolScope::Device, from, to, format: format.map(str::to_owned) }
}

/// A claim on `vlan` of the first endpoint.
pub(crate) fn vlan(scope: &str, from: i64, to: i64, given: Option<Value>) -> ResourceClaim {
    ResourceClaim {
        name: "vlan".to_owned(),
        pool: pool(from, to, None),
        scope: scope.to_owned(),
        place: Place { endpoint: Some(0), attribute: "vlan".to_owned() },
        given,
    }
}

fn vc(given: Option<Value>) -> ResourceClaim {
    ResourceClaim {
        name: "rd".to_owned(),
        pool: pool(1, 1_000_000, Some("65000:{}")),
        scope: String::new(),
        place: Place { endpoint: None, attribute: "rd".to_owned() },
        given,
    }
}

pub(crate) fn claiming(claims: Vec<ResourceClaim>) -> NewOrder {
    let mut new = order(&["d1"]);
    for claim in &claims {
        if let Some(value) = &claim.given {
            claim.place.put(&mut new.attributes, &mut new.endpoints, value.clone());
        }
    }
    new.claims = claims;
    with_entries(new)
}

fn of_service(mut new: NewOrder, kind: OrderKind, service: ServiceId) -> NewOrder {
    new.facts.kind = kind;
    new.facts.service_id = service;
    with_entries(new)
}

fn filled(answer: &Accepted) -> &Filled {
    match answer {
        Accepted::Created(filled) => filled,
        other => panic!("{other:?}"),
    }
}

async fn one(store: &Store, new: NewOrder) -> Accepted {
    store.accept(&[new], REACH_MS).await.unwrap().remove(0)
}

/// All rows as `pool scope value`.
async fn taken(store: &Store) -> Vec<String> {
    let rows = store.resources(&ResourceFilter { limit: 1000, ..Default::default() }).await.unwrap().items;
    rows.iter().map(|row| format!("{} {} {}", row.pool, row.scope, row.value)).collect()
}

async fn row(store: &Store, value: &str) -> ResourceRow {
    let rows = store.resources(&ResourceFilter { limit: 1000, ..Default::default() }).await.unwrap().items;
    rows.into_iter().find(|row| row.value == value).unwrap()
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
    store.control(id, &control, REACH_MS).await.unwrap();
}

#[tokio::test]
async fn what_is_left_out_is_picked_and_stored_with_the_order() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut batch = vec![claiming(vec![vlan("d1/p1", 100, 4000, Some(json!(101)))])];
    batch.extend((0..3).map(|_| claiming(vec![vlan("d1/p1", 100, 4000, None), vc(None)])));
    let answers = store.accept(&batch, REACH_MS).await.unwrap();
    let vlans: Vec<&Value> =
        answers.iter().map(|answer| &filled(answer).endpoints[0].attributes["vlan"]).collect();
    // 101 is given by hand in the same batch.
    assert_eq!(vlans, [101, 100, 102, 103]);
    let rds: Vec<&Value> = answers[1..].iter().map(|answer| &filled(answer).attributes["rd"]).collect();
    assert_eq!(rds, ["65000:1", "65000:2", "65000:3"]);
    for (new, answer) in batch.iter().zip(&answers) {
        let stored = store.order(new.facts.id).await.unwrap().unwrap();
        let filled = filled(answer);
        assert_eq!(stored.attributes, Value::Object(filled.attributes.clone()));
        assert_eq!(stored.endpoints, filled.endpoints);
        assert_eq!(stored.options.resources, filled.resources);
    }
    let key = |pool: &str, scope: &str, value: &str| ResourceKey {
        pool: pool.to_owned(),
        scope: scope.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(filled(&answers[1]).resources, [key("vlan", "d1/p1", "100"), key("rd", "", "65000:1")]);
    let shown = serde_json::to_value(store.order(batch[0].facts.id).await.unwrap().unwrap()).unwrap();
    assert_eq!(shown["resources"], json!([{"pool": "vlan", "scope": "d1/p1", "value": "101"}]));
    // Elsewhere the same number is another thing; here the next one follows.
    assert_eq!(
        filled(&one(store, claiming(vec![vlan("d1/p2", 100, 4000, None)])).await).endpoints[0].attributes["vlan"],
        100
    );
    assert_eq!(
        filled(&one(store, claiming(vec![vlan("d1/p1", 100, 4000, None)])).await).endpoints[0].attributes["vlan"],
        104
    );
    let pools = store.pools_in_use().await.unwrap();
    let pools: Vec<_> = pools.iter().map(|p| (p.pool.as_str(), p.scope.as_str(), p.taken)).collect();
    assert_eq!(pools, [("rd", "", 3), ("vlan", "d1/p1", 5), ("vlan", "d1/p2", 1)]);
}

#[tokio::test]
async fn what_belongs_to_another_service_is_refused_with_all_clashes_and_no_trace() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let first = claiming(vec![vlan("d1", 1, 9, Some(json!(7))), vc(Some(json!("65000:7")))]);
    assert!(one(store, first.clone()).await.is_created());
    let before = taken(store).await;
    let mut clashing = claiming(vec![
        vlan("d1", 1, 9, Some(json!("7"))),
        vc(Some(json!("65000:7"))),
        vlan("d2", 1, 9, Some(json!(3))),
    ]);
    clashing.facts.external_id = Some("E1".to_owned());
    let other = claiming(vec![vlan("d2", 1, 9, Some(json!(3)))]);
    let answers = store.accept(&[clashing.clone(), other.clone()], REACH_MS).await.unwrap();
    let Accepted::ResourceTaken(clashes) = &answers[0] else { panic!("{answers:?}") };
    let found: Vec<_> = clashes.iter().map(|c| (c.pointer.as_str(), c.value.as_str(), c.service)).collect();
    let service = first.facts.service_id;
    assert_eq!(
        found,
        [("/endpoints/0/attributes/vlan", "7", service), ("/attributes/rd", "65000:7", service)]
    );
    assert_eq!(clashes[0].orders, [first.facts.id]);
    assert!(answers[1].is_created(), "what the refused one wanted too is free for the next");
    assert!(store.order(clashing.facts.id).await.unwrap().is_none());
    assert_eq!(taken(store).await.len(), before.len() + 1);
    // The same number in another writing is the same thing.
    let other_text = one(store, claiming(vec![vlan("d1", 1, 9, Some(json!("007")))])).await;
    assert!(matches!(&other_text, Accepted::ResourceTaken(c) if c[0].service == service), "{other_text:?}");
    // Corrected, with the same external id, it is taken.
    clashing.claims.truncate(1);
    clashing.claims[0].given = Some(json!(8));
    assert!(one(store, clashing).await.is_created());
}

#[tokio::test]
async fn an_exhausted_pool_says_who_has_it_and_wraps_around() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let batch: Vec<NewOrder> = (0..5).map(|_| claiming(vec![vlan("d1", 1, 3, None)])).collect();
    let answers = store.accept(&batch, REACH_MS).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| answer.is_created()).count(), 3);
    let Accepted::PoolExhausted(exhausted) = &answers[4] else { panic!("{answers:?}") };
    assert_eq!((exhausted.from, exhausted.to, exhausted.scope.as_str()), (1, 3, "d1"));
    assert_eq!(exhausted.pointer, "/endpoints/0/attributes/vlan");
    assert_eq!(exhausted.holders.len(), 3);
    assert_eq!(exhausted.holders[0].orders, [batch[0].facts.id]);
    assert!(store.order(batch[4].facts.id).await.unwrap().is_none());
    cancel(store, batch[1].facts.id).await;
    let again = one(store, claiming(vec![vlan("d1", 1, 3, None)])).await;
    assert_eq!(filled(&again).endpoints[0].attributes["vlan"], 2);
}

#[tokio::test]
async fn what_was_given_back_is_not_picked_at_once() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let pick = async || {
        let new = claiming(vec![vlan("d1", 1, 5, None)]);
        let answer = one(store, new.clone()).await;
        (new.facts.id, filled(&answer).endpoints[0].attributes["vlan"].as_i64().unwrap())
    };
    for wanted in [1, 2, 3, 4, 5, 1] {
        let (id, picked) = pick().await;
        assert_eq!(picked, wanted);
        cancel(store, id).await;
    }
}

#[tokio::test]
async fn a_rehearsal_answers_and_leaves_no_trace() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut new = claiming(vec![vlan("d1", 1, 9, None)]);
    new.idempotency_key = Some("k".to_owned());
    for _ in 0..2 {
        let answer = store.rehearse(&new).await.unwrap().unwrap();
        assert_eq!(filled(&answer).endpoints[0].attributes["vlan"], 1);
    }
    assert!(store.order(new.facts.id).await.unwrap().is_none());
    let left = "SELECT (SELECT count(*) FROM resources) + (SELECT count(*) FROM resource_cursors)
                     + (SELECT count(*) FROM outbox) + (SELECT count(*) FROM events WHERE entity = 'order')";
    assert_eq!(count(&database, left).await, 0);
    assert_eq!(filled(&one(store, new).await).endpoints[0].attributes["vlan"], 1);
}

#[tokio::test]
async fn a_repetition_takes_nothing_and_hears_what_was_picked() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut first = claiming(vec![vlan("d1", 1, 9, None), vc(Some(json!("65000:5")))]);
    first.idempotency_key = Some("k".to_owned());
    let mut twin = claiming(first.claims.clone());
    twin.idempotency_key = Some("k".to_owned());
    // Twice in one batch, then as another order, then as itself.
    let answers = store.accept(&[first.clone(), twin.clone()], REACH_MS).await.unwrap();
    assert_eq!(answers[1], Accepted::Known(first.facts.id));
    assert_eq!(one(store, twin).await, Accepted::Known(first.facts.id));
    assert_eq!(one(store, first.clone()).await, answers[0]);
    assert_eq!(taken(store).await, ["rd  65000:5", "vlan d1 1"]);
    assert_eq!(row(store, "1").await.orders, [first.facts.id]);
}

/// The same request at two intakes: one of them waits for the other, and takes nothing.
#[tokio::test]
async fn a_repetition_at_the_same_time_takes_nothing() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    for round in 0..20 {
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let mut new = claiming(vec![
                vlan("d1", 1, 4000, (round % 2 == 0).then(|| json!(round + 1000))),
                vlan(&format!("s{round}"), 1, 9, None),
            ]);
            new.facts.external_id = Some(format!("E{round}"));
            let store = store.clone();
            tasks.push(tokio::spawn(async move { one(&store, new).await }));
        }
        let mut created = 0;
        for task in tasks {
            match task.await.unwrap() {
                Accepted::Created(_) => created += 1,
                Accepted::Known(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(created, 1);
    }
    assert_eq!(taken(store).await.len(), 40);
    assert_eq!(count(&database, "SELECT count(*) FROM resources WHERE cardinality(orders) <> 1").await, 0);
}

#[tokio::test]
async fn a_service_keeps_its_values_through_a_modify_and_gives_up_what_it_leaves() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let provision = claiming(vec![vlan("d1", 1, 99, Some(json!(7))), vc(Some(json!("65000:7")))]);
    let service = provision.facts.service_id;
    let first = accept(store, provision).await;
    settle(store, &start(store, &[(first, 1)]).await, &[]).await;
    assert_eq!(taken(store).await.len(), 2, "in force: kept");
    // One value kept, one new.
    let modify = || {
        let claims = vec![vlan("d1", 1, 99, Some(json!(8))), vc(Some(json!("65000:7")))];
        of_service(claiming(claims), OrderKind::Modify, service)
    };
    let failed = accept(store, modify()).await;
    assert_eq!(row(store, "65000:7").await.orders, [first, failed]);
    settle(store, &start(store, &[(failed, 1)]).await, &[failure(FailureClass::Busy)]).await;
    assert_eq!(taken(store).await, ["rd  65000:7", "vlan d1 7", "vlan d1 8"], "it may be tried again");
    cancel(store, failed).await;
    assert_eq!(taken(store).await, ["rd  65000:7", "vlan d1 7"]);
    assert_eq!(row(store, "65000:7").await.orders, [first]);
    let second = accept(store, modify()).await;
    settle(store, &start(store, &[(second, 1)]).await, &[]).await;
    assert_eq!(taken(store).await, ["rd  65000:7", "vlan d1 8"]);
    assert_eq!(row(store, "65000:7").await.orders, [second]);
    let view = store.service(service).await.unwrap().unwrap();
    assert_eq!((view.wanted_by, &view.endpoints[0].attributes["vlan"]), (second, &json!(8)));
    let end = accept(store, of_service(order(&["d1"]), OrderKind::Decommission, service)).await;
    settle(store, &start(store, &[(end, 1)]).await, &[]).await;
    assert_eq!(taken(store).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_end_of_an_order_gives_its_values_back_once() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let claim = || claiming(vec![vlan("d1", 1, 99, Some(json!(7)))]);
    // Invalid at a device.
    let id = accept(store, claim()).await;
    settle(store, &start(store, &[(id, 1)]).await, &[failure(FailureClass::Invalid)]).await;
    // Invalid before any device was touched.
    let id = accept(store, claim()).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    let at = now();
    let due = &starting.orders[0];
    let entries = [
        moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at),
        moved(due, 2, OrderState::InProgress, OrderState::Invalid, at),
    ];
    let decision = Decision::Invalid(vec![failure(FailureClass::Invalid)]);
    starting.finish(&[decision], &entries, at).await.unwrap();
    // Cancelled after a failed deploy, which keeps it.
    let id = accept(store, claim()).await;
    settle(store, &start(store, &[(id, 1)]).await, &[failure(FailureClass::Busy)]).await;
    assert_eq!(state(store, id).await, OrderState::FailedDeploy);
    assert!(matches!(one(store, claim()).await, Accepted::ResourceTaken(_)));
    cancel(store, id).await;
    assert_eq!(taken(store).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_list_of_values_goes_page_by_page() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let batch: Vec<NewOrder> =
        (0..7).map(|n| claiming(vec![vlan(&format!("d{}", n % 2), 1, 99, None)])).collect();
    store.accept(&batch, REACH_MS).await.unwrap();
    let mut filter = ResourceFilter { limit: 3, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.resources(&filter).await.unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|row| (row.scope.clone(), row.value.clone())));
        filter.after = page.next_cursor;
        if filter.after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted());
    let service =
        ResourceFilter { service_id: Some(batch[3].facts.service_id), limit: 9, ..Default::default() };
    assert_eq!(store.resources(&service).await.unwrap().items[0].orders, [batch[3].facts.id]);
    let bad = ResourceFilter { after: Some("x".to_owned()), limit: 9, ..Default::default() };
    assert!(store.resources(&bad).await.is_err());
}

/// Picking costs what is asked for, not what is taken or how large the pool is.
#[tokio::test]
async fn a_pick_from_a_large_pool_is_cheap() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let session = database.session().await.unwrap();
    session
        .batch_execute(
            "INSERT INTO resources SELECT 'vlan', 'd1', n, n, gen_random_uuid(), ARRAY[gen_random_uuid()], now()
             FROM generate_series(1, 200000) AS n;
             INSERT INTO resource_cursors VALUES ('vlan', 'd1', 200001)",
        )
        .await
        .unwrap();
    let batch: Vec<NewOrder> = (0..500).map(|_| claiming(vec![vlan("d1", 1, i64::MAX / 2, None)])).collect();
    let begin = std::time::Instant::now();
    let answers = store.accept(&batch, REACH_MS).await.unwrap();
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(answers.iter().all(Accepted::is_created));
}

#[tokio::test]
async fn a_careful_order_is_refused_while_its_service_is_busy() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let first = accept(store, order(&["d1"])).await;
    settle(store, &start(store, &[(first, 1)]).await, &[]).await;
    let service = store.order(first).await.unwrap().unwrap().service_id;
    let redeploy = |if_busy| {
        let mut new = of_service(order(&["d1"]), OrderKind::Redeploy, service);
        new.if_busy = if_busy;
        new
    };
    let going = redeploy(IfBusy::Refuse);
    // Of two in one batch the second hears of the first.
    let answers = store.accept(&[going.clone(), redeploy(IfBusy::Refuse)], REACH_MS).await.unwrap();
    assert!(answers[0].is_created());
    assert_eq!(answers[1], Accepted::Busy(vec![going.facts.id]));
    assert_eq!(one(store, redeploy(IfBusy::Refuse)).await, Accepted::Busy(vec![going.facts.id]));
    // Repeated, it is not in its own way; one that waits is taken.
    assert!(one(store, going.clone()).await.is_created());
    let waiting = redeploy(IfBusy::Wait);
    assert!(one(store, waiting.clone()).await.is_created());
    cancel(store, waiting.facts.id).await;
    // Failed Deploy is settled.
    settle(store, &start(store, &[(going.facts.id, 1)]).await, &[failure(FailureClass::Busy)]).await;
    assert!(one(store, redeploy(IfBusy::Refuse)).await.is_created());
    let unfinished = store.unfinished_of(service).await.unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!((unfinished[0].kind, unfinished[0].state), (OrderKind::Redeploy, OrderState::Scheduled));
}

#[tokio::test]
async fn of_careful_orders_at_the_same_time_one_is_taken() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let first = accept(store, order(&["d1"])).await;
    settle(store, &start(store, &[(first, 1)]).await, &[]).await;
    let service = store.order(first).await.unwrap().unwrap().service_id;
    for _ in 0..10 {
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let mut new = of_service(order(&["d1"]), OrderKind::Redeploy, service);
                new.if_busy = IfBusy::Refuse;
                let (store, id) = (store.clone(), new.facts.id);
                tokio::spawn(async move { (id, one(&store, new).await) })
            })
            .collect();
        let mut created = Vec::new();
        for task in tasks {
            let (id, answer) = task.await.unwrap();
            match answer {
                Accepted::Created(_) => created.push(id),
                Accepted::Busy(orders) => assert_eq!(orders.len(), 1),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(created.len(), 1);
        cancel(store, created[0]).await;
    }
}

/// Batches whose orders depend on each other take their pools in the same order, whatever stands first in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_in_several_steps_never_wait_in_a_circle() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let batch = |scopes: [&str; 2]| -> Vec<NewOrder> {
        let service = ServiceId(Uuid::now_v7());
        let order = |scope: &str| {
            let mut new = claiming(vec![vlan(scope, 1, 4000, None)]);
            new.facts.service_id = service;
            new.if_busy = IfBusy::Refuse;
            with_entries(new)
        };
        // The second goes into a step of its own, as the first has its key; that one is refused, so the key is
        // free for it.
        let mut orders: Vec<NewOrder> = scopes.map(order).into();
        for order in &mut orders {
            order.idempotency_key = Some(service.to_string());
        }
        let mut refused = vlan(scopes[0], 1, 4000, None);
        refused.name = "empty".to_owned();
        refused.pool.from = 5000;
        orders[0].claims.push(refused);
        orders
    };
    let writers = [["s1", "s2"], ["s2", "s1"]].map(|scopes| {
        let (store, batches): (_, Vec<_>) = (store.clone(), (0..40).map(|_| batch(scopes)).collect());
        tokio::spawn(async move {
            for batch in batches {
                store.accept(&batch, REACH_MS).await.unwrap();
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let session = database.session().await.unwrap();
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(session.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
}
