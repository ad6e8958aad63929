//! Following orders to their end.

use std::collections::BTreeMap;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};
use turnup_core::lifecycle::OrderState;

use crate::{
    client::{event, http::Api},
    failure::Failure,
};

/// A bar for many orders; nothing for few.
pub(crate) fn progress(len: usize, what: &str) -> ProgressBar {
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

/// Follows one order until it has ended (or failed), and gives it as it is then.
pub(crate) async fn settled(api: &Api, id: &str) -> Result<Value, Failure> {
    let mut open = BTreeMap::from([(id.to_owned(), id.to_owned())]);
    settle(api, &mut open, |_| ()).await?;
    api.get(&format!("/v1/orders/{id}")).await
}

/// Follows orders until each has ended (or failed); `ended` sees each once. Survives a lost
/// connection: what was missed is read again.
pub(crate) async fn settle(
    api: &Api,
    open: &mut BTreeMap<String, String>,
    mut ended: impl FnMut(&Value),
) -> Result<(), Failure> {
    let bar = progress(open.len(), "ended");
    let mut cursor = event::newest(api).await?;
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

/// Whether an order, or what an event says of it, has ended and is not tried again by itself.
fn is_settled(order: &Value) -> bool {
    let ended = order["state"]
        .as_str()
        .and_then(|word| word.parse::<OrderState>().ok())
        .is_some_and(OrderState::is_settled);
    ended && !order["retry"]["at"].is_string()
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
}
