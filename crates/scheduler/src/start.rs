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
    lifecycle::{OrderEvent, OrderState, service_transition},
    message::{Body as _, Deployment, DeviceEdit, DeviceWork, Limits, Purpose},
    name::{DefinitionName, DeviceName, PlatformName, RegionName},
    order::OrderKind,
    settle::service_event,
};
use turnup_library::planning::{self, Drafted};
use turnup_plan::{Catalogue, Footprint, Plan, Present, Questions, Yang};
use turnup_store::{Decision, DueOrder, Entry, Holder, ServiceAtStart, Start, Starting};
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
    /// Devices change.
    Change(Box<Drafted>),
    /// Devices are looked at.
    Audit(BTreeMap<DeviceName, AuditWork>),
}

/// Answers to a whole batch, in its order. `Ok(None)`: waits for its devices.
pub(crate) struct Batch {
    works: Vec<Result<Option<Work>, Vec<Failure>>>,
}

/// The definition and version by which an order is planned, or its service audited; none: it needs none.
fn version<'a>(due: &'a DueOrder, starting: &'a Starting) -> Option<(&'a str, i32)> {
    let order = &due.order;
    match order.kind {
        kind if kind.has_content() => Some((&order.definition, order.definition_version)),
        // The service may have moved to another version since the audit was ordered.
        OrderKind::Validate if order.options.audit.contains(&AuditPart::Functional) => {
            let service = starting.services.get(&order.service_id)?;
            Some((&service.definition, service.definition_version))
        }
        _ => None,
    }
}

/// The definitions that a batch needs: name and version.
pub(crate) fn definitions(starting: &Starting) -> BTreeSet<(DefinitionName, u32)> {
    let needed = starting.orders.iter().filter_map(|due| version(due, starting));
    needed
        .filter_map(|(name, version)| Some((DefinitionName::new(name).ok()?, u32::try_from(version).ok()?)))
        .collect()
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
    let rows = starting.footprints.get(&order.service_id).into_iter().flatten();
    let rows = rows.map(|(device, row)| (device.as_str(), &row.footprint, row.in_force, &row.strays[..]));
    let present = planning::present(service.map(|service| service.state), rows)?;
    if let (OrderKind::Validate, Some(service)) = (order.kind, service) {
        return audit(due, starting, knowledge, &present, service).map(Work::Audit);
    }
    let attributes = order.attributes.as_object().cloned().unwrap_or_default();
    let task = planning::Task {
        kind: order.kind,
        order: order.id,
        service: order.service_id,
        present,
        content: planning::Content {
            definition: &order.definition,
            version: order.definition_version,
            attributes: &attributes,
            endpoints: &order.endpoints,
            platforms: &platforms(due, starting),
        },
        hashed: order.options.approved_plan.is_some(),
    };
    let drafted =
        planning::draft(task, knowledge.catalogue, &|platform| knowledge.yang.get(platform).cloned())?;
    Ok(Work::Change(Box::new(drafted)))
}

fn platforms(due: &DueOrder, starting: &Starting) -> BTreeMap<DeviceName, PlatformName> {
    let platform = |name: &DeviceName| Some((name.clone(), starting.devices.get(name)?.platform.clone()));
    due.devices.iter().filter_map(platform).collect()
}

/// What is to be looked at on each device where the service is.
fn audit(
    due: &DueOrder,
    starting: &Starting,
    knowledge: &Knowledge<'_>,
    present: &BTreeMap<DeviceName, Present>,
    service: &ServiceAtStart,
) -> Result<BTreeMap<DeviceName, AuditWork>, Vec<Failure>> {
    let parts = &due.order.options.audit;
    let platforms = platforms(due, starting);
    let attributes = service.attributes.as_object().cloned().unwrap_or_default();
    let definition = match version(due, starting) {
        None => None,
        Some((name, version)) => Some(planning::definition(knowledge.catalogue, name, version)?),
    };
    let mut works = BTreeMap::new();
    for (device, present) in present {
        let Some(footprint) = &present.footprint else { continue };
        let config = parts.contains(&AuditPart::Config).then(|| ConfigWork {
            footprint: footprint.config().to_owned(),
            filter: footprint.filter(),
            owned: footprint.owned_nodes(),
            keys: footprint.keys().clone(),
        });
        let checks = match definition {
            None => Vec::new(),
            Some(definition) => definition
                .checks(due.order.service_id, &attributes, &service.endpoints, &platforms, device)
                .map_err(|error| invalid(error.to_string()))?,
        };
        works.insert(device.clone(), AuditWork { config, checks });
    }
    Ok(works)
}

/// What was looked up.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Who owns what was asked for.
    pub(crate) owners: Vec<(String, String, ServiceId)>,
    /// Who shares it.
    pub(crate) holders: Vec<Holder>,
    /// Approved plans, by hash, as they read.
    pub(crate) approved: HashMap<String, String>,
}

impl Batch {
    /// What is to be looked up for the batch.
    pub(crate) fn questions(&self) -> Questions {
        Questions::of(self.works.iter().flatten().flatten().filter_map(|work| match work {
            Work::Change(drafted) => Some(drafted.draft()),
            Work::Audit(_) => None,
        }))
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
                        Work::Change(drafted) => Parts::change(due, *drafted, answers)?,
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

    fn change(due: &DueOrder, drafted: Drafted, answers: &Answers) -> Result<Self, Vec<Failure>> {
        let (plan, hash) = drafted.finish(&answers.owners, &answers.holders)?;
        if let Some(approved) = &due.order.options.approved_plan
            && hash.as_ref() != Some(approved)
        {
            return Err(vec![not_approved(&plan, approved, answers.approved.get(approved))]);
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
