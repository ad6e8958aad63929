//! A worker: takes deployments from its region's queue and drives `core::transaction` over the devices, with the
//! same questions, gates and order of report and acknowledgement as `turnup-worker`.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use turnup_core::{
    across,
    attempt::{self, Doorstep, Step},
    failure::{Failure, FailureClass},
    lifecycle::DeploymentEvent,
    message::{Claim, ClaimKind, DeviceReport, InForce, OrderReport, Stage, StateChange},
    settle,
    transaction::{Answer, End, Gate, Next, Past, Phase, Seat, Transaction},
};

use crate::{
    Planted, Weather,
    broker::{Body, Broker, Connection, Delivery, Queue},
    device::Network,
    link::Link,
    short,
    store::{Job, Work},
    world::{Ms, One, Process, Signal, World, all, trace},
};

const CLAIM_PATIENCE: Ms = 300_000;
const ONE_QUESTION: Ms = 4_000;
const LONGEST: Ms = 24 * 60_000;
/// A long deployment reports for the first time after this.
const REPORT_AFTER: Ms = 2_000;
const REPORT_EVERY: Ms = 1_000;
const REPORT_AT_LEAST: Ms = 10_000;

/// What a worker process has.
pub(crate) struct Host {
    pub(crate) world: World,
    pub(crate) broker: Broker,
    pub(crate) network: Network,
    pub(crate) process: Process,
    pub(crate) region: usize,
    pub(crate) weather: Weather,
    pub(crate) planted: Option<Planted>,
}

/// Runs until the process dies.
pub(crate) async fn run(host: Rc<Host>) {
    loop {
        let connection = host.broker.connect(host.process, &[Queue::Deploy(host.region)]);
        while let Some(delivery) = host.broker.next(&connection).await {
            let own = Rc::clone(&host);
            host.world.spawn(host.process, async move { take(own, delivery).await });
        }
        host.world.sleep_between(100, 5_000).await;
    }
}

fn span(time: Ms) -> Duration {
    Duration::from_millis(time)
}

fn ms(time: Duration) -> Ms {
    u64::try_from(time.as_millis()).unwrap()
}

enum Outcome {
    Report(Box<StateChange>),
    Forget,
    Release,
}

async fn take(host: Rc<Host>, delivery: Delivery) {
    let Body::Work { job, stage, attempt } = &delivery.message.body else { return };
    trace!(
        host.world,
        "{} takes {}/{attempt} {stage}{}",
        host.world.name(host.process),
        short(job.id.0),
        if may_be_a_repeat(&host, &delivery) { " again" } else { "" }
    );
    let outcome = deploy(&host, &delivery, job, *stage, *attempt).await;
    host.step().await;
    match outcome {
        Outcome::Report(report) => {
            trace!(
                host.world,
                "{} reports {}/{} {} {:?}",
                host.world.name(host.process),
                short(report.deployment.0),
                report.attempt,
                report.event,
                report.devices.iter().map(|device| device.in_force.word()).collect::<Vec<_>>()
            );
            let queue = Queue::State(turnup_core::message::state_shard(report.deployment));
            while host.broker.publish(queue, Body::Report(report.clone())).await.is_err() {
                if !delivery.connection.is_believed() {
                    return;
                }
                host.world.sleep_between(400, 1_000).await;
            }
            host.step().await;
            host.broker.ack(&delivery);
        }
        Outcome::Forget => host.broker.ack(&delivery),
        Outcome::Release => host.broker.release(&delivery),
    }
}

/// Time since the message was published, by the clocks of two machines and to the second, or was received.
fn age(host: &Host, delivery: &Delivery) -> Ms {
    let published_s = delivery.message.published_at.as_second();
    let now = host.world.clock(host.process);
    let published = now.as_millisecond() - published_s * 1_000;
    u64::try_from(published).unwrap_or(0).max(host.world.now() - delivery.received_at)
}

fn may_be_a_repeat(host: &Host, delivery: &Delivery) -> bool {
    let is_marked = delivery.message.redelivered || delivery.message.republished;
    attempt::may_be_a_repeat(is_marked, span(age(host, delivery)))
}

impl Host {
    /// A step at which the process may die or freeze.
    pub(crate) async fn step(&self) {
        self.world
            .step_of(self.process, self.weather.death, self.weather.frost, self.weather.longest_frost)
            .await;
    }
}

/// How far a deployment is.
#[derive(Default)]
pub(crate) struct Progress {
    phase: Cell<Option<Phase>>,
    doubtful: Cell<bool>,
    seats: RefCell<Vec<(InForce, Vec<Failure>)>>,
    over: Cell<bool>,
    sequence: Cell<i32>,
    told: Cell<bool>,
    changed: RefCell<Option<Signal>>,
}

impl Progress {
    pub(crate) fn doubt(&self) {
        if !self.doubtful.replace(true) {
            self.notify();
        }
    }

    fn notify(&self) {
        if let Some(signal) = &*self.changed.borrow() {
            signal.notify();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Current,
    Superseded,
    Unknown,
}

/// An attempt of a deployment.
pub(crate) struct Attempt {
    pub(crate) host: Rc<Host>,
    pub(crate) job: Rc<Job>,
    pub(crate) stage: Stage,
    pub(crate) number: i32,
    pub(crate) recovery: bool,
    connection: Rc<Connection>,
    known_at: Cell<Ms>,
    pub(crate) forward_by: Ms,
    pub(crate) total_by: Ms,
    pub(crate) progress: Rc<Progress>,
}

impl Attempt {
    pub(crate) fn now(&self) -> Ms {
        self.host.world.now()
    }

    pub(crate) async fn step(&self) {
        self.host.step().await;
    }

    pub(crate) fn is_held(&self) -> bool {
        self.connection.is_believed()
    }

    fn known_ago(&self) -> Duration {
        span(self.now() - self.known_at.get())
    }

    /// Whether there is no need to ask.
    pub(crate) fn is_sure(&self) -> bool {
        attempt::is_surely_current(self.is_held(), self.recovery, self.known_ago())
    }

    fn past(&self) -> Past {
        Past { begun: self.recovery, unknown: self.job.past_unknown }
    }

    /// Other workers may have lost sessions that are still at work.
    pub(crate) fn others(&self) -> bool {
        self.recovery || matches!(self.stage, Stage::Confirm | Stage::Undo)
    }

    pub(crate) async fn check(&self, by: Ms) -> Verdict {
        let asked_at = self.now();
        match ask(&self.host, &self.connection, &self.job, self.number, ClaimKind::Check, by).await {
            Some(attempt) if attempt == Some(self.number) => {
                self.known_at.set(asked_at);
                Verdict::Current
            }
            Some(_) => Verdict::Superseded,
            None => Verdict::Unknown,
        }
    }

    fn half_of_timer(&self) -> Ms {
        u64::from(self.job.limits.confirm_timeout_s) * 500
    }
}

/// None: nobody has answered.
async fn ask(
    host: &Host,
    connection: &Connection,
    job: &Job,
    attempt: i32,
    claim: ClaimKind,
    by: Ms,
) -> Option<Option<i32>> {
    let mut pause = 100;
    // Whether an attempt is current does not depend on who has the message.
    let must_hold = claim == ClaimKind::TakeOver || host.planted == Some(Planted::ChecksNeedTheDelivery);
    while (connection.is_believed() || !must_hold) && host.world.now() < by {
        let claim = Claim { deployment: job.id, attempt, claim, worker: host.world.name(host.process) };
        let within = ONE_QUESTION.min(by - host.world.now());
        if let Ok(answer) = host.broker.ask(claim, within).await {
            return Some(answer.attempt);
        }
        host.world.sleep_until((host.world.now() + pause).min(by)).await;
        pause = (pause * 2).min(5_000);
    }
    None
}

async fn deploy(host: &Rc<Host>, delivery: &Delivery, job: &Rc<Job>, stage: Stage, attempt: i32) -> Outcome {
    let world = &host.world;
    let asks = host.planted != Some(Planted::RepeatsAreFresh);
    let (is_repeat, began) = (asks && may_be_a_repeat(host, delivery), delivery.received_at);
    let message_age = age(host, delivery);
    let total = job.limits.total_timeout_ms.min(LONGEST);
    let connection = Rc::clone(&delivery.connection);
    let number = if is_repeat {
        if host.planted != Some(Planted::TakesOverAtOnce) {
            world.sleep(ms(attempt::taken_over_in(span(message_age)))).await;
        }
        let by = world.now() + total.min(CLAIM_PATIENCE);
        match ask(host, &connection, job, attempt, ClaimKind::TakeOver, by).await {
            None => return Outcome::Release,
            Some(None) => return Outcome::Forget,
            Some(Some(attempt)) => attempt,
        }
    } else {
        attempt
    };
    let total_by = (world.now() + total).min(began + LONGEST);
    let confirm = u64::from(job.limits.confirm_timeout_s) * 1000;
    let reserve = (confirm + 30_000).min((total_by - world.now()) / 2);
    let known_ago = if is_repeat { 0 } else { message_age };
    let attempt = Rc::new(Attempt {
        host: Rc::clone(host),
        job: Rc::clone(job),
        stage,
        number,
        recovery: is_repeat,
        connection,
        known_at: Cell::new(world.now().saturating_sub(known_ago)),
        forward_by: total_by - reserve,
        total_by,
        progress: Rc::default(),
    });
    let changed = Signal::new(world);
    *attempt.progress.changed.borrow_mut() = Some(changed.clone());
    world.spawn(host.process, tell(Rc::clone(&attempt), changed.clone()));
    let mut links: Vec<Link<'_>> = job.devices.iter().map(|work| Link::new(&attempt, work)).collect();
    let (transaction, end) = drive(&attempt, &mut links).await;
    attempt.progress.over.set(true);
    attempt.progress.notify();
    // The last report of the way is not to be overtaken.
    changed.until(|| attempt.progress.told.get().then_some(())).await;
    let since = links.iter().filter_map(|link| link.committed_at).min().map_or(0, |at| world.now() - at);
    let left = i64::try_from(attempt.half_of_timer()).unwrap() - i64::try_from(since).unwrap();
    // It may be over already.
    let left = if host.planted == Some(Planted::ConfirmByIsNeverPast) { left.max(0) } else { left };
    let confirm_by = world.clock(host.process) + SignedDuration::from_millis(left);
    match end {
        End::Prepared => Outcome::Report(Box::new(prepared(&attempt, confirm_by))),
        End::Known => Outcome::Report(Box::new(ended(&attempt, &transaction, &links))),
        End::Superseded => Outcome::Forget,
        End::HandedBack => Outcome::Release,
    }
}

/// Drives the transaction to its end, as `turnup_worker::drive` does.
async fn drive(attempt: &Attempt, links: &mut [Link<'_>]) -> (Transaction, End) {
    let (mut transaction, mut next) = Transaction::part(attempt.stage, links.len(), attempt.past());
    let progress = &attempt.progress;
    loop {
        next = match next {
            Next::Run(phase, at) => {
                progress.phase.set(Some(phase));
                trace!(
                    attempt.host.world,
                    "  {}/{} {}",
                    short(attempt.job.id.0),
                    attempt.number,
                    phase.name()
                );
                let answers = match phase {
                    Phase::Release => {
                        release(links, &transaction).await;
                        Vec::new()
                    }
                    _ => perform(phase, &at, links, &transaction).await,
                };
                let doubtful = |answer: &Answer| matches!(answer, Answer::Failed { failures, .. } if failures.iter().any(|f| f.class == FailureClass::InDoubt));
                if answers.iter().any(|(_, answer)| doubtful(answer)) {
                    progress.doubt();
                }
                let next = transaction.answered(phase, answers);
                let seats = transaction.seats().iter();
                *progress.seats.borrow_mut() =
                    seats.map(|seat| (seat.in_force, seat.failures.clone())).collect();
                let unknown = |(at, seat): (usize, &Seat)| {
                    seat.in_force == InForce::Unknown && (attempt.recovery || transaction.committed(at))
                };
                if phase != Phase::Commit && !transaction.seats().iter().enumerate().any(unknown) {
                    progress.doubtful.set(false);
                }
                next
            }
            Next::Ask(phase) => {
                let gate = gate(attempt, links, phase).await;
                attempt.step().await;
                transaction.gated(phase, gate)
            }
            Next::End(end) => {
                for link in links {
                    link.finish();
                }
                return (transaction, end);
            }
        };
    }
}

async fn perform(
    phase: Phase,
    at: &[usize],
    links: &mut [Link<'_>],
    transaction: &Transaction,
) -> Vec<(usize, Answer)> {
    let mut work: Vec<One<'_, (usize, Answer)>> = Vec::new();
    for (n, link) in links.iter_mut().enumerate().filter(|(n, _)| at.contains(n)) {
        let (committed, had_new) = (transaction.committed(n), transaction.had_new(n));
        work.push(Box::pin(async move { (n, link.obey(phase, committed, had_new).await) }));
    }
    all(work).await
}

async fn release(links: &mut [Link<'_>], transaction: &Transaction) {
    let mut work: Vec<One<'_, ()>> = Vec::new();
    for (n, link) in links.iter_mut().enumerate() {
        work.push(Box::pin(async move {
            if transaction.is_superseded() {
                link.abandon()
            } else {
                link.release(transaction.committed(n)).await
            }
        }));
    }
    all(work).await;
}

/// Whether a phase may begin.
async fn gate(attempt: &Attempt, links: &mut [Link<'_>], phase: Phase) -> Gate {
    let now = attempt.now();
    let since = |links: &[Link<'_>]| {
        links.iter().filter_map(|link| link.committed_at).min().map(|at| span(attempt.now() - at))
    };
    let waited = links.iter_mut().fold(false, |any, link| std::mem::take(&mut link.waited) | any);
    let doorstep = Doorstep {
        held: attempt.is_held(),
        took_over: attempt.recovery,
        waited,
        known_ago: attempt.known_ago(),
        since_commit: since(links),
        half_of_timer: span(attempt.half_of_timer()),
        left: span(attempt.forward_by.saturating_sub(now)),
    };
    let gate = match doorstep.step(phase) {
        Step::Say(gate) => gate,
        Step::Ask(patience) => match attempt.check(now + ms(patience)).await {
            Verdict::Current => Doorstep { since_commit: since(links), ..doorstep }.gate(phase),
            Verdict::Superseded => return Gate::Superseded,
            Verdict::Unknown => return Gate::Cut,
        },
    };
    let blind = attempt.host.planted == Some(Planted::ConfirmsHoweverLate) && now < attempt.forward_by;
    if matches!(gate, Gate::Cut) || (gate != Gate::Open && !blind) {
        return gate;
    }
    let device = |work: &Work| &attempt.host.network.devices()[work.device];
    let gone = |work: &Work| device(work).has_timed_out(attempt.job.id, work, attempt.now());
    if phase == Phase::Confirm && attempt.job.devices.iter().any(gone) {
        let text = format!("{} begins to confirm what a timer has taken back", short(attempt.job.id.0));
        attempt.host.network.complaints.borrow_mut().push(text);
    }
    Gate::Open
}

/// Tells how far a long deployment is, until it is over.
async fn tell(attempt: Rc<Attempt>, changed: Signal) {
    let (world, progress) = (&attempt.host.world, &attempt.progress);
    let mut next = world.now() + REPORT_AFTER;
    let mut told: Option<(Option<Phase>, bool, Ms)> = None;
    let mut known_doubt = false;
    progress.sequence.set(1);
    loop {
        let woken = changed.until(|| {
            let doubted = progress.doubtful.get() && !known_doubt;
            (progress.over.get() || doubted).then_some(())
        });
        world.within(next, woken).await;
        known_doubt = progress.doubtful.get();
        if progress.over.get() {
            break;
        }
        next = world.now() + REPORT_EVERY;
        let state = (progress.phase.get(), progress.doubtful.get());
        if told.is_some_and(|(phase, doubtful, at)| {
            (phase, doubtful) == state && world.now() - at < REPORT_AT_LEAST
        }) {
            continue;
        }
        let event = if state.1 { DeploymentEvent::Doubted } else { DeploymentEvent::Progressed };
        let seats = progress.seats.borrow().clone();
        let devices = attempt.job.devices.iter().zip(seats);
        let devices =
            devices.map(|(work, (in_force, failures))| device_report(work.name.clone(), in_force, failures));
        let report = report(&attempt, event, devices.collect(), Vec::new());
        let queue = Queue::State(turnup_core::message::state_shard(report.deployment));
        match attempt.host.broker.publish(queue, Body::Report(Box::new(report))).await {
            Ok(()) => {
                progress.sequence.set(progress.sequence.get() + 1);
                told = Some((state.0, state.1, world.now()));
            }
            Err(error) => progress.sequence.set(progress.sequence.get() + i32::from(error.maybe_published)),
        }
        next = world.now() + REPORT_EVERY;
    }
    progress.told.set(true);
    changed.notify();
}

fn device_report(
    device: turnup_core::name::DeviceName,
    in_force: InForce,
    failures: Vec<Failure>,
) -> DeviceReport {
    let failures = failures.into_iter().map(|failure| failure.at(device.clone())).collect();
    DeviceReport {
        device,
        in_force,
        steps: Vec::new(),
        failures,
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    }
}

fn report(
    attempt: &Attempt,
    event: DeploymentEvent,
    devices: Vec<DeviceReport>,
    orders: Vec<OrderReport>,
) -> StateChange {
    StateChange {
        deployment: attempt.job.id,
        attempt: attempt.number,
        sequence: attempt.progress.sequence.get(),
        worker: attempt.host.world.name(attempt.host.process),
        at: attempt.host.world.clock(attempt.host.process),
        event,
        phase: attempt.progress.phase.get().map_or("start", Phase::name).to_owned(),
        devices,
        orders,
        confirm_by: None,
    }
}

fn prepared(attempt: &Attempt, confirm_by: Timestamp) -> StateChange {
    let devices = attempt.job.devices.iter();
    let devices = devices.map(|work| device_report(work.name.clone(), InForce::Provisional, Vec::new()));
    let report = report(attempt, DeploymentEvent::Prepared, devices.collect(), Vec::new());
    StateChange { confirm_by: Some(confirm_by), ..report }
}

/// From what is known of the devices to the report, as `turnup_worker::report` says it.
fn ended(attempt: &Attempt, transaction: &Transaction, links: &[Link<'_>]) -> StateChange {
    let committed = transaction.seats().iter().all(|seat| seat.in_force == InForce::New);
    let undone = || Failure::new(FailureClass::Undone, "undo", "undone with the others");
    let seats = attempt.job.devices.iter().zip(transaction.seats()).zip(links);
    let devices: Vec<DeviceReport> = seats
        .map(|((work, seat), link)| {
            let mut failures = if committed { Vec::new() } else { seat.failures.clone() };
            if seat.in_force == InForce::Old && failures.is_empty() {
                failures.push(undone());
            }
            let report = device_report(work.name.clone(), seat.in_force, failures);
            DeviceReport { tokens_cancelled: link.tokens_cancelled, ..report }
        })
        .collect();
    let mut failures = Vec::new();
    if !committed {
        let all = devices.iter().flat_map(|device| &device.failures);
        failures.extend(all.filter(|f| f.class != FailureClass::Undone).cloned());
        if failures.is_empty() {
            failures.push(undone());
        }
    }
    let in_force = devices.iter().map(|device| (device.device.clone(), device.in_force)).collect();
    let orders =
        vec![OrderReport { order: attempt.job.order, failures, in_force, audits: Default::default() }];
    let event = across::event(attempt.stage, settle::outcome(&devices, &orders));
    report(attempt, event, devices, orders)
}
