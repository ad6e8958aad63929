use std::time::Duration;

use tokio_postgres::NoTls;

use crate::{StoreError, pool::timed};

/// Deadline: a new database is a copy of some megabytes, and dropping one waits for a checkpoint.
const DEADLINE: Duration = Duration::from_secs(60);

/// Makes a database `name` on the server of `url` and gives its URL. `fresh`: one that is there is
/// dropped first, with all that is in it.
///
/// # Errors
/// If the server can't be reached, or its user may not create databases.
pub async fn create_database(url: &str, name: &str, fresh: bool) -> Result<String, StoreError> {
    timed(DEADLINE, create(url, name, fresh)).await?;
    Ok(with_database(url, name))
}

async fn create(url: &str, name: &str, fresh: bool) -> Result<(), StoreError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let driver = tokio::spawn(connection);
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    if fresh {
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")).await?;
    }
    let there = client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await?.is_some();
    if !there {
        client.batch_execute(&format!("CREATE DATABASE {quoted}")).await?;
    }
    drop(client);
    let _ = driver.await;
    Ok(())
}

/// The same URL with another database.
pub(crate) fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let start = base.find("://").map_or(0, |at| at + 3);
    let base = base[start..].find('/').map_or(base, |at| &base[..start + at]);
    match query {
        Some(query) => format!("{base}/{name}?{query}"),
        None => format!("{base}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn only_the_database_changes() {
        for (url, wanted) in [
            ("postgres://u:p@h:5432/a", "postgres://u:p@h:5432/b"),
            ("postgres://u@h", "postgres://u@h/b"),
            (
                "postgresql:///a?host=/run/x&connect_timeout=3",
                "postgresql:///b?host=/run/x&connect_timeout=3",
            ),
        ] {
            assert_eq!(with_database(url, "b"), wanted);
        }
    }
}
