//! Which datastores a device's session locks, and how they are unlocked (RFC 6241 §7.5, §7.6, §8.3.5.2).
//!
//! The profile of the platform says where to begin. Servers differ: some can't lock running, on some the locks of
//! running and candidate exclude each other. There the lock of the candidate alone protects the edit, as nothing else
//! can put it in force.

use turnup_core::{
    failure::{Failure, FailureClass},
    profile::{Locks, Profile, error_rule::ErrorRule},
};
use turnup_netconf::{
    message::{Reply, RpcError},
    operation::{Datastore, Operation},
};

use crate::classify::{self, Step};

/// The datastores that a session locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockSet {
    RunningAndCandidate,
    Candidate,
    Running,
}

impl LockSet {
    /// What the profile asks for at a device with or without a candidate.
    pub(super) fn of(profile: &Profile, has_candidate: bool) -> Self {
        match (has_candidate, profile.locks) {
            (false, _) => Self::Running,
            (true, Locks::Candidate) => Self::Candidate,
            (true, Locks::RunningAndCandidate) => Self::RunningAndCandidate,
        }
    }

    /// In the order of locking.
    pub(super) const fn datastores(self) -> &'static [Datastore] {
        match self {
            Self::RunningAndCandidate => &[Datastore::Running, Datastore::Candidate],
            Self::Candidate => &[Datastore::Candidate],
            Self::Running => &[Datastore::Running],
        }
    }

    pub(super) fn locks_running(self) -> bool {
        self != Self::Candidate
    }

    /// The datastore whose lock shows whether another session is at work.
    pub(super) fn probe(self) -> Datastore {
        if self.locks_running() { Datastore::Running } else { Datastore::Candidate }
    }

    pub(super) fn lock_requests(self) -> Vec<Operation> {
        self.datastores().iter().copied().map(Operation::lock).collect()
    }

    pub(super) fn unlock_requests(self) -> Vec<Operation> {
        self.datastores().iter().rev().copied().map(Operation::unlock).collect()
    }
}

/// What the replies to [`LockSet::lock_requests`] mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LockOutcome {
    /// All locks are held.
    Held,
    /// Running can't be locked here, or not together with the candidate: ask for the candidate's lock alone.
    CandidateOnly,
    /// The candidate holds changes of another, and no session holds its lock.
    DirtyCandidate(Vec<Failure>),
    /// Not held.
    Refused(Vec<Failure>),
}

/// Judges the replies to the lock requests of `set`, on the session with this number. A lock is held only after
/// `<ok/>` (RFC 6241 §7.5).
pub(super) fn judge(set: LockSet, replies: &[Reply], own_session: u32, rules: &[ErrorRule]) -> LockOutcome {
    if replies.len() == set.datastores().len() && replies.iter().all(Reply::has_ok) {
        return LockOutcome::Held;
    }
    let refused: Vec<(Datastore, &Reply)> =
        set.datastores().iter().copied().zip(replies).filter(|(_, reply)| !reply.has_ok()).collect();
    let failures: Vec<Failure> = refused
        .iter()
        .flat_map(|(datastore, reply)| {
            let failures = classify::of_reply_by(rules, Step::Lock, reply).into_iter();
            failures.map(|failure| Failure {
                message: format!("lock of {}: {}", datastore.as_str(), failure.message),
                ..failure
            })
        })
        .collect();
    let is_own = |reply: &Reply| reply.errors().iter().any(|error| error.session_id() == Some(own_session));
    match (set, refused.as_slice()) {
        (LockSet::RunningAndCandidate, [(_, reply)]) if is_own(reply) => LockOutcome::CandidateOnly,
        (LockSet::RunningAndCandidate, [(Datastore::Running, reply)]) if is_not_lockable(reply, rules) => {
            LockOutcome::CandidateOnly
        }
        (_, [(Datastore::Candidate, reply)]) if reply.is_error() && !has_holder(reply) => {
            LockOutcome::DirtyCandidate(failures)
        }
        _ => LockOutcome::Refused(failures),
    }
}

/// Whether the lock was refused for another reason than that it is held or not permitted.
pub(super) fn is_not_lockable(reply: &Reply, rules: &[ErrorRule]) -> bool {
    reply.is_error()
        && !has_holder(reply)
        && classify::of_reply_by(rules, Step::Lock, reply).iter().all(|failure| {
            !matches!(failure.class, FailureClass::Distrusted)
                && failure.error_tag.as_deref().is_none_or(|tag| !is_held(tag))
        })
}

/// Error-tags by which a server says that a lock is held (RFC 6241 appendix A).
fn is_held(tag: &str) -> bool {
    ["lock-denied", "in-use", "resource-denied"].contains(&tag)
}

/// Whether the refusal names a session that holds the lock.
fn has_holder(reply: &Reply) -> bool {
    reply.errors().iter().filter_map(RpcError::session_id).any(|id| id != 0)
}

#[cfg(test)]
mod tests {
    use turnup_netconf::message::{ErrorTag, ErrorType};

    use super::*;

    const BOTH: LockSet = LockSet::RunningAndCandidate;

    fn error(tag: &str) -> Reply {
        Reply::with_errors([RpcError::new(ErrorType::Protocol, ErrorTag::from(tag))])
    }

    fn denied(holder: u32) -> Reply {
        Reply::with_errors([RpcError::lock_denied(holder)])
    }

    #[test]
    fn lock_is_held_only_after_ok() {
        assert_eq!(judge(BOTH, &[Reply::ok(), Reply::ok()], 9, &[]), LockOutcome::Held);
        assert_eq!(judge(LockSet::Candidate, &[Reply::ok()], 9, &[]), LockOutcome::Held);
        for silent in [Reply::default(), Reply::with_data([])] {
            let outcome = judge(BOTH, &[Reply::ok(), silent], 9, &[]);
            assert!(matches!(outcome, LockOutcome::Refused(_)), "{outcome:?}");
        }
        assert!(matches!(judge(BOTH, &[Reply::ok()], 9, &[]), LockOutcome::Refused(_)));
    }

    #[test]
    fn candidate_lock_suffices_where_running_has_none() {
        for tag in ["operation-failed", "operation-not-supported", "unknown-element", "invalid-value"] {
            assert_eq!(judge(BOTH, &[error(tag), Reply::ok()], 9, &[]), LockOutcome::CandidateOnly, "{tag}");
        }
        for held in [denied(4), denied(0), error("in-use"), error("resource-denied"), error("access-denied")]
        {
            let outcome = judge(BOTH, &[held, Reply::ok()], 9, &[]);
            assert!(matches!(outcome, LockOutcome::Refused(_)), "{outcome:?}");
        }
    }

    #[test]
    fn lock_denied_by_the_own_session_is_not_busy() {
        assert_eq!(judge(BOTH, &[Reply::ok(), denied(9)], 9, &[]), LockOutcome::CandidateOnly);
        assert_eq!(judge(BOTH, &[denied(9), Reply::ok()], 9, &[]), LockOutcome::CandidateOnly);
        assert!(matches!(judge(BOTH, &[Reply::ok(), denied(8)], 9, &[]), LockOutcome::Refused(_)));
    }

    #[test]
    fn dirty_candidate_is_told_from_a_held_one() {
        for set in
            [(BOTH, vec![Reply::ok(), error("operation-failed")]), (LockSet::Candidate, vec![denied(0)])]
        {
            let outcome = judge(set.0, &set.1, 9, &[]);
            assert!(matches!(outcome, LockOutcome::DirtyCandidate(_)), "{outcome:?}");
        }
        let outcome = judge(LockSet::Candidate, &[denied(3)], 9, &[]);
        let LockOutcome::Refused(failures) = outcome else { panic!("{outcome:?}") };
        assert!(failures[0].message.starts_with("lock of candidate:"), "{failures:?}");
    }
}
