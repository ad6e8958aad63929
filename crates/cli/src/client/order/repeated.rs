//! Orders that were made before by the same request. A repetition makes no order, so it ends as that one ended.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use turnup_core::{lifecycle::OrderState, order::OrderKind};

use crate::{
    client::{
        http::{Api, encode},
        output::text,
    },
    failure::{Failure, describe},
};

/// Services that are asked for at once.
const AT_ONCE: usize = 8;

/// An order that a repetition found.
#[derive(Debug)]
pub(super) struct Repeated {
    /// What it is called in messages, such as `orders.csv:7 (CRM-7)`.
    pub(super) label: String,
    /// As it was found.
    pub(super) order: Value,
    /// What makes another order in its place: the words of a hint.
    pub(super) another: &'static str,
}

impl Repeated {
    fn id(&self) -> String {
        text(self.order.get("id"))
    }

    fn state(&self) -> Option<OrderState> {
        self.order["state"].as_str()?.parse().ok()
    }

    fn is_about_a_service_that_stays(&self) -> bool {
        self.order["kind"] != OrderKind::Decommission.word()
    }
}

/// Says of each order that has ended why what it asks for is not in force, if that is so. `followed`: the ids of orders
/// that were followed to their end, and `completed`: those of them that completed; how the others ended was said.
///
/// # Errors
/// If the intake can't be asked for a service.
pub(super) async fn not_in_force(
    api: &Api,
    repeated: &[Repeated],
    followed: bool,
    completed: &BTreeSet<String>,
) -> Result<Vec<String>, Failure> {
    let said = stream::iter(repeated)
        .map(|one| async move {
            let state = if completed.contains(&one.id()) { Some(OrderState::Completed) } else { one.state() };
            match state {
                Some(OrderState::Completed) => removed(api, one).await,
                Some(state) if !followed => Ok(ended(one, state)),
                _ => Ok(None),
            }
        })
        .buffered(AT_ONCE)
        .try_collect::<Vec<Option<String>>>()
        .await?;
    Ok(said.into_iter().flatten().collect())
}

/// What is to be said of an order that ended otherwise than Completed.
fn ended(one: &Repeated, state: OrderState) -> Option<String> {
    let (id, label) = (one.id(), &one.label);
    let then = match state {
        OrderState::Invalid => {
            format!("submit a corrected order, or correct this one with 'turnup order recreate {id}'")
        }
        OrderState::FailedDeploy if one.order["retry"]["at"].is_string() => return None,
        OrderState::FailedDeploy => format!("'turnup order schedule {id}' tries it again"),
        OrderState::Cancelled => format!("{} makes another", one.another),
        OrderState::Requested | OrderState::Scheduled | OrderState::InProgress | OrderState::Completed => {
            return None;
        }
    };
    let reason = one.order["errors"][0]["message"].as_str();
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some(format!(
        "{label} was submitted before; order {id} ended {}{reason} and nothing of it is in force: {then}",
        state.title()
    ))
}

/// What is to be said of a Completed order whose service does not exist any more.
async fn removed(api: &Api, one: &Repeated) -> Result<Option<String>, Failure> {
    let Some(service) = one.order["service_id"].as_str().filter(|_| one.is_about_a_service_that_stays())
    else {
        return Ok(None);
    };
    match api.get(&format!("/v1/services/{}", encode(service))).await {
        Ok(_) => Ok(None),
        Err(Failure::Problem(problem)) if problem.status == 404 => Ok(Some(format!(
            "{} was submitted before and completed as order {}, but its service is gone since: {}. {} makes another",
            one.label,
            one.id(),
            if problem.detail.is_empty() { describe(&problem) } else { problem.detail },
            one.another
        ))),
        Err(failure) => Err(failure),
    }
}

/// The failure of a command whose repeated orders are not in force.
pub(super) fn failure(said: &[String]) -> Failure {
    match said {
        [one] => Failure::Failed(one.clone()),
        many => Failure::Failed(format!("{} orders that were submitted before are not in force", many.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn repeated_order_is_reported_by_how_it_ended() {
        let said = |order: Value| {
            let one = Repeated { label: "o.csv:2 (CRM-1)".to_owned(), order, another: "a new external_id" };
            let state = one.state().unwrap();
            ended(&one, state)
        };
        let invalid = said(json!({"id": "O", "state": "invalid", "errors": [{"message": "no such port"}]}));
        let invalid = invalid.unwrap();
        for wanted in ["o.csv:2 (CRM-1)", "ended Invalid (no such port)", "turnup order recreate O"] {
            assert!(invalid.contains(wanted), "{wanted} in {invalid}");
        }
        let failed = said(json!({"id": "O", "state": "failed_deploy", "retry": {"at": null}})).unwrap();
        assert!(failed.contains("turnup order schedule O"), "{failed}");
        let cancelled = said(json!({"id": "O", "state": "cancelled"})).unwrap();
        assert!(cancelled.contains("a new external_id makes another"), "{cancelled}");
        for under_way in [
            json!({"id": "O", "state": "failed_deploy", "retry": {"at": "T"}}),
            json!({"id": "O", "state": "scheduled"}),
            json!({"id": "O", "state": "in_progress"}),
        ] {
            assert_eq!(said(under_way), None);
        }
    }
}
