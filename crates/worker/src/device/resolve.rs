//! Finding out, on new sessions, what became of what was sent, and bringing it to an end. Nothing here is
//! guessed: it goes on until the device has answered or the time is up.

use std::time::Duration;

use tokio::time::Instant;
use turnup_core::{
    failure::{Failure, FailureClass},
    message::InForce,
};
use turnup_netconf::{
    message::Reply,
    operation::{Datastore, Operation},
    xml::Element,
};

use super::{Device, NotReopened};
use crate::{
    classify::{self, Step},
    retry::Retry,
    transaction::Answer,
    work::Direction,
};

/// Pauses between two questions. More than a second apart: some servers' rollback timers don't fire while
/// they are asked.
fn patience() -> Retry {
    Retry::new(Duration::from_millis(1_500), Duration::from_secs(4))
}

/// What a device answered on a new session: to the first operation of the question (`cancel-commit` or
/// `commit`), and what it holds now.
struct Finding {
    first: Reply,
    data: Element,
    /// Whatever was sent before is carried out by now.
    settled: bool,
}

impl Device<'_> {
    /// Asks `[operations…, lock, get-config, unlock]` on a session of its own. The lock shows whether the
    /// session that was lost is still at work.
    async fn question(
        &mut self,
        step: Step,
        operations: Vec<Operation>,
        by: Instant,
    ) -> Result<Finding, Answer> {
        if self.session.is_none() {
            self.reopen(by).await.map_err(|error| match error {
                NotReopened::Superseded => Answer::Superseded,
                NotReopened::Failed(failure) => Answer::Failed { failures: vec![failure], touched: true },
            })?;
        }
        let first = operations.len() - 1;
        let mut asks = operations;
        asks.extend([
            Operation::lock(Datastore::Running),
            self.work.read(),
            Operation::unlock(Datastore::Running),
        ]);
        let lost = |failures: Vec<Failure>| Answer::Failed { failures, touched: true };
        self.clean = false;
        let replies = self
            .send(step.name(), &asks, by)
            .await
            .map_err(|failure| lost(vec![classify::of_silence(step, &failure)]))?;
        let mut replies = replies.into_iter().skip(first);
        let (Some(first), Some(lock), Some(read)) = (replies.next(), replies.next(), replies.next()) else {
            return Err(lost(vec![Failure::new(
                FailureClass::BrokenPeer,
                step.name(),
                "answers are missing",
            )]));
        };
        // Unlocked again, or not locked at all.
        self.clean = lock.is_error() || replies.next().is_some_and(|unlock| !unlock.is_error());
        if !self.clean {
            self.drop_session();
        }
        if read.is_error() {
            return Err(lost(classify::of_reply(Step::Check, &read)));
        }
        let settled = self.lost_sessions_are_over(&lock);
        let data = read.into_data().unwrap_or_else(|| Element::base("data"));
        Ok(Finding { first, data, settled })
    }

    /// Goes on until `judge` knows, or `by`. `judge` gets the finding, and whether it is late enough to
    /// take the device's word without the proof that the lost session is over.
    async fn until_known(
        &mut self,
        step: Step,
        operations: impl Fn() -> Vec<Operation>,
        by: Instant,
        judge: impl Fn(&Self, &Finding) -> Option<Answer>,
    ) -> Answer {
        let mut retry = patience();
        let took_its_time = Instant::now() + Duration::from_millis(self.job.limits.lock_wait_ms);
        loop {
            if self.session.is_some() && matches!(self.still_current(by).await, Err(NotReopened::Superseded))
            {
                self.drop_session();
                return Answer::Superseded;
            }
            let failures = match self.question(step, operations(), by).await {
                Ok(mut finding) => {
                    // Someone else may hold the lock for hours.
                    finding.settled |= Instant::now() >= took_its_time;
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

    /// Cancels what an earlier worker may have left pending, and looks which configuration is in force.
    pub(super) async fn recover(&mut self) -> Answer {
        let persist = self.job.persist.clone();
        let cancel = || vec![Operation::cancel_commit(Some(&persist))];
        self.until_known(Step::Undo, cancel, self.job.forward_by, |device, finding| {
            let found = if device.work.after(&finding.data) { InForce::New } else { InForce::Old };
            // Refused because a session that is not gone yet holds a lock: what is there may still be
            // provisional.
            let refused = classify::of_reply(Step::Undo, &finding.first);
            let busy = !finding.first.is_ok() && refused.iter().any(|f| f.class == FailureClass::Busy);
            (finding.settled && !busy).then_some(Answer::Found(found))
        })
        .await
    }

    /// Cancels the provisional commit, or waits for its timer.
    pub(super) async fn undo_by_new_session(&mut self, had_new: bool) -> Answer {
        let persist = self.job.persist.clone();
        let cancel = || vec![Operation::cancel_commit(Some(&persist))];
        self.until_known(Step::Undo, cancel, self.job.total_by, |device, finding| {
            if !finding.settled {
                None
            } else if device.is_as_before(&finding.data, had_new) {
                Some(Answer::Done)
            } else if device.timer_left().is_zero() && device.work.after(&finding.data) {
                // Not provisional after all.
                Some(Answer::Found(InForce::New))
            } else {
                None
            }
        })
        .await
    }

    /// After a confirm without answer: confirms what is still pending, and looks what is in force.
    pub(super) async fn settle(&mut self) -> Answer {
        self.drop_session();
        let persist = self.job.persist.clone();
        // A confirming commit also commits what others have left in the candidate.
        let confirm = || vec![Operation::discard_changes(), Operation::commit_confirming(&persist)];
        self.until_known(Step::Confirm, confirm, self.job.total_by, |device, finding| {
            let confirmed = finding.first.is_ok();
            let others = classify::of_reply(Step::Confirm, &finding.first);
            let busy = !confirmed && others.iter().any(|f| f.class == FailureClass::Busy);
            if busy || !(confirmed || finding.settled) {
                None
            } else if device.work.after(&finding.data) {
                Some(Answer::Found(InForce::New))
            } else {
                Some(Answer::Found(InForce::Old))
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
        let mut touched = false;
        loop {
            let failures = match self.apply_once(direction, had_new, &mut touched, by).await {
                Ok(answer) => return answer,
                Err(failures) => failures,
            };
            let again = failures
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
        let data = self.lock(by).await?;
        if self.is_reached(direction, &data, had_new) {
            let [candidate, running] =
                [Operation::unlock(Datastore::Candidate), Operation::unlock(Datastore::Running)];
            self.let_go(&[candidate, running], by).await;
            return Ok(Answer::Done);
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
        self.put_edit(direction, by).await?;
        let asks = [
            Operation::commit(),
            self.work.read(),
            Operation::unlock(Datastore::Candidate),
            Operation::unlock(Datastore::Running),
        ];
        let replies = self.send(Step::Commit.name(), &asks, by).await.map_err(|failure| {
            *touched = true;
            vec![classify::in_doubt(Step::Commit, &failure)]
        })?;
        let refused =
            |reply: Option<&Reply>| classify::of_reply(Step::Commit, reply.unwrap_or(&Reply::default()));
        match replies.first() {
            Some(reply) if reply.is_ok() => {}
            reply => {
                // The edit is still in the candidate; it goes with the session.
                self.drop_session();
                return Err(refused(reply));
            }
        }
        *touched = true;
        self.clean = replies.iter().skip(2).all(|reply| !reply.is_error());
        if !self.clean {
            self.drop_session();
        }
        match replies.get(1).and_then(Reply::data) {
            Some(data) if self.is_reached(direction, data, had_new) => Ok(Answer::Done),
            _ => {
                let text = "the device answered ok to the commit, but reading back shows no change";
                Err(vec![Failure::new(FailureClass::BrokenPeer, Step::Check.name(), text)])
            }
        }
    }

    fn is_reached(&self, direction: Direction, data: &Element, had_new: bool) -> bool {
        match direction {
            Direction::Forward => self.work.after(data),
            // A snapshot that was taken when the new configuration was in force is no goal.
            Direction::Back if had_new => self.work.before(data),
            Direction::Back => self.is_as_before(data, had_new),
        }
    }
}
