//! What a seed makes of the world: regions, devices, orders, and everything that goes wrong.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

use turnup_core::{
    id::OrderId,
    lifecycle::OrderState,
    message::Limits,
    name::{DeviceName, PlatformName},
    order::OrderKind,
    profile::{Profile, Profiles},
};
use turnup_device_sim::{
    Personality,
    personality::{CandidateCopy, UnderLock},
};
use uuid::Uuid;

use crate::{
    Planted, Weather,
    broker::{self, Broker},
    check,
    device::{self, Network},
    roles::{self, Database, Office},
    short,
    store::Store,
    worker::{self, Host},
    world::{Ms, OUTSIDE, Process, World, trace},
};

/// Nothing is to be owed any longer so long after faults have stopped: the longest silence that the backstop bears
/// twice, and the deployments after it.
const PATIENCE: Ms = 3 * 3_600_000;

/// What runs, by role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Scheduler,
    Recorder,
    Worker(usize),
}

/// Everything of one seed.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) network: Network,
    pub(crate) broker: Broker,
    pub(crate) database: Rc<Database>,
    weather: Weather,
    planted: Option<Planted>,
    running: RefCell<Vec<(Role, Process)>>,
    /// When schedulers could not be asked, or somebody could not ask: from, and until when.
    pub(crate) silences: RefCell<Vec<(Ms, Ms)>>,
    /// When faults stopped.
    pub(crate) calm_at: Cell<Ms>,
}

/// One of these.
fn one_of<T: Copy>(world: &World, of: &[T]) -> T {
    of[usize::try_from(world.pick(0..of.len() as u64)).unwrap()]
}

/// Nothing, or anything up to this.
fn some(world: &World, most: f64) -> f64 {
    if world.chance(0.5) { 0.0 } else { world.pick(1..1_000) as f64 / 1_000.0 * most }
}

fn weather(world: &World) -> Weather {
    Weather {
        death: some(world, 0.02),
        frost: some(world, 0.02),
        longest_frost: one_of(world, &[2_000, 15_000, 60_000, 400_000]),
        database: some(world, 0.05),
    }
}

fn network_roughness(world: &World) -> device::Roughness {
    device::Roughness {
        no_connect: some(world, 0.2),
        lost_before: some(world, 0.1),
        lost_within: some(world, 0.1),
        lost_after: some(world, 0.1),
        commit_refused: some(world, 0.05),
    }
}

fn broker_roughness(world: &World) -> broker::Roughness {
    broker::Roughness {
        duplicate: some(world, 0.3),
        reorder: some(world, 0.3),
        delay: some(world, 0.1),
        lose: some(world, 0.02),
        unconfirmed: some(world, 0.1),
    }
}

/// The profile that belongs to a personality, or in half of the cases the default one.
///
/// Under the lock of running, which the default profile takes, the timers of netopeer2 and yuma roll nothing back and
/// forget the commit; and clixon grants the lock of a candidate that still holds what was rolled back, which the next
/// commit would put in force. They are changed by their own profile only.
fn profile(personality: Personality, players: &mut fastrand::Rng) -> Rc<Profile> {
    let needs_own = personality.timer_under_lock == UnderLock::Forgets
        || personality.candidate_copy == CandidateCopy::Own;
    let own = players.bool() || needs_own;
    let name = PlatformName::new(personality.name).ok().filter(|_| own);
    let profiles = Profiles::shipped().unwrap();
    Rc::new(name.map(|name| profiles.of(&name)).unwrap_or_default())
}

/// Runs a seed to its end. Returns everything that does not hold then.
pub(crate) fn run(seed: u64, traced: bool, planted: Option<Planted>, play: &[Personality]) -> Vec<String> {
    let world = World::new(seed, traced);
    // Of their own, so that a seed's world stays the same whatever the devices play.
    let mut players = fastrand::Rng::with_seed(seed);
    let regions = usize::try_from(world.pick(1..4)).unwrap();
    let mut of_devices = Vec::new();
    for region in 0..regions {
        for _ in 0..world.pick(1..4) {
            of_devices.push(region);
        }
    }
    let plays = |region| (region, players.choice(play).copied().unwrap_or_default());
    let of_devices: Vec<(usize, Personality)> = of_devices.into_iter().map(plays).collect();
    let network = Network::new(&world, &of_devices, network_roughness(&world));
    let broker = Broker::new(&world, broker_roughness(&world));
    let mut store = Store::default();
    store.planted = planted;
    let names =
        network.devices().iter().map(|device| (DeviceName::new(device.name.clone()).unwrap(), device.region));
    store.devices = names.collect();
    store.profiles = of_devices.iter().map(|(_, personality)| profile(*personality, &mut players)).collect();
    store.limits = Limits {
        confirm_timeout_s: one_of(&world, &[20, 60, 120]),
        total_timeout_ms: one_of(&world, &[120_000, 300_000, 600_000]),
        ..Limits::default()
    };
    let database = Rc::new(Database::new(&world, store, regions));
    let scene = Rc::new(Scene {
        weather: weather(&world),
        world: world.clone(),
        network,
        broker,
        database,
        planted,
        running: RefCell::default(),
        silences: RefCell::default(),
        calm_at: Cell::new(0),
    });
    let frosty = Rc::downgrade(&scene);
    world.on_frost(move |process, until| {
        if let Some(scene) = frosty.upgrade() {
            scene.broker.chill(process, until);
            scene.silences.borrow_mut().push((scene.world.now(), until));
        }
    });
    for role in [Role::Scheduler, Role::Recorder] {
        scene.keep(role);
        scene.keep(role);
    }
    for region in 0..regions {
        scene.keep(Role::Worker(region));
        scene.keep(Role::Worker(region));
    }
    let storm = world.pick(30_000..600_000);
    scene.calm_at.set(storm);
    world.spawn(OUTSIDE, order(Rc::clone(&scene)));
    world.spawn(OUTSIDE, Rc::clone(&scene).trouble(storm));
    world.run_until(storm);
    trace!(world, "FAULTS STOP");
    world.calm_down();
    scene.restore();
    let stuck_at = storm + PATIENCE;
    while world.now() < stuck_at && !scene.is_quiet() {
        world.run_until(world.now() + 10_000);
    }
    // Timers run out, and whoever was frozen goes on.
    world.run_until(world.now() + 300_000);
    let faults = check::check(&scene);
    world.end();
    faults
}

impl Scene {
    /// A process of this role runs, and another when it has died.
    fn keep(self: &Rc<Self>, role: Role) {
        let scene = Rc::clone(self);
        self.world.spawn(OUTSIDE, async move {
            let world = &scene.world;
            let slot = scene.running.borrow().len();
            scene.running.borrow_mut().push((role, OUTSIDE));
            loop {
                let skew =
                    if world.chance(0.5) { 0 } else { i64::try_from(world.pick(0..4_000)).unwrap() - 2_000 };
                let process = world.process(format!("{role:?}#{slot}"), skew);
                scene.running.borrow_mut()[slot].1 = process;
                scene.start(role, process);
                world.until_dead(process).await;
                let died_at = world.now();
                scene.broker.bury(process);
                scene.network.hang_up_all(process);
                world.sleep_between(0, 3_000).await;
                scene.database.bury(process);
                if world.is_stormy() {
                    world.sleep_between(0, 60_000).await;
                }
                if role == Role::Scheduler {
                    scene.silences.borrow_mut().push((died_at, world.now()));
                }
            }
        });
    }

    fn start(&self, role: Role, process: Process) {
        let (world, broker) = (self.world.clone(), self.broker.clone());
        let database = Rc::clone(&self.database);
        match role {
            Role::Worker(region) => {
                let (network, weather, planted) = (self.network.clone(), self.weather, self.planted);
                let host = Host { world, broker, network, process, region, weather, planted };
                self.world.spawn(process, worker::run(Rc::new(host)));
            }
            Role::Scheduler => {
                roles::schedule(&Office {
                    world,
                    broker,
                    database,
                    process,
                    weather: self.weather,
                    planted: self.planted,
                });
            }
            Role::Recorder => {
                let office =
                    Office { world, broker, database, process, weather: self.weather, planted: self.planted };
                self.world.spawn(process, roles::record(office));
            }
        }
    }

    /// Whether nothing is owed to anybody.
    fn is_quiet(&self) -> bool {
        let store = self.database.store.borrow();
        let settled = store.orders.values().all(|order| order.state.is_settled());
        let frozen =
            self.running.borrow().iter().any(|(_, p)| self.world.frozen_until(*p) > self.world.now());
        settled && !frozen && store.outbox.is_empty() && self.broker.is_empty()
    }

    /// What goes wrong at any time, until `until`.
    async fn trouble(self: Rc<Self>, until: Ms) {
        let world = &self.world;
        let pause = one_of(world, &[1_000, 5_000, 20_000, 100_000]);
        let kinds: Vec<u64> = (0..9).filter(|_| world.chance(0.5)).collect();
        if kinds.is_empty() {
            return;
        }
        loop {
            world.sleep_between(0, pause * 2).await;
            if world.now() >= until {
                return;
            }
            let (_, process) = one_of(world, &self.running.borrow());
            let device = usize::try_from(world.pick(0..self.network.devices().len() as u64)).unwrap();
            match one_of(world, &kinds) {
                0 => world.kill(process),
                1 => {
                    let thawed = world.now() + world.pick(100..self.weather.longest_frost.max(200));
                    world.freeze(process, thawed);
                }
                2 => self.broker.disconnect(process),
                kind => self.hurt(device, kind),
            }
        }
    }

    /// A device has a bad time.
    fn hurt(self: &Rc<Self>, at: usize, kind: u64) {
        let world = &self.world;
        let device = &self.network.devices()[at];
        let confirm = u64::from(self.database.store.borrow().limits.confirm_timeout_s) * 1000;
        let time = one_of(world, &[3_000, 20_000, confirm, 3 * confirm]);
        let time = world.pick(0..time + 1);
        trace!(world, "{} has a bad time ({kind}) of {:.1} s", device.name, time as f64 / 1000.0);
        match kind {
            3 => device.cut_off.set(true),
            4 => device.slowness.set(one_of(world, &[200, 2_000, confirm / 2, 40_000])),
            5 => device.refuses.set(true),
            6 => device.lies.set(true),
            8 => device.commit_slowness.set(one_of(world, &[confirm / 2, 25_000])),
            _ => {
                self.network.reboot(at);
                device.cut_off.set(true);
            }
        }
        // What is slow may still be carrying out requests some time after.
        device.troubles.borrow_mut().push((world.now(), world.now() + time + 45_000));
        let scene = Rc::clone(self);
        world.spawn(OUTSIDE, async move {
            scene.world.sleep(time).await;
            let device = &scene.network.devices()[at];
            match kind {
                4 => device.slowness.set(0),
                5 => device.refuses.set(false),
                6 => device.lies.set(false),
                8 => device.commit_slowness.set(0),
                _ => device.cut_off.set(false),
            }
        });
    }

    /// Faults have stopped.
    fn restore(&self) {
        for device in self.network.devices() {
            device.cut_off.set(false);
            device.slowness.set(0);
            device.commit_slowness.set(0);
            device.refuses.set(false);
            device.lies.set(false);
        }
    }
}

/// Some of the devices: of one region, or of several.
fn devices(scene: &Scene) -> Vec<usize> {
    let world = &scene.world;
    let all = scene.network.devices();
    let mut chosen: Vec<usize> = (0..all.len()).collect();
    if world.chance(0.4) {
        let region = all[usize::try_from(world.pick(0..all.len() as u64)).unwrap()].region;
        chosen.retain(|at| all[*at].region == region);
    }
    while chosen.len() > 1 && (chosen.len() > 5 || world.chance(0.4)) {
        chosen.remove(usize::try_from(world.pick(0..chosen.len() as u64)).unwrap());
    }
    chosen
}

/// People order, change, withdraw and try again.
async fn order(scene: Rc<Scene>) {
    let world = &scene.world;
    let store = &scene.database.store;
    let new_id = || OrderId(Uuid::from_u128(world.number()));
    let orders = u32::try_from(world.pick(1..8)).unwrap();
    for service in 0..orders {
        world.sleep_between(0, 40_000).await;
        let (id, devices) = (new_id(), devices(&scene));
        trace!(world, "order {} provisions {service} at {devices:?}", short(id.0));
        let kind = (id, OrderKind::Provision);
        store.borrow_mut().accept(kind, service, devices, (None, Some(1_000)), world.clock(OUTSIDE));
        scene.database.notify();
    }
    let mut left = world.pick(0..10);
    let mut followed = BTreeSet::new();
    while left > 0 && world.is_stormy() {
        world.sleep_between(1_000, 40_000).await;
        let all: Vec<OrderId> = store.borrow().orders.keys().copied().collect();
        let id = one_of(world, &all);
        let now = world.clock(OUTSIDE);
        let mut store = store.borrow_mut();
        let Some(order) = store.orders.get(&id) else { continue };
        let (state, service, devices, old) = (order.state, order.service, order.devices.clone(), order.new);
        match state {
            OrderState::FailedDeploy => {
                trace!(world, "order {} is tried again", short(id.0));
                store.schedule(id, now);
            }
            OrderState::Scheduled if world.chance(0.2) => store.cancel(id),
            OrderState::Completed if old.is_some() && followed.insert(id) => {
                let (kind, new) = match world.chance(0.6) {
                    true => (OrderKind::Modify, Some(old.unwrap_or_default() + 1)),
                    false => (OrderKind::Decommission, None),
                };
                let next = new_id();
                trace!(world, "order {} changes {service} to {new:?}", short(next.0));
                store.accept((next, kind), service, devices, (old, new), now);
            }
            _ => continue,
        }
        drop(store);
        scene.database.notify();
        left -= 1;
    }
}
