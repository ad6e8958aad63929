//! The status store in memory: the rows, guards and transactions of `turnup-store`, decided upon by the same pure
//! functions (`core::lease`, `core::lifecycle`, `core::across`, `recorder::apply`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use jiff::Timestamp;
use turnup_core::{
    across::{self, Decision, PartState},
    event::OrderFacts,
    failure::Failure,
    id::{DeploymentId, OrderId, ServiceId},
    lease::{Admission, Board, Candidate, admit},
    lifecycle::{DeploymentEvent, DeploymentState, OrderEvent, OrderState, deployment_transition, order_transition},
    message::{Claim, ClaimAnswer, ClaimKind, DeviceReport, Due, Limits, Stage, StateChange},
    name::DeviceName,
    order::{OrderKind, OrderOptions},
    settle::order_event,
};
use turnup_netconf::xml::Element;
use turnup_recorder::apply::apply;
use turnup_store::{DeploymentToSettle, OrderToSettle, Settled};
use uuid::Uuid;

use crate::{
    Planted,
    device::{Value, edit},
    world::Ms,
};

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
}

/// A deployment's message.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: DeploymentId,
    pub(crate) region: usize,
    pub(crate) order: OrderId,
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
    pub(crate) devices: Vec<DeviceReport>,
    pub(crate) updated_at: Timestamp,
    pub(crate) began_at: Ms,
    /// When it was recorded that the whole transaction is over.
    pub(crate) ended_at: Option<Ms>,
}

#[derive(Debug, Clone)]
pub(crate) enum Row {
    Due(Due),
    Work { job: Rc<Job>, stage: Stage, attempt: i32 },
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
    pub(crate) limits: Limits,
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
    pub(crate) fn accept(&mut self, order: (OrderId, OrderKind), service: u32, devices: Vec<usize>, (old, new): (Value, Value), now: Timestamp) {
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
    pub(crate) fn start(&mut self, due: &[Due], mut ids: impl FnMut() -> Uuid, now: Timestamp, at: Ms) {
        let mut seen = BTreeSet::new();
        let mut candidates = Vec::new();
        for due in due {
            let Some(order) = self.orders.get(&due.order) else { continue };
            let current = order.state == OrderState::Scheduled && order.revision == due.revision && order.due <= now;
            if !current || !seen.insert(due.order) {
                continue;
            }
            let tickets = self.board.waiting.values().find_map(|queue| {
                queue.iter().find(|(_, id)| **id == order.id).map(|(ticket, _)| *ticket)
            });
            let devices = order.devices.iter().map(|n| self.devices[*n].0.clone()).collect();
            candidates.push(Candidate { order: order.id, devices, ticket: tickets });
        }
        let answers = admit(&candidates, &self.board);
        for (candidate, answer) in candidates.into_iter().zip(answers) {
            match answer {
                Admission::Start => self.begin(candidate.order, &mut ids, now, at),
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

    fn begin(&mut self, id: OrderId, ids: &mut impl FnMut() -> Uuid, now: Timestamp, at: Ms) {
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
            regions.entry(region).or_default().push(Work { device, name, service, old, new, edit, inverse });
        }
        let stage = if regions.len() > 1 { Stage::Prepare } else { Stage::Whole };
        for (region, devices) in regions {
            let job = Job { id: DeploymentId(ids()), region, order: id, devices, limits: self.limits.clone() };
            let job = Rc::new(job);
            let deployment = Deployment {
                job: Rc::clone(&job),
                generation,
                stage,
                state: DeploymentState::Pending,
                attempt: 1,
                first_attempt: 1,
                sequence: 0,
                confirm_by: None,
                devices: Vec::new(),
                updated_at: now,
                began_at: at,
                ended_at: None,
            };
            self.deployments.insert(job.id, deployment);
            self.send(Row::Work { job, stage, attempt: 1 }, false);
        }
    }

    /// Answers a worker's claim: `claim_take_over` and `claim_check`.
    pub(crate) fn claim(&mut self, claim: &Claim, now: Timestamp) -> ClaimAnswer {
        let any_stage = self.planted == Some(Planted::ClaimsOfOldStages);
        let found = self.deployments.get_mut(&claim.deployment).filter(|deployment| {
            let of_the_stage = any_stage || deployment.first_attempt <= claim.attempt;
            is_open(deployment.state) && of_the_stage
        });
        let attempt = found.and_then(|deployment| match claim.claim {
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
                Row::Work { job, .. } => job.id.0 == id,
            })
        };
        let mut rows = Vec::new();
        for order in self.orders.values_mut() {
            let rests = order.swept_at.is_some_and(|at| at >= overdue);
            if order.state != OrderState::Scheduled || order.due >= overdue || rests {
                continue;
            }
            let mut queues = self.board.waiting.iter().filter(|(_, queue)| queue.values().any(|id| *id == order.id));
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
                let (job, stage) = (Rc::clone(&deployment.job), deployment.stage);
                rows.push(Row::Work { job, stage, attempt: deployment.first_attempt });
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
        let any = self.planted == Some(Planted::ReportsOfAnyAttempt);
        let reports = reports.iter().map(|report| {
            let current = self.deployments.get(&report.deployment).filter(|_| any).map(|row| row.attempt);
            StateChange { attempt: current.unwrap_or(report.attempt), ..report.clone() }
        });
        let reports: Vec<StateChange> = reports.collect();
        let is_whole = |report: &&StateChange| {
            self.deployments.get(&report.deployment).is_some_and(|d| d.stage == Stage::Whole)
        };
        let (whole, parts): (Vec<&StateChange>, Vec<&StateChange>) = reports.iter().partition(is_whole);
        let settled = apply(&whole, &self.deployments_to_settle(&whole), &self.orders_to_settle(&whole), now);
        self.settle(settled, now, at);
        for report in parts {
            self.record_part(report, now, at);
        }
    }

    fn deployments_to_settle(&self, reports: &[&StateChange]) -> HashMap<DeploymentId, DeploymentToSettle> {
        let rows = reports.iter().filter_map(|report| Some((report.deployment, self.deployments.get(&report.deployment)?)));
        rows.map(|(id, row)| {
            let (state, attempt, sequence) = (row.state, row.attempt, row.sequence);
            (id, DeploymentToSettle { state, attempt, sequence, in_doubt_since: None })
        })
        .collect()
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
                };
                let (state, sequence, options) = (order.state, order.sequence, OrderOptions::default());
                (order.id, OrderToSettle { facts, state, sequence, options, service: None })
            })
            .collect()
    }

    fn settle(&mut self, settled: Settled, now: Timestamp, at: Ms) {
        for change in settled.deployments {
            let Some(row) = self.deployments.get_mut(&change.id) else { continue };
            row.state = change.state;
            row.sequence = change.sequence;
            row.devices = change.devices;
            row.updated_at = now;
            if change.state.is_final() {
                row.ended_at = Some(at);
            }
        }
        for (id, state, sequence, errors) in settled.orders {
            let Some(order) = self.orders.get_mut(&id) else { continue };
            assert_eq!(order.state, OrderState::InProgress, "an order is not in progress");
            let entry = Entry { sequence, from: Some(order.state), to: state, generation: order.generation };
            order.history.push(entry);
            (order.state, order.sequence, order.errors) = (state, sequence, errors);
            self.give_back(id);
        }
    }

    fn give_back(&mut self, id: OrderId) {
        let held: Vec<DeviceName> =
            self.board.held.iter().filter(|(_, order)| **order == id).map(|(device, _)| device.clone()).collect();
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
            let Some(order) = self.orders.get(&id).filter(|order| order.state == OrderState::Scheduled) else { continue };
            let due = Due { order: id, revision: order.revision, due: order.due };
            self.send(Row::Due(due), false);
        }
    }

    /// A report of a part of an order over several regions; with the last answer, what comes next.
    fn record_part(&mut self, report: &StateChange, now: Timestamp, at: Ms) {
        let Some(part) = self.deployments.get_mut(&report.deployment) else { return };
        if report.attempt != part.attempt || report.sequence <= part.sequence {
            return;
        }
        let event = across::event(part.stage, report.event);
        let Some(state) = deployment_transition(part.state, event) else { return };
        part.state = state;
        part.sequence = report.sequence;
        part.devices.clone_from(&report.devices);
        part.updated_at = now;
        if event == DeploymentEvent::Prepared {
            part.confirm_by = report.confirm_by;
        }
        let (order, generation) = (part.job.order, part.generation);
        let of = |d: &&Deployment| d.job.order == order && d.generation == generation;
        let ids: Vec<DeploymentId> = self.deployments.values().filter(of).map(|d| d.job.id).collect();
        let parts: Vec<PartState> = self.deployments.values().filter(of).map(|d| self.seen(d)).collect();
        match across::decide(&parts, now) {
            Decision::Wait => {}
            Decision::Confirm => {
                self.next_stage(&ids, Stage::Confirm, now);
                self.confirmed.push((ids, at));
            }
            Decision::Undo(places) => {
                let ids: Vec<DeploymentId> = places.iter().map(|place| ids[*place]).collect();
                self.next_stage(&ids, Stage::Undo, now);
            }
            Decision::End => {
                let devices: Vec<DeviceReport> =
                    ids.iter().flat_map(|id| self.deployments[id].devices.clone()).collect();
                let (_, failures) = across::outcome(&devices);
                for id in ids {
                    if let Some(part) = self.deployments.get_mut(&id) {
                        part.ended_at = Some(at);
                    }
                }
                assert!(self.transit(order, order_event(&failures), failures), "its order is in progress");
                self.give_back(order);
            }
        }
    }

    /// What the decision sees of a part.
    fn seen(&self, part: &Deployment) -> PartState {
        let mut seen = PartState { stage: part.stage, state: part.state, confirm_by: part.confirm_by };
        if self.planted == Some(Planted::ConfirmsBeforeAllHaveAnswered) && is_open(seen.state) && seen.stage == Stage::Prepare {
            seen.state = DeploymentState::Prepared;
            seen.confirm_by = Some(Timestamp::MAX);
        }
        if self.planted == Some(Planted::IgnoresConfirmBy) && seen.confirm_by.is_some() {
            seen.confirm_by = Some(Timestamp::MAX);
        }
        seen
    }

    fn next_stage(&mut self, ids: &[DeploymentId], stage: Stage, now: Timestamp) {
        for id in ids {
            let Some(part) = self.deployments.get_mut(id) else { continue };
            part.stage = stage;
            part.state = DeploymentState::Pending;
            part.attempt += 1;
            part.first_attempt = part.attempt;
            part.sequence = 0;
            part.updated_at = now;
            let row = Row::Work { job: Rc::clone(&part.job), stage, attempt: part.attempt };
            self.send(row, false);
        }
    }
}
