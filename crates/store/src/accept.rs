use std::collections::HashSet;

use deadpool_postgres::Object;
use jiff::Timestamp;
use tokio_postgres::types::Json;
use turnup_core::{
    event::OrderFacts,
    id::OrderId,
    lifecycle::OrderState,
    order::{Endpoint, Priority},
};
use uuid::Uuid;

use crate::{
    Entry, Store, StoreError, entry,
    pool::{Tx, statement},
};

/// An order that has passed every check and is to be stored.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Its id, kind, definition, service, region, external id, requester.
    pub facts: OrderFacts,
    /// Version of the definition.
    pub definition_version: i32,
    /// Attributes with defaults filled in.
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Endpoints with defaults filled in.
    pub endpoints: Vec<Endpoint>,
    /// The devices it touches, sorted, each once.
    pub devices: Vec<String>,
    /// Urgency.
    pub priority: Priority,
    /// Free text.
    pub description: Option<String>,
    /// The client's idempotency key.
    pub idempotency_key: Option<String>,
    /// Digest of the request, to tell a repetition from another request.
    pub digest: [u8; 32],
    /// The Invalid order it corrects.
    pub derived_from: Option<OrderId>,
    /// When to start; none: it stays Requested.
    pub due: Option<Timestamp>,
    /// When it came.
    pub at: Timestamp,
    /// Entries for its log: Requested, and Scheduled if `due` is given.
    pub entries: Vec<Entry>,
}

/// What became of an order that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Stored.
    Created,
    /// The same request was accepted before, as this order.
    Known(OrderId),
    /// The key or external id belongs to this order, whose request was another.
    KeyReused(OrderId),
}

/// How far ahead (milliseconds) an order goes to the broker; further ones wait in the outbox.
fn not_before(due: Timestamp, now: Timestamp, reach_ms: i64) -> Option<Timestamp> {
    let start = due.checked_sub(jiff::SignedDuration::from_millis(reach_ms)).ok()?;
    (start > now).then_some(start)
}

impl Store {
    /// Stores `orders` in one transaction: orders, log, and a due message for those with a time.
    /// `reach_ms` is how far ahead the delay ladder reaches. Answers in the order given. An order
    /// may be given again after an error, with the same id: if it was stored after all, it counts as
    /// created.
    ///
    /// # Errors
    /// If the database is away: then it is not known whether they were stored. If it refuses the
    /// batch: then nothing was stored, and the caller may try the orders singly.
    pub async fn accept(&self, orders: &[NewOrder], reach_ms: i64) -> Result<Vec<Accepted>, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let created = insert(client, orders).await?;
            let known = known(client, orders, &created).await?;
            let fresh: Vec<&NewOrder> = orders.iter().filter(|o| created.contains(&o.facts.id)).collect();
            let entries: Vec<Entry> = fresh.iter().flat_map(|o| o.entries.iter().cloned()).collect();
            entry::append(client, &entries).await?;
            let due: Vec<DueRow> = fresh
                .iter()
                .filter_map(|o| Some(DueRow::new(o.facts.id, 1, o.due?, o.at, reach_ms)))
                .collect();
            insert_due(client, &due).await?;
            tx.commit().await?;
            Ok(orders
                .iter()
                .zip(known)
                .map(|(order, known)| match known {
                    None => Accepted::Created,
                    Some((id, _)) if id == order.facts.id => Accepted::Created,
                    Some((id, digest)) if digest == order.digest => Accepted::Known(id),
                    Some((id, _)) => Accepted::KeyReused(id),
                })
                .collect())
        })
        .await
    }

    /// The order that has this requester's idempotency key or external id (the key counts first),
    /// with the digest of its request. For a repetition that would no longer pass the checks, such
    /// as a decommission order whose service is gone by now.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn known(
        &self,
        requester: &str,
        key: Option<&str>,
        external_id: Option<&str>,
    ) -> Result<Option<(OrderId, [u8; 32])>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "known_orders");
            let row = client
                .query_opt(
                    &statement,
                    &[&vec![requester], &vec![key], &vec![external_id], &vec![None::<Uuid>]],
                )
                .await?;
            row.map(|row| Ok((OrderId(row.get(1)), digest(row.get(2))?))).transpose()
        })
        .await
    }
}

fn digest(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unknown("a digest that has not 32 bytes".to_owned()))
}

async fn insert(tx: &Object, orders: &[NewOrder]) -> Result<HashSet<OrderId>, StoreError> {
    let texts = |f: fn(&NewOrder) -> &str| orders.iter().map(f).collect::<Vec<&str>>();
    let ids: Vec<Uuid> = orders.iter().map(|o| o.facts.id.0).collect();
    let kinds = texts(|o| o.facts.kind.word());
    let definitions = texts(|o| &o.facts.definition);
    let versions: Vec<i32> = orders.iter().map(|o| o.definition_version).collect();
    let services: Vec<Uuid> = orders.iter().map(|o| o.facts.service_id.0).collect();
    let regions = texts(|o| &o.facts.region);
    let attributes: Vec<Json<_>> = orders.iter().map(|o| Json(&o.attributes)).collect();
    let endpoints: Vec<Json<_>> = orders.iter().map(|o| Json(&o.endpoints)).collect();
    let devices: Vec<Json<_>> = orders.iter().map(|o| Json(&o.devices)).collect();
    let priorities = texts(|o| o.priority.word());
    let external_ids: Vec<Option<&str>> = orders.iter().map(|o| o.facts.external_id.as_deref()).collect();
    let descriptions: Vec<Option<&str>> = orders.iter().map(|o| o.description.as_deref()).collect();
    let requesters = texts(|o| &o.facts.requester);
    let keys: Vec<Option<&str>> = orders.iter().map(|o| o.idempotency_key.as_deref()).collect();
    let digests: Vec<&[u8]> = orders.iter().map(|o| o.digest.as_slice()).collect();
    let derived: Vec<Option<Uuid>> = orders.iter().map(|o| o.derived_from.map(|id| id.0)).collect();
    let times: Vec<Timestamp> = orders.iter().map(|o| o.at).collect();
    let states: Vec<&str> = orders
        .iter()
        .map(|o| if o.due.is_some() { OrderState::Scheduled } else { OrderState::Requested }.word())
        .collect();
    let due: Vec<Option<Timestamp>> = orders.iter().map(|o| o.due).collect();
    let statement = statement!(tx, "insert_orders");
    let rows = tx
        .query(
            &statement,
            &[
                &ids,
                &kinds,
                &definitions,
                &versions,
                &services,
                &regions,
                &attributes,
                &endpoints,
                &devices,
                &priorities,
                &external_ids,
                &descriptions,
                &requesters,
                &keys,
                &digests,
                &derived,
                &times,
                &states,
                &due,
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| OrderId(row.get(0))).collect())
}

/// For each order that was not inserted: the order that has its key, with that one's digest.
async fn known(
    tx: &Object,
    orders: &[NewOrder],
    created: &HashSet<OrderId>,
) -> Result<Vec<Option<(OrderId, [u8; 32])>>, StoreError> {
    let mut known = vec![None; orders.len()];
    let missing: Vec<usize> = (0..orders.len()).filter(|i| !created.contains(&orders[*i].facts.id)).collect();
    if missing.is_empty() {
        return Ok(known);
    }
    let requesters: Vec<&str> = missing.iter().map(|i| orders[*i].facts.requester.as_str()).collect();
    let keys: Vec<Option<&str>> = missing.iter().map(|i| orders[*i].idempotency_key.as_deref()).collect();
    let external_ids: Vec<Option<&str>> =
        missing.iter().map(|i| orders[*i].facts.external_id.as_deref()).collect();
    let ids: Vec<Uuid> = missing.iter().map(|i| orders[*i].facts.id.0).collect();
    let statement = statement!(tx, "known_orders");
    for row in tx.query(&statement, &[&requesters, &keys, &external_ids, &ids]).await? {
        let place: i64 = row.get(0);
        let digest = digest(row.get(2))?;
        if let Some(i) = usize::try_from(place - 1).ok().and_then(|place| missing.get(place)) {
            known[*i] = Some((OrderId(row.get(1)), digest));
        }
    }
    match missing.iter().find(|i| known[**i].is_none()) {
        Some(i) => {
            Err(StoreError::Refused(format!("order {} conflicts with no known order", orders[*i].facts.id)))
        }
        None => Ok(known),
    }
}

/// A due message for the outbox.
pub(crate) struct DueRow {
    order: OrderId,
    revision: i32,
    due: Timestamp,
    not_before: Option<Timestamp>,
}

impl DueRow {
    pub(crate) fn new(order: OrderId, revision: i32, due: Timestamp, now: Timestamp, reach_ms: i64) -> Self {
        Self { order, revision, due, not_before: not_before(due, now, reach_ms) }
    }
}

/// Writes due messages into the outbox.
pub(crate) async fn insert_due(tx: &Object, rows: &[DueRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let orders: Vec<Uuid> = rows.iter().map(|row| row.order.0).collect();
    let revisions: Vec<i32> = rows.iter().map(|row| row.revision).collect();
    let due: Vec<Timestamp> = rows.iter().map(|row| row.due).collect();
    let not_before: Vec<Option<Timestamp>> = rows.iter().map(|row| row.not_before).collect();
    let statement = statement!(tx, "insert_due");
    tx.execute(&statement, &[&orders, &revisions, &due, &not_before]).await?;
    Ok(())
}
