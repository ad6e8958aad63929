//! Idle NETCONF sessions, one per device: opening one costs a hundred times what a request does.
//!
//! A session is in here only while nobody uses it, holds no lock, and its last request was answered. Now and
//! then it is asked something harmless: a keep-alive of SSH or TCP doesn't notice a NETCONF server that hangs
//! behind a live sshd, and a firewall forgets connections that say nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, interval};
use turnup_core::name::{CredentialRef, DeviceName};
use turnup_netconf::{
    operation::{Datastore, Filter, Operation},
    ssh::{PinnedHostKey, Session, Target},
};

/// Time for a polite end of a session that isn't needed any more.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// How often idle sessions are looked through, at least.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a device may take to answer a keep-alive.
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(3);
/// Most keep-alives at once.
const KEEP_ALIVES: usize = 16;

/// What a session was opened with. Where any of it has changed since, a new session is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) target: Target,
    pub(crate) host_key: PinnedHostKey,
    pub(crate) credential: Option<CredentialRef>,
}

/// Why a session isn't kept, as a label of the metric.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Closed {
    /// Nobody has used it for too long.
    Idle,
    /// There were too many, and it was the one not used for longest.
    Evicted,
    /// There is another one with the device, or it was opened with what has changed since.
    Replaced,
    /// The device or the network had closed it.
    Lost,
    /// A keep-alive was not answered.
    Silent,
    /// It did not answer when it was used again.
    Dead,
}

impl Closed {
    /// Counts one.
    pub(crate) fn count(self) {
        let reason = match self {
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Replaced => "replaced",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Dead => "dead",
        };
        metrics::counter!("turnup_worker_sessions_closed_total", "reason" => reason).increment(1);
    }
}

/// The sessions.
#[derive(Debug)]
pub(crate) struct Pool {
    most: usize,
    idle: Duration,
    /// `None`: no keep-alives.
    keep_alive: Option<Duration>,
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
    /// When it was given back.
    since: Instant,
    /// When the device last answered.
    heard: Instant,
    age: u64,
}

impl Warm {
    /// Closes it without having anyone wait for it.
    fn close(self, reason: Closed) {
        reason.count();
        tokio::spawn(self.session.close(Instant::now() + GOOD_BYE));
    }
}

impl Inner {
    fn insert(&mut self, device: DeviceName, warm: Warm) {
        self.by_age.insert(warm.age, device.clone());
        self.by_device.insert(device, warm);
    }

    fn remove(&mut self, device: &DeviceName) -> Option<Warm> {
        let warm = self.by_device.remove(device)?;
        self.by_age.remove(&warm.age);
        Some(warm)
    }

    /// Takes out those not used for longest, until there are at most so many.
    fn shrink(&mut self, most: usize) -> Vec<Warm> {
        let mut gone = Vec::new();
        while self.by_device.len() > most {
            let Some((_, device)) = self.by_age.pop_first() else { break };
            gone.extend(self.by_device.remove(&device));
        }
        gone
    }

    /// Takes out all that `which` holds for.
    fn remove_all(&mut self, which: impl Fn(&Warm) -> bool) -> Vec<Warm> {
        let found: Vec<DeviceName> =
            self.by_device.iter().filter(|(_, warm)| which(warm)).map(|(device, _)| device.clone()).collect();
        found.iter().filter_map(|device| self.remove(device)).collect()
    }
}

impl Pool {
    /// At most so many sessions, each at most so long without use, each asked after so long without an answer.
    pub(crate) fn new(most: usize, idle: Duration, keep_alive: Option<Duration>) -> Self {
        Self { most, idle, keep_alive, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is kept is consistent after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device's session if there is a usable one that was opened with just this. It may be dead all the
    /// same.
    pub(crate) fn take(&self, device: &DeviceName, identity: &Identity) -> Option<Session> {
        let warm = self.lock().remove(device)?;
        let reason = match () {
            () if !warm.session.is_usable() => Closed::Lost,
            () if warm.identity != *identity => Closed::Replaced,
            () if warm.since.elapsed() >= self.idle => Closed::Idle,
            () => return Some(warm.session),
        };
        warm.close(reason);
        None
    }

    /// Keeps a session; the one that has been idle for longest goes if there are too many.
    pub(crate) fn put(&self, device: &DeviceName, identity: Identity, session: Session) {
        if !session.is_usable() {
            return;
        }
        let now = Instant::now();
        let (before, evicted) = {
            let mut inner = self.lock();
            let before = inner.remove(device);
            let age = inner.next;
            inner.next += 1;
            inner.insert(device.clone(), Warm { session, identity, since: now, heard: now, age });
            (before, inner.shrink(self.most))
        };
        before.into_iter().for_each(|warm| warm.close(Closed::Replaced));
        evicted.into_iter().for_each(|warm| warm.close(Closed::Evicted));
    }

    /// Looks after the sessions for as long as it is polled.
    pub(crate) async fn tend(&self) {
        let mut look = interval(self.keep_alive.unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
        loop {
            look.tick().await;
            self.sweep();
            self.keep_alive().await;
            metrics::gauge!("turnup_worker_warm_sessions").set(self.len() as f64);
        }
    }

    /// Closes what has been idle for too long or was closed by the device.
    pub(crate) fn sweep(&self) {
        let (lost, idle) = {
            let mut inner = self.lock();
            let lost = inner.remove_all(|warm| !warm.session.is_usable());
            (lost, inner.remove_all(|warm| warm.since.elapsed() >= self.idle))
        };
        lost.into_iter().for_each(|warm| warm.close(Closed::Lost));
        idle.into_iter().for_each(|warm| warm.close(Closed::Idle));
    }

    /// Asks those that have said nothing for long, and drops those that don't answer: the next use opens a new
    /// session. Meanwhile a session isn't in here, so who wants it opens another.
    pub(crate) async fn keep_alive(&self) {
        let Some(limit) = self.keep_alive else { return };
        let is_due = |warm: &Warm| warm.heard.elapsed() >= limit;
        let due: Vec<DeviceName> = {
            let inner = self.lock();
            let due = inner.by_device.iter().filter(|(_, warm)| is_due(warm));
            due.map(|(device, _)| device.clone()).collect()
        };
        let ask = |device: DeviceName| async move {
            // It may have been taken, and given back, since.
            let warm = {
                let mut inner = self.lock();
                let still_due = inner.by_device.get(&device).is_some_and(is_due);
                if still_due { inner.remove(&device) } else { None }
            };
            let Some(mut warm) = warm else { return };
            let answer = warm.session.rpc(&nothing(), Instant::now() + KEEP_ALIVE_ANSWER).await;
            let outcome = if answer.is_ok() { "answered" } else { "silent" };
            metrics::counter!("turnup_worker_keep_alives_total", "outcome" => outcome).increment(1);
            match answer {
                // An error is an answer too.
                Ok(_) => self.put_back(device, warm),
                Err(error) => {
                    tracing::info!(%device, %error, "an idle session is dead; the next use opens a new one");
                    warm.close(Closed::Silent);
                }
            }
        };
        stream::iter(due).for_each_concurrent(KEEP_ALIVES, ask).await;
    }

    /// Puts a session back that has just answered, to the place it had.
    fn put_back(&self, device: DeviceName, warm: Warm) {
        let warm = Warm { heard: Instant::now(), ..warm };
        let (surplus, evicted) = {
            let mut inner = self.lock();
            if inner.by_device.contains_key(&device) {
                (Some(warm), Vec::new())
            } else {
                inner.insert(device, warm);
                (None, inner.shrink(self.most))
            }
        };
        surplus.into_iter().for_each(|warm| warm.close(Closed::Replaced));
        evicted.into_iter().for_each(|warm| warm.close(Closed::Evicted));
    }

    /// Number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.lock().by_device.len()
    }

    /// Closes all.
    pub(crate) async fn close_all(&self) {
        let all = self.lock().remove_all(|_| true);
        let by = Instant::now() + GOOD_BYE;
        futures_util::future::join_all(all.into_iter().map(|warm| warm.session.close(by))).await;
    }
}

/// Asks a device for nothing (RFC 6241 §6.4.2: an empty filter selects nothing). It changes nothing, no
/// session's locks are in its way, and it says nothing about a commit that is pending.
pub(crate) fn nothing() -> Operation {
    Operation::get_config(Datastore::Running, Some(&Filter::Subtree(Vec::new())))
}
