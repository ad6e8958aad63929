//! What the failures of other crates mean for who asked.

use turnup_core::{
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    problem::{Fault, Problem},
};
use turnup_store::{Clash, Exhausted, OrderView, StoreError};

/// The problem for a store call that failed. What the database said goes to the log, not to the
/// client.
pub(crate) fn of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::Away(_) => Problem::unavailable("the database can't be reached; try again"),
        StoreError::Version { .. } => {
            Problem::unavailable("the database's schema is not this release's; 'turnup migrate' is due")
        }
        StoreError::Refused(_) | StoreError::Unknown(_) => {
            tracing::error!(%error, "a database call failed");
            Problem::internal("the database refused; the log of this intake says why")
        }
    }
}

/// 408 (RFC 9110 §15.5.9).
pub(crate) fn too_slow() -> Problem {
    let detail = "the body did not arrive in time; send it again";
    Problem::new(408, "too_slow", "The request came too slowly", detail)
}

/// 409: values of pools that others have.
pub(crate) fn resource_taken(clashes: &[Clash]) -> Problem {
    let errors: Vec<Fault> = clashes
        .iter()
        .map(|clash| {
            let Clash { pointer, pool, scope, value, service, orders } = clash;
            let detail = format!(
                "{value} of the pool {pool}{} belongs to service {service} ({}); \
                 give another value, or leave it out and one is picked",
                within(scope),
                list("order", orders)
            );
            Fault::new(pointer.as_str(), "resource_taken", detail)
        })
        .collect();
    with_errors(Problem::new(409, "resource_taken", "A resource belongs to another service", ""), errors)
}

/// 409: the key or external id is of `order`, whose request was another.
pub(crate) fn reused(order: &OrderView) -> Problem {
    let external_id =
        order.external_id.as_deref().map(|id| format!(" (external id {id})")).unwrap_or_default();
    let what_then = match order.state {
        OrderState::Invalid => format!(
            "it is Invalid: send the corrected order with another key, or correct it with 'turnup order recreate {}'",
            order.id
        ),
        OrderState::FailedDeploy => {
            format!(
                "to try that order again: 'turnup order schedule {}'; for another order use a new one",
                order.id
            )
        }
        _ => "use a new one; what is deployed already is changed by an order of the kind modify".to_owned(),
    };
    Problem::key_reused(format!(
        "the idempotency key or external id belongs to order {}{external_id}, which is {} and whose request was \
         another; {what_then}",
        order.id,
        order.state.title()
    ))
}

/// 409: an order has a correction already; `last` is the last one.
pub(crate) fn not_correctable(last: OrderId, state: OrderState) -> Problem {
    let then = match state {
        OrderState::Invalid => format!("; correct that one: 'turnup order recreate {last}'"),
        OrderState::Requested | OrderState::Scheduled => {
            format!("; cancel that one first, if another is wanted: 'turnup order cancel {last}'")
        }
        _ => String::new(),
    };
    Problem::conflict(
        format!("the order was corrected already by order {last}, which is {}{then}", state.title()),
        Vec::new(),
    )
}

/// 409: a pool has no value left.
pub(crate) fn pool_exhausted(exhausted: &Exhausted) -> Problem {
    let Exhausted { pointer, pool, scope, from, to, holders } = exhausted;
    let held: Vec<String> =
        holders.iter().map(|row| format!("{} by service {}", row.value, row.service_id)).collect();
    let held = if held.is_empty() { String::new() } else { format!(" (such as {})", held.join(", ")) };
    let detail = format!(
        "the pool {pool}{} has no value from {from} to {to} left{held}; 'turnup pool show {pool}' lists \
         them all: free some, or widen the pool in pools.yaml",
        within(scope)
    );
    let fault = Fault::new(pointer.as_str(), "pool_exhausted", detail);
    with_errors(Problem::new(409, "pool_exhausted", "A pool is exhausted", ""), vec![fault])
}

/// 409: the service has unfinished orders, and the request was not to wait for them.
pub(crate) fn service_busy(orders: &[OrderId]) -> Problem {
    let detail = format!(
        "the service has unfinished orders ({}); wait for them, cancel them, or order with \
         \"if_busy\": \"wait\"",
        list("order", orders)
    );
    let fault = |id: &OrderId| Fault::new("/service_id", "service_busy", format!("order {id} is unfinished"));
    Problem {
        errors: orders.iter().map(fault).collect(),
        ..Problem::new(409, "service_busy", "The service has unfinished orders", detail)
    }
}

/// 409: the service has unfinished orders, and an undo rests on what the service is.
pub(crate) fn undo_busy(orders: &[OrderId]) -> Problem {
    let detail = format!(
        "the service has unfinished orders ({}), and an undo rests on what the service has; wait for them, or cancel \
         them",
        list("order", orders)
    );
    Problem { detail, ..service_busy(orders) }
}

/// 409: a version of a definition is published with other content.
pub(crate) fn version_published(name: &str, version: u32) -> Problem {
    let detail = format!(
        "{name} version {version} is published with other content, and a published version never changes; \
         raise 'version' in definition.yaml"
    );
    Problem::new(409, "version_published", "The version is published already", detail)
}

/// 404: a service without audit.
pub(crate) fn not_audited(service: ServiceId) -> Problem {
    let detail = format!("service {service} was not audited yet; 'turnup service audit {service}' does it");
    Problem::new(404, "not_audited", "Not audited yet", detail)
}

/// 504: no worker answered in time.
pub(crate) fn no_answer(detail: impl Into<String>) -> Problem {
    Problem::new(504, "no_answer", "No worker answered in time", detail)
}

/// A scope as part of a sentence.
fn within(scope: &str) -> String {
    if scope.is_empty() { String::new() } else { format!(" in {scope}") }
}

fn list(what: &str, ids: &[OrderId]) -> String {
    let many = if ids.len() == 1 { "" } else { "s" };
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("{what}{many} {}", ids.join(", "))
}

/// With these faults; one of them is also the detail.
fn with_errors(problem: Problem, errors: Vec<Fault>) -> Problem {
    let detail = match errors.as_slice() {
        [one] => one.detail.clone(),
        many => format!("{} faults, see errors", many.len()),
    };
    Problem { detail, errors, ..problem }
}
