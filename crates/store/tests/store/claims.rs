//! Which attempt of a deployment counts.

use turnup_core::{
    id::DeploymentId,
    lifecycle::DeploymentState,
    message::{Claim, ClaimKind},
};
use turnup_store::{DeploymentChange, Settled, Store, testing::Database};
use uuid::Uuid;

use crate::support::{accept, add, now, order, settle, start};

async fn claim(store: &Store, deployment: DeploymentId, attempt: i32, claim: ClaimKind) -> Option<i32> {
    let claim = Claim { deployment, attempt, claim, worker: "w2".to_owned() };
    store.claim(&claim).await.unwrap().attempt
}

#[tokio::test]
async fn taking_over_makes_the_attempts_before_void() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let started = start(store, &[(id, 1)]).await;
    let deployment = started[0].1;
    let settling = store.begin_settle(&[deployment]).await.unwrap();
    let running = DeploymentChange {
        id: deployment,
        state: DeploymentState::Running,
        sequence: 7,
        phase: "prepare".to_owned(),
        worker: "w1".to_owned(),
        devices: vec![],
        in_doubt_since: None,
        confirm_by: None,
    };
    settling.finish(&Settled { deployments: vec![running], ..Default::default() }, now()).await.unwrap();
    assert_eq!(claim(store, deployment, 1, ClaimKind::Check).await, Some(1));
    assert_eq!(claim(store, deployment, 2, ClaimKind::Check).await, None);
    assert_eq!(claim(store, deployment, 1, ClaimKind::TakeOver).await, Some(2));
    let settling = store.begin_settle(&[deployment]).await.unwrap();
    let known = &settling.deployments[&deployment];
    assert_eq!((known.attempt, known.sequence), (2, 0), "the new attempt counts from the start");
    drop(settling);
    assert_eq!(claim(store, deployment, 1, ClaimKind::Check).await, None);
    assert_eq!(claim(store, deployment, 2, ClaimKind::Check).await, Some(2));
    let view = store.order(id).await.unwrap().unwrap().deployments.unwrap().remove(0);
    assert_eq!((view.attempt, view.worker.as_deref()), (2, Some("w2")));
    settle(store, &started, &[]).await;
    for kind in [ClaimKind::Check, ClaimKind::TakeOver] {
        assert_eq!(claim(store, deployment, 2, kind).await, None, "it has ended");
    }
    assert_eq!(claim(store, DeploymentId(Uuid::now_v7()), 1, ClaimKind::TakeOver).await, None);
}

#[tokio::test]
async fn two_who_take_over_get_different_attempts() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let deployment = start(store, &[(id, 1)]).await[0].1;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { claim(&store, deployment, 1, ClaimKind::TakeOver).await.unwrap() })
        })
        .collect();
    let mut attempts = Vec::new();
    for task in tasks {
        attempts.push(task.await.unwrap());
    }
    attempts.sort_unstable();
    assert_eq!(attempts, (2..10).collect::<Vec<_>>());
}
