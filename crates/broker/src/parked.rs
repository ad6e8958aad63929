//! stub
use crate::error::BrokerError;
use crate::handle::Broker;
use crate::message::Headers;
use bytes::Bytes;

/// A parked message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parked {
    /// Its message id, or one made from its content if it has none.
    pub id: String,
    /// Why it was parked.
    pub reason: String,
    /// Queue from which it was taken.
    pub queue: String,
    /// Exchange to which it was published first.
    pub exchange: String,
    /// Routing key with which it was published first.
    pub routing_key: String,
    /// When, to the second.
    pub parked_at: Option<jiff::Timestamp>,
    /// Size of the body, in bytes.
    pub size_bytes: usize,
    /// Media type.
    pub content_type: Option<String>,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// Headers.
    pub headers: Headers,
}

/// The oldest `limit` parked messages, which stay where they are.
///
/// # Errors
/// When the broker is away or nothing is declared.
pub async fn list(_broker: &Broker, _limit: usize) -> Result<Vec<Parked>, BrokerError> {
    unimplemented!()
}

/// One parked message with its body; it stays where it is.
///
/// # Errors
/// [`BrokerError::NotParked`] when there is none with this id.
pub async fn show(_broker: &Broker, _id: &str) -> Result<(Parked, Bytes), BrokerError> {
    unimplemented!()
}

/// Publishes a parked message again to where it was published first, and takes it out of the
/// parking lot when that is confirmed.
///
/// # Errors
/// [`BrokerError::NotParked`], or [`BrokerError::Replay`] when nothing took it: it stays parked.
pub async fn replay(_broker: &Broker, _id: &str) -> Result<Parked, BrokerError> {
    unimplemented!()
}

/// Removes a parked message for good.
///
/// # Errors
/// [`BrokerError::NotParked`] when there is none with this id.
pub async fn drop(_broker: &Broker, _id: &str) -> Result<Parked, BrokerError> {
    unimplemented!()
}
