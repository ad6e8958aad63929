//! The way forward at one device: prepare, commit, confirm; and back while its session is at hand.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep};
use turnup_core::{
    failure::{Failure, FailureClass},
    message::InForce,
};
use turnup_netconf::{
    message::{Reply, RpcError},
    operation::{Datastore, Operation},
    ssh::RpcFailure,
    xml::Element,
};

use super::Device;
use crate::{
    classify::{self, Step},
    retry::Retry,
    transaction::{Answer, Phase},
    work::{Direction, commit_provisionally},
};

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

pub(super) fn unlocks() -> [Operation; 2] {
    [Operation::unlock(Datastore::Candidate), Operation::unlock(Datastore::Running)]
}

impl Device<'_> {
    /// Carries out a phase's command. `committed` and `had_new` are what the transaction knows.
    pub(crate) async fn obey(&mut self, phase: Phase, committed: bool, had_new: bool) -> Answer {
        if self.is_null() {
            return match phase {
                Phase::Recover => Answer::Found(InForce::Old),
                Phase::Settle => Answer::Found(InForce::New),
                _ => Answer::Done,
            };
        }
        match phase {
            Phase::Recover => self.recover().await,
            Phase::Prepare => self.prepare().await,
            Phase::Commit => self.commit().await,
            Phase::Confirm => self.confirm().await,
            Phase::Undo => self.undo(committed, had_new).await,
            Phase::Settle => self.settle().await,
            Phase::Push => self.apply(Direction::Forward, had_new).await,
            Phase::Revert => self.apply(Direction::Back, had_new).await,
            Phase::Release => Answer::Done,
        }
    }

    async fn prepare(&mut self) -> Answer {
        let by = self.job.forward_by;
        let mut retry = Retry::new(Duration::from_millis(250), Duration::from_secs(5));
        for attempt in 1.. {
            let trouble = match self.prepare_once(by).await {
                Ok(()) => return Answer::Done,
                Err(trouble) => trouble,
            };
            if !self.clean {
                self.drop_session();
            }
            let last = !trouble.again || attempt >= self.job.limits.tries;
            if last || !self.pause(&mut retry, by).await {
                return Answer::Failed { failures: trouble.failures, touched: false };
            }
        }
        Answer::Done
    }

    async fn prepare_once(&mut self, by: Instant) -> Result<(), Trouble> {
        if self.session.is_none() {
            self.open(by, true).await.map_err(Trouble::of)?;
        }
        let snapshot = self.lock(by).await.map_err(|failures| Trouble {
            // A lock that is held has been waited for already.
            again: failures.iter().all(|f| f.class == FailureClass::Unreachable),
            failures,
        })?;
        self.snapshot = Some(snapshot);
        self.put_edit(Direction::Forward, by).await.map_err(|failures| Trouble {
            again: failures.iter().all(|f| f.class.worth_retrying()),
            failures,
        })
    }

    /// Locks running and candidate, waiting for who holds them, and reads what the edits touch.
    ///
    /// The edit isn't in the same write: where the candidate can't be locked because it is dirty, it would
    /// go in all the same.
    pub(super) async fn lock(&mut self, by: Instant) -> Result<Element, Vec<Failure>> {
        let patience = Instant::now() + Duration::from_millis(self.job.limits.lock_wait_ms);
        let mut may_discard = self.job.recovery || !self.lost_sessions.is_empty();
        let asks =
            [Operation::lock(Datastore::Running), Operation::lock(Datastore::Candidate), self.work.read()];
        loop {
            if self.session.is_none() {
                self.open(by, false).await.map_err(|failure| vec![failure])?;
            }
            let was_untried = self.untried;
            self.clean = false;
            let replies = match self.send(Step::Lock.name(), &asks, by).await {
                Ok(replies) => replies,
                // A warm session that had died meanwhile; nothing was written.
                Err(_) if was_untried => continue,
                Err(failure) => return Err(vec![classify::of_silence(Step::Lock, &failure)]),
            };
            let [running, candidate, read] = three(replies)?;
            if !running.is_error() && !candidate.is_error() {
                return match read.is_error() {
                    false => Ok(read.into_data().unwrap_or_else(|| Element::base("data"))),
                    true => {
                        self.let_go(&unlocks(), by).await;
                        Err(classify::of_reply(Step::Check, &read))
                    }
                };
            }
            let dirty = !running.is_error() && !is_held_by_a_session(&candidate);
            let mut give_back = Vec::new();
            if dirty && may_discard {
                give_back.push(Operation::discard_changes());
            }
            if !candidate.is_error() {
                give_back.push(Operation::unlock(Datastore::Candidate));
            }
            if !running.is_error() {
                give_back.push(Operation::unlock(Datastore::Running));
            }
            self.let_go(&give_back, by).await;
            let refused = [&running, &candidate].into_iter().filter(|reply| reply.is_error());
            let failures: Vec<Failure> =
                refused.flat_map(|reply| classify::of_reply(Step::Lock, reply)).collect();
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

    /// Sends requests that give locks and edits back; the session is clean if all were carried out.
    pub(super) async fn let_go(&mut self, operations: &[Operation], by: Instant) {
        if operations.is_empty() {
            self.clean = true;
            return;
        }
        match self.send("unlock", operations, by).await {
            Ok(replies) if !replies.iter().any(Reply::is_error) => self.clean = true,
            Ok(_) => self.drop_session(),
            Err(_) => {}
        }
    }

    /// The edit goes into the locked candidate; if it is refused, everything is given back.
    pub(super) async fn put_edit(&mut self, direction: Direction, by: Instant) -> Result<(), Vec<Failure>> {
        let Some(can) = self.session.as_ref().map(|session| session.capabilities().clone()) else {
            let text = "the session was lost";
            return Err(vec![Failure::new(FailureClass::Unreachable, Step::Edit.name(), text)]);
        };
        // Servers differ in what they make of an empty edit.
        if self.work.changes_nothing(direction) {
            return Ok(());
        }
        let edit = self.work.edit(direction, &can);
        match self.send(Step::Edit.name(), &[edit], by).await {
            Err(failure) => Err(vec![classify::of_silence(Step::Edit, &failure)]),
            Ok(replies) if replies.iter().all(Reply::is_ok) => Ok(()),
            Ok(replies) => {
                let failures = replies.iter().flat_map(|r| classify::of_reply(Step::Edit, r)).collect();
                let [candidate, running] = unlocks();
                self.let_go(&[Operation::discard_changes(), candidate, running], by).await;
                Err(failures)
            }
        }
    }

    async fn commit(&mut self) -> Answer {
        let commit = commit_provisionally(&self.job.persist, self.job.limits.confirm_timeout_s);
        self.committed_at = Some(Instant::now());
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
                Some(reply) if reply.is_ok() || reply.is_error() => (Some(reply), None),
                _ => {
                    let failures = vec![classify::in_doubt(Step::Commit, &failure)];
                    return Answer::Failed { failures, touched: true };
                }
            },
        };
        let committed = committed.unwrap_or_default();
        if !committed.is_ok() {
            // A device may say no and have done it all the same.
            let shows_nothing = read.as_ref().and_then(Reply::data).is_none_or(|data| {
                self.snapshot.as_ref().is_some_and(|snapshot| self.work.same(data, snapshot))
            });
            let touched = !(committed.is_error() && shows_nothing);
            return Answer::Failed { failures: classify::of_reply(Step::Commit, &committed), touched };
        }
        let broken = |text: String| Answer::Failed {
            failures: vec![Failure::new(FailureClass::BrokenPeer, Step::Check.name(), text)],
            touched: true,
        };
        let Some(read) = read else {
            let text = "the connection was lost before the change could be read back";
            return Answer::Failed {
                failures: vec![Failure::new(FailureClass::Unreachable, Step::Check.name(), text)],
                touched: true,
            };
        };
        if read.is_error() {
            return Answer::Failed { failures: classify::of_reply(Step::Check, &read), touched: true };
        }
        let data = read.into_data().unwrap_or_else(|| Element::base("data"));
        if self.work.after(&data) {
            return Answer::Done;
        }
        let difference = classify::shorten(&self.work.difference(&data));
        broken(format!("the device answered ok to the commit, but reading back shows that {difference}"))
    }

    async fn confirm(&mut self) -> Answer {
        let by = self.job.total_by;
        let confirm = Operation::commit_confirming(&self.job.persist);
        let [candidate, running] = unlocks();
        let saves = self.session.as_ref().is_some_and(|session| session.capabilities().startup());
        // Running must not be saved before it is known to be confirmed.
        let asks = if saves { vec![confirm] } else { vec![confirm, candidate, running] };
        let (confirmed, unlocked) = match self.send(Step::Confirm.name(), &asks, by).await {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                (replies.next().unwrap_or_default(), replies.all(|reply| !reply.is_error()))
            }
            Err(failure) => match answered_first(&failure) {
                Some(reply) => (reply, false),
                None => {
                    let failures = vec![classify::in_doubt(Step::Confirm, &failure)];
                    return Answer::Failed { failures, touched: true };
                }
            },
        };
        if !confirmed.is_ok() {
            let failures = classify::of_reply(Step::Confirm, &confirmed).into_iter().map(|failure| {
                // Whatever the device's reason, it may have gone back by itself before.
                Failure { class: FailureClass::InDoubt, ..failure }
            });
            let failures = failures.collect();
            self.drop_session();
            return Answer::Failed { failures, touched: true };
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

    /// Copies running to startup, where the device has one of its own. The change is in force by now, so a
    /// failure is only told.
    async fn save(&mut self, by: Instant) {
        let [candidate, running] = unlocks();
        let save = Operation::copy_config(Datastore::Startup, Datastore::Running);
        let failures = match self.send(Step::Save.name(), &[save, candidate, running], by).await {
            Ok(replies) => {
                self.clean = replies.iter().skip(1).all(|reply| !reply.is_error());
                let saved = replies.first().is_some_and(Reply::is_ok);
                let first = replies.first().filter(|_| !saved);
                first.map(|reply| classify::of_reply(Step::Save, reply)).unwrap_or_default()
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
        let [candidate, running] = unlocks();
        if !committed {
            // Nothing of ours can be in force. What is in the candidate goes with the session.
            if self.session.is_some() && !self.clean {
                self.let_go(&[Operation::discard_changes(), candidate, running], by).await;
            }
            return Answer::Done;
        }
        if self.session.is_some() {
            let cancel = Operation::cancel_commit(Some(&self.job.persist));
            let asks = [cancel, Operation::discard_changes(), self.work.read(), candidate, running];
            if let Ok(replies) = self.send(Step::Undo.name(), &asks, by).await {
                self.clean = replies.iter().skip(3).all(|reply| !reply.is_error());
                let data = replies.get(2).and_then(Reply::data);
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

    /// Takes back what this very session holds, and nothing that may be another worker's.
    pub(crate) async fn release(&mut self, committed: bool) {
        if self.session.is_none() || self.clean {
            return;
        }
        let [candidate, running] = unlocks();
        let mut asks = vec![Operation::discard_changes(), candidate, running];
        if committed {
            asks.insert(0, Operation::cancel_commit(Some(&self.job.persist)));
        }
        let by = Instant::now() + Duration::from_millis(self.job.limits.rpc_timeout_ms);
        self.let_go(&asks, by).await;
    }

    /// Closes the session without a word: whatever is pending on the device is another worker's.
    pub(crate) fn abandon(&mut self) {
        self.drop_session();
    }

    /// Whether what was read is what was there before this attempt.
    pub(super) fn is_as_before(&self, data: &Element, had_new: bool) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| self.work.same(data, snapshot))
            || (!had_new && self.work.before(data))
    }
}

/// The answer to the first request of a pipeline whose later ones weren't answered.
fn answered_first(failure: &RpcFailure) -> Option<Reply> {
    match failure {
        RpcFailure::NoAnswer { answered, .. } => answered.first().cloned(),
        RpcFailure::NotSent { .. } => None,
    }
}

fn three(replies: Vec<Reply>) -> Result<[Reply; 3], Vec<Failure>> {
    <[Reply; 3]>::try_from(replies).map_err(|_| {
        vec![Failure::new(FailureClass::BrokenPeer, Step::Lock.name(), "the device left answers out")]
    })
}

/// Whether a lock was refused because a session holds it, and not because the candidate is dirty.
fn is_held_by_a_session(lock: &Reply) -> bool {
    !lock.is_error() || lock.errors().iter().filter_map(RpcError::session_id).any(|id| id != 0)
}
