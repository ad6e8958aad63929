//! Where a device deviates from the RFCs, by what an exam found.

use serde::Serialize;

use super::{Answer, Findings, Probe};

/// A deviation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deviation {
    /// The probe that showed it.
    pub probe: Probe,
    /// RFC and section.
    pub section: &'static str,
    /// What the device does.
    pub text: String,
}

/// What a probe has to find, and what it means if it does not.
struct Rule {
    probe: Probe,
    section: &'static str,
    /// What the device does if the answer is no or the refusal is missing.
    text: &'static str,
}

const fn rule(probe: Probe, section: &'static str, text: &'static str) -> Rule {
    Rule { probe, section, text }
}

/// Probes whose answer is yes, or a refusal, at a device that follows the RFCs.
const RULES: &[Rule] = &[
    rule(
        Probe::Base11,
        "RFC 6242 §4.1",
        "a session with base:1.1 does not work although the hello offers it",
    ),
    rule(
        Probe::Base10,
        "RFC 6241 §8.1",
        "a session with base:1.0 alone does not work although the hello offers it",
    ),
    rule(Probe::Pipelining, "RFC 6241 §4.5", "requests sent together are not answered in their order"),
    rule(Probe::AttributesEchoed, "RFC 6241 §4.2", "a reply does not repeat the attributes of its rpc"),
    rule(Probe::CloseSession, "RFC 6241 §7.8", "close-session is not answered by ok"),
    rule(Probe::KillEndsSession, "RFC 6241 §7.9", "a killed session goes on working"),
    rule(Probe::KillFreesLocks, "RFC 6241 §7.9", "kill-session does not free the locks of the other session"),
    rule(Probe::GetSchema, "RFC 6022 §3.1", "get-schema does not give the text of a module that is listed"),
    rule(Probe::FilterSubtree, "RFC 6241 §6.2", "a subtree filter selects other nodes than it names"),
    rule(Probe::FilterEmpty, "RFC 6241 §6.4.2", "an empty filter does not select nothing"),
    rule(Probe::LockRunning, "RFC 6241 §7.5", "running can't be locked"),
    rule(Probe::LockCandidate, "RFC 6241 §8.3.5.2", "the candidate can't be locked"),
    rule(Probe::LockBoth, "RFC 6241 §7.5", "the locks of running and candidate exclude each other"),
    rule(Probe::LockRunningOther, "RFC 6241 §7.5", "two sessions can lock running at once"),
    rule(Probe::LockCandidateOther, "RFC 6241 §7.5", "two sessions can lock the candidate at once"),
    rule(Probe::LockHolder, "RFC 6241 §7.5", "lock-denied does not name the session that holds the lock"),
    rule(Probe::LockTwice, "RFC 6241 §7.5", "a lock is granted again to the session that holds it"),
    rule(Probe::UnlockOther, "RFC 6241 §7.6", "a session can unlock what another one has locked"),
    rule(Probe::LockStopsEdit, "RFC 6241 §7.5", "a locked candidate can be edited by other sessions"),
    rule(Probe::LockStopsCommit, "RFC 6241 §8.3.4.1", "another session can commit while running is locked"),
    rule(Probe::LockEndsWithSession, "RFC 6241 §7.5", "the locks of a lost session stay"),
    rule(
        Probe::DirtyLockOther,
        "RFC 6241 §7.5",
        "a candidate that another session has changed can be locked",
    ),
    rule(Probe::DirtyUnlock, "RFC 6241 §8.3.5.2", "changes of the candidate survive unlock"),
    rule(
        Probe::DirtyClose,
        "RFC 6241 §8.3.5.2",
        "changes of the candidate survive close-session of the holder of its lock",
    ),
    rule(
        Probe::DirtyLoss,
        "RFC 6241 §8.3.5.2",
        "changes of the candidate survive the loss of the session that held its lock",
    ),
    rule(Probe::Discard, "RFC 6241 §8.3.4.2", "discard-changes does not discard the changes"),
    rule(Probe::Validate, "RFC 6241 §8.6.4.1", "validate refuses a candidate that can be committed"),
    rule(
        Probe::ValidateKeeps,
        "RFC 6241 §8.6.4.1",
        "validate followed by commit answers ok and changes nothing",
    ),
    rule(Probe::TestOnly, "RFC 6241 §8.6.5.1", "test-only changes the candidate"),
    rule(
        Probe::RollbackOnError,
        "RFC 6241 §8.5",
        "a part of a refused edit stays although rollback-on-error was asked for",
    ),
    rule(Probe::CreateExisting, "RFC 6241 §7.2", "operation create of what exists is accepted"),
    rule(Probe::DeleteMissing, "RFC 6241 §7.2", "operation delete of what is missing is accepted"),
    rule(Probe::RemoveMissing, "RFC 6241 §7.2", "operation remove of what is missing is refused"),
    rule(Probe::Replace, "RFC 6241 §7.2", "operation replace leaves what should be replaced"),
    rule(Probe::EmptyCommit, "RFC 6241 §8.3.4.1", "a commit without changes is refused"),
    rule(Probe::TimerRollsBack, "RFC 6241 §8.4.1", "a confirmed commit is not rolled back by its timer"),
    rule(
        Probe::TimerWhileBusy,
        "RFC 6241 §8.4.1",
        "the confirm timer does not fire while requests keep coming",
    ),
    rule(
        Probe::TimerLockRunning,
        "RFC 6241 §8.4.1",
        "the confirm timer does not roll back while running is locked, and the change stays",
    ),
    rule(
        Probe::TimerLockCandidate,
        "RFC 6241 §8.4.1",
        "the confirm timer does not roll back while the candidate is locked",
    ),
    rule(
        Probe::PersistLoss,
        "RFC 6241 §8.4.1",
        "a confirmed commit with persist does not outlive its session",
    ),
    rule(Probe::ConfirmOther, "RFC 6241 §8.4.1", "another session can't confirm by persist-id"),
    rule(
        Probe::PendingLockOther,
        "RFC 6241 §7.5",
        "another session can lock running while a confirmed commit is pending",
    ),
    rule(
        Probe::ExtendPersistId,
        "RFC 6241 §8.4.1",
        "a confirmed commit with persist-id does not extend the timer",
    ),
    rule(
        Probe::ConfirmNothing,
        "RFC 6241 §8.4.5.1",
        "a commit with a persist-id is accepted although nothing is pending",
    ),
    rule(Probe::ConfirmLate, "RFC 6241 §8.4.5.1", "a confirm after the rollback is answered by ok"),
    rule(Probe::ConfirmWrong, "RFC 6241 §8.4.5.1", "a confirm with a wrong persist-id is accepted"),
    rule(Probe::CancelUnlocked, "RFC 6241 §8.4.4.1", "cancel-commit does not take the change back"),
    rule(
        Probe::CancelLocked,
        "RFC 6241 §8.4.4.1",
        "cancel-commit does not take the change back while running is locked",
    ),
    rule(Probe::NoPersistLoss, "RFC 6241 §8.4.1", "a confirmed commit without persist outlives its session"),
    rule(Probe::CancelWrong, "RFC 6241 §8.4.4.1", "cancel-commit with a wrong persist-id is accepted"),
    rule(Probe::CancelNothing, "RFC 6241 §8.4.4.1", "cancel-commit is accepted although nothing is pending"),
    rule(Probe::CancelOther, "RFC 6241 §8.4.4.1", "another session can't cancel by persist-id"),
    rule(
        Probe::CandidateAfterCancel,
        "RFC 6241 §7.5",
        "the candidate keeps what was cancelled, and its lock is granted",
    ),
    rule(
        Probe::CandidateAfterTimer,
        "RFC 6241 §7.5",
        "the candidate keeps what was rolled back, and its lock is granted",
    ),
    rule(
        Probe::RefusedCommit,
        "RFC 6241 §8.4.1",
        "a confirmed commit that is refused leaves its timer armed",
    ),
    rule(Probe::DefaultsExplicit, "RFC 6243 §3.3", "with-defaults explicit is offered and does not work"),
    rule(
        Probe::DefaultsTagged,
        "RFC 6243 §3.4",
        "with-defaults report-all-tagged is offered and does not work",
    ),
    rule(Probe::DefaultsReportAll, "RFC 6243 §3.1", "with-defaults report-all is offered and does not work"),
    rule(Probe::DefaultsTrim, "RFC 6243 §3.2", "with-defaults trim is offered and does not work"),
    rule(Probe::UserOrder, "RFC 7950 §7.8.6", "yang:insert does not place an entry"),
];

/// The error-tags that an error may have, where the RFCs say one: probe, tags, section.
const TAGS: [(Probe, &[&str], &str); 12] = [
    (Probe::LockRunningOther, &["lock-denied"], "RFC 6241 §7.5"),
    (Probe::LockCandidateOther, &["lock-denied"], "RFC 6241 §7.5"),
    (Probe::DirtyLockOther, &["lock-denied"], "RFC 6241 §7.5"),
    (Probe::CreateExisting, &["data-exists"], "RFC 6241 §7.2"),
    (Probe::DeleteMissing, &["data-missing"], "RFC 6241 §7.2"),
    (Probe::ConfirmNothing, &["invalid-value"], "RFC 6241 §8.4.5.1"),
    (Probe::ConfirmWrong, &["invalid-value"], "RFC 6241 §8.4.5.1"),
    (Probe::CancelWrong, &["invalid-value"], "RFC 6241 §8.4.4.1"),
    (Probe::ErrorUnknownElement, &["unknown-element"], "RFC 7950 §8.3.1"),
    (Probe::ErrorUnknownNamespace, &["unknown-namespace", "unknown-element"], "RFC 6241 appendix A"),
    (Probe::ErrorBadValue, &["invalid-value", "bad-element"], "RFC 7950 §8.3.1"),
    (Probe::ErrorMissingKey, &["missing-element"], "RFC 7950 §8.3.1"),
];

/// Probes of errors that must have the place of what is wrong (RFC 6241 §4.3).
const WITH_PATH: [Probe; 2] = [Probe::ErrorBadValue, Probe::ErrorUnknownElement];

/// Where the device deviates, in the order of the probes.
#[must_use]
pub fn deviations(findings: &Findings) -> Vec<Deviation> {
    let mut found: Vec<Deviation> = RULES
        .iter()
        .filter(|rule| findings.is(rule.probe) == Some(false))
        .map(|rule| Deviation { probe: rule.probe, section: rule.section, text: rule.text.to_owned() })
        .collect();
    for (probe, tags, section) in TAGS {
        let Some(shape) = findings.refusal(probe).filter(|shape| !tags.contains(&shape.tag.as_str())) else {
            continue;
        };
        let text = format!("the error-tag is {} where {} is due", shape.tag, tags.join(" or "));
        found.push(Deviation { probe, section, text });
    }
    let no_path = |probe: &Probe| findings.refusal(*probe).is_some_and(|shape| shape.path.is_none());
    if let Some(probe) = WITH_PATH.into_iter().find(no_path) {
        let text = "errors of content do not say where it is wrong (error-path)".to_owned();
        found.push(Deviation { probe, section: "RFC 6241 §4.3", text });
    }
    let inside = |probe: &&Probe| findings.refusal(**probe).is_some_and(|shape| shape.inside);
    if let Some(probe) = Probe::ALL.iter().find(inside) {
        let text = "rpc-error stands inside of another element than rpc-reply".to_owned();
        found.push(Deviation { probe: *probe, section: "RFC 6241 §4.3", text });
    }
    if let Some(unit) = findings.number(Probe::TimerUnit).filter(|unit| *unit > 1) {
        let text = format!("the confirm timer counts in units of {unit} s instead of seconds");
        found.push(Deviation { probe: Probe::TimerUnit, section: "RFC 6241 §8.4.5.1", text });
    }
    if let Some(settle) = findings.number(Probe::FirstRequest).filter(|settle| *settle > 0) {
        let text = format!("a first request within {settle} ms after hello is lost");
        found.push(Deviation { probe: Probe::FirstRequest, section: "RFC 6241 §8.1", text });
    }
    if let Some(Answer::Text(what)) = findings.get(Probe::DefaultsBasic)
        && let Some((announced, used)) = what.split_once(" is announced, used is ")
    {
        let text = format!("the basic mode is {used} and not {announced} as announced");
        found.push(Deviation { probe: Probe::DefaultsBasic, section: "RFC 6243 §4.3", text });
    }
    if let Some(changed) =
        findings.list(Probe::Spelling).filter(|list| list.iter().any(|v| v.ends_with("lost")))
    {
        let text = format!("values do not come back: {}", changed.join(", "));
        found.push(Deviation { probe: Probe::Spelling, section: "RFC 7950 §9.1", text });
    }
    found.sort_by_key(|deviation| deviation.probe);
    found
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ErrorShape, Finding},
        *,
    };

    fn found(probe: Probe, answer: Answer) -> Vec<Deviation> {
        deviations(&Findings::new(&[Finding { probe, answer, remark: None }]))
    }

    #[test]
    fn every_rule_names_a_section_and_no_probe_has_two() {
        let mut probes: Vec<Probe> = RULES.iter().map(|rule| rule.probe).collect();
        assert!(RULES.iter().all(|rule| rule.section.starts_with("RFC ")));
        let all = probes.len();
        probes.sort();
        probes.dedup();
        assert_eq!(probes.len(), all);
    }

    #[test]
    fn conforming_answers_are_no_deviation() {
        for probe in Probe::ALL {
            assert_eq!(found(*probe, Answer::Yes), [], "{probe}");
            assert_eq!(found(*probe, Answer::NotTried("x".to_owned())), [], "{probe}");
            assert_eq!(found(*probe, Answer::Unknown("x".to_owned())), [], "{probe}");
        }
        assert_eq!(found(Probe::TimerUnit, Answer::Number(1)), []);
    }

    #[test]
    fn other_answers_are_named_with_their_section() {
        let one = |probe, answer| found(probe, answer).remove(0);
        assert_eq!(one(Probe::ConfirmLate, Answer::Accepted).section, "RFC 6241 §8.4.5.1");
        assert!(one(Probe::TimerUnit, Answer::Number(60)).text.contains("60 s"));
        let shape = ErrorShape {
            tag: "operation-failed".to_owned(),
            path: Some("/".to_owned()),
            ..ErrorShape::default()
        };
        let deviation = one(Probe::ErrorUnknownElement, Answer::Refused(shape.clone()));
        assert_eq!(deviation.text, "the error-tag is operation-failed where unknown-element is due");
        let shape = ErrorShape { tag: "unknown-element".to_owned(), path: None, inside: true, ..shape };
        let texts: Vec<String> =
            found(Probe::ErrorUnknownElement, Answer::Refused(shape)).into_iter().map(|d| d.text).collect();
        assert!(texts.iter().any(|text| text.contains("error-path")), "{texts:?}");
        assert!(texts.iter().any(|text| text.contains("inside of another element")), "{texts:?}");
    }
}
