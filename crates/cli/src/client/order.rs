//! `turnup order …`

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use turnup_core::{lifecycle::OrderState, problem::Problem};

use super::{
    http::{Api, query},
    input,
    output::{Format, json as print_json, line, list, text},
};
use crate::failure::{Failure, describe};

#[derive(Debug, Subcommand)]
pub(crate) enum OrderCommand {
    /// Submit orders from YAML, JSON, NDJSON or CSV files ("-": NDJSON from standard input)
    Submit(Submit),
    /// List orders, newest first
    List(List),
    /// Show one order with its deployments and history
    Show {
        id: String,
        /// Follow it until it has ended
        #[arg(long)]
        watch: bool,
    },
    /// Give an order its time: now, or --at
    Schedule {
        id: String,
        /// RFC 3339 time, such as 2030-01-31T22:00:00Z
        #[arg(long)]
        at: Option<String>,
    },
    /// Take an order's time away
    Unschedule { id: String },
    /// Withdraw an order that has not started, or give up a failed one
    Cancel {
        id: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Make a corrected order of an Invalid one
    Recreate {
        id: String,
        /// JSON merge patch (RFC 7396) on the order, such as '{"attributes":{"mtu":9000}}'
        #[arg(long, default_value = "{}")]
        changes: String,
    },
    /// Show what an order would change, device by device: of a file, or of a stored order's id
    Plan { order: String },
}

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// Files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Start at this time (RFC 3339) or "now", instead of what the files say
    #[arg(long)]
    at: Option<String>,
    /// Wait until every order has ended; exit code 1 if one did not complete
    #[arg(long)]
    watch: bool,
    /// Check and plan only; store nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// State, such as failed_deploy; several with commas
    #[arg(long)]
    state: Option<String>,
    #[arg(long)]
    kind: Option<String>,
    #[arg(long)]
    region: Option<String>,
    #[arg(long)]
    device: Option<String>,
    #[arg(long)]
    definition: Option<String>,
    #[arg(long)]
    service_id: Option<String>,
    #[arg(long)]
    external_id: Option<String>,
    #[arg(long)]
    created_after: Option<String>,
    #[arg(long)]
    created_before: Option<String>,
    #[arg(long, default_value_t = 50)]
    limit: u16,
    #[arg(long)]
    cursor: Option<String>,
    /// Show every change of an order as it happens
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(api: &Api, format: Format, command: OrderCommand) -> Result<(), Failure> {
    match command {
        OrderCommand::Submit(submit) => run_submit(api, format, &submit).await,
        OrderCommand::List(filter) => run_list(api, format, &filter).await,
        OrderCommand::Show { id, watch } => {
            if watch {
                let mut open = BTreeMap::from([(id.clone(), id.clone())]);
                settle(api, &mut open, |order| line(one_line(order))).await?;
            }
            show(format, &api.get(&format!("/v1/orders/{id}")).await?)
        }
        OrderCommand::Schedule { id, at } => {
            let body = at.map_or_else(|| json!({}), |at| json!({"at": at}));
            act(api, format, &id, "schedule", &body).await
        }
        OrderCommand::Unschedule { id } => act(api, format, &id, "unschedule", &json!({})).await,
        OrderCommand::Cancel { id, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            act(api, format, &id, "cancel", &body).await
        }
        OrderCommand::Recreate { id, changes } => {
            let changes: Value = serde_json::from_str(&changes)
                .map_err(|error| Failure::Usage(format!("--changes is no JSON: {error}")))?;
            act(api, format, &id, "recreate", &json!({"changes": changes})).await
        }
        OrderCommand::Plan { order } => {
            if uuid::Uuid::parse_str(&order).is_ok() {
                return show_plan(format, &api.get(&format!("/v1/orders/{order}/plan")).await?);
            }
            for order in input::read(&PathBuf::from(order))? {
                show_plan(format, &api.post("/v1/orders?dry_run=true", &order).await?)?;
            }
            Ok(())
        }
    }
}

async fn act(api: &Api, format: Format, id: &str, action: &str, body: &Value) -> Result<(), Failure> {
    let order = api.post(&format!("/v1/orders/{id}/{action}"), body).await?;
    if format == Format::Json { print_json(&order) } else { line_of(&order) }
}

#[expect(clippy::unnecessary_wraps, reason = "the other branch of its callers can fail")]
fn line_of(order: &Value) -> Result<(), Failure> {
    line(one_line(order));
    Ok(())
}

fn title(order: &Value) -> String {
    let word = order["state"].as_str().unwrap_or_default();
    word.parse::<OrderState>().map_or_else(|_| word.to_owned(), |state| state.title().to_owned())
}

fn one_line(order: &Value) -> String {
    let mut parts = vec![text(order.get("id")), title(order)];
    parts.extend(order["external_id"].as_str().map(str::to_owned));
    parts.push(format!("{} {}", text(order.get("kind")), text(order.get("definition"))));
    if order["state"] == "scheduled" {
        parts.push(format!("at {}", text(order.get("scheduled_for"))));
    }
    if let Some(error) = order["errors"].get(0) {
        let device = error["device"].as_str().map(|device| format!("{device}: ")).unwrap_or_default();
        parts.push(format!("{device}{}", text(error.get("message"))));
    }
    parts.join("  ")
}

fn show(format: Format, order: &Value) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(order);
    }
    line(format!("order        {}", text(order.get("id"))));
    line(format!("state        {}", title(order)));
    for (name, field) in [
        ("kind", "kind"),
        ("definition", "definition"),
        ("service", "service_id"),
        ("external id", "external_id"),
        ("description", "description"),
        ("requester", "requester"),
        ("region", "region"),
        ("devices", "devices"),
        ("priority", "priority"),
        ("scheduled", "scheduled_for"),
        ("derived from", "derived_from"),
        ("legal now", "actions"),
    ] {
        match &order[field] {
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {}
            value => line(format!("{name:<12} {}", text(Some(value)))),
        }
    }
    line(format!("attributes   {}", order["attributes"]));
    for endpoint in order["endpoints"].as_array().into_iter().flatten() {
        line(format!(
            "endpoint     {} on {} {}",
            text(endpoint.get("role")),
            text(endpoint.get("device")),
            endpoint.get("attributes").map(Value::to_string).unwrap_or_default()
        ));
    }
    for front in order["waiting_for"].as_array().into_iter().flatten() {
        line(format!(
            "waiting      for {} behind order {}",
            text(front.get("device")),
            text(front.get("order"))
        ));
    }
    for error in order["errors"].as_array().into_iter().flatten() {
        line(format!("error        {}", failure(error)));
    }
    line("history");
    for entry in order["history"].as_array().into_iter().flatten() {
        let to = OrderState::ALL
            .iter()
            .find(|state| entry["to"] == state.word())
            .map_or("?", |state| state.title());
        let why = entry["why"].as_str().map(|why| format!("  {why}")).unwrap_or_default();
        line(format!(
            "  {:>3}  {}  {to:<14} by {}{why}",
            entry["seq"],
            text(entry.get("at")),
            text(entry.get("by"))
        ));
    }
    for deployment in order["deployments"].as_array().into_iter().flatten() {
        line(format!(
            "deployment   {}  {}  attempt {}  worker {}",
            text(deployment.get("id")),
            text(deployment.get("state")),
            deployment["attempt"],
            text(deployment.get("worker"))
        ));
        for device in deployment["devices"].as_array().into_iter().flatten() {
            let steps: Vec<String> = device["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|step| {
                    format!(
                        "{} {:.1} ms",
                        text(step.get("step")),
                        step["took_us"].as_f64().unwrap_or(0.0) / 1000.0
                    )
                })
                .collect();
            line(format!("  {}  in force: {}", text(device.get("device")), text(device.get("in_force"))));
            line(format!("    {}", steps.join(", ")));
            for error in device["failures"].as_array().into_iter().flatten() {
                line(format!("    {}", failure(error)));
            }
        }
    }
    Ok(())
}

fn failure(error: &Value) -> String {
    let mut parts = Vec::new();
    parts.extend(error["device"].as_str().map(|device| format!("{device}:")));
    parts.push(text(error.get("message")));
    let tags: Vec<String> = ["class", "phase", "error_tag", "error_app_tag", "path"]
        .iter()
        .filter_map(|field| error[field].as_str().map(|value| format!("{field} {value}")))
        .collect();
    format!("{} ({})", parts.join(" "), tags.join(", "))
}

fn show_plan(format: Format, plan: &Value) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(plan);
    }
    for device in plan["devices"].as_array().into_iter().flatten() {
        line(format!("{} ({})", text(device.get("device")), text(device.get("platform"))));
        line(format!("  {}", text(device.get("edit"))));
    }
    Ok(())
}

async fn run_list(api: &Api, format: Format, filter: &List) -> Result<(), Failure> {
    let limit = filter.limit.to_string();
    let filters = query([
        ("state", filter.state.as_deref()),
        ("kind", filter.kind.as_deref()),
        ("region", filter.region.as_deref()),
        ("device", filter.device.as_deref()),
        ("definition", filter.definition.as_deref()),
        ("service_id", filter.service_id.as_deref()),
        ("external_id", filter.external_id.as_deref()),
        ("created_after", filter.created_after.as_deref()),
        ("created_before", filter.created_before.as_deref()),
        ("limit", Some(&limit)),
        ("cursor", filter.cursor.as_deref()),
    ]);
    let page = api.get(&format!("/v1/orders?{filters}")).await?;
    list(
        format,
        &page,
        &[
            ("order", "/id"),
            ("state", "/state"),
            ("kind", "/kind"),
            ("definition", "/definition"),
            ("region", "/region"),
            ("external id", "/external_id"),
            ("scheduled for", "/scheduled_for"),
            ("changed", "/updated_at"),
        ],
    )?;
    if !filter.watch {
        return Ok(());
    }
    let mut cursor = super::event::newest(api).await?;
    loop {
        api.follow("type=dev.turnup.order", cursor, |id, event| {
            cursor = id;
            line(super::event::one_line(&event));
            true
        })
        .await?;
    }
}

async fn run_submit(api: &Api, format: Format, submit: &Submit) -> Result<(), Failure> {
    let mut orders = Vec::new();
    for file in &submit.files {
        orders.extend(input::read(file)?);
    }
    if let Some(at) = &submit.at {
        for order in &mut orders {
            if let Value::Object(order) = order {
                order.insert("schedule".to_owned(), json!(at));
            }
        }
    }
    if submit.dry_run {
        for order in &orders {
            show_plan(format, &api.post("/v1/orders?dry_run=true", order).await?)?;
        }
        return Ok(());
    }
    let results = submit_all(api, &orders).await?;
    let mut open = BTreeMap::new();
    let mut refused = 0;
    for (order, result) in orders.iter().zip(&results) {
        if let Some(stored) = result.get("order") {
            let id = text(stored.get("id"));
            open.insert(id.clone(), label(order, &id));
            if format == Format::Table {
                line(one_line(stored));
            }
        } else {
            refused += 1;
            if format == Format::Table {
                let problem = serde_json::from_value::<Problem>(result["problem"].clone());
                let why =
                    problem.map_or_else(|_| result["problem"].to_string(), |problem| describe(&problem));
                line(format!("refused  {}  {why}", label(order, "")));
            }
        }
    }
    if format == Format::Json {
        print_json(&Value::Array(results))?;
    }
    let mut incomplete = 0;
    if submit.watch {
        settle(api, &mut open, |order| {
            incomplete += usize::from(order["state"] != "completed");
            if format == Format::Table {
                line(one_line(order));
            }
        })
        .await?;
    }
    if refused > 0 {
        return Err(Failure::Failed(format!("{refused} of {} orders were refused", orders.len())));
    }
    if incomplete > 0 {
        return Err(Failure::Failed(format!("{incomplete} orders did not complete")));
    }
    Ok(())
}

fn label(order: &Value, otherwise: &str) -> String {
    order["external_id"].as_str().unwrap_or(otherwise).to_owned()
}

/// Submits all orders through the bulk endpoint: one result per order, in order.
pub(crate) async fn submit_all(api: &Api, orders: &[Value]) -> Result<Vec<Value>, Failure> {
    let lines: Vec<String> = orders.iter().map(Value::to_string).collect();
    let bar = progress(orders.len(), "submitted");
    let mut results = Vec::with_capacity(orders.len());
    api.bulk(lines, |result| {
        bar.inc(1);
        results.push(result);
    })
    .await?;
    bar.finish_and_clear();
    if results.len() == orders.len() {
        Ok(results)
    } else {
        Err(Failure::Failed(format!(
            "only {} of {} orders were answered; submit again: orders with an external_id are not made twice",
            results.len(),
            orders.len()
        )))
    }
}

fn progress(len: usize, what: &str) -> ProgressBar {
    if len < 20 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} ({per_sec}, {eta} left)");
    let bar = ProgressBar::new(len as u64).with_message(what.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Follows orders until each has ended (or failed); `ended` sees each once. Survives a lost
/// connection: what was missed is read again.
pub(crate) async fn settle(
    api: &Api,
    open: &mut BTreeMap<String, String>,
    mut ended: impl FnMut(&Value),
) -> Result<(), Failure> {
    let bar = progress(open.len(), "ended");
    let mut cursor = super::event::newest(api).await?;
    loop {
        // Whatever ended before the cursor was read is found here.
        for id in open.keys().cloned().collect::<Vec<_>>() {
            let order = api.get(&format!("/v1/orders/{id}")).await?;
            if is_settled(&order) {
                open.remove(&id);
                bar.inc(1);
                bar.suspend(|| ended(&order));
            }
        }
        if open.is_empty() {
            bar.finish_and_clear();
            return Ok(());
        }
        api.follow("type=dev.turnup.order", cursor, |id, event| {
            cursor = id;
            let data = &event["data"];
            let Some(order) = data["order"].as_str() else { return true };
            if is_settled(data) && open.remove(order).is_some() {
                let mut seen = Map::new();
                for (to, from) in [
                    ("id", "order"),
                    ("state", "state"),
                    ("kind", "kind"),
                    ("definition", "definition"),
                    ("external_id", "external_id"),
                    ("errors", "errors"),
                ] {
                    seen.insert(to.to_owned(), data[from].clone());
                }
                bar.inc(1);
                bar.suspend(|| ended(&Value::Object(seen)));
            }
            !open.is_empty()
        })
        .await?;
    }
}

fn is_settled(order: &Value) -> bool {
    order["state"]
        .as_str()
        .and_then(|word| word.parse::<OrderState>().ok())
        .is_some_and(OrderState::is_settled)
}
