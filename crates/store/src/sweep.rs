use jiff::Timestamp;

use crate::{
    Store, StoreError,
    pool::{Tx, statement},
};

/// What a sweep has put on its way again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Orders that were due and had not moved.
    pub orders: u64,
    /// Orders first in the queue of free devices.
    pub waiting: u64,
    /// Deployments of which nothing had been heard.
    pub deployments: u64,
}

impl Store {
    /// Finds what should have moved and has not, whatever lost it, and sends it again; every
    /// receiver bears a repetition. `overdue`: orders due before then; `silent`: deployments last
    /// heard of before then, in `regions` (none: in all). At most `limit` of each.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn sweep(
        &self,
        overdue: Timestamp,
        silent: Timestamp,
        regions: Option<&[String]>,
        limit: i64,
    ) -> Result<Swept, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let orders = statement!(client, "sweep_orders");
            let waiting = statement!(client, "sweep_waiting");
            let deployments = statement!(client, "sweep_deployments");
            let swept = Swept {
                orders: client.execute(&orders, &[&overdue, &limit]).await?,
                waiting: client.execute(&waiting, &[&overdue, &limit]).await?,
                deployments: client.execute(&deployments, &[&silent, &regions, &limit]).await?,
            };
            tx.commit().await?;
            Ok(swept)
        })
        .await
    }

    /// Regions with deployments last heard of before `silent`.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn silent_regions(&self, silent: Timestamp) -> Result<Vec<String>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "silent_regions");
            Ok(client.query(&statement, &[&silent]).await?.iter().map(|row| row.get(0)).collect())
        })
        .await
    }

    /// Puts everything that is owed on its way again, as after the loss of the broker: every
    /// scheduled order and every unfinished deployment. `reach_ms`: how far ahead the ladder reaches.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn reconcile(&self, now: Timestamp, reach_ms: i64) -> Result<Swept, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let orders = statement!(client, "reconcile_orders");
            let deployments = statement!(client, "sweep_deployments");
            let reach =
                now.checked_add(jiff::SignedDuration::from_millis(reach_ms)).unwrap_or(Timestamp::MAX);
            let swept = Swept {
                orders: client.execute(&orders, &[&reach]).await?,
                waiting: 0,
                deployments: client.execute(&deployments, &[&now, &None::<&[String]>, &i64::MAX]).await?,
            };
            tx.commit().await?;
            Ok(swept)
        })
        .await
    }
}
