//! Random lives of services on shared devices, with several schedulers and recorders at once, messages that
//! come twice, attempts that end in every way. After every step each service holds what its footprints and
//! the leftovers of failed attempts say, and nothing else; no two orders of a service run together; and no
//! order is left behind.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio_postgres::Client as Session;
use turnup_core::{
    failure::{Failure, FailureClass},
    id::{DeploymentId, OrderId, ServiceId},
    lease::{Admission, admit},
    lifecycle::{OrderEvent, OrderState, service_transition},
    message::InForce,
    name::DeviceName,
    order::{Endpoint, OrderKind},
    settle::service_event,
};
use turnup_store::{
    Control, Decision, DueOrder, Entry, NewOrder, Refused, ServiceChange, Starting, Store, testing::Database,
};
use uuid::Uuid;

use crate::support::{REACH_MS, accept, add, count, deployment, failure, moved, now, order, settled};

const DEVICES: [&str; 4] = ["d1", "d2", "d3", "d4"];
const SERVICES: usize = 8;
const WORKERS: usize = 4;
const ROUNDS: usize = 250;

/// Whatever is wrong, by name; one statement, so one snapshot.
const WRONG: &str = "
WITH had AS (
    SELECT service_id, device, footprint AS part FROM footprints WHERE footprint::text <> 'null'
    UNION ALL SELECT service_id, device, stray FROM footprints, json_array_elements(strays) AS stray
), owned AS (
    SELECT DISTINCT device, json_array_elements_text(part->'nodes') AS node, service_id FROM had
), shared AS (
    SELECT DISTINCT device, json_array_elements(part->'shared')->>'node' AS node, service_id FROM had
), running AS (SELECT * FROM orders WHERE state = 'in_progress')
SELECT 'an owned node too many' FROM (SELECT device, node, service_id FROM owned_nodes EXCEPT SELECT * FROM owned) AS x
UNION SELECT 'an owned node too few' FROM (SELECT * FROM owned EXCEPT SELECT device, node, service_id FROM owned_nodes) AS x
UNION SELECT 'a shared node too many' FROM (SELECT device, node, service_id FROM shared_nodes EXCEPT SELECT * FROM shared) AS x
UNION SELECT 'a shared node too few' FROM (SELECT * FROM shared EXCEPT SELECT device, node, service_id FROM shared_nodes) AS x
UNION SELECT 'a footprint of no service' FROM footprints WHERE service_id NOT IN (SELECT id FROM services)
UNION SELECT 'a service without a footprint' FROM services WHERE id NOT IN (SELECT service_id FROM footprints)
UNION SELECT 'a row that says nothing' FROM footprints WHERE footprint::text = 'null' AND strays::text = '[]'
UNION SELECT 'a deployed service of which something is unknown' FROM services JOIN footprints ON service_id = services.id
    WHERE state = 'deployed' AND (in_force <> 'new' OR strays::text <> '[]')
UNION SELECT 'a service elsewhere than it says' FROM services
    WHERE devices <> ARRAY(SELECT device FROM footprints WHERE service_id = services.id AND footprint::text <> 'null' ORDER BY device)
UNION SELECT 'attributes of another order than the one in force' FROM services
    JOIN order_requests ON order_requests.id = wanted_by
    WHERE services.attributes::text <> order_requests.attributes::text OR services.id <> order_requests.service_id
UNION SELECT 'two orders of a service at once' FROM running GROUP BY service_id HAVING count(*) > 1
UNION SELECT 'a running order without the lease of a device' FROM running JOIN footprints USING (service_id)
    WHERE NOT EXISTS (SELECT FROM leases WHERE leases.device = footprints.device AND leases.order_id = running.id)
UNION SELECT 'a lease of an order that does not run' FROM leases
    WHERE order_id IS NOT NULL AND order_id NOT IN (SELECT id FROM running)
UNION SELECT 'an order in a queue that is not scheduled' FROM lease_waits
    WHERE order_id NOT IN (SELECT id FROM orders WHERE state = 'scheduled')
UNION SELECT 'an order in the queue for a device that it never needed' FROM lease_waits
    WHERE NOT EXISTS (SELECT FROM order_devices
                      WHERE order_devices.order_id = lease_waits.order_id AND order_devices.device = lease_waits.device)
UNION SELECT 'numbers of a service''s events' FROM services WHERE sequence <> (
    SELECT count(*) FROM events WHERE entity = 'service' AND entity_id = services.id::text)
    OR sequence <> (SELECT max(sequence) FROM events WHERE entity = 'service' AND entity_id = services.id::text)
UNION SELECT 'numbers of an order''s events' FROM orders WHERE sequence <> (
    SELECT count(*) FROM events WHERE entity = 'order' AND entity_id = orders.id::text)
";

async fn check(session: &Session, when: &str) {
    let rows = session.query(WRONG, &[]).await.unwrap();
    let wrong: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "{when}: {wrong:?}");
}

/// A deployment that a worker has.
#[derive(Debug, Clone)]
struct Running {
    order: OrderId,
    deployment: DeploymentId,
    devices: Vec<DeviceName>,
}

#[derive(Debug, Default)]
struct World {
    services: Vec<ServiceId>,
    /// Messages that were delivered, and may be once more.
    delivered: Vec<(OrderId, i32)>,
    running: Vec<Running>,
    ended: Vec<Running>,
}

struct Actor {
    store: Store,
    session: Session,
    world: Arc<Mutex<World>>,
    random: StdRng,
}

/// What a service is to have on one device, as the scheduler would render it.
fn content(random: &mut StdRng, service: ServiceId) -> Value {
    let nodes: Vec<String> =
        (0..4).filter(|_| random.random_bool(0.5)).map(|n| format!("/n/{service}/{n}")).collect();
    let shared: Vec<Value> = (0..3)
        .filter(|_| random.random_bool(0.5))
        .map(|n| json!({"node": format!("/s/{n}"), "value": format!("v{n}")}))
        .collect();
    json!({"is": random.random_range(0..100_000), "nodes": nodes, "shared": shared})
}

impl Actor {
    fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().unwrap())
    }

    /// An order of any kind, as the intake makes it.
    async fn order(&mut self) {
        let known = self.world(|world| world.services.clone());
        let service = match known.len() {
            SERVICES.. => known[self.random.random_range(0..known.len())],
            _ => ServiceId(Uuid::now_v7()),
        };
        let exists = self.store.service(service).await.unwrap();
        let kind = match (&exists, known.contains(&service)) {
            (None, false) => OrderKind::Provision,
            (None, true) => return,
            (Some(_), _) => match self.random.random_range(0..10) {
                0..5 => OrderKind::Modify,
                5..7 => OrderKind::Redeploy,
                7..8 => OrderKind::Validate,
                _ => OrderKind::Decommission,
            },
        };
        let mut devices: BTreeSet<&str> = BTreeSet::new();
        for _ in 0..self.random.random_range(1..4) {
            devices.insert(DEVICES[self.random.random_range(0..DEVICES.len())]);
        }
        let mut new: NewOrder = order(&devices.iter().copied().collect::<Vec<_>>());
        new.facts.kind = kind;
        new.facts.service_id = service;
        let contents: BTreeMap<&str, Value> =
            devices.iter().map(|device| (*device, content(&mut self.random, service))).collect();
        new.attributes = json!({"content": contents}).as_object().unwrap().clone();
        if let Some(view) = exists {
            let present = self.store.footprints(service).await.unwrap().into_iter().map(|row| row.device);
            let all: BTreeSet<String> = present.chain(view.devices).collect();
            if kind.has_content() {
                new.devices =
                    all.into_iter().chain(new.devices).collect::<BTreeSet<_>>().into_iter().collect();
            } else {
                new.devices = all.into_iter().collect();
                new.attributes = view.attributes.as_object().unwrap().clone();
                new.endpoints = view.endpoints;
            }
            // It may be gone since: then it stands for an order that was accepted before that.
            if new.devices.is_empty() {
                return;
            }
        }
        let endpoints: Vec<Endpoint> = new.endpoints.clone();
        assert!(!endpoints.is_empty());
        accept(&self.store, new).await;
        self.world(|world| {
            if !world.services.contains(&service) {
                world.services.push(service);
            }
        });
    }

    /// Delivers what the relay would, and perhaps something again.
    async fn start(&mut self) {
        let take = "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE order_id IS NOT NULL
                    ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING order_id, revision";
        let rows = self.session.query(take, &[&self.random.random_range(1_i64..6)]).await.unwrap();
        let mut due: Vec<(OrderId, i32)> = rows.iter().map(|row| (OrderId(row.get(0)), row.get(1))).collect();
        let again = self.random.random_bool(0.3);
        let place = self.random.random_range(0..1_000_000_usize);
        due.extend(self.world(|world| {
            let old = (again && !world.delivered.is_empty())
                .then(|| world.delivered[place % world.delivered.len()]);
            world.delivered.extend(&due);
            old
        }));
        if due.is_empty() {
            return;
        }
        loop {
            match self.start_once(&due).await {
                Ok(()) => return,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    }

    async fn start_once(&mut self, due: &[(OrderId, i32)]) -> Result<(), turnup_store::StoreError> {
        let starting = self.store.begin_start(due).await?;
        let at = now();
        let candidates: Vec<_> = starting.orders.iter().map(DueOrder::candidate).collect();
        let (mut entries, mut running) = (Vec::new(), Vec::new());
        let mut decisions = Vec::new();
        for (admission, due) in admit(&candidates, &starting.board).into_iter().zip(&starting.orders) {
            let gone = due.order.kind != OrderKind::Provision
                && !starting.services.contains_key(&due.order.service_id);
            decisions.push(match admission {
                Admission::Wait(_) | Admission::Join(_) => Decision::Wait,
                Admission::Start if gone || self.random.random_bool(0.1) => {
                    entries.push(moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at));
                    entries.push(moved(due, 2, OrderState::InProgress, OrderState::Invalid, at));
                    entries.extend(failed(due, &starting));
                    Decision::Invalid(vec![failure(FailureClass::Invalid)])
                }
                Admission::Start => {
                    entries.push(moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at));
                    let mut start = deployment(due, &starting);
                    start.footprints = parts(due, &starting);
                    running.push(Running {
                        order: due.order.id,
                        deployment: start.deployment,
                        devices: due.devices.iter().cloned().collect(),
                    });
                    Decision::Start(vec![start])
                }
            });
        }
        starting.finish(&decisions, &entries, at).await?;
        self.world(|world| world.running.extend(running));
        Ok(())
    }

    /// Ends a deployment somehow; perhaps one whose end was reported before.
    async fn settle(&mut self, well: bool) {
        let (again, place): (bool, usize) =
            (self.random.random_bool(0.2), self.random.random_range(0..1_000_000));
        let Some(running) = self.world(|world| {
            if again && !well && !world.ended.is_empty() {
                return Some(world.ended[place % world.ended.len()].clone());
            }
            if world.running.is_empty() {
                return None;
            }
            let at = place % world.running.len();
            let running = world.running.swap_remove(at);
            world.ended.push(running.clone());
            Some(running)
        }) else {
            return;
        };
        let mut in_force: Vec<(DeviceName, InForce)> = Vec::new();
        let failures: Vec<Failure> = match if well { 9 } else { self.random.random_range(0..10) } {
            0 => vec![failure(FailureClass::Invalid)],
            1 => vec![failure(FailureClass::Busy)],
            2..6 => {
                for device in &running.devices {
                    let which =
                        [InForce::Old, InForce::New, InForce::Unknown][self.random.random_range(0..3)];
                    in_force.push((device.clone(), which));
                }
                vec![failure(FailureClass::InDoubt)]
            }
            _ => vec![],
        };
        loop {
            let settling = self.store.begin_settle(&[running.deployment]).await.unwrap();
            let at = now();
            let mut settled = settled(&settling, &[(running.order, running.deployment)], &failures, at);
            for change in &mut settled.services {
                if let ServiceChange::Fail { in_force: known, .. } = change {
                    known.clone_from(&in_force);
                }
            }
            match settling.finish(&settled, at).await {
                Ok(()) => return,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    }

    /// Somebody schedules, unschedules or cancels something.
    async fn control(&mut self) {
        let delivered = self.world(|world| world.delivered.clone());
        if delivered.is_empty() {
            return;
        }
        let (id, _) = delivered[self.random.random_range(0..delivered.len())];
        let event = match self.random.random_range(0..6) {
            0 => OrderEvent::Cancel,
            1 => OrderEvent::Unschedule,
            _ => OrderEvent::Schedule,
        };
        control(&self.store, id, event).await;
    }
}

async fn control(store: &Store, id: OrderId, event: OrderEvent) {
    let due = (event == OrderEvent::Schedule).then(now);
    let control =
        Control { event, due, why: None, by: "anna".to_owned(), at: now(), event_id: Uuid::now_v7() };
    match store.control(id, &control, REACH_MS).await {
        Ok(_) | Err(Refused::Illegal(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// What the service holds once the order is in force.
fn parts(due: &DueOrder, starting: &Starting) -> Value {
    let order = &due.order;
    let part = |device: &str, footprint: &Value| {
        json!({"service_id": order.service_id, "device": device, "footprint": footprint,
               "nodes": footprint["nodes"].as_array().cloned().unwrap_or_default(),
               "shared": footprint["shared"].as_array().cloned().unwrap_or_default()})
    };
    let present = starting.footprints.get(&order.service_id);
    let present =
        present.into_iter().flatten().map(|(device, row)| (device.to_string(), row.footprint.clone()));
    let mut all: BTreeMap<String, Value> = match order.kind {
        OrderKind::Validate => BTreeMap::new(),
        OrderKind::Redeploy => present.collect(),
        _ => present.map(|(device, _)| (device, Value::Null)).collect(),
    };
    if order.kind.has_content() {
        for (device, footprint) in order.attributes["content"].as_object().unwrap() {
            all.insert(device.clone(), footprint.clone());
        }
    }
    all.iter().map(|(device, footprint)| part(device, footprint)).collect()
}

/// As the scheduler tells of a service whose order is Invalid.
fn failed(due: &DueOrder, starting: &Starting) -> Option<Entry> {
    let service = starting.services.get(&due.order.service_id)?;
    let event = service_event(due.order.kind, OrderEvent::Invalid)?;
    let state = service_transition(Some(service.state), event)?;
    let facts = due.order.facts();
    let event = facts.service_event(Uuid::now_v7(), service.sequence + 1, state.word(), now(), json!({}));
    Some(Entry { event, change: None, why: None, by: "scheduler".to_owned() })
}

async fn actor(database: &Database, world: &Arc<Mutex<World>>, seed: u64) -> Actor {
    let session = database.session().await.unwrap();
    // Compiling the long statement takes longer than running it.
    session.batch_execute("SET jit = off").await.unwrap();
    Actor {
        store: database.store().clone(),
        session,
        world: Arc::clone(world),
        random: StdRng::seed_from_u64(seed),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_services_hold_is_always_what_their_footprints_say() {
    let database = Database::new().await;
    let store = database.store();
    add(store, &DEVICES).await;
    let world = Arc::new(Mutex::new(World::default()));
    let seed: u64 = std::env::var("TURNUP_TEST_SEED").map_or_else(|_| rand::random(), |s| s.parse().unwrap());
    println!("seed {seed}");
    let mut tasks = Vec::new();
    for worker in 0..WORKERS {
        let mut actor = actor(&database, &world, seed.wrapping_add(worker as u64)).await;
        tasks.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                match actor.random.random_range(0..10) {
                    0..3 => actor.order().await,
                    3..6 => actor.start().await,
                    6..9 => actor.settle(false).await,
                    _ => actor.control().await,
                }
                if round % 5 == 0 {
                    check(&actor.session, "in whatever moment").await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // All that is left comes to its end by its own messages alone.
    let mut last = actor(&database, &world, seed).await;
    let mut idle = 0;
    let unfinished = "SELECT count(*) FROM orders WHERE state IN ('scheduled', 'in_progress')";
    while last.session.query_one(unfinished, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        let before = last.world(|world| world.delivered.len() + world.ended.len());
        last.start().await;
        last.settle(true).await;
        check(&last.session, "at the end").await;
        let after = last.world(|world| world.delivered.len() + world.ended.len());
        idle = if before == after { idle + 1 } else { 0 };
        assert!(idle < 3, "an order waits for ever: seed {seed}");
    }
    // And every service can be given up.
    let left: HashMap<ServiceId, Vec<String>> = {
        let mut left = HashMap::new();
        for service in last.world(|world| world.services.clone()) {
            let rows = store.footprints(service).await.unwrap();
            if !rows.is_empty() {
                left.insert(service, rows.into_iter().map(|row| row.device).collect());
            }
        }
        left
    };
    for (service, devices) in left {
        let mut end = order(&devices.iter().map(String::as_str).collect::<Vec<_>>());
        end.facts.kind = OrderKind::Decommission;
        end.facts.service_id = service;
        let id = accept(store, end).await;
        let started = crate::support::start(store, &[(id, 1)]).await;
        crate::support::settle(store, &started, &[]).await;
    }
    for table in ["services", "footprints", "owned_nodes", "shared_nodes", "lease_waits"] {
        assert_eq!(count(&database, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    let session = database.session().await.unwrap();
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(session.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
}
