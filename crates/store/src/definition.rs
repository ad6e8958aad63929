use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::{Row, types::Json};
use turnup_core::retry::RetryChanges;

use crate::{
    Store, StoreError,
    order::time,
    pool::{Tx, statement},
};

/// A version of a service definition that is to be published.
#[derive(Debug, Clone)]
pub struct NewDefinition {
    /// Its name.
    pub name: String,
    /// The version.
    pub version: i32,
    /// For people.
    pub title: String,
    /// Its files, path → text.
    pub files: Value,
    /// SHA-256 of the files, to tell another content from the same.
    pub digest: [u8; 32],
    /// What it says about trying orders again.
    pub retry: RetryChanges,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is published now.
    New,
    /// It was before, with this content.
    Same,
    /// This version was published before with another content, which stays.
    Differs,
}

/// A published version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredDefinition {
    /// Place among all that were published, rising.
    pub seq: i64,
    /// Its name.
    pub name: String,
    /// The version.
    pub version: i32,
    /// For people.
    pub title: String,
    /// Its files, path → text.
    pub files: Value,
    /// SHA-256 of the files.
    #[serde(skip)]
    pub digest: Vec<u8>,
    /// When it was published.
    #[serde(serialize_with = "time")]
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: String,
}

/// A published version without its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DefinitionRow {
    /// Its name.
    pub name: String,
    /// The version.
    pub version: i32,
    /// For people.
    pub title: String,
    /// When it was published.
    #[serde(serialize_with = "time")]
    pub published_at: Timestamp,
    /// By whom.
    pub published_by: String,
}

fn view(row: &Row) -> StoredDefinition {
    StoredDefinition {
        seq: row.get("seq"),
        name: row.get("name"),
        version: row.get("version"),
        title: row.get("title"),
        files: row.get("files"),
        digest: row.get("digest"),
        published_at: row.get("published_at"),
        published_by: row.get("published_by"),
    }
}

impl Store {
    /// Publishes versions of definitions; answers in the order given. A published one never changes.
    /// Whoever listens on [`crate::Channel::Catalogue`] is woken.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn publish(
        &self,
        definitions: &[NewDefinition],
        by: &str,
        now: Timestamp,
    ) -> Result<Vec<Published>, StoreError> {
        if definitions.is_empty() {
            return Ok(Vec::new());
        }
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            // One after the other: who has read up to a number must not miss a smaller one later.
            client.batch_execute("LOCK TABLE definitions IN SHARE ROW EXCLUSIVE MODE").await?;
            let names: Vec<&str> = definitions.iter().map(|d| d.name.as_str()).collect();
            let versions: Vec<i32> = definitions.iter().map(|d| d.version).collect();
            let titles: Vec<&str> = definitions.iter().map(|d| d.title.as_str()).collect();
            let files: Vec<Json<&Value>> = definitions.iter().map(|d| Json(&d.files)).collect();
            let digests: Vec<&[u8]> = definitions.iter().map(|d| d.digest.as_slice()).collect();
            let retries: Vec<Json<&RetryChanges>> = definitions.iter().map(|d| Json(&d.retry)).collect();
            let publish = statement!(client, "publish");
            let rows = client
                .query(&publish, &[&names, &versions, &titles, &files, &digests, &now, &by, &retries])
                .await?;
            let mut new: HashSet<(String, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            if !new.is_empty() {
                client.batch_execute("NOTIFY turnup_catalogue").await?;
            }
            let published = statement!(client, "published_digests");
            let stored: HashMap<(String, i32), Vec<u8>> = client
                .query(&published, &[&names, &versions])
                .await?
                .iter()
                .map(|row| ((row.get(0), row.get(1)), row.get(2)))
                .collect();
            tx.commit().await?;
            // Taken out, so that of two with one version the first counts as new.
            let answer = |definition: &NewDefinition| {
                let key = (definition.name.clone(), definition.version);
                if new.remove(&key) {
                    Published::New
                } else if stored.get(&key).is_some_and(|digest| *digest == definition.digest) {
                    Published::Same
                } else {
                    Published::Differs
                }
            };
            Ok(definitions.iter().map(answer).collect())
        })
        .await
    }

    /// What was published after `seq`, at most 100, in that order: ask again with the last one's until
    /// nothing comes.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn definitions_after(&self, seq: i64) -> Result<Vec<StoredDefinition>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "definitions_after");
            Ok(client.query(&statement, &[&seq]).await?.iter().map(view).collect())
        })
        .await
    }

    /// A published version; none: the newest one.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn definition(
        &self,
        name: &str,
        version: Option<i32>,
    ) -> Result<Option<StoredDefinition>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "definition");
            Ok(client.query_opt(&statement, &[&name, &version]).await?.as_ref().map(view))
        })
        .await
    }

    /// All published versions, by name and version.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn definitions(&self) -> Result<Vec<DefinitionRow>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "definitions");
            let row = |row: &Row| DefinitionRow {
                name: row.get("name"),
                version: row.get("version"),
                title: row.get("title"),
                published_at: row.get("published_at"),
                published_by: row.get("published_by"),
            };
            Ok(client.query(&statement, &[]).await?.iter().map(row).collect())
        })
        .await
    }
}
