//! One device of a deployment: its session, and what is known of it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use turnup_core::{
    attempt,
    failure::{Failure, FailureClass},
    message::{DeviceWork, Guarantee, Limits, Stage, Step as ReportedStep},
    name::DeviceName,
    profile::{ConfirmedCommitUse, Profile},
    transcript::DeviceTranscript,
};
use turnup_netconf::{
    capability::Capabilities,
    message::Reply,
    operation::Operation,
    ssh::{Cause, Options, RpcFailure, Session, connect},
    xml::Element,
};

use self::locks::LockSet;
use crate::{
    classify::{self, Step, shorten},
    credential,
    currency::{Currency, Moment, Verdict},
    pool::{self, Closed, Identity},
    progress::Progress,
    retry::Retry,
    serve::Shared,
    transcript::Scribe,
    work::Work,
};

mod for_good;
mod locks;
mod look;
mod phases;
mod resolve;
mod trial;
mod verify;

/// How long a warm session may take for its first answer. It may be dead without anybody knowing, and a live
/// one that is slower costs no more than a new session.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// Most lost sessions remembered.
const MAX_LOST: usize = 32;
/// Most steps kept for the report; the last ones say what happened.
const MAX_STEPS: usize = 100;
/// Most remarks kept for the report.
const MAX_REMARKS: usize = 20;

/// What all devices of a deployment share.
pub(crate) struct Job<'a> {
    pub(crate) shared: &'a Shared,
    /// What is to be done of the transaction.
    pub(crate) stage: Stage,
    pub(crate) limits: &'a Limits,
    /// The `persist` id: the deployment's.
    pub(crate) persist: String,
    /// An earlier worker may have left locks, a dirty candidate, a pending commit.
    pub(crate) recovery: bool,
    /// An earlier deployment may have left anything of the orders' services.
    pub(crate) past_unknown: bool,
    /// Other workers may have lost sessions that are still at work, of which nobody knows the numbers.
    pub(crate) others: bool,
    pub(crate) currency: Currency<'a>,
    pub(crate) progress: &'a Progress,
    /// What is said is written down, for one of so many devices.
    pub(crate) transcribe: Option<usize>,
    /// Until then it goes forward; after that only to an end.
    pub(crate) forward_by: Instant,
    /// Then it must be over.
    pub(crate) total_by: Instant,
}

impl Job<'_> {
    /// With less of the devices' confirm timer left, confirming is not begun: some device might go back
    /// while others are being confirmed.
    pub(crate) fn half_of_timer(&self) -> Duration {
        Duration::from_secs(u64::from(self.limits.confirm_timeout_s)) / 2
    }
}

/// What a device must be able to do for what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Tell what it has.
    Reading,
    /// A candidate that can be edited and thrown away.
    Candidate,
    /// Be changed, in any way that can be undone.
    Change,
}

/// A device.
pub(crate) struct Device<'a> {
    job: &'a Job<'a>,
    pub(crate) asked: &'a DeviceWork,
    work: &'a Work,
    needs: Needs,
    session: Option<Session>,
    /// The session is a warm one that has not answered yet.
    untried: bool,
    /// The session holds no lock and no edit of ours.
    clean: bool,
    /// What is locked: by the profile, or by what the device was found to allow.
    locks: LockSet,
    /// The tokens of earlier deployments were cancelled.
    pub(crate) tokens_cancelled: bool,
    /// Sessions that were lost and may still be at work on the device.
    lost_sessions: Vec<u32>,
    /// How it is changed: the strongest way of the device of the last session. None: not reached yet, or no
    /// way.
    pub(crate) guarantee: Option<Guarantee>,
    /// What was there before the edit.
    snapshot: Option<Element>,
    /// An earlier worker has left a part of the edit in force, so that the snapshot is no state to go back to.
    is_partial: bool,
    /// When the provisional commit was sent.
    committed_at: Option<Moment>,
    /// Something had to be waited for, so the world may have changed.
    pub(crate) waited: bool,
    /// What is to be reported although it decides nothing.
    pub(crate) notes: Vec<Failure>,
    /// What was found out about the device on the way, for people.
    pub(crate) remarks: Vec<String>,
    pub(crate) steps: Vec<ReportedStep>,
    scribe: Option<Scribe<'a>>,
}

/// Why there is no new session in the middle of a transaction.
#[expect(clippy::large_enum_variant, reason = "made once where a device has failed")]
enum NotReopened {
    Superseded,
    Failed(Failure),
}

impl<'a> Device<'a> {
    pub(crate) fn new(job: &'a Job<'a>, asked: &'a DeviceWork, work: &'a Work) -> Self {
        Self {
            job,
            asked,
            work,
            needs: Needs::Change,
            session: None,
            untried: false,
            clean: true,
            locks: LockSet::of(&asked.profile, true),
            tokens_cancelled: false,
            lost_sessions: Vec::new(),
            guarantee: None,
            snapshot: None,
            is_partial: false,
            committed_at: None,
            waited: false,
            notes: Vec::new(),
            remarks: Vec::new(),
            steps: Vec::new(),
            scribe: job.transcribe.map(|devices| Scribe::new(&job.shared.secret_names, devices)),
        }
    }

    /// What was said to it so far, if that was written down. From then on it is not.
    pub(crate) fn take_transcript(&mut self) -> Option<DeviceTranscript> {
        let scribe = self.scribe.take()?;
        Some(scribe.end(self.asked.device.clone()))
    }

    /// The same device, of which less is wanted.
    pub(crate) fn needing(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &DeviceName {
        &self.asked.device
    }

    /// Whether functional checks have to pass before a change of it is confirmed.
    pub(crate) fn has_checks(&self) -> bool {
        !self.is_null() && self.asked.before_confirm.as_ref().is_some_and(|asked| !asked.checks.is_empty())
    }

    /// Whether no such device is contacted.
    pub(crate) fn is_null(&self) -> bool {
        is_null(self.asked)
    }

    /// Time since the provisional commit was sent, if it was.
    pub(crate) fn since_commit(&self) -> Option<Duration> {
        self.committed_at.map(Moment::elapsed)
    }

    /// The time a device's own timer may still need to take a commit of ours back.
    fn timer_left(&self) -> Duration {
        let timer = self.confirm_timeout() + attempt::TIMER_SLACK;
        self.since_commit().map_or(Duration::ZERO, |since| timer.saturating_sub(since))
    }

    /// The confirm timer as the device counts it.
    fn confirm_timeout(&self) -> Duration {
        self.asked.profile.confirm_timeout(self.job.limits.confirm_timeout_s)
    }

    /// Adds a remark to the report, once.
    fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.remarks.len() < MAX_REMARKS && !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// Returns how long it took, in microseconds.
    fn note_step(&mut self, step: &str, began: Instant) -> u64 {
        if self.steps.len() >= MAX_STEPS {
            self.steps.remove(0);
        }
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.steps.push(ReportedStep { step: step.to_owned(), at: Timestamp::now(), took_us });
        took_us
    }

    /// None: the device's host key is not trusted yet.
    fn identity(&self) -> Option<Identity> {
        let host_key = self.work.host_key.clone()?;
        let credential = self.asked.credential.clone();
        Some(Identity { target: self.work.target.clone(), host_key, credential })
    }

    /// Gets a session: a warm one if there is one and `warm`, else a new one.
    pub(crate) async fn open(&mut self, by: Instant, warm: bool) -> Result<(), Failure> {
        let identity = self.identity().ok_or_else(|| {
            let text = "no host key of this device is trusted yet: compare it and run 'turnup device trust'";
            Failure::new(FailureClass::Distrusted, Step::Connect.name(), text)
        })?;
        if warm && let Some(session) = self.job.shared.pool.take(self.name(), &identity) {
            self.work.set_read_options(session.capabilities());
            self.session = Some(session);
            self.untried = true;
            self.clean = true;
            return self.shortcoming().map_or(Ok(()), Err);
        }
        let began = Instant::now();
        let result = self.connect(&identity, by).await;
        let took_us = self.note_step(Step::Connect.name(), began);
        if let Some(scribe) = &mut self.scribe {
            let note = match &result {
                Ok(session) => format!("session {} opened", session.session_id()),
                Err(failure) => failure.message.clone(),
            };
            scribe.note(Step::Connect.name(), took_us, note);
        }
        let session = result?;
        metrics::counter!("turnup_worker_sessions_opened_total").increment(1);
        metrics::histogram!("turnup_worker_session_open_seconds").record(began.elapsed().as_secs_f64());
        self.work.set_read_options(session.capabilities());
        self.session = Some(session);
        self.untried = false;
        self.clean = true;
        self.shortcoming().map_or(Ok(()), Err)
    }

    /// What the device can't do of what is wanted of it; then the session is left to who wants less.
    fn shortcoming(&mut self) -> Option<Failure> {
        let can = self.session.as_ref().map(Session::capabilities)?;
        let guarantee = guarantee_of(can, &self.asked.profile);
        let text = match self.needs {
            Needs::Change if guarantee.is_none() => {
                "the device has neither the capability :candidate nor :writable-running (RFC 6241 §8.2, §8.3), \
                 so it can't be changed"
            }
            Needs::Candidate if !can.candidate() => {
                "the device lacks the capability :candidate (RFC 6241 §8.3), so an edit can't be tried on it"
            }
            _ => {
                let has_candidate = can.candidate();
                if self.guarantee != guarantee {
                    self.locks = LockSet::of(&self.asked.profile, has_candidate);
                }
                self.guarantee = guarantee;
                return None;
            }
        };
        self.finish();
        Some(Failure::new(FailureClass::Misconfigured, Step::Connect.name(), text))
    }

    /// What the device of the open session can do.
    pub(crate) fn capabilities(&self) -> Option<&Capabilities> {
        self.session.as_ref().map(Session::capabilities)
    }

    async fn connect(&self, identity: &Identity, by: Instant) -> Result<Session, Failure> {
        let shared = self.job.shared;
        let known = &shared.assignment.credentials;
        let credentials = credential::resolve(known, self.asked.credential.as_ref()).await.map_err(|e| {
            Failure::new(FailureClass::Misconfigured, Step::Connect.name(), shorten(&e.to_string()))
        })?;
        // Waiting for one's turn is no fault of the device's, so it has its whole time to answer.
        let Some(_turn) = shared.room.connect(by).await else {
            let text = "the worker was opening too many sessions at once (worker.max_connects_at_once)";
            return Err(Failure::new(FailureClass::Unreachable, Step::Connect.name(), text));
        };
        let limit = Duration::from_millis(self.job.limits.connect_timeout_ms);
        let options = Options {
            connect_timeout: limit.min(by.saturating_duration_since(Instant::now())),
            settle: Duration::from_millis(self.asked.profile.settle_ms),
            algorithms: self.work.algorithms.clone(),
            ..Options::default()
        };
        let opened = Box::pin(connect(&identity.target, &credentials, &identity.host_key, &options)).await;
        opened.map_err(|error| classify::of_connect(&error))
    }

    /// Asks for nothing, to see whether the session lives. One that does not is gone.
    async fn probe(&mut self, by: Instant) -> bool {
        self.send("probe", &[pool::nothing()], by).await.is_ok()
    }

    /// A new session in the middle of a transaction: since time has passed, only after the scheduler has
    /// said that the attempt is still current.
    async fn reopen(&mut self, by: Instant) -> Result<(), NotReopened> {
        self.waited = true;
        self.still_current(by).await?;
        self.open(by, false).await.map_err(NotReopened::Failed)
    }

    /// Asks the scheduler whether the attempt is still current, unless that was known a moment ago.
    async fn still_current(&self, by: Instant) -> Result<(), NotReopened> {
        let currency = &self.job.currency;
        let verdict = match currency.is_sure() {
            true => Verdict::Current,
            false => currency.check(by).await,
        };
        match verdict {
            Verdict::Current => Ok(()),
            Verdict::Superseded => Err(NotReopened::Superseded),
            Verdict::Unknown => Err(NotReopened::Failed(Failure::new(
                FailureClass::Unreachable,
                "claim",
                "the scheduler did not say whether this attempt is still current",
            ))),
        }
    }

    /// Sends requests in one write and waits for all answers. A session that fails is gone. What is sent
    /// first on a warm session has a quick first request: that one's answer shows whether the session lives.
    pub(crate) async fn send(
        &mut self,
        step: &str,
        operations: &[Operation],
        by: Instant,
    ) -> Result<Vec<Reply>, RpcFailure> {
        let Some(session) = self.session.as_mut() else {
            return Err(RpcFailure::NotSent { cause: Cause::Closed });
        };
        let began = Instant::now();
        let by = by.min(began + Duration::from_millis(self.job.limits.rpc_timeout_ms));
        let first_by = if self.untried { by.min(began + FIRST_ANSWER) } else { by };
        let result = session.pipeline_answering_by(operations, first_by, by).await;
        let took_us = self.note_step(step, began);
        if let Some(scribe) = &mut self.scribe {
            scribe.exchange(step, took_us, operations, &result);
        }
        for reply in result.iter().flatten() {
            classify::remarks_of(reply).into_iter().for_each(|remark| self.remark(remark));
        }
        match &result {
            Ok(_) if self.untried => {
                metrics::counter!("turnup_worker_sessions_reused_total").increment(1);
                self.untried = false;
            }
            Ok(_) => {}
            Err(failure) => {
                if self.untried && failure.is_unanswered() {
                    Closed::Dead.count();
                }
                self.drop_session();
            }
        }
        result
    }

    /// Closes the session: the device lets go of its locks, and of what is in its candidate.
    fn drop_session(&mut self) {
        if let Some(session) = self.session.take()
            && !self.clean
        {
            if self.lost_sessions.len() >= MAX_LOST {
                self.lost_sessions.remove(0);
            }
            self.lost_sessions.push(session.session_id());
        }
        self.untried = false;
        self.clean = true;
    }

    /// Gives a session in good order to the pool.
    pub(crate) fn finish(&mut self) {
        let clean = self.clean;
        if let (Some(session), true, Some(identity)) = (self.session.take(), clean, self.identity()) {
            self.job.shared.pool.put(self.name(), identity, session);
        }
    }

    /// Sleeps before the next try; false if that would be too late.
    async fn pause(&mut self, retry: &mut Retry, by: Instant) -> bool {
        let wait = retry.next();
        self.waited = true;
        if Instant::now() + wait >= by {
            return false;
        }
        sleep(wait).await;
        true
    }
}

/// The strongest way in which a device with these capabilities can be changed.
fn guarantee_of(can: &Capabilities, profile: &Profile) -> Option<Guarantee> {
    if can.candidate() {
        Some(match () {
            () if profile.confirmed_commit == ConfirmedCommitUse::Never => Guarantee::Candidate,
            () if can.confirmed_commit_1_1() => Guarantee::ConfirmedCommit11,
            () if can.confirmed_commit_1_0() => Guarantee::ConfirmedCommit10,
            () => Guarantee::Candidate,
        })
    } else {
        can.writable_running().then_some(Guarantee::WritableRunning)
    }
}

/// Whether this is a device that is never contacted.
pub(crate) fn is_null(work: &DeviceWork) -> bool {
    work.platform.as_str() == "null"
}
