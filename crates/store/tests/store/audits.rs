//! Audits: their results, and those that are made periodically.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use turnup_core::{
    audit::{AuditPart, AuditSummary, ConfigAudit},
    id::{OrderId, ServiceId},
    lifecycle::{AuditState, OrderState},
    order::OrderKind,
};
use turnup_store::{NewOrder, ServiceChange, ServiceFilter, ServiceView, Store, testing::Database};

use crate::support::{REACH_MS, accept, add, count, now, order, settle, settled, start, with_entries};

async fn provisioned(store: &Store, devices: &[&str]) -> ServiceId {
    let new = order(devices);
    let service = new.facts.service_id;
    accept(store, new.clone()).await;
    settle(store, &start(store, &[(new.facts.id, 1)]).await, &[]).await;
    service
}

fn validate(service: ServiceId, devices: &[String]) -> NewOrder {
    let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
    let mut new = order(&devices);
    new.facts.kind = OrderKind::Validate;
    new.facts.service_id = service;
    new.options.audit = AuditPart::ALL.to_vec();
    with_entries(new)
}

async fn audited(store: &Store, service: ServiceId, state: AuditState, config: ConfigAudit) -> OrderId {
    let id = accept(store, validate(service, &["d1".to_owned()])).await;
    let started = start(store, &[(id, 1)]).await;
    let settling = store.begin_settle(&[started[0].1]).await.unwrap();
    let stored = &settling.orders[&id];
    assert_eq!((stored.facts.kind, &stored.options.audit[..]), (OrderKind::Validate, AuditPart::ALL));
    let (at, sequence) = (now(), stored.service.unwrap().1 + 1);
    let mut settled = settled(&settling, &started, &[], at);
    let summary = AuditSummary { state, config, reason: Some(format!("{state} {config}")) };
    let devices = json!([["d1", {"config": config}]]);
    settled.services.push(ServiceChange::Audited { service, order: id, sequence, at, summary, devices });
    settling.finish(&settled, at).await.unwrap();
    id
}

#[tokio::test]
async fn the_part_that_was_not_looked_at_keeps_its_result() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1"]).await;
    let service = provisioned(store, &["d1"]).await;
    assert_eq!(store.audit(service).await.unwrap(), None);
    let before = store.service(service).await.unwrap().unwrap();
    assert_eq!((before.audit_state, before.config_audit), (AuditState::NotAudited, ConfigAudit::NotAudited));
    audited(store, service, AuditState::Down, ConfigAudit::Drifted).await;
    let id = audited(store, service, AuditState::NotAudited, ConfigAudit::InSync).await;
    let view = store.service(service).await.unwrap().unwrap();
    assert_eq!((view.audit_state, view.config_audit), (AuditState::Down, ConfigAudit::InSync));
    assert_eq!(view.audit_reason.as_deref(), Some("not_audited in_sync"));
    assert_eq!(
        (view.last_order, view.state),
        (before.last_order, before.state),
        "an audit changes no service"
    );
    let audit = store.audit(service).await.unwrap().unwrap();
    assert_eq!((audit.order, audit.state, audit.config), (id, AuditState::NotAudited, ConfigAudit::InSync));
    assert_eq!(audit.devices, json!([["d1", {"config": "in_sync"}]]));
    let list = async |filter: ServiceFilter| store.services(&filter).await.unwrap().items.len();
    let all = ServiceFilter { limit: 9, ..Default::default() };
    assert_eq!(list(ServiceFilter { audit_state: Some(AuditState::Down), ..all.clone() }).await, 1);
    assert_eq!(list(ServiceFilter { audit_state: Some(AuditState::Up), ..all.clone() }).await, 0);
    assert_eq!(list(ServiceFilter { config_audit: Some(ConfigAudit::InSync), ..all.clone() }).await, 1);
    assert_eq!(list(ServiceFilter { config_audit: Some(ConfigAudit::Drifted), ..all }).await, 0);
    let mut end = order(&["d1"]);
    end.facts.kind = OrderKind::Decommission;
    end.facts.service_id = service;
    let end = accept(store, end).await;
    settle(store, &start(store, &[(end, 1)]).await, &[]).await;
    assert_eq!(store.audit(service).await.unwrap(), None);
}

fn make(services: &[ServiceView]) -> Vec<NewOrder> {
    services.iter().map(|service| validate(service.id, &service.devices)).collect()
}

const EVERY_S: u64 = 1000;

async fn take(store: &Store, limit: i64, at: Timestamp) -> Vec<ServiceId> {
    let every = [("eline".to_owned(), EVERY_S)];
    let ids = store.take_due_audits(&every, limit, at, REACH_MS, make).await.unwrap();
    let mut services = Vec::new();
    for id in ids {
        services.push(store.order(id).await.unwrap().unwrap().service_id);
    }
    services
}

fn after(at: Timestamp, seconds: u64) -> Timestamp {
    at + SignedDuration::from_secs(i64::try_from(seconds).unwrap())
}

async fn finish_all(store: &Store) {
    for view in store
        .orders(&turnup_store::OrderFilter {
            states: vec![OrderState::Scheduled],
            limit: 100,
            ..Default::default()
        })
        .await
        .unwrap()
        .items
    {
        settle(store, &start(store, &[(view.id, 1)]).await, &[]).await;
    }
}

#[tokio::test]
async fn every_service_is_audited_once_a_period() {
    let database = Database::new().await;
    let store = database.store();
    let names: Vec<String> = (0..12).map(|n| format!("d{n}")).collect();
    add(store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut services = BTreeSet::new();
    for device in &names {
        services.insert(provisioned(store, &[device]).await);
    }
    let begin = now();
    assert_eq!(take(store, 100, begin).await, [], "their first times are spread over the period");
    let half = take(store, 100, after(begin, EVERY_S / 2)).await;
    finish_all(store).await;
    let rest = take(store, 100, after(begin, EVERY_S + 1)).await;
    let taken: Vec<ServiceId> = half.iter().chain(&rest).copied().collect();
    assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>(), services);
    assert!(half.len() < 12 && taken.len() <= 14, "{} and {}", half.len(), rest.len());
    for service in &services {
        let next = store.service(*service).await.unwrap().unwrap().next_audit_at.unwrap();
        assert!(next > after(begin, EVERY_S), "{next}");
        assert!(next <= after(begin, EVERY_S + 1 + EVERY_S * 11 / 10), "{next}");
    }
    // With its order unfinished, none is made again, however late it is.
    assert_eq!(take(store, 100, after(begin, EVERY_S * 10)).await.len(), 12 - rest.len());
    assert_eq!(take(store, 100, after(begin, EVERY_S * 100)).await, []);
    finish_all(store).await;
    assert_eq!(take(store, 5, after(begin, EVERY_S * 101)).await.len(), 5, "at most so many");
    // Of other definitions nobody has asked.
    let other = [("l3vpn".to_owned(), 1)];
    let ids = store.take_due_audits(&other, 100, after(begin, EVERY_S * 200), REACH_MS, make).await.unwrap();
    assert_eq!(ids, []);
}

#[tokio::test]
async fn of_services_that_share_a_device_one_goes_at_a_time() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &["d1", "d2", "d3", "d4"]).await;
    for devices in [&["d1", "d2"][..], &["d1", "d3"], &["d2", "d3"], &["d4"]] {
        provisioned(store, devices).await;
    }
    let begin = now();
    take(store, 100, begin).await;
    let late = after(begin, EVERY_S * 2);
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        let taken = take(store, 100, late).await;
        assert_eq!(taken.len(), if round == 0 { 2 } else { 1 });
        seen.extend(taken);
        finish_all(store).await;
    }
    assert_eq!(seen.len(), 4);
}

/// Two schedulers, and one that fails in the midst of it: no period is lost and none doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_makes_an_audit_twice_or_loses_one() {
    let database = Database::new().await;
    let store = database.store();
    let names: Vec<String> = (0..20).map(|n| format!("d{n:02}")).collect();
    add(store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for device in &names {
        provisioned(store, &[device]).await;
    }
    let begin = now();
    take(store, 100, begin).await;
    let late = after(begin, EVERY_S * 2);
    // The orders are refused (their first entry twice): all is as before.
    let every = [("eline".to_owned(), EVERY_S)];
    let broken = |services: &[ServiceView]| -> Vec<NewOrder> {
        let twice = |mut new: NewOrder| {
            new.entries.push(new.entries[0].clone());
            new
        };
        make(services).into_iter().map(twice).collect()
    };
    assert!(store.take_due_audits(&every, 100, late, REACH_MS, broken).await.is_err());
    assert_eq!(count(&database, "SELECT count(*) FROM orders WHERE kind = 'validate'").await, 0);
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                for _ in 0..3 {
                    taken.extend(take(&store, 7, late).await);
                }
                taken
            })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    taken.extend(take(store, 100, late).await);
    assert_eq!(taken.len(), 20);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>().len(), 20);
}
