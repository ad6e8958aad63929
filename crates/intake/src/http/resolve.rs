//! What a path's `{id}`, or a query parameter in its place, names: an id, a unique beginning of one, or `external:` and
//! an external id.

use turnup_core::{
    id::{DeploymentId, OrderId, ServiceId},
    lifecycle::OrderState,
    order::OrderKind,
    problem::{Fault, Problem},
};
use turnup_store::{IdOf, OrderFilter};
use uuid::Uuid;

use super::{answer::Refusal, call::Call};

/// What an external id is given with.
const EXTERNAL: &str = "external:";
/// Least characters of the beginning of an id.
const MIN_PREFIX: usize = 8;
/// Most candidates named.
const MAX_CANDIDATES: usize = 10;
/// Code of the problem that the id names something else.
const OTHER_KIND: &str = "other_kind";

/// The order that the path names. It may not exist.
pub(super) async fn order_id(call: &Call) -> Result<OrderId, Refusal> {
    resolve(call, IdOf::Order).await.map(OrderId)
}

/// The service that the path names. It may not exist.
pub(super) async fn service_id(call: &Call) -> Result<ServiceId, Refusal> {
    resolve(call, IdOf::Service).await.map(ServiceId)
}

/// The deployment that the path names. It may not exist.
pub(super) async fn deployment_id(call: &Call) -> Result<DeploymentId, Refusal> {
    resolve(call, IdOf::Deployment).await.map(DeploymentId)
}

const fn word(of: IdOf) -> &'static str {
    match of {
        IdOf::Order => "order",
        IdOf::Service => "service",
        IdOf::Deployment => "deployment",
    }
}

/// The id that a query parameter names in the same way; none: it is not there. An id is taken as it is.
pub(super) async fn in_query(call: &Call, of: IdOf, name: &str) -> Result<Option<Uuid>, Refusal> {
    let Some(given) = call.query.text(name)? else { return Ok(None) };
    meant(call, of, name, &given).await.map(Some)
}

/// The id that `given`, a part of the query parameter `name`, names. Of a service that was removed its orders and events
/// are still there, and its external id finds them.
pub(super) async fn meant(call: &Call, of: IdOf, name: &str, given: &str) -> Result<Uuid, Refusal> {
    let found = match named(call, of, given).await {
        Err(Refusal(problem)) if of == IdOf::Service && problem.status == 404 => {
            removed(call, given).await?.ok_or(Refusal(problem))
        }
        found => found,
    };
    found.map_err(|Refusal(problem)| match problem.status {
        404 | 409 => {
            let detail = format!("query parameter {name}: {}", problem.detail);
            Problem { errors: problem.errors, ..Problem::unreadable(detail) }.into()
        }
        _ => Refusal(problem),
    })
}

/// The service that an order with this external id made, and that does not exist any more: its orders can still be
/// listed.
async fn removed(call: &Call, given: &str) -> Result<Option<Uuid>, Refusal> {
    let Some(external_id) = given.strip_prefix(EXTERNAL) else { return Ok(None) };
    let orders = call.app.store.ids_with_external_id(IdOf::Order, external_id, 2).await?;
    let [order] = orders.as_slice() else { return Ok(None) };
    let order = call.app.store.order(OrderId(*order)).await?;
    let made = order.filter(|order| order.kind == OrderKind::Provision);
    Ok(made.map(|order| order.service_id.0))
}

async fn resolve(call: &Call, of: IdOf) -> Result<Uuid, Refusal> {
    named(call, of, &call.parameter).await
}

/// The id that `given` names. Nothing may have it.
async fn named(call: &Call, of: IdOf, given: &str) -> Result<Uuid, Refusal> {
    if let Ok(id) = Uuid::parse_str(given) {
        return Ok(id);
    }
    let shown: String = given.chars().take(160).collect();
    if let Some(external_id) = given.strip_prefix(EXTERNAL) {
        let found = with_external_id(call, of, external_id).await?;
        return match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(no_external_id(call, of, external_id).await?),
            many => {
                Err(ambiguous(&format!("external id {:?} belongs to", &shown[EXTERNAL.len()..]), of, many)
                    .into())
            }
        };
    }
    let Some(range) = prefix(given) else {
        let detail = format!(
            "there is no {what} {shown:?}; give its id, at least the first {MIN_PREFIX} characters of it, or \
             {EXTERNAL} and its external id",
            what = word(of)
        );
        return Err(Problem::not_found(detail).into());
    };
    let limit = i64::try_from(MAX_CANDIDATES + 1).unwrap_or(i64::MAX);
    let found = call.app.store.ids_between(of, range, limit).await?;
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            for other in
                [IdOf::Order, IdOf::Service, IdOf::Deployment].into_iter().filter(|other| *other != of)
            {
                if let [one] = call.app.store.ids_between(other, range, 2).await?.as_slice() {
                    return Err(missing(call, of, *one).await?.into());
                }
            }
            Err(Problem::not_found(format!("no {} has an id that begins with {shown:?}", word(of))).into())
        }
        many => Err(ambiguous(&format!("the id {shown:?} is the beginning of"), of, many).into()),
    }
}

/// The ids that begin with `given`, if that is the beginning of an id.
fn prefix(given: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = given.chars().filter(|c| *c != '-').collect();
    let fits = given.len() >= MIN_PREFIX
        && (MIN_PREFIX..32).contains(&digits.len())
        && digits.chars().all(|c| c.is_ascii_hexdigit());
    if !fits {
        return None;
    }
    let filled = |with: &str| Uuid::parse_str(&format!("{digits}{}", with.repeat(32 - digits.len()))).ok();
    Some((filled("0")?, filled("f")?))
}

async fn with_external_id(call: &Call, of: IdOf, external_id: &str) -> Result<Vec<Uuid>, Refusal> {
    let limit = i64::try_from(MAX_CANDIDATES + 1).unwrap_or(i64::MAX);
    if of != IdOf::Deployment {
        return Ok(call.app.store.ids_with_external_id(of, external_id, limit).await?);
    }
    let mut found = Vec::new();
    for order in call.app.store.ids_with_external_id(IdOf::Order, external_id, limit).await? {
        let order = call.app.store.order(OrderId(order)).await?;
        let deployments = order.and_then(|order| order.deployments).unwrap_or_default();
        found.extend(deployments.iter().map(|deployment| deployment.id.0));
    }
    Ok(found)
}

/// 409: more of the id is needed.
fn ambiguous(what: &str, of: IdOf, candidates: &[Uuid]) -> Problem {
    let word = word(of);
    let named: Vec<String> = candidates.iter().take(MAX_CANDIDATES).map(Uuid::to_string).collect();
    let more = if candidates.len() > MAX_CANDIDATES { " and more" } else { "" };
    let detail = format!("{what} several {word}s: {}{more}; give the whole id of one", named.join(", "));
    let errors = named.iter().map(|id| Fault::new("", "candidate", format!("{word} {id}"))).collect();
    Problem { errors, ..Problem::new(409, "ambiguous_id", "The id is not unique", detail) }
}

async fn no_external_id(call: &Call, of: IdOf, external_id: &str) -> Result<Refusal, Refusal> {
    let shown: String = external_id.chars().take(128).collect();
    if of == IdOf::Service {
        let orders = call.app.store.ids_with_external_id(IdOf::Order, external_id, 1).await?;
        if let Some(order) = orders.first()
            && let Some(order) = call.app.store.order(OrderId(*order)).await?
        {
            if order.kind == OrderKind::Provision {
                return Ok(missing(call, of, order.service_id.0).await?.into());
            }
            let detail = format!(
                "external id {shown:?} is that of order {} of service {}; give the service's id",
                order.id, order.service_id
            );
            return Ok(Problem::new(404, OTHER_KIND, NOT_FOUND, detail).into());
        }
    }
    Ok(Problem::not_found(format!("there is no {} with the external id {shown:?}", word(of))).into())
}

/// Title of every 404.
const NOT_FOUND: &str = "There is no such thing";

/// 404 for an id that nothing of this kind has; says what has it instead, and where a service has gone.
pub(super) async fn missing(call: &Call, of: IdOf, id: Uuid) -> Result<Problem, Refusal> {
    let other = |detail: String| Ok(Problem::new(404, OTHER_KIND, NOT_FOUND, detail));
    let store = &call.app.store;
    if of == IdOf::Service {
        let filter = OrderFilter { service_id: Some(ServiceId(id)), limit: 1, ..OrderFilter::default() };
        if let Some(last) = store.orders(&filter).await?.items.first() {
            let (kind, state, at) = (last.kind, last.state, turnup_core::event::time(last.updated_at));
            if (kind, state) == (OrderKind::Decommission, OrderState::Completed) {
                let detail = format!(
                    "service {id} was removed by order {} at {at}; 'turnup order list --service-id {id}' lists its \
                     orders",
                    last.id
                );
                return Ok(Problem::new(404, "removed", "The service was removed", detail));
            }
            let detail = format!(
                "service {id} does not exist; its last order {} ({}) is {} since {at}",
                last.id,
                kind.title(),
                state.title()
            );
            return Ok(Problem::not_found(detail));
        }
    }
    if of != IdOf::Order
        && let Some(order) = store.order(OrderId(id)).await?
    {
        return other(match of {
            IdOf::Deployment => format!("{id} is an order; 'turnup order show {id}' shows its deployments"),
            IdOf::Order | IdOf::Service => {
                format!("{id} is an order of service {}; give the service's id", order.service_id)
            }
        });
    }
    if of != IdOf::Service && store.service(ServiceId(id)).await?.is_some() {
        return other(format!("{id} is a service; 'turnup order list --service-id {id}' lists its orders"));
    }
    if of != IdOf::Deployment
        && let Some((_, orders)) = store.deployment(DeploymentId(id)).await?
    {
        let orders: Vec<String> = orders.iter().take(MAX_CANDIDATES).map(ToString::to_string).collect();
        return other(format!("{id} is a deployment of order {}", orders.join(", ")));
    }
    Ok(Problem::not_found(format!("there is no {} {id}", word(of))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_has_at_least_eight_digits() {
        let id = |text: &str| Uuid::parse_str(text).unwrap();
        assert_eq!(
            prefix("01a22dd2"),
            Some((id("01a22dd2-0000-0000-0000-000000000000"), id("01a22dd2-ffff-ffff-ffff-ffffffffffff")))
        );
        assert_eq!(prefix("01A22dd2-a29"), prefix("01a22dd2a29"));
        for no_prefix in ["", "01a22dd", "01a22d-d", "CRM-1001", "01a22ddx", "external"] {
            assert_eq!(prefix(no_prefix), None, "{no_prefix}");
        }
    }
}
