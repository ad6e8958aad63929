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
    lifecycle::{OrderState, ServiceState},
    name::DeviceName,
    order::Priority,
};
use uuid::Uuid;

use crate::{
    Device, Entry, OrderView, Store, StoreError,
    control::nudge,
    device, entry, order,
    pool::{Tx, all, statement, timed},
};

/// An order whose time has come, locked until the batch is finished.
#[derive(Debug)]
pub struct DueOrder {
    /// The order.
    pub order: OrderView,
    /// Its devices.
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
    /// Services that exist, of orders that need one.
    pub services: HashMap<ServiceId, ServiceState>,
    /// Footprints of those services.
    pub footprints: HashMap<ServiceId, BTreeMap<DeviceName, Value>>,
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
    /// What the service owns once it is committed: JSON array of `{service_id, device, footprint, nodes}`.
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
                orders,
            };
            if !starting.orders.is_empty() {
                starting.load().await?;
            }
            Ok(starting)
        })
        .await
    }
}

impl Starting {
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
            self.services.insert(ServiceId(row.get(0)), row.get::<_, &str>(1).parse()?);
        }
        for row in footprints {
            let device = DeviceName::new(row.get::<_, String>(1))?;
            self.footprints.entry(ServiceId(row.get(0))).or_default().insert(device, row.get(2));
        }
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
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        timed(self.timeout, async {
            let client = self.tx.client()?;
            let columns =
                |pairs: &[(String, String)]| -> (Vec<String>, Vec<String>) { pairs.iter().cloned().unzip() };
            let (devices, paths) = columns(nodes);
            let (around_devices, around_paths) = columns(around);
            let statement = statement!(client, "owners");
            let rows = client.query(&statement, &[&devices, &paths, &around_devices, &around_paths]).await?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1), ServiceId(row.get(2)))).collect())
        })
        .await
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
            if self.orders.is_empty() {
                return self.tx.rollback().await;
            }
            let client = self.tx.client()?;
            self.update_orders(client, decisions, now).await?;
            self.take_leases(client, decisions, now).await?;
            self.queue_waiting(client, decisions).await?;
            // Last, as others of this batch may wait for what an Invalid order was to have.
            nudge(client, &self.given_up(decisions)).await?;
            dispatch(client, &self.orders, decisions, now).await?;
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

    /// The devices of Invalid orders: they were first in line for them, or would have been.
    fn given_up(&self, decisions: &[Decision]) -> Vec<String> {
        let invalid =
            self.decided(decisions).filter(|(_, decision)| matches!(decision, Decision::Invalid(_)));
        let devices: BTreeSet<&String> = invalid.flat_map(|(due, _)| &due.order.devices).collect();
        devices.into_iter().cloned().collect()
    }

    async fn update_orders(
        &self,
        client: &deadpool_postgres::Object,
        decisions: &[Decision],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (mut ids, mut states, mut generations, mut sequences, mut errors) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
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
        }
        let statement = statement!(client, "update_orders");
        let updated =
            client.execute(&statement, &[&ids, &states, &generations, &sequences, &errors, &now]).await?;
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
                    devices.extend(due.order.devices.iter().map(String::as_str));
                    orders.extend(due.order.devices.iter().map(|_| due.order.id.0));
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
        let newcomers: Vec<&DueOrder> = self
            .decided(decisions)
            .filter(|(due, decision)| due.ticket.is_none() && matches!(decision, Decision::Wait))
            .map(|(due, _)| due)
            .collect();
        if newcomers.is_empty() {
            return Ok(());
        }
        let count = i64::try_from(newcomers.len()).unwrap_or(i64::MAX);
        let draw = statement!(client, "draw_tickets");
        let drawn: Vec<i64> = client.query(&draw, &[&count]).await?.iter().map(|row| row.get(0)).collect();
        let (mut devices, mut tickets, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        for (due, ticket) in newcomers.iter().zip(drawn) {
            for device in &due.order.devices {
                devices.push(device.as_str());
                tickets.push(ticket);
                orders.push(due.order.id.0);
            }
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
