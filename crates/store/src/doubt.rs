use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::json;
use turnup_core::{
    event::{self, OrderFacts},
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    message::{DeviceReport, InForce},
};
use uuid::Uuid;

use crate::{
    Entry, Store, StoreError, entry,
    pool::{Tx, all, statement},
};

impl Store {
    /// Tells of deployments that have been in doubt since before `before`: every order of one gets an event
    /// `in_doubt`, which takes a number in the order's sequence and changes no state. Each doubt is told once;
    /// at most `limit` at a time. Gives how many.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn tell_doubts(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.timed(async {
            let tx = Tx::begin_by_key(self).await?;
            let client = tx.client()?;
            let lock = statement!(client, "doubts_lock");
            let doubts = client.query(&lock, &[&before, &limit]).await?;
            if doubts.is_empty() {
                tx.rollback().await?;
                return Ok(0);
            }
            let ids: Vec<Uuid> = doubts.iter().map(|row| row.get("id")).collect();
            let of: HashMap<Uuid, _> = ids.iter().copied().zip(&doubts).collect();
            let lock = statement!(client, "doubts_orders");
            let (mut orders, mut entries): (Vec<Uuid>, Vec<Entry>) = (Vec::new(), Vec::new());
            // Of an order over several regions more than one part may be in doubt.
            let mut times: HashMap<Uuid, i32> = HashMap::new();
            for row in client.query(&lock, &[&ids]).await? {
                if let Some(doubt) = of.get(&row.get("deployment_id")) {
                    let order: Uuid = row.get("id");
                    let time = times.entry(order).or_default();
                    *time += 1;
                    entries.push(told(&row, *time, doubt, now)?);
                    orders.push(order);
                }
            }
            let number = statement!(client, "doubts_number");
            let numbered = client.execute(&number, &[&orders]).await?;
            all(numbered, times.len(), "an order in doubt is gone")?;
            entry::append(client, &entries).await?;
            let told = statement!(client, "doubts_told");
            client.execute(&told, &[&ids]).await?;
            tx.commit().await?;
            Ok(u64::try_from(ids.len()).unwrap_or(u64::MAX))
        })
        .await
    }
}

fn told(
    order: &tokio_postgres::Row,
    time: i32,
    doubt: &tokio_postgres::Row,
    now: Timestamp,
) -> Result<Entry, StoreError> {
    let facts = OrderFacts {
        id: OrderId(order.get("id")),
        kind: order.get::<_, &str>("kind").parse()?,
        definition: order.get("definition"),
        service_id: ServiceId(order.get("service_id")),
        region: order.get("region"),
        external_id: order.get("external_id"),
        requester: order.get("requester"),
        undoes: order.get::<_, Option<Uuid>>("undoes").map(OrderId),
    };
    let state: OrderState = order.get::<_, &str>("state").parse()?;
    let sequence = order.get::<_, i32>("sequence") + time;
    let devices: Vec<DeviceReport> = serde_json::from_value(doubt.get("devices"))?;
    let unknown = devices.into_iter().filter(|report| report.in_force == InForce::Unknown);
    let more = json!({
        "deployment": doubt.get::<_, Uuid>("id"),
        "attempt": doubt.get::<_, i32>("attempt"),
        "phase": doubt.get::<_, Option<&str>>("phase"),
        "worker": doubt.get::<_, Option<&str>>("worker"),
        "in_doubt_since": event::time(doubt.get("in_doubt_since")),
        "devices": unknown.map(|report| report.device).collect::<Vec<_>>(),
    });
    Ok(Entry {
        event: facts.happening(Uuid::now_v7(), sequence, "in_doubt", state, now, more),
        change: None,
        why: None,
        by: "scheduler".to_owned(),
    })
}
