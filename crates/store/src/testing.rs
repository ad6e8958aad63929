//! A database of its own for every test, on a real server (feature `testing`).
//!
//! A template is migrated once for each set of migrations, whichever process comes first; a test
//! clones it. Dropping a [`Database`] drops the clone, on a panic too; what a killed test left
//! behind is swept by later ones. The server is `TURNUP_DATABASE_URL`, or the local one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tokio_postgres::{Client, Config, NoTls};

use crate::{
    Settings, Store, StoreError, create::with_database, migrate::MIGRATIONS, pool::session_settings,
};

/// Advisory lock under which the template is made, in the server's own database.
const LOCK: i64 = 0x7475_726e_7570_0004;
/// A clone to which nobody has been connected is left behind when it is older than this.
const STALE_AFTER: Duration = Duration::from_secs(600);
/// Templates of other sets of migrations that are kept.
const TEMPLATES_KEPT: i64 = 3;
/// Deadline of each step.
const DEADLINE: Duration = Duration::from_secs(60);

/// A migrated, empty database that lives as long as this value.
#[derive(Debug)]
pub struct Database {
    name: String,
    server: String,
    store: Store,
}

impl Database {
    /// Clones the template, and makes that first if need be.
    ///
    /// # Panics
    /// Without a server that lets us create databases: a test can't go on then.
    #[expect(clippy::panic, reason = "for tests only")]
    pub async fn new() -> Self {
        match tokio::time::timeout(DEADLINE, Self::create()).await {
            Ok(Ok(database)) => database,
            Ok(Err(error)) => {
                panic!("no database for this test: {error}; start Postgres or set TURNUP_DATABASE_URL")
            }
            Err(_) => panic!("no database for this test within {} s", DEADLINE.as_secs()),
        }
    }

    /// The store on it, with up to 16 connections.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// A session of its own, to look at or break what the store has written.
    ///
    /// # Errors
    /// If the server is away.
    pub async fn session(&self) -> Result<Client, StoreError> {
        connect(&self.url()).await
    }

    /// The same, set as the store's own sessions are: the planner does there what it does for the store.
    ///
    /// # Errors
    /// If the server is away.
    pub async fn session_of_store(&self) -> Result<Client, StoreError> {
        let session = self.session().await?;
        session.batch_execute(&session_settings(10_000)).await?;
        Ok(session)
    }

    /// The same as [`Database::session`] on another database of its server.
    ///
    /// # Errors
    /// If the server is away.
    pub async fn session_on(&self, database: &str) -> Result<Client, StoreError> {
        connect(&with_database(&self.server, database)).await
    }

    async fn create() -> Result<Self, StoreError> {
        let server = std::env::var("TURNUP_DATABASE_URL")
            .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned());
        let admin = connect(&server).await?;
        // Shared by those who clone, so that nobody drops or makes the template meanwhile.
        admin.execute("SELECT pg_advisory_lock_shared($1)", &[&LOCK]).await?;
        let template = template_name();
        if !exists(&admin, &template).await? {
            admin.execute("SELECT pg_advisory_unlock_shared($1)", &[&LOCK]).await?;
            admin.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
            make_template(&admin, &server, &template).await?;
            let old = "SELECT datname FROM pg_database WHERE starts_with(datname, 'turnup_template_')
                       ORDER BY oid DESC OFFSET $1";
            drop_all(&admin, admin.query(old, &[&TEMPLATES_KEPT]).await?).await;
        }
        let oldest = format!("turnup_clone_{:08x}", now_s().saturating_sub(STALE_AFTER.as_secs()));
        let stale = "SELECT datname FROM pg_database
                     WHERE starts_with(datname, 'turnup_clone_') AND datname < $1 COLLATE \"C\"
                       AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datname = pg_database.datname)";
        drop_all(&admin, admin.query(stale, &[&oldest]).await?).await;
        let name = format!("turnup_clone_{:08x}_{:016x}", now_s(), rand::random::<u64>());
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        let settings =
            Settings { url: with_database(&server, &name), max_connections: 16, timeout_ms: 10_000 };
        let database = Self { store: Store::new(&settings)?, name, server };
        Ok(database)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread, as the test's runtime may be in the midst of a panic.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let drop = async {
                    let admin = connect(&server).await.ok()?;
                    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.ok()
                };
                tokio::time::timeout(DEADLINE, drop).await.ok().flatten()
            })
        });
        if !matches!(cleaner.join(), Ok(Some(()))) {
            tracing::warn!(database = self.name, "a test's database was not dropped; a later run sweeps it");
        }
    }
}

/// Made under another name and renamed at the end: a template of this name is complete.
async fn make_template(admin: &Client, server: &str, template: &str) -> Result<(), StoreError> {
    if exists(admin, template).await? {
        return Ok(());
    }
    let raw = format!("{template}_raw");
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {raw} WITH (FORCE)")).await?;
    admin.batch_execute(&format!("CREATE DATABASE {raw}")).await?;
    let settings = Settings { url: with_database(server, &raw), max_connections: 1, timeout_ms: 30_000 };
    Store::new(&settings)?.migrate().await?;
    // The store's session may not be gone yet, and nobody can rename or clone under it.
    admin
        .execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", &[&raw])
        .await?;
    admin.batch_execute(&format!("ALTER DATABASE {raw} RENAME TO {template}")).await?;
    admin.batch_execute(&format!("ALTER DATABASE {template} ALLOW_CONNECTIONS false")).await?;
    Ok(())
}

async fn drop_all(admin: &Client, names: Vec<tokio_postgres::Row>) {
    for row in names {
        let name: String = row.get(0);
        // Another process may be at it too, so a failure is no matter.
        let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await;
    }
}

async fn exists(admin: &Client, name: &str) -> Result<bool, StoreError> {
    let row = admin.query_one("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", &[&name]).await?;
    Ok(row.get(0))
}

/// The same in every process that has the same migrations.
fn template_name() -> String {
    let mut hash = Sha256::new();
    for sql in MIGRATIONS {
        hash.update(sql);
    }
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // Partitions are made at migration, by the calendar month.
    let month = jiff::Timestamp::now().strftime("%Y_%m");
    format!("turnup_template_{hash}_{month}")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

async fn connect(url: &str) -> Result<Client, StoreError> {
    let config: Config =
        url.parse().map_err(|error| StoreError::Away(format!("bad database URL: {error}")))?;
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
