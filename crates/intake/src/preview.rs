//! Which values of pools an order would get, without reserving them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use turnup_core::{
    id::ServiceId,
    order::OrderRequest,
    problem::Problem,
    resource::{Place, ResourceClaim, text_of},
};
use turnup_store::{Accepted, Filled, NewOrder, Store};
use uuid::Uuid;

use crate::{
    accept::{
        decide::Wanted,
        order::{Ids, Origin, new_order},
    },
    refusal,
};

/// A value that an order takes from a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Resource {
    pub(crate) pool: String,
    pub(crate) scope: String,
    pub(crate) value: String,
    /// It was not given, the pool gives it.
    pub(crate) picked: bool,
    /// Where in the order it stands.
    pub(crate) pointer: String,
}

/// Puts the values into `wanted` that acceptance would put there now.
///
/// # Errors
/// What acceptance would answer: 409 for a value of another's, an exhausted pool, a service that is busy;
/// 503.
pub(crate) async fn fill(
    store: &Store,
    request: OrderRequest,
    wanted: &mut Wanted,
    origin: &Origin,
) -> Result<Vec<Resource>, Problem> {
    let order = ghost(request, wanted.clone(), origin);
    match store.rehearse(&order).await.map_err(|error| refusal::of_store(&error))? {
        Some(Accepted::Created(filled)) => {
            let resources = resources(&wanted.claims, &filled);
            wanted.attributes = filled.attributes;
            wanted.endpoints = filled.endpoints;
            Ok(resources)
        }
        Some(Accepted::ResourceTaken(clashes)) => Err(refusal::resource_taken(&clashes)),
        Some(Accepted::PoolExhausted(exhausted)) => Err(refusal::pool_exhausted(&exhausted)),
        Some(Accepted::Busy(orders)) => Err(refusal::service_busy(&orders)),
        Some(Accepted::NotCorrectable(id, state)) => Err(refusal::not_correctable(id, state)),
        Some(Accepted::Known(_) | Accepted::KeyReused(_) | Accepted::Correctable(_)) | None => {
            Err(Problem::internal("a dry run was taken for another order"))
        }
    }
}

/// The order with nothing by which it could be taken for another: whether it is one is asked before.
fn ghost(request: OrderRequest, wanted: Wanted, origin: &Origin) -> NewOrder {
    let request = OrderRequest { external_id: None, schedule: None, ..request };
    let origin = Origin { key: None, ..origin.clone() };
    let ids = Ids { service: ServiceId(Uuid::nil()), ..Ids::new() };
    NewOrder { entries: Vec::new(), ..new_order(request, wanted, origin, ids, Timestamp::now()) }
}

fn resources(claims: &[ResourceClaim], filled: &Filled) -> Vec<Resource> {
    let value = |place: &Place| -> Option<&Value> {
        match place.endpoint {
            None => filled.attributes.get(&place.attribute),
            Some(index) => filled.endpoints.get(index)?.attributes.get(&place.attribute),
        }
    };
    claims
        .iter()
        .filter_map(|claim| {
            Some(Resource {
                pool: claim.name.clone(),
                scope: claim.scope.clone(),
                value: text_of(value(&claim.place)?),
                picked: claim.given.is_none(),
                pointer: claim.place.pointer(),
            })
        })
        .collect()
}
