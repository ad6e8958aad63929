//! A service's life: modified, redeployed, failed, and what it holds on which device.

use serde_json::{Value, json};
use turnup_core::{
    failure::FailureClass,
    id::{DeploymentId, OrderId, ServiceId},
    lifecycle::{OrderState, ServiceState},
    message::InForce,
    order::OrderKind,
};
use turnup_store::{Decision, DeviceChange, Holder, NewOrder, ServiceChange, Store, testing::Database};

use crate::support::{
    accept, add, count, deployment, failure, moved, name, now, order, settle, settled, start, state, until,
    woken,
};

const SHARED: &str = "/interfaces/vlan-tagging";

async fn provisioned(store: &Store, devices: &[&str]) -> NewOrder {
    let new = order(devices);
    accept(store, new.clone()).await;
    let started = start(store, &[(new.facts.id, 1)]).await;
    settle(store, &started, &[]).await;
    new
}

fn of(service: ServiceId, kind: OrderKind, devices: &[&str]) -> NewOrder {
    let mut new = order(devices);
    new.facts.kind = kind;
    new.facts.service_id = service;
    new
}

/// `(device, footprint, owned nodes, value of the shared node)`
type Part<'a> = (&'a str, Value, &'a [&'a str], Option<&'a str>);

/// Starts the order with these footprints.
async fn start_with(store: &Store, id: OrderId, parts: &[Part<'_>]) -> (OrderId, DeploymentId) {
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    let [due] = &starting.orders[..] else { panic!("{:?}", starting.orders) };
    let mut start = deployment(due, &starting);
    let part = |(device, footprint, nodes, shared): &Part<'_>| {
        let shared: Vec<Value> = shared.iter().map(|value| json!({"node": SHARED, "value": value})).collect();
        json!({"service_id": due.order.service_id, "device": device, "footprint": footprint, "nodes": nodes, "shared": shared})
    };
    start.footprints = parts.iter().map(part).collect();
    let started = (id, start.deployment);
    let at = now();
    let entries = [moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at)];
    starting.finish(&[Decision::Start(vec![start])], &entries, at).await.unwrap();
    started
}

/// Fails, with the attempt in force as given.
async fn fail(store: &Store, ended: (OrderId, DeploymentId), left: &[(&str, InForce)]) {
    let settling = store.begin_settle(&[ended.1]).await.unwrap();
    let at = now();
    let mut settled = settled(&settling, &[ended], &[failure(FailureClass::InDoubt)], at);
    for change in &mut settled.services {
        if let ServiceChange::Fail { in_force, .. } = change {
            *in_force = left.iter().map(|(device, in_force)| (name(device), *in_force)).collect();
        }
    }
    settling.finish(&settled, at).await.unwrap();
}

async fn nodes(database: &Database, table: &str) -> Vec<String> {
    let session = database.session().await.unwrap();
    let sql = format!("SELECT device || node FROM {table} ORDER BY 1");
    session.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_modify_replaces_what_the_service_is_and_holds() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2", "d3"]).await;
    let service = provisioned(store, &["d1", "d2"]).await.facts.service_id;
    // From d1, d2 to d2, d3.
    let mut modify = of(service, OrderKind::Modify, &["d2", "d3"]);
    modify.attributes.insert("mtu".to_owned(), 9000.into());
    modify.definition_version = 2;
    let id = accept(store, modify.clone()).await;
    let parts: [Part<'_>; 3] = [
        ("d1", Value::Null, &[], None),
        ("d2", json!({"v": 2}), &["/a", "/b"], Some("true")),
        ("d3", json!({"v": 3}), &["/c"], None),
    ];
    let started = start_with(store, id, &parts).await;
    let leased = "SELECT count(*) FROM leases WHERE order_id IS NOT NULL";
    assert_eq!(count(&database, leased).await, 3, "the device that it leaves as well");
    settle(store, &[started], &[]).await;
    assert_eq!(count(&database, leased).await, 0);
    let view = store.service(service).await.unwrap().unwrap();
    assert_eq!((view.state, view.wanted_by, view.last_order), (ServiceState::Deployed, id, id));
    assert_eq!((view.devices, view.definition_version), (vec!["d2".to_owned(), "d3".to_owned()], 2));
    assert_eq!(view.attributes["mtu"], 9000);
    let footprints = store.footprints(service).await.unwrap();
    let found: Vec<_> = footprints.iter().map(|f| (f.device.as_str(), &f.footprint)).collect();
    assert_eq!(found, [("d2", &json!({"v": 2})), ("d3", &json!({"v": 3}))]);
    assert_eq!(nodes(&database, "owned_nodes").await, ["d2/a", "d2/b", "d3/c"]);
    assert_eq!(nodes(&database, "shared_nodes").await, [format!("d2{SHARED}")]);
    // The device that it has left shows the order, and may go.
    assert_eq!(store.remove_device(&name("d1"), "anna", now()).await.unwrap(), DeviceChange::Done);
    assert_eq!(store.remove_device(&name("d2"), "anna", now()).await.unwrap(), DeviceChange::InUse(1));
}

#[tokio::test]
async fn a_redeploy_leaves_the_attributes() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let new = provisioned(store, &["d1"]).await;
    let service = new.facts.service_id;
    let mut redeploy = of(service, OrderKind::Redeploy, &["d1"]);
    redeploy.attributes.insert("mtu".to_owned(), 1.into());
    let id = accept(store, redeploy).await;
    let started = start_with(store, id, &[("d1", json!({"again": true}), &["/a"], None)]).await;
    fail(store, started, &[("d1", InForce::Unknown)]).await;
    assert_eq!(store.service(service).await.unwrap().unwrap().state, ServiceState::FailDeploy);
    let again = accept(store, of(service, OrderKind::Redeploy, &["d1"])).await;
    let started = start_with(store, again, &[("d1", json!({"again": 2}), &["/a"], None)]).await;
    settle(store, &[started], &[]).await;
    let view = store.service(service).await.unwrap().unwrap();
    assert_eq!((view.state, view.last_order, view.wanted_by), (ServiceState::Deployed, again, new.facts.id));
    assert_eq!(view.attributes["mtu"], 1500);
    let footprint = &store.footprints(service).await.unwrap()[0];
    assert_eq!((footprint.in_force, footprint.strays.len()), (InForce::New, 0), "known again");
}

#[tokio::test]
async fn what_failed_attempts_may_have_left_is_kept_and_taken() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let service = provisioned(store, &["d1"]).await.facts.service_id;
    let owned = nodes(&database, "owned_nodes").await;
    let modify = || of(service, OrderKind::Modify, &["d1", "d2"]);
    for attempt in [1, 2, 3, 2, 4, 5] {
        let id = accept(store, modify()).await;
        let footprint = json!({"attempt": attempt});
        let parts: [Part<'_>; 2] =
            [("d1", footprint.clone(), &["/n"], Some("7")), ("d2", footprint, &["/m"], None)];
        let started = start_with(store, id, &parts).await;
        fail(store, started, &[("d1", InForce::New), ("d2", InForce::Unknown)]).await;
        assert_eq!(state(store, id).await, OrderState::FailedDeploy);
    }
    let footprints = store.footprints(service).await.unwrap();
    let [d1, d2] = &footprints[..] else { panic!("{footprints:?}") };
    // Each once, the last four.
    let strays = [3, 2, 4, 5].map(|attempt| json!({"attempt": attempt}));
    // What the last attempt has put in force there isn't what the service is to have.
    assert_eq!((d1.in_force, &d1.strays[..]), (InForce::Unknown, &strays[..]));
    assert!(d1.footprint["of"].is_string(), "what was in force before");
    assert_eq!((d2.in_force, &d2.footprint, d2.strays.len()), (InForce::Unknown, &Value::Null, 4));
    assert_eq!(
        nodes(&database, "owned_nodes").await,
        [&owned[..], &["d1/n".to_owned(), "d2/m".to_owned()]].concat()
    );
    let asked = [("d1".to_owned(), SHARED.to_owned()), ("d2".to_owned(), SHARED.to_owned())];
    let holder = |value: &str| Holder {
        device: "d1".to_owned(),
        node: SHARED.to_owned(),
        service,
        value: Some(value.to_owned()),
    };
    assert_eq!(store.holders(&asked, &[]).await.unwrap(), [holder("true")], "what is in force stays");
    // The next start is told, and needs the device on which there may be something.
    let redeploy = accept(store, of(service, OrderKind::Redeploy, &["d1"])).await;
    let starting = store.begin_start(&[(redeploy, 1)]).await.unwrap();
    assert!(starting.orders[0].devices.contains(&name("d2")));
    let stored = &starting.footprints[&service][&name("d2")];
    assert_eq!(
        (&stored.footprint, stored.in_force, stored.strays.len()),
        (&Value::Null, InForce::Unknown, 4)
    );
    assert_eq!(starting.services[&service].state, ServiceState::FailDeploy);
    assert_eq!(starting.holders(&asked, &[]).await.unwrap(), [holder("true")]);
    drop(starting);
    let parts: [Part<'_>; 2] = [("d1", json!({"v": 9}), &["/z"], Some("9")), ("d2", Value::Null, &[], None)];
    let started = start_with(store, redeploy, &parts).await;
    settle(store, &[started], &[]).await;
    let footprints = store.footprints(service).await.unwrap();
    assert_eq!(footprints.len(), 1);
    assert_eq!((footprints[0].in_force, footprints[0].strays.len()), (InForce::New, 0));
    assert_eq!(nodes(&database, "owned_nodes").await, ["d1/z"]);
    assert_eq!(store.holders(&asked, &[]).await.unwrap(), [holder("9")]);
}

#[tokio::test]
async fn an_attempt_that_left_nothing_leaves_no_trace() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let service = provisioned(store, &["d1"]).await.facts.service_id;
    let before = (nodes(&database, "owned_nodes").await, nodes(&database, "shared_nodes").await);
    let id = accept(store, of(service, OrderKind::Modify, &["d1"])).await;
    let started = start_with(store, id, &[("d1", json!({"v": 2}), &["/n"], Some("7"))]).await;
    fail(store, started, &[("d1", InForce::Old)]).await;
    let footprint = &store.footprints(service).await.unwrap()[0];
    assert_eq!((footprint.in_force, footprint.strays.len()), (InForce::New, 0));
    assert_eq!((nodes(&database, "owned_nodes").await, nodes(&database, "shared_nodes").await), before);
}

#[tokio::test]
async fn several_services_hold_one_node() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let one = provisioned(store, &["d1"]).await.facts.service_id;
    let two = provisioned(store, &["d1"]).await.facts.service_id;
    let asked = [("d1".to_owned(), SHARED.to_owned()), ("d1".to_owned(), format!("{SHARED}/deeper"))];
    let holders = async || -> Vec<ServiceId> {
        store.holders(&asked, &[]).await.unwrap().into_iter().map(|holder| holder.service).collect()
    };
    assert_eq!(holders().await, [one, two]);
    let id = accept(store, of(one, OrderKind::Decommission, &["d1"])).await;
    settle(store, &start(store, &[(id, 1)]).await, &[]).await;
    assert_eq!(holders().await, [two]);
    let owned = [("d1".to_owned(), "/interfaces".to_owned())];
    assert_eq!(store.owners(&owned, &[]).await.unwrap().len(), 1);
    let around = [("d1".to_owned(), format!("/interfaces/interface[name='{two}']"))];
    assert_eq!(store.owners(&[], &around).await.unwrap().len(), 1, "those around alone");
}

/// An order waits for the devices on which its service is as well, and is woken for them.
#[tokio::test]
async fn an_order_waits_for_a_device_that_only_its_service_has() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let service = provisioned(store, &["d1"]).await.facts.service_id;
    let holder = accept(store, order(&["d1"])).await;
    let held = start(store, &[(holder, 1)]).await;
    let modify = accept(store, of(service, OrderKind::Modify, &["d2"])).await;
    assert!(start(store, &[(modify, 1)]).await.is_empty());
    let waits = store.order(modify).await.unwrap().unwrap().waiting_for;
    assert_eq!((waits[0].device.as_str(), waits[0].order), ("d1", holder));
    assert_eq!(store.unfinished_on(&["d1"], 10).await.unwrap().len(), 2, "it is shown there too");
    let lease = store.lead_relay().await.unwrap().unwrap();
    let seen = lease.last_row().await.unwrap();
    settle(store, &held, &[]).await;
    assert_eq!(woken(&lease, seen).await, [(modify, 1)]);
    let next = accept(store, order(&["d1"])).await;
    let started = start(store, &[(modify, 1), (next, 1)]).await;
    assert_eq!(started.len(), 1);
    // Its end gives both back.
    let seen = lease.last_row().await.unwrap();
    settle(store, &started, &[]).await;
    assert_eq!(woken(&lease, seen).await, [(next, 1)]);
    assert_eq!(count(&database, "SELECT count(*) FROM leases WHERE order_id IS NOT NULL").await, 0);
}

/// The service comes to another device while its next order waits for the leases: that one is put aside
/// and sent again.
#[tokio::test]
async fn an_order_whose_service_moves_meanwhile_is_sent_again() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let service = provisioned(store, &["d1"]).await.facts.service_id;
    let modify = accept(store, of(service, OrderKind::Modify, &["d1", "d2"])).await;
    let moved_on = start(store, &[(modify, 1)]).await;
    let redeploy = accept(store, of(service, OrderKind::Redeploy, &["d1"])).await;
    // Somebody else has the lease's row for a moment.
    let mut session = database.session().await.unwrap();
    let lock = session.transaction().await.unwrap();
    lock.execute("SELECT FROM leases WHERE device = 'd1' FOR UPDATE", &[]).await.unwrap();
    let beginning = {
        let store = store.clone();
        tokio::spawn(async move { store.begin_start(&[(redeploy, 1)]).await })
    };
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("the start to wait for the lease", async || count(&database, waiting).await == 1).await;
    // The other order's end, as far as it matters here.
    lock.execute(
        "INSERT INTO footprints (service_id, device, footprint) VALUES ($1, 'd2', '{}')",
        &[&service.0],
    )
    .await
    .unwrap();
    lock.commit().await.unwrap();
    let starting = beginning.await.unwrap().unwrap();
    assert!(starting.orders.is_empty(), "{:?}", starting.orders);
    let lease = store.lead_relay().await.unwrap().unwrap();
    let seen = lease.last_row().await.unwrap();
    starting.finish(&[], &[], now()).await.unwrap();
    assert_eq!(woken(&lease, seen).await, [(redeploy, 1)]);
    let starting = store.begin_start(&[(redeploy, 1)]).await.unwrap();
    assert_eq!(starting.orders[0].devices.len(), 2);
    drop(starting);
    settle(store, &moved_on, &[failure(FailureClass::Busy)]).await;
}

/// One that waits already, and whose service has come to another device since, queues there as well.
#[tokio::test]
async fn a_waiting_order_queues_at_a_device_that_came_later() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let service = provisioned(store, &["d1"]).await.facts.service_id;
    let move_it = accept(store, of(service, OrderKind::Modify, &["d1", "d2"])).await;
    let moving = start(store, &[(move_it, 1)]).await;
    let redeploy = accept(store, of(service, OrderKind::Redeploy, &["d1"])).await;
    assert!(start(store, &[(redeploy, 1)]).await.is_empty());
    let other = accept(store, order(&["d2"])).await;
    assert!(start(store, &[(other, 1)]).await.is_empty());
    settle(store, &moving, &[]).await;
    let held = start(store, &[(other, 1)]).await;
    assert_eq!(held.len(), 1);
    assert!(start(store, &[(redeploy, 1)]).await.is_empty(), "its service is on d2 now");
    assert_eq!(count(&database, "SELECT count(*) FROM lease_waits").await, 2);
    let lease = store.lead_relay().await.unwrap().unwrap();
    let seen = lease.last_row().await.unwrap();
    settle(store, &held, &[]).await;
    assert_eq!(woken(&lease, seen).await, [(redeploy, 1)]);
    assert_eq!(start(store, &[(redeploy, 1)]).await.len(), 1);
    assert_eq!(count(&database, "SELECT count(*) FROM lease_waits").await, 0);
}

/// What others hold is found at the very node and inside those that are claimed, and as all want the same in it,
/// however many hold it two are enough.
#[tokio::test]
async fn holders_are_found_within_what_is_claimed() {
    let database = Database::new().await;
    let store = database.store();
    let session = database.session().await.unwrap();
    let rows = "INSERT INTO shared_nodes (device, node, service_id, value)
        SELECT 'd1', node, gen_random_uuid(), 'true' FROM unnest(ARRAY['/p[n=''a/b'']/t', '/p[n=''a/b'']-x/t', '/q']) AS node,
        generate_series(1, 5)";
    session.execute(rows, &[]).await.unwrap();
    let of = |node: &str| ("d1".to_owned(), node.to_owned());
    let nodes = async |nodes: &[(String, String)], within: &[(String, String)]| -> Vec<String> {
        store.holders(nodes, within).await.unwrap().into_iter().map(|holder| holder.node).collect()
    };
    assert_eq!(nodes(&[of("/q"), of("/r"), of("/q")], &[]).await, ["/q", "/q"]);
    assert_eq!(nodes(&[], &[of("/p[n='a/b']")]).await, ["/p[n='a/b']/t"; 5]);
    assert_eq!(nodes(&[of("/p[n='a/b']/t")], &[of("/p[n='a/b']/t")]).await.len(), 2);
    assert!(nodes(&[("d2".to_owned(), "/q".to_owned())], &[of("/t")]).await.is_empty());
}

/// One that waits for a device which its service has left since waits there in vain: whoever is behind it must
/// not wait for its end, which has nothing to do with that device.
#[tokio::test]
async fn nobody_waits_behind_one_that_waits_in_vain() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let service = provisioned(store, &["d1"]).await.facts.service_id;
    let early = accept(store, of(service, OrderKind::Redeploy, &["d1"])).await;
    let late = accept(store, of(service, OrderKind::Redeploy, &["d1"])).await;
    let there = accept(store, of(service, OrderKind::Modify, &["d1", "d2"])).await;
    let there = start(store, &[(there, 1)]).await;
    settle(store, &there, &[]).await;
    let back = accept(store, of(service, OrderKind::Modify, &["d1", "d2"])).await;
    let d1 = json!({"of": "back"});
    let back = start_with(store, back, &[("d1", d1, &[], None), ("d2", Value::Null, &[], None)]).await;
    assert!(start(store, &[(early, 1), (late, 1)]).await.is_empty());
    let other = accept(store, order(&["d2"])).await;
    assert!(start(store, &[(other, 1)]).await.is_empty());
    settle(store, &[back], &[]).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let seen = lease.last_row().await.unwrap();
    // The first one starts, the second one waits on: neither needs d2.
    let started = start(store, &[(early, 1), (late, 1)]).await;
    assert_eq!(started.len(), 1);
    assert_eq!(woken(&lease, seen).await, [(other, 1)]);
    assert_eq!(start(store, &[(other, 1)]).await.len(), 1);
    settle(store, &started, &[]).await;
    assert_eq!(start(store, &[(late, 1)]).await.len(), 1);
}

/// What a failed attempt has put in force is only then "as wanted" when it is the same again.
#[tokio::test]
async fn only_what_was_written_again_is_in_force_after_a_failure() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2"]).await;
    let service = provisioned(store, &["d1", "d2"]).await.facts.service_id;
    let had: Vec<Value> =
        store.footprints(service).await.unwrap().into_iter().map(|row| row.footprint).collect();
    for (kind, d1, wanted) in [
        (OrderKind::Redeploy, had[0].clone(), InForce::New),
        (OrderKind::Decommission, Value::Null, InForce::Unknown),
    ] {
        let id = accept(store, of(service, kind, &["d1", "d2"])).await;
        let parts: [Part<'_>; 2] = [("d1", d1, &[], None), ("d2", had[1].clone(), &[], None)];
        let started = start_with(store, id, &parts).await;
        fail(store, started, &[("d1", InForce::New), ("d2", InForce::Old)]).await;
        let rows = store.footprints(service).await.unwrap();
        assert_eq!((rows[0].in_force, rows[1].in_force), (wanted, InForce::New), "{kind}");
        assert_eq!(rows[0].footprint, had[0]);
    }
}
