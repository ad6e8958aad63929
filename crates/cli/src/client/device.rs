//! `turnup device …`

mod check;
mod import;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use turnup_netconf::ssh::{SshAlgorithms, Target, learn_host_key};

use self::import::Import;
use super::{
    http::{Api, encode, query},
    output::{Format, items, json as print_json, line, list, print, text},
    paint::Paint,
};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Add one device
    Add(Add),
    /// Add devices from a list (CSV, YAML, JSON) or from NetBox (CSV export, API's JSON)
    Import(Box<Import>),
    /// List devices
    List {
        #[arg(long)]
        region: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: u16,
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one device
    Show { name: String },
    /// Ask a device what it is: host key, capabilities, clock, YANG modules; changes nothing there
    Check {
        name: String,
        /// Get the texts of its YANG modules too, and keep them for its platform: plans are checked with them
        #[arg(long, conflicts_with = "last")]
        fetch_yang: bool,
        /// Show what the last check found, without asking the device
        #[arg(long)]
        last: bool,
    },
    /// Read the host key that a device presents and pin it: compare the fingerprint first
    Trust {
        name: String,
        /// Pin it only if it has this SHA256 fingerprint
        #[arg(long)]
        fingerprint: Option<String>,
        /// Pin whatever key it presents
        #[arg(long)]
        yes: bool,
    },
    /// Remove a device on which nothing is
    Remove { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    name: String,
    #[arg(long)]
    region: String,
    #[arg(long)]
    platform: String,
    #[arg(long)]
    address: String,
    #[arg(long, default_value_t = 830)]
    port: u16,
    /// OpenSSH public key, or SHA256:… fingerprint; without it the device is not trusted yet
    #[arg(long)]
    host_key: Option<String>,
    /// Name of the credentials in the workers' configuration
    #[arg(long)]
    credential: Option<String>,
    #[arg(long)]
    description: Option<String>,
}

pub(crate) async fn run(
    api: &Api,
    format: Format,
    paint: Paint,
    command: DeviceCommand,
) -> Result<(), Failure> {
    match command {
        DeviceCommand::Add(add) => {
            let mut device = json!({
                "name": add.name, "region": add.region, "platform": add.platform, "address": add.address, "port": add.port,
            });
            for (field, value) in
                [("host_key", add.host_key), ("credential", add.credential), ("description", add.description)]
            {
                if let Some(value) = value {
                    device[field] = json!(value);
                }
            }
            show(format, &api.post("/v1/devices", &device).await?)
        }
        DeviceCommand::Import(import) => import::run(api, format, &import).await,
        DeviceCommand::List { region, limit, cursor } => {
            let limit = limit.to_string();
            let filters = query([
                ("region", region.as_deref()),
                ("limit", Some(&*limit)),
                ("cursor", cursor.as_deref()),
            ]);
            let page = api.get(&format!("/v1/devices?{filters}")).await?;
            list(
                format,
                &page,
                &[
                    ("device", "/name"),
                    ("region", "/region"),
                    ("platform", "/platform"),
                    ("address", "/address"),
                    ("port", "/port"),
                    ("credential", "/credential"),
                    ("host key", "/host_key"),
                ],
            )
        }
        DeviceCommand::Show { name } => show(format, &api.get(&path(&name)).await?),
        DeviceCommand::Trust { name, fingerprint, yes } => {
            trust(api, format, &name, fingerprint.as_deref(), yes).await
        }
        DeviceCommand::Check { name, fetch_yang, last } => {
            run_check(api, format, paint, &name, fetch_yang, last).await
        }
        DeviceCommand::Remove { name } => api.delete(&path(&name)).await,
    }
}

async fn run_check(
    api: &Api,
    format: Format,
    paint: Paint,
    name: &str,
    fetch_yang: bool,
    last: bool,
) -> Result<(), Failure> {
    let at = format!("{}/check", path(name));
    let answer = if last {
        api.get(&at).await?
    } else {
        api.patient().post(&at, &json!({"fetch_yang": fetch_yang})).await?
    };
    if format == Format::Json {
        print_json(&answer)?;
    } else {
        // It is there: it was asked just now.
        print(&check::lines(&answer, &api.get(&path(name)).await?, paint));
    }
    if !items(&answer["failures"]).is_empty() || answer.pointer("/check/trusted") == Some(&json!(false)) {
        return Err(Failure::Failed(format!("{name} can't be used as it is")));
    }
    Ok(())
}

fn path(name: &str) -> String {
    format!("/v1/devices/{}", encode(name))
}

fn show(format: Format, device: &Value) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(device);
    }
    for field in [
        "name",
        "region",
        "platform",
        "address",
        "port",
        "credential",
        "host_key",
        "description",
        "updated_at",
    ] {
        line(format!("{field:<12} {}", text(device.get(field))));
    }
    Ok(())
}

async fn trust(
    api: &Api,
    format: Format,
    name: &str,
    fingerprint: Option<&str>,
    yes: bool,
) -> Result<(), Failure> {
    let device = api.get(&path(name)).await?;
    let address = device["address"].as_str().unwrap_or_default();
    let port = device["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(830);
    let target = Target::new(address, port);
    let presented = learn_host_key(&target, &SshAlgorithms::default(), Duration::from_secs(10))
        .await
        .map_err(|error| Failure::Unreachable(format!("{name}: {error}")))?;
    line(format!("{name} at {address}:{port} presents {}", presented.fingerprint()));
    match fingerprint {
        Some(wanted) if wanted == presented.fingerprint() => {}
        Some(wanted) => return Err(Failure::Refused(format!("that is not {wanted}; nothing was pinned"))),
        None if yes => {}
        None => {
            return Err(Failure::Usage(
                "compare the fingerprint with the device's own, then repeat with --fingerprint, or --yes"
                    .to_owned(),
            ));
        }
    }
    show(format, &api.patch(&path(name), &json!({"host_key": presented.to_openssh()})).await?)
}
