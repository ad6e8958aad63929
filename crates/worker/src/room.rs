//! How much a worker does at the same time: devices being worked on, over all its deployments and per region,
//! and sessions being opened, which is what costs it time of its processor.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};
use turnup_core::name::RegionName;

use crate::settings::Settings;

/// The room that a worker has.
#[derive(Debug)]
pub(crate) struct Room {
    all: Share,
    of_regions: BTreeMap<RegionName, Share>,
    connects: Semaphore,
}

/// Devices at once.
#[derive(Debug)]
struct Share {
    permits: Arc<Semaphore>,
    size: u32,
}

/// Devices that may be worked on for as long as this lives.
#[derive(Debug)]
pub(crate) struct Seats {
    devices: u32,
    _of_region: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Seats {
    fn new(
        devices: u32,
        of_region: Option<OwnedSemaphorePermit>,
        of_all: Option<OwnedSemaphorePermit>,
    ) -> Self {
        metrics::gauge!("turnup_worker_devices_at_work").increment(devices);
        Self { devices, _of_region: of_region, _of_all: of_all }
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        metrics::gauge!("turnup_worker_devices_at_work").decrement(self.devices);
    }
}

impl Share {
    fn new(devices: usize) -> Self {
        let size = u32::try_from(devices).unwrap_or(u32::MAX);
        Self { permits: Arc::new(Semaphore::new(devices)), size }
    }

    /// All of them at once or, if it is more than there can be, the whole share: then it runs alone. Whoever
    /// came first has them first, however many.
    async fn take(&self, devices: u32) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.permits).acquire_many_owned(devices.min(self.size)).await.ok()
    }
}

impl Room {
    pub(crate) fn new(settings: &Settings) -> Self {
        let of_regions = settings.region_limits.0.iter();
        Self {
            all: Share::new(settings.max_devices_at_once),
            of_regions: of_regions.map(|(region, devices)| (region.clone(), Share::new(*devices))).collect(),
            connects: Semaphore::new(settings.max_connects_at_once),
        }
    }

    /// Waits for room for so many devices of this region, in order of arrival; until `by`.
    ///
    /// Everybody takes the region's share before that of all, so nobody who waits for the region has what
    /// somebody else in it needs to come to an end.
    pub(crate) async fn enter(&self, region: &RegionName, devices: usize, by: Instant) -> Option<Seats> {
        let devices = u32::try_from(devices).unwrap_or(u32::MAX);
        let take = async {
            let of_region = match self.of_regions.get(region) {
                Some(share) => share.take(devices).await,
                None => None,
            };
            (of_region, self.all.take(devices).await)
        };
        let began = Instant::now();
        let (of_region, of_all) = timeout_at(by, take).await.ok()?;
        metrics::histogram!("turnup_worker_room_wait_seconds").record(began.elapsed().as_secs_f64());
        Some(Seats::new(devices, of_region, of_all))
    }

    /// Lets so many devices in, room or not.
    pub(crate) fn enter_at_once(devices: usize) -> Seats {
        Seats::new(u32::try_from(devices).unwrap_or(u32::MAX), None, None)
    }

    /// Waits until a session may be opened; until `by`.
    pub(crate) async fn connect(&self, by: Instant) -> Option<SemaphorePermit<'_>> {
        let began = Instant::now();
        let permit = timeout_at(by, self.connects.acquire()).await.ok()?.ok();
        metrics::histogram!("turnup_worker_connect_wait_seconds").record(began.elapsed().as_secs_f64());
        permit
    }
}
