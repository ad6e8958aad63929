//! Due messages → held until their instant → started in batches.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use turnup_broker::{ConsumeOptions, Delivery, ack_many};
use turnup_core::{
    id::OrderId,
    message::{Body as _, Due},
    name::PlatformName,
};
use turnup_plan::{Catalogue, Yang};
use turnup_store::{Starting, StoreError};

use crate::{Context, group::Most, hold::Hold, start};

/// Longest sleep: the wall clock may be set while we sleep.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// How long a batch may fill while messages are flowing; a lone message never waits.
const LINGER: Duration = Duration::from_millis(5);
/// So many batches start together when they were held for one instant: with a transaction for each, the
/// last would wait for the work of the first.
const BURST: usize = 10;
/// Pause after the database was away.
const RETRY: Duration = Duration::from_millis(500);

struct Held {
    due: Due,
    delivery: Delivery,
}

pub(crate) async fn run(context: &Context) {
    let settings = &context.settings;
    let mut consumer =
        context.broker.consume(context.broker.names().due(), ConsumeOptions::new(settings.hold));
    let stop = consumer.stop_handle();
    let mut hold = Hold::new();
    loop {
        let sleep = hold.next().map_or(MAX_SLEEP, |next| until(next).min(MAX_SLEEP));
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => break,
            () = tokio::time::sleep(sleep), if sleep.is_zero() || hold.next().is_some() => {}
            batch = consumer.next_batch(settings.batch, LINGER) => {
                if batch.is_empty() { break; }
                for delivery in batch { receive(delivery, &mut hold).await; }
            }
        }
        let ready: Vec<Held> = hold
            .take_due(Timestamp::now(), settings.batch.saturating_mul(BURST))
            .into_iter()
            // The broker gives these to somebody again.
            .filter(|held: &Held| !held.delivery.is_stale())
            .collect();
        if !ready.is_empty() {
            start(context, ready).await;
        }
    }
    stop.stop();
}

fn until(due: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}

async fn receive(delivery: Delivery, hold: &mut Hold<Held>) {
    match Due::decode(&delivery.body) {
        Ok(due) => hold.put(due.due, Held { due, delivery }),
        Err(reason) => park(delivery, &reason.to_string()).await,
    }
}

async fn park(delivery: Delivery, reason: &str) {
    tracing::warn!(reason, queue = delivery.queue(), "a message can't be processed and is parked");
    if let Err(error) = delivery.park(reason).await {
        tracing::warn!(%error, "a message could not be parked; it comes again");
    }
}

/// Starts a batch, over an absence of the database. A batch that the database refuses is tried
/// singly and each order alone, so that one bad row never sinks the others.
async fn start(context: &Context, batch: Vec<Held>) {
    let settings = &context.settings;
    start_with(context, batch, Most::new(settings.group_max_orders, settings.group_max_bytes)).await;
}

async fn start_with(context: &Context, batch: Vec<Held>, most: Most) {
    let due: Vec<(OrderId, i32)> = batch.iter().map(|held| (held.due.order, held.due.revision)).collect();
    match start_until_answered(context, &due, most).await {
        None => {}
        Some(Ok(())) => {
            turnup_crashpoint::pass("scheduler.after_commit");
            ack_many(batch.into_iter().map(|held| held.delivery).collect()).await;
        }
        Some(Err(_)) if batch.len() > 1 || most.orders > 1 => {
            for held in batch {
                Box::pin(start_with(context, vec![held], Most { orders: 1, ..most })).await;
            }
        }
        Some(Err(error)) => {
            for held in batch {
                park(held.delivery, &format!("order {} can't be started: {error}", held.due.order)).await;
            }
        }
    }
}

/// `None`: shutting down; the messages go back to the broker.
async fn start_until_answered(
    context: &Context,
    due: &[(OrderId, i32)],
    most: Most,
) -> Option<Result<(), StoreError>> {
    loop {
        match start_once(context, due, most).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, orders = due.len(), "orders can't be started now; trying again");
                if !context.pause(RETRY).await {
                    return None;
                }
            }
            other => return Some(other),
        }
    }
}

async fn start_once(context: &Context, due: &[(OrderId, i32)], most: Most) -> Result<(), StoreError> {
    let (mut starting, at_hand) = begin(context, due, most).await?;
    let put_off = starting.put_off(|device| context.regions.contains(&device.region));
    if !put_off.is_empty() {
        tracing::warn!(
            orders = ?put_off,
            "orders stay scheduled: they touch a device in a region that is not configured"
        );
    }
    let knowledge = start::Knowledge { catalogue: &at_hand.catalogue, yang: &at_hand.yang };
    let batch = start::draft(&starting, &knowledge, most);
    let questions = batch.questions();
    let answers = start::Answers {
        owners: starting.owners(&questions.claimed, &questions.around).await?,
        holders: starting.holders(&questions.shared, &questions.claimed).await?,
        approved: approved(&starting).await?,
    };
    let now = Timestamp::now();
    let limits = context.settings.limits.into();
    let (decisions, entries) = batch.decide(
        &starting,
        &answers,
        (&at_hand.catalogue, context.library.profiles()),
        &limits,
        most,
        now,
    );
    turnup_crashpoint::pass("scheduler.before_commit");
    starting.finish(&decisions, &entries, now).await
}

/// What of the library a batch needs.
struct AtHand {
    catalogue: Arc<Catalogue>,
    yang: BTreeMap<PlatformName, Yang>,
}

/// Locks the batch, with the definitions and the YANG that it needs at hand. What was published a moment ago is
/// fetched, and YANG compiled, without holding the locks; what is needed may be another when they are held
/// again. What could not be had is asked for once.
async fn begin(
    context: &Context,
    due: &[(OrderId, i32)],
    most: Most,
) -> Result<(Starting, AtHand), StoreError> {
    let (mut asked, mut looked_for) = (BTreeSet::new(), BTreeMap::new());
    loop {
        let starting = context.store.begin_start_with(due, most.followers()).await?;
        let catalogue = context.library.now();
        let mut missing = start::definitions(&starting);
        missing.retain(|needed @ (name, version)| {
            !catalogue.knows(name, Some(*version)) && !asked.contains(needed)
        });
        let (yang, unknown) = yang(context, &starting, &looked_for);
        if missing.is_empty() && unknown.is_empty() {
            return Ok((starting, AtHand { catalogue, yang }));
        }
        drop(starting);
        let definitions: Vec<_> = missing.iter().map(|(name, version)| (name, Some(*version))).collect();
        context.library.with(&definitions).await?;
        asked.extend(missing);
        let look = unknown.into_iter().map(async |platform| {
            let yang = context.library.yang(&platform).await;
            (platform, yang)
        });
        looked_for.extend(join_all(look).await);
    }
}

/// YANG of the platforms of the batch's devices, where there is some, and those that are still to be looked for.
fn yang(
    context: &Context,
    starting: &Starting,
    looked_for: &BTreeMap<PlatformName, Option<Yang>>,
) -> (BTreeMap<PlatformName, Yang>, BTreeSet<PlatformName>) {
    let (mut found, mut unknown) = (BTreeMap::new(), BTreeSet::new());
    for platform in starting.devices.values().map(|device| &device.platform) {
        match context.library.yang_at_hand(platform).or_else(|| looked_for.get(platform).cloned()) {
            Some(Some(yang)) => {
                found.insert(platform.clone(), yang);
            }
            Some(None) => {}
            None => {
                unknown.insert(platform.clone());
            }
        }
    }
    (found, unknown)
}

/// The plans that orders of the batch name, as they read.
async fn approved(starting: &Starting) -> Result<HashMap<String, String>, StoreError> {
    let hashes: BTreeSet<&String> =
        starting.orders.iter().filter_map(|due| due.order.options.approved_plan.as_ref()).collect();
    let mut found = HashMap::new();
    for hash in hashes {
        if let Some(plan) = starting.plan(hash).await? {
            found.insert(hash.clone(), start::text_of(&plan));
        }
    }
    Ok(found)
}
