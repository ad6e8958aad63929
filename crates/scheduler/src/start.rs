//! What happens to each order of a batch whose time has come: pure decisions over what the store
//! has locked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::{Value, json};
use turnup_core::{
    audit::{AuditPart, AuditWork, ConfigWork},
    failure::{Detail, Failure, FailureClass},
    id::{DeploymentId, ServiceId},
    lease::{Admission, admit},
    lifecycle::{OrderEvent, OrderState, ServiceState, service_transition},
    message::{Body as _, Deployment, DeviceEdit, DeviceWork, InForce, Limits, Purpose},
    name::{DefinitionName, DeviceName, PlatformName, RegionName},
    order::{Endpoint, OrderKind},
    settle::service_event,
};
use turnup_plan::{Catalogue, Definition, Draft, Footprint, Holder, Node, Plan, Present, Yang};
use turnup_store::{Decision, DueOrder, Entry, Start, Starting};
use uuid::Uuid;

/// Who did it, in the history.
const BY: &str = "scheduler";

/// What planning needs beside the store's rows.
pub(crate) struct Knowledge<'a> {
    pub(crate) catalogue: &'a Catalogue,
    /// YANG of the platforms that have it at hand.
    pub(crate) yang: &'a BTreeMap<PlatformName, Yang>,
}

/// What is begun for one order.
enum Work {
    /// Devices change: what is to be done, and the same with the nil UUID as the service's id where the
    /// order names the plan that was approved.
    Change(Box<Draft>, Option<Box<Draft>>),
    /// Devices are looked at.
    Audit(BTreeMap<DeviceName, AuditWork>),
}

/// Answers to a whole batch, in its order. `Ok(None)`: waits for its devices.
pub(crate) struct Batch {
    works: Vec<Result<Option<Work>, Vec<Failure>>>,
}

/// The definitions that a batch needs: name and version.
pub(crate) fn definitions(starting: &Starting) -> Vec<(DefinitionName, u32)> {
    let orders = starting.orders.iter().map(|due| &due.order);
    let needing = orders
        .filter(|order| order.kind.has_content() || order.options.audit.contains(&AuditPart::Functional));
    let needed: BTreeSet<(DefinitionName, u32)> = needing
        .filter_map(|order| {
            let version = u32::try_from(order.definition_version).ok()?;
            Some((DefinitionName::new(order.definition.as_str()).ok()?, version))
        })
        .collect();
    needed.into_iter().collect()
}

/// Decides who may start, and drafts for those.
pub(crate) fn draft(starting: &Starting, knowledge: &Knowledge<'_>) -> Batch {
    let candidates: Vec<_> = starting.orders.iter().map(DueOrder::candidate).collect();
    let admissions = admit(&candidates, &starting.board);
    let works = starting
        .orders
        .iter()
        .zip(admissions)
        .map(|(due, admission)| match admission {
            Admission::Wait(_) => Ok(None),
            Admission::Start => begin(due, starting, knowledge).map(Some),
        })
        .collect();
    Batch { works }
}

fn invalid(message: impl Into<String>) -> Vec<Failure> {
    vec![Failure::new(FailureClass::Invalid, "plan", message)]
}

fn begin(due: &DueOrder, starting: &Starting, knowledge: &Knowledge<'_>) -> Result<Work, Vec<Failure>> {
    let order = &due.order;
    for name in &due.devices {
        if !starting.devices.contains_key(name) {
            return Err(invalid(format!("device {name} is not in the inventory any more")));
        }
    }
    let service = starting.services.get(&order.service_id);
    if order.kind != OrderKind::Provision && service.is_none() {
        return Err(invalid(format!("service {} does not exist any more", order.service_id)));
    }
    let present = present(order.service_id, starting)?;
    if let (OrderKind::Validate, Some(service)) = (order.kind, service) {
        let attributes = service.attributes.as_object().cloned().unwrap_or_default();
        return audit(due, starting, knowledge, &present, &attributes, &service.endpoints).map(Work::Audit);
    }
    let wanted = |id| match order.kind.has_content() {
        true => footprints(due, starting, knowledge, id),
        false => Ok(BTreeMap::new()),
    };
    let draft = |id| -> Result<Box<Draft>, Vec<Failure>> {
        Ok(Box::new(Draft::new(order.kind, order.id, id, present.clone(), wanted(id)?)))
    };
    let ours = draft(order.service_id)?;
    ours.check(&|platform| knowledge.yang.get(platform).cloned())?;
    let nil = match (&order.options.approved_plan, order.kind) {
        (Some(_), OrderKind::Provision) => Some(draft(ServiceId(Uuid::nil()))?),
        _ => None,
    };
    Ok(Work::Change(ours, nil))
}

fn present(service: ServiceId, starting: &Starting) -> Result<BTreeMap<DeviceName, Present>, Vec<Failure>> {
    let read = |device: &DeviceName, stored: &Value| -> Result<Footprint, Vec<Failure>> {
        serde_json::from_value(stored.clone()).map_err(|error| {
            invalid(format!("what the service has on {device} can't be read from the store: {error}"))
        })
    };
    // After a failed attempt all of it is written again, whatever is known of each device.
    let failed = starting.services.get(&service).is_some_and(|s| s.state == ServiceState::FailDeploy);
    let rows = starting.footprints.get(&service).into_iter().flatten();
    rows.map(|(device, row)| {
        let footprint = (!row.footprint.is_null()).then(|| read(device, &row.footprint)).transpose()?;
        let strays = row.strays.iter().map(|stray| read(device, stray)).collect::<Result<_, _>>()?;
        Ok((device.clone(), Present { footprint, strays, uncertain: failed || row.in_force != InForce::New }))
    })
    .collect()
}

fn definition<'c>(due: &DueOrder, catalogue: &'c Catalogue) -> Result<&'c Definition, Vec<Failure>> {
    let order = &due.order;
    let name = DefinitionName::new(order.definition.as_str()).ok();
    let version = u32::try_from(order.definition_version).unwrap_or_default();
    name.and_then(|name| catalogue.version(&name, version)).map(AsRef::as_ref).ok_or_else(|| {
        invalid(format!("there is no definition {} version {version}; publish it again", order.definition))
    })
}

fn platforms(due: &DueOrder, starting: &Starting) -> BTreeMap<DeviceName, PlatformName> {
    let platform = |name: &DeviceName| Some((name.clone(), starting.devices.get(name)?.platform.clone()));
    due.devices.iter().filter_map(platform).collect()
}

fn footprints(
    due: &DueOrder,
    starting: &Starting,
    knowledge: &Knowledge<'_>,
    service: ServiceId,
) -> Result<BTreeMap<DeviceName, Footprint>, Vec<Failure>> {
    let order = &due.order;
    let attributes = order.attributes.as_object().cloned().unwrap_or_default();
    definition(due, knowledge.catalogue)?
        .footprints_with(service, &attributes, &order.endpoints, &platforms(due, starting), &|platform| {
            knowledge.yang.get(platform).cloned()
        })
        .map_err(|error| invalid(error.to_string()))
}

/// What is to be looked at on each device where the service is.
fn audit(
    due: &DueOrder,
    starting: &Starting,
    knowledge: &Knowledge<'_>,
    present: &BTreeMap<DeviceName, Present>,
    attributes: &serde_json::Map<String, Value>,
    endpoints: &[Endpoint],
) -> Result<BTreeMap<DeviceName, AuditWork>, Vec<Failure>> {
    let parts = &due.order.options.audit;
    let platforms = platforms(due, starting);
    let mut works = BTreeMap::new();
    for (device, present) in present {
        let Some(footprint) = &present.footprint else { continue };
        let config = parts.contains(&AuditPart::Config).then(|| ConfigWork {
            footprint: footprint.config().to_owned(),
            filter: footprint.filter(),
            owned: footprint.owned_nodes(),
            keys: footprint.keys().clone(),
        });
        let checks = match parts.contains(&AuditPart::Functional) {
            false => Vec::new(),
            true => definition(due, knowledge.catalogue)?
                .checks(due.order.service_id, attributes, endpoints, &platforms, device)
                .map_err(|error| invalid(error.to_string()))?,
        };
        works.insert(device.clone(), AuditWork { config, checks });
    }
    Ok(works)
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

/// What is to be looked up for a batch: device and path.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// Nodes that must not be another service's.
    pub(crate) claimed: Vec<(String, String)>,
    /// All that these lie in.
    pub(crate) around: Vec<(String, String)>,
    /// Nodes held together with other services.
    pub(crate) shared: Vec<(String, String)>,
}

/// What was looked up.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Who owns the claimed nodes, or something inside or around them.
    pub(crate) owners: Vec<(String, String, ServiceId)>,
    /// Who holds the shared ones.
    pub(crate) holders: Vec<Holder>,
    /// Approved plans, by hash, as they read.
    pub(crate) approved: HashMap<String, String>,
}

impl Batch {
    /// What the batch touches.
    pub(crate) fn questions(&self) -> Questions {
        let pair = |(device, node): Node| (device.to_string(), node);
        let mut questions = Questions::default();
        let mut around = BTreeSet::new();
        for work in self.works.iter().flatten().flatten() {
            let Work::Change(draft, _) = work else { continue };
            for (device, node) in draft.claimed() {
                around.extend(ancestors(&node).into_iter().map(|node| (device.to_string(), node.to_owned())));
                questions.claimed.push((device.to_string(), node));
            }
            questions.shared.extend(draft.shared().into_iter().map(pair));
        }
        questions.around = around.into_iter().collect();
        questions
    }

    /// The decisions and their log entries.
    pub(crate) fn decide(
        self,
        starting: &Starting,
        answers: &Answers,
        limits: &Limits,
        now: Timestamp,
    ) -> (Vec<Decision>, Vec<Entry>) {
        let mut entries = Vec::new();
        let decisions = self
            .works
            .into_iter()
            .zip(&starting.orders)
            .map(|(work, due)| {
                let started = work.and_then(|work| {
                    let Some(work) = work else { return Ok(None) };
                    let parts = match work {
                        Work::Audit(works) => Parts::audit(works),
                        Work::Change(draft, nil) => Parts::change(due, *draft, nil, answers)?,
                    };
                    deployment(due, starting, parts, limits).map(Some)
                });
                match started {
                    Ok(None) => Decision::Wait,
                    Ok(Some(start)) => {
                        let generation = due.order.generation + 1;
                        let more = json!({"generation": generation, "deployment": start.deployment});
                        entries.push(entry(
                            due,
                            1,
                            OrderState::Scheduled,
                            OrderState::InProgress,
                            now,
                            None,
                            more,
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
                        entries.extend(failed_service(due, starting, now));
                        Decision::Invalid(failures)
                    }
                }
            })
            .collect();
        (decisions, entries)
    }
}

/// The parts of a deployment.
struct Parts {
    purpose: Purpose,
    /// Edits of the devices that change.
    edits: BTreeMap<DeviceName, DeviceEdit>,
    audits: BTreeMap<DeviceName, AuditWork>,
    /// What the service has once it is committed, see [`Start::footprints`].
    footprints: Vec<Value>,
}

impl Parts {
    fn audit(audits: BTreeMap<DeviceName, AuditWork>) -> Self {
        Self { purpose: Purpose::Audit, edits: BTreeMap::new(), audits, footprints: Vec::new() }
    }

    fn change(
        due: &DueOrder,
        draft: Draft,
        nil: Option<Box<Draft>>,
        answers: &Answers,
    ) -> Result<Self, Vec<Failure>> {
        let plan = draft.finish(&answers.owners, &answers.holders)?;
        if let Some(approved) = &due.order.options.approved_plan {
            let named = match nil {
                None => plan.hash(),
                Some(nil) => nil.finish(&answers.owners, &answers.holders)?.hash(),
            };
            if named != *approved {
                return Err(vec![not_approved(&plan, approved, answers.approved.get(approved))]);
            }
        }
        let service = due.order.service_id;
        let mut edits = BTreeMap::new();
        let mut footprints = Vec::with_capacity(plan.devices.len());
        for (device, done) in plan.devices {
            let nodes = done.footprint.as_ref().map(Footprint::owned_nodes).unwrap_or_default();
            let shared: Vec<Value> = done
                .footprint
                .iter()
                .flat_map(Footprint::shared_nodes)
                .map(|(node, value)| json!({"node": node, "value": value}))
                .collect();
            footprints.push(json!({
                "service_id": service, "device": device, "footprint": done.footprint,
                "nodes": nodes, "shared": shared,
            }));
            if let Some(edit) = done.edit {
                edits.insert(device, edit.edit);
            }
        }
        Ok(Self { purpose: Purpose::Change, edits, audits: BTreeMap::new(), footprints })
    }
}

/// A plan that was kept when it was shown, as [`Plan::text`] writes it.
pub(crate) fn text_of(plan: &Value) -> String {
    let devices = plan["devices"].as_array().into_iter().flatten();
    devices
        .map(|device| {
            let text = |key: &str| device[key].as_str().unwrap_or_default();
            let diff = match text("diff") {
                "" => "  (nothing changes)\n".to_owned(),
                diff => diff.lines().map(|line| format!("  {line}\n")).collect(),
            };
            format!("{} ({})\n{diff}", text("device"), text("platform"))
        })
        .collect()
}

fn not_approved(plan: &Plan, approved: &str, text: Option<&String>) -> Failure {
    let message = format!(
        "what would be deployed now is not the approved plan {approved}: the service, the devices or the \
         definition have changed since; look at the plan again, approve it, and order again"
    );
    let mut failure = Failure::new(FailureClass::Invalid, "plan", message);
    let unknown = "the approved plan is not on record here: plans are kept for 30 days after they were shown";
    let text = text.map_or_else(|| unknown.to_owned(), Clone::clone);
    failure.details = vec![
        Detail { title: format!("approved plan {approved}"), text },
        Detail { title: "plan as it is now".to_owned(), text: plan.text() },
    ];
    failure
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

/// An attempt to change a service that turns out Invalid leaves it in Fail Deploy.
fn failed_service(due: &DueOrder, starting: &Starting, now: Timestamp) -> Option<Entry> {
    let order = &due.order;
    let service = starting.services.get(&order.service_id)?;
    let event = service_event(order.kind, OrderEvent::Invalid)?;
    let state = service_transition(Some(service.state), event)?;
    let more = json!({"state": state, "order_state": OrderState::Invalid});
    let event = order.facts().service_event(Uuid::now_v7(), service.sequence + 1, state.word(), now, more);
    Some(Entry { event, change: None, why: None, by: BY.to_owned() })
}

/// The one deployment of the order: this release deploys an order's devices in one region.
fn deployment(
    due: &DueOrder,
    starting: &Starting,
    parts: Parts,
    limits: &Limits,
) -> Result<Start, Vec<Failure>> {
    let regions: BTreeSet<&RegionName> =
        due.devices.iter().filter_map(|name| Some(&starting.devices.get(name)?.region)).collect();
    let [region] = regions.iter().copied().collect::<Vec<_>>()[..] else {
        let names: Vec<&str> = regions.iter().map(|region| region.as_str()).collect();
        return Err(invalid(format!("its devices are in several regions: {}", names.join(", "))));
    };
    let Parts { purpose, mut edits, mut audits, footprints } = parts;
    let touched: BTreeSet<DeviceName> = edits.keys().chain(audits.keys()).cloned().collect();
    let devices = touched
        .into_iter()
        .filter_map(|name| {
            let device = starting.devices.get(&name)?;
            Some(DeviceWork {
                address: device.address.clone(),
                port: device.port,
                platform: device.platform.clone(),
                host_key: device.host_key.clone(),
                credential: device.credential.clone(),
                epoch: starting.epochs.get(&name).copied().unwrap_or_default() + 1,
                edits: edits.remove(&name).into_iter().collect(),
                audit: audits.remove(&name),
                device: name,
            })
        })
        .collect();
    let message = Deployment {
        deployment: DeploymentId(Uuid::now_v7()),
        attempt: 1,
        generation: due.order.generation + 1,
        region: region.clone(),
        orders: vec![due.order.id],
        purpose,
        devices,
        limits: limits.clone(),
    };
    Ok(Start {
        deployment: message.deployment,
        region: region.to_string(),
        priority: due.order.priority,
        message: message.encode().map_err(|error| invalid(error.to_string()))?,
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
