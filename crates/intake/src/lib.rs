//! The intake: accepts orders over HTTP and AMQP; the read API and the event stream.
//!
//! Architecture invariants:
//! - One path for every order, whichever way it comes (module `accept`). Parse, look up, decide (pure),
//!   store; the commit comes before the answer and before the acknowledgement.
//! - Whatever exists over HTTP stands in one table, which also says who may use it; what is not in
//!   it is refused, and nobody without a token learns what exists.
//! - While the database or the broker is away, new orders are refused at once (over HTTP) or wait
//!   in their queue (over AMQP); nothing needs a restart to recover.
//! - Every buffer, queue, body and wait has a bound.

#![allow(
    clippy::result_large_err,
    reason = "a problem is an answer: made once per refused request and moved a few times"
)]

mod accept;
mod amqp;
mod app;
mod ask;
mod auth;
mod health;
mod http;
mod inventory;
mod json;
mod news;
mod planning;
mod preview;
mod refusal;
mod settings;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use turnup_broker::Broker;
use turnup_core::name::RegionName;
use turnup_library::Library;
use turnup_store::Store;

pub use settings::Settings;

use crate::{
    accept::{Acceptor, batch},
    app::{App, Parts},
    ask::Asker,
    auth::Tokens,
    health::Health,
    http::{Bounds, Fleet},
    inventory::Inventory,
    news::News,
    settings::ms,
};

/// Longest wait for a request's head, also on a connection that is kept open.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// Why an intake can't run.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A configuration value can't be used.
    #[error("intake.{key} {why}")]
    Settings {
        /// The key.
        key: &'static str,
        /// What it may be.
        why: String,
    },
    /// The address can't be listened on.
    #[error(
        "can't listen on {address} ({source}); is another intake running, or the port taken? set intake.listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Binds the address of `settings`, for [`run_on`]: with port 0 the system chooses one.
///
/// # Errors
/// [`IntakeError`] for bad settings or an address that can't be had.
pub async fn bind(settings: &Settings) -> Result<TcpListener, IntakeError> {
    settings.validate()?;
    let address = settings.listen;
    TcpListener::bind(address).await.map_err(|source| IntakeError::Listen { address, source })
}

/// What an intake works with.
#[derive(Debug)]
pub struct Environment {
    /// Its configuration.
    pub settings: Settings,
    /// The configured regions: devices may be in these.
    pub regions: Vec<RegionName>,
    /// The status store.
    pub store: Store,
    /// The broker.
    pub broker: Broker,
    /// Definitions, pools and YANG; its owner keeps it fresh ([`Library::run`]).
    pub library: Library,
    /// What `/metrics` shows.
    pub metrics: Option<PrometheusHandle>,
}

/// Runs an intake until `shutdown`, then lets what is in work end.
///
/// # Errors
/// [`IntakeError`] if it can't begin.
pub async fn run(environment: Environment, shutdown: CancellationToken) -> Result<(), IntakeError> {
    let listener = bind(&environment.settings).await?;
    run_on(listener, environment, shutdown).await
}

/// The same, on a listener that [`bind`] made.
///
/// # Errors
/// [`IntakeError`] for bad settings.
pub async fn run_on(
    listener: TcpListener,
    environment: Environment,
    shutdown: CancellationToken,
) -> Result<(), IntakeError> {
    let Environment { settings, regions, store, broker, library, metrics } = environment;
    let regions: Arc<[RegionName]> = regions.into();
    settings.validate()?;
    let address = listener.local_addr().ok();
    let (queue, waiting) = mpsc::channel(settings.queue);
    let health = Arc::new(Health::new());
    let inventory = Arc::new(Inventory::new(store.clone(), ms(settings.inventory_cache_ms)));
    let acceptor = Acceptor {
        store: store.clone(),
        library: library.clone(),
        inventory: Arc::clone(&inventory),
        regions: Arc::clone(&regions),
        health: Arc::clone(&health),
        queue,
        deadline: ms(settings.accept_timeout_ms),
    };
    // As far ahead as the scheduler's relay puts orders on the ladder, with a tenth to spare.
    let reach_ms = i64::from(turnup_broker::delay::reach_s(broker.settings().ladder_levels)) * 900;
    let bounds = Bounds {
        max_connections: settings.max_connections,
        head: HEAD_PATIENCE,
        drain: ms(settings.drain_timeout_ms),
    };
    let app = App::new(Parts {
        store: store.clone(),
        broker: broker.clone(),
        library,
        asker: Asker::new(&broker),
        inventory,
        regions,
        health,
        tokens: Tokens::new(store.clone(), ms(settings.token_cache_ms)),
        acceptor,
        news: News::new(),
        fleet: Fleet::default(),
        metrics,
        routes: http::routes(settings.metrics_open),
        requests: Arc::new(Semaphore::new(settings.max_requests)),
        streams: Arc::new(Semaphore::new(settings.max_streams)),
        reach_ms,
        shutdown: shutdown.clone(),
        settings,
    });
    let batcher = tokio::spawn(batch::run(store.clone(), reach_ms, app.settings.batch, waiting));

    let mut background = JoinSet::new();
    let (watching, watched, end) = (app.clone(), store.clone(), CancellationToken::new());
    // Health is watched to the end: what is in work at shutdown still asks it.
    let until = end.clone();
    background.spawn(async move { watching.health.watch(watched, broker, until).await });
    let (following, until) = (app.clone(), end.clone());
    background.spawn(async move { following.news.watch(store, until).await });

    tracing::info!(
        address = address.map(tracing::field::display),
        amqp = app.settings.amqp,
        "the intake is up"
    );
    let reading = async {
        if app.settings.amqp {
            amqp::run(app.clone()).await;
        }
    };
    tokio::join!(http::serve(listener, http::router(app.clone()), bounds, shutdown), reading);
    end.cancel();
    while background.join_next().await.is_some() {}
    // The last sender goes with the app; then the batcher ends.
    drop(app);
    if tokio::time::timeout(bounds.drain, batcher).await.is_err() {
        tracing::warn!("orders were still being stored at the end of the time to drain");
    }
    tracing::info!("the intake is down");
    Ok(())
}

/// The OpenAPI document of the HTTP API.
#[must_use]
pub fn openapi() -> serde_json::Value {
    http::describe(&http::routes(false))
}
