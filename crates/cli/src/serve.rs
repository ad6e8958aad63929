//! `turnup serve …`: one role, or several, in this process.

use std::{future::Future, time::Duration};

use clap::Subcommand;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use turnup_broker::{Broker, check};
use turnup_core::name::RegionName;
use turnup_library::{Library, LibraryError};
use turnup_store::{Store, StoreError};

use crate::{
    admin,
    config::{self, Config},
    failure::Failure,
    ops,
};

/// Time for a clean end after SIGTERM; what is not done by then is done by others.
const DRAIN: Duration = Duration::from_secs(60);
/// How often a role that can't start yet tries again.
const WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Role {
    /// Accept orders over HTTP and AMQP; answer questions; stream events
    Intake,
    /// Start due orders, relay the outbox, find what was lost
    Scheduler,
    /// Deploy to the devices of one or several regions
    Worker {
        /// Region to serve; may be given several times
        #[arg(long = "region", required = true)]
        regions: Vec<RegionName>,
        /// Deployments at once
        #[arg(long)]
        concurrency: Option<usize>,
    },
    /// Record what workers report
    Recorder,
}

impl Role {
    const fn name(&self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Scheduler => "scheduler",
            Self::Worker { .. } => "worker",
            Self::Recorder => "recorder",
        }
    }

    /// Workers have no database.
    const fn needs_store(&self) -> bool {
        !matches!(self, Self::Worker { .. })
    }
}

/// Runs one role until SIGTERM or SIGINT, then drains it.
pub(crate) async fn run(config: Config, role: Role) -> Result<(), Failure> {
    ops::logging(&config)?;
    let metrics = ops::metrics()?;
    let shutdown = on_signal()?;
    let broker = admin::broker(&config, role.name())?;
    let store = if role.needs_store() { Some(admin::store(&config)?) } else { None };
    let answers =
        ops::serve(&config, metrics.clone(), store.clone(), broker.clone(), shutdown.clone()).await?;
    let work = async {
        ready(&config, &role, store.as_ref(), &broker, &shutdown).await?;
        tracing::info!(role = role.name(), "started");
        run_role(&config, role.clone(), store, broker, metrics, shutdown.clone()).await
    };
    let result = drained(work, &shutdown).await;
    shutdown.cancel();
    drop(answers.map(tokio::spawn));
    tracing::info!(role = role.name(), "ended");
    result
}

/// Definitions, pools and YANG as the configuration says, kept fresh until `shutdown`. `publish`: what is
/// new in the catalogue's folder is published first.
async fn library(
    config: &Config,
    store: Store,
    publish: bool,
    shutdown: &CancellationToken,
) -> Result<Library, Failure> {
    config.check_catalogue()?;
    let settings = turnup_library::Settings {
        folder: config.catalogue.clone(),
        yang_dir: config.yang_dir.clone(),
        platforms_dir: config.platforms_dir.clone(),
        refresh_ms: config.catalogue_refresh_ms,
    };
    loop {
        match Library::open(store.clone(), settings.clone(), publish).await {
            Ok(library) => {
                let (running, shutdown) = (library.clone(), shutdown.clone());
                tokio::spawn(async move { running.run(shutdown).await });
                return Ok(library);
            }
            Err(LibraryError::Store(error @ StoreError::Away(_))) if !shutdown.is_cancelled() => {
                tracing::warn!(%error, "waiting for the database");
                pause(shutdown).await;
            }
            Err(error @ LibraryError::Store(_)) => return Err(Failure::Failed(error.to_string())),
            Err(error) => return Err(Failure::Usage(error.to_string())),
        }
    }
}

/// Waits until database and broker are there and as this release needs them.
async fn ready(
    config: &Config,
    role: &Role,
    store: Option<&Store>,
    broker: &Broker,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    while !shutdown.is_cancelled() {
        if let Some(store) = store {
            match store.check().await {
                Ok(()) => {}
                Err(error @ StoreError::Version { .. }) => return Err(Failure::Failed(error.to_string())),
                Err(error) => {
                    tracing::warn!(%error, "waiting for the database");
                    pause(shutdown).await;
                    continue;
                }
            }
        }
        let mut wanted = config.clone();
        if let Role::Worker { regions, .. } = role {
            wanted.regions.clone_from(regions);
        }
        match check(broker, &admin::table_of(&wanted, broker)).await {
            Ok(differences) if differences.is_empty() => return Ok(()),
            Ok(differences) => {
                let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
                return Err(Failure::Failed(format!(
                    "the broker is not as this release needs it; run 'turnup migrate':\n{}",
                    list.join("\n")
                )));
            }
            Err(error) => {
                tracing::warn!(%error, "waiting for the broker");
                pause(shutdown).await;
            }
        }
    }
    Ok(())
}

async fn pause(shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(WAIT) => {}
    }
}

/// Runs `work`, and after the shutdown signal only for so long.
pub(crate) async fn drained(
    work: impl Future<Output = Result<(), Failure>>,
    shutdown: &CancellationToken,
) -> Result<(), Failure> {
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = work => result,
        () = late => Err(Failure::Failed(format!("not drained within {} s; others take over", DRAIN.as_secs()))),
    }
}

/// Cancelled by SIGTERM and SIGINT.
pub(crate) fn on_signal() -> Result<CancellationToken, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    });
    Ok(shutdown)
}

/// Runs one role until `shutdown`; database and broker are there.
pub(crate) async fn run_role(
    config: &Config,
    role: Role,
    store: Option<Store>,
    broker: Broker,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let with_store = store.ok_or_else(|| Failure::Failed("this role needs a database".to_owned()));
    match role {
        Role::Intake => {
            let (settings, store) = (config.intake.clone(), with_store?);
            let library = library(config, store.clone(), true, &shutdown).await?;
            let (regions, metrics) = (config.regions.clone(), Some(metrics));
            let environment =
                turnup_intake::Environment { settings, regions, store, broker, library, metrics };
            Box::pin(turnup_intake::run(environment, shutdown))
                .await
                .map_err(|error| Failure::Failed(error.to_string()))
        }
        Role::Scheduler => {
            let (settings, store) = (config.scheduler.clone(), with_store?);
            let library = library(config, store.clone(), false, &shutdown).await?;
            let regions = config.regions.clone();
            Box::pin(turnup_scheduler::run(settings, regions, store, broker, library, shutdown)).await;
            Ok(())
        }
        Role::Recorder => {
            turnup_recorder::run(config.recorder.clone(), with_store?, broker, shutdown).await;
            Ok(())
        }
        Role::Worker { regions, concurrency } => {
            for missing in config::missing_secrets(config, |name| std::env::var_os(name).is_some()) {
                tracing::warn!("{missing}; devices with these credentials can't be reached");
            }
            let mut settings = config.worker.clone();
            settings.concurrency = concurrency.unwrap_or(settings.concurrency);
            let assignment = turnup_worker::Assignment {
                worker_name: worker_name(&regions),
                regions,
                credentials: config.credentials.clone(),
            };
            Box::pin(turnup_worker::run(settings, assignment, broker, shutdown))
                .await
                .map_err(|error| Failure::Failed(error.to_string()))
        }
    }
}

/// Unique among workers that run at the same time: regions, host, process.
fn worker_name(regions: &[RegionName]) -> String {
    let regions: Vec<&str> = regions.iter().map(RegionName::as_str).collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}:{}", regions.join("+"), host.trim(), std::process::id())
}
