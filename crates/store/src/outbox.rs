use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::{NoTls, Row, Statement};
use turnup_core::{
    id::{DeploymentId, OrderId},
    message::{Due, Part, Stage},
    order::Priority,
};

use crate::{
    Logged, Store, StoreError, event,
    pool::{session_settings, timed},
};

/// Longest silence of a session that has the right to relay, in deadlines of a store call.
const IDLE_DEADLINES: u32 = 10;
/// Advisory lock of the one active relay.
const LOCK: i64 = 0x7475_726e_7570_0003;

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// Its number: rows leave in this order.
    pub id: i64,
    /// What is to be sent.
    pub work: Work,
    /// Whether it may have been published before, as a row of its own.
    pub again: bool,
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
        /// The message: of the whole deployment, or of the stage that it is in.
        message: Vec<u8>,
    },
}

/// The right to relay, held by one process at a time: a database session that holds an advisory
/// lock. All that the relay writes goes through this very session, so whoever has lost the right
/// can't write any more. A session that is silent for ten
/// deadlines of a store call loses it: a process that hangs or a
/// network that is gone does not keep others from relaying.
#[derive(Debug)]
pub struct RelayLease {
    client: tokio_postgres::Client,
    driver: tokio::task::JoinHandle<()>,
    timeout: Duration,
    statements: Statements,
}

#[derive(Debug)]
struct Statements {
    last_row: Statement,
    take: Statement,
    release_later: Statement,
    done: Statement,
    defer: Statement,
    number: Statement,
    published: Statement,
    unpublished: Statement,
    note_published: Statement,
}

impl Statements {
    async fn prepare(client: &tokio_postgres::Client) -> Result<Self, StoreError> {
        Ok(Self {
            last_row: client.prepare(include_str!("../queries/outbox_last_row.sql")).await?,
            take: client.prepare(include_str!("../queries/outbox_take.sql")).await?,
            release_later: client.prepare(include_str!("../queries/outbox_release_later.sql")).await?,
            done: client.prepare(include_str!("../queries/outbox_done.sql")).await?,
            defer: client.prepare(include_str!("../queries/outbox_defer.sql")).await?,
            number: client.prepare(include_str!("../queries/number_events.sql")).await?,
            published: client.prepare(include_str!("../queries/published.sql")).await?,
            unpublished: client.prepare(include_str!("../queries/unpublished_events.sql")).await?,
            note_published: client.prepare(include_str!("../queries/note_published.sql")).await?,
        })
    }
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
            let limits = format!(
                "{}; SET idle_session_timeout = {}; SET tcp_keepalives_idle = 10; \
                 SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; \
                 SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; \
                 SET enable_seqscan = off",
                session_settings(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
                (timeout * IDLE_DEADLINES).as_millis(),
            );
            client.batch_execute(&limits).await?;
            let got: bool = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?.get(0);
            if !got {
                return Ok(None);
            }
            let statements = Statements::prepare(&client).await?;
            Ok(Some(RelayLease { client, driver, timeout, statements }))
        })
        .await
    }
}

impl RelayLease {
    async fn timed<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>> + Send,
    ) -> Result<T, StoreError> {
        timed(self.timeout, async { Ok(work.await?) }).await
    }

    /// The largest row number there is. Whatever is up to it when a relay begins may have been
    /// published by the one before.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn last_row(&self) -> Result<i64, StoreError> {
        let row = self.timed(self.client.query_one(&self.statements.last_row, &[])).await?;
        Ok(row.get(0))
    }

    /// The next rows after number `after` that may go now.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn take(&self, after: i64, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
        let statement = &self.statements.take;
        let rows = self.timed(async { self.client.query(statement, &[&after, &limit]).await }).await?;
        rows.iter()
            .map(|row| {
                let id = row.get("id");
                let work = match row.get::<_, Option<uuid::Uuid>>("order_id") {
                    Some(order) => Work::Due(Due {
                        order: OrderId(order),
                        revision: row.get("revision"),
                        due: row.get("due"),
                    }),
                    None => deployment(row)?,
                };
                Ok(OutboxRow { id, work, again: row.get("again") })
            })
            .collect()
    }

    /// Makes rows ready that have rested long enough: those whose orders have come into the ladder's reach. Returns how many.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn release_later(&self, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let statement = &self.statements.release_later;
        self.timed(async { self.client.execute(statement, &[&now, &limit]).await }).await
    }

    /// Deletes rows that the broker has confirmed.
    ///
    /// # Errors
    /// If the database is away: then the rows will be published again, which every receiver bears.
    pub async fn done(&self, ids: &[i64]) -> Result<(), StoreError> {
        let statement = &self.statements.done;
        self.timed(async { self.client.execute(statement, &[&ids]).await }).await?;
        Ok(())
    }

    /// Puts off rows that no queue takes until `until`.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn defer(&self, ids: &[i64], until: Timestamp) -> Result<(), StoreError> {
        let statement = &self.statements.defer;
        self.timed(async { self.client.execute(statement, &[&ids, &until]).await }).await?;
        Ok(())
    }

    /// Numbers up to `limit` new events, in the order of their writing, and wakes who reads the
    /// log. Returns how many.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn number_events(&self, limit: i64) -> Result<u64, StoreError> {
        let statement = &self.statements.number;
        let numbered = self.timed(async { self.client.execute(statement, &[&limit]).await }).await?;
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
        let Statements { published, unpublished, .. } = &self.statements;
        let rows = self
            .timed(async {
                let published: i64 = self.client.query_one(published, &[]).await?.get(0);
                self.client.query(unpublished, &[&published, &limit]).await
            })
            .await?;
        rows.iter().map(event::logged).collect()
    }

    /// Notes that all events up to cursor `published` have been published.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn note_published(&self, published: i64) -> Result<(), StoreError> {
        let statement = &self.statements.note_published;
        self.timed(async { self.client.execute(statement, &[&published]).await }).await?;
        Ok(())
    }
}

fn deployment(row: &Row) -> Result<Work, StoreError> {
    let id: uuid::Uuid = row.get("deployment_id");
    let (stage, attempt) = (row.get::<_, Option<&str>>("stage"), row.get("first_attempt"));
    match (row.get("region"), row.get::<_, Option<&str>>("priority"), row.get("message"), stage, attempt) {
        (Some(region), Some(priority), Some(message), Some(stage), Some(attempt)) => {
            let message: Vec<u8> = message;
            let message = match stage.parse()? {
                Stage::Whole => message,
                stage => Part::wrap(stage, attempt, &message),
            };
            Ok(Work::Deployment { id: DeploymentId(id), region, priority: priority.parse()?, message })
        }
        _ => Err(StoreError::Unknown(format!("deployment {id}, of which the outbox speaks, is not there"))),
    }
}
