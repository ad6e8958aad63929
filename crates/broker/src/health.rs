//! Liveness is progress: the time of the last answer from the broker, not "connected".

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default, Clone, Copy)]
struct State {
    used: bool,
    answered: Option<Instant>,
}

/// When the broker last answered, on one connection.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

impl Health {
    fn set(&self, answered: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State { used: true, answered };
    }

    fn get(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker answered.
    pub(crate) fn progress(&self) {
        self.set(Some(Instant::now()));
    }

    /// The connection is gone, or could not be opened.
    pub(crate) fn lost(&self) {
        self.set(None);
    }

    /// Whether anyone ever wanted this connection.
    pub(crate) fn in_use(&self) -> bool {
        self.get().used
    }

    /// Time since the last answer; `None` while there is no connection.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.get().answered.map(|at| at.elapsed())
    }
}
