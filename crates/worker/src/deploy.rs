//! One deployment, from its delivery to its report.

use std::time::Duration;

use futures_util::future::{BoxFuture, join};
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use turnup_broker::{Delivery, Headers, Outgoing, PublishError, Publisher};
use turnup_core::{
    attempt,
    failure::{Failure, FailureClass},
    lifecycle::DeploymentEvent,
    message::{Deployment, InForce, Part, Purpose, REPUBLISHED, Stage},
    transaction::End,
    transcript::DeviceTranscript,
};

use crate::{
    currency::{Claims, Currency, Moment},
    device::{Device, Job, is_null},
    drive::{Begin, drive},
    progress::Progress,
    report::{Ending, FailedLine, Parts, Reporter},
    secrets::Secrets,
    serve::Shared,
    settings::Transcripts,
    work::Work,
};

mod audits;
mod groups;
mod waiting;

/// No delivery may be held longer: the broker takes it back after 30 minutes.
const LONGEST: Duration = Duration::from_secs(24 * 60);
/// How long the scheduler may take to answer who goes on with a repeated delivery.
const CLAIM_PATIENCE: Duration = Duration::from_secs(300);
/// Reports of a long deployment are at least so far apart.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Where nothing changes, a report is due all the same after this time.
const REPORT_AT_LEAST: Duration = Duration::from_secs(10);
/// How long a report on the way may take.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

/// What becomes of a delivery.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Publish these in their order, the report last, then acknowledge.
    Report(Vec<Outgoing>),
    /// Acknowledge: it is another's, or has ended.
    Forget,
    /// Give it back to the broker.
    Release,
    /// Its report can't be written: park it with this reason.
    Park(String),
}

/// Takes reports of deployments that still run.
pub(crate) trait Reports: Send + Sync {
    /// Publishes one, confirmed.
    fn tell(&self, message: Outgoing) -> BoxFuture<'_, Result<(), PublishError>>;
}

impl Reports for Publisher {
    fn tell(&self, message: Outgoing) -> BoxFuture<'_, Result<(), PublishError>> {
        Box::pin(self.publish(message, PUBLISH_DEADLINE))
    }
}

/// What all deployments share.
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) claims: &'a dyn Claims,
    pub(crate) reports: &'a dyn Reports,
    /// The exchange of state changes.
    pub(crate) exchange: String,
}

/// Whether another delivery of the same message may have been worked on.
pub(crate) fn may_be_a_repeat(delivery: &Delivery) -> bool {
    let is_marked =
        delivery.redelivered || delivery.delivery_count > 0 || delivery.headers.get(REPUBLISHED).is_some();
    attempt::may_be_a_repeat(is_marked, age(delivery))
}

/// Time since the message was published, as far as can be told.
fn age(delivery: &Delivery) -> Duration {
    delivery.held().max(delivery.age().unwrap_or_default())
}

/// The headers that go on to the reports: the trace.
pub(crate) fn trace_of(delivery: &Delivery) -> Headers {
    let mut headers = Headers::new();
    for name in ["traceparent", "tracestate"] {
        if let Some(value) = delivery.headers.text(name) {
            headers.insert(name, value);
        }
    }
    headers
}

fn objection(text: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Misconfigured, "check", text)
}

/// Why so many devices aren't contacted.
pub(crate) fn too_many(devices: usize, shared: &Shared) -> Option<Failure> {
    let most = shared.settings.max_devices;
    (devices > most).then(|| {
        objection(format!(
            "the deployment has {devices} devices; this worker takes at most {most} (worker.max_devices)"
        ))
    })
}

/// Devices that are not to be contacted, and why.
fn barred(deployment: &Deployment, shared: &Shared) -> Vec<(usize, Failure)> {
    if shared.settings.allow_null_platform {
        return Vec::new();
    }
    let null = deployment.devices.iter().enumerate().filter(|(_, device)| is_null(device));
    null.map(|(at, _)| {
        let text = "the platform null contacts no device and is not allowed at this worker \
                    (worker.allow_null_platform)";
        (at, objection(text))
    })
    .collect()
}

/// Why the devices aren't even contacted, per device.
pub(crate) fn objections(deployment: &Deployment, shared: &Shared) -> Vec<(usize, Failure)> {
    match too_many(deployment.devices.len(), shared) {
        Some(failure) => vec![(0, failure)],
        None => barred(deployment, shared),
    }
}

/// Runs a deployment that was delivered.
pub(crate) async fn deploy(context: &Context<'_>, delivery: &Delivery, part: &Part) -> Outcome {
    let held = || !delivery.is_stale();
    let began = Instant::from_std(delivery.received_at);
    let run = Run {
        context,
        deployment: &part.deployment,
        stage: part.stage,
        attempt: part.attempt,
        headers: trace_of(delivery),
        is_repeat: may_be_a_repeat(delivery),
        held: &held,
        began,
        published: Moment::now().before(age(delivery)),
    };
    run.run().await
}

/// A deployment being run, free of how it came.
pub(crate) struct Run<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) deployment: &'a Deployment,
    /// What is to be done of it.
    pub(crate) stage: Stage,
    /// The attempt that its message starts.
    pub(crate) attempt: i32,
    pub(crate) headers: Headers,
    pub(crate) is_repeat: bool,
    /// Whether the broker still regards the delivery as ours.
    pub(crate) held: &'a (dyn Fn() -> bool + Send + Sync),
    pub(crate) began: Instant,
    /// When the message was published.
    pub(crate) published: Moment,
}

impl Run<'_> {
    /// Runs it to its end.
    pub(crate) async fn run(&self) -> Outcome {
        let deployment = self.deployment;
        let total = Duration::from_millis(deployment.limits.total_timeout_ms).min(LONGEST);
        let attempt = if self.is_repeat {
            // Until whoever has got it first asks before it goes on.
            sleep(attempt::taken_over_in(self.published.elapsed())).await;
            let claim_by = Instant::now() + total.min(CLAIM_PATIENCE);
            let worker = &self.context.shared.assignment.worker_name;
            let currency =
                Currency::new(self.context.claims, self.held, deployment.deployment, self.attempt, worker);
            match currency.take_over(claim_by).await.map(|answer| answer.attempt) {
                None => return Outcome::Release,
                Some(None) => return Outcome::Forget,
                Some(Some(attempt)) => attempt,
            }
        } else {
            self.attempt
        };
        // What a worker that allows more may have begun is brought to its end.
        let objections = match self.is_repeat || self.is_decided() {
            true => barred(deployment, self.context.shared),
            false => objections(deployment, self.context.shared),
        };
        let is_audit = deployment.purpose == Purpose::Audit;
        // Of a group only some of the orders may be meant.
        if !is_audit && !objections.is_empty() && deployment.orders.len() < 2 {
            return self.report(attempt, 1, self.refused(objections), Vec::new());
        }
        let is_on_paper = objections.is_empty() && deployment.devices.iter().all(is_null);
        if !is_audit && self.stage == Stage::Whole && is_on_paper {
            return self.report(attempt, 1, Ending::on_paper(deployment), Vec::new());
        }
        let (_seats, sequence) = match self.wait_for_room(attempt).await {
            Ok(entered) => entered,
            Err(outcome) => return outcome,
        };
        // The time for the devices begins now, but the broker's patience began with the delivery.
        let total_by = (Instant::now() + total).min(self.began + LONGEST);
        match deployment.orders.len() {
            _ if is_audit => self.audit(attempt, sequence, total_by, objections).await,
            0 | 1 => self.transact(attempt, sequence, total_by).await,
            _ => self.transact_group(attempt, sequence, total_by).await,
        }
    }

    /// Whether a decision is carried out: the devices have been prepared.
    fn is_decided(&self) -> bool {
        matches!(self.stage, Stage::Confirm | Stage::Undo)
    }

    /// The devices are not contacted. Where somebody may have done that before, nobody knows what they have.
    fn refused(&self, failures: Vec<(usize, Failure)>) -> Ending {
        let is_begun = self.is_repeat || self.is_decided();
        let in_force = if is_begun { InForce::Unknown } else { InForce::Old };
        Ending::refused(self.deployment, in_force, failures)
    }

    async fn transact(&self, attempt: i32, sequence: i32, total_by: Instant) -> Outcome {
        let deployment = self.deployment;
        // Everything is parsed before the first device hears of it.
        let (mut works, mut bad) = (Vec::with_capacity(deployment.devices.len()), Vec::new());
        for (at, asked) in deployment.devices.iter().enumerate() {
            match Work::new(asked) {
                Ok(work) => works.push(work),
                Err(error) => {
                    bad.push((at, Failure::new(FailureClass::Misconfigured, "check", error.to_string())));
                }
            }
        }
        if !bad.is_empty() {
            return self.report(attempt, sequence, self.refused(bad), Vec::new());
        }
        let progress = Progress::default();
        let job = self.job(attempt, total_by, &progress);
        let mut devices: Vec<Device<'_>> = deployment
            .devices
            .iter()
            .zip(&works)
            .map(|(asked, work)| Device::new(&job, asked, work))
            .collect();
        let over = CancellationToken::new();
        let begin = if self.is_repeat { Begin::Recovery } else { Begin::Fresh };
        let work = async {
            let result = drive(&job, &mut devices, begin).await;
            over.cancel();
            result
        };
        let ((transaction, end), sequence) = join(work, self.tell(attempt, sequence, &progress, &over)).await;
        let since = devices.iter().filter_map(Device::since_commit).max().unwrap_or_default();
        // That may be over.
        let confirm_by = Timestamp::now() + job.half_of_timer() - since;
        let said: Vec<DeviceTranscript> = devices.iter_mut().filter_map(Device::take_transcript).collect();
        match end {
            End::Known | End::Prepared => {
                let phase = progress.state().phase.map_or("start", |phase| phase.name());
                let parts = |at: usize| {
                    let device = devices.get_mut(at);
                    let parts = |d: &mut Device<'_>| Parts {
                        notes: std::mem::take(&mut d.notes),
                        steps: std::mem::take(&mut d.steps),
                        guarantee: d.guarantee_reported(),
                        audits: d.take_audits(),
                        tokens_cancelled: d.tokens_cancelled,
                        remarks: std::mem::take(&mut d.remarks),
                    };
                    device.map(parts).unwrap_or_default()
                };
                let ending = match end {
                    End::Prepared => Ending::prepared(deployment, phase, confirm_by, parts),
                    _ => Ending::of_transaction(deployment, self.stage, phase, &transaction, parts),
                };
                self.report(attempt, sequence, ending, said)
            }
            End::Superseded => {
                self.tell_transcript(attempt, said).await;
                tracing::info!(deployment = %deployment.deployment, attempt, "another worker has taken the deployment over");
                Outcome::Forget
            }
            End::HandedBack => {
                self.tell_transcript(attempt, said).await;
                Outcome::Release
            }
        }
    }

    /// What was said in an attempt that has no end of its own. Whether this arrives decides nothing.
    async fn tell_transcript(&self, attempt: i32, said: Vec<DeviceTranscript>) {
        let Some(message) = self.reporter(attempt).transcript(said) else { return };
        if let Err(error) = self.context.reports.tell(message).await {
            tracing::warn!(deployment = %self.deployment.deployment, %error, "a transcript could not be published");
        }
    }

    fn job<'j>(&'j self, attempt: i32, total_by: Instant, progress: &'j Progress) -> Job<'j> {
        let deployment = self.deployment;
        let shared = self.context.shared;
        let worker = &shared.assignment.worker_name;
        let forward_by = self.forward_by(total_by);
        let currency = Currency::new(self.context.claims, self.held, deployment.deployment, attempt, worker);
        Job {
            shared,
            stage: self.stage,
            limits: &deployment.limits,
            persist: deployment.deployment.to_string(),
            recovery: self.is_repeat,
            past_unknown: deployment.past_unknown,
            others: self.is_repeat || self.is_decided(),
            currency: match self.is_repeat {
                true => currency.taken_over(),
                false => currency.known_since(self.published),
            },
            progress,
            transcribe: match shared.settings.transcripts {
                Transcripts::All | Transcripts::Failures => Some(deployment.devices.len()),
                Transcripts::None => None,
            },
            forward_by,
            total_by,
        }
    }

    /// Until when it may go forward: there has to be time to take everything back, timers of devices included.
    fn forward_by(&self, total_by: Instant) -> Instant {
        let confirm = Duration::from_secs(u64::from(self.deployment.limits.confirm_timeout_s));
        let reserve =
            (confirm + Duration::from_secs(30)).min(total_by.saturating_duration_since(Instant::now()) / 2);
        total_by.checked_sub(reserve).unwrap_or(total_by)
    }

    fn reporter(&self, attempt: i32) -> Reporter {
        Reporter {
            deployment: self.deployment.deployment,
            attempt,
            correlation: self.deployment.orders.first().map(ToString::to_string).unwrap_or_default(),
            worker: self.context.shared.assignment.worker_name.clone(),
            exchange: self.context.exchange.clone(),
            headers: self.headers.clone(),
        }
    }

    fn report(&self, attempt: i32, sequence: i32, ending: Ending, said: Vec<DeviceTranscript>) -> Outcome {
        let ending = ending.without(&Secrets::of_all(&self.deployment.devices));
        let outcome = ending.event.word();
        metrics::counter!("turnup_worker_deployments_total", "outcome" => outcome).increment(1);
        metrics::histogram!("turnup_worker_deployment_seconds").record(self.began.elapsed().as_secs_f64());
        for failure in ending.devices.iter().flat_map(|report| &report.failures) {
            metrics::counter!("turnup_worker_failures_total", "class" => failure.class.word()).increment(1);
        }
        if let Some(FailedLine { orders, phase, device, class, words, failures }) = ending.failed_line() {
            let deployment = self.deployment.deployment;
            tracing::info!(%deployment, attempt, outcome, %orders, %phase, %device, class, %words, failures, "a deployment failed");
        }
        let smooth = ending.event == DeploymentEvent::Committed
            && ending.devices.iter().all(|device| device.failures.is_empty());
        let dull = smooth && self.context.shared.settings.transcripts == Transcripts::Failures;
        let reporter = self.reporter(attempt);
        let transcript = if dull { None } else { reporter.transcript(said) };
        match reporter.ended(sequence, ending) {
            Ok(message) => Outcome::Report(transcript.into_iter().chain([message]).collect()),
            Err(error) => Outcome::Park(format!("the report on it can't be written: {error}")),
        }
    }

    /// Tells how far a long deployment is, until it is over. Returns the next sequence number.
    async fn tell(
        &self,
        attempt: i32,
        mut sequence: i32,
        progress: &Progress,
        over: &CancellationToken,
    ) -> i32 {
        let mut next = Instant::now() + Duration::from_millis(self.context.shared.settings.report_after_ms);
        let mut told = None;
        let mut told_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = over.cancelled() => return sequence,
                () = progress.doubted() => {}
                () = sleep_until(next) => {}
            }
            next = Instant::now() + REPORT_EVERY;
            let state = progress.state();
            if told == Some(state) && told_at.elapsed() < REPORT_AT_LEAST {
                continue;
            }
            let message = self.reporter(attempt).progressed(sequence, state, self.deployment, progress);
            let Ok(message) = message else { continue };
            // Not given up when it is over: the final report must not overtake it.
            match self.context.reports.tell(message).await {
                Ok(()) => {
                    sequence += 1;
                    (told, told_at) = (Some(state), Instant::now());
                }
                Err(error) => {
                    // A number that may have been used is not used for something else.
                    sequence += i32::from(error.maybe_published());
                    tracing::warn!(deployment = %self.deployment.deployment, %error, "a report of progress could not be published");
                }
            }
            next = Instant::now() + REPORT_EVERY;
        }
    }
}
