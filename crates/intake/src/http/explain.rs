//! Why an order is where it is.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::json;
use turnup_core::{
    event,
    explain::{Deployed, Facts, Front, explain},
    id::OrderId,
    lifecycle::{DeploymentState, OrderState},
    message::{DeviceReport, Stage},
    name::{DeviceName, RegionName},
};
use turnup_store::{DeploymentView, OrderView};

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    orders,
};

/// Most orders in front that are looked up; the sentence names no more.
const MOST_FRONTS: usize = 4;

pub(super) async fn order(call: Call) -> Answer {
    let order = orders::find(&call).await?;
    let fronts = fronts(&call, &order).await?;
    let last = order.history.iter().flatten().last();
    let since = last.map_or(order.updated_at, |entry| entry.at);
    // An earlier generation's says nothing about this one.
    let parts: Vec<&DeploymentView> =
        order.deployments.iter().flatten().filter(|d| d.generation == order.generation).collect();
    let mut devices: Vec<DeviceReport> = parts.iter().flat_map(|part| part.devices.iter().cloned()).collect();
    devices.sort_by(|a, b| a.device.cmp(&b.device));
    let waited_for = parts.iter().copied().min_by_key(|part| urgency(part.state));
    let facts = Facts {
        kind: order.kind,
        state: order.state,
        since,
        by: last.map(|entry| entry.by.as_str()),
        why: last.and_then(|entry| entry.why.as_deref()),
        scheduled_for: order.scheduled_for,
        attempt: order.retry.as_ref().map(|retry| (retry.attempt, retry.of)),
        errors: &order.errors,
        waiting_for: fronts,
        unserved: unserved(&call, &order).await?,
        deployment: waited_for.map(|part| Deployed {
            // That it is in force is no single worker's doing where there were several.
            worker: part.worker.as_deref().filter(|worker| {
                !part.state.is_final() || parts.iter().all(|other| other.worker.as_deref() == Some(worker))
            }),
            ..deployed(part, &devices)
        }),
    };
    ok(&json!({
        "order": order.id, "state": order.state, "since": event::time(since),
        "explanation": explain(&facts, Timestamp::now()), "actions": order.actions,
    }))
}

/// The order's devices in regions that are not configured.
async fn unserved(call: &Call, order: &OrderView) -> Result<Vec<(DeviceName, RegionName)>, Refusal> {
    if order.state != OrderState::Scheduled {
        return Ok(Vec::new());
    }
    let footprints = call.app.store.footprints(order.service_id).await?;
    let names: Vec<&str> =
        order.devices.iter().chain(footprints.iter().map(|row| &row.device)).map(String::as_str).collect();
    let devices = call.app.store.devices_named(&names).await?;
    let unserved = devices.into_iter().filter(|device| !call.app.regions.contains(&device.region));
    Ok(unserved.map(|device| (device.name, device.region)).collect())
}

/// Of the parts over several regions the one that tells most comes first: what has not answered.
const fn urgency(state: DeploymentState) -> u8 {
    match state {
        DeploymentState::InDoubt => 0,
        DeploymentState::Pending => 1,
        DeploymentState::Running => 2,
        _ => 3,
    }
}

/// What is known of a deployment, or of one part and the devices of all.
fn deployed<'a>(view: &'a DeploymentView, devices: &'a [DeviceReport]) -> Deployed<'a> {
    Deployed {
        state: view.state,
        stage: view.stage,
        reasons: &view.reasons,
        region: &view.region,
        attempt: view.attempt,
        phase: view.phase.as_deref(),
        worker: view.worker.as_deref(),
        devices,
        in_doubt_since: view.in_doubt_since,
        created_at: match view.stage {
            Stage::Whole | Stage::Prepare => view.created_at,
            Stage::Confirm | Stage::Undo => view.updated_at,
        },
        updated_at: view.updated_at,
    }
}

/// Who is in front, with the states of the first of them.
async fn fronts(call: &Call, order: &OrderView) -> Result<Vec<Front>, Refusal> {
    let mut known: HashMap<OrderId, (OrderState, Timestamp)> = HashMap::new();
    let mut fronts = Vec::with_capacity(order.waiting_for.len());
    for front in &order.waiting_for {
        if !front.is_exam
            && known.len() < MOST_FRONTS
            && !known.contains_key(&front.order)
            && let Some(other) = call.app.store.order(front.order).await?
        {
            known.insert(front.order, (other.state, other.updated_at));
        }
        let state = known.get(&front.order).copied();
        let (device, order, is_exam) = (front.device.clone(), front.order, front.is_exam);
        fronts.push(Front { device, order, is_exam, state });
    }
    Ok(fronts)
}
