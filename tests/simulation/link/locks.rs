//! Which datastores a session locks: what `turnup-worker`'s `device::locks` decides.

use turnup_core::profile::{Locks, Profile};
use turnup_netconf::{
    message::{ErrorTag, RpcError},
    operation::Datastore::{self, Candidate, Running},
};

use super::errors;
use crate::device::{Ask, Reply};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockSet {
    RunningAndCandidate,
    Candidate,
}

impl LockSet {
    pub(super) fn of(profile: &Profile) -> Self {
        match profile.locks {
            Locks::Candidate => Self::Candidate,
            Locks::RunningAndCandidate => Self::RunningAndCandidate,
        }
    }

    pub(super) const fn datastores(self) -> &'static [Datastore] {
        match self {
            Self::RunningAndCandidate => &[Running, Candidate],
            Self::Candidate => &[Candidate],
        }
    }

    /// The datastore whose lock shows whether another session is at work.
    pub(super) fn probe(self) -> Datastore {
        if self == Self::Candidate { Candidate } else { Running }
    }

    pub(super) fn lock_requests(self) -> Vec<Ask> {
        self.datastores().iter().copied().map(Ask::Lock).collect()
    }

    pub(super) fn unlock_requests(self) -> Vec<Ask> {
        self.datastores().iter().rev().copied().map(Ask::Unlock).collect()
    }

    /// Unlocks the datastores whose locks were granted.
    pub(super) fn held(self, replies: &[Reply]) -> Vec<Ask> {
        let held = self.datastores().iter().zip(replies).filter(|(_, reply)| !reply.is_error());
        held.rev().map(|(datastore, _)| Ask::Unlock(*datastore)).collect()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum LockOutcome {
    Held,
    CandidateOnly,
    DirtyCandidate,
    Refused,
}

pub(super) fn judge(set: LockSet, replies: &[Reply], own_session: u32) -> LockOutcome {
    let refused: Vec<(Datastore, &Reply)> =
        set.datastores().iter().copied().zip(replies).filter(|(_, reply)| reply.is_error()).collect();
    let is_own = |reply: &Reply| errors(reply).iter().any(|error| error.session_id() == Some(own_session));
    match (set, refused.as_slice()) {
        (_, []) => LockOutcome::Held,
        (LockSet::RunningAndCandidate, [(_, reply)]) if is_own(reply) => LockOutcome::CandidateOnly,
        (LockSet::RunningAndCandidate, [(Running, reply)]) if is_not_lockable(reply) => {
            LockOutcome::CandidateOnly
        }
        (_, [(Candidate, reply)]) if !has_holder(reply) => LockOutcome::DirtyCandidate,
        _ => LockOutcome::Refused,
    }
}

/// Whether the lock was refused for another reason than that it is held.
pub(super) fn is_not_lockable(reply: &Reply) -> bool {
    let is_held =
        |tag: &ErrorTag| matches!(tag, ErrorTag::LockDenied | ErrorTag::InUse | ErrorTag::ResourceDenied);
    reply.is_error() && !has_holder(reply) && !errors(reply).iter().any(|error| is_held(&error.tag))
}

fn has_holder(reply: &Reply) -> bool {
    errors(reply).iter().filter_map(RpcError::session_id).any(|id| id != 0)
}
