//! What a batch of reports changes: pure, over the rows that the store has locked.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use turnup_core::{
    across,
    audit::{self, AuditPart, AuditSummary, ConfigAudit, DeviceAudit},
    failure::{Failure, FailureClass},
    id::{DeploymentId, OrderId},
    lifecycle::{
        DeploymentState, OrderState, ServiceEvent, deployment_transition, order_transition,
        service_transition,
    },
    message::{DeviceReport, Guarantee, InForce, OrderReport, StateChange},
    name::DeviceName,
    order::OrderKind,
    settle::{is_deployed, order_event, service_event},
};
use turnup_store::{
    DeploymentChange, DeploymentToSettle, Entry, OrderToSettle, ServiceChange, Settled, TokenChange,
};
use uuid::Uuid;

use crate::{parts, retry};

/// Applies `reports`, in their order, to what is known. A report that is not of the current
/// attempt, or not newer than the last one applied, or of a deployment that has ended, changes
/// nothing. When the last part of a transaction over several regions has answered, what comes next is decided
/// here, and so written with the answer ([`across::decide`]).
#[must_use]
pub fn apply<S: std::hash::BuildHasher>(
    reports: &[&StateChange],
    deployments: &HashMap<DeploymentId, DeploymentToSettle, S>,
    orders: &HashMap<OrderId, OrderToSettle, S>,
    now: Timestamp,
) -> Settled {
    let mut known: BTreeMap<DeploymentId, DeploymentToSettle> = BTreeMap::new();
    let mut changes: BTreeMap<DeploymentId, DeploymentChange> = BTreeMap::new();
    let mut settled = Settled::default();
    let mut ended: Vec<OrderId> = Vec::new();
    let mut answered: BTreeMap<DeploymentId, &StateChange> = BTreeMap::new();
    for report in reports {
        let Some(stored) = deployments.get(&report.deployment) else {
            tracing::warn!(deployment = %report.deployment, "a report of an unknown deployment is dropped");
            continue;
        };
        let current = known.entry(report.deployment).or_insert_with(|| stored.clone());
        let Some(state) = next_state(current, report) else {
            tracing::debug!(
                deployment = %report.deployment, attempt = report.attempt, sequence = report.sequence,
                "a report that is late or repeated is dropped"
            );
            continue;
        };
        current.state = state;
        current.sequence = report.sequence;
        current.in_doubt_since = match state {
            DeploymentState::InDoubt => current.in_doubt_since.or(Some(report.at)),
            _ => None,
        };
        let confirm_by = report.confirm_by.filter(|_| state == DeploymentState::Prepared);
        let mut devices = report.devices.clone();
        if let Some(part) = &mut current.part {
            keep_found(&mut devices, &part.devices);
            part.devices.clone_from(&devices);
            part.confirm_by = confirm_by;
            answered.insert(part.transaction, report);
        }
        changes.insert(
            report.deployment,
            DeploymentChange {
                id: report.deployment,
                state,
                sequence: report.sequence,
                phase: report.phase.clone(),
                worker: report.worker.clone(),
                devices,
                in_doubt_since: current.in_doubt_since,
                confirm_by,
            },
        );
        if state.is_final() {
            settled.tokens.extend(
                report.devices.iter().filter_map(|device| tokens(report.deployment, report.attempt, device)),
            );
        }
        if state.is_final() && current.part.is_none() {
            for order in &report.orders {
                if !ended.contains(&order.order)
                    && let Some(stored) = orders.get(&order.order)
                {
                    ended.push(order.order);
                    end_order(&mut settled, order, stored, report, state, now);
                }
            }
        }
    }
    settled.deployments = changes.into_values().collect();
    for (transaction, last) in answered {
        let of =
            |part: &DeploymentToSettle| part.part.as_ref().is_some_and(|of| of.transaction == transaction);
        let parts = deployments.iter().map(|(id, stored)| (*id, known.get(id).unwrap_or(stored)));
        let parts: BTreeMap<_, _> = parts.filter(|(_, part)| of(part)).collect();
        parts::decide(&mut settled, transaction, &parts, last, |order| orders.get(&order), now);
    }
    settled
}

/// What an earlier stage of a part found at its devices stays with them: drift, checks that passed, remarks.
fn keep_found(devices: &mut [DeviceReport], earlier: &[DeviceReport]) {
    for device in devices {
        let Some(before) = earlier.iter().find(|before| before.device == device.device) else { continue };
        if device.audit.is_none() {
            device.audit.clone_from(&before.audit);
        }
        let mut remarks = before.remarks.clone();
        remarks.extend(device.remarks.drain(..).filter(|remark| !before.remarks.contains(remark)));
        device.remarks = remarks;
    }
}

/// What an ended deployment has left of pending commits at a device (RFC 6241 §8.4): its own may be pending where it
/// isn't known which configuration is in force, and where it isn't in force but the worker of an earlier attempt, which
/// holds the device's locks, may still commit.
fn tokens(deployment: DeploymentId, attempt: i32, device: &DeviceReport) -> Option<TokenChange> {
    let has_tokens = matches!(device.guarantee, None | Some(Guarantee::ConfirmedCommit11));
    let is_unknown = matches!(device.in_force, InForce::Unknown | InForce::Provisional);
    let may_follow = attempt > 1 && device.in_force == InForce::Old;
    let pending = (has_tokens && (is_unknown || may_follow)).then_some(deployment);
    let change = TokenChange { device: device.device.clone(), pending, cleared: device.tokens_cancelled };
    (change.pending.is_some() || change.cleared).then_some(change)
}

fn next_state(current: &DeploymentToSettle, report: &StateChange) -> Option<DeploymentState> {
    if report.attempt != current.attempt || report.sequence <= current.sequence {
        return None;
    }
    deployment_transition(current.state, across::event(current.stage, report.event))
}

/// Why an order did not deploy; empty if the report proves that it did ([`is_deployed`]). A deployment that
/// was undone never counts as deployed, whatever the report of the order says.
fn failures(order: &OrderReport, change: &StateChange, state: DeploymentState) -> Vec<Failure> {
    if is_deployed(change.event, order, &change.devices) {
        return Vec::new();
    }
    if order.failures.is_empty() {
        let message = format!("the deployment ended {}, and the worker gave no reason", state.title());
        return vec![Failure::new(FailureClass::InDoubt, "deploy", message)];
    }
    order.failures.clone()
}

pub(crate) fn end_order(
    settled: &mut Settled,
    report: &OrderReport,
    order: &OrderToSettle,
    change: &StateChange,
    state: DeploymentState,
    now: Timestamp,
) {
    let failures = failures(report, change, state);
    let event = order_event(&failures);
    let Ok(to) = order_transition(order.state, event) else {
        tracing::warn!(order = %report.order, state = %order.state, %event, "the end of an order that is not in progress");
        return;
    };
    let sequence = order.sequence + 1;
    let mut more = json!({"deployment": change.deployment, "worker": change.worker});
    if !failures.is_empty() {
        more["errors"] = json!(failures);
    }
    // Of an order of a group that may be so although not all is known of the others.
    let is_told_apart = change.orders.len() > 1 && !report.in_force.is_empty();
    let known = (state != DeploymentState::Unresolved || is_told_apart)
        && in_force(change, report).all(|(_, found)| found == InForce::Old);
    let again = retry::next(order, to, &failures, known, now);
    if let Some(again) = &again {
        more["retry"] = retry::told(again);
    }
    let why = failures.first().map(|failure| match &failure.device {
        Some(device) => format!("{device}: {}", failure.message),
        None => failure.message.clone(),
    });
    settled.entries.push(Entry {
        event: order.facts.event(Uuid::now_v7(), sequence, to, now, more),
        change: Some((Some(order.state), to)),
        why: why.clone(),
        by: change.worker.clone(),
    });
    settled.orders.push((report.order, to, sequence, failures));
    if let Some(again) = again {
        // Its service is as it was, and no attempt to change it has come to its end.
        retry::schedule(settled, order, &again, why.as_deref(), sequence + 1, now);
        return;
    }
    if (order.facts.kind, to) == (OrderKind::Validate, OrderState::Completed) {
        let last = order.service.map(|(_, last)| last);
        let functional = order.options.audit.contains(&AuditPart::Functional);
        let found = Found { devices: found_at_devices(change), functional };
        if let Some(last) = last {
            audited(settled, order, &found, (change, last + 1), now);
        }
    }
    if let Some(service) = service_event(order.facts.kind, event) {
        let last = change_service(settled, order, service, (change, report), to, now);
        let found = Found::on_the_way(change, report);
        if let (true, Some(last)) = (to == OrderState::Completed && found.says_something(), last) {
            audited(settled, order, &found, (change, last + 1), now);
        }
    }
}

/// What was found of a service at its devices.
struct Found {
    devices: Vec<(DeviceName, DeviceAudit)>,
    /// Functional checks were wanted.
    functional: bool,
}

impl Found {
    /// What a change found on the way.
    fn on_the_way(change: &StateChange, report: &OrderReport) -> Self {
        let of_group = report.audits.iter().map(|(device, audit)| (device.clone(), audit.clone()));
        let devices = match (report.audits.is_empty(), change.orders.len()) {
            (false, _) => of_group.collect(),
            (true, 0 | 1) => found_at_devices(change),
            (true, _) => Vec::new(),
        };
        Self { devices, functional: true }
    }

    /// Whether it is more than that what was looked at is in sync, which need not be all of the service.
    fn says_something(&self) -> bool {
        self.devices.iter().any(|(_, audit)| audit.config == ConfigAudit::Drifted || !audit.checks.is_empty())
    }

    /// Sums it up. What a change found in sync need not be all of the service, so only drift is told of it.
    fn summary(&self, kind: OrderKind) -> AuditSummary {
        let mut summary = audit::summary(&self.devices, self.functional);
        if kind != OrderKind::Validate && summary.config != ConfigAudit::Drifted {
            summary.config = ConfigAudit::NotAudited;
        }
        summary
    }
}

/// What the devices' reports say was found.
fn found_at_devices(change: &StateChange) -> Vec<(DeviceName, DeviceAudit)> {
    let devices = change.devices.iter();
    devices.filter_map(|report| Some((report.device.clone(), report.audit.clone()?))).collect()
}

/// Gives the number of the service's event, if the service is there afterwards.
fn change_service(
    settled: &mut Settled,
    order: &OrderToSettle,
    event: ServiceEvent,
    (change, report): (&StateChange, &OrderReport),
    order_state: OrderState,
    now: Timestamp,
) -> Option<i32> {
    let before = order.service.map(|(state, _)| state);
    let sequence = order.service.map_or(order.earlier_events, |(_, sequence)| sequence) + 1;
    let after = service_transition(before, event);
    let service = order.facts.service_id;
    let id = order.facts.id;
    let deployment = change.deployment;
    let (service_change, what) = match (before, after) {
        (None, Some(state)) => (ServiceChange::Create { order: id, deployment, sequence }, state.word()),
        (Some(_), Some(state)) if event == ServiceEvent::AttemptFailed => {
            let in_force = in_force(change, report).filter(|(_, found)| *found != InForce::Old).collect();
            (ServiceChange::Fail { service, state, order: id, deployment, sequence, in_force }, state.word())
        }
        (Some(_), Some(state)) => {
            (ServiceChange::Update { service, state, order: id, deployment, sequence }, state.word())
        }
        (Some(_), None) => (ServiceChange::Remove { service }, "removed"),
        (None, None) => return None,
    };
    settled.services.push(service_change);
    let more = json!({"state": after, "order_state": order_state});
    settled.entries.push(service_entry(order, sequence, what, more, change, now));
    after.map(|_| sequence)
}

/// What is in force of the order's own at its devices. A worker that doesn't say it order by order has
/// deployed nothing but this one.
fn in_force<'a>(
    change: &'a StateChange,
    report: &'a OrderReport,
) -> impl Iterator<Item = (DeviceName, InForce)> + 'a {
    let devices = change.devices.iter().filter(|_| report.in_force.is_empty());
    let devices = devices.map(|device| (device.device.clone(), device.in_force));
    let own = report.in_force.iter().map(|(device, found)| (device.clone(), *found));
    // Of one order's own nothing can be in force in part, and what is provisional does not end.
    own.chain(devices).map(|(device, found)| match found {
        InForce::Partly | InForce::Provisional => (device, InForce::Unknown),
        found => (device, found),
    })
}

/// A log entry of the order's service.
fn service_entry(
    order: &OrderToSettle,
    sequence: i32,
    what: &str,
    more: Value,
    change: &StateChange,
    now: Timestamp,
) -> Entry {
    Entry {
        event: order.facts.service_event(Uuid::now_v7(), sequence, what, now, more),
        change: None,
        why: None,
        by: change.worker.clone(),
    }
}

/// What an audit found on a device, as it is kept.
#[derive(Serialize)]
struct Audited<'a> {
    device: &'a DeviceName,
    #[serde(flatten)]
    audit: &'a DeviceAudit,
}

/// A validate order was carried out, or a change found something on the way: what that says of the service. Drift
/// comes with the order that would repair it.
fn audited(
    settled: &mut Settled,
    order: &OrderToSettle,
    found: &Found,
    (change, sequence): (&StateChange, i32),
    now: Timestamp,
) {
    let devices = &found.devices;
    let summary = found.summary(order.facts.kind);
    let short: Vec<Value> = devices
        .iter()
        .map(|(device, audit)| {
            let failed = audit.checks.iter().filter(|check| !check.passed);
            json!({
                "device": device,
                "config": audit.config,
                "differences": audit.differences_in_all,
                "failed_checks": failed.map(|check| &check.name).collect::<Vec<_>>(),
            })
        })
        .collect();
    let mut more = json!({
        "audit_state": summary.state,
        "config": summary.config,
        "reason": summary.reason,
        "devices": short,
    });
    if summary.config == ConfigAudit::Drifted {
        more["proposed"] = json!({"kind": OrderKind::Redeploy, "service_id": order.facts.service_id});
    }
    settled.entries.push(service_entry(order, sequence, "audited", more, change, now));
    settled.services.push(ServiceChange::Audited {
        service: order.facts.service_id,
        order: order.facts.id,
        sequence,
        at: now,
        summary,
        devices: devices.iter().map(|(device, audit)| json!(Audited { device, audit })).collect(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnup_core::{
        audit::{CheckResult, Difference, Drift},
        event::OrderFacts,
        id::ServiceId,
        lifecycle::{AuditState, DeploymentEvent, ServiceState},
        message::{DeviceReport, Stage},
        order::{OrderKind, OrderOptions},
    };
    use turnup_store::ToRetry;

    fn deployment() -> DeploymentId {
        DeploymentId(Uuid::from_u128(1))
    }

    fn order() -> OrderId {
        OrderId(Uuid::from_u128(2))
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn world(
        kind: OrderKind,
    ) -> (HashMap<DeploymentId, DeploymentToSettle>, HashMap<OrderId, OrderToSettle>) {
        let stored = DeploymentToSettle {
            state: DeploymentState::Pending,
            attempt: 2,
            sequence: 0,
            in_doubt_since: None,
            stage: Stage::Whole,
            part: None,
        };
        let facts = OrderFacts {
            id: order(),
            kind,
            definition: "eline".to_owned(),
            service_id: ServiceId(Uuid::from_u128(3)),
            region: "eu".to_owned(),
            external_id: None,
            requester: "crm".to_owned(),
            undoes: None,
        };
        let service = (kind != OrderKind::Provision).then_some((ServiceState::Deployed, 4));
        let audit = if kind == OrderKind::Validate { AuditPart::ALL.to_vec() } else { Vec::new() };
        let options = OrderOptions { audit, ..OrderOptions::default() };
        let stored_order = OrderToSettle {
            facts,
            state: OrderState::InProgress,
            sequence: 3,
            service,
            earlier_events: 0,
            options,
            retry: ToRetry::default(),
        };
        (HashMap::from([(deployment(), stored)]), HashMap::from([(order(), stored_order)]))
    }

    fn report(attempt: i32, sequence: i32, event: DeploymentEvent, failures: Vec<Failure>) -> StateChange {
        StateChange {
            deployment: deployment(),
            attempt,
            sequence,
            worker: "w1".to_owned(),
            at: now(),
            event,
            phase: "x".to_owned(),
            devices: vec![],
            orders: vec![OrderReport {
                order: order(),
                failures,
                in_force: BTreeMap::new(),
                audits: BTreeMap::new(),
            }],
            confirm_by: None,
        }
    }

    fn run(kind: OrderKind, reports: &[StateChange]) -> Settled {
        let (deployments, orders) = world(kind);
        apply(&reports.iter().collect::<Vec<_>>(), &deployments, &orders, now())
    }

    #[test]
    fn service_that_is_created_again_goes_on_counting_its_events() {
        let (deployments, mut orders) = world(OrderKind::Provision);
        orders.get_mut(&order()).unwrap().earlier_events = 7;
        let report = report(2, 1, DeploymentEvent::Committed, vec![]);
        let settled = apply(&[&report], &deployments, &orders, now());
        let created = ServiceChange::Create { order: order(), deployment: deployment(), sequence: 8 };
        assert_eq!(settled.services, [created]);
        assert_eq!(settled.entries[1].event.sequence, 8);
    }

    #[test]
    fn a_committed_provision_completes_and_creates() {
        let settled = run(OrderKind::Provision, &[report(2, 1, DeploymentEvent::Committed, vec![])]);
        assert_eq!(settled.orders, [(order(), OrderState::Completed, 4, vec![])]);
        let created = ServiceChange::Create { order: order(), deployment: deployment(), sequence: 1 };
        assert_eq!(settled.services, [created]);
        let kinds: Vec<String> = settled.entries.iter().map(|e| e.event.kind()).collect();
        assert_eq!(kinds, ["dev.turnup.order.completed.v1", "dev.turnup.service.deployed.v1"]);
    }

    #[test]
    fn reports_of_other_attempts_change_nothing() {
        for attempt in [1, 3] {
            let settled =
                run(OrderKind::Provision, &[report(attempt, 1, DeploymentEvent::Committed, vec![])]);
            assert!(
                settled.orders.is_empty() && settled.deployments.is_empty() && settled.entries.is_empty()
            );
        }
    }

    #[test]
    fn repetitions_and_late_reports_change_nothing() {
        let done = report(2, 3, DeploymentEvent::Committed, vec![]);
        let late = report(2, 2, DeploymentEvent::Doubted, vec![]);
        let failed =
            report(2, 4, DeploymentEvent::RolledBack, vec![Failure::new(FailureClass::Busy, "lock", "x")]);
        let settled = run(OrderKind::Provision, &[done.clone(), late, done, failed]);
        assert_eq!(settled.orders.len(), 1);
        assert_eq!(settled.entries.len(), 2);
        assert_eq!(settled.deployments[0].state, DeploymentState::Committed);
    }

    #[test]
    fn failures_decide_between_invalid_and_failed() {
        let busy = Failure::new(FailureClass::Busy, "lock", "held by session 7");
        let bad = Failure::new(FailureClass::Invalid, "edit-config", "mtu out of range");
        let failed =
            run(OrderKind::Provision, &[report(2, 1, DeploymentEvent::RolledBack, vec![busy.clone()])]);
        assert_eq!(failed.orders[0].1, OrderState::FailedDeploy);
        assert!(failed.services.is_empty(), "a failed provision leaves no service");
        let invalid = run(OrderKind::Provision, &[report(2, 1, DeploymentEvent::Rejected, vec![busy, bad])]);
        assert_eq!(invalid.orders[0].1, OrderState::Invalid);
    }

    #[test]
    fn never_completed_without_a_commit() {
        for event in [DeploymentEvent::RolledBack, DeploymentEvent::Rejected, DeploymentEvent::GivenUp] {
            let settled = run(OrderKind::Provision, &[report(2, 1, event, vec![])]);
            assert_eq!(settled.orders[0].1, OrderState::FailedDeploy, "{event}");
            assert!(!settled.orders[0].3.is_empty());
        }
    }

    #[test]
    fn orders_of_a_group_end_each_by_its_own() {
        let (deployments, mut orders) = world(OrderKind::Modify);
        let mut group = report(2, 1, DeploymentEvent::PartlyCommitted, vec![]);
        group.orders.clear();
        group.devices = vec![device("a", InForce::Partly, None), device("z", InForce::Unknown, None)];
        let bad = Failure::new(FailureClass::Invalid, "edit-config", "mtu out of range");
        // In force; refused; in doubt at one device; and one that claims more than the device says.
        let fates = [
            (vec![("a", InForce::New)], vec![]),
            (vec![("a", InForce::Old)], vec![bad]),
            (vec![("a", InForce::New), ("z", InForce::Unknown)], vec![]),
            (vec![("b", InForce::New)], vec![]),
        ];
        for (n, (in_force, failures)) in (10..).zip(fates) {
            let id = OrderId(Uuid::from_u128(n));
            let mut stored = orders[&order()].clone();
            stored.facts.id = id;
            stored.facts.service_id = ServiceId(Uuid::from_u128(100 + n));
            orders.insert(id, stored);
            let in_force = in_force.into_iter();
            group.orders.push(OrderReport {
                order: id,
                failures,
                in_force: in_force.map(|(name, found)| (DeviceName::new(name).unwrap(), found)).collect(),
                audits: BTreeMap::new(),
            });
        }
        let settled = apply(&[&group], &deployments, &orders, now());
        let states: Vec<OrderState> = settled.orders.iter().map(|(_, state, ..)| *state).collect();
        use OrderState::{Completed, FailedDeploy, Invalid};
        assert_eq!(states, [Completed, Invalid, FailedDeploy, FailedDeploy]);
        assert_eq!(settled.deployments[0].state, DeploymentState::Partly);
        let left = |at: usize| match &settled.services[at] {
            ServiceChange::Fail { in_force, .. } => in_force.clone(),
            other => panic!("{other:?}"),
        };
        assert!(matches!(settled.services[0], ServiceChange::Update { .. }));
        assert_eq!(left(1), [], "nothing of what was refused is left, though others are in force there");
        let z = |name: &str, found| (DeviceName::new(name).unwrap(), found);
        assert_eq!(left(2), [z("a", InForce::New), z("z", InForce::Unknown)]);
    }

    #[test]
    fn decommission_removes_or_fails_the_service() {
        let gone = run(OrderKind::Decommission, &[report(2, 1, DeploymentEvent::Committed, vec![])]);
        assert!(matches!(gone.services[..], [ServiceChange::Remove { .. }]));
        assert_eq!(gone.entries[1].event.what, "removed");
        assert_eq!(gone.entries[1].event.sequence, 5);
        let down = Failure::new(FailureClass::Unreachable, "connect", "refused");
        let failed = run(OrderKind::Decommission, &[report(2, 1, DeploymentEvent::RolledBack, vec![down])]);
        assert!(matches!(
            failed.services[..],
            [ServiceChange::Fail { state: ServiceState::FailDeploy, sequence: 5, .. }]
        ));
    }

    fn device(name: &str, in_force: InForce, audit: Option<DeviceAudit>) -> DeviceReport {
        let device = DeviceName::new(name).unwrap();
        DeviceReport {
            device,
            in_force,
            steps: vec![],
            failures: vec![],
            audit,
            guarantee: None,
            tokens_cancelled: false,
            remarks: Vec::new(),
        }
    }

    #[test]
    fn a_modify_changes_or_fails_the_service() {
        for kind in [OrderKind::Modify, OrderKind::Redeploy] {
            let done = run(kind, &[report(2, 1, DeploymentEvent::Committed, vec![])]);
            assert!(matches!(
                done.services[..],
                [ServiceChange::Update { state: ServiceState::Deployed, sequence: 5, .. }]
            ));
            let doubt = Failure::new(FailureClass::InDoubt, "confirm", "no answer");
            let mut failed = report(2, 1, DeploymentEvent::GivenUp, vec![doubt]);
            failed.devices = vec![device("a", InForce::Old, None), device("z", InForce::Unknown, None)];
            let failed = run(kind, &[failed]);
            let [ServiceChange::Fail { state: ServiceState::FailDeploy, in_force, .. }] =
                &failed.services[..]
            else {
                panic!("{:?}", failed.services)
            };
            assert_eq!(in_force[..], [(DeviceName::new("z").unwrap(), InForce::Unknown)], "{kind}");
        }
    }

    #[test]
    fn an_audit_says_what_it_found_and_proposes_the_repair() {
        let drift = |differs| {
            let difference = Difference {
                path: "/x/mtu".into(),
                drift: Drift::Changed,
                wanted: Some("1".into()),
                found: Some("2".into()),
            };
            let config = if differs { ConfigAudit::Drifted } else { ConfigAudit::InSync };
            let check = CheckResult { name: "up".into(), passed: !differs, evidence: "state is down".into() };
            DeviceAudit {
                config,
                differences: vec![difference; usize::from(differs)],
                differences_in_all: usize::from(differs),
                checks: vec![check],
            }
        };
        for differs in [false, true] {
            let mut done = report(2, 1, DeploymentEvent::Committed, vec![]);
            done.devices = vec![device("a", InForce::New, Some(drift(differs)))];
            let settled = run(OrderKind::Validate, &[done]);
            assert_eq!(settled.orders[0].1, OrderState::Completed, "the audit was carried out");
            let [ServiceChange::Audited { summary, sequence: 5, .. }] = &settled.services[..] else {
                panic!("{:?}", settled.services)
            };
            assert_eq!(summary.state, if differs { AuditState::Down } else { AuditState::Up });
            let event = &settled.entries[1].event;
            assert_eq!(event.kind(), "dev.turnup.service.audited.v1");
            assert_eq!(event.data["proposed"]["kind"] == "redeploy", differs);
        }
    }

    fn audit(config: ConfigAudit, passed: &[bool]) -> DeviceAudit {
        let difference = Difference {
            path: "/x/mtu".into(),
            drift: Drift::Changed,
            wanted: Some("1".into()),
            found: Some("2".into()),
        };
        let differences = vec![difference; usize::from(config == ConfigAudit::Drifted)];
        let check = |passed: &bool| CheckResult {
            name: "up".into(),
            passed: *passed,
            evidence: "state is up".into(),
        };
        let differences_in_all = differences.len();
        DeviceAudit { config, differences, differences_in_all, checks: passed.iter().map(check).collect() }
    }

    #[test]
    fn change_that_left_drift_marks_the_service_as_an_audit_does() {
        let (in_sync, drifted) = (audit(ConfigAudit::InSync, &[]), audit(ConfigAudit::Drifted, &[]));
        let mut done = report(2, 1, DeploymentEvent::Committed, vec![]);
        done.devices =
            vec![device("a", InForce::New, Some(in_sync.clone())), device("z", InForce::New, Some(drifted))];
        let settled = run(OrderKind::Modify, &[done.clone()]);
        assert_eq!(settled.orders[0].1, OrderState::Completed);
        let [
            ServiceChange::Update { sequence: 5, .. },
            ServiceChange::Audited { summary, sequence: 6, order: by, .. },
        ] = &settled.services[..]
        else {
            panic!("{:?}", settled.services)
        };
        assert_eq!((summary.config, summary.state), (ConfigAudit::Drifted, AuditState::NotAudited));
        assert_eq!(*by, order());
        let event = &settled.entries[2].event;
        assert_eq!((event.kind().as_str(), event.sequence), ("dev.turnup.service.audited.v1", 6));
        assert_eq!(event.data["proposed"]["kind"], "redeploy");

        // What was in sync where it was looked at says nothing of all of the service.
        done.devices.truncate(1);
        let settled = run(OrderKind::Modify, &[done.clone()]);
        assert!(matches!(settled.services[..], [ServiceChange::Update { .. }]), "{:?}", settled.services);
        // Nor does what was found say anything where the order failed.
        let refused = Failure::new(FailureClass::Invalid, "drift", "changed by hand");
        let mut failed = report(2, 1, DeploymentEvent::Rejected, vec![refused]);
        failed.devices = vec![device("a", InForce::Old, Some(audit(ConfigAudit::Drifted, &[])))];
        let settled = run(OrderKind::Modify, &[failed]);
        assert_eq!(settled.orders[0].1, OrderState::Invalid);
        assert!(matches!(settled.services[..], [ServiceChange::Fail { .. }]), "{:?}", settled.services);
    }

    #[test]
    fn checks_that_passed_before_the_confirm_say_that_the_service_is_up() {
        for kind in [OrderKind::Provision, OrderKind::Modify, OrderKind::Redeploy] {
            let mut done = report(2, 1, DeploymentEvent::Committed, vec![]);
            done.devices = ["a", "z"]
                .map(|name| device(name, InForce::New, Some(audit(ConfigAudit::NotAudited, &[true]))))
                .into();
            let settled = run(kind, &[done]);
            let [_, ServiceChange::Audited { summary, at, devices, sequence, .. }] = &settled.services[..]
            else {
                panic!("{kind}: {:?}", settled.services)
            };
            assert_eq!((summary.state, summary.config), (AuditState::Up, ConfigAudit::NotAudited));
            assert_eq!((*at, *sequence), (now(), if kind == OrderKind::Provision { 2 } else { 6 }));
            assert_eq!(devices[1]["checks"][0]["evidence"], "state is up", "{devices}");
        }
    }

    #[test]
    fn drift_beside_one_order_of_a_group_is_its_services_alone() {
        let (deployments, mut orders) = world(OrderKind::Modify);
        let other = OrderId(Uuid::from_u128(12));
        let mut stored = orders[&order()].clone();
        stored.facts.id = other;
        stored.facts.service_id = ServiceId(Uuid::from_u128(112));
        orders.insert(other, stored);
        let mut group = report(2, 1, DeploymentEvent::Committed, vec![]);
        group.devices = vec![device("a", InForce::New, None)];
        let a = DeviceName::new("a").unwrap();
        let told = |id, audits| OrderReport {
            order: id,
            failures: vec![],
            in_force: BTreeMap::from([(a.clone(), InForce::New)]),
            audits,
        };
        let found = BTreeMap::from([(a.clone(), audit(ConfigAudit::Drifted, &[]))]);
        group.orders = vec![told(order(), BTreeMap::new()), told(other, found)];
        let settled = apply(&[&group], &deployments, &orders, now());
        let audited: Vec<ServiceId> = settled
            .services
            .iter()
            .filter_map(|change| match change {
                ServiceChange::Audited { service, .. } => Some(*service),
                _ => None,
            })
            .collect();
        assert_eq!(audited, [ServiceId(Uuid::from_u128(112))]);
    }

    #[test]
    fn doubt_is_kept_with_its_beginning() {
        let settled = run(
            OrderKind::Provision,
            &[report(2, 1, DeploymentEvent::Doubted, vec![]), report(2, 2, DeploymentEvent::Doubted, vec![])],
        );
        assert_eq!(settled.deployments[0].in_doubt_since, Some(now()));
        assert!(settled.orders.is_empty());
    }
}
