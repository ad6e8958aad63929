//! `turnup pool …`

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    http::{Api, encode, query},
    output::{Format, list, table, text},
    table::{Column, cut, whole},
};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List the pools that services take numbers from
    List,
    /// Show the values of a pool that are taken, and who holds them
    Show(Show),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    name: String,
    /// Only within this region, device or DEVICE/PORT
    #[arg(long)]
    scope: Option<String>,
    /// Only those of this service
    #[arg(long)]
    service_id: Option<String>,
    #[arg(long, default_value_t = 100)]
    limit: u16,
    #[arg(long)]
    cursor: Option<String>,
}

pub(crate) async fn run(api: &Api, format: Format, command: PoolCommand) -> Result<(), Failure> {
    match command {
        PoolCommand::List => {
            let page = api.get("/v1/pools").await?;
            if format == Format::Json {
                return super::output::json(&page);
            }
            table(&pools(&page), &COLUMNS);
            Ok(())
        }
        PoolCommand::Show(show) => {
            let limit = show.limit.to_string();
            let service = match show.service_id.as_deref() {
                Some(given) => Some(api.resolve("services", given).await?),
                None => None,
            };
            let filters = query([
                ("scope", show.scope.as_deref()),
                ("service_id", service.as_deref()),
                ("limit", Some(&*limit)),
                ("cursor", show.cursor.as_deref()),
            ]);
            let page = api.get(&format!("/v1/pools/{}?{filters}", encode(&show.name))).await?;
            list(
                format,
                &page,
                "values are taken",
                &[
                    whole(0, "value", "/value"),
                    whole(2, "scope", "/scope"),
                    whole(1, "service", "/service_id"),
                    whole(4, "orders", "/orders"),
                    whole(3, "since", "/since"),
                ],
            )
        }
    }
}

const COLUMNS: [Column<'static>; 5] = [
    whole(0, "pool", "/name"),
    whole(1, "taken", "/taken"),
    whole(2, "range", "/range"),
    whole(3, "unique in each", "/scope"),
    cut(4, 10, "title", "/title"),
];

/// The pools with their range as one value.
fn pools(page: &Value) -> Vec<Value> {
    let mut items = super::output::items(&page["items"]).to_vec();
    for pool in &mut items {
        let format = pool["format"].as_str().unwrap_or("{}").to_owned();
        let value = |end: &str| format.replacen("{}", &text(pool.get(end)), 1);
        let mut range = format!("{} to {}", value("from"), value("to"));
        if pool.get("pick_from").is_some_and(|pick| *pick != pool["from"]) {
            range.push_str(&format!(", picked from {}", value("pick_from")));
        }
        pool["range"] = Value::from(range);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::table::lines;
    use serde_json::json;

    #[test]
    fn a_pool_shows_its_range_as_values() {
        let page = json!({"items": [
            {"name": "rd", "title": "Route distinguishers", "scope": "network", "from": 1, "to": 999,
             "format": "65000:{}", "pick_from": 1, "taken": 3},
            {"name": "vlan", "title": "VLANs", "scope": "device", "from": 2, "to": 4094,
             "pick_from": 100, "format": null, "taken": 0},
        ]});
        let shown = lines(&pools(&page), &COLUMNS, None).join("\n");
        for wanted in
            ["65000:1 to 65000:999", "2 to 4094, picked from 100", "network", "Route distinguishers"]
        {
            assert!(shown.contains(wanted), "{wanted} in {shown}");
        }
    }
}
