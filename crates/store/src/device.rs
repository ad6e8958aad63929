use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio_postgres::Row;
use turnup_core::{
    event::{Entity, Event},
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

fn changed(device: &Device, sequence: i32, what: &str, by: &str) -> Entry {
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
            data: json!({
                "device": device.name, "region": device.region, "platform": device.platform,
                "address": device.address, "port": device.port, "trusted": device.host_key.is_some(),
            }),
        },
        change: None,
        why: None,
        by: by.to_owned(),
    }
}

impl Store {
    /// Adds devices; answers in the order given. One that exists is left as it is.
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
                    ],
                )
                .await?;
            let mut added: HashMap<&str, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            let mut answers = Vec::with_capacity(devices.len());
            let mut entries = Vec::new();
            for device in devices {
                // Taken out, so that of two with one name the first counts as added.
                answers.push(match added.remove(device.name.as_str()) {
                    Some(sequence) => {
                        entries.push(changed(device, sequence, "added", by));
                        DeviceChange::Done
                    }
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
            let update = statement!(client, "update_device");
            let row = client
                .query_opt(
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
                    ],
                )
                .await?;
            let Some(row) = row else {
                tx.rollback().await?;
                return Ok(DeviceChange::Missing);
            };
            entry::append(client, &[changed(device, row.get(0), "changed", by)]).await?;
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
            entry::append(client, &[changed(&device, sequence + 1, "removed", by)]).await?;
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
