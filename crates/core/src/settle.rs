//! What the end of a deployment means for its orders and their services.

use crate::{
    failure::{Failure, FailureClass},
    lifecycle::{DeploymentEvent, OrderEvent, ServiceEvent},
    message::{DeviceReport, InForce, OrderReport},
    name::DeviceName,
    order::OrderKind,
};

/// The order's event for its failures; none is a success. One device's refusal of the content is
/// enough for Invalid, as trying again without a correction could not help.
#[must_use]
pub fn order_event(failures: &[Failure]) -> OrderEvent {
    if failures.is_empty() {
        OrderEvent::Deployed
    } else if failures.iter().any(|failure| failure.class == FailureClass::Invalid) {
        OrderEvent::Invalid
    } else {
        OrderEvent::Failed
    }
}

/// What an ended order does to its service; `None`: nothing (a failed provision leaves no service,
/// a validate order changes none).
#[must_use]
pub const fn service_event(kind: OrderKind, order: OrderEvent) -> Option<ServiceEvent> {
    match (kind, order) {
        (OrderKind::Provision, OrderEvent::Deployed) => Some(ServiceEvent::Provisioned),
        (OrderKind::Modify | OrderKind::Redeploy, OrderEvent::Deployed) => Some(ServiceEvent::Changed),
        (OrderKind::Decommission, OrderEvent::Deployed) => Some(ServiceEvent::Decommissioned),
        (
            OrderKind::Modify | OrderKind::Redeploy | OrderKind::Decommission,
            OrderEvent::Invalid | OrderEvent::Failed,
        ) => Some(ServiceEvent::AttemptFailed),
        _ => None,
    }
}

/// How a deployment ended, from what is known of its devices and orders: never "committed" unless the new
/// configuration is in force everywhere, never "rolled back" unless the old one is, never "partly committed"
/// unless each order is in force wherever it wants to be or nowhere.
#[must_use]
pub fn outcome(devices: &[DeviceReport], orders: &[OrderReport]) -> DeploymentEvent {
    let all = |in_force| devices.iter().all(|device| device.in_force == in_force);
    let refused = devices.iter().flat_map(|d| &d.failures).any(|f| f.class == FailureClass::Invalid);
    if all(InForce::New) {
        DeploymentEvent::Committed
    } else if all(InForce::Old) {
        if refused { DeploymentEvent::Rejected } else { DeploymentEvent::RolledBack }
    } else if orders.len() > 1 && orders.iter().all(|order| wholly(order).is_some()) {
        DeploymentEvent::PartlyCommitted
    } else {
        DeploymentEvent::GivenUp
    }
}

/// Whether the order's own configuration is in force wherever it changes something (true), or nowhere
/// (false); none if neither, or if it isn't known.
fn wholly(order: &OrderReport) -> Option<bool> {
    let all = |in_force| order.in_force.values().all(|found| *found == in_force);
    if order.in_force.is_empty() {
        None
    } else if all(InForce::New) {
        Some(true)
    } else {
        all(InForce::Old).then_some(false)
    }
}

/// Whether a worker's final report proves that this order is in force. One that was committed as a whole
/// proves it for all its orders, one that was undone for none. Else the order's own devices decide: each has
/// the new configuration, what is told of the device itself does not gainsay it, and nothing failed.
#[must_use]
pub fn is_deployed(event: DeploymentEvent, order: &OrderReport, devices: &[DeviceReport]) -> bool {
    let possible = |name: &DeviceName| {
        let device = devices.iter().find(|device| device.device == *name);
        device.is_some_and(|device| device.in_force != InForce::Old)
    };
    match event {
        DeploymentEvent::Committed => true,
        DeploymentEvent::PartlyCommitted | DeploymentEvent::GivenUp => {
            order.failures.is_empty() && wholly(order) == Some(true) && order.in_force.keys().all(possible)
        }
        DeploymentEvent::Progressed
        | DeploymentEvent::Doubted
        | DeploymentEvent::Prepared
        | DeploymentEvent::Confirmed
        | DeploymentEvent::RolledBack
        | DeploymentEvent::Rejected => false,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::id::OrderId;

    fn report(in_force: InForce, class: Option<FailureClass>) -> DeviceReport {
        DeviceReport {
            device: DeviceName::new("d").unwrap(),
            in_force,
            steps: vec![],
            audit: None,
            guarantee: None,
            failures: class.map(|c| Failure::new(c, "edit-config", "x")).into_iter().collect(),
            tokens_cancelled: false,
            remarks: Vec::new(),
        }
    }

    #[test]
    fn outcomes() {
        use InForce::{New, Old, Unknown};
        let ends = |reports: &[DeviceReport]| outcome(reports, &[]);
        assert_eq!(ends(&[report(New, None), report(New, None)]), DeploymentEvent::Committed);
        assert_eq!(
            ends(&[report(Old, Some(FailureClass::Invalid)), report(Old, Some(FailureClass::Undone))]),
            DeploymentEvent::Rejected
        );
        assert_eq!(
            ends(&[report(Old, Some(FailureClass::Busy)), report(Old, None)]),
            DeploymentEvent::RolledBack
        );
        assert_eq!(ends(&[report(Old, None), report(New, None)]), DeploymentEvent::GivenUp);
        assert_eq!(ends(&[report(New, None), report(Unknown, None)]), DeploymentEvent::GivenUp);
    }

    fn order(in_force: &[InForce], failed: bool) -> OrderReport {
        let in_force = in_force.iter().enumerate();
        OrderReport {
            order: OrderId(Uuid::from_u128(1)),
            failures: failed.then(|| Failure::new(FailureClass::Busy, "lock", "x")).into_iter().collect(),
            in_force: in_force
                .map(|(n, found)| (DeviceName::new(format!("d{n}")).unwrap(), *found))
                .collect(),
            audits: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn a_group_is_partly_committed_only_if_each_order_is_all_or_nothing() {
        use InForce::{New, Old, Partly, Unknown};
        let devices = [report(Partly, None), report(New, None)];
        let ends = |orders: &[OrderReport]| outcome(&devices, orders);
        let (done, undone) = (order(&[New, New], false), order(&[Old], true));
        assert_eq!(ends(&[done.clone(), undone.clone()]), DeploymentEvent::PartlyCommitted);
        for odd in [order(&[New, Old], true), order(&[Unknown], true), order(&[], false)] {
            assert_eq!(ends(&[done.clone(), undone.clone(), odd]), DeploymentEvent::GivenUp);
        }
        assert_eq!(ends(&[done]), DeploymentEvent::GivenUp, "one order alone is never partly committed");
    }

    #[test]
    fn an_order_is_believed_by_its_own_devices() {
        use DeploymentEvent as E;
        use InForce::{New, Old, Partly, Unknown};
        let device = |n: usize, in_force| DeviceReport {
            device: DeviceName::new(format!("d{n}")).unwrap(),
            ..report(in_force, None)
        };
        let devices = [device(0, Partly), device(1, Unknown), device(2, Old)];
        let done = order(&[New, New], false);
        for event in [E::PartlyCommitted, E::GivenUp] {
            assert!(is_deployed(event, &done, &devices));
            for lie in [
                order(&[], false),
                order(&[New, Unknown], false),
                order(&[New, Old], false),
                order(&[New, New], true),
                order(&[New, New, New], false), // The device says that nothing new is in force.
                order(&[New, New, New, New], false), // There is no such device.
            ] {
                assert!(!is_deployed(event, &lie, &devices), "{lie:?}");
            }
        }
        assert!(!is_deployed(E::Rejected, &done, &devices) && !is_deployed(E::RolledBack, &done, &devices));
        assert!(is_deployed(E::Committed, &order(&[], false), &[]));
    }

    #[test]
    fn invalid_wins_over_failed() {
        let failures = [
            Failure::new(FailureClass::Undone, "prepare", "x"),
            Failure::new(FailureClass::Invalid, "edit-config", "y"),
        ];
        assert_eq!(order_event(&failures), OrderEvent::Invalid);
        assert_eq!(order_event(&failures[..1]), OrderEvent::Failed);
        assert_eq!(order_event(&[]), OrderEvent::Deployed);
    }

    #[test]
    fn a_failed_provision_leaves_no_service() {
        assert_eq!(service_event(OrderKind::Provision, OrderEvent::Failed), None);
        assert_eq!(
            service_event(OrderKind::Decommission, OrderEvent::Failed),
            Some(ServiceEvent::AttemptFailed)
        );
    }
}
