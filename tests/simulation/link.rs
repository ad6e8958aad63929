//! A worker's side of one device: what `turnup-worker`'s `device` does for each phase of a transaction, for a device
//! with confirmed commit 1.1, request by request.

use turnup_core::{
    attempt,
    failure::{Failure, FailureClass},
    message::{Guarantee, InForce, Stage},
    profile::{CancelOrder, Profile},
    transaction::{Answer, Phase},
};
use turnup_netconf::{
    message::{ErrorTag, RpcError},
    operation::Datastore::Running,
};

use crate::{
    Planted,
    device::{Ask, Network, Owner, Reply, Silence, Value},
    store::Work,
    worker::{Attempt, Verdict},
    world::Ms,
};

mod locks;
mod resolve;

use locks::{LockOutcome, LockSet};

/// A device in the hands of an attempt.
pub(crate) struct Link<'a> {
    attempt: &'a Attempt,
    work: &'a Work,
    session: Option<u32>,
    /// The session holds no lock and no edit of ours.
    clean: bool,
    /// What is locked: by the profile, or by what the device was found to allow.
    locks: LockSet,
    /// The tokens of earlier deployments were cancelled.
    pub(crate) tokens_cancelled: bool,
    lost_sessions: Vec<u32>,
    snapshot: Option<Value>,
    pub(crate) committed_at: Option<Ms>,
    pub(crate) waited: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Back,
}

/// Requests that end a pending commit, and at which place each is.
struct CancelRequests {
    asks: Vec<Ask>,
    read: usize,
    unlocks: Vec<usize>,
}

#[expect(clippy::large_enum_variant, reason = "made once where a device has failed")]
enum NotReopened {
    Superseded,
    Failed(Failure),
}

fn errors(reply: &Reply) -> &[RpcError] {
    match reply {
        Reply::Errors(errors) => errors,
        _ => &[],
    }
}

fn class(error: &RpcError, step: &str) -> FailureClass {
    match error.tag {
        ErrorTag::LockDenied | ErrorTag::InUse | ErrorTag::ResourceDenied => FailureClass::Busy,
        ErrorTag::OperationFailed if step == "lock" => FailureClass::Busy,
        ErrorTag::InvalidValue | ErrorTag::OperationFailed if step == "edit-config" => FailureClass::Invalid,
        _ => FailureClass::BrokenPeer,
    }
}

fn refused(step: &str, reply: &Reply) -> Vec<Failure> {
    let failure = |error: &RpcError| Failure::new(class(error, step), step, error.tag.as_str().to_owned());
    errors(reply).iter().map(failure).collect()
}

fn silent(step: &str) -> Failure {
    Failure::new(FailureClass::Unreachable, step, "no answer")
}

fn doubt(step: &str) -> Failure {
    Failure::new(FailureClass::InDoubt, step, "no answer")
}

fn doubtful(failures: Vec<Failure>) -> Vec<Failure> {
    failures.into_iter().map(|failure| Failure { class: FailureClass::InDoubt, ..failure }).collect()
}

/// Growing pauses.
struct Pauses(Ms, Ms);

impl Pauses {
    fn next(&mut self) -> Ms {
        let now = self.0;
        self.0 = (self.0 * 3 / 2).min(self.1);
        now
    }
}

impl<'a> Link<'a> {
    pub(crate) fn new(attempt: &'a Attempt, work: &'a Work) -> Self {
        Self {
            attempt,
            work,
            session: None,
            clean: true,
            locks: LockSet::of(&work.profile),
            tokens_cancelled: false,
            lost_sessions: Vec::new(),
            snapshot: None,
            committed_at: None,
            waited: false,
        }
    }

    fn profile(&self) -> &'a Profile {
        &self.work.profile
    }

    /// The confirm timer as the device counts it.
    fn confirm_timeout_s(&self) -> u32 {
        self.profile().confirm_timeout_s(self.attempt.job.limits.confirm_timeout_s)
    }

    fn network(&self) -> &'a Network {
        &self.attempt.host.network
    }

    fn now(&self) -> Ms {
        self.attempt.now()
    }

    fn persist(&self) -> String {
        self.attempt.job.id.to_string()
    }

    fn is_new(&self, data: Value) -> bool {
        data == self.work.new
    }

    fn is_as_before(&self, data: Value, had_new: bool) -> bool {
        self.snapshot == Some(data) || (!had_new && data == self.work.old)
    }

    /// Carries out a phase's command.
    pub(crate) async fn obey(&mut self, phase: Phase, committed: bool, had_new: bool) -> Answer {
        self.attempt.step().await;
        let answer = match phase {
            Phase::Recover if self.attempt.recovery || self.attempt.stage == Stage::Undo => {
                self.recover().await
            }
            Phase::Recover | Phase::Prepare => self.try_for_long(phase).await,
            Phase::Commit => self.commit().await,
            // No definition of the simulation has functional checks.
            Phase::CommitForGood | Phase::Verify | Phase::Release => Answer::Done,
            Phase::Confirm if self.attempt.stage == Stage::Confirm => self.confirm_prepared().await,
            Phase::Confirm => self.confirm().await,
            Phase::Undo => self.undo(committed, had_new).await,
            Phase::Settle => self.settle().await,
            Phase::Push => self.apply(Direction::Forward, had_new).await,
            Phase::Revert => self.apply(Direction::Back, had_new).await,
            Phase::Hold => self.hold().await,
        };
        self.attempt.step().await;
        answer
    }

    async fn open(&mut self, by: Ms) -> Result<(), Failure> {
        let limit = by.min(self.now() + self.attempt.job.limits.connect_timeout_ms);
        let owner = Owner {
            process: self.attempt.host.process,
            deployment: self.attempt.job.id,
            attempt: self.attempt.number,
        };
        match self.network().connect(self.work.device, owner, limit).await {
            Ok(session) => {
                self.session = Some(session);
                self.clean = true;
                Ok(())
            }
            Err(()) => Err(silent("connect")),
        }
    }

    async fn reopen(&mut self, by: Ms) -> Result<(), NotReopened> {
        self.waited = true;
        self.still_current(by).await?;
        self.open(by).await.map_err(NotReopened::Failed)
    }

    async fn still_current(&self, by: Ms) -> Result<(), NotReopened> {
        let verdict = match self.attempt.is_sure() {
            true => Verdict::Current,
            false => self.attempt.check(by).await,
        };
        match verdict {
            Verdict::Current => Ok(()),
            Verdict::Superseded => Err(NotReopened::Superseded),
            Verdict::Unknown => Err(NotReopened::Failed(silent("claim"))),
        }
    }

    /// A session that fails is gone.
    async fn send(&mut self, asks: Vec<Ask>, by: Ms) -> Result<Vec<Reply>, Silence> {
        let Some(session) = self.session else {
            return Err(Silence { answered: Vec::new(), not_sent: true });
        };
        let by = by.min(self.now() + self.attempt.job.limits.rpc_timeout_ms);
        let result = self.network().send(self.work.device, session, asks, by).await;
        if result.is_err() {
            self.drop_session();
        }
        result
    }

    fn drop_session(&mut self) {
        if let Some(session) = self.session.take() {
            if !self.clean {
                self.lost_sessions.push(session);
            }
            self.network().hang_up(self.work.device, session, 0);
        }
        self.clean = true;
    }

    /// It is over.
    pub(crate) fn finish(&mut self) {
        self.drop_session();
    }

    async fn pause(&mut self, pauses: &mut Pauses, by: Ms) -> bool {
        let wait = pauses.next();
        self.waited = true;
        if self.now() + wait >= by {
            return false;
        }
        self.attempt.host.world.sleep(wait).await;
        true
    }

    fn unlocks(&self) -> Vec<Ask> {
        self.locks.unlock_requests()
    }

    fn give_back(&self) -> Vec<Ask> {
        [Ask::Discard].into_iter().chain(self.unlocks()).collect()
    }

    fn cancel_and_release(&self) -> CancelRequests {
        let mut asks = Vec::with_capacity(5);
        let mut unlocks = self.unlocks();
        let mut unlocked = Vec::new();
        if self.profile().cancel == CancelOrder::AfterUnlock && self.locks == LockSet::RunningAndCandidate {
            unlocks.retain(|unlock| !matches!(unlock, Ask::Unlock(Running)));
            unlocked.push(asks.len());
            asks.push(Ask::Unlock(Running));
        }
        asks.extend([Ask::Cancel(self.persist()), Ask::Discard]);
        let read = asks.len();
        asks.push(Ask::Read(self.work.service));
        unlocked.extend(asks.len()..asks.len() + unlocks.len());
        asks.extend(unlocks);
        CancelRequests { asks, read, unlocks: unlocked }
    }

    /// Sends these; whether the device is as before then.
    async fn cancel_here(&mut self, had_new: bool, by: Ms) -> bool {
        let requests = self.cancel_and_release();
        let Ok(replies) = self.send(requests.asks, by).await else { return false };
        self.clean = requests.unlocks.iter().all(|at| replies[*at].is_ok());
        let is_back = matches!(replies[requests.read], Reply::Data(data) if self.is_as_before(data, had_new));
        if !self.clean {
            self.drop_session();
        }
        is_back
    }

    /// Whether an earlier worker or deployment may have left edits in the candidate.
    fn may_hold_residue(&self) -> bool {
        self.attempt.recovery
            || self.attempt.stage == Stage::Undo
            || self.attempt.job.past_unknown
            || !self.lost_sessions.is_empty()
            || !self.work.pending_tokens.is_empty()
    }

    fn pending_tokens(&self) -> Vec<String> {
        let earlier = self.work.pending_tokens.iter().filter(|_| !self.tokens_cancelled).cloned();
        let may_have_own = self.attempt.recovery && self.committed_at.is_none();
        earlier.chain(may_have_own.then(|| self.persist())).collect()
    }

    async fn let_go(&mut self, asks: Vec<Ask>, by: Ms) {
        if asks.is_empty() {
            self.clean = true;
            return;
        }
        match self.send(asks, by).await {
            Ok(replies) if !replies.iter().any(Reply::is_error) => self.clean = true,
            Ok(_) => self.drop_session(),
            Err(_) => {}
        }
    }

    async fn try_for_long(&mut self, phase: Phase) -> Answer {
        let by = self.attempt.forward_by;
        let mut pauses = Pauses(250, 5_000);
        for tried in 1.. {
            let answer = match phase {
                Phase::Recover => self.look_for_leavings(by).await,
                _ => self.prepare_once(by).await,
            };
            let failures = match answer {
                Ok(answer) => return answer,
                Err(failures) => failures,
            };
            if !self.clean {
                self.drop_session();
            }
            let again = failures.iter().all(|failure| failure.class == FailureClass::Unreachable);
            let last = !again || tried >= self.attempt.job.limits.tries;
            if last || !self.pause(&mut pauses, by).await {
                return Answer::Failed { failures, touched: false };
            }
            let asked_by = by.min(self.now() + u64::try_from(attempt::ASKING_PATIENCE.as_millis()).unwrap());
            if matches!(self.still_current(asked_by).await, Err(NotReopened::Superseded)) {
                return Answer::Superseded;
            }
        }
        unreachable!("the loop has no end of its own")
    }

    async fn look_for_leavings(&mut self, by: Ms) -> Result<Answer, Vec<Failure>> {
        if self.session.is_none() {
            self.open(by).await.map_err(|failure| vec![failure])?;
        }
        let data = self.lock(by).await?;
        self.let_go(self.unlocks(), by).await;
        Ok(Answer::Found(if data == self.work.old { InForce::Old } else { InForce::New }))
    }

    async fn prepare_once(&mut self, by: Ms) -> Result<Answer, Vec<Failure>> {
        if self.session.is_none() {
            self.open(by).await.map_err(|failure| vec![failure])?;
        }
        let snapshot = self.lock(by).await?;
        self.put_edit(Direction::Forward, by).await?;
        self.snapshot = Some(snapshot);
        Ok(Answer::Ready(Guarantee::ConfirmedCommit11))
    }

    /// Locks, waiting for who holds the locks, and reads. Tokens of earlier deployments are cancelled first.
    async fn lock(&mut self, by: Ms) -> Result<Value, Vec<Failure>> {
        let patience = self.now() + self.attempt.job.limits.lock_wait_ms;
        let mut may_discard = self.may_hold_residue();
        loop {
            if self.session.is_none() {
                self.open(by).await.map_err(|failure| vec![failure])?;
            }
            self.clean = false;
            let tokens = self.pending_tokens();
            let mut asks: Vec<Ask> = tokens.iter().cloned().map(Ask::Cancel).collect();
            let locks = self.locks;
            asks.extend(locks.lock_requests());
            asks.push(Ask::Read(self.work.service));
            let replies = self.send(asks, by).await.map_err(|_| vec![silent("lock")])?;
            let [replies @ .., Reply::Data(data)] = &replies[tokens.len()..] else {
                return Err(vec![Failure::new(FailureClass::BrokenPeer, "lock", "answers are missing")]);
            };
            let dirty = match locks::judge(locks, replies, self.session.unwrap_or_default()) {
                LockOutcome::Held => {
                    self.tokens_cancelled |= !self.work.pending_tokens.is_empty();
                    return Ok(*data);
                }
                LockOutcome::CandidateOnly => {
                    self.let_go(locks.held(replies), by).await;
                    self.locks = LockSet::Candidate;
                    continue;
                }
                LockOutcome::DirtyCandidate => true,
                LockOutcome::Refused => false,
            };
            let mut give_back = locks.held(replies);
            if dirty && may_discard {
                give_back.insert(0, Ask::Discard);
            }
            let failures: Vec<Failure> = replies.iter().flat_map(|reply| refused("lock", reply)).collect();
            self.let_go(give_back, by).await;
            if failures.iter().any(|failure| failure.class != FailureClass::Busy) {
                return Err(failures);
            }
            if dirty && may_discard {
                may_discard = false;
                continue;
            }
            let pause = self.attempt.host.world.pick(100..400);
            if self.now() + pause >= patience.min(by) {
                return Err(failures);
            }
            self.waited = true;
            self.attempt.host.world.sleep(pause).await;
        }
    }

    async fn put_edit(&mut self, direction: Direction, by: Ms) -> Result<(), Vec<Failure>> {
        let edit = match direction {
            Direction::Forward => self.work.edit.clone(),
            Direction::Back => self.work.inverse.clone(),
        };
        let discards = self.profile().discard_before_edit || self.may_hold_residue();
        let asks = discards.then_some(Ask::Discard).into_iter().chain([Ask::Edit(edit)]).collect();
        let replies = self.send(asks, by).await.map_err(|_| vec![silent("edit-config")])?;
        if replies.iter().all(Reply::is_ok) {
            return Ok(());
        }
        let failures = replies.iter().flat_map(|reply| refused("edit-config", reply)).collect();
        self.let_go(self.give_back(), by).await;
        Err(failures)
    }

    async fn commit(&mut self) -> Answer {
        self.committed_at = Some(self.now());
        let commit = Ask::CommitFor(self.persist(), self.confirm_timeout_s());
        let asks = vec![commit, Ask::Read(self.work.service)];
        let (committed, read) = match self.send(asks, self.attempt.forward_by).await {
            Ok(replies) => (replies[0].clone(), replies.get(1).cloned()),
            Err(silence) if silence.not_sent => {
                return Answer::Failed { failures: vec![silent("commit")], touched: false };
            }
            Err(silence) => match silence.answered.first() {
                Some(reply) => (reply.clone(), None),
                None => return Answer::Failed { failures: vec![doubt("commit")], touched: true },
            },
        };
        let data = match read {
            Some(Reply::Data(data)) => Some(data),
            _ => None,
        };
        if !committed.is_ok() {
            let is_undone = if self.attempt.host.planted == Some(Planted::KeepsRefusedCommits) {
                data.is_none_or(|data| self.snapshot == Some(data))
            } else {
                self.end_refused_commit().await
            };
            return Answer::Failed { failures: refused("commit", &committed), touched: !is_undone };
        }
        match data {
            Some(_) if self.attempt.host.planted == Some(Planted::NoReadBack) => Answer::Done,
            Some(data) if self.is_new(data) => Answer::Done,
            Some(_) => {
                let text = "the device answered ok to the commit, but reading back does not show it";
                let failures = vec![Failure::new(FailureClass::BrokenPeer, "check", text)];
                Answer::Failed { failures, touched: true }
            }
            None => Answer::Failed { failures: vec![silent("check")], touched: true },
        }
    }

    /// Ends a confirmed commit that was not answered by ok. Returns whether nothing of it is left.
    async fn end_refused_commit(&mut self) -> bool {
        if self.session.is_none() {
            return false;
        }
        self.cancel_here(true, self.attempt.total_by).await
    }

    async fn hold(&mut self) -> Answer {
        let give_back = if self.profile().discard_before_edit { self.give_back() } else { self.unlocks() };
        self.let_go(give_back, self.attempt.total_by).await;
        Answer::Done
    }

    async fn confirm_prepared(&mut self) -> Answer {
        let by = self.attempt.total_by;
        match self.still_current(by).await {
            Ok(()) => {}
            Err(NotReopened::Superseded) => return Answer::Superseded,
            Err(NotReopened::Failed(failure)) => {
                return Answer::Failed { failures: vec![failure], touched: true };
            }
        }
        if self.session.is_none()
            && let Err(failure) = self.open(by).await
        {
            return Answer::Failed { failures: vec![failure], touched: true };
        }
        let asks = vec![Ask::Discard, Ask::Confirm(self.persist()), Ask::Read(self.work.service)];
        let Ok(replies) = self.send(asks, by).await else {
            return Answer::Failed { failures: vec![doubt("confirm")], touched: true };
        };
        if !replies[1].is_ok() {
            return Answer::Failed { failures: doubtful(refused("confirm", &replies[1])), touched: true };
        }
        match replies[2] {
            Reply::Data(data) if self.is_new(data) => Answer::Done,
            _ => Answer::Failed { failures: vec![doubt("check")], touched: true },
        }
    }

    async fn confirm(&mut self) -> Answer {
        // What a late confirm finds in the candidate after a rollback is not to be put in force.
        let discard = self.profile().discard_before_edit.then_some(Ask::Discard);
        let first = usize::from(discard.is_some());
        let mut asks: Vec<Ask> = discard.into_iter().collect();
        asks.extend([Ask::Confirm(self.persist()), Ask::Read(self.work.service)]);
        asks.extend(self.unlocks());
        let (confirmed, read, unlocked) = match self.send(asks, self.attempt.total_by).await {
            Ok(replies) => {
                let unlocked = replies[first + 2..].iter().all(Reply::is_ok);
                (replies[first].clone(), replies.get(first + 1).cloned(), unlocked)
            }
            Err(silence) => match silence.answered.get(first) {
                Some(reply) => (reply.clone(), None, false),
                None => return Answer::Failed { failures: vec![doubt("confirm")], touched: true },
            },
        };
        if !confirmed.is_ok() {
            self.drop_session();
            return Answer::Failed { failures: doubtful(refused("confirm", &confirmed)), touched: true };
        }
        if !matches!(read, Some(Reply::Data(data)) if self.is_new(data)) {
            self.drop_session();
            return Answer::Failed { failures: vec![doubt("check")], touched: true };
        }
        if unlocked {
            self.clean = true
        } else {
            self.drop_session()
        }
        Answer::Done
    }

    async fn undo(&mut self, committed: bool, had_new: bool) -> Answer {
        let by = self.attempt.total_by;
        if !committed {
            if self.session.is_some() && !self.clean {
                if self.attempt.recovery {
                    self.cancel_here(had_new, by).await;
                } else {
                    self.let_go(self.give_back(), by).await;
                }
            }
            return Answer::Done;
        }
        if self.session.is_some() {
            if self.cancel_here(had_new, by).await {
                return Answer::Done;
            }
            self.drop_session();
        }
        self.undo_by_new_session(had_new).await
    }

    /// Takes back what this very session holds, and nothing that may be another worker's.
    pub(crate) async fn release(&mut self, committed: bool) {
        if self.session.is_none() || self.clean {
            return;
        }
        let by = self.now() + self.attempt.job.limits.rpc_timeout_ms;
        let asks = if committed { self.cancel_and_release().asks } else { self.give_back() };
        self.let_go(asks, by).await;
    }

    /// Closes the session without a word.
    pub(crate) fn abandon(&mut self) {
        self.drop_session();
    }
}
