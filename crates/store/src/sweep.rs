use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Store, StoreError,
    pool::{Tx, statement},
};

/// Rows of one transaction of [`Store::reconcile`].
const PORTION: i64 = 10_000;

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
    /// heard of before then, in `regions` (none: in all). At most `limit` of each. Nothing is sent
    /// again within the same span: an order sent after `overdue` or a deployment sent after
    /// `silent` rests, so that what nobody takes does not pile up.
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
            let now = Timestamp::now();
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let orders = statement!(client, "sweep_orders");
            let waiting = statement!(client, "sweep_waiting");
            let deployments = statement!(client, "sweep_deployments");
            let swept = Swept {
                orders: client.execute(&orders, &[&overdue, &limit, &now]).await?,
                waiting: client.execute(&waiting, &[&overdue, &limit, &now]).await?,
                deployments: client.execute(&deployments, &[&silent, &regions, &limit, &now]).await?,
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
    /// scheduled order and every unfinished deployment. `reach_ms`: how far ahead the ladder reaches;
    /// orders further ahead are in the outbox anyway. Whatever is in the outbox is left out.
    ///
    /// # Errors
    /// If the database is away: what was sent so far remains.
    pub async fn reconcile(&self, now: Timestamp, reach_ms: i64) -> Result<Swept, StoreError> {
        let reach = now.checked_add(jiff::SignedDuration::from_millis(reach_ms)).unwrap_or(Timestamp::MAX);
        let mut swept = Swept::default();
        // In portions, each with the deadline of a call: there may be millions.
        let mut after = Some(Uuid::nil());
        while let Some(id) = after {
            let portion = async {
                let tx = Tx::begin(self).await?;
                let statement = statement!(tx.client()?, "reconcile_orders");
                let row = tx.client()?.query_one(&statement, &[&reach, &id, &PORTION]).await?;
                tx.commit().await?;
                Ok((row.get::<_, i64>(0), row.get(1)))
            };
            let (sent, last) = self.timed(portion).await?;
            swept.orders += u64::try_from(sent).unwrap_or_default();
            after = last;
        }
        let mut after = Some(Uuid::nil());
        while let Some(id) = after {
            let portion = async {
                let tx = Tx::begin(self).await?;
                let statement = statement!(tx.client()?, "reconcile_deployments");
                let row = tx.client()?.query_one(&statement, &[&id, &PORTION]).await?;
                tx.commit().await?;
                Ok((row.get::<_, i64>(0), row.get(1)))
            };
            let (sent, last) = self.timed(portion).await?;
            swept.deployments += u64::try_from(sent).unwrap_or_default();
            after = last;
        }
        Ok(swept)
    }
}
