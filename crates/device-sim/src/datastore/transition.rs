//! What changes running: commits of all kinds (RFC 6241 §8.3, §8.4) and direct edits.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use turnup_netconf::message::{ErrorTag, RpcError};
use turnup_netconf::operation::{Datastore, TestOption};
use turnup_netconf::xml::Element;

use super::{
    Commit, Datastores, Edit, Errors, Pending, SessionId, Source, Timer, protocol_error, run_edit,
    same_datastore, validate, whole,
};
use crate::leaves::{Change, Overlay};
use crate::personality::{
    CandidateCopy, CommitWhilePending, Extend, LatePersistId, Persistence, Personality, RefusedCommit,
    UnderLock, Validation,
};

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
    /// A confirmed commit was taken back because its session ended or the device started anew; or the device
    /// started anew without what had not been saved.
    Reverted,
    /// Running was saved: the device starts with it.
    Saved,
    /// A confirmed commit was refused, and yet its rollback is armed.
    Armed,
    /// The rollback of a confirmed commit failed within the device: its change stays for good.
    Forgotten,
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
    /// What is pending afterwards.
    pending: Option<Pending>,
    /// What is armed afterwards.
    timers: Vec<Timer>,
    backup: Backup,
    candidate: Candidate,
}

/// What becomes of the record of what running held before.
#[derive(Debug, Clone, Copy)]
enum Backup {
    Keep,
    /// It begins, or goes on.
    Begin,
    Drop,
}

/// What becomes of the candidate.
#[derive(Debug, Clone, Copy)]
enum Candidate {
    Keep,
    Committed,
}

fn invalid_persist_id() -> Errors {
    let info = [Element::base("bad-element").with_text("persist-id")];
    let message = "no confirmed commit with this persist-id is pending";
    vec![protocol_error(ErrorTag::InvalidValue, message).with_info(info)]
}

fn refused(message: &str) -> Errors {
    vec![protocol_error(ErrorTag::InUse, message)]
}

fn failed(message: &str) -> Errors {
    vec![protocol_error(ErrorTag::OperationFailed, message)]
}

impl Datastores {
    /// `commit`, §8.3.4.1 and §8.4.5.1. By default, a commit while a confirmed commit is pending confirms (or,
    /// being itself confirmed, extends) it, and only who may do so may commit at all.
    pub fn plan_commit(
        &self,
        session: SessionId,
        commit: &Commit,
        now: Instant,
    ) -> Result<Transition, Errors> {
        let transition = self.plan_permitted_commit(session, commit, now)?;
        match transition.candidate {
            Candidate::Keep => Ok(transition),
            Candidate::Committed => match self.candidate_violations() {
                violations if violations.is_empty() => Ok(transition),
                violations => Err(violations),
            },
        }
    }

    /// What a commit leaves that is refused although the session may commit: a change of what is pending or
    /// armed, never of running.
    pub fn plan_refused_commit(
        &self,
        session: SessionId,
        commit: &Commit,
        now: Instant,
    ) -> Option<Transition> {
        if self.personality.refused_commit == RefusedCommit::Forgotten {
            return None;
        }
        let transition = self.plan_permitted_commit(session, commit, now).ok()?;
        let is_checked = matches!(transition.candidate, Candidate::Committed);
        let kind = if commit.confirmed.is_some() { Kind::Armed } else { transition.kind };
        let has_effect = kind != Kind::Committed || self.backup.is_some();
        let left = Transition { kind, changes: Vec::new(), candidate: Candidate::Keep, ..transition };
        (is_checked && has_effect).then_some(left)
    }

    fn candidate_violations(&self) -> Errors {
        validate::candidate(&self.running, &self.candidate, self.personality.edits)
    }

    /// The commit, if the session may commit; what it commits may be invalid.
    fn plan_permitted_commit(
        &self,
        session: SessionId,
        commit: &Commit,
        now: Instant,
    ) -> Result<Transition, Errors> {
        let personality = &self.personality;
        if commit.confirmed.is_none()
            && personality.commit_while_pending == CommitWhilePending::AnyKeepsTimer
            && self.owns_pending(session, commit.persist_id.as_deref())
        {
            return Ok(self.confirming(session));
        }
        self.check_lock(session, Datastore::Running)?;
        self.check_lock(session, Datastore::Candidate)?;
        if self.pending.is_none() && commit.persist_id.is_some() {
            match personality.late_persist_id {
                LatePersistId::InvalidValue => return Err(invalid_persist_id()),
                LatePersistId::OperationFailed => {
                    return Err(failed("persistent confirmed commit not active"));
                }
                LatePersistId::Commits => {}
            }
        }
        if let Some(timeout) = commit.confirmed {
            return self.plan_confirmed_commit(session, commit, timeout, now);
        }
        let Some(pending) = &self.pending else {
            // A timer that is armed without anything pending loses what it needs.
            let backup = Backup::Drop;
            return Ok(Transition { backup, ..self.committing(Kind::Committed, session) });
        };
        let any = matches!(
            personality.commit_while_pending,
            CommitWhilePending::Any | CommitWhilePending::AnyKeepsTimer
        );
        if !any {
            pending.check_owner(session, commit.persist_id.as_deref(), personality)?;
        } else if personality.commit_while_pending == CommitWhilePending::AnyKeepsTimer {
            let backup = Backup::Drop;
            return Ok(Transition { backup, ..self.committing(Kind::Committed, session) });
        }
        Ok(self.confirming(session))
    }

    /// Whether something is pending that the session may confirm.
    fn owns_pending(&self, session: SessionId, persist_id: Option<&str>) -> bool {
        let owner = |pending: &Pending| pending.check_owner(session, persist_id, &self.personality).is_ok();
        self.pending.as_ref().is_some_and(owner)
    }

    fn plan_confirmed_commit(
        &self,
        session: SessionId,
        commit: &Commit,
        timeout: std::time::Duration,
        now: Instant,
    ) -> Result<Transition, Errors> {
        let personality = &self.personality;
        let given = commit.persist_id.as_deref();
        let mut persist = commit.persist.clone();
        let mut timers = Vec::new();
        match (personality.extend, &self.pending) {
            (Extend::SamePersist, _) if given.is_some() => {
                let info = [Element::base("bad-element").with_text("persist-id")];
                let message = "Persist ID given in confirmed commit rpc.";
                return Err(vec![protocol_error(ErrorTag::InvalidValue, message).with_info(info)]);
            }
            (Extend::SamePersist, Some(pending)) => {
                let same = match &pending.persist {
                    Some(token) => persist.as_ref() == Some(token),
                    None => pending.session == session,
                };
                if !same {
                    let info = [Element::base("bad-element").with_text("persist")];
                    let message = "Follow-up confirm commit does not match pending confirmed commit.";
                    return Err(vec![protocol_error(ErrorTag::InvalidValue, message).with_info(info)]);
                }
            }
            (Extend::PersistId, Some(Pending { persist: Some(_), .. }))
                if given.is_none()
                    && personality.commit_while_pending == CommitWhilePending::OwnerOrItsSession =>
            {
                return Err(failed("a confirmed commit is pending: give its persist-id"));
            }
            (Extend::PersistId, Some(pending)) => {
                if personality.commit_while_pending != CommitWhilePending::Any {
                    pending.check_owner(session, given, personality)?;
                }
                persist = persist.or_else(|| pending.persist.clone());
            }
            (Extend::PersistIdOrSecondTimer, _) => {
                timers = if self.owns_pending(session, given) {
                    self.timers_without_first()
                } else {
                    self.timers.clone()
                };
            }
            (Extend::SamePersist | Extend::PersistId, None) => {}
        }
        // Beyond what the clock can say is as good as never.
        let deadline = now
            .checked_add(personality.timeout(timeout))
            .ok_or_else(|| vec![protocol_error(ErrorTag::InvalidValue, "confirm-timeout is too long")])?;
        timers.push(Timer { deadline, session, persist: persist.clone() });
        timers.sort_by_key(|timer| timer.deadline);
        Ok(Transition {
            persist: persist.clone(),
            pending: Some(Pending { session, persist }),
            timers,
            backup: Backup::Begin,
            ..self.committing(Kind::Provisional, session)
        })
    }

    /// The candidate becomes running.
    fn committing(&self, kind: Kind, session: SessionId) -> Transition {
        let is_spent = self.candidate_is_spent && self.personality.validation == Validation::SpendsChanges;
        let changes = if is_spent { Vec::new() } else { self.changes_of(&self.candidate) };
        Transition { changes, candidate: Candidate::Committed, ..self.nothing(kind, session) }
    }

    /// What is pending is confirmed.
    fn confirming(&self, session: SessionId) -> Transition {
        let transition = match self.personality.confirm_takes_candidate {
            true => self.committing(Kind::Confirmed, session),
            false => self.nothing(Kind::Confirmed, session),
        };
        self.ended(transition)
    }

    /// A transition that changes nothing.
    fn nothing(&self, kind: Kind, session: SessionId) -> Transition {
        Transition {
            kind,
            session,
            persist: None,
            changes: Vec::new(),
            pending: self.pending.clone(),
            timers: self.timers.clone(),
            backup: Backup::Keep,
            candidate: Candidate::Keep,
        }
    }

    /// The transition ends what is pending, and its timer.
    fn ended(&self, transition: Transition) -> Transition {
        let persist = self.pending.as_ref().and_then(|pending| pending.persist.clone());
        let timers = self.timers_without_first();
        Transition { persist, pending: None, timers, backup: Backup::Drop, ..transition }
    }

    fn timers_without_first(&self) -> Vec<Timer> {
        self.timers.iter().skip(1).cloned().collect()
    }

    /// `cancel-commit`, §8.4.4.1.
    pub fn plan_cancel(&self, session: SessionId, persist_id: Option<&str>) -> Result<Transition, Errors> {
        let fails = self.personality.late_persist_id == LatePersistId::OperationFailed;
        let Some(pending) = &self.pending else {
            return Err(match persist_id {
                Some(_) if !fails => invalid_persist_id(),
                _ => failed("no confirmed commit is pending"),
            });
        };
        pending.check_owner(session, persist_id, &self.personality).map_err(|errors| {
            if fails { failed("no confirmed commit of this persist-id is pending") } else { errors }
        })?;
        if self.personality.timer_under_lock == UnderLock::Forgets {
            self.check_lock(session, Datastore::Running)?;
        }
        if self.personality.cancel_under_lock == UnderLock::Forgets && self.running_lock == Some(session) {
            return Ok(self.ended(self.nothing(Kind::Forgotten, session)));
        }
        Ok(Transition { session, ..self.rollback(Kind::Cancelled, pending.session) })
    }

    /// When the next rollback is due, as far as is known now.
    pub fn rollback_due(&self) -> Option<Instant> {
        let deadline = self.timers.first()?.deadline;
        let silence = self.personality.timer_waits_for_silence;
        let quiet = self.last_request.zip(silence).and_then(|(last, silence)| last.checked_add(silence));
        Some(quiet.map_or(deadline, |quiet| quiet.max(deadline)))
    }

    /// The rollback that is due because the time to confirm has passed.
    pub fn plan_expiry(&self, now: Instant) -> Option<Transition> {
        self.rollback_due().filter(|due| *due <= now)?;
        let timer = self.timers.first()?;
        let locked = self.lock_holder(Datastore::Running).is_some();
        if locked && self.personality.timer_under_lock == UnderLock::Forgets {
            return Some(self.ended(self.nothing(Kind::Forgotten, timer.session)));
        }
        let persist = timer.persist.clone();
        Some(Transition { persist, ..self.rollback(Kind::TimedOut, timer.session) })
    }

    /// The rollback that is due because a session ends, §8.4.1.
    pub fn plan_session_end(&self, session: SessionId) -> Option<Transition> {
        let pending = self.pending.as_ref()?;
        let ends = pending.session == session && pending.persist.is_none();
        (ends && self.personality.session_end_reverts).then(|| self.rollback(Kind::Reverted, session))
    }

    /// The rollback that is due because the device starts anew, §8.4.1.
    pub fn plan_reboot(&self) -> Option<Transition> {
        if self.personality.persistence != Persistence::Running {
            let mut changes = self.changes_of(&self.startup);
            changes.retain(|change| change.old != change.new);
            let session = self.pending.as_ref().map_or(SessionId::by_hand(0), |pending| pending.session);
            let lost = !changes.is_empty() || self.pending.is_some();
            return lost.then(|| self.ended(Transition { changes, ..self.nothing(Kind::Reverted, session) }));
        }
        self.backup.as_ref()?;
        let session = self.pending.as_ref().map(|pending| pending.session);
        let session = session.or(self.timers.first().map(|timer| timer.session))?;
        Some(self.rollback(Kind::Reverted, session))
    }

    /// The device has started anew: nothing is left but running. The transition of
    /// [`Datastores::plan_reboot`] is to be applied before.
    pub fn reboot(&mut self) {
        *self = Self {
            running: std::mem::take(&mut self.running),
            state: std::mem::take(&mut self.state),
            phantom_running_lock: self.phantom_running_lock,
            phantom_candidate_lock: self.phantom_candidate_lock,
            personality: self.personality,
            ..Self::default()
        };
    }

    /// `edit-config` of running (§8.2): the change, if there is one, and the errors. Both, where
    /// `error-option` says that what was done before an error is to stay.
    pub fn plan_edit_running(&self, session: SessionId, edit: Edit<'_>) -> (Option<Transition>, Errors) {
        if let Err(errors) = self.check_lock(session, Datastore::Running) {
            return (None, errors);
        }
        let mut overlay = Overlay::new();
        let (_, errors) = run_edit(&self.running, &mut overlay, edit, true, &self.personality);
        let tested_only = edit.test_option == TestOption::TestOnly;
        let transition = (!tested_only && (!overlay.is_empty() || errors.is_empty())).then(|| Transition {
            changes: self.changes_of(&overlay),
            ..self.nothing(Kind::Committed, session)
        });
        (transition, errors)
    }

    /// `copy-config` to running (§7.3, §8.2).
    pub fn plan_copy_to_running(&self, session: SessionId, source: Source<'_>) -> Result<Transition, Errors> {
        self.check_lock(session, Datastore::Running)?;
        match source {
            Source::Datastore(Datastore::Running) => Err(same_datastore()),
            Source::Datastore(Datastore::Startup) => {
                self.check_startup()?;
                let changes = self.changes_of(&self.startup);
                Ok(Transition { changes, ..self.nothing(Kind::Committed, session) })
            }
            Source::Datastore(Datastore::Candidate) => match self.candidate_violations() {
                violations if violations.is_empty() => Ok(self.committing(Kind::Committed, session)),
                violations => Err(violations),
            },
            Source::Config(config) => match self.plan_edit_running(session, whole(config)) {
                (Some(transition), errors) if errors.is_empty() => Ok(transition),
                (_, errors) => Err(errors),
            },
        }
    }

    /// Makes a planned change.
    pub fn apply(&mut self, transition: Transition) {
        let Transition { changes, pending, timers, backup, candidate, .. } = transition;
        if matches!(candidate, Candidate::Committed) {
            self.clear_candidate();
        }
        self.running.apply(&changes);
        self.fit_candidate(&changes, matches!(candidate, Candidate::Committed));
        self.pending = pending;
        self.timers = timers;
        match backup {
            Backup::Keep => {}
            Backup::Begin => drop(self.backup.get_or_insert_default()),
            Backup::Drop => self.backup = None,
        }
        if self.personality.persistence != Persistence::Running {
            for change in &changes {
                if !self.startup.contains_key(&change.path) {
                    self.startup.insert(change.path.clone(), change.old.clone());
                } else if self.startup.get(&change.path) == Some(&change.new) {
                    self.startup.remove(&change.path);
                }
            }
        }
        if let Some(backup) = &mut self.backup {
            for change in changes {
                backup.entry(change.path).or_insert(change.old);
            }
        }
    }

    /// Makes the candidate fit a running configuration that has just changed.
    fn fit_candidate(&mut self, changes: &[Change], committed: bool) {
        let own = self.personality.candidate_copy == CandidateCopy::Own && !committed;
        if self.candidate.is_empty() && !own {
            return;
        }
        for change in changes {
            match self.candidate.get(&change.path) {
                // Where the candidate says the same as running now, it is no longer changed there.
                Some(value) if *value == change.new => drop(self.candidate.remove(&change.path)),
                None if own && change.old != change.new => {
                    self.candidate.insert(change.path.clone(), change.old.clone());
                }
                _ => {}
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

    /// Running becomes what it was before; without a record of that, it becomes empty.
    fn rollback(&self, kind: Kind, session: SessionId) -> Transition {
        let changes = match &self.backup {
            Some(backup) => {
                let mut changes = self.changes_of(backup);
                changes.retain(|change| change.old != change.new);
                changes
            }
            None => {
                let leaves = self.running.leaves.iter();
                leaves
                    .map(|(path, old)| Change { path: path.clone(), old: Some(old.clone()), new: None })
                    .collect()
            }
        };
        self.ended(Transition { changes, ..self.nothing(kind, session) })
    }
}

impl Pending {
    /// Whether a session may confirm, extend or cancel (§8.4.1): by the token, or without token as the
    /// session that it belongs to.
    fn check_owner(
        &self,
        session: SessionId,
        persist_id: Option<&str>,
        personality: &Personality,
    ) -> Result<(), Vec<RpcError>> {
        let rule = personality.commit_while_pending;
        match (&self.persist, persist_id) {
            (Some(token), Some(given)) if token == given => Ok(()),
            (Some(_), None) if rule == CommitWhilePending::OwnerOrItsSession && self.session == session => {
                Ok(())
            }
            (_, Some(_)) => Err(invalid_persist_id()),
            (Some(_), None) if rule == CommitWhilePending::OwnerStrict => Err(invalid_persist_id()),
            (Some(_), None) => Err(refused("a confirmed commit is pending: give its persist-id")),
            (None, None) if self.session == session => Ok(()),
            (None, None) => Err(refused("a confirmed commit of another session is pending")),
        }
    }
}
