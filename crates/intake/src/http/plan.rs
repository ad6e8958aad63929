//! Plans: what an order changes on each device, as the scheduler would make it now.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use turnup_core::{
    ask::Question,
    failure::{Failure, FailureClass},
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    message::DeviceEdit,
    name::{DefinitionName, DeviceName, PlatformName, RegionName},
    order::OrderKind,
    policy::Permission,
    problem::{Fault, Problem},
};
use turnup_plan::{DevicePlan, Present, Yang};
use turnup_store::{OrderView, UnfinishedOrder};
use uuid::Uuid;

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    orders::find,
};
use crate::{
    accept::{Rehearsal, decide::Wanted, order::Origin},
    ask::{self, Unanswered},
    inventory::Snapshot,
    planning::{self, Planned, Task},
    preview::{self, Resource},
    settings::ms,
};

/// Most collisions told.
const MAX_COLLISIONS: i64 = 100;
/// Phase of failures before a device was asked.
const PHASE: &str = "ask";

/// What an order changes.
#[derive(Debug, Serialize)]
struct Plan {
    kind: OrderKind,
    definition: String,
    definition_version: i32,
    /// None: the order creates one.
    service_id: Option<ServiceId>,
    region: String,
    hash: String,
    /// No device is touched.
    empty: bool,
    devices: Vec<OnDevice>,
    resources: Vec<Resource>,
    collisions: Vec<Collision>,
    yang: Vec<Checked>,
    /// The order that the same request made before: submitted again, it makes no other, and nothing is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<Repeated>,
    /// The Invalid order that this one would correct.
    #[serde(skip_serializing_if = "Option::is_none")]
    corrects: Option<OrderId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_device: Option<Vec<Tried>>,
}

/// An order that was made by the same request before.
#[derive(Debug, Serialize)]
struct Repeated {
    order: OrderId,
    state: OrderState,
}

/// What it changes on one device.
#[derive(Debug, Serialize)]
struct OnDevice {
    device: DeviceName,
    platform: PlatformName,
    does: Does,
    /// Content of `<config>` for edit-config.
    edit: Option<String>,
    /// The edit that undoes it.
    inverse: Option<String>,
    /// For people.
    diff: Option<String>,
    /// What the service has there afterwards.
    footprint: Option<String>,
    /// Paths of what is its own there, or was.
    owned: Vec<String>,
    /// Paths of what it holds together with other services.
    shared: Vec<String>,
}

/// What is done at a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Does {
    Adds,
    Changes,
    Removes,
    WritesAgain,
    Nothing,
}

/// Another unfinished order that this one meets.
#[derive(Debug, Serialize)]
struct Collision {
    order: OrderId,
    kind: OrderKind,
    state: OrderState,
    scheduled_for: Option<String>,
    device: Option<String>,
    service_id: ServiceId,
    why: &'static str,
}

/// Whether a platform's configuration was checked with its YANG modules.
#[derive(Debug, Serialize)]
struct Checked {
    platform: PlatformName,
    checked: bool,
    /// How many modules it was checked with.
    modules: usize,
    /// Modules that can't be used, with the reason.
    left_out: Vec<String>,
    /// Namespaces that no module has: what is in them was not checked.
    unchecked: BTreeSet<String>,
}

/// What a device says of its part.
#[derive(Debug, Serialize)]
struct Tried {
    device: DeviceName,
    ok: bool,
    worker: Option<String>,
    failures: Vec<Failure>,
}

/// Whether the devices are to be asked. Their candidates are locked for a moment, so it takes the right to
/// order.
pub(super) fn on_device(call: &Call) -> Result<bool, Problem> {
    let on_device = call.query.parsed::<bool>("on_device")?.unwrap_or(false);
    if on_device && let Some(caller) = &call.caller {
        caller.require(Permission::OrderCreate)?;
    }
    Ok(on_device)
}

/// The plan of an order that was not accepted: `?dry_run=true`.
pub(super) async fn of_request(call: &Call, value: &Value, origin: &Origin, on_device: bool) -> Answer {
    let (request, mut wanted, corrects) = match call.app.acceptor.rehearse(value, origin).await? {
        Rehearsal::New { request, wanted, corrects } => (*request, *wanted, corrects),
        Rehearsal::Known(order) => return of_repetition(&order),
    };
    let kind = request.kind;
    let corrects = origin.derived_from.or(corrects);
    let origin = &Origin { derived_from: corrects, ..origin.clone() };
    let resources = preview::fill(&call.app.store, request, &mut wanted, origin).await?;
    let task = Task { kind, order: OrderId(Uuid::now_v7()), service: wanted.service, wanted: &wanted };
    let (mut plan, edits) = plan(call, task, resources).await?;
    let kept =
        serde_json::to_value(&plan).map_err(|_| Problem::internal("a plan can't be written as JSON"))?;
    call.app.store.keep_plan(&plan.hash, &kept, Timestamp::now()).await?;
    plan.corrects = corrects;
    if on_device {
        plan.on_device = Some(try_all(call, edits).await?);
    }
    ok(&plan)
}

/// The answer to a dry run of a request that made an order before: submitted again, it changes nothing.
pub(super) fn of_repetition(order: &OrderView) -> Answer {
    ok(&Plan {
        kind: order.kind,
        definition: order.definition.clone(),
        definition_version: order.definition_version,
        service_id: Some(order.service_id),
        region: order.region.clone(),
        hash: String::new(),
        empty: true,
        devices: Vec::new(),
        resources: Vec::new(),
        collisions: Vec::new(),
        yang: Vec::new(),
        repeats: Some(Repeated { order: order.id, state: order.state }),
        corrects: None,
        on_device: None,
    })
}

/// The plan of a stored order.
pub(super) async fn of_order(call: Call) -> Answer {
    let on_device = on_device(&call)?;
    let order = find(&call).await?;
    if matches!(order.state, OrderState::Completed | OrderState::Cancelled) {
        let detail = format!(
            "order {} is {}, so there is nothing left to plan; 'turnup order show {}' shows what became of it, and \
             'turnup service config {}' what its service has on each device",
            order.id,
            order.state.title(),
            order.id,
            order.service_id
        );
        return Err(Problem::conflict(detail, Vec::new()).into());
    }
    if order.kind != OrderKind::Provision && call.app.store.service(order.service_id).await?.is_none() {
        let detail =
            format!("service {} does not exist any more, so there is nothing to plan", order.service_id);
        return Err(Problem::conflict(detail, Vec::new()).into());
    }
    let wanted = wanted_of(&call, &order).await?;
    let resources = resources_of(&call, &order, &wanted);
    let task = Task { kind: order.kind, order: order.id, service: Some(order.service_id), wanted: &wanted };
    let (mut plan, edits) = plan(&call, task, resources).await?;
    if on_device {
        plan.on_device = Some(try_all(&call, edits).await?);
    }
    ok(&plan)
}

/// What a stored order wants.
async fn wanted_of(call: &Call, order: &OrderView) -> Result<Wanted, Refusal> {
    let devices: Vec<DeviceName> =
        order.devices.iter().filter_map(|name| DeviceName::new(name.as_str()).ok()).collect();
    let named: Vec<&DeviceName> = devices.iter().collect();
    let inventory = call.app.inventory.with(&named).await?;
    let missing: Vec<Fault> = devices
        .iter()
        .filter(|name| !inventory.devices.contains_key(*name))
        .map(|name| Fault::new("", "unknown_device", inventory.unknown(name)))
        .collect();
    if !missing.is_empty() {
        return Err(Problem::invalid(missing).into());
    }
    let platform = |name: &DeviceName| Some((name.clone(), inventory.devices.get(name)?.platform.clone()));
    Ok(Wanted {
        definition: order.definition.clone(),
        definition_version: order.definition_version,
        service: Some(order.service_id),
        region: RegionName::new(order.region.as_str()).ok(),
        attributes: order.attributes.as_object().cloned().unwrap_or_default(),
        endpoints: order.endpoints.clone(),
        platforms: devices.iter().filter_map(platform).collect(),
        devices: devices.into_iter().collect(),
        claims: Vec::new(),
    })
}

/// The values that a stored order has reserved. Where in it they stand is found by its definition.
fn resources_of(call: &Call, order: &OrderView, wanted: &Wanted) -> Vec<Resource> {
    let catalogue = call.app.library.now();
    let definition = DefinitionName::new(order.definition.as_str()).ok().and_then(|name| {
        let version = u32::try_from(order.definition_version).ok()?;
        catalogue.version(&name, version).cloned()
    });
    let checked = turnup_plan::Checked {
        attributes: wanted.attributes.clone(),
        endpoints: wanted.endpoints.clone(),
        platforms: wanted.platforms.clone(),
    };
    let claims = definition
        .and_then(|definition| definition.claims(&checked, catalogue.pools(), wanted.region.as_ref()).ok())
        .unwrap_or_default();
    order
        .options
        .resources
        .iter()
        .map(|key| {
            let claim = claims.iter().find(|claim| {
                let value = claim.given.as_ref().map(turnup_core::resource::text_of);
                claim.name == key.pool && claim.scope == key.scope && value.as_ref() == Some(&key.value)
            });
            Resource {
                pool: key.pool.clone(),
                scope: key.scope.clone(),
                value: key.value.clone(),
                picked: false,
                pointer: claim.map(|claim| claim.place.pointer()).unwrap_or_default(),
            }
        })
        .collect()
}

/// The plan as it is shown, and the edits of its devices.
async fn plan(
    call: &Call,
    task: Task<'_>,
    resources: Vec<Resource>,
) -> Result<(Plan, BTreeMap<DeviceName, DeviceEdit>), Refusal> {
    let Planned { plan, hash, present, platforms } =
        planning::plan(&call.app.store, &call.app.library, task).await?;
    let empty = plan.is_empty();
    let collisions = collisions(call, &task).await?;
    let mut edits = BTreeMap::new();
    let mut devices = Vec::with_capacity(plan.devices.len());
    for (device, done) in plan.devices {
        if let Some(edit) = &done.edit {
            edits.insert(device.clone(), edit.edit.clone());
        }
        let before = present.get(&device);
        devices.push(shown(task.kind, device, done, before));
    }
    let yang = platforms
        .into_iter()
        .map(|(platform, checked)| match checked {
            Some(planning::Checked { yang, unchecked }) => Checked {
                platform,
                checked: true,
                modules: yang.modules(),
                left_out: yang
                    .left_out()
                    .iter()
                    .take(Yang::MAX_VIOLATIONS)
                    .map(|mistake| format!("{} ({})", mistake.module, mistake.message))
                    .collect(),
                unchecked,
            },
            None => Checked {
                platform,
                checked: false,
                modules: 0,
                left_out: Vec::new(),
                unchecked: BTreeSet::new(),
            },
        })
        .collect();
    let wanted = task.wanted;
    let plan = Plan {
        kind: task.kind,
        definition: wanted.definition.clone(),
        definition_version: wanted.definition_version,
        service_id: task.service,
        region: wanted.region_or_multi(),
        hash,
        empty,
        devices,
        resources,
        collisions,
        yang,
        repeats: None,
        corrects: None,
        on_device: None,
    };
    Ok((plan, edits))
}

fn shown(kind: OrderKind, device: DeviceName, done: DevicePlan, before: Option<&Present>) -> OnDevice {
    let does = does(kind, &done, before);
    let held = done.footprint.as_ref().or(before.and_then(|before| before.footprint.as_ref()));
    let owned = held.map(turnup_plan::Footprint::owned_nodes).unwrap_or_default();
    let shared = held.map(turnup_plan::Footprint::shared_nodes).unwrap_or_default();
    let (edit, diff) = done.edit.map(|edit| (edit.edit, edit.text)).unzip();
    let notes: String = done.notes.iter().map(|note| format!("! {note}\n")).collect();
    let diff = match (diff, notes.is_empty()) {
        (diff, true) => diff,
        (diff, false) => Some(diff.unwrap_or_default() + &notes),
    };
    let (edit, inverse) = edit.map(|edit| (edit.edit, edit.inverse)).unzip();
    OnDevice {
        device,
        platform: done.platform,
        does,
        edit,
        inverse,
        diff,
        footprint: done.footprint.map(|footprint| footprint.config().to_owned()),
        owned,
        shared: shared.into_iter().map(|(node, _)| node).collect(),
    }
}

fn does(kind: OrderKind, done: &DevicePlan, before: Option<&Present>) -> Does {
    let had = before.and_then(|before| before.footprint.as_ref());
    match (&done.edit, &done.footprint, had) {
        (None, ..) => Does::Nothing,
        (Some(_), None, _) => Does::Removes,
        (Some(_), Some(_), None) => Does::Adds,
        (Some(_), Some(new), Some(old)) if kind == OrderKind::Redeploy || new == old => Does::WritesAgain,
        (Some(_), Some(_), Some(_)) => Does::Changes,
    }
}

/// Unfinished orders of the same service or on the same devices, each once.
async fn collisions(call: &Call, task: &Task<'_>) -> Result<Vec<Collision>, Refusal> {
    let devices: Vec<&str> = task.wanted.devices.iter().map(DeviceName::as_str).collect();
    let of_service = match task.service {
        Some(service) => call.app.store.unfinished_of(service).await?,
        None => Vec::new(),
    };
    let on_devices = call.app.store.unfinished_on(&devices, MAX_COLLISIONS).await?;
    let same = |found: &UnfinishedOrder| Some(found.service_id) == task.service;
    let on_devices = on_devices.into_iter().filter(|found| !same(found)).map(|found| (found, "device"));
    let all = of_service.into_iter().map(|found| (found, "service")).chain(on_devices);
    let others = all.filter(|(found, _)| found.order != task.order);
    Ok(others
        .map(|(found, why)| Collision {
            order: found.order,
            kind: found.kind,
            state: found.state,
            scheduled_for: found.scheduled_for.map(turnup_core::event::time),
            device: found.device,
            service_id: found.service_id,
            why,
        })
        .collect())
}

/// Has every device try its part: into the candidate, validate, discard.
async fn try_all(call: &Call, edits: BTreeMap<DeviceName, DeviceEdit>) -> Result<Vec<Tried>, Refusal> {
    let names: Vec<&DeviceName> = edits.keys().collect();
    let inventory = call.app.inventory.with(&names).await?;
    let within = ms(call.app.settings.device_timeout_ms);
    let tries = edits.into_iter().map(|(device, edit)| try_one(call, &inventory, device, edit, within));
    Ok(join_all(tries).await)
}

async fn try_one(
    call: &Call,
    inventory: &Snapshot,
    name: DeviceName,
    edit: DeviceEdit,
    within: Duration,
) -> Tried {
    let failed = |class, message: String| Tried {
        device: name.clone(),
        ok: false,
        worker: None,
        failures: vec![Failure::new(class, PHASE, message).at(name.clone())],
    };
    let Some(device) = inventory.devices.get(&name) else {
        return failed(FailureClass::Misconfigured, inventory.unknown(&name));
    };
    let work = ask::work(device, call.app.library.profiles().of(&device.platform), Some(edit));
    match call.app.asker.ask(&device.region, work, Question::TryEdit, within).await {
        Ok(answer) => Tried {
            device: name,
            ok: answer.failures.is_empty(),
            worker: Some(answer.worker),
            failures: answer.failures,
        },
        Err(why @ (Unanswered::Late { .. } | Unanswered::Away(_))) => {
            failed(FailureClass::Unreachable, why.to_string())
        }
        Err(why) => failed(FailureClass::Misconfigured, why.to_string()),
    }
}
