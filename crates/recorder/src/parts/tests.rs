//! Reports of the parts of one order, applied as they come; between batches the rows change as the store
//! changes them.

use std::collections::HashMap;

use jiff::SignedDuration;
use serde_json::json;
use turnup_core::{
    audit::{AuditPart, ConfigAudit, DeviceAudit},
    event::OrderFacts,
    id::ServiceId,
    lifecycle::{AuditState, OrderState, ServiceState},
    message::InForce,
    name::DeviceName,
    order::{OrderKind, OrderOptions},
};
use turnup_store::{Part, ServiceChange, ToRetry};
use uuid::Uuid;

use super::*;
use crate::apply::apply;

const WEST: DeploymentId = DeploymentId(Uuid::from_u128(1));
const EAST: DeploymentId = DeploymentId(Uuid::from_u128(2));
const ORDER: OrderId = OrderId(Uuid::from_u128(3));

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn in_s(seconds: i64) -> Option<Timestamp> {
    Some(now() + SignedDuration::from_secs(seconds))
}

fn failure(class: FailureClass, text: &str) -> Failure {
    Failure::new(class, "edit-config", text)
}

/// One device, named like its part.
fn device(id: DeploymentId, in_force: InForce, failures: &[Failure]) -> DeviceReport {
    let device = DeviceName::new(if id == WEST { "west" } else { "east" }).unwrap();
    let failures = failures.iter().map(|failure| failure.clone().at(device.clone())).collect();
    DeviceReport {
        device,
        in_force,
        steps: vec![],
        failures,
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    }
}

/// What the store has.
#[derive(Clone)]
struct World {
    deployments: HashMap<DeploymentId, DeploymentToSettle>,
    orders: HashMap<OrderId, OrderToSettle>,
}

impl World {
    fn new(kind: OrderKind, stage: Stage) -> Self {
        let part = DeploymentToSettle {
            state: DeploymentState::Pending,
            attempt: 1,
            sequence: 0,
            in_doubt_since: None,
            stage,
            part: Some(Part {
                transaction: WEST,
                order: ORDER,
                confirm_by: None,
                devices: vec![],
                reasons: vec![],
            }),
        };
        let facts = OrderFacts {
            id: ORDER,
            kind,
            definition: "eline".to_owned(),
            service_id: ServiceId(Uuid::from_u128(4)),
            region: "multi".to_owned(),
            external_id: None,
            requester: "crm".to_owned(),
            undoes: None,
        };
        let service = (kind != OrderKind::Provision).then_some((ServiceState::Deployed, 4));
        let audit = if kind == OrderKind::Validate { vec![AuditPart::Config] } else { vec![] };
        let options = OrderOptions { audit, ..OrderOptions::default() };
        let order = OrderToSettle {
            facts,
            state: OrderState::InProgress,
            sequence: 3,
            service,
            earlier_events: 0,
            options,
            retry: ToRetry::default(),
        };
        Self {
            deployments: HashMap::from([(WEST, part.clone()), (EAST, part)]),
            orders: HashMap::from([(ORDER, order)]),
        }
    }

    /// The next report of a part's current attempt.
    fn report(&self, id: DeploymentId, event: DeploymentEvent, devices: Vec<DeviceReport>) -> StateChange {
        let part = &self.deployments[&id];
        StateChange {
            deployment: id,
            attempt: part.attempt,
            sequence: part.sequence + 1,
            worker: "w1".to_owned(),
            at: now(),
            event,
            phase: "x".to_owned(),
            devices,
            // As workers write it, and for nothing: of a part it says too little.
            orders: vec![OrderReport {
                order: ORDER,
                failures: vec![],
                in_force: Default::default(),
                audits: BTreeMap::new(),
            }],
            confirm_by: (event == DeploymentEvent::Prepared).then(|| in_s(60)).flatten(),
        }
    }

    fn says(&self, id: DeploymentId, event: DeploymentEvent, found: InForce, why: &[Failure]) -> StateChange {
        self.report(id, event, vec![device(id, found, why)])
    }

    fn prepared(&self, id: DeploymentId) -> StateChange {
        self.says(id, DeploymentEvent::Prepared, InForce::Provisional, &[])
    }

    fn apply(&mut self, reports: &[&StateChange]) -> Settled {
        let settled = apply(reports, &self.deployments, &self.orders, now());
        for change in &settled.deployments {
            let row = self.deployments.get_mut(&change.id).unwrap();
            (row.state, row.sequence) = (change.state, change.sequence);
            let part = row.part.as_mut().unwrap();
            (part.devices, part.confirm_by) = (change.devices.clone(), change.confirm_by);
        }
        for change in &settled.stages {
            let row = self.deployments.get_mut(&change.id).unwrap();
            assert!(
                row.state.is_final()
                    || matches!(row.state, DeploymentState::Prepared | DeploymentState::Confirmed)
            );
            (row.stage, row.state) = (change.stage, DeploymentState::Pending);
            (row.attempt, row.sequence) = (row.attempt + 1, 0);
            let part = row.part.as_mut().unwrap();
            (part.confirm_by, part.reasons) = (None, change.reasons.clone());
        }
        for (id, state, sequence, _) in &settled.orders {
            let row = self.orders.get_mut(id).unwrap();
            (row.state, row.sequence) = (*state, *sequence);
        }
        settled
    }
}

fn stages(settled: &Settled) -> Vec<(DeploymentId, Stage)> {
    settled.stages.iter().map(|change| (change.id, change.stage)).collect()
}

/// Whatever it is, it is nothing.
fn is_nothing(settled: &Settled) -> bool {
    settled.deployments.is_empty()
        && settled.stages.is_empty()
        && settled.orders.is_empty()
        && settled.entries.is_empty()
        && settled.services.is_empty()
}

#[test]
fn ready_in_both_regions_it_is_confirmed_in_both_and_ends_once() {
    let mut world = World::new(OrderKind::Provision, Stage::Prepare);
    let (west, east) = (world.prepared(WEST), world.prepared(EAST));
    let first = world.apply(&[&west]);
    assert_eq!((stages(&first), first.orders.len()), (vec![], 0), "the other one is waited for");
    let second = world.apply(&[&east]);
    assert_eq!(stages(&second), [(WEST, Stage::Confirm), (EAST, Stage::Confirm)]);
    assert!(second.orders.is_empty() && second.stages.iter().all(|change| change.reasons.is_empty()));
    let committed = |world: &World, id| world.says(id, DeploymentEvent::Committed, InForce::New, &[]);
    let (east, west) = (committed(&world, EAST), committed(&world, WEST));
    let third = world.apply(&[&east]);
    assert_eq!(third.deployments[0].state, DeploymentState::Confirmed, "of a part that is no end");
    assert!(third.orders.is_empty() && third.confirmed.is_empty());
    let last = world.apply(&[&west]);
    assert_eq!(last.orders, [(ORDER, OrderState::Completed, 4, vec![])]);
    assert_eq!(
        last.services,
        [ServiceChange::Create { order: ORDER, deployment: WEST, sequence: 1 }],
        "by the first part"
    );
    assert_eq!(last.confirmed, [WEST]);
    assert_eq!(last.entries[0].event.data["deployment"], json!(WEST));
    assert!(is_nothing(&world.apply(&[&west, &east])), "once");
}

#[test]
fn all_in_one_batch_is_the_same() {
    let mut world = World::new(OrderKind::Provision, Stage::Prepare);
    let (west, east) = (world.prepared(WEST), world.prepared(EAST));
    let settled = world.apply(&[&west, &east, &west]);
    assert_eq!(stages(&settled), [(WEST, Stage::Confirm), (EAST, Stage::Confirm)], "decided once");
}

#[test]
fn what_fails_in_one_region_is_undone_in_the_other() {
    let bad = failure(FailureClass::Invalid, "mtu out of range");
    let mut world = World::new(OrderKind::Provision, Stage::Prepare);
    let (west, east) = (
        world.says(WEST, DeploymentEvent::Rejected, InForce::Old, std::slice::from_ref(&bad)),
        world.prepared(EAST),
    );
    assert_eq!(stages(&world.apply(&[&east])), []);
    let decided = world.apply(&[&west]);
    assert_eq!(stages(&decided), [(EAST, Stage::Undo)], "there is nothing to be undone in the other");
    let reason = bad.at(DeviceName::new("west").unwrap());
    assert_eq!(decided.stages[0].reasons[..], *std::slice::from_ref(&reason));
    assert!(decided.orders.is_empty(), "it ends when it is undone");
    let undone = failure(FailureClass::Undone, "undone with the others");
    let east = world.says(EAST, DeploymentEvent::RolledBack, InForce::Old, &[undone]);
    let end = world.apply(&[&east]);
    assert_eq!(end.orders, [(ORDER, OrderState::Invalid, 4, vec![reason])]);
    assert!(end.services.is_empty() && end.confirmed.is_empty());
}

#[test]
fn where_nothing_is_in_force_anywhere_it_ends_at_once() {
    let mut world = World::new(OrderKind::Provision, Stage::Prepare);
    let down = failure(FailureClass::Unreachable, "refused");
    for (id, ends) in [(WEST, 0), (EAST, 1)] {
        let report = world.says(id, DeploymentEvent::RolledBack, InForce::Old, std::slice::from_ref(&down));
        let settled = world.apply(&[&report]);
        assert_eq!((settled.orders.len(), settled.stages.len()), (ends, 0));
    }
    assert_eq!(world.orders[&ORDER].state, OrderState::FailedDeploy);
}

#[test]
fn too_late_it_is_undone_everywhere() {
    let mut world = World::new(OrderKind::Provision, Stage::Prepare);
    let (mut west, east) = (world.prepared(WEST), world.prepared(EAST));
    west.confirm_by = in_s(0);
    world.apply(&[&west]);
    let decided = world.apply(&[&east]);
    assert_eq!(stages(&decided), [(WEST, Stage::Undo), (EAST, Stage::Undo)]);
    assert!(decided.stages[0].reasons[0].message.contains("confirm_timeout_s"), "{decided:?}");
    for id in [WEST, EAST] {
        let undone = world.says(id, DeploymentEvent::RolledBack, InForce::Old, &[]);
        world.apply(&[&undone]);
    }
    assert_eq!(world.orders[&ORDER].state, OrderState::FailedDeploy);
}

/// What the region told that could not confirm is not forgotten when it is told to undo.
#[test]
fn a_confirm_that_fails_in_one_region_is_undone_in_both() {
    let mut world = World::new(OrderKind::Modify, Stage::Prepare);
    let (west, east) = (world.prepared(WEST), world.prepared(EAST));
    world.apply(&[&west, &east]);
    let full = failure(FailureClass::Busy, "no space left");
    let (west, east) = (
        world.says(WEST, DeploymentEvent::Committed, InForce::New, &[]),
        world.says(EAST, DeploymentEvent::GivenUp, InForce::Unknown, &[full]),
    );
    let decided = world.apply(&[&west, &east]);
    assert_eq!(stages(&decided), [(WEST, Stage::Undo), (EAST, Stage::Undo)]);
    let away = failure(FailureClass::Unreachable, "no answer");
    let (west, east) = (
        world.says(WEST, DeploymentEvent::RolledBack, InForce::Old, &[]),
        world.says(EAST, DeploymentEvent::GivenUp, InForce::Unknown, &[away]),
    );
    let end = world.apply(&[&west, &east]);
    let [(_, OrderState::FailedDeploy, 4, failures)] = &end.orders[..] else { panic!("{end:?}") };
    let said: Vec<&str> = failures.iter().map(|failure| failure.message.as_str()).collect();
    assert_eq!(said, ["no space left", "no answer"]);
    let [ServiceChange::Fail { deployment: WEST, in_force, .. }] = &end.services[..] else {
        panic!("{end:?}")
    };
    assert_eq!(in_force[..], [(DeviceName::new("east").unwrap(), InForce::Unknown)]);
}

#[test]
fn what_comes_late_repeated_or_of_an_earlier_stage_changes_nothing() {
    let mut world = World::new(OrderKind::Provision, Stage::Prepare);
    let progress = world.says(WEST, DeploymentEvent::Progressed, InForce::Old, &[]);
    world.apply(&[&progress]);
    let (west, east) = (world.prepared(WEST), world.prepared(EAST));
    world.apply(&[&west, &east]);
    assert!(is_nothing(&world.apply(&[&east, &west, &progress])));
    let rolled = StateChange { event: DeploymentEvent::RolledBack, sequence: 9, ..west.clone() };
    assert!(is_nothing(&world.apply(&[&rolled])), "the attempt of a stage that is over");
    let next = world.says(WEST, DeploymentEvent::Committed, InForce::New, &[]);
    world.apply(&[&next]);
    let again = StateChange { sequence: 9, event: DeploymentEvent::GivenUp, ..next };
    assert!(is_nothing(&world.apply(&[&again])), "it has answered");
}

#[test]
fn a_part_that_says_nothing_of_its_devices_proves_nothing() {
    let mut world = World::new(OrderKind::Provision, Stage::Prepare);
    let (west, east) = (world.prepared(WEST), world.prepared(EAST));
    world.apply(&[&west, &east]);
    let (west, east) = (
        world.says(WEST, DeploymentEvent::Committed, InForce::New, &[]),
        world.report(EAST, DeploymentEvent::GivenUp, vec![]),
    );
    world.apply(&[&west, &east]);
    // Nothing could be undone, and one says so without a device.
    let (west, east) = (
        world.says(WEST, DeploymentEvent::GivenUp, InForce::New, &[]),
        world.report(EAST, DeploymentEvent::GivenUp, vec![]),
    );
    world.apply(&[&west]);
    let end = world.apply(&[&east]);
    assert_eq!(end.orders[0].1, OrderState::FailedDeploy, "{end:?}");
    assert!(!end.orders[0].3.is_empty());
}

#[test]
fn an_audit_ends_with_what_was_seen_in_all_regions() {
    let mut world = World::new(OrderKind::Validate, Stage::Whole);
    let seen = |world: &World, id, config| {
        let audit = DeviceAudit { config, differences: vec![], differences_in_all: 0, checks: vec![] };
        let device = DeviceReport { audit: Some(audit), ..device(id, InForce::New, &[]) };
        world.report(id, DeploymentEvent::Committed, vec![device])
    };
    let (west, east) = (seen(&world, WEST, ConfigAudit::InSync), seen(&world, EAST, ConfigAudit::Drifted));
    let first = world.apply(&[&west]);
    assert_eq!((first.deployments[0].state, first.orders.len()), (DeploymentState::Committed, 0));
    let end = world.apply(&[&east]);
    assert!(end.stages.is_empty());
    assert_eq!(end.orders, [(ORDER, OrderState::Completed, 4, vec![])]);
    let [ServiceChange::Audited { summary, devices, .. }] = &end.services[..] else { panic!("{end:?}") };
    assert_eq!((summary.config, summary.state), (ConfigAudit::Drifted, AuditState::NotAudited));
    let names: Vec<&serde_json::Value> =
        devices.as_array().unwrap().iter().map(|device| &device["device"]).collect();
    assert_eq!(names, ["west", "east"]);
}

#[test]
fn what_was_found_when_preparing_is_told_when_it_is_confirmed() {
    let mut world = World::new(OrderKind::Modify, Stage::Prepare);
    let audit = DeviceAudit {
        config: ConfigAudit::Drifted,
        differences: vec![],
        differences_in_all: 1,
        checks: vec![],
    };
    let found = DeviceReport {
        audit: Some(audit),
        remarks: vec!["drift".to_owned()],
        ..device(EAST, InForce::Provisional, &[])
    };
    let (west, east) = (world.prepared(WEST), world.report(EAST, DeploymentEvent::Prepared, vec![found]));
    world.apply(&[&west, &east]);
    let confirmed = |world: &World, id| world.says(id, DeploymentEvent::Committed, InForce::New, &[]);
    let (west, east) = (confirmed(&world, WEST), confirmed(&world, EAST));
    let end = world.apply(&[&east, &west]);
    assert_eq!(end.orders, [(ORDER, OrderState::Completed, 4, vec![])]);
    let [ServiceChange::Update { .. }, ServiceChange::Audited { summary, devices, .. }] = &end.services[..]
    else {
        panic!("{end:?}")
    };
    assert_eq!(summary.config, ConfigAudit::Drifted);
    assert_eq!(devices[0]["device"], "east");
    let told = end.deployments.iter().find(|change| change.id == EAST).unwrap();
    assert_eq!(told.devices[0].remarks, ["drift"], "the deployment shows it as well");
}

/// All that two parts can answer to what they are told: the order ends once, in force in both regions or, as
/// far as devices answer, in none, and it says so.
#[test]
fn whatever_two_regions_answer() {
    use DeploymentEvent as E;
    use InForce::{New, Old, Provisional, Unknown};
    let why = [failure(FailureClass::Unreachable, "no answer")];
    let answers = |stage| -> &[(E, InForce)] {
        match stage {
            Stage::Prepare => &[(E::Prepared, Provisional), (E::RolledBack, Old), (E::GivenUp, Unknown)],
            Stage::Confirm => &[(E::Committed, New), (E::RolledBack, Old), (E::GivenUp, Unknown)],
            Stage::Undo => &[(E::RolledBack, Old), (E::GivenUp, Unknown)],
            Stage::Whole => &[],
        }
    };
    let mut worlds = vec![World::new(OrderKind::Provision, Stage::Prepare)];
    let mut ends = HashMap::new();
    while let Some(world) = worlds.pop() {
        let waits = |id: &DeploymentId| world.deployments[id].state == DeploymentState::Pending;
        if world.orders[&ORDER].state != OrderState::InProgress {
            assert!(![WEST, EAST].iter().any(waits), "nothing is under way any more");
            let found: Vec<InForce> = [WEST, EAST]
                .iter()
                .map(|id| world.deployments[id].part.as_ref().unwrap().devices[0].in_force)
                .collect();
            let state = world.orders[&ORDER].state;
            assert!(!found.contains(&Provisional));
            assert_eq!(state == OrderState::Completed, found == [New, New], "{found:?}");
            assert!(!found.contains(&New) || found == [New, New], "a mixture: {found:?}");
            *ends.entry(state).or_insert(0) += 1;
            continue;
        }
        assert!([WEST, EAST].iter().any(waits), "it is stuck");
        for id in [WEST, EAST].into_iter().filter(waits) {
            for (event, found) in answers(world.deployments[&id].stage) {
                let mut next = world.clone();
                let why = if matches!(event, E::Prepared | E::Committed) { &[][..] } else { &why };
                let report = next.says(id, *event, *found, why);
                next.apply(&[&report]);
                worlds.push(next);
            }
        }
    }
    assert!(ends[&OrderState::Completed] > 0 && ends[&OrderState::FailedDeploy] > 0, "{ends:?}");
}
