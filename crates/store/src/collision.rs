use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use turnup_core::{
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    order::OrderKind,
};

use crate::{Store, StoreError, order::optional_time, pool::statement};

/// An order that is requested, scheduled or in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnfinishedOrder {
    /// Its id.
    pub order: OrderId,
    /// What it asks for.
    pub kind: OrderKind,
    /// Its state.
    pub state: OrderState,
    /// When it is to start.
    #[serde(serialize_with = "optional_time")]
    pub scheduled_for: Option<Timestamp>,
    /// The device that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its service.
    pub service_id: ServiceId,
}

fn view(row: &Row) -> Result<UnfinishedOrder, StoreError> {
    Ok(UnfinishedOrder {
        order: OrderId(row.get("id")),
        kind: row.get::<_, &str>("kind").parse()?,
        state: row.get::<_, &str>("state").parse()?,
        scheduled_for: row.get("scheduled_for"),
        device: row.get("device"),
        service_id: ServiceId(row.get("service_id")),
    })
}

impl Store {
    /// Unfinished orders that touch one of `devices`, oldest first, once for each device; at most `limit`.
    /// Where there are very many, those that are likeliest to collide: running, or due soonest, or the
    /// latest. The cost does not grow with what the devices have seen.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn unfinished_on(
        &self,
        devices: &[&str],
        limit: i64,
    ) -> Result<Vec<UnfinishedOrder>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "unfinished_on");
            client.query(&statement, &[&devices, &limit.clamp(1, 1000)]).await?.iter().map(view).collect()
        })
        .await
    }

    /// Unfinished orders of a service, oldest first.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn unfinished_of(&self, service: ServiceId) -> Result<Vec<UnfinishedOrder>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "unfinished_of");
            client.query(&statement, &[&service.0]).await?.iter().map(view).collect()
        })
        .await
    }
}
