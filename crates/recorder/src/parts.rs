//! The parts of a transaction over several regions, when one of them has answered: what comes next, or how
//! the order ends.

use std::collections::BTreeMap;

use jiff::Timestamp;
use turnup_core::{
    across::{self, Decision, PartState},
    failure::{Failure, FailureClass},
    id::{DeploymentId, OrderId},
    lifecycle::{DeploymentEvent, DeploymentState, deployment_transition},
    message::{DeviceReport, OrderReport, Stage, StateChange},
};
use turnup_store::{DeploymentToSettle, OrderToSettle, Settled, StageChange};

use crate::apply::end_order;

/// All parts of a transaction, as they are after the batch.
type Parts<'a> = BTreeMap<DeploymentId, &'a DeploymentToSettle>;

/// Decides what comes next for `transaction`, of which `last` was the last report.
pub(crate) fn decide<'a>(
    settled: &mut Settled,
    transaction: DeploymentId,
    parts: &Parts<'_>,
    last: &StateChange,
    order: impl FnOnce(OrderId) -> Option<&'a OrderToSettle>,
    now: Timestamp,
) {
    let states = parts.values().map(|part| PartState {
        stage: part.stage,
        state: part.state,
        confirm_by: part.part.as_ref().and_then(|part| part.confirm_by),
    });
    let states: Vec<PartState> = states.collect();
    match across::decide(&states, now) {
        Decision::Wait => {}
        Decision::Confirm => {
            tracing::info!(%transaction, "ready in all regions, to be confirmed");
            let confirmed =
                |id: &DeploymentId| StageChange { id: *id, stage: Stage::Confirm, reasons: vec![] };
            settled.stages.extend(parts.keys().map(confirmed));
        }
        Decision::Undo(places) => {
            let reasons = across::reasons(&devices(parts));
            tracing::info!(%transaction, why = ?reasons.first(), "not possible in all regions, to be undone");
            let undone =
                |id: &DeploymentId| StageChange { id: *id, stage: Stage::Undo, reasons: reasons.clone() };
            let parts = parts.keys().enumerate().filter(|(at, _)| places.contains(at));
            settled.stages.extend(parts.map(|(_, id)| undone(id)));
        }
        Decision::End => {
            if states.iter().all(|part| part.state == DeploymentState::Confirmed) {
                settled.confirmed.push(transaction);
            }
            let Some(part) = parts.values().find_map(|part| part.part.as_ref()) else { return };
            let Some(stored) = order(part.order) else { return };
            let (report, change, state) = merged(transaction, part.order, parts, last);
            end_order(settled, &report, stored, &change, state, now);
        }
    }
}

/// The devices of all parts.
fn devices(parts: &Parts<'_>) -> Vec<DeviceReport> {
    let parts = parts.values().filter_map(|part| part.part.as_ref());
    parts.flat_map(|part| part.devices.iter().cloned()).collect()
}

/// One report of all parts, as a worker would make it of a transaction in one region.
fn merged(
    transaction: DeploymentId,
    order: OrderId,
    parts: &Parts<'_>,
    last: &StateChange,
) -> (OrderReport, StateChange, DeploymentState) {
    let devices = devices(parts);
    let reasons = parts.values().filter_map(|part| part.part.as_ref()).map(|part| part.reasons.as_slice());
    let reasons = reasons.max_by_key(|reasons| reasons.len()).unwrap_or_default();
    let (mut event, mut failures) = across::outcome(&devices, reasons);
    // A part that went wrong and does not say where proves nothing.
    let proves = |part: &DeploymentToSettle| {
        matches!(part.state, DeploymentState::Confirmed | DeploymentState::Committed)
            || part.part.as_ref().is_some_and(|part| !part.devices.is_empty())
    };
    if event == DeploymentEvent::Committed && !parts.values().all(|part| proves(part)) {
        event = DeploymentEvent::GivenUp;
        let text = "a region's part has ended otherwise than well, and its worker gave no reason";
        failures = vec![Failure::new(FailureClass::InDoubt, "deploy", text)];
    }
    let in_force = devices.iter().map(|device| (device.device.clone(), device.in_force)).collect();
    let state = deployment_transition(DeploymentState::Running, event).unwrap_or(DeploymentState::Unresolved);
    let change = StateChange {
        deployment: transaction,
        attempt: last.attempt,
        sequence: last.sequence,
        worker: last.worker.clone(),
        at: last.at,
        event,
        phase: last.phase.clone(),
        devices,
        orders: Vec::new(),
        confirm_by: None,
    };
    (OrderReport { order, failures, in_force, audits: BTreeMap::new() }, change, state)
}

#[cfg(test)]
mod tests;
