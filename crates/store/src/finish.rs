//! What is decided about a batch of due orders, written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::Json;
use turnup_core::{
    id::{DeploymentId, OrderId, ServiceId},
    lifecycle::{OrderEvent, OrderState, service_transition},
    name::DeviceName,
    settle::service_event,
};
use uuid::Uuid;

use crate::{
    Decision, DueOrder, Entry, Starting, StoreError,
    accept::{DueRow, insert_due},
    control::nudge,
    entry,
    pool::{all, statement, timed},
    resource,
};

impl Starting {
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
            let queued = self.put_off.iter().any(|due| due.ticket.is_some());
            if self.orders.is_empty() && self.moved.is_empty() && !queued {
                return self.tx.rollback().await;
            }
            let client = self.tx.client()?;
            if queued {
                self.leave_put_off(client).await?;
            }
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
            self.leave_queues(client).await?;
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
    /// out; not one that came too late. The caller's entries have the event, with the next number of the service's.
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
            let service = service.filter(|service| !due.is_overtaken(service));
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
        let lock = statement!(client, "lock_services");
        client.query(&lock, &[&ids]).await?;
        let change = statement!(client, "change_services");
        client.execute(&change, &[&ids, &states, &orders, &sequences, &now]).await?;
        Ok(())
    }

    fn invalid<'a>(&'a self, decisions: &'a [Decision]) -> impl Iterator<Item = &'a DueOrder> {
        let invalid = |(_, decision): &(&DueOrder, &Decision)| matches!(decision, Decision::Invalid(_));
        self.decided(decisions).filter(invalid).map(|(due, _)| due)
    }

    /// The devices of Invalid orders, which were first in line for them or would have been, and those for which
    /// an order has waited that doesn't need them any more.
    fn given_up(&self, decisions: &[Decision]) -> Vec<String> {
        let devices = self.invalid(decisions).flat_map(|due| &due.devices);
        let devices: BTreeSet<&DeviceName> =
            devices.chain(self.in_vain().map(|(device, _)| device)).collect();
        devices.into_iter().map(DeviceName::to_string).collect()
    }

    /// Where orders stand in a queue for a device that their service has left since.
    fn in_vain(&self) -> impl Iterator<Item = (&DeviceName, OrderId)> {
        self.orders.iter().filter(|due| due.ticket.is_some()).flat_map(|due| {
            let stands = |queue: &BTreeMap<i64, OrderId>| {
                due.ticket.is_some_and(|ticket| queue.get(&ticket) == Some(&due.order.id))
            };
            let queues = self.board.waiting.iter().filter(move |(_, queue)| stands(queue));
            queues
                .map(|(device, _)| device)
                .filter(|device| !due.devices.contains(*device))
                .map(|device| (device, due.order.id))
        })
    }

    /// Nobody is to wait behind one that waits in vain.
    async fn leave_queues(&self, client: &deadpool_postgres::Object) -> Result<(), StoreError> {
        let (devices, orders): (Vec<&str>, Vec<Uuid>) =
            self.in_vain().map(|(device, order)| (device.as_str(), order.0)).unzip();
        if !devices.is_empty() {
            let leave = statement!(client, "leave_queues");
            client.execute(&leave, &[&devices, &orders]).await?;
        }
        Ok(())
    }

    /// Takes those that were put off out of the queues, and wakes whoever stands behind them there.
    async fn leave_put_off(&self, client: &deadpool_postgres::Object) -> Result<(), StoreError> {
        let orders: BTreeSet<OrderId> = self.put_off.iter().map(|due| due.order.id).collect();
        let stands = |(device, queue): (&DeviceName, &BTreeMap<i64, OrderId>)| {
            let of: Vec<(String, Uuid)> = queue
                .values()
                .filter(|order| orders.contains(order))
                .map(|order| (device.to_string(), order.0))
                .collect();
            of
        };
        let (devices, orders): (Vec<String>, Vec<Uuid>) = self.board.waiting.iter().flat_map(stands).unzip();
        let leave = statement!(client, "leave_queues");
        client.execute(&leave, &[&devices, &orders]).await?;
        nudge(client, &devices).await
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
                Decision::Start(_) | Decision::With(_) => (OrderState::InProgress, 1, &[][..]),
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
        // Those of a group that come after the first have devices that the group has taken already.
        let mut taken: HashMap<DeploymentId, BTreeSet<&DeviceName>> = HashMap::new();
        for (due, decision) in self.decided(decisions) {
            let group = match decision {
                Decision::Wait => continue,
                Decision::Start(starts) => starts.first().map(|start| start.deployment),
                Decision::With(deployment) => Some(*deployment),
                Decision::Invalid(_) => None,
            };
            if let Some(group) = group {
                let taken = taken.entry(group).or_default();
                for device in due.devices.iter().filter(|device| taken.insert(device)) {
                    devices.push(device.as_str());
                    orders.push(due.order.id.0);
                }
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
    for decision in decisions {
        if let Decision::Start(deployments) = decision {
            starts.extend(deployments);
        }
    }
    if starts.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = starts.iter().map(|start| start.deployment.0).collect();
    let regions: Vec<&str> = starts.iter().map(|start| start.region.as_str()).collect();
    let priorities: Vec<&str> = starts.iter().map(|start| start.priority.word()).collect();
    let mut generations: HashMap<DeploymentId, i32> = HashMap::new();
    let (mut linked, mut links) = (Vec::new(), Vec::new());
    for (due, decision) in orders.iter().zip(decisions) {
        let deployments: Vec<DeploymentId> = match decision {
            Decision::Start(deployments) => deployments.iter().map(|start| start.deployment).collect(),
            Decision::With(deployment) => vec![*deployment],
            Decision::Wait | Decision::Invalid(_) => continue,
        };
        for deployment in deployments {
            let generation = generations.entry(deployment).or_default();
            *generation = (*generation).max(due.order.generation + 1);
            linked.push(due.order.id.0);
            links.push(deployment.0);
        }
    }
    let generations: Vec<i32> =
        starts.iter().map(|start| generations.get(&start.deployment).copied().unwrap_or(1)).collect();
    let messages: Vec<&[u8]> = starts.iter().map(|start| start.message.as_slice()).collect();
    let footprints: Vec<Json<&Value>> = starts.iter().map(|start| Json(&start.footprints)).collect();
    let transactions: Vec<Option<Uuid>> =
        starts.iter().map(|start| start.transaction.map(|transaction| transaction.0)).collect();
    let stages: Vec<&str> = starts.iter().map(|start| start.stage.word()).collect();
    let statement = statement!(client, "dispatch");
    client
        .execute(
            &statement,
            &[
                &ids,
                &regions,
                &priorities,
                &generations,
                &messages,
                &footprints,
                &now,
                &linked,
                &links,
                &transactions,
                &stages,
            ],
        )
        .await?;
    Ok(())
}
