use std::{future::Future, time::Duration};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::{NoTls, config::SslMode};

use crate::StoreError;

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `postgres://user@host:port/database`.
    pub url: String,
    /// Most connections of this process.
    pub max_connections: usize,
    /// Deadline of one store call, in milliseconds.
    pub timeout_ms: u64,
}

/// The status store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: Pool,
    config: tokio_postgres::Config,
    timeout: Duration,
}

impl Store {
    /// Makes a pool; connects at the first use.
    ///
    /// # Errors
    /// If the URL can't be read.
    pub fn new(settings: &Settings) -> Result<Self, StoreError> {
        let mut config: tokio_postgres::Config =
            settings.url.parse().map_err(|error| StoreError::Away(format!("bad database URL: {error}")))?;
        let timeout = Duration::from_millis(settings.timeout_ms);
        if config.get_application_name().is_none() {
            config.application_name("turnup");
        }
        config
            .connect_timeout(Duration::from_secs(3))
            .tcp_user_timeout(timeout)
            // A peer that vanished without a word: the listener and an idle connection notice too.
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        if config.get_ssl_mode() == SslMode::Require {
            return Err(StoreError::Away(
                "sslmode=require is not supported; use a local proxy or socket".to_owned(),
            ));
        }
        let manager = Manager::from_config(
            config.clone(),
            NoTls,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let limit_ms = settings.timeout_ms;
        let pool = Pool::builder(manager)
            .max_size(settings.max_connections)
            .timeouts(Timeouts { wait: Some(timeout), create: Some(timeout), recycle: Some(timeout) })
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |client, _| {
                Box::pin(async move {
                    client.batch_execute(&session_settings(limit_ms)).await.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| StoreError::Away(error.to_string()))?;
        Ok(Self { pool, config, timeout })
    }

    /// A connection from the pool.
    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        Ok(self.pool.get().await?)
    }

    /// A connection of its own, outside the pool, with its driver.
    pub(crate) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// The deadline of a store call.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Puts the deadline of a store call on `work`.
    pub(crate) async fn timed<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        timed(self.timeout, work).await
    }

    /// Whether the database answers and has the schema that this release needs.
    ///
    /// # Errors
    /// [`StoreError::Away`] or [`StoreError::Version`].
    pub async fn check(&self) -> Result<(), StoreError> {
        let found = self.version().await?;
        if found == crate::SCHEMA_VERSION {
            Ok(())
        } else {
            Err(StoreError::Version { found, wanted: crate::SCHEMA_VERSION })
        }
    }
}

/// What every session of the store is set to. Plans are made anew each time: one that was made
/// for an empty outbox is wrong for a full one, and a filter that isn't used costs nothing then.
pub(crate) fn session_settings(limit_ms: u64) -> String {
    format!(
        "SET statement_timeout = {limit_ms}; SET lock_timeout = {limit_ms}; \
         SET idle_in_transaction_session_timeout = {}; SET synchronous_commit = on; SET jit = off; \
         SET plan_cache_mode = force_custom_plan; SET random_page_cost = 1.1; SET TIME ZONE 'UTC'",
        limit_ms * 2
    )
}

/// Puts a deadline on `work`.
pub(crate) async fn timed<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or_else(|_| Err(StoreError::Away(format!("no answer within {} ms", timeout.as_millis()))))
}

/// Checks that a guarded statement has changed every row that it was to change.
pub(crate) fn all(changed: u64, wanted: usize, otherwise: &str) -> Result<(), StoreError> {
    if usize::try_from(changed) == Ok(wanted) {
        Ok(())
    } else {
        Err(StoreError::Refused(otherwise.to_owned()))
    }
}

/// A transaction that owns its connection, so that decisions can be made outside the store between
/// its statements. Dropped before [`Tx::commit`] or [`Tx::rollback`], as at a missed deadline, it
/// closes the connection, and Postgres rolls back: nobody gets a connection in an unknown state.
#[derive(Debug)]
pub(crate) struct Tx {
    client: Option<Object>,
}

impl Tx {
    pub(crate) async fn begin(store: &Store) -> Result<Self, StoreError> {
        Self::begin_with(store, "BEGIN").await
    }

    /// One whose statements look up each of their rows by its key. Without statistics, as after a
    /// burst of orders, the planner else takes whole tables into a hash for a batch of 500.
    pub(crate) async fn begin_by_key(store: &Store) -> Result<Self, StoreError> {
        Self::begin_with(
            store,
            "BEGIN; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; \
             SET LOCAL enable_material = off; SET LOCAL enable_seqscan = off",
        )
        .await
    }

    /// One that only reads, all of it in one snapshot.
    pub(crate) async fn begin_reading(store: &Store) -> Result<Self, StoreError> {
        Self::begin_with(store, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn begin_with(store: &Store, begin: &str) -> Result<Self, StoreError> {
        let tx = Self { client: Some(store.client().await?) };
        tx.client()?.batch_execute(begin).await?;
        Ok(tx)
    }

    pub(crate) fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or_else(|| StoreError::Refused("the transaction has ended".to_owned()))
    }

    /// Commits, then wakes the relay. The notification is a transaction of its own: inside this
    /// one it would make all commits wait for each other.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        self.client()?.batch_execute("COMMIT; NOTIFY turnup_work").await?;
        self.client = None;
        Ok(())
    }

    /// Ends it without a change, and gives the connection back.
    pub(crate) async fn rollback(mut self) -> Result<(), StoreError> {
        self.client()?.batch_execute("ROLLBACK").await?;
        self.client = None;
        Ok(())
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// Prepares (once per connection) the statement of a file in `queries/`.
macro_rules! statement {
    ($client:expr, $file:literal) => {
        $client.prepare_cached(include_str!(concat!("../queries/", $file, ".sql"))).await?
    };
}
pub(crate) use statement;
