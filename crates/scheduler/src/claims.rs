//! Answers workers that were handed a deployment for the second time, or had to wait.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::Mutex;
use turnup_broker::{ConsumeOptions, Delivery, Outgoing};
use turnup_core::message::{Body as _, Claim, ClaimKind};

use crate::Context;

/// A question that has waited so long has been asked again since; answering it would void the
/// attempt that the newer answer has made current.
const STALE: Duration = Duration::from_secs(3);
/// A worker asks again when it hears nothing, so an answer is not worth much patience.
const DEADLINE: Duration = Duration::from_secs(5);
/// Claims that are being answered at the same time, or wait for their turn.
const AT_ONCE: u16 = 100;

pub(crate) async fn run(context: &Context) {
    let mut consumer = context.broker.consume(context.broker.names().claim(), ConsumeOptions::new(AT_ONCE));
    // Not one after the other: whoever asks has devices waiting, and an answer that is late is none. But those that
    // take over are: of two by one worker, the one that it asked last must be the last.
    let turn = Mutex::new(());
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => break,
            delivery = consumer.next() => match delivery {
                Some(delivery) => answers.push(take(context, delivery, &turn)),
                None => break,
            },
            Some(()) = answers.next() => {}
        }
    }
    while answers.next().await.is_some() {}
}

async fn take(context: &Context, delivery: Delivery, turn: &Mutex<()>) {
    match Claim::decode(&delivery.body) {
        Ok(claim) => {
            let turn = match claim.claim {
                ClaimKind::TakeOver => Some(turn.lock().await),
                ClaimKind::Check => None,
            };
            if !is_stale(&delivery)
                && let Err(reason) = answer(context, &delivery, &claim).await
            {
                tracing::warn!(reason, "a worker's claim was not answered; it will ask again");
            }
            drop(turn);
        }
        Err(error) => tracing::warn!(%error, "a claim that can't be read"),
    }
    delivery.ack().await;
}

fn is_stale(delivery: &Delivery) -> bool {
    delivery.held() > STALE || delivery.age().is_some_and(|age| age > STALE + Duration::from_secs(1))
}

async fn answer(context: &Context, delivery: &Delivery, claim: &Claim) -> Result<(), String> {
    let reply_to = delivery.reply_to.as_deref().ok_or("it names no queue for the answer")?;
    let answer = context.store.claim(claim).await.map_err(|error| error.to_string())?;
    tracing::info!(
        deployment = %claim.deployment, claim = %claim.claim, worker = claim.worker, attempt = answer.attempt,
        "claim answered"
    );
    let body = answer.encode().map_err(|error| error.to_string())?;
    let reply = Outgoing::reply(reply_to, delivery.correlation_id.clone(), body);
    context.broker.publisher().publish(reply, DEADLINE).await.map_err(|error| error.to_string())
}
