//! Liveness is progress: the time of the last answer from the broker, not "connected".

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When the broker last answered, on one connection.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<Instant>>);

impl Health {
    fn set(&self, answered: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answered;
    }

    /// The broker answered.
    pub(crate) fn progress(&self) {
        self.set(Some(Instant::now()));
    }

    /// The connection is gone, or could not be opened.
    pub(crate) fn lost(&self) {
        self.set(None);
    }

    /// Time since the last answer; `None` while there is no connection.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}
