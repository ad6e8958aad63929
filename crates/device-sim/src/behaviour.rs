//! How a device misbehaves: a script that can be changed at any time.

use serde::{Deserialize, Serialize};
use turnup_netconf::message::{ErrorTag, ErrorType, RpcError};
use turnup_netconf::namespace;
use turnup_netconf::xml::Element;

use crate::ping::PingFate;
use crate::request::Profile;

/// What a device does besides what it should. The default is to behave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// What kind of device it plays.
    pub profile: Profile,
    /// How long every commit takes. The change is in force at the end of that time.
    pub commit_delay_ms: u64,
    /// How long every request takes, commits additionally.
    pub rpc_delay_ms: u64,
    /// Connections are refused (TCP reset); open ones are cut when this is set. The device itself runs on,
    /// so its timers do.
    pub down: bool,
    /// No login is accepted.
    pub refuse_authentication: bool,
    /// Another host key is presented than the inventory says.
    pub wrong_host_key: bool,
    /// Locks that a session holds which isn't there and never ends.
    pub phantom_lock: Option<PhantomLock>,
    /// Answers that aren't true.
    pub lie: Option<Lie>,
    /// What a client gets in place of hello.
    pub greeting: Greeting,
    /// Bytes of comments, beyond ASCII ones among them, that follow its YANG text: vendors' modules are large.
    pub yang_comment_bytes: usize,
    /// How wrong the device's clock is: what it says too much.
    pub clock_offset_ms: i64,
    /// How the pings fare that the device sends (the operation `ping`). The first that fits counts; what
    /// none fits is answered, unless its VRF is down.
    pub pings: Vec<PingFate>,
    /// What befalls single requests. The first that fits a request counts.
    pub faults: Vec<Fault>,
}

/// Locks of a session that isn't there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomLock {
    /// Its number, as `lock-denied` gives it.
    pub session_id: u32,
    /// Whether it holds the lock of running.
    pub running: bool,
    /// Whether it holds the lock of the candidate.
    pub candidate: bool,
}

impl Default for PhantomLock {
    fn default() -> Self {
        Self { session_id: 4711, running: true, candidate: true }
    }
}

/// Answers that aren't true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// Every commit is answered with ok and changes nothing; the candidate is emptied.
    CommitChangesNothing,
    /// A confirmed commit is carried out for good: there is no timer, nothing to confirm or cancel.
    ConfirmedCommitIsFinal,
}

/// What a client gets after opening the subsystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Greeting {
    /// Hello.
    #[default]
    Hello,
    /// Nothing, ever.
    Silence,
    /// The end of the connection.
    Drop,
    /// Bytes that aren't NETCONF.
    Garbage,
}

/// Something that befalls a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The operation's name such as `edit-config`. `commit` is any commit, `confirmed-commit` one with
    /// `confirmed`, `confirming-commit` one with `persist-id` and without `confirmed`; `*` is anything.
    pub operation: String,
    /// Which of those requests, counted from 1 since the behaviour was set; 0 for all of them.
    #[serde(default = "first")]
    pub occurrence: u32,
    /// Before or after the request is carried out.
    #[serde(default)]
    pub moment: Moment,
    /// What happens.
    pub act: Act,
}

fn first() -> u32 {
    1
}

/// Before or after a request is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before; except after a delay, it isn't carried out at all.
    #[default]
    Before,
    /// After.
    After,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// No answer, and none to any later request of the session; the connection stays open.
    Hang,
    /// The connection is cut.
    Drop,
    /// Bytes that aren't NETCONF in place of the answer.
    Garbage,
    /// The answer takes so long.
    DelayMs(u64),
    /// It is refused.
    Refuse(Refusal),
}

/// An `rpc-error` to answer with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// `error-tag`.
    pub tag: String,
    /// `error-app-tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_tag: Option<String>,
    /// `error-path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `error-message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Refusal {
    /// A refusal with this `error-tag`.
    pub fn new(tag: ErrorTag) -> Self {
        Self { tag: tag.as_str().to_owned(), app_tag: None, path: None, message: None }
    }

    pub(crate) fn to_error(&self) -> RpcError {
        let mut error = RpcError::new(ErrorType::Application, ErrorTag::from(self.tag.as_str()));
        error.app_tag.clone_from(&self.app_tag);
        error.path.clone_from(&self.path);
        error.message.clone_from(&self.message);
        error
    }
}

impl Fault {
    /// What befalls the first request of this operation, before it is carried out.
    pub fn before(operation: impl Into<String>, act: Act) -> Self {
        Self { operation: operation.into(), occurrence: 1, moment: Moment::Before, act }
    }

    /// What befalls the first request of this operation, after it was carried out.
    pub fn after(operation: impl Into<String>, act: Act) -> Self {
        Self { operation: operation.into(), occurrence: 1, moment: Moment::After, act }
    }

    /// The same at another occurrence; 0 for all.
    #[must_use]
    pub fn at(mut self, occurrence: u32) -> Self {
        self.occurrence = occurrence;
        self
    }

    fn fits(&self, operation: &Element) -> bool {
        match self.operation.as_str() {
            "*" => true,
            "confirmed-commit" => is_commit(operation) && has(operation, "confirmed"),
            "confirming-commit" => {
                is_commit(operation) && has(operation, "persist-id") && !has(operation, "confirmed")
            }
            name => operation.name() == name,
        }
    }
}

fn is_commit(operation: &Element) -> bool {
    operation.is(namespace::BASE, "commit")
}

fn has(operation: &Element, parameter: &str) -> bool {
    operation.own_child(parameter).is_some()
}

/// A behaviour being played: with the requests counted that its faults fit.
#[derive(Debug, Default)]
pub(crate) struct Play {
    pub(crate) behaviour: Behaviour,
    counts: Vec<u32>,
}

impl Play {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        let counts = vec![0; behaviour.faults.len()];
        Self { behaviour, counts }
    }

    /// How many requests the faults have fitted, in their order.
    pub(crate) fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// What befalls this request.
    pub(crate) fn next(&mut self, operation: &Element) -> Option<(Moment, Act)> {
        let mut found = None;
        for (fault, count) in self.behaviour.faults.iter().zip(&mut self.counts) {
            if !fault.fits(operation) {
                continue;
            }
            *count = count.saturating_add(1);
            if found.is_none() && (fault.occurrence == 0 || fault.occurrence == *count) {
                found = Some((fault.moment, fault.act.clone()));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use turnup_netconf::operation::{ConfirmedCommit, Operation};

    use super::*;

    #[test]
    fn faults_befall_the_occurrence_they_name() {
        let faults = vec![
            Fault::before("commit", Act::Drop).at(2),
            Fault::after("confirming-commit", Act::Hang).at(0),
            Fault::after("confirmed-commit", Act::DelayMs(5)),
        ];
        let mut play = Play::new(Behaviour { faults, ..Behaviour::default() });
        let plain = Operation::commit();
        let confirming = Operation::commit_confirming("a");
        let confirmed = Operation::commit_confirmed(&ConfirmedCommit {
            confirm_timeout_s: 5,
            persist: Some("a".to_owned()),
            persist_id: None,
        });
        let mut next = |operation: &Operation| play.next(operation.element());
        assert_eq!(next(&Operation::discard_changes()), None);
        assert_eq!(next(&confirmed), Some((Moment::After, Act::DelayMs(5))));
        assert_eq!(next(&confirming), Some((Moment::Before, Act::Drop)));
        assert_eq!(next(&plain), None);
        assert_eq!(next(&confirming), Some((Moment::After, Act::Hang)));
        assert_eq!(next(&confirmed), None);
    }

    #[test]
    fn reads_a_script_as_people_write_it() {
        let text = r#"{
            "commit_delay_ms": 20,
            "phantom_lock": {},
            "lie": "commit_changes_nothing",
            "clock_offset_ms": -90000,
            "pings": [{"destination": "192.0.2.2", "vrf": "red", "lost_percent": 50, "rtt_ms": 80}, {}],
            "faults": [
                {"operation": "commit", "moment": "after", "act": "drop"},
                {"operation": "edit-config", "occurrence": 0,
                 "act": {"refuse": {"tag": "invalid-value", "message": "no"}}},
                {"operation": "lock", "act": {"delay_ms": 3}}
            ]
        }"#;
        let behaviour: Behaviour = serde_json::from_str(text).unwrap();
        assert_eq!(behaviour.faults[0], Fault::after("commit", Act::Drop));
        assert_eq!(behaviour.faults[2].act, Act::DelayMs(3));
        assert_eq!(behaviour.phantom_lock, Some(PhantomLock::default()));
        assert_eq!(behaviour.pings[1], PingFate::default());
        let back: Behaviour = serde_json::from_str(&serde_json::to_string(&behaviour).unwrap()).unwrap();
        assert_eq!(back, behaviour);
        assert!(serde_json::from_str::<Behaviour>(r#"{"comit_delay_ms": 1}"#).is_err());
    }
}
