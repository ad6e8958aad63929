//! stub
use crate::error::PublishError;
use crate::message::Outgoing;
use crate::settings::Settings;
use std::sync::Arc;
use std::time::Duration;

/// Publishes messages, confirmed. Cheap to clone; all clones share one channel and its window.
#[derive(Debug, Clone)]
pub struct Publisher {}

impl Publisher {
    pub(crate) fn start(_settings: &Arc<Settings>) -> Self {
        Self {}
    }

    /// Publishes one message and waits for its confirm until `deadline` from now.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, _message: Outgoing, _deadline: Duration) -> Result<(), PublishError> {
        unimplemented!()
    }

    /// Publishes messages in this order, pipelined, and waits for their confirms until `deadline`
    /// from now. Results are in the order of the input.
    pub async fn publish_all(
        &self,
        _messages: Vec<Outgoing>,
        _deadline: Duration,
    ) -> Vec<Result<(), PublishError>> {
        unimplemented!()
    }

    /// Time since the broker last answered on this publisher's connection; `None` while there is none.
    #[must_use]
    pub fn last_progress(&self) -> Option<Duration> {
        None
    }
}
