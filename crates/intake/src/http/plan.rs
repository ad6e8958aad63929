//! Plans: what an order changes on each device, rendered as the scheduler would now.

use serde::Serialize;
use serde_json::Value;
use turnup_core::{
    id::{OrderId, ServiceId},
    name::{DefinitionName, DeviceName, PlatformName, RegionName},
    order::OrderKind,
    problem::{Fault, Problem},
};
use turnup_plan::{Footprint, PlanError, change};
use uuid::Uuid;

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    orders::find,
};
use crate::accept::decide::{Origin, Wanted};

/// What an order changes.
#[derive(Debug, Serialize)]
struct Plan {
    kind: OrderKind,
    definition: String,
    /// None: the order creates one.
    service_id: Option<ServiceId>,
    region: Option<RegionName>,
    devices: Vec<DevicePlan>,
}

/// What it changes on one device.
#[derive(Debug, Serialize)]
struct DevicePlan {
    device: DeviceName,
    platform: PlatformName,
    /// Content of `<config>` for edit-config.
    edit: String,
    /// The edit that undoes it.
    inverse: String,
    /// What the service owns there: after a provision, or before a decommission.
    footprint: String,
    /// Paths of what is its own.
    owned: Vec<String>,
}

fn unplannable(error: &PlanError) -> Problem {
    Problem::invalid(vec![Fault::new("", "no_plan", error.to_string())])
}

/// The plan of an order that was not accepted: `?dry_run=true`.
pub(super) async fn of_request(call: &Call, value: &Value, origin: &Origin) -> Answer {
    let (request, wanted) = call.app.acceptor.check(value, origin).await?;
    let order = OrderId(Uuid::now_v7());
    let devices = match request.kind {
        OrderKind::Provision => {
            let service = ServiceId(Uuid::now_v7());
            provision(call, order, service, &wanted)?
        }
        _ => remove(call, order, wanted.service).await?,
    };
    ok(&Plan {
        kind: request.kind,
        definition: wanted.definition,
        service_id: wanted.service,
        region: Some(wanted.region),
        devices,
    })
}

/// The plan of a stored order.
pub(super) async fn of_order(call: Call) -> Answer {
    let order = find(&call, call.order_id()?).await?;
    let devices = if order.kind == OrderKind::Provision {
        let named: Vec<&DeviceName> = order.endpoints.iter().map(|endpoint| &endpoint.device).collect();
        let inventory = call.app.inventory.with(&named).await?;
        let platform =
            |name: &&DeviceName| Some(((*name).clone(), inventory.devices.get(*name)?.platform.clone()));
        let region = RegionName::new(order.region.as_str())
            .map_err(|_| Problem::internal("the order's region is no region name"))?;
        let wanted = Wanted {
            definition: order.definition.clone(),
            definition_version: order.definition_version,
            service: Some(order.service_id),
            region,
            attributes: order.attributes.as_object().cloned().unwrap_or_default(),
            platforms: named.iter().filter_map(platform).collect(),
            devices: named.iter().map(|name| (*name).clone()).collect(),
            endpoints: order.endpoints.clone(),
        };
        provision(&call, order.id, order.service_id, &wanted)?
    } else {
        remove(&call, order.id, Some(order.service_id)).await?
    };
    ok(&Plan {
        kind: order.kind,
        definition: order.definition,
        service_id: Some(order.service_id),
        region: RegionName::new(order.region).ok(),
        devices,
    })
}

fn provision(
    call: &Call,
    order: OrderId,
    service: ServiceId,
    wanted: &Wanted,
) -> Result<Vec<DevicePlan>, Problem> {
    let name = DefinitionName::new(wanted.definition.as_str()).ok();
    let Some(definition) = name.as_ref().and_then(|name| call.app.catalogue.get(name)) else {
        let detail = format!("the definition {} is no longer in the catalogue", wanted.definition);
        return Err(Problem::invalid(vec![Fault::new("/definition", "unknown_definition", detail)]));
    };
    definition
        .footprints(service, &wanted.attributes, &wanted.endpoints, &wanted.platforms)
        .and_then(|footprints| {
            footprints.into_iter().map(|(device, new)| device_plan(order, device, None, Some(&new))).collect()
        })
        .map_err(|error| unplannable(&error))
}

async fn remove(call: &Call, order: OrderId, service: Option<ServiceId>) -> Result<Vec<DevicePlan>, Refusal> {
    let Some(service) = service else { return Ok(Vec::new()) };
    let rows = call.app.store.footprints(service).await?;
    if rows.is_empty() {
        let detail =
            format!("service {service} owns nothing on any device now, so there is nothing to remove");
        return Err(Problem::conflict(detail, Vec::new()).into());
    }
    let mut plans = Vec::with_capacity(rows.len());
    for row in rows {
        let footprint: Result<Footprint, _> = serde_json::from_value(row.footprint);
        let (Ok(device), Ok(old)) = (DeviceName::new(row.device.as_str()), footprint) else {
            tracing::error!(%service, device = row.device, "a stored footprint can't be read");
            return Err(Problem::internal("a stored footprint can't be read; the log says which").into());
        };
        plans.push(device_plan(order, device, Some(&old), None).map_err(|error| unplannable(&error))?);
    }
    Ok(plans)
}

fn device_plan(
    order: OrderId,
    device: DeviceName,
    old: Option<&Footprint>,
    new: Option<&Footprint>,
) -> Result<DevicePlan, PlanError> {
    let edit = change(order, old, new)?;
    let footprint = new.or(old).ok_or(PlanError::Nothing)?;
    Ok(DevicePlan {
        device,
        platform: footprint.platform().clone(),
        edit: edit.edit,
        inverse: edit.inverse,
        footprint: footprint.config().to_owned(),
        owned: footprint.owned_nodes(),
    })
}
