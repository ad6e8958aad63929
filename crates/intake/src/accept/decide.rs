//! Whether an order can be accepted: pure, over what was looked up for it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use turnup_core::{
    event::{self, OrderFacts},
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    name::{DefinitionName, DeviceName, PlatformName, RegionName, near_misses},
    order::{Endpoint, OrderKind, OrderRequest},
    problem::{Fault, pointer_to},
};
use turnup_plan::Catalogue;
use turnup_store::{Entry, HistoryEntry, NewOrder, OrderView, ServiceView};
use uuid::Uuid;

use crate::inventory::Snapshot;

/// What was looked up for an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) inventory: &'a Snapshot,
    /// The service that the order names, if there is one.
    pub(crate) service: Option<&'a ServiceView>,
}

/// What an order that can be accepted wants, complete.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) definition: String,
    pub(crate) definition_version: i32,
    /// None: a new one.
    pub(crate) service: Option<ServiceId>,
    pub(crate) region: RegionName,
    pub(crate) attributes: Map<String, Value>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Sorted, each once.
    pub(crate) devices: BTreeSet<DeviceName>,
    pub(crate) platforms: BTreeMap<DeviceName, PlatformName>,
}

/// Checks an order against what is known.
///
/// # Errors
/// Every fault found.
pub(crate) fn decide(request: &OrderRequest, lookup: &Lookup<'_>) -> Result<Wanted, Vec<Fault>> {
    match request.kind {
        OrderKind::Provision => provision(request, lookup),
        OrderKind::Decommission => decommission(request, lookup),
        // `OrderRequest::parse` refuses them already.
        OrderKind::Modify | OrderKind::Redeploy | OrderKind::Validate => Err(vec![Fault::new(
            "/kind",
            "unsupported_kind",
            format!("{} orders are not supported by this release", request.kind),
        )]),
    }
}

fn provision(request: &OrderRequest, lookup: &Lookup<'_>) -> Result<Wanted, Vec<Fault>> {
    let mut faults = unknown_devices(request, lookup.inventory);
    let definition = request.definition.as_ref().and_then(|name| lookup.catalogue.get(name));
    let Some(definition) = definition else {
        faults.insert(0, unknown_definition(request.definition.as_ref(), lookup.catalogue));
        return Err(faults);
    };
    let platform_of = |name: &DeviceName| Some(lookup.inventory.devices.get(name)?.platform.clone());
    let checked = match definition.check(&request.attributes, &request.endpoints, platform_of) {
        Ok(checked) => checked,
        Err(found) => {
            // Ours name the near misses.
            faults.extend(found.into_iter().filter(|fault| fault.code != "unknown_device"));
            return Err(faults);
        }
    };
    let devices: BTreeSet<DeviceName> =
        checked.endpoints.iter().map(|endpoint| endpoint.device.clone()).collect();
    let region = one_region(&devices, lookup.inventory, "/endpoints").map_err(|fault| vec![fault])?;
    Ok(Wanted {
        definition: definition.name().to_string(),
        definition_version: i32::try_from(definition.version()).unwrap_or(i32::MAX),
        service: None,
        region,
        attributes: checked.attributes,
        endpoints: checked.endpoints,
        devices,
        platforms: checked.platforms,
    })
}

fn decommission(request: &OrderRequest, lookup: &Lookup<'_>) -> Result<Wanted, Vec<Fault>> {
    let Some(service) = lookup.service else {
        let id = request.service_id.map(|id| id.to_string()).unwrap_or_default();
        let detail = format!("there is no service {id}; list them with 'turnup service list'");
        return Err(vec![Fault::new("/service_id", "unknown_service", detail)]);
    };
    let mut faults = Vec::new();
    if let Some(given) = request.definition.as_ref().filter(|given| given.as_str() != service.definition) {
        let detail =
            format!("the service is of definition {}, not {given}; leave it out", service.definition);
        faults.push(Fault::new("/definition", "wrong_definition", detail));
    }
    let mut devices = BTreeSet::new();
    for name in &service.devices {
        match DeviceName::new(name.as_str()) {
            Ok(device) if lookup.inventory.devices.contains_key(&device) => {
                devices.insert(device);
            }
            _ => faults.push(Fault::new(
                "/service_id",
                "unknown_device",
                format!("the service is on device {name}, which is not in the inventory; add it again"),
            )),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let region = one_region(&devices, lookup.inventory, "/service_id").map_err(|fault| vec![fault])?;
    let platforms = devices
        .iter()
        .filter_map(|name| Some((name.clone(), lookup.inventory.devices.get(name)?.platform.clone())))
        .collect();
    let attributes = service.attributes.as_object().cloned().unwrap_or_default();
    Ok(Wanted {
        definition: service.definition.clone(),
        definition_version: service.definition_version,
        service: Some(service.id),
        region,
        attributes,
        endpoints: service.endpoints.clone(),
        devices,
        platforms,
    })
}

fn unknown_definition(given: Option<&DefinitionName>, catalogue: &Catalogue) -> Fault {
    let given = given.map(DefinitionName::as_str).unwrap_or_default();
    let known: Vec<&str> = catalogue.names().map(DefinitionName::as_str).collect();
    let near = near_misses(given, known.iter().copied());
    let hint = match (near.is_empty(), known.len()) {
        (false, _) => format!("did you mean {}?", near.join(", ")),
        (true, 0) => "the catalogue is empty".to_owned(),
        (true, 1..=20) => format!("there are {}", known.join(", ")),
        (true, _) => "list them with 'turnup definition list'".to_owned(),
    };
    Fault::new(
        "/definition",
        "unknown_definition",
        format!("there is no service definition {given:?}; {hint}"),
    )
}

fn unknown_devices(request: &OrderRequest, inventory: &Snapshot) -> Vec<Fault> {
    let endpoints = request.endpoints.iter().enumerate();
    endpoints
        .filter(|(_, endpoint)| !inventory.devices.contains_key(&endpoint.device))
        .map(|(i, endpoint)| {
            let at = format!("/endpoints/{i}/device");
            Fault::new(at, "unknown_device", inventory.unknown(&endpoint.device))
        })
        .collect()
}

/// The region of the devices, all of which are in the inventory.
fn one_region(
    devices: &BTreeSet<DeviceName>,
    inventory: &Snapshot,
    pointer: &str,
) -> Result<RegionName, Fault> {
    let regions: BTreeSet<&RegionName> =
        devices.iter().filter_map(|name| Some(&inventory.devices.get(name)?.region)).collect();
    let mut found = regions.iter();
    match (found.next(), found.next()) {
        (Some(region), None) => Ok((*region).clone()),
        (None, _) => {
            Err(Fault::new(pointer, "missing_endpoint", "the order touches no device; add an endpoint"))
        }
        (Some(_), Some(_)) => {
            let names: Vec<&str> = regions.iter().map(|region| region.as_str()).collect();
            Err(Fault::new(
                pointer,
                "several_regions",
                format!(
                    "this release deploys an order's devices in one region, these are in {}; make one order per region",
                    names.join(", ")
                ),
            ))
        }
    }
}

/// Without those faulty parts that nothing else depends on, so that one answer can name the faults
/// that need looking up as well. None: what is left could not be checked.
pub(crate) fn without_faults(value: &Value, faults: &[Fault]) -> Option<Value> {
    const ALONE: [&str; 4] = ["/schedule", "/external_id", "/description", "/priority"];
    let mut value = value.clone();
    for fault in faults {
        if fault.code != "unknown_field" && !ALONE.contains(&fault.pointer.as_str()) {
            return None;
        }
        let (parent, token) = fault.pointer.rsplit_once('/')?;
        let token = token.replace("~1", "/").replace("~0", "~");
        debug_assert_eq!(pointer_to(parent, &token), fault.pointer);
        value.pointer_mut(parent)?.as_object_mut()?.remove(&token);
    }
    Some(value)
}

/// Where an order comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Who orders.
    pub(crate) requester: String,
    /// The client's idempotency key.
    pub(crate) key: Option<String>,
    /// The Invalid order that it corrects.
    pub(crate) derived_from: Option<OrderId>,
}

/// New ids for an order, made outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) order: OrderId,
    pub(crate) service: ServiceId,
    pub(crate) requested: Uuid,
    pub(crate) scheduled: Uuid,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self {
            order: OrderId(Uuid::now_v7()),
            service: ServiceId(Uuid::now_v7()),
            requested: Uuid::now_v7(),
            scheduled: Uuid::now_v7(),
        }
    }
}

/// The order as it is to be stored, with its first log entries.
pub(crate) fn new_order(
    request: OrderRequest,
    wanted: Wanted,
    origin: Origin,
    ids: Ids,
    now: Timestamp,
) -> NewOrder {
    let facts = OrderFacts {
        id: ids.order,
        kind: request.kind,
        definition: wanted.definition,
        service_id: wanted.service.unwrap_or(ids.service),
        region: wanted.region.to_string(),
        external_id: request.external_id,
        requester: origin.requester,
    };
    let due = request.schedule.map(|schedule| schedule.due(now));
    let entry = |id, sequence, from, to, more| Entry {
        event: facts.event(id, sequence, to, now, more),
        change: Some((from, to)),
        why: None,
        by: facts.requester.clone(),
    };
    let mut entries = vec![entry(ids.requested, 1, None, OrderState::Requested, json!({}))];
    if let Some(due) = due {
        let more = json!({"scheduled_for": event::time(due)});
        entries.push(entry(ids.scheduled, 2, Some(OrderState::Requested), OrderState::Scheduled, more));
    }
    NewOrder {
        facts,
        definition_version: wanted.definition_version,
        attributes: wanted.attributes,
        endpoints: wanted.endpoints,
        devices: wanted.devices.into_iter().map(String::from).collect(),
        priority: request.priority,
        description: request.description,
        idempotency_key: origin.key,
        digest: request.digest,
        derived_from: origin.derived_from,
        due,
        at: now,
        entries,
    }
}

/// The order as it was stored, without asking the database again.
pub(crate) fn view(order: NewOrder) -> OrderView {
    let state = if order.due.is_some() { OrderState::Scheduled } else { OrderState::Requested };
    let history: Vec<HistoryEntry> = order
        .entries
        .iter()
        .filter_map(|entry| {
            let (from, to) = entry.change?;
            let (why, by) = (entry.why.clone(), entry.by.clone());
            Some(HistoryEntry { seq: entry.event.sequence, from, to, at: entry.event.at, why, by })
        })
        .collect();
    OrderView {
        id: order.facts.id,
        kind: order.facts.kind,
        definition: order.facts.definition,
        definition_version: order.definition_version,
        service_id: order.facts.service_id,
        region: order.facts.region,
        attributes: Value::Object(order.attributes),
        endpoints: order.endpoints,
        devices: order.devices,
        priority: order.priority,
        external_id: order.facts.external_id,
        description: order.description,
        requester: order.facts.requester,
        derived_from: order.derived_from,
        state,
        schedule_revision: i32::from(order.due.is_some()),
        scheduled_for: order.due,
        generation: 0,
        sequence: history.last().map_or(0, |entry| entry.seq),
        errors: Vec::new(),
        waiting_for: Vec::new(),
        created_at: order.at,
        updated_at: order.at,
        actions: state.legal_actions(),
        deployments: Some(Vec::new()),
        history: Some(history),
    }
}
