//! The scheduler: due orders → device leases → deployments; the outbox relay; answers to workers'
//! claims; the backstop that finds what was lost.
//!
//! Architecture invariants:
//! - An order never starts before its time: messages arrive early and are held, unacknowledged,
//!   until the exact instant (3-messaging, "the hold makes it exact").
//! - A message is acknowledged after the transaction that makes it true has been committed.
//! - The decisions (who may start, what is deployed) are pure functions: [`start`] and
//!   [`turnup_core::lease`]. The rest is reading, committing and publishing.
//! - Any number of schedulers run at once. Only one relays, by an advisory lock; all start orders,
//!   over rows that the store locks.

mod audits;
mod claims;
mod dispatch;
mod due;
mod group;
mod hold;
mod news;
mod relay;
mod start;
mod sweep;

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use turnup_broker::Broker;
use turnup_core::{message::Limits, name::RegionName};
use turnup_library::Library;
use turnup_store::Store;

/// Configuration of the scheduler.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long before its time an order's message is to arrive, in milliseconds.
    pub lead_ms: u64,
    /// Most orders started in one transaction; ten times as many if they were held for one instant.
    pub batch: usize,
    /// Most messages held until their time.
    pub hold: u16,
    /// How often lost work is looked for, in milliseconds.
    pub sweep_every_ms: u64,
    /// An order so long past its time that has not moved is sent again, in milliseconds.
    pub overdue_ms: u64,
    /// A deployment so long unheard of, in a region whose queues are empty, is sent again, in milliseconds.
    pub lost_after_ms: u64,
    /// A deployment so long unheard of is sent again whatever the queues hold, in milliseconds.
    pub silent_after_ms: u64,
    /// How often it is looked which services are due for an audit, in milliseconds. Each time a device is
    /// audited at most once.
    pub audit_every_ms: u64,
    /// Most audits ordered at a time.
    pub audit_batch: u32,
    /// Months for which events (and so the history) are kept; 0: for ever.
    pub keep_events_months: i32,
    /// Days for which transcripts of deployments are kept; 0: for ever.
    pub keep_transcripts_days: u32,
    /// A deployment in doubt for longer is made known by an event of its orders, in seconds; 0: never.
    pub alarm_in_doubt_s: u32,
    /// Most orders that wait for the same devices and are deployed together, in one network transaction;
    /// 1: each alone. At most 500.
    pub group_max_orders: u32,
    /// Most bytes of the message of such a deployment.
    pub group_max_bytes: usize,
    /// Deadlines and limits given to deployments.
    pub limits: LimitSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lead_ms: 15_000,
            batch: 500,
            hold: 20_000,
            sweep_every_ms: 10_000,
            overdue_ms: 30_000,
            lost_after_ms: 120_000,
            silent_after_ms: 1_800_000,
            audit_every_ms: 10_000,
            audit_batch: 100,
            keep_events_months: 0,
            keep_transcripts_days: 30,
            alarm_in_doubt_s: 300,
            group_max_orders: 100,
            group_max_bytes: 512 * 1024,
            limits: LimitSettings::default(),
        }
    }
}

/// Longest time of a deployment, in milliseconds: after 30 minutes the broker takes the message away.
pub const MAX_TOTAL_TIMEOUT_MS: u64 = 1_500_000;

/// Deadlines and limits given to deployments: [`Limits`] as configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// TCP, SSH, subsystem and hello together, in milliseconds.
    pub connect_timeout_ms: u64,
    /// One RPC, in milliseconds.
    pub rpc_timeout_ms: u64,
    /// How long to ask for a lock that another session holds, in milliseconds.
    pub lock_wait_ms: u64,
    /// How often to try an unreachable or busy device.
    pub tries: u32,
    /// The confirm timer on devices, in seconds.
    pub confirm_timeout_s: u32,
    /// The whole deployment, in milliseconds; at most 25 minutes.
    pub total_timeout_ms: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            connect_timeout_ms: limits.connect_timeout_ms,
            rpc_timeout_ms: limits.rpc_timeout_ms,
            lock_wait_ms: limits.lock_wait_ms,
            tries: limits.tries,
            confirm_timeout_s: limits.confirm_timeout_s,
            total_timeout_ms: limits.total_timeout_ms,
        }
    }
}

impl From<LimitSettings> for Limits {
    fn from(s: LimitSettings) -> Self {
        Self {
            connect_timeout_ms: s.connect_timeout_ms,
            rpc_timeout_ms: s.rpc_timeout_ms,
            lock_wait_ms: s.lock_wait_ms,
            tries: s.tries.max(1),
            confirm_timeout_s: s.confirm_timeout_s.max(1),
            total_timeout_ms: s.total_timeout_ms.min(MAX_TOTAL_TIMEOUT_MS),
        }
    }
}

/// What the parts of a scheduler share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) settings: Arc<Settings>,
    /// The configured regions.
    pub(crate) regions: Arc<[RegionName]>,
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    pub(crate) library: Library,
    pub(crate) shutdown: CancellationToken,
}

impl Context {
    /// Waits, or returns early at shutdown. False: shutting down.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.shutdown.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// How far ahead, in milliseconds, an order's message is put on the ladder: a tenth less than the
/// ladder reaches, so that what waits in the outbox is released in good time.
#[must_use]
pub fn reach_ms(ladder_levels: u8) -> i64 {
    i64::from(turnup_broker::delay::reach_s(ladder_levels)) * 900
}

/// Runs a scheduler until `shutdown`. `regions`: the configured ones; orders that touch a device in another region
/// stay Scheduled, as no worker's queue would take their deployments.
pub async fn run(
    settings: Settings,
    regions: Vec<RegionName>,
    store: Store,
    broker: Broker,
    library: Library,
    shutdown: CancellationToken,
) {
    let context =
        Context { settings: Arc::new(settings), regions: regions.into(), store, broker, library, shutdown };
    tokio::join!(due::run(&context), relay::run(&context), claims::run(&context));
}
