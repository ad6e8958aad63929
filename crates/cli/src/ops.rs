//! What every role tells about itself: `/healthz`, `/readyz`, `/metrics`. And logging.

use std::{future::Future, io::IsTerminal as _, net::SocketAddr, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use turnup_broker::Broker;
use turnup_store::Store;

use crate::{
    config::{Config, LogFormat},
    failure::Failure,
};

/// Longest wait for the broker or the database before a role says that it is not ready.
const READY_DEADLINE: Duration = Duration::from_secs(3);

/// Logging to standard error.
pub(crate) fn logging(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log.filter)
        .map_err(|error| Failure::Usage(format!("log.filter: {error}")))?;
    // Below that it logs the values of statements, and so the secrets of services.
    let database =
        "tokio_postgres=warn".parse().map_err(|error| Failure::Usage(format!("log.filter: {error}")))?;
    let filter = filter.add_directive(database);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // In a file the codes of colours are noise.
        .with_ansi(std::io::stderr().is_terminal() && !no_color);
    let done = match config.log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    done.map_err(|error| Failure::Failed(format!("logging: {error}")))
}

/// The process's metrics.
pub(crate) fn metrics() -> Result<PrometheusHandle, Failure> {
    PrometheusBuilder::new().install_recorder().map_err(|error| Failure::Failed(format!("metrics: {error}")))
}

/// Why a role is not ready; none: it is.
async fn missing(store: Option<&Store>, broker: &Broker) -> Option<String> {
    let check = async {
        if let Some(store) = store
            && let Err(error) = store.check().await
        {
            return Some(error.to_string());
        }
        broker.ping().await.err().map(|error| error.to_string())
    };
    tokio::time::timeout(READY_DEADLINE, check)
        .await
        .unwrap_or_else(|_| Some(format!("no answer within {} s", READY_DEADLINE.as_secs())))
}

/// Answers on `ops.listen`, if that is set.
pub(crate) async fn serve(
    config: &Config,
    metrics: PrometheusHandle,
    store: Option<Store>,
    broker: Broker,
    shutdown: CancellationToken,
) -> Result<Option<impl Future<Output = ()> + use<>>, Failure> {
    if config.ops.listen.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr = config.ops.listen.parse().map_err(|_| {
        Failure::Usage(format!("ops.listen: {:?} is not like 127.0.0.1:9090", config.ops.listen))
    })?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Failure::Failed(format!("ops.listen: {address}: {error}")))?;
    let ready = move || {
        let (store, broker) = (store.clone(), broker.clone());
        async move {
            match missing(store.as_ref(), &broker).await {
                None => (StatusCode::OK, "ready\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }
        }
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || std::future::ready(metrics.render())));
    Ok(Some(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "the ops endpoint ended");
        }
    }))
}
