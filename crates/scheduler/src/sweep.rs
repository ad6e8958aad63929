//! The backstop: finds, at a low rate, what should have moved and has not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use turnup_broker::DeployClass;
use turnup_store::{RelayLease, StoreError};

use crate::{Context, audits};

/// How often orders that have come into the ladder's reach are released.
const RELEASE_EVERY: Duration = Duration::from_secs(1);
/// Most rows per round.
const ROUND: i64 = 5000;
/// How often the event log's partitions are looked after.
const PARTITIONS_EVERY: Duration = Duration::from_secs(6 * 3600);

pub(crate) async fn run(context: &Context, lease: &RelayLease) -> Result<(), StoreError> {
    let mut sweep = tokio::time::interval(Duration::from_millis(context.settings.sweep_every_ms.max(100)));
    let mut release = tokio::time::interval(RELEASE_EVERY);
    let mut partitions = tokio::time::interval(PARTITIONS_EVERY);
    let mut audits = tokio::time::interval(Duration::from_millis(context.settings.audit_every_ms.max(100)));
    loop {
        tokio::select! {
            _ = sweep.tick() => {
                find_lost(context).await?;
                end_exams(context).await?;
                tell_doubts(context).await?;
            }
            _ = release.tick() => { lease.release_later(Timestamp::now(), ROUND).await?; }
            _ = audits.tick() => audits::order(context).await?,
            _ = partitions.tick() => {
                context.store.make_partitions().await?;
                if context.settings.keep_events_months > 0 {
                    context.store.drop_old_events(context.settings.keep_events_months).await?;
                }
                if context.settings.keep_transcripts_days > 0 {
                    let kept = SignedDuration::from_hours(24 * i64::from(context.settings.keep_transcripts_days));
                    let before = Timestamp::now().checked_sub(kept).unwrap_or(Timestamp::MIN);
                    context.store.prune_transcripts(before).await?;
                }
            }
        }
    }
}

async fn find_lost(context: &Context) -> Result<(), StoreError> {
    let settings = &context.settings;
    let now = Timestamp::now();
    let before = |ms: u64| now - SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    let overdue = before(settings.overdue_ms);
    let mut swept = context.store.sweep(overdue, before(settings.silent_after_ms), None, ROUND).await?;
    // A worker at work reports every second or so. Where nothing is heard and no queue holds
    // anything, the broker has lost the deployment.
    let lost = before(settings.lost_after_ms);
    let mut empty = Vec::new();
    for region in context.store.silent_regions(lost).await? {
        if queues_are_empty(context, &region).await {
            empty.push(region);
        }
    }
    if !empty.is_empty() {
        swept.deployments += context.store.sweep(overdue, lost, Some(&empty), ROUND).await?.deployments;
    }
    if swept != turnup_store::Swept::default() {
        tracing::warn!(
            orders = swept.orders,
            waiting = swept.waiting,
            deployments = swept.deployments,
            "work that had not moved was sent again"
        );
    }
    Ok(())
}

/// Ends the leases of device exams whose intake or worker has died.
async fn end_exams(context: &Context) -> Result<(), StoreError> {
    let devices = context.store.expire_exams(Timestamp::now(), ROUND).await?;
    if !devices.is_empty() {
        tracing::warn!(
            ?devices,
            "device exams did not end in time; the next deployment cancels what they left"
        );
    }
    Ok(())
}

/// Makes known what has been in doubt for long: somebody should look at the devices.
async fn tell_doubts(context: &Context) -> Result<(), StoreError> {
    let patience = i64::from(context.settings.alarm_in_doubt_s);
    if patience == 0 {
        return Ok(());
    }
    let now = Timestamp::now();
    let told = context.store.tell_doubts(now - SignedDuration::from_secs(patience), now, ROUND).await?;
    if told > 0 {
        metrics::counter!("turnup_deployments_long_in_doubt_total").increment(told);
        tracing::warn!(
            deployments = told,
            "deployments have been in doubt for long; published order.in_doubt events"
        );
    }
    Ok(())
}

/// False as well when the broker does not answer.
async fn queues_are_empty(context: &Context, region: &str) -> bool {
    for class in DeployClass::ALL {
        let queue = context.broker.names().deploy_queue(region, class);
        match context.broker.depth(&queue).await {
            Ok(depth) if depth.messages == 0 => {}
            _ => return false,
        }
    }
    true
}
