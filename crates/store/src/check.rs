use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::Json;
use turnup_core::name::DeviceName;

use crate::{Store, StoreError, order::time, pool::statement};

/// What the last check of a device found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckView {
    /// The device.
    pub device: DeviceName,
    /// When.
    #[serde(serialize_with = "time")]
    pub at: Timestamp,
    /// The worker that asked it.
    pub worker: String,
    /// What was found.
    pub result: Value,
}

impl Store {
    /// Keeps what a check of a device found, unless a later one is kept or the device is gone.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn keep_check(
        &self,
        device: &DeviceName,
        worker: &str,
        result: &Value,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "keep_check");
            client.execute(&statement, &[&device.as_str(), &at, &worker, &Json(result)]).await?;
            Ok(())
        })
        .await
    }

    /// What the last check of a device found.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn check_of(&self, device: &DeviceName) -> Result<Option<CheckView>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "check_of");
            let row = client.query_opt(&statement, &[&device.as_str()]).await?;
            row.map(|row| {
                Ok(CheckView {
                    device: DeviceName::new(row.get::<_, String>(0))?,
                    at: row.get(1),
                    worker: row.get(2),
                    result: row.get(3),
                })
            })
            .transpose()
        })
        .await
    }
}
