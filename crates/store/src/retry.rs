//! Orders that failed and are tried again by themselves, written.

use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::Serialize;
use turnup_core::{
    id::OrderId,
    retry::{RetryChanges, RetryPolicy, Series},
};
use uuid::Uuid;

use crate::{
    StoreError,
    accept::{DueRow, insert_due},
    order::optional_time,
    pool::{all, statement},
};

/// What decides whether an order is tried again, should its attempt fail.
#[derive(Debug, Clone)]
pub struct ToRetry {
    /// Revision of its schedule.
    pub revision: i32,
    /// Where it is in its attempts.
    pub series: Series,
    /// What its definition says about it.
    pub changes: RetryChanges,
    /// The policy that counts, with those changes. The store knows none: whoever settles puts it here.
    pub policy: RetryPolicy,
}

impl Default for ToRetry {
    fn default() -> Self {
        let (series, changes) = (Series::default(), RetryChanges::default());
        Self { revision: 0, series, changes, policy: RetryPolicy::NONE }
    }
}

impl ToRetry {
    /// From a row with the columns.
    pub(crate) fn of(row: &tokio_postgres::Row) -> Result<Self, StoreError> {
        let changes: Option<serde_json::Value> = row.get("retry");
        let series = Series {
            retries: row.get::<_, i32>("retries").unsigned_abs(),
            began: row.get("began_at"),
            generation: row.get("generation"),
        };
        Ok(Self {
            revision: row.get("schedule_revision"),
            series,
            changes: changes.map(serde_json::from_value).transpose()?.unwrap_or_default(),
            policy: RetryPolicy::NONE,
        })
    }
}

/// An order that has just failed and is Scheduled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Which.
    pub order: OrderId,
    /// Number of the history entry that says so.
    pub sequence: i32,
    /// The new revision of its schedule.
    pub revision: i32,
    /// When the attempt may begin.
    pub due: Timestamp,
    /// Which attempt of its series it is, from 2.
    pub number: u32,
    /// How many there may be.
    pub of: u32,
}

/// Where an order is in its attempts, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetryView {
    /// Which attempt since somebody gave the order its time: the one that is waited for, running, or the last.
    pub attempt: u32,
    /// How many there may be.
    pub of: u32,
    /// When it begins by itself; none: it has begun.
    #[serde(serialize_with = "optional_time")]
    pub at: Option<Timestamp>,
}

/// Schedules orders again, which are Failed Deploy, with their due messages. `reach_ms`: how far ahead the delay
/// ladder reaches.
pub(crate) async fn schedule(
    client: &Object,
    retries: &[Retry],
    now: Timestamp,
    reach_ms: i64,
) -> Result<(), StoreError> {
    if retries.is_empty() {
        return Ok(());
    }
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let ids: Vec<Uuid> = retries.iter().map(|retry| retry.order.0).collect();
    let sequences: Vec<i32> = retries.iter().map(|retry| retry.sequence).collect();
    let revisions: Vec<i32> = retries.iter().map(|retry| retry.revision).collect();
    let due: Vec<Timestamp> = retries.iter().map(|retry| retry.due).collect();
    let done: Vec<i32> = retries.iter().map(|retry| number(retry.number.saturating_sub(1))).collect();
    let attempts: Vec<i32> = retries.iter().map(|retry| number(retry.of)).collect();
    let update = statement!(client, "retry_orders");
    let updated = client.execute(&update, &[&ids, &sequences, &revisions, &due, &done, &attempts]).await?;
    all(updated, ids.len(), "an order to be tried again has not failed")?;
    let rows = retries.iter().map(|retry| DueRow::new(retry.order, retry.revision, retry.due, now, reach_ms));
    insert_due(client, &rows.collect::<Vec<_>>()).await
}
