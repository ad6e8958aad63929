//! What a running deployment tells about itself while it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use turnup_core::{failure::Failure, message::InForce};

use turnup_core::transaction::{Phase, Seat};

/// How far a deployment is. Written by the driver, read by who reports.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: Mutex<State>,
    known: Mutex<Vec<(InForce, Vec<Failure>)>>,
    /// Which of the deployment's devices the driver is at, where it isn't at all of them.
    places: Mutex<Option<Vec<usize>>>,
    doubted: Notify,
}

/// A moment of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// The phase that runs.
    pub(crate) phase: Option<Phase>,
    /// A commit was sent and nobody knows yet what came of it.
    pub(crate) in_doubt: bool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A phase begins.
    pub(crate) fn enter(&self, phase: Phase) {
        self.lock().phase = Some(phase);
    }

    /// Something is in doubt, or no longer.
    pub(crate) fn set_doubt(&self, in_doubt: bool) {
        let was = std::mem::replace(&mut self.lock().in_doubt, in_doubt);
        if in_doubt && !was {
            self.doubted.notify_one();
        }
    }

    /// The driver goes on to these of the deployment's `devices`.
    pub(crate) fn go_to(&self, places: Vec<usize>, devices: usize) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.resize(devices, (InForce::Old, Vec::new()));
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = Some(places);
    }

    /// What is known of the devices by now.
    pub(crate) fn learn(&self, seats: &[Seat]) {
        let news = seats.iter().map(|seat| (seat.in_force, seat.failures.clone()));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &*self.places.lock().unwrap_or_else(PoisonError::into_inner) {
            None => *known = news.collect(),
            Some(places) => {
                for (at, new) in places.iter().zip(news) {
                    if let Some(seat) = known.get_mut(*at) {
                        *seat = new;
                    }
                }
            }
        }
    }

    /// What was known of the devices after the last phase; empty in the first.
    pub(crate) fn known(&self) -> Vec<(InForce, Vec<Failure>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Now.
    pub(crate) fn state(&self) -> State {
        *self.lock()
    }

    /// Waits until something has become doubtful.
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }
}
