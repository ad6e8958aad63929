//! Which values of pools an order would get, without reserving them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use turnup_core::{
    id::ServiceId,
    problem::Problem,
    resource::{ResourceClaim, text_of},
};
use turnup_store::{Clash, Exhausted, ResourceFilter, ResourceRow, Store};

use crate::{accept::decide::Wanted, refusal};

/// Rows read by one statement, and most statements for one pool.
const PAGE: i64 = 1_000;
const MAX_PAGES: usize = 200;
/// Most holders named of an exhausted pool.
const MAX_HOLDERS: usize = 5;

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

/// Puts values into `wanted` as acceptance would now.
///
/// # Errors
/// 409 as acceptance; 503.
pub(crate) async fn fill(store: &Store, wanted: &mut Wanted) -> Result<Vec<Resource>, Problem> {
    let places: BTreeSet<(&str, &str)> =
        wanted.claims.iter().map(|claim| (claim.name.as_str(), claim.scope.as_str())).collect();
    let mut taken = BTreeMap::new();
    for (pool, scope) in places {
        let rows = rows(store, pool, scope).await?;
        taken.insert((pool.to_owned(), scope.to_owned()), rows);
    }
    let (resources, values) = choose(&wanted.claims, wanted.service, &taken)?;
    for (claim, value) in wanted.claims.iter().zip(values) {
        claim.place.put(&mut wanted.attributes, &mut wanted.endpoints, value);
    }
    Ok(resources)
}

async fn rows(store: &Store, pool: &str, scope: &str) -> Result<Vec<ResourceRow>, Problem> {
    let mut rows = Vec::new();
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let filter = ResourceFilter {
            pool: Some(pool.to_owned()),
            scope: Some(scope.to_owned()),
            service_id: None,
            limit: PAGE,
            after,
        };
        let page = store.resources(&filter).await.map_err(|error| refusal::of_store(&error))?;
        rows.extend(page.items);
        after = page.next_cursor;
        if after.is_none() {
            return Ok(rows);
        }
    }
    tracing::warn!(pool, scope, "more values are taken than a dry run looks at");
    Ok(rows)
}

/// Rows by pool and scope.
type Taken = BTreeMap<(String, String), Vec<ResourceRow>>;

fn choose(
    claims: &[ResourceClaim],
    service: Option<ServiceId>,
    taken: &Taken,
) -> Result<(Vec<Resource>, Vec<serde_json::Value>), Problem> {
    let held = |claim: &ResourceClaim| {
        taken.get(&(claim.name.clone(), claim.scope.clone())).map_or(&[][..], Vec::as_slice)
    };
    let mut ours: BTreeSet<(&str, &str, String)> = BTreeSet::new();
    let mut clashes = Vec::new();
    for claim in claims {
        let Some(given) = &claim.given else { continue };
        let value = text_of(given);
        let of_other = |row: &&ResourceRow| row.value == value && Some(row.service_id) != service;
        if let Some(row) = held(claim).iter().find(of_other) {
            clashes.push(Clash {
                pointer: claim.place.pointer(),
                pool: claim.name.clone(),
                scope: claim.scope.clone(),
                value: value.clone(),
                service: row.service_id,
                orders: row.orders.clone(),
            });
        }
        ours.insert((&claim.name, &claim.scope, value));
    }
    if !clashes.is_empty() {
        return Err(refusal::resource_taken(&clashes));
    }
    let (mut resources, mut values) = (Vec::new(), Vec::new());
    for claim in claims {
        let value = match &claim.given {
            Some(given) => given.clone(),
            None => {
                let held: BTreeSet<&str> = held(claim).iter().map(|row| row.value.as_str()).collect();
                let free = (claim.pool.from..=claim.pool.to).find(|number| {
                    let text = text_of(&claim.pool.value(*number));
                    !held.contains(text.as_str()) && !ours.contains(&(&claim.name, &claim.scope, text))
                });
                let Some(free) = free else { return Err(refusal::pool_exhausted(&exhausted(claim, taken))) };
                let value = claim.pool.value(free);
                ours.insert((&claim.name, &claim.scope, text_of(&value)));
                value
            }
        };
        resources.push(Resource {
            pool: claim.name.clone(),
            scope: claim.scope.clone(),
            value: text_of(&value),
            picked: claim.given.is_none(),
            pointer: claim.place.pointer(),
        });
        values.push(value);
    }
    Ok((resources, values))
}

fn exhausted(claim: &ResourceClaim, taken: &Taken) -> Exhausted {
    let rows = taken.get(&(claim.name.clone(), claim.scope.clone()));
    Exhausted {
        pointer: claim.place.pointer(),
        pool: claim.name.clone(),
        scope: claim.scope.clone(),
        from: claim.pool.from,
        to: claim.pool.to,
        holders: rows.into_iter().flatten().take(MAX_HOLDERS).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use turnup_core::resource::{Place, Pool, PoolScope};
    use uuid::Uuid;

    use super::*;

    fn claim(attribute: &str, given: Option<Value>) -> ResourceClaim {
        let pool = Pool { title: String::new(), scope: PoolScope::Network, from: 1, to: 3, format: None };
        let place = Place { endpoint: None, attribute: attribute.to_owned() };
        ResourceClaim { name: "p".to_owned(), pool, scope: String::new(), place, given }
    }

    fn taken(values: &[(&str, u128)]) -> Taken {
        let row = |(value, service): &(&str, u128)| ResourceRow {
            pool: "p".to_owned(),
            scope: String::new(),
            value: (*value).to_owned(),
            service_id: ServiceId(Uuid::from_u128(*service)),
            orders: Vec::new(),
            since: Timestamp::UNIX_EPOCH,
        };
        BTreeMap::from([(("p".to_owned(), String::new()), values.iter().map(row).collect())])
    }

    #[test]
    fn the_smallest_that_nobody_has_and_the_order_itself_does_not_give() {
        let claims = [claim("a", None), claim("b", Some(json!(1)))];
        let (resources, values) = choose(&claims, None, &taken(&[])).unwrap();
        assert_eq!(values, [json!(2), json!(1)]);
        assert_eq!((resources[0].picked, resources[1].picked), (true, false));
        assert_eq!(resources[0].pointer, "/attributes/a");
        let (_, values) = choose(&claims[..1], None, &taken(&[("1", 7), ("3", 7)])).unwrap();
        assert_eq!(values, [json!(2)]);
    }

    #[test]
    fn what_another_has_is_refused_and_what_the_service_has_is_not() {
        let claims = [claim("a", Some(json!(2)))];
        let taken = taken(&[("2", 7)]);
        let problem = choose(&claims, Some(ServiceId(Uuid::from_u128(8))), &taken).unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (409, "resource_taken"));
        assert_eq!(problem.errors[0].pointer, "/attributes/a");
        assert!(choose(&claims, Some(ServiceId(Uuid::from_u128(7))), &taken).is_ok());
    }

    #[test]
    fn an_exhausted_pool_names_holders() {
        let taken = taken(&[("1", 7), ("2", 7), ("3", 7)]);
        let problem = choose(&[claim("a", None)], None, &taken).unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (409, "pool_exhausted"));
        assert!(problem.detail.contains("1 by service"), "{}", problem.detail);
    }
}
