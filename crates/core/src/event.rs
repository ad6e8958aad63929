//! Public events: CloudEvents 1.0 in structured mode (3-messaging, "Public event").

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    id::{OrderId, ServiceId},
    lifecycle::{OrderState, ServiceState},
    order::OrderKind,
    words::words,
};

/// The content type of an event's body.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// The `source` of every event.
pub const SOURCE: &str = "/turnup";

words!(
    /// What an event is about.
    Entity, "entity" {
        /// A service order.
        Order = "order" / "order",
        /// A service.
        Service = "service" / "service",
        /// A device of the inventory.
        Device = "device" / "device",
    }
);

/// What every event's type begins with.
const PREFIX: &str = "dev.turnup.";

/// All types of events, as entity and last word, such as `order.completed`.
#[must_use]
pub fn kinds() -> Vec<String> {
    let of = |entity: Entity, words: Vec<&'static str>| {
        words.into_iter().map(move |word| format!("{entity}.{word}")).collect::<Vec<_>>()
    };
    let orders = OrderState::ALL.iter().map(|state| state.word()).chain(["rejected", "in_doubt"]);
    let services = ServiceState::ALL.iter().map(|state| state.word()).chain(["removed", "audited"]);
    [
        of(Entity::Order, orders.collect()),
        of(Entity::Service, services.collect()),
        of(Entity::Device, vec!["added", "changed", "removed"]),
    ]
    .concat()
}

/// How the types begin that a reader asks for, with or without what all begin with: `order`, `service.audited`,
/// `dev.turnup.order.completed.v1`.
///
/// # Errors
/// A text for people if no type begins so.
pub fn kind_prefix(given: &str) -> Result<String, String> {
    let wanted = format!("{PREFIX}{}", given.strip_prefix(PREFIX).unwrap_or(given));
    let kinds = kinds();
    if kinds.iter().any(|kind| format!("{PREFIX}{kind}.v1").starts_with(&wanted)) {
        return Ok(wanted);
    }
    let given: String = given.chars().take(64).collect();
    Err(format!("no event is of the type {given:?}; types, also by how they begin: {}", kinds.join(", ")))
}

/// An event as the status store keeps it: history and news are the same record.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Stable over redeliveries.
    pub id: Uuid,
    /// What it is about.
    pub entity: Entity,
    /// Which one.
    pub entity_id: String,
    /// Gapless per entity, from 1.
    pub sequence: i32,
    /// What it is or does now, the last word of type and routing key: `completed`, `rejected`.
    pub what: String,
    /// When.
    pub at: Timestamp,
    /// Region, or `multi`.
    pub region: String,
    /// Service definition, or `-`.
    pub definition: String,
    /// The upstream system's own id.
    pub correlation_id: Option<String>,
    /// Facts.
    pub data: Value,
}

impl Event {
    /// `dev.turnup.order.completed.v1`.
    #[must_use]
    pub fn kind(&self) -> String {
        format!("dev.turnup.{}.{}.v1", self.entity, self.what)
    }

    /// `order.eu-west.l3vpn.completed`.
    #[must_use]
    pub fn routing_key(&self) -> String {
        format!("{}.{}.{}.{}", self.entity, self.region, self.definition, self.what)
    }

    /// The CloudEvent. `cursor` is its place in the global log.
    #[must_use]
    pub fn cloud_event(&self, cursor: i64) -> Value {
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "source": SOURCE,
            "type": self.kind(),
            "subject": format!("{}s/{}", self.entity, self.entity_id),
            "time": time(self.at),
            "datacontenttype": "application/json",
            "sequence": format!("{:010}", self.sequence),
            "cursor": cursor.to_string(),
            "data": self.data,
        });
        if let Some(id) = &self.correlation_id {
            event["correlationid"] = json!(id);
        }
        event
    }
}

/// What every event of an order tells about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFacts {
    /// The order.
    pub id: OrderId,
    /// What it asks for.
    pub kind: OrderKind,
    /// Its service definition.
    pub definition: String,
    /// The service it creates or touches.
    pub service_id: ServiceId,
    /// Region of its devices, or `multi`.
    pub region: String,
    /// The upstream system's own id.
    pub external_id: Option<String>,
    /// Who ordered.
    pub requester: String,
    /// The order that it takes back.
    pub undoes: Option<OrderId>,
}

impl OrderFacts {
    /// The event "this order is now `state`", with `more` facts beside those of the order.
    #[must_use]
    pub fn event(&self, id: Uuid, sequence: i32, state: OrderState, at: Timestamp, more: Value) -> Event {
        self.happening(id, sequence, state.word(), state, at, more)
    }

    /// The event "this happened to the order", `what` being its last word, while it is `state`.
    #[must_use]
    pub fn happening(
        &self,
        id: Uuid,
        sequence: i32,
        what: &str,
        state: OrderState,
        at: Timestamp,
        more: Value,
    ) -> Event {
        let mut data = json!({
            "order": self.id,
            "kind": self.kind,
            "definition": self.definition,
            "service": self.service_id,
            "region": self.region,
            "state": state,
            "requester": self.requester,
        });
        if let Some(external_id) = &self.external_id {
            data["external_id"] = json!(external_id);
        }
        if let Some(undoes) = self.undoes {
            data["undoes"] = json!(undoes);
        }
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        Event {
            id,
            entity: Entity::Order,
            entity_id: self.id.to_string(),
            sequence,
            what: what.to_owned(),
            at,
            region: self.region.clone(),
            definition: self.definition.clone(),
            correlation_id: self.external_id.clone(),
            data,
        }
    }
}

impl OrderFacts {
    /// The event "this happened to the order's service", `what` being its last word, with `more` facts.
    #[must_use]
    pub fn service_event(&self, id: Uuid, sequence: i32, what: &str, at: Timestamp, more: Value) -> Event {
        let mut data = json!({
            "service": self.service_id,
            "definition": self.definition,
            "region": self.region,
            "order": self.id,
        });
        if let Some(undoes) = self.undoes {
            data["undoes"] = json!(undoes);
        }
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        Event {
            id,
            entity: Entity::Service,
            entity_id: self.service_id.to_string(),
            sequence,
            what: what.to_owned(),
            at,
            region: self.region.clone(),
            definition: self.definition.clone(),
            correlation_id: self.external_id.clone(),
            data,
        }
    }
}

/// RFC 3339 UTC with milliseconds, as on every interface.
#[must_use]
pub fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_found_by_how_it_begins() {
        for (given, wanted) in [
            ("order", "dev.turnup.order"),
            ("service.audited", "dev.turnup.service.audited"),
            ("dev.turnup.order.", "dev.turnup.order."),
            ("dev.turnup.device.changed.v1", "dev.turnup.device.changed.v1"),
            ("order.in_doubt", "dev.turnup.order.in_doubt"),
        ] {
            assert_eq!(kind_prefix(given).as_deref(), Ok(wanted));
        }
        for bad in ["orders", "service.audit_", "dev.turnup.order.completed.v2", "completed"] {
            assert!(kind_prefix(bad).unwrap_err().contains("order.completed, "), "{bad}");
        }
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let event = Event {
            id: Uuid::from_u128(1),
            entity: Entity::Order,
            entity_id: "01890000".to_owned(),
            sequence: 4,
            what: "completed".to_owned(),
            at: Timestamp::from_millisecond(1_800_000_000_120).unwrap(),
            region: "eu-west".to_owned(),
            definition: "eline".to_owned(),
            correlation_id: Some("CRM-7".to_owned()),
            data: json!({"state": "completed"}),
        };
        assert_eq!(event.routing_key(), "order.eu-west.eline.completed");
        let cloud = event.cloud_event(12);
        assert_eq!(cloud["type"], "dev.turnup.order.completed.v1");
        assert_eq!(cloud["subject"], "orders/01890000");
        assert_eq!(cloud["time"], "2027-01-15T08:00:00.120Z");
        assert_eq!(cloud["sequence"], "0000000004");
        assert_eq!(cloud["cursor"], "12", "a string: CloudEvents integers have 32 bits");
        assert_eq!(cloud["correlationid"], "CRM-7");
    }
}
