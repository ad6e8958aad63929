//! `turnup order submit`: orders from files.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use turnup_core::{lifecycle::OrderState, problem::Problem};
use turnup_files::Delimiter;

use super::{
    Guard, PlanView,
    file::{self, FileOrder},
    in_file, is_about_all,
    plan::Source,
    plan_all, repeat,
    repeated::{self, Repeated},
    settle::{self, MANY, Seen, Tally, settle},
    show::one_line,
    warn_of_past, when,
};
use crate::{
    client::{
        http::Api,
        output::{Format, counted, json as print_json, line, note, text, warn},
        paint::Paint,
    },
    failure::Failure,
};

/// Orders that are submitted at once, where each has a request of its own.
const ORDERS_AT_ONCE: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// Files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Start at this time (RFC 3339) or "now", instead of what the files say
    #[arg(long, value_name = "TIME", value_parser = when::schedule)]
    at: Option<String>,
    /// What separates the cells of CSV, such as ';' or tab; else what the heading line has most
    #[arg(long)]
    delimiter: Option<Delimiter>,
    /// Make provision orders without external id again that were submitted before with the same content; else the
    /// earlier order is shown, and the exit code is 1 if nothing of it is in force
    #[arg(long)]
    again: bool,
    /// Wait until every order has ended; exit code 1 if one did not complete
    #[arg(long)]
    watch: bool,
    /// With --watch: also for orders that have no time, until they are given one
    #[arg(long, requires = "watch")]
    wait: bool,
    /// Check and plan only; store nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    guard: Guard,
}

pub(super) async fn run(api: &Api, format: Format, paint: Paint, submit: &Submit) -> Result<(), Failure> {
    let (mut orders, empty) = file::read(api, &submit.files, submit.delimiter).await?;
    for file in empty {
        warn(file);
    }
    if submit.guard.approved_plan.is_some() && orders.len() != 1 {
        return Err(Failure::Usage(format!(
            "--approved-plan is the plan of one order, and here are {}; write approved_plan into each",
            orders.len()
        )));
    }
    for order in &mut orders {
        if let (Some(at), Value::Object(order)) = (&submit.at, &mut order.order) {
            order.insert("schedule".to_owned(), json!(at));
        }
        submit.guard.add_to(&mut order.order);
    }
    if submit.dry_run {
        let view = PlanView { on_device: false, xml: false };
        let source = if orders.len() == 1 { Source::Options } else { Source::Other };
        return plan_all(api, format, paint, &orders, source, &view, submit.again).await;
    }
    warn_of_past(&orders);
    let results = submit_all(api, &orders, submit.again).await?;
    let mut open = BTreeSet::new();
    let (mut repeated, mut refused) = (Vec::new(), Vec::new());
    // Of many that are watched, each gets one line: when it has ended.
    let each_state = !submit.watch || orders.len() < MANY;
    for (order, result) in orders.iter().zip(&results) {
        if let Some(stored) = result.get("order") {
            open.insert(text(stored.get("id")));
            let is_known = result["status"] == 200;
            if is_known {
                let another = if order.external_id().is_some() { "a new external_id" } else { "--again" };
                repeated.push(Repeated { label: order.label(), order: stored.clone(), another });
            }
            if format == Format::Table && each_state {
                let before = if is_known {
                    format!("  {} was submitted before", order.label())
                } else {
                    String::new()
                };
                line(format!("{}{before}", one_line(stored)));
            }
        } else {
            let problem = serde_json::from_value::<Problem>(result["problem"].clone());
            let why = problem.map_or_else(
                |_| format!("{}: {}", order.label(), result["problem"]),
                |problem| order.refusal(problem),
            );
            if format == Format::Table {
                line(format!("refused  {why}"));
            }
            refused.push(why);
        }
    }
    let unnamed = orders.iter().zip(&results);
    let unnamed = unnamed.filter(|(order, result)| result["status"] == 200 && order.external_id().is_none());
    match unnamed.count() {
        0 => {}
        count => warn(format!(
            "{} without external id had the same content as an earlier one, which is shown; none was made now \
             (--again makes another)",
            counted(count, "order")
        )),
    }
    if format == Format::Json {
        let placed = orders.iter().zip(&results).map(|(order, result)| in_file(order, result.clone()));
        print_json(&placed.collect())?;
    }
    let (mut tally, mut completed) = (Tally::default(), BTreeSet::new());
    if submit.watch {
        settle(api, &mut open, submit.wait, |seen| {
            tally.add(seen);
            if let Seen::Ended(order) = seen
                && order["state"] == OrderState::Completed.word()
            {
                completed.insert(text(order.get("id")));
            }
            match (seen, format) {
                (Seen::Idle(_), _) => {}
                (Seen::Again(order), _) => note(one_line(order)),
                (Seen::Ended(order), Format::Table) => line(one_line(order)),
                (Seen::Ended(_), Format::Json) => {}
            }
        })
        .await?;
        tally.lines(refused.len()).iter().for_each(note);
    }
    let not_in_force = repeated::not_in_force(api, &repeated, submit.watch, &completed).await?;
    if !matches!((not_in_force.as_slice(), refused.len() + tally.incomplete()), ([_], 0)) {
        not_in_force.iter().for_each(warn);
    }
    let known = repeated.len();
    if format == Format::Table && orders.len() > 1 {
        repeat(&refused, orders.len(), "refused");
        let mut parts = vec![format!("{} accepted", orders.len() - known - refused.len())];
        if known > 0 {
            parts.push(format!("{known} submitted before"));
        }
        if !refused.is_empty() {
            parts.push(format!("{} refused", refused.len()));
        }
        line(parts.join(", "));
    }
    let incomplete = tally.incomplete();
    if !refused.is_empty() {
        return Err(Failure::Failed(format!("{} of {} orders were refused", refused.len(), orders.len())));
    }
    if incomplete > 0 {
        return Err(Failure::Failed(format!("{} did not complete", counted(incomplete, "order"))));
    }
    if !not_in_force.is_empty() {
        return Err(repeated::failure(&not_in_force));
    }
    Ok(())
}

/// Submits all orders: one result per order, in order. Those with an external id, and those that may be made
/// again, go through the bulk endpoint; the others each with a key made from what they say.
async fn submit_all(api: &Api, orders: &[FileOrder], again: bool) -> Result<Vec<Value>, Failure> {
    let keys = if again { vec![None; orders.len()] } else { file::keys(orders) };
    let mut results: Vec<Option<Value>> = file::faults(orders)
        .into_iter()
        .map(|fault| fault.map(|problem| json!({"status": problem.status, "problem": problem})))
        .collect();
    let bar = settle::progress(orders.len(), "submitted");
    let left: Vec<usize> = (0..orders.len()).filter(|at| results[*at].is_none()).collect();
    let (keyed, bulk): (Vec<usize>, Vec<usize>) = left.into_iter().partition(|at| keys[*at].is_some());
    let mut keyed = stream::iter(keyed)
        .map(|at| {
            let key = keys[at].as_deref().unwrap_or_default();
            let answer = api.post_with_key("/v1/orders", &orders[at].order, key);
            async move { (at, answer.await) }
        })
        .buffered(ORDERS_AT_ONCE);
    while let Some((at, answer)) = keyed.next().await {
        bar.inc(1);
        results[at] = Some(match answer {
            Ok((status, order)) => json!({"status": status, "order": order}),
            Err(Failure::Problem(problem)) if !is_about_all(&problem) => {
                json!({"status": problem.status, "problem": problem})
            }
            Err(failure) => return Err(failure),
        });
    }
    if !bulk.is_empty() {
        let lines: Vec<String> = bulk.iter().map(|at| orders[*at].order.to_string()).collect();
        let mut answered = bulk.iter();
        api.bulk(lines, |mut result| {
            bar.inc(1);
            if let (Some(at), Value::Object(result)) = (answered.next(), &mut result) {
                // It counts the lines of the request.
                result.remove("line");
                results[*at] = Some(Value::Object(std::mem::take(result)));
            }
        })
        .await?;
    }
    bar.finish_and_clear();
    let answered = results.iter().flatten().count();
    let all: Option<Vec<Value>> = results.into_iter().collect();
    all.ok_or_else(|| {
        Failure::Failed(format!(
            "only {answered} of {} were answered; submit again: orders with an external_id are not made twice",
            counted(orders.len(), "order")
        ))
    })
}
