//! What was said to devices, kept for a while.

use jiff::Timestamp;
use turnup_core::{
    id::DeploymentId,
    transcript::{DeviceTranscript, Exchange, Rpc, Transcript},
};
use turnup_store::{Settled, Store, testing::Database};
use uuid::Uuid;

use crate::support::{accept, add, in_s, name, now, order, settle, start};

fn transcript(deployment: DeploymentId, attempt: i32, at: Timestamp, request: &str) -> Transcript {
    let device = |device: &str| DeviceTranscript {
        device: name(device),
        exchanges: vec![Exchange {
            step: "lock".to_owned(),
            at,
            took_us: 7,
            left_out_before: 0,
            rpcs: vec![Rpc { request: request.to_owned(), reply: None }],
            note: Some("no answer".to_owned()),
        }],
        left_out: 3,
    };
    let devices = vec![device("d1"), device("d2")];
    Transcript { deployment, attempt, worker: "w1".to_owned(), at, devices }
}

async fn keep(store: &Store, transcripts: Vec<Transcript>) {
    let settling = store.begin_settle(&[]).await.unwrap();
    settling.finish(&Settled { transcripts, ..Default::default() }, now()).await.unwrap();
}

fn id() -> DeploymentId {
    DeploymentId(Uuid::now_v7())
}

#[tokio::test]
async fn what_comes_twice_is_there_once_and_as_it_came_first() {
    let database = Database::new().await;
    let (store, deployment, at) = (database.store(), id(), now());
    keep(store, vec![transcript(deployment, 1, at, "<a/>"), transcript(id(), 1, at, "<b/>")]).await;
    keep(store, vec![transcript(deployment, 1, at, "<c/>"), transcript(deployment, 2, at, "<d/>")]).await;
    let kept = store.transcripts(deployment, None).await.unwrap();
    let seen: Vec<_> = kept
        .iter()
        .map(|kept| {
            (kept.attempt, kept.device.as_str(), kept.exchanges[0]["rpcs"][0]["request"].as_str().unwrap())
        })
        .collect();
    assert_eq!(seen, [(1, "d1", "<a/>"), (1, "d2", "<a/>"), (2, "d1", "<d/>"), (2, "d2", "<d/>")]);
    assert_eq!((kept[0].worker.as_str(), kept[0].at, kept[0].left_out), ("w1", at, 3));
    let of_one = store.transcripts(deployment, Some("d2")).await.unwrap();
    assert_eq!(of_one.iter().map(|kept| kept.device.as_str()).collect::<Vec<_>>(), ["d2", "d2"]);
    assert!(store.transcripts(id(), None).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_the_newest_attempts_are_shown() {
    let database = Database::new().await;
    let (store, deployment) = (database.store(), id());
    keep(store, (1..=9).map(|attempt| transcript(deployment, attempt, now(), "<a/>")).collect()).await;
    let kept = store.transcripts(deployment, Some("d1")).await.unwrap();
    assert_eq!(kept.iter().map(|kept| kept.attempt).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn old_ones_are_forgotten() {
    let database = Database::new().await;
    let (store, old, new) = (database.store(), id(), id());
    keep(store, vec![transcript(old, 1, in_s(-100), "<a/>"), transcript(new, 1, now(), "<a/>")]).await;
    assert_eq!(store.prune_transcripts(in_s(-50)).await.unwrap(), 2);
    assert_eq!(store.prune_transcripts(in_s(-50)).await.unwrap(), 0);
    assert!(store.transcripts(old, None).await.unwrap().is_empty());
    assert_eq!(store.transcripts(new, None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_deployment_is_shown_with_its_orders() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let order = accept(store, order(&["d1"])).await;
    let started = start(store, &[(order, 1)]).await;
    settle(store, &started, &[]).await;
    let of_order = store.order(order).await.unwrap().unwrap().deployments.unwrap();
    let (view, orders) = store.deployment(of_order[0].id).await.unwrap().unwrap();
    assert_eq!((view.state, orders), (of_order[0].state, vec![order]));
    assert!(store.deployment(id()).await.unwrap().is_none());
}
