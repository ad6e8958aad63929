//! Many schedulers and recorders over few devices: nobody shares a device, nobody is forgotten,
//! nothing deadlocks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rand::RngExt as _;
use turnup_core::{
    failure::FailureClass,
    id::{DeploymentId, OrderId},
    lifecycle::{OrderEvent, OrderState},
};
use turnup_store::{Control, RelayLease, Store, Work, testing::Database};
use uuid::Uuid;

use crate::support::{
    REACH_MS, accept, add, count, decide, failure, history, now, order, settle, started, state,
};

const ORDERS: usize = 120;
const DEVICES: usize = 6;

/// Who is at work on which device, as the outside world sees it.
#[derive(Debug, Default)]
struct Network {
    at_work: Mutex<BTreeMap<String, OrderId>>,
}

impl Network {
    fn begin(&self, order: OrderId, devices: &[String]) {
        let mut at_work = self.at_work.lock().unwrap();
        for device in devices {
            let other = at_work.insert(device.clone(), order);
            assert_eq!(other, None, "{device} is used by two orders at once");
        }
    }

    fn end(&self, order: OrderId, devices: &[String]) {
        let mut at_work = self.at_work.lock().unwrap();
        for device in devices {
            assert_eq!(at_work.remove(device), Some(order));
        }
    }
}

type Queue<T> = Arc<Mutex<Vec<T>>>;

/// Takes up to `most` from anywhere in the queue: the broker promises no order between schedulers.
fn take<T>(queue: &Queue<T>, most: usize) -> Vec<T> {
    let mut queue = queue.lock().unwrap();
    let mut rng = rand::rng();
    (0..most)
        .map_while(|_| {
            let len = queue.len();
            (len > 0).then(|| queue.swap_remove(rng.random_range(0..len)))
        })
        .collect()
}

async fn schedule(store: Store, due: Queue<(OrderId, i32)>, network: Arc<Network>, done: Arc<AtomicUsize>) {
    while done.load(Ordering::SeqCst) < ORDERS {
        let mut batch = take(&due, 8);
        if batch.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        // At least once means sometimes twice.
        if rand::random::<u8>() < 60 {
            due.lock().unwrap().push(batch[0]);
            batch.push(batch[0]);
        }
        let starting = store.begin_start(&batch).await.unwrap();
        let at = now();
        let (decisions, entries) = decide(&starting, at);
        // A scheduler that dies here has done nothing; its messages come again.
        if rand::random::<u8>() < 20 {
            drop(starting);
            due.lock().unwrap().extend(batch);
            continue;
        }
        for (id, _) in started(&starting, &decisions) {
            let due = starting.orders.iter().find(|due| due.order.id == id).unwrap();
            // Before the commit: whoever starts on a device after us must see us gone first.
            network.begin(id, &due.order.devices);
        }
        starting.finish(&decisions, &entries, at).await.unwrap();
    }
}

async fn relay(lease: &RelayLease, due: &Queue<(OrderId, i32)>, running: &Queue<DeploymentId>) {
    let rows = lease.take(0, 100).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    for row in rows {
        match row.work {
            Work::Due(message) => due.lock().unwrap().push((message.order, message.revision)),
            Work::Deployment { id, .. } => running.lock().unwrap().push(id),
        }
    }
    lease.done(&ids).await.unwrap();
}

async fn record(store: Store, running: Queue<DeploymentId>, network: Arc<Network>, done: Arc<AtomicUsize>) {
    while done.load(Ordering::SeqCst) < ORDERS {
        let batch = take(&running, 4);
        if batch.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        for deployment in batch {
            // Each deployment has one order here.
            let settling = store.begin_settle(&[deployment]).await.unwrap();
            let order = *settling.orders.keys().next().unwrap();
            drop(settling);
            let devices = store.order(order).await.unwrap().unwrap().devices;
            network.end(order, &devices);
            let failures = if rand::random::<u8>() < 40 { vec![failure(FailureClass::Busy)] } else { vec![] };
            settle(&store, &[(order, deployment)], &failures).await;
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_shares_a_device_and_nobody_is_forgotten() {
    let database = Database::new().await;
    let store = database.store();
    let names: Vec<String> = (0..DEVICES).map(|n| format!("d{n}")).collect();
    add(store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut ids = Vec::new();
    for _ in 0..ORDERS {
        let mut devices = names.clone();
        let wanted = 1 + rand::random::<u8>() as usize % 3;
        while devices.len() > wanted {
            devices.swap_remove(rand::random::<u16>() as usize % devices.len());
        }
        ids.push(accept(store, order(&devices.iter().map(String::as_str).collect::<Vec<_>>())).await);
    }
    let (due, running) = (Queue::default(), Queue::default());
    let (network, done) = (Arc::new(Network::default()), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(tokio::spawn(schedule(
            store.clone(),
            Arc::clone(&due),
            Arc::clone(&network),
            Arc::clone(&done),
        )));
    }
    for _ in 0..3 {
        tasks.push(tokio::spawn(record(
            store.clone(),
            Arc::clone(&running),
            Arc::clone(&network),
            Arc::clone(&done),
        )));
    }
    let lease = store.lead_relay().await.unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(80);
    // No sweep: what is woken is woken by those who give devices back.
    while done.load(Ordering::SeqCst) < ORDERS {
        relay(&lease, &due, &running).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(
            tasks.iter().all(|task| !task.is_finished() || done.load(Ordering::SeqCst) == ORDERS),
            "a task has failed"
        );
        assert!(Instant::now() < deadline, "{} of {ORDERS} orders have ended", done.load(Ordering::SeqCst));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for id in ids {
        let end = state(store, id).await;
        assert!(matches!(end, OrderState::Completed | OrderState::FailedDeploy), "{end}");
        assert_eq!(history(store, id).await.len(), 4, "started once, ended once");
    }
    assert_eq!(count(&database, "SELECT count(*) FROM lease_waits").await, 0);
    assert_eq!(count(&database, "SELECT count(*) FROM leases WHERE order_id IS NOT NULL").await, 0);
}

/// Starts, ends, withdrawals and claims side by side, over the same rows and in all directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_deadlock_between_those_who_move_orders() {
    let database = Database::new().await;
    let store = database.store();
    let names: Vec<String> = (0..4).map(|n| format!("d{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    add(store, &names).await;
    let mut ids = Vec::new();
    for n in 0..60 {
        let devices = [names[n % 4], names[(n + 1) % 4], names[(n * 3 + 2) % 4]];
        let mut devices = devices.to_vec();
        devices.sort_unstable();
        devices.dedup();
        ids.push(accept(store, order(&devices)).await);
    }
    let deployments: Queue<(OrderId, DeploymentId)> = Queue::default();
    let mut tasks = Vec::new();
    for task in 0..6_usize {
        let (store, deployments, mut ids) = (store.clone(), Arc::clone(&deployments), ids.clone());
        ids.rotate_left(task * 10);
        if task % 2 == 1 {
            ids.reverse();
        }
        tasks.push(tokio::spawn(async move {
            for chunk in ids.chunks(12) {
                let mut batch = Vec::new();
                for id in chunk {
                    batch.push((*id, store.order(*id).await.unwrap().unwrap().schedule_revision));
                }
                let started = crate::support::start(&store, &batch).await;
                deployments.lock().unwrap().extend(started);
                let ended = take(&deployments, 5);
                for (_, deployment) in &ended {
                    let claim = turnup_core::message::Claim {
                        deployment: *deployment,
                        attempt: 1,
                        claim: turnup_core::message::ClaimKind::TakeOver,
                        worker: "w".to_owned(),
                    };
                    store.claim(&claim).await.unwrap();
                }
                settle(&store, &ended, &[]).await;
                for id in chunk.iter().take(3) {
                    let control = Control {
                        event: if task % 2 == 0 { OrderEvent::Cancel } else { OrderEvent::Schedule },
                        due: (task % 2 == 1).then(now),
                        why: None,
                        by: "anna".to_owned(),
                        at: now(),
                        event_id: Uuid::now_v7(),
                    };
                    match store.control(*id, &control, REACH_MS).await {
                        Ok(_) | Err(turnup_store::Refused::Illegal(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let session = database.session().await.unwrap();
    let row = session
        .query_one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0, "deadlocks");
    for id in ids {
        history(store, id).await;
    }
    // Whoever waits is somebody who can be told: scheduled, and behind a holder or an earlier one.
    assert_eq!(
        count(
            &database,
            "SELECT count(*) FROM lease_waits WHERE NOT EXISTS
             (SELECT FROM orders WHERE orders.id = lease_waits.order_id AND state = 'scheduled')"
        )
        .await,
        0
    );
    assert_eq!(
        count(
            &database,
            "SELECT count(*) FROM leases WHERE order_id IS NOT NULL AND NOT EXISTS
             (SELECT FROM orders WHERE orders.id = leases.order_id AND state = 'in_progress')"
        )
        .await,
        0
    );
}
