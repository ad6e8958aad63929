//! Orders that failed and are tried again by themselves: pure, over the rows that the store has locked.

use jiff::Timestamp;
use serde_json::{Value, json};
use turnup_core::{
    event,
    failure::Failure,
    lifecycle::{OrderEvent, OrderState, order_transition},
    retry::{self, Attempt},
};
use turnup_store::{Entry, OrderToSettle, Retry, Settled};
use uuid::Uuid;

/// Who tries again, in the history.
const BY: &str = "recorder";

/// The next attempt of an order whose deployment has brought it to `to`, if it gets one. `known`: all that is its own is
/// known to be as it was before, so nobody has to look first.
pub(crate) fn next(
    order: &OrderToSettle,
    to: OrderState,
    failures: &[Failure],
    known: bool,
    now: Timestamp,
) -> Option<Attempt> {
    let again = order_transition(to, OrderEvent::Schedule).is_ok() && known;
    let due = || retry::next(&order.retry.policy, order.facts.id, order.retry.series, failures, now);
    again.then(due).flatten()
}

/// What events say of it.
pub(crate) fn told(attempt: &Attempt) -> Value {
    json!({"attempt": attempt.number, "of": attempt.of, "at": event::time(attempt.at)})
}

/// Schedules `attempt` of an order that has just failed, and `why` it did. `sequence`: number of the history entry.
pub(crate) fn schedule(
    settled: &mut Settled,
    order: &OrderToSettle,
    attempt: &Attempt,
    why: Option<&str>,
    sequence: i32,
    now: Timestamp,
) {
    let Attempt { number, of, at } = *attempt;
    let more = json!({"scheduled_for": event::time(at), "retry": told(attempt)});
    let after = why.map(|why| format!(", after: {why}")).unwrap_or_default();
    settled.entries.push(Entry {
        event: order.facts.event(Uuid::now_v7(), sequence, OrderState::Scheduled, now, more),
        change: Some((Some(OrderState::FailedDeploy), OrderState::Scheduled)),
        why: Some(format!("attempt {number} of {of} at {}{after}", event::time(at))),
        by: BY.to_owned(),
    });
    let revision = order.retry.revision + 1;
    settled.retries.push(Retry { order: order.facts.id, sequence, revision, due: at, number, of });
}

#[cfg(test)]
mod tests;
