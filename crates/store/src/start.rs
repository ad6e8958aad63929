use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use deadpool_postgres::Object;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use turnup_core::{
    failure::Failure,
    id::{DeploymentId, OrderId, ServiceId},
    lease::{Board, Candidate},
    lifecycle::ServiceState,
    message::{InForce, Stage},
    name::DeviceName,
    order::{Endpoint, OrderKind, Priority},
};
use uuid::Uuid;

use crate::{
    Device, Holder, OrderView, Store, StoreError, device, node, order, plan,
    pool::{Tx, statement, timed},
};

/// An order whose time has come, locked until the batch is finished.
#[derive(Debug)]
pub struct DueOrder {
    /// The order.
    pub order: OrderView,
    /// Its devices, and those on which its service has configuration now.
    pub devices: BTreeSet<DeviceName>,
    /// Its place in the queue, if it has asked for its devices before.
    pub ticket: Option<i64>,
}

impl DueOrder {
    fn of(row: &Row) -> Result<Self, StoreError> {
        let order = order::view(row)?;
        let devices = order.devices.iter().map(DeviceName::new).collect::<Result<_, _>>()?;
        Ok(Self { order, devices, ticket: None })
    }

    /// As one who asks for its devices.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate { order: self.order.id, devices: self.devices.clone(), ticket: self.ticket }
    }

    /// Whether the service has been changed meanwhile by another order, and this one is an attempt that nobody asked
    /// for, or takes an order back and rests on the service as it was.
    #[must_use]
    pub fn is_overtaken(&self, service: &ServiceAtStart) -> bool {
        let order = &self.order;
        if let Some(last) = order.options.rests_on {
            return last != service.wanted_by;
        }
        // Ids rise with the time of acceptance.
        order.retry.is_some() && order.kind == OrderKind::Modify && service.wanted_by.0 > order.id.0
    }

    /// Those of its devices that the order does not name itself.
    pub(crate) fn more_devices(&self) -> impl Iterator<Item = &str> {
        let named = |device: &&str| !self.order.devices.iter().any(|name| name == device);
        self.devices.iter().map(DeviceName::as_str).filter(named)
    }
}

/// A service as it is when an order of it is to start.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceAtStart {
    /// State.
    pub state: ServiceState,
    /// Service definition.
    pub definition: String,
    /// Version of the definition.
    pub definition_version: i32,
    /// Attributes in force or wanted.
    pub attributes: Value,
    /// Where it touches devices.
    pub endpoints: Vec<Endpoint>,
    /// Its devices.
    pub devices: Vec<String>,
    /// Region of its devices, or `multi`.
    pub region: String,
    /// External id of the provision order.
    pub external_id: Option<String>,
    /// The order whose attributes are in force.
    pub wanted_by: OrderId,
    /// Number of its last event.
    pub sequence: i32,
}

/// What a service has on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFootprint {
    /// The footprint as the planner wrote it; null: none is in force.
    pub footprint: Value,
    /// Whether an attempt has left the device with that one, or another, or it is not known.
    pub in_force: InForce,
    /// Footprints of failed attempts that may be on the device.
    pub strays: Vec<Value>,
}

/// A batch of orders that are to be started: rows locked, nothing decided yet.
#[derive(Debug)]
pub struct Starting {
    pub(crate) tx: Tx,
    pub(crate) timeout: Duration,
    /// Those whose message is current; the others need nothing.
    pub orders: Vec<DueOrder>,
    /// Who holds and who waits for their devices.
    pub board: Board,
    /// Epoch of each device's last lease.
    pub epochs: HashMap<DeviceName, i64>,
    /// Per device, `persist` tokens of commits that earlier deployments may have left pending.
    pub pending_tokens: HashMap<DeviceName, Vec<String>>,
    /// Their devices, as far as the inventory has them.
    pub devices: HashMap<DeviceName, Device>,
    /// Services of the orders, as far as they exist.
    pub services: HashMap<ServiceId, ServiceAtStart>,
    /// Footprints of those services.
    pub footprints: HashMap<ServiceId, BTreeMap<DeviceName, StoredFootprint>>,
    /// Orders of which an earlier deployment has ended without anybody knowing what is in force.
    pub unresolved: BTreeSet<OrderId>,
    /// Devices for which orders of the batch wait already.
    pub(crate) queued: BTreeSet<DeviceName>,
    /// Those of the orders that came along because they wait for the same devices.
    followers: BTreeSet<OrderId>,
    /// Orders whose service came to another device while we waited for the leases: id, revision, due.
    pub(crate) moved: Vec<(OrderId, i32, Option<Timestamp>)>,
    /// Orders that wait until a worker serves all their devices.
    pub(crate) put_off: Vec<DueOrder>,
}

/// What is to be done with one order of the batch.
#[derive(Debug)]
pub enum Decision {
    /// Stays Scheduled, in the queue for its devices.
    Wait,
    /// Starts: takes its devices, dispatches a deployment or, over several regions, one in each.
    Start(Vec<Start>),
    /// Starts in the deployment that another order of the batch starts with; takes what devices of its own
    /// that has not.
    With(DeploymentId),
    /// Is Invalid, found out before any device was touched.
    Invalid(Vec<Failure>),
}

/// A deployment to dispatch.
#[derive(Debug)]
pub struct Start {
    /// Its id.
    pub deployment: DeploymentId,
    /// Region whose workers run it.
    pub region: String,
    /// The transaction that it is a part of: the id of the first of the order's parts. None: it is all of it.
    pub transaction: Option<DeploymentId>,
    /// The stage that it begins with.
    pub stage: Stage,
    /// Urgency.
    pub priority: Priority,
    /// The message for the worker.
    pub message: Vec<u8>,
    /// What the service holds once it is committed: JSON array of `{service_id, device, footprint, nodes,
    /// shared}`, where `nodes` are paths that it owns, `shared` are `{node, value}` that it holds jointly.
    /// A footprint of null: it leaves the device. Of the parts of a transaction the first one has it all.
    pub footprints: Value,
}

impl Store {
    /// Locks the orders of due messages and everything that decides about them. Messages whose
    /// revision or state is no longer current are left out.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn begin_start(&self, due: &[(OrderId, i32)]) -> Result<Starting, StoreError> {
        self.begin_start_with(due, 0).await
    }

    /// The same, and up to `followers` of those who wait for each of the devices are of the batch as well,
    /// as far as they and their devices can be locked at once: they could start together.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn begin_start_with(
        &self,
        due: &[(OrderId, i32)],
        followers: u32,
    ) -> Result<Starting, StoreError> {
        self.timed(async {
            let ids: Vec<Uuid> = due.iter().map(|(id, _)| id.0).collect();
            let revisions: Vec<i32> = due.iter().map(|(_, revision)| *revision).collect();
            let tx = Tx::begin_by_key(self).await?;
            let client = tx.client()?;
            let statement = statement!(client, "start_lock_orders");
            let mut orders = Vec::with_capacity(due.len());
            for row in client.query(&statement, &[&ids, &revisions]).await? {
                orders.push(DueOrder::of(&row)?);
            }
            // As they came: first due, first served.
            orders.sort_by_key(|due| (due.order.scheduled_for, due.order.id));
            let mut starting = Starting {
                tx,
                timeout: self.timeout(),
                board: Board::default(),
                epochs: HashMap::new(),
                pending_tokens: HashMap::new(),
                devices: HashMap::new(),
                services: HashMap::new(),
                footprints: HashMap::new(),
                unresolved: BTreeSet::new(),
                queued: BTreeSet::new(),
                moved: Vec::new(),
                put_off: Vec::new(),
                followers: BTreeSet::new(),
                orders,
            };
            if !starting.orders.is_empty() {
                starting.queued =
                    add_devices_of_services(starting.tx.client()?, &mut starting.orders).await?;
                starting.lock(followers).await?;
                starting.load().await?;
            }
            Ok(starting)
        })
        .await
    }
}

impl Starting {
    /// Puts orders aside that touch a device for which `is_served` says no: they stay Scheduled and hold up no
    /// other order. The reconciler brings them again. Gives their ids.
    pub fn put_off(&mut self, is_served: impl Fn(&Device) -> bool) -> Vec<OrderId> {
        let devices = &self.devices;
        let served = |due: &DueOrder| due.devices.iter().all(|name| devices.get(name).is_none_or(&is_served));
        let (stay, put_off) = std::mem::take(&mut self.orders).into_iter().partition(served);
        self.orders = stay;
        self.put_off = put_off;
        self.put_off.iter().map(|due| due.order.id).collect()
    }

    /// Puts those aside whose service has come to a device that is not locked: they are sent again.
    fn put_aside_moved(&mut self) {
        let footprints = &self.footprints;
        let (stay, moved): (Vec<DueOrder>, Vec<DueOrder>) =
            std::mem::take(&mut self.orders).into_iter().partition(|due| {
                let present = footprints.get(&due.order.service_id).into_iter().flat_map(BTreeMap::keys);
                present.clone().all(|device| due.devices.contains(device))
            });
        self.orders = stay;
        self.moved = moved
            .into_iter()
            .map(|due| (due.order.id, due.order.schedule_revision, due.order.scheduled_for))
            .collect();
    }

    /// Locks the leases of all devices, and adds those who could start together with the batch.
    async fn lock(&mut self, followers: u32) -> Result<(), StoreError> {
        let client = self.tx.client()?;
        let needed = self.orders.iter().flat_map(|due| &due.devices);
        let names: BTreeSet<&DeviceName> = needed.chain(&self.queued).collect();
        let names: Vec<&str> = names.into_iter().map(DeviceName::as_str).collect();
        let leases = statement!(client, "lock_leases");
        if followers == 0 {
            let rows = client.query(&leases, &[&names]).await?;
            return leases_of(&rows, &mut self.board, &mut self.epochs, &mut self.pending_tokens);
        }
        let ids: Vec<Uuid> = self.orders.iter().map(|due| due.order.id.0).collect();
        let waiting = statement!(client, "start_followers");
        let (most, now) = (i64::from(followers), Timestamp::now());
        // In one go, one after the other.
        let (leases, waiting) =
            futures_util::try_join!(async { client.query(&leases, &[&names]).await }, async {
                client.query(&waiting, &[&names, &ids, &most, &now]).await
            },)?;
        leases_of(&leases, &mut self.board, &mut self.epochs, &mut self.pending_tokens)?;
        let mut followers = waiting.iter().map(DueOrder::of).collect::<Result<Vec<_>, _>>()?;
        if followers.is_empty() {
            return Ok(());
        }
        add_devices_of_services(client, &mut followers).await?;
        let more: BTreeSet<&DeviceName> = followers.iter().flat_map(|due| &due.devices).collect();
        let more: Vec<&str> = more
            .into_iter()
            .filter(|device| !self.epochs.contains_key(*device))
            .map(DeviceName::as_str)
            .collect();
        if !more.is_empty() {
            // Out of their order, so we must not wait for them.
            let free = statement!(client, "lock_free_leases");
            let rows = client.query(&free, &[&more]).await?;
            leases_of(&rows, &mut self.board, &mut self.epochs, &mut self.pending_tokens)?;
        }
        followers.retain(|due| due.devices.iter().all(|device| self.epochs.contains_key(device)));
        followers.sort_by_key(|due| (due.order.scheduled_for, due.order.id));
        self.followers = followers.iter().map(|due| due.order.id).collect();
        self.orders.append(&mut followers);
        Ok(())
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        let client = self.tx.client()?;
        let names: BTreeSet<&DeviceName> = self.orders.iter().flat_map(|due| &due.devices).collect();
        let names: Vec<&str> = names.into_iter().map(DeviceName::as_str).collect();
        // Only now, as a ticket is drawn under the locks that we have by this statement's snapshot.
        let waits = statement!(client, "start_waits");
        let ids: Vec<Uuid> = self.orders.iter().map(|due| due.order.id.0).collect();
        let devices = statement!(client, "devices_by_name");
        let services: Vec<Uuid> = self.orders.iter().map(|due| due.order.service_id.0).collect();
        let existing = statement!(client, "start_services");
        let footprints = statement!(client, "start_footprints");
        let unresolved = statement!(client, "start_unresolved");
        let started = self.orders.iter().filter(|due| due.order.generation > 0);
        let started: Vec<Uuid> = started.map(|due| due.order.id.0).collect();
        let (waits, devices, existing, footprints, unresolved) = futures_util::try_join!(
            async { client.query(&waits, &[&names, &ids]).await },
            async { client.query(&devices, &[&names]).await },
            async { client.query(&existing, &[&services]).await },
            async { client.query(&footprints, &[&services]).await },
            async {
                match started.is_empty() {
                    true => Ok(Vec::new()),
                    false => client.query(&unresolved, &[&started]).await,
                }
            },
        )?;
        self.unresolved = unresolved.iter().map(|row| OrderId(row.get(0))).collect();
        let mut tickets = HashMap::new();
        for row in waits {
            let device = DeviceName::new(row.get::<_, String>(0))?;
            let (ticket, order): (i64, _) = (row.get(1), OrderId(row.get(2)));
            self.board.waiting.entry(device).or_default().insert(ticket, order);
            tickets.insert(order, ticket);
        }
        for due in &mut self.orders {
            due.ticket = tickets.get(&due.order.id).copied();
        }
        // Those that have left the queue, or stand in one in vain by now, are brought by their own message.
        let (followers, waiting) = (&self.followers, &self.board.waiting);
        self.orders.retain(|due| {
            let mut queues = waiting.iter().filter(|(_, queue)| queue.values().any(|id| *id == due.order.id));
            !followers.contains(&due.order.id)
                || (due.ticket.is_some() && queues.all(|(device, _)| due.devices.contains(device)))
        });
        for row in devices {
            let device = device::view(&row)?;
            self.devices.insert(device.name.clone(), device);
        }
        for row in existing {
            let service = ServiceAtStart {
                state: row.get::<_, &str>("state").parse()?,
                definition: row.get("definition"),
                definition_version: row.get("definition_version"),
                attributes: row.get("attributes"),
                endpoints: serde_json::from_value(row.get("endpoints"))?,
                devices: row.get("devices"),
                region: row.get("region"),
                external_id: row.get("external_id"),
                wanted_by: OrderId(row.get("wanted_by")),
                sequence: row.get("sequence"),
            };
            self.services.insert(ServiceId(row.get("id")), service);
        }
        for row in footprints {
            let device = DeviceName::new(row.get::<_, String>("device"))?;
            let stored = StoredFootprint {
                footprint: row.get("footprint"),
                in_force: row.get::<_, &str>("in_force").parse()?,
                strays: serde_json::from_value(row.get("strays"))?,
            };
            self.footprints.entry(ServiceId(row.get("service_id"))).or_default().insert(device, stored);
        }
        self.put_aside_moved();
        Ok(())
    }

    /// Who owns the given `(device, node)`, anything inside them, or one of those `around` them:
    /// device, owned node, service. The cost is that of what is asked for and found, however much
    /// the devices hold.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn owners(
        &self,
        nodes: &[(String, String)],
        around: &[(String, String)],
    ) -> Result<Vec<(String, String, ServiceId)>, StoreError> {
        timed(self.timeout, async { node::owners(self.tx.client()?, nodes, around).await }).await
    }

    /// Who holds the given `(device, node)` jointly, or anything inside those of `within`, and with what value.
    /// As all holders of a node want the same in it, two of each are named: one of them is another than
    /// whoever asks, if there is another.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn holders(
        &self,
        nodes: &[(String, String)],
        within: &[(String, String)],
    ) -> Result<Vec<Holder>, StoreError> {
        timed(self.timeout, async { node::holders(self.tx.client()?, nodes, within).await }).await
    }

    /// The plan of this hash, if it was shown within 30 days.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn plan(&self, hash: &str) -> Result<Option<Value>, StoreError> {
        timed(self.timeout, async { plan::plan(self.tx.client()?, hash).await }).await
    }
}

/// An order of a service needs the devices on which that is now as well.
/// Gives the devices for which they wait already.
async fn add_devices_of_services(
    client: &Object,
    orders: &mut [DueOrder],
) -> Result<BTreeSet<DeviceName>, StoreError> {
    let of_services = orders.iter().filter(|due| due.order.kind != OrderKind::Provision);
    let (services, ids): (Vec<Uuid>, Vec<Uuid>) =
        of_services.map(|due| (due.order.service_id.0, due.order.id.0)).unzip();
    let mut queued = BTreeSet::new();
    if services.is_empty() {
        return Ok(queued);
    }
    let statement = statement!(client, "start_footprint_devices");
    let mut devices: HashMap<ServiceId, BTreeSet<DeviceName>> = HashMap::new();
    for row in client.query(&statement, &[&services, &ids]).await? {
        let device = DeviceName::new(row.get::<_, String>(1))?;
        match row.get::<_, Option<Uuid>>(0) {
            Some(service) => {
                devices.entry(ServiceId(service)).or_default().insert(device);
            }
            None => {
                queued.insert(device);
            }
        }
    }
    for due in orders {
        due.devices.extend(devices.get(&due.order.service_id).into_iter().flatten().cloned());
    }
    Ok(queued)
}

fn leases_of(
    rows: &[Row],
    board: &mut Board,
    epochs: &mut HashMap<DeviceName, i64>,
    pending_tokens: &mut HashMap<DeviceName, Vec<String>>,
) -> Result<(), StoreError> {
    for row in rows {
        let device = DeviceName::new(row.get::<_, String>(0))?;
        if let Some(holder) = row.get::<_, Option<Uuid>>(1) {
            board.held.insert(device.clone(), OrderId(holder));
        }
        if let Some(tokens) = row.get::<_, Option<Vec<Uuid>>>(3) {
            pending_tokens.insert(device.clone(), tokens.iter().map(Uuid::to_string).collect());
        }
        epochs.insert(device, row.get(2));
    }
    Ok(())
}
