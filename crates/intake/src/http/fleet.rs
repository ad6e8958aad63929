//! The fleet at a glance: queues and readers by region, orders by state.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::timeout};
use turnup_broker::{Broker, DeployClass, Depth};
use turnup_store::Store;

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
};

/// How old the picture may be: counting all orders isn't free.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Longest wait for all queues.
const PATIENCE: Duration = Duration::from_secs(2);
/// Queues asked about at once.
const AT_ONCE: usize = 8;

/// The last picture taken. Who asks while one is taken waits for it.
#[derive(Debug, Default)]
pub(crate) struct Fleet(Mutex<Option<(Instant, Value)>>);

pub(super) async fn fleet(call: Call) -> Answer {
    let mut last = call.app.fleet.0.lock().await;
    if let Some((_, picture)) = last.as_ref().filter(|(at, _)| at.elapsed() < MAX_AGE) {
        return ok(picture);
    }
    let broker_is_there = call.app.health.status().broker.is_none();
    let picture = take(&call.app.store, broker_is_there.then_some(&call.app.broker)).await?;
    *last = Some((Instant::now(), picture.clone()));
    ok(&picture)
}

async fn take(store: &Store, broker: Option<&Broker>) -> Result<Value, Refusal> {
    let regions = store.regions().await?;
    let counts = store.order_counts().await?;
    let orders: BTreeMap<&str, i64> = counts.iter().map(|(state, n)| (state.word(), *n)).collect();
    let depths = match broker {
        Some(broker) => depths(broker, &regions).await,
        None => BTreeMap::new(),
    };
    let queue = |key: &str| match depths.get(key) {
        Some(depth) => json!({"ready": depth.messages, "readers": depth.consumers}),
        None => Value::Null,
    };
    let regions: Vec<Value> = regions
        .iter()
        .map(|region| {
            let key = |class| format!("{region}.{class}");
            let readers = |class| depths.get(&key(class)).map(|depth| depth.consumers);
            json!({
                "region": region,
                "workers": DeployClass::ALL.into_iter().filter_map(readers).max(),
                "queues": {
                    "urgent": queue(&key(DeployClass::Urgent)),
                    "normal": queue(&key(DeployClass::Normal)),
                    "bulk": queue(&key(DeployClass::Bulk)),
                },
            })
        })
        .collect();
    let queues = json!({"intake": queue("intake"), "due": queue("due"), "parked": queue("parked")});
    Ok(json!({"regions": regions, "queues": queues, "orders": orders}))
}

/// Depths of all queues; those that can't be asked about are left out.
async fn depths(broker: &Broker, regions: &[String]) -> BTreeMap<String, Depth> {
    let names = broker.names();
    let mut wanted = vec![
        ("intake".to_owned(), names.intake()),
        ("due".to_owned(), names.due()),
        ("parked".to_owned(), names.parked()),
    ];
    for region in regions {
        for class in DeployClass::ALL {
            wanted.push((format!("{region}.{class}"), names.deploy_queue(region, class)));
        }
    }
    let mut found = BTreeMap::new();
    let mut asked = stream::iter(wanted)
        .map(|(key, queue)| async move { (key, broker.depth(&queue).await) })
        .buffer_unordered(AT_ONCE);
    let collect = async {
        while let Some((key, depth)) = asked.next().await {
            if let Ok(depth) = depth {
                found.insert(key, depth);
            }
        }
    };
    if timeout(PATIENCE, collect).await.is_err() {
        tracing::warn!("not all queues could be asked about in time");
    }
    drop(asked);
    found
}
