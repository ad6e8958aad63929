use jiff::Timestamp;
use serde_json::{Map, Value};
use turnup_core::{
    event::OrderFacts,
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    order::{Endpoint, IfBusy, OrderOptions, Priority},
    resource::{ResourceClaim, ResourceKey},
};

use crate::{Entry, ResourceRow};

/// An order that has passed every check and is to be stored.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Its id, kind, definition, service, region, external id, requester.
    pub facts: OrderFacts,
    /// Version of the definition.
    pub definition_version: i32,
    /// Attributes with defaults filled in.
    pub attributes: Map<String, Value>,
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
    /// What it carries beside its content. The resources are filled in from `claims`.
    pub options: OrderOptions,
    /// The values of pools that it needs.
    pub claims: Vec<ResourceClaim>,
    /// What to do while another order of its service is unfinished.
    pub if_busy: IfBusy,
}

impl NewOrder {
    /// Whether it needs more than to be stored.
    pub(crate) fn is_demanding(&self) -> bool {
        !self.claims.is_empty() || self.if_busy == IfBusy::Refuse || self.derived_from.is_some()
    }
}

/// What became of an order that was to be stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// Stored, with this content.
    Created(Box<Filled>),
    /// The same request was accepted before, as this order.
    Known(OrderId),
    /// The key or external id belongs to this order, whose request was another.
    KeyReused(OrderId),
    /// The external id belongs to this Invalid order, whose request was another: this one may be stored as its
    /// correction.
    Correctable(OrderId),
    /// Not stored: this is the last correction of the order that it was to correct, or that order itself, and
    /// its state does not allow another one.
    NotCorrectable(OrderId, OrderState),
    /// Not stored: these of its values belong to other services.
    ResourceTaken(Vec<Clash>),
    /// Not stored: a pool has no free value.
    PoolExhausted(Box<Exhausted>),
    /// Not stored: these orders of its service are unfinished.
    Busy(Vec<OrderId>),
}

impl Accepted {
    /// Whether the order is stored now.
    #[must_use]
    pub const fn is_created(&self) -> bool {
        matches!(self, Self::Created(_))
    }
}

/// An order's content, with the values that were picked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    /// Attributes.
    pub attributes: Map<String, Value>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// All values of pools in it.
    pub resources: Vec<ResourceKey>,
}

impl Filled {
    pub(crate) fn as_given(order: &NewOrder) -> Self {
        Self {
            attributes: order.attributes.clone(),
            endpoints: order.endpoints.clone(),
            resources: Vec::new(),
        }
    }
}

/// A value that belongs to another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// JSON pointer to it in the order.
    pub pointer: String,
    /// The pool.
    pub pool: String,
    /// Where in it the value is unique.
    pub scope: String,
    /// The value.
    pub value: String,
    /// The service that has it, or is to have it.
    pub service: ServiceId,
    /// The orders that need it.
    pub orders: Vec<OrderId>,
}

/// A pool without a free value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// JSON pointer to where the value would stand.
    pub pointer: String,
    /// The pool.
    pub pool: String,
    /// Where in it values are unique.
    pub scope: String,
    /// Its first number.
    pub from: i64,
    /// Its last.
    pub to: i64,
    /// Who has its first few.
    pub holders: Vec<ResourceRow>,
}
