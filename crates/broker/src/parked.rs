//! The parking lot: messages that nobody could process, with the reason, until someone looks.
//!
//! Looking takes messages out and gives them back when the channel closes, so it needs nobody
//! else to read the queue, and it changes nothing but the broker's delivery count.

use std::time::Duration;

use bytes::Bytes;
use lapin::Channel;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::time::{Instant, sleep};

use crate::delivery::Delivery;
use crate::error::{BrokerError, PublishError};
use crate::handle::Broker;
use crate::link::rpc;
use crate::message::{Headers, Outgoing, short};

const REASON: &str = "turnup-parked-reason";
const QUEUE: &str = "turnup-parked-queue";
const EXCHANGE: &str = "turnup-parked-exchange";
const KEY: &str = "turnup-parked-key";
const USER: &str = "turnup-parked-user";

/// Longest reason that is kept, in bytes.
const MAX_REASON_BYTES: usize = 2000;

/// Most headers of the original that are kept.
const MAX_KEPT_HEADERS: usize = 20;

/// How long the broker may take to give back what was looked at.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Most messages that are looked through.
const MAX_LOOK: usize = 100_000;

/// A parked message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parked {
    /// Its message id, or one made from its content if it has none.
    pub id: String,
    /// Why it was parked.
    pub reason: String,
    /// Queue from which it was taken; empty for what no queue took.
    pub queue: String,
    /// Exchange to which it was published first.
    pub exchange: String,
    /// Routing key with which it was published first.
    pub routing_key: String,
    /// The broker user who published it first, if that was given.
    pub user_id: Option<String>,
    /// When it was parked, or else published, to the second.
    pub at: Option<jiff::Timestamp>,
    /// Size of the body, in bytes.
    pub size_bytes: usize,
    /// Media type.
    pub content_type: Option<String>,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// Where an answer was wanted.
    pub reply_to: Option<String>,
    /// Headers, without those of the broker and of the parking lot.
    pub headers: Headers,
}

/// The message that parks `delivery`.
pub(crate) fn outgoing(delivery: &Delivery, exchange: &str, reason: &str) -> Outgoing {
    // A foreign message may have more or longer headers than we publish.
    let mut headers = Headers::new();
    let fits = |name: &str, value: &crate::message::HeaderValue| {
        name.len() <= 100 && value.as_str().is_none_or(|text| text.len() <= MAX_REASON_BYTES)
    };
    for (name, value) in delivery.headers.iter().filter(|(n, v)| fits(n, v)).take(MAX_KEPT_HEADERS) {
        headers.insert(name, value.clone());
    }
    headers.insert(REASON, shortened(reason));
    headers.insert(QUEUE, delivery.queue());
    headers.insert(EXCHANGE, delivery.exchange.as_str());
    headers.insert(KEY, delivery.routing_key.as_str());
    if let Some(user) = &delivery.user_id {
        headers.insert(USER, user.as_str());
    }
    let mut message = Outgoing::new(exchange, delivery.routing_key.as_str(), delivery.body.clone());
    if let Some(id) = delivery.message_id.as_ref().filter(|id| !id.is_empty()) {
        message.message_id.clone_from(id);
    }
    message.content_type = delivery.content_type.clone().unwrap_or_default();
    message.correlation_id.clone_from(&delivery.correlation_id);
    message.reply_to.clone_from(&delivery.reply_to);
    message.headers = headers;
    message
}

fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

impl Parked {
    fn new(got: &BasicGetMessage) -> Self {
        let text =
            |value: &Option<ShortString>| value.as_ref().map(ToString::to_string).filter(|t| !t.is_empty());
        let properties = &got.properties;
        let empty = FieldTable::default();
        let table = properties.headers().as_ref().unwrap_or(&empty);
        let mut headers = Headers::from_table(table);
        let death = Death::of(table);
        let mut take = |name| match headers.remove(name) {
            Some(crate::message::HeaderValue::Text(text)) => Some(text),
            _ => None,
        };
        let (reason, queue, exchange, key) = (take(REASON), take(QUEUE), take(EXCHANGE), take(KEY));
        let user_id = take(USER).or_else(|| text(properties.user_id()));
        let died = death.as_ref();
        let published = properties.timestamp().and_then(|s| i64::try_from(s).ok());
        let seconds = died.and_then(|d| d.at_s).or(published);
        Self {
            id: text(properties.message_id()).unwrap_or_else(|| made_id(got)),
            reason: reason
                .or_else(|| died.map(Death::reason))
                .unwrap_or_else(|| "no queue took it".to_owned()),
            queue: queue.or_else(|| died.map(|d| d.queue.clone())).unwrap_or_default(),
            exchange: exchange
                .or_else(|| died.map(|d| d.exchange.clone()))
                .unwrap_or_else(|| got.exchange.to_string()),
            routing_key: key
                .or_else(|| died.map(|d| d.routing_key.clone()))
                .unwrap_or_else(|| got.routing_key.to_string()),
            user_id,
            at: seconds.and_then(|s| jiff::Timestamp::from_second(s).ok()),
            size_bytes: got.data.len(),
            content_type: text(properties.content_type()),
            correlation_id: text(properties.correlation_id()),
            reply_to: text(properties.reply_to()),
            headers,
        }
    }

    fn again(&self, body: Bytes) -> Outgoing {
        let mut message = Outgoing::new(self.exchange.as_str(), self.routing_key.as_str(), body);
        message.message_id.clone_from(&self.id);
        message.content_type = self.content_type.clone().unwrap_or_default();
        message.correlation_id.clone_from(&self.correlation_id);
        message.reply_to.clone_from(&self.reply_to);
        message.headers = self.headers.clone();
        message
    }
}

/// A name for a message that came without an id: the same each time one looks.
fn made_id(got: &BasicGetMessage) -> String {
    let mut content = format!("{}\n{}\n", got.exchange, got.routing_key).into_bytes();
    content.extend_from_slice(&got.data);
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &content).to_string()
}

/// What the broker noted when it dead-lettered a message itself.
struct Death {
    queue: String,
    exchange: String,
    routing_key: String,
    why: String,
    at_s: Option<i64>,
}

impl Death {
    /// The newest entry of `x-death`.
    fn of(table: &FieldTable) -> Option<Self> {
        let entry = table.inner().get("x-death")?.as_array()?.as_slice().first()?.as_field_table()?.inner();
        let text = |name: &str| match entry.get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            Some(AMQPValue::ShortString(text)) => text.to_string(),
            _ => String::new(),
        };
        let first_key = entry.get("routing-keys").and_then(AMQPValue::as_array).and_then(|keys| {
            keys.as_slice().first().map(|key| match key {
                AMQPValue::LongString(text) => text.to_string(),
                AMQPValue::ShortString(text) => text.to_string(),
                _ => String::new(),
            })
        });
        Some(Self {
            queue: text("queue"),
            exchange: text("exchange"),
            routing_key: first_key.unwrap_or_default(),
            why: text("reason"),
            at_s: entry.get("time").and_then(AMQPValue::as_timestamp).and_then(|s| i64::try_from(s).ok()),
        })
    }

    fn reason(&self) -> String {
        match self.why.as_str() {
            "delivery_limit" => "delivered too often without being acknowledged".to_owned(),
            "rejected" => "refused by its reader, for instance as too large".to_owned(),
            "expired" => "waited too long in its queue".to_owned(),
            "maxlen" => "its queue was full".to_owned(),
            other => format!("dead-lettered by the broker: {other}"),
        }
    }
}

/// A look through the parking lot. What was taken goes back when the channel closes.
struct Look<'a> {
    broker: &'a Broker,
    channel: Channel,
    queue: ShortString,
    left: usize,
    /// Messages that we hold and that go back.
    held: u32,
}

impl<'a> Look<'a> {
    async fn begin(broker: &'a Broker, limit: usize) -> Result<Self, BrokerError> {
        let name = broker.names().parked();
        // No more than is there now: what we look at isn't seen twice, but more may come.
        let there = broker.depth(&name).await?.messages;
        let left = usize::try_from(there).unwrap_or(usize::MAX).min(limit).min(MAX_LOOK);
        let channel = broker.0.control.channel().await?;
        Ok(Self { broker, channel, queue: short("queue name", &name)?, left, held: 0 })
    }

    async fn next(&mut self) -> Result<Option<BasicGetMessage>, BrokerError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let get = self.channel.basic_get(self.queue.clone(), BasicGetOptions { no_ack: false });
        let got = rpc("basic.get", self.broker.0.settings.rpc_timeout(), get).await?;
        self.held += u32::from(got.is_some());
        Ok(got)
    }

    async fn find(&mut self, id: &str) -> Result<(Parked, BasicGetMessage), BrokerError> {
        while let Some(got) = self.next().await? {
            let parked = Parked::new(&got);
            if parked.id == id {
                return Ok((parked, got));
            }
        }
        Err(BrokerError::NotParked { id: id.to_owned() })
    }

    async fn take_out(&mut self, got: &BasicGetMessage) -> Result<(), BrokerError> {
        let ack = self.channel.basic_ack(got.delivery_tag, BasicAckOptions { multiple: false });
        rpc("basic.ack", self.broker.0.settings.rpc_timeout(), ack).await?;
        self.held -= 1;
        Ok(())
    }

    /// Gives back what was taken. The broker does that some time after it has closed the channel,
    /// so this waits, for a while, until the queue shows them: who looks again at once sees them.
    async fn end(self) -> Result<(), BrokerError> {
        let limit = self.broker.0.settings.rpc_timeout();
        rpc("channel.close", limit, self.channel.close(200, "looked".into())).await?;
        let until = Instant::now() + GIVE_BACK;
        while self.broker.depth(self.queue.as_str()).await?.messages < self.held && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// The oldest `limit` parked messages, which stay where they are.
///
/// # Errors
/// When the broker is away or nothing is declared.
pub async fn list(broker: &Broker, limit: usize) -> Result<Vec<Parked>, BrokerError> {
    let mut look = Look::begin(broker, limit).await?;
    let mut found = Vec::new();
    while let Some(got) = look.next().await? {
        found.push(Parked::new(&got));
    }
    look.end().await?;
    Ok(found)
}

/// One parked message with its body; it stays where it is.
///
/// # Errors
/// [`BrokerError::NotParked`] when there is none with this id.
pub async fn show(broker: &Broker, id: &str) -> Result<(Parked, Bytes), BrokerError> {
    let mut look = Look::begin(broker, MAX_LOOK).await?;
    let found = look.find(id).await;
    look.end().await?;
    found.map(|(parked, got)| (parked, Bytes::from(got.delivery.data)))
}

/// Publishes a parked message again to where it was published first, and takes it out of the
/// parking lot when that is confirmed. The broker's notes on its death are left behind. So is the
/// id of the user who published it: the broker would not let us speak for another user.
///
/// # Errors
/// [`BrokerError::NotParked`], or [`BrokerError::Replay`] when nothing took it: it stays parked.
pub async fn replay(broker: &Broker, id: &str) -> Result<Parked, BrokerError> {
    let mut look = Look::begin(broker, MAX_LOOK).await?;
    let outcome = match look.find(id).await {
        Ok((parked, got)) => {
            let message = parked.again(Bytes::from(got.data.clone()));
            match broker.publisher().publish(message, broker.0.settings.rpc_timeout()).await {
                Ok(()) => look.take_out(&got).await.map(|()| parked),
                Err(source) => Err(stays(id, source)),
            }
        }
        Err(e) => Err(e),
    };
    look.end().await?;
    outcome
}

fn stays(id: &str, source: PublishError) -> BrokerError {
    BrokerError::Replay { id: id.to_owned(), source }
}

/// Removes a parked message for good.
///
/// # Errors
/// [`BrokerError::NotParked`] when there is none with this id.
pub async fn drop(broker: &Broker, id: &str) -> Result<Parked, BrokerError> {
    let mut look = Look::begin(broker, MAX_LOOK).await?;
    let outcome = match look.find(id).await {
        Ok((parked, got)) => look.take_out(&got).await.map(|()| parked),
        Err(e) => Err(e),
    };
    look.end().await?;
    outcome
}
