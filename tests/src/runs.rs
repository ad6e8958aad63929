//! Folders of test runs. A run that passes removes its folder and its database. One that fails, or whose process
//! is ended, keeps both for inspection: the folder under `.turnup/failed/`, the database renamed after it. The
//! newest [`KEPT`] failed runs stay.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use tokio_postgres::NoTls;

use crate::wait::PATIENCE;

/// Failed runs that are kept.
pub const KEPT: usize = 20;

/// File in a run's folder: the URL of the server and the name of the database, a line each.
const DATABASE: &str = "database";
/// File in a run's folder, locked for as long as the run's process lives.
const LOCK: &str = "lock";

/// The folder of one run and its database.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) dir: PathBuf,
    server: String,
    database: String,
    _lock: File,
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.turnup");
    fs::create_dir_all(root.join("runs")).unwrap();
    fs::create_dir_all(root.join("failed")).unwrap();
    root.canonicalize().unwrap()
}

/// Where failed runs are kept.
#[must_use]
pub fn failed() -> PathBuf {
    root().join("failed")
}

/// Held while folders are made, moved and removed.
fn lock_all() -> File {
    let lock = File::create(root().join("runs").join(LOCK)).unwrap();
    lock.lock().unwrap();
    lock
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = found.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// The server and the database that a run's folder names.
fn database_of(dir: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(dir.join(DATABASE)).ok()?;
    let (server, database) = text.trim().split_once('\n')?;
    Some((server.to_owned(), database.to_owned()))
}

impl Run {
    /// Makes the folder, and an empty database on the server. Runs whose process was ended are moved to the failed
    /// ones first.
    pub(crate) async fn new(name: &str, server: &str) -> Self {
        let dir = root().join("runs").join(name);
        let database = format!("turnup_{name}");
        let lock = {
            let _all = lock_all();
            for left in entries(&root().join("runs")) {
                let is_over = File::open(left.join(LOCK)).map_or(true, |lock| lock.try_lock().is_ok());
                if is_over {
                    keep(&left).await;
                }
            }
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join(DATABASE), format!("{server}\n{database}\n")).unwrap();
            let lock = File::create(dir.join(LOCK)).unwrap();
            lock.lock().unwrap();
            lock
        };
        execute(server, &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))
            .await
            .unwrap_or_else(|error| panic!("Postgres: {error}; run scripts/services up"));
        execute(server, &format!("CREATE DATABASE {database}"))
            .await
            .unwrap_or_else(|error| panic!("CREATE DATABASE {database}: {error}"));
        Self { dir, server: server.to_owned(), database, _lock: lock }
    }

    pub(crate) fn database_url(&self) -> String {
        with_database(&self.server, &self.database)
    }

    /// Removes what a passed run has left, or keeps what a failed one has.
    pub(crate) async fn end(dir: &Path, failed: bool) {
        let _all = lock_all();
        match failed {
            true => keep(dir).await,
            false => remove(dir).await,
        }
    }
}

/// Drops the database that the folder of a run names, and removes the folder.
pub async fn remove(dir: &Path) {
    if let Some((server, database)) = database_of(dir)
        && let Err(error) =
            execute(&server, &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await
    {
        eprintln!("database {database} is not dropped: {error}");
    }
    let _ = fs::remove_dir_all(dir);
}

/// Moves the folder to the failed runs, renames the database after it, prints both places, and removes the oldest
/// failed runs.
async fn keep(dir: &Path) {
    let run = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{}_{run}", Timestamp::now().strftime("%Y%m%d%H%M%S"));
    let kept = failed().join(&name);
    if let Err(error) = fs::rename(dir, &kept) {
        eprintln!("{} can't be moved to {}: {error}", dir.display(), kept.display());
        return;
    }
    let mut note =
        format!("The failed run {name}: configuration, logs and the devices' journal are in this folder.\n");
    if let Some((server, database)) = database_of(&kept) {
        let renamed = format!("turnup_failed_{name}");
        match rename(&server, &database, &renamed).await {
            Ok(()) => {
                let _ = fs::write(kept.join(DATABASE), format!("{server}\n{renamed}\n"));
                note += &format!(
                    "Its database is {renamed}:\n  psql '{}'\nTo remove both:\n  \
                     psql '{server}' -c 'DROP DATABASE {renamed} WITH (FORCE)' && rm -r '{}'\n",
                    with_database(&server, &renamed),
                    kept.display()
                );
                eprintln!("the run's database is {renamed}");
            }
            Err(error) => note += &format!("Its database {database} could not be kept: {error}\n"),
        }
    }
    let _ = fs::write(kept.join("README"), note);
    eprintln!(
        "the run's logs are in {}; its README says how to look at the run and how to remove it",
        kept.display()
    );
    for old in surplus(entries(&failed())) {
        remove(&old).await;
    }
}

/// The oldest of the failed runs, which are more than are kept. Their names begin with their time.
fn surplus(mut runs: Vec<PathBuf>) -> Vec<PathBuf> {
    runs.truncate(runs.len().saturating_sub(KEPT));
    runs
}

/// Renames a database. Sessions of the run's processes may still be ending.
async fn rename(server: &str, database: &str, to: &str) -> Result<(), String> {
    let end =
        format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'");
    execute(server, &end).await?;
    execute(server, &format!("ALTER DATABASE {database} RENAME TO {to}")).await
}

fn with_database(url: &str, database: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, ""), |(base, query)| (base, query));
    let base = base.rsplit_once('/').map_or(base, |(base, _)| base);
    if query.is_empty() { format!("{base}/{database}") } else { format!("{base}/{database}?{query}") }
}

async fn execute(url: &str, sql: &str) -> Result<(), String> {
    let work = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(connection);
        let result = client.batch_execute(sql).await;
        drop(client);
        let _ = driver.await;
        result
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{KEPT, surplus};

    #[test]
    fn oldest_failed_runs_are_removed() {
        let runs =
            |from: usize| (from..KEPT + 3).map(|n| PathBuf::from(format!("{n:03}"))).collect::<Vec<_>>();
        assert_eq!(surplus(runs(0)), [0, 1, 2].map(|n| PathBuf::from(format!("{n:03}"))));
        assert!(surplus(runs(3)).is_empty());
    }
}
