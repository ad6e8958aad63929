//! Finding out, on new sessions, what became of what was sent, and bringing it to an end. Nothing here is
//! guessed: it goes on until the device has answered or the time is up.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use turnup_core::{
    attempt::{self, Lock},
    failure::{Failure, FailureClass},
    message::{Guarantee, InForce, Stage},
    transaction::Answer,
};
use turnup_netconf::{
    message::{Reply, RpcError},
    operation::{Datastore, Operation},
    xml::Element,
};

use super::{
    Device, NotReopened,
    locks::{self, LockSet},
    phases::answers_missing,
};
use crate::{
    classify::{self, Step},
    retry::Retry,
    work::{Direction, Work},
};

/// Pauses between two questions. More than a second apart: some servers' rollback timers don't fire while
/// they are asked.
fn patience() -> Retry {
    Retry::new(Duration::from_millis(1_500), Duration::from_secs(4))
}

/// What a device answered on a new session: to the last operation of the question (`cancel-commit` or
/// `commit`) if there was one, and what it holds now.
pub(super) struct Finding {
    answer: Option<Reply>,
    pub(super) data: Element,
    lock: Lock,
    /// Whatever was sent before is carried out by now, and what is read is there for good.
    pub(super) settled: bool,
}

impl Finding {
    fn is_done(&self) -> bool {
        self.answer.as_ref().is_some_and(Reply::is_ok)
    }

    /// Refused because a session that is not gone yet is in the way.
    fn is_busy(&self, step: Step) -> bool {
        let refused = self.answer.as_ref().filter(|reply| !reply.is_ok());
        refused.is_some_and(|reply| {
            classify::of_reply(step, reply).iter().any(|failure| failure.class == FailureClass::Busy)
        })
    }
}

impl Device<'_> {
    /// Asks `[operations…, lock, get-config, unlock]` on a session of its own. The lock shows whether the
    /// session that was lost is still at work.
    async fn question(
        &mut self,
        step: Step,
        operations: &impl Fn(&Self) -> Vec<Operation>,
        by: Instant,
    ) -> Result<Finding, Answer> {
        if self.session.is_none() {
            self.reopen(by).await.map_err(|error| match error {
                NotReopened::Superseded => Answer::Superseded,
                NotReopened::Failed(failure) => Answer::Failed { failures: vec![failure], touched: true },
            })?;
        }
        // What can be asked depends on what the device can do.
        let mut asks = operations(self);
        let asked = asks.len();
        let probe = self.locks.probe();
        // A lost session may have left edits in the candidate: servers exist that keep them, and deny its lock.
        let discards = self.has_candidate() && self.may_hold_residue();
        asks.extend(discards.then(Operation::discard_changes));
        let skipped = asks.len();
        asks.extend([Operation::lock(probe), self.work.read(), Operation::unlock(probe)]);
        let lost = |failures: Vec<Failure>| Answer::Failed { failures, touched: true };
        self.clean = false;
        let replies = self
            .send(step.name(), &asks, by)
            .await
            .map_err(|failure| lost(vec![classify::of_silence(step, &failure)]))?;
        let answer = asked.checked_sub(1).and_then(|last| replies.get(last)).cloned();
        let mut replies = replies.into_iter().skip(skipped);
        let (Some(lock), Some(read)) = (replies.next(), replies.next()) else {
            return Err(lost(vec![answers_missing(step)]));
        };
        // Unlocked again, or not locked at all.
        self.clean = lock.is_error() || replies.next().is_some_and(|unlock| unlock.is_ok());
        if !self.clean {
            self.drop_session();
        }
        let set = if probe == Datastore::Running { LockSet::Running } else { LockSet::Candidate };
        if set == LockSet::Running
            && self.locks == LockSet::RunningAndCandidate
            && locks::is_not_lockable(&lock, &self.asked.profile.error_rules)
        {
            // Asked again at once, by the lock that this device has.
            self.locks = LockSet::Candidate;
            return Box::pin(self.question(step, operations, by)).await;
        }
        let data =
            classify::required_data(Step::Check, read, &self.asked.profile.error_rules).map_err(lost)?;
        let lock = match lock.has_ok() {
            true => Lock::Granted,
            false => Lock::Denied(lock.errors().iter().find_map(RpcError::session_id)),
        };
        Ok(Finding { answer, data, lock, settled: false })
    }

    /// Goes on until `judge` knows, or `by`.
    pub(super) async fn until_known(
        &mut self,
        step: Step,
        operations: impl Fn(&Self) -> Vec<Operation>,
        by: Instant,
        judge: impl Fn(&Self, &Finding) -> Option<Answer>,
    ) -> Answer {
        let mut retry = patience();
        let began = Instant::now();
        let timer = self.confirm_timeout();
        loop {
            if self.session.is_some() && matches!(self.still_current(by).await, Err(NotReopened::Superseded))
            {
                self.drop_session();
                return Answer::Superseded;
            }
            let failures = match self.question(step, &operations, by).await {
                Ok(mut finding) => {
                    finding.settled = attempt::is_settled(
                        finding.lock,
                        &self.lost_sessions,
                        self.job.others,
                        began.elapsed(),
                        timer,
                    );
                    if let Some(answer) = judge(self, &finding) {
                        return answer;
                    }
                    let text = "the device has answered, but not yet as expected";
                    vec![Failure::new(FailureClass::InDoubt, step.name(), text)]
                }
                Err(Answer::Failed { failures, .. }) => failures,
                Err(answer) => return answer,
            };
            self.job.progress.set_doubt(true);
            let hopeless = failures.iter().any(|failure| {
                matches!(failure.class, FailureClass::Distrusted | FailureClass::Misconfigured)
            });
            if hopeless || !self.pause(&mut retry, by).await {
                let doubts = failures.into_iter().map(|f| Failure { class: FailureClass::InDoubt, ..f });
                return Answer::Failed { failures: doubts.collect(), touched: true };
            }
        }
    }

    /// Cancels what is pending under our persist id, where there is such a thing.
    fn cancel(&self) -> Vec<Operation> {
        let cancel = || Operation::cancel_commit(Some(&self.job.persist));
        self.is_persistent().then(cancel).into_iter().collect()
    }

    /// Cancels what an earlier worker may have left pending, and looks which configuration is in force.
    /// Where there is no way to cancel, what is there may be provisional until the time of any commit before
    /// now is over.
    pub(super) async fn recover(&mut self) -> Answer {
        let seen = Mutex::new(None);
        let look = |_: &Self, data: &Element| {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(data.clone());
        };
        let answer = self.recover_and(|_, data, work| work.is_new(data), look).await;
        let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let (Answer::Found(InForce::New), Some(data)) = (&answer, seen) {
            self.note_left(&data);
        }
        answer
    }

    /// The same. What `may_be_new` says may still be provisional; `look` sees what the device has in the end.
    async fn recover_and(
        &mut self,
        may_be_new: impl Fn(&Self, &Element, &Work) -> bool,
        look: impl Fn(&Self, &Element),
    ) -> Answer {
        let began = Instant::now();
        let timer = self.confirm_timeout() + attempt::TIMER_SLACK;
        // Nothing comes after it that would need time to be taken back.
        let by = if self.job.stage == Stage::Undo { self.job.total_by } else { self.job.forward_by };
        // What another deployment has left is taken back with this one, should it fail.
        let takes_all_back = self.job.past_unknown;
        let found = self
            .until_known(Step::Undo, Self::cancel, by, |device, finding| {
                let is_old = device.work.before(&finding.data);
                // Where nothing but a secret changes, undoing writes the old one again, whichever is there.
                let is_unclear = device.job.stage == Stage::Undo && device.work.is_unclear(&finding.data);
                let is_new = device.is_found_new(&finding.data) || (takes_all_back && !is_old) || is_unclear;
                let may_go_back = device.guarantee == Some(Guarantee::ConfirmedCommit10)
                    && may_be_new(device, &finding.data, device.work)
                    && !is_old
                    && began.elapsed() < timer;
                let known = finding.settled && !finding.is_busy(Step::Undo) && !may_go_back;
                if known {
                    look(device, &finding.data);
                }
                known.then_some(Answer::Found(match (is_new, is_old) {
                    (true, _) => InForce::New,
                    (false, true) => InForce::Old,
                    (false, false) => InForce::Partly,
                }))
            })
            .await;
        match found {
            // A part of it, or what somebody else has made of it; see [`Device::take_part_back`].
            Answer::Found(InForce::Partly) => {
                self.is_partial = self.guarantee == Some(Guarantee::WritableRunning);
                Answer::Found(InForce::Old)
            }
            found => found,
        }
    }

    /// Whether an earlier attempt of this deployment has put everything in force, as far as can be told.
    fn is_found_new(&self, data: &Element) -> bool {
        let is_new = self.work.is_new(data);
        let is_repaired = || {
            self.work.only_reads()
                && self.found_unchanged() == InForce::New
                && self.work.not_in_force(data, &[]).is_none()
        };
        is_new || is_repaired()
    }

    /// As [`Self::recover`], for each edit: whether it is in force, was not, or neither can be said.
    pub(crate) async fn survey(&mut self, edits: usize) -> Result<Vec<InForce>, Answer> {
        if self.is_null() {
            return Ok(vec![InForce::Old; edits]);
        }
        let found = Mutex::new(None);
        let answer = self.recover_and(
            |_, data, work| work.each(data).contains(&InForce::New),
            |device, data| {
                let each = device.work.each(data);
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some((each, data.clone()));
            },
        );
        match answer.await {
            Answer::Found(_) => {
                let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
                let Some((each, data)) = found else { return Ok(Vec::new()) };
                self.note_left(&data);
                Ok(each)
            }
            other => Err(other),
        }
    }

    /// Cancels the provisional commit, or waits until it has gone back with its session or by its timer.
    pub(super) async fn undo_by_new_session(&mut self, had_new: bool) -> Answer {
        self.until_known(Step::Undo, Self::cancel, self.job.total_by, |device, finding| {
            if !finding.settled {
                None
            } else if device.is_as_before(&finding.data, had_new) {
                Some(Answer::Done)
            } else if !device.timer_left().is_zero() {
                None
            } else if device.work.after(&finding.data) {
                // Not provisional after all.
                Some(Answer::Found(InForce::New))
            } else {
                // No rollback can come any more, and what is there is neither the old nor the new configuration.
                Some(Answer::Found(InForce::Partly))
            }
        })
        .await
    }

    /// After a confirm without answer: confirms what is still pending, and looks what is in force. Where what is
    /// wanted was there before, that doesn't tell whether all that was to be replaced is: it is done again.
    pub(super) async fn settle(&mut self, had_new: bool) -> Answer {
        match self.confirm_again().await {
            Answer::Found(InForce::Partly) => match self.apply(Direction::Forward, had_new).await {
                Answer::Done => Answer::Found(InForce::New),
                answer => answer,
            },
            // It has gone back to what another deployment has left.
            Answer::Found(InForce::Old) if self.job.past_unknown => {
                match self.apply(Direction::Back, true).await {
                    Answer::Done => Answer::Found(InForce::Old),
                    answer => answer,
                }
            }
            found => found,
        }
    }

    async fn confirm_again(&mut self) -> Answer {
        self.drop_session();
        // A confirming commit also commits what others have left in the candidate. Without persist id, any
        // commit confirms what outlives its session.
        let confirm = |device: &Self| {
            let confirm = match device.is_persistent() {
                true => Operation::commit_confirming(&device.job.persist),
                false => Operation::commit(),
            };
            vec![Operation::discard_changes(), confirm]
        };
        self.until_known(Step::Confirm, confirm, self.job.total_by, |device, finding| {
            // That the lost session is over doesn't say that its commit has gone back yet.
            let over = finding.settled && (device.is_persistent() || device.timer_left().is_zero());
            if finding.is_busy(Step::Confirm) || !(finding.is_done() || over) {
                None
            } else if !device.is_in_force(&finding.data) {
                Some(Answer::Found(InForce::Old))
            } else if finding.is_done() || device.work.is_new(&finding.data) {
                Some(Answer::Found(InForce::New))
            } else {
                Some(Answer::Found(InForce::Partly))
            }
        })
        .await
    }

    /// A transaction at this device alone, repeated until it is done or refused: forward because others
    /// have confirmed, or back because it can't be in force everywhere.
    pub(super) async fn apply(&mut self, direction: Direction, had_new: bool) -> Answer {
        let total_by = self.job.total_by;
        let by = match direction {
            // The others may have to be taken back after this.
            Direction::Forward => Instant::now() + total_by.saturating_duration_since(Instant::now()) / 2,
            Direction::Back => total_by,
        };
        let mut retry = patience();
        let (mut touched, mut tries) = (false, 0);
        loop {
            let failures = match self.apply_once(direction, had_new, &mut touched, by).await {
                Ok(answer) => return answer,
                Err(failures) => failures,
            };
            tries += 1;
            // Going back from what is in force for good is the last way there is.
            let last_way = direction == Direction::Back && tries < self.job.limits.tries;
            let again = last_way
                || failures
                    .iter()
                    .all(|failure| failure.class.worth_retrying() || failure.class == FailureClass::InDoubt);
            if !again || !self.pause(&mut retry, by).await {
                self.drop_session();
                return Answer::Failed { failures, touched };
            }
        }
    }

    async fn apply_once(
        &mut self,
        direction: Direction,
        had_new: bool,
        touched: &mut bool,
        by: Instant,
    ) -> Result<Answer, Vec<Failure>> {
        if self.session.is_none() {
            match self.reopen(by).await {
                Ok(()) => {}
                Err(NotReopened::Superseded) => return Ok(Answer::Superseded),
                Err(NotReopened::Failed(failure)) => return Err(vec![failure]),
            }
        }
        if self.session.is_some() && !self.clean {
            // Locks that were kept until all devices have it.
            let give_back = self.give_back();
            self.let_go(&give_back, by).await;
        }
        let data = self.lock(by).await?;
        // What was wanted before as well may hide what is to be replaced, and one secret looks like another.
        let hides =
            self.work.is_unclear(&data) || (direction == Direction::Forward && self.work.before(&data));
        if !hides && self.is_reached(direction, &data, had_new) {
            let unlocks = self.unlocks();
            self.let_go(&unlocks, by).await;
            return Ok(Answer::Done);
        }
        if direction == Direction::Forward && self.judged.repair.is_none() && self.work.may_repair() {
            self.judge_again(&data)?;
        }
        // The lock may have been waited for behind the very worker that has taken over.
        match self.still_current(by).await {
            Ok(()) => {}
            Err(NotReopened::Superseded) => {
                self.drop_session();
                return Ok(Answer::Superseded);
            }
            Err(NotReopened::Failed(failure)) => return Err(vec![failure]),
        }
        let (step, change) = self.change(direction, &data);
        if step == Step::Commit {
            self.put_edit(direction, &data, by).await?;
        }
        let is_change = change.is_some();
        let mut asks: Vec<Operation> = change.into_iter().chain([self.work.read()]).collect();
        asks.extend(self.unlocks());
        let replies = self.send(step.name(), &asks, by).await.map_err(|failure| {
            *touched = true;
            vec![classify::in_doubt(step, &failure)]
        })?;
        let mut replies = replies.into_iter();
        let changed = if is_change { replies.next().unwrap_or_default() } else { Reply::ok() };
        if !classify::is_accepted(step, &changed) {
            // What is in the candidate goes with the session; of an edit of running a part may stay.
            *touched |= step == Step::Edit;
            self.drop_session();
            return Err(classify::of_reply_by(&self.asked.profile.error_rules, step, &changed));
        }
        *touched = true;
        let data = replies.next().and_then(Reply::into_data);
        self.clean = replies.all(|reply| !reply.is_error());
        if !self.clean {
            self.drop_session();
        }
        match data {
            Some(data) if self.is_reached(direction, &data, had_new) => {
                // Startup may hold what is gone by now.
                self.save(by).await;
                Ok(Answer::Done)
            }
            _ => {
                let text = "the device answered ok to the change, but reading back does not show it";
                Err(vec![Failure::new(FailureClass::BrokenPeer, Step::Check.name(), text)])
            }
        }
    }

    fn is_reached(&self, direction: Direction, data: &Element, had_new: bool) -> bool {
        match direction {
            Direction::Forward if self.judged.repair.is_some() => self.not_in_force(data).is_none(),
            Direction::Forward => self.work.after(data),
            // A snapshot that was taken when the new configuration was in force is no goal.
            Direction::Back if had_new => self.work.before(data),
            // The old secret, written again, may be shown otherwise than before.
            Direction::Back => self.is_as_before(data, had_new) || self.work.is_unclear(data),
        }
    }
}
