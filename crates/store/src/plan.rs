use deadpool_postgres::Object;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_postgres::types::Json;

use crate::{Store, StoreError, pool::statement};

/// How long a plan is kept after it was shown last.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Store {
    /// Keeps a plan that is shown, under its hash, for 30 days from `now`.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn keep_plan(&self, hash: &str, plan: &Value, now: Timestamp) -> Result<(), StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "keep_plan");
            client.execute(&statement, &[&hash, &Json(plan), &now]).await?;
            Ok(())
        })
        .await
    }

    /// Forgets plans that were shown more than 30 days before `now`. Gives how many.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn prune_plans(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "prune_plans");
            let before = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
            Ok(client.execute(&statement, &[&before]).await?)
        })
        .await
    }
}

/// The plan of this hash, if it was shown within 30 days.
pub(crate) async fn plan(client: &Object, hash: &str) -> Result<Option<Value>, StoreError> {
    let statement = statement!(client, "plan");
    Ok(client.query_opt(&statement, &[&hash]).await?.map(|row| row.get(0)))
}
