//! What travels between turnup's roles over the broker: versioned JSON with a size cap
//! (3-messaging, "Message forms").

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    audit::{AuditWork, ChecksBeforeConfirm, DeviceAudit},
    drift::WholeService,
    failure::Failure,
    id::{DeploymentId, OrderId},
    lifecycle::DeploymentEvent,
    name::{CredentialRef, DeviceName, PlatformName, RegionName},
    nodes::NodeFacts,
    profile::Profile,
    words::words,
};

/// Largest message in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Number of queues over which state changes are spread.
pub const STATE_SHARDS: u8 = 8;

/// Header of messages that may have been published before: a receiver that must not do its work
/// twice asks first ([`Claim`]).
pub const REPUBLISHED: &str = "turnup-republished";

/// A message that can't be read: it is parked with this reason, never requeued.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Too large.
    #[error("the message has {0} bytes, at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// Not the JSON that the schema wants.
    #[error("the message is not a {schema}: {source}")]
    Json {
        /// The wanted schema.
        schema: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Another schema or version.
    #[error("the message says schema {found:?}, this release reads {wanted:?}")]
    Schema {
        /// The wanted schema.
        wanted: &'static str,
        /// The one found.
        found: String,
    },
}

/// A message body with a schema name.
pub trait Body: Serialize + DeserializeOwned {
    /// Name and version, the value of the field `schema`.
    const SCHEMA: &'static str;

    /// The JSON to publish.
    ///
    /// # Errors
    /// If it can't be written as JSON, or is larger than [`MAX_BYTES`].
    fn encode(&self) -> Result<Vec<u8>, Unreadable> {
        #[derive(Serialize)]
        struct Envelope<'a, T> {
            schema: &'static str,
            #[serde(flatten)]
            body: &'a T,
        }
        let bytes = serde_json::to_vec(&Envelope { schema: Self::SCHEMA, body: self })
            .map_err(|source| Unreadable::Json { schema: Self::SCHEMA, source })?;
        if bytes.len() > MAX_BYTES {
            return Err(Unreadable::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`Unreadable`] with the reason.
    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            schema: String,
        }
        if bytes.len() > MAX_BYTES {
            return Err(Unreadable::TooLarge(bytes.len()));
        }
        let json = |source| Unreadable::Json { schema: Self::SCHEMA, source };
        let head: Head = serde_json::from_slice(bytes).map_err(json)?;
        if head.schema != Self::SCHEMA {
            let found = head.schema.chars().take(64).collect();
            return Err(Unreadable::Schema { wanted: Self::SCHEMA, found });
        }
        serde_json::from_slice(bytes).map_err(json)
    }
}

/// An order's time has (nearly) come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The order.
    pub order: OrderId,
    /// Its schedule revision when this was sent; an older one is a no-op.
    pub revision: i32,
    /// The instant before which it must not start.
    pub due: Timestamp,
}

impl Body for Due {
    const SCHEMA: &'static str = "turnup.due.v1";
}

/// Everything a worker needs for one network transaction, except secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id, also the `persist` id on the devices.
    pub deployment: DeploymentId,
    /// Which attempt this message starts; a worker that takes over from another claims the next.
    pub attempt: i32,
    /// How many times its orders have been started: rises with each new try of a failed order.
    pub generation: i32,
    /// The region whose workers run it.
    pub region: RegionName,
    /// The orders that it deploys.
    pub orders: Vec<OrderId>,
    /// What it is for.
    #[serde(default)]
    pub purpose: Purpose,
    /// Nobody knows what an earlier deployment has left on its devices, so it begins with finding out: should it
    /// fail, they are to be as before that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub past_unknown: bool,
    /// The devices, each once.
    pub devices: Vec<DeviceWork>,
    /// Deadlines and limits.
    pub limits: Limits,
}

impl Body for Deployment {
    const SCHEMA: &'static str = "turnup.deployment.v1";
}

words!(
    /// What a worker is to do of a network transaction. One over several regions has a part in each region,
    /// which are taken through the stages together ([`crate::across`]).
    Stage, "stage" {
        /// All of it: the devices are in one region, and the worker decides.
        Whole = "whole" / "whole",
        /// Up to the provisional commit, which waits for the decision.
        Prepare = "prepare" / "prepare",
        /// The decision to go through with it, carried out.
        Confirm = "confirm" / "confirm",
        /// The decision to give up, carried out.
        Undo = "undo" / "undo",
    }
);

/// One stage of a part of a transaction over several regions, for a worker of its region. A release that
/// knows nothing of stages can't read it, and so can't take it for a whole transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The stage.
    pub stage: Stage,
    /// Which attempt this message starts: the first of the stage. That of `deployment` does not count.
    pub attempt: i32,
    /// The part.
    pub deployment: Deployment,
}

impl Body for Part {
    const SCHEMA: &'static str = "turnup.part.v1";
}

impl Part {
    /// Most bytes that [`Part::wrap`] adds.
    pub const WRAPPING: usize = 128;

    /// The message of a stage, from that of the deployment as [`Body::encode`] has written it.
    #[must_use]
    pub fn wrap(stage: Stage, attempt: i32, deployment: &[u8]) -> Vec<u8> {
        let schema = Self::SCHEMA;
        let mut body =
            format!(r#"{{"schema":"{schema}","stage":"{stage}","attempt":{attempt},"deployment":"#)
                .into_bytes();
        body.extend_from_slice(deployment);
        body.push(b'}');
        body
    }
}

/// What is to be done at one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceWork {
    /// Its name in the inventory.
    pub device: DeviceName,
    /// Host name or address.
    pub address: String,
    /// NETCONF over SSH port.
    pub port: u16,
    /// Decides the driver.
    pub platform: PlatformName,
    /// Pinned host key (OpenSSH public key, or `SHA256:` fingerprint). None: not trusted yet, so refused.
    pub host_key: Option<String>,
    /// How devices of its platform are changed.
    #[serde(default, skip_serializing_if = "Profile::is_default")]
    pub profile: Profile,
    /// Where the worker finds user name and secret.
    pub credential: Option<CredentialRef>,
    /// `persist` tokens of earlier deployments that may still be pending at the device (RFC 6241 §8.4): they are
    /// cancelled before anything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_tokens: Vec<String>,
    /// The lease's epoch.
    pub epoch: i64,
    /// One edit per order.
    #[serde(default)]
    pub edits: Vec<DeviceEdit>,
    /// What YANG says of nodes that the device may show inside of what the edits' services own, see
    /// [`WholeService::inside`]; once for all edits.
    #[serde(default, skip_serializing_if = "NodeFacts::is_empty")]
    pub inside: NodeFacts,
    /// What the device must pass before the change is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_confirm: Option<ChecksBeforeConfirm>,
    /// What to look at, where [`Purpose::Audit`] is the purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditWork>,
}

words!(
    /// What a deployment is for.
    #[derive(Default)]
    Purpose, "purpose" {
        /// To change devices, in one network transaction.
        #[default]
        Change = "change" / "change",
        /// To look at devices. Nothing is changed.
        Audit = "audit" / "audit",
    }
);

/// One order's change at one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEdit {
    /// The order.
    pub order: OrderId,
    /// Content of `<config>` for edit-config (RFC 6241 §7.2): merges what is wanted, removes what goes.
    pub edit: String,
    /// The edit that undoes it.
    pub inverse: String,
    /// Content of a subtree filter (RFC 6241 §6) for what the edit touches.
    pub filter: String,
    /// Holds when the edit is in force.
    pub after: Condition,
    /// Held before the edit.
    pub before: Condition,
    /// Keys of the lists in the configuration: which elements identify an entry. By path of local names,
    /// or by the list's name for all lists of that name; a path wins.
    pub keys: BTreeMap<String, Vec<String>>,
    /// What else is known of its nodes.
    #[serde(default, skip_serializing_if = "NodeFacts::is_empty")]
    pub nodes: NodeFacts,
    /// What the order adds together with others of the deployment, and nobody held before. The inverse leaves
    /// it: whoever undoes the edit removes it as well, unless another of these orders is in force there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint: Vec<Joint>,
    /// The service as a whole, where drift is looked for: under the lock before the edit, and after the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Box<WholeService>>,
}

impl DeviceEdit {
    /// Whether the order changes nothing here and only reads what the service has.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.edit.is_empty() && self.inverse.is_empty() && self.whole.is_some()
    }
}

/// A node that several orders of a deployment want at a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joint {
    /// Its canonical path.
    pub node: String,
    /// The edit that removes it.
    pub removal: String,
}

/// A condition on the configuration read back from a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Everything in this configuration is there with these values.
    Contains(String),
    /// The innermost entries of this skeleton (those with nothing but their keys) are not there;
    /// what lies around them may be.
    Lacks(String),
    /// All of these hold.
    All(Vec<Condition>),
}

/// Deadlines and limits of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// TCP, SSH, subsystem and hello together, in milliseconds.
    pub connect_timeout_ms: u64,
    /// One RPC, in milliseconds.
    pub rpc_timeout_ms: u64,
    /// How long to ask for a lock that another session holds, in milliseconds.
    pub lock_wait_ms: u64,
    /// How often to try an unreachable or busy device.
    pub tries: u32,
    /// The confirm timer on the device, in seconds (RFC 6241 §8.4.5).
    pub confirm_timeout_s: u32,
    /// The whole deployment, in milliseconds; less than the broker's consumer timeout.
    pub total_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            rpc_timeout_ms: 30_000,
            lock_wait_ms: 20_000,
            tries: 3,
            confirm_timeout_s: 120,
            total_timeout_ms: 600_000,
        }
    }
}

/// A worker's report. `sequence` is gapless from 1 within an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The attempt that reports; one that is no longer current changes nothing.
    pub attempt: i32,
    /// Place within the attempt.
    pub sequence: i32,
    /// Which worker.
    pub worker: String,
    /// When, by the worker's clock.
    pub at: Timestamp,
    /// What happened.
    pub event: DeploymentEvent,
    /// The phase that is running or ended, such as `prepare`, `commit`, `confirm`.
    pub phase: String,
    /// Per device, as far as known.
    #[serde(default)]
    pub devices: Vec<DeviceReport>,
    /// When the deployment ended: what became of each order.
    #[serde(default)]
    pub orders: Vec<OrderReport>,
    /// With [`DeploymentEvent::Prepared`], and only then: until when confirming may begin, by the worker's
    /// clock. Later a device may go back while others are being confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<Timestamp>,
}

impl Body for StateChange {
    const SCHEMA: &'static str = "turnup.state.v1";
}

words!(
    /// Which configuration is in force at a device.
    InForce, "configuration in force" {
        /// As before the deployment.
        Old = "old" / "old",
        /// As the deployment wants it.
        New = "new" / "new",
        /// As the deployment wants it, until it is confirmed or goes back: the decision is not made yet.
        Provisional = "provisional" / "provisional",
        /// Not known.
        Unknown = "unknown" / "in doubt",
        /// Some orders of the deployment are in force there and the others are not; each order's report
        /// says which.
        Partly = "partly" / "in force for some orders",
    }
);

words!(
    /// How a device was changed, and so what holds there if something goes wrong in between: the
    /// strongest way that its capabilities allow (docs/promises.md).
    Guarantee, "guarantee" {
        /// A commit that goes back by itself and that any session with its token can confirm or cancel
        /// (RFC 6241 §8.4).
        ConfirmedCommit11 = "confirmed_commit_1_1" / "confirmed commit",
        /// A commit that goes back by itself and belongs to one session (RFC 4741 §8.4).
        ConfirmedCommit10 = "confirmed_commit_1_0" / "confirmed commit of one session",
        /// A commit for good of the candidate; going back is another commit, of the inverse edit.
        Candidate = "candidate" / "commit, undone by the inverse edit",
        /// An edit of running; going back is another, the inverse.
        WritableRunning = "writable_running" / "edit of running, undone by the inverse edit",
    }
);

impl Guarantee {
    /// Whether what is in force goes back by itself until it is confirmed.
    #[must_use]
    pub const fn goes_back_by_itself(self) -> bool {
        matches!(self, Self::ConfirmedCommit11 | Self::ConfirmedCommit10)
    }
}

/// What is known of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// The device.
    pub device: DeviceName,
    /// Which configuration is in force.
    pub in_force: InForce,
    /// The steps taken, in order.
    pub steps: Vec<Step>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// What an audit found; of a change of one order what it found on the way: drift that it left, and functional
    /// checks that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<DeviceAudit>,
    /// How it was changed; none where that wasn't tried, or the device could not be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<Guarantee>,
    /// The tokens that the work named as pending ([`DeviceWork::pending_tokens`]) were cancelled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tokens_cancelled: bool,
    /// What was found out about the device on the way, for people; decides nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// One step at a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// NETCONF operation or phase, such as `connect`, `lock`, `edit-config`.
    pub step: String,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// What became of one order of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReport {
    /// The order.
    pub order: OrderId,
    /// Empty: deployed. Else why not; the gravest class decides between Invalid and Failed Deploy.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// Which of the order's own configuration is in force, at each device that it changes: what it deployed
    /// or not is believed by this, where the deployment's end does not say it for all its orders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_force: BTreeMap<DeviceName, InForce>,
    /// Of a deployment of several orders: what it found of this order's service on the way, as
    /// [`DeviceReport::audit`] has it of one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub audits: BTreeMap<DeviceName, DeviceAudit>,
}

words!(
    /// What a worker that was handed a redelivered deployment, or had to wait, asks the scheduler.
    ClaimKind, "claim" {
        /// Make me the current attempt: whatever an earlier one reports later is void.
        TakeOver = "take_over" / "take over",
        /// Am I still the current attempt?
        Check = "check" / "check",
    }
);

/// A worker's question to the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Attempt the worker has or knows of.
    pub attempt: i32,
    /// What is asked.
    pub claim: ClaimKind,
    /// Which worker asks.
    pub worker: String,
}

impl Body for Claim {
    const SCHEMA: &'static str = "turnup.claim.v1";
}

/// The scheduler's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimAnswer {
    /// The attempt the worker may go on as; none: the deployment has ended or another attempt is
    /// current, so the message is acknowledged and nothing is touched.
    pub attempt: Option<i32>,
}

impl Body for ClaimAnswer {
    const SCHEMA: &'static str = "turnup.claim-answer.v1";
}

/// The shard of a deployment's state changes: always the same, so that they are read in order.
#[must_use]
pub fn state_shard(deployment: DeploymentId) -> u8 {
    deployment.0.as_bytes()[15] % STATE_SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn due() -> Due {
        Due {
            order: OrderId(Uuid::from_u128(7)),
            revision: 3,
            due: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    #[test]
    fn bodies_carry_their_schema_and_come_back() {
        let bytes = due().encode().unwrap();
        assert!(String::from_utf8_lossy(&bytes).starts_with(r#"{"schema":"turnup.due.v1""#));
        assert_eq!(Due::decode(&bytes).unwrap(), due());
    }

    #[test]
    fn unknown_versions_and_rubbish_are_named() {
        let other = br#"{"schema":"turnup.due.v2","order":"x"}"#;
        assert!(matches!(Due::decode(other), Err(Unreadable::Schema { .. })));
        assert!(matches!(Due::decode(b"\xff"), Err(Unreadable::Json { .. })));
        assert!(matches!(Due::decode(br#"{"schema":"turnup.due.v1"}"#), Err(Unreadable::Json { .. })));
        assert!(matches!(Due::decode(&vec![b' '; MAX_BYTES + 1]), Err(Unreadable::TooLarge(_))));
    }

    #[test]
    fn a_stage_is_wrapped_around_the_deployment_as_it_was_written() {
        let deployment = Deployment {
            deployment: DeploymentId(Uuid::from_u128(7)),
            attempt: 1,
            generation: 2,
            region: RegionName::new("eu-west").unwrap(),
            orders: vec![OrderId(Uuid::from_u128(8))],
            purpose: Purpose::Change,
            past_unknown: false,
            devices: vec![],
            limits: Limits::default(),
        };
        let bytes = deployment.encode().unwrap();
        let wrapped = Part::wrap(Stage::Confirm, i32::MAX, &bytes);
        assert!(wrapped.len() - bytes.len() <= Part::WRAPPING);
        let part = Part::decode(&wrapped).unwrap();
        assert_eq!(part, Part { stage: Stage::Confirm, attempt: i32::MAX, deployment });
        assert!(matches!(Deployment::decode(&wrapped), Err(Unreadable::Schema { .. })));
    }

    #[test]
    fn shards_cover_the_range() {
        let shards: std::collections::BTreeSet<u8> =
            (0..64).map(|n| state_shard(DeploymentId(Uuid::from_u128(n)))).collect();
        assert_eq!(shards.into_iter().collect::<Vec<_>>(), (0..STATE_SHARDS).collect::<Vec<_>>());
    }
}
