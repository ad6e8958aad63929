//! A session of an exam, and what is asked on it.

use std::time::Duration;

use tokio::time::Instant;
use turnup_core::exam::ErrorShape;
use turnup_netconf::{
    message::{Reply, RpcError, Severity},
    operation::{
        ConfirmedCommit, Datastore, DefaultOperation, EditConfig, ErrorOption, Operation, TestOption,
    },
    ssh::Session,
    xml::Element,
};

use crate::classify::{self, Step, shorten};

/// How long a request of an exam may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long a polite end may take.
const GOOD_BYE: Duration = Duration::from_secs(3);
/// Most characters of a text of the device in a finding.
const MAX_TEXT: usize = 160;

/// Why a probe has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Halt {
    /// The device does not offer what is probed, or it is not to be tried: why.
    NotTried(String),
    /// It was tried, and not found out: why.
    Unknown(String),
    /// The device did not answer, or closed the session.
    Silent(String),
}

impl Halt {
    pub(super) fn not_tried(why: impl Into<String>) -> Self {
        Self::NotTried(why.into())
    }

    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Peer {
    session: Session,
    by: Instant,
}

impl Peer {
    pub(super) fn new(session: Session, by: Instant) -> Self {
        Self { session, by }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The device's number of the session.
    pub(super) fn id(&self) -> u32 {
        self.session.session_id()
    }

    pub(super) fn is_usable(&self) -> bool {
        self.session.is_usable()
    }

    /// Sends requests in one write.
    pub(super) async fn all(&mut self, operations: &[Operation]) -> Result<Vec<Reply>, Halt> {
        let by = self.by.min(Instant::now() + ANSWER);
        let replies = self.session.pipeline(operations, by).await;
        replies.map_err(|failure| {
            let asked = operations.first().map_or("nothing", Operation::name);
            Halt::Silent(shorten(&format!("{asked}: {failure}")))
        })
    }

    pub(super) async fn ask(&mut self, operation: Operation) -> Result<Reply, Halt> {
        let mut replies = self.all(std::slice::from_ref(&operation)).await?;
        replies.pop().ok_or_else(|| Halt::Silent(format!("{}: no answer", operation.name())))
    }

    /// Asks for what a probe needs before it can begin: a refusal ends the probe.
    pub(super) async fn need(&mut self, operation: Operation) -> Result<Reply, Halt> {
        let name = operation.name().to_owned();
        let reply = self.ask(operation).await?;
        match reply.is_error() {
            true => Err(Halt::unknown(format!("{name} was refused: {}", said(&reply)))),
            false => Ok(reply),
        }
    }

    /// `get-config` of a datastore.
    pub(super) async fn read(
        &mut self,
        source: Datastore,
        filter: Option<&turnup_netconf::operation::Filter>,
    ) -> Result<Element, Halt> {
        let reply = self.need(Operation::get_config(source, filter)).await?;
        reply.into_data().ok_or_else(|| Halt::unknown("the answer to get-config has no <data>"))
    }

    /// Ends the session politely.
    pub(super) async fn close(self) {
        self.session.close(Instant::now() + GOOD_BYE).await;
    }
}

/// What an error reply says, shortened.
pub(super) fn said(reply: &Reply) -> String {
    let errors: Vec<String> = reply.errors().iter().take(2).map(ToString::to_string).collect();
    let text = if errors.is_empty() { "neither ok nor an error".to_owned() } else { errors.join("; ") };
    text.chars().take(MAX_TEXT).collect()
}

/// How a reply refuses; `step`: where a deployment would meet it.
pub(super) fn shape(step: Step, reply: &Reply) -> ErrorShape {
    let errors: Vec<&RpcError> =
        reply.errors().iter().filter(|error| error.severity == Severity::Error).collect();
    let Some(first) = errors.first() else { return ErrorShape::default() };
    let text = |text: &Option<String>| {
        text.as_deref().map(|text| shorten(text).chars().take(MAX_TEXT).collect::<String>())
    };
    ErrorShape {
        phase: step.name().to_owned(),
        error_type: first.error_type.map(|layer| layer.as_str().to_owned()),
        tag: shorten(first.tag.as_str()),
        app_tag: text(&first.app_tag),
        path: text(&first.path),
        message: text(&first.message),
        bad_element: first.bad_element().map(|name| shorten(&name)),
        session_id: first.session_id(),
        errors: errors.len(),
        inside: reply.errors_inside() > 0,
        class: Some(classify::class_of(step, first, &[])),
    }
}

/// An edit of the candidate, or of running.
pub(super) fn edit(target: Datastore, config: &[Element]) -> Operation {
    edit_with(target, config, None, None)
}

pub(super) fn edit_with(
    target: Datastore,
    config: &[Element],
    test_option: Option<TestOption>,
    error_option: Option<ErrorOption>,
) -> Operation {
    Operation::edit_config(EditConfig {
        default_operation: Some(DefaultOperation::Merge),
        test_option,
        error_option,
        ..EditConfig::new(target, config.iter().cloned())
    })
}

/// A confirmed commit.
pub(super) fn confirmed(timeout_s: u32, persist: Option<&str>, persist_id: Option<&str>) -> Operation {
    Operation::commit_confirmed(&ConfirmedCommit {
        confirm_timeout_s: timeout_s,
        persist: persist.map(str::to_owned),
        persist_id: persist_id.map(str::to_owned),
    })
}
