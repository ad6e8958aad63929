//! Messages on their way out, and their headers.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use crate::error::{BrokerError, PublishError};

/// The largest body that is published or handed to a reader, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The most headers, and the longest text in one, that are published.
const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 4096;

/// The value of a header. Other kinds of AMQP values in foreign messages are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
}

impl HeaderValue {
    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Int(_) => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Text(_) => None,
        }
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for HeaderValue {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

/// Headers of a message. Those by which the broker notes dead-lettering (`x-death` and kin) are
/// never in here and never published: RabbitMQ 3.10 confirms a message that carries them on its
/// second way through a queue and then never delivers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(BTreeMap<String, HeaderValue>);

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one header. Names that the broker keeps for itself are left out silently.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<HeaderValue>) {
        let name = name.into();
        if !is_brokers_own(&name) {
            self.0.insert(name, value.into());
        }
    }

    /// Sets one header; for building.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<HeaderValue>) -> Self {
        self.insert(name, value);
        self
    }

    /// One header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.0.get(name)
    }

    /// The text of one header.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(HeaderValue::as_str)
    }

    /// The number in one header.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(HeaderValue::as_int)
    }

    /// Takes one header out.
    pub fn remove(&mut self, name: &str) -> Option<HeaderValue> {
        self.0.remove(name)
    }

    /// All headers by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn from_table(table: &FieldTable) -> Self {
        let mut headers = Self::new();
        for (name, value) in table {
            if let Some(value) = from_amqp(value) {
                headers.insert(name.as_str(), value);
            }
        }
        headers
    }

    fn to_table(&self) -> Result<FieldTable, PublishError> {
        if self.0.len() > MAX_HEADERS {
            return Err(invalid(format!("{} headers, {MAX_HEADERS} are allowed", self.0.len())));
        }
        let mut table = FieldTable::default();
        for (name, value) in &self.0 {
            let value = match value {
                HeaderValue::Text(text) if text.len() > MAX_HEADER_BYTES => {
                    return Err(invalid(format!("header {name:?} has {} bytes", text.len())));
                }
                HeaderValue::Text(text) => AMQPValue::LongString(LongString::from(text.as_bytes())),
                HeaderValue::Int(n) => AMQPValue::LongLongInt(*n),
            };
            table.insert(property("header name", name)?, value);
        }
        Ok(table)
    }
}

/// Headers by which the broker keeps its own books.
fn is_brokers_own(name: &str) -> bool {
    name == "x-death"
        || name.starts_with("x-first-death-")
        || name.starts_with("x-last-death-")
        || name == "x-delivery-count"
        || name == "x-acquired-count"
}

fn from_amqp(value: &AMQPValue) -> Option<HeaderValue> {
    Some(match value {
        AMQPValue::LongString(text) => {
            HeaderValue::Text(String::from_utf8_lossy(text.as_bytes()).into_owned())
        }
        AMQPValue::ShortString(text) => HeaderValue::Text(text.to_string()),
        other => HeaderValue::Int(int_of(other)?),
    })
}

pub(crate) fn int_of(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::Boolean(yes) => i64::from(*yes),
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => return None,
    })
}

fn invalid(reason: String) -> PublishError {
    PublishError::Invalid { reason }
}

fn property(what: &'static str, text: &str) -> Result<ShortString, PublishError> {
    ShortString::try_new(text)
        .map_err(|_| invalid(format!("the {what} has {} bytes, AMQP allows 255", text.len())))
}

/// A checked AMQP short string, for names of exchanges and queues.
pub(crate) fn short(what: &'static str, text: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(text).map_err(|_| BrokerError::TooLong { what, bytes: text.len() })
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Exchange; empty for the default exchange, which takes queue names as keys.
    pub exchange: String,
    /// Routing key.
    pub routing_key: String,
    /// Identifies the message in returns, on redelivery and in logs. Must be unique among the
    /// messages published at the same time.
    pub message_id: String,
    /// The body, at most [`MAX_BODY_BYTES`].
    pub body: Bytes,
    /// Media type of the body.
    pub content_type: String,
    /// What the message belongs to: the order id, or the id of the request that it answers.
    pub correlation_id: Option<String>,
    /// Queue to which an answer is to be sent.
    pub reply_to: Option<String>,
    /// Headers, for example `traceparent`.
    pub headers: Headers,
    /// Dropped by the broker when it has waited so long in a queue, in milliseconds.
    pub expiration_ms: Option<u32>,
    /// Survives a restart of the broker. Only answers to waiting requesters may do without.
    pub persistent: bool,
    /// A message that no queue takes is an error ([`PublishError::Returned`]).
    pub mandatory: bool,
    /// The time that it says it is of, in whole seconds: [`crate::Delivery::age`] counts from it. None: when it is
    /// sent.
    pub published_at: Option<Timestamp>,
}

impl Outgoing {
    /// A persistent, mandatory JSON message with a new id.
    #[must_use]
    pub fn new(exchange: impl Into<String>, routing_key: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            message_id: uuid::Uuid::now_v7().to_string(),
            body: body.into(),
            content_type: "application/json".to_owned(),
            correlation_id: None,
            reply_to: None,
            headers: Headers::new(),
            expiration_ms: None,
            persistent: true,
            mandatory: true,
            published_at: None,
        }
    }

    /// As of this time, instead of when it is sent.
    #[must_use]
    pub fn published_at(mut self, at: Timestamp) -> Self {
        self.published_at = Some(at);
        self
    }

    /// With this message id instead of a new one.
    #[must_use]
    pub fn with_message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = id.into();
        self
    }

    /// With a correlation id.
    #[must_use]
    pub fn with_correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// With a content type other than JSON.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a time to live.
    #[must_use]
    pub fn with_expiration(mut self, after: Duration) -> Self {
        self.expiration_ms = Some(u32::try_from(after.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// An answer on the default exchange to the queue that `reply_to` names. Neither persistent
    /// nor mandatory: who asked may have gone.
    #[must_use]
    pub fn reply(
        reply_to: impl Into<String>,
        correlation_id: Option<String>,
        body: impl Into<Bytes>,
    ) -> Self {
        Self { correlation_id, persistent: false, mandatory: false, ..Self::new("", reply_to, body) }
    }

    /// Everything AMQP needs, checked: exchange, routing key, properties.
    pub(crate) fn encode(&self) -> Result<(ShortString, ShortString, BasicProperties), PublishError> {
        if self.body.len() > MAX_BODY_BYTES {
            return Err(invalid(format!(
                "its body has {} bytes, {MAX_BODY_BYTES} are allowed",
                self.body.len()
            )));
        }
        if self.message_id.is_empty() {
            return Err(invalid("it has no message id".to_owned()));
        }
        let at_s = u64::try_from(self.published_at.unwrap_or_else(Timestamp::now).as_second()).unwrap_or(0);
        let mut properties = BasicProperties::default()
            .with_message_id(property("message id", &self.message_id)?)
            .with_content_type(property("content type", &self.content_type)?)
            .with_timestamp(at_s)
            .with_delivery_mode(if self.persistent { 2 } else { 1 });
        if let Some(id) = &self.correlation_id {
            properties = properties.with_correlation_id(property("correlation id", id)?);
        }
        if let Some(queue) = &self.reply_to {
            properties = properties.with_reply_to(property("reply-to", queue)?);
        }
        if let Some(ms) = self.expiration_ms {
            properties = properties.with_expiration(ms.to_string().into());
        }
        if !self.headers.is_empty() {
            properties = properties.with_headers(self.headers.to_table()?);
        }
        Ok((property("exchange", &self.exchange)?, property("routing key", &self.routing_key)?, properties))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_own_headers_are_never_carried_on() {
        let mut table = FieldTable::default();
        for name in
            ["x-death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count", "traceparent"]
        {
            table.insert(name.into(), AMQPValue::LongString("v".into()));
        }
        table.insert("n".into(), AMQPValue::ShortInt(7));
        table.insert("list".into(), AMQPValue::FieldArray(vec![].into()));
        let headers = Headers::from_table(&table).with("x-death", 1);
        assert_eq!(headers.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["n", "traceparent"]);
        assert_eq!(headers.int("n"), Some(7));
        assert_eq!(Headers::from_table(&headers.to_table().unwrap()), headers);
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused_before_it_is_sent() {
        let good = Outgoing::new("e", "k", "{}");
        good.encode().unwrap();
        let old = Timestamp::from_millisecond(1_000_999).unwrap();
        let (_, _, properties) = good.clone().published_at(old).encode().unwrap();
        assert_eq!(*properties.timestamp(), Some(1_000));
        let long = "x".repeat(256);
        let mut many = Headers::new();
        (0..=MAX_HEADERS).for_each(|n| many.insert(n.to_string(), 1));
        for bad in [
            Outgoing { exchange: long.clone(), ..good.clone() },
            Outgoing { routing_key: long.clone(), ..good.clone() },
            Outgoing { message_id: String::new(), ..good.clone() },
            Outgoing { correlation_id: Some(long.clone()), ..good.clone() },
            Outgoing { reply_to: Some(long), ..good.clone() },
            Outgoing { body: vec![0; MAX_BODY_BYTES + 1].into(), ..good.clone() },
            Outgoing { headers: many, ..good.clone() },
            good.clone().with_header("h", "x".repeat(MAX_HEADER_BYTES + 1)),
        ] {
            assert!(matches!(bad.encode(), Err(PublishError::Invalid { .. })));
        }
    }
}
