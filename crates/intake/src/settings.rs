//! What is configured about the intake.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::Deserialize;
use turnup_core::policy::Role;

use crate::IntakeError;

/// Configuration of the intake. Every key has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address of the HTTP server. Loopback unless told otherwise.
    pub listen: SocketAddr,
    /// Whether orders are read from the broker's queue too.
    pub amqp: bool,
    /// Broker user → roles: who may publish orders, and as what. A user that is not here is refused.
    pub amqp_grants: BTreeMap<String, Vec<Role>>,
    /// Most orders stored in one transaction, read from the queue at once, or in work for one bulk request.
    pub batch: usize,
    /// Most orders waiting to be stored.
    pub queue: usize,
    /// How long a batch from the queue may fill while messages are flowing, in milliseconds.
    pub amqp_linger_ms: u64,
    /// How long messages are kept in hand while the database is away, in milliseconds; then they go
    /// back to the queue. Less than the broker's consumer timeout (30 minutes).
    pub amqp_hold_ms: u64,
    /// Deadline for checking and storing one order, in milliseconds.
    pub accept_timeout_ms: u64,
    /// Deadline of a request once its body has been read, in milliseconds.
    pub request_timeout_ms: u64,
    /// Deadline for a worker's answer about a device, in milliseconds: checks, and plans tried on devices.
    pub device_timeout_ms: u64,
    /// Deadline for fetching a device's YANG modules, in milliseconds.
    pub schemas_timeout_ms: u64,
    /// Deadline for a client to send its headers, or its whole body, in milliseconds; for a bulk
    /// request, its next part.
    pub read_timeout_ms: u64,
    /// Most connections. Further ones wait to be accepted.
    pub max_connections: usize,
    /// Most requests in work at once; more are refused with 503.
    pub max_requests: usize,
    /// Most event streams and bulk requests at once; more are refused with 503.
    pub max_streams: usize,
    /// How long requests and messages in work may take to end at shutdown, in milliseconds.
    pub drain_timeout_ms: u64,
    /// How long a token is believed without asking the database, in milliseconds; at most 5000, so
    /// that a revoked one is out soon.
    pub token_cache_ms: u64,
    /// How old the cached inventory may be, in milliseconds.
    pub inventory_cache_ms: u64,
    /// Whether `/metrics` is served without a token.
    pub metrics_open: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            amqp: true,
            // RabbitMQ lets guest in from the same machine only.
            amqp_grants: BTreeMap::from([("guest".to_owned(), vec![Role::Provisioner])]),
            batch: 500,
            queue: 2_000,
            amqp_linger_ms: 2,
            amqp_hold_ms: 1_200_000,
            accept_timeout_ms: 4_000,
            request_timeout_ms: 4_500,
            device_timeout_ms: 30_000,
            schemas_timeout_ms: 300_000,
            read_timeout_ms: 10_000,
            max_connections: 1_000,
            max_requests: 256,
            max_streams: 64,
            drain_timeout_ms: 10_000,
            token_cache_ms: 5_000,
            inventory_cache_ms: 1_000,
            metrics_open: false,
        }
    }
}

/// A duration of configured milliseconds.
pub(crate) const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

impl Settings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`IntakeError::Settings`] names the key and what it may be.
    pub fn validate(&self) -> Result<(), IntakeError> {
        let sizes = [
            ("batch", self.batch, 10_000),
            ("queue", self.queue, 100_000),
            ("max_connections", self.max_connections, 100_000),
            ("max_requests", self.max_requests, 100_000),
            ("max_streams", self.max_streams, 10_000),
        ];
        for (key, value, max) in sizes {
            if !(1..=max).contains(&value) {
                return Err(IntakeError::Settings { key, why: format!("is a number from 1 to {max}") });
            }
        }
        let times = [
            ("amqp_linger_ms", self.amqp_linger_ms, 0, 1_000),
            ("amqp_hold_ms", self.amqp_hold_ms, 1, 1_500_000),
            ("accept_timeout_ms", self.accept_timeout_ms, 10, 60_000),
            ("request_timeout_ms", self.request_timeout_ms, 10, 60_000),
            ("device_timeout_ms", self.device_timeout_ms, 10, 600_000),
            ("schemas_timeout_ms", self.schemas_timeout_ms, 10, 3_600_000),
            ("read_timeout_ms", self.read_timeout_ms, 10, 600_000),
            ("drain_timeout_ms", self.drain_timeout_ms, 0, 600_000),
            ("token_cache_ms", self.token_cache_ms, 0, 5_000),
            ("inventory_cache_ms", self.inventory_cache_ms, 0, 1_000),
        ];
        for (key, value, min, max) in times {
            if !(min..=max).contains(&value) {
                return Err(IntakeError::Settings { key, why: format!("is a number from {min} to {max}") });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_on_loopback() {
        let settings = Settings::default();
        settings.validate().unwrap();
        assert!(settings.listen.ip().is_loopback());
        let bad = Settings { token_cache_ms: 5_001, ..settings };
        assert!(matches!(bad.validate(), Err(IntakeError::Settings { key: "token_cache_ms", .. })));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<Settings>(r#"{"lisen": "127.0.0.1:1"}"#).is_err());
        let read: Settings = serde_json::from_str(r#"{"amqp_grants": {"crm": ["provisioner"]}}"#).unwrap();
        assert_eq!(read.amqp_grants["crm"], [Role::Provisioner]);
    }
}
