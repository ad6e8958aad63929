//! `turnup device …`

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use turnup_netconf::ssh::{Target, learn_host_key};

use super::{
    http::{Api, encode, query},
    input,
    output::{Format, json as print_json, line, list, text},
};
use crate::failure::Failure;

/// Most devices that the API takes at once.
const MAX_AT_ONCE: usize = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Add one device
    Add(Add),
    /// Add devices from YAML, JSON, NDJSON or CSV files
    Import {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
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

pub(crate) async fn run(api: &Api, format: Format, command: DeviceCommand) -> Result<(), Failure> {
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
        DeviceCommand::Import { files } => {
            for file in files {
                let devices = input::read(&file)?;
                for some in devices.chunks(MAX_AT_ONCE) {
                    let answer = api.post("/v1/devices", &Value::Array(some.to_vec())).await?;
                    if format == Format::Json {
                        print_json(&answer)?;
                    }
                }
                if format == Format::Table {
                    line(format!("{} devices from {}", devices.len(), file.display()));
                }
            }
            Ok(())
        }
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
        DeviceCommand::Remove { name } => api.delete(&path(&name)).await,
    }
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
    let presented = learn_host_key(&Target::new(address, port), Duration::from_secs(10))
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
