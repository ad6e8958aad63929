//! Questions about single devices: what a device is, its YANG texts, whether it takes an edit, how it behaves. None
//! changes its configuration for good, so an answer that gets lost costs nothing but the asker's patience.

mod check;
mod clock;
pub(crate) mod modules;
mod schemas;

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use turnup_broker::{Broker, ConsumeOptions, Consumer, Delivery, Outgoing, Publisher};
use turnup_core::{
    ask::{Answer, Ask, Question},
    exam::{Exam, TIME_S},
    failure::{Failure, FailureClass},
    id::DeploymentId,
    message::{Body as _, Claim, ClaimAnswer, Limits, Unreadable},
};

use crate::{
    currency::{Claims, Currency},
    device::{Device, Job, Needs, is_null},
    exam,
    progress::Progress,
    secrets::Secrets,
    serve::{MAX_EXAMS, Shared},
    work::Work,
};

/// No question takes longer, whatever its asker says.
const LONGEST: Duration = Duration::from_secs(120);
/// But for an exam: its longest time, and what it takes to begin.
const LONGEST_EXAM: Duration = Duration::from_secs(*TIME_S.end() as u64 + 30);
/// Time for an answer to get back.
const WAY_BACK: Duration = Duration::from_millis(500);
/// How long handing an answer to the broker may take.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);

/// Answers questions until `shutdown`, then ends those it has begun.
pub(crate) async fn serve(shared: Arc<Shared>, broker: Broker, shutdown: CancellationToken) {
    let most = shared.settings.max_asks;
    let permits = Arc::new(Semaphore::new(most));
    let prefetch = u16::try_from(most).unwrap_or(u16::MAX);
    let regions = shared.assignment.regions.iter().map(|region| {
        let queue = broker.names().ask_queue(region.as_str());
        let consumer = broker.consume(queue, ConsumeOptions::new(prefetch));
        serve_region(&shared, broker.publisher(), consumer, &permits, &shutdown)
    });
    join_all(regions).await;
}

async fn serve_region(
    shared: &Arc<Shared>,
    publisher: Publisher,
    mut consumer: Consumer,
    permits: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) {
    let mut tasks = JoinSet::new();
    loop {
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a question failed; it is asked again");
            }
        }
        let next = async {
            let delivery = consumer.next().await?;
            let permit = Arc::clone(permits).acquire_owned().await.ok()?;
            Some((delivery, permit))
        };
        let next = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        let Some((delivery, permit)) = next else { break };
        let (shared, publisher, shutdown) = (Arc::clone(shared), publisher.clone(), shutdown.clone());
        tasks.spawn(async move {
            if let Err(reason) = respond(&shared, &publisher, &delivery, &shutdown).await {
                tracing::warn!(reason, "a question about a device was not answered; it may be asked again");
            }
            delivery.ack().await;
            drop(permit);
        });
    }
    consumer.stop();
    while tasks.join_next().await.is_some() {}
}

/// Answers one question, unless its asker waits no longer.
async fn respond(
    shared: &Shared,
    publisher: &Publisher,
    delivery: &Delivery,
    shutdown: &CancellationToken,
) -> Result<(), String> {
    let ask = Ask::decode(&delivery.body).map_err(|error| error.to_string())?;
    let reply_to = delivery.reply_to.as_deref().ok_or("it names no queue for the answer")?;
    let longest = if matches!(ask.question, Question::Exam(_)) { LONGEST_EXAM } else { LONGEST };
    let patience = Duration::from_millis(ask.timeout_ms).min(longest);
    // By this clock alone: the broker has dropped what expired before, and the asker's clock may be wrong.
    let left = patience.saturating_sub(delivery.held()).saturating_sub(WAY_BACK.min(patience / 10));
    if left.is_zero() {
        return Err(format!("its asker waited {patience:?}, which is over"));
    }
    let began = Instant::now();
    let answer = match &ask.question {
        Question::Exam(exam) => examine(shared, &ask, exam, began + left, shutdown).await,
        _ => answer(shared, &ask, began + left).await,
    };
    metrics::counter!("turnup_worker_asks_total", "question" => word(&ask.question)).increment(1);
    metrics::histogram!("turnup_worker_ask_seconds").record(began.elapsed().as_secs_f64());
    let body = encode(answer).map_err(|error| error.to_string())?;
    let reply = Outgoing::reply(reply_to, delivery.correlation_id.clone(), body);
    publisher.publish(reply, PUBLISH_DEADLINE).await.map_err(|error| error.to_string())
}

const fn word(question: &Question) -> &'static str {
    match question {
        Question::Check => "check",
        Question::Schemas(_) => "schemas",
        Question::SchemaPiece { .. } => "schema_piece",
        Question::TryEdit => "try_edit",
        Question::Exam(_) => "exam",
    }
}

/// Runs an exam, unless as many are at work as the worker may.
async fn examine(
    shared: &Shared,
    ask: &Ask,
    exam: &Exam,
    by: Instant,
    shutdown: &CancellationToken,
) -> Answer {
    let Ok(_permit) = shared.exams.try_acquire() else {
        let text = format!("this worker is at {MAX_EXAMS} exams already: try again when one has ended");
        let failure = Failure::new(FailureClass::Busy, "exam", text).at(ask.device.device.clone());
        return nothing(shared, vec![failure]);
    };
    tracing::info!(device = %ask.device.device, exam = %exam.id, "device exam begins");
    let answer = exam::answer(shared, ask, exam, by, shutdown).await;
    let left = answer.exam.as_ref().map_or(0, |report| report.left.len());
    tracing::info!(device = %ask.device.device, exam = %exam.id, left, "device exam has ended");
    answer
}

/// An answer that holds nothing but failures.
fn nothing(shared: &Shared, failures: Vec<Failure>) -> Answer {
    let worker = shared.assignment.worker_name.clone();
    Answer { worker, failures, notes: Vec::new(), check: None, schemas: Vec::new(), piece: None, exam: None }
}

/// The answer as a message. One that is too large goes without what is said twice in it.
fn encode(mut answer: Answer) -> Result<Vec<u8>, Unreadable> {
    match answer.encode() {
        Err(Unreadable::TooLarge(_)) => {}
        result => return result,
    }
    if let Some(check) = &mut answer.check {
        check.capabilities.retain(|uri| !uri.contains("module="));
    }
    match answer.encode() {
        Err(Unreadable::TooLarge(bytes)) => {
            let text = format!("the answer has {bytes} bytes, which no message can carry");
            let failures = vec![Failure::new(FailureClass::BrokenPeer, "check", text)];
            Answer { failures, check: None, schemas: Vec::new(), piece: None, exam: None, ..answer }.encode()
        }
        result => result,
    }
}

/// Asks the device, until `by`.
pub(crate) async fn answer(shared: &Shared, ask: &Ask, by: Instant) -> Answer {
    let nothing = nothing(shared, Vec::new());
    let secrets = Secrets::of_all(std::slice::from_ref(&ask.device));
    let failed = |failures: Vec<Failure>| {
        let failures = failures.into_iter().map(|failure| failure.at(ask.device.device.clone())).collect();
        Answer { failures: secrets.failures(failures), ..nothing.clone() }
    };
    if is_null(&ask.device) {
        return match (&ask.question, shared.settings.allow_null_platform) {
            (Question::TryEdit, true) => nothing,
            _ => {
                let text = "the platform null contacts no device, so there is nothing to be asked";
                failed(vec![Failure::new(FailureClass::Misconfigured, "check", text)])
            }
        };
    }
    let work = match Work::new(&ask.device) {
        Ok(work) => work,
        Err(error) => {
            return failed(vec![Failure::new(FailureClass::Misconfigured, "check", error.to_string())]);
        }
    };
    let left = u64::try_from(by.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX);
    let usual = Limits::default();
    let limits = Limits {
        connect_timeout_ms: usual.connect_timeout_ms.min(left),
        rpc_timeout_ms: usual.rpc_timeout_ms.min(left),
        // Who asks waits for a person; a device that is busy says so soon.
        lock_wait_ms: usual.lock_wait_ms.min(left / 4),
        tries: 2,
        ..usual
    };
    let progress = Progress::default();
    let held = || true;
    let job = Job {
        stage: turnup_core::message::Stage::Whole,
        transcribe: None,
        shared,
        limits: &limits,
        persist: String::new(),
        recovery: false,
        past_unknown: false,
        others: false,
        currency: Currency::new(&NoAttempt, &held, DeploymentId(uuid::Uuid::nil()), 0, &nothing.worker),
        progress: &progress,
        forward_by: by,
        total_by: by,
    };
    let mut device = Device::new(&job, &ask.device, &work).needing(match ask.question {
        Question::TryEdit => Needs::Candidate,
        Question::Check | Question::Schemas(_) | Question::SchemaPiece { .. } | Question::Exam(_) => {
            Needs::Reading
        }
    });
    let asked = Box::pin(put(&ask.question, &mut device, &work, by, &nothing));
    // Every step has a deadline of its own; this is for what has none, such as the name server.
    let answered = timeout_at(by + WAY_BACK / 2, asked).await;
    match answered {
        Ok(Ok(answer)) => {
            device.finish();
            let failures = answer.failures.into_iter().map(|f| f.at(ask.device.device.clone())).collect();
            Answer { failures: secrets.failures(failures), ..answer }
        }
        Ok(Err(failures)) => {
            device.finish();
            failed(failures)
        }
        Err(_) => {
            let text = "the device could not be asked in time";
            failed(vec![Failure::new(FailureClass::Unreachable, "check", text)])
        }
    }
}

async fn put(
    question: &Question,
    device: &mut Device<'_>,
    work: &Work,
    by: Instant,
    nothing: &Answer,
) -> Result<Answer, Vec<Failure>> {
    let nothing = nothing.clone();
    match question {
        Question::Check => {
            let (check, failures) = check::check(device, work, by).await;
            Ok(Answer { check, failures, ..nothing })
        }
        Question::Schemas(wanted) => {
            let schemas::Fetched { texts, piece, failures } = schemas::fetch(device, wanted).await?;
            Ok(Answer { schemas: texts, piece, failures, ..nothing })
        }
        Question::SchemaPiece { name, revision, from } => {
            let piece = schemas::fetch_piece(device, name, revision.as_deref(), *from).await?;
            Ok(Answer { piece: Some(piece), ..nothing })
        }
        Question::TryEdit => {
            device.try_edit(by).await?;
            Ok(Answer { notes: std::mem::take(&mut device.remarks), ..nothing })
        }
        // Exams open sessions of their own, see `examine`.
        Question::Exam(_) => Ok(nothing),
    }
}

/// A question is no deployment: there is no attempt that could be another worker's.
struct NoAttempt;

impl Claims for NoAttempt {
    fn ask(&self, _: Claim, _: Duration) -> BoxFuture<'_, Result<ClaimAnswer, String>> {
        Box::pin(std::future::ready(Err("a question has no attempt".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use turnup_core::ask::{DeviceCheck, Module};

    use super::*;

    #[test]
    fn an_answer_that_is_too_large_goes_without_what_is_said_twice() {
        let module = |n: u32| Module {
            name: format!("module-{n}"),
            revision: None,
            namespace: Some("x".repeat(200)),
            features: vec![],
        };
        let uri = |n: u32| format!("urn:x?module=module-{n}&features={}", "x".repeat(900));
        let check = |modules: u32| DeviceCheck {
            host_key: None,
            trusted: Some(true),
            capabilities: (0..1_500).map(uri).chain(["urn:base".to_owned()]).collect(),
            method: None,
            clock: None,
            clock_skew_ms: None,
            modules: (0..modules).map(module).collect(),
            connect_ms: 1,
            remarks: vec![],
        };
        let answer = |modules: u32| {
            let (failures, schemas) = (vec![], vec![]);
            let answer = Answer {
                worker: "w".to_owned(),
                failures,
                notes: Vec::new(),
                check: Some(check(modules)),
                schemas,
                piece: None,
                exam: None,
            };
            Answer::decode(&encode(answer).unwrap()).unwrap()
        };
        let fits = answer(1_500).check.unwrap();
        assert_eq!((fits.capabilities.as_slice(), fits.modules.len()), (&["urn:base".to_owned()][..], 1_500));
        let too_many = answer(10_000);
        assert!(too_many.check.is_none());
        assert!(too_many.failures[0].message.contains("bytes"), "{too_many:?}");
    }
}
