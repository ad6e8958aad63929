use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use turnup_core::{
    audit::ConfigAudit,
    id::{OrderId, ServiceId},
    lifecycle::{AuditState, ServiceState},
    message::InForce,
    order::Endpoint,
};

use crate::{
    Page, Store, StoreError,
    order::{optional_time, time},
    pool::statement,
};

/// A service as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ServiceView {
    /// Its id.
    pub id: ServiceId,
    /// Service definition.
    pub definition: String,
    /// Version of the definition.
    pub definition_version: i32,
    /// Region of its devices, or `multi`.
    pub region: String,
    /// Attributes in force or wanted.
    pub attributes: Value,
    /// Where it touches devices.
    pub endpoints: Vec<Endpoint>,
    /// Its devices.
    pub devices: Vec<String>,
    /// External id of the provision order.
    pub external_id: Option<String>,
    /// Who ordered it.
    pub requester: String,
    /// State.
    pub state: ServiceState,
    /// What the audits say.
    pub audit_state: AuditState,
    /// What the config audits say.
    pub config_audit: ConfigAudit,
    /// When it was last audited.
    #[serde(serialize_with = "optional_time")]
    pub audited_at: Option<Timestamp>,
    /// Why the audit says so.
    pub audit_reason: Option<String>,
    /// When it is audited next by itself; none: its definition has no such audits, or none yet.
    #[serde(serialize_with = "optional_time")]
    pub next_audit_at: Option<Timestamp>,
    /// The order whose attributes are in force.
    pub wanted_by: OrderId,
    /// The order that changed it last.
    pub last_order: OrderId,
    /// When it came to be.
    #[serde(serialize_with = "time")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "time")]
    pub updated_at: Timestamp,
}

/// What a service owns on one device.
#[derive(Debug, Clone, Serialize)]
pub struct FootprintRow {
    /// The device.
    pub device: String,
    /// The footprint as the planner wrote it; null: none is in force.
    pub footprint: Value,
    /// Whether an attempt has left the device with that one, or another, or it is not known.
    pub in_force: InForce,
    /// Footprints of failed attempts that may be on the device.
    pub strays: Vec<Value>,
}

/// Which services to list.
#[derive(Debug, Clone, Default)]
pub struct ServiceFilter {
    /// In this state.
    pub state: Option<ServiceState>,
    /// Of this definition.
    pub definition: Option<String>,
    /// In this region.
    pub region: Option<String>,
    /// On this device.
    pub device: Option<String>,
    /// Of which the audits say this.
    pub audit_state: Option<AuditState>,
    /// Of which the config audits say this.
    pub config_audit: Option<ConfigAudit>,
    /// With this external id.
    pub external_id: Option<String>,
    /// At most so many (1 to 1000).
    pub limit: i64,
    /// Only services with a smaller id: the cursor of the page before.
    pub before: Option<ServiceId>,
}

pub(crate) fn view(row: &Row) -> Result<ServiceView, StoreError> {
    Ok(ServiceView {
        id: ServiceId(row.get("id")),
        definition: row.get("definition"),
        definition_version: row.get("definition_version"),
        region: row.get("region"),
        attributes: row.get("attributes"),
        endpoints: serde_json::from_value(row.get("endpoints"))?,
        devices: row.get("devices"),
        external_id: row.get("external_id"),
        requester: row.get("requester"),
        state: row.get::<_, &str>("state").parse()?,
        audit_state: row.get::<_, &str>("audit_state").parse()?,
        audited_at: row.get("audited_at"),
        audit_reason: row.get("audit_reason"),
        config_audit: row.get::<_, &str>("config_audit").parse()?,
        next_audit_at: row.get("next_audit_at"),
        wanted_by: OrderId(row.get("wanted_by")),
        last_order: OrderId(row.get("last_order")),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}

impl Store {
    /// One service.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn service(&self, id: ServiceId) -> Result<Option<ServiceView>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "service");
            client.query_opt(&statement, &[&id.0]).await?.as_ref().map(view).transpose()
        })
        .await
    }

    /// Lists services, newest first.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn services(&self, filter: &ServiceFilter) -> Result<Page<ServiceView>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "services");
            let limit = filter.limit.clamp(1, 1000);
            let state = filter.state.map(ServiceState::word);
            let before = filter.before.map(|id| id.0);
            let rows = client
                .query(
                    &statement,
                    &[
                        &state,
                        &filter.definition,
                        &filter.region,
                        &filter.device,
                        &before,
                        &(limit + 1),
                        &filter.audit_state.map(AuditState::word),
                        &filter.config_audit.map(ConfigAudit::word),
                        &filter.external_id,
                    ],
                )
                .await?;
            let mut items = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
            let more = i64::try_from(items.len()).is_ok_and(|len| len > limit);
            if more {
                items.pop();
            }
            let next_cursor = items.last().filter(|_| more).map(|service| service.id.to_string());
            Ok(Page { items, next_cursor })
        })
        .await
    }

    /// What a service owns, device by device.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn footprints(&self, id: ServiceId) -> Result<Vec<FootprintRow>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "footprints");
            let rows = client.query(&statement, &[&id.0]).await?;
            rows.iter()
                .map(|row| {
                    Ok(FootprintRow {
                        device: row.get("device"),
                        footprint: row.get("footprint"),
                        in_force: row.get::<_, &str>("in_force").parse()?,
                        strays: serde_json::from_value(row.get("strays"))?,
                    })
                })
                .collect()
        })
        .await
    }
}
