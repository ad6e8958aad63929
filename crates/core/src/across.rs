//! Orders over several regions: all or nothing across workers that know nothing of each other.
//!
//! Such an order has a deployment in each region, its *parts*. Each part goes through stages
//! ([`Stage`]): prepared in all regions, then confirmed in all, or undone in all. What comes next is
//! decided here, from what is known of all parts together, by whoever records the last answer, in the
//! transaction that records it. So a decision is durable before anybody hears of it.
//!
//! Nothing is decided before every part has answered its stage. So no two stages of a part are ever
//! at work at once, and a worker that dies is replaced within its stage. What is prepared meanwhile goes
//! back by the devices' own timers; then the answer comes too late and everything is undone.

use jiff::Timestamp;

use crate::{
    failure::{Failure, FailureClass},
    lifecycle::{DeploymentEvent, DeploymentState},
    message::{DeviceReport, InForce, Stage},
    settle,
};

/// What is known of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartState {
    /// The stage that it was last sent.
    pub stage: Stage,
    /// What was last heard of that.
    pub state: DeploymentState,
    /// Where it is prepared: until when confirming may begin.
    pub confirm_by: Option<Timestamp>,
}

impl PartState {
    /// Whether the stage has been answered.
    #[must_use]
    pub const fn has_answered(&self) -> bool {
        self.state.is_final() || matches!(self.state, DeploymentState::Prepared | DeploymentState::Confirmed)
    }

    /// Whether there may be something to undo. Who gave up while preparing has tried to take it back for as
    /// long as it may; who could not finish confirming has not.
    fn may_be_in_force(&self) -> bool {
        match self.state {
            DeploymentState::Prepared | DeploymentState::Confirmed => true,
            DeploymentState::Unresolved => self.stage == Stage::Confirm,
            _ => false,
        }
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A part has not answered yet.
    Wait,
    /// All parts are confirmed.
    Confirm,
    /// The parts at these places are undone.
    Undo(Vec<usize>),
    /// It is over: the order ends by what is in force on the devices of all parts.
    End,
}

/// Decides what comes next for the parts of one transaction.
#[must_use]
pub fn decide(parts: &[PartState], now: Timestamp) -> Decision {
    if !parts.iter().all(PartState::has_answered) {
        return Decision::Wait;
    }
    let all = |state| parts.iter().all(|part| part.state == state);
    let undoing = parts.iter().any(|part| part.stage == Stage::Undo);
    let in_time = || parts.iter().all(|part| part.confirm_by.is_some_and(|by| now < by));
    if !undoing && all(DeploymentState::Prepared) && in_time() {
        return Decision::Confirm;
    }
    if undoing || all(DeploymentState::Confirmed) {
        return Decision::End;
    }
    let undone = parts.iter().enumerate().filter(|(_, part)| part.may_be_in_force());
    let undone: Vec<usize> = undone.map(|(at, _)| at).collect();
    if undone.is_empty() { Decision::End } else { Decision::Undo(undone) }
}

/// What a worker's report says of a part in this stage, which is less than it would of a whole transaction.
#[must_use]
pub const fn event(stage: Stage, event: DeploymentEvent) -> DeploymentEvent {
    use DeploymentEvent as E;
    match (stage, event) {
        (Stage::Confirm, E::Committed) => E::Confirmed,
        // Neither a stage's own end, nor undone.
        (Stage::Undo, E::Committed | E::Confirmed | E::Prepared)
        | (Stage::Prepare, E::Committed | E::Confirmed)
        | (Stage::Confirm, E::Prepared)
        | (Stage::Whole, E::Prepared | E::Confirmed) => E::GivenUp,
        (_, event) => event,
    }
}

/// Why it isn't in force everywhere, from the devices of all parts as they are when that is decided: what they
/// were told to do next leaves nothing of it.
#[must_use]
pub fn reasons(devices: &[DeviceReport]) -> Vec<Failure> {
    // What is noted of one that is prepared is no reason.
    let others = devices.iter().filter(|device| device.in_force != InForce::Provisional);
    let failures = others.flat_map(|device| &device.failures);
    let failures: Vec<Failure> = failures.filter(|f| f.class != FailureClass::Undone).cloned().collect();
    if !failures.is_empty() {
        return failures;
    }
    let text = "undone in all regions, as they were not all ready before half of the devices' confirm timer \
                had passed; look at which region was late, or raise confirm_timeout_s";
    vec![Failure::new(FailureClass::Unreachable, "decide", text)]
}

/// How the transaction as a whole has ended, from the devices of all its parts, and why its order failed: no
/// failure means that it is in force everywhere. `decided`: the reasons for which it was undone, if it was.
#[must_use]
pub fn outcome(devices: &[DeviceReport], decided: &[Failure]) -> (DeploymentEvent, Vec<Failure>) {
    let event = settle::outcome(devices, &[]);
    if event == DeploymentEvent::Committed {
        return (event, Vec::new());
    }
    if decided.is_empty() {
        return (event, reasons(devices));
    }
    let mut failures = decided.to_vec();
    for failure in devices.iter().flat_map(|device| &device.failures) {
        if failure.class != FailureClass::Undone && !failures.contains(failure) {
            failures.push(failure.clone());
        }
    }
    (event, failures)
}

#[cfg(test)]
mod tests;
