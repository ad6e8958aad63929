//! From what is known of the devices to the messages that say it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use turnup_broker::{Headers, Names, Outgoing};
use turnup_core::{
    across,
    audit::DeviceAudit,
    clean,
    failure::{Failure, FailureClass},
    id::DeploymentId,
    lifecycle::DeploymentEvent,
    message::{
        Body as _, Deployment, DeviceReport, DeviceWork, Guarantee, InForce, OrderReport, Purpose, Stage,
        StateChange, Step, Unreadable,
    },
    name::DeviceName,
    secret::Redactor,
    settle,
    transaction::{Seat, Transaction},
    transcript::{DeviceTranscript, Transcript},
};

use crate::{
    audit::{cut, on_paper},
    progress::{self, Progress},
    secrets::Secrets,
    whole::Audits,
};

/// The phase of an audit.
const AUDIT: &str = "audit";

/// What became of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) event: DeploymentEvent,
    pub(crate) phase: &'static str,
    pub(crate) devices: Vec<DeviceReport>,
    pub(crate) orders: Vec<OrderReport>,
    /// Where devices wait for a decision: until when.
    pub(crate) confirm_by: Option<Timestamp>,
}

/// What is known of one device at the end.
pub(crate) struct Known {
    pub(crate) device: DeviceName,
    pub(crate) in_force: InForce,
    pub(crate) failures: Vec<Failure>,
    /// What decides nothing.
    pub(crate) notes: Vec<Failure>,
    pub(crate) steps: Vec<Step>,
    /// How it was changed, or would have been.
    pub(crate) guarantee: Option<Guarantee>,
    /// The tokens of earlier deployments were cancelled there.
    pub(crate) tokens_cancelled: bool,
    /// What was found out about it on the way.
    pub(crate) remarks: Vec<String>,
    /// What was found of the orders' services.
    pub(crate) audits: Audits,
}

/// What a device of a transaction has to tell besides what is in force.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) notes: Vec<Failure>,
    pub(crate) steps: Vec<Step>,
    pub(crate) guarantee: Option<Guarantee>,
    pub(crate) tokens_cancelled: bool,
    pub(crate) remarks: Vec<String>,
    pub(crate) audits: Audits,
}

/// What an audit has seen of one device.
pub(crate) struct Seen {
    pub(crate) audit: DeviceAudit,
    /// Why something could not be looked at.
    pub(crate) notes: Vec<Failure>,
    pub(crate) steps: Vec<Step>,
}

/// What the log says of a deployment in which something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedLine {
    /// The orders that failed, at most ten.
    pub(crate) orders: String,
    /// The failure that decides, and how many there are in all.
    pub(crate) phase: String,
    pub(crate) device: String,
    pub(crate) class: &'static str,
    /// The device's words, or ours.
    pub(crate) words: String,
    pub(crate) failures: usize,
}

/// Most orders named in a line of the log, and most characters of what a device said.
const LOGGED_ORDERS: usize = 10;
const LOGGED_WORDS: usize = 300;

impl Ending {
    /// The same without these values in its texts.
    pub(crate) fn without(mut self, secrets: &Redactor) -> Self {
        if secrets.is_empty() {
            return self;
        }
        for report in &mut self.devices {
            report.failures.iter_mut().for_each(|failure| secrets.failure(failure));
            report.remarks.iter_mut().for_each(|remark| secrets.clean(remark));
            report.audit.iter_mut().for_each(|audit| clean_audit(audit, secrets));
        }
        for report in &mut self.orders {
            report.failures.iter_mut().for_each(|failure| secrets.failure(failure));
            report.audits.values_mut().for_each(|audit| clean_audit(audit, secrets));
        }
        self
    }

    /// One line on the failures of its orders; `None` if all orders are deployed.
    pub(crate) fn failed_line(&self) -> Option<FailedLine> {
        let failed: Vec<&OrderReport> =
            self.orders.iter().filter(|order| !order.failures.is_empty()).collect();
        let failures = || failed.iter().flat_map(|order| &order.failures);
        let rank = |failure: &&Failure| match failure.class {
            FailureClass::Invalid => 0,
            FailureClass::Undone => 2,
            _ => 1,
        };
        let gravest = failures().min_by_key(rank)?;
        let mut orders: Vec<String> =
            failed.iter().take(LOGGED_ORDERS).map(|report| report.order.to_string()).collect();
        if failed.len() > LOGGED_ORDERS {
            orders.push(format!("and {} more", failed.len() - LOGGED_ORDERS));
        }
        let info = gravest.error_info.iter().map(|info| format!(" [{} {}]", info.name, info.value));
        let said = format!("{}{}", gravest.message, info.collect::<String>());
        Some(FailedLine {
            orders: orders.join(", "),
            phase: gravest.phase.clone(),
            device: gravest.device.as_ref().map(ToString::to_string).unwrap_or_default(),
            class: gravest.class.word(),
            words: clean::line(&said, LOGGED_WORDS),
            failures: failures().count(),
        })
    }

    /// Judges by what is known.
    pub(crate) fn of(deployment: &Deployment, phase: &'static str, known: Vec<Known>) -> Self {
        let committed = known.iter().all(|device| device.in_force == InForce::New);
        let culprits: Vec<DeviceName> =
            known.iter().filter(|k| !k.failures.is_empty()).map(|k| k.device.clone()).collect();
        let devices: Vec<DeviceReport> = known
            .into_iter()
            .map(|known| {
                let Known {
                    device,
                    in_force,
                    failures,
                    notes,
                    steps,
                    guarantee,
                    tokens_cancelled,
                    remarks,
                    audits,
                } = known;
                let mut failures = if committed { Vec::new() } else { failures };
                if in_force == InForce::Old && failures.is_empty() {
                    failures.push(undone(phase, &culprits));
                }
                failures.extend(notes);
                let failures = failures.into_iter().map(|f| f.at(device.clone())).collect();
                DeviceReport {
                    device,
                    in_force,
                    steps,
                    failures,
                    audit: of_one(deployment, audits),
                    guarantee,
                    tokens_cancelled,
                    remarks,
                }
            })
            .collect();
        let orders: Vec<OrderReport> = deployment
            .orders
            .iter()
            .map(|order| {
                let touches = |device: &DeviceName| {
                    let work = deployment.devices.iter().find(|work| work.device == *device);
                    work.is_some_and(|work| work.edits.iter().any(|edit| edit.order == *order))
                };
                let own: Vec<&DeviceReport> =
                    devices.iter().filter(|report| touches(&report.device)).collect();
                let deployed = own.iter().all(|report| report.in_force == InForce::New);
                let mut failures: Vec<Failure> = Vec::new();
                if !committed && (!deployed || own.is_empty()) {
                    let own = own.iter().flat_map(|report| &report.failures);
                    failures.extend(own.filter(|f| f.class != FailureClass::Undone).cloned());
                    if failures.is_empty() {
                        failures.push(undone(phase, &culprits));
                    }
                }
                let in_force = own.iter().map(|report| (report.device.clone(), report.in_force)).collect();
                OrderReport { order: *order, failures, in_force, audits: BTreeMap::new() }
            })
            .collect();
        Self { event: settle::outcome(&devices, &orders), phase, devices, orders, confirm_by: None }
    }

    /// Of a transaction that has been run, or a stage of it.
    pub(crate) fn of_transaction(
        deployment: &Deployment,
        stage: Stage,
        phase: &'static str,
        transaction: &Transaction,
        mut parts: impl FnMut(usize) -> Parts,
    ) -> Self {
        let known = deployment.devices.iter().zip(transaction.seats()).enumerate();
        let known = known.map(|(at, (work, seat))| {
            let Seat { in_force, failures, .. } = seat;
            let Parts { notes, steps, guarantee, tokens_cancelled, remarks, audits } = parts(at);
            Known {
                device: work.device.clone(),
                in_force: *in_force,
                failures: failures.clone(),
                notes,
                steps,
                guarantee,
                tokens_cancelled,
                remarks,
                audits,
            }
        });
        let ending = Self::of(deployment, phase, known.collect());
        Self { event: across::event(stage, ending.event), ..ending }
    }

    /// Of a part that waits for the decision, until `confirm_by`.
    pub(crate) fn prepared(
        deployment: &Deployment,
        phase: &'static str,
        confirm_by: Timestamp,
        mut parts: impl FnMut(usize) -> Parts,
    ) -> Self {
        let devices = deployment.devices.iter().enumerate().map(|(at, work)| {
            let Parts { notes, steps, guarantee, tokens_cancelled, remarks, audits } = parts(at);
            DeviceReport {
                device: work.device.clone(),
                in_force: InForce::Provisional,
                steps,
                failures: notes.into_iter().map(|failure| failure.at(work.device.clone())).collect(),
                audit: of_one(deployment, audits),
                guarantee,
                tokens_cancelled,
                remarks,
            }
        });
        Self {
            event: DeploymentEvent::Prepared,
            phase,
            devices: devices.collect(),
            orders: Vec::new(),
            confirm_by: Some(confirm_by),
        }
    }

    /// Of a deployment whose devices were not contacted, so that this is in force on them.
    pub(crate) fn refused(
        deployment: &Deployment,
        in_force: InForce,
        mut failures: Vec<(usize, Failure)>,
    ) -> Self {
        let known = deployment.devices.iter().enumerate().map(|(at, work)| Known {
            device: work.device.clone(),
            in_force,
            failures: failures
                .extract_if(.., |(index, _)| *index == at)
                .map(|(_, failure)| failure)
                .collect(),
            notes: Vec::new(),
            steps: Vec::new(),
            guarantee: None,
            tokens_cancelled: false,
            remarks: Vec::new(),
            audits: Audits::new(),
        });
        let known = known.collect();
        Self::of(deployment, "check", known)
    }

    /// Of an audit. It was carried out, so it is called committed and no order has failed, whatever was
    /// found. `in_force: new` only says that the deployment is done: nothing was changed. What could not be
    /// looked at is told as the device's failures.
    pub(crate) fn of_audit(deployment: &Deployment, seen: Vec<Seen>) -> Self {
        let devices = deployment.devices.iter().zip(seen).map(|(work, seen)| DeviceReport {
            device: work.device.clone(),
            in_force: InForce::New,
            steps: seen.steps,
            failures: seen.notes.into_iter().map(|failure| failure.at(work.device.clone())).collect(),
            audit: Some(seen.audit),
            guarantee: None,
            tokens_cancelled: false,
            remarks: Vec::new(),
        });
        let devices: Vec<DeviceReport> = devices.collect();
        let orders = deployment.orders.iter().map(|order| OrderReport {
            order: *order,
            failures: Vec::new(),
            in_force: BTreeMap::new(),
            audits: BTreeMap::new(),
        });
        let orders: Vec<OrderReport> = orders.collect();
        Self { event: settle::outcome(&devices, &orders), phase: AUDIT, devices, orders, confirm_by: None }
    }

    /// Of a deployment to devices that exist on paper only.
    pub(crate) fn on_paper(deployment: &Deployment) -> Self {
        if deployment.purpose == Purpose::Audit {
            let paper = |work: &DeviceWork| Seen {
                audit: on_paper(work.audit.as_ref()),
                notes: Vec::new(),
                steps: Vec::new(),
            };
            return Self::of_audit(deployment, deployment.devices.iter().map(paper).collect());
        }
        let known = deployment.devices.iter().map(|work| Known {
            device: work.device.clone(),
            in_force: InForce::New,
            failures: Vec::new(),
            notes: Vec::new(),
            steps: Vec::new(),
            guarantee: None,
            tokens_cancelled: false,
            remarks: Vec::new(),
            audits: Audits::new(),
        });
        Self::of(deployment, "confirm", known.collect())
    }
}

/// How much is left of what was found at one device: differences, bytes of each text.
const SHORTER: [(usize, usize); 3] = [(20, 200), (3, 80), (1, 0)];
/// Paths and failures are not cut shorter than this.
const SHORTEST: usize = 80;

/// Leaves so many failures, the gravest first: it decides what becomes of the order.
fn fewer(failures: &mut Vec<Failure>, most: usize) {
    failures.sort_by_key(|failure| failure.class != FailureClass::Invalid);
    failures.truncate(most);
}

/// Leaves the gravest failure, with texts of so many bytes.
fn shorten_failures(failures: &mut Vec<Failure>, bytes: usize) {
    fewer(failures, 1);
    for failure in failures {
        failure.message = cut(&failure.message, bytes.max(SHORTEST));
        failure.details.clear();
        failure.error_info.truncate(1);
        for info in &mut failure.error_info {
            info.value = cut(&info.value, bytes.max(SHORTEST));
        }
        for text in [&mut failure.error_tag, &mut failure.error_app_tag, &mut failure.path] {
            *text = text.take().map(|text| cut(&text, bytes)).filter(|text| !text.is_empty());
        }
    }
}

/// Cuts what was found at a device short. How many differences there are in all stays.
fn shorten(report: &mut DeviceReport, (differences, bytes): (usize, usize)) {
    shorten_failures(&mut report.failures, bytes);
    if let Some(audit) = &mut report.audit {
        shorten_audit(audit, (differences, bytes));
    }
}

fn clean_audit(audit: &mut DeviceAudit, secrets: &Redactor) {
    audit.checks.iter_mut().for_each(|check| secrets.clean(&mut check.evidence));
    for difference in &mut audit.differences {
        let values = [&mut difference.wanted, &mut difference.found];
        values.into_iter().flatten().for_each(|value| secrets.clean(value));
    }
}

fn shorten_audit(audit: &mut DeviceAudit, (differences, bytes): (usize, usize)) {
    audit.differences.truncate(differences);
    for difference in &mut audit.differences {
        difference.path = cut(&difference.path, bytes.max(SHORTEST));
        for value in [&mut difference.wanted, &mut difference.found] {
            *value = value.take().map(|value| cut(&value, bytes)).filter(|value| !value.is_empty());
        }
    }
    for check in &mut audit.checks {
        check.evidence = cut(&check.evidence, bytes);
    }
}

/// What was found of the service of a deployment's only order.
fn of_one(deployment: &Deployment, audits: Audits) -> Option<DeviceAudit> {
    match deployment.orders[..] {
        [order] => audits.into_iter().find(|(of, _)| *of == order).map(|(_, audit)| audit),
        _ => None,
    }
}

pub(crate) fn undone(phase: &str, culprits: &[DeviceName]) -> Failure {
    let names: Vec<&str> = culprits.iter().take(5).map(DeviceName::as_str).collect();
    let more = culprits.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = match names.is_empty() {
        true => "undone with the other devices of the deployment".to_owned(),
        false => format!("undone with the others, because of {}{more}", names.join(", ")),
    };
    Failure::new(FailureClass::Undone, phase, text)
}

/// Who reports, on what.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) deployment: DeploymentId,
    pub(crate) attempt: i32,
    /// The (first) order, by which messages are found.
    pub(crate) correlation: String,
    pub(crate) worker: String,
    /// The exchange of state changes.
    pub(crate) exchange: String,
    /// Headers that go on to every report: the trace.
    pub(crate) headers: Headers,
}

impl Reporter {
    /// That it is still being worked on.
    pub(crate) fn progressed(
        &self,
        sequence: i32,
        state: progress::State,
        deployment: &Deployment,
        progress: &Progress,
    ) -> Result<Outgoing, Unreadable> {
        let secrets = Secrets::of_all(&deployment.devices);
        let known = deployment.devices.iter().zip(progress.known());
        let devices = known.map(|(work, (in_force, failures))| DeviceReport {
            device: work.device.clone(),
            in_force,
            steps: Vec::new(),
            failures: secrets.failures(
                failures.into_iter().take(2).map(|failure| failure.at(work.device.clone())).collect(),
            ),
            audit: None,
            guarantee: None,
            tokens_cancelled: false,
            remarks: Vec::new(),
        });
        let devices = devices.collect();
        let event = if state.in_doubt { DeploymentEvent::Doubted } else { DeploymentEvent::Progressed };
        let begun = if deployment.purpose == Purpose::Audit { AUDIT } else { "start" };
        let phase = state.phase.map_or(begun, |phase| phase.name());
        self.message(sequence, event, phase, (devices, Vec::new(), None))
    }

    /// How it ended. Where that is too much for one message, the steps are left out; if that isn't enough,
    /// evidence and differences of audits are cut short, and what is told of failures.
    pub(crate) fn ended(&self, sequence: i32, ending: Ending) -> Result<Outgoing, Unreadable> {
        let Ending { event, phase, devices, orders, confirm_by } = ending;
        match self.message(sequence, event, phase, (devices.clone(), orders.clone(), confirm_by)) {
            Err(Unreadable::TooLarge(_)) => {
                let (mut devices, mut orders) = (devices, orders);
                for report in &mut devices {
                    report.steps.clear();
                    fewer(&mut report.failures, 2);
                }
                orders.iter_mut().for_each(|report| fewer(&mut report.failures, 2));
                let message = |devices: &[DeviceReport], orders: &[OrderReport]| {
                    self.message(sequence, event, phase, (devices.to_vec(), orders.to_vec(), confirm_by))
                };
                let mut result = message(&devices, &orders);
                for most in SHORTER {
                    if !matches!(result, Err(Unreadable::TooLarge(_))) {
                        break;
                    }
                    devices.iter_mut().for_each(|report| shorten(report, most));
                    for report in &mut orders {
                        shorten_failures(&mut report.failures, most.1);
                        report.audits.values_mut().for_each(|audit| shorten_audit(audit, most));
                    }
                    result = message(&devices, &orders);
                }
                result
            }
            result => result,
        }
    }

    /// What was said in this attempt; none if nothing was written down.
    pub(crate) fn transcript(&self, devices: Vec<DeviceTranscript>) -> Option<Outgoing> {
        if devices.iter().all(|device| device.exchanges.is_empty()) {
            return None;
        }
        let transcript = Transcript {
            deployment: self.deployment,
            attempt: self.attempt,
            worker: self.worker.clone(),
            at: Timestamp::now(),
            devices,
        };
        match transcript.fit() {
            Ok(body) => Some(self.outgoing(body)),
            Err(error) => {
                tracing::warn!(deployment = %self.deployment, %error, "a transcript is not kept");
                None
            }
        }
    }

    fn message(
        &self,
        sequence: i32,
        event: DeploymentEvent,
        phase: &str,
        (devices, orders, confirm_by): (Vec<DeviceReport>, Vec<OrderReport>, Option<Timestamp>),
    ) -> Result<Outgoing, Unreadable> {
        let change = StateChange {
            deployment: self.deployment,
            attempt: self.attempt,
            sequence,
            worker: self.worker.clone(),
            at: Timestamp::now(),
            event,
            phase: phase.to_owned(),
            devices,
            orders,
            confirm_by,
        };
        Ok(self.outgoing(change.encode()?))
    }

    fn outgoing(&self, body: Vec<u8>) -> Outgoing {
        let key = Names::state_key(self.deployment.0);
        let mut message = Outgoing::new(self.exchange.as_str(), key, body);
        message.correlation_id = Some(self.correlation.clone());
        message.headers = self.headers.clone();
        message
    }
}

#[cfg(test)]
mod tests {
    use turnup_core::{
        audit::{CheckResult, ConfigAudit, Difference, Drift},
        failure::ErrorInfo,
        id::OrderId,
        message::{Condition, DeviceEdit, Limits},
        name::{PlatformName, RegionName},
    };
    use uuid::Uuid;

    use super::*;

    #[test]
    fn failed_deployment_leaves_one_line_with_the_device_and_its_words() {
        let mut denied = Failure::new(FailureClass::Invalid, "edit-config", "syntax\nerror\u{1b}[2J");
        denied.error_info = vec![ErrorInfo { name: "bad-element".to_owned(), value: "encap".to_owned() }];
        let device = DeviceName::new("pe1").unwrap();
        let undone =
            Failure::new(FailureClass::Undone, "edit-config", "undone").at(DeviceName::new("pe2").unwrap());
        let order = |order, failures| OrderReport {
            order,
            failures,
            in_force: BTreeMap::new(),
            audits: BTreeMap::new(),
        };
        let mut ending = Ending {
            event: DeploymentEvent::Rejected,
            phase: "prepare",
            devices: Vec::new(),
            orders: vec![order(A, vec![undone, denied.at(device)]), order(B, Vec::new())],
            confirm_by: None,
        };
        let line = ending.failed_line().unwrap();
        assert_eq!(line.orders, A.to_string());
        assert_eq!(
            (line.device.as_str(), line.phase.as_str(), line.class),
            ("pe1", "edit-config", "invalid")
        );
        assert_eq!(line.words, "syntax error\\u{1b}[2J [bad-element encap]");
        assert_eq!(line.failures, 2);
        ending.orders = (0..30)
            .map(|n| {
                order(
                    OrderId(Uuid::from_u128(n)),
                    vec![Failure::new(FailureClass::Busy, "lock", "x".repeat(9_000))],
                )
            })
            .collect();
        let line = ending.failed_line().unwrap();
        assert!(line.orders.ends_with("and 20 more") && line.words.chars().count() <= 301);
        ending.orders.clear();
        assert_eq!(ending.failed_line(), None);
    }

    const A: OrderId = OrderId(Uuid::from_u128(1));
    const B: OrderId = OrderId(Uuid::from_u128(2));

    fn work(name: &str, orders: &[OrderId]) -> DeviceWork {
        let edit = |order: &OrderId| DeviceEdit {
            order: *order,
            edit: String::new(),
            inverse: String::new(),
            filter: String::new(),
            after: Condition::Contains(String::new()),
            before: Condition::Contains(String::new()),
            keys: Default::default(),
            nodes: turnup_core::nodes::NodeFacts::default(),
            joint: Vec::new(),
            whole: None,
        };
        DeviceWork {
            device: DeviceName::new(name).unwrap(),
            address: String::new(),
            port: 830,
            platform: PlatformName::new("sim").unwrap(),
            host_key: None,
            credential: None,
            epoch: 1,
            profile: Default::default(),
            pending_tokens: Vec::new(),
            before_confirm: None,
            inside: turnup_core::nodes::NodeFacts::default(),
            edits: orders.iter().map(edit).collect(),
            audit: None,
        }
    }

    /// Two orders on the first device, one of them on the second.
    fn deployment() -> Deployment {
        Deployment {
            deployment: DeploymentId(Uuid::from_u128(9)),
            attempt: 1,
            generation: 1,
            region: RegionName::new("r").unwrap(),
            orders: vec![A, B],
            purpose: Purpose::Change,
            past_unknown: false,
            devices: vec![work("d1", &[A]), work("d2", &[B])],
            limits: Limits::default(),
        }
    }

    fn ending(known: [(InForce, Option<FailureClass>); 2]) -> Ending {
        let known = known.into_iter().zip(["d1", "d2"]).map(|((in_force, class), name)| Known {
            device: DeviceName::new(name).unwrap(),
            in_force,
            failures: class.map(|class| Failure::new(class, "lock", "why")).into_iter().collect(),
            notes: Vec::new(),
            steps: Vec::new(),
            guarantee: None,
            tokens_cancelled: false,
            remarks: Vec::new(),
            audits: Audits::new(),
        });
        Ending::of(&deployment(), "undo", known.collect())
    }

    fn classes(ending: &Ending) -> Vec<Vec<FailureClass>> {
        let of = |failures: &Vec<Failure>| failures.iter().map(|failure| failure.class).collect();
        ending.orders.iter().map(|report| of(&report.failures)).collect()
    }

    fn reporter() -> Reporter {
        Reporter {
            deployment: DeploymentId(Uuid::from_u128(9)),
            attempt: 1,
            correlation: A.to_string(),
            worker: "w".to_owned(),
            exchange: "e".to_owned(),
            headers: Headers::new(),
        }
    }

    #[test]
    fn an_order_is_blamed_for_its_own_devices_only() {
        let ended = ending([(InForce::Old, None), (InForce::Old, Some(FailureClass::Invalid))]);
        assert_eq!(ended.event, DeploymentEvent::Rejected);
        assert_eq!(classes(&ended), [[FailureClass::Undone], [FailureClass::Invalid]]);
        assert!(ended.orders[0].failures[0].message.contains("d2"));
        assert_eq!(ended.devices[1].failures[0].device, Some(DeviceName::new("d2").unwrap()));
    }

    #[test]
    fn what_is_in_force_is_not_called_undone() {
        let ended = ending([(InForce::New, None), (InForce::Unknown, Some(FailureClass::InDoubt))]);
        assert_eq!(ended.event, DeploymentEvent::GivenUp);
        assert_eq!(classes(&ended), [vec![], vec![FailureClass::InDoubt]]);
        assert!(ended.devices[0].failures.is_empty());
    }

    #[test]
    fn a_report_that_is_too_large_loses_its_steps() {
        let mut ended = ending([(InForce::Old, None), (InForce::Old, Some(FailureClass::Busy))]);
        let step = Step { step: "x".repeat(1_000), at: Timestamp::now(), took_us: 1 };
        ended.devices[0].steps = vec![step; 2_000];
        let message = reporter().ended(1, ended).unwrap();
        let change = StateChange::decode(&message.body).unwrap();
        assert!(change.devices[0].steps.is_empty());
        assert_eq!(change.orders[1].failures[0].class, FailureClass::Busy);
        assert_eq!(message.routing_key, (9 % 8).to_string());
    }

    #[test]
    fn a_report_on_five_hundred_orders_that_all_failed_fits() {
        let mut deployment = deployment();
        deployment.orders = (0..500).map(|n| OrderId(Uuid::from_u128(n))).collect();
        deployment.devices = (0..2).map(|n| work(&format!("d{n}"), &deployment.orders)).collect();
        // What a device may say of each, in letters of three bytes.
        let text = || "\u{20ac}".repeat(1_000);
        let failure = |class| Failure {
            error_app_tag: Some(text()),
            path: Some(text()),
            ..Failure::new(class, "edit-config", text())
        };
        let failures = [FailureClass::Busy, FailureClass::Busy, FailureClass::Invalid].map(failure);
        let known = ["d0", "d1"].map(|name| Known {
            device: DeviceName::new(name).unwrap(),
            in_force: InForce::Old,
            failures: failures.to_vec(),
            notes: Vec::new(),
            steps: Vec::new(),
            guarantee: None,
            tokens_cancelled: false,
            remarks: Vec::new(),
            audits: Audits::new(),
        });
        let ended = Ending::of(&deployment, "undo", known.into());
        let message = reporter().ended(1, ended).unwrap();
        let change = StateChange::decode(&message.body).unwrap();
        assert_eq!(change.orders.len(), 500);
        for order in &change.orders {
            assert_eq!(order.failures[0].class, FailureClass::Invalid, "the gravest decides");
            assert!(!order.failures[0].message.is_empty());
        }
    }

    #[test]
    fn an_audit_that_is_too_large_loses_evidence_and_differences_and_no_check() {
        let text = || "x".repeat(1_000);
        let audit = DeviceAudit {
            config: ConfigAudit::Drifted,
            differences: vec![
                Difference {
                    path: text(),
                    drift: Drift::Changed,
                    wanted: Some(text()),
                    found: Some(text())
                };
                5
            ],
            differences_in_all: 5_000,
            checks: vec![CheckResult { name: "ping".to_owned(), passed: false, evidence: text() }; 10],
        };
        let mut deployment = deployment();
        deployment.purpose = Purpose::Audit;
        deployment.devices = (0..500).map(|n| work(&format!("d{n}"), &[])).collect();
        let note = Failure::new(FailureClass::Unreachable, "connect", text());
        let seen = || Seen { audit: audit.clone(), notes: vec![note.clone(); 3], steps: vec![] };
        let ended = Ending::of_audit(&deployment, (0..500).map(|_| seen()).collect());
        let change = StateChange::decode(&reporter().ended(1, ended).unwrap().body).unwrap();
        assert_eq!((change.event, change.devices.len()), (DeploymentEvent::Committed, 500));
        let device = &change.devices[499];
        let audit = device.audit.as_ref().unwrap();
        assert_eq!((audit.differences.len(), audit.differences_in_all), (1, 5_000));
        assert_eq!((audit.checks.len(), audit.checks[0].passed), (10, false));
        assert_eq!(device.failures.len(), 1);
        assert!(change.orders.iter().all(|order| order.failures.is_empty()));
    }
}
