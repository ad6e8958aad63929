//! What the store keeps of a service's past, and a service that is created again.

use turnup_core::{
    id::{OrderId, ServiceId},
    order::OrderKind,
    undo::Change,
};
use turnup_store::{NewOrder, OrderFilter, ServiceAtStart, Store, testing::Database};

use crate::support::{accept, add, count, order, settle, start};

fn of(service: ServiceId, kind: OrderKind, undoes: Option<OrderId>) -> NewOrder {
    let mut new = order(&["d1"]);
    new.facts.kind = kind;
    new.facts.service_id = service;
    new.facts.undoes = undoes;
    new.options.undoes = undoes;
    new.options.rests_on = undoes;
    new
}

async fn completed(store: &Store, new: NewOrder) -> OrderId {
    let id = accept(store, new).await;
    let started = start(store, &[(id, 1)]).await;
    settle(store, &started, &[]).await;
    id
}

#[tokio::test]
async fn completed_changes_are_listed_in_the_order_of_their_completion() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let service = ServiceId(uuid::Uuid::now_v7());
    // Accepted first, completed second.
    let early = accept(store, of(service, OrderKind::Modify, None)).await;
    let provision = completed(store, of(service, OrderKind::Provision, None)).await;
    completed(store, of(service, OrderKind::Redeploy, None)).await;
    let started = start(store, &[(early, 1)]).await;
    settle(store, &started, &[]).await;
    accept(store, of(service, OrderKind::Modify, None)).await;
    completed(store, of(ServiceId(uuid::Uuid::now_v7()), OrderKind::Provision, None)).await;
    let undone = completed(store, of(service, OrderKind::Decommission, Some(early))).await;
    let change = |order, kind, undoes| Change { order, kind, undoes };
    assert_eq!(
        store.completed_changes(service).await.unwrap(),
        [
            change(provision, OrderKind::Provision, None),
            change(early, OrderKind::Modify, None),
            change(undone, OrderKind::Decommission, Some(early)),
        ]
    );
    let filter = OrderFilter { undoes: Some(early), limit: 10, ..OrderFilter::default() };
    let found = store.orders(&filter).await.unwrap().items;
    assert_eq!(found.iter().map(|order| order.id).collect::<Vec<_>>(), [undone]);
    assert_eq!((found[0].options.undoes, found[0].facts().undoes), (Some(early), Some(early)));
}

#[tokio::test]
async fn service_that_is_created_again_keeps_its_external_id_and_the_count_of_its_events() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut first = order(&["d1"]);
    first.facts.external_id = Some("CRM-1".to_owned());
    let service = first.facts.service_id;
    completed(store, first).await;
    completed(store, of(service, OrderKind::Modify, None)).await;
    let removal = completed(store, of(service, OrderKind::Decommission, None)).await;
    assert!(store.service(service).await.unwrap().is_none());
    let again = completed(store, of(service, OrderKind::Provision, Some(removal))).await;
    let view = store.service(service).await.unwrap().unwrap();
    assert_eq!((view.external_id.as_deref(), view.wanted_by), (Some("CRM-1"), again));
    completed(store, of(service, OrderKind::Modify, None)).await;
    let of_service = format!("FROM events WHERE entity = 'service' AND entity_id = '{service}'");
    assert_eq!(count(&database, &format!("SELECT count(*) {of_service}")).await, 5);
    assert_eq!(count(&database, &format!("SELECT count(DISTINCT sequence) {of_service}")).await, 5);
    assert_eq!(count(&database, &format!("SELECT max(sequence)::bigint {of_service}")).await, 5);
}

#[tokio::test]
async fn order_that_rests_on_another_change_is_overtaken() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let first = order(&["d1"]);
    let service = first.facts.service_id;
    let provision = completed(store, first).await;
    let undo = accept(store, of(service, OrderKind::Decommission, Some(provision))).await;
    let is_overtaken = async || {
        let starting = store.begin_start(&[(undo, 1)]).await.unwrap();
        let service: &ServiceAtStart = &starting.services[&service];
        starting.orders[0].is_overtaken(service)
    };
    assert!(!is_overtaken().await);
    completed(store, of(service, OrderKind::Modify, None)).await;
    assert!(is_overtaken().await);
}
