//! `POST /v1/orders/{id}/undo`: makes the order that takes a completed one back. What that is, is decided in
//! [`mod@turnup_core::undo`]; the new order is accepted as any other.

use serde_json::{Map, Value, json};
use turnup_core::{
    id::OrderId,
    lifecycle::OrderState,
    order::IfBusy,
    problem::{Fault, Problem},
    undo::{self, Change, Extent, Remedy, Undo, UndoError},
};
use turnup_store::OrderView;

use super::{
    answer::{Answer, Refusal},
    call::Call,
    orders::{accepted, find, illegal},
    plan, resolve,
};
use crate::{
    accept::order::{Origin, Undoing},
    refusal,
};

/// What the request may say about the new order.
const FIELDS: [&str; 5] = ["schedule", "external_id", "description", "priority", "approved_plan"];
/// Most later orders named in a refusal.
const MAX_NAMED: usize = 20;

pub(super) async fn undo(call: Call) -> Answer {
    let flag = |name| call.query.parsed::<bool>(name).map(|given| given.unwrap_or(false));
    let (dry_run, to_before) = (flag("dry_run")?, flag("to_before")?);
    let on_device = plan::on_device(&call)?;
    if on_device && !dry_run {
        return Err(Problem::unreadable("on_device goes with dry_run=true").into());
    }
    let body = call.optional_object(&FIELDS)?;
    let id = resolve::order_id(&call).await?;
    let extent = if to_before { Extent::ToBefore } else { Extent::Order };
    let digest = undo::digest(id, extent, &body);
    let mut origin = Origin::of(call.requester()?, call.key()?);
    let external_id = body.get("external_id").and_then(Value::as_str);
    if let Some(before) = call.app.acceptor.repeated(&origin, external_id, digest).await? {
        return if dry_run { plan::of_repetition(&before.into_order()) } else { accepted(before) };
    }
    let order = find(&call).await?;
    let (undo, value) = request(&call, &order, extent, body).await?;
    let restores = matches!(undo.remedy, Remedy::Provision { .. }).then_some(order.service_id);
    origin.undoing = Some(Undoing { order: id, rests_on: undo.rests_on, restores, digest });
    let explained = |problem| explained(problem, undo.remedy);
    if dry_run {
        return plan::of_request(&call, &value, &origin, on_device)
            .await
            .map_err(|Refusal(problem)| Refusal(explained(problem)));
    }
    accepted(call.app.acceptor.accept(&value, origin).await.map_err(explained)?)
}

/// What taking a Completed order back would be now: which order does it, or why it is refused and what rests on it. None
/// for other orders.
pub(super) async fn outlook(call: &Call, order: &OrderView) -> Result<Option<Value>, Refusal> {
    if order.state != OrderState::Completed {
        return Ok(None);
    }
    let changes = call.app.store.completed_changes(order.service_id).await?;
    Ok(Some(match undo::undo(order.id, order.kind, &changes, Extent::Order) {
        Ok(undo) => json!({
            "possible": true, "kind": undo.remedy.kind(), "as_of": undo.remedy.as_of(), "rests_on": undo.rests_on,
            "later": [],
        }),
        Err(error) => {
            let later = match &error {
                UndoError::ChangedSince(later) => later.as_slice(),
                _ => &[],
            };
            let later: Vec<OrderId> = later.iter().map(|change| change.order).take(MAX_NAMED).collect();
            json!({"possible": false, "detail": error.to_string(), "later": later})
        }
    }))
}

/// The order that takes this one back, as a request.
async fn request(
    call: &Call,
    order: &OrderView,
    extent: Extent,
    body: Map<String, Value>,
) -> Result<(Undo, Value), Refusal> {
    let store = &call.app.store;
    if order.state != OrderState::Completed {
        return Err(illegal("undo", order.state).into());
    }
    let changes = store.completed_changes(order.service_id).await?;
    let undo = undo::undo(order.id, order.kind, &changes, extent).map_err(refused)?;
    let unfinished: Vec<OrderId> =
        store.unfinished_of(order.service_id).await?.into_iter().map(|found| found.order).collect();
    if !unfinished.is_empty() {
        return Err(refusal::undo_busy(&unfinished).into());
    }
    let mut value = Map::new();
    value.insert("kind".to_owned(), json!(undo.remedy.kind()));
    value.insert("if_busy".to_owned(), json!(IfBusy::Refuse));
    if let Some(as_of) = undo.remedy.as_of() {
        let content = stored(call, as_of).await?;
        if let Remedy::Modify { .. } = undo.remedy {
            let now = stored(call, undo.rests_on).await?;
            if is_same(&content, &now) {
                let detail = format!(
                    "the service has what it had before order {} already; there is nothing to take back",
                    order.id
                );
                return Err(Problem::conflict(detail, Vec::new()).into());
            }
        } else {
            value.insert("definition".to_owned(), json!(content.definition));
        }
        value.insert("definition_version".to_owned(), json!(content.definition_version));
        value.insert("attributes".to_owned(), content.attributes);
        value.insert("endpoints".to_owned(), json!(content.endpoints));
    }
    if !matches!(undo.remedy, Remedy::Provision { .. }) {
        value.insert("service_id".to_owned(), json!(order.service_id));
    }
    value.extend(body);
    Ok((undo, Value::Object(value)))
}

/// An order of the service's past.
async fn stored(call: &Call, id: OrderId) -> Result<OrderView, Refusal> {
    match call.app.store.order(id).await? {
        Some(order) => Ok(order),
        None => {
            Err(Problem::not_found(format!("order {id}, on which the service rests, is not there any more"))
                .into())
        }
    }
}

/// Whether both orders give a service the same content.
fn is_same(a: &OrderView, b: &OrderView) -> bool {
    (a.definition_version, &a.attributes, &a.endpoints) == (b.definition_version, &b.attributes, &b.endpoints)
}

fn refused(error: UndoError) -> Problem {
    let detail = error.to_string();
    match error {
        UndoError::ChangedSince(later) => {
            let named: Vec<String> = later.iter().take(MAX_NAMED).map(name).collect();
            let more = match later.len().saturating_sub(MAX_NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let fault = |change: &Change| {
                let detail = format!("{} changed the service after this order", name(change));
                Fault::new("", "changed_since", detail)
            };
            let problem = Problem::new(
                409,
                "changed_since",
                "Later orders rest on this one",
                format!("{detail}. Later: {}{more}", named.join(", ")),
            );
            Problem { errors: later.iter().take(MAX_NAMED).map(fault).collect(), ..problem }
        }
        UndoError::NothingToTakeBack(_) | UndoError::NotCompleted | UndoError::AlreadyGone => {
            Problem::conflict(detail, Vec::new())
        }
    }
}

fn name(change: &Change) -> String {
    let undoes = change.undoes.map(|order| format!(", undoes order {order}")).unwrap_or_default();
    format!("order {} ({}{undoes})", change.order, change.kind.title())
}

/// The caller did not write the order that is refused, so the problem says which it is.
fn explained(problem: Problem, remedy: Remedy) -> Problem {
    if !matches!(problem.code.as_str(), "invalid" | "resource_taken") {
        return problem;
    }
    let kind = remedy.kind().title();
    let content = match remedy.as_of() {
        Some(order) => format!(" with the content of order {order}"),
        None => String::new(),
    };
    let detail =
        format!("the undo is a {kind} order{content}, and that can't be accepted: {}", problem.detail);
    Problem { detail, ..problem }
}
