//! Plans, made as the scheduler makes them: from what the service has and is to have, and from what others
//! have there. Nothing is reserved and nothing is sent.

use std::collections::{BTreeMap, BTreeSet};

use turnup_core::{
    failure::Failure,
    id::{OrderId, ServiceId},
    name::{DefinitionName, DeviceName, PlatformName},
    order::OrderKind,
    problem::{Fault, Problem},
};
use turnup_library::{Library, planning};
use turnup_plan::{Footprint, Plan, Present, Questions, Yang};
use turnup_store::Store;
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
    /// Every platform for which the plan renders something, and how that was checked; none: it was not.
    pub(crate) platforms: BTreeMap<PlatformName, Option<Checked>>,
}

/// Against what the configuration of a platform was checked.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) yang: Yang,
    /// Namespaces of what is written that no module of the platform has.
    pub(crate) unchecked: BTreeSet<String>,
}

/// Makes the plan.
///
/// # Errors
/// 422 with what the scheduler would make the order Invalid for; 409 if there is nothing to do it with; 503.
pub(crate) async fn plan(store: &Store, library: &Library, task: Task<'_>) -> Result<Planned, Problem> {
    let away = |error| refusal::of_store(&error);
    let Task { kind, order, wanted, .. } = task;
    let service = task.service.unwrap_or(ServiceId(Uuid::nil()));
    let present = match task.service {
        Some(service) => present(store, service).await?,
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
    let content = planning::Content {
        definition: &wanted.definition,
        version: wanted.definition_version,
        attributes: &wanted.attributes,
        endpoints: &wanted.endpoints,
        platforms: &wanted.platforms,
    };
    let task = planning::Task { kind, order, service, present: present.clone(), content, hashed: true };
    let yang_of = |platform: &PlatformName| yang.get(platform).cloned().flatten();
    let drafted = planning::draft(task, &catalogue, &yang_of).map_err(invalid)?;
    let Questions { claimed, around, shared } = Questions::of([drafted.draft()]);
    let owners = store.owners(&claimed, &around).await.map_err(away)?;
    let holders = store.holders(&shared, &claimed).await.map_err(away)?;
    let (plan, hash) = drafted.finish(&owners, &holders).map_err(invalid)?;
    // What is written or looked at again was checked when it was first planned.
    let planned = plan.devices.values().filter(|_| kind.has_content());
    let mut platforms: BTreeMap<PlatformName, Option<Checked>> = BTreeMap::new();
    for device in planned {
        let checked = platforms.entry(device.platform.clone()).or_insert_with(|| {
            let yang = yang_of(&device.platform)?;
            Some(Checked { yang, unchecked: BTreeSet::new() })
        });
        if let (Some(checked), Some(footprint)) = (checked, &device.footprint) {
            checked.unchecked.extend(footprint.unchecked(&checked.yang));
        }
    }
    Ok(Planned { plan, hash: hash.unwrap_or_default(), present, platforms })
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

fn platforms(present: &BTreeMap<DeviceName, Present>, wanted: &Wanted) -> BTreeSet<PlatformName> {
    let of_present = present
        .values()
        .flat_map(|present| present.footprint.iter().chain(&present.strays))
        .map(Footprint::platform);
    of_present.chain(wanted.platforms.values()).cloned().collect()
}

/// What the store has of a service's configuration.
async fn present(store: &Store, service: ServiceId) -> Result<BTreeMap<DeviceName, Present>, Problem> {
    let away = |error| refusal::of_store(&error);
    let state = store.service(service).await.map_err(away)?.map(|service| service.state);
    let rows = store.footprints(service).await.map_err(away)?;
    let rows = rows.iter().map(|row| (row.device.as_str(), &row.footprint, row.in_force, &row.strays[..]));
    planning::present(state, rows).map_err(invalid)
}
