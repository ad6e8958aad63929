//! Whether what the intake needs is there: asked every second, so that a request is refused at
//! once instead of waiting for a deadline, and the intake recovers by itself.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use turnup_broker::Broker;
use turnup_core::problem::Problem;
use turnup_store::{Store, StoreError};

const EVERY: Duration = Duration::from_secs(1);
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many failures in a row count: one slow answer under load is no outage.
const FAILURES: u32 = 2;

/// What is away, in words for people; none: it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// The database.
    pub(crate) store: Option<&'static str>,
    /// The broker.
    pub(crate) broker: Option<&'static str>,
}

/// The last known status.
#[derive(Debug)]
pub(crate) struct Health(watch::Sender<Status>);

impl Health {
    /// Nothing is known yet, so nothing counts as being there.
    pub(crate) fn new() -> Self {
        let unknown = Some("not asked yet");
        Self(watch::channel(Status { store: unknown, broker: unknown }).0)
    }

    pub(crate) fn status(&self) -> Status {
        *self.0.borrow()
    }

    /// Why no new order can be accepted now.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        let status = self.status();
        let (what, why) = status
            .store
            .map(|why| ("database", why))
            .or_else(|| status.broker.map(|why| ("message broker", why)))?;
        Some(Problem::unavailable(format!(
            "new orders can't be accepted: the {what} is away ({why}); try again"
        )))
    }

    /// Waits until the database is there.
    pub(crate) async fn store_is_there(&self) {
        // An error would mean that the sender, which is self, is gone.
        let _ = self.0.subscribe().wait_for(|status| status.store.is_none()).await;
    }

    #[cfg(test)]
    pub(crate) fn set(&self, status: Status) {
        self.0.send_replace(status);
    }

    /// Asks the database and the broker every second until `shutdown`.
    pub(crate) async fn watch(&self, store: Store, broker: Broker, shutdown: CancellationToken) {
        let (mut store_failures, mut broker_failures) = (FAILURES, FAILURES);
        loop {
            let (of_store, of_broker) =
                tokio::join!(timeout(PATIENCE, store.check()), timeout(PATIENCE, broker.ping()));
            let of_store = match of_store {
                Ok(Ok(())) => None,
                Ok(Err(StoreError::Version { .. })) => {
                    Some("its schema is not this release's; run 'turnup migrate'")
                }
                Ok(Err(_)) => Some("it can't be reached"),
                Err(_) => Some("it does not answer"),
            };
            let of_broker = match of_broker {
                Ok(Ok(())) => None,
                Ok(Err(_)) => Some("it can't be reached"),
                Err(_) => Some("it does not answer"),
            };
            let before = self.status();
            let now = Status {
                store: settled(before.store, of_store, &mut store_failures),
                broker: settled(before.broker, of_broker, &mut broker_failures),
            };
            if now != before {
                tracing::info!(
                    store = now.store.unwrap_or("there"),
                    broker = now.broker.unwrap_or("there"),
                    "what the intake needs"
                );
                self.0.send_replace(now);
            }
            metrics::gauge!("turnup_intake_ready").set(if now == THERE { 1.0 } else { 0.0 });
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

const THERE: Status = Status { store: None, broker: None };

/// The status after another answer.
fn settled(
    before: Option<&'static str>,
    found: Option<&'static str>,
    failures: &mut u32,
) -> Option<&'static str> {
    match found {
        None => {
            *failures = 0;
            None
        }
        Some(why) => {
            *failures = failures.saturating_add(1);
            if *failures >= FAILURES { Some(why) } else { before }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_answer_is_no_outage_and_one_good_one_ends_it() {
        let mut failures = 0;
        assert_eq!(settled(None, Some("x"), &mut failures), None);
        assert_eq!(settled(None, Some("x"), &mut failures), Some("x"));
        assert_eq!(settled(Some("x"), None, &mut failures), None);
        assert_eq!(settled(None, Some("x"), &mut failures), None);
    }

    #[test]
    fn what_is_away_is_named() {
        let health = Health::new();
        assert_eq!(health.refusal().unwrap().status, 503, "nothing is known yet");
        health.set(Status { store: None, broker: Some("it can't be reached") });
        assert!(health.refusal().unwrap().detail.contains("message broker"));
        health.set(THERE);
        assert!(health.refusal().is_none());
    }
}
