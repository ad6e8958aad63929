//! The steps of an exam, in their order: harmless ones first, those that could harm a badly behaved server last.

use std::time::Duration;

use futures_util::future::BoxFuture;
use turnup_core::exam::Probe;

use super::{Examiner, candidate, commits, locks, peer::Halt, sessions, timers, values};

/// Longest time of a step beside its timers: that of a timer whose unit is not known yet, and some requests.
const LIMIT: Duration = Duration::from_secs(80);

/// What the device and the asker must permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// A session.
    Session,
    /// A candidate that may be edited.
    Candidate,
    /// A commit.
    Commit,
    /// A confirmed commit of any version.
    Confirmed,
    /// One with `persist`.
    Persist,
}

impl Needs {
    pub(super) fn candidate(self) -> bool {
        self >= Self::Candidate
    }

    pub(super) fn commits(self) -> bool {
        self >= Self::Commit
    }

    pub(super) fn confirmed(self) -> bool {
        self >= Self::Confirmed
    }

    pub(super) fn persist(self) -> bool {
        self == Self::Persist
    }
}

/// A step: probes that are made together.
pub(super) struct Step {
    pub(super) probes: &'static [Probe],
    pub(super) needs: Needs,
    /// Whether it may leave anything that must be taken back.
    pub(super) edits: bool,
    /// Confirm timers that it waits for.
    pub(super) timers: u32,
    /// It could harm a badly behaved server.
    pub(super) is_hazard: bool,
    pub(super) run: for<'r, 'e> fn(&'r mut Examiner<'e>) -> BoxFuture<'r, Result<(), Halt>>,
}

impl Step {
    /// How long it may take at a device whose timer counts in this unit.
    pub(super) fn limit(&self, unit: Duration) -> Duration {
        LIMIT + unit * self.timers
    }
}

macro_rules! step {
    ($needs:ident, $edits:literal, $timers:literal, $hazard:literal, $run:path, [$($probe:ident),+ $(,)?]) => {
        Step {
            probes: &[$(Probe::$probe),+],
            needs: Needs::$needs,
            edits: $edits,
            timers: $timers,
            is_hazard: $hazard,
            run: |examiner| Box::pin($run(examiner)),
        }
    };
}

/// All steps.
pub(super) static ALL: &[Step] = &[
    step!(Session, false, 0, false, sessions::algorithms, [SshKeyExchange, SshHostKeys, SshWeak]),
    step!(Session, false, 0, false, sessions::opening, [ConnectTime, FirstRequest]),
    step!(Session, false, 0, false, sessions::framing, [Base11, Base10, CloseSession]),
    step!(Session, false, 0, false, sessions::messages, [Pipelining, FilterEmpty, ErrorUnknownRpc]),
    step!(Session, false, 0, false, sessions::attributes, [AttributesEchoed]),
    step!(Session, false, 0, false, sessions::models, [HelloModules, YangLibrary, Monitoring, GetSchema]),
    step!(Session, false, 0, false, sessions::startup, [Startup, SaveRpc]),
    step!(
        Session,
        true,
        0,
        false,
        locks::of_running,
        [LockRunning, LockRunningOther, LockHolder, LockTwice, UnlockOther]
    ),
    step!(
        Candidate,
        true,
        0,
        false,
        locks::of_candidate,
        [LockCandidate, LockBoth, LockCandidateOther, LockStopsEdit]
    ),
    step!(Session, true, 0, false, locks::after_loss, [LockEndsWithSession]),
    step!(Session, true, 0, false, locks::after_kill, [KillEndsSession, KillFreesLocks]),
    step!(Session, false, 0, false, sessions::at_once, [Sessions]),
    step!(
        Candidate,
        true,
        0,
        false,
        candidate::shared,
        [CandidateShared, DirtyLockOther, DirtyLockOwn, Discard]
    ),
    step!(Candidate, true, 0, false, candidate::dirty_unlock, [DirtyUnlock]),
    step!(Candidate, true, 0, false, candidate::dirty_close, [DirtyClose]),
    step!(Candidate, true, 0, false, candidate::dirty_loss, [DirtyLoss]),
    step!(Candidate, true, 0, false, candidate::validation, [Validate, TestOnly, RollbackOnError]),
    step!(
        Candidate,
        true,
        0,
        false,
        candidate::operations,
        [CreateExisting, DeleteMissing, RemoveMissing, Replace]
    ),
    step!(
        Candidate,
        true,
        0,
        false,
        candidate::errors,
        [ErrorUnknownElement, ErrorUnknownNamespace, ErrorMissingKey, ErrorSeveral]
    ),
    step!(Candidate, true, 0, false, candidate::bad_value, [ErrorBadValue, ValuesChecked]),
    step!(Commit, true, 0, false, commits::empty, [EmptyCommit, LockStopsCommit]),
    step!(Confirmed, true, 1, false, timers::rolls_back, [TimerRollsBack, TimerUnit, CandidateAfterTimer]),
    step!(
        Persist,
        true,
        0,
        false,
        commits::pending,
        [
            PendingLockOwn,
            PendingLockOther,
            PendingLockCandidate,
            CancelWrong,
            CancelUnlocked,
            CandidateAfterCancel
        ]
    ),
    step!(Persist, true, 0, false, commits::nothing_pending, [CancelNothing, ConfirmNothing]),
    step!(Persist, true, 0, false, commits::cancel_locked, [CancelLocked]),
    step!(Persist, true, 0, false, commits::cancel_other, [CancelOther]),
    step!(Persist, true, 1, false, timers::persist_loss, [PersistLoss]),
    step!(Confirmed, true, 0, false, timers::no_persist_loss, [NoPersistLoss]),
    step!(Confirmed, true, 0, false, commits::validate_then_commit, [ValidateKeeps]),
    step!(
        Candidate,
        true,
        1,
        false,
        values::in_force,
        [FilterSubtree, DefaultsBasic, DefaultsExplicit, DefaultsTagged, DefaultsReportAll, DefaultsTrim]
    ),
    step!(Candidate, true, 1, false, values::spelling, [Spelling]),
    step!(Candidate, true, 1, false, values::secret, [Secret]),
    step!(Candidate, true, 0, false, values::user_order, [UserOrder]),
    step!(Confirmed, true, 1, false, timers::lock_candidate, [TimerLockCandidate]),
    step!(Confirmed, true, 1, false, timers::lock_running, [TimerLockRunning]),
    step!(Confirmed, true, 1, false, timers::while_busy, [TimerWhileBusy]),
    step!(Persist, true, 1, false, timers::extend_persist_id, [ExtendPersistId]),
    step!(Persist, true, 1, false, timers::extend_both, [ExtendBoth]),
    step!(Persist, true, 0, false, commits::confirm_other, [ConfirmOther, ConfirmTakesCandidate]),
    step!(Persist, true, 0, false, commits::refused, [RefusedCommit]),
    step!(Persist, true, 1, false, timers::confirm_late, [ConfirmLate]),
    step!(Persist, true, 2, true, timers::extend_same_persist, [ExtendSamePersist]),
    step!(Persist, true, 1, true, timers::confirm_wrong, [ConfirmWrong]),
    step!(Session, false, 0, false, sessions::idle, [IdleTimeout]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_has_one_step() {
        let mut probes: Vec<Probe> = ALL.iter().flat_map(|step| step.probes.iter().copied()).collect();
        // These are found on the way.
        probes.extend([Probe::FilterNone, Probe::CommitTime]);
        probes.sort();
        assert_eq!(probes, Probe::ALL);
    }

    #[test]
    fn hazards_come_last_and_need_a_confirmed_commit() {
        let first = ALL.iter().position(|step| step.is_hazard).unwrap();
        let hazards = ALL.iter().filter(|step| step.is_hazard);
        assert!(hazards.clone().all(|step| step.needs == Needs::Persist && step.edits));
        assert!(ALL[first..].iter().all(|step| step.is_hazard || step.needs == Needs::Session));
    }
}
