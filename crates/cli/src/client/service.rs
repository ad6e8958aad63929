//! `turnup service …`

mod audit;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    http::{Api, encode, query},
    order::{self, Deploy, settled},
    output::{Format, json as print_json, list, print, warn},
    paint::Paint,
    table::{cut, whole},
};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List services, newest first
    List(List),
    /// Show one service; if it is in Fail Deploy, also what failed attempts may have left on devices
    Show {
        id: String,
        /// With the configuration that it has on each device
        #[arg(long = "config", id = "with_config")]
        config: bool,
        /// With what the last audit found
        #[arg(long)]
        audit: bool,
        #[command(flatten)]
        _file: ConfigFile,
    },
    /// Show the configuration that a service has on each device, as XML
    Config {
        id: String,
        /// Only on this device
        #[arg(long)]
        device: Option<String>,
    },
    /// Audit a service: is its configuration as it should be, does it work? Changes nothing on devices
    Audit(Audit),
    /// Show what the last audit of a service found, with its evidence
    Audits { id: String },
    /// Write a service's configuration again, whatever is on its devices now
    Redeploy {
        id: String,
        #[command(flatten)]
        deploy: Deploy,
    },
    /// Remove a service from its devices
    Decommission {
        id: String,
        #[command(flatten)]
        deploy: Deploy,
    },
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// State: deployed or fail_deploy
    #[arg(long)]
    state: Option<String>,
    /// What the functional audit says: not_audited, up or down
    #[arg(long)]
    audit_state: Option<String>,
    /// What the config audit says: not_audited, in_sync, drifted or unreachable
    #[arg(long)]
    config_audit: Option<String>,
    #[arg(long)]
    definition: Option<String>,
    #[arg(long)]
    region: Option<String>,
    #[arg(long)]
    device: Option<String>,
    /// External id of the order that made it
    #[arg(long)]
    external_id: Option<String>,
    #[arg(long, default_value_t = 50)]
    limit: u16,
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// The service: its id, at least the first 8 characters of it, or its external id
    id: String,
    /// Compare its configuration; without --config and --functional both are done
    #[arg(long = "config", id = "with_config")]
    config: bool,
    /// Run the definition's checks of operational state
    #[arg(long)]
    functional: bool,
    /// Start at this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME", value_parser = order::when::schedule)]
    at: Option<String>,
    /// Wait for the result and show it; exit code 1 if the service is Down, or its configuration drifted or
    /// could not be read
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    _file: ConfigFile,
}

/// Holds the place of the global `--config FILE` in commands that have a flag of that name, which is
/// about something else; the file is still named before the command, or in TURNUP_CONFIG.
#[derive(Debug, Default, Args)]
pub(crate) struct ConfigFile {
    #[arg(long = "config-file", id = "config_file", value_name = "FILE", hide = true)]
    _config_file: Option<PathBuf>,
}

pub(crate) async fn run(
    api: &Api,
    format: Format,
    paint: Paint,
    command: ServiceCommand,
) -> Result<(), Failure> {
    match command {
        ServiceCommand::List(filter) => run_list(api, format, &filter).await,
        ServiceCommand::Show { id, config, audit, _file: _ } => {
            let id = api.resolve("services", &id).await?;
            run_show(api, format, paint, &id, config, audit).await
        }
        ServiceCommand::Config { id, device } => {
            let id = api.resolve("services", &id).await?;
            run_config(api, format, paint, &id, device.as_deref()).await
        }
        ServiceCommand::Audit(mut audit) => {
            audit.id = api.resolve("services", &audit.id).await?;
            run_audit(api, format, paint, &audit).await
        }
        ServiceCommand::Audits { id } => {
            let id = api.resolve("services", &id).await?;
            show_audit(format, paint, &api.get(&format!("{}/audit", path(&id))).await?, &id)
        }
        ServiceCommand::Redeploy { id, deploy } => {
            order::of_service(api, format, paint, "redeploy", &id, &deploy).await
        }
        ServiceCommand::Decommission { id, deploy } => {
            order::of_service(api, format, paint, "decommission", &id, &deploy).await
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/services/{}", encode(id))
}

async fn run_list(api: &Api, format: Format, filter: &List) -> Result<(), Failure> {
    let limit = filter.limit.to_string();
    let filters = query([
        ("state", filter.state.as_deref()),
        ("audit_state", filter.audit_state.as_deref()),
        ("config_audit", filter.config_audit.as_deref()),
        ("definition", filter.definition.as_deref()),
        ("region", filter.region.as_deref()),
        ("device", filter.device.as_deref()),
        ("external_id", filter.external_id.as_deref()),
        ("limit", Some(&*limit)),
        ("cursor", filter.cursor.as_deref()),
    ]);
    let page = api.get(&format!("/v1/services?{filters}")).await?;
    list(
        format,
        &page,
        "services",
        &[
            whole(0, "service", "/id"),
            whole(1, "state", "/state"),
            whole(4, "audit", "/audit_state"),
            whole(3, "config", "/config_audit"),
            cut(2, 11, "external id", "/external_id"),
            cut(5, 10, "definition", "/definition"),
            whole(7, "region", "/region"),
            cut(6, 12, "devices", "/devices"),
        ],
    )
}

async fn run_show(
    api: &Api,
    format: Format,
    paint: Paint,
    id: &str,
    config: bool,
    with_audit: bool,
) -> Result<(), Failure> {
    let mut service = api.get(&path(id)).await?;
    let mut devices = Value::Null;
    if config || service["state"] == "fail_deploy" {
        devices = api.get(&format!("{}/config", path(id))).await?;
    }
    let mut last = Value::Null;
    if with_audit {
        last = match api.get(&format!("{}/audit", path(id))).await {
            Err(failure) if failure.has_code("not_audited") => Value::Null,
            other => other?,
        };
    }
    if format == Format::Json {
        for (wanted, field, value) in [(config, "config", &devices), (with_audit, "audit", &last)] {
            if wanted {
                service[field] = value.clone();
            }
        }
        return print_json(&service);
    }
    print(&show::lines(&service, &devices, config, paint));
    if !last.is_null() {
        print(&audit::lines(&last, id, paint));
    }
    Ok(())
}

async fn run_config(
    api: &Api,
    format: Format,
    paint: Paint,
    id: &str,
    device: Option<&str>,
) -> Result<(), Failure> {
    let mut config = api.get(&format!("{}/config", path(id))).await?;
    if let (Some(device), Some(devices)) = (device, config["devices"].as_array_mut()) {
        devices.retain(|entry| entry["device"] == device);
        if devices.is_empty() {
            return Err(Failure::Failed(format!("service {id} has nothing on device {device}")));
        }
    }
    if format == Format::Json {
        return print_json(&config);
    }
    print(&show::config(&config, paint));
    Ok(())
}

fn show_audit(format: Format, paint: Paint, audit: &Value, id: &str) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(audit);
    }
    print(&audit::lines(audit, id, paint));
    Ok(())
}

async fn run_audit(api: &Api, format: Format, paint: Paint, options: &Audit) -> Result<(), Failure> {
    if let Some(past) = options.at.as_deref().and_then(order::when::past) {
        warn(past);
    }
    let order = api.post("/v1/orders", &audit_order(options)).await?;
    if !options.watch {
        return order::short(format, &order);
    }
    let order = settled(api, &order).await?;
    if order["state"] != "completed" {
        order::show(format, paint, &order)?;
        return Err(Failure::Failed("the audit was not carried out".to_owned()));
    }
    let found = api.get(&format!("{}/audit", path(&options.id))).await?;
    show_audit(format, paint, &found, &options.id)?;
    audit::verdict(&found)
}

fn audit_order(options: &Audit) -> Value {
    let mut order = json!({
        "kind": "validate",
        "service_id": options.id,
        "schedule": options.at.as_deref().unwrap_or("now"),
    });
    if options.config != options.functional {
        order["audit"] = json!([if options.config { "config" } else { "functional" }]);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_looks_at_what_is_asked_for() {
        let options = |config, functional| Audit {
            id: "S".to_owned(),
            config,
            functional,
            at: None,
            watch: false,
            _file: ConfigFile::default(),
        };
        let both = json!({"kind": "validate", "service_id": "S", "schedule": "now"});
        assert_eq!(audit_order(&options(false, false)), both);
        assert_eq!(audit_order(&options(true, true)), both);
        assert_eq!(audit_order(&options(true, false))["audit"], json!(["config"]));
        assert_eq!(audit_order(&options(false, true))["audit"], json!(["functional"]));
    }
}
