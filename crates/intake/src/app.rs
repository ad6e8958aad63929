//! What all requests share.

use std::{ops::Deref, sync::Arc};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use turnup_broker::Broker;
use turnup_core::name::RegionName;
use turnup_library::Library;
use turnup_store::Store;

use crate::{
    Settings,
    accept::Acceptor,
    ask::Asker,
    auth::Tokens,
    health::Health,
    http::{Fleet, Route},
    inventory::Inventory,
    news::News,
};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    pub(crate) library: Library,
    pub(crate) asker: Asker,
    pub(crate) inventory: Arc<Inventory>,
    /// The configured regions.
    pub(crate) regions: Arc<[RegionName]>,
    pub(crate) health: Arc<Health>,
    pub(crate) tokens: Tokens,
    pub(crate) acceptor: Acceptor,
    pub(crate) news: News,
    pub(crate) fleet: Fleet,
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) routes: Vec<Route>,
    /// Places for requests in work.
    pub(crate) requests: Arc<Semaphore>,
    /// Places for streams.
    pub(crate) streams: Arc<Semaphore>,
    /// How far ahead the delay ladder reaches, in milliseconds.
    pub(crate) reach_ms: i64,
    pub(crate) shutdown: CancellationToken,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.0.routes
    }
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
