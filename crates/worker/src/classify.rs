//! What an error of a device means (4-devices, "What a failure means").
//!
//! Never by error-tag alone: servers differ. The step at which it came, the app-tag, the path and
//! error-info decide along with it, and before all of them the rules of the device's platform.

use turnup_core::{
    clean,
    failure::{ErrorInfo, Failure, FailureClass},
    profile::error_rule::{ErrorFacts, ErrorRule, class_by},
    transaction::FUNCTIONAL_CHECK,
};
use turnup_netconf::{
    message::{DataError, ErrorTag, ErrorType, Reply, RpcError, Severity},
    ssh::{Cause, ConnectError, RpcFailure},
    xml::Element,
};

/// Most rpc-errors of one reply that are reported.
const MAX_ERRORS: usize = 20;
/// Most characters of a text of a device that are reported.
const MAX_TEXT: usize = 1_000;
/// Most places of one reply that are reported for bytes that are no text.
const MAX_NOTES: usize = 5;

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

/// Class of an rpc-error: what the first matching rule says, else what the error itself does.
pub(crate) fn class_of(step: Step, error: &RpcError, rules: &[ErrorRule]) -> FailureClass {
    let bad_element = error.bad_element();
    let facts = ErrorFacts {
        phase: step.name(),
        error_tag: error.tag.as_str(),
        error_app_tag: error.app_tag.as_deref(),
        path: error.path.as_deref(),
        message: error.message.as_deref(),
        bad_element: bad_element.as_deref(),
    };
    class_by(rules, &facts).unwrap_or_else(|| general_class(step, error, bad_element.as_deref()))
}

fn general_class(step: Step, error: &RpcError, bad_element: Option<&str>) -> FailureClass {
    use FailureClass::{BrokenPeer, Busy, Distrusted, Invalid, Misconfigured};
    use Step::{Commit, Edit, Validate};
    let content = matches!(step, Edit | Validate | Commit);
    if content && concerns_the_commit_itself(error, bad_element) {
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
        ErrorTag::OperationFailed | ErrorTag::Other(_)
            if content && blames_content(step, error, bad_element) =>
        {
            Invalid
        }
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

/// Whether a general error is about what was sent. It is if something points into the data: a path, which
/// Junos writes as `[edit interfaces …]` and with layer protocol, a bad-element, or the daemon that rejects
/// its part of a commit. While editing it is as well unless the device says that the trouble is elsewhere.
fn blames_content(step: Step, error: &RpcError, bad_element: Option<&str>) -> bool {
    let tagged = error.app_tag.as_deref().is_some_and(|tag| CONTENT_APP_TAGS.contains(&tag));
    let in_data = matches!(error.error_type, None | Some(ErrorType::Application | ErrorType::Protocol));
    let points = error.path.is_some() || bad_element.is_some() || names_daemon(error);
    if tagged || (in_data && points) {
        return true;
    }
    match step {
        Step::Edit | Step::Validate => {
            let layer = matches!(error.error_type, None | Some(ErrorType::Application));
            error.path.is_some() || (error.tag == ErrorTag::OperationFailed && layer)
        }
        _ => false,
    }
}

/// Whether a daemon of the device rejects its part of the configuration (Junos).
fn names_daemon(error: &RpcError) -> bool {
    error.error_info().iter().any(|info| info.name == "source-daemon")
}

/// Whether the error is about a parameter of the operation and not about the data.
fn concerns_the_commit_itself(error: &RpcError, bad_element: Option<&str>) -> bool {
    let last = |path: &str| {
        let last = path.rsplit('/').next().unwrap_or_default();
        last.rsplit(':').next().unwrap_or_default().to_owned()
    };
    let names = error.path.as_deref().into_iter().chain(bad_element).map(last);
    names.into_iter().any(|name| {
        matches!(
            name.as_str(),
            "confirm-timeout" | "persist" | "persist-id" | "confirmed" | "test-option" | "error-option"
        )
    })
}

/// Whether a reply says that the request was carried out.
///
/// A lock is held only after `<ok/>` itself. Warnings alone will do for what is verified by reading back
/// afterwards (RFC 6241 §4.4 sends no `<ok/>` beside warnings); a confirm, a save or an undo needs more.
pub(crate) fn is_accepted(step: Step, reply: &Reply) -> bool {
    match step {
        Step::Lock => reply.has_ok(),
        Step::Edit | Step::Validate | Step::Commit => reply.is_ok() || reply.is_warnings_only(),
        _ => reply.is_ok(),
    }
}

/// The `<data>` of an answer to `get` or `get-config`; else why there is none. An answer without `<data>`
/// never means that nothing is configured.
pub(crate) fn required_data(step: Step, reply: Reply, rules: &[ErrorRule]) -> Result<Element, Vec<Failure>> {
    let failures = of_reply_by(rules, step, &reply);
    reply.required_data().map_err(|error| match error {
        DataError::Refused(_) => failures,
        DataError::Missing => vec![Failure::new(FailureClass::BrokenPeer, step.name(), error.to_string())],
    })
}

/// What is to be reported of an answer whose values hold bytes that are no text: at most five places.
pub(crate) fn remarks_of(reply: &Reply) -> Vec<String> {
    let noted = reply.replaced().iter().take(MAX_NOTES);
    noted.map(|replaced| shorten(&format!("{replaced}: correct the value on the device"))).collect()
}

/// The failures that a refused request means: one per rpc-error of severity error.
pub(crate) fn of_reply(step: Step, reply: &Reply) -> Vec<Failure> {
    of_reply_by(&[], step, reply)
}

/// The same on a platform with these rules.
pub(crate) fn of_reply_by(rules: &[ErrorRule], step: Step, reply: &Reply) -> Vec<Failure> {
    let errors = reply.errors().iter().filter(|error| error.severity == Severity::Error);
    let failures: Vec<Failure> = errors.take(MAX_ERRORS).map(|error| of_error(step, error, rules)).collect();
    if failures.is_empty() {
        let warnings: Vec<String> = reply.warnings().take(MAX_ERRORS).map(ToString::to_string).collect();
        let text = match warnings.is_empty() {
            true if step == Step::Check => DataError::Missing.to_string(),
            true => "the device answered neither ok nor with an error".to_owned(),
            false => {
                format!("the device answered neither ok nor with an error, only: {}", warnings.join("; "))
            }
        };
        return vec![Failure::new(FailureClass::BrokenPeer, step.name(), shorten(&text))];
    }
    failures
}

fn of_error(step: Step, error: &RpcError, rules: &[ErrorRule]) -> Failure {
    let class = class_of(step, error, rules);
    let said = error.message.as_deref().unwrap_or_else(|| error.tag.as_str());
    let error_info: Vec<ErrorInfo> = error
        .error_info()
        .into_iter()
        .map(|info| ErrorInfo { name: shorten(&info.name), value: shorten(&info.value) })
        .collect();
    let message = match (class, error.session_id()) {
        (FailureClass::Busy, Some(0)) => format!("{said} (held by something other than a NETCONF session)"),
        (FailureClass::Busy, Some(holder)) if !said.contains(&format!("session {holder}")) => {
            format!("{said} (held by session {holder})")
        }
        _ => {
            match error_info.iter().find(|info| info.name.starts_with("bad-") && !said.contains(&info.value))
            {
                Some(bad) => format!("{said} ({} {})", bad.name, bad.value),
                None => said.to_owned(),
            }
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(shorten);
    Failure {
        error_type: error.error_type.map(|layer| layer.as_str().to_owned()),
        error_tag: Some(shorten(error.tag.as_str())),
        error_app_tag: text(&error.app_tag),
        path: text(&error.path),
        error_info,
        ..Failure::new(class, step.name(), shorten(&message))
    }
}

/// The failure that no session means.
pub(crate) fn of_connect(error: &ConnectError) -> Failure {
    let class = match error {
        ConnectError::Unreachable { .. } | ConnectError::Timeout { .. } => FailureClass::Unreachable,
        ConnectError::NoSession { .. } => FailureClass::Busy,
        ConnectError::HostKeyMismatch { .. }
        | ConnectError::AuthenticationFailed { .. }
        | ConnectError::Restricted { .. } => FailureClass::Distrusted,
        ConnectError::Credentials { .. } | ConnectError::NoCommonAlgorithm(_) => FailureClass::Misconfigured,
        _ => FailureClass::BrokenPeer,
    };
    let mut message = shorten(&error.to_string());
    if let ConnectError::NoCommonAlgorithm(missing) = error
        && !missing.weak.is_empty()
    {
        let names: Vec<String> = missing.weak.iter().map(|name| format!("\"{name}\"")).collect();
        message.push_str(&format!(
            "; to allow them, write into the profile of its platform (config/platforms/PLATFORM.toml): \
             ssh_algorithms = [{}]",
            names.join(", ")
        ));
    }
    Failure::new(class, Step::Connect.name(), message)
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

/// The beginning of a text, without control characters.
pub(crate) fn shorten(text: &str) -> String {
    clean::lines(text, MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use FailureClass::{BrokenPeer, Busy, Distrusted, Invalid, Misconfigured};
    use turnup_netconf::ssh::{Phase, Target};

    use super::*;

    fn error(tag: &str) -> RpcError {
        RpcError::new(ErrorType::Application, tag.into())
    }

    fn junos() -> RpcError {
        RpcError::new(ErrorType::Protocol, ErrorTag::OperationFailed)
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
            // Junos: layer protocol, and yet about the content.
            (Step::Edit, junos().with_info([Element::base("bad-element").with_text("encap")]), Invalid),
            (Step::Commit, junos().with_path("[edit interfaces ge-0/0/1 unit 5]"), Invalid),
            (Step::Validate, junos().with_path("[edit interfaces]"), Invalid),
            (Step::Commit, junos().with_info([Element::base("source-daemon").with_text("l2d")]), Invalid),
            (Step::Confirm, junos().with_path("[edit interfaces]"), BrokenPeer),
            (
                Step::Commit,
                with_type(ErrorType::Rpc, "operation-failed").with_path("/rpc/commit"),
                BrokenPeer,
            ),
            (
                Step::Commit,
                error("invalid-value").with_info([Element::base("bad-element").with_text("persist-id")]),
                Misconfigured,
            ),
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
            assert_eq!(class_of(step, &error, &[]), wanted, "{step:?} {error}");
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
    fn platform_rules_come_before_the_general_ones() {
        let rule: ErrorRule = serde_json::from_str(
            r#"{"phase": "lock", "error_tag": "operation-failed", "message_contains": "maintenance", "class": "misconfigured"}"#,
        )
        .unwrap();
        let denied = error("operation-failed").with_message("In Maintenance mode");
        let reply = Reply::with_errors([denied.clone(), error("operation-failed")]);
        let classes: Vec<FailureClass> =
            of_reply_by(&[rule], Step::Lock, &reply).into_iter().map(|failure| failure.class).collect();
        assert_eq!(classes, [Misconfigured, Busy]);
        assert_eq!(class_of(Step::Lock, &denied, &[]), Busy);
    }

    #[test]
    fn error_info_is_kept_and_shown() {
        let error = junos()
            .with_message("syntax error")
            .with_info([Element::base("bad-element").with_text("encapsulaton\u{1b}[2J")]);
        let failure = of_reply(Step::Edit, &Reply::with_errors([error])).remove(0);
        assert_eq!(failure.class, Invalid);
        assert_eq!(failure.message, "syntax error (bad-element encapsulaton\\u{1b}[2J)");
        assert_eq!((failure.error_info[0].name.as_str(), failure.error_info.len()), ("bad-element", 1));
    }

    #[test]
    fn reply_counts_as_the_step_demands() {
        let warnings = Reply::with_errors([error("operation-failed").as_warning().with_message("licence")]);
        let results = Reply::with_content([Element::base("commit-results")]);
        for (step, warnings_do, results_do) in [
            (Step::Lock, false, false),
            (Step::Edit, true, true),
            (Step::Validate, true, true),
            (Step::Commit, true, true),
            (Step::Confirm, false, true),
            (Step::Save, false, true),
            (Step::Undo, false, true),
        ] {
            assert_eq!(is_accepted(step, &warnings), warnings_do, "{step:?}");
            assert_eq!(is_accepted(step, &results), results_do, "{step:?}");
            assert!(is_accepted(step, &Reply::ok()));
            assert!(!is_accepted(step, &Reply::default()));
        }
        let failure = of_reply(Step::Confirm, &warnings).remove(0);
        assert!(failure.class == BrokenPeer && failure.message.contains("licence"), "{failure:?}");
    }

    #[test]
    fn data_that_is_missing_is_a_failure() {
        for reply in [Reply::default(), Reply::ok()] {
            let failures = required_data(Step::Check, reply, &[]).unwrap_err();
            assert!(failures[0].class == BrokenPeer && failures[0].message.contains("no <data>"));
        }
        let denied = Reply::with_errors([error("access-denied")]);
        assert_eq!(required_data(Step::Check, denied, &[]).unwrap_err()[0].class, Distrusted);
        assert!(required_data(Step::Check, Reply::with_data([]), &[]).unwrap().is_empty());
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
                ConnectError::Timeout {
                    target: target.clone(),
                    phase: Phase::Hello,
                    timeout_ms: 1,
                    said: None,
                },
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
                    hint: None,
                },
                Distrusted,
            ),
            (
                ConnectError::Restricted { target: target.clone(), username: text(), words: text() },
                Distrusted,
            ),
            (ConnectError::NoSession { target: target.clone(), reason: text() }, Busy),
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
