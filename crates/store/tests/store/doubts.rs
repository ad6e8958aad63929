//! Deployments in doubt for too long: told once, by an event that changes no state.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use turnup_core::{
    id::DeploymentId,
    lifecycle::{DeploymentState, OrderState},
    message::{DeviceReport, InForce},
};
use turnup_store::{DeploymentChange, EventFilter, Logged, Settled, Store, testing::Database};

use crate::support::{accept, add, in_s, name, now, order, settle, start};

fn device(device: &str, in_force: InForce) -> DeviceReport {
    DeviceReport {
        device: name(device),
        in_force,
        steps: vec![],
        failures: vec![],
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    }
}

async fn report(store: &Store, id: DeploymentId, sequence: i32, since: Option<Timestamp>) {
    let state = if since.is_some() { DeploymentState::InDoubt } else { DeploymentState::Running };
    let change = DeploymentChange {
        id,
        state,
        sequence,
        phase: "commit".to_owned(),
        worker: "w1".to_owned(),
        devices: vec![device("d1", InForce::New), device("d2", InForce::Unknown)],
        in_doubt_since: since,
        confirm_by: None,
    };
    let settling = store.begin_settle(&[id]).await.unwrap();
    settling.finish(&Settled { deployments: vec![change], ..Default::default() }, now()).await.unwrap();
}

async fn in_doubt(store: &Store) -> Vec<Logged> {
    let filter = EventFilter { limit: 100, ..Default::default() };
    let all = store.events(&filter).await.unwrap();
    all.into_iter().filter(|logged| logged.event.what == "in_doubt").collect()
}

#[tokio::test]
async fn a_doubt_is_told_once_when_it_lasts() {
    let database = Database::new().await;
    let store = database.store();
    let lease = store.lead_relay().await.unwrap().unwrap();
    add(store, &["d1", "d2"]).await;
    let id = accept(store, order(&["d1", "d2"])).await;
    let started = start(store, &[(id, 1)]).await;
    let deployment = started[0].1;
    let long = in_s(-400);
    let tell = async || store.tell_doubts(now() - SignedDuration::from_secs(300), now(), 10).await.unwrap();
    assert_eq!(tell().await, 0, "nothing is in doubt");
    report(store, deployment, 1, Some(in_s(-100))).await;
    assert_eq!(tell().await, 0, "not for so long");
    report(store, deployment, 2, Some(long)).await;
    assert_eq!(tell().await, 1);
    assert_eq!(tell().await, 0, "once");
    report(store, deployment, 3, Some(long)).await;
    assert_eq!(tell().await, 0, "it is still the same doubt");
    while lease.number_events(100).await.unwrap() > 0 {}
    let told = in_doubt(store).await;
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!(told.event.kind(), "dev.turnup.order.in_doubt.v1");
    assert_eq!((told.event.entity_id.as_str(), told.event.sequence), (id.to_string().as_str(), 4));
    let data = &told.event.data;
    assert_eq!((&data["state"], &data["devices"]), (&json!("in_progress"), &json!(["d2"])));
    assert_eq!((&data["deployment"], &data["worker"]), (&json!(deployment), &json!("w1")));
    report(store, deployment, 4, None).await;
    report(store, deployment, 5, Some(in_s(-350))).await;
    assert_eq!(tell().await, 1, "another doubt");
    let before = store.order(id).await.unwrap().unwrap();
    assert_eq!((before.state, before.sequence), (OrderState::InProgress, 5));
    settle(store, &started, &[]).await;
    let view = store.order(id).await.unwrap().unwrap();
    let numbers: Vec<i32> = view.history.unwrap().iter().map(|entry| entry.seq).collect();
    assert_eq!((view.state, numbers), (OrderState::Completed, vec![1, 2, 3, 6]));
    assert_eq!(tell().await, 0, "it is over");
}
