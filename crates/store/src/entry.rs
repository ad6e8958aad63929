use deadpool_postgres::Object;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::Json;
use turnup_core::{event::Event, lifecycle::OrderState};
use uuid::Uuid;

use crate::{StoreError, pool::statement};

/// An entry of the log: a public event that, for an order, is its history entry as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What is told to everybody.
    pub event: Event,
    /// For an order: the state before (none at acceptance) and after.
    pub change: Option<(Option<OrderState>, OrderState)>,
    /// Why, for people.
    pub why: Option<String>,
    /// Who or what did it.
    pub by: String,
}

/// The state before acceptance, in the database.
pub(crate) const NO_STATE: &str = "-";

/// Appends `entries` to the log, in this order.
pub(crate) async fn append(tx: &Object, entries: &[Entry]) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let column = |f: fn(&Entry) -> &str| entries.iter().map(f).collect::<Vec<&str>>();
    let ids: Vec<Uuid> = entries.iter().map(|e| e.event.id).collect();
    let kinds = column(|e| e.event.entity.word());
    let entity_ids = column(|e| &e.event.entity_id);
    let sequences: Vec<i32> = entries.iter().map(|e| e.event.sequence).collect();
    let whats = column(|e| &e.event.what);
    let times: Vec<Timestamp> = entries.iter().map(|e| e.event.at).collect();
    let regions = column(|e| &e.event.region);
    let definitions = column(|e| &e.event.definition);
    let correlations: Vec<Option<&str>> = entries.iter().map(|e| e.event.correlation_id.as_deref()).collect();
    let from: Vec<Option<&str>> =
        entries.iter().map(|e| e.change.map(|(from, _)| from.map_or(NO_STATE, OrderState::word))).collect();
    let to: Vec<Option<&str>> = entries.iter().map(|e| e.change.map(|(_, to)| to.word())).collect();
    let whys: Vec<Option<&str>> = entries.iter().map(|e| e.why.as_deref()).collect();
    let actors = column(|e| &e.by);
    let data: Vec<Json<&Value>> = entries.iter().map(|e| Json(&e.event.data)).collect();
    let statement = statement!(tx, "append_events");
    tx.execute(
        &statement,
        &[
            &ids,
            &kinds,
            &entity_ids,
            &sequences,
            &whats,
            &times,
            &regions,
            &definitions,
            &correlations,
            &from,
            &to,
            &whys,
            &actors,
            &data,
        ],
    )
    .await?;
    Ok(())
}
