//! What can be configured about a worker, and where it is posted.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;
use turnup_core::name::{CredentialRef, RegionName};

use crate::{credential::CredentialSource, error::WorkerError};

/// Settings of a worker; every one has a default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Deployments at once, and deliveries held per queue.
    pub concurrency: usize,
    /// Questions about devices answered at once, besides deployments.
    pub max_asks: usize,
    /// Most devices of one deployment; one with more is refused.
    pub max_devices: usize,
    /// Most devices worked on at once, over all deployments; one with more runs alone.
    pub max_devices_at_once: usize,
    /// Most sessions opened at once.
    pub max_connects_at_once: usize,
    /// Most idle NETCONF sessions kept open, one per device.
    pub max_warm_sessions: usize,
    /// An idle session is closed after this time, in milliseconds.
    pub session_idle_ms: u64,
    /// After so long without an answer an idle session is asked something harmless, in milliseconds, and
    /// dropped if it doesn't answer. 0: it is not asked.
    pub keep_alive_ms: u64,
    /// Whether the platform `null`, which contacts no device, is served. For benchmarks and tests.
    pub allow_null_platform: bool,
    /// A deployment that lasts longer than this reports as it goes, in milliseconds.
    pub report_after_ms: u64,
    /// Time for running deployments to end after the signal to stop, in milliseconds.
    pub drain_ms: u64,
    /// Of which deployments it is kept what was said to the devices and what they answered.
    pub transcripts: Transcripts,
    /// Names of secrets: elements and attributes whose local name has such a word in it are masked in
    /// transcripts.
    pub secret_names: Vec<String>,
    /// Most devices of a region worked on at once by this worker.
    pub region_limits: RegionLimits,
}

/// Which transcripts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transcripts {
    /// Those of all deployments.
    All,
    /// Those in which something went wrong.
    #[default]
    Failures,
    /// None.
    None,
}

/// What secrets are called, usually.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "secret",
    "key",
    "psk",
    "md5",
    "community",
    "token",
    "credential",
    "private",
];

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 200,
            max_asks: 4,
            max_devices: 500,
            max_devices_at_once: 1_000,
            max_connects_at_once: 100,
            max_warm_sessions: 1_000,
            session_idle_ms: 120_000,
            keep_alive_ms: 30_000,
            allow_null_platform: false,
            report_after_ms: 500,
            drain_ms: 50_000,
            transcripts: Transcripts::default(),
            secret_names: SECRET_NAMES.map(str::to_owned).to_vec(),
            region_limits: RegionLimits::default(),
        }
    }
}

/// Devices per region; a region that isn't in here has no limit of its own.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct RegionLimits(pub BTreeMap<RegionName, usize>);

impl fmt::Debug for RegionLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        on_one_line(f, &self.0)
    }
}

/// On one line, however it is asked for.
fn on_one_line(
    f: &mut fmt::Formatter<'_>,
    values: &BTreeMap<impl fmt::Display, impl fmt::Display>,
) -> fmt::Result {
    f.write_str("{")?;
    for (at, (key, value)) in values.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(f, "{comma}{key} = {value}")?;
    }
    f.write_str("}")
}

/// Where a worker serves, as whom, and with which credentials.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Its name in reports; should be unique among the workers that run at the same time.
    pub worker_name: String,
    /// The regions whose deployments it takes.
    pub regions: Vec<RegionName>,
    /// Where to find what logs in at the devices, by the reference in the deployment.
    pub credentials: BTreeMap<CredentialRef, CredentialSource>,
}

impl Settings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`WorkerError::Settings`] names the key and what it may be.
    pub fn validate(&self) -> Result<(), WorkerError> {
        let within = |key, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(WorkerError::Settings { key, why: format!("is a number from {min} to {max}") })
            }
        };
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        within("concurrency", count(self.concurrency), 1, 10_000)?;
        within("max_asks", count(self.max_asks), 1, 1_000)?;
        within("max_devices", count(self.max_devices), 1, 10_000)?;
        within("max_devices_at_once", count(self.max_devices_at_once), 1, 100_000)?;
        within("max_connects_at_once", count(self.max_connects_at_once), 1, 10_000)?;
        self.region_limits.0.values().try_for_each(|n| within("region_limits", count(*n), 1, 100_000))?;
        within("max_warm_sessions", count(self.max_warm_sessions), 0, 100_000)?;
        within("session_idle_ms", self.session_idle_ms, 1, 3_600_000)?;
        // Less often than once a second: there are devices that don't take a commit back in time while they
        // are asked.
        if self.keep_alive_ms != 0 {
            within("keep_alive_ms", self.keep_alive_ms, 5_000, 3_600_000).map_err(|_| {
                let why = "is a number from 5000 to 3600000, or 0 for none".to_owned();
                WorkerError::Settings { key: "keep_alive_ms", why }
            })?;
        }
        within("report_after_ms", self.report_after_ms, 1, 60_000)?;
        within("drain_ms", self.drain_ms, 0, 1_500_000)?;
        if self.secret_names.iter().any(|name| name.is_empty() || name.len() > 64) {
            let why = "is a list of words with 1 to 64 characters".to_owned();
            return Err(WorkerError::Settings { key: "secret_names", why });
        }
        within("secret_names", count(self.secret_names.len()), 0, 200)
    }
}

impl Assignment {
    pub(crate) fn validate(&self) -> Result<(), WorkerError> {
        if self.regions.is_empty() {
            return Err(WorkerError::Settings {
                key: "regions",
                why: "names at least one region".to_owned(),
            });
        }
        if self.worker_name.is_empty() || self.worker_name.len() > 255 {
            return Err(WorkerError::Settings {
                key: "worker_name",
                why: "has 1 to 255 characters".to_owned(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bounds_are_checked() {
        let good = Settings::default();
        good.validate().unwrap();
        type Spoil = fn(&mut Settings);
        let bad: [(&str, Spoil); 9] = [
            ("max_devices_at_once", |s| s.max_devices_at_once = 0),
            ("max_connects_at_once", |s| s.max_connects_at_once = 0),
            ("keep_alive_ms", |s| s.keep_alive_ms = 1_000),
            ("region_limits", |s| {
                s.region_limits.0.insert(RegionName::new("eu-west").unwrap(), 0);
            }),
            ("max_asks", |s| s.max_asks = 0),
            ("concurrency", |s| s.concurrency = 0),
            ("session_idle_ms", |s| s.session_idle_ms = 0),
            ("secret_names", |s| s.secret_names.push(String::new())),
            ("drain_ms", |s| s.drain_ms = u64::MAX),
        ];
        for (wanted, spoil) in bad {
            let mut settings = good.clone();
            spoil(&mut settings);
            assert!(settings.validate().unwrap_err().to_string().contains(wanted));
        }
    }

    #[test]
    fn a_part_is_enough_and_a_typo_is_named() {
        let some: Settings = serde_json::from_str(r#"{"concurrency": 7}"#).unwrap();
        assert_eq!((some.concurrency, some.report_after_ms), (7, 500));
        let some: Settings = serde_json::from_str(r#"{"region_limits": {"eu-west": 50}}"#).unwrap();
        assert_eq!(format!("{:#?}", some.region_limits), "{eu-west = 50}");
        assert!(serde_json::from_str::<Settings>(r#"{"concurency": 7}"#).is_err());
    }
}
