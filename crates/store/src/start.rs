use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::Json;
use turnup_core::{
    failure::Failure,
    id::{DeploymentId, OrderId, ServiceId},
    lease::{Board, Candidate},
    lifecycle::{OrderEvent, OrderState, ServiceState, service_transition},
    message::InForce,
    name::DeviceName,
    order::{Endpoint, OrderKind, Priority},
    settle::service_event,
};
use uuid::Uuid;

use crate::{
    Device, Entry, Holder, OrderView, Store, StoreError,
    accept::{DueRow, insert_due},
    control::nudge,
    device, entry, node, order,
    pool::{Tx, all, statement, timed},
    resource,
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
    /// As one who asks for its devices.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate { order: self.order.id, devices: self.devices.clone(), ticket: self.ticket }
    }

    /// Those of its devices that the order does not name itself.
    fn more_devices(&self) -> impl Iterator<Item = &str> {
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
    tx: Tx,
    timeout: Duration,
    /// Those whose message is current; the others need nothing.
    pub orders: Vec<DueOrder>,
    /// Who holds and who waits for their devices.
    pub board: Board,
    /// Epoch of each device's last lease.
    pub epochs: HashMap<DeviceName, i64>,
    /// Their devices, as far as the inventory has them.
    pub devices: HashMap<DeviceName, Device>,
    /// Services of the orders, as far as they exist.
    pub services: HashMap<ServiceId, ServiceAtStart>,
    /// Footprints of those services.
    pub footprints: HashMap<ServiceId, BTreeMap<DeviceName, StoredFootprint>>,
    /// Orders whose service came to another device while we waited for the leases: id, revision, due.
    moved: Vec<(OrderId, i32, Option<Timestamp>)>,
}

/// What is to be done with one order of the batch.
#[derive(Debug)]
pub enum Decision {
    /// Stays Scheduled, in the queue for its devices.
    Wait,
    /// Starts: takes its devices, dispatches deployments.
    Start(Vec<Start>),
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
    /// Urgency.
    pub priority: Priority,
    /// The message for the worker.
    pub message: Vec<u8>,
    /// What the service holds once it is committed: JSON array of `{service_id, device, footprint, nodes,
    /// shared}`, where `nodes` are paths that it owns, `shared` are `{node, value}` that it holds jointly.
    /// A footprint of null: it leaves the device.
    pub footprints: Value,
}

impl Store {
    /// Locks the orders of due messages and everything that decides about them. Messages whose
    /// revision or state is no longer current are left out.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn begin_start(&self, due: &[(OrderId, i32)]) -> Result<Starting, StoreError> {
        self.timed(async {
            let ids: Vec<Uuid> = due.iter().map(|(id, _)| id.0).collect();
            let revisions: Vec<i32> = due.iter().map(|(_, revision)| *revision).collect();
            let tx = Tx::begin_by_key(self).await?;
            let client = tx.client()?;
            let statement = statement!(client, "start_lock_orders");
            let mut orders = Vec::with_capacity(due.len());
            for row in client.query(&statement, &[&ids, &revisions]).await? {
                let order = order::view(&row)?;
                let devices = order.devices.iter().map(DeviceName::new).collect::<Result<_, _>>()?;
                orders.push(DueOrder { order, devices, ticket: None });
            }
            // As they came: first due, first served.
            orders.sort_by_key(|due| (due.order.scheduled_for, due.order.id));
            let mut starting = Starting {
                tx,
                timeout: self.timeout(),
                board: Board::default(),
                epochs: HashMap::new(),
                devices: HashMap::new(),
                services: HashMap::new(),
                footprints: HashMap::new(),
                moved: Vec::new(),
                orders,
            };
            if !starting.orders.is_empty() {
                starting.add_devices_of_services().await?;
                starting.load().await?;
            }
            Ok(starting)
        })
        .await
    }
}

impl Starting {
    /// An order of a service needs the devices on which that is now as well.
    async fn add_devices_of_services(&mut self) -> Result<(), StoreError> {
        let of_services = self.orders.iter().filter(|due| due.order.kind != OrderKind::Provision);
        let services: Vec<Uuid> = of_services.map(|due| due.order.service_id.0).collect();
        if services.is_empty() {
            return Ok(());
        }
        let client = self.tx.client()?;
        let statement = statement!(client, "start_footprint_devices");
        let mut devices: HashMap<ServiceId, BTreeSet<DeviceName>> = HashMap::new();
        for row in client.query(&statement, &[&services]).await? {
            let device = DeviceName::new(row.get::<_, String>(1))?;
            devices.entry(ServiceId(row.get(0))).or_default().insert(device);
        }
        for due in &mut self.orders {
            due.devices.extend(devices.get(&due.order.service_id).into_iter().flatten().cloned());
        }
        Ok(())
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

    async fn load(&mut self) -> Result<(), StoreError> {
        let client = self.tx.client()?;
        let names: BTreeSet<&DeviceName> = self.orders.iter().flat_map(|due| &due.devices).collect();
        let names: Vec<&str> = names.into_iter().map(DeviceName::as_str).collect();
        let leases = statement!(client, "lock_leases");
        for row in client.query(&leases, &[&names]).await? {
            let device = DeviceName::new(row.get::<_, String>(0))?;
            if let Some(holder) = row.get::<_, Option<Uuid>>(1) {
                self.board.held.insert(device.clone(), OrderId(holder));
            }
            self.epochs.insert(device, row.get(2));
        }
        // Only now, as a ticket is drawn under the locks that we have by this statement's snapshot.
        let waits = statement!(client, "start_waits");
        let ids: Vec<Uuid> = self.orders.iter().map(|due| due.order.id.0).collect();
        let devices = statement!(client, "devices_by_name");
        let services: Vec<Uuid> = self.orders.iter().map(|due| due.order.service_id.0).collect();
        let existing = statement!(client, "start_services");
        let footprints = statement!(client, "start_footprints");
        let (waits, devices, existing, footprints) = futures_util::try_join!(
            async { client.query(&waits, &[&names, &ids]).await },
            async { client.query(&devices, &[&names]).await },
            async { client.query(&existing, &[&services]).await },
            async { client.query(&footprints, &[&services]).await },
        )?;
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

    /// Who holds the given `(device, node)` jointly, and with what value: exactly these nodes.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn holders(&self, nodes: &[(String, String)]) -> Result<Vec<Holder>, StoreError> {
        timed(self.timeout, async { node::holders(self.tx.client()?, nodes).await }).await
    }

    /// Writes the decisions (one per order of the batch, in its order) with their log entries, and commits.
    ///
    /// # Errors
    /// If the database refuses: then nothing of the batch has happened. If it is away, that is not
    /// known; begin again, and what has happened is left out.
    pub async fn finish(
        self,
        decisions: &[Decision],
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if decisions.len() != self.orders.len() {
            return Err(StoreError::Refused("not one decision per order".to_owned()));
        }
        let timeout = self.timeout;
        timed(timeout, async {
            if self.orders.is_empty() && self.moved.is_empty() {
                return self.tx.rollback().await;
            }
            let client = self.tx.client()?;
            let again = |(id, revision, due): &(OrderId, i32, Option<Timestamp>)| {
                DueRow::new(*id, *revision, due.unwrap_or(now), now, 0)
            };
            insert_due(client, &self.moved.iter().map(again).collect::<Vec<_>>()).await?;
            if self.orders.is_empty() {
                return self.tx.commit().await;
            }
            self.update_orders(client, decisions, now).await?;
            self.take_leases(client, decisions, now).await?;
            self.queue_waiting(client, decisions).await?;
            // Last, as others of this batch may wait for what an Invalid order was to have.
            nudge(client, &self.given_up(decisions)).await?;
            dispatch(client, &self.orders, decisions, now).await?;
            self.touch_devices(client).await?;
            self.fail_services(client, decisions, now).await?;
            resource::release(client, &self.ended_services(decisions), &[]).await?;
            entry::append(client, entries).await?;
            self.tx.commit().await
        })
        .await
    }

    fn decided<'a>(
        &'a self,
        decisions: &'a [Decision],
    ) -> impl Iterator<Item = (&'a DueOrder, &'a Decision)> {
        self.orders.iter().zip(decisions)
    }

    /// An attempt to change a service that turns out Invalid leaves it in Fail Deploy, wherever that is found
    /// out. The caller's entries have the event, with the next number of the service's.
    async fn fail_services(
        &self,
        client: &deadpool_postgres::Object,
        decisions: &[Decision],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut ids, mut states, mut orders, mut sequences) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for due in self.invalid(decisions) {
            let event = service_event(due.order.kind, OrderEvent::Invalid);
            let service = self.services.get(&due.order.service_id);
            if let (Some(event), Some(service)) = (event, service)
                && let Some(state) = service_transition(Some(service.state), event)
            {
                ids.push(due.order.service_id.0);
                states.push(state.word());
                orders.push(due.order.id.0);
                sequences.push(service.sequence + 1);
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        let change = statement!(client, "change_services");
        client.execute(&change, &[&ids, &states, &orders, &sequences, &now]).await?;
        Ok(())
    }

    fn invalid<'a>(&'a self, decisions: &'a [Decision]) -> impl Iterator<Item = &'a DueOrder> {
        let invalid = |(_, decision): &(&DueOrder, &Decision)| matches!(decision, Decision::Invalid(_));
        self.decided(decisions).filter(invalid).map(|(due, _)| due)
    }

    /// The devices of Invalid orders: they were first in line for them, or would have been.
    fn given_up(&self, decisions: &[Decision]) -> Vec<String> {
        let devices: BTreeSet<&DeviceName> = self.invalid(decisions).flat_map(|due| &due.devices).collect();
        devices.into_iter().map(DeviceName::to_string).collect()
    }

    /// The services of Invalid orders.
    fn ended_services(&self, decisions: &[Decision]) -> Vec<ServiceId> {
        self.invalid(decisions).map(|due| due.order.service_id).collect()
    }

    /// Notes the orders at devices that they don't name themselves.
    async fn touch_devices(&self, client: &deadpool_postgres::Object) -> Result<(), StoreError> {
        let (mut devices, mut orders) = (Vec::new(), Vec::new());
        for due in &self.orders {
            for device in due.more_devices() {
                devices.push(device);
                orders.push(due.order.id.0);
            }
        }
        if !devices.is_empty() {
            let touch = statement!(client, "touch_devices");
            client.execute(&touch, &[&devices, &orders]).await?;
        }
        Ok(())
    }

    async fn update_orders(
        &self,
        client: &deadpool_postgres::Object,
        decisions: &[Decision],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut ids, mut states, mut generations, mut sequences, mut errors) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut more_devices = Vec::new();
        for (due, decision) in self.decided(decisions) {
            let (state, steps, failures) = match decision {
                Decision::Wait => continue,
                Decision::Start(_) => (OrderState::InProgress, 1, &[][..]),
                Decision::Invalid(failures) => (OrderState::Invalid, 2, failures.as_slice()),
            };
            ids.push(due.order.id.0);
            states.push(state.word());
            generations.push(due.order.generation + 1);
            sequences.push(due.order.sequence + steps);
            errors.push(Json(failures));
            let more: Vec<&str> = due.more_devices().collect();
            more_devices.push((!more.is_empty()).then_some(Json(more)));
        }
        let statement = statement!(client, "update_orders");
        let updated = client
            .execute(&statement, &[&ids, &states, &generations, &sequences, &errors, &now, &more_devices])
            .await?;
        all(updated, ids.len(), "an order is no longer scheduled")
    }

    async fn take_leases(
        &self,
        client: &deadpool_postgres::Object,
        decisions: &[Decision],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut devices, mut orders) = (Vec::new(), Vec::new());
        let mut dequeued = Vec::new();
        for (due, decision) in self.decided(decisions) {
            match decision {
                Decision::Wait => continue,
                Decision::Start(_) => {
                    devices.extend(due.devices.iter().map(DeviceName::as_str));
                    orders.extend(due.devices.iter().map(|_| due.order.id.0));
                }
                Decision::Invalid(_) => {}
            }
            if due.ticket.is_some() {
                dequeued.push(due.order.id.0);
            }
        }
        let take = statement!(client, "take_leases");
        let taken = client.execute(&take, &[&devices, &orders, &now]).await?;
        all(taken, devices.len(), "a device is not free, or not in the inventory")?;
        if !dequeued.is_empty() {
            let dequeue = statement!(client, "dequeue");
            client.execute(&dequeue, &[&dequeued]).await?;
        }
        Ok(())
    }

    async fn queue_waiting(
        &self,
        client: &deadpool_postgres::Object,
        decisions: &[Decision],
    ) -> Result<(), StoreError> {
        let waiting = || {
            let waits = self.decided(decisions).filter(|(_, decision)| matches!(decision, Decision::Wait));
            waits.map(|(due, _)| due)
        };
        let newcomers = waiting().filter(|due| due.ticket.is_none()).count();
        let mut drawn = Vec::new();
        if newcomers > 0 {
            let count = i64::try_from(newcomers).unwrap_or(i64::MAX);
            let draw = statement!(client, "draw_tickets");
            drawn = client.query(&draw, &[&count]).await?.iter().map(|row| row.get(0)).collect();
        }
        let mut drawn: std::vec::IntoIter<i64> = drawn.into_iter();
        let (mut devices, mut tickets, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        for due in waiting() {
            let Some(ticket) = due.ticket.or_else(|| drawn.next()) else { continue };
            // One that waits already may need another device since: its service has come there.
            let queues = |device: &&DeviceName| {
                let queue = self.board.waiting.get(*device);
                queue.is_none_or(|queue| queue.get(&ticket) != Some(&due.order.id))
            };
            for device in due.devices.iter().filter(queues) {
                devices.push(device.as_str());
                tickets.push(ticket);
                orders.push(due.order.id.0);
            }
        }
        if devices.is_empty() {
            return Ok(());
        }
        let queue = statement!(client, "queue_waits");
        client.execute(&queue, &[&devices, &tickets, &orders]).await?;
        Ok(())
    }
}

async fn dispatch(
    client: &deadpool_postgres::Object,
    orders: &[DueOrder],
    decisions: &[Decision],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut starts = Vec::new();
    for (due, decision) in orders.iter().zip(decisions) {
        if let Decision::Start(deployments) = decision {
            starts.extend(deployments.iter().map(|start| (due, start)));
        }
    }
    if starts.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = starts.iter().map(|(_, start)| start.deployment.0).collect();
    let regions: Vec<&str> = starts.iter().map(|(_, start)| start.region.as_str()).collect();
    let priorities: Vec<&str> = starts.iter().map(|(_, start)| start.priority.word()).collect();
    let generations: Vec<i32> = starts.iter().map(|(due, _)| due.order.generation + 1).collect();
    let messages: Vec<&[u8]> = starts.iter().map(|(_, start)| start.message.as_slice()).collect();
    let footprints: Vec<Json<&Value>> = starts.iter().map(|(_, start)| Json(&start.footprints)).collect();
    let order_ids: Vec<Uuid> = starts.iter().map(|(due, _)| due.order.id.0).collect();
    let statement = statement!(client, "dispatch");
    client
        .execute(
            &statement,
            &[&ids, &regions, &priorities, &generations, &messages, &footprints, &order_ids, &now],
        )
        .await?;
    Ok(())
}
