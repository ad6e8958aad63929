use std::time::Duration;

use crate::{
    Store, StoreError,
    pool::{Tx, statement},
};

/// Forward-only migrations, in order. An applied one is never edited.
pub(crate) const MIGRATIONS: [&str; 11] = [
    include_str!("../migrations/0001_orders.sql"),
    include_str!("../migrations/0002_plans.sql"),
    include_str!("../migrations/0003_transcripts.sql"),
    include_str!("../migrations/0004_groups.sql"),
    include_str!("../migrations/0005_regions.sql"),
    include_str!("../migrations/0006_retries.sql"),
    include_str!("../migrations/0007_inventory.sql"),
    include_str!("../migrations/0008_pending_tokens.sql"),
    include_str!("../migrations/0009_undo.sql"),
    include_str!("../migrations/0010_ignored_modules.sql"),
    include_str!("../migrations/0011_exams.sql"),
];

/// The schema version that this release works with.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// Deadline of a migration, waiting for another process's included.
const DEADLINE: Duration = Duration::from_secs(620);
/// Advisory lock under which migrations run.
const LOCK: i64 = 0x7475_726e_7570_0001;

impl Store {
    /// Brings the schema up to this release, under an advisory lock. Returns (version before, version now).
    ///
    /// # Errors
    /// If the database can't be reached, refuses, or is newer than this release.
    pub async fn migrate(&self) -> Result<(i32, i32), StoreError> {
        let migrated = tokio::time::timeout(DEADLINE, self.apply_migrations());
        let before = migrated.await.unwrap_or_else(|_| {
            Err(StoreError::Away(format!("the migration did not end within {} s", DEADLINE.as_secs())))
        })?;
        self.make_partitions().await?;
        Ok((before, SCHEMA_VERSION))
    }

    async fn apply_migrations(&self) -> Result<i32, StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        // Of this transaction only: the connection goes back to the pool.
        tx.batch_execute("SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '10min'").await?;
        tx.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        tx.batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
        let before: i32 =
            tx.query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?.get(0);
        if before > SCHEMA_VERSION {
            return Err(StoreError::Version { found: before, wanted: SCHEMA_VERSION });
        }
        for (version, sql) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > before) {
            tx.batch_execute(sql).await?;
            tx.execute("INSERT INTO schema_version (version) VALUES ($1)", &[&version]).await?;
        }
        tx.commit().await?;
        Ok(before)
    }

    /// The schema version found; 0 for an empty database.
    pub(crate) async fn version(&self) -> Result<i32, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let exists: bool =
                client.query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[]).await?.get(0);
            if !exists {
                return Ok(0);
            }
            Ok(client.query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?.get(0))
        })
        .await
    }

    /// Makes the event log's partitions for this month and the two after it, where missing, and
    /// moves there what came before they were. Forgets plans that were shown long ago as well.
    ///
    /// # Errors
    /// If the database can't be reached or refuses.
    pub async fn make_partitions(&self) -> Result<(), StoreError> {
        self.timed(async {
            let client = self.client().await?;
            Ok(client.batch_execute(include_str!("../queries/make_partitions.sql")).await?)
        })
        .await?;
        self.prune_plans(jiff::Timestamp::now()).await?;
        Ok(())
    }

    /// Drops the event log's partitions that end before `months` months ago. Returns how many
    /// (two a month). Dropping needs the whole log for an instant, so this gives up
    /// ([`StoreError::Away`]) rather than make others wait for long: try again later.
    ///
    /// # Errors
    /// If the database can't be reached or refuses.
    pub async fn drop_old_events(&self, months: i32) -> Result<i64, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let statement = statement!(client, "old_partitions");
            let rows = client.query(&statement, &[&months]).await?;
            let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            if names.is_empty() {
                tx.rollback().await?;
                return Ok(0);
            }
            let drop = format!("SET LOCAL lock_timeout = '500ms'; DROP TABLE {}", names.join(", "));
            client.batch_execute(&drop).await?;
            tx.commit().await?;
            Ok(i64::try_from(names.len()).unwrap_or(i64::MAX))
        })
        .await
    }
}
