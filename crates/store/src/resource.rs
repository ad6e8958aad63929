use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use turnup_core::id::{OrderId, ServiceId};
use uuid::Uuid;

use crate::{Exhausted, Page, Store, StoreError, order::time, pool::statement};

/// A value of a pool that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceRow {
    /// The pool.
    pub pool: String,
    /// Where in it the value is unique: empty for the network, else the region, the device, or `device/part`.
    pub scope: String,
    /// The value, as it stands in the orders.
    pub value: String,
    /// The service that has it, or is to have it.
    pub service_id: ServiceId,
    /// The orders that need it.
    pub orders: Vec<OrderId>,
    /// Since when.
    #[serde(serialize_with = "time")]
    pub since: Timestamp,
}

/// How much of a pool is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolInUse {
    /// The pool.
    pub pool: String,
    /// Where in it, see [`ResourceRow::scope`].
    pub scope: String,
    /// How many values are taken.
    pub taken: i64,
}

/// Which values to list. Empty fields don't filter.
#[derive(Debug, Clone, Default)]
pub struct ResourceFilter {
    /// Of this pool.
    pub pool: Option<String>,
    /// Of this scope.
    pub scope: Option<String>,
    /// Of this service.
    pub service_id: Option<ServiceId>,
    /// At most so many (1 to 1000).
    pub limit: i64,
    /// The cursor of the page before.
    pub after: Option<String>,
}

fn view(row: &Row) -> ResourceRow {
    ResourceRow {
        pool: row.get("pool"),
        scope: row.get("scope"),
        value: row.get("value"),
        service_id: ServiceId(row.get("service_id")),
        orders: row.get::<_, Vec<Uuid>>("orders").into_iter().map(OrderId).collect(),
        since: row.get("since"),
    }
}

impl Store {
    /// The pools of which something is taken, by name and scope.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn pools_in_use(&self) -> Result<Vec<PoolInUse>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "resource_pools");
            let rows = client.query(&statement, &[]).await?;
            let pool = |row: &Row| PoolInUse { pool: row.get(0), scope: row.get(1), taken: row.get(2) };
            Ok(rows.iter().map(pool).collect())
        })
        .await
    }

    /// Lists taken values by pool, scope and value.
    ///
    /// # Errors
    /// If the database is away, or the cursor is none of this list.
    pub async fn resources(&self, filter: &ResourceFilter) -> Result<Page<ResourceRow>, StoreError> {
        let after: Option<(String, String, String)> = match &filter.after {
            None => None,
            Some(cursor) => Some(serde_json::from_str(cursor).map_err(|_| {
                StoreError::Refused(
                    "the cursor is none of this list; give the one of the page before".to_owned(),
                )
            })?),
        };
        let (pool, scope, value) = match after {
            Some((pool, scope, value)) => (Some(pool), Some(scope), Some(value)),
            None => (None, None, None),
        };
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "resources");
            let limit = filter.limit.clamp(1, 1000);
            let service = filter.service_id.map(|id| id.0);
            let rows = client
                .query(
                    &statement,
                    &[&filter.pool, &filter.scope, &service, &pool, &scope, &value, &(limit + 1)],
                )
                .await?;
            let mut items: Vec<ResourceRow> = rows.iter().map(view).collect();
            let more = i64::try_from(items.len()).is_ok_and(|len| len > limit);
            if more {
                items.pop();
            }
            let cursor = |row: &ResourceRow| serde_json::json!([row.pool, row.scope, row.value]).to_string();
            let next_cursor = items.last().filter(|_| more).map(cursor);
            Ok(Page { items, next_cursor })
        })
        .await
    }
}

/// Gives back what `services` hold for orders that have ended or are `gone` (never stored), after the end
/// is written and in the same transaction.
pub(crate) async fn release(
    client: &Object,
    services: &[ServiceId],
    gone: &[OrderId],
) -> Result<(), StoreError> {
    if services.is_empty() {
        return Ok(());
    }
    let services: Vec<Uuid> = services.iter().map(|id| id.0).collect();
    let gone: Vec<Uuid> = gone.iter().map(|id| id.0).collect();
    let statement = statement!(client, "resource_release");
    client.execute(&statement, &[&services, &gone]).await?;
    Ok(())
}

/// Says of exhausted pools who has some of their values.
pub(crate) async fn name_holders(
    client: &Object,
    mut exhausted: Vec<&mut Exhausted>,
) -> Result<(), StoreError> {
    if exhausted.is_empty() {
        return Ok(());
    }
    let pools: Vec<String> = exhausted.iter().map(|exhausted| exhausted.pool.clone()).collect();
    let scopes: Vec<String> = exhausted.iter().map(|exhausted| exhausted.scope.clone()).collect();
    let statement = statement!(client, "resource_holders");
    for row in client.query(&statement, &[&pools, &scopes]).await? {
        let place: i64 = row.get("place");
        if let Some(exhausted) = usize::try_from(place - 1).ok().and_then(|place| exhausted.get_mut(place)) {
            exhausted.holders.push(view(&row));
        }
    }
    Ok(())
}
