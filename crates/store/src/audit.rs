use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use turnup_core::{
    audit::ConfigAudit,
    id::{OrderId, ServiceId},
    lifecycle::AuditState,
};
use uuid::Uuid;

use crate::{
    NewOrder, ServiceView, Store, StoreError, accept,
    order::time,
    pool::{Tx, statement},
    service,
};

/// Services that get their first time in one round.
const FIRST_TIMES: i64 = 10_000;

/// A service's last audit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditView {
    /// The validate order.
    pub order: OrderId,
    /// When it was carried out.
    #[serde(serialize_with = "time")]
    pub at: Timestamp,
    /// Whether the service works; `not_audited` if that was not looked at.
    pub state: AuditState,
    /// Whether its configuration is as it should be; `not_audited` if that was not looked at.
    pub config: ConfigAudit,
    /// The first reason for a bad result.
    pub reason: Option<String>,
    /// What was found, device by device.
    pub devices: Value,
}

impl Store {
    /// The last audit of a service.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn audit(&self, service: ServiceId) -> Result<Option<AuditView>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "audit");
            let row = client.query_opt(&statement, &[&service.0]).await?;
            row.map(|row| {
                Ok(AuditView {
                    order: OrderId(row.get("order_id")),
                    at: row.get("at"),
                    state: row.get::<_, &str>("state").parse()?,
                    config: row.get::<_, &str>("config").parse()?,
                    reason: row.get("reason"),
                    devices: row.get("devices"),
                })
            })
            .transpose()
        })
        .await
    }

    /// Takes services whose periodic audit is due, at most `limit` and one per device, sets when they
    /// are due next, and stores the validate orders that `make` gives for them: all in one transaction,
    /// so that a crash neither loses a period nor makes two orders. `definitions`: which are audited by
    /// themselves, and every how many seconds. A service's period begins at a fraction of it that its
    /// id decides, and varies by ± 10 %. One with an unfinished validate order waits for its end. Gives
    /// the orders that were stored. `reach_ms`: how far ahead the delay ladder reaches.
    ///
    /// # Errors
    /// If the database is away, or refuses the orders: then nothing has happened, or all of it.
    pub async fn take_due_audits(
        &self,
        definitions: &[(String, u64)],
        limit: i64,
        now: Timestamp,
        reach_ms: i64,
        make: impl FnOnce(&[ServiceView]) -> Vec<NewOrder> + Send,
    ) -> Result<Vec<OrderId>, StoreError> {
        if definitions.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = definitions.iter().map(|(name, _)| name.as_str()).collect();
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let every: Vec<f64> = definitions.iter().map(|(_, every_s)| (*every_s).max(1) as f64).collect();
        self.timed(async {
            let tx = Tx::begin_by_key(self).await?;
            let client = tx.client()?;
            let assign = statement!(client, "audits_assign");
            client.execute(&assign, &[&names, &every, &now, &FIRST_TIMES]).await?;
            let due = statement!(client, "audits_due");
            let rows = client.query(&due, &[&names, &now, &limit.max(0)]).await?;
            let chosen = one_per_device(rows.iter().map(|row| (row.get(0), row.get(1))));
            let mut services = Vec::new();
            if !chosen.is_empty() {
                let take = statement!(client, "audits_take");
                for row in client.query(&take, &[&chosen, &names, &every, &now]).await? {
                    services.push(service::view(&row)?);
                }
            }
            let orders = if services.is_empty() { Vec::new() } else { make(&services) };
            let answers = accept::store(client, &orders, reach_ms).await?;
            tx.commit().await?;
            let stored = orders.iter().zip(answers).filter(|(_, answer)| answer.is_created());
            Ok(stored.map(|(order, _)| order.facts.id).collect())
        })
        .await
    }
}

/// Those, in their order, that share no device with one before.
fn one_per_device(due: impl Iterator<Item = (Uuid, Vec<String>)>) -> Vec<Uuid> {
    let mut taken: HashSet<String> = HashSet::new();
    let mut chosen = Vec::new();
    for (service, devices) in due {
        if !devices.iter().any(|device| taken.contains(device)) {
            taken.extend(devices);
            chosen.push(service);
        }
    }
    chosen
}
