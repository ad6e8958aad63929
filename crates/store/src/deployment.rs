use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use turnup_core::{
    failure::Failure,
    id::{DeploymentId, OrderId},
    lifecycle::DeploymentState,
    message::{DeviceReport, Stage},
};

use crate::{
    Store, StoreError,
    order::{optional_time, time},
    pool::statement,
};

/// A deployment as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct DeploymentView {
    /// Its id, also the persist id on the devices.
    pub id: DeploymentId,
    /// Region whose workers run it.
    pub region: String,
    /// The order's generation that it belongs to.
    pub generation: i32,
    /// Current attempt.
    pub attempt: i32,
    /// Of an order over several regions: the transaction that it is a part of, by the id of its first part.
    pub transaction_id: Option<DeploymentId>,
    /// What its workers were last sent of it.
    pub stage: Stage,
    /// State.
    pub state: DeploymentState,
    /// Phase last reported.
    pub phase: Option<String>,
    /// Worker that last reported.
    pub worker: Option<String>,
    /// Per device: what is in force, steps, failures.
    pub devices: Vec<DeviceReport>,
    /// Since when a commit's outcome is unknown.
    #[serde(serialize_with = "optional_time")]
    pub in_doubt_since: Option<Timestamp>,
    /// Of a part that is prepared: until when confirming may begin.
    #[serde(serialize_with = "optional_time")]
    pub confirm_by: Option<Timestamp>,
    /// Of a part that is undone: why.
    pub reasons: Vec<Failure>,
    /// When it was dispatched.
    #[serde(serialize_with = "time")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "time")]
    pub updated_at: Timestamp,
}

impl Store {
    /// One deployment with its orders.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn deployment(
        &self,
        id: DeploymentId,
    ) -> Result<Option<(DeploymentView, Vec<OrderId>)>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "deployment");
            let Some(row) = client.query_opt(&statement, &[&id.0]).await? else { return Ok(None) };
            let orders: Vec<uuid::Uuid> = row.get("orders");
            Ok(Some((view(&row)?, orders.into_iter().map(OrderId).collect())))
        })
        .await
    }
}

pub(crate) async fn of_order(
    client: &deadpool_postgres::Object,
    order: OrderId,
) -> Result<Vec<DeploymentView>, StoreError> {
    let statement = statement!(client, "order_deployments");
    client.query(&statement, &[&order.0]).await?.iter().map(view).collect()
}

fn view(row: &Row) -> Result<DeploymentView, StoreError> {
    Ok(DeploymentView {
        id: DeploymentId(row.get("id")),
        region: row.get("region"),
        generation: row.get("generation"),
        attempt: row.get("attempt"),
        transaction_id: row.get::<_, Option<uuid::Uuid>>("transaction_id").map(DeploymentId),
        stage: row.get::<_, &str>("stage").parse()?,
        state: row.get::<_, &str>("state").parse()?,
        phase: row.get("phase"),
        worker: row.get("worker"),
        devices: serde_json::from_value(row.get("devices"))?,
        in_doubt_since: row.get("in_doubt_since"),
        confirm_by: row.get("confirm_by"),
        reasons: reasons(row)?,
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}

/// Why a part is undone, from the column of that name.
pub(crate) fn reasons(row: &Row) -> Result<Vec<Failure>, StoreError> {
    let reasons: Option<serde_json::Value> = row.get("reasons");
    Ok(reasons.map(serde_json::from_value).transpose()?.unwrap_or_default())
}
