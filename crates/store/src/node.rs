use deadpool_postgres::Object;
use turnup_core::id::ServiceId;

use crate::{Store, StoreError, pool::statement};

/// A service that holds a node jointly with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The device.
    pub device: String,
    /// The node's path.
    pub node: String,
    /// The service.
    pub service: ServiceId,
    /// The value it wants there; none: the node has none.
    pub value: Option<String>,
}

impl Store {
    /// As [`crate::Starting::owners`], without a batch: what it says may have changed by the time it is read.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn owners(
        &self,
        nodes: &[(String, String)],
        around: &[(String, String)],
    ) -> Result<Vec<(String, String, ServiceId)>, StoreError> {
        self.timed(async { owners(&self.client().await?, nodes, around).await }).await
    }

    /// As [`crate::Starting::holders`], without a batch: what it says may have changed by the time it is read.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn holders(
        &self,
        nodes: &[(String, String)],
        within: &[(String, String)],
    ) -> Result<Vec<Holder>, StoreError> {
        self.timed(async { holders(&self.client().await?, nodes, within).await }).await
    }
}

fn columns(pairs: &[(String, String)]) -> (Vec<&str>, Vec<&str>) {
    pairs.iter().map(|(device, node)| (device.as_str(), node.as_str())).unzip()
}

pub(crate) async fn owners(
    client: &Object,
    nodes: &[(String, String)],
    around: &[(String, String)],
) -> Result<Vec<(String, String, ServiceId)>, StoreError> {
    if nodes.is_empty() && around.is_empty() {
        return Ok(Vec::new());
    }
    let (devices, paths) = columns(nodes);
    let (around_devices, around_paths) = columns(around);
    let statement = statement!(client, "owners");
    let rows = client.query(&statement, &[&devices, &paths, &around_devices, &around_paths]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), ServiceId(row.get(2)))).collect())
}

pub(crate) async fn holders(
    client: &Object,
    nodes: &[(String, String)],
    within: &[(String, String)],
) -> Result<Vec<Holder>, StoreError> {
    if nodes.is_empty() && within.is_empty() {
        return Ok(Vec::new());
    }
    let (devices, paths) = columns(nodes);
    let (within_devices, within_paths) = columns(within);
    let statement = statement!(client, "holders");
    let rows = client.query(&statement, &[&devices, &paths, &within_devices, &within_paths]).await?;
    let holder = |row: &tokio_postgres::Row| Holder {
        device: row.get(0),
        node: row.get(1),
        service: ServiceId(row.get(2)),
        value: row.get(3),
    };
    Ok(rows.iter().map(holder).collect())
}
