use std::collections::BTreeMap;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use turnup_core::ask::SchemaText;

use crate::{
    Store, StoreError,
    pool::{Tx, statement},
};

/// The decision to leave a YANG module out of a platform's set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredModule {
    /// The module.
    pub name: String,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Keeps YANG modules of a platform: those of another revision stay beside, one of the same name and
    /// revision takes the place of the former. Says whether anything is new: then the platform's number
    /// in [`Store::module_versions`] has risen, and [`crate::Channel::Catalogue`] is woken.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn keep_modules(
        &self,
        platform: &str,
        modules: &[SchemaText],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if modules.is_empty() {
            return Ok(false);
        }
        // Each once: of two the later one.
        let modules: BTreeMap<(&str, &str), &str> = modules
            .iter()
            .map(|module| ((module.name.as_str(), module.revision.as_deref().unwrap_or("")), &*module.text))
            .collect();
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let names: Vec<&str> = modules.keys().map(|(name, _)| *name).collect();
            let revisions: Vec<&str> = modules.keys().map(|(_, revision)| *revision).collect();
            let texts: Vec<&str> = modules.values().copied().collect();
            let digests: Vec<Vec<u8>> = texts.iter().map(|text| Sha256::digest(text).to_vec()).collect();
            let keep = statement!(client, "keep_module_texts");
            client.execute(&keep, &[&names, &revisions, &digests, &texts]).await?;
            let keep = statement!(client, "keep_platform_modules");
            let changed = client.execute(&keep, &[&platform, &names, &revisions, &digests]).await? > 0;
            if changed {
                let bump = statement!(client, "bump_platform");
                client.execute(&bump, &[&platform, &now]).await?;
                client.batch_execute("NOTIFY turnup_catalogue").await?;
            }
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    /// The YANG modules of a platform, by name and revision.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn modules(&self, platform: &str) -> Result<Vec<SchemaText>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "modules");
            let module = |row: &tokio_postgres::Row| SchemaText {
                name: row.get(0),
                revision: revision(row.get(1)),
                text: row.get(2),
            };
            Ok(client.query(&statement, &[&platform]).await?.iter().map(module).collect())
        })
        .await
    }

    /// Names and revisions of a platform's YANG modules.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn known_modules(&self, platform: &str) -> Result<Vec<(String, Option<String>)>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "known_modules");
            let rows = client.query(&statement, &[&platform]).await?;
            Ok(rows.iter().map(|row| (row.get(0), revision(row.get(1)))).collect())
        })
        .await
    }

    /// The modules that are left out of a platform's set by decision, by name.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn ignored_modules(&self, platform: &str) -> Result<Vec<IgnoredModule>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "ignored_modules");
            let rows = client.query(&statement, &[&platform]).await?;
            let ignored = |row: &tokio_postgres::Row| IgnoredModule {
                name: row.get(0),
                by: row.get(1),
                at: row.get(2),
            };
            Ok(rows.iter().map(ignored).collect())
        })
        .await
    }

    /// Leaves modules out of a platform's set, and takes earlier decisions back. Says whether that changes anything: then
    /// the platform's number in [`Store::module_versions`] has risen.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn ignore_modules(
        &self,
        platform: &str,
        ignore: &[String],
        use_again: &[String],
        by: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if ignore.is_empty() && use_again.is_empty() {
            return Ok(false);
        }
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let statement = statement!(client, "ignore_modules");
            let mut changed = client.execute(&statement, &[&platform, &ignore, &by, &now]).await?;
            let statement = statement!(client, "use_modules");
            changed += client.execute(&statement, &[&platform, &use_again]).await?;
            if changed > 0 {
                let bump = statement!(client, "bump_platform");
                client.execute(&bump, &[&platform, &now]).await?;
                client.batch_execute("NOTIFY turnup_catalogue").await?;
            }
            tx.commit().await?;
            Ok(changed > 0)
        })
        .await
    }

    /// A number for each platform that has modules here, which rises with every change of them.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn module_versions(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "module_versions");
            Ok(client.query(&statement, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
        .await
    }
}

fn revision(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
