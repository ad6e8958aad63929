//! stub
use crate::error::PublishError;
use crate::message::Headers;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was sent to the broker.
    Sent,
    /// The channel of the delivery is gone: the broker gives the message to someone again.
    Stale,
}

/// A message from a queue, to be settled once: [`ack`](Self::ack), [`park`](Self::park) or
/// [`release`](Self::release). One that is dropped unsettled is released.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The body, at most [`crate::MAX_BODY_BYTES`].
    pub body: Bytes,
    /// Message id, if the publisher set one.
    pub message_id: Option<String>,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
    /// The broker user who published it; checked by the broker where set.
    pub user_id: Option<String>,
    /// Media type.
    pub content_type: Option<String>,
    /// Exchange to which it was published.
    pub exchange: String,
    /// Routing key with which it was published.
    pub routing_key: String,
    /// Headers, without the broker's own.
    pub headers: Headers,
    /// The broker has given this message to a reader before.
    pub redelivered: bool,
    /// How often before, where the queue counts it.
    pub delivery_count: u32,
    /// When it was published, to the second, by the publisher's clock.
    pub published_at: Option<jiff::Timestamp>,
    /// When we received it.
    pub received_at: Instant,
}

impl Delivery {
    /// Acknowledges: its effect is durable.
    pub async fn ack(self) -> Settled {
        unimplemented!()
    }
    /// Gives the message back to the queue at once, for someone else or another time.
    pub async fn release(self) -> Settled {
        unimplemented!()
    }
    /// Publishes the message to the parking lot with the reason, confirmed, then acknowledges it.
    ///
    /// # Errors
    /// When the parking lot did not take it; the message is back in its queue then.
    pub async fn park(self, _reason: &str) -> Result<Settled, PublishError> {
        unimplemented!()
    }
    /// Time since the message was published, by two clocks and to the second.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        unimplemented!()
    }
    /// Time since we received it. Must stay well under the broker's consumer timeout (30 min).
    #[must_use]
    pub fn held(&self) -> Duration {
        self.received_at.elapsed()
    }
}

/// Acknowledges many deliveries with as few frames as is safe. Results in the order of the input.
pub async fn ack_many(_deliveries: Vec<Delivery>) -> Vec<Settled> {
    unimplemented!()
}
