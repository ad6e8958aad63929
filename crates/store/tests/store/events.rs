//! Reading the log.

use turnup_core::{event::Entity, failure::FailureClass, lifecycle::OrderState};
use turnup_store::{Entry, EventFilter, testing::Database};
use uuid::Uuid;

use crate::support::{accept, add, failure, now, order, settle, start};

#[tokio::test]
async fn filtered_by_type_subject_and_place() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let first = accept(store, order(&["d1"])).await;
    let started = start(store, &[(first, 1)]).await;
    settle(store, &started, &[]).await;
    let second = accept(store, order(&["d1"])).await;
    let started = start(store, &[(second, 1)]).await;
    settle(store, &started, &[failure(FailureClass::Busy)]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    while lease.number_events(3).await.unwrap() > 0 {}
    let whats = async |filter: EventFilter| -> Vec<String> {
        store.events(&filter).await.unwrap().into_iter().map(|logged| logged.event.what).collect()
    };
    let all = EventFilter { limit: 1000, ..Default::default() };
    let life = ["requested", "scheduled", "in_progress", "completed", "deployed"];
    assert_eq!(
        whats(all.clone()).await,
        ["added"]
            .iter()
            .chain(&life)
            .chain(&life[..3])
            .chain(&["failed_deploy"])
            .copied()
            .collect::<Vec<_>>()
    );
    let kind = |kind: &str| EventFilter { kind: Some(kind.to_owned()), ..all.clone() };
    assert_eq!(whats(kind("dev.turnup.order.completed.v1")).await, ["completed"]);
    assert_eq!(whats(kind("dev.turnup.order.")).await.len(), 8);
    assert_eq!(whats(kind("dev.turnup.service.deployed.v1")).await, ["deployed"]);
    assert_eq!(whats(kind("dev.turnup.order.comp%")).await, [""; 0], "no pattern");
    let subject = |subject: &str| EventFilter { subject: Some(subject.to_owned()), ..all.clone() };
    assert_eq!(whats(subject(&format!("orders/{first}"))).await, life[..4]);
    assert_eq!(whats(subject("devices/d1")).await, ["added"]);
    for nothing in [format!("order/{first}"), format!("devices/{first}"), "orders".to_owned(), String::new()]
    {
        assert_eq!(whats(subject(&nothing)).await, [""; 0], "{nothing:?}");
    }
    assert_eq!(whats(EventFilter { after: 8, ..all.clone() }).await, ["in_progress", "failed_deploy"]);
    assert_eq!(whats(EventFilter { limit: 2, ..all.clone() }).await, ["added", "requested"]);
    assert_eq!(whats(EventFilter { after: 10, ..all }).await, [""; 0]);
    assert_eq!(store.last_cursor().await.unwrap(), 10);
}

#[tokio::test]
async fn an_event_comes_back_as_it_was_written() {
    let database = Database::new().await;
    let store = database.store();
    let mut new = order(&["d1"]);
    new.facts.external_id = Some("CRM-7".to_owned());
    let event = new.facts.event(
        Uuid::now_v7(),
        1,
        OrderState::Requested,
        now(),
        serde_json::json!({"errors": ["é \u{1F600} \" \\"]}),
    );
    let mut event = event;
    event.what = "rejected".to_owned();
    assert_eq!(event.entity, Entity::Order);
    store
        .log(&[Entry { event: event.clone(), change: None, why: None, by: "intake".to_owned() }])
        .await
        .unwrap();
    let lease = store.lead_relay().await.unwrap().unwrap();
    lease.number_events(10).await.unwrap();
    let read = store.events(&EventFilter { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!((read.len(), read[0].cursor), (1, 1));
    assert_eq!(read[0].event, event);
    assert_eq!(lease.unpublished(10).await.unwrap()[0].event, event);
}
