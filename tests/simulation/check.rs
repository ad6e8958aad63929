//! What must hold when faults have stopped and all is quiet.

use std::collections::BTreeMap;

use turnup_core::{
    id::{DeploymentId, OrderId},
    lifecycle::{DeploymentState, OrderState, legal_order_changes},
    message::InForce,
};
use turnup_device_sim::datastore::Kind;

use crate::{
    device::{Device, Value},
    scenario::Scene,
    short,
    store::{Deployment, Order, Store, Work},
    world::Ms,
};

/// A change of what a device has for good.
struct ForGood {
    at: Ms,
    by: Option<DeploymentId>,
    service: u32,
    before: Value,
    after: Value,
}

/// Everything that does not hold.
pub(crate) fn check(scene: &Scene) -> Vec<String> {
    let store = scene.database.store.borrow();
    let mut faults = Vec::new();
    nothing_is_stuck(&store, &mut faults);
    history_is_lawful(&store, &mut faults);
    for order in store.orders.values() {
        all_or_nothing(scene, &store, order, &mut faults);
    }
    for device in scene.network.devices() {
        if let Some(leftover) = device.leftovers() {
            faults.push(format!("{} is left with {leftover}", device.name));
        }
        who_has_ended_changes_nothing(&store, device, &mut faults);
    }
    doubts_are_founded(scene, &store, &mut faults);
    nothing_is_confirmed_too_late(scene, &store, &mut faults);
    faults.append(&mut scene.network.complaints.borrow_mut());
    faults
}

fn name(order: &Order) -> String {
    format!("order {} ({} of {}, {})", short(order.id.0), order.kind, order.service, order.state)
}

fn nothing_is_stuck(store: &Store, faults: &mut Vec<String>) {
    for order in store.orders.values().filter(|order| !order.state.is_settled()) {
        faults.push(format!("{} is stuck", name(order)));
    }
    for (device, order) in &store.board.held {
        faults.push(format!("{device} is held by {}", short(order.0)));
    }
    for (device, queue) in store.board.waiting.iter().filter(|(_, queue)| !queue.is_empty()) {
        faults.push(format!("{} orders wait for {device}", queue.len()));
    }
    if !store.outbox.is_empty() {
        faults.push(format!("{} rows are left in the outbox", store.outbox.len()));
    }
}

fn history_is_lawful(store: &Store, faults: &mut Vec<String>) {
    let legal = legal_order_changes();
    for order in store.orders.values() {
        let mut state = None;
        for (entry, sequence) in order.history.iter().zip(1..) {
            if entry.sequence != sequence {
                faults.push(format!("{}: entry {sequence} has number {}", name(order), entry.sequence));
            }
            if entry.from != state || !legal.contains(&(entry.from, entry.to)) {
                faults.push(format!("{}: {:?} → {:?} from {state:?}", name(order), entry.from, entry.to));
            }
            state = Some(entry.to);
        }
        if state != Some(order.state) || order.sequence != i32::try_from(order.history.len()).unwrap() {
            faults.push(format!("{}: its history ends otherwise", name(order)));
        }
        for generation in 1..=order.generation {
            let of = order.history.iter().filter(|entry| entry.generation == generation);
            let ends = of.filter(|entry| entry.from == Some(OrderState::InProgress)).count();
            if ends != 1 {
                faults.push(format!("{}: {ends} ends of generation {generation}", name(order)));
            }
        }
    }
}

fn deployments_of<'s>(store: &'s Store, order: &Order) -> impl Iterator<Item = &'s Deployment> {
    let id = order.id;
    store.deployments.values().filter(move |deployment| deployment.job.order == id)
}

/// What was last said of a device that is not simply as before: its order is to end so that it says so.
fn exceptions(store: &Store, order: &Order) -> BTreeMap<String, InForce> {
    let mut all: Vec<&Deployment> = deployments_of(store, order).collect();
    all.sort_by_key(|deployment| deployment.generation);
    let mut said = BTreeMap::new();
    // Of what an earlier deployment has left, one that has not begun says nothing.
    let has_begun = |of: &&Deployment| {
        !of.job.past_unknown
            || of.phase != "recover"
            || of.devices.iter().any(|report| report.in_force != InForce::Old)
    };
    for deployment in all.into_iter().filter(has_begun) {
        for report in &deployment.devices {
            let device = report.device.to_string();
            match report.in_force {
                InForce::Old => drop(said.remove(&device)),
                found => drop(said.insert(device, found)),
            }
        }
    }
    said
}

fn all_or_nothing(scene: &Scene, store: &Store, order: &Order, faults: &mut Vec<String>) {
    // Only the last that has come into force counts, and who came after that.
    let of_service = |other: &&Order| other.service == order.service && other.id != order.id;
    if store.orders.values().filter(of_service).any(|other| other.old == order.new) {
        return;
    }
    let said = exceptions(store, order);
    for at in &order.devices {
        let device = &scene.network.devices()[*at];
        let value = device.value(order.service);
        let allowed: &[Value] = match (order.state, said.get(&device.name)) {
            (OrderState::Completed, _) => &[order.new],
            (_, None | Some(InForce::Old)) => &[order.old],
            (_, Some(InForce::New)) => &[order.new],
            (_, Some(_)) => &[order.old, order.new],
        };
        if !allowed.contains(&value) {
            faults.push(format!(
                "{}: {} has {value:?}, and not one of {allowed:?}; reported: {said:?}",
                name(order),
                device.name
            ));
        }
    }
    let is_split = said.values().any(|found| matches!(found, InForce::New | InForce::Unknown));
    let is_unresolved =
        deployments_of(store, order).any(|deployment| deployment.state == DeploymentState::Unresolved);
    if order.state != OrderState::Completed && is_split && !is_unresolved {
        faults.push(format!("{}: {said:?}, and no deployment says that it is unresolved", name(order)));
    }
}

/// What a device has had for good.
fn for_good(device: &Device) -> Vec<ForGood> {
    let mut good: BTreeMap<u32, Value> = BTreeMap::new();
    let mut now: BTreeMap<u32, Value> = BTreeMap::new();
    let mut all = Vec::new();
    for record in device.journal.borrow().iter() {
        for (service, _, after) in &record.changes {
            now.insert(*service, *after);
        }
        if matches!(record.kind, Kind::Provisional | Kind::Armed) {
            continue;
        }
        for (service, after) in &now {
            let before = good.insert(*service, *after).flatten();
            if before != *after {
                let by = record.owner.map(|owner| owner.deployment);
                all.push(ForGood { at: record.at, by, service: *service, before, after: *after });
            }
        }
    }
    all
}

/// Nobody changes a device for good once it is recorded that its deployment is over, and nothing is put in force
/// twice by one generation of an order without having been taken back in between.
fn who_has_ended_changes_nothing(store: &Store, device: &Device, faults: &mut Vec<String>) {
    let mut forward: BTreeMap<(OrderId, i32), i32> = BTreeMap::new();
    for change in for_good(device) {
        let ForGood { at, by, service, before, after } = change;
        let Some(deployment) = by.and_then(|by| store.deployments.get(&by)) else {
            faults.push(format!("{}: service {service} {before:?} → {after:?} by nobody", device.name));
            continue;
        };
        // Where it ended in doubt, a request without answer may still have been on its way.
        let reports = &mut deployment.devices.iter();
        let doubted = reports.any(|r| r.device.as_str() == device.name && r.in_force == InForce::Unknown);
        if deployment.ended_at.is_some_and(|ended| at > ended) && !doubted {
            faults.push(format!(
                "{}: service {service} {before:?} → {after:?} at {:.3} by {}, which ended at {:.3}",
                device.name,
                at as f64 / 1000.0,
                short(deployment.job.id.0),
                deployment.ended_at.unwrap_or_default() as f64 / 1000.0,
            ));
        }
        let work = deployment.job.devices.iter().find(|work| work.service == service);
        let is_forward = work.is_some_and(|work| work.new == after);
        *forward.entry((deployment.job.order, deployment.generation)).or_default() +=
            if is_forward { 1 } else { -1 };
    }
    for ((order, generation), times) in forward.into_iter().filter(|(_, times)| !(-1..=1).contains(times)) {
        let order = short(order.0);
        faults
            .push(format!("{}: {order} put in force {times} times by generation {generation}", device.name));
    }
}

/// A device is only in doubt where it, or another for which its lock is kept, or who says whether to go on, could not
/// be reached for long.
fn doubts_are_founded(scene: &Scene, store: &Store, faults: &mut Vec<String>) {
    for deployment in store.deployments.values() {
        if deployment.ended_at.is_none() {
            continue;
        }
        let (said, window) = (deployment.said_at, 120_000);
        let overlaps = |(from, until): &(Ms, Ms)| *from <= said + 2_000 && *until + window >= said;
        let device = |work: &Work| &scene.network.devices()[work.device];
        let troubled = |work: &Work| device(work).troubles.borrow().iter().any(overlaps);
        let troubled = deployment.job.devices.iter().any(troubled);
        let unasked = scene.silences.borrow().iter().any(overlaps);
        for report in deployment.devices.iter().filter(|report| report.in_force == InForce::Unknown) {
            if !troubled && !unasked {
                faults.push(format!("{} is in doubt without reason: {:?}", report.device, report.failures));
            }
        }
    }
}

/// Confirming is decided upon only as long as no timer has run out.
fn nothing_is_confirmed_too_late(scene: &Scene, store: &Store, faults: &mut Vec<String>) {
    for (parts, at) in &store.confirmed {
        for deployment in parts.iter().filter_map(|id| store.deployments.get(id)) {
            for work in &deployment.job.devices {
                let device = &scene.network.devices()[work.device];
                if device.has_timed_out(deployment.job.id, work, *at) {
                    faults.push(format!("{} had gone back when confirming was decided", device.name));
                }
            }
        }
    }
}
