//! Following orders to their end.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};
use turnup_core::lifecycle::OrderState;

use super::show::{one_line, title};
use crate::{
    client::{
        event,
        http::Api,
        output::{note, text},
    },
    failure::Failure,
};

/// From this number of orders on, a progress bar replaces the line for each state.
pub(crate) const MANY: usize = 20;
/// Most devices and ids named in a line.
const MOST_NAMES: usize = 3;

/// A bar for many orders; nothing for few.
pub(crate) fn progress(len: usize, what: &str) -> ProgressBar {
    if len < MANY {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} ({per_sec}, {eta} left)");
    let bar = ProgressBar::new(len as u64).with_message(what.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What is seen of an order that is followed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen<'a> {
    /// It failed and is tried again by itself.
    Again(&'a Value),
    /// It has no time, so nothing happens to it; it is not followed any more.
    Idle(&'a Value),
    /// It has ended.
    Ended(&'a Value),
}

/// Follows one order until it has ended (or failed, or has no time), and gives it as it is then. What it waits for, and
/// attempts that will be repeated, are reported on standard error.
pub(crate) async fn settled(api: &Api, order: &Value) -> Result<Value, Failure> {
    let id = order["id"].as_str().unwrap_or_default();
    note(one_line(order));
    let explained = api.get(&format!("/v1/orders/{id}/explain")).await?;
    note(text(explained.get("explanation")));
    let mut open = BTreeSet::from([id.to_owned()]);
    let tell = |seen: Seen<'_>| {
        if let Seen::Again(order) = seen {
            note(one_line(order));
        }
    };
    settle(api, &mut open, false, tell).await?;
    api.get(&format!("/v1/orders/{id}")).await
}

/// Follows orders until each has ended (or failed). `wait`: also those that have no time, until somebody gives them
/// one. Survives a lost connection: what was missed is read again.
pub(crate) async fn settle(
    api: &Api,
    open: &mut BTreeSet<String>,
    wait: bool,
    mut see: impl FnMut(Seen<'_>),
) -> Result<(), Failure> {
    let all = open.len();
    let bar = progress(all, "ended");
    let mut cursor = event::newest(api).await?;
    loop {
        // Whatever ended before the cursor was read is found here.
        for id in open.iter().cloned().collect::<Vec<_>>() {
            let order = api.get(&format!("/v1/orders/{id}")).await?;
            let is_idle = !wait && order["state"] == OrderState::Requested.word();
            follow_one(open, is_idle, &bar, &id, &order, &mut see);
        }
        if open.is_empty() {
            bar.finish_and_clear();
            return Ok(());
        }
        let following = api.follow("type=dev.turnup.order", cursor, |id, event| {
            cursor = id;
            let order = of_event(&event);
            if let Some(id) = order["id"].as_str() {
                follow_one(open, !wait && lost_its_time(&event), &bar, id, &order, &mut see);
            }
            !open.is_empty()
        });
        let interrupted = tokio::select! {
            followed = following => { followed?; false }
            _ = tokio::signal::ctrl_c() => true,
        };
        if interrupted {
            bar.finish_and_clear();
            return Err(Failure::Failed(left(open, all)));
        }
    }
}

/// Whether an event says that an order's time was taken away. Every order begins as Requested, and the event of that
/// says nothing of a time.
fn lost_its_time(event: &Value) -> bool {
    let data = &event["data"];
    data["state"] == OrderState::Requested.word() && data.get("scheduled_for").is_some_and(Value::is_null)
}

/// Takes note of an order's state. `is_idle`: it has no time, and is not waited for.
fn follow_one(
    open: &mut BTreeSet<String>,
    is_idle: bool,
    bar: &ProgressBar,
    id: &str,
    order: &Value,
    see: &mut impl FnMut(Seen<'_>),
) {
    if !open.contains(id) {
        return;
    }
    if is_settled(order) || is_idle {
        open.remove(id);
        bar.inc(1);
        bar.suspend(|| see(if is_idle { Seen::Idle(order) } else { Seen::Ended(order) }));
    } else if order["retry"]["at"].is_string() && order["state"] == OrderState::Scheduled.word() {
        bar.suspend(|| see(Seen::Again(order)));
    }
}

/// The order as an event tells it.
fn of_event(event: &Value) -> Value {
    let data = &event["data"];
    let mut seen = Map::new();
    for (to, from) in [
        ("id", "order"),
        ("state", "state"),
        ("kind", "kind"),
        ("definition", "definition"),
        ("external_id", "external_id"),
        ("scheduled_for", "scheduled_for"),
        ("retry", "retry"),
        ("errors", "errors"),
    ] {
        seen.insert(to.to_owned(), data[from].clone());
    }
    Value::Object(seen)
}

/// What to say of orders that are not followed any more.
fn left(open: &BTreeSet<String>, all: usize) -> String {
    let named: Vec<&str> = open.iter().take(MOST_NAMES).map(String::as_str).collect();
    match (open.len(), named.as_slice()) {
        (1, [one]) => format!(
            "the order goes on without this command; 'turnup order show {one} --watch' follows it again, 'turnup \
             order cancel {one}' withdraws it if it has not started"
        ),
        (count, _) => format!(
            "{count} of {all} orders have not ended and go on without this command ({}{}); 'turnup order list' shows \
             them",
            named.join(", "),
            if count > named.len() { ", …" } else { "" }
        ),
    }
}

/// Whether an order, or what an event says of it, has ended and is not tried again by itself.
fn is_settled(order: &Value) -> bool {
    let ended = order["state"]
        .as_str()
        .and_then(|word| word.parse::<OrderState>().ok())
        .is_some_and(OrderState::is_settled);
    ended && !order["retry"]["at"].is_string()
}

/// How orders ended, counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    completed: usize,
    /// State and reason → how many, and on which devices.
    others: BTreeMap<(String, String), (usize, BTreeSet<String>)>,
    /// Those that have no time.
    idle: Vec<String>,
}

impl Tally {
    /// Counts an order that is not followed any more.
    pub(crate) fn add(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Again(_) => {}
            Seen::Idle(order) => self.idle.push(text(order.get("id"))),
            Seen::Ended(order) if order["state"] == OrderState::Completed.word() => self.completed += 1,
            Seen::Ended(order) => {
                let error = &order["errors"][0];
                let reason = error["message"].as_str().unwrap_or("no reason is given").to_owned();
                let (count, devices) = self.others.entry((title(order), reason)).or_default();
                *count += 1;
                devices.extend(error["device"].as_str().map(str::to_owned));
            }
        }
    }

    /// How many did not complete.
    pub(crate) fn incomplete(&self) -> usize {
        self.idle.len() + self.others.values().map(|(count, _)| count).sum::<usize>()
    }

    /// The counts, and the reasons of those that did not complete.
    pub(crate) fn lines(&self, refused: usize) -> Vec<String> {
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for ((state, _), (count, _)) in &self.others {
            *states.entry(state).or_default() += count;
        }
        let mut counts = vec![format!("{} completed", self.completed)];
        counts.extend(states.iter().map(|(state, count)| format!("{count} {}", state.to_lowercase())));
        for (count, what) in [(self.idle.len(), "without a time"), (refused, "refused")] {
            if count > 0 {
                counts.push(format!("{count} {what}"));
            }
        }
        let mut out = vec![counts.join(", ")];
        for ((state, reason), (count, devices)) in &self.others {
            let named: Vec<&str> = devices.iter().take(MOST_NAMES).map(String::as_str).collect();
            let more = if devices.len() > named.len() { ", …" } else { "" };
            let on = if named.is_empty() { String::new() } else { format!("{}{more}: ", named.join(", ")) };
            out.push(format!("  {count} {state}: {on}{reason}"));
        }
        if let Some(first) = self.idle.first() {
            out.push(format!(
                "  without a time nothing happens to an order; 'turnup order schedule {first}' gives it one, --at now \
                 gives one to all of a file, --wait follows them until they are given one"
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_order_that_is_tried_again_has_not_ended() {
        for (state, settled) in [("completed", true), ("failed_deploy", true), ("in_progress", false)] {
            assert_eq!(is_settled(&json!({"state": state})), settled, "{state}");
            assert_eq!(is_settled(&json!({"state": state, "retry": null})), settled, "{state}");
            let last = json!({"state": state, "retry": {"attempt": 3, "of": 3, "at": null}});
            assert_eq!(is_settled(&last), settled, "{state}, its last attempt");
        }
        let again = json!({"state": "failed_deploy", "retry": {"attempt": 2, "of": 3, "at": "T"}});
        assert!(!is_settled(&again), "its event says that it is tried again");
    }

    #[test]
    fn followed_order_is_told_when_it_is_tried_again_or_has_no_time() {
        let told = |order: &Value, is_idle| {
            let (mut open, mut told) = (BTreeSet::from(["O".to_owned()]), Vec::new());
            follow_one(&mut open, is_idle, &ProgressBar::hidden(), "O", order, &mut |seen| {
                told.push(match seen {
                    Seen::Again(_) => "again",
                    Seen::Idle(_) => "idle",
                    Seen::Ended(_) => "ended",
                });
            });
            (told, open.is_empty())
        };
        assert_eq!(told(&json!({"state": "requested"}), true), (vec!["idle"], true));
        assert_eq!(told(&json!({"state": "requested"}), false), (vec![], false));
        assert_eq!(told(&json!({"state": "scheduled", "retry": {"at": "T"}}), false), (vec!["again"], false));
        assert_eq!(told(&json!({"state": "in_progress", "retry": {"at": null}}), false), (vec![], false));
        assert_eq!(told(&json!({"state": "completed"}), false), (vec!["ended"], true));
        assert!(lost_its_time(&json!({"data": {"state": "requested", "scheduled_for": null}})));
        assert!(!lost_its_time(&json!({"data": {"state": "requested"}})), "how each order begins");
        assert!(!lost_its_time(&json!({"data": {"state": "cancelled", "scheduled_for": null}})));
    }

    #[test]
    fn tally_counts_by_state_and_reason() {
        let mut tally = Tally::default();
        let failed = |device: &str| json!({"state": "failed_deploy", "errors": [{"device": device, "message": "connection refused"}]});
        for order in
            [json!({"state": "completed"}), failed("pe1"), failed("pe2"), json!({"state": "cancelled"})]
        {
            tally.add(Seen::Ended(&order));
        }
        tally.add(Seen::Idle(&json!({"id": "O5"})));
        assert_eq!(tally.incomplete(), 4);
        let lines = tally.lines(2);
        assert_eq!(lines[0], "1 completed, 1 cancelled, 2 failed deploy, 1 without a time, 2 refused");
        assert_eq!(lines[1], "  1 Cancelled: no reason is given");
        assert_eq!(lines[2], "  2 Failed Deploy: pe1, pe2: connection refused");
        assert!(lines[3].contains("turnup order schedule O5"), "{lines:?}");
    }

    #[test]
    fn interrupted_command_says_what_goes_on() {
        let open = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        assert!(left(&open(&["O1"]), 1).contains("turnup order show O1 --watch"));
        assert!(left(&open(&["O1", "O2", "O3", "O4"]), 9).contains("4 of 9 orders"), "several");
    }
}
