//! What changes running: commits of all kinds (RFC 6241 §8.3, §8.4) and direct edits.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use turnup_netconf::message::{ErrorTag, RpcError};
use turnup_netconf::operation::{Datastore, TestOption};
use turnup_netconf::xml::Element;

use super::{
    Commit, Datastores, Edit, Errors, Pending, SessionId, Source, protocol_error, run_edit, same_datastore,
    validate, whole,
};
use crate::leaves::{Change, Overlay};

/// What happened to a running configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A confirmed commit: in force, and taken back unless confirmed.
    Provisional,
    /// A commit for good, or a direct edit of running.
    Committed,
    /// A confirmed commit was confirmed, along with further changes if there were any in the candidate.
    Confirmed,
    /// A confirmed commit was taken back by `cancel-commit`.
    Cancelled,
    /// A confirmed commit was taken back because the time to confirm it had passed.
    TimedOut,
    /// A confirmed commit was taken back because its session ended or the device started anew.
    Reverted,
}

/// A change of running that is decided and can be applied without fail, as long as nothing else is done to
/// the datastores in between.
#[derive(Debug)]
pub struct Transition {
    /// What kind of change.
    pub kind: Kind,
    /// The session that made it, or to which the confirmed commit belonged that is taken back.
    pub session: SessionId,
    /// The token of the confirmed commit that this begins or ends.
    pub persist: Option<String>,
    /// What changes.
    pub changes: Vec<Change>,
    pending: Next,
    uses_candidate: bool,
}

/// What becomes of the pending confirmed commit.
#[derive(Debug)]
enum Next {
    Keep,
    End,
    Begin { session: SessionId, persist: Option<String>, deadline: Instant },
}

fn invalid_persist_id() -> Errors {
    let info = [Element::base("bad-element").with_text("persist-id")];
    let message = "no confirmed commit with this persist-id is pending";
    vec![protocol_error(ErrorTag::InvalidValue, message).with_info(info)]
}

fn refused(message: &str) -> Errors {
    vec![protocol_error(ErrorTag::InUse, message)]
}

impl Datastores {
    /// `commit`, §8.3.4.1 and §8.4.5.1. A commit while a confirmed commit is pending confirms (or, being
    /// itself confirmed, extends) it, and only who may do so may commit at all.
    pub fn plan_commit(
        &self,
        session: SessionId,
        commit: &Commit,
        now: Instant,
    ) -> Result<Transition, Errors> {
        self.check_lock(session, Datastore::Running)?;
        self.check_lock(session, Datastore::Candidate)?;
        if let Some(pending) = &self.pending {
            pending.check_owner(session, commit.persist_id.as_deref())?;
        } else if commit.persist_id.is_some() {
            return Err(invalid_persist_id());
        }
        let violations = validate::violations(&self.running, &self.candidate);
        if !violations.is_empty() {
            return Err(violations);
        }
        let pending_persist = self.pending.as_ref().and_then(|pending| pending.persist.clone());
        let (kind, persist, next) = match (commit.confirmed, &self.pending) {
            (Some(timeout), _) => {
                let persist = commit.persist.clone().or(pending_persist);
                // Beyond what the clock can say is as good as never.
                let deadline = now.checked_add(timeout).ok_or_else(|| {
                    vec![protocol_error(ErrorTag::InvalidValue, "confirm-timeout is too long")]
                })?;
                (Kind::Provisional, persist.clone(), Next::Begin { session, persist, deadline })
            }
            (None, Some(_)) => (Kind::Confirmed, pending_persist, Next::End),
            (None, None) => (Kind::Committed, None, Next::Keep),
        };
        let changes = self.changes_of(&self.candidate);
        Ok(Transition { kind, session, persist, changes, pending: next, uses_candidate: true })
    }

    /// `cancel-commit`, §8.4.4.1.
    pub fn plan_cancel(&self, session: SessionId, persist_id: Option<&str>) -> Result<Transition, Errors> {
        let Some(pending) = &self.pending else {
            return Err(match persist_id {
                Some(_) => invalid_persist_id(),
                None => vec![protocol_error(ErrorTag::OperationFailed, "no confirmed commit is pending")],
            });
        };
        pending.check_owner(session, persist_id)?;
        Ok(Transition { session, ..self.rollback(Kind::Cancelled, pending) })
    }

    /// The rollback that is due because the time to confirm has passed.
    pub fn plan_expiry(&self, now: Instant) -> Option<Transition> {
        let pending = self.pending.as_ref().filter(|pending| pending.deadline <= now)?;
        Some(self.rollback(Kind::TimedOut, pending))
    }

    /// The rollback that is due because a session ends, §8.4.1.
    pub fn plan_session_end(&self, session: SessionId) -> Option<Transition> {
        let pending = self.pending.as_ref()?;
        let ends = pending.session == session && pending.persist.is_none();
        ends.then(|| self.rollback(Kind::Reverted, pending))
    }

    /// The rollback that is due because the device starts anew, §8.4.1.
    pub fn plan_reboot(&self) -> Option<Transition> {
        self.pending.as_ref().map(|pending| self.rollback(Kind::Reverted, pending))
    }

    /// The device has started anew: nothing is left but running. The transition of
    /// [`Datastores::plan_reboot`] is to be applied before.
    pub fn reboot(&mut self) {
        let running = std::mem::take(&mut self.running);
        let state = std::mem::take(&mut self.state);
        let (phantom_running_lock, phantom_candidate_lock) =
            (self.phantom_running_lock, self.phantom_candidate_lock);
        *self = Self { running, state, phantom_running_lock, phantom_candidate_lock, ..Self::default() };
    }

    /// `edit-config` of running (§8.2): the change, if there is one, and the errors. Both, where
    /// `error-option` says that what was done before an error is to stay.
    pub fn plan_edit_running(&self, session: SessionId, edit: Edit<'_>) -> (Option<Transition>, Errors) {
        if let Err(errors) = self.check_lock(session, Datastore::Running) {
            return (None, errors);
        }
        let mut overlay = Overlay::new();
        let (_, errors) = run_edit(&self.running, &mut overlay, edit, true);
        let tested_only = edit.test_option == TestOption::TestOnly;
        let transition = (!tested_only && (!overlay.is_empty() || errors.is_empty())).then(|| Transition {
            kind: Kind::Committed,
            session,
            persist: None,
            changes: self.changes_of(&overlay),
            pending: Next::Keep,
            uses_candidate: false,
        });
        (transition, errors)
    }

    /// `copy-config` to running (§7.3, §8.2).
    pub fn plan_copy_to_running(&self, session: SessionId, source: Source<'_>) -> Result<Transition, Errors> {
        self.check_lock(session, Datastore::Running)?;
        match source {
            Source::Datastore(Datastore::Running | Datastore::Startup) => Err(same_datastore()),
            Source::Datastore(Datastore::Candidate) => {
                let violations = validate::violations(&self.running, &self.candidate);
                if !violations.is_empty() {
                    return Err(violations);
                }
                Ok(Transition {
                    kind: Kind::Committed,
                    session,
                    persist: None,
                    changes: self.changes_of(&self.candidate),
                    pending: Next::Keep,
                    uses_candidate: true,
                })
            }
            Source::Config(config) => match self.plan_edit_running(session, whole(config)) {
                (Some(transition), errors) if errors.is_empty() => Ok(transition),
                (_, errors) => Err(errors),
            },
        }
    }

    /// Makes a planned change.
    pub fn apply(&mut self, transition: Transition) {
        let Transition { changes, pending, uses_candidate, .. } = transition;
        if uses_candidate {
            self.candidate.clear();
        }
        self.running.apply(&changes);
        // Where the candidate says the same as running now, it is no longer changed there.
        if !self.candidate.is_empty() {
            for change in &changes {
                if self.candidate.get(&change.path) == Some(&change.new) {
                    self.candidate.remove(&change.path);
                }
            }
        }
        match pending {
            Next::Keep => {}
            Next::End => self.pending = None,
            Next::Begin { session, persist, deadline } => {
                let undo = self.pending.take().map(|pending| pending.undo).unwrap_or_default();
                self.pending = Some(Pending { session, persist, deadline, undo });
            }
        }
        if let Some(pending) = &mut self.pending {
            for change in changes {
                pending.undo.entry(change.path).or_insert(change.old);
            }
        }
    }

    fn changes_of(&self, overlay: &Overlay) -> Vec<Change> {
        let change = |(path, new): (&_, &Option<Box<str>>)| Change {
            path: crate::path::Path::clone(path),
            old: self.running.leaves.get(path).cloned(),
            new: new.clone(),
        };
        overlay.iter().map(change).collect()
    }

    fn rollback(&self, kind: Kind, pending: &Pending) -> Transition {
        let mut changes = self.changes_of(&pending.undo);
        changes.retain(|change| change.old != change.new);
        Transition {
            kind,
            session: pending.session,
            persist: pending.persist.clone(),
            changes,
            pending: Next::End,
            uses_candidate: false,
        }
    }
}

impl Pending {
    /// Whether a session may confirm, extend or cancel (§8.4.1): by the token, or without token as the
    /// session that it belongs to.
    fn check_owner(&self, session: SessionId, persist_id: Option<&str>) -> Result<(), Vec<RpcError>> {
        match (&self.persist, persist_id) {
            (Some(token), Some(given)) if token == given => Ok(()),
            (_, Some(_)) => Err(invalid_persist_id()),
            (Some(_), None) => Err(refused("a confirmed commit is pending: give its persist-id")),
            (None, None) if self.session == session => Ok(()),
            (None, None) => Err(refused("a confirmed commit of another session is pending")),
        }
    }
}
