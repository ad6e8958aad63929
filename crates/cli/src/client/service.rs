//! `turnup service …`

use clap::Subcommand;

use super::{
    http::{Api, query},
    output::{Format, json, line, list, text},
};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List services, newest first
    List {
        #[arg(long)]
        state: Option<String>,
        #[arg(long)]
        definition: Option<String>,
        #[arg(long)]
        region: Option<String>,
        #[arg(long)]
        device: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u16,
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one service
    Show {
        id: String,
        /// With the configuration it owns on each device
        #[arg(long)]
        config: bool,
    },
}

pub(crate) async fn run(api: &Api, format: Format, command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::List { state, definition, region, device, limit, cursor } => {
            let limit = limit.to_string();
            let filters = query([
                ("state", state.as_deref()),
                ("definition", definition.as_deref()),
                ("region", region.as_deref()),
                ("device", device.as_deref()),
                ("limit", Some(&*limit)),
                ("cursor", cursor.as_deref()),
            ]);
            let page = api.get(&format!("/v1/services?{filters}")).await?;
            list(
                format,
                &page,
                &[
                    ("service", "/id"),
                    ("state", "/state"),
                    ("audit", "/audit_state"),
                    ("definition", "/definition"),
                    ("region", "/region"),
                    ("devices", "/devices"),
                    ("external id", "/external_id"),
                ],
            )
        }
        ServiceCommand::Show { id, config } => {
            let mut service = api.get(&format!("/v1/services/{id}")).await?;
            if config {
                service["config"] = api.get(&format!("/v1/services/{id}/config")).await?;
            }
            if format == Format::Json {
                return json(&service);
            }
            for (name, field) in [
                ("service", "id"),
                ("state", "state"),
                ("audit", "audit_state"),
                ("definition", "definition"),
                ("region", "region"),
                ("devices", "devices"),
                ("external id", "external_id"),
                ("requester", "requester"),
                ("last order", "last_order"),
                ("created", "created_at"),
                ("changed", "updated_at"),
                ("attributes", "attributes"),
            ] {
                line(format!("{name:<12} {}", text(service.get(field))));
            }
            for device in service["config"]["devices"].as_array().into_iter().flatten() {
                line(format!("on {}", text(device.get("device"))));
                line(format!("  {}", text(device.get("config"))));
            }
            Ok(())
        }
    }
}
