//! Plans, made as the scheduler makes them: from what the service has and is to have, and from what others
//! have there. Nothing is reserved and nothing is sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use turnup_core::{
    failure::Failure,
    id::{OrderId, ServiceId},
    message::InForce,
    name::{DefinitionName, DeviceName, PlatformName},
    order::OrderKind,
    problem::{Fault, Problem},
};
use turnup_library::Library;
use turnup_plan::{Catalogue, Draft, Footprint, Holder, Plan, Present, Yang};
use turnup_store::{FootprintRow, Store};
use uuid::Uuid;

use crate::{accept::decide::Wanted, refusal};

/// What is to be planned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) kind: OrderKind,
    pub(crate) order: OrderId,
    /// The service; none: one that has no id yet.
    pub(crate) service: Option<ServiceId>,
    /// What it is to have, complete.
    pub(crate) wanted: &'a Wanted,
}

/// A plan, and what it was made from.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// See [`Plan::hash`]: of a provision the one with the nil UUID for the service.
    pub(crate) hash: String,
    /// What the service has now.
    pub(crate) present: BTreeMap<DeviceName, Present>,
    /// Every platform of the plan, and with how many YANG modules it was checked; none: it was not.
    pub(crate) platforms: BTreeMap<PlatformName, Option<usize>>,
}

/// Makes the plan.
///
/// # Errors
/// 422 with what the scheduler would make the order Invalid for; 409 if there is nothing to do it with; 503.
pub(crate) async fn plan(store: &Store, library: &Library, task: Task<'_>) -> Result<Planned, Problem> {
    let away = |error| refusal::of_store(&error);
    let Task { kind, order, wanted, .. } = task;
    let nil = ServiceId(Uuid::nil());
    let service = task.service.unwrap_or(nil);
    let present = match task.service {
        Some(service) => present(store.footprints(service).await.map_err(away)?)?,
        None => BTreeMap::new(),
    };
    if !kind.has_content() && present.is_empty() {
        let detail = format!(
            "service {service} has nothing on any device now, so there is nothing to {kind}; it may have \
             been decommissioned"
        );
        return Err(Problem::conflict(detail, Vec::new()));
    }
    let mut yang = BTreeMap::new();
    for platform in platforms(&present, wanted) {
        let modules = library.yang(&platform).await;
        yang.insert(platform, modules);
    }
    let catalogue = match DefinitionName::new(wanted.definition.as_str()) {
        Ok(name) if kind.has_content() => {
            let version = u32::try_from(wanted.definition_version).ok();
            library.with(&[(&name, version)]).await.map_err(away)?
        }
        _ => library.now(),
    };
    // An audit changes nothing, whatever is known of what is there.
    let before = if kind.changes_devices() { present.clone() } else { settled(&present) };
    let draft = |service| -> Result<Draft, Problem> {
        let wanted = footprints(kind, service, wanted, &catalogue, &yang)?;
        Ok(Draft::new(kind, order, service, before.clone(), wanted))
    };
    let ours = draft(service)?;
    ours.check(&|platform| yang.get(platform).cloned().flatten()).map_err(invalid)?;
    let claimed: Vec<_> = ours.claimed().into_iter().map(pair).collect();
    let around: BTreeSet<_> = claimed
        .iter()
        .flat_map(|(device, node)| ancestors(node).into_iter().map(|node| (device.clone(), node.to_owned())))
        .collect();
    let around: Vec<_> = around.into_iter().collect();
    let shared: Vec<_> = ours.shared().into_iter().map(pair).collect();
    let owners = store.owners(&claimed, &around).await.map_err(away)?;
    let holders: Vec<Holder> = store.holders(&shared).await.map_err(away)?.into_iter().map(holder).collect();
    let plan = ours.finish(&owners, &holders).map_err(invalid)?;
    let hash = match kind {
        OrderKind::Provision if service != nil => {
            draft(nil)?.finish(&owners, &holders).map_err(invalid)?.hash()
        }
        _ => plan.hash(),
    };
    let checked = |platform: &PlatformName| {
        yang.get(platform).and_then(Option::as_ref).filter(|_| kind.has_content()).map(Yang::modules)
    };
    let platforms: BTreeSet<&PlatformName> = plan.devices.values().map(|device| &device.platform).collect();
    let platforms = platforms.into_iter().map(|platform| (platform.clone(), checked(platform))).collect();
    Ok(Planned { plan, hash, present, platforms })
}

/// The failures of a plan as faults.
fn invalid(failures: Vec<Failure>) -> Problem {
    let fault = |failure: Failure| {
        let detail = match &failure.device {
            Some(device) if !failure.message.contains(device.as_str()) => {
                format!("{device}: {}", failure.message)
            }
            _ => failure.message,
        };
        Fault::new("", "no_plan", detail)
    };
    Problem::invalid(failures.into_iter().map(fault).collect())
}

fn footprints(
    kind: OrderKind,
    service: ServiceId,
    wanted: &Wanted,
    catalogue: &Arc<Catalogue>,
    yang: &BTreeMap<PlatformName, Option<Yang>>,
) -> Result<BTreeMap<DeviceName, Footprint>, Problem> {
    if !kind.has_content() {
        return Ok(BTreeMap::new());
    }
    let version = u32::try_from(wanted.definition_version).unwrap_or_default();
    let name = DefinitionName::new(wanted.definition.as_str()).ok();
    let definition = name.and_then(|name| catalogue.version(&name, version).cloned());
    let Some(definition) = definition else {
        let detail =
            format!("there is no definition {} version {version}; publish it again", wanted.definition);
        return Err(Problem::invalid(vec![Fault::new("/definition", "unknown_definition", detail)]));
    };
    definition
        .footprints_with(service, &wanted.attributes, &wanted.endpoints, &wanted.platforms, &|platform| {
            yang.get(platform).cloned().flatten()
        })
        .map_err(|error| Problem::invalid(vec![Fault::new("", "no_plan", error.to_string())]))
}

fn platforms(present: &BTreeMap<DeviceName, Present>, wanted: &Wanted) -> BTreeSet<PlatformName> {
    let of_present = present
        .values()
        .flat_map(|present| present.footprint.iter().chain(&present.strays))
        .map(Footprint::platform);
    of_present.chain(wanted.platforms.values()).cloned().collect()
}

/// The same as if all were certainly in force.
fn settled(present: &BTreeMap<DeviceName, Present>) -> BTreeMap<DeviceName, Present> {
    present
        .iter()
        .map(|(device, present)| {
            let settled = Present { strays: Vec::new(), uncertain: false, ..present.clone() };
            (device.clone(), settled)
        })
        .collect()
}

/// What the store has of a service's configuration.
fn present(rows: Vec<FootprintRow>) -> Result<BTreeMap<DeviceName, Present>, Problem> {
    let unreadable = |device: &str| {
        tracing::error!(device, "a stored footprint can't be read");
        Problem::internal("a stored footprint can't be read; the log says which")
    };
    rows.into_iter()
        .map(|row| {
            let read = |stored| serde_json::from_value(stored).map_err(|_| unreadable(&row.device));
            let device = DeviceName::new(row.device.as_str()).map_err(|_| unreadable(&row.device))?;
            let footprint = if row.footprint.is_null() { None } else { Some(read(row.footprint)?) };
            let strays = row.strays.into_iter().map(read).collect::<Result<_, _>>()?;
            Ok((device, Present { footprint, strays, uncertain: row.in_force != InForce::New }))
        })
        .collect()
}

fn pair((device, node): (DeviceName, String)) -> (String, String) {
    (device.to_string(), node)
}

fn holder(held: turnup_store::Holder) -> Holder {
    Holder { device: held.device, node: held.node, service: held.service, value: held.value }
}

/// All that a node lies in: `/a/b[k='x/y']/c` → `/a`, `/a/b[k='x/y']`.
fn ancestors(node: &str) -> Vec<&str> {
    let mut quote = None;
    let mut found = Vec::new();
    for (at, c) in node.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '/') if at > 0 => found.push(&node[..at]),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_in_a_key_is_no_step() {
        assert_eq!(ancestors("/a/b[k='x/y']/c"), ["/a", "/a/b[k='x/y']"]);
        assert!(ancestors("/a").is_empty());
    }
}
