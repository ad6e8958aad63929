//! Orders from the broker: the same path as over HTTP, acknowledged only after the commit.
//!
//! A delivery ends in one of three ways: its order is durable (acknowledged), it was refused
//! (answered and acknowledged, or told as an event and parked), or something is away (kept in hand
//! and tried again; never parked, and not given back while there is hope, because a queue counts
//! how often that happens).

mod reject;
mod verdict;

use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use turnup_broker::{ConsumeOptions, Consumer, Delivery, Outgoing, ack_many};
use turnup_store::StoreError;

use self::verdict::{Asked, Verdict, judge};
use crate::{app::App, settings::ms};

/// Pauses between tries while something is away.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest wait for the confirms of answers.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// Reads orders until shutdown.
pub(crate) async fn run(app: App) {
    let shutdown = app.shutdown.clone();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = app.health.store_is_there() => {}
        }
        let prefetch = u16::try_from(app.settings.batch.saturating_mul(2)).unwrap_or(u16::MAX);
        let consumer = app.broker.consume(app.broker.names().intake(), ConsumeOptions::new(prefetch));
        if !read(&app, consumer).await {
            return;
        }
        tracing::warn!(
            "orders went back to their queue because the database is away; reading again when it is there"
        );
    }
}

/// Reads until shutdown (false), or until a batch had to be given back (true).
async fn read(app: &App, mut consumer: Consumer) -> bool {
    let linger = ms(app.settings.amqp_linger_ms);
    loop {
        let batch = tokio::select! {
            () = app.shutdown.cancelled() => break false,
            batch = consumer.next_batch(app.settings.batch, linger) => batch,
        };
        if batch.is_empty() {
            break false;
        }
        if !settle(app, batch).await {
            break !app.shutdown.is_cancelled();
        }
    }
}

/// Settles a batch, over an absence of the database. False: what could not be settled in time is
/// dropped, which gives it back to the queue.
async fn settle(app: &App, mut batch: Vec<Delivery>) -> bool {
    let until = Instant::now() + ms(app.settings.amqp_hold_ms);
    let mut pause = FIRST_PAUSE;
    loop {
        batch = settle_once(app, batch).await;
        batch.retain(|delivery| !delivery.is_stale());
        if batch.is_empty() {
            return true;
        }
        tracing::warn!(orders = batch.len(), "orders can't be accepted now; they are kept and tried again");
        let recovered = async {
            sleep(pause).await;
            app.health.store_is_there().await;
        };
        tokio::select! {
            () = app.shutdown.cancelled() => return false,
            recovered = tokio::time::timeout_at(until, recovered) => if recovered.is_err() {
                return false;
            },
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tries every delivery once and returns those to be tried again.
async fn settle_once(app: &App, batch: Vec<Delivery>) -> Vec<Delivery> {
    let asked: Vec<Asked> =
        batch.iter().map(|delivery| Asked::new(delivery, app.broker.names().prefix())).collect();
    let judged = asked.iter().zip(&batch).map(|(asked, delivery)| async move {
        match asked.check(&delivery.body, &app.settings.amqp_grants) {
            Ok((value, origin)) => judge(asked, app.acceptor.accept(&value, origin).await),
            Err(refused) => refused,
        }
    });
    let verdicts: Vec<Verdict> = join_all(judged).await;

    let now = Timestamp::now();
    let mut rejections = Vec::new();
    for ((verdict, asked), delivery) in verdicts.iter().zip(&asked).zip(&batch) {
        if let Verdict::Refused { problem, tell: true, .. } = verdict {
            rejections.push(reject::entry(asked, &delivery.body, problem, now));
        }
    }
    let told = if rejections.is_empty() { Ok(()) } else { app.store.log(&rejections).await };
    if let Err(error) = &told {
        tracing::warn!(%error, orders = rejections.len(), "events of refused orders could not be stored");
    }
    let told_later = matches!(told, Err(StoreError::Away(_) | StoreError::Version { .. }));

    let (mut done, mut answers, mut parked, mut again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (verdict, delivery) in verdicts.into_iter().zip(batch) {
        match verdict {
            Verdict::Accepted(answer) => {
                answers.extend(answer);
                done.push(delivery);
            }
            Verdict::Refused { tell: true, .. } if told_later => again.push(delivery),
            Verdict::Refused { problem, answer, park, .. } => {
                metrics::counter!("turnup_intake_amqp_refused_total", "code" => problem.code.clone())
                    .increment(1);
                answers.extend(answer);
                match park {
                    true => parked.push((delivery, reject::reason(&problem))),
                    false => done.push(delivery),
                }
            }
            Verdict::Later => again.push(delivery),
        }
    }
    reply(app, answers).await;
    ack_many(done).await;
    let parking = parked.into_iter().map(|(delivery, reason)| async move {
        if let Err(error) = delivery.park(&reason).await {
            tracing::warn!(%error, "a refused order could not be parked; it comes again");
        }
    });
    join_all(parking).await;
    again
}

/// Sends answers. An order is not undone because nobody waits for the answer.
async fn reply(app: &App, answers: Vec<Outgoing>) {
    if answers.is_empty() {
        return;
    }
    let count = answers.len();
    let publisher = app.broker.publisher();
    let sent = publisher.publish_all(answers, ANSWER_PATIENCE);
    // The publisher keeps the deadline itself; this one is for its queue.
    let results = timeout(ANSWER_PATIENCE * 2, sent).await.unwrap_or_default();
    let lost = count - results.iter().filter(|result| result.is_ok()).count();
    if lost > 0 {
        tracing::warn!(answers = lost, "answers to orders from the broker could not be sent");
    }
}
