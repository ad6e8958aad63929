//! What happens to each order of a batch whose time has come: pure decisions over what the store
//! has locked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};
use turnup_core::{
    failure::{Failure, FailureClass},
    id::{DeploymentId, ServiceId},
    lease::{Admission, admit},
    lifecycle::OrderState,
    message::{Body as _, Deployment, DeviceEdit, DeviceWork, Limits},
    name::{DefinitionName, DeviceName, RegionName},
    order::OrderKind,
};
use turnup_plan::{Catalogue, Footprint, change, overlap};
use turnup_store::{Decision, DueOrder, Entry, Start, Starting};
use uuid::Uuid;

/// Who did it, in the history.
const BY: &str = "scheduler";

/// A device and a path in its configuration.
type Node = (String, String);

/// The change of one order, device by device.
struct Plan {
    edits: BTreeMap<DeviceName, DeviceEdit>,
    /// What the service is going to own; empty for a decommission.
    footprints: BTreeMap<DeviceName, Footprint>,
    /// The nodes of these, by device.
    nodes: Vec<(DeviceName, String)>,
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

/// Answers to a whole batch, in its order.
pub(crate) struct Batch {
    plans: Vec<Result<Option<Plan>, Vec<Failure>>>,
}

/// Decides who may start, and plans for those. `Ok(None)`: waits for its devices.
pub(crate) fn plan(starting: &Starting, catalogue: &Catalogue) -> Batch {
    let candidates: Vec<_> = starting.orders.iter().map(DueOrder::candidate).collect();
    let admissions = admit(&candidates, &starting.board);
    let plans = starting
        .orders
        .iter()
        .zip(admissions)
        .map(|(due, admission)| match admission {
            Admission::Wait(_) => Ok(None),
            Admission::Start => plan_order(due, starting, catalogue).map(Some),
        })
        .collect();
    Batch { plans }
}

fn invalid(phase: &str, message: impl Into<String>) -> Vec<Failure> {
    vec![Failure::new(FailureClass::Invalid, phase, message)]
}

fn plan_order(due: &DueOrder, starting: &Starting, catalogue: &Catalogue) -> Result<Plan, Vec<Failure>> {
    let order = &due.order;
    for name in &due.devices {
        if !starting.devices.contains_key(name) {
            return Err(invalid("plan", format!("device {name} is not in the inventory any more")));
        }
    }
    match order.kind {
        OrderKind::Provision => {
            let definition = DefinitionName::new(order.definition.clone())
                .ok()
                .and_then(|name| catalogue.get(&name))
                .ok_or_else(|| {
                    invalid("plan", format!("there is no definition {} any more", order.definition))
                })?;
            let platforms = due
                .devices
                .iter()
                .map(|name| (name.clone(), starting.devices[name].platform.clone()))
                .collect();
            let attributes = order.attributes.as_object().cloned().unwrap_or_default();
            let footprints = definition
                .footprints(order.service_id, &attributes, &order.endpoints, &platforms)
                .map_err(|error| invalid("plan", error.to_string()))?;
            let edits = footprints
                .iter()
                .map(|(device, footprint)| Ok((device.clone(), change(order.id, None, Some(footprint))?)))
                .collect::<Result<_, turnup_plan::PlanError>>()
                .map_err(|error| invalid("plan", error.to_string()))?;
            let nodes = footprints
                .iter()
                .flat_map(|(device, footprint)| {
                    footprint.owned_nodes().into_iter().map(|node| (device.clone(), node))
                })
                .collect();
            Ok(Plan { edits, footprints, nodes })
        }
        OrderKind::Decommission => {
            if !starting.services.contains_key(&order.service_id) {
                return Err(invalid("plan", format!("service {} does not exist any more", order.service_id)));
            }
            let owned = starting.footprints.get(&order.service_id).cloned().unwrap_or_default();
            let edits = owned
                .into_iter()
                .map(|(device, stored)| {
                    let footprint: Footprint =
                        serde_json::from_value(stored).map_err(|error| invalid("plan", error.to_string()))?;
                    let edit = change(order.id, Some(&footprint), None)
                        .map_err(|error| invalid("plan", error.to_string()))?;
                    Ok((device, edit))
                })
                .collect::<Result<_, Vec<Failure>>>()?;
            Ok(Plan { edits, footprints: BTreeMap::new(), nodes: Vec::new() })
        }
        OrderKind::Modify | OrderKind::Redeploy | OrderKind::Validate => {
            Err(invalid("plan", format!("{} orders are not supported by this release", order.kind)))
        }
    }
}

impl Batch {
    /// The nodes that the batch's services are going to own, and those that these lie in.
    pub(crate) fn nodes(&self) -> (Vec<Node>, Vec<Node>) {
        let (mut nodes, mut around) = (Vec::new(), BTreeSet::new());
        for (device, node) in self.plans.iter().flatten().flatten().flat_map(|plan| &plan.nodes) {
            around.extend(ancestors(node).into_iter().map(|node| (device.to_string(), node.to_owned())));
            nodes.push((device.to_string(), node.clone()));
        }
        (nodes, around.into_iter().collect())
    }

    /// The decisions and their log entries. `owners`: who owns [`Batch::nodes`], or
    /// something inside or around them, already.
    pub(crate) fn decide(
        self,
        starting: &Starting,
        owners: &[(String, String, ServiceId)],
        limits: &Limits,
        now: Timestamp,
    ) -> (Vec<Decision>, Vec<Entry>) {
        let mut entries = Vec::new();
        let mut owners_on: BTreeMap<&str, Vec<(&str, ServiceId)>> = BTreeMap::new();
        for (device, node, service) in owners {
            owners_on.entry(device).or_default().push((node, *service));
        }
        let decisions = self
            .plans
            .into_iter()
            .zip(&starting.orders)
            .map(|(plan, due)| {
                let planned = plan.and_then(|plan| match plan {
                    None => Ok(None),
                    Some(plan) => {
                        refuse_owned(&plan, &owners_on, due)?;
                        Ok(Some(deployment(due, starting, plan, limits)?))
                    }
                });
                match planned {
                    Ok(None) => Decision::Wait,
                    Ok(Some(start)) => {
                        entries.push(entry(
                            due,
                            1,
                            OrderState::Scheduled,
                            OrderState::InProgress,
                            now,
                            None,
                            json!({
                                "generation": due.order.generation + 1,
                                "deployment": start.deployment,
                            }),
                        ));
                        Decision::Start(vec![start])
                    }
                    Err(failures) => {
                        let why = failures.first().map(|failure| failure.message.clone());
                        let errors = json!({"errors": failures});
                        entries.push(entry(
                            due,
                            1,
                            OrderState::Scheduled,
                            OrderState::InProgress,
                            now,
                            None,
                            json!({}),
                        ));
                        entries.push(entry(
                            due,
                            2,
                            OrderState::InProgress,
                            OrderState::Invalid,
                            now,
                            why,
                            errors,
                        ));
                        Decision::Invalid(failures)
                    }
                }
            })
            .collect();
        (decisions, entries)
    }
}

fn entry(
    due: &DueOrder,
    step: i32,
    from: OrderState,
    to: OrderState,
    at: Timestamp,
    why: Option<String>,
    more: Value,
) -> Entry {
    let event = due.order.facts().event(Uuid::now_v7(), due.order.sequence + step, to, at, more);
    Entry { event, change: Some((Some(from), to)), why, by: BY.to_owned() }
}

fn refuse_owned(
    plan: &Plan,
    owners_on: &BTreeMap<&str, Vec<(&str, ServiceId)>>,
    due: &DueOrder,
) -> Result<(), Vec<Failure>> {
    let mut taken = Vec::new();
    for (device, path) in &plan.nodes {
        let owners = owners_on.get(device.as_str()).map_or(&[][..], Vec::as_slice);
        let owner =
            owners.iter().find(|(node, service)| *service != due.order.service_id && overlap(node, path));
        if let Some((node, service)) = owner {
            let message = format!(
                "{node} on {device} belongs to service {service}; choose another or decommission that one"
            );
            let mut failure = Failure::new(FailureClass::Invalid, "plan", message).at(device.clone());
            failure.path = Some(path.clone());
            taken.push(failure);
        }
    }
    if taken.is_empty() { Ok(()) } else { Err(taken) }
}

/// The one deployment of the order: this release deploys an order's devices in one region.
fn deployment(
    due: &DueOrder,
    starting: &Starting,
    plan: Plan,
    limits: &Limits,
) -> Result<Start, Vec<Failure>> {
    let regions: BTreeSet<&RegionName> =
        due.devices.iter().filter_map(|name| Some(&starting.devices.get(name)?.region)).collect();
    let [region] = regions.iter().copied().collect::<Vec<_>>()[..] else {
        let names: Vec<&str> = regions.iter().map(|region| region.as_str()).collect();
        return Err(invalid("plan", format!("its devices are in several regions: {}", names.join(", "))));
    };
    let devices = plan
        .edits
        .into_iter()
        .filter_map(|(name, edit)| {
            let device = starting.devices.get(&name)?;
            Some(DeviceWork {
                address: device.address.clone(),
                port: device.port,
                platform: device.platform.clone(),
                host_key: device.host_key.clone(),
                credential: device.credential.clone(),
                epoch: starting.epochs.get(&name).copied().unwrap_or_default() + 1,
                edits: vec![edit],
                device: name,
            })
        })
        .collect();
    let footprints: Vec<Value> = plan
        .footprints
        .iter()
        .map(|(device, footprint)| {
            json!({
                "service_id": due.order.service_id, "device": device, "footprint": footprint,
                "nodes": plan.nodes.iter().filter(|(on, _)| on == device).map(|(_, node)| node).collect::<Vec<_>>(),
            })
        })
        .collect();
    let message = Deployment {
        deployment: DeploymentId(Uuid::now_v7()),
        attempt: 1,
        generation: due.order.generation + 1,
        region: region.clone(),
        orders: vec![due.order.id],
        devices,
        limits: limits.clone(),
    };
    Ok(Start {
        deployment: message.deployment,
        region: region.to_string(),
        priority: due.order.priority,
        message: message.encode().map_err(|error| invalid("plan", error.to_string()))?,
        footprints: Value::Array(footprints),
    })
}

#[cfg(test)]
mod tests {
    use super::ancestors;

    #[test]
    fn ancestors_end_at_steps_outside_quotes() {
        assert_eq!(
            ancestors("/interfaces/interface[name='ge-0/0/1']/unit[id='7']"),
            ["/interfaces", "/interfaces/interface[name='ge-0/0/1']"]
        );
    }
}
