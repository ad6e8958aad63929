use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::NoTls;
use turnup_core::{
    id::{DeploymentId, OrderId},
    message::Due,
    order::Priority,
};

use crate::{Logged, Store, StoreError, event};

/// Advisory lock of the one active relay.
const LOCK: i64 = 0x7475_726e_7570_0003;

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// Its number: rows leave in this order.
    pub id: i64,
    /// What is to be sent.
    pub work: Work,
}

/// What is to be sent to the broker.
#[derive(Debug, Clone)]
pub enum Work {
    /// An order's time.
    Due(Due),
    /// A deployment for its region.
    Deployment {
        /// Which.
        id: DeploymentId,
        /// Region whose workers run it.
        region: String,
        /// Which of the region's queues.
        priority: Priority,
        /// The message.
        message: Vec<u8>,
    },
}

/// The right to relay, held by one process at a time: a database session that holds an advisory
/// lock. All that the relay writes goes through this very session, so whoever has lost the right
/// can't write any more.
#[derive(Debug)]
pub struct RelayLease {
    client: tokio_postgres::Client,
    driver: tokio::task::JoinHandle<()>,
    timeout: Duration,
}

impl Drop for RelayLease {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Store {
    /// Asks for the right to relay; none while another process has it.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn lead_relay(&self) -> Result<Option<RelayLease>, StoreError> {
        let timeout = self.timeout();
        self.timed(async {
            let (client, connection) = self.config().connect(NoTls).await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(%error, "the relay's database session ended");
                }
            });
            let lease = RelayLease { client, driver, timeout };
            lease.client.batch_execute("SET statement_timeout = '30s'; SET synchronous_commit = on").await?;
            let got: bool = lease.client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?.get(0);
            Ok(got.then_some(lease))
        })
        .await
    }
}

impl RelayLease {
    async fn timed<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>> + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(StoreError::Away(format!("no answer within {} ms", self.timeout.as_millis()))),
        }
    }

    /// The largest row number there is. Whatever is up to it when a relay begins may have been
    /// published by the one before.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn last_row(&self) -> Result<i64, StoreError> {
        let row = self.timed(self.client.query_one("SELECT coalesce(max(id), 0) FROM outbox", &[])).await?;
        Ok(row.get(0))
    }

    /// The next rows after number `after` that may go now.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn take(&self, after: i64, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
        let sql = include_str!("../queries/outbox_take.sql");
        let rows = self.timed(async { self.client.query(sql, &[&after, &limit]).await }).await?;
        rows.iter()
            .map(|row| {
                let id = row.get("id");
                let work = match row.get::<_, Option<uuid::Uuid>>("order_id") {
                    Some(order) => Work::Due(Due {
                        order: OrderId(order),
                        revision: row.get("revision"),
                        due: row.get("due"),
                    }),
                    None => Work::Deployment {
                        id: DeploymentId(row.get("deployment_id")),
                        region: row.get("region"),
                        priority: row.get::<_, &str>("priority").parse()?,
                        message: row.get("message"),
                    },
                };
                Ok(OutboxRow { id, work })
            })
            .collect()
    }

    /// Makes rows ready whose orders have come into the ladder's reach. Returns how many.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn release_later(&self, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let sql = include_str!("../queries/outbox_release_later.sql");
        self.timed(async { self.client.execute(sql, &[&now, &limit]).await }).await
    }

    /// Deletes rows that the broker has confirmed.
    ///
    /// # Errors
    /// If the database is away: then the rows will be published again, which every receiver bears.
    pub async fn done(&self, ids: &[i64]) -> Result<(), StoreError> {
        let sql = include_str!("../queries/outbox_done.sql");
        self.timed(async { self.client.execute(sql, &[&ids]).await }).await?;
        Ok(())
    }

    /// Puts off rows that no queue takes until `until`.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn defer(&self, ids: &[i64], until: Timestamp) -> Result<(), StoreError> {
        let sql = include_str!("../queries/outbox_defer.sql");
        self.timed(async { self.client.execute(sql, &[&ids, &until]).await }).await?;
        Ok(())
    }

    /// Numbers up to `limit` new events, in the order of their writing, and wakes who reads the
    /// log. Returns how many.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn number_events(&self, limit: i64) -> Result<u64, StoreError> {
        let sql = include_str!("../queries/number_events.sql");
        let numbered = self.timed(async { self.client.execute(sql, &[&limit]).await }).await?;
        if numbered > 0 {
            self.timed(self.client.batch_execute("NOTIFY turnup_news")).await?;
        }
        Ok(numbered)
    }

    /// The next events that were numbered but not yet noted as published, in cursor order.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn unpublished(&self, limit: i64) -> Result<Vec<Logged>, StoreError> {
        let sql = include_str!("../queries/unpublished_events.sql");
        let rows = self.timed(async { self.client.query(sql, &[&limit]).await }).await?;
        rows.iter().map(event::logged).collect()
    }

    /// Notes that all events up to cursor `published` have been published.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn note_published(&self, published: i64) -> Result<(), StoreError> {
        let sql = include_str!("../queries/note_published.sql");
        self.timed(async { self.client.execute(sql, &[&published]).await }).await?;
        Ok(())
    }
}
