//! stub
use crate::delivery::Delivery;
use crate::handle::Broker;
use std::time::Duration;

/// Where a reader of a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOffset {
    /// The oldest message kept.
    First,
    /// What comes from now on.
    Next,
    /// This offset.
    At(u64),
}

/// How to read a queue.
#[derive(Debug, Clone)]
pub struct ConsumeOptions {
    /// Unsettled deliveries that the broker lets us hold, at least 1.
    pub prefetch: u16,
    /// Only for stream queues: where to begin.
    pub stream_offset: Option<StreamOffset>,
}

impl ConsumeOptions {
    /// With this prefetch.
    #[must_use]
    pub fn new(prefetch: u16) -> Self {
        Self { prefetch, stream_offset: None }
    }
}

/// Stops a [`Consumer`] from elsewhere.
#[derive(Debug, Clone)]
pub struct StopHandle {}

impl StopHandle {
    /// See [`Consumer::stop`].
    pub fn stop(&self) {}
}

/// Reads a queue, over lost connections. Both `next` functions may be dropped while they wait
/// (in `select!`) without losing anything.
#[derive(Debug)]
pub struct Consumer {}

impl Consumer {
    pub(crate) fn start(_broker: &Broker, _queue: String, _options: ConsumeOptions) -> Self {
        Self {}
    }
    /// The next delivery; `None` after [`stop`](Self::stop).
    pub async fn next(&mut self) -> Option<Delivery> {
        unimplemented!()
    }
    /// Waits for a delivery, then takes what comes within `linger`, at most `max`; with a `linger`
    /// of zero only what is already here. Empty only after [`stop`](Self::stop).
    pub async fn next_batch(&mut self, _max: usize, _linger: Duration) -> Vec<Delivery> {
        unimplemented!()
    }
    /// No more deliveries. Those handed out can still be settled; those not yet handed out go back
    /// to the queue at once.
    pub fn stop(&self) {}
    /// A handle to stop this consumer from elsewhere.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        unimplemented!()
    }
}
