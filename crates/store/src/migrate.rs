use crate::{Store, StoreError};

/// Forward-only migrations, in order. An applied one is never edited.
pub(crate) const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_orders.sql")];

/// The schema version that this release works with.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a handful of migrations")]
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// Advisory lock under which migrations run.
const LOCK: i64 = 0x7475_726e_7570_0001;

impl Store {
    /// Brings the schema up to this release, under an advisory lock. Returns (version before, version now).
    ///
    /// # Errors
    /// If the database can't be reached, refuses, or is newer than this release.
    pub async fn migrate(&self) -> Result<(i32, i32), StoreError> {
        let mut client = self.client().await?;
        client.batch_execute("SET statement_timeout = '10min'; SET lock_timeout = '1min'").await?;
        let tx = client.transaction().await?;
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
        client.batch_execute("RESET statement_timeout; RESET lock_timeout").await?;
        drop(client);
        self.make_partitions().await?;
        Ok((before, SCHEMA_VERSION))
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

    /// Makes the event log's partitions for this month and the two after it, where missing.
    ///
    /// # Errors
    /// If the database can't be reached or refuses.
    pub async fn make_partitions(&self) -> Result<(), StoreError> {
        self.timed(async {
            let client = self.client().await?;
            Ok(client.batch_execute(include_str!("../queries/make_partitions.sql")).await?)
        })
        .await
    }

    /// Drops event partitions that end before `months` months ago. Returns how many.
    ///
    /// # Errors
    /// If the database can't be reached or refuses.
    pub async fn drop_old_events(&self, months: i32) -> Result<i64, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let rows = client.query(include_str!("../queries/old_partitions.sql"), &[&months]).await?;
            for row in &rows {
                let name: String = row.get(0);
                client.batch_execute(&format!("DROP TABLE {name}")).await?;
            }
            Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX))
        })
        .await
    }
}
