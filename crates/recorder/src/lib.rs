//! The recorder: workers' state changes → status store → leases given back, services, public events.
//!
//! Architecture invariants:
//! - Reports are applied in batches, each batch one transaction; a message is acknowledged after
//!   the commit. A bad message never sinks its batch.
//! - Transcripts come on the same way and are kept in the same transactions. They decide nothing.
//! - Only the current attempt of a deployment counts, each report once: what is late, repeated or
//!   reordered changes nothing ([`apply`]).
//! - What comes next for an order over several regions is decided in the transaction that records the last
//!   answer, so it is durable before a worker hears of it.
//! - Deciding what a report means is pure; the store guards the same once more in SQL.

pub mod apply;
mod parts;
mod retry;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use turnup_broker::{Broker, ConsumeOptions, Consumer, Delivery, ack_many};
use turnup_core::{
    id::DeploymentId,
    message::{Body as _, STATE_SHARDS, StateChange, Unreadable},
    retry::{BadPolicy, RetryChanges, RetryPolicy},
    transcript::Transcript,
};
use turnup_store::{Store, StoreError};

/// Pause after the database was away.
const RETRY: Duration = Duration::from_millis(500);
/// A batch with so many bytes takes no more: transcripts are large.
const BATCH_BYTES: usize = 8 << 20;

/// Configuration of the recorder.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Most reports applied in one transaction.
    pub batch: usize,
    /// How long a batch may fill while reports are flowing, in milliseconds.
    pub linger_ms: u64,
    /// How orders that failed are tried again, unless their definition or region says otherwise.
    pub retry: RetryPolicy,
    /// What is different for the orders of a region; of several regions: `multi`.
    pub retry_regions: BTreeMap<String, RetryChanges>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { batch: 500, linger_ms: 5, retry: RetryPolicy::default(), retry_regions: BTreeMap::new() }
    }
}

impl Settings {
    /// How orders of a region are tried again; `changes`: what their definition says about it, which counts most.
    #[must_use]
    pub fn policy(&self, region: &str, changes: &RetryChanges) -> RetryPolicy {
        self.retry.with(&self.retry_regions.get(region).copied().unwrap_or_default()).with(changes)
    }

    /// Whether the retries can be kept to.
    ///
    /// # Errors
    /// The section that can't, and why.
    pub fn check(&self) -> Result<(), (String, BadPolicy)> {
        self.retry.check().map_err(|error| ("recorder.retry".to_owned(), error))?;
        self.retry_regions.iter().try_for_each(|(region, changes)| {
            self.retry
                .with(changes)
                .check()
                .map_err(|error| (format!("recorder.retry_regions.{region}"), error))
        })
    }
}

/// What the parts of a recorder share.
struct Context {
    settings: Settings,
    store: Store,
    /// How far ahead orders go on the delay ladder, in milliseconds.
    reach_ms: i64,
    shutdown: CancellationToken,
}

/// Runs a recorder until `shutdown`. Each shard is read in order by a reader of its own; what they
/// read goes through one batch at a time, so that all shards together cost one transaction.
pub async fn run(settings: Settings, store: Store, broker: Broker, shutdown: CancellationToken) {
    let batch = settings.batch.max(1);
    let (reports, mut waiting) = mpsc::channel(batch * 2);
    let readers: Vec<_> = (0..u16::from(STATE_SHARDS))
        .map(|shard| {
            let prefetch = u16::try_from(batch * 2).unwrap_or(u16::MAX);
            let consumer = broker.consume(broker.names().state_queue(shard), ConsumeOptions::new(prefetch));
            tokio::spawn(read_shard(batch, consumer, reports.clone(), shutdown.clone()))
        })
        .collect();
    drop(reports);
    let linger = Duration::from_millis(settings.linger_ms);
    // A tenth less than the ladder reaches, as for all orders.
    let reach_ms = i64::from(turnup_broker::delay::reach_s(broker.settings().ladder_levels)) * 900;
    let context = Context { settings, store, reach_ms, shutdown };
    while let Some(first) = waiting.recv().await {
        let mut together = vec![first];
        fill(&mut waiting, &mut together, batch);
        // A lone report never waits; where more come, they are worth a moment.
        if together.len() > 1 && together.len() < batch {
            tokio::time::sleep(linger).await;
            fill(&mut waiting, &mut together, batch);
        }
        record(&context, together).await;
    }
    for reader in readers {
        if let Err(error) = reader.await {
            tracing::error!(%error, "a recorder's shard ended unexpectedly");
        }
    }
}

/// What comes from workers.
#[derive(Debug)]
enum Word {
    Report(StateChange),
    Transcript(Transcript),
}

impl Word {
    fn decode(body: &[u8]) -> Result<Self, Unreadable> {
        match StateChange::decode(body) {
            Err(Unreadable::Schema { found, .. }) if found == Transcript::SCHEMA => {
                Transcript::decode(body).map(Self::Transcript)
            }
            report => report.map(Self::Report),
        }
    }

    /// What it is, for who reads the parking lot.
    fn describe(&self) -> String {
        match self {
            Self::Report(report) => format!("a report of deployment {}", report.deployment),
            Self::Transcript(transcript) => format!("a transcript of deployment {}", transcript.deployment),
        }
    }
}

type Report = (Word, Delivery);

fn fill(waiting: &mut mpsc::Receiver<Report>, together: &mut Vec<Report>, batch: usize) {
    let mut bytes: usize = together.iter().map(|(_, delivery)| delivery.body.len()).sum();
    while together.len() < batch
        && bytes < BATCH_BYTES
        && let Ok(report) = waiting.try_recv()
    {
        bytes += report.1.body.len();
        together.push(report);
    }
}

/// Hands a shard's reports on, in their order, until `shutdown`.
async fn read_shard(
    batch: usize,
    mut consumer: Consumer,
    reports: mpsc::Sender<Report>,
    shutdown: CancellationToken,
) {
    // However this ends: a recorder that no longer reads a shard must not seem to be at work.
    let _end_all = shutdown.clone().drop_guard();
    let stop = consumer.stop_handle();
    loop {
        let read = tokio::select! {
            () = shutdown.cancelled() => break,
            read = consumer.next_batch(batch, Duration::ZERO) => read,
        };
        if read.is_empty() {
            break;
        }
        for delivery in read {
            match Word::decode(&delivery.body) {
                Ok(report) => {
                    if reports.send((report, delivery)).await.is_err() {
                        return;
                    }
                }
                Err(reason) => park(delivery, &reason.to_string()).await,
            }
        }
    }
    stop.stop();
}

async fn park(delivery: Delivery, reason: &str) {
    tracing::warn!(reason, queue = delivery.queue(), "a message can't be processed and is parked");
    if let Err(error) = delivery.park(reason).await {
        tracing::warn!(%error, "a message could not be parked; it comes again");
    }
}

/// Applies a batch, over an absence of the database. A batch that the database refuses is tried
/// singly.
async fn record(context: &Context, batch: Vec<Report>) {
    let words: Vec<&Word> = batch.iter().map(|(word, _)| word).collect();
    let result = loop {
        match record_once(context, &words).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, reports = words.len(), "reports can't be recorded now; trying again");
                tokio::select! {
                    // Unacknowledged, so the broker gives them to somebody again.
                    () = context.shutdown.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
            other => break other,
        }
    };
    match result {
        Ok(()) => {
            turnup_crashpoint::pass("recorder.after_commit");
            metrics::counter!("turnup_reports_recorded_total").increment(batch.len() as u64);
            ack_many(batch.into_iter().map(|(_, delivery)| delivery).collect()).await;
        }
        Err(_) if batch.len() > 1 => {
            for single in batch {
                Box::pin(record(context, vec![single])).await;
            }
        }
        Err(error) => {
            for (word, delivery) in batch {
                park(delivery, &format!("{} can't be recorded: {error}", word.describe())).await;
            }
        }
    }
}

async fn record_once(context: &Context, words: &[&Word]) -> Result<(), StoreError> {
    let (mut reports, mut transcripts) = (Vec::new(), Vec::new());
    for word in words {
        match word {
            Word::Report(report) => reports.push(report),
            Word::Transcript(transcript) => transcripts.push(transcript.clone()),
        }
    }
    let ids: BTreeSet<DeploymentId> = reports.iter().map(|report| report.deployment).collect();
    let ids: Vec<DeploymentId> = ids.into_iter().collect();
    let mut settling = context.store.begin_settle(&ids).await?;
    for order in settling.orders.values_mut() {
        order.retry.policy = context.settings.policy(&order.facts.region, &order.retry.changes);
    }
    let now = Timestamp::now();
    let mut settled = apply::apply(&reports, &settling.deployments, &settling.orders, now);
    settled.transcripts = transcripts;
    settled.reach_ms = context.reach_ms;
    turnup_crashpoint::pass("recorder.before_commit");
    settling.finish(&settled, now).await
}

#[cfg(test)]
mod tests {
    use turnup_core::message::Due;

    use super::*;

    #[test]
    fn reports_and_transcripts_are_told_apart() {
        let transcript = Transcript {
            deployment: DeploymentId(uuid::Uuid::from_u128(7)),
            attempt: 1,
            worker: "w".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            devices: Vec::new(),
        };
        let word = Word::decode(&transcript.encode().unwrap()).unwrap();
        assert!(matches!(&word, Word::Transcript(read) if *read == transcript), "{word:?}");
        assert!(word.describe().contains("transcript of deployment 00000000"), "{}", word.describe());
        let other = Word::decode(format!(r#"{{"schema":"{}"}}"#, Due::SCHEMA).as_bytes());
        assert!(matches!(other, Err(Unreadable::Schema { wanted: StateChange::SCHEMA, .. })), "{other:?}");
        assert!(Word::decode(b"rubbish").is_err());
    }
}
