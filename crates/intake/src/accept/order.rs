//! The order that is stored, made from what was decided.

use jiff::Timestamp;
use serde_json::{Value, json};
use turnup_core::{
    event::{self, OrderFacts},
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    order::{OrderOptions, OrderRequest},
};
use turnup_store::{Entry, Filled, HistoryEntry, NewOrder, OrderView};
use uuid::Uuid;

use super::decide::Wanted;

/// Where an order comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Who orders.
    pub(crate) requester: String,
    /// Who makes the request: another than the requester, if someone corrects the requester's order.
    pub(crate) by: String,
    /// The client's idempotency key.
    pub(crate) key: Option<String>,
    /// The Invalid order that it corrects.
    pub(crate) derived_from: Option<OrderId>,
    /// The order that it takes back.
    pub(crate) undoing: Option<Undoing>,
}

/// What an order that takes another back has beside its content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Undoing {
    /// The order that it takes back.
    pub(crate) order: OrderId,
    /// The last order that changed the service.
    pub(crate) rests_on: OrderId,
    /// The service that it creates again.
    pub(crate) restores: Option<ServiceId>,
    /// Of the request as it was made, from which the order's own content was derived.
    pub(crate) digest: [u8; 32],
}

impl Origin {
    /// A request of the requester's own.
    pub(crate) fn of(requester: impl Into<String>, key: Option<String>) -> Self {
        let requester = requester.into();
        Self { by: requester.clone(), requester, key, derived_from: None, undoing: None }
    }
}

/// New ids for an order, made outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) order: OrderId,
    pub(crate) service: ServiceId,
    pub(crate) requested: Uuid,
    pub(crate) scheduled: Uuid,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self {
            order: OrderId(Uuid::now_v7()),
            service: ServiceId(Uuid::now_v7()),
            requested: Uuid::now_v7(),
            scheduled: Uuid::now_v7(),
        }
    }
}

/// The order as it is to be stored, with its first log entries.
pub(crate) fn new_order(
    request: OrderRequest,
    wanted: Wanted,
    origin: Origin,
    ids: Ids,
    now: Timestamp,
) -> NewOrder {
    let region = wanted.region_or_multi();
    let facts = OrderFacts {
        id: ids.order,
        kind: request.kind,
        definition: wanted.definition,
        service_id: wanted.service.unwrap_or(ids.service),
        region,
        external_id: request.external_id,
        requester: origin.requester,
        undoes: origin.undoing.map(|undoing| undoing.order),
    };
    let options = OrderOptions {
        approved_plan: request.approved_plan,
        audit: request.audit,
        // The store puts in what it has reserved.
        resources: Vec::new(),
        undoes: facts.undoes,
        rests_on: origin.undoing.map(|undoing| undoing.rests_on),
        secrets: wanted.secrets,
    };
    let due = request.schedule.map(|schedule| schedule.due(now));
    let why = facts.undoes.map(|order| format!("undoes order {order}"));
    let entry = |id, sequence, from: Option<OrderState>, to, more| Entry {
        event: facts.event(id, sequence, to, now, more),
        change: Some((from, to)),
        why: why.clone().filter(|_| from.is_none()),
        by: origin.by.clone(),
    };
    let mut entries = vec![entry(ids.requested, 1, None, OrderState::Requested, json!({}))];
    if let Some(due) = due {
        let more = json!({"scheduled_for": event::time(due)});
        entries.push(entry(ids.scheduled, 2, Some(OrderState::Requested), OrderState::Scheduled, more));
    }
    let order = NewOrder {
        facts,
        definition_version: wanted.definition_version,
        attributes: wanted.attributes,
        endpoints: wanted.endpoints,
        devices: wanted.devices.into_iter().map(String::from).collect(),
        priority: request.priority,
        description: request.description,
        idempotency_key: origin.key,
        digest: request.digest,
        derived_from: None,
        due,
        at: now,
        entries,
        options,
        claims: wanted.claims,
        if_busy: request.if_busy,
    };
    match origin.derived_from {
        Some(invalid) => correcting(order, invalid),
        None => order,
    }
}

/// The order as the correction of an Invalid one.
pub(crate) fn correcting(mut order: NewOrder, invalid: OrderId) -> NewOrder {
    order.derived_from = Some(invalid);
    if let Some(requested) = order.entries.first_mut() {
        requested.event.data["derived_from"] = json!(invalid);
    }
    order
}

/// The order as it was stored, without asking the database again. `filled`: with the values that pools gave.
pub(crate) fn view(order: NewOrder, filled: Filled) -> OrderView {
    let state = if order.due.is_some() { OrderState::Scheduled } else { OrderState::Requested };
    let history: Vec<HistoryEntry> = order
        .entries
        .iter()
        .filter_map(|entry| {
            let (from, to) = entry.change?;
            let (why, by) = (entry.why.clone(), entry.by.clone());
            Some(HistoryEntry { seq: entry.event.sequence, from, to, at: entry.event.at, why, by })
        })
        .collect();
    OrderView {
        id: order.facts.id,
        kind: order.facts.kind,
        definition: order.facts.definition,
        definition_version: order.definition_version,
        service_id: order.facts.service_id,
        region: order.facts.region,
        attributes: Value::Object(filled.attributes),
        endpoints: filled.endpoints,
        devices: order.devices,
        priority: order.priority,
        external_id: order.facts.external_id,
        description: order.description,
        requester: order.facts.requester,
        derived_from: order.derived_from,
        superseded_by: None,
        state,
        schedule_revision: i32::from(order.due.is_some()),
        scheduled_for: order.due,
        generation: 0,
        retry: None,
        sequence: history.last().map_or(0, |entry| entry.seq),
        errors: Vec::new(),
        waiting_for: Vec::new(),
        created_at: order.at,
        updated_at: order.at,
        actions: state.legal_actions(),
        deployments: Some(Vec::new()),
        history: Some(history),
        options: OrderOptions { resources: filled.resources, ..order.options },
    }
}
