use std::collections::{BTreeMap, HashMap};

use turnup_core::{
    event::OrderFacts,
    failure::FailureClass,
    id::{DeploymentId, OrderId, ServiceId},
    lifecycle::{DeploymentEvent, DeploymentState, ServiceState},
    message::{DeviceReport, InForce, OrderReport, Stage, StateChange},
    name::DeviceName,
    order::{OrderKind, OrderOptions},
    retry::{RetryChanges, RetryPolicy, Series},
};
use turnup_store::{DeploymentToSettle, ServiceChange, ToRetry};

use super::*;
use crate::{Settings, apply::apply};

const POLICY: RetryPolicy =
    RetryPolicy { attempts: 3, first_ms: 10_000, max_ms: 300_000, total_ms: 3_600_000 };

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn deployment() -> DeploymentId {
    DeploymentId(Uuid::from_u128(1))
}

fn id(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(n))
}

fn stored(n: u128, kind: OrderKind, retries: u32) -> OrderToSettle {
    let facts = OrderFacts {
        id: id(n),
        kind,
        definition: "eline".to_owned(),
        service_id: ServiceId(Uuid::from_u128(100 + n)),
        region: "eu".to_owned(),
        external_id: None,
        requester: "crm".to_owned(),
        undoes: None,
    };
    let series = Series { retries, began: Some(now()), generation: 1 };
    OrderToSettle {
        facts,
        state: OrderState::InProgress,
        sequence: 3,
        service: (kind != OrderKind::Provision).then_some((ServiceState::Deployed, 4)),
        earlier_events: 0,
        options: OrderOptions::default(),
        retry: ToRetry { revision: 6, series, changes: RetryChanges::default(), policy: POLICY },
    }
}

fn device(name: &str, in_force: InForce) -> DeviceReport {
    DeviceReport {
        device: DeviceName::new(name).unwrap(),
        in_force,
        steps: vec![],
        failures: vec![],
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    }
}

/// The end of a deployment of order 2, which says what went wrong.
fn ended(event: DeploymentEvent, classes: &[FailureClass], devices: Vec<DeviceReport>) -> StateChange {
    let failure =
        |class: &FailureClass| Failure::new(*class, "connect", "refused").at(DeviceName::new("a").unwrap());
    let failures = classes.iter().map(failure).collect();
    StateChange {
        deployment: deployment(),
        attempt: 1,
        sequence: 1,
        worker: "w1".to_owned(),
        at: now(),
        event,
        phase: "prepare".to_owned(),
        devices,
        orders: vec![OrderReport {
            order: id(2),
            failures,
            in_force: BTreeMap::new(),
            audits: BTreeMap::new(),
        }],
        confirm_by: None,
    }
}

fn busy() -> StateChange {
    let devices = vec![device("a", InForce::Old), device("z", InForce::Old)];
    ended(DeploymentEvent::RolledBack, &[FailureClass::Undone, FailureClass::Busy], devices)
}

fn run(orders: Vec<OrderToSettle>, reports: &[StateChange]) -> Settled {
    let known = DeploymentToSettle {
        state: DeploymentState::Running,
        attempt: 1,
        sequence: 0,
        in_doubt_since: None,
        stage: Stage::Whole,
        part: None,
    };
    let orders: HashMap<OrderId, OrderToSettle> =
        orders.into_iter().map(|order| (order.facts.id, order)).collect();
    let reports: Vec<&StateChange> = reports.iter().collect();
    apply(&reports, &HashMap::from([(deployment(), known)]), &orders, now())
}

#[test]
fn a_failed_order_is_scheduled_again_in_the_same_breath() {
    let settled = run(vec![stored(2, OrderKind::Provision, 0)], &[busy()]);
    assert_eq!(settled.orders.len(), 1);
    let (order, state, sequence, failures) = &settled.orders[0];
    assert_eq!((*order, *state, *sequence, failures.len()), (id(2), OrderState::FailedDeploy, 4, 2));
    let [Retry { order, sequence: 5, revision: 7, number: 2, of: 3, due }] = settled.retries[..] else {
        panic!("{:?}", settled.retries)
    };
    assert_eq!(order, id(2));
    let pause = due.duration_since(now()).as_millis();
    assert!((5000..=10_000).contains(&pause), "{pause}");
    let [failed, again] = &settled.entries[..] else { panic!("{:?}", settled.entries) };
    let at = event::time(due);
    assert_eq!(failed.change, Some((Some(OrderState::InProgress), OrderState::FailedDeploy)));
    assert_eq!(failed.event.data["retry"], json!({"attempt": 2, "of": 3, "at": at}));
    assert_eq!(failed.event.data["errors"][1]["class"], "busy");
    assert_eq!(again.change, Some((Some(OrderState::FailedDeploy), OrderState::Scheduled)));
    assert_eq!((failed.event.sequence, again.event.sequence, again.by.as_str()), (4, 5, BY));
    assert_eq!(again.why, Some(format!("attempt 2 of 3 at {at}, after: a: refused")));
    assert_eq!(again.event.kind(), "dev.turnup.order.scheduled.v1");
    assert_eq!(
        (&again.event.data["scheduled_for"], &again.event.data["retry"]["of"]),
        (&json!(at), &json!(3))
    );
}

#[test]
fn a_service_has_failed_only_with_the_last_attempt() {
    for kind in [OrderKind::Modify, OrderKind::Redeploy, OrderKind::Decommission] {
        let waits = run(vec![stored(2, kind, 1)], &[busy()]);
        assert_eq!(waits.retries.len(), 1, "{kind}");
        assert!(waits.services.is_empty() && waits.entries.len() == 2, "{kind}");
        let over = run(vec![stored(2, kind, 2)], &[busy()]);
        assert!(over.retries.is_empty(), "{kind}");
        assert_eq!(over.orders[0].1, OrderState::FailedDeploy);
        assert!(over.entries[0].event.data.get("retry").is_none(), "this was the end");
        assert!(
            matches!(over.services[..], [ServiceChange::Fail { state: ServiceState::FailDeploy, .. }]),
            "{kind}: {:?}",
            over.services
        );
    }
}

#[test]
fn only_what_is_known_to_be_as_before_is_tried_again() {
    use DeploymentEvent as E;
    let retried = |report: StateChange| {
        let settled = run(vec![stored(2, OrderKind::Provision, 0)], &[report]);
        !settled.retries.is_empty()
    };
    assert!(retried(busy()));
    for found in [InForce::New, InForce::Unknown, InForce::Partly, InForce::Provisional] {
        let devices = vec![device("a", InForce::Old), device("z", found)];
        for event in [E::RolledBack, E::GivenUp, E::PartlyCommitted] {
            assert!(!retried(ended(event, &[FailureClass::Busy], devices.clone())), "{event} {found}");
        }
    }
    let old = || vec![device("a", InForce::Old)];
    assert!(!retried(ended(E::GivenUp, &[FailureClass::Unreachable], old())), "somebody has to look first");
    assert!(!retried(ended(E::RolledBack, &[], old())), "nobody knows why");
    for class in FailureClass::ALL {
        let event = if *class == FailureClass::Invalid { E::Rejected } else { E::RolledBack };
        let wanted = matches!(class, FailureClass::Busy | FailureClass::Unreachable);
        assert_eq!(retried(ended(event, &[*class], old())), wanted, "{class}");
    }
}

#[test]
fn a_repeated_report_schedules_nothing_twice() {
    let settled = run(vec![stored(2, OrderKind::Provision, 0)], &[busy(), busy()]);
    assert_eq!((settled.retries.len(), settled.entries.len()), (1, 2));
    let mut later = busy();
    later.sequence = 2;
    let settled = run(vec![stored(2, OrderKind::Provision, 0)], &[busy(), later]);
    assert_eq!((settled.retries.len(), settled.entries.len()), (1, 2));
}

#[test]
fn of_a_group_only_who_failed_is_tried_again() {
    let mut report = ended(
        DeploymentEvent::PartlyCommitted,
        &[FailureClass::Unreachable],
        vec![device("a", InForce::Partly), device("z", InForce::Old)],
    );
    let own = |devices: &[(&str, InForce)]| {
        devices.iter().map(|(name, found)| (DeviceName::new(*name).unwrap(), *found)).collect()
    };
    report.orders[0].in_force = own(&[("a", InForce::Old), ("z", InForce::Old)]);
    let in_force = own(&[("a", InForce::New)]);
    report.orders.push(OrderReport { order: id(3), failures: vec![], in_force, audits: BTreeMap::new() });
    let settled =
        run(vec![stored(2, OrderKind::Provision, 0), stored(3, OrderKind::Provision, 0)], &[report]);
    let states: Vec<_> = settled.orders.iter().map(|(id, state, ..)| (*id, *state)).collect();
    assert_eq!(states, [(id(2), OrderState::FailedDeploy), (id(3), OrderState::Completed)]);
    assert_eq!(settled.retries.iter().map(|retry| retry.order).collect::<Vec<_>>(), [id(2)]);
}

#[test]
fn of_a_group_in_doubt_those_are_tried_again_of_whom_all_is_known() {
    let devices = vec![device("a", InForce::Old), device("z", InForce::Unknown)];
    let mut report = ended(DeploymentEvent::GivenUp, &[FailureClass::Unreachable], devices);
    let own = |name: &str, found| std::iter::once((DeviceName::new(name).unwrap(), found)).collect();
    report.orders[0].in_force = own("a", InForce::Old);
    let (failures, in_force) = (report.orders[0].failures.clone(), own("z", InForce::Unknown));
    report.orders.push(OrderReport { order: id(3), failures, in_force, audits: BTreeMap::new() });
    let settled =
        run(vec![stored(2, OrderKind::Provision, 0), stored(3, OrderKind::Provision, 0)], &[report]);
    assert_eq!(settled.retries.iter().map(|retry| retry.order).collect::<Vec<_>>(), [id(2)]);
}

#[test]
fn a_definition_counts_more_than_a_region_and_that_more_than_the_default() {
    let region = RetryChanges { attempts: Some(5), first_ms: Some(7), ..RetryChanges::default() };
    let settings = Settings {
        retry: POLICY,
        retry_regions: BTreeMap::from([("eu".to_owned(), region)]),
        ..Settings::default()
    };
    let definition = RetryChanges { attempts: Some(9), ..RetryChanges::default() };
    let none = RetryChanges::default();
    let policy = |region, changes| {
        let policy = settings.policy(region, changes);
        (policy.attempts, policy.first_ms, policy.max_ms)
    };
    assert_eq!(policy("us", &none), (3, 10_000, 300_000));
    assert_eq!(policy("eu", &none), (5, 7, 300_000));
    assert_eq!(policy("eu", &definition), (9, 7, 300_000));
    assert_eq!(settings.check(), Ok(()));
    let bad = RetryChanges { total_ms: Some(0), ..none };
    let wrong = Settings { retry_regions: BTreeMap::from([("eu".to_owned(), bad)]), ..settings };
    assert_eq!(wrong.check().unwrap_err().0, "recorder.retry_regions.eu");
}
