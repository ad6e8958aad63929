//! What happens to each order of a batch whose time has come: pure decisions over what the store
//! has locked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use turnup_core::{
    audit::{AuditPart, AuditWork, ChecksBeforeConfirm, ConfigWork},
    drift::OnDrift,
    failure::{Detail, Failure, FailureClass},
    id::ServiceId,
    lease::{Admission, admit_groups},
    lifecycle::{OrderEvent, OrderState, service_transition},
    message::{DeviceEdit, InForce, Limits, Purpose},
    name::{DefinitionName, DeviceName, PlatformName},
    order::{Endpoint, OrderKind},
    profile::Profiles,
    settle::service_event,
};
use turnup_library::planning::{self, Drafted};
use turnup_plan::{BeforeConfirm, Catalogue, Footprint, Plan, Present, Questions, Together, Yang};
use turnup_store::{Decision, DueOrder, Entry, Holder, ServiceAtStart, Starting};
use uuid::Uuid;

use crate::{
    dispatch::{Field, deployments},
    group::{Companions, Most},
};

/// Who did it, in the history.
const BY: &str = "scheduler";

/// What planning needs beside the store's rows.
pub(crate) struct Knowledge<'a> {
    pub(crate) catalogue: &'a Catalogue,
    /// YANG of the platforms that have it at hand.
    pub(crate) yang: &'a BTreeMap<PlatformName, Yang>,
}

/// What is begun for one order.
pub(crate) enum Work {
    /// Devices change.
    Change(Box<Drafted>),
    /// Devices are looked at.
    Audit(BTreeMap<DeviceName, AuditWork>),
}

/// Answers to a whole batch, in its order. `Ok(None)`: waits for its devices.
pub(crate) struct Batch {
    works: Vec<Result<Option<Work>, Vec<Failure>>>,
    /// With whom each goes: the place of the first of its group, which may be its own.
    firsts: Vec<Option<usize>>,
    /// What those who go together touch, by the place of their first.
    groups: BTreeMap<usize, Together>,
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

/// Decides who may start and who goes together, and drafts for those.
pub(crate) fn draft(starting: &Starting, knowledge: &Knowledge<'_>, most: Most) -> Batch {
    let candidates: Vec<_> = starting.orders.iter().map(DueOrder::candidate).collect();
    let mut companions = Companions::new(starting, knowledge, most);
    let firsts: Vec<Option<usize>> = admit_groups(&candidates, &starting.board, &mut companions)
        .into_iter()
        .enumerate()
        .map(|(at, admission)| match admission {
            Admission::Wait(_) => None,
            Admission::Start => Some(at),
            Admission::Join(first) => Some(first),
        })
        .collect();
    let works = firsts.iter().enumerate().map(|(at, first)| match first {
        None => Ok(None),
        Some(_) => companions.take(at).transpose(),
    });
    let works = works.collect();
    Batch { works, firsts, groups: companions.into_groups() }
}

pub(crate) fn invalid(message: impl Into<String>) -> Vec<Failure> {
    vec![Failure::new(FailureClass::Invalid, "plan", message)]
}

pub(crate) fn begin(
    due: &DueOrder,
    starting: &Starting,
    knowledge: &Knowledge<'_>,
) -> Result<Work, Vec<Failure>> {
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
    if let Some(service) = service {
        not_overtaken(due, service)?;
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

/// Whether nobody knows what an earlier deployment has left of the order, or of its service, on a device.
pub(crate) fn past_is_unknown(starting: &Starting, due: &DueOrder) -> bool {
    let of_service = starting.footprints.get(&due.order.service_id).into_iter().flatten();
    starting.unresolved.contains(&due.order.id)
        || of_service.into_iter().any(|(_, stored)| stored.in_force == InForce::Unknown)
}

/// Neither an attempt that nobody asked for nor an order that takes another one back may undo what has been deployed
/// meanwhile.
fn not_overtaken(due: &DueOrder, service: &ServiceAtStart) -> Result<(), Vec<Failure>> {
    if !due.is_overtaken(service) {
        return Ok(());
    }
    let last = service.wanted_by;
    Err(invalid(match due.order.options.undoes {
        Some(undone) => format!(
            "order {last} has changed the service since this order was accepted, which was to undo order {undone} and \
             would undo that one too; look at the service, and undo again if it is still wanted"
        ),
        None => format!(
            "while it waited to be tried again, order {last}, which came later, has changed the service, and this one \
             would undo that; order it again if it is still wanted"
        ),
    }))
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
            nodes: footprint.nodes_for_audit(knowledge.yang.get(footprint.platform())),
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

/// What a service is to be once an order that keeps or makes it is done.
struct Wanted<'a> {
    definition: &'a str,
    version: i32,
    attributes: &'a Value,
    endpoints: &'a [Endpoint],
}

impl<'a> Wanted<'a> {
    /// None: the order removes the service, or only looks at it.
    fn of(due: &'a DueOrder, starting: &'a Starting) -> Option<Self> {
        let order = &due.order;
        match order.kind {
            OrderKind::Provision | OrderKind::Modify => Some(Self {
                definition: &order.definition,
                version: order.definition_version,
                attributes: &order.attributes,
                endpoints: &order.endpoints,
            }),
            OrderKind::Redeploy => starting.services.get(&order.service_id).map(|service| Self {
                definition: &service.definition,
                version: service.definition_version,
                attributes: &service.attributes,
                endpoints: &service.endpoints,
            }),
            OrderKind::Validate | OrderKind::Decommission => None,
        }
    }
}

/// How functional checks decide whether a change by this order is confirmed; none: they don't.
pub(crate) fn policy_before_confirm(
    due: &DueOrder,
    starting: &Starting,
    catalogue: &Catalogue,
) -> Option<BeforeConfirm> {
    let wanted = Wanted::of(due, starting)?;
    planning::definition(catalogue, wanted.definition, wanted.version).ok()?.before_confirm()
}

/// The functional checks of the devices that an order changes or looks at for drift, rendered for what it wants.
fn checks_before_confirm(
    due: &DueOrder,
    starting: &Starting,
    catalogue: &Catalogue,
    parts: &Parts,
) -> Result<BTreeMap<DeviceName, ChecksBeforeConfirm>, Vec<Failure>> {
    let mut all = BTreeMap::new();
    let Some(policy) = policy_before_confirm(due, starting, catalogue) else { return Ok(all) };
    let Some(wanted) = Wanted::of(due, starting) else { return Ok(all) };
    let definition = planning::definition(catalogue, wanted.definition, wanted.version)?;
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let attributes = wanted.attributes.as_object().cloned().unwrap_or_default();
    let platforms = platforms(due, starting);
    // A device that the service leaves has no endpoint to check.
    let stays = |device: &DeviceName| wanted.endpoints.iter().any(|endpoint| endpoint.device == *device);
    let of_all_devices = wanted.endpoints.iter().all(|endpoint| parts.edits.contains_key(&endpoint.device));
    for device in parts.edits.keys().filter(|device| stays(device)) {
        let checks =
            definition.checks(due.order.service_id, &attributes, wanted.endpoints, &platforms, device);
        let checks = checks.map_err(|error| invalid(error.to_string()))?;
        let (settle_ms, within_ms) = (ms(policy.settle), ms(policy.within));
        all.insert(device.clone(), ChecksBeforeConfirm { checks, settle_ms, within_ms, of_all_devices });
    }
    Ok(all)
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
        (catalogue, profiles): (&Catalogue, &Profiles),
        limits: &Limits,
        most: Most,
        now: Timestamp,
    ) -> (Vec<Decision>, Vec<Entry>) {
        let Self { works, firsts, groups } = self;
        let mut decisions: Vec<Decision> = Vec::with_capacity(works.len());
        let mut going: BTreeMap<usize, Vec<(usize, Parts)>> = BTreeMap::new();
        for (at, ((work, due), first)) in works.into_iter().zip(&starting.orders).zip(firsts).enumerate() {
            let parts = work.and_then(|work| match work {
                None => Ok(None),
                Some(Work::Audit(works)) => Ok(Some(Parts::audit(works))),
                Some(Work::Change(drafted)) => {
                    let together = first.and_then(|first| groups.get(&first));
                    let parts = Parts::change(due, *drafted, answers, together);
                    parts.and_then(|parts| {
                        let past_unknown = past_is_unknown(starting, due);
                        let checks = checks_before_confirm(due, starting, catalogue, &parts)?;
                        Ok(Some(Parts { past_unknown, checks, ..parts }))
                    })
                }
            });
            decisions.push(match parts {
                Ok(None) => Decision::Wait,
                Ok(Some(parts)) => {
                    going.entry(first.unwrap_or(at)).or_default().push((at, parts));
                    // Until it is decided below.
                    Decision::Wait
                }
                Err(failures) => Decision::Invalid(failures),
            });
        }
        for mut group in going.into_values() {
            // As they came.
            group.sort_by_key(|(at, _)| {
                let ticket = starting.orders.get(*at).and_then(|due| due.ticket);
                (ticket.is_none(), ticket, *at)
            });
            for (at, decision) in start(group, starting, profiles, limits, most) {
                if let Some(place) = decisions.get_mut(at) {
                    *place = decision;
                }
            }
        }
        let decided = starting.orders.iter().zip(&decisions);
        let entries = decided.flat_map(|(due, decision)| entries(due, decision, starting, now)).collect();
        (decisions, entries)
    }
}

/// The log entries of a decision.
fn entries(due: &DueOrder, decision: &Decision, starting: &Starting, now: Timestamp) -> Vec<Entry> {
    use OrderState::{InProgress, Invalid, Scheduled};
    let deployment = match decision {
        Decision::Wait => return Vec::new(),
        Decision::Start(starts) => starts.first().map(|start| start.deployment),
        Decision::With(deployment) => Some(*deployment),
        Decision::Invalid(failures) => {
            let why = failures.first().map(|failure| failure.message.clone());
            let errors = json!({"errors": failures});
            let begun = entry(due, 1, Scheduled, InProgress, now, None, json!({}));
            let ended = entry(due, 2, InProgress, Invalid, now, why, errors);
            return [begun, ended].into_iter().chain(failed_service(due, starting, now)).collect();
        }
    };
    let more = json!({"generation": due.order.generation + 1, "deployment": deployment});
    vec![entry(due, 1, Scheduled, InProgress, now, None, more)]
}

/// Those of a group that start, and in which deployment. Those for whom there is no room go on waiting, with
/// all who came after them. One that changes nothing at a device goes alone, so those before it go without it.
fn start(
    mut group: Vec<(usize, Parts)>,
    starting: &Starting,
    profiles: &Profiles,
    limits: &Limits,
    most: Most,
) -> Vec<(usize, Decision)> {
    let idle = |(_, parts): &(usize, Parts)| parts.edits.is_empty() && parts.audits.is_empty();
    if let Some(first) = group.iter().position(idle) {
        group.truncate(first.max(1));
    }
    let field = Field {
        devices: &starting.devices,
        epochs: &starting.epochs,
        pending_tokens: &starting.pending_tokens,
        profiles,
    };
    loop {
        let going: Vec<(&DueOrder, &Parts)> =
            group.iter().filter_map(|(at, parts)| Some((starting.orders.get(*at)?, parts))).collect();
        match deployments(&going, &field, limits) {
            Ok(starts) if group.len() > 1 && starts.iter().any(|start| start.message.len() > most.bytes) => {}
            Ok(mut starts) => {
                let id = starts.first().map(|start| start.deployment);
                let decision = |(at, _): (usize, Parts)| match (std::mem::take(&mut starts), id) {
                    (none, Some(id)) if none.is_empty() => (at, Decision::With(id)),
                    (first, _) => (at, Decision::Start(first)),
                };
                return group.into_iter().map(decision).collect();
            }
            Err(failures) if group.len() < 2 => {
                return group.into_iter().map(|(at, _)| (at, Decision::Invalid(failures.clone()))).collect();
            }
            Err(_) => {}
        }
        // The later half waits: that is nobody who stands before one who starts.
        group.truncate(group.len() / 2);
    }
}

/// What one order wants of a deployment.
pub(crate) struct Parts {
    pub(crate) purpose: Purpose,
    /// See [`turnup_core::message::Deployment::past_unknown`].
    pub(crate) past_unknown: bool,
    /// Edits of the devices that change, and of those that are only looked at for drift.
    pub(crate) edits: BTreeMap<DeviceName, DeviceEdit>,
    pub(crate) audits: BTreeMap<DeviceName, AuditWork>,
    /// Functional checks of changed devices before the change is confirmed.
    pub(crate) checks: BTreeMap<DeviceName, ChecksBeforeConfirm>,
    /// What the service has once it is committed, see [`turnup_store::Start::footprints`].
    pub(crate) footprints: Vec<Value>,
}

impl Parts {
    fn audit(audits: BTreeMap<DeviceName, AuditWork>) -> Self {
        let (edits, checks, footprints) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { purpose: Purpose::Audit, past_unknown: false, edits, audits, checks, footprints }
    }

    fn change(
        due: &DueOrder,
        drafted: Drafted,
        answers: &Answers,
        together: Option<&Together>,
    ) -> Result<Self, Vec<Failure>> {
        let (plan, hash) = match together {
            None => drafted.finish(&answers.owners, &answers.holders)?,
            Some(group) => drafted.finish_beside(&answers.owners, &answers.holders, group.joint())?,
        };
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
            if let Some(mut edit) = done.edit.map(|edit| edit.edit).or(done.reading) {
                if due.order.options.approved_plan.is_some() {
                    only_as_approved(&mut edit);
                }
                edits.insert(device, edit);
            }
        }
        let (purpose, audits) = (Purpose::Change, BTreeMap::new());
        Ok(Self { purpose, past_unknown: false, edits, audits, checks: BTreeMap::new(), footprints })
    }
}

/// Nothing but the approved plan is deployed, so nothing is repaired along.
fn only_as_approved(edit: &mut DeviceEdit) {
    if let Some(whole) = edit.whole.as_mut().filter(|whole| whole.on_drift == OnDrift::Repair) {
        whole.on_drift = OnDrift::Refuse;
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

/// An attempt to change a service that turns out Invalid leaves it in Fail Deploy; not one that came too late.
fn failed_service(due: &DueOrder, starting: &Starting, now: Timestamp) -> Option<Entry> {
    let order = &due.order;
    let service = starting.services.get(&order.service_id).filter(|service| !due.is_overtaken(service))?;
    let event = service_event(order.kind, OrderEvent::Invalid)?;
    let state = service_transition(Some(service.state), event)?;
    let more = json!({"state": state, "order_state": OrderState::Invalid});
    let event = order.facts().service_event(Uuid::now_v7(), service.sequence + 1, state.word(), now, more);
    Some(Entry { event, change: None, why: None, by: BY.to_owned() })
}
