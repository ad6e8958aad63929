//! Orders: creating, listing, controlling.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use turnup_core::{
    event,
    id::{OrderId, ServiceId},
    lifecycle::{OrderEvent, OrderState},
    name::DeviceName,
    order::{OrderKind, Schedule, check_time},
    problem::{Fault, Problem},
};
use turnup_store::{Control, IdOf, OrderFilter, OrderView, Refused};
use uuid::Uuid;

use super::{
    answer::{self, Answer, Refusal, ok},
    call::{Call, object},
    filter::check_names,
    plan, resolve, undo,
};
use crate::{
    accept::{Outcome, order::Origin},
    json::merge,
};

/// Longest reason of a cancellation, in characters.
const MAX_REASON_CHARS: usize = 1024;

pub(super) async fn create(call: Call) -> Answer {
    let dry_run = call.query.parsed::<bool>("dry_run")?.unwrap_or(false);
    let value = call.json()?;
    let origin = Origin::of(call.requester()?, call.key()?);
    let on_device = plan::on_device(&call)?;
    if dry_run {
        return plan::of_request(&call, &value, &origin, on_device).await;
    }
    if on_device {
        let detail = "on_device goes with dry_run=true, or with GET /v1/orders/{id}/plan";
        return Err(Problem::unreadable(detail).into());
    }
    accepted(call.app.acceptor.accept(&value, origin).await?)
}

/// 201 for a new order, 200 for one that was accepted before.
pub(super) fn accepted(outcome: Outcome) -> Answer {
    let status = match outcome {
        Outcome::Created(_) => StatusCode::CREATED,
        Outcome::Known(_) => StatusCode::OK,
    };
    let order = outcome.into_order();
    let mut response = answer::json(status, &order);
    locate(&mut response, &order);
    Ok(response)
}

fn locate(response: &mut Response, order: &OrderView) {
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/orders/{}", order.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
}

pub(super) async fn list(call: Call) -> Answer {
    let query = &call.query;
    let filter = OrderFilter {
        states: query.list("state")?,
        kind: query.parsed("kind")?,
        region: query.text("region")?,
        device: query.parsed::<DeviceName>("device")?.map(String::from),
        definition: query.text("definition")?,
        service_id: resolve::in_query(&call, IdOf::Service, "service_id").await?.map(ServiceId),
        undoes: resolve::in_query(&call, IdOf::Order, "undoes").await?.map(OrderId),
        external_id: query.text("external_id")?,
        created_after: query.time("created_after")?,
        created_before: query.time("created_before")?,
        limit: query.limit()?,
        before: query.parsed("cursor")?,
    };
    let page = call.app.store.orders(&filter).await?;
    if page.items.is_empty() {
        let (region, device) = (filter.region.as_deref(), filter.device.as_deref());
        check_names(&call, region, device, filter.definition.as_deref()).await?;
    }
    ok(&page)
}

/// The order that the path names.
pub(super) async fn find(call: &Call) -> Result<OrderView, Refusal> {
    let id = resolve::order_id(call).await?;
    match call.app.store.order(id).await? {
        Some(order) => Ok(order),
        None => Err(resolve::missing(call, IdOf::Order, id.0).await?.into()),
    }
}

pub(super) async fn show(call: Call) -> Answer {
    let order = find(&call).await?;
    let Some(outlook) = undo::outlook(&call, &order).await? else { return ok(&order) };
    let mut body = serde_json::to_value(&order)
        .map_err(|_| Problem::internal("the order could not be written as JSON"))?;
    body["undo"] = outlook;
    ok(&body)
}

pub(super) async fn schedule(call: Call) -> Answer {
    let body = call.optional_object(&["at"])?;
    let now = Timestamp::now();
    let fault = |code: &str, detail: String| Problem::invalid(vec![Fault::new("/at", code, detail)]);
    let schedule = match body.get("at") {
        None => Schedule::Now,
        Some(Value::String(text)) => {
            Schedule::parse(text).and_then(|at| check_time(at, now)).map_err(|why| fault("bad_value", why))?
        }
        Some(_) => return Err(fault("wrong_type", "must be \"now\" or an RFC 3339 time".to_owned()).into()),
    };
    control(&call, OrderEvent::Schedule, Some(schedule.due(now)), None, now).await
}

pub(super) async fn unschedule(call: Call) -> Answer {
    call.optional_object(&[])?;
    control(&call, OrderEvent::Unschedule, None, None, Timestamp::now()).await
}

pub(super) async fn cancel(call: Call) -> Answer {
    let body = call.optional_object(&["reason"])?;
    let fault = |code: &str, detail: &str| Problem::invalid(vec![Fault::new("/reason", code, detail)]);
    let why = match body.get("reason") {
        None => None,
        Some(Value::String(text)) if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') => {
            return Err(fault("bad_character", "a reason has no control characters").into());
        }
        Some(Value::String(text)) if (1..=MAX_REASON_CHARS).contains(&text.chars().count()) => {
            Some(text.clone())
        }
        Some(Value::String(_)) => return Err(fault("length", "1 to 1024 characters").into()),
        Some(_) => return Err(fault("wrong_type", "must be a text").into()),
    };
    control(&call, OrderEvent::Cancel, None, why, Timestamp::now()).await
}

async fn control(
    call: &Call,
    asked: OrderEvent,
    due: Option<Timestamp>,
    why: Option<String>,
    at: Timestamp,
) -> Answer {
    let id = resolve::order_id(call).await?;
    let by = call.requester()?.to_owned();
    let control = Control { event: asked, due, why, by, at, event_id: Uuid::now_v7() };
    match call.app.store.control(id, &control, call.app.reach_ms).await {
        Ok(order) => ok(&order),
        Err(Refused::NotFound(id)) => Err(resolve::missing(call, IdOf::Order, id.0).await?.into()),
        Err(Refused::Illegal(state)) => Err(illegal(asked.word(), state).into()),
        Err(Refused::Store(error)) => Err(error.into()),
    }
}

pub(super) fn illegal(action: &str, state: OrderState) -> Problem {
    let legal = state.legal_actions();
    let hint = if legal.is_empty() {
        "nothing else is".to_owned()
    } else {
        format!("possible: {}", legal.join(", "))
    };
    let detail = match state {
        OrderState::InProgress => format!(
            "{action} is not possible while the order is In Progress; wait until it has ended ('turnup order explain' \
             says what it does now)"
        ),
        _ => format!("{action} is not possible as the order is {}; {hint}", state.title()),
    };
    Problem::conflict(detail, legal)
}

pub(super) async fn recreate(call: Call) -> Answer {
    let mut body = object(call.json()?, &["changes"])?;
    let changes = match body.remove("changes") {
        Some(changes @ Value::Object(_)) => changes,
        Some(_) => return Err(changes_fault("wrong_type").into()),
        None => return Err(changes_fault("missing").into()),
    };
    let order = find(&call).await?;
    if order.state != OrderState::Invalid {
        return Err(illegal("recreate", order.state).into());
    }
    if let Some(undone) = order.options.undoes {
        // A copy of what it wanted would take back what was ordered since.
        let detail = format!(
            "this order was to undo order {undone}, and what that takes depends on the service as it is now: undo again \
             with 'turnup order undo {undone}'"
        );
        return Err(Problem::conflict(detail, order.state.legal_actions()).into());
    }
    let before = request_of(&order, Timestamp::now());
    let mut value = before.clone();
    let says_when = changes.get("schedule").is_some();
    merge(&mut value, changes);
    if value == before && !says_when {
        let detail = "the order would be the same, and Invalid again; say what is to be different, such as \
                      {\"attributes\": {\"mtu\": 9000}}. If the cause is gone and the same is wanted again, say when: \
                      {\"schedule\": \"now\"}";
        return Err(Problem::invalid(vec![Fault::new("/changes", "no_change", detail)]).into());
    }
    if order.external_id.is_some() && value.get("external_id") != before.get("external_id") {
        let detail = "the corrected order keeps the external id, so that the upstream system finds it by that; \
                      leave it out";
        return Err(Problem::invalid(vec![Fault::new("/changes/external_id", "not_allowed", detail)]).into());
    }
    // It stays the order of whoever made it, by whose name its external id is unique.
    let origin = Origin {
        requester: order.requester,
        by: call.requester()?.to_owned(),
        key: call.key()?,
        derived_from: Some(order.id),
        undoing: None,
    };
    accepted(call.app.acceptor.accept(&value, origin).await?)
}

fn changes_fault(code: &str) -> Problem {
    let detail = "an object with what is to be different, as a merge patch (RFC 7396); null removes a field";
    Problem::invalid(vec![Fault::new("/changes", code, detail)])
}

/// The request that would give this order, with its external id and its time. A time that has passed means now.
fn request_of(order: &OrderView, now: Timestamp) -> Value {
    let mut request = Map::new();
    if let Some(external_id) = &order.external_id {
        request.insert("external_id".to_owned(), json!(external_id));
    }
    if let Some(at) = order.scheduled_for {
        let at = if at > now { event::time(at) } else { "now".to_owned() };
        request.insert("schedule".to_owned(), json!(at));
    }
    request.insert("kind".to_owned(), json!(order.kind));
    request.insert("definition".to_owned(), json!(order.definition));
    request.insert("priority".to_owned(), json!(order.priority));
    if let Some(description) = &order.description {
        request.insert("description".to_owned(), json!(description));
    }
    // Neither the version of the definition (a newer one may be the correction) nor the approved plan.
    if order.kind.has_content() {
        request.insert("attributes".to_owned(), order.attributes.clone());
        request.insert("endpoints".to_owned(), json!(order.endpoints));
    }
    if order.kind == OrderKind::Validate {
        request.insert("audit".to_owned(), json!(order.options.audit));
    }
    if order.kind != OrderKind::Provision {
        request.insert("service_id".to_owned(), json!(order.service_id));
    }
    Value::Object(request)
}
