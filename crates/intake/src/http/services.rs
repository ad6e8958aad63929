//! Services: what completed orders left in the network.

use serde_json::{Value, json};
use turnup_core::{audit::ConfigAudit, event, name::DeviceName, order::OrderKind, problem::Problem};
use turnup_store::{IdOf, OrderFilter, ServiceFilter, ServiceView};

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    filter::check_names,
    resolve,
};
use crate::refusal;

/// Most orders shown with a service, the newest.
const MAX_ORDERS: i64 = 100;

pub(super) async fn list(call: Call) -> Answer {
    let query = &call.query;
    let filter = ServiceFilter {
        state: query.parsed("state")?,
        audit_state: query.parsed("audit_state")?,
        config_audit: query.parsed("config_audit")?,
        definition: query.text("definition")?,
        region: query.text("region")?,
        device: query.parsed::<DeviceName>("device")?.map(String::from),
        external_id: query.text("external_id")?,
        limit: query.limit()?,
        before: query.parsed("cursor")?,
    };
    let page = call.app.store.services(&filter).await?;
    if page.items.is_empty() {
        let (region, device) = (filter.region.as_deref(), filter.device.as_deref());
        check_names(&call, region, device, filter.definition.as_deref()).await?;
    }
    ok(&page)
}

async fn find(call: &Call) -> Result<ServiceView, Refusal> {
    let id = resolve::service_id(call).await?;
    match call.app.store.service(id).await? {
        Some(service) => Ok(service),
        None => Err(resolve::missing(call, IdOf::Service, id.0).await?.into()),
    }
}

pub(super) async fn show(call: Call) -> Answer {
    let service = find(&call).await?;
    let filter = OrderFilter { service_id: Some(service.id), limit: MAX_ORDERS, ..OrderFilter::default() };
    let orders = call.app.store.orders(&filter).await?;
    let orders: Vec<Value> = orders
        .items
        .iter()
        .map(|order| {
            json!({
                "id": order.id, "kind": order.kind, "state": order.state,
                "created_at": event::time(order.created_at), "updated_at": event::time(order.updated_at),
            })
        })
        .collect();
    let mut body = serde_json::to_value(&service)
        .map_err(|_| Problem::internal("the service could not be written as JSON"))?;
    body["orders"] = Value::from(orders);
    let rows = call.app.store.footprints(service.id).await?;
    let in_force = rows.iter().map(|row| json!({"device": row.device, "in_force": row.in_force}));
    body["in_force"] = in_force.collect();
    ok(&body)
}

pub(super) async fn config(call: Call) -> Answer {
    let service = find(&call).await?;
    let devices = call.app.store.footprints(service.id).await?;
    ok(&json!({"service_id": service.id, "devices": devices}))
}

/// The last audit.
pub(super) async fn audit(call: Call) -> Answer {
    let service = find(&call).await?;
    let Some(audit) = call.app.store.audit(service.id).await? else {
        return Err(refusal::not_audited(service.id).into());
    };
    let proposed = match audit.config {
        ConfigAudit::Drifted => json!({"kind": OrderKind::Redeploy, "service_id": service.id}),
        ConfigAudit::NotAudited | ConfigAudit::InSync | ConfigAudit::Unreachable => Value::Null,
    };
    ok(&json!({
        "order": audit.order, "at": event::time(audit.at), "state": audit.state, "config": audit.config,
        "reason": audit.reason, "devices": audit.devices, "proposed": proposed,
    }))
}
