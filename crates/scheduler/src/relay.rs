//! The outbox relay: what has been committed goes to the broker, in the order of its commits.
//! One relay is active at a time; another scheduler takes over as soon as its session ends.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use turnup_broker::{Names, Outgoing, PublishError, Publisher, delay};
use turnup_core::{
    delay::{Route, route},
    message::{Body as _, Due, REPUBLISHED},
    order::Priority,
};
use turnup_store::{Channel, OutboxRow, RelayLease, StoreError, Work};

use crate::{Context, news, sweep};

/// How often another scheduler asks for the right to relay.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Backstop for a missed notification.
pub(crate) const POLL: Duration = Duration::from_millis(250);
/// Most rows per round.
const ROUND: i64 = 1000;
/// With more rows than this, work is flowing, and a round is worth a moment's wait.
pub(crate) const FLOWING: usize = 16;
/// That moment.
pub(crate) const LINGER: Duration = Duration::from_millis(4);
/// Deadline of one round's publishes.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a round in which nothing got through.
const RETRY: Duration = Duration::from_millis(200);
/// Rest for a row that no queue takes.
const UNROUTABLE_REST: SignedDuration = SignedDuration::from_secs(10);

/// Wakes everything that looks for new rows in the outbox and the log.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    pub(crate) outbox: Notify,
    pub(crate) log: Notify,
    pub(crate) numbered: Notify,
}

pub(crate) async fn run(context: &Context) {
    while !context.shutdown.is_cancelled() {
        match context.store.lead_relay().await {
            Ok(Some(lease)) => {
                tracing::info!("this scheduler relays now");
                if let Err(error) = Box::pin(lead(context, &lease)).await {
                    tracing::warn!(%error, "the relay stops; any scheduler may take over");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "can't ask for the right to relay"),
        }
        context.pause(ASK_EVERY).await;
    }
}

async fn lead(context: &Context, lease: &RelayLease) -> Result<(), StoreError> {
    let wakes = Wakes::default();
    let work = Arc::new(Notify::new());
    let _listener = context.store.listen(Channel::Work, Arc::clone(&work));
    let spread = async {
        loop {
            work.notified().await;
            wakes.outbox.notify_one();
            wakes.log.notify_one();
        }
    };
    tokio::select! {
        () = context.shutdown.cancelled() => Ok(()),
        result = relay(context, lease, &wakes) => result,
        result = news::number(lease, &wakes) => result,
        result = news::publish(context, lease, &wakes) => result,
        result = sweep::run(context, lease) => result,
        () = spread => Ok(()),
    }
}

/// Moves rows to the broker until the database session ends.
async fn relay(context: &Context, lease: &RelayLease, wakes: &Wakes) -> Result<(), StoreError> {
    let publisher = context.broker.new_publisher();
    let sender = Sender {
        names: context.broker.names().clone(),
        levels: context.broker.settings().ladder_levels,
        lead: SignedDuration::try_from(Duration::from_millis(context.settings.lead_ms)).unwrap_or_default(),
    };
    // Whatever is there when a relay begins may have been published by the one before.
    let inherited = lease.last_row().await?;
    let mut uncertain: HashSet<i64> = HashSet::new();
    // From then on the right to relay may be another's. Messages are of this time: whoever gets one from a relay
    // that was frozen is not to take it for fresh.
    let mut asked_at = Timestamp::now();
    let mut rows = lease.take(0, ROUND).await?;
    loop {
        if rows.is_empty() {
            let _ = tokio::time::timeout(POLL, wakes.outbox.notified()).await;
            asked_at = Timestamp::now();
            rows = lease.take(0, ROUND).await?;
            continue;
        }
        turnup_crashpoint::pass("relay.before_publish");
        let maybe_published = |id| id <= inherited || uncertain.contains(&id);
        let round = send(&sender, &publisher, &rows, asked_at, maybe_published).await;
        turnup_crashpoint::pass("relay.after_publish");
        uncertain.extend(&round.uncertain);
        for id in &round.done {
            uncertain.remove(id);
        }
        if !round.unroutable.is_empty() {
            let until = Timestamp::now() + UNROUTABLE_REST;
            lease.defer(&round.unroutable, until).await?;
        }
        if round.done.is_empty() && round.unroutable.is_empty() {
            tokio::time::sleep(RETRY).await;
        }
        if rows.len() > FLOWING {
            tokio::time::sleep(LINGER).await;
        }
        asked_at = Timestamp::now();
        // Both statements travel together; the deletion comes first, so its rows aren't taken again.
        let (done, taken) = tokio::join!(lease.done(&round.done), lease.take(0, ROUND));
        done?;
        rows = taken?;
    }
}

/// What became of a round's rows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    done: Vec<i64>,
    unroutable: Vec<i64>,
    uncertain: Vec<i64>,
}

async fn send(
    sender: &Sender,
    publisher: &Publisher,
    rows: &[OutboxRow],
    asked_at: Timestamp,
    maybe_published: impl Fn(i64) -> bool,
) -> Round {
    let mut round = Round::default();
    let now = Timestamp::now();
    let (mut ids, mut messages) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        match sender.message(&row.work, row.again || maybe_published(row.id), now) {
            Ok(message) => {
                ids.push(row.id);
                messages.push(message.published_at(asked_at));
            }
            Err(error) => {
                tracing::error!(row = row.id, error, "an outbox row can't be sent; it is tried again later");
                round.unroutable.push(row.id);
            }
        }
    }
    let results = publisher.publish_all(messages, PUBLISH_DEADLINE).await;
    let mut failure = None;
    for (id, result) in ids.into_iter().zip(results) {
        match result {
            Ok(()) => round.done.push(id),
            Err(error @ (PublishError::Returned { .. } | PublishError::Invalid { .. })) => {
                tracing::error!(row = id, %error, "no queue takes an outbox row; run 'turnup migrate'");
                round.unroutable.push(id);
            }
            Err(error) => {
                if error.maybe_published() {
                    round.uncertain.push(id);
                }
                failure.get_or_insert(error);
            }
        }
    }
    if let Some(error) = failure {
        tracing::warn!(%error, "some outbox rows were not confirmed; they are sent again");
    }
    metrics::counter!("turnup_outbox_sent_total").increment(round.done.len() as u64);
    round
}

/// Makes messages of outbox rows.
struct Sender {
    names: Names,
    levels: u8,
    lead: SignedDuration,
}

impl Sender {
    fn message(&self, work: &Work, maybe_published: bool, now: Timestamp) -> Result<Outgoing, String> {
        let message = match work {
            Work::Due(due) => self.due(due, now)?,
            Work::Deployment { id, region, priority, message } => {
                let class = match priority {
                    Priority::Urgent => turnup_broker::DeployClass::Urgent,
                    Priority::Normal => turnup_broker::DeployClass::Normal,
                    Priority::Bulk => turnup_broker::DeployClass::Bulk,
                };
                Outgoing::new(self.names.deploy(), Names::deploy_key(region, class), message.clone())
                    .with_correlation_id(id.to_string())
            }
        };
        Ok(if maybe_published { message.with_header(REPUBLISHED, 1_i64) } else { message })
    }

    fn due(&self, due: &Due, now: Timestamp) -> Result<Outgoing, String> {
        let body = due.encode().map_err(|error| error.to_string())?;
        let message = Outgoing::new(self.names.due(), "due", body).with_correlation_id(due.order.to_string());
        match route(now, due.due, self.lead, delay::reach_s(self.levels)) {
            Route::Ladder { delay_s } => delay::delayed(&self.names, self.levels, delay_s, "due", message)
                .map_err(|error| error.to_string()),
            // Nearer than the lead, or (a clock was set) further than the ladder: the hold keeps it.
            Route::Direct | Route::Later => Ok(message),
        }
    }
}
