//! How a refused order is told: the event `order.rejected`, and the reason with which it is parked.

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use turnup_core::{
    event::{Entity, Event},
    name::DefinitionName,
    order::{MAX_KEY_CHARS, check_key},
    problem::Problem,
};
use turnup_store::Entry;
use uuid::Uuid;

use super::verdict::Asked;

/// Most faults named in a reason.
const MAX_FAULTS: usize = 5;

/// The event. It has no order: its id is the message's.
pub(super) fn entry(asked: &Asked, body: &[u8], problem: &Problem, now: Timestamp) -> Entry {
    let message_id = asked.message_id.as_deref().filter(|id| check_key(id).is_ok());
    let requester = match &asked.user {
        Some(user) => format!("amqp:{user}"),
        None => "amqp:unknown".to_owned(),
    };
    let (definition, external_id) = names(body);
    let mut data = json!({"state": "rejected", "requester": requester, "problem": problem});
    if let Some(id) = message_id {
        data["message_id"] = json!(id);
    }
    Entry {
        event: Event {
            id: message_id.map_or_else(Uuid::now_v7, |id| event_id(id, body)),
            entity: Entity::Order,
            entity_id: message_id.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned),
            sequence: 1,
            what: "rejected".to_owned(),
            at: now,
            region: "-".to_owned(),
            definition,
            correlation_id: external_id,
            data,
        },
        change: None,
        why: Some(reason(problem)),
        by: requester,
    }
}

/// The same for the same message, however often it is delivered.
fn event_id(message_id: &str, body: &[u8]) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(message_id);
    hash.update([0]);
    hash.update(body);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &hash.finalize())
}

/// Definition and external id, as far as the body has some that could be real.
fn names(body: &[u8]) -> (String, Option<String>) {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let definition = text("definition").and_then(|name| DefinitionName::new(name).ok());
    let external_id =
        text("external_id").filter(|id| id.chars().count() <= MAX_KEY_CHARS && check_key(id).is_ok());
    (definition.map_or_else(|| "-".to_owned(), String::from), external_id.map(str::to_owned))
}

/// The problem in one line.
pub(super) fn reason(problem: &Problem) -> String {
    let mut reason = format!("{}: {}", problem.code, problem.detail);
    if problem.errors.len() > 1 {
        for fault in problem.errors.iter().take(MAX_FAULTS) {
            reason.push_str(&format!("; {} {}: {}", fault.pointer, fault.code, fault.detail));
        }
    }
    reason
}
