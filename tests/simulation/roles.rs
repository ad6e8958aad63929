//! Scheduler, relay, backstop and recorder: what `turnup-scheduler` and `turnup-recorder` do around the store.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use jiff::SignedDuration;
use turnup_core::message::{Due, StateChange};
use uuid::Uuid;

use crate::{
    Planted, Weather,
    broker::{Body, Broker, Delivery, Message, Queue},
    store::{Row, Store},
    world::{Ms, Process, Signal, World, trace},
};

/// A question that has waited so long has been asked again since.
const STALE: Ms = 3_000;
const SWEEP_EVERY: Ms = 10_000;
const OVERDUE: i64 = 30;
const LOST_AFTER: i64 = 120;
const SILENT_AFTER: i64 = 1_800;
/// A database session that is silent for so long is ended.
const IDLE: Ms = 50_000;
const POLL: Ms = 250;

/// The database: its tables, who may relay, and how likely a call fails.
pub(crate) struct Database {
    pub(crate) store: RefCell<Store>,
    /// The session that holds the right to relay: whose, and when it was last heard of.
    relay: Cell<Option<(Process, Ms)>>,
    changed: Signal,
    regions: usize,
}

impl Database {
    pub(crate) fn new(world: &World, store: Store, regions: usize) -> Self {
        Self { store: RefCell::new(store), relay: Cell::new(None), changed: Signal::new(world), regions }
    }

    pub(crate) fn notify(&self) {
        self.changed.notify();
    }

    /// The process is gone, and its sessions with it.
    pub(crate) fn bury(&self, process: Process) {
        if self.relay.get().is_some_and(|(of, _)| of == process) {
            self.relay.set(None);
        }
    }
}

/// What a process around the store has.
#[derive(Clone)]
pub(crate) struct Office {
    pub(crate) world: World,
    pub(crate) broker: Broker,
    pub(crate) database: Rc<Database>,
    pub(crate) process: Process,
    pub(crate) weather: Weather,
    pub(crate) planted: Option<Planted>,
}

impl Office {
    async fn step(&self) {
        self.world
            .step_of(self.process, self.weather.death, self.weather.frost, self.weather.longest_frost)
            .await;
    }

    /// One transaction. `Err`: the database was away, and it is not known whether it was committed.
    async fn call<T>(&self, work: impl FnOnce(&mut Store) -> T) -> Result<T, ()> {
        self.world.sleep_between(0, 10).await;
        if self.world.mishap(self.weather.database) {
            self.world.sleep_between(0, 3_000).await;
            return Err(());
        }
        let done = work(&mut self.database.store.borrow_mut());
        self.database.notify();
        self.world.sleep_between(0, 10).await;
        if self.world.mishap(self.weather.database) {
            return Err(());
        }
        Ok(done)
    }
}

/// A scheduler process: everything that it runs.
pub(crate) fn schedule(office: &Office) {
    let world = &office.world;
    world.spawn(office.process, start_due(office.clone()));
    world.spawn(office.process, answer_claims(office.clone()));
    world.spawn(office.process, relay(office.clone()));
}

async fn start_due(office: Office) {
    loop {
        let connection = office.broker.connect(office.process, &[Queue::Due]);
        while let Some(first) = office.broker.next(&connection).await {
            let mut batch = vec![first];
            while batch.len() < 20
                && let Some(more) = office.broker.take(&connection)
            {
                batch.push(more);
            }
            let due: Vec<Due> = batch
                .iter()
                .filter_map(|delivery| match &delivery.message.body {
                    Body::Due(due) => Some(due.clone()),
                    _ => None,
                })
                .collect();
            // Not before its time, by this process's clock.
            for due in &due {
                let left = due.due.duration_since(office.world.clock(office.process)).as_millis();
                office.world.sleep(u64::try_from(left).unwrap_or(0)).await;
            }
            loop {
                office.step().await;
                let (world, process) = (&office.world, office.process);
                let id = || Uuid::from_u128(world.number());
                let work = |store: &mut Store| store.start(&due, id, world.clock(process));
                if office.call(work).await.is_ok() {
                    break;
                }
                office.world.sleep(500).await;
            }
            office.step().await;
            batch.iter().for_each(|delivery| office.broker.ack(delivery));
        }
        office.world.sleep_between(100, 5_000).await;
    }
}

async fn answer_claims(office: Office) {
    loop {
        let connection = office.broker.connect(office.process, &[Queue::Claim]);
        while let Some(delivery) = office.broker.next(&connection).await {
            let Body::Claim(claim, reply_to) = &delivery.message.body else { continue };
            let world = &office.world;
            let age = world.clock(office.process).duration_since(delivery.message.published_at).as_millis();
            let is_old = u64::try_from(age).is_ok_and(|age| age > STALE + 1_000);
            if world.now() - delivery.received_at > STALE || is_old {
                office.broker.ack(&delivery);
                continue;
            }
            office.step().await;
            let work = |store: &mut Store| store.claim(claim, world.clock(office.process));
            if let Ok(answer) = office.call(work).await {
                trace!(
                    world,
                    "{} {} of {} as {}: {:?}",
                    world.name(office.process),
                    claim.claim,
                    crate::short(claim.deployment.0),
                    claim.attempt,
                    answer.attempt
                );
                office.broker.reply(reply_to, answer).await;
            }
            office.broker.ack(&delivery);
        }
        office.world.sleep_between(100, 5_000).await;
    }
}

/// The outbox relay, and the backstop that runs beside it.
async fn relay(office: Office) {
    let (world, database) = (&office.world, &office.database);
    loop {
        let free = database.relay.get().is_none_or(|(_, heard)| world.now() > heard + IDLE);
        if free {
            database.relay.set(Some((office.process, world.now())));
            trace!(world, "{} relays now", world.name(office.process));
            lead(&office).await;
        }
        world.sleep(1_000).await;
    }
}

/// Moves rows to the broker until the database session ends.
async fn lead(office: &Office) {
    let (world, database) = (&office.world, &office.database);
    // All that the relay does to the database goes through the session that gives it the right.
    let is_ours = || {
        let ours = database
            .relay
            .get()
            .is_some_and(|(of, heard)| of == office.process && world.now() <= heard + IDLE);
        if ours {
            database.relay.set(Some((office.process, world.now())));
        }
        ours
    };
    let inherited = database.store.borrow().last_row();
    let mut uncertain = Vec::new();
    let mut sweep_at = world.now() + SWEEP_EVERY;
    loop {
        world.sleep_between(0, 5).await;
        if !is_ours() {
            return;
        }
        if world.now() >= sweep_at {
            sweep_at = world.now() + SWEEP_EVERY;
            sweep(office);
        }
        // Of this time the messages are, so that nobody takes one for fresh that a frozen relay sends after
        // another has taken over.
        let asked_at = world.clock(office.process);
        let rows = database.store.borrow().outbox.clone();
        world.sleep_between(0, 5).await;
        if rows.is_empty() {
            let some = database.changed.until(|| (!database.store.borrow().outbox.is_empty()).then_some(()));
            let until =
                if world.is_stormy() { world.now() + POLL * 4 } else { sweep_at.min(world.now() + IDLE / 2) };
            world.within(until, some).await;
            continue;
        }
        office.step().await;
        let mut done = Vec::new();
        for row in rows {
            let again = row.again || row.id <= inherited || uncertain.contains(&row.id);
            let (queue, body) = match row.row {
                Row::Due(due) => (Queue::Due, Body::Due(due)),
                Row::Work(id) => {
                    let store = database.store.borrow();
                    let Some(row) = store.deployments.get(&id) else { continue };
                    let (job, stage, attempt) = (Rc::clone(&row.job), row.stage, row.first_attempt);
                    (Queue::Deploy(job.region), Body::Work { job, stage, attempt })
                }
            };
            let late = office.planted == Some(Planted::RelaysStampWhenSending);
            let published_at = if late { world.clock(office.process) } else { asked_at };
            let message = Message { body, republished: again, redelivered: false, published_at };
            match office.broker.send_out(queue, message).await {
                Ok(()) => done.push(row.id),
                Err(error) if error.maybe_published => uncertain.push(row.id),
                Err(_) => {}
            }
        }
        office.step().await;
        if !is_ours() {
            return;
        }
        database.store.borrow_mut().outbox.retain(|row| !done.contains(&row.id));
    }
}

fn sweep(office: &Office) {
    let now = office.world.clock(office.process);
    let before = |seconds| now - SignedDuration::from_secs(seconds);
    let depth: Vec<usize> =
        (0..office.database.regions).map(|region| office.broker.depth(Queue::Deploy(region))).collect();
    let limits = (before(OVERDUE), before(LOST_AFTER), before(SILENT_AFTER));
    let found = office.database.store.borrow_mut().sweep(limits, |region| depth[region] == 0, now);
    if found > 0 {
        trace!(office.world, "the backstop sends {found} again");
    }
}

/// A recorder process.
pub(crate) async fn record(office: Office) {
    let shards: Vec<Queue> = (0..turnup_core::message::STATE_SHARDS).map(Queue::State).collect();
    loop {
        let connection = office.broker.connect(office.process, &shards);
        while let Some(first) = office.broker.next(&connection).await {
            let mut batch: Vec<Delivery> = vec![first];
            while batch.len() < 20
                && let Some(more) = office.broker.take(&connection)
            {
                batch.push(more);
            }
            let reports: Vec<StateChange> = batch
                .iter()
                .filter_map(|delivery| match &delivery.message.body {
                    Body::Report(report) => Some(StateChange::clone(report)),
                    _ => None,
                })
                .collect();
            loop {
                office.step().await;
                let (world, process) = (&office.world, office.process);
                let work = |store: &mut Store| store.record(&reports, world.clock(process), world.now());
                if office.call(work).await.is_ok() {
                    break;
                }
                office.world.sleep(500).await;
            }
            office.step().await;
            batch.iter().for_each(|delivery| office.broker.ack(delivery));
        }
        office.world.sleep_between(100, 5_000).await;
    }
}
