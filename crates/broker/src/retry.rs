//! How long to wait before the next try. The `backoff` crate stays behind this module: its last
//! release is old.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Waits between tries to reach the broker: 50 ms, doubling to 5 s, each ± 30 %.
#[derive(Debug)]
pub(crate) struct Retry(ExponentialBackoff);

impl Retry {
    pub(crate) fn new() -> Self {
        Self(ExponentialBackoff {
            current_interval: Duration::from_millis(50),
            initial_interval: Duration::from_millis(50),
            multiplier: 2.0,
            randomization_factor: 0.3,
            max_interval: Duration::from_secs(5),
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// The next wait. There is no last one.
    pub(crate) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(Duration::from_secs(5))
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let mut retry = Retry::new();
        let waits: Vec<_> = (0..30).map(|_| retry.next()).collect();
        assert!(waits[0] <= Duration::from_millis(65));
        assert!(waits.iter().all(|w| *w <= Duration::from_millis(6500)));
        assert!(waits[29] >= Duration::from_millis(3500));
        retry.reset();
        assert!(retry.next() <= Duration::from_millis(65));
    }
}
