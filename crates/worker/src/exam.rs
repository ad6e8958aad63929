//! The device exam: probes in a scratch of the device's configuration, each with a deadline, each cleaned up after.
//!
//! Architecture invariants:
//! - The asker holds the device's lease, and the exam's token is on record as pending there before the exam begins:
//!   if this worker dies, the next deployment at the device cancels what the exam left and discards its edits.
//! - Nothing but the scratch is edited. What is committed is committed under the lock of the candidate, so that no one
//!   else's edit is published, and by a confirmed commit with a short timer wherever the device has those.
//! - After each probe the scratch is gone from running, nothing of the exam is pending, and no lock is held; otherwise
//!   the exam ends there and says what is left.

mod candidate;
mod commits;
mod locks;
mod peer;
mod place;
mod prepare;
mod restore;
mod sessions;
mod steps;
mod timers;
mod values;

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use turnup_core::{
    ask::{Answer as Reply, Ask},
    exam::{Answer, Exam, ExamOptions, ExamReport, Finding, Findings, Probe},
    failure::{Failure, FailureClass},
    message::DeviceWork,
};
use turnup_netconf::{
    capability::Capabilities,
    compare,
    model::NoModel,
    operation::{Datastore, Operation},
    ssh::{Credentials, Options, PinnedHostKey, connect},
    xml::Element,
};

use self::{
    peer::{Halt, Peer, said},
    place::Place,
    steps::Step,
};
use crate::{
    classify::{self, Step as Phase, shorten},
    credential,
    serve::Shared,
    work::Work,
};

/// Kept back of the exam's time for cleaning up.
const CLEAN_UP: Duration = Duration::from_secs(20);
/// Longest time for opening a session.
const CONNECT: Duration = Duration::from_secs(10);
/// Steps in a row without answer after which the device is given up.
const MAX_SILENT: u32 = 3;

/// Runs an exam until `by`, or until `shutdown`.
pub(crate) async fn answer(
    shared: &Shared,
    ask: &Ask,
    exam: &Exam,
    by: Instant,
    shutdown: &CancellationToken,
) -> Reply {
    let began = Instant::now();
    let result = Box::pin(run(shared, &ask.device, exam, by, shutdown)).await;
    let (failures, report) = match result {
        Ok(report) => (Vec::new(), Some(Box::new(ExamReport { took_ms: ms_since(began), ..report }))),
        Err(failure) => (vec![failure.at(ask.device.device.clone())], None),
    };
    Reply {
        worker: shared.assignment.worker_name.clone(),
        failures,
        notes: Vec::new(),
        check: None,
        schemas: Vec::new(),
        piece: None,
        exam: report,
    }
}

fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn run(
    shared: &Shared,
    asked: &DeviceWork,
    exam: &Exam,
    by: Instant,
    shutdown: &CancellationToken,
) -> Result<ExamReport, Failure> {
    let misconfigured = |text: String| Failure::new(FailureClass::Misconfigured, "exam", shorten(&text));
    if crate::device::is_null(asked) {
        return Err(misconfigured(
            "the platform null contacts no device, so there is nothing to examine".to_owned(),
        ));
    }
    exam.options.check().map_err(|(field, why)| misconfigured(format!("{field}: {why}")))?;
    let places: Vec<Place> = exam
        .scratches
        .iter()
        .map(Place::new)
        .collect::<Result<_, _>>()
        .map_err(|error| misconfigured(error.to_string()))?;
    let work = Work::new(asked).map_err(|error| misconfigured(error.to_string()))?;
    let host_key = work.host_key.clone().ok_or_else(|| {
        let text = "no host key of this device is trusted yet: compare it and run 'turnup device trust'";
        Failure::new(FailureClass::Distrusted, Phase::Connect.name(), text)
    })?;
    let credentials = credential::resolve(&shared.assignment.credentials, asked.credential.as_ref())
        .await
        .map_err(|error| misconfigured(error.to_string()))?;
    let probing_by = by.checked_sub(CLEAN_UP).unwrap_or(by);
    let examiner = Examiner {
        shared,
        asked,
        work: &work,
        credentials,
        host_key,
        options: &exam.options,
        token: exam.id.to_string(),
        place: None,
        can: Capabilities::default(),
        probing_by,
        by,
        main: None,
        findings: Vec::new(),
        is_armed: false,
        is_candidate_used: false,
        is_running_used: false,
        must_restore: false,
        unit: Duration::from_secs(1),
        commit_times: Vec::new(),
        before: None,
        tokens_cancelled: false,
        silent: 0,
        stopped: None,
        left: Vec::new(),
    };
    examiner.run(places, shutdown).await
}

/// An exam at work.
struct Examiner<'a> {
    shared: &'a Shared,
    asked: &'a DeviceWork,
    work: &'a Work,
    credentials: Credentials,
    host_key: PinnedHostKey,
    options: &'a ExamOptions,
    /// `persist` of all commits.
    token: String,
    place: Option<Place>,
    can: Capabilities,
    /// No probe begins or goes on after this.
    probing_by: Instant,
    /// Everything is over by then.
    by: Instant,
    main: Option<Peer>,
    findings: Vec<Finding>,
    /// A confirmed commit of ours may be pending.
    is_armed: bool,
    /// The exam has edited the candidate. What is in it before that is someone else's.
    is_candidate_used: bool,
    /// The exam may have changed running, so that it has to be looked after.
    is_running_used: bool,
    /// A step has not been cleaned up after.
    must_restore: bool,
    /// The unit of the device's confirm timer.
    unit: Duration,
    commit_times: Vec<Duration>,
    /// Running before the exam.
    before: Option<Element>,
    tokens_cancelled: bool,
    silent: u32,
    stopped: Option<String>,
    left: Vec<String>,
}

impl Examiner<'_> {
    async fn run(mut self, places: Vec<Place>, shutdown: &CancellationToken) -> Result<ExamReport, Failure> {
        let open = self.open().await.map_err(|halt| self.failure(halt))?;
        self.can = open.session().capabilities().clone();
        self.main = Some(open);
        let prepared = timeout_at(self.probing_by, Box::pin(self.prepare(places))).await;
        let prepared = prepared.unwrap_or_else(|_| Err(Halt::Silent("no time was left to begin".to_owned())));
        if let Err(halt) = prepared {
            let failure = self.failure(halt);
            if !self.is_candidate_used && !self.is_running_used {
                return Err(failure);
            }
            // What was put into the candidate to try the scratch goes.
            let restored = self.restore().await;
            return Err(match restored {
                Ok(()) => failure,
                Err(why) => Failure { message: format!("{}; {why}", failure.message), ..failure },
            });
        }
        for step in steps::ALL {
            if self.stopped.is_none() {
                self.stopped = self.reason_to_stop(shutdown);
            }
            match self.stopped.clone() {
                Some(reason) => self.fill(step, &Answer::NotTried(reason)),
                None => self.step(step).await,
            }
        }
        self.note_commit_time();
        let is_clean = self.finish().await;
        if let Some(peer) = self.main.take() {
            peer.close().await;
        }
        Ok(ExamReport {
            scratch: self.place.as_ref().map(|place| format!("{} {}", place.name, place.path())),
            findings: self.findings,
            is_clean: is_clean && self.left.is_empty(),
            left: self.left,
            tokens_cancelled: self.tokens_cancelled,
            running_compared: self.before.is_some(),
            stopped: self.stopped,
            took_ms: 0,
        })
    }

    fn reason_to_stop(&self, shutdown: &CancellationToken) -> Option<String> {
        if shutdown.is_cancelled() {
            return Some("the worker is stopping".to_owned());
        }
        if Instant::now() >= self.probing_by {
            return Some("the exam's time is over; --time gives it more".to_owned());
        }
        (self.silent >= MAX_SILENT).then(|| "the device does not answer any more".to_owned())
    }

    fn failure(&self, halt: Halt) -> Failure {
        let (class, text) = match halt {
            Halt::Silent(text) => (FailureClass::Unreachable, text),
            Halt::NotTried(text) => (FailureClass::Misconfigured, text),
            Halt::Unknown(text) => (FailureClass::Busy, text),
        };
        Failure::new(class, "exam", shorten(&text))
    }

    // Findings.

    fn found(&mut self, probe: Probe, answer: Answer) {
        self.findings.push(Finding { probe, answer, remark: None });
    }

    fn found_with(&mut self, probe: Probe, answer: Answer, remark: impl Into<String>) {
        self.findings.push(Finding { probe, answer, remark: Some(remark.into()) });
    }

    fn says(&mut self, probe: Probe, yes: bool) {
        self.found(probe, if yes { Answer::Yes } else { Answer::No });
    }

    /// A reply that should be a refusal; `phase`: where a deployment would meet it.
    fn refused(&mut self, probe: Probe, phase: Phase, reply: &turnup_netconf::message::Reply) {
        let answer = match reply.is_error() {
            true => Answer::Refused(peer::shape(phase, reply)),
            false => Answer::Accepted,
        };
        self.found(probe, answer);
    }

    /// A reply that should be ok.
    fn accepted(&mut self, probe: Probe, reply: &turnup_netconf::message::Reply) {
        match reply.is_error() {
            false => self.found(probe, Answer::Yes),
            true => self.found_with(probe, Answer::No, said(reply)),
        }
    }

    /// What was found so far, where that is yes or no.
    fn known(&self, probe: Probe) -> Option<bool> {
        Findings::new(&self.findings).is(probe)
    }

    fn is_answered(&self, probe: Probe) -> bool {
        self.findings.iter().any(|finding| finding.probe == probe)
    }

    /// Gives the probes of a step that have no answer this one.
    fn fill(&mut self, step: &Step, answer: &Answer) {
        for probe in step.probes {
            if !self.is_answered(*probe) {
                self.found(*probe, answer.clone());
            }
        }
    }

    fn note_commit_time(&mut self) {
        self.commit_times.sort();
        let answer = match self.commit_times.get(self.commit_times.len() / 2) {
            Some(median) => Answer::Number(u64::try_from(median.as_millis()).unwrap_or(u64::MAX)),
            None => Answer::NotTried("nothing was committed".to_owned()),
        };
        let count = self.commit_times.len();
        match count {
            0 => self.found(Probe::CommitTime, answer),
            _ => self.found_with(Probe::CommitTime, answer, format!("of {count} commits")),
        }
    }

    // Steps.

    async fn step(&mut self, step: &Step) {
        if let Err(reason) = self.permits(step) {
            return self.fill(step, &Answer::NotTried(reason));
        }
        if let Err(reason) = self.check_candidate(step).await {
            self.fill(step, &Answer::NotTried(reason.clone()));
            self.stopped = Some(reason);
            return;
        }
        let limit = step.limit(self.unit);
        let by = (Instant::now() + limit).min(self.probing_by);
        let result = match timeout_at(by, (step.run)(self)).await {
            Ok(result) => result,
            Err(_) => Err(Halt::Silent(format!("no end within {} s", limit.as_secs()))),
        };
        match result {
            Ok(()) => {
                self.silent = 0;
                self.fill(step, &Answer::Unknown("the probe gave no answer".to_owned()));
            }
            Err(Halt::NotTried(reason)) => self.fill(step, &Answer::NotTried(reason)),
            Err(Halt::Unknown(reason)) => {
                self.silent = 0;
                self.fill(step, &Answer::Unknown(reason));
            }
            Err(Halt::Silent(reason)) => {
                self.silent += 1;
                self.main = None;
                self.fill(step, &Answer::Unknown(reason));
            }
        }
        self.must_restore |= step.edits;
        if step.edits
            && let Err(why) = self.restore().await
        {
            self.left.push(why.clone());
            self.stopped = Some(format!("after {}: {why}", step.probes.first().map_or("", |p| p.word())));
        }
    }

    /// Makes sure before a step edits the candidate that no one else does: cleaning up discards everything in it.
    async fn check_candidate(&mut self, step: &Step) -> Result<(), String> {
        if !step.edits || !step.needs.candidate() || self.known(Probe::LockCandidate) != Some(true) {
            return Ok(());
        }
        // A session that does not answer is found out by the step.
        let Ok(peer) = self.main().await else { return Ok(()) };
        match peer.ask(Operation::lock(Datastore::Candidate)).await {
            Ok(reply) if reply.has_ok() => {
                let unlocked = peer.ask(Operation::unlock(Datastore::Candidate)).await;
                if unlocked.is_err() {
                    self.main = None;
                }
                Ok(())
            }
            Ok(reply) => Err(format!("someone is at work in the candidate ({})", said(&reply))),
            Err(_) => {
                self.main = None;
                Ok(())
            }
        }
    }

    /// Why a step is not to be made.
    fn permits(&self, step: &Step) -> Result<(), String> {
        let needs = step.needs;
        if needs.commits() && self.options.candidate_only {
            return Err("it commits, and --candidate-only was asked for".to_owned());
        }
        if needs.candidate() && !self.can.candidate() {
            return Err("the device has no :candidate".to_owned());
        }
        if needs.confirmed() && !(self.can.confirmed_commit_1_1() || self.can.confirmed_commit_1_0()) {
            return Err("the device has no :confirmed-commit".to_owned());
        }
        if needs.persist() && !self.can.confirmed_commit_1_1() {
            return Err("the device has no :confirmed-commit:1.1".to_owned());
        }
        if step.is_hazard && self.options.careful {
            return Err("it could harm a badly behaved server, and --careful was asked for".to_owned());
        }
        if needs.confirmed() && self.known(Probe::LockCandidate) == Some(false) {
            return Err("the candidate can't be locked, so a commit could publish edits of others".to_owned());
        }
        let left = self.probing_by.saturating_duration_since(Instant::now());
        let least = self.unit * step.timers;
        if least > left {
            let text = format!(
                "its timers take {} s, and {} s are left; --time gives more",
                least.as_secs(),
                left.as_secs()
            );
            return Err(text);
        }
        Ok(())
    }

    // Sessions.

    /// Opens a session as a deployment would.
    async fn open(&self) -> Result<Peer, Halt> {
        self.open_with(Duration::from_millis(self.asked.profile.settle_ms), true).await
    }

    async fn open_with(&self, settle: Duration, offer_base_1_1: bool) -> Result<Peer, Halt> {
        let Some(_turn) = self.shared.room.connect(self.by).await else {
            return Err(Halt::Silent("the worker was opening too many sessions at once".to_owned()));
        };
        let left = self.by.saturating_duration_since(Instant::now());
        let options = Options {
            connect_timeout: CONNECT.min(left),
            settle,
            offer_base_1_1,
            algorithms: self.work.algorithms.clone(),
            ..Options::default()
        };
        let opening = connect(&self.work.target, &self.credentials, &self.host_key, &options);
        let session =
            Box::pin(opening).await.map_err(|error| Halt::Silent(classify::of_connect(&error).message))?;
        Ok(Peer::new(session, self.by))
    }

    /// The session of the exam: the one that is open, or a new one.
    async fn main(&mut self) -> Result<&mut Peer, Halt> {
        if self.main.as_ref().is_none_or(|peer| !peer.is_usable()) {
            self.main = Some(self.open().await?);
        }
        self.main.as_mut().ok_or_else(|| Halt::Silent("there is no session".to_owned()))
    }

    /// Takes the session of the exam, for probes that need several.
    async fn take_main(&mut self) -> Result<Peer, Halt> {
        self.main().await?;
        self.main.take().ok_or_else(|| Halt::Silent("there is no session".to_owned()))
    }

    fn place(&self) -> Result<Place, Halt> {
        self.place.clone().ok_or_else(|| Halt::not_tried("there is no scratch"))
    }

    /// Whether running has the scratch.
    async fn is_present(&self, peer: &mut Peer) -> Result<bool, Halt> {
        self.has_entry(peer, Datastore::Running).await
    }

    async fn has_entry(&self, peer: &mut Peer, datastore: Datastore) -> Result<bool, Halt> {
        let place = self.place()?;
        let data = peer.read(datastore, Some(&place.filter())).await?;
        Ok(place.entry_of(&data).is_some())
    }
}

/// Whether two readings of a whole datastore are the same.
fn is_same(a: &Element, b: &Element) -> bool {
    compare::contains(a, b, &NoModel) && compare::contains(b, a, &NoModel)
}
