//! Finding out, on new sessions, what became of what was sent, and bringing it to an end.

use std::time::Duration;

use turnup_core::{
    attempt::{self, Lock},
    failure::{Failure, FailureClass},
    message::{InForce, Stage},
    transaction::Answer,
};
use turnup_netconf::message::RpcError;

use super::{
    Direction, Link, NotReopened, Pauses, class, doubt, doubtful, errors,
    locks::{self, LockSet},
    refused, silent,
};
use crate::{
    Planted,
    device::{Ask, Reply, Value},
    world::Ms,
};

/// What a device answered on a new session.
struct Finding {
    answer: Option<Reply>,
    data: Value,
    lock: Lock,
    settled: bool,
}

impl Finding {
    fn is_busy(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|reply| errors(reply).iter().any(|error| class(error, "") == FailureClass::Busy))
    }
}

impl Link<'_> {
    async fn question(&mut self, mut asks: Vec<Ask>, by: Ms) -> Result<Finding, Answer> {
        if self.session.is_none() {
            self.reopen(by).await.map_err(|error| match error {
                NotReopened::Superseded => Answer::Superseded,
                NotReopened::Failed(failure) => Answer::Failed { failures: vec![failure], touched: true },
            })?;
        }
        let (question, asked) = (asks.clone(), asks.len());
        let probe = self.locks.probe();
        asks.extend(self.may_hold_residue().then_some(Ask::Discard));
        let skipped = asks.len();
        asks.extend([Ask::Lock(probe), Ask::Read(self.work.service), Ask::Unlock(probe)]);
        self.clean = false;
        let lost = |_| Answer::Failed { failures: vec![silent("question")], touched: true };
        let replies = self.send(asks, by).await.map_err(lost)?;
        let [lock, Reply::Data(data), unlock] = &replies[skipped..] else {
            let failures = vec![Failure::new(FailureClass::BrokenPeer, "question", "answers are missing")];
            return Err(Answer::Failed { failures, touched: true });
        };
        self.clean = lock.is_error() || !unlock.is_error();
        if !self.clean {
            self.drop_session();
        }
        if self.locks == LockSet::RunningAndCandidate && locks::is_not_lockable(lock) {
            self.locks = LockSet::Candidate;
            return Box::pin(self.question(question, by)).await;
        }
        let answer = asked.checked_sub(1).map(|last| replies[last].clone());
        let lock = match lock.is_error() {
            false => Lock::Granted,
            true => Lock::Denied(errors(lock).iter().find_map(RpcError::session_id)),
        };
        Ok(Finding { answer, data: *data, lock, settled: false })
    }

    async fn until_known(
        &mut self,
        asks: Vec<Ask>,
        by: Ms,
        judge: impl Fn(&Self, &Finding) -> Option<Answer>,
    ) -> Answer {
        let mut pauses = Pauses(1_500, 4_000);
        let began = self.now();
        let lock_wait = self.attempt.job.limits.lock_wait_ms;
        let timer = Duration::from_secs(u64::from(self.confirm_timeout_s()));
        let believes_soon = self.attempt.host.planted == Some(Planted::BelievesBehindLocks);
        loop {
            self.attempt.step().await;
            if self.session.is_some() && matches!(self.still_current(by).await, Err(NotReopened::Superseded))
            {
                self.drop_session();
                return Answer::Superseded;
            }
            let failures = match self.question(asks.clone(), by).await {
                Ok(mut finding) => {
                    let asked_for = Duration::from_millis(self.now() - began);
                    let (lost, others) = (&self.lost_sessions, self.attempt.others());
                    finding.settled = attempt::is_settled(finding.lock, lost, others, asked_for, timer)
                        || (believes_soon && self.now() >= began + lock_wait);
                    if let Some(answer) = judge(self, &finding) {
                        return answer;
                    }
                    vec![doubt("question")]
                }
                Err(Answer::Failed { failures, .. }) => failures,
                Err(answer) => return answer,
            };
            self.attempt.progress.doubt();
            if !self.pause(&mut pauses, by).await {
                return Answer::Failed { failures: doubtful(failures), touched: true };
            }
        }
    }

    pub(super) async fn recover(&mut self) -> Answer {
        let asks = vec![Ask::Cancel(self.persist())];
        let by =
            if self.attempt.stage == Stage::Undo { self.attempt.total_by } else { self.attempt.forward_by };
        self.until_known(asks, by, |link, finding| {
            let known = finding.settled && !finding.is_busy();
            let is_left = link.attempt.job.past_unknown && finding.data != link.work.old;
            known.then_some(Answer::Found(if link.is_new(finding.data) || is_left {
                InForce::New
            } else {
                InForce::Old
            }))
        })
        .await
    }

    pub(super) async fn undo_by_new_session(&mut self, had_new: bool) -> Answer {
        let asks = vec![Ask::Cancel(self.persist())];
        self.until_known(asks, self.attempt.total_by, |link, finding| {
            let timer = u64::from(link.confirm_timeout_s()) * 1000 + 5_000;
            let over = link.committed_at.is_none_or(|at| link.now() >= at + timer);
            if !finding.settled {
                None
            } else if link.is_as_before(finding.data, had_new) {
                Some(Answer::Done)
            } else if !over {
                None
            } else if link.is_new(finding.data) {
                Some(Answer::Found(InForce::New))
            } else {
                Some(Answer::Found(InForce::Partly))
            }
        })
        .await
    }

    pub(super) async fn settle(&mut self) -> Answer {
        match self.confirm_again().await {
            Answer::Found(InForce::Old) if self.attempt.job.past_unknown => {
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
        let asks = vec![Ask::Discard, Ask::Confirm(self.persist())];
        self.until_known(asks, self.attempt.total_by, |link, finding| {
            let is_done = finding.answer.as_ref().is_some_and(Reply::is_ok);
            if finding.is_busy() || !(is_done || finding.settled) {
                None
            } else {
                Some(Answer::Found(if link.is_new(finding.data) { InForce::New } else { InForce::Old }))
            }
        })
        .await
    }

    pub(super) async fn apply(&mut self, direction: Direction, had_new: bool) -> Answer {
        let total_by = self.attempt.total_by;
        let by = match direction {
            Direction::Forward => self.now() + total_by.saturating_sub(self.now()) / 2,
            Direction::Back => total_by,
        };
        let mut pauses = Pauses(1_500, 4_000);
        let (mut touched, mut tries) = (false, 0);
        loop {
            self.attempt.step().await;
            let failures = match self.apply_once(direction, had_new, &mut touched, by).await {
                Ok(answer) => return answer,
                Err(failures) => failures,
            };
            tries += 1;
            let last_way = direction == Direction::Back && tries < self.attempt.job.limits.tries;
            let again = last_way
                || failures.iter().all(|f| f.class.worth_retrying() || f.class == FailureClass::InDoubt);
            if !again || !self.pause(&mut pauses, by).await {
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
        by: Ms,
    ) -> Result<Answer, Vec<Failure>> {
        if self.session.is_none() {
            match self.reopen(by).await {
                Ok(()) => {}
                Err(NotReopened::Superseded) => return Ok(Answer::Superseded),
                Err(NotReopened::Failed(failure)) => return Err(vec![failure]),
            }
        }
        if self.session.is_some() && !self.clean {
            self.let_go(self.give_back(), by).await;
        }
        let data = self.lock(by).await?;
        if self.is_reached(direction, data, had_new) {
            self.let_go(self.unlocks(), by).await;
            return Ok(Answer::Done);
        }
        match self.still_current(by).await {
            Ok(()) => {}
            Err(NotReopened::Superseded) => {
                self.drop_session();
                return Ok(Answer::Superseded);
            }
            Err(NotReopened::Failed(failure)) => return Err(vec![failure]),
        }
        self.put_edit(direction, by).await?;
        self.attempt.step().await;
        let mut asks = vec![Ask::Commit, Ask::Read(self.work.service)];
        asks.extend(self.unlocks());
        let replies = self.send(asks, by).await.map_err(|_| {
            *touched = true;
            vec![doubt("commit")]
        })?;
        if !replies[0].is_ok() {
            self.drop_session();
            return Err(refused("commit", &replies[0]));
        }
        *touched = true;
        self.clean = replies[2..].iter().all(|reply| !reply.is_error());
        if !self.clean {
            self.drop_session();
        }
        match replies[1] {
            Reply::Data(data) if self.is_reached(direction, data, had_new) => Ok(Answer::Done),
            _ => Err(vec![Failure::new(FailureClass::BrokenPeer, "check", "reading back does not show it")]),
        }
    }

    fn is_reached(&self, direction: Direction, data: Value, had_new: bool) -> bool {
        match direction {
            Direction::Forward => self.is_new(data),
            Direction::Back if had_new => data == self.work.old,
            Direction::Back => self.is_as_before(data, had_new),
        }
    }
}
