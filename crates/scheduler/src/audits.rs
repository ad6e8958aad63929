//! Periodic audits: validate orders for services whose definition wants them audited every so often.
//!
//! The store picks who is due, at most one service per device and round, sets the next time with some
//! jitter, and stores the orders in the same transaction: a crash neither forgets a service nor audits it
//! twice.

use jiff::Timestamp;
use serde_json::json;
use turnup_core::{
    audit::AuditPart,
    event::{self, OrderFacts},
    id::OrderId,
    lifecycle::OrderState,
    order::{IfBusy, OrderKind, OrderOptions, Priority},
};
use turnup_store::{Entry, NewOrder, ServiceView, StoreError};
use uuid::Uuid;

use crate::{Context, reach_ms};

/// Who orders them.
const BY: &str = "turnup";

/// Orders the audits that are due.
pub(crate) async fn order(context: &Context) -> Result<(), StoreError> {
    let catalogue = context.library.now();
    let wanted: Vec<(String, u64)> = catalogue
        .iter()
        .filter_map(|definition| Some((definition.name().to_string(), definition.audit_every()?.as_secs())))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now();
    let limit = i64::from(context.settings.audit_batch);
    let make = |services: &[ServiceView]| -> Vec<NewOrder> {
        services.iter().map(|service| audit_of(service, OrderId(Uuid::now_v7()), now)).collect()
    };
    let reach = reach_ms(context.broker.settings().ladder_levels);
    let ordered = context.store.take_due_audits(&wanted, limit, now, reach, make).await?;
    if !ordered.is_empty() {
        tracing::info!(orders = ordered.len(), "audits that were due are ordered");
    }
    Ok(())
}

/// A validate order that is due at once and goes behind all other work (priority bulk).
fn audit_of(service: &ServiceView, id: OrderId, now: Timestamp) -> NewOrder {
    let facts = OrderFacts {
        id,
        kind: OrderKind::Validate,
        definition: service.definition.clone(),
        service_id: service.id,
        region: service.region.clone(),
        external_id: None,
        requester: BY.to_owned(),
        undoes: None,
    };
    let entry = |sequence, from, to, more| Entry {
        event: facts.event(Uuid::now_v7(), sequence, to, now, more),
        change: Some((from, to)),
        why: Some("periodic audit".to_owned()),
        by: BY.to_owned(),
    };
    let due = json!({"scheduled_for": event::time(now)});
    let entries = vec![
        entry(1, None, OrderState::Requested, json!({})),
        entry(2, Some(OrderState::Requested), OrderState::Scheduled, due),
    ];
    NewOrder {
        facts,
        definition_version: service.definition_version,
        attributes: service.attributes.as_object().cloned().unwrap_or_default(),
        endpoints: service.endpoints.clone(),
        devices: service.devices.clone(),
        priority: Priority::Bulk,
        description: None,
        idempotency_key: None,
        // Nobody repeats it.
        digest: [0; 32],
        derived_from: None,
        due: Some(now),
        at: now,
        entries,
        options: OrderOptions {
            audit: AuditPart::ALL.to_vec(),
            secrets: service.secrets.clone(),
            ..OrderOptions::default()
        },
        claims: Vec::new(),
        if_busy: IfBusy::Wait,
    }
}
