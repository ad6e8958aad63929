//! Which ids begin so, or belong to an external id.

use uuid::Uuid;

use crate::{Store, StoreError, pool::statement};

/// What an id is looked for among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdOf {
    /// Orders.
    Order,
    /// Services.
    Service,
    /// Deployments.
    Deployment,
}

impl Store {
    /// The ids from `first` to `last`, at most `limit`.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn ids_between(
        &self,
        of: IdOf,
        (first, last): (Uuid, Uuid),
        limit: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = match of {
                IdOf::Order => statement!(client, "orders_between"),
                IdOf::Service => statement!(client, "services_between"),
                IdOf::Deployment => statement!(client, "deployments_between"),
            };
            let rows = client.query(&statement, &[&first, &last, &limit]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
        .await
    }

    /// The ids of orders or services with an external id, newest first, at most `limit`. Of an order and its
    /// corrections only the last; several have the same one only from different requesters.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn ids_with_external_id(
        &self,
        of: IdOf,
        external_id: &str,
        limit: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = match of {
                IdOf::Order => statement!(client, "orders_with_external_id"),
                IdOf::Service => statement!(client, "services_with_external_id"),
                IdOf::Deployment => return Ok(Vec::new()),
            };
            let rows = client.query(&statement, &[&external_id, &limit]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        })
        .await
    }
}
