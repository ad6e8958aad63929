use std::collections::HashMap;

use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio_postgres::{Row, error::SqlState};
use turnup_core::{
    event::{Entity, Event},
    inventory::fingerprint,
    name::{CredentialRef, DeviceName, PlatformName, RegionName},
};
use uuid::Uuid;

use crate::{
    Entry, Page, Store, StoreError, entry,
    order::time,
    pool::{Tx, statement},
};

/// A device of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Unique name.
    pub name: DeviceName,
    /// Region whose workers reach it.
    pub region: RegionName,
    /// Decides templates and driver.
    pub platform: PlatformName,
    /// Host name or address.
    pub address: String,
    /// NETCONF over SSH port.
    pub port: u16,
    /// Pinned host key (OpenSSH public key or `SHA256:` fingerprint); none: not trusted yet.
    pub host_key: Option<String>,
    /// Name of the credentials in the workers' configuration.
    pub credential: Option<CredentialRef>,
    /// Free text.
    pub description: Option<String>,
    /// When it was added.
    #[serde(serialize_with = "time")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "time")]
    pub updated_at: Timestamp,
}

/// How a change of the inventory ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChange {
    /// Done.
    Done,
    /// There is one of that name already.
    Exists,
    /// This other device has the address and port.
    AddressTaken(DeviceName),
    /// There is none of that name.
    Missing,
    /// Unfinished orders or services are on it: this many.
    InUse(i64),
}

pub(crate) fn view(row: &Row) -> Result<Device, StoreError> {
    let port: i32 = row.get("port");
    Ok(Device {
        name: DeviceName::new(row.get::<_, String>("name"))?,
        region: RegionName::new(row.get::<_, String>("region"))?,
        platform: PlatformName::new(row.get::<_, String>("platform"))?,
        address: row.get("address"),
        port: u16::try_from(port).map_err(|_| StoreError::Unknown(format!("port {port}")))?,
        host_key: row.get("host_key"),
        credential: row.get::<_, Option<String>>("credential").map(CredentialRef::new).transpose()?,
        description: row.get("description"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}

/// Most devices with one host key that are named.
const MAX_WITH_KEY: i64 = 1_000;

/// The device's own values, as events tell them. A host key is told by its fingerprint.
fn facts(device: &Device) -> Map<String, Value> {
    let facts = json!({
        "region": device.region, "platform": device.platform, "address": device.address, "port": device.port,
        "credential": device.credential, "fingerprint": device.host_key.as_deref().and_then(fingerprint),
        "description": device.description,
    });
    if let Value::Object(facts) = facts { facts } else { Map::new() }
}

/// The entry of a change. `before`: the device as it was, if it is only changed.
fn changed(device: &Device, before: Option<&Device>, sequence: i32, what: &str, by: &str) -> Entry {
    let mut data = facts(device);
    if let Some(before) = before {
        let before = facts(before);
        let changes = data.iter().filter_map(|(field, to)| {
            let from = before.get(field)?;
            (from != to).then(|| (field.clone(), json!({"from": from, "to": to})))
        });
        let changes: Map<String, Value> = changes.collect();
        data.insert("changes".to_owned(), Value::Object(changes));
    }
    data.insert("device".to_owned(), json!(device.name));
    data.insert("trusted".to_owned(), json!(device.host_key.is_some()));
    data.insert("actor".to_owned(), json!(by));
    Entry {
        event: Event {
            id: Uuid::now_v7(),
            entity: Entity::Device,
            entity_id: device.name.to_string(),
            sequence,
            what: what.to_owned(),
            at: device.updated_at,
            region: device.region.to_string(),
            definition: "-".to_owned(),
            correlation_id: None,
            data: Value::Object(data),
        },
        change: None,
        why: None,
        by: by.to_owned(),
    }
}

/// For each of `devices` another one that has its address and port, if there is one; the oldest of them.
async fn neighbours(
    client: &Object,
    devices: &[&Device],
) -> Result<HashMap<DeviceName, DeviceName>, StoreError> {
    let addresses: Vec<&str> = devices.iter().map(|device| device.address.as_str()).collect();
    let ports: Vec<i32> = devices.iter().map(|device| i32::from(device.port)).collect();
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    let statement = statement!(client, "devices_at");
    let mut found = HashMap::new();
    for row in client.query(&statement, &[&addresses, &ports, &names]).await? {
        let place: i64 = row.get(0);
        if let Some(device) = usize::try_from(place - 1).ok().and_then(|place| devices.get(place)) {
            // The oldest comes last.
            found.insert(device.name.clone(), DeviceName::new(row.get::<_, String>(1))?);
        }
    }
    Ok(found)
}

impl Store {
    /// Adds devices; answers in the order given. One that exists is left as it is, and so is one whose address
    /// and port another device has.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn add_devices(&self, devices: &[Device], by: &str) -> Result<Vec<DeviceChange>, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let insert = statement!(client, "insert_devices");
            let text = |f: fn(&Device) -> &str| devices.iter().map(f).collect::<Vec<&str>>();
            let optional = |f: fn(&Device) -> Option<&str>| devices.iter().map(f).collect::<Vec<_>>();
            let ports: Vec<i32> = devices.iter().map(|device| i32::from(device.port)).collect();
            let times: Vec<Timestamp> = devices.iter().map(|device| device.updated_at).collect();
            let fingerprints: Vec<Option<String>> =
                devices.iter().map(|device| device.host_key.as_deref().and_then(fingerprint)).collect();
            let rows = client
                .query(
                    &insert,
                    &[
                        &text(|device| device.name.as_str()),
                        &text(|device| device.region.as_str()),
                        &text(|device| device.platform.as_str()),
                        &text(|device| &device.address),
                        &ports,
                        &optional(|device| device.host_key.as_deref()),
                        &optional(|device| device.credential.as_ref().map(CredentialRef::as_str)),
                        &optional(|device| device.description.as_deref()),
                        &times,
                        &fingerprints,
                    ],
                )
                .await?;
            let mut added: HashMap<&str, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            let refused: Vec<&Device> =
                devices.iter().filter(|device| !added.contains_key(device.name.as_str())).collect();
            // Others of this call count as well, as they are stored by now.
            let (existing, neighbours) = match refused.as_slice() {
                [] => (Vec::new(), HashMap::new()),
                refused => {
                    let names: Vec<&str> = refused.iter().map(|device| device.name.as_str()).collect();
                    let named = statement!(client, "devices_by_name");
                    let rows = client.query(&named, &[&names]).await?;
                    let existing: Vec<String> = rows.iter().map(|row| row.get("name")).collect();
                    (existing, neighbours(client, refused).await?)
                }
            };
            let mut answers = Vec::with_capacity(devices.len());
            let mut entries = Vec::new();
            for device in devices {
                // Taken out, so that of two with one name the first counts as added.
                if let Some(sequence) = added.remove(device.name.as_str()) {
                    entries.push(changed(device, None, sequence, "added", by));
                    answers.push(DeviceChange::Done);
                    continue;
                }
                let exists = existing.iter().any(|name| name == device.name.as_str());
                answers.push(match neighbours.get(&device.name).filter(|_| !exists) {
                    Some(other) => DeviceChange::AddressTaken(other.clone()),
                    None => DeviceChange::Exists,
                });
            }
            entry::append(client, &entries).await?;
            tx.commit().await?;
            Ok(answers)
        })
        .await
    }

    /// Replaces what is known of a device.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn update_device(&self, device: &Device, by: &str) -> Result<DeviceChange, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let lock = statement!(client, "lock_device");
            let Some(row) = client.query_opt(&lock, &[&device.name.as_str()]).await? else {
                tx.rollback().await?;
                return Ok(DeviceChange::Missing);
            };
            let before = view(&row)?;
            let moves = (&before.address, before.port) != (&device.address, device.port);
            if moves && let Some(other) = neighbours(client, &[device]).await?.remove(&device.name) {
                tx.rollback().await?;
                return Ok(DeviceChange::AddressTaken(other));
            }
            let update = statement!(client, "update_device");
            let updated = client
                .query_one(
                    &update,
                    &[
                        &device.name.as_str(),
                        &device.region.as_str(),
                        &device.platform.as_str(),
                        &device.address,
                        &i32::from(device.port),
                        &device.host_key,
                        &device.credential.as_ref().map(CredentialRef::as_str),
                        &device.description,
                        &device.updated_at,
                        &device.host_key.as_deref().and_then(fingerprint),
                    ],
                )
                .await;
            let row = match updated {
                // Another transaction has given the address to a device since we looked.
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    tx.rollback().await?;
                    let client = self.client().await?;
                    return Ok(match neighbours(&client, &[device]).await?.remove(&device.name) {
                        Some(other) => DeviceChange::AddressTaken(other),
                        None => return Err(error.into()),
                    });
                }
                other => other?,
            };
            entry::append(client, &[changed(device, Some(&before), row.get(0), "changed", by)]).await?;
            tx.commit().await?;
            Ok(DeviceChange::Done)
        })
        .await
    }

    /// Removes a device on which nothing is. An order that is being accepted at this very moment may
    /// still name it; it ends Invalid when it is to start.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn remove_device(
        &self,
        name: &DeviceName,
        by: &str,
        at: Timestamp,
    ) -> Result<DeviceChange, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let lock = statement!(client, "lock_device");
            let Some(row) = client.query_opt(&lock, &[&name.as_str()]).await? else {
                tx.rollback().await?;
                return Ok(DeviceChange::Missing);
            };
            let device = Device { updated_at: at, ..view(&row)? };
            let sequence: i32 = row.get("sequence");
            let users = statement!(client, "device_users");
            let users: i64 = client.query_one(&users, &[&name.as_str()]).await?.get(0);
            if users > 0 {
                tx.rollback().await?;
                return Ok(DeviceChange::InUse(users));
            }
            let remove = statement!(client, "remove_device");
            client.execute(&remove, &[&name.as_str()]).await?;
            let checks = statement!(client, "remove_check");
            client.execute(&checks, &[&name.as_str()]).await?;
            entry::append(client, &[changed(&device, None, sequence + 1, "removed", by)]).await?;
            tx.commit().await?;
            Ok(DeviceChange::Done)
        })
        .await
    }

    /// One device.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn device(&self, name: &DeviceName) -> Result<Option<Device>, StoreError> {
        let found = self.devices_named(&[name.as_str()]).await?;
        Ok(found.into_iter().next())
    }

    /// The devices of these names that exist.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn devices_named(&self, names: &[&str]) -> Result<Vec<Device>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "devices_by_name");
            client.query(&statement, &[&names]).await?.iter().map(view).collect()
        })
        .await
    }

    /// Lists devices by name, at most `limit` (1 to 1000), those after the name `after`.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn devices(
        &self,
        region: Option<&str>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Page<Device>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "devices");
            let limit = limit.clamp(1, 1000);
            let rows = client.query(&statement, &[&region, &after, &(limit + 1)]).await?;
            let mut items = rows.iter().map(view).collect::<Result<Vec<_>, _>>()?;
            let more = i64::try_from(items.len()).is_ok_and(|len| len > limit);
            if more {
                items.pop();
            }
            let next_cursor = items.last().filter(|_| more).map(|device| device.name.to_string());
            Ok(Page { items, next_cursor })
        })
        .await
    }

    /// Devices that have another device's address and port, and that other one, the oldest of them.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn address_neighbours(
        &self,
        devices: &[&Device],
    ) -> Result<HashMap<DeviceName, DeviceName>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            neighbours(&client, devices).await
        })
        .await
    }

    /// Which devices have pinned one of these fingerprints: fingerprint and device, at most a thousand.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn devices_with_key(
        &self,
        fingerprints: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "devices_with_key");
            let rows = client.query(&statement, &[&fingerprints, &MAX_WITH_KEY]).await?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
        .await
    }

    /// Names of all regions that have a device.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn regions(&self) -> Result<Vec<String>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "regions");
            Ok(client.query(&statement, &[]).await?.iter().map(|row| row.get(0)).collect())
        })
        .await
    }
}
