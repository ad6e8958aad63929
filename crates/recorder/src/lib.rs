//! The recorder: workers' state changes → status store → leases given back, services, public events.
//!
//! Architecture invariants:
//! - Reports are applied in batches, each batch one transaction; a message is acknowledged after
//!   the commit. A bad message never sinks its batch.
//! - Only the current attempt of a deployment counts, each report once: what is late, repeated or
//!   reordered changes nothing ([`apply`]).
//! - Deciding what a report means is pure; the store guards the same once more in SQL.

pub mod apply;

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use turnup_broker::{Broker, ConsumeOptions, Consumer, Delivery, ack_many};
use turnup_core::{
    id::DeploymentId,
    message::{Body as _, STATE_SHARDS, StateChange},
};
use turnup_store::{Store, StoreError};

/// Pause after the database was away.
const RETRY: Duration = Duration::from_millis(500);

/// Configuration of the recorder.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Most reports applied in one transaction.
    pub batch: usize,
    /// How long a batch may fill while reports are flowing, in milliseconds.
    pub linger_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { batch: 500, linger_ms: 2 }
    }
}

/// Runs a recorder until `shutdown`: one reader per shard, so that a deployment's reports are
/// read in order.
pub async fn run(settings: Settings, store: Store, broker: Broker, shutdown: CancellationToken) {
    let shards = (0..u16::from(STATE_SHARDS)).map(|shard| {
        let prefetch = u16::try_from(settings.batch.saturating_mul(2)).unwrap_or(u16::MAX);
        let consumer = broker.consume(broker.names().state_queue(shard), ConsumeOptions::new(prefetch));
        tokio::spawn(run_shard(settings.clone(), store.clone(), consumer, shutdown.clone()))
    });
    for shard in shards.collect::<Vec<_>>() {
        if let Err(error) = shard.await {
            tracing::error!(%error, "a recorder's shard ended unexpectedly");
            shutdown.cancel();
        }
    }
}

async fn run_shard(settings: Settings, store: Store, mut consumer: Consumer, shutdown: CancellationToken) {
    let stop = consumer.stop_handle();
    loop {
        let batch = tokio::select! {
            () = shutdown.cancelled() => break,
            batch = consumer.next_batch(settings.batch, Duration::from_millis(settings.linger_ms)) => batch,
        };
        if batch.is_empty() {
            break;
        }
        let mut reports = Vec::with_capacity(batch.len());
        for delivery in batch {
            match StateChange::decode(&delivery.body) {
                Ok(report) => reports.push((report, delivery)),
                Err(reason) => park(delivery, &reason.to_string()).await,
            }
        }
        record(&store, reports, &shutdown).await;
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
async fn record(store: &Store, batch: Vec<(StateChange, Delivery)>, shutdown: &CancellationToken) {
    let reports: Vec<&StateChange> = batch.iter().map(|(report, _)| report).collect();
    let result = loop {
        match record_once(store, &reports).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, reports = reports.len(), "reports can't be recorded now; trying again");
                tokio::select! {
                    // Unacknowledged, so the broker gives them to somebody again.
                    () = shutdown.cancelled() => return,
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
                Box::pin(record(store, vec![single], shutdown)).await;
            }
        }
        Err(error) => {
            for (report, delivery) in batch {
                park(
                    delivery,
                    &format!("a report of deployment {} can't be recorded: {error}", report.deployment),
                )
                .await;
            }
        }
    }
}

async fn record_once(store: &Store, reports: &[&StateChange]) -> Result<(), StoreError> {
    let ids: BTreeSet<DeploymentId> = reports.iter().map(|report| report.deployment).collect();
    let ids: Vec<DeploymentId> = ids.into_iter().collect();
    let settling = store.begin_settle(&ids).await?;
    let now = Timestamp::now();
    let settled = apply::apply(reports, &settling.deployments, &settling.orders, now);
    turnup_crashpoint::pass("recorder.before_commit");
    settling.finish(&settled, now).await
}
