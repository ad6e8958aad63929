//! What the end of a deployment means for its orders and their services.

use crate::{
    failure::{Failure, FailureClass},
    lifecycle::{DeploymentEvent, OrderEvent, ServiceEvent},
    message::{DeviceReport, InForce},
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

/// How a deployment ended, from what is known of its devices: never "committed" unless the new
/// configuration is in force everywhere, never "rolled back" unless the old one is.
#[must_use]
pub fn outcome(devices: &[DeviceReport]) -> DeploymentEvent {
    let all = |in_force| devices.iter().all(|device| device.in_force == in_force);
    let refused = devices.iter().flat_map(|d| &d.failures).any(|f| f.class == FailureClass::Invalid);
    if all(InForce::New) {
        DeploymentEvent::Committed
    } else if all(InForce::Old) {
        if refused { DeploymentEvent::Rejected } else { DeploymentEvent::RolledBack }
    } else {
        DeploymentEvent::GivenUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::DeviceName;

    fn report(in_force: InForce, class: Option<FailureClass>) -> DeviceReport {
        DeviceReport {
            device: DeviceName::new("d").unwrap(),
            in_force,
            steps: vec![],
            audit: None,
            guarantee: None,
            failures: class.map(|c| Failure::new(c, "edit-config", "x")).into_iter().collect(),
        }
    }

    #[test]
    fn outcomes() {
        use InForce::{New, Old, Unknown};
        let ends = |reports: &[DeviceReport]| outcome(reports);
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
