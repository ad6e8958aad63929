//! Idle NETCONF sessions, one per device: opening one costs a hundred times what a request does.
//!
//! A session is in here only while nobody uses it, holds no lock, and its last request was answered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use turnup_core::name::{CredentialRef, DeviceName};
use turnup_netconf::ssh::{PinnedHostKey, Session, Target};

/// Time for a polite end of a session that isn't needed any more.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// What a session was opened with. Where any of it has changed since, a new session is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) target: Target,
    pub(crate) host_key: PinnedHostKey,
    pub(crate) credential: Option<CredentialRef>,
}

/// The sessions.
#[derive(Debug)]
pub(crate) struct Pool {
    most: usize,
    idle: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_device: HashMap<DeviceName, Warm>,
    /// By the order in which they were given back, so that the oldest is first.
    by_age: BTreeMap<u64, DeviceName>,
    next: u64,
}

#[derive(Debug)]
struct Warm {
    session: Session,
    identity: Identity,
    since: Instant,
    age: u64,
}

impl Inner {
    fn remove(&mut self, device: &DeviceName) -> Option<Warm> {
        let warm = self.by_device.remove(device)?;
        self.by_age.remove(&warm.age);
        Some(warm)
    }

    fn oldest(&mut self) -> Option<Warm> {
        let device = self.by_age.values().next()?.clone();
        self.remove(&device)
    }
}

impl Pool {
    /// At most so many sessions, each at most so long.
    pub(crate) fn new(most: usize, idle: Duration) -> Self {
        Self { most, idle, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is kept is consistent after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device's session if there is a usable one that was opened with just this, and for how long it
    /// has been idle.
    pub(crate) fn take(&self, device: &DeviceName, identity: &Identity) -> Option<(Session, Duration)> {
        let warm = self.lock().remove(device)?;
        if warm.identity != *identity || warm.since.elapsed() >= self.idle {
            close(warm.session);
            return None;
        }
        warm.session.is_usable().then(|| (warm.session, warm.since.elapsed()))
    }

    /// Keeps a session; the one that has been idle for longest goes if there are too many.
    pub(crate) fn put(&self, device: &DeviceName, identity: Identity, session: Session) {
        if !session.is_usable() {
            return;
        }
        let mut gone = Vec::new();
        {
            let mut inner = self.lock();
            gone.extend(inner.remove(device));
            let age = inner.next;
            inner.next += 1;
            inner.by_age.insert(age, device.clone());
            inner.by_device.insert(device.clone(), Warm { session, identity, since: Instant::now(), age });
            while inner.by_device.len() > self.most {
                gone.extend(inner.oldest());
            }
        }
        gone.into_iter().for_each(|warm| close(warm.session));
    }

    /// Closes what has been idle for too long or was closed by the device.
    pub(crate) fn sweep(&self) {
        let mut gone = Vec::new();
        {
            let mut inner = self.lock();
            let over: Vec<DeviceName> = inner
                .by_device
                .iter()
                .filter(|(_, warm)| warm.since.elapsed() >= self.idle || !warm.session.is_usable())
                .map(|(device, _)| device.clone())
                .collect();
            gone.extend(over.iter().filter_map(|device| inner.remove(device)));
        }
        gone.into_iter().for_each(|warm| close(warm.session));
    }

    /// Number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.lock().by_device.len()
    }

    /// Closes all.
    pub(crate) async fn close_all(&self) {
        let all: Vec<Warm> = {
            let mut inner = self.lock();
            inner.by_age.clear();
            inner.by_device.drain().map(|(_, warm)| warm).collect()
        };
        let by = Instant::now() + GOOD_BYE;
        futures_util::future::join_all(all.into_iter().map(|warm| warm.session.close(by))).await;
    }
}

/// Closes a session without having anyone wait for it.
pub(crate) fn close(session: Session) {
    tokio::spawn(session.close(Instant::now() + GOOD_BYE));
}
