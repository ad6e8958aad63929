//! `turnup order …`

mod file;
mod modify;
mod plan;
mod repeated;
mod settle;
mod show;
mod submit;
mod undo;
pub(crate) mod when;

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use turnup_core::{lifecycle::OrderState, problem::Problem};
use turnup_files::Delimiter;

use self::{
    file::FileOrder, modify::Modify, plan::Source, repeated::Repeated, settle::Seen, show::one_line,
    submit::Submit, undo::Undo,
};
pub(crate) use self::{
    settle::{settle, settled},
    show::{failure, of_deployment, retry},
};
use super::{
    http::{Api, encode, query},
    output::{Format, json as print_json, line, list, note, print, text, warn},
    paint::Paint,
    table::{cut, whole},
};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum OrderCommand {
    /// Submit orders from YAML, JSON, NDJSON or CSV files ("-": NDJSON from standard input)
    Submit(Submit),
    /// Change attributes of a service: an order of kind modify with all that the service has
    Modify(Box<Modify>),
    /// List orders, newest first
    List(List),
    /// Show one order with its deployments and history
    Show {
        id: String,
        /// Follow it until it has ended
        #[arg(long)]
        watch: bool,
        /// With --watch: also while it has no time, until it is given one
        #[arg(long, requires = "watch")]
        wait: bool,
    },
    /// Say in one sentence why an order is where it is, and what can be done
    Explain { id: String },
    /// Give an order its time: now, or --at
    Schedule {
        id: String,
        /// RFC 3339 time, such as 2030-01-31T22:00:00Z
        #[arg(long, value_parser = when::schedule)]
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
        /// JSON merge patch (RFC 7396) on the order, such as '{"attributes":{"mtu":9000}}'; external id and time
        /// stay as they were
        #[arg(long, default_value = "{}")]
        changes: String,
        /// Start at this time (RFC 3339) or "now"
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Take a Completed order back: make the order that gives its service what it had before
    Undo(Box<Undo>),
    /// Show what an order would change, device by device; nothing is stored
    Plan {
        /// A file with orders ("-": NDJSON from standard input), or a stored order's id
        #[arg(value_name = "FILE|ID")]
        order: String,
        /// What separates the cells of CSV, such as ';' or tab; else what the heading line has most
        #[arg(long)]
        delimiter: Option<Delimiter>,
        #[command(flatten)]
        view: PlanView,
    },
}

/// Plans that are asked for at once.
const PLANS_AT_ONCE: usize = 4;
/// With more orders than these, faults are said again at the end.
const REPEATED_FROM: usize = 10;

/// How a plan is made and shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PlanView {
    /// Have the devices validate it too: lock, edit the candidate, validate, discard; exit code 1 if one
    /// does not accept it
    #[arg(long)]
    on_device: bool,
    /// With the edit that each device gets, as XML
    #[arg(long)]
    xml: bool,
}

/// What may be deployed, and when not at all.
#[derive(Debug, Clone, Args)]
pub(crate) struct Guard {
    /// Deploy only the plan with this hash ('turnup order plan' shows it); if the plan is another when the
    /// order starts, it becomes Invalid and nothing is touched
    #[arg(long, value_name = "HASH")]
    approved_plan: Option<String>,
    /// While another order of the service is unfinished: wait for it, or be refused [default: wait]
    #[arg(long, value_enum)]
    if_busy: Option<IfBusy>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum IfBusy {
    Wait,
    Refuse,
}

impl Guard {
    fn add_to(&self, order: &mut Value) {
        let Value::Object(order) = order else { return };
        if let Some(hash) = &self.approved_plan {
            order.insert("approved_plan".to_owned(), json!(hash));
        }
        if let Some(what) = self.if_busy {
            let word = match what {
                IfBusy::Wait => "wait",
                IfBusy::Refuse => "refuse",
            };
            order.insert("if_busy".to_owned(), json!(word));
        }
    }
}

/// How an order about one service is deployed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Deploy {
    /// Start at this time (RFC 3339, such as 2030-01-31T22:00:00Z) instead of now
    #[arg(long, value_name = "TIME", value_parser = when::schedule)]
    at: Option<String>,
    /// Wait until the order has ended; exit code 1 if it did not complete
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    guard: Guard,
}

impl Deploy {
    fn add_to(&self, order: &mut Value) {
        order["schedule"] = json!(self.at.as_deref().unwrap_or("now"));
        self.guard.add_to(order);
    }
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
    /// The service: its id, at least the first 8 characters of it, or its external id
    #[arg(long, value_name = "SERVICE")]
    service_id: Option<String>,
    #[arg(long)]
    external_id: Option<String>,
    /// Taking this order back
    #[arg(long, value_name = "ID")]
    undoes: Option<String>,
    /// RFC 3339 time, such as 2030-01-31T22:00:00Z
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    created_after: Option<String>,
    /// RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    created_before: Option<String>,
    #[arg(long, default_value_t = 50)]
    limit: u16,
    #[arg(long)]
    cursor: Option<String>,
    /// Show every change of an order as it happens
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(
    api: &Api,
    format: Format,
    paint: Paint,
    command: OrderCommand,
) -> Result<(), Failure> {
    match command {
        OrderCommand::Submit(submit) => submit::run(api, format, paint, &submit).await,
        OrderCommand::Modify(modify) => modify::run(api, format, paint, &modify).await,
        OrderCommand::List(filter) => run_list(api, format, &filter).await,
        OrderCommand::Show { id, watch, wait } => {
            let id = api.resolve("orders", &id).await?;
            if watch {
                watch_one(api, format, &id, wait).await?;
            }
            show(format, paint, &api.get(&path(&id)).await?)
        }
        OrderCommand::Explain { id } => {
            let id = api.resolve("orders", &id).await?;
            let explained = api.get(&format!("{}/explain", path(&id))).await?;
            if format == Format::Json {
                return print_json(&explained);
            }
            line(text(explained.get("explanation")));
            Ok(())
        }
        OrderCommand::Schedule { id, at } => {
            if let Some(past) = at.as_deref().and_then(when::past) {
                warn(past);
            }
            let body = at.map_or_else(|| json!({}), |at| json!({"at": at}));
            act(api, format, &id, "schedule", &body).await
        }
        OrderCommand::Unschedule { id } => act(api, format, &id, "unschedule", &json!({})).await,
        OrderCommand::Cancel { id, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            act(api, format, &id, "cancel", &body).await
        }
        OrderCommand::Recreate { id, changes, at } => {
            let mut changes = turnup_files::json::read(changes.as_bytes())
                .map_err(|error| Failure::Usage(format!("--changes is {error}")))?;
            if let (Some(at), Some(changes)) = (at, changes.as_object_mut()) {
                changes.insert("schedule".to_owned(), json!(at));
            }
            act(api, format, &id, "recreate", &json!({"changes": changes})).await
        }
        OrderCommand::Undo(undo) => undo::run(api, format, paint, &undo).await,
        OrderCommand::Plan { order, delimiter, view } => {
            run_plan(api, format, paint, &order, delimiter, &view).await
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/orders/{}", encode(id))
}

async fn act(api: &Api, format: Format, id: &str, action: &str, body: &Value) -> Result<(), Failure> {
    let id = api.resolve("orders", id).await?;
    let order = api.post(&format!("{}/{action}", path(&id)), body).await?;
    short(format, &order)
}

/// Follows an order, saying first where it is and why.
async fn watch_one(api: &Api, format: Format, id: &str, wait: bool) -> Result<(), Failure> {
    let explained = api.get(&format!("{}/explain", path(id))).await?;
    let say = |text: String| if format == Format::Table { line(text) } else { note(text) };
    say(text(explained.get("explanation")));
    settle(api, &mut BTreeSet::from([id.to_owned()]), wait, |seen| match seen {
        Seen::Idle(_) => {
            say("it is not followed, as nothing happens to it; --wait follows it all the same".to_owned())
        }
        Seen::Again(order) | Seen::Ended(order) => say(one_line(order)),
    })
    .await
}

/// An order in a line, or as JSON.
pub(crate) fn short(format: Format, order: &Value) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(order);
    }
    line(one_line(order));
    Ok(())
}

pub(crate) fn show(format: Format, paint: Paint, order: &Value) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(order);
    }
    print(&show::lines(order, paint));
    Ok(())
}

async fn run_plan(
    api: &Api,
    format: Format,
    paint: Paint,
    order: &str,
    delimiter: Option<Delimiter>,
    view: &PlanView,
) -> Result<(), Failure> {
    let names_file = order == "-" || order.contains(['/', '.']) || std::path::Path::new(order).exists();
    if !names_file {
        let order = &api.resolve("orders", order).await?;
        let on_device = if view.on_device { "?on_device=true" } else { "" };
        let plan = api.patient().get(&format!("{}/plan{on_device}", path(order))).await?;
        let stored = api.get(&path(order)).await?;
        return show_plan(format, paint, &plan, Source::Stored, when::of_stored(&stored).as_deref(), view);
    }
    let (orders, _) = file::read(api, &[PathBuf::from(order)], delimiter).await?;
    let source = if orders.len() == 1 && order != "-" { Source::File(order) } else { Source::Other };
    plan_all(api, format, paint, &orders, source, view, false).await
}

/// The intake's plan of an order that would be submitted with this idempotency key.
async fn dry_run(api: &Api, order: &Value, key: Option<&str>, view: &PlanView) -> Result<Value, Failure> {
    match key {
        Some(key) => api.post_with_key(dry_run_path(view), order, key).await.map(|(_, plan)| plan),
        None => api.post(dry_run_path(view), order).await,
    }
}

fn dry_run_path(view: &PlanView) -> &'static str {
    if view.on_device { "/v1/orders?dry_run=true&on_device=true" } else { "/v1/orders?dry_run=true" }
}

/// Plans an order that isn't stored, and shows the plan. `key`: the idempotency key with which it would be submitted.
async fn plan_of(
    api: &Api,
    format: Format,
    paint: Paint,
    order: &Value,
    key: Option<&str>,
    source: Source<'_>,
    view: &PlanView,
) -> Result<(), Failure> {
    let plan = dry_run(&api.patient(), order, key, view).await?;
    show_plan(format, paint, &plan, source, when::of_order(order).as_deref(), view)
}

fn show_plan(
    format: Format,
    paint: Paint,
    plan: &Value,
    source: Source<'_>,
    when: Option<&str>,
    view: &PlanView,
) -> Result<(), Failure> {
    if format == Format::Json {
        print_json(plan)?;
    } else {
        print(&plan::lines(plan, source, when, view.xml, paint));
    }
    if plan::is_refused(plan) {
        return Err(Failure::Failed("a device does not accept the plan".to_owned()));
    }
    Ok(())
}

/// Plans the orders of files one by one. Every fault of every order is shown, each with its place. `again`: what was
/// submitted before without external id is meant as another order.
async fn plan_all(
    api: &Api,
    format: Format,
    paint: Paint,
    orders: &[FileOrder],
    source: Source<'_>,
    view: &PlanView,
    again: bool,
) -> Result<(), Failure> {
    warn_of_past(orders);
    let keys = if again { vec![None; orders.len()] } else { file::keys(orders) };
    let faults = file::faults(orders);
    if let [order] = orders {
        let key = keys.first().and_then(Option::as_deref);
        if let [Some(fault)] = faults.as_slice() {
            let problem = order.placed(fault.clone());
            return Err(Problem { title: format!("{}: {}", order.label(), problem.title), ..problem }.into());
        }
        let shown = plan_of(api, format, paint, &order.order, key, source, view).await;
        return shown.map_err(|failure| match failure {
            Failure::Problem(problem) => {
                let problem = order.placed(*problem);
                Problem { title: format!("{}: {}", order.label(), problem.title), ..problem }.into()
            }
            other => other,
        });
    }
    let patient = api.patient();
    let mut plans = stream::iter(orders.iter().zip(&keys))
        .map(|(order, key)| dry_run(&patient, &order.order, key.as_deref(), view))
        .buffered(PLANS_AT_ONCE);
    let (mut faulty, mut refused, mut all) = (Vec::new(), 0, Vec::new());
    for (order, fault) in orders.iter().zip(faults) {
        let Some(plan) = plans.next().await else { break };
        let mut problem = match plan {
            Ok(plan) => {
                refused += usize::from(plan::is_refused(&plan));
                if format == Format::Json {
                    all.push(in_file(order, json!({"plan": plan})));
                } else if fault.is_none() {
                    line(paint.bold(&order.label()));
                    print(&plan::lines(
                        &plan,
                        source,
                        when::of_order(&order.order).as_deref(),
                        view.xml,
                        paint,
                    ));
                    line("");
                }
                None
            }
            Err(Failure::Problem(problem)) if !is_about_all(&problem) => Some(*problem),
            Err(failure) => return Err(failure),
        };
        if let Some(fault) = fault {
            match &mut problem {
                // What the intake says of a service that is not found is the same once more.
                Some(problem) => {
                    let place = |pointer: &str| fault.errors.iter().any(|fault| fault.pointer == pointer);
                    problem.errors.retain(|known| !place(&known.pointer));
                    problem.errors.extend(fault.errors);
                }
                None => problem = Some(fault),
            }
        }
        if let Some(problem) = problem {
            if format == Format::Json {
                all.push(in_file(order, json!({"problem": order.placed(problem.clone())})));
            } else {
                line(paint.bad(&order.refusal(problem.clone())));
                line("");
            }
            faulty.push(order.refusal(problem));
        }
    }
    if format == Format::Json {
        print_json(&Value::Array(all))?;
    } else {
        repeat(&faulty, orders.len(), "with faults");
        let mut parts = vec![format!("{} good", orders.len() - faulty.len())];
        if !faulty.is_empty() {
            parts.push(format!("{} with faults", faulty.len()));
        }
        if refused > 0 {
            parts.push(format!("{refused} not accepted by a device"));
        }
        line(format!("{}; nothing was stored", parts.join(", ")));
    }
    if !faulty.is_empty() {
        return Err(Failure::Failed(format!("{} of {} orders have faults", faulty.len(), orders.len())));
    }
    if refused > 0 {
        return Err(Failure::Failed(format!("{refused} plans are not accepted by a device")));
    }
    Ok(())
}

/// A result with the place of its order.
fn in_file(order: &FileOrder, mut result: Value) -> Value {
    result["file"] = json!(*order.file);
    result["line"] = json!(order.line);
    result["external_id"] = json!(order.external_id());
    result
}

/// Whether a problem would meet every order alike.
const fn is_about_all(problem: &Problem) -> bool {
    matches!(problem.status, 401 | 403 | 429 | 500..)
}

/// Of many orders, says again at the end what went wrong: it has scrolled away.
fn repeat(faulty: &[String], of: usize, what: &str) {
    if of > REPEATED_FROM && !faulty.is_empty() {
        line(format!("{what}:"));
        for fault in faulty {
            line(fault);
        }
    }
}

fn warn_of_past(orders: &[FileOrder]) {
    for order in orders {
        if let Some(past) = order.order["schedule"].as_str().and_then(when::past) {
            warn(format!("{}: {past}", order.label()));
        }
    }
}

/// Submits an order about an existing service and, if that is asked for, follows it to its end.
async fn deploy(
    api: &Api,
    format: Format,
    paint: Paint,
    order: Value,
    deploy: &Deploy,
) -> Result<(), Failure> {
    if let Some(past) = deploy.at.as_deref().and_then(when::past) {
        warn(past);
    }
    let (created, order) = api.create("/v1/orders", &order).await?;
    follow(api, format, paint, created, &order, deploy.watch).await
}

/// Shows an order that was accepted, or waits until it has ended. `created`: by this request, not by the same one
/// before.
async fn follow(
    api: &Api,
    format: Format,
    paint: Paint,
    created: bool,
    order: &Value,
    watch: bool,
) -> Result<(), Failure> {
    let mut completed = BTreeSet::new();
    if watch {
        let id = order["id"].as_str().unwrap_or_default();
        let order = settled(api, order).await?;
        if order["state"] != OrderState::Completed.word() {
            show(format, paint, &order)?;
            return Err(Failure::Failed("the order did not complete".to_owned()));
        }
        completed.insert(id.to_owned());
        short(format, &order)?;
    } else {
        short(format, order)?;
    }
    if created {
        return Ok(());
    }
    note("the order was submitted before; none was made now");
    let label = text(order.get("external_id").filter(|id| !id.is_null()).or(order.get("id")));
    let repeated = [Repeated { label, order: order.clone(), another: "a new external id" }];
    match repeated::not_in_force(api, &repeated, watch, &completed).await?.as_slice() {
        [] => Ok(()),
        said => Err(repeated::failure(said)),
    }
}

/// An order of a kind that takes what the service has: redeploy, decommission.
pub(crate) async fn of_service(
    api: &Api,
    format: Format,
    paint: Paint,
    kind: &str,
    service: &str,
    options: &Deploy,
) -> Result<(), Failure> {
    let service = api.resolve("services", service).await?;
    let mut order = json!({"kind": kind, "service_id": service});
    options.add_to(&mut order);
    deploy(api, format, paint, order, options).await
}

async fn run_list(api: &Api, format: Format, filter: &List) -> Result<(), Failure> {
    let limit = filter.limit.to_string();
    let service = match filter.service_id.as_deref() {
        Some(given) => Some(api.reference("services", given).await?),
        None => None,
    };
    let undoes = match filter.undoes.as_deref() {
        Some(id) => Some(api.resolve("orders", id).await?),
        None => None,
    };
    let filters = query([
        ("state", filter.state.as_deref()),
        ("kind", filter.kind.as_deref()),
        ("region", filter.region.as_deref()),
        ("device", filter.device.as_deref()),
        ("definition", filter.definition.as_deref()),
        ("service_id", service.as_deref()),
        ("external_id", filter.external_id.as_deref()),
        ("undoes", undoes.as_deref()),
        ("created_after", filter.created_after.as_deref()),
        ("created_before", filter.created_before.as_deref()),
        ("limit", Some(&limit)),
        ("cursor", filter.cursor.as_deref()),
    ]);
    let page = api.get(&format!("/v1/orders?{filters}")).await?;
    list(
        format,
        &page,
        "orders",
        &[
            whole(0, "order", "/id"),
            whole(1, "state", "/state"),
            cut(2, 11, "external id", "/external_id"),
            cut(3, 10, "definition", "/definition"),
            whole(4, "kind", "/kind"),
            whole(7, "region", "/region"),
            cut(6, 12, "devices", "/devices"),
            whole(5, "scheduled for", "/scheduled_for"),
            whole(8, "changed", "/updated_at"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_into_the_order() {
        let guard = Guard { approved_plan: Some("ab".to_owned()), if_busy: Some(IfBusy::Refuse) };
        let mut order = json!({"kind": "redeploy"});
        Deploy { at: None, watch: false, guard }.add_to(&mut order);
        assert_eq!(
            order,
            json!({"kind": "redeploy", "schedule": "now", "approved_plan": "ab", "if_busy": "refuse"})
        );
        let guard = Guard { approved_plan: None, if_busy: None };
        Deploy { at: Some("2030-01-31T22:00:00Z".to_owned()), watch: true, guard }.add_to(&mut order);
        assert_eq!(order["schedule"], "2030-01-31T22:00:00Z");
    }
}
