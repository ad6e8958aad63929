//! The status store in memory: the rows, guards and transactions of `turnup-store`, decided upon by the same pure
//! functions (`core::lease`, `core::lifecycle`, `core::across`, `recorder::apply`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use jiff::Timestamp;
use turnup_core::{
    event::OrderFacts,
    failure::Failure,
    id::{DeploymentId, OrderId, ServiceId},
    lease::{Admission, Board, Candidate, admit},
    lifecycle::{DeploymentState, OrderEvent, OrderState, order_transition},
    message::{Claim, ClaimAnswer, ClaimKind, DeviceReport, Due, InForce, Limits, Stage, StateChange},
    name::DeviceName,
    order::{OrderKind, OrderOptions},
    profile::Profile,
};
use turnup_netconf::xml::Element;
use turnup_recorder::apply::apply;
use turnup_store::{DeploymentToSettle, OrderToSettle, Part, Settled, StageChange, ToRetry};
use uuid::Uuid;

use crate::{
    Planted,
    device::{Value, edit},
    world::{Ms, since_the_epoch},
};

/// The newest tokens that are kept of a device.
const MAX_TOKENS: usize = 8;

/// What is to be done at one device.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) device: usize,
    pub(crate) name: DeviceName,
    pub(crate) service: u32,
    pub(crate) old: Value,
    pub(crate) new: Value,
    pub(crate) edit: Rc<Element>,
    pub(crate) inverse: Rc<Element>,
    pub(crate) profile: Rc<Profile>,
    /// Tokens of commits that earlier deployments may have left pending.
    pub(crate) pending_tokens: Vec<String>,
}

/// A deployment's message.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: DeploymentId,
    pub(crate) region: usize,
    pub(crate) order: OrderId,
    /// Nobody knows what an earlier deployment has left of the service.
    pub(crate) past_unknown: bool,
    pub(crate) devices: Vec<Work>,
    pub(crate) limits: Limits,
}

/// An entry of an order's history.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) sequence: i32,
    pub(crate) from: Option<OrderState>,
    pub(crate) to: OrderState,
    pub(crate) generation: i32,
}

#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) kind: OrderKind,
    pub(crate) service: u32,
    pub(crate) devices: Vec<usize>,
    /// What its service holds before and after.
    pub(crate) old: Value,
    pub(crate) new: Value,
    pub(crate) state: OrderState,
    pub(crate) generation: i32,
    pub(crate) revision: i32,
    pub(crate) due: Timestamp,
    pub(crate) sequence: i32,
    pub(crate) history: Vec<Entry>,
    pub(crate) errors: Vec<Failure>,
    swept_at: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) job: Rc<Job>,
    pub(crate) generation: i32,
    pub(crate) stage: Stage,
    pub(crate) state: DeploymentState,
    pub(crate) attempt: i32,
    /// The attempt with which the stage began.
    pub(crate) first_attempt: i32,
    pub(crate) sequence: i32,
    pub(crate) confirm_by: Option<Timestamp>,
    /// That of which it is a part.
    transaction: Option<DeploymentId>,
    reasons: Vec<Failure>,
    pub(crate) devices: Vec<DeviceReport>,
    pub(crate) updated_at: Timestamp,
    /// When it was recorded that the whole transaction is over.
    pub(crate) ended_at: Option<Ms>,
    /// When the worker said what `devices` says, by its clock, and where it was.
    pub(crate) said_at: Ms,
    pub(crate) phase: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Row {
    Due(Due),
    Work(DeploymentId),
}

/// A row of the outbox.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) id: u64,
    pub(crate) row: Row,
    pub(crate) again: bool,
}

/// The tables.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) orders: BTreeMap<OrderId, Order>,
    pub(crate) deployments: BTreeMap<DeploymentId, Deployment>,
    pub(crate) board: Board,
    tickets: i64,
    pub(crate) outbox: Vec<Outgoing>,
    rows: u64,
    pub(crate) devices: Vec<(DeviceName, usize)>,
    /// How each of the devices is changed.
    pub(crate) profiles: Vec<Rc<Profile>>,
    /// Per device, commits that earlier deployments may have left pending.
    pending_tokens: BTreeMap<DeviceName, Vec<DeploymentId>>,
    pub(crate) limits: Limits,
    /// Services of which it is not known what is in force.
    unknown: BTreeSet<u32>,
    /// Decisions to confirm: the parts, and when.
    pub(crate) confirmed: Vec<(Vec<DeploymentId>, Ms)>,
    pub(crate) planted: Option<Planted>,
}

fn is_open(state: DeploymentState) -> bool {
    matches!(state, DeploymentState::Pending | DeploymentState::Running | DeploymentState::InDoubt)
}

impl Store {
    fn send(&mut self, row: Row, again: bool) {
        self.rows += 1;
        self.outbox.push(Outgoing { id: self.rows, row, again });
    }

    /// The largest row number.
    pub(crate) fn last_row(&self) -> u64 {
        self.outbox.last().map_or(0, |row| row.id)
    }

    fn transit(&mut self, order: OrderId, event: OrderEvent, errors: Vec<Failure>) -> bool {
        let Some(order) = self.orders.get_mut(&order) else { return false };
        let Ok(to) = order_transition(order.state, event) else { return false };
        order.sequence += 1;
        let entry =
            Entry { sequence: order.sequence, from: Some(order.state), to, generation: order.generation };
        order.history.push(entry);
        order.state = to;
        order.errors = errors;
        true
    }

    // The intake.

    /// An order is accepted, to start now.
    pub(crate) fn accept(
        &mut self,
        order: (OrderId, OrderKind),
        service: u32,
        devices: Vec<usize>,
        (old, new): (Value, Value),
        now: Timestamp,
    ) {
        let (id, kind) = order;
        let first = Entry { sequence: 1, from: None, to: OrderState::Requested, generation: 0 };
        let order = Order {
            id,
            kind,
            service,
            devices,
            old,
            new,
            state: OrderState::Requested,
            generation: 0,
            revision: 0,
            due: now,
            sequence: 1,
            history: vec![first],
            errors: Vec::new(),
            swept_at: None,
        };
        self.orders.insert(id, order);
        self.schedule(id, now);
    }

    /// The order is scheduled (again).
    pub(crate) fn schedule(&mut self, id: OrderId, now: Timestamp) {
        if !self.transit(id, OrderEvent::Schedule, Vec::new()) {
            return;
        }
        let Some(order) = self.orders.get_mut(&id) else { return };
        order.revision += 1;
        order.due = now;
        order.swept_at = None;
        let due = Due { order: id, revision: order.revision, due: now };
        self.send(Row::Due(due), false);
    }

    /// The order is withdrawn, if that can be.
    pub(crate) fn cancel(&mut self, id: OrderId) {
        if self.transit(id, OrderEvent::Cancel, Vec::new()) {
            self.leave_queues(id);
        }
    }

    fn leave_queues(&mut self, id: OrderId) {
        let mut left = Vec::new();
        for (device, queue) in &mut self.board.waiting {
            let before = queue.len();
            queue.retain(|_, order| *order != id);
            if queue.len() < before {
                left.push(device.clone());
            }
        }
        self.nudge(&left);
    }

    // The scheduler.

    /// Starts those whose time has come; new deployments get `ids`.
    pub(crate) fn start(&mut self, due: &[Due], mut ids: impl FnMut() -> Uuid, now: Timestamp) {
        let mut seen = BTreeSet::new();
        let mut candidates = Vec::new();
        for due in due {
            let Some(order) = self.orders.get(&due.order) else { continue };
            let current =
                order.state == OrderState::Scheduled && order.revision == due.revision && order.due <= now;
            if !current || !seen.insert(due.order) {
                continue;
            }
            let tickets =
                self.board.waiting.values().find_map(|queue| {
                    queue.iter().find(|(_, id)| **id == order.id).map(|(ticket, _)| *ticket)
                });
            let devices = order.devices.iter().map(|n| self.devices[*n].0.clone()).collect();
            candidates.push(Candidate { order: order.id, devices, ticket: tickets });
        }
        let answers = admit(&candidates, &self.board);
        for (candidate, answer) in candidates.into_iter().zip(answers) {
            match answer {
                Admission::Start => self.begin(candidate.order, &mut ids, now),
                Admission::Join(_) => unreachable!("everyone goes alone"),
                Admission::Wait(_) => {
                    let ticket = candidate.ticket.unwrap_or_else(|| {
                        self.tickets += 1;
                        self.tickets
                    });
                    for device in candidate.devices {
                        self.board.waiting.entry(device).or_default().insert(ticket, candidate.order);
                    }
                }
            }
        }
    }

    fn begin(&mut self, id: OrderId, ids: &mut impl FnMut() -> Uuid, now: Timestamp) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        order.generation += 1;
        let (generation, service, old, new) = (order.generation, order.service, order.old, order.new);
        let devices = order.devices.clone();
        assert!(self.transit(id, OrderEvent::Start, Vec::new()), "it was scheduled");
        for queue in self.board.waiting.values_mut() {
            queue.retain(|_, order| *order != id);
        }
        let mut regions: BTreeMap<usize, Vec<Work>> = BTreeMap::new();
        for device in devices {
            let (name, region) = self.devices[device].clone();
            let taken = self.board.held.insert(name.clone(), id);
            assert_eq!(taken, None, "two orders at {name}");
            let (edit, inverse) = (Rc::new(edit(service, new)), Rc::new(edit(service, old)));
            let profile = Rc::clone(&self.profiles[device]);
            let pending_tokens = self.pending_tokens.get(&name).into_iter().flatten();
            let pending_tokens = pending_tokens.map(|token| token.to_string()).collect();
            regions.entry(region).or_default().push(Work {
                device,
                name,
                service,
                old,
                new,
                edit,
                inverse,
                profile,
                pending_tokens,
            });
        }
        let stage = if regions.len() > 1 { Stage::Prepare } else { Stage::Whole };
        let mut transaction = None;
        for (region, devices) in regions {
            let past_unknown =
                self.unknown.contains(&service) && self.planted != Some(Planted::RetriesAreFresh);
            let limits = self.limits.clone();
            let job = Job { id: DeploymentId(ids()), region, order: id, past_unknown, devices, limits };
            let job = Rc::new(job);
            let transaction = Some(*transaction.get_or_insert(job.id));
            let deployment = Deployment {
                job: Rc::clone(&job),
                generation,
                stage,
                state: DeploymentState::Pending,
                attempt: 1,
                first_attempt: 1,
                sequence: 0,
                confirm_by: None,
                transaction: transaction.filter(|_| stage == Stage::Prepare),
                reasons: Vec::new(),
                devices: Vec::new(),
                updated_at: now,
                ended_at: None,
                said_at: 0,
                phase: String::new(),
            };
            self.deployments.insert(job.id, deployment);
            self.send(Row::Work(job.id), false);
        }
    }

    /// Answers a worker's claim: `claim_take_over` and `claim_check`.
    pub(crate) fn claim(&mut self, claim: &Claim, now: Timestamp) -> ClaimAnswer {
        let any_stage = self.planted == Some(Planted::ClaimsOfOldStages);
        let found = self.deployments.get_mut(&claim.deployment).filter(|row| is_open(row.state));
        let attempt = found.and_then(|deployment| match claim.claim {
            // Not by a message of a stage that is over.
            ClaimKind::TakeOver if !any_stage && deployment.first_attempt > claim.attempt => None,
            ClaimKind::TakeOver => {
                deployment.attempt += 1;
                deployment.sequence = 0;
                deployment.updated_at = now;
                Some(deployment.attempt)
            }
            ClaimKind::Check => (deployment.attempt == claim.attempt).then_some(deployment.attempt),
        });
        ClaimAnswer { attempt }
    }

    /// The backstop. `overdue`: orders due before then; `lost`: deployments unheard of since then in regions of
    /// which `is_empty` says that nothing is in their queues; `silent`: in all regions.
    pub(crate) fn sweep(
        &mut self,
        (overdue, lost, silent): (Timestamp, Timestamp, Timestamp),
        is_empty: impl Fn(usize) -> bool,
        now: Timestamp,
    ) -> usize {
        let in_outbox = |outbox: &[Outgoing], id: Uuid, revision: i32| {
            outbox.iter().any(|row| match &row.row {
                Row::Due(due) => due.order.0 == id && due.revision == revision,
                Row::Work(deployment) => deployment.0 == id,
            })
        };
        let mut rows = Vec::new();
        for order in self.orders.values_mut() {
            let rests = order.swept_at.is_some_and(|at| at >= overdue);
            if order.state != OrderState::Scheduled || order.due >= overdue || rests {
                continue;
            }
            let mut queues =
                self.board.waiting.iter().filter(|(_, queue)| queue.values().any(|id| *id == order.id));
            let is_first = |(device, queue): (&DeviceName, &BTreeMap<i64, OrderId>)| {
                queue.values().next() == Some(&order.id) && !self.board.held.contains_key(device)
            };
            let waits = queues.clone().next().is_some();
            if (!waits || queues.any(is_first)) && !in_outbox(&self.outbox, order.id.0, order.revision) {
                order.swept_at = Some(now);
                rows.push(Row::Due(Due { order: order.id, revision: order.revision, due: order.due }));
            }
        }
        for deployment in self.deployments.values_mut() {
            let unheard = |since: Timestamp| deployment.updated_at < since;
            let is_lost = unheard(silent) || (unheard(lost) && is_empty(deployment.job.region));
            if is_open(deployment.state) && is_lost && !in_outbox(&self.outbox, deployment.job.id.0, 0) {
                deployment.updated_at = now;
                rows.push(Row::Work(deployment.job.id));
            }
        }
        let found = rows.len();
        for row in rows {
            self.send(row, true);
        }
        found
    }

    // The recorder.

    /// Applies reports, in one transaction.
    pub(crate) fn record(&mut self, reports: &[StateChange], now: Timestamp, at: Ms) {
        let reports: Vec<StateChange> = reports.iter().map(|report| self.heard(report)).collect();
        let reports: Vec<&StateChange> = reports.iter().collect();
        let (deployments, orders) = (self.deployments_to_settle(&reports), self.orders_to_settle(&reports));
        let settled = apply(&reports, &deployments, &orders, now);
        self.settle(settled, now, at);
        for report in reports {
            let said_by =
                |row: &&mut Deployment| (row.attempt, row.sequence) == (report.attempt, report.sequence);
            if let Some(row) = self.deployments.get_mut(&report.deployment).filter(said_by) {
                row.said_at = since_the_epoch(report.at);
                row.phase.clone_from(&report.phase);
            }
        }
    }

    /// A report as the recorder takes it.
    fn heard(&self, report: &StateChange) -> StateChange {
        let mut heard = report.clone();
        if self.planted == Some(Planted::ReportsOfAnyAttempt)
            && let Some(row) = self.deployments.get(&report.deployment)
        {
            heard.attempt = row.attempt;
        }
        if self.planted == Some(Planted::IgnoresConfirmBy) {
            heard.confirm_by = heard.confirm_by.map(|_| Timestamp::MAX);
        }
        heard
    }

    /// The deployments, and the other parts of their transactions.
    fn deployments_to_settle(&self, reports: &[&StateChange]) -> HashMap<DeploymentId, DeploymentToSettle> {
        let reported = |row: &Deployment| reports.iter().any(|report| report.deployment == row.job.id);
        let transactions: BTreeSet<Option<DeploymentId>> =
            self.deployments.values().filter(|row| reported(row)).map(|row| row.transaction).collect();
        let of = |row: &&Deployment| {
            reported(row) || (row.transaction.is_some() && transactions.contains(&row.transaction))
        };
        let to_settle = |row: &Deployment| {
            let part = row.transaction.map(|transaction| Part {
                transaction,
                order: row.job.order,
                confirm_by: row.confirm_by,
                devices: row.devices.clone(),
                reasons: row.reasons.clone(),
            });
            let (state, attempt, sequence, stage) = (row.state, row.attempt, row.sequence, row.stage);
            DeploymentToSettle { state, attempt, sequence, in_doubt_since: None, stage, part }
        };
        let mut found: HashMap<DeploymentId, DeploymentToSettle> =
            self.deployments.values().filter(of).map(|row| (row.job.id, to_settle(row))).collect();
        if self.planted == Some(Planted::ConfirmsBeforeAllHaveAnswered) {
            for (id, row) in &mut found {
                let waits = is_open(row.state) && row.stage == Stage::Prepare;
                if waits && !reports.iter().any(|report| report.deployment == *id) {
                    row.state = DeploymentState::Prepared;
                    row.part.iter_mut().for_each(|part| part.confirm_by = Some(Timestamp::MAX));
                }
            }
        }
        found
    }

    fn orders_to_settle(&self, reports: &[&StateChange]) -> HashMap<OrderId, OrderToSettle> {
        let orders = reports.iter().filter_map(|report| {
            let deployment = self.deployments.get(&report.deployment)?;
            self.orders.get(&deployment.job.order)
        });
        orders
            .map(|order| {
                let facts = OrderFacts {
                    id: order.id,
                    kind: order.kind,
                    definition: "simulated".to_owned(),
                    service_id: ServiceId(Uuid::from_u128(order.service.into())),
                    region: "r".to_owned(),
                    external_id: None,
                    requester: "r".to_owned(),
                    undoes: None,
                };
                let (state, sequence, options) = (order.state, order.sequence, OrderOptions::default());
                (
                    order.id,
                    OrderToSettle {
                        facts,
                        state,
                        sequence,
                        options,
                        retry: ToRetry::default(),
                        service: None,
                        earlier_events: 0,
                    },
                )
            })
            .collect()
    }

    fn settle(&mut self, settled: Settled, now: Timestamp, at: Ms) {
        for change in settled.deployments {
            let Some(row) = self.deployments.get_mut(&change.id) else { continue };
            row.state = change.state;
            row.sequence = change.sequence;
            row.devices = change.devices;
            row.confirm_by = change.confirm_by;
            row.updated_at = now;
        }
        for change in settled.tokens {
            let tokens = self.pending_tokens.entry(change.device).or_default();
            if change.cleared {
                tokens.clear();
            }
            tokens.extend(change.pending);
            let newest = tokens.len().saturating_sub(MAX_TOKENS);
            tokens.drain(..newest);
        }
        let confirmed = settled.stages.iter().filter(|next| next.stage == Stage::Confirm);
        let confirmed: Vec<DeploymentId> = confirmed.map(|next| next.id).collect();
        if !confirmed.is_empty() {
            self.confirmed.push((confirmed, at));
        }
        for next in settled.stages {
            self.next_stage(next, now);
        }
        for row in self.deployments.values_mut() {
            let is_confirmed = row.transaction.is_some_and(|id| settled.confirmed.contains(&id));
            if is_confirmed && row.state == DeploymentState::Confirmed {
                row.state = DeploymentState::Committed;
            }
        }
        for (id, state, sequence, errors) in settled.orders {
            let Some(order) = self.orders.get_mut(&id) else { continue };
            assert_eq!(order.state, OrderState::InProgress, "an order is not in progress");
            let entry = Entry { sequence, from: Some(order.state), to: state, generation: order.generation };
            order.history.push(entry);
            (order.state, order.sequence, order.errors) = (state, sequence, errors);
            let (generation, service) = (order.generation, order.service);
            let own = |row: &&mut Deployment| row.job.order == id && row.generation == generation;
            for row in self.deployments.values_mut().filter(own) {
                row.ended_at = Some(at);
                if row.devices.iter().any(|report| report.in_force != InForce::Old) {
                    self.unknown.insert(service);
                }
            }
            if state == OrderState::Completed {
                self.unknown.remove(&service);
            }
            self.give_back(id);
        }
    }

    /// `stage_deployments`.
    fn next_stage(&mut self, next: StageChange, now: Timestamp) {
        let Some(part) = self.deployments.get_mut(&next.id) else { return };
        let early = self.planted == Some(Planted::ConfirmsBeforeAllHaveAnswered);
        assert!(early || !is_open(part.state), "a part has not answered its stage yet");
        part.stage = next.stage;
        part.reasons = next.reasons;
        part.state = DeploymentState::Pending;
        part.attempt += 1;
        part.first_attempt = part.attempt;
        part.sequence = 0;
        part.confirm_by = None;
        part.updated_at = now;
        self.send(Row::Work(next.id), false);
    }

    fn give_back(&mut self, id: OrderId) {
        let held: Vec<DeviceName> = self
            .board
            .held
            .iter()
            .filter(|(_, order)| **order == id)
            .map(|(device, _)| device.clone())
            .collect();
        for device in &held {
            self.board.held.remove(device);
        }
        self.nudge(&held);
    }

    /// The first in the queues of devices that are free are to look again.
    fn nudge(&mut self, devices: &[DeviceName]) {
        let mut first = BTreeSet::new();
        for device in devices.iter().filter(|device| !self.board.held.contains_key(device)) {
            first.extend(self.board.waiting.get(device).and_then(|queue| queue.values().next()));
        }
        for id in first {
            let Some(order) = self.orders.get(&id).filter(|order| order.state == OrderState::Scheduled)
            else {
                continue;
            };
            let due = Due { order: id, revision: order.revision, due: order.due };
            self.send(Row::Due(due), false);
        }
    }
}
