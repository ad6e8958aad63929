//! The relay: one at a time, in order, and nothing lost between two of them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::Notify;
use turnup_core::order::Priority;
use turnup_store::{Channel, EventFilter, Settings, Store, Work, testing::Database};

use crate::support::{accept, add, count, in_s, now, order, start, until, with_entries, woken};

#[tokio::test]
async fn one_leader_at_a_time() {
    let database = Database::new().await;
    let store = database.store();
    let lease = store.lead_relay().await.unwrap().unwrap();
    for _ in 0..2 {
        assert!(store.lead_relay().await.unwrap().is_none());
    }
    drop(lease);
    until("the right to be free", async || store.lead_relay().await.unwrap().is_some()).await;
}

#[tokio::test]
async fn who_loses_the_session_has_lost_the_right_and_cannot_write() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    accept(store, order(&["d1"])).await;
    let old = store.lead_relay().await.unwrap().unwrap();
    let rows = old.take(0, 10).await.unwrap();
    count(
        &database,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks
         WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .await;
    until("another to lead", async || store.lead_relay().await.unwrap().is_some()).await;
    assert!(old.done(&[rows[0].id]).await.unwrap_err().is_transient());
    assert!(old.number_events(10).await.is_err());
    assert_eq!(count(&database, "SELECT count(*) FROM outbox").await, 1);
    assert_eq!(count(&database, "SELECT numbered FROM event_log").await, 0);
}

#[tokio::test]
async fn a_leader_that_is_silent_loses_the_right() {
    let database = Database::new().await;
    let settings = Settings { url: database.url(), max_connections: 1, timeout_ms: 150 };
    let hasty = Store::new(&settings).unwrap();
    let silent = hasty.lead_relay().await.unwrap().unwrap();
    silent.last_row().await.unwrap();
    until("another to lead", async || database.store().lead_relay().await.unwrap().is_some()).await;
    assert!(silent.last_row().await.unwrap_err().is_transient());
}

#[tokio::test]
async fn rows_are_taken_in_order_until_they_are_done() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut new = order(if n == 4 { &["d2"] } else { &["d1"] });
        new.priority = Priority::Bulk;
        ids.push((accept(store, new).await, 1));
    }
    let started = start(store, &[ids[4]]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let rows = lease.take(0, 100).await.unwrap();
    assert!(rows.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert!(rows.iter().all(|row| !row.again), "what is sent for the first time needs no question");
    assert_eq!(woken(&lease, 0).await, ids);
    match &rows[5].work {
        Work::Deployment { id, region, priority, .. } => {
            assert_eq!((*id, region.as_str(), *priority), (started[0].1, "eu", Priority::Bulk));
        }
        Work::Due(_) => panic!(),
    }
    let two: Vec<i64> = lease.take(0, 2).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(two, [rows[0].id, rows[1].id], "the oldest");
    assert_eq!(lease.take(rows[3].id, 100).await.unwrap().len(), 2);
    assert_eq!(lease.last_row().await.unwrap(), rows[5].id);
    lease.done(&[rows[0].id, rows[2].id]).await.unwrap();
    lease.done(&[]).await.unwrap();
    assert_eq!(woken(&lease, 0).await, [ids[1], ids[3], ids[4]]);
    drop(lease);
    // The next leader finds what was not done.
    until("another to lead", async || match store.lead_relay().await.unwrap() {
        Some(lease) => {
            assert_eq!(lease.take(0, 100).await.unwrap().len(), 4);
            true
        }
        None => false,
    })
    .await;
}

#[tokio::test]
async fn what_no_queue_takes_rests_and_comes_again() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let started = start(store, &[(id, 1)]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let rows = lease.take(0, 10).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    lease.defer(&ids, in_s(10)).await.unwrap();
    assert!(lease.take(0, 10).await.unwrap().is_empty());
    assert_eq!(lease.release_later(now(), 10).await.unwrap(), 0);
    assert_eq!(lease.release_later(in_s(11), 1).await.unwrap(), 1, "at most so many");
    assert_eq!(lease.release_later(in_s(11), 10).await.unwrap(), 1);
    let back = lease.take(0, 10).await.unwrap();
    assert_eq!(back.len(), 2);
    assert!(back.iter().all(|row| row.id > ids[1]), "under new numbers");
    assert!(back.iter().any(|row| matches!(row.work, Work::Deployment { id, .. } if id == started[0].1)));
    assert!(back.iter().any(|row| matches!(&row.work, Work::Due(due) if due.order == id)));
}

#[tokio::test]
async fn cursors_are_gapless_and_in_the_order_of_commits() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    while lease.number_events(1000).await.unwrap() > 0 {}
    let begin = store.last_cursor().await.unwrap();
    assert_eq!(begin, 1);
    // A transaction that draws its numbers first and commits last.
    let mut slow = database.session().await.unwrap();
    let late = slow.transaction().await.unwrap();
    late.batch_execute(
        "WITH e AS (INSERT INTO events (event_id, entity, entity_id, sequence, what, at, region, definition, actor, data)
                    VALUES (gen_random_uuid(), 'device', 'late', 1, 'added', now(), 'eu', '-', 'x', '{}') RETURNING id, at)
         INSERT INTO fresh_events (events, ids, times) SELECT 1, array_agg(id), array_agg(at) FROM e",
    )
    .await
    .unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(accept(store, order(&["d1"])).await.to_string());
    }
    assert_eq!(lease.number_events(1000).await.unwrap(), 6);
    let filter = EventFilter { after: begin, limit: 1000, ..Default::default() };
    let read = store.events(&filter).await.unwrap();
    let last = read.last().unwrap().cursor;
    assert_eq!(last, begin + 6);
    let order: Vec<(&str, i32)> =
        read.iter().map(|logged| (logged.event.entity_id.as_str(), logged.event.sequence)).collect();
    let wanted: Vec<(&str, i32)> = ids.iter().flat_map(|id| [(id.as_str(), 1), (id, 2)]).collect();
    assert_eq!(order, wanted, "in the order of their writing");
    late.commit().await.unwrap();
    assert_eq!(lease.number_events(1000).await.unwrap(), 1);
    // Whoever had read up to `last` still gets it.
    let rest = store.events(&EventFilter { after: last, limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!((rest[0].cursor, rest[0].event.entity_id.as_str()), (last + 1, "late"));
    assert_eq!(lease.number_events(1000).await.unwrap(), 0);
    assert_eq!(store.last_cursor().await.unwrap(), last + 1);
}

#[tokio::test]
async fn a_follower_misses_nothing_while_many_write() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let batch: Vec<_> = (0..3).map(|_| with_entries(order(&["d1"]))).collect();
                    store.accept(&batch, crate::support::REACH_MS).await.unwrap();
                }
            })
        })
        .collect();
    let lease = store.lead_relay().await.unwrap().unwrap();
    let (mut seen, mut after) = (Vec::new(), 0);
    let wanted = 1 + 8 * 10 * 3 * 2;
    let follow = async {
        while seen.len() < wanted {
            lease.number_events(7).await.unwrap();
            let read = store.events(&EventFilter { after, limit: 50, ..Default::default() }).await.unwrap();
            for logged in read {
                assert_eq!(logged.cursor, after + 1, "gapless");
                after = logged.cursor;
                seen.push(logged.event);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), follow).await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    let ids: BTreeSet<_> = seen.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), wanted);
    for pair in seen.windows(2) {
        if pair[0].entity_id == pair[1].entity_id {
            assert_eq!(pair[1].sequence, pair[0].sequence + 1, "an order's events in their sequence");
        }
    }
}

#[tokio::test]
async fn published_is_remembered_and_never_goes_back() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    accept(store, order(&["d1"])).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    assert!(lease.unpublished(10).await.unwrap().is_empty(), "what has no cursor is not published");
    assert_eq!(lease.number_events(10).await.unwrap(), 3);
    let cursors = async || -> Vec<i64> {
        lease.unpublished(2).await.unwrap().iter().map(|logged| logged.cursor).collect()
    };
    assert_eq!(cursors().await, [1, 2]);
    lease.note_published(2).await.unwrap();
    assert_eq!(cursors().await, [3]);
    lease.note_published(1).await.unwrap();
    assert_eq!(cursors().await, [3]);
    assert!(lease.note_published(4).await.is_err(), "more than there is");
    lease.note_published(3).await.unwrap();
    assert!(cursors().await.is_empty());
}

#[tokio::test]
async fn listeners_are_woken() {
    let database = Database::new().await;
    let store = database.store();
    let (work, news) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let _work = store.listen(Channel::Work, Arc::clone(&work));
    let _news = store.listen(Channel::News, Arc::clone(&news));
    let soon =
        async |notify: &Notify| tokio::time::timeout(Duration::from_secs(5), notify.notified()).await.is_ok();
    assert!(soon(&work).await && soon(&news).await, "once when they begin to listen");
    add(store, &["d1"]).await;
    assert!(soon(&work).await, "after a commit");
    let lease = store.lead_relay().await.unwrap().unwrap();
    assert!(lease.number_events(10).await.unwrap() > 0);
    assert!(soon(&news).await, "after events were numbered");
    // The sessions are killed; they come back by themselves, and wake since something may be missed.
    count(
        &database,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .await;
    assert!(soon(&work).await && soon(&news).await);
    until("both to listen again", async || {
        count(
            &database,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .await
            == 2
    })
    .await;
    let _ = tokio::join!(
        tokio::time::timeout(Duration::from_millis(300), work.notified()),
        tokio::time::timeout(Duration::from_millis(300), news.notified())
    );
    accept(store, order(&["d1"])).await;
    assert!(soon(&work).await);
}
