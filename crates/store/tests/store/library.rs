//! What is kept for planning: published definitions, plans, YANG modules, checks of devices; and what else
//! is under way.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::json;
use tokio::sync::Notify;
use turnup_core::{ask::SchemaText, lifecycle::OrderState, order::OrderKind, retry::RetryChanges};
use turnup_store::{Channel, DeviceChange, NewDefinition, Published, Store, testing::Database};

use crate::support::{accept, add, name, now, order, start};

fn definition(name: &str, version: i32, text: &str) -> NewDefinition {
    let mut digest = [0; 32];
    digest[..text.len()].copy_from_slice(text.as_bytes());
    NewDefinition {
        name: name.to_owned(),
        version,
        title: format!("{name} {version}"),
        files: json!({"definition.yaml": text}),
        digest,
        retry: RetryChanges::default(),
    }
}

#[tokio::test]
async fn a_published_version_never_changes() {
    let database = Database::new().await;
    let store = database.store();
    let at = now();
    let batch = [definition("eline", 1, "a"), definition("eline", 2, "b"), definition("eline", 2, "c")];
    let answers = store.publish(&batch, "anna", at).await.unwrap();
    assert_eq!(answers, [Published::New, Published::New, Published::Differs]);
    let again = [definition("eline", 1, "a"), definition("eline", 1, "x"), definition("l3vpn", 1, "z")];
    let answers = store.publish(&again, "bob", now()).await.unwrap();
    assert_eq!(answers, [Published::Same, Published::Differs, Published::New]);
    let all = store.definitions_after(0).await.unwrap();
    let names: Vec<_> = all.iter().map(|d| (d.name.as_str(), d.version)).collect();
    assert_eq!(names, [("eline", 1), ("eline", 2), ("l3vpn", 1)]);
    assert!(all.is_sorted_by_key(|d| d.seq));
    assert_eq!(store.definitions_after(all[1].seq).await.unwrap(), all[2..]);
    let newest = store.definition("eline", None).await.unwrap().unwrap();
    assert_eq!((newest.version, newest.files["definition.yaml"].as_str()), (2, Some("b")));
    let first = store.definition("eline", Some(1)).await.unwrap().unwrap();
    assert_eq!((first.published_by.as_str(), first.published_at), ("anna", at));
    assert_eq!(store.definition("eline", Some(3)).await.unwrap(), None);
    assert_eq!(store.definitions().await.unwrap().len(), 3);
    let session = database.session().await.unwrap();
    for change in ["UPDATE definitions SET title = 'x'", "DELETE FROM definitions", "TRUNCATE definitions"] {
        let refused = session.batch_execute(change).await.unwrap_err();
        assert!(refused.to_string().contains("db error"), "{refused}");
    }
    assert_eq!(store.definitions_after(0).await.unwrap(), all);
}

/// Who reads on from the last number must not miss one that was published at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_reads_on_misses_nothing() {
    let database = Database::new().await;
    let store = database.store();
    let wake = Arc::new(Notify::new());
    let _listener = store.listen(Channel::Catalogue, Arc::clone(&wake));
    let tasks: Vec<_> = (0..6)
        .map(|task| {
            let store: Store = store.clone();
            tokio::spawn(async move {
                for version in 1..=20 {
                    let one = [definition(&format!("d{task}"), version, "a")];
                    store.publish(&one, "anna", now()).await.unwrap();
                }
            })
        })
        .collect();
    let (mut seen, mut last) = (0, 0);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while seen < 120 {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), wake.notified()).await;
        let news = store.definitions_after(last).await.unwrap();
        last = news.last().map_or(last, |definition| definition.seq);
        seen += news.len();
        assert!(std::time::Instant::now() < deadline, "{seen} of 120 seen");
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(seen, 120);
}

#[tokio::test]
async fn plans_are_kept_for_thirty_days_from_when_they_were_shown_last() {
    let database = Database::new().await;
    let store = database.store();
    let day = |n: i64| now() + SignedDuration::from_hours(24 * n);
    store.keep_plan("aa", &json!({"a": 1}), day(-40)).await.unwrap();
    store.keep_plan("bb", &json!({"b": 1}), day(-40)).await.unwrap();
    store.keep_plan("bb", &json!({"b": 1}), day(-10)).await.unwrap();
    let kept = async |hash| store.begin_start(&[]).await.unwrap().plan(hash).await.unwrap();
    assert_eq!(kept("aa").await, Some(json!({"a": 1})));
    store.make_partitions().await.unwrap();
    assert_eq!(kept("aa").await, None);
    assert_eq!(kept("bb").await, Some(json!({"b": 1})));
    assert_eq!(store.prune_plans(day(21)).await.unwrap(), 1);
}

#[tokio::test]
async fn modules_belong_to_their_platform_and_changes_are_counted() {
    let database = Database::new().await;
    let store = database.store();
    let module = |name: &str, revision: Option<&str>, text: &str| SchemaText {
        name: name.to_owned(),
        revision: revision.map(str::to_owned),
        text: text.to_owned(),
    };
    let one = [module("if", Some("2020-01-01"), "v1"), module("types", None, "t")];
    assert!(store.keep_modules("junos", &one, now()).await.unwrap());
    assert!(!store.keep_modules("junos", &one, now()).await.unwrap(), "nothing new");
    // The same name and revision with another text on another platform.
    assert!(store.keep_modules("iosxr", &[module("if", Some("2020-01-01"), "other")], now()).await.unwrap());
    assert_eq!(store.modules("junos").await.unwrap(), one);
    assert_eq!(store.modules("iosxr").await.unwrap()[0].text, "other");
    let newer =
        [module("if", Some("2021-01-01"), "v2"), module("types", None, "t2"), module("types", None, "t3")];
    assert!(store.keep_modules("junos", &newer, now()).await.unwrap());
    let texts: Vec<String> = store.modules("junos").await.unwrap().into_iter().map(|m| m.text).collect();
    assert_eq!(texts, ["v1", "v2", "t3"]);
    let known = store.known_modules("junos").await.unwrap();
    assert_eq!(known[1..], [("if".to_owned(), Some("2021-01-01".to_owned())), ("types".to_owned(), None)]);
    assert_eq!(store.module_versions().await.unwrap(), [("iosxr".to_owned(), 1), ("junos".to_owned(), 2)]);
    assert!(store.modules("nothing").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_last_check_of_a_device_goes_with_it() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let device = name("d1");
    let at = now();
    assert_eq!(store.check_of(&device).await.unwrap(), None);
    store.keep_check(&device, "w1", &json!({"trusted": true}), at).await.unwrap();
    store.keep_check(&device, "w2", &json!({}), at - SignedDuration::from_secs(5)).await.unwrap();
    let check = store.check_of(&device).await.unwrap().unwrap();
    assert_eq!((check.worker.as_str(), check.at, check.result), ("w1", at, json!({"trusted": true})));
    store.keep_check(&name("d9"), "w1", &json!({}), at).await.unwrap();
    assert_eq!(store.check_of(&name("d9")).await.unwrap(), None, "there is no such device");
    assert_eq!(store.remove_device(&device, "anna", now()).await.unwrap(), DeviceChange::Done);
    assert_eq!(store.check_of(&device).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_under_way_on_devices() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2", "d3"]).await;
    let running = accept(store, order(&["d1", "d2"])).await;
    start(store, &[(running, 1)]).await;
    let mut later = order(&["d2"]);
    later.due = None;
    let later = accept(store, later).await;
    let found = store.unfinished_on(&["d1", "d2", "d3"], 10).await.unwrap();
    let found: Vec<_> = found.iter().map(|o| (o.order, o.state, o.device.as_deref())).collect();
    let wanted = [
        (running, OrderState::InProgress, Some("d1")),
        (running, OrderState::InProgress, Some("d2")),
        (later, OrderState::Requested, Some("d2")),
    ];
    assert_eq!(found, wanted);
    assert_eq!(store.unfinished_on(&["d2"], 1).await.unwrap().len(), 1);
    assert!(store.unfinished_on(&["d3"], 10).await.unwrap().is_empty());
    let service = store.order(later).await.unwrap().unwrap().service_id;
    let of = store.unfinished_of(service).await.unwrap();
    assert_eq!((of[0].order, of[0].kind, of[0].scheduled_for), (later, OrderKind::Provision, None));
}
