//! Tokens of commits that may be pending: kept with the device until a deployment has cancelled them.

use turnup_core::{
    id::{DeploymentId, OrderId},
    lifecycle::OrderState,
};
use turnup_store::{Settled, Store, TokenChange, testing::Database};

use crate::support::{accept, add, name, now, order, settled, start, state};

fn change(device: &str, pending: Option<DeploymentId>, cleared: bool) -> TokenChange {
    TokenChange { device: name(device), pending, cleared }
}

/// Begins a deployment of a new order at both devices; gives what it was handed and ends it with these changes.
async fn deploy(
    store: &Store,
    changes: impl Fn(DeploymentId) -> Vec<TokenChange>,
) -> (DeploymentId, [Vec<String>; 2]) {
    let id: OrderId = accept(store, order(&["d1", "d2"])).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    let handed =
        ["d1", "d2"].map(|device| starting.pending_tokens.get(&name(device)).cloned().unwrap_or_default());
    drop(starting);
    let started = start(store, &[(id, 1)]).await;
    let deployment = started[0].1;
    let settling = store.begin_settle(&[deployment]).await.unwrap();
    let ended = Settled { tokens: changes(deployment), ..settled(&settling, &started, &[], now()) };
    settling.finish(&ended, now()).await.unwrap();
    assert_eq!(state(store, id).await, OrderState::Completed);
    (deployment, handed)
}

#[tokio::test]
async fn pending_tokens_are_handed_to_the_next_deployments_until_they_are_cancelled() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let (first, handed) = deploy(store, |id| vec![change("d1", Some(id), false)]).await;
    assert!(handed.iter().all(Vec::is_empty), "{handed:?}");
    let (second, handed) = deploy(store, |id| vec![change("d1", Some(id), false)]).await;
    assert_eq!((handed[0].as_slice(), handed[1].len()), (&[first.to_string()][..], 0));
    let (third, handed) = deploy(store, |id| vec![change("d1", Some(id), true)]).await;
    assert_eq!(handed[0], [first.to_string(), second.to_string()]);
    let (_, handed) = deploy(store, |_| vec![change("d1", None, true), change("d2", None, true)]).await;
    assert_eq!(handed[0], [third.to_string()]);
    let (_, handed) = deploy(store, |_| Vec::new()).await;
    assert!(handed.iter().all(Vec::is_empty), "{handed:?}");
}

#[tokio::test]
async fn device_keeps_its_newest_eight_tokens() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let mut all = Vec::new();
    for _ in 0..11 {
        let (id, handed) = deploy(store, |id| vec![change("d2", Some(id), false)]).await;
        let newest: Vec<String> = all.iter().rev().take(8).rev().cloned().collect();
        assert_eq!(handed[1], newest);
        all.push(id.to_string());
    }
    let (last, _) = deploy(store, |id| vec![change("d2", Some(id), true)]).await;
    let (_, handed) = deploy(store, |_| Vec::new()).await;
    assert_eq!(handed[1], [last.to_string()], "the new one stays when the old ones were cancelled");
}
