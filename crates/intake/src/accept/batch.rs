//! The batcher: orders that come at the same time are stored in one transaction, because the wall
//! is the number of durable commits. It never waits for a batch to fill: while one is being
//! committed, the next one gathers.

use tokio::sync::{mpsc, oneshot};
use turnup_core::problem::Problem;
use turnup_store::{Accepted, Filled, NewOrder, Store, StoreError};

use crate::refusal;

/// An order that waits to be stored.
pub(crate) struct Pending {
    pub(crate) order: NewOrder,
    pub(crate) answer: oneshot::Sender<Result<Accepted, Problem>>,
}

/// Stores orders until all senders are gone.
pub(crate) async fn run(store: Store, reach_ms: i64, batch: usize, mut queue: mpsc::Receiver<Pending>) {
    while let Some(first) = queue.recv().await {
        // Those who are handing in orders in the same breath come along.
        tokio::task::yield_now().await;
        let mut pending = vec![first];
        while pending.len() < batch {
            let Ok(next) = queue.try_recv() else { break };
            pending.push(next);
        }
        // Whoever gave up waiting was told so, and would be surprised by an order.
        pending.retain(|one| !one.answer.is_closed());
        if !pending.is_empty() {
            store_all(&store, reach_ms, pending).await;
        }
    }
}

/// Stores a batch. One that the database refuses is halved until what is bad stands alone.
async fn store_all(store: &Store, reach_ms: i64, pending: Vec<Pending>) {
    let mut left = vec![pending];
    while let Some(mut batch) = left.pop() {
        let (orders, answers): (Vec<NewOrder>, Vec<_>) =
            batch.drain(..).map(|one| (one.order, one.answer)).unzip();
        turnup_crashpoint::pass("intake.before_commit");
        let result = store.accept(&orders, reach_ms).await;
        turnup_crashpoint::pass("intake.after_commit");
        metrics::histogram!("turnup_intake_batch_orders").record(count(orders.len()));
        match result {
            Ok(accepted) => {
                for (answer, accepted) in answers.into_iter().zip(accepted) {
                    // The receiver may have given up meanwhile.
                    let _ = answer.send(Ok(accepted));
                }
            }
            Err(error) if refuses_content(&error) && orders.len() > 1 => {
                tracing::warn!(%error, orders = orders.len(), "the database refuses a batch of orders; trying it in halves");
                let mut whole: Vec<Pending> = orders
                    .into_iter()
                    .zip(answers)
                    .map(|(order, answer)| Pending { order, answer })
                    .collect();
                let second = whole.split_off(whole.len() / 2);
                left.push(second);
                left.push(whole);
            }
            Err(error) => {
                let found = match orders.as_slice() {
                    [one] if refuses_content(&error) => already_there(store, one).await,
                    _ => None,
                };
                for answer in answers {
                    let _ = answer.send(found.clone().map_or_else(|| Err(refusal::of_store(&error)), Ok));
                }
            }
        }
    }
}

/// Whether the rows are to blame, so that others of the batch may pass.
fn refuses_content(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused(_) | StoreError::Unknown(_))
}

/// An order whose commit was sent when the connection broke may be there when it is tried again.
async fn already_there(store: &Store, order: &NewOrder) -> Option<Accepted> {
    let Ok(Some(stored)) = store.order(order.facts.id).await else { return None };
    Some(Accepted::Created(Box::new(Filled {
        attributes: stored.attributes.as_object().cloned().unwrap_or_default(),
        endpoints: stored.endpoints,
        resources: stored.options.resources,
    })))
}

#[expect(clippy::cast_precision_loss, reason = "a batch is small")]
fn count(n: usize) -> f64 {
    n as f64
}
