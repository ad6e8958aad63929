use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use deadpool_postgres::Object;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::{Row, types::Json};
use turnup_core::{
    audit::AuditSummary,
    event::OrderFacts,
    failure::Failure,
    id::{DeploymentId, OrderId, ServiceId},
    lifecycle::{DeploymentState, OrderState, ServiceState},
    message::{DeviceReport, InForce, Stage},
    name::DeviceName,
    order::OrderOptions,
    transcript::Transcript,
};
use uuid::Uuid;

use crate::{
    Entry, Retry, Store, StoreError, ToRetry, change,
    control::nudge,
    deployment, entry,
    pool::{Tx, all, statement, timed},
    resource, retry, transcript,
};

/// A deployment that a worker reported about, locked until the batch is finished.
#[derive(Debug, Clone)]
pub struct DeploymentToSettle {
    /// State.
    pub state: DeploymentState,
    /// The attempt whose reports count.
    pub attempt: i32,
    /// Last report of that attempt that was applied.
    pub sequence: i32,
    /// Since when it is in doubt.
    pub in_doubt_since: Option<Timestamp>,
    /// The stage of which that is told.
    pub stage: Stage,
    /// Of a part of a transaction over several regions.
    pub part: Option<Part>,
}

/// What is known of a part besides.
#[derive(Debug, Clone)]
pub struct Part {
    /// The id of the transaction: that of its first part.
    pub transaction: DeploymentId,
    /// The transaction's order.
    pub order: OrderId,
    /// Where it is prepared: until when confirming may begin.
    pub confirm_by: Option<Timestamp>,
    /// Per device, as last reported.
    pub devices: Vec<DeviceReport>,
    /// Why it is undone.
    pub reasons: Vec<Failure>,
}

/// An order of such a deployment, locked until the batch is finished.
#[derive(Debug, Clone)]
pub struct OrderToSettle {
    /// What its events tell.
    pub facts: OrderFacts,
    /// State.
    pub state: OrderState,
    /// Number of its last history entry.
    pub sequence: i32,
    /// What it carries beside its content, such as what a validate order looks at.
    pub options: OrderOptions,
    /// Whether it is tried again if it has failed.
    pub retry: ToRetry,
    /// Its service, where that exists: state and number of its last event.
    pub service: Option<(ServiceState, i32)>,
    /// Where the order creates a service again: number of the last event of the service that was removed; else 0.
    pub earlier_events: i32,
}

/// A batch of reports that are to be applied: rows locked, nothing decided yet.
#[derive(Debug)]
pub struct Settling {
    tx: Tx,
    timeout: Duration,
    /// The deployments that exist, and the other parts of their transactions.
    pub deployments: HashMap<DeploymentId, DeploymentToSettle>,
    /// Their orders.
    pub orders: HashMap<OrderId, OrderToSettle>,
}

/// What the reports of a batch change.
#[derive(Debug, Default)]
pub struct Settled {
    /// Deployments: new state, last applied sequence, phase, worker, per-device knowledge.
    pub deployments: Vec<DeploymentChange>,
    /// Orders that have ended: new state, number of the history entry, reasons.
    pub orders: Vec<(OrderId, OrderState, i32, Vec<Failure>)>,
    /// Those of them that are tried again.
    pub retries: Vec<Retry>,
    /// How far ahead the delay ladder reaches, in milliseconds; for these.
    pub reach_ms: i64,
    /// Services.
    pub services: Vec<ServiceChange>,
    /// Log entries of orders and services.
    pub entries: Vec<Entry>,
    /// What was said to devices.
    pub transcripts: Vec<Transcript>,
    /// What comes next for parts of transactions over several regions.
    pub stages: Vec<StageChange>,
    /// What became of commits that may be pending at devices.
    pub tokens: Vec<TokenChange>,
    /// Such transactions that have ended confirmed in all regions.
    pub confirmed: Vec<DeploymentId>,
}

/// The next stage of a part that has answered the one before. It gets an attempt of its own and is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct StageChange {
    /// The part.
    pub id: DeploymentId,
    /// What its workers are to do next.
    pub stage: Stage,
    /// Why, where it is undone.
    pub reasons: Vec<Failure>,
}

/// What a deployment has left of pending commits at a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenChange {
    /// The device.
    pub device: DeviceName,
    /// The deployment's own commit may be pending there.
    pub pending: Option<DeploymentId>,
    /// Those of earlier deployments were cancelled.
    pub cleared: bool,
}

/// A deployment's new row.
#[derive(Debug)]
pub struct DeploymentChange {
    /// Which.
    pub id: DeploymentId,
    /// New state.
    pub state: DeploymentState,
    /// Last applied report of the attempt.
    pub sequence: i32,
    /// Phase reported.
    pub phase: String,
    /// Worker that reported.
    pub worker: String,
    /// Per device.
    pub devices: Vec<DeviceReport>,
    /// Since when it is in doubt.
    pub in_doubt_since: Option<Timestamp>,
    /// Where it is prepared: until when confirming may begin.
    pub confirm_by: Option<Timestamp>,
}

/// What an ended order does to its service.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceChange {
    /// It exists from now on, as the order wanted it; it holds what this deployment says.
    Create {
        /// The provision order.
        order: OrderId,
        /// The deployment that put it in force.
        deployment: DeploymentId,
        /// Number of its event.
        sequence: i32,
    },
    /// A modify or redeploy order completed: on the deployment's devices the service holds what that
    /// says and nothing else. After a modify order it has that one's attributes.
    Update {
        /// Which.
        service: ServiceId,
        /// The order that did it.
        order: OrderId,
        /// The deployment that put it in force.
        deployment: DeploymentId,
        /// Its new state.
        state: ServiceState,
        /// Number of its event.
        sequence: i32,
    },
    /// An attempt to change or remove it failed.
    Fail {
        /// Which.
        service: ServiceId,
        /// Its new state.
        state: ServiceState,
        /// The order that failed.
        order: OrderId,
        /// The deployment that failed.
        deployment: DeploymentId,
        /// Number of its event.
        sequence: i32,
        /// The devices on which the attempt is in force, or may be.
        in_force: Vec<(DeviceName, InForce)>,
    },
    /// It was audited. A part that was not looked at keeps its last result.
    Audited {
        /// Which.
        service: ServiceId,
        /// The validate order.
        order: OrderId,
        /// Number of its event.
        sequence: i32,
        /// When.
        at: Timestamp,
        /// The result.
        summary: AuditSummary,
        /// What was found, device by device.
        devices: Value,
    },
    /// It is gone, and what it held is free.
    Remove {
        /// Which.
        service: ServiceId,
    },
}

impl Store {
    /// Locks deployments with their orders and services, to apply reports.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn begin_settle(&self, deployments: &[DeploymentId]) -> Result<Settling, StoreError> {
        self.timed(async {
            let ids: Vec<Uuid> = deployments.iter().map(|id| id.0).collect();
            let tx = Tx::begin_by_key(self).await?;
            let client = tx.client()?;
            let lock = statement!(client, "settle_lock_deployments");
            let mut found = HashMap::new();
            let rows = client.query(&lock, &[&ids]).await?;
            let of_transactions = orders_of_transactions(client, &rows).await?;
            for row in rows {
                found.insert(DeploymentId(row.get("id")), to_settle(&row, &of_transactions)?);
            }
            let lock = statement!(client, "settle_lock_orders");
            let mut orders = HashMap::new();
            for row in client.query(&lock, &[&ids]).await? {
                let options: OrderOptions = serde_json::from_value(row.get("options"))?;
                let facts = OrderFacts {
                    id: OrderId(row.get("id")),
                    kind: row.get::<_, &str>("kind").parse()?,
                    definition: row.get("definition"),
                    service_id: ServiceId(row.get("service_id")),
                    region: row.get("region"),
                    external_id: row.get("external_id"),
                    requester: row.get("requester"),
                    undoes: options.undoes,
                };
                let service = match row.get::<_, Option<&str>>("service_state") {
                    Some(state) => Some((state.parse()?, row.get("service_sequence"))),
                    None => None,
                };
                let order = OrderToSettle {
                    state: row.get::<_, &str>("state").parse()?,
                    sequence: row.get("sequence"),
                    options,
                    retry: ToRetry::of(&row)?,
                    service,
                    earlier_events: row.get("earlier_events"),
                    facts,
                };
                orders.insert(order.facts.id, order);
            }
            Ok(Settling { tx, timeout: self.timeout(), deployments: found, orders })
        })
        .await
    }
}

fn to_settle(row: &Row, orders: &HashMap<Uuid, OrderId>) -> Result<DeploymentToSettle, StoreError> {
    let part = match row.get::<_, Option<Uuid>>("transaction_id") {
        None => None,
        Some(transaction) => Some(Part {
            transaction: DeploymentId(transaction),
            order: *orders.get(&transaction).ok_or_else(|| {
                StoreError::Unknown(format!("the order of transaction {transaction} is not there"))
            })?,
            confirm_by: row.get("confirm_by"),
            devices: serde_json::from_value(row.get("devices"))?,
            reasons: deployment::reasons(row)?,
        }),
    };
    Ok(DeploymentToSettle {
        state: row.get::<_, &str>("state").parse()?,
        attempt: row.get("attempt"),
        sequence: row.get("sequence"),
        in_doubt_since: row.get("in_doubt_since"),
        stage: row.get::<_, &str>("stage").parse()?,
        part,
    })
}

/// The order of each transaction over several regions, of which most batches have none.
async fn orders_of_transactions(client: &Object, rows: &[Row]) -> Result<HashMap<Uuid, OrderId>, StoreError> {
    let ids: BTreeSet<Uuid> = rows.iter().filter_map(|row| row.get("transaction_id")).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let statement = statement!(client, "settle_transactions");
    let rows = client.query(&statement, &[&ids]).await?;
    Ok(rows.iter().map(|row| (row.get("deployment_id"), OrderId(row.get("order_id")))).collect())
}

impl Settling {
    /// Writes what the reports change, gives back the leases of ended orders, admits who waits
    /// for them, and commits.
    ///
    /// # Errors
    /// If the database refuses: then nothing of the batch has happened. If it is away, that is not
    /// known; begin again, and what has happened is told by the states.
    pub async fn finish(self, settled: &Settled, now: Timestamp) -> Result<(), StoreError> {
        let timeout = self.timeout;
        timed(timeout, async {
            if settled.deployments.is_empty() && settled.entries.is_empty() && settled.transcripts.is_empty()
            {
                return self.tx.rollback().await;
            }
            self.write(settled, now).await?;
            self.tx.commit().await
        })
        .await
    }

    async fn write(&self, settled: &Settled, now: Timestamp) -> Result<(), StoreError> {
        let client = self.tx.client()?;
        transcript::keep(client, &settled.transcripts).await?;
        if settled.deployments.is_empty() && settled.entries.is_empty() {
            return Ok(());
        }
        self.update_deployments(client, settled, now).await?;
        self.decide(client, settled, now).await?;
        let ids: Vec<Uuid> = settled.orders.iter().map(|(id, ..)| id.0).collect();
        if !ids.is_empty() {
            let states: Vec<&str> = settled.orders.iter().map(|(_, state, ..)| state.word()).collect();
            let sequences: Vec<i32> = settled.orders.iter().map(|(_, _, sequence, _)| *sequence).collect();
            let errors: Vec<Json<&Vec<Failure>>> =
                settled.orders.iter().map(|(.., errors)| Json(errors)).collect();
            let update = statement!(client, "settle_orders");
            let updated = client.execute(&update, &[&ids, &states, &sequences, &errors, &now]).await?;
            all(updated, ids.len(), "an order is not in progress")?;
            retry::schedule(client, &settled.retries, now, settled.reach_ms).await?;
            change::services(client, &settled.services, now).await?;
            let lock = statement!(client, "lock_leases_of");
            let devices: Vec<String> =
                client.query(&lock, &[&ids]).await?.iter().map(|row| row.get(0)).collect();
            let release = statement!(client, "release_leases");
            client.execute(&release, &[&devices, &ids]).await?;
            nudge(client, &devices).await?;
            resource::release(client, &self.ended_services(settled), &[]).await?;
        }
        if !settled.tokens.is_empty() {
            let devices: Vec<&str> = settled.tokens.iter().map(|change| change.device.as_str()).collect();
            let tokens: Vec<Option<Uuid>> =
                settled.tokens.iter().map(|change| change.pending.map(|id| id.0)).collect();
            let cleared: Vec<bool> = settled.tokens.iter().map(|change| change.cleared).collect();
            let statement = statement!(client, "pending_tokens");
            client.execute(&statement, &[&devices, &tokens, &cleared]).await?;
        }
        entry::append(client, &settled.entries).await
    }

    async fn update_deployments(
        &self,
        client: &Object,
        settled: &Settled,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let changes = &settled.deployments;
        let ids: Vec<Uuid> = changes.iter().map(|c| c.id.0).collect();
        let states: Vec<&str> = changes.iter().map(|c| c.state.word()).collect();
        let sequences: Vec<i32> = changes.iter().map(|c| c.sequence).collect();
        let phases: Vec<&str> = changes.iter().map(|c| c.phase.as_str()).collect();
        let workers: Vec<&str> = changes.iter().map(|c| c.worker.as_str()).collect();
        let devices: Vec<Json<&Vec<DeviceReport>>> = changes.iter().map(|c| Json(&c.devices)).collect();
        let doubts: Vec<Option<Timestamp>> = changes.iter().map(|c| c.in_doubt_since).collect();
        let confirm_by: Vec<Option<Timestamp>> = changes.iter().map(|c| c.confirm_by).collect();
        let statement = statement!(client, "settle_deployments");
        client
            .execute(
                &statement,
                &[&ids, &states, &sequences, &phases, &workers, &devices, &doubts, &now, &confirm_by],
            )
            .await?;
        Ok(())
    }

    /// What is decided about transactions over several regions: durable before anybody hears of it.
    async fn decide(&self, client: &Object, settled: &Settled, now: Timestamp) -> Result<(), StoreError> {
        if !settled.stages.is_empty() {
            let ids: Vec<Uuid> = settled.stages.iter().map(|change| change.id.0).collect();
            let stages: Vec<&str> = settled.stages.iter().map(|change| change.stage.word()).collect();
            let reasons: Vec<Option<Json<&Vec<Failure>>>> = settled
                .stages
                .iter()
                .map(|change| (!change.reasons.is_empty()).then_some(Json(&change.reasons)))
                .collect();
            let stage = statement!(client, "stage_deployments");
            let staged = client.execute(&stage, &[&ids, &stages, &reasons, &now]).await?;
            all(staged, ids.len(), "a part has not answered its stage yet")?;
        }
        if !settled.confirmed.is_empty() {
            let ids: Vec<Uuid> = settled.confirmed.iter().map(|id| id.0).collect();
            let commit = statement!(client, "commit_parts");
            client.execute(&commit, &[&ids]).await?;
        }
        Ok(())
    }

    /// The services of orders that need nothing any more, or other things than before.
    fn ended_services(&self, settled: &Settled) -> Vec<ServiceId> {
        let ended = |state| matches!(state, OrderState::Completed | OrderState::Invalid);
        let orders = settled.orders.iter().filter(|(_, state, ..)| ended(*state));
        orders.filter_map(|(id, ..)| Some(self.orders.get(id)?.facts.service_id)).collect()
    }
}
