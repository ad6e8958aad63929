//! How long to wait before the next try. The `backoff` crate stays behind this module: its last
//! release is old.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff as _};

/// Waits that grow, each ± 30 %.
#[derive(Debug)]
pub(crate) struct Retry(ExponentialBackoff);

impl Retry {
    /// From `first`, doubling, to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self(ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            multiplier: 2.0,
            randomization_factor: 0.3,
            max_interval: longest,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// The next wait. There is no last one.
    pub(crate) fn next(&mut self) -> Duration {
        let longest = self.0.max_interval;
        self.0.next_backoff().unwrap_or(longest)
    }
}
