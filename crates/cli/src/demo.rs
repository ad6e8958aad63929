//! `turnup demo`: the sample orders of a folder, on a system of its own with simulated devices.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use turnup_core::{lifecycle::OrderState, retry::RetryPolicy};
use turnup_device_sim::behaviour::Behaviour;
use turnup_files::yaml;

use crate::{
    admin,
    client::{
        event, input,
        output::{line, table},
        table::{cut, whole},
    },
    config::Config,
    dev::{System, devices},
    failure::Failure,
    ops, serve,
};

/// How long the samples may take.
const PATIENCE: Duration = Duration::from_secs(100);

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Folder with demo.yaml
    folder: PathBuf,
}

/// `demo.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    /// Simulated devices in all, spread over the configured regions.
    devices: usize,
    /// Device → how it misbehaves.
    #[serde(default)]
    behaviours: BTreeMap<String, Behaviour>,
    /// The orders, submitted in turn.
    orders: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    /// What it shows.
    shows: String,
    /// The order, as `POST /v1/orders` takes it.
    order: Value,
    /// How it must end.
    #[serde(default)]
    expect: Option<OrderState>,
    /// It must not even be accepted, with this code.
    #[serde(default)]
    refused: Option<String>,
    /// Due so many seconds from its submission.
    #[serde(default)]
    in_s: Option<i64>,
    /// Is about the service of the order with this external id, once that and all samples before this one
    /// have ended.
    #[serde(default)]
    service_of: Option<String>,
    /// Before it is submitted, somebody changes a device past turnup.
    #[serde(default)]
    by_hand: Option<ByHand>,
    /// What the audit must have found: the word for the configuration, and for the service.
    #[serde(default)]
    finds: Option<(String, String)>,
    /// Cancelled right after its submission.
    #[serde(default)]
    cancel: bool,
    /// A device that works again once the order has failed and waits for its next attempt.
    #[serde(default)]
    comes_back: Option<String>,
}

/// A change of a device that turnup knows nothing of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    device: String,
    /// Content of `<config>`, merged into running.
    config: String,
}

fn script(folder: &Path) -> Result<Script, Failure> {
    let file = folder.join("demo.yaml");
    let name = file.display().to_string();
    let tree = input::text_of(&file).and_then(|text| yaml::parse(&text));
    let tree = tree.map_err(|faults| {
        input::unreadable(faults.iter().map(|fault| input::placed(&name, fault)).collect())
    })?;
    serde_json::from_value(tree.to_json()).map_err(|error| Failure::Usage(format!("{name}: {error}")))
}

pub(crate) async fn run(mut config: Config, demo: Demo) -> Result<(), Failure> {
    let script = script(&demo.folder)?;
    // Quiet: the demonstration is what is printed.
    "warn,lapin=off,turnup_worker=error".clone_into(&mut config.log.filter);
    ops::logging(&config)?;
    // A database, queues, and a port of its own, so that it runs beside `make dev`.
    config.database.url = turnup_store::create_database(&config.database.url, "turnup_demo", true).await?;
    config.broker.prefix = "turnup-demo".to_owned();
    config.intake.listen = free_address()?;
    config.scheduler.lead_ms = 1000;
    config.scheduler.limits.connect_timeout_ms = 3000;
    config.scheduler.limits.lock_wait_ms = 3000;
    config.scheduler.limits.tries = 2;
    // Tried twice, so that it can be seen and the demonstration ends soon.
    config.recorder.retry =
        RetryPolicy { attempts: 2, first_ms: 3000, max_ms: 3000, ..RetryPolicy::default() };
    let state = PathBuf::from(".turnup/demo");
    let _ = std::fs::remove_dir_all(&state);
    let broker = admin::broker(&config, "demo")?;
    let queues = admin::table_of(&config, &broker);
    turnup_broker::delete(&broker, &queues).await?;

    let shutdown = serve::on_signal()?;
    let specs = devices(script.devices, &config.regions, 0);
    let system = System::start(config, specs, &state, shutdown).await?;
    for (device, behaviour) in &script.behaviours {
        let device = system
            .simulator
            .device(device)
            .ok_or_else(|| Failure::Usage(format!("demo.yaml: there is no simulated device {device}")))?;
        device.set_behaviour(behaviour.clone()).await.map_err(|error| Failure::Failed(error.to_string()))?;
    }
    let result = play(&system, &script).await;
    let stopped = system.stop().await;
    turnup_broker::delete(&broker, &queues).await?;
    let _ = std::fs::remove_dir_all(&state);
    let all_as_expected = result?;
    stopped?;
    if all_as_expected {
        line("\nEvery order ended as its sample says.");
        Ok(())
    } else {
        Err(Failure::Failed("an order did not end as its sample says".to_owned()))
    }
}

fn free_address() -> Result<std::net::SocketAddr, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Submits the samples while every state event is printed. True: all ended as they should.
async fn play(system: &System, script: &Script) -> Result<bool, Failure> {
    line(format!(
        "\n{} orders on {} simulated devices; every change as it happens:\n",
        script.orders.len(),
        script.devices
    ));
    let watching = tokio::spawn({
        let api = system.api.clone();
        async move {
            loop {
                let _ = api
                    .follow("", 0, |_, event| {
                        if event["type"].as_str().is_some_and(|kind| !kind.contains(".device.")) {
                            line(event::one_line(&event));
                        }
                        true
                    })
                    .await;
            }
        }
    });
    let begin = Instant::now();
    let mut ids = Vec::new();
    for sample in &script.orders {
        ids.push(submit(system, sample, &ids, begin).await?);
    }
    let mut rows = Vec::new();
    let mut good = true;
    for (sample, submitted) in script.orders.iter().zip(&ids) {
        let order = match &submitted.refusal {
            None => ended(system, &submitted.id, begin).await?,
            Some(why) => {
                rows.push(json!({
                    "order": sample.order["external_id"], "shows": sample.shows, "state": "(refused)",
                    "verdict": "as expected", "why": why,
                }));
                continue;
            }
        };
        let state: OrderState = order["state"]
            .as_str()
            .unwrap_or_default()
            .parse()
            .map_err(|error| Failure::Failed(format!("{error}")))?;
        let found = submitted.found.as_ref();
        let as_expected = Some(state) == sample.expect && found == sample.finds.as_ref();
        good &= as_expected;
        rows.push(json!({
            "order": sample.order["external_id"], "shows": sample.shows, "state": state.title(), "verdict": if as_expected { "as expected" } else { "NOT AS EXPECTED" },
            "why": match found {
                Some((config, audit)) => json!(format!("configuration {config}, service {audit}")),
                None => order["errors"][0]["message"].clone(),
            },
        }));
    }
    // What was printed last may still be on its way.
    let newest = event::newest(&system.api).await?;
    let _ = system.api.get(&format!("/v1/events?after={newest}")).await?;
    watching.abort();
    line("");
    table(
        &rows,
        &[
            whole(0, "order", "/order"),
            cut(3, 10, "shows", "/shows"),
            whole(1, "ended", "/state"),
            whole(2, "", "/verdict"),
            cut(4, 10, "because", "/why"),
        ],
    );
    Ok(good)
}

/// A sample that was submitted.
struct Submitted {
    id: String,
    /// Why it was not accepted.
    refusal: Option<String>,
    /// What its audit found: configuration, service.
    found: Option<(String, String)>,
}

async fn submit(
    system: &System,
    sample: &Sample,
    before: &[Submitted],
    begin: Instant,
) -> Result<Submitted, Failure> {
    let mut order = sample.order.clone();
    if let Some(seconds) = sample.in_s {
        order["schedule"] = json!((Timestamp::now() + SignedDuration::from_secs(seconds)).to_string());
    }
    if let Some(external_id) = &sample.service_of {
        let page = system.api.get(&format!("/v1/orders?external_id={external_id}")).await?;
        let id = page["items"][0]["id"].as_str().unwrap_or_default().to_owned();
        order["service_id"] = ended(system, &id, begin).await?["service_id"].clone();
        for earlier in before {
            if earlier.refusal.is_none() {
                ended(system, &earlier.id, begin).await?;
            }
        }
    }
    if let Some(ByHand { device, config }) = &sample.by_hand {
        let failed = |error: String| Failure::Failed(format!("demo.yaml: {device} by hand: {error}"));
        let simulated = system.simulator.device(device).ok_or_else(|| failed("there is none".to_owned()))?;
        simulated.edit_running(config).map_err(|error| failed(error.to_string()))?;
    }
    let accepted = match (system.api.post("/v1/orders", &order).await, &sample.refused) {
        (Err(Failure::Problem(problem)), Some(code)) if problem.code == *code => {
            let why = problem.errors.first().map_or(problem.detail, |fault| fault.detail.clone());
            return Ok(Submitted { id: String::new(), refusal: Some(why), found: None });
        }
        (answer, _) => answer?,
    };
    let id = accepted["id"].as_str().unwrap_or_default().to_owned();
    if sample.cancel {
        system
            .api
            .post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "the customer changed their mind"}))
            .await?;
    }
    if let Some(device) = &sample.comes_back {
        come_back(system, device, &id, begin).await?;
    }
    let mut found = None;
    if sample.finds.is_some() {
        ended(system, &id, begin).await?;
        let service = order["service_id"].as_str().unwrap_or_default();
        let audit = system.api.get(&format!("/v1/services/{service}/audit")).await?;
        let word = |name: &str| audit[name].as_str().unwrap_or_default().to_owned();
        found = Some((word("config"), word("state")));
    }
    Ok(Submitted { id, refusal: None, found })
}

/// Repairs a device once the order has failed and waits for its next attempt.
async fn come_back(system: &System, device: &str, id: &str, begin: Instant) -> Result<(), Failure> {
    let simulated = system
        .simulator
        .device(device)
        .ok_or_else(|| Failure::Usage(format!("demo.yaml: there is no simulated device {device}")))?;
    while begin.elapsed() < PATIENCE {
        let order = system.api.get(&format!("/v1/orders/{id}")).await?;
        if order["retry"]["at"].is_string() {
            let repaired = simulated.set_behaviour(Behaviour::default()).await;
            return repaired.map_err(|error| Failure::Failed(error.to_string()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn ended(system: &System, id: &str, begin: Instant) -> Result<Value, Failure> {
    loop {
        let order = system.api.get(&format!("/v1/orders/{id}")).await?;
        let state = order["state"].as_str().and_then(|word| word.parse::<OrderState>().ok());
        if state.is_some_and(OrderState::is_settled) || begin.elapsed() > PATIENCE {
            return Ok(order);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
