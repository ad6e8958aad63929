//! Audits: is a service's configuration on its devices as it should be (config audit), and does it work
//! (functional audit)?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{lifecycle::AuditState, name::DeviceName, nodes::NodeFacts, words::words};

/// Most differences kept of one device.
pub const MAX_DIFFERENCES: usize = 100;
/// Longest evidence of one check in bytes.
pub const MAX_EVIDENCE_BYTES: usize = 2_000;

words!(
    /// What an audit looks at.
    AuditPart, "audit" {
        /// The configuration.
        Config = "config" / "Config audit",
        /// Operational state.
        Functional = "functional" / "Functional audit",
    }
);

words!(
    /// What the config audit found.
    ConfigAudit, "config audit" {
        /// None yet.
        NotAudited = "not_audited" / "Not audited yet",
        /// Everything is as it should be.
        InSync = "in_sync" / "In sync",
        /// Something is missing, changed or extra.
        Drifted = "drifted" / "Drifted",
        /// A device could not be read.
        Unreachable = "unreachable" / "Unreachable",
    }
);

words!(
    /// How configuration differs from the footprint.
    Drift, "difference" {
        /// Wanted, and not on the device.
        Missing = "missing" / "missing",
        /// On the device with another value.
        Changed = "changed" / "changed",
        /// On the device inside of what the service owns, and not wanted.
        Extra = "extra" / "extra",
        /// On the device, but marked by it as not in force.
        Inactive = "inactive" / "deactivated",
        /// Its entries are on the device in another order, which counts.
        Order = "order" / "in another order",
    }
);

/// One difference between a footprint and a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Canonical path.
    pub path: String,
    /// What is wrong.
    pub drift: Drift,
    /// The value that should be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// The value that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// What a worker is to look at on one device. Changes nothing there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditWork {
    /// The config audit, if it is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigWork>,
    /// Functional checks, rendered for this service and device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// Functional checks that a changed device must pass before the change is confirmed: it is in force provisionally
/// (RFC 6241 §8.4), or for good where the device can't do that, and taken back if they do not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksBeforeConfirm {
    /// All must pass at one time.
    pub checks: Vec<Check>,
    /// Pause between the commit and the first poll, in milliseconds.
    pub settle_ms: u64,
    /// How long after that pause the checks are polled, in milliseconds.
    pub within_ms: u64,
    /// All devices of the service are checked by this deployment or its other parts, so that passing says that the
    /// service is Up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_all_devices: bool,
}

/// What a config audit compares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigWork {
    /// The footprint: content of `<config>`.
    pub footprint: String,
    /// Content of a subtree filter (RFC 6241 §6) that selects the footprint's nodes whole.
    pub filter: String,
    /// Canonical paths of the nodes that are the service's alone: what is in them and not in the
    /// footprint is extra.
    pub owned: Vec<String>,
    /// Keys of the lists, by path or list name.
    pub keys: BTreeMap<String, Vec<String>>,
    /// What else is known of its nodes.
    #[serde(default, skip_serializing_if = "NodeFacts::is_empty")]
    pub nodes: NodeFacts,
}

/// A functional check at one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// For people.
    pub name: String,
    /// What to ask the device.
    pub ask: CheckAsk,
    /// All must hold.
    pub conditions: Vec<CheckCondition>,
}

/// What a check asks a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckAsk {
    /// `<get>` (RFC 6241 §7.7) with this subtree filter's content.
    Get(String),
    /// An operation of the device's own, such as a ping: the element inside of `<rpc>`.
    Rpc(String),
}

/// A condition on the reply's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckCondition {
    /// Steps by local names, with predicates such as `[name='x']`, from the top of `<data>`, or of the
    /// reply of an operation.
    pub path: String,
    /// How what is there is compared.
    pub test: Test,
    /// With what; nothing for [`Test::Exists`] and [`Test::Absent`].
    #[serde(default)]
    pub value: String,
}

words!(
    /// How a condition compares. Whole numbers and decimals are compared as numbers.
    Test, "comparison" {
        /// At least one node is there.
        Exists = "exists" / "exists",
        /// None is.
        Absent = "absent" / "absent",
        /// At least one is there, and all have this value.
        Is = "is" / "is",
        /// At least one is there, and none has this value.
        IsNot = "is_not" / "is not",
        /// As `Is`, with a number at least this.
        AtLeast = "at_least" / "at least",
        /// As `Is`, with a number at most this.
        AtMost = "at_most" / "at most",
        /// As `Is`: the value matches this regular expression as a whole.
        Matches = "matches" / "matches",
    }
);

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Name of the check.
    pub name: String,
    /// Whether all its conditions hold.
    pub passed: bool,
    /// What the device said, short: the nodes that decided, or the error.
    pub evidence: String,
}

/// What an audit found on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAudit {
    /// The configuration; `not_audited` if it was not asked for.
    pub config: ConfigAudit,
    /// Where it differs, at most [`MAX_DIFFERENCES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// How many there are in all.
    #[serde(default)]
    pub differences_in_all: usize,
    /// The checks, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckResult>,
}

/// What an audit says of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditSummary {
    /// Whether it works; `not_audited` if no check was made.
    pub state: AuditState,
    /// Whether its configuration is as it should be; `not_audited` if that was not looked at.
    pub config: ConfigAudit,
    /// The first reason for a bad result.
    pub reason: Option<String>,
}

/// Sums up what was found on a service's devices. Up only if every check of every device passed; a device
/// that could not be asked did not pass. `functional`: whether functional checks were wanted; without any
/// check in the definition the service stays `not_audited`.
#[must_use]
pub fn summary(devices: &[(DeviceName, DeviceAudit)], functional: bool) -> AuditSummary {
    let config = devices.iter().map(|(_, audit)| audit.config).fold(ConfigAudit::NotAudited, worse);
    let checks = || devices.iter().flat_map(|(device, audit)| audit.checks.iter().map(move |c| (device, c)));
    let failed = checks().find(|(_, check)| !check.passed);
    let state = match (functional && checks().next().is_some(), failed) {
        (false, _) => AuditState::NotAudited,
        (true, None) => AuditState::Up,
        (true, Some(_)) => AuditState::Down,
    };
    let of_check = failed.map(|(device, check)| format!("{device}: {}: {}", check.name, check.evidence));
    let of_config = || {
        devices.iter().find_map(|(device, audit)| match (audit.config, audit.differences.first()) {
            (ConfigAudit::Unreachable, _) => Some(format!("{device} could not be read")),
            (_, Some(first)) => Some(format!("{device}: {first}")),
            _ => None,
        })
    };
    AuditSummary { state, config, reason: of_check.or_else(of_config) }
}

const fn worse(a: ConfigAudit, b: ConfigAudit) -> ConfigAudit {
    use ConfigAudit::{Drifted, InSync, NotAudited, Unreachable};
    match (a, b) {
        (Drifted, _) | (_, Drifted) => Drifted,
        (Unreachable, _) | (_, Unreachable) => Unreachable,
        (InSync, _) | (_, InSync) => InSync,
        (NotAudited, NotAudited) => NotAudited,
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.drift, &self.wanted, &self.found) {
            (Drift::Changed, Some(wanted), Some(found)) => {
                write!(f, "{} is {found:?} instead of {wanted:?}", self.path)
            }
            (Drift::Missing, Some(wanted), _) => write!(f, "{} is missing (wanted {wanted:?})", self.path),
            (Drift::Extra, _, Some(found)) => write!(f, "{} is extra ({found:?})", self.path),
            // Other marks than that of being inactive say something else, such as that nothing may be changed.
            (Drift::Inactive, _, Some(mark)) if !mark.starts_with("inactive") => {
                write!(f, "{} is marked {mark}", self.path)
            }
            (Drift::Order, Some(wanted), Some(found)) => {
                write!(f, "the order of {} differs: {found} instead of {wanted}", self.path)
            }
            (drift, ..) => write!(f, "{} is {}", self.path, drift.title()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, config: ConfigAudit, passed: &[bool]) -> (DeviceName, DeviceAudit) {
        let check = |passed: &bool| CheckResult {
            name: "pseudowire".into(),
            passed: *passed,
            evidence: "state is down".into(),
        };
        let checks = passed.iter().map(check).collect();
        let audit = DeviceAudit { config, differences: vec![], differences_in_all: 0, checks };
        (DeviceName::new(name).unwrap(), audit)
    }

    #[test]
    fn up_only_if_all_pass() {
        let up = summary(
            &[device("a", ConfigAudit::InSync, &[true]), device("z", ConfigAudit::InSync, &[true])],
            true,
        );
        assert_eq!((up.state, up.config, up.reason), (AuditState::Up, ConfigAudit::InSync, None));
        let down = summary(
            &[device("a", ConfigAudit::InSync, &[true]), device("z", ConfigAudit::InSync, &[false])],
            true,
        );
        assert_eq!(down.state, AuditState::Down);
        assert_eq!(down.reason.unwrap(), "z: pseudowire: state is down");
    }

    #[test]
    fn drift_is_graver_than_silence() {
        let both = [device("a", ConfigAudit::Unreachable, &[]), device("z", ConfigAudit::Drifted, &[])];
        assert_eq!(summary(&both, false).config, ConfigAudit::Drifted);
        assert_eq!(summary(&both[..1], false).reason.unwrap(), "a could not be read");
        assert_eq!(summary(&both, true).state, AuditState::NotAudited, "there are no checks");
        assert_eq!(summary(&[], true).config, ConfigAudit::NotAudited);
    }
}
