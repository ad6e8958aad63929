//! Connections: what is given up half-way neither holds locks nor comes back to the pool.

use std::time::Duration;

use turnup_core::lifecycle::OrderState;
use turnup_store::{Settings, Store, StoreError, testing::Database};

use crate::support::{REACH_MS, accept, add, count, order, start, state, until, with_entries};

fn small(database: &Database, timeout_ms: u64) -> Store {
    Store::new(&Settings { url: database.url(), max_connections: 1, timeout_ms }).unwrap()
}

#[tokio::test]
async fn a_dropped_start_gives_its_locks_back_and_the_pool_goes_on() {
    let database = Database::new().await;
    let store = small(&database, 5_000);
    add(&store, &["d1"]).await;
    let id = accept(&store, order(&["d1"])).await;
    for _ in 0..5 {
        let starting = store.begin_start(&[(id, 1)]).await.unwrap();
        assert_eq!(starting.orders.len(), 1);
        drop(starting);
    }
    assert_eq!(state(&store, id).await, OrderState::Scheduled);
    assert_eq!(start(&store, &[(id, 1)]).await.len(), 1);
    until("no transaction to be left", async || {
        count(
            &database,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .await
            == 0
    })
    .await;
}

#[tokio::test]
async fn a_start_does_with_one_connection() {
    let database = Database::new().await;
    let store = small(&database, 5_000);
    add(&store, &["d1"]).await;
    store.keep_plan("aa", &serde_json::json!({"a": 1}), crate::support::now()).await.unwrap();
    let id = accept(&store, order(&["d1"])).await;
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    let nodes = [("d1".to_owned(), "/a".to_owned())];
    assert!(starting.owners(&nodes, &[]).await.unwrap().is_empty());
    assert!(starting.holders(&nodes, &[]).await.unwrap().is_empty());
    assert!(starting.plan("aa").await.unwrap().is_some());
    assert!(starting.plan("bb").await.unwrap().is_none());
}

#[tokio::test]
async fn a_missed_deadline_says_so_and_changes_nothing() {
    let database = Database::new().await;
    let store = small(&database, 700);
    add(&store, &["d1"]).await;
    let id = accept(&store, order(&["d1"])).await;
    let mut session = database.session().await.unwrap();
    let block = session.transaction().await.unwrap();
    block.execute("SELECT FROM orders WHERE id = $1 FOR UPDATE", &[&id.0]).await.unwrap();
    let begin = std::time::Instant::now();
    let error = store.begin_start(&[(id, 1)]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(3));
    block.rollback().await.unwrap();
    assert_eq!(start(&store, &[(id, 1)]).await.len(), 1, "the pool is as good as before");
}

#[tokio::test]
async fn a_call_given_up_by_its_caller_leaves_nothing() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let mut session = database.session().await.unwrap();
    let block = session.transaction().await.unwrap();
    block.batch_execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let new = with_entries(order(&["d1"]));
    let id = new.facts.id;
    let task = {
        let store = store.clone();
        tokio::spawn(async move { store.accept(&[new], REACH_MS).await })
    };
    let watch = database.session().await.unwrap();
    until("acceptance to reach the outbox", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        watch.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    task.abort();
    let _ = task.await;
    block.rollback().await.unwrap();
    until("its session to end", async || {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                        AND application_name = 'turnup' AND state <> 'idle'";
        watch.query_one(sessions, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    assert!(store.order(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_killed_session_is_replaced() {
    let database = Database::new().await;
    let store = small(&database, 5_000);
    add(&store, &["d1"]).await;
    count(
        &database,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'turnup'",
    )
    .await;
    until("the store to answer again", async || match store.check().await {
        Ok(()) => true,
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            false
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_there_and_bad_urls() {
    let nobody = "postgres://postgres@127.0.0.1:9/turnup".to_owned();
    let store = Store::new(&Settings { url: nobody, max_connections: 1, timeout_ms: 500 }).unwrap();
    let begin = std::time::Instant::now();
    let error = store.check().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("TURNUP_DATABASE_URL"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert!(store.lead_relay().await.unwrap_err().is_transient());
    for url in ["postgres//", "postgres://u@h/d?sslmode=require"] {
        let settings = Settings { url: url.to_owned(), max_connections: 1, timeout_ms: 500 };
        assert!(matches!(Store::new(&settings), Err(StoreError::Away(_))), "{url}");
    }
}

#[tokio::test]
async fn refusals_keep_their_connection() {
    let database = Database::new().await;
    let store = small(&database, 5_000);
    add(&store, &["d1"]).await;
    let pid = "SELECT min(pid)::bigint FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'turnup'";
    let before = count(&database, pid).await;
    let nobody = turnup_core::id::OrderId(uuid::Uuid::now_v7());
    let control = turnup_store::Control {
        event: turnup_core::lifecycle::OrderEvent::Cancel,
        due: None,
        why: None,
        by: "anna".to_owned(),
        at: crate::support::now(),
        event_id: uuid::Uuid::now_v7(),
    };
    assert!(store.control(nobody, &control, REACH_MS).await.is_err());
    assert!(store.order(nobody).await.unwrap().is_none());
    store.update_device(&crate::support::device("d9"), "anna").await.unwrap();
    let starting = store.begin_start(&[(nobody, 1)]).await.unwrap();
    starting.finish(&[], &[], crate::support::now()).await.unwrap();
    assert_eq!(count(&database, pid).await, before);
}
