//! What ended orders do to services, and to what these hold on devices.

use std::collections::BTreeMap;

use deadpool_postgres::Object;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::Json;
use turnup_core::{
    audit::{AuditSummary, ConfigAudit},
    id::{DeploymentId, OrderId, ServiceId},
    lifecycle::{AuditState, ServiceState},
    message::InForce,
};
use uuid::Uuid;

use crate::{ServiceChange, StoreError, pool::statement};

/// The changes of a batch, by what is done to the tables.
#[derive(Default)]
struct Changes<'a> {
    /// By provision orders, and the numbers of their services' events.
    created: (Vec<Uuid>, Vec<i32>),
    /// Deployments that put something in force, and the orders for which they did.
    committed: (Vec<Uuid>, Vec<Uuid>),
    /// Of these, those that replace what was there.
    replacing: (Vec<Uuid>, Vec<Uuid>),
    /// Services in another state: state, order, number of the event.
    changed: Vec<(ServiceId, ServiceState, OrderId, i32)>,
    /// Orders that completed on a service that was there.
    updating: Vec<Uuid>,
    /// What failed attempts may have left, by service and device.
    failed: BTreeMap<(ServiceId, &'a str), (DeploymentId, InForce)>,
    audited: Vec<Audited<'a>>,
    removed: Vec<Uuid>,
}

struct Audited<'a> {
    service: ServiceId,
    order: OrderId,
    sequence: i32,
    at: Timestamp,
    summary: &'a AuditSummary,
    devices: &'a Value,
}

fn push(to: &mut (Vec<Uuid>, Vec<Uuid>), deployment: DeploymentId, order: OrderId) {
    to.0.push(deployment.0);
    to.1.push(order.0);
}

impl<'a> Changes<'a> {
    fn of(services: &'a [ServiceChange]) -> Self {
        let mut changes = Self::default();
        for change in services {
            match change {
                ServiceChange::Create { order, deployment, sequence } => {
                    changes.created.0.push(order.0);
                    changes.created.1.push(*sequence);
                    push(&mut changes.committed, *deployment, *order);
                }
                ServiceChange::Update { service, order, deployment, state, sequence } => {
                    changes.changed.push((*service, *state, *order, *sequence));
                    changes.updating.push(order.0);
                    push(&mut changes.committed, *deployment, *order);
                    push(&mut changes.replacing, *deployment, *order);
                }
                ServiceChange::Fail { service, state, order, deployment, sequence, in_force } => {
                    changes.changed.push((*service, *state, *order, *sequence));
                    for (device, in_force) in in_force.iter().filter(|(_, of)| *of != InForce::Old) {
                        changes.failed.insert((*service, device.as_str()), (*deployment, *in_force));
                    }
                }
                ServiceChange::Audited { service, order, sequence, at, summary, devices } => {
                    changes.audited.push(Audited {
                        service: *service,
                        order: *order,
                        sequence: *sequence,
                        at: *at,
                        summary,
                        devices,
                    });
                }
                ServiceChange::Remove { service } => changes.removed.push(service.0),
            }
        }
        changes
    }

    /// Services that are there already.
    fn existing(&self) -> Vec<Uuid> {
        let changed = self.changed.iter().map(|(service, ..)| service.0);
        let audited = self.audited.iter().map(|audited| audited.service.0);
        changed.chain(audited).chain(self.removed.iter().copied()).collect()
    }
}

/// Writes what a batch does to services.
pub(crate) async fn services(
    client: &Object,
    services: &[ServiceChange],
    now: Timestamp,
) -> Result<(), StoreError> {
    let changes = Changes::of(services);
    let existing = changes.existing();
    if !existing.is_empty() {
        // In one order, before the updates, which have none.
        let lock = statement!(client, "lock_services");
        client.query(&lock, &[&existing]).await?;
    }
    if !changes.created.0.is_empty() {
        let create = statement!(client, "create_services");
        client.execute(&create, &[&changes.created.0, &now, &changes.created.1]).await?;
    }
    if !changes.changed.is_empty() {
        let ids: Vec<Uuid> = changes.changed.iter().map(|(service, ..)| service.0).collect();
        let states: Vec<&str> = changes.changed.iter().map(|(_, state, ..)| state.word()).collect();
        let orders: Vec<Uuid> = changes.changed.iter().map(|(_, _, order, _)| order.0).collect();
        let sequences: Vec<i32> = changes.changed.iter().map(|(.., sequence)| *sequence).collect();
        let change = statement!(client, "change_services");
        client.execute(&change, &[&ids, &states, &orders, &sequences, &now]).await?;
    }
    if !changes.updating.is_empty() {
        let modify = statement!(client, "modify_services");
        client.execute(&modify, &[&changes.updating]).await?;
        let clear = statement!(client, "clear_footprints");
        client.execute(&clear, &[&changes.replacing.0, &changes.replacing.1]).await?;
    }
    if !changes.committed.0.is_empty() {
        let create = statement!(client, "create_footprints");
        client.execute(&create, &[&changes.committed.0, &changes.committed.1]).await?;
    }
    fail(client, &changes).await?;
    audit(client, &changes.audited).await?;
    if !changes.removed.is_empty() {
        for file in [
            statement!(client, "free_nodes"),
            statement!(client, "free_shared"),
            statement!(client, "remove_footprints"),
            statement!(client, "remove_audits"),
            statement!(client, "remove_services"),
        ] {
            client.execute(&file, &[&changes.removed]).await?;
        }
    }
    Ok(())
}

async fn fail(client: &Object, changes: &Changes<'_>) -> Result<(), StoreError> {
    if changes.failed.is_empty() {
        return Ok(());
    }
    let services: Vec<Uuid> = changes.failed.keys().map(|(service, _)| service.0).collect();
    let devices: Vec<&str> = changes.failed.keys().map(|(_, device)| *device).collect();
    let deployments: Vec<Uuid> = changes.failed.values().map(|(deployment, _)| deployment.0).collect();
    let in_force: Vec<&str> = changes.failed.values().map(|(_, in_force)| in_force.word()).collect();
    let statement = statement!(client, "fail_footprints");
    client.execute(&statement, &[&services, &deployments, &devices, &in_force]).await?;
    Ok(())
}

async fn audit(client: &Object, audited: &[Audited<'_>]) -> Result<(), StoreError> {
    if audited.is_empty() {
        return Ok(());
    }
    let services: Vec<Uuid> = audited.iter().map(|audited| audited.service.0).collect();
    let orders: Vec<Uuid> = audited.iter().map(|audited| audited.order.0).collect();
    let sequences: Vec<i32> = audited.iter().map(|audited| audited.sequence).collect();
    let times: Vec<Timestamp> = audited.iter().map(|audited| audited.at).collect();
    let states: Vec<&str> = audited.iter().map(|audited| AuditState::word(audited.summary.state)).collect();
    let configs: Vec<&str> =
        audited.iter().map(|audited| ConfigAudit::word(audited.summary.config)).collect();
    let reasons: Vec<Option<&str>> =
        audited.iter().map(|audited| audited.summary.reason.as_deref()).collect();
    let devices: Vec<Json<&Value>> = audited.iter().map(|audited| Json(audited.devices)).collect();
    let statement = statement!(client, "audit_services");
    client
        .execute(&statement, &[&services, &orders, &sequences, &times, &states, &configs, &reasons, &devices])
        .await?;
    Ok(())
}
