//! The device exam: probes that find out how a device behaves, what they found, where that deviates from the RFCs, and
//! the platform profile that follows from it. The worker runs the probes; everything here is pure.

pub mod deviation;
pub mod scratch;
pub mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::scratch::Scratch;
use crate::{
    failure::FailureClass,
    profile::error_rule::{ErrorFacts, ErrorRule, class_by},
    words::words,
};

/// Shortest and longest exam, in seconds.
pub const TIME_S: std::ops::RangeInclusive<u32> = 30..=600;
/// How long an exam may take unless its asker says otherwise, in seconds.
pub const USUAL_TIME_S: u32 = 240;
/// Most sessions that are opened at once.
pub const MAX_SESSIONS: u8 = 16;
/// Sessions that are opened at once unless the asker says otherwise.
pub const USUAL_SESSIONS: u8 = 8;
/// Longest wait for an idle session to be closed, in seconds.
pub const MAX_IDLE_S: u32 = 300;

/// What an exam is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exam {
    /// The exam's id, and the `persist` token of all its commits.
    pub id: Uuid,
    /// Where it works: the first that the device accepts.
    pub scratches: Vec<Scratch>,
    /// What it may do.
    pub options: ExamOptions,
}

/// What an exam may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExamOptions {
    /// Nothing is committed and running is never edited.
    pub candidate_only: bool,
    /// Probes that could harm a badly behaved server are left out.
    pub careful: bool,
    /// Probes are also made that the device has shown to be harmful on servers of its kind.
    pub dangerous: bool,
    /// How long an idle session is watched, in seconds; 0: not at all.
    pub idle_s: u32,
    /// Most sessions at once.
    pub sessions: u8,
    /// How long it may take, in seconds.
    pub time_s: u32,
}

impl Default for ExamOptions {
    fn default() -> Self {
        Self {
            candidate_only: false,
            careful: false,
            dangerous: false,
            idle_s: 0,
            sessions: USUAL_SESSIONS,
            time_s: USUAL_TIME_S,
        }
    }
}

impl ExamOptions {
    /// What is wrong with the options: the field and why.
    ///
    /// # Errors
    /// The first field that can't be meant.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let within = |field, given: u32, least: u32, most: u32| match (least..=most).contains(&given) {
            true => Ok(()),
            false => Err((field, format!("is a number from {least} to {most}"))),
        };
        within("time_s", self.time_s, *TIME_S.start(), *TIME_S.end())?;
        within("idle_s", self.idle_s, 0, MAX_IDLE_S)?;
        within("sessions", self.sessions.into(), 1, MAX_SESSIONS.into())?;
        if self.idle_s >= self.time_s {
            return Err(("idle_s", "must be less than time_s".to_owned()));
        }
        if self.careful && self.dangerous {
            return Err(("dangerous", "contradicts 'careful'".to_owned()));
        }
        Ok(())
    }
}

words!(
    /// What is found out. The word is its name in the output, the title what it asks.
    Probe, "probe" {
        // SSH and sessions.
        /// Key exchange algorithms.
        SshKeyExchange = "ssh-key-exchange" / "Which key exchange algorithms does it offer?",
        /// Host key algorithms.
        SshHostKeys = "ssh-host-keys" / "Which kinds of host keys does it offer?",
        /// Weak algorithms without which there is no connection.
        SshWeak = "ssh-weak-needed" / "Which weak SSH algorithms must be allowed?",
        /// Milliseconds from TCP to hello.
        ConnectTime = "connect-time" / "How long does a session take to open, in ms?",
        /// Milliseconds between hello and the first request that it needs.
        FirstRequest = "first-request" / "How long a pause does it need after hello, in ms?",
        /// base:1.1.
        Base11 = "base-1.1" / "Does a session with base:1.1 work?",
        /// base:1.0.
        Base10 = "base-1.0" / "Does a session with base:1.0 alone work?",
        /// Several requests in one write.
        Pipelining = "pipelining" / "Are requests sent together answered in order?",
        /// Attributes of `<rpc>`.
        AttributesEchoed = "attributes-echoed" / "Does a reply repeat the attributes of its rpc?",
        /// Sessions at once.
        Sessions = "sessions" / "How many sessions can be open at once?",
        /// `close-session`.
        CloseSession = "close-session" / "Is close-session answered by ok?",
        /// `kill-session`.
        KillEndsSession = "kill-ends-session" / "Does kill-session end the other session?",
        /// The locks of a killed session.
        KillFreesLocks = "kill-frees-locks" / "Does kill-session free the locks of the other session?",
        /// Seconds after which an idle session is closed.
        IdleTimeout = "idle-timeout" / "After how many idle seconds is a session closed?",
        // Models.
        /// Modules in the hello.
        HelloModules = "hello-modules" / "How many YANG modules does its hello list?",
        /// YANG library.
        YangLibrary = "yang-library" / "How many modules does its YANG library list?",
        /// Schemas of ietf-netconf-monitoring.
        Monitoring = "monitoring" / "How many schemas does ietf-netconf-monitoring list?",
        /// Texts of modules.
        GetSchema = "get-schema" / "Does get-schema give the text of a module?",
        // Reading.
        /// Subtree filters.
        FilterSubtree = "filter-subtree" / "Does a subtree filter select just what it names?",
        /// An empty filter.
        FilterEmpty = "filter-empty" / "Does an empty filter select nothing?",
        /// No filter.
        FilterNone = "filter-none" / "How many nodes has running, without a filter?",
        // Locks.
        /// `lock` of running.
        LockRunning = "lock-running" / "Can running be locked?",
        /// `lock` of the candidate.
        LockCandidate = "lock-candidate" / "Can the candidate be locked?",
        /// Both locks in one session.
        LockBoth = "lock-both" / "Can one session hold both locks?",
        /// A second session's lock of running.
        LockRunningOther = "lock-running-other" / "Is another session denied the lock of running?",
        /// A second session's lock of the candidate.
        LockCandidateOther = "lock-candidate-other" / "Is another session denied the lock of the candidate?",
        /// The `session-id` of lock-denied.
        LockHolder = "lock-names-holder" / "Does lock-denied name the session that holds the lock?",
        /// A second lock by the same session.
        LockTwice = "lock-twice" / "Is the same lock denied to the session that holds it?",
        /// A second session's unlock.
        UnlockOther = "unlock-other" / "Is another session denied to unlock?",
        /// A second session's edit.
        LockStopsEdit = "lock-stops-edit" / "Does the candidate's lock keep other sessions from editing?",
        /// A second session's commit.
        LockStopsCommit = "lock-stops-commit" / "Does the lock of running keep other sessions from committing?",
        /// The end of the holder.
        LockEndsWithSession = "lock-ends-with-session" / "Does a lost session free its locks?",
        // The candidate.
        /// One candidate for all sessions.
        CandidateShared = "candidate-shared" / "Do all sessions share one candidate?",
        /// Lock of a changed candidate by another.
        DirtyLockOther = "dirty-lock-other" / "Is another session denied the lock of a changed candidate?",
        /// Lock of a changed candidate by its editor.
        DirtyLockOwn = "dirty-lock-own" / "Is the editor denied the lock of a changed candidate?",
        /// `unlock` discards.
        DirtyUnlock = "dirty-unlock" / "Does unlock discard the changes?",
        /// `close-session` discards.
        DirtyClose = "dirty-close" / "Does the end of the locking session discard the changes?",
        /// A lost connection discards.
        DirtyLoss = "dirty-loss" / "Does the loss of the locking session discard the changes?",
        /// `discard-changes`.
        Discard = "discard-changes" / "Does discard-changes discard the changes?",
        // Edits.
        /// When values are checked.
        ValuesChecked = "values-checked" / "Which operation checks values?",
        /// `validate`.
        Validate = "validate" / "Does validate accept a valid candidate?",
        /// `validate`, then `commit`.
        ValidateKeeps = "validate-then-commit" / "Does a commit after validate put the change in force?",
        /// `test-only`.
        TestOnly = "test-only" / "Does test-only leave the candidate as it is?",
        /// `rollback-on-error`.
        RollbackOnError = "rollback-on-error" / "Does rollback-on-error leave nothing of a refused edit?",
        /// `create` of what exists.
        CreateExisting = "create-existing" / "Is operation create of what exists refused?",
        /// `delete` of what is missing.
        DeleteMissing = "delete-missing" / "Is operation delete of what is missing refused?",
        /// `remove` of what is missing.
        RemoveMissing = "remove-missing" / "Is operation remove of what is missing accepted?",
        /// `replace`.
        Replace = "replace" / "Does operation replace replace?",
        // Commits.
        /// Commit of an unchanged candidate.
        EmptyCommit = "empty-commit" / "Is a commit without changes accepted?",
        /// Median of commits.
        CommitTime = "commit-time" / "How long does a commit take, in ms (median)?",
        /// The confirm timer.
        TimerRollsBack = "timer-rolls-back" / "Does a confirmed commit roll back by itself?",
        /// Its unit.
        TimerUnit = "timer-unit" / "In which unit does the confirm timer count, in seconds?",
        /// Requests while it runs.
        TimerWhileBusy = "timer-while-busy" / "Does the timer fire while requests keep coming?",
        /// Under the lock of running.
        TimerLockRunning = "timer-lock-running" / "Does the timer roll back while running is locked?",
        /// Under the lock of the candidate.
        TimerLockCandidate = "timer-lock-candidate" / "Does the timer roll back while the candidate is locked?",
        /// A lost session, with `persist`.
        PersistLoss = "persist-loss" / "Does a confirmed commit with persist outlive its session?",
        /// A lost session, without `persist`.
        NoPersistLoss = "no-persist-loss" / "Does the end of the session take back a commit without persist?",
        /// Confirmed by another session.
        ConfirmOther = "confirm-other" / "Can another session confirm by persist-id?",
        /// The lock of running by the committing session.
        PendingLockOwn = "pending-lock-own" / "Can its session lock running while a commit is pending?",
        /// The lock of running by another session.
        PendingLockOther = "pending-lock-other" / "Is another session denied the lock of running meanwhile?",
        /// The lock of the candidate.
        PendingLockCandidate = "pending-lock-candidate" / "Can the candidate be locked while a commit is pending?",
        /// Extension by `persist-id` alone.
        ExtendPersistId = "extend-persist-id" / "Does a confirmed commit with persist-id extend the timer?",
        /// Extension by the same `persist`.
        ExtendSamePersist = "extend-same-persist" / "Does one with the same persist extend the timer?",
        /// Extension by both.
        ExtendBoth = "extend-both" / "Does one with persist-id and persist extend the timer?",
        /// Confirm with nothing pending.
        ConfirmNothing = "confirm-nothing" / "Is a persist-id refused when nothing is pending?",
        /// Confirm after the rollback.
        ConfirmLate = "confirm-late" / "Is a confirm refused after the rollback?",
        /// Confirm with a wrong token.
        ConfirmWrong = "confirm-wrong" / "Is a confirm with a wrong persist-id refused?",
        /// Cancel after unlock.
        CancelUnlocked = "cancel-unlocked" / "Does cancel-commit take the change back without a lock of running?",
        /// Cancel under the lock of running.
        CancelLocked = "cancel-locked" / "Does cancel-commit take the change back while running is locked?",
        /// Cancel with a wrong token.
        CancelWrong = "cancel-wrong" / "Is cancel-commit with a wrong persist-id refused?",
        /// Cancel with nothing pending.
        CancelNothing = "cancel-nothing" / "Is cancel-commit refused when nothing is pending?",
        /// Cancel by another session.
        CancelOther = "cancel-other" / "Can another session cancel by persist-id?",
        /// The candidate after `cancel-commit`.
        CandidateAfterCancel = "candidate-after-cancel" / "Does the candidate lose the change with cancel-commit?",
        /// The candidate after the rollback.
        CandidateAfterTimer = "candidate-after-timer" / "Does the candidate lose the change with the rollback?",
        /// Edits before the confirm.
        ConfirmTakesCandidate = "confirm-takes-edits" / "Does a confirm also commit later edits?",
        /// What a refused confirmed commit leaves.
        RefusedCommit = "refused-commit" / "Does a refused confirmed commit leave nothing pending?",
        // Values.
        /// How leaves come back.
        Spelling = "value-spelling" / "Which values come back in another spelling?",
        /// A secret.
        Secret = "secret" / "How does a secret come back?",
        /// Entries ordered by the user.
        UserOrder = "user-order" / "Does yang:insert place an entry?",
        /// basic-mode.
        DefaultsBasic = "defaults-basic" / "Which with-defaults mode does it use by itself?",
        /// explicit.
        DefaultsExplicit = "defaults-explicit" / "Does with-defaults explicit work?",
        /// report-all-tagged.
        DefaultsTagged = "defaults-tagged" / "Does with-defaults report-all-tagged work?",
        /// report-all.
        DefaultsReportAll = "defaults-report-all" / "Does with-defaults report-all work?",
        /// trim.
        DefaultsTrim = "defaults-trim" / "Does with-defaults trim work?",
        // Errors.
        /// An element that the model lacks.
        ErrorUnknownElement = "error-unknown-element" / "How is an unknown element refused?",
        /// A namespace that no module has.
        ErrorUnknownNamespace = "error-unknown-namespace" / "How is an unknown namespace refused?",
        /// A value that its type forbids.
        ErrorBadValue = "error-bad-value" / "How is a bad value refused?",
        /// An entry without key.
        ErrorMissingKey = "error-missing-key" / "How is a list entry without key refused?",
        /// An operation that there isn't.
        ErrorUnknownRpc = "error-unknown-rpc" / "How is an unknown operation refused?",
        /// Two mistakes in one edit.
        ErrorSeveral = "error-several" / "How many errors does an edit with two mistakes get?",
        // Startup.
        /// `:startup`.
        Startup = "startup" / "Is there a startup datastore?",
        /// An RPC that saves.
        SaveRpc = "save-rpc" / "Which RPC saves running?",
    }
);

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "value")]
pub enum Answer {
    /// The answer to the probe's question is yes.
    Yes,
    /// It is no.
    No,
    /// A number, in the probe's unit.
    Number(u64),
    /// A word of the probe's own.
    Text(String),
    /// Several of them.
    List(Vec<String>),
    /// The device refused, as the probe expects.
    Refused(ErrorShape),
    /// The device accepted what it should have refused.
    Accepted,
    /// Not tried, and why.
    NotTried(String),
    /// Tried, and not found out: why.
    Unknown(String),
}

/// How a device refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorShape {
    /// The phase of a deployment in which such an error would come, see [`crate::profile::error_rule::PHASES`].
    pub phase: String,
    /// error-type, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// error-tag.
    pub tag: String,
    /// error-app-tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_tag: Option<String>,
    /// error-path, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// error-message, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// bad-element of error-info.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_element: Option<String>,
    /// session-id of error-info.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<u32>,
    /// Errors in the reply.
    pub errors: usize,
    /// The errors stand inside of another element than `rpc-reply`.
    pub inside: bool,
    /// What the error means by turnup's general rules.
    pub class: Option<FailureClass>,
}

impl ErrorShape {
    /// What the error means on a platform with these rules.
    #[must_use]
    pub fn class_by(&self, rules: &[ErrorRule]) -> Option<FailureClass> {
        let facts = ErrorFacts {
            phase: &self.phase,
            error_tag: &self.tag,
            error_app_tag: self.app_tag.as_deref(),
            path: self.path.as_deref(),
            message: self.message.as_deref(),
            bad_element: self.bad_element.as_deref(),
        };
        class_by(rules, &facts).or(self.class)
    }
}

/// The answer to one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The probe.
    pub probe: Probe,
    /// What it found.
    #[serde(flatten)]
    pub answer: Answer,
    /// What else is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// The answers by probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(BTreeMap<Probe, Answer>);

impl Findings {
    /// From a list; the last answer to a probe counts.
    pub fn new<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Self {
        Self(findings.into_iter().map(|finding| (finding.probe, finding.answer.clone())).collect())
    }

    /// The answer to a probe.
    #[must_use]
    pub fn get(&self, probe: Probe) -> Option<&Answer> {
        self.0.get(&probe)
    }

    /// Yes or no, where that is known. A refusal that a probe expects is a yes.
    #[must_use]
    pub fn is(&self, probe: Probe) -> Option<bool> {
        match self.get(probe)? {
            Answer::Yes | Answer::Refused(_) => Some(true),
            Answer::No | Answer::Accepted => Some(false),
            _ => None,
        }
    }

    /// The number, where there is one.
    #[must_use]
    pub fn number(&self, probe: Probe) -> Option<u64> {
        match self.get(probe)? {
            Answer::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// How the device refused.
    #[must_use]
    pub fn refusal(&self, probe: Probe) -> Option<&ErrorShape> {
        match self.get(probe)? {
            Answer::Refused(shape) => Some(shape),
            _ => None,
        }
    }

    /// The word, where there is one.
    #[must_use]
    pub fn text(&self, probe: Probe) -> Option<&str> {
        match self.get(probe)? {
            Answer::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The words, where there are some.
    #[must_use]
    pub fn list(&self, probe: Probe) -> Option<&[String]> {
        match self.get(probe)? {
            Answer::List(list) => Some(list),
            _ => None,
        }
    }
}

/// What an exam found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamReport {
    /// The scratch that was used: its name and the path of its entry.
    pub scratch: Option<String>,
    /// The answers, in the order in which they were found.
    pub findings: Vec<Finding>,
    /// Where the device is not as it was before; empty if it is.
    pub left: Vec<String>,
    /// Whether everything was given back: nothing is pending, locked or left in the candidate.
    pub is_clean: bool,
    /// The tokens that the device's lease named as pending were cancelled.
    pub tokens_cancelled: bool,
    /// Whether running was compared as a whole, before and after.
    pub running_compared: bool,
    /// Why it ended before all probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_names_fit_their_column_and_ask() {
        assert!(Probe::ALL.len() >= 60);
        for probe in Probe::ALL {
            assert!(probe.word().len() <= 24, "{probe}");
            assert!(probe.title().ends_with('?') && probe.title().len() <= 72, "{probe}");
        }
    }

    #[test]
    fn options_are_bounded() {
        assert_eq!(ExamOptions::default().check(), Ok(()));
        let bad = |options: ExamOptions| options.check().unwrap_err().0;
        assert_eq!(bad(ExamOptions { time_s: 601, ..ExamOptions::default() }), "time_s");
        assert_eq!(bad(ExamOptions { idle_s: 301, ..ExamOptions::default() }), "idle_s");
        assert_eq!(bad(ExamOptions { sessions: 0, ..ExamOptions::default() }), "sessions");
        assert_eq!(bad(ExamOptions { idle_s: 60, time_s: 60, ..ExamOptions::default() }), "idle_s");
        assert_eq!(
            bad(ExamOptions { careful: true, dangerous: true, ..ExamOptions::default() }),
            "dangerous"
        );
    }

    #[test]
    fn finding_reads_as_it_was_written() {
        let shape = ErrorShape { tag: "in-use".to_owned(), errors: 1, ..ErrorShape::default() };
        for answer in
            [Answer::Yes, Answer::Number(3), Answer::Refused(shape), Answer::List(vec!["a".to_owned()])]
        {
            let finding = Finding { probe: Probe::LockTwice, answer, remark: None };
            let text = serde_json::to_string(&finding).unwrap();
            assert!(text.starts_with(r#"{"probe":"lock-twice","result":""#), "{text}");
            assert_eq!(serde_json::from_str::<Finding>(&text).unwrap(), finding);
        }
    }
}
