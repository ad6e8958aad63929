//! The way forward at one device: prepare, commit, confirm; and back while its session is at hand.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep};
use turnup_core::{
    attempt,
    failure::{Failure, FailureClass},
    message::{Guarantee, InForce, Stage},
    profile::{CancelOrder, Startup},
    transaction::{Answer, Phase},
};
use turnup_netconf::{
    message::Reply,
    operation::{Datastore, Operation},
    ssh::{RpcFailure, Session},
    xml::Element,
};

use super::{
    Device, NotReopened,
    locks::{self, LockOutcome, LockSet},
};
use crate::{
    classify::{self, Step},
    currency::Moment,
    retry::Retry,
    work::{Direction, commit_provisionally},
};

/// Time for the polite end of a session.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// Pauses between two tries to get a lock.
const LOCK_PAUSE_MS: std::ops::Range<u64> = 100..400;

/// Why a device is not prepared.
struct Trouble {
    failures: Vec<Failure>,
    /// Whether trying again at once, on a new session, may help.
    again: bool,
}

impl Trouble {
    fn of(failure: Failure) -> Self {
        Self { again: failure.class.worth_retrying(), failures: vec![failure] }
    }
}

/// Requests that end a pending commit, and at which place each is.
struct CancelRequests {
    operations: Vec<Operation>,
    cancel: usize,
    read: usize,
    unlocks: Vec<usize>,
}

impl Device<'_> {
    /// Whether edits go into a candidate.
    pub(super) fn has_candidate(&self) -> bool {
        self.guarantee != Some(Guarantee::WritableRunning)
    }

    /// Whether a pending commit can be confirmed and cancelled on any session, by our persist id.
    pub(super) fn is_persistent(&self) -> bool {
        self.guarantee == Some(Guarantee::ConfirmedCommit11)
    }

    /// Unlocks what this session has locked.
    pub(super) fn unlocks(&self) -> Vec<Operation> {
        self.locks.unlock_requests()
    }

    /// Discards what is in the candidate and unlocks.
    pub(super) fn give_back(&self) -> Vec<Operation> {
        let discard = self.has_candidate().then(Operation::discard_changes);
        discard.into_iter().chain(self.unlocks()).collect()
    }

    /// Cancels our pending commit, discards the candidate, reads running and unlocks, in the order that the profile
    /// asks for. The candidate is discarded after the cancel: servers exist that leave the change in it.
    fn cancel_and_release(&self) -> CancelRequests {
        let mut operations = Vec::with_capacity(5);
        let mut unlocks = self.unlocks();
        let mut unlocked = Vec::new();
        if self.asked.profile.cancel == CancelOrder::AfterUnlock && self.locks.locks_running() {
            unlocks.retain(|unlock| *unlock != Operation::unlock(Datastore::Running));
            unlocked.push(operations.len());
            operations.push(Operation::unlock(Datastore::Running));
        }
        let cancel = operations.len();
        operations.push(Operation::cancel_commit(Some(&self.job.persist)));
        operations.push(Operation::discard_changes());
        let read = operations.len();
        operations.push(self.work.read());
        unlocked.extend(operations.len()..operations.len() + unlocks.len());
        operations.extend(unlocks);
        CancelRequests { operations, cancel, read, unlocks: unlocked }
    }

    /// Carries out a phase's command. `committed` and `had_new` are what the transaction knows.
    pub(crate) async fn obey(&mut self, phase: Phase, committed: bool, had_new: bool) -> Answer {
        if self.is_null() {
            return match phase {
                Phase::Recover => Answer::Found(InForce::Old),
                Phase::Settle => Answer::Found(InForce::New),
                Phase::Prepare => Answer::Ready(Guarantee::ConfirmedCommit11),
                _ => Answer::Done,
            };
        }
        if self.only_reads()
            && let Some(answer) = self.obey_reading(phase).await
        {
            return answer;
        }
        match phase {
            Phase::Recover if self.job.recovery || self.job.stage == Stage::Undo => self.recover().await,
            // Nothing of this deployment is there, so nothing is in doubt.
            Phase::Recover | Phase::Prepare => self.try_for_long(phase).await,
            Phase::Commit => self.commit().await,
            Phase::CommitForGood => self.commit_for_good(had_new).await,
            Phase::Verify => self.verify().await,
            Phase::Confirm => self.confirm().await,
            Phase::Undo => self.undo(committed, had_new).await,
            Phase::Settle => self.settle(had_new).await,
            Phase::Push => self.apply(Direction::Forward, had_new).await,
            Phase::Revert => self.apply(Direction::Back, had_new).await,
            Phase::Hold => self.hold().await,
            Phase::Release => Answer::Done,
        }
    }

    /// Carries out a command where nothing is changed; none: as where something is.
    async fn obey_reading(&mut self, phase: Phase) -> Option<Answer> {
        // What an earlier worker, or that of an earlier stage, has repaired is not known here.
        let is_unknown = self.work.may_repair()
            && (self.job.recovery || matches!(self.job.stage, Stage::Confirm | Stage::Undo));
        match phase {
            Phase::Recover if is_unknown => None,
            Phase::Recover if self.job.recovery || self.job.stage == Stage::Undo => {
                Some(Answer::Found(self.found_unchanged()))
            }
            Phase::Commit | Phase::CommitForGood => Some(self.read_again(self.job.forward_by).await),
            Phase::Confirm | Phase::Settle | Phase::Push if is_unknown && self.snapshot.is_none() => None,
            Phase::Confirm | Phase::Undo | Phase::Push | Phase::Revert => {
                if self.session.is_some() && !self.clean {
                    let give_back = self.give_back();
                    self.let_go(&give_back, self.job.total_by).await;
                }
                Some(Answer::Done)
            }
            Phase::Settle => Some(Answer::Found(InForce::New)),
            Phase::Recover | Phase::Prepare | Phase::Verify | Phase::Hold | Phase::Release => None,
        }
    }

    async fn try_for_long(&mut self, phase: Phase) -> Answer {
        let by = self.job.forward_by;
        let mut retry = Retry::new(Duration::from_millis(250), Duration::from_secs(5));
        for tried in 1.. {
            let answer = match phase {
                Phase::Recover => self.look_for_leavings(by).await,
                _ => self.prepare_once(by).await,
            };
            let trouble = match answer {
                Ok(answer) => return answer,
                Err(trouble) => trouble,
            };
            if !self.clean {
                self.drop_session();
            }
            let last = !trouble.again || tried >= self.job.limits.tries;
            if last || !self.pause(&mut retry, by).await {
                return Answer::Failed { failures: trouble.failures, touched: false };
            }
            // Whoever has taken over waits for the locks that the other devices are held by.
            let asked_by = by.min(Instant::now() + attempt::ASKING_PATIENCE);
            if matches!(self.still_current(asked_by).await, Err(NotReopened::Superseded)) {
                return Answer::Superseded;
            }
        }
        // Not reached: the loop has no end of its own.
        Answer::Failed { failures: Vec::new(), touched: false }
    }

    /// On a session, locked; gives what is there.
    async fn open_and_lock(&mut self, by: Instant) -> Result<Element, Trouble> {
        if self.session.is_none() {
            self.open(by, true).await.map_err(Trouble::of)?;
        }
        self.lock(by).await.map_err(|failures| Trouble {
            // A lock that is held has been waited for already.
            again: failures.iter().all(|f| f.class == FailureClass::Unreachable),
            failures,
        })
    }

    /// Looks whether an earlier deployment has left something; under the lock, as then nothing is pending and
    /// nobody's request on its way.
    async fn look_for_leavings(&mut self, by: Instant) -> Result<Answer, Trouble> {
        let data = self.open_and_lock(by).await?;
        let unlocks = self.unlocks();
        self.let_go(&unlocks, by).await;
        Ok(Answer::Found(if self.work.before(&data) { InForce::Old } else { InForce::New }))
    }

    async fn prepare_once(&mut self, by: Instant) -> Result<Answer, Trouble> {
        let mut snapshot = self.open_and_lock(by).await?;
        let trouble = |failures: Vec<Failure>| Trouble {
            again: failures.iter().all(|f| f.class.worth_retrying()),
            failures,
        };
        if self.is_partial {
            snapshot = self.take_part_back(snapshot, by).await.map_err(trouble)?;
            self.is_partial = !self.work.before(&snapshot);
        }
        if let Err(failures) = self.judge(&snapshot) {
            let unlocks = self.unlocks();
            self.let_go(&unlocks, by).await;
            return Err(trouble(failures));
        }
        match self.has_candidate() {
            true => self.put_edit(Direction::Forward, &snapshot, by).await.map_err(trouble)?,
            false => self.test_edit(&snapshot, by).await.map_err(trouble)?,
        }
        self.snapshot = Some(snapshot);
        if self.only_reads() {
            // Whatever the device can do, there is nothing that would have to go back.
            return Ok(Answer::Ready(Guarantee::ConfirmedCommit11));
        }
        // A session is open, so it is known.
        Ok(Answer::Ready(self.guarantee.unwrap_or(Guarantee::WritableRunning)))
    }

    /// Locks what the profile asks for, waits while another session holds it, and reads what the edits touch. Commits
    /// of earlier deployments that may still be pending are cancelled first.
    ///
    /// The edit isn't in the same write: where the candidate can't be locked because it is dirty, it would
    /// go in all the same.
    pub(super) async fn lock(&mut self, by: Instant) -> Result<Element, Vec<Failure>> {
        let patience = Instant::now() + Duration::from_millis(self.job.limits.lock_wait_ms);
        let mut may_discard = self.may_hold_residue();
        loop {
            if self.session.is_none() {
                self.open(by, false).await.map_err(|failure| vec![failure])?;
            }
            let tokens = self.pending_tokens();
            let mut asks: Vec<Operation> =
                tokens.iter().map(|token| Operation::cancel_commit(Some(token))).collect();
            let locks = self.locks;
            asks.extend(locks.lock_requests());
            asks.push(self.work.read());
            let was_untried = self.untried;
            self.clean = false;
            let mut replies = match self.send(Step::Lock.name(), &asks, by).await {
                Ok(replies) => replies,
                // A warm session that had died meanwhile; nothing was written.
                Err(failure) if was_untried && failure.is_unanswered() => continue,
                Err(failure) => return Err(vec![classify::of_silence(Step::Lock, &failure)]),
            };
            let cancelled = replies.drain(..tokens.len().min(replies.len())).collect::<Vec<_>>();
            let settled = self.note_cancelled(&tokens, &cancelled);
            let Some(read) = replies.pop() else { return Err(vec![answers_missing(Step::Lock)]) };
            let own_session = self.session.as_ref().map(Session::session_id).unwrap_or_default();
            let (dirty, failures) =
                match locks::judge(locks, &replies, own_session, &self.asked.profile.error_rules) {
                    LockOutcome::Held => {
                        // Without the lock another worker may commit after the cancel.
                        self.tokens_cancelled |= settled && !self.asked.pending_tokens.is_empty();
                        match classify::required_data(Step::Check, read, &self.asked.profile.error_rules) {
                            Ok(data) => return Ok(data),
                            Err(failures) => {
                                let unlocks = self.unlocks();
                                self.let_go(&unlocks, by).await;
                                return Err(failures);
                            }
                        }
                    }
                    LockOutcome::CandidateOnly => {
                        self.remark(
                        "running can't be locked together with the candidate; the candidate's lock is used",
                    );
                        let unlocks = held(locks, &replies);
                        self.let_go(&unlocks, by).await;
                        self.locks = LockSet::Candidate;
                        continue;
                    }
                    LockOutcome::DirtyCandidate(failures) => (true, failures),
                    LockOutcome::Refused(failures) => (false, failures),
                };
            let mut give_back = held(locks, &replies);
            if dirty && may_discard {
                give_back.insert(0, Operation::discard_changes());
            }
            self.let_go(&give_back, by).await;
            if failures.iter().any(|failure| failure.class != FailureClass::Busy) {
                return Err(failures);
            }
            if dirty && may_discard {
                may_discard = false;
                continue;
            }
            let pause = Duration::from_millis(rand::rng().random_range(LOCK_PAUSE_MS));
            if Instant::now() + pause >= patience.min(by) {
                return Err(failures);
            }
            self.waited = true;
            sleep(pause).await;
        }
    }

    /// Whether an earlier worker, stage or deployment may have left edits in the candidate. Servers exist whose
    /// candidate keeps what was cancelled.
    pub(super) fn may_hold_residue(&self) -> bool {
        self.job.recovery
            || self.job.stage == Stage::Undo
            || self.job.past_unknown
            || !self.lost_sessions.is_empty()
            || !self.asked.pending_tokens.is_empty()
    }

    /// Tokens that are still to be cancelled here: those of earlier deployments, and before this worker commits also its
    /// own, where the worker of an earlier attempt may have committed. A second commit with the same token would leave
    /// the first one's timer armed on some servers.
    fn pending_tokens(&self) -> Vec<String> {
        if !self.is_persistent() {
            return Vec::new();
        }
        let earlier = self.asked.pending_tokens.iter().filter(|_| !self.tokens_cancelled);
        let may_have_own = self.job.recovery && self.committed_at.is_none();
        earlier.chain(may_have_own.then_some(&self.job.persist)).cloned().collect()
    }

    /// Notes which commits of earlier deployments were still pending; whether all are settled. A refusal settles one as
    /// well, as a device refuses what it does not know; unless another session is in the way.
    fn note_cancelled(&mut self, tokens: &[String], replies: &[Reply]) -> bool {
        if tokens.is_empty() {
            return false;
        }
        let is_busy = |reply: &Reply| {
            let failures = classify::of_reply_by(&self.asked.profile.error_rules, Step::Undo, reply);
            reply.is_error() && failures.iter().any(|failure| failure.class == FailureClass::Busy)
        };
        let settled = !replies.iter().any(is_busy);
        for (token, _) in tokens.iter().zip(replies).filter(|(_, reply)| reply.is_ok()) {
            self.remark(format!("the commit of deployment {token} was still pending and has been cancelled"));
        }
        settled
    }

    /// Sends requests that give locks and edits back; the session is clean if all were carried out.
    pub(super) async fn let_go(&mut self, operations: &[Operation], by: Instant) {
        if operations.is_empty() {
            self.clean = true;
            return;
        }
        match self.send("unlock", operations, by).await {
            Ok(replies) if replies.iter().all(Reply::is_ok) => self.clean = true,
            Ok(_) => self.drop_session(),
            Err(_) => {}
        }
    }

    /// The edit goes into the locked candidate; if it is refused, everything is given back.
    /// `data` is what was read under the lock.
    pub(super) async fn put_edit(
        &mut self,
        direction: Direction,
        data: &Element,
        by: Instant,
    ) -> Result<(), Vec<Failure>> {
        let Some(can) = self.session.as_ref().map(|session| session.capabilities().clone()) else {
            let text = "the session was lost";
            return Err(vec![Failure::new(FailureClass::Unreachable, Step::Edit.name(), text)]);
        };
        // Servers differ in what they make of an empty edit.
        let repair = self.judged.repair.as_ref();
        if self.work.changes_nothing(direction, repair) {
            return Ok(());
        }
        let edits = self.work.candidate_edits((direction, repair), &can, data);
        let discards = self.asked.profile.discard_before_edit || self.may_hold_residue();
        let discard = discards.then(Operation::discard_changes);
        let asks: Vec<Operation> = discard.into_iter().chain(edits).collect();
        match self.send(Step::Edit.name(), &asks, by).await {
            Err(failure) => Err(vec![classify::of_silence(Step::Edit, &failure)]),
            Ok(replies) if replies.iter().all(|reply| classify::is_accepted(Step::Edit, reply)) => Ok(()),
            Ok(replies) => {
                let refused = replies.iter().filter(|reply| !classify::is_accepted(Step::Edit, reply));
                let failures = refused
                    .flat_map(|reply| {
                        classify::of_reply_by(&self.asked.profile.error_rules, Step::Edit, reply)
                    })
                    .collect();
                let give_back = self.give_back();
                self.let_go(&give_back, by).await;
                Err(failures)
            }
        }
    }

    async fn commit(&mut self) -> Answer {
        let persist = self.is_persistent().then_some(self.job.persist.as_str());
        let timeout_s = self.asked.profile.confirm_timeout_s(self.job.limits.confirm_timeout_s);
        let commit = commit_provisionally(persist, timeout_s);
        self.committed_at = Some(Moment::now());
        let asks = [commit, self.work.read()];
        let (committed, read) = match self.send(Step::Commit.name(), &asks, self.job.forward_by).await {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                (replies.next(), replies.next())
            }
            Err(failure @ RpcFailure::NotSent { .. }) => {
                let failures = vec![classify::of_silence(Step::Commit, &failure)];
                return Answer::Failed { failures, touched: false };
            }
            Err(failure) => match answered_first(&failure) {
                Some(reply) if classify::is_accepted(Step::Commit, &reply) || reply.is_error() => {
                    (Some(reply), None)
                }
                _ => {
                    let failures = vec![classify::in_doubt(Step::Commit, &failure)];
                    return Answer::Failed { failures, touched: true };
                }
            },
        };
        let committed = committed.unwrap_or_default();
        if !classify::is_accepted(Step::Commit, &committed) {
            let failures = classify::of_reply_by(&self.asked.profile.error_rules, Step::Commit, &committed);
            let is_undone = self.end_refused_commit(read.as_ref()).await;
            return Answer::Failed { failures, touched: !is_undone };
        }
        let failed = |failures| Answer::Failed { failures, touched: true };
        let Some(read) = read else {
            let text = "the connection was lost before the change could be read back";
            return failed(vec![Failure::new(FailureClass::Unreachable, Step::Check.name(), text)]);
        };
        let data = match classify::required_data(Step::Check, read, &self.asked.profile.error_rules) {
            Ok(data) => data,
            Err(failures) => return failed(failures),
        };
        let Some(difference) = self.not_in_force(&data) else {
            self.note_left(&data);
            self.note_change(&data);
            return Answer::Done;
        };
        let text = format!("the device answered ok to the commit, but reading back shows that {difference}");
        failed(vec![Failure::new(FailureClass::BrokenPeer, Step::Check.name(), text)])
    }

    /// Ends a confirmed commit that was not answered by ok: servers exist that refuse one and leave its timer armed,
    /// or have carried it out. Returns whether nothing of it is left: no timer, no lock, running as before. `read`:
    /// what was read in the same pipeline as the commit.
    async fn end_refused_commit(&mut self, read: Option<&Reply>) -> bool {
        let by = self.job.total_by;
        if self.session.is_none() {
            return false;
        }
        if !self.is_persistent() {
            // RFC 4741 §8.4 cancels by the end of the session, so it is not used again.
            let is_as_before = read.and_then(Reply::data).is_some_and(|data| self.is_as_before(data, true));
            if is_as_before {
                self.end_session(by).await;
            }
            return is_as_before;
        }
        let requests = self.cancel_and_release();
        let Ok(replies) = self.send(Step::Undo.name(), &requests.operations, by).await else { return false };
        if replies.get(requests.cancel).is_some_and(Reply::is_ok) {
            self.remark(
                "the device had refused the confirmed commit and kept it pending; it has been cancelled",
            );
        }
        self.clean = requests.unlocks.iter().all(|at| replies.get(*at).is_some_and(Reply::is_ok));
        let data = replies.get(requests.read).and_then(Reply::data);
        let is_as_before = data.is_some_and(|data| self.is_as_before(data, true));
        if !self.clean {
            self.drop_session();
        }
        is_as_before
    }

    /// Lets go of the locks. The commit stays pending, as it belongs to no session (RFC 6241 §8.4.5.1).
    async fn hold(&mut self) -> Answer {
        // Should the timer have rolled back by now, some candidates hold the change again.
        let give_back =
            if self.asked.profile.discard_before_edit { self.give_back() } else { self.unlocks() };
        self.let_go(&give_back, self.job.total_by).await;
        Answer::Done
    }

    /// Confirms what another session, of whichever worker, has left pending. It holds no lock, so others may have
    /// edited the candidate: what they left there would be committed along.
    async fn confirm_prepared(&mut self) -> Answer {
        let by = self.job.total_by;
        let failed = |failure| Answer::Failed { failures: vec![failure], touched: true };
        // Their timers run: what comes after this needs time as well.
        let asked_by = by.min(Instant::now() + attempt::ASKING_PATIENCE);
        match self.still_current(asked_by).await {
            Ok(()) => {}
            Err(NotReopened::Superseded) => return Answer::Superseded,
            Err(NotReopened::Failed(failure)) => return failed(failure),
        }
        if self.session.is_none()
            && let Err(failure) = self.open(by, true).await
        {
            return failed(failure);
        }
        let confirm = Operation::commit_confirming(&self.job.persist);
        let asks = [Operation::discard_changes(), confirm, self.work.read()];
        let was_untried = self.untried;
        let mut replies = self.send(Step::Confirm.name(), &asks, by).await;
        // A warm session that had died meanwhile. Should it have reached the device all the same, the second
        // confirm is refused for want of something to confirm, and the device is read back.
        if replies.as_ref().is_err_and(|failure| was_untried && failure.is_unanswered()) {
            match self.reopen(by).await {
                Ok(()) => replies = self.send(Step::Confirm.name(), &asks, by).await,
                Err(NotReopened::Superseded) => return Answer::Superseded,
                Err(NotReopened::Failed(failure)) => return failed(failure),
            }
        }
        let replies = match replies {
            Ok(replies) => replies,
            Err(failure) => return failed(classify::in_doubt(Step::Confirm, &failure)),
        };
        let confirmed = replies.get(1).cloned().unwrap_or_default();
        // Nothing was changed here but for what may have been repaired along. Where nothing was, nothing is pending.
        let in_force = |data: &Element| self.work.not_in_force(data, &[]).is_none();
        let is_whole = self.work.only_reads() && replies.get(2).and_then(Reply::data).is_some_and(in_force);
        if !confirmed.is_ok() && is_whole {
            return Answer::Done;
        }
        if !confirmed.is_ok() {
            let failures =
                classify::of_reply_by(&self.asked.profile.error_rules, Step::Confirm, &confirmed).into_iter();
            let doubts = failures.map(|failure| Failure { class: FailureClass::InDoubt, ..failure });
            return Answer::Failed { failures: doubts.collect(), touched: true };
        }
        let is_in_force = |data: &Element| match self.work.only_reads() {
            true => is_whole,
            false => self.work.after(data),
        };
        if !replies.get(2).and_then(Reply::data).is_some_and(is_in_force) {
            let text = "the device has confirmed, but reading back does not show the change";
            let failures = vec![Failure::new(FailureClass::InDoubt, Step::Check.name(), text)];
            return Answer::Failed { failures, touched: true };
        }
        self.save(by).await;
        Answer::Done
    }

    async fn confirm(&mut self) -> Answer {
        let by = self.job.total_by;
        let confirm = match self.guarantee {
            _ if self.job.stage == Stage::Confirm => return self.confirm_prepared().await,
            Some(Guarantee::Candidate | Guarantee::WritableRunning) => return self.conclude().await,
            // On the session that has committed, and on no other.
            Some(Guarantee::ConfirmedCommit10) => Operation::commit(),
            Some(Guarantee::ConfirmedCommit11) | None => Operation::commit_confirming(&self.job.persist),
        };
        let saves = self.save_request().is_some();
        // A confirm that comes late may be answered ok although the device has rolled back: running is read as well.
        let mut asks = vec![confirm, self.work.read()];
        // Servers exist whose candidate keeps what has rolled back, and where a late confirm commits that.
        let discard = self.asked.profile.discard_before_edit.then(Operation::discard_changes);
        let first = usize::from(discard.is_some());
        asks.splice(0..0, discard);
        // Running must not be saved before it is known to be confirmed.
        if !saves {
            asks.extend(self.unlocks());
        }
        let (confirmed, read, unlocked) = match self.send(Step::Confirm.name(), &asks, by).await {
            Ok(replies) => {
                let mut replies = replies.into_iter().skip(first);
                let (confirmed, read) = (replies.next().unwrap_or_default(), replies.next());
                (confirmed, read, replies.all(|reply| reply.is_ok()))
            }
            Err(failure) => match answered(&failure, first) {
                Some(reply) => (reply, None, false),
                None => {
                    let failures = vec![classify::in_doubt(Step::Confirm, &failure)];
                    return Answer::Failed { failures, touched: true };
                }
            },
        };
        let in_doubt = |failures: Vec<Failure>| {
            let doubts =
                failures.into_iter().map(|failure| Failure { class: FailureClass::InDoubt, ..failure });
            Answer::Failed { failures: doubts.collect(), touched: true }
        };
        if !confirmed.is_ok() {
            // Whatever the device's reason, it may have rolled back before.
            let failures = classify::of_reply_by(&self.asked.profile.error_rules, Step::Confirm, &confirmed);
            self.drop_session();
            return in_doubt(failures);
        }
        let in_force = match read
            .map(|read| classify::required_data(Step::Check, read, &self.asked.profile.error_rules))
        {
            Some(Ok(data)) if self.is_in_force(&data) => Ok(()),
            Some(Ok(data)) => {
                let difference = match self.work.after(&data) {
                    true => "a secret is as it was before".to_owned(),
                    false => classify::shorten(&self.work.difference(&data)),
                };
                let text = format!("the device has confirmed, but reading back shows that {difference}");
                Err(vec![Failure::new(FailureClass::InDoubt, Step::Check.name(), text)])
            }
            Some(Err(failures)) => Err(failures),
            None => Err(vec![Failure::new(
                FailureClass::InDoubt,
                Step::Check.name(),
                "the connection was lost before the confirmed change could be read back",
            )]),
        };
        if let Err(failures) = in_force {
            self.drop_session();
            return in_doubt(failures);
        }
        if saves {
            self.save(by).await;
        } else if unlocked {
            self.clean = true;
        } else {
            self.drop_session();
        }
        Answer::Done
    }

    /// The request that keeps running over a reboot, where the device needs one.
    pub(super) fn save_request(&self) -> Option<Operation> {
        let can = self.capabilities()?;
        match self.asked.profile.startup {
            Startup::Untouched => None,
            Startup::AsOffered => {
                can.startup().then(|| Operation::copy_config(Datastore::Startup, Datastore::Running))
            }
            Startup::Rpc => self.work.save_rpc.clone().map(Operation::new),
        }
    }

    /// Saves running for the next boot, where the device needs that. The change is in force by now, so a failure is
    /// only reported.
    pub(super) async fn save(&mut self, by: Instant) {
        let Some(save) = self.save_request() else { return };
        let mut asks = vec![save];
        if !self.clean {
            asks.extend(self.unlocks());
        }
        let failures = match self.send(Step::Save.name(), &asks, by).await {
            Ok(replies) => {
                self.clean = replies.iter().skip(1).all(|reply| !reply.is_error());
                let saved = replies.first().is_some_and(Reply::is_ok);
                let first = replies.first().filter(|_| !saved);
                first
                    .map(|reply| classify::of_reply_by(&self.asked.profile.error_rules, Step::Save, reply))
                    .unwrap_or_default()
            }
            Err(failure) => vec![classify::of_silence(Step::Save, &failure)],
        };
        if !failures.is_empty() {
            tracing::warn!(device = %self.name(), "the change is in force but could not be saved to startup");
        }
        self.notes.extend(failures);
        if !self.clean {
            self.drop_session();
        }
    }

    /// Takes back what was prepared or committed.
    async fn undo(&mut self, committed: bool, had_new: bool) -> Answer {
        let by = self.job.total_by;
        if !committed {
            if self.job.recovery && self.is_persistent() && self.session.is_some() && !self.clean {
                // The worker of an earlier attempt may have committed before these locks were held.
                let requests = self.cancel_and_release();
                if let Ok(replies) = self.send(Step::Undo.name(), &requests.operations, by).await {
                    self.clean = requests.unlocks.iter().all(|at| replies.get(*at).is_some_and(Reply::is_ok));
                    if !self.clean {
                        self.drop_session();
                    }
                }
                return Answer::Done;
            }
            // Nothing of ours can be in force. What is in the candidate goes with the session.
            if self.session.is_some() && !self.clean {
                let give_back = self.give_back();
                self.let_go(&give_back, by).await;
            }
            return Answer::Done;
        }
        if !self.is_persistent() {
            self.end_session(by).await;
        }
        if self.session.is_some() {
            let requests = self.cancel_and_release();
            if let Ok(replies) = self.send(Step::Undo.name(), &requests.operations, by).await {
                self.clean = requests.unlocks.iter().all(|at| replies.get(*at).is_some_and(Reply::is_ok));
                let data = replies.get(requests.read).and_then(Reply::data);
                if data.is_some_and(|data| self.is_as_before(data, had_new)) {
                    if !self.clean {
                        self.drop_session();
                    }
                    return Answer::Done;
                }
                self.drop_session();
            }
        }
        self.undo_by_new_session(had_new).await
    }

    /// RFC 4741 knows no way to cancel a commit but the end of its session. The locks are given back before:
    /// netconfd doesn't go back when a session ends that holds them, and forgets its timer.
    async fn end_session(&mut self, by: Instant) {
        if self.session.is_some() {
            let give_back = self.give_back();
            self.let_go(&give_back, by).await;
        }
        if let Some(session) = self.session.take() {
            session.close(by.min(Instant::now() + GOOD_BYE)).await;
        }
    }

    /// Takes back what this very session holds, and nothing that may be another worker's.
    pub(crate) async fn release(&mut self, committed: bool) {
        if self.session.is_none() || self.clean {
            return;
        }
        let by = Instant::now() + Duration::from_millis(self.job.limits.rpc_timeout_ms);
        let committed = committed && !self.only_reads();
        if committed && !self.is_persistent() {
            return self.end_session(by).await;
        }
        let asks = if committed { self.cancel_and_release().operations } else { self.give_back() };
        self.let_go(&asks, by).await;
    }

    /// Closes the session without a word: whatever is pending on the device is another worker's.
    pub(crate) fn abandon(&mut self) {
        self.drop_session();
    }

    /// Whether what was read is what was there before this attempt.
    pub(super) fn is_as_before(&self, data: &Element, had_new: bool) -> bool {
        let snapshot = self.snapshot.as_ref().filter(|_| !self.is_partial);
        match snapshot {
            // Only what the device showed then tells one secret from another.
            Some(snapshot) if self.work.is_unclear(data) => self.work.same(data, snapshot),
            snapshot => {
                snapshot.is_some_and(|snapshot| self.work.same(data, snapshot))
                    // A repair is no part of the edits, so these don't tell whether it was taken back.
                    || (!had_new && self.judged.repair.is_none() && self.work.before(data))
            }
        }
    }

    /// Notes whether the device, which holds the change, shows it.
    pub(super) fn note_change(&mut self, data: &Element) {
        let is_shown = |snapshot: &Element| !self.work.same(data, snapshot);
        self.shows_change = self.work.is_unclear(data) && self.snapshot.as_ref().is_some_and(is_shown);
    }

    /// Whether what was read has the change, also where only the text that the device shows of a secret tells that.
    pub(super) fn is_in_force(&self, data: &Element) -> bool {
        let is_old = |snapshot: &Element| self.shows_change && self.work.same(data, snapshot);
        self.work.after(data) && !self.snapshot.as_ref().is_some_and(is_old)
    }
}

/// The answer to the first request of a pipeline whose later ones weren't answered.
pub(super) fn answered_first(failure: &RpcFailure) -> Option<Reply> {
    answered(failure, 0)
}

/// The answer to the request at this place of a pipeline whose later ones weren't answered.
fn answered(failure: &RpcFailure, at: usize) -> Option<Reply> {
    match failure {
        RpcFailure::NoAnswer { answered, .. } => answered.get(at).cloned(),
        RpcFailure::NotSent { .. } => None,
    }
}

/// Unlocks the datastores whose lock requests were answered by ok.
fn held(locks: LockSet, replies: &[Reply]) -> Vec<Operation> {
    let held = locks.datastores().iter().zip(replies).filter(|(_, reply)| reply.has_ok());
    held.rev().map(|(datastore, _)| Operation::unlock(*datastore)).collect()
}

/// The failure of a device that left out replies.
pub(super) fn answers_missing(step: Step) -> Failure {
    Failure::new(FailureClass::BrokenPeer, step.name(), "the device left replies out")
}
