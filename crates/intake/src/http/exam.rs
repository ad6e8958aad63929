//! The device exam: takes the device's lease, asks a worker of its region, gives the lease back, and says what the
//! findings mean.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use turnup_core::{
    ask::Answer as Told,
    event,
    exam::{
        Exam, ExamOptions, ExamReport, Finding, Findings, TIME_S,
        deviation::deviations,
        scratch::Scratch,
        verdict::{differences, profile_of, to_toml},
    },
    problem::{Fault, Problem},
    profile::Profile,
};
use turnup_store::{Device, ExamLease};
use uuid::Uuid;

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    devices::find,
};
use crate::{
    app::App,
    ask::{self, Unanswered},
    refusal,
};

/// For the way to the worker and back, and for opening the first session.
const MARGIN: Duration = Duration::from_secs(25);
/// Longest time of the request beside the database's.
pub(super) const LONGEST: Duration = Duration::from_secs(*TIME_S.end() as u64).saturating_add(MARGIN);
const FIELDS: [&str; 7] =
    ["candidate_only", "careful", "dangerous", "idle_s", "sessions", "time_s", "scratch"];

/// `POST /v1/devices/{name}/exam`.
pub(super) async fn exam(call: Call) -> Answer {
    let mut body = call.optional_object(&FIELDS)?;
    let given = body.remove("scratch");
    let options = read::<ExamOptions>("", Value::Object(body))?;
    options.check().map_err(|(field, why)| invalid(&format!("/{field}"), &why))?;
    let device = find(&call).await?;
    let profiles = call.app.library.profiles();
    let scratches = match given {
        None => profiles.scratches(&device.platform),
        Some(given) => {
            let scratch = Scratch { name: "given".to_owned(), ..read::<Scratch>("/scratch", given)? };
            scratch.check().map_err(|(key, why)| invalid(&format!("/scratch/{key}"), &why))?;
            vec![scratch]
        }
    };
    if scratches.is_empty() {
        let detail =
            format!("platform {} has no scratch for exams: give one ('--scratch FILE')", device.platform);
        return Err(invalid("/scratch", &detail).into());
    }
    let profile = profiles.of(&device.platform);
    let exam = Exam { id: Uuid::now_v7(), scratches, options };
    let by = call.requester()?.to_owned();
    // A task of its own, so that the lease is given back even if the client waits no longer.
    let app = call.app.clone();
    let running = tokio::spawn(async move { run(&app, &device, &exam, profile, &by).await });
    match running.await {
        Ok(Ok(result)) => ok(&result),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Problem::internal("the exam met a bug; the log of this intake says where").into()),
    }
}

fn invalid(pointer: &str, detail: &str) -> Problem {
    Problem::invalid(vec![Fault::new(pointer, "bad_value", detail)])
}

fn read<T: serde::de::DeserializeOwned>(pointer: &str, value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| invalid(pointer, &error.to_string()))
}

/// Runs an exam under the device's lease.
async fn run(app: &App, device: &Device, exam: &Exam, profile: Profile, by: &str) -> Result<Value, Refusal> {
    let within = Duration::from_secs(exam.options.time_s.into()) + MARGIN;
    let (epoch, pending_tokens) = take_lease(app, device, exam, within).await?;
    tracing::info!(device = %device.name, exam = %exam.id, by, "device exam begins");
    let work = ask::work(device, profile.clone(), None);
    let work = turnup_core::message::DeviceWork { pending_tokens, epoch, ..work };
    let told = app.asker.examine(&device.region, work, exam.clone(), within).await;
    let at = Timestamp::now();
    match told {
        Ok(told) => {
            let report = told.exam.as_deref();
            let is_clean = report.is_some_and(|report| report.is_clean);
            let cancelled = report.is_some_and(|report| report.tokens_cancelled);
            give_back(app, device, exam, is_clean, cancelled).await;
            Ok(result(device, exam, &profile, &told, at))
        }
        Err(why) => {
            // A worker may be at it all the same, unless it was never asked: then the lease ends by itself.
            if matches!(why, Unanswered::NoQueue(_) | Unanswered::Unreadable(_)) {
                give_back(app, device, exam, true, false).await;
            }
            Err(match why {
                Unanswered::Away(_) => Problem::unavailable(why.to_string()),
                Unanswered::Unreadable(_) => Problem::internal(why.to_string()),
                Unanswered::Late { .. } | Unanswered::NoQueue(_) => refusal::no_answer(why.to_string()),
            }
            .into())
        }
    }
}

async fn take_lease(
    app: &App,
    device: &Device,
    exam: &Exam,
    within: Duration,
) -> Result<(i64, Vec<String>), Refusal> {
    let now = Timestamp::now();
    // A question is delivered within its time at the latest, and a worker takes no longer than that.
    let longest = SignedDuration::try_from(2 * within + MARGIN).unwrap_or(SignedDuration::from_mins(30));
    let until = now.checked_add(longest).unwrap_or(Timestamp::MAX);
    let name = &device.name;
    let detail = match app.store.begin_exam(name, exam.id, now, until).await? {
        ExamLease::Taken { epoch, pending_tokens } => return Ok((epoch, pending_tokens)),
        ExamLease::Held(order) => {
            format!(
                "order {order} is being deployed on {name}, and an exam never runs beside one; try again when it has ended"
            )
        }
        ExamLease::Waiting(order) => {
            format!("order {order} waits for {name}, and goes first; try again when it has ended")
        }
        ExamLease::Examined(until) => format!(
            "{name} is under an exam already, which ends at {} at the latest; try again then",
            event::time(until)
        ),
        ExamLease::Missing => return Err(Problem::not_found(format!("there is no device {name}")).into()),
    };
    Err(Problem::new(409, "device_busy", "The device is in use", detail).into())
}

/// Gives the lease back. If the database is away, the lease ends by itself.
async fn give_back(app: &App, device: &Device, exam: &Exam, is_clean: bool, tokens_cancelled: bool) {
    match app.store.end_exam(&device.name, exam.id, is_clean, tokens_cancelled).await {
        Ok(_) => tracing::info!(device = %device.name, exam = %exam.id, is_clean, "device exam has ended"),
        Err(error) => tracing::warn!(
            device = %device.name, exam = %exam.id, %error,
            "the lease of a device exam was not given back; it ends by itself"
        ),
    }
}

/// A finding with the question that it answers.
fn shown(finding: &Finding) -> Value {
    let mut value = json!(finding);
    value["question"] = json!(finding.probe.title());
    value
}

/// What the answer of a worker means for the device and its profile.
fn result(device: &Device, exam: &Exam, profile: &Profile, told: &Told, at: Timestamp) -> Value {
    let at = event::time(at);
    let report = told.exam.as_deref();
    let list: &[_] = report.map_or(&[], |report| &report.findings);
    let findings = Findings::new(list);
    let derived = profile_of(&findings);
    let title = format!("{} as {} showed itself", device.platform, device.name);
    let tried_on =
        format!("device {} by 'turnup device exam' on {}", device.name, at.split('T').next().unwrap_or(&at));
    json!({
        "device": device.name, "platform": device.platform, "at": at, "worker": told.worker, "exam": exam.id,
        "failures": told.failures,
        "scratch": report.and_then(|report| report.scratch.as_deref()),
        "findings": list.iter().map(shown).collect::<Vec<_>>(),
        "deviations": deviations(&findings),
        "profile": to_toml(&derived, &title, &tried_on),
        "keys": derived.keys,
        "differences": differences(profile, &findings),
        "left": report.map_or(&[][..], |report| &report.left),
        "is_clean": report.is_some_and(|report| report.is_clean),
        "running_compared": report.is_some_and(|report| report.running_compared),
        "stopped": report.and_then(|report| report.stopped.as_deref()),
        "took_ms": report.map(|report: &ExamReport| report.took_ms),
    })
}
