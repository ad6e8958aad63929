use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::{Row, types::ToSql};
use turnup_core::{
    event::OrderFacts,
    failure::Failure,
    id::{OrderId, ServiceId},
    lease::InFront,
    lifecycle::OrderState,
    name::DeviceName,
    order::{Endpoint, OrderKind, OrderOptions, Priority},
    secret,
    undo::Change,
};
use uuid::Uuid;

use crate::{
    DeploymentView, RetryView, Store, StoreError, deployment,
    entry::NO_STATE,
    pool::{Tx, statement},
};

/// An order as the API shows it: written as JSON, its secret values are masked.
#[derive(Debug, Clone, Serialize)]
#[serde(remote = "Self")]
pub struct OrderView {
    /// Its id.
    pub id: OrderId,
    /// What it asks for.
    pub kind: OrderKind,
    /// Service definition.
    pub definition: String,
    /// Version of the definition.
    pub definition_version: i32,
    /// The service it creates or touches.
    pub service_id: ServiceId,
    /// Region of its devices, or `multi`.
    pub region: String,
    /// Attributes, defaults filled in.
    pub attributes: Value,
    /// Endpoints, defaults filled in.
    pub endpoints: Vec<Endpoint>,
    /// Devices it touches.
    pub devices: Vec<String>,
    /// Urgency.
    pub priority: Priority,
    /// The upstream system's own id.
    pub external_id: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Who ordered.
    pub requester: String,
    /// The Invalid order it corrects.
    pub derived_from: Option<OrderId>,
    /// The order that corrects it.
    pub superseded_by: Option<OrderId>,
    /// The approved plan, what to audit, the values of pools in it.
    #[serde(flatten)]
    pub options: OrderOptions,
    /// Life-cycle state.
    pub state: OrderState,
    /// Rises with every change of its time.
    pub schedule_revision: i32,
    /// When it is to start.
    #[serde(serialize_with = "optional_time")]
    pub scheduled_for: Option<Timestamp>,
    /// How often it has been started.
    pub generation: i32,
    /// Where it is in its attempts, if it was tried again by itself since somebody gave it its time.
    pub retry: Option<RetryView>,
    /// Number of its last history entry.
    pub sequence: i32,
    /// Why it is Invalid or Failed Deploy, or is tried again.
    pub errors: Vec<Failure>,
    /// For a due order whose devices are not free: who is in front of it.
    pub waiting_for: Vec<InFront>,
    /// When it was accepted.
    #[serde(serialize_with = "time")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "time")]
    pub updated_at: Timestamp,
    /// What legal requests there are now.
    pub actions: Vec<String>,
    /// Its deployments; in lists left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployments: Option<Vec<DeploymentView>>,
    /// Its history; in lists left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<HistoryEntry>>,
}

impl Serialize for OrderView {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.options.secrets.is_empty() {
            return Self::serialize(self, serializer);
        }
        let mut masked = self.clone();
        secret::mask(&mut masked.attributes, &mut masked.endpoints, &self.options.secrets);
        Self::serialize(&masked, serializer)
    }
}

impl OrderView {
    /// What every event of the order tells about it.
    #[must_use]
    pub fn facts(&self) -> OrderFacts {
        OrderFacts {
            id: self.id,
            kind: self.kind,
            definition: self.definition.clone(),
            service_id: self.service_id,
            region: self.region.clone(),
            external_id: self.external_id.clone(),
            requester: self.requester.clone(),
            undoes: self.options.undoes,
        }
    }
}

/// One change of an order's state.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryEntry {
    /// Number among the order's events, from 1. One that is missing is that of an event which changes no state.
    pub seq: i32,
    /// State before; none at acceptance.
    pub from: Option<OrderState>,
    /// State after.
    pub to: OrderState,
    /// When.
    #[serde(serialize_with = "time")]
    pub at: Timestamp,
    /// Why.
    pub why: Option<String>,
    /// Who or what did it.
    pub by: String,
}

/// Which orders to list. Empty fields don't filter.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    /// In one of these states.
    pub states: Vec<OrderState>,
    /// Of this kind.
    pub kind: Option<OrderKind>,
    /// In this region.
    pub region: Option<String>,
    /// Touching this device.
    pub device: Option<String>,
    /// Of this definition.
    pub definition: Option<String>,
    /// For this service.
    pub service_id: Option<ServiceId>,
    /// Taking this order back.
    pub undoes: Option<OrderId>,
    /// With this external id.
    pub external_id: Option<String>,
    /// Accepted after this time.
    pub created_after: Option<Timestamp>,
    /// Accepted before this time.
    pub created_before: Option<Timestamp>,
    /// At most so many (1 to 1000).
    pub limit: i64,
    /// Only orders older than this one: the cursor of the page before.
    pub before: Option<OrderId>,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Give it as `cursor` for the next page; none: this was the last.
    pub next_cursor: Option<String>,
}

/// Serde: a time as on every interface.
pub(crate) fn time<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&turnup_core::event::time(*at))
}

/// Serde: an optional time as on every interface.
#[expect(clippy::ref_option, reason = "serde's signature")]
pub(crate) fn optional_time<S: serde::Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// An order from a row with its columns.
pub(crate) fn view(row: &Row) -> Result<OrderView, StoreError> {
    let state: OrderState = row.get::<_, &str>("state").parse()?;
    let superseded_by = row.get::<_, Option<Uuid>>("superseded_by").map(OrderId);
    let mut actions = state.legal_actions();
    if superseded_by.is_some() {
        actions.retain(|action| action != "recreate");
    }
    Ok(OrderView {
        id: OrderId(row.get("id")),
        kind: row.get::<_, &str>("kind").parse()?,
        definition: row.get("definition"),
        definition_version: row.get("definition_version"),
        service_id: ServiceId(row.get("service_id")),
        region: row.get("region"),
        attributes: row.get("attributes"),
        endpoints: serde_json::from_value(row.get("endpoints"))?,
        devices: row.get("devices"),
        priority: row.get::<_, &str>("priority").parse()?,
        external_id: row.get("external_id"),
        description: row.get("description"),
        requester: row.get("requester"),
        derived_from: row.get::<_, Option<Uuid>>("derived_from").map(OrderId),
        superseded_by,
        options: serde_json::from_value(row.get("options"))?,
        state,
        schedule_revision: row.get("schedule_revision"),
        scheduled_for: row.get("scheduled_for"),
        generation: row.get("generation"),
        retry: retry_view(row, state),
        sequence: row.get("sequence"),
        errors: serde_json::from_value(row.get("errors"))?,
        waiting_for: Vec::new(),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
        actions,
        deployments: None,
        history: None,
    })
}

/// Where an order is in its attempts, where that is told.
fn retry_view(row: &Row, state: OrderState) -> Option<RetryView> {
    let retries: i32 = row.get("retries");
    let of: i32 = row.get::<_, Option<i32>>("attempts").filter(|_| retries > 0)?;
    let at = row.get::<_, Option<Timestamp>>("scheduled_for").filter(|_| state == OrderState::Scheduled);
    Some(RetryView { attempt: retries.unsigned_abs() + 1, of: of.unsigned_abs(), at })
}

impl Store {
    /// One order with its deployments and history.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn order(&self, id: OrderId) -> Result<Option<OrderView>, StoreError> {
        self.timed(async {
            // One snapshot, so that the state is that of the last history entry.
            let tx = Tx::begin_reading(self).await?;
            let client = tx.client()?;
            let order = statement!(client, "order");
            let history = statement!(client, "order_history");
            let waiting = statement!(client, "order_waiting_for");
            let key = id.0.to_string();
            let Some(row) = client.query_opt(&order, &[&id.0]).await? else {
                tx.rollback().await?;
                return Ok(None);
            };
            let mut view = view(&row)?;
            let history =
                client.query(&history, &[&key]).await?.iter().map(history_entry).collect::<Result<_, _>>()?;
            view.history = Some(history);
            view.deployments = Some(deployment::of_order(client, id).await?);
            if view.state == OrderState::Scheduled {
                for row in client.query(&waiting, &[&id.0]).await? {
                    let device = DeviceName::new(row.get::<_, String>(0))?;
                    let order = OrderId(row.get(1));
                    view.waiting_for.push(InFront { device, order, is_exam: row.get(2) });
                }
            }
            tx.rollback().await?;
            Ok(Some(view))
        })
        .await
    }

    /// Lists orders, newest first.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn orders(&self, filter: &OrderFilter) -> Result<Page<OrderView>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let states: Option<Vec<&str>> =
                (!filter.states.is_empty()).then(|| filter.states.iter().map(|state| state.word()).collect());
            let kind = filter.kind.map(OrderKind::word);
            let service = filter.service_id.map(|id| id.0);
            let before = filter.before.map(|id| id.0);
            let limit = filter.limit.clamp(1, 1000);
            let one_more = limit + 1;
            let undoes = filter.undoes.map(|id| id.to_string());
            let parameters: [&(dyn ToSql + Sync); 12] = [
                &states,
                &kind,
                &filter.region,
                &filter.device,
                &filter.definition,
                &service,
                &filter.external_id,
                &filter.created_after,
                &filter.created_before,
                &before,
                &one_more,
                &undoes,
            ];
            let statement = statement!(client, "orders");
            let rows = client.query(&statement, &parameters).await?;
            let mut items = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
            let more = i64::try_from(items.len()).is_ok_and(|len| len > limit);
            if more {
                items.pop();
            }
            let next_cursor = items.last().filter(|_| more).map(|order| order.id.to_string());
            Ok(Page { items, next_cursor })
        })
        .await
    }

    /// The completed orders that changed a service, in the order of their completion.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn completed_changes(&self, service: ServiceId) -> Result<Vec<Change>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "completed_changes");
            let rows = client.query(&statement, &[&service.0]).await?;
            rows.iter()
                .map(|row| {
                    Ok(Change {
                        order: OrderId(row.get("id")),
                        kind: row.get::<_, &str>("kind").parse()?,
                        undoes: row.get::<_, Option<Uuid>>("undoes").map(OrderId),
                    })
                })
                .collect()
        })
        .await
    }

    /// How many orders are in each state.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn order_counts(&self) -> Result<Vec<(OrderState, i64)>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "order_counts");
            let rows = client.query(&statement, &[]).await?;
            rows.iter().map(|row| Ok((row.get::<_, &str>(0).parse()?, row.get(1)))).collect()
        })
        .await
    }
}

fn history_entry(row: &Row) -> Result<HistoryEntry, StoreError> {
    let from: &str = row.get("from_state");
    Ok(HistoryEntry {
        seq: row.get("sequence"),
        from: if from == NO_STATE { None } else { Some(from.parse()?) },
        to: row.get::<_, &str>("to_state").parse()?,
        at: row.get("at"),
        why: row.get("why"),
        by: row.get("actor"),
    })
}
