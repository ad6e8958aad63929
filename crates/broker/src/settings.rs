//! What a role configures about its broker.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::delay::{DEFAULT_LEVELS, MAX_LEVELS};
use crate::error::BrokerError;

/// How to reach the broker and how patient to be with it. The URL holds a password, so it is a
/// secret: it is never printed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `amqp://user:password@host:port/vhost` or `amqps://…`.
    pub url: SecretString,
    /// First word of every exchange and queue name.
    pub prefix: String,
    /// Levels of the delay ladder: delays up to `2^levels - 1` seconds. At most 25.
    pub ladder_levels: u8,
    /// AMQP heartbeat, in seconds; also how often an idle connection is probed.
    pub heartbeat_s: u16,
    /// Publishes that may wait for their confirms at once, per publisher.
    pub publish_window: usize,
    /// Longest wait for a connection including its handshake, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest wait for the answer to one AMQP method (declare, consume, …), in milliseconds.
    pub rpc_timeout_ms: u64,
    /// After so long without a confirm the connection is given up, in milliseconds.
    pub confirm_timeout_ms: u64,
    /// Shown in the broker's list of connections, for example "turnup worker eu-west".
    pub connection_name: String,
}

impl Settings {
    /// Settings with the defaults: prefix `turnup`, 20 levels, heartbeat 10 s, window 500.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            prefix: "turnup".to_owned(),
            ladder_levels: DEFAULT_LEVELS,
            heartbeat_s: 10,
            publish_window: 500,
            connect_timeout_ms: 10_000,
            rpc_timeout_ms: 10_000,
            confirm_timeout_ms: 60_000,
            connection_name: "turnup".to_owned(),
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`BrokerError::Settings`] names the key and what it may be.
    pub fn validate(&self) -> Result<(), BrokerError> {
        let bad = |key: &'static str, why: String| Err(BrokerError::Settings { key, why });
        if let Err(e) = self.url.expose_secret().parse::<lapin::uri::AMQPUri>() {
            return bad("url", format!("is no AMQP URL ({e}): use amqp://user:password@host:5672/%2f"));
        }
        let prefix_fits = (1..=40).contains(&self.prefix.len())
            && self.prefix.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !self.prefix.starts_with("amq.");
        if !prefix_fits {
            return bad(
                "prefix",
                "has 1 to 40 letters, digits, '-', '_', '.', and not amq. first".to_owned(),
            );
        }
        if !(1..=MAX_LEVELS).contains(&self.ladder_levels) {
            return bad("ladder_levels", format!("is a number from 1 to {MAX_LEVELS}"));
        }
        if !(1..=600).contains(&self.heartbeat_s) {
            return bad("heartbeat_s", "is a number from 1 to 600".to_owned());
        }
        if !(1..=10_000).contains(&self.publish_window) {
            return bad("publish_window", "is a number from 1 to 10000".to_owned());
        }
        for (key, value) in [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("rpc_timeout_ms", self.rpc_timeout_ms),
            ("confirm_timeout_ms", self.confirm_timeout_ms),
        ] {
            if !(100..=600_000).contains(&value) {
                return bad(key, "is a number from 100 to 600000".to_owned());
            }
        }
        Ok(())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn rpc_timeout(&self) -> Duration {
        Duration::from_millis(self.rpc_timeout_ms)
    }

    pub(crate) fn confirm_timeout(&self) -> Duration {
        Duration::from_millis(self.confirm_timeout_ms)
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs(u64::from(self.heartbeat_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_every_bound_is_checked() {
        let good = Settings::new("amqp://guest:guest@127.0.0.1:5672/%2f");
        good.validate().unwrap();
        type Spoil = fn(&mut Settings);
        let cases: [(&str, Spoil); 7] = [
            ("url", |s| s.url = "http://x".to_owned().into()),
            ("prefix", |s| s.prefix = "a b".to_owned()),
            ("prefix", |s| s.prefix = "amq.x".to_owned()),
            ("ladder_levels", |s| s.ladder_levels = 26),
            ("heartbeat_s", |s| s.heartbeat_s = 0),
            ("publish_window", |s| s.publish_window = 0),
            ("confirm_timeout_ms", |s| s.confirm_timeout_ms = 1),
        ];
        for (wanted, spoil) in cases {
            let mut bad = good.clone();
            spoil(&mut bad);
            match bad.validate() {
                Err(BrokerError::Settings { key, .. }) => assert_eq!(key, wanted),
                other => panic!("{wanted}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_password_is_never_printed() {
        let text = format!("{:?}", Settings::new("amqp://u:hunter2@h/"));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
