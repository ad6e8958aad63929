//! The inventory.

use jiff::SignedDuration;
use turnup_core::name::{CredentialRef, RegionName};
use turnup_store::{Device, DeviceChange, EventFilter, Logged, testing::Database};

use crate::support::{accept, add, count, device, name, now, order, settle, start};

async fn events_of(database: &Database, device: &str) -> Vec<(i32, String)> {
    let store = database.store();
    let lease = store.lead_relay().await.unwrap().unwrap();
    while lease.number_events(100).await.unwrap() > 0 {}
    let filter = EventFilter { subject: Some(format!("devices/{device}")), limit: 100, ..Default::default() };
    let events: Vec<Logged> = store.events(&filter).await.unwrap();
    events.into_iter().map(|logged| (logged.event.sequence, logged.event.what)).collect()
}

#[tokio::test]
async fn added_once_changed_removed_and_added_again() {
    let database = Database::new().await;
    let store = database.store();
    let first = device("d1");
    let answers = store.add_devices(&[first.clone(), device("d2"), first.clone()], "anna").await.unwrap();
    assert_eq!(answers, [DeviceChange::Done, DeviceChange::Done, DeviceChange::Exists]);
    assert_eq!(
        store.add_devices(std::slice::from_ref(&first), "anna").await.unwrap(),
        [DeviceChange::Exists]
    );
    assert_eq!(store.device(&name("d1")).await.unwrap(), Some(first.clone()));
    assert_eq!(store.device(&name("d9")).await.unwrap(), None);
    let mut changed = first.clone();
    changed.region = RegionName::new("us").unwrap();
    changed.port = 2830;
    changed.host_key = Some("SHA256:x".to_owned());
    changed.credential = Some(CredentialRef::new("lab").unwrap());
    changed.description = Some("rack 7".to_owned());
    changed.updated_at = first.updated_at + SignedDuration::from_secs(1);
    assert_eq!(store.update_device(&changed, "anna").await.unwrap(), DeviceChange::Done);
    assert_eq!(store.device(&name("d1")).await.unwrap(), Some(changed));
    assert_eq!(store.update_device(&device("d9"), "anna").await.unwrap(), DeviceChange::Missing);
    assert_eq!(store.remove_device(&name("d9"), "anna", now()).await.unwrap(), DeviceChange::Missing);
    assert_eq!(store.remove_device(&name("d1"), "anna", now()).await.unwrap(), DeviceChange::Done);
    assert_eq!(store.device(&name("d1")).await.unwrap(), None);
    add(store, &["d1"]).await;
    let wanted = [(1, "added"), (2, "changed"), (3, "removed"), (4, "added")];
    let wanted: Vec<(i32, String)> = wanted.iter().map(|(n, what)| (*n, (*what).to_owned())).collect();
    assert_eq!(events_of(&database, "d1").await, wanted);
}

#[tokio::test]
async fn the_epoch_outlives_the_device() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let id = accept(store, order(&["d1"])).await;
    let started = start(store, &[(id, 1)]).await;
    assert_eq!(
        store.remove_device(&name("d1"), "anna", now()).await.unwrap(),
        DeviceChange::InUse(1),
        "an order is in progress on it"
    );
    settle(store, &started, &[]).await;
    assert_eq!(
        store.remove_device(&name("d1"), "anna", now()).await.unwrap(),
        DeviceChange::InUse(1),
        "a service is on it"
    );
    let session = database.session().await.unwrap();
    session.batch_execute("DELETE FROM footprints").await.unwrap();
    assert_eq!(store.remove_device(&name("d1"), "anna", now()).await.unwrap(), DeviceChange::Done);
    add(store, &["d1"]).await;
    assert_eq!(count(&database, "SELECT epoch FROM leases WHERE device = 'd1'").await, 1);
}

#[tokio::test]
async fn listed_by_name_and_region() {
    let database = Database::new().await;
    let store = database.store();
    let mut all: Vec<_> = ["d3", "d1", "d2"].iter().map(|name| device(name)).collect();
    all[0].region = RegionName::new("us").unwrap();
    store.add_devices(&all, "anna").await.unwrap();
    let names = |page: turnup_store::Page<turnup_store::Device>| {
        let names: Vec<String> = page.items.iter().map(|device| device.name.to_string()).collect();
        (names, page.next_cursor)
    };
    let page = names(store.devices(None, None, 2).await.unwrap());
    assert_eq!(page, (vec!["d1".to_owned(), "d2".to_owned()], Some("d2".to_owned())));
    assert_eq!(names(store.devices(None, Some("d2"), 2).await.unwrap()), (vec!["d3".to_owned()], None));
    assert_eq!(names(store.devices(Some("us"), None, 2).await.unwrap()), (vec!["d3".to_owned()], None));
    assert_eq!(store.regions().await.unwrap(), ["eu", "us"]);
    let named = store.devices_named(&["d1", "d9", "d3"]).await.unwrap();
    assert_eq!(named.len(), 2);
}

#[tokio::test]
async fn thousands_at_once_and_from_two_sides() {
    let database = Database::new().await;
    let store = database.store();
    let all: Vec<_> = (0..2000).map(|n| device(&format!("d{n:05}"))).collect();
    let mut reversed = all.clone();
    reversed.reverse();
    let (a, b) = tokio::join!(store.add_devices(&all, "a"), store.add_devices(&reversed, "b"));
    let added = |answers: Vec<DeviceChange>| answers.iter().filter(|a| **a == DeviceChange::Done).count();
    assert_eq!(added(a.unwrap()) + added(b.unwrap()), 2000);
    assert_eq!(count(&database, "SELECT count(*) FROM leases").await, 2000);
    assert_eq!(count(&database, "SELECT count(*) FROM events WHERE sequence = 1").await, 2000);
}

#[tokio::test]
async fn address_is_refused_when_another_device_has_it() {
    let database = Database::new().await;
    let store = database.store();
    let at = |device_name: &str, address: &str| Device { address: address.to_owned(), ..device(device_name) };
    let answers = store.add_devices(&[at("d1", "a"), at("d2", "a"), at("d3", "b")], "anna").await.unwrap();
    assert_eq!(answers, [DeviceChange::Done, DeviceChange::AddressTaken(name("d1")), DeviceChange::Done]);
    let taken = DeviceChange::AddressTaken(name("d1"));
    assert_eq!(store.update_device(&at("d3", "a"), "anna").await.unwrap(), taken);
    // The constraint decides between two at the same moment.
    let (one, other) = (at("e1", "c"), at("e2", "c"));
    let (a, b) = tokio::join!(
        store.add_devices(std::slice::from_ref(&one), "a"),
        store.add_devices(std::slice::from_ref(&other), "b")
    );
    let done = [a.unwrap(), b.unwrap()].iter().flatten().filter(|a| **a == DeviceChange::Done).count();
    assert_eq!(done, 1);
    let (one, other) = (at("d1", "z"), at("d3", "z"));
    let (a, b) = tokio::join!(store.update_device(&one, "a"), store.update_device(&other, "b"));
    let done = [a.unwrap(), b.unwrap()].iter().filter(|a| **a == DeviceChange::Done).count();
    assert_eq!(done, 1);
}

#[tokio::test]
async fn put_off_order_leaves_the_queue_and_wakes_the_next() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let holder = accept(store, order(&["d1"])).await;
    let started = start(store, &[(holder, 1)]).await;
    let first = accept(store, order(&["d1", "d2"])).await;
    let second = accept(store, order(&["d1"])).await;
    start(store, &[(first, 1)]).await;
    start(store, &[(second, 1)]).await;
    let queued = "SELECT count(*) FROM lease_waits";
    assert_eq!(count(&database, queued).await, 3);
    settle(store, &started, &[]).await;
    // The region of d2 is served no more.
    let mut starting = store.begin_start(&[(first, 1)]).await.unwrap();
    assert_eq!(starting.put_off(|device| device.name != name("d2")), [first]);
    let session = database.session().await.unwrap();
    session.batch_execute("DELETE FROM outbox").await.unwrap();
    starting.finish(&[], &[], now()).await.unwrap();
    assert_eq!(count(&database, queued).await, 1, "the next one stands alone");
    let woken = session.query_one("SELECT order_id FROM outbox", &[]).await.unwrap();
    assert_eq!(woken.get::<_, uuid::Uuid>(0), second.0);
    let state = session.query_one("SELECT state FROM orders WHERE id = $1", &[&first.0]).await.unwrap();
    assert_eq!(state.get::<_, String>(0), "scheduled");
}
