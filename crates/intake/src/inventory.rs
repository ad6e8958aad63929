//! The inventory as orders are checked against: a snapshot of all devices, at most a second old,
//! and newer than any order that names a device it doesn't hold.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use turnup_core::name::{DeviceName, near_misses};
use turnup_store::{Device, Store, StoreError};

/// Devices read by one statement.
const PAGE: i64 = 5_000;
/// Most devices kept; what is beyond them counts as unknown, and the log says so.
const MAX_DEVICES: usize = 500_000;
/// Most names that are looked through for near misses.
const MAX_NEAR: usize = 10_000;

/// All devices at one time.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) devices: BTreeMap<DeviceName, Device>,
}

impl Snapshot {
    /// What to say of a device that is not there.
    pub(crate) fn unknown(&self, name: &DeviceName) -> String {
        let names = self.devices.keys().map(DeviceName::as_str).take(MAX_NEAR);
        let near = near_misses(name.as_str(), names);
        if near.is_empty() {
            format!("there is no device {name} in the inventory; list them with 'turnup device list'")
        } else {
            format!("there is no device {name} in the inventory; did you mean {}?", near.join(", "))
        }
    }
}

#[derive(Debug)]
struct Loaded {
    snapshot: Arc<Snapshot>,
    /// When its reading began.
    since: Instant,
}

/// The cached inventory.
#[derive(Debug)]
pub(crate) struct Inventory {
    store: Store,
    max_age: Duration,
    loaded: Mutex<Option<Loaded>>,
    /// Held by the one who reads, so that many who need a newer snapshot share it.
    reading: tokio::sync::Mutex<()>,
}

impl Inventory {
    pub(crate) fn new(store: Store, max_age: Duration) -> Self {
        Self { store, max_age, loaded: Mutex::new(None), reading: tokio::sync::Mutex::new(()) }
    }

    /// A snapshot that holds all of `wanted`, or else is newer than this call.
    pub(crate) async fn with(&self, wanted: &[&DeviceName]) -> Result<Arc<Snapshot>, StoreError> {
        let asked = Instant::now();
        if let Some(snapshot) = self.fresh(asked, wanted) {
            return Ok(snapshot);
        }
        let _reading = self.reading.lock().await;
        if let Some(snapshot) = self.fresh(asked, wanted) {
            return Ok(snapshot);
        }
        let since = Instant::now();
        let snapshot = Arc::new(self.read().await?);
        *self.lock() = Some(Loaded { snapshot: Arc::clone(&snapshot), since });
        Ok(snapshot)
    }

    /// The inventory was changed through this process: the next order sees it.
    pub(crate) fn changed(&self) {
        *self.lock() = None;
    }

    fn fresh(&self, asked: Instant, wanted: &[&DeviceName]) -> Option<Arc<Snapshot>> {
        let loaded = self.lock();
        let loaded = loaded.as_ref()?;
        let has_all = || wanted.iter().all(|name| loaded.snapshot.devices.contains_key(*name));
        let usable = loaded.since >= asked || (loaded.since.elapsed() < self.max_age && has_all());
        usable.then(|| Arc::clone(&loaded.snapshot))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<Snapshot, StoreError> {
        let mut snapshot = Snapshot::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.devices(None, after.as_deref(), PAGE).await?;
            snapshot.devices.extend(page.items.into_iter().map(|device| (device.name.clone(), device)));
            after = page.next_cursor;
            if after.is_none() {
                return Ok(snapshot);
            }
            if snapshot.devices.len() >= MAX_DEVICES {
                tracing::error!(devices = MAX_DEVICES, "the inventory is larger than what the intake keeps");
                return Ok(snapshot);
            }
        }
    }
}
