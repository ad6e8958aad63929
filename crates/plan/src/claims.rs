//! What an order needs from pools.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::{Map, Value};
use turnup_core::{
    name::RegionName,
    order::Endpoint,
    problem::{Fault, pointer_to},
    resource::{Place, PoolScope, ResourceClaim, text_of},
};

use crate::{
    bundle::MAIN,
    check::Checked,
    definition::{Definition, ResourceUse},
    mistake::Mistake,
    pools::{PoolRule, Pools},
    schema::Schema,
};

/// Longest value of an attribute that says within what another is unique, in bytes.
const MAX_WITHIN_BYTES: usize = 128;

/// A resource at its place in an order.
struct Wanted<'a> {
    resource: &'a ResourceUse,
    place: Place,
    given: Option<&'a Value>,
    endpoint: Option<&'a Endpoint>,
}

impl Definition {
    /// What a checked order takes from pools: one claim for each of its resources. `region` is that of its
    /// devices; none: they are in several. A claim without a given value is to be picked; [`Place::put`] puts the value into the
    /// order, which [`Self::check`] then accepts as it accepts one that was given.
    ///
    /// # Errors
    /// Faults with the codes `out_of_pool` (a value that is not the pool's), `missing` (an attribute that
    /// says where a value is to be unique), `duplicate` (the same value twice in the order), `several_regions`
    /// (a pool whose values are unique within a region) and `unknown_pool`.
    pub fn claims(
        &self,
        checked: &Checked,
        pools: &Pools,
        region: Option<&RegionName>,
    ) -> Result<Vec<ResourceClaim>, Vec<Fault>> {
        let (mut claims, mut faults) = (Vec::new(), Vec::new());
        for wanted in self.wanted(&checked.attributes, &checked.endpoints) {
            match claim(&wanted, pools, region) {
                Ok(claim) => claims.push(claim),
                Err(fault) => faults.push(fault),
            }
        }
        faults.extend(duplicates(&claims));
        if faults.is_empty() { Ok(claims) } else { Err(faults) }
    }

    /// Gives the resources that a modify order leaves out the values that the service has: an endpoint
    /// with the same role, device and place on it (`within`) keeps what it has. The rest is left to be
    /// picked.
    pub fn keep_resources(
        &self,
        checked: &mut Checked,
        attributes: &Map<String, Value>,
        endpoints: &[Endpoint],
    ) {
        let mut kept = Vec::new();
        let mut used = BTreeSet::new();
        let mut all = self.wanted(&checked.attributes, &checked.endpoints);
        // What is given comes first, so that no other endpoint takes the same from the service.
        all.sort_by_key(|wanted| wanted.given.is_none());
        for wanted in all {
            let Wanted { resource, place, endpoint, .. } = &wanted;
            let value = match endpoint {
                None => attributes.get(&resource.attribute),
                Some(now) => {
                    let was = endpoints.iter().enumerate().find(|(i, was)| {
                        let same = |name: &String| was.attributes.get(name) == now.attributes.get(name);
                        was.role == now.role
                            && was.device == now.device
                            && resource.within.iter().all(same)
                            && wanted
                                .given
                                .is_none_or(|given| was.attributes.get(&resource.attribute) == Some(given))
                            && !used.contains(&(*i, resource.attribute.as_str()))
                    });
                    was.and_then(|(i, was)| {
                        used.insert((i, resource.attribute.as_str()));
                        was.attributes.get(&resource.attribute)
                    })
                }
            };
            if let (None, Some(value)) = (wanted.given, value) {
                kept.push((place.clone(), value.clone()));
            }
        }
        for (place, value) in kept {
            place.put(&mut checked.attributes, &mut checked.endpoints, value);
        }
    }

    /// The resources that an order leaves to their pools, and the pools.
    pub(crate) fn left_out(&self, checked: &Checked) -> Vec<(Place, String)> {
        let wanted = self.wanted(&checked.attributes, &checked.endpoints);
        wanted
            .into_iter()
            .filter(|wanted| wanted.given.is_none())
            .map(|wanted| (wanted.place, wanted.resource.pool.clone()))
            .collect()
    }

    /// What is wrong with the definition's use of these pools. Files are named `definition/file`.
    #[must_use]
    pub fn pool_mistakes(&self, pools: &Pools) -> Vec<Mistake> {
        let of_service = self.resources.iter().map(|resource| (resource, &self.attributes));
        let of_roles = self
            .roles
            .iter()
            .flat_map(|role| role.resources.iter().map(move |resource| (resource, &role.attributes)));
        let file = PathBuf::from(self.name.as_str()).join(MAIN);
        of_service
            .chain(of_roles)
            .filter_map(|(resource, schema)| {
                let message = match pools.get(&resource.pool) {
                    None => pools.unknown(&resource.pool),
                    Some(rule) => misuse(resource, schema, rule)?,
                };
                Some(Mistake { file: file.clone(), line: resource.line, message })
            })
            .collect()
    }

    /// Every resource of an order.
    fn wanted<'a>(
        &'a self,
        attributes: &'a Map<String, Value>,
        endpoints: &'a [Endpoint],
    ) -> Vec<Wanted<'a>> {
        let mut all: Vec<Wanted<'a>> = self
            .resources
            .iter()
            .map(|resource| Wanted {
                resource,
                place: Place { endpoint: None, attribute: resource.attribute.clone() },
                given: attributes.get(&resource.attribute),
                endpoint: None,
            })
            .collect();
        for (i, endpoint) in endpoints.iter().enumerate() {
            let role = self.roles.iter().find(|role| role.name == endpoint.role);
            all.extend(role.into_iter().flat_map(|role| &role.resources).map(|resource| Wanted {
                resource,
                place: Place { endpoint: Some(i), attribute: resource.attribute.clone() },
                given: endpoint.attributes.get(&resource.attribute),
                endpoint: Some(endpoint),
            }));
        }
        all
    }
}

fn claim(wanted: &Wanted<'_>, pools: &Pools, region: Option<&RegionName>) -> Result<ResourceClaim, Fault> {
    let Wanted { resource, place, given, endpoint } = wanted;
    let Some(rule) = pools.get(&resource.pool) else {
        return Err(Fault::new(place.pointer(), "unknown_pool", pools.unknown(&resource.pool)));
    };
    if let Some(given) = given.filter(|given| !rule.accepts(given)) {
        let shown: String = text_of(given).chars().take(64).collect();
        let detail =
            format!("{shown:?} is not of the pool {}: give {}, or leave it out", resource.pool, rule.form());
        return Err(Fault::new(place.pointer(), "out_of_pool", detail));
    }
    let scope = match (rule.pool.scope, endpoint) {
        (PoolScope::Network, _) => String::new(),
        (PoolScope::Region, _) => match region {
            Some(region) => region.to_string(),
            None => return Err(in_several_regions(resource, place)),
        },
        (PoolScope::Device, Some(endpoint)) => part_of_device(resource, place, endpoint)?,
        // The check of the catalogue refuses it.
        (PoolScope::Device, None) => {
            let detail = format!("the pool {} is for what is on a device", resource.pool);
            return Err(Fault::new(place.pointer(), "unknown_pool", detail));
        }
    };
    Ok(ResourceClaim {
        name: resource.pool.clone(),
        pool: rule.pool.clone(),
        scope,
        place: place.clone(),
        given: given.cloned(),
    })
}

fn in_several_regions(resource: &ResourceUse, place: &Place) -> Fault {
    let detail = format!(
        "the pool {} has values that are unique within a region, and this order's devices are in several; make \
         one order per region, or give the pool the scope network or device",
        resource.pool
    );
    Fault::new(place.pointer(), "several_regions", detail)
}

fn part_of_device(resource: &ResourceUse, place: &Place, endpoint: &Endpoint) -> Result<String, Fault> {
    let mut parts = vec![endpoint.device.to_string()];
    for name in &resource.within {
        let text = match endpoint.attributes.get(name) {
            Some(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => text_of(value),
            _ => String::new(),
        };
        if text.is_empty() || text.len() > MAX_WITHIN_BYTES {
            let at = place.endpoint.map(|i| format!("/endpoints/{i}/attributes")).unwrap_or_default();
            let detail = format!(
                "{:?} is unique within {name:?}, which must have a value of 1 to {MAX_WITHIN_BYTES} bytes",
                resource.attribute
            );
            return Err(Fault::new(pointer_to(&at, name), "missing", detail));
        }
        parts.push(text);
    }
    Ok(parts.join("/"))
}

/// Values that the order gives twice where they are unique.
fn duplicates(claims: &[ResourceClaim]) -> Vec<Fault> {
    let mut first: BTreeMap<(&str, &str, String), &Place> = BTreeMap::new();
    let mut faults = Vec::new();
    for claim in claims {
        let Some(given) = &claim.given else { continue };
        let text = text_of(given);
        let detail = |first: &Place| {
            format!(
                "{text} of the pool {} is in the order twice, also at {}; take another or leave it out",
                claim.name,
                first.pointer()
            )
        };
        match first.get(&(claim.name.as_str(), claim.scope.as_str(), text.clone())) {
            Some(first) => faults.push(Fault::new(claim.place.pointer(), "duplicate", detail(first))),
            None => {
                first.insert((&claim.name, &claim.scope, text), &claim.place);
            }
        }
    }
    faults
}

/// Why a pool doesn't fit an attribute.
fn misuse(resource: &ResourceUse, schema: &Schema, rule: &PoolRule) -> Option<String> {
    let ResourceUse { attribute, pool, within, of_endpoint, .. } = resource;
    let scope = rule.pool.scope;
    if scope == PoolScope::Device && !of_endpoint {
        return Some(format!(
            "{attribute:?} is an attribute of the service, which is on several devices, but the pool \
             {pool:?} is per device; make it an attribute of the endpoint or take another pool"
        ));
    }
    if scope != PoolScope::Device && !within.is_empty() {
        return Some(format!("'within' is for pools per device, {pool:?} is per {scope}; leave it out"));
    }
    // Both ends, and one step: enough for ranges, types, forms and multiples.
    let (from, to) = (rule.pool.from, rule.pool.to);
    [from, to, (from + 1).min(to)].into_iter().find_map(|number| {
        let value = rule.pool.value(number);
        let refusal = schema.refusal(attribute, &value)?;
        Some(format!("the pool {pool:?} can give {value}, which {attribute:?} doesn't allow: {refusal}"))
    })
}
