//! The connections and sessions of one listener.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Device;
use crate::transport::Cut;

/// Which connections and sessions there are.
#[derive(Debug, Default)]
pub(super) struct Registry {
    connections: Mutex<Connections>,
    sessions: Mutex<BTreeMap<u32, Arc<dyn Killable>>>,
    last_connection: AtomicU64,
    last_session: AtomicU32,
}

#[derive(Debug, Default)]
struct Connections {
    by_number: BTreeMap<u64, Cut>,
    stopped: bool,
}

/// How long a client has to close a connection after being told that the session is over.
const LINGER: Duration = Duration::from_secs(2);

/// A session as another session's `kill-session` sees it.
pub(super) trait Killable: Send + Sync + std::fmt::Debug {
    /// Whether the session ends by it.
    fn kill(&self) -> bool;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is consistent after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    pub(super) fn connections(&self) -> usize {
        lock(&self.connections).by_number.len()
    }

    pub(super) fn cut_all(&self) {
        for cut in lock(&self.connections).by_number.values() {
            cut.cut();
        }
    }

    /// Cuts all connections, and from now on also new ones.
    pub(super) fn stop(&self) {
        lock(&self.connections).stopped = true;
        self.cut_all();
    }

    pub(super) fn session_ids(&self) -> Vec<u32> {
        lock(&self.sessions).keys().copied().collect()
    }

    /// Ends a session, unless its device lets it go on; false if there is none of this number.
    pub(super) fn kill(&self, session_id: u32) -> bool {
        let killed = lock(&self.sessions).get(&session_id).cloned();
        if let Some(session) = &killed
            && session.kill()
        {
            lock(&self.sessions).remove(&session_id);
        }
        killed.is_some()
    }

    /// Counts a connection until the result is dropped.
    pub(super) fn enter(self: &Arc<Self>, cut: Cut) -> Entry {
        let number = self.last_connection.fetch_add(1, Ordering::Relaxed);
        let mut connections = lock(&self.connections);
        connections.by_number.insert(number, cut.clone());
        if connections.stopped {
            cut.cut();
        }
        drop(connections);
        Entry { registry: self.clone(), number, cut }
    }

    pub(super) fn open_session<D: Device>(
        self: &Arc<Self>,
        device: Arc<D>,
        username: &str,
        cut: Cut,
    ) -> Arc<OpenSession<D>> {
        let id = self.last_session.fetch_add(1, Ordering::Relaxed) + 1;
        device.session_opened(id, username);
        let session = Arc::new(OpenSession {
            id,
            state: Arc::new(SessionState { id, device, closed: AtomicBool::new(false), cut }),
            registry: self.clone(),
        });
        lock(&self.sessions).insert(id, session.state.clone());
        session
    }
}

/// A connection's place in the registry.
#[derive(Debug)]
pub(super) struct Entry {
    registry: Arc<Registry>,
    number: u64,
    pub(super) cut: Cut,
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.registry.connections).by_number.remove(&self.number);
    }
}

/// An open session. The device is told of its end when the last owner (the connection, a request being
/// carried out) drops it, or earlier by `close-session` and `kill-session`.
pub(super) struct OpenSession<D: Device> {
    pub(super) id: u32,
    state: Arc<SessionState<D>>,
    registry: Arc<Registry>,
}

struct SessionState<D: Device> {
    id: u32,
    device: Arc<D>,
    closed: AtomicBool,
    cut: Cut,
}

impl<D: Device> SessionState<D> {
    fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.device.session_closed(self.id);
        }
    }
}

impl<D: Device> std::fmt::Debug for SessionState<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.id)
    }
}

impl<D: Device> Killable for SessionState<D> {
    fn kill(&self) -> bool {
        let ends = self.device.kill_ends(self.id);
        if ends {
            self.close();
            self.cut.cut();
        }
        ends
    }
}

impl<D: Device> OpenSession<D> {
    pub(super) fn device(&self) -> &D {
        &self.state.device
    }

    pub(super) fn kill_other(&self, session_id: u32) -> bool {
        session_id != self.id && self.registry.kill(session_id)
    }

    /// Tells the device that the session has ended, once.
    pub(super) fn close(&self) {
        lock(&self.registry.sessions).remove(&self.id);
        self.state.close();
    }

    /// Cuts the connection.
    pub(super) fn cut(&self) {
        self.state.cut.cut();
    }

    /// Cuts the connection if the client doesn't close it soon.
    pub(super) fn cut_later(&self) {
        let cut = self.state.cut.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            cut.cut();
        });
    }
}

impl<D: Device> Drop for OpenSession<D> {
    fn drop(&mut self) {
        self.close();
    }
}
