//! How many orders a second the store takes from acceptance to the numbered event of their
//! completion: each step alone, then all of them side by side as in operation.
//!
//! `cargo run -p turnup-store --features testing --example throughput -- [orders] [batch]`

#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, dead_code, reason = "a measurement")]

#[path = "../tests/store/support.rs"]
mod support;

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use support::{REACH_MS, decide, device, order, settle, started, with_entries};
use tokio::sync::mpsc;
use turnup_core::id::{DeploymentId, OrderId};
use turnup_store::{NewOrder, RelayLease, Store, Work, testing::Database};

/// Transactions side by side in each step.
const ABREAST: usize = 4;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let orders = arguments.next().unwrap_or(20_000);
    let batch = arguments.next().unwrap_or(500);
    let database = Database::new().await;
    let store = database.store();
    let devices: Vec<_> = (0..orders).map(|n| device(&format!("d{n:06}"))).collect();
    for chunk in devices.chunks(1000) {
        store.add_devices(chunk, "bench").await.unwrap();
    }
    let lease = store.lead_relay().await.unwrap().unwrap();
    drain_events(&lease).await;
    println!("{orders} orders, {batch} a batch, {ABREAST} transactions abreast");

    let make = || -> Vec<NewOrder> {
        let keyed = |n: usize| {
            let mut order = order(&[&format!("d{n:06}")]);
            order.idempotency_key = Some(order.facts.id.to_string());
            order.facts.external_id = Some(format!("CRM-{}", order.facts.id));
            with_entries(order)
        };
        (0..orders).map(keyed).collect()
    };
    let new = timed("make the orders (no database)", orders, async { make() }).await;
    timed("accept", orders, accept(store, &new, batch)).await;
    let (due, _) = timed("relay the due messages", orders, drain_outbox(&lease)).await;
    let started = timed("start", orders, start(store, &due, batch)).await;
    timed("relay the deployments", orders, drain_outbox(&lease)).await;
    timed("settle", orders, settle_all(store, &started, batch)).await;
    let events = timed("number and read the events", orders, drain_events(&lease)).await;
    println!("  ({events} events)");

    let new = make();
    timed("all of it side by side", orders, Box::pin(together(store, &lease, new, batch))).await;
}

async fn timed<T>(what: &str, orders: usize, work: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let done = work.await;
    let elapsed = begin.elapsed();
    println!(
        "{what:34} {:7.2} s {:8.0} orders/s",
        elapsed.as_secs_f64(),
        orders as f64 / elapsed.as_secs_f64()
    );
    done
}

async fn accept(store: &Store, new: &[NewOrder], batch: usize) {
    let batches = new.chunks(batch).map(|chunk| async move {
        store.accept(chunk, REACH_MS).await.unwrap();
    });
    stream::iter(batches).buffer_unordered(ABREAST).collect::<Vec<()>>().await;
}

async fn start_batch(store: &Store, due: &[(OrderId, i32)]) -> Vec<(OrderId, DeploymentId)> {
    let starting = store.begin_start(due).await.unwrap();
    let at = support::now();
    let (decisions, entries) = decide(&starting, at);
    let nodes: Vec<(String, String)> =
        starting.orders.iter().map(|due| (due.order.devices[0].clone(), due.order.id.to_string())).collect();
    starting.owners(&nodes, &[]).await.unwrap();
    let started = started(&starting, &decisions);
    starting.finish(&decisions, &entries, at).await.unwrap();
    started
}

async fn start(store: &Store, due: &[(OrderId, i32)], batch: usize) -> Vec<(OrderId, DeploymentId)> {
    let batches = due.chunks(batch).map(|chunk| start_batch(store, chunk));
    stream::iter(batches).buffer_unordered(ABREAST).concat().await
}

async fn settle_all(store: &Store, started: &[(OrderId, DeploymentId)], batch: usize) {
    let batches = started.chunks(batch).map(|chunk| settle(store, chunk, &[]));
    stream::iter(batches).buffer_unordered(ABREAST).collect::<Vec<()>>().await;
}

type Relayed = (Vec<(OrderId, i32)>, Vec<DeploymentId>);

async fn drain_outbox(lease: &RelayLease) -> Relayed {
    let mut relayed = Relayed::default();
    let mut rows = lease.take(0, 1000).await.unwrap();
    while !rows.is_empty() {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        for row in rows {
            match row.work {
                Work::Due(due) => relayed.0.push((due.order, due.revision)),
                Work::Deployment { id, .. } => relayed.1.push(id),
            }
        }
        let (done, taken) = tokio::join!(lease.done(&ids), lease.take(0, 1000));
        done.unwrap();
        rows = taken.unwrap();
    }
    relayed
}

async fn drain_events(lease: &RelayLease) -> usize {
    let mut seen = 0;
    loop {
        let numbered = lease.number_events(1000).await.unwrap();
        let events = lease.unpublished(1000).await.unwrap();
        let Some(last) = events.last().map(|event| event.cursor) else { break };
        seen += events.len();
        lease.note_published(last).await.unwrap();
        if numbered == 0 && events.is_empty() {
            break;
        }
    }
    seen
}

/// Accepts, relays, starts, settles, numbers and reads, all at once, until every order has its end.
async fn together(store: &Store, lease: &RelayLease, new: Vec<NewOrder>, batch: usize) {
    let orders = new.len();
    let (due_in, due_out) = mpsc::unbounded_channel::<(OrderId, i32)>();
    let (ended_in, ended_out) = mpsc::unbounded_channel::<(OrderId, DeploymentId)>();
    let relay = async {
        loop {
            let rows = lease.take(0, 1000).await.unwrap();
            if rows.is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
            for row in rows {
                if let Work::Due(due) = row.work {
                    due_in.send((due.order, due.revision)).unwrap();
                }
            }
            lease.done(&ids).await.unwrap();
        }
    };
    let start = async {
        batches(due_out, batch)
            .for_each_concurrent(ABREAST, |due| {
                let ended_in = ended_in.clone();
                async move {
                    for started in start_batch(store, &due).await {
                        ended_in.send(started).unwrap();
                    }
                }
            })
            .await;
    };
    let settle = batches(ended_out, batch).for_each_concurrent(ABREAST, |ended| async move {
        settle(store, &ended, &[]).await;
    });
    let news = async {
        let mut completed = 0;
        while completed < orders {
            lease.number_events(1000).await.unwrap();
            let events = lease.unpublished(1000).await.unwrap();
            let Some(last) = events.last().map(|event| event.cursor) else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            completed += events.iter().filter(|logged| logged.event.what == "completed").count();
            lease.note_published(last).await.unwrap();
        }
    };
    let work = async {
        tokio::join!(accept(store, &new, batch), relay, start, settle);
    };
    tokio::select! { () = work => {}, () = news => {} }
}

/// What is there, at least one and at most `batch` at once, gathered for a few milliseconds.
fn batches<T>(
    receiver: mpsc::UnboundedReceiver<T>,
    batch: usize,
) -> impl futures_util::Stream<Item = Vec<T>> {
    stream::unfold(receiver, move |mut receiver| async move {
        let mut taken = Vec::with_capacity(batch);
        let linger = tokio::time::sleep(Duration::from_millis(20));
        if receiver.recv_many(&mut taken, batch).await == 0 {
            return None;
        }
        tokio::pin!(linger);
        while taken.len() < batch {
            let left = batch - taken.len();
            tokio::select! {
                got = receiver.recv_many(&mut taken, left) => if got == 0 { break },
                () = &mut linger => break,
            }
        }
        Some((taken, receiver))
    })
}
