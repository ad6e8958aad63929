//! stub
use crate::error::PublishError;
use crate::message::{Headers, Outgoing};
use crate::settings::Settings;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody answered in time.
    #[error("no answer within {after:?}; ask again")]
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// The request could not be sent, or nothing reads the queue.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The connection broke while waiting.
    #[error("the connection broke while waiting for an answer ({reason}); ask again")]
    Lost {
        /// What ended it.
        reason: String,
    },
}

/// An answer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reply {
    /// The body.
    pub body: Bytes,
    /// Headers.
    pub headers: Headers,
}

/// Asks and waits for answers. Cheap to clone; many requests share one channel.
#[derive(Debug, Clone)]
pub struct Requester {}

impl Requester {
    pub(crate) fn start(_settings: &Arc<Settings>) -> Self {
        Self {}
    }
    /// Sends `message` (its correlation id and reply-to are set here) and waits for the answer until
    /// `deadline` from now.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, _message: Outgoing, _deadline: Duration) -> Result<Reply, RequestError> {
        unimplemented!()
    }
}
