//! The protocol over two regions with one device each, in every order in which things can happen: messages come
//! again at any time, workers die between any two steps and are replaced while they still work, answers are lost
//! before and after they had an effect, devices refuse, and timers run out. The machines are `core::transaction`,
//! `core::across` and `core::lifecycle` themselves; the states are few enough to look at all.
//!
//! A worker's question whether its attempt is current and the request that follows are one step here: the protocol
//! has no fence against a worker that is frozen exactly between the two (docs/promises.md).

mod explore;

use jiff::{SignedDuration, Timestamp};
use turnup_core::{
    across::{self, Decision, PartState},
    failure::{Failure, FailureClass},
    lifecycle::{DeploymentEvent, DeploymentState, OrderEvent, deployment_transition},
    message::{DeviceReport, Guarantee, InForce, Stage},
    name::DeviceName,
    settle,
    transaction::{Answer, End, Gate, Next, Past, Phase, Transaction},
};

use explore::explore;

/// What is tried.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// How often a stage's message comes again.
    repeats: u8,
    /// Whether devices may be out of reach for good, so that workers give up.
    unreachable: bool,
    /// Whether messages of earlier stages may take over.
    old_stages: bool,
    /// Whether a second delivery takes over however new the first is.
    at_once: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Device {
    /// The new configuration is in force for good.
    kept: bool,
    /// It is in force provisionally.
    pending: bool,
    /// More than half of its time to be confirmed is over.
    late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Part {
    stage: Stage,
    state: DeploymentState,
    attempt: u8,
    first_attempt: u8,
    repeats: u8,
    /// What was last reported of its device.
    in_force: InForce,
}

/// A stage's message. It stays: it may come again at any time, and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Message {
    part: usize,
    stage: Stage,
    attempt: u8,
    /// It has been delivered for the first time.
    delivered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    part: usize,
    stage: Stage,
    attempt: u8,
    transaction: Transaction,
    next: Next,
    /// It asks before the next phase whether it is current: a timer has run out since it began, or it has been
    /// replaced, which comes so late that the first delivery asks (`TAKE_OVER_AFTER` of the simulation).
    old: bool,
}

/// A report, which may be applied at any later time, and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Report {
    part: usize,
    attempt: u8,
    event: DeploymentEvent,
    in_force: InForce,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    devices: [Device; 2],
    parts: [Part; 2],
    messages: Vec<Message>,
    workers: Vec<Worker>,
    reports: Vec<Report>,
    /// How the order has ended: deployed or not.
    ended: Option<bool>,
}

fn failed(touched: bool) -> Answer {
    Answer::Failed { failures: Vec::new(), touched }
}

fn report_of(in_force: InForce) -> DeviceReport {
    let name = DeviceName::new("d").unwrap();
    DeviceReport {
        device: name,
        in_force,
        steps: Vec::new(),
        failures: Vec::new(),
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    }
}

impl State {
    fn new() -> Self {
        let part = Part {
            stage: Stage::Prepare,
            state: DeploymentState::Pending,
            attempt: 1,
            first_attempt: 1,
            repeats: 0,
            in_force: InForce::Old,
        };
        let message = |part| Message { part, stage: Stage::Prepare, attempt: 1, delivered: false };
        Self {
            devices: [Device::default(); 2],
            parts: [part; 2],
            messages: vec![message(0), message(1)],
            workers: Vec::new(),
            reports: Vec::new(),
            ended: None,
        }
    }

    fn is_open(&self, part: usize) -> bool {
        matches!(
            self.parts[part].state,
            DeploymentState::Pending | DeploymentState::Running | DeploymentState::InDoubt
        )
    }

    fn is_current(&self, worker: &Worker) -> bool {
        self.is_open(worker.part) && self.parts[worker.part].attempt == worker.attempt
    }

    /// Everything that can happen next.
    fn successors(&self, limits: Limits) -> Vec<Self> {
        let mut all = Vec::new();
        for at in 0..self.messages.len() {
            self.deliver(at, limits, &mut all);
        }
        for at in 0..self.workers.len() {
            let mut dies = self.clone();
            dies.workers.remove(at);
            all.push(dies);
            self.work(at, limits, &mut all);
        }
        for report in &self.reports {
            self.record(*report, &mut all);
        }
        for at in 0..2 {
            if self.devices[at].pending {
                let mut later = self.clone();
                let device = &mut later.devices[at];
                if device.late {
                    *device = Device { kept: device.kept, ..Device::default() };
                    later.workers.iter_mut().for_each(|worker| worker.old = true);
                } else {
                    device.late = true;
                }
                all.push(later);
            }
        }
        for state in &mut all {
            state.go_on();
            state.forget(limits);
            state.sort();
        }
        all
    }

    fn sort(&mut self) {
        self.messages.sort_by_key(|message| (message.part, message.attempt));
        self.workers.sort_by_key(|worker| (worker.part, worker.attempt));
        self.reports.sort_by_key(|report| (report.part, report.attempt, report.event, report.in_force));
    }

    /// What can't go otherwise is no step of its own: letting go of locks, and reporting.
    fn go_on(&mut self) {
        let idle = |worker: &Worker| match &worker.next {
            Next::Run(Phase::Hold, _) => true,
            Next::Run(Phase::Release, _) => {
                worker.transaction.is_superseded() || !worker.transaction.committed(0)
            }
            _ => false,
        };
        while let Some(at) = self.workers.iter().position(idle) {
            let worker = &mut self.workers[at];
            let Next::Run(phase, _) = worker.next else { return };
            let answers = if phase == Phase::Release { Vec::new() } else { vec![(0, Answer::Done)] };
            worker.next = worker.transaction.answered(phase, answers);
        }
        while let Some(at) = self.workers.iter().position(|worker| matches!(worker.next, Next::End(_))) {
            self.report(at);
        }
    }

    /// Forgets what can have no effect any more.
    fn forget(&mut self, limits: Limits) {
        let (parts, ended) = (self.parts, self.ended.is_some());
        let open = [self.is_open(0), self.is_open(1)];
        self.reports.retain(|report| {
            let part = parts[report.part];
            !ended && part.attempt == report.attempt && open[report.part]
        });
        self.messages.retain(|message| {
            let part = parts[message.part];
            let of_the_stage = limits.old_stages || part.first_attempt <= message.attempt;
            let later = !message.delivered || (of_the_stage && part.repeats < limits.repeats);
            later && !ended
        });
    }

    fn deliver(&self, at: usize, limits: Limits, all: &mut Vec<Self>) {
        let message = self.messages[at];
        let part = self.parts[message.part];
        let mut next = self.clone();
        let attempt = if message.delivered {
            let of_the_stage = limits.old_stages || part.first_attempt <= message.attempt;
            if !self.is_open(message.part) || !of_the_stage || part.repeats >= limits.repeats {
                return;
            }
            next.parts[message.part].attempt += 1;
            next.parts[message.part].repeats += 1;
            if !limits.at_once {
                let replaced = |other: &&mut Worker| other.part == message.part;
                next.workers.iter_mut().filter(replaced).for_each(|other| other.old = true);
            }
            part.attempt + 1
        } else {
            next.messages[at].delivered = true;
            message.attempt
        };
        let (transaction, first) =
            Transaction::part(message.stage, 1, Past { begun: message.delivered, unknown: false });
        next.workers.push(Worker {
            part: message.part,
            stage: message.stage,
            attempt,
            transaction,
            next: first,
            old: false,
        });
        all.push(next);
    }

    /// The state in which this worker has gone on with this answer.
    fn answered(&self, at: usize, phase: Phase, device: Device, answer: Answer) -> Self {
        let mut next = self.clone();
        let worker = &mut next.workers[at];
        next.devices[worker.part] = device;
        let answers = if phase == Phase::Release { Vec::new() } else { vec![(0, answer)] };
        worker.next = worker.transaction.answered(phase, answers);
        next
    }

    fn work(&self, at: usize, limits: Limits, all: &mut Vec<Self>) {
        let worker = &self.workers[at];
        match &worker.next {
            Next::Ask(phase) => {
                let late = Failure::new(FailureClass::Unreachable, "gate", "late");
                let mut gates = vec![Gate::Cut];
                // Another may have it by now, and this one does not ask.
                if !worker.old || self.is_current(worker) {
                    gates.push(Gate::Open);
                }
                if !self.is_current(worker) {
                    gates.push(Gate::Superseded);
                }
                if self.devices[worker.part].late {
                    gates.push(Gate::Late(late));
                }
                for gate in gates {
                    let mut next = self.clone();
                    let worker = &mut next.workers[at];
                    worker.next = worker.transaction.gated(*phase, gate);
                    all.push(next);
                }
            }
            Next::Run(phase, _) => {
                for (device, answer) in self.outcomes(worker, *phase, limits) {
                    all.push(self.answered(at, *phase, device, answer));
                }
            }
            Next::End(_) => {}
        }
    }

    /// A worker has come to its end.
    fn report(&mut self, at: usize) {
        let worker = self.workers.remove(at);
        let (in_force, event) = match worker.next {
            Next::End(End::Known) => {
                let in_force = worker.transaction.seats()[0].in_force;
                (in_force, across::event(worker.stage, settle::outcome(&[report_of(in_force)], &[])))
            }
            Next::End(End::Prepared) => (InForce::Provisional, DeploymentEvent::Prepared),
            _ => return,
        };
        let report = Report { part: worker.part, attempt: worker.attempt, event, in_force };
        if !self.reports.contains(&report) {
            self.reports.push(report);
        }
    }

    /// What a phase may do to the device, and what the worker hears.
    fn outcomes(&self, worker: &Worker, phase: Phase, limits: Limits) -> Vec<(Device, Answer)> {
        let device = self.devices[worker.part];
        let back = Device { kept: device.kept, ..Device::default() };
        let kept = Device { kept: true, ..Device::default() };
        let found = |device: Device| Answer::Found(if device.kept { InForce::New } else { InForce::Old });
        let current = self.is_current(worker);
        // From preparing to letting go one session holds the locks of the device.
        let locked = self.workers.iter().any(|other| {
            let holds =
                matches!(other.next, Next::Ask(Phase::Commit) | Next::Run(Phase::Commit | Phase::Undo, _));
            holds && other.part == worker.part && other.attempt != worker.attempt
        });
        // Nor does a device give them out while a commit of another session is pending (RFC 6241 §7.5).
        let locked = locked || device.pending;
        let mut all = match phase {
            // These ask before each session whether they are current.
            Phase::Recover | Phase::Settle | Phase::Push | Phase::Revert if !current => {
                return vec![(device, Answer::Superseded)];
            }
            Phase::Push | Phase::Revert if locked => return Vec::new(),
            Phase::Prepare if locked => vec![(device, failed(false))],
            Phase::Recover => vec![(back, found(back))],
            // Refused, or nobody there before anything was done.
            Phase::Prepare => {
                vec![(device, Answer::Ready(Guarantee::ConfirmedCommit11)), (device, failed(false))]
            }
            Phase::Commit => {
                let pending = Device { pending: !device.kept, late: false, kept: device.kept };
                // What is pending belongs to whoever has the token: done once more, it begins anew.
                vec![
                    (pending, Answer::Done),
                    (pending, failed(true)),
                    (device, failed(true)),
                    (device, failed(false)),
                ]
            }
            Phase::Hold | Phase::Verify | Phase::CommitForGood => vec![(device, Answer::Done)],
            Phase::Confirm => {
                let done = if device.pending { (kept, Answer::Done) } else { (device, failed(true)) };
                let lost = if device.pending { kept } else { device };
                vec![done, (lost, failed(true)), (device, failed(true))]
            }
            Phase::Settle => {
                let now = if device.pending { kept } else { device };
                vec![(now, found(now))]
            }
            Phase::Push => vec![(kept, Answer::Done), (device, failed(false))],
            Phase::Undo if back.kept && !worker.transaction.had_new(0) => vec![(back, found(back))],
            Phase::Undo => vec![(back, Answer::Done)],
            Phase::Revert => vec![(Device::default(), Answer::Done)],
            Phase::Release if worker.transaction.is_superseded() => vec![(device, Answer::Done)],
            Phase::Release if worker.transaction.committed(0) => {
                vec![(back, Answer::Done), (device, Answer::Done)]
            }
            Phase::Release => vec![(device, Answer::Done)],
        };
        if limits.unreachable {
            match phase {
                Phase::Recover | Phase::Settle | Phase::Undo => all.push((device, failed(true))),
                Phase::Push => all.extend([(kept, failed(true)), (device, failed(true))]),
                Phase::Revert => all.extend([(Device::default(), failed(true)), (device, failed(true))]),
                _ => {}
            }
        }
        all
    }

    fn record(&self, report: Report, all: &mut Vec<Self>) {
        let part = self.parts[report.part];
        if part.attempt != report.attempt {
            return;
        }
        let event = across::event(part.stage, report.event);
        let Some(state) = deployment_transition(part.state, event) else { return };
        let mut next = self.clone();
        let part = &mut next.parts[report.part];
        (part.state, part.in_force) = (state, report.in_force);
        let now = Timestamp::UNIX_EPOCH;
        let seen = |at: usize| {
            let (part, device) = (next.parts[at], next.devices[at]);
            let in_time = (device.pending && !device.late) || device.kept;
            let by = now + SignedDuration::from_secs(i64::from(in_time));
            let confirm_by = (part.state == DeploymentState::Prepared).then_some(by);
            PartState { stage: part.stage, state: part.state, confirm_by }
        };
        match across::decide(&[seen(0), seen(1)], now) {
            Decision::Wait => {}
            Decision::Confirm => next.send(&[0, 1], Stage::Confirm),
            Decision::Undo(parts) => next.send(&parts, Stage::Undo),
            Decision::End => {
                let devices = next.parts.map(|part| report_of(part.in_force));
                let (_, failures) = across::outcome(&devices, &[]);
                assert!(next.ended.is_none(), "an order ends once");
                next.ended = Some(settle::order_event(&failures) == OrderEvent::Deployed);
            }
        }
        all.push(next);
    }

    fn send(&mut self, parts: &[usize], stage: Stage) {
        for at in parts {
            let part = &mut self.parts[*at];
            part.attempt += 1;
            (part.stage, part.state, part.first_attempt, part.repeats) =
                (stage, DeploymentState::Pending, part.attempt, 0);
            self.messages.push(Message { part: *at, stage, attempt: part.attempt, delivered: false });
        }
    }

    /// Nobody works and no timer runs.
    fn is_quiet(&self) -> bool {
        self.workers.is_empty() && self.devices.iter().all(|device| !device.pending)
    }

    /// What is wrong with a state in which the order has ended and all is quiet.
    fn fault(&self) -> Option<String> {
        let deployed = self.ended?;
        if !self.is_quiet() {
            return None;
        }
        let kept = self.devices.map(|device| device.kept);
        let told = self.parts.map(|part| part.in_force);
        let lies = kept.iter().zip(told).any(|(kept, told)| match told {
            InForce::New => !kept,
            InForce::Old => *kept,
            _ => false,
        });
        let doubted = told.iter().any(|told| !matches!(told, InForce::New | InForce::Old));
        let mixed = kept[0] != kept[1];
        let wrong = lies
            || (deployed && kept != [true; 2])
            || (!deployed && kept != [false; 2] && !doubted && !mixed);
        // Devices that can be reached are never left half-configured; of others it is said.
        (wrong || (mixed && !doubted))
            .then(|| format!("deployed: {deployed}, in force: {kept:?}, told: {told:?}"))
    }
}

const ALL: Limits = Limits { repeats: 1, unreachable: false, old_stages: false, at_once: false };

/// What is tried, and whether it takes so long that only `make soak` does.
const TRIED: [(Limits, bool); 3] = [
    (ALL, false),
    (Limits { unreachable: true, repeats: 0, ..ALL }, false),
    (Limits { unreachable: true, ..ALL }, true),
];

#[test]
#[allow(clippy::print_stdout, reason = "how many states there are is of interest")]
fn in_every_order_of_events_two_regions_agree() {
    let soak = std::env::var_os("TURNUP_SOAK").is_some();
    for (limits, _) in TRIED.into_iter().filter(|(_, long)| soak || !long) {
        let explored = explore(limits);
        println!("{limits:?}: {} states, {} ends in doubt", explored.states, explored.doubts);
        assert!(explored.fault.is_none(), "{}", explored.fault.unwrap_or_default());
        assert_eq!(explored.dead_ends, 0, "there are states from which the order can't end");
        assert_eq!(limits.unreachable, explored.doubts > 0, "in doubt only where devices are out of reach");
    }
}

#[test]
fn mistakes_would_be_found() {
    let mut mistakes = vec![Limits { old_stages: true, ..ALL }];
    if std::env::var_os("TURNUP_SOAK").is_some() {
        mistakes.push(Limits { at_once: true, unreachable: true, ..ALL });
    }
    for limits in mistakes {
        let explored = explore(limits);
        assert!(explored.fault.is_some(), "{limits:?}: {} states", explored.states);
    }
}
