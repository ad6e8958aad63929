//! The three persisted life cycles: service order, service, deployment. One enum and one
//! exhaustive match each; `docs/lifecycle.md` holds the tables that a test writes from here, and
//! the database refuses whatever is not in them.

use crate::words::words;

words!(
    /// State of a service order.
    OrderState, "order state" {
        /// Created; nobody has tried to deploy or schedule it.
        Requested = "requested" / "Requested",
        /// Waits for its time; for "now" only briefly.
        Scheduled = "scheduled" / "Scheduled",
        /// Transitory: being deployed.
        InProgress = "in_progress" / "In Progress",
        /// Deployed.
        Completed = "completed" / "Completed",
        /// Can't be deployed because of invalid information in the order itself. Final.
        Invalid = "invalid" / "Invalid",
        /// A device was down or the configuration could not be pushed; may be scheduled again.
        FailedDeploy = "failed_deploy" / "Failed Deploy",
        /// Withdrawn before it started, or given up after a failed deploy. Final.
        Cancelled = "cancelled" / "Cancelled",
    }
);

impl OrderState {
    /// Whether nothing can happen to the order any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Invalid | Self::Cancelled)
    }

    /// Whether an attempt has come to its end (final, or Failed Deploy).
    #[must_use]
    pub const fn is_settled(self) -> bool {
        self.is_final() || matches!(self, Self::FailedDeploy)
    }

    /// What people may ask for in this state, as words of the API.
    #[must_use]
    pub fn legal_actions(self) -> Vec<String> {
        [OrderEvent::Schedule, OrderEvent::Unschedule, OrderEvent::Cancel]
            .into_iter()
            .filter(|event| order_transition(self, *event).is_ok())
            .map(|event| event.word().to_owned())
            .chain((self == Self::Invalid).then(|| "recreate".to_owned()))
            .collect()
    }
}

words!(
    /// Something that happens to a service order.
    OrderEvent, "order event" {
        /// A time was given (or "now"). On a Scheduled order: another time.
        Schedule = "schedule" / "schedule",
        /// The time was taken away.
        Unschedule = "unschedule" / "unschedule",
        /// Withdrawn.
        Cancel = "cancel" / "cancel",
        /// Time reached, revision current, leases on all devices taken.
        Start = "start" / "start",
        /// In force on all devices.
        Deployed = "deployed" / "deployed",
        /// The order itself can't be deployed.
        Invalid = "invalid" / "invalid",
        /// It could not be pushed.
        Failed = "failed" / "failed",
    }
);

/// A transition that the life cycle does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {} cannot take {event:?}", from.title())]
pub struct Illegal {
    /// The state the order is in.
    pub from: OrderState,
    /// What was tried.
    pub event: &'static str,
}

/// The state an order takes on `event`.
///
/// # Errors
/// [`Illegal`] where the life cycle has no such transition.
pub const fn order_transition(from: OrderState, event: OrderEvent) -> Result<OrderState, Illegal> {
    use OrderEvent as E;
    use OrderState as S;
    match (from, event) {
        (S::Requested | S::Scheduled | S::FailedDeploy, E::Schedule) => Ok(S::Scheduled),
        (S::Scheduled, E::Unschedule) => Ok(S::Requested),
        (S::Requested | S::Scheduled | S::FailedDeploy, E::Cancel) => Ok(S::Cancelled),
        (S::Scheduled, E::Start) => Ok(S::InProgress),
        (S::InProgress, E::Deployed) => Ok(S::Completed),
        (S::InProgress, E::Invalid) => Ok(S::Invalid),
        (S::InProgress, E::Failed) => Ok(S::FailedDeploy),
        (S::Requested | S::InProgress | S::FailedDeploy, E::Unschedule)
        | (S::InProgress, E::Schedule | E::Cancel | E::Start)
        | (S::Requested | S::FailedDeploy, E::Start)
        | (S::Requested | S::Scheduled | S::FailedDeploy, E::Deployed | E::Invalid | E::Failed)
        | (S::Completed | S::Invalid | S::Cancelled, _) => Err(Illegal { from, event: event.word() }),
    }
}

words!(
    /// State of a service. Before a provision order completes and after a decommission order
    /// completes there is no service, and so no state.
    ServiceState, "service state" {
        /// Exists as ordered.
        Deployed = "deployed" / "Deployed",
        /// An attempt to change or remove it failed.
        FailDeploy = "fail_deploy" / "Fail Deploy",
    }
);

words!(
    /// What the audits say of a service.
    AuditState, "audit state" {
        /// No audit yet.
        NotAudited = "not_audited" / "Not audited yet",
        /// All checks passed.
        Up = "up" / "Up",
        /// A check failed.
        Down = "down" / "Down",
    }
);

words!(
    /// What an ended order does to its service.
    ServiceEvent, "service event" {
        /// A provision order completed.
        Provisioned = "provisioned" / "provision completed",
        /// A modify or redeploy order completed.
        Changed = "changed" / "modify or redeploy completed",
        /// A modify, redeploy or decommission order ended Failed Deploy or Invalid.
        AttemptFailed = "attempt_failed" / "modify, redeploy or decommission failed",
        /// A decommission order completed.
        Decommissioned = "decommissioned" / "decommission completed",
    }
);

/// The state of a service after `event`; `None` is a service that does not exist. An event that
/// can't happen to the service (such as a change of one that is gone) leaves it as it is.
#[must_use]
pub const fn service_transition(from: Option<ServiceState>, event: ServiceEvent) -> Option<ServiceState> {
    use ServiceEvent as E;
    use ServiceState as S;
    match (from, event) {
        (None, E::Provisioned) => Some(S::Deployed),
        (None, E::Changed | E::AttemptFailed | E::Decommissioned) => None,
        (Some(_), E::Provisioned | E::Changed) => Some(S::Deployed),
        (Some(_), E::AttemptFailed) => Some(S::FailDeploy),
        (Some(_), E::Decommissioned) => None,
    }
}

words!(
    /// State of a deployment: one network transaction, or the part of one, in one region.
    DeploymentState, "deployment state" {
        /// Dispatched to the region; no worker has reported yet.
        Pending = "pending" / "Pending",
        /// A worker is at it.
        Running = "running" / "Running",
        /// A commit was sent and its outcome is not known yet; devices are being read back.
        InDoubt = "in_doubt" / "In doubt",
        /// Provisionally in force on all devices of its region; the other regions are waited for.
        Prepared = "prepared" / "Prepared",
        /// In force on all devices of its region; the other regions are waited for.
        Confirmed = "confirmed" / "Confirmed",
        /// In force on all devices. Final.
        Committed = "committed" / "Committed",
        /// In force on no device, because something failed. Final.
        RolledBack = "rolled_back" / "Rolled back",
        /// In force on no device, because the orders' content was refused. Final.
        Rejected = "rejected" / "Rejected",
        /// Each of its orders is in force everywhere or nowhere, and not all are the same. Final.
        Partly = "partly" / "Partly committed",
        /// Given up: what is in force is recorded per device, and not the same everywhere or not known. Final.
        Unresolved = "unresolved" / "Unresolved",
    }
);

impl DeploymentState {
    /// Whether the deployment has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Committed | Self::RolledBack | Self::Rejected | Self::Partly | Self::Unresolved)
    }
}

words!(
    /// What a worker reports about a deployment.
    DeploymentEvent, "deployment event" {
        /// A worker took it, or is still at it with everything known.
        Progressed = "progressed" / "progressed",
        /// A commit's outcome is unknown.
        Doubted = "doubted" / "doubted",
        /// Provisionally in force on all devices of its region, going back unless it is confirmed.
        Prepared = "prepared" / "prepared",
        /// The decision to confirm was carried out on all devices of its region.
        Confirmed = "confirmed" / "confirmed",
        /// In force everywhere.
        Committed = "committed" / "committed",
        /// In force nowhere after a failure.
        RolledBack = "rolled_back" / "rolled back",
        /// In force nowhere after a refusal.
        Rejected = "rejected" / "rejected",
        /// Some of its orders in force wherever they want to be, the others nowhere.
        PartlyCommitted = "partly_committed" / "partly committed",
        /// Neither could be reached.
        GivenUp = "given_up" / "given up",
    }
);

/// The state of a deployment after `event`; `None` where the deployment has already ended, so
/// that a late or repeated report changes nothing.
#[must_use]
pub const fn deployment_transition(from: DeploymentState, event: DeploymentEvent) -> Option<DeploymentState> {
    use DeploymentEvent as E;
    use DeploymentState as S;
    match (from, event) {
        (S::Pending | S::Running | S::InDoubt, E::Progressed) => Some(S::Running),
        (S::Pending | S::Running | S::InDoubt, E::Doubted) => Some(S::InDoubt),
        (S::Pending | S::Running | S::InDoubt, E::Prepared) => Some(S::Prepared),
        (S::Pending | S::Running | S::InDoubt, E::Confirmed) => Some(S::Confirmed),
        (S::Pending | S::Running | S::InDoubt, E::Committed) => Some(S::Committed),
        (S::Pending | S::Running | S::InDoubt, E::RolledBack) => Some(S::RolledBack),
        (S::Pending | S::Running | S::InDoubt, E::Rejected) => Some(S::Rejected),
        (S::Pending | S::Running | S::InDoubt, E::PartlyCommitted) => Some(S::Partly),
        (S::Pending | S::Running | S::InDoubt, E::GivenUp) => Some(S::Unresolved),
        // What comes next is decided, not reported.
        (S::Prepared | S::Confirmed, _)
        | (S::Committed | S::RolledBack | S::Rejected | S::Partly | S::Unresolved, _) => None,
    }
}

/// The transition tables as Markdown: the generated part of `docs/lifecycle.md`.
#[must_use]
pub fn tables() -> String {
    use std::fmt::Write as _;
    let mut out = String::from(
        "### Service order\n\n| from | event | to |\n|---|---|---|\n| – | accepted | Requested |\n",
    );
    for from in OrderState::ALL {
        for event in OrderEvent::ALL {
            if let Ok(to) = order_transition(*from, *event) {
                let _ = writeln!(out, "| {} | {} | {} |", from.title(), event.title(), to.title());
            }
        }
    }
    out.push_str("\n### Service\n\n| from | event | to |\n|---|---|---|\n");
    for from in [None, Some(ServiceState::Deployed), Some(ServiceState::FailDeploy)] {
        for event in ServiceEvent::ALL {
            let to = service_transition(from, *event);
            let name = |state: Option<ServiceState>| state.map_or("(does not exist)", ServiceState::title);
            if from.is_some() || to.is_some() {
                let _ = writeln!(out, "| {} | {} | {} |", name(from), event.title(), name(to));
            }
        }
    }
    out.push_str("\n### Deployment\n\n| from | event | to |\n|---|---|---|\n");
    for from in DeploymentState::ALL {
        for event in DeploymentEvent::ALL {
            if let Some(to) = deployment_transition(*from, *event) {
                let _ = writeln!(out, "| {} | {} | {} |", from.title(), event.title(), to.title());
            }
        }
    }
    out
}

/// Every legal `(from, to)` of an order, for the database's table of legal transitions. `None` is
/// the state before acceptance.
#[must_use]
pub fn legal_order_changes() -> Vec<(Option<OrderState>, OrderState)> {
    let mut changes = vec![(None, OrderState::Requested)];
    for from in OrderState::ALL {
        for event in OrderEvent::ALL {
            if let Ok(to) = order_transition(*from, *event)
                && !changes.contains(&(Some(*from), to))
            {
                changes.push((Some(*from), to));
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the design, written out: what the match says must be exactly this.
    #[test]
    fn order_table_is_exactly_the_designs() {
        use OrderEvent as E;
        use OrderState as S;
        let legal = [
            (S::Requested, E::Schedule, S::Scheduled),
            (S::Requested, E::Cancel, S::Cancelled),
            (S::Scheduled, E::Schedule, S::Scheduled),
            (S::Scheduled, E::Unschedule, S::Requested),
            (S::Scheduled, E::Cancel, S::Cancelled),
            (S::Scheduled, E::Start, S::InProgress),
            (S::InProgress, E::Deployed, S::Completed),
            (S::InProgress, E::Invalid, S::Invalid),
            (S::InProgress, E::Failed, S::FailedDeploy),
            (S::FailedDeploy, E::Schedule, S::Scheduled),
            (S::FailedDeploy, E::Cancel, S::Cancelled),
        ];
        for from in S::ALL {
            for event in E::ALL {
                let wanted = legal.iter().find(|(f, e, _)| f == from && e == event).map(|(_, _, to)| *to);
                assert_eq!(order_transition(*from, *event).ok(), wanted, "{from} {event}");
            }
        }
    }

    #[test]
    fn final_states_have_no_way_out() {
        for state in OrderState::ALL.iter().filter(|s| s.is_final()) {
            assert!(OrderEvent::ALL.iter().all(|e| order_transition(*state, *e).is_err()));
        }
        for state in DeploymentState::ALL.iter().filter(|s| s.is_final()) {
            assert!(DeploymentEvent::ALL.iter().all(|e| deployment_transition(*state, *e).is_none()));
        }
    }

    #[test]
    fn every_settled_order_was_in_progress_or_withdrawn() {
        for (from, to) in legal_order_changes() {
            if matches!(to, OrderState::Completed | OrderState::Invalid | OrderState::FailedDeploy) {
                assert_eq!(from, Some(OrderState::InProgress));
            }
        }
    }

    #[test]
    fn a_service_table() {
        use ServiceEvent as E;
        use ServiceState as S;
        assert_eq!(service_transition(None, E::Provisioned), Some(S::Deployed));
        assert_eq!(service_transition(None, E::AttemptFailed), None, "a failed provision leaves no service");
        assert_eq!(service_transition(Some(S::Deployed), E::AttemptFailed), Some(S::FailDeploy));
        assert_eq!(service_transition(Some(S::FailDeploy), E::Changed), Some(S::Deployed));
        assert_eq!(service_transition(Some(S::FailDeploy), E::Decommissioned), None);
    }

    #[test]
    fn legal_actions_are_named() {
        assert_eq!(OrderState::Scheduled.legal_actions(), ["schedule", "unschedule", "cancel"]);
        assert_eq!(OrderState::InProgress.legal_actions(), Vec::<String>::new());
        assert_eq!(OrderState::Invalid.legal_actions(), ["recreate"]);
    }

    #[test]
    fn words_round_trip() {
        for state in OrderState::ALL {
            assert_eq!(state.word().parse::<OrderState>().unwrap(), *state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
        assert!("done".parse::<OrderState>().unwrap_err().to_string().contains("completed"));
    }
}
