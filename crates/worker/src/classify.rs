//! What an error of a device means (4-devices, "What a failure means").
//!
//! Never by error-tag alone: servers differ. The step at which it came, the app-tag and the path decide
//! along with it.

use turnup_core::{
    failure::{Failure, FailureClass},
    transaction::FUNCTIONAL_CHECK,
};
use turnup_netconf::{
    message::{ErrorTag, ErrorType, Reply, RpcError, Severity},
    ssh::{Cause, ConnectError, RpcFailure},
    xml::Element,
};

/// Most rpc-errors of one reply that are reported.
const MAX_ERRORS: usize = 20;
/// Most characters of a text of a device that are reported.
const MAX_TEXT: usize = 1_000;

/// What was asked when the error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// TCP to hello.
    Connect,
    /// `lock` of running or candidate.
    Lock,
    /// `edit-config` of the candidate.
    Edit,
    /// `validate` of the candidate.
    Validate,
    /// `commit`, confirmed or not, that puts the edit in force.
    Commit,
    /// Comparing what the device has with what it was told.
    Check,
    /// The confirming `commit`.
    Confirm,
    /// `copy-config` to startup.
    Save,
    /// `cancel-commit`, `discard-changes`.
    Undo,
}

impl Step {
    /// The name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Lock => "lock",
            Self::Edit => "edit-config",
            Self::Validate => "validate",
            Self::Commit => "commit",
            Self::Check => "check",
            Self::Confirm => "confirm",
            Self::Save => "copy-config",
            Self::Undo => "cancel-commit",
        }
    }
}

/// Whether a failure in this phase came when a device was given an edit, or was found not to have done it:
/// then it may be the edit's fault, and another edit may go through.
pub(crate) fn is_about_an_edit(phase: &str) -> bool {
    phase == FUNCTIONAL_CHECK
        || [Step::Edit, Step::Validate, Step::Commit, Step::Check].iter().any(|step| step.name() == phase)
}

/// Conditions of a data model that the content violates, RFC 7950 §15.
const CONTENT_APP_TAGS: [&str; 8] = [
    "data-not-unique",
    "too-many-elements",
    "too-few-elements",
    "must-violation",
    "instance-required",
    "missing-choice",
    "missing-instance",
    "when-violation",
];

/// Class of an rpc-error.
pub(crate) fn class_of(step: Step, error: &RpcError) -> FailureClass {
    use FailureClass::{BrokenPeer, Busy, Distrusted, Invalid, Misconfigured};
    use Step::{Commit, Edit, Validate};
    let content = matches!(step, Edit | Validate | Commit);
    if content && concerns_the_commit_itself(error) {
        return Misconfigured;
    }
    match &error.tag {
        ErrorTag::AccessDenied => Distrusted,
        ErrorTag::LockDenied | ErrorTag::InUse | ErrorTag::ResourceDenied => Busy,
        ErrorTag::InvalidValue
        | ErrorTag::BadElement
        | ErrorTag::UnknownElement
        | ErrorTag::MissingElement
        | ErrorTag::DataMissing
        | ErrorTag::DataExists
            if content =>
        {
            Invalid
        }
        ErrorTag::OperationFailed | ErrorTag::Other(_) if content && blames_content(step, error) => Invalid,
        // A candidate that someone has left changed can't be locked.
        ErrorTag::OperationFailed if step == Step::Lock => Busy,
        ErrorTag::UnknownNamespace
        | ErrorTag::OperationNotSupported
        | ErrorTag::TooBig
        | ErrorTag::BadAttribute
        | ErrorTag::UnknownAttribute
        | ErrorTag::MissingAttribute => Misconfigured,
        _ => BrokenPeer,
    }
}

/// Whether a general error is about what was sent: while editing it is, unless the device says that the
/// trouble is elsewhere; while committing only if something points into the data.
fn blames_content(step: Step, error: &RpcError) -> bool {
    let tagged = error.app_tag.as_deref().is_some_and(|tag| CONTENT_APP_TAGS.contains(&tag));
    let layer = matches!(error.error_type, None | Some(ErrorType::Application));
    match step {
        Step::Edit | Step::Validate => {
            tagged || error.path.is_some() || (error.tag == ErrorTag::OperationFailed && layer)
        }
        _ => tagged || (error.path.is_some() && layer),
    }
}

/// Whether the error is about a parameter of `commit` and not about the data.
fn concerns_the_commit_itself(error: &RpcError) -> bool {
    let path = error.path.as_deref().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let name = last.rsplit(':').next().unwrap_or_default();
    matches!(
        name,
        "confirm-timeout" | "persist" | "persist-id" | "confirmed" | "test-option" | "error-option"
    )
}

/// The failures that a refused request means: one per rpc-error of severity error.
pub(crate) fn of_reply(step: Step, reply: &Reply) -> Vec<Failure> {
    let errors = reply.errors().iter().filter(|error| error.severity == Severity::Error);
    let failures: Vec<Failure> = errors.take(MAX_ERRORS).map(|error| of_error(step, error)).collect();
    if failures.is_empty() {
        let text = "the device answered neither ok nor with an error";
        return vec![Failure::new(FailureClass::BrokenPeer, step.name(), text)];
    }
    failures
}

/// The `<data>` of a reply to `get` or `get-config`. A reply without it is an error, never "nothing is configured"
/// (RFC 6241 §7.1).
pub(crate) fn data_of(step: Step, reply: Reply) -> Result<Element, Vec<Failure>> {
    if reply.is_error() {
        return Err(of_reply(step, &reply));
    }
    reply.into_data().ok_or_else(|| {
        let text = "the device's reply to get-config has no <data>";
        vec![Failure::new(FailureClass::BrokenPeer, step.name(), text)]
    })
}

fn of_error(step: Step, error: &RpcError) -> Failure {
    let class = class_of(step, error);
    let said = error.message.as_deref().unwrap_or_else(|| error.tag.as_str());
    let message = match (class, error.session_id()) {
        (FailureClass::Busy, Some(0)) => format!("{said} (held by something other than a NETCONF session)"),
        (FailureClass::Busy, Some(holder)) if !said.contains(&format!("session {holder}")) => {
            format!("{said} (held by session {holder})")
        }
        _ => said.to_owned(),
    };
    let text = |text: &Option<String>| text.as_deref().map(shorten);
    Failure {
        error_type: error.error_type.map(|layer| layer.as_str().to_owned()),
        error_tag: Some(shorten(error.tag.as_str())),
        error_app_tag: text(&error.app_tag),
        path: text(&error.path),
        ..Failure::new(class, step.name(), shorten(&message))
    }
}

/// The failure that no session means.
pub(crate) fn of_connect(error: &ConnectError) -> Failure {
    let class = match error {
        ConnectError::Unreachable { .. } | ConnectError::Timeout { .. } => FailureClass::Unreachable,
        ConnectError::HostKeyMismatch { .. } | ConnectError::AuthenticationFailed { .. } => {
            FailureClass::Distrusted
        }
        ConnectError::Credentials { .. } => FailureClass::Misconfigured,
        _ => FailureClass::BrokenPeer,
    };
    Failure::new(class, Step::Connect.name(), shorten(&error.to_string()))
}

/// The failure that a missing answer means, where nothing can have come of the request.
pub(crate) fn of_silence(step: Step, failure: &RpcFailure) -> Failure {
    let class = match failure.cause() {
        Cause::Protocol(_) => FailureClass::BrokenPeer,
        _ => FailureClass::Unreachable,
    };
    Failure::new(class, step.name(), shorten(&failure.to_string()))
}

/// The failure that a missing answer means, where the request may have been carried out.
pub(crate) fn in_doubt(step: Step, failure: &RpcFailure) -> Failure {
    Failure::new(FailureClass::InDoubt, step.name(), shorten(&failure.to_string()))
}

/// The beginning of a text.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use FailureClass::{BrokenPeer, Busy, Distrusted, Invalid, Misconfigured};
    use turnup_netconf::ssh::{Phase, Target};

    use super::*;

    fn error(tag: &str) -> RpcError {
        RpcError::new(ErrorType::Application, tag.into())
    }

    #[test]
    fn the_table() {
        let with_type = |layer, tag: &str| RpcError::new(layer, tag.into());
        let cases = [
            // Content, as several servers word it.
            (Step::Edit, error("invalid-value"), Invalid),
            (Step::Edit, error("bad-element"), Invalid),
            (Step::Edit, error("unknown-element"), Invalid),
            (Step::Edit, error("missing-element"), Invalid),
            (Step::Commit, error("data-missing"), Invalid),
            (Step::Commit, error("data-exists"), Invalid),
            (Step::Edit, error("operation-failed"), Invalid),
            (Step::Edit, error("operation-failed").with_app_tag("must-violation"), Invalid),
            (Step::Commit, error("operation-failed").with_app_tag("must-violation"), Invalid),
            (Step::Commit, error("operation-failed").with_path("/a/b"), Invalid),
            (Step::Edit, error("vendor-tag").with_path("/a/b"), Invalid),
            // The same tags, and no content to blame.
            (Step::Commit, error("operation-failed"), BrokenPeer),
            (Step::Confirm, error("invalid-value"), BrokenPeer),
            (Step::Undo, error("invalid-value").with_path("/commit/persist-id"), BrokenPeer),
            (
                Step::Commit,
                error("invalid-value").with_path("/nc:rpc/nc:commit/nc:confirm-timeout"),
                Misconfigured,
            ),
            (Step::Edit, with_type(ErrorType::Protocol, "operation-failed"), BrokenPeer),
            (Step::Edit, error("vendor-tag"), BrokenPeer),
            // Others at it.
            (Step::Lock, RpcError::lock_denied(4), Busy),
            (Step::Lock, error("operation-failed"), Busy),
            (Step::Edit, error("in-use"), Busy),
            (Step::Commit, error("resource-denied"), Busy),
            // Rights, and what the device can't.
            (Step::Lock, error("access-denied"), Distrusted),
            (Step::Edit, error("access-denied"), Distrusted),
            (Step::Edit, error("unknown-namespace"), Misconfigured),
            (Step::Lock, error("operation-not-supported"), Misconfigured),
            (Step::Edit, error("malformed-message"), BrokenPeer),
            (Step::Commit, error("rollback-failed"), BrokenPeer),
        ];
        for (step, error, wanted) in cases {
            assert_eq!(class_of(step, &error), wanted, "{step:?} {error}");
        }
    }

    #[test]
    fn all_errors_are_kept_warnings_are_not() {
        let reply = Reply::with_errors([
            error("invalid-value").with_path("/a").with_message("too wide"),
            error("operation-failed").as_warning(),
            error("bad-element").with_message("x".repeat(5_000)),
        ]);
        let failures = of_reply(Step::Edit, &reply);
        assert_eq!(failures.len(), 2);
        assert_eq!(failures[0].path.as_deref(), Some("/a"));
        assert_eq!(failures[0].error_tag.as_deref(), Some("invalid-value"));
        assert_eq!(failures[0].error_type.as_deref(), Some("application"));
        assert!(failures[1].message.chars().count() <= MAX_TEXT + 1);
        let holder = of_reply(Step::Lock, &Reply::with_errors([RpcError::lock_denied(42)]));
        assert!(holder[0].message.contains("session 42"));
        assert_eq!(of_reply(Step::Lock, &Reply::default())[0].class, BrokenPeer);
    }

    #[test]
    fn connections() {
        let target = Target::new("192.0.2.1", 830);
        let text = || "x".to_owned();
        let cases = [
            (
                ConnectError::Unreachable { target: target.clone(), phase: Phase::Tcp, reason: text() },
                FailureClass::Unreachable,
            ),
            (
                ConnectError::Timeout { target: target.clone(), phase: Phase::Hello, timeout_ms: 1 },
                FailureClass::Unreachable,
            ),
            (
                ConnectError::HostKeyMismatch { target: target.clone(), expected: text(), presented: text() },
                Distrusted,
            ),
            (
                ConnectError::AuthenticationFailed {
                    target: target.clone(),
                    username: text(),
                    tried: text(),
                    offered: text(),
                },
                Distrusted,
            ),
            (ConnectError::Credentials { target: target.clone(), reason: text() }, Misconfigured),
            (ConnectError::NotNetconf { target, reason: text() }, BrokenPeer),
        ];
        for (error, wanted) in cases {
            assert_eq!(of_connect(&error).class, wanted, "{error}");
        }
        let lost = RpcFailure::NotSent { cause: Cause::Closed };
        assert_eq!(of_silence(Step::Lock, &lost).class, FailureClass::Unreachable);
    }
}
