//! Final reports on their way out: published and confirmed in batches over all deployments, and only then
//! are the deliveries acknowledged.

use std::{pin::Pin, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::sleep};
use turnup_broker::{Delivery, Outgoing, Publisher, ack_many};

use crate::{crash, retry::Retry};

/// Most reports in one batch.
const BATCH: usize = 256;
/// Batches that may wait for their confirms at once.
const IN_FLIGHT: usize = 4;
/// How long a batch may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A report, what goes with it, and the delivery that they settle.
#[derive(Debug)]
pub(crate) struct Final {
    /// In their order. They are all published before the delivery is acknowledged; who reads them bears that
    /// one comes again.
    pub(crate) messages: Vec<Outgoing>,
    pub(crate) delivery: Delivery,
}

type Publishing = Pin<Box<dyn Future<Output = Vec<Final>> + Send>>;

/// Publishes what comes until every sender is gone and everything is settled.
pub(crate) async fn run(publisher: Publisher, mut inbox: mpsc::Receiver<Final>) {
    let mut in_flight: FuturesUnordered<Publishing> = FuturesUnordered::new();
    let mut open = true;
    while open || !in_flight.is_empty() {
        let mut batch = Vec::new();
        tokio::select! {
            Some(failed) = in_flight.next() => {
                if !failed.is_empty() {
                    in_flight.push(Box::pin(settle(publisher.clone(), failed, true)));
                }
            }
            count = inbox.recv_many(&mut batch, BATCH), if open && in_flight.len() < IN_FLIGHT => {
                open = count > 0;
                if open {
                    in_flight.push(Box::pin(settle(publisher.clone(), batch, false)));
                }
            }
        }
    }
}

/// Publishes a batch and acknowledges what was confirmed. Returns what has to be tried again.
async fn settle(publisher: Publisher, batch: Vec<Final>, again: bool) -> Vec<Final> {
    if again {
        sleep(Retry::new(Duration::from_millis(500), Duration::from_secs(1)).next()).await;
    }
    let messages = batch.iter().flat_map(|report| report.messages.iter().cloned()).collect();
    let mut results = publisher.publish_all(messages, DEADLINE).await.into_iter();
    let (mut settled, mut failed) = (Vec::with_capacity(batch.len()), Vec::new());
    for report in batch {
        // One result per message; the worst decides.
        let own: Result<Vec<()>, _> =
            results.by_ref().take(report.messages.len()).collect::<Vec<_>>().into_iter().collect();
        let message_id = report.messages.last().map(|message| message.message_id.clone());
        match own.map(drop) {
            Ok(()) => settled.push(report.delivery),
            // Dropping the delivery releases it; whoever gets it finds out how it stands.
            Err(error) if report.delivery.is_stale() || !error.worth_retrying() => {
                tracing::warn!(?message_id, %error, "a report could not be published; the deployment goes to another worker");
            }
            Err(error) => {
                tracing::warn!(?message_id, %error, "a report is not published yet; trying again");
                failed.push(report);
            }
        }
    }
    if !settled.is_empty() {
        crash::pass(crash::AFTER_REPORT);
        // One whose channel is gone is delivered again, and its claim then says that it has ended.
        ack_many(settled).await;
    }
    failed
}
