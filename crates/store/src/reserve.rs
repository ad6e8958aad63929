//! Values of pools for the orders of a batch: those that are given, and the next free ones.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use deadpool_postgres::Object;
use jiff::Timestamp;
use tokio_postgres::types::Json;
use turnup_core::{
    id::{OrderId, ServiceId},
    resource::{Pool, ResourceClaim, ResourceKey, text_of},
};
use uuid::Uuid;

use crate::{
    Accepted, Clash, Exhausted, Filled, NewOrder, StoreError,
    pool::{all, statement},
    resource,
};

/// What became of an order that needs values of pools.
#[derive(Debug)]
pub(crate) enum Reserved {
    /// It has them all.
    Filled(Filled),
    /// It goes without, and holds nothing.
    Refused(Accepted),
}

/// A pool, and where its values are unique.
type Within = (String, String);

/// What a batch needs within one scope of a pool.
#[derive(Debug)]
struct Need<'a> {
    pool: &'a Pool,
    picks: usize,
    given: BTreeSet<i64>,
}

/// A value that is taken, or will be.
#[derive(Debug, Clone)]
struct Taken {
    number: Option<i64>,
    service: ServiceId,
    orders: Vec<OrderId>,
    /// Whether the database has it already.
    stored: bool,
    /// Those of the batch that need it.
    joined: Vec<OrderId>,
}

/// What is taken and what is free, as far as the batch needs to know.
#[derive(Debug, Default)]
struct Stock {
    taken: BTreeMap<ResourceKey, Taken>,
    numbers: HashMap<(Within, i64), ResourceKey>,
    free: HashMap<Within, VecDeque<i64>>,
    /// Behind the last number that was picked.
    next: BTreeMap<Within, i64>,
}

fn within(claim: &ResourceClaim) -> Within {
    (claim.name.clone(), claim.scope.clone())
}

fn needs<'a>(orders: &[&'a NewOrder]) -> BTreeMap<Within, Need<'a>> {
    let mut needs: BTreeMap<Within, Need<'a>> = BTreeMap::new();
    for claim in orders.iter().flat_map(|order| &order.claims) {
        let need = needs.entry(within(claim)).or_insert_with(|| Need {
            pool: &claim.pool,
            picks: 0,
            given: BTreeSet::new(),
        });
        match &claim.given {
            Some(value) => need.given.extend(claim.pool.number(value)),
            None => need.picks += 1,
        }
    }
    needs
}

impl Stock {
    fn add(&mut self, key: ResourceKey, taken: Taken) {
        if let Some(number) = taken.number {
            self.numbers.insert(((key.pool.clone(), key.scope.clone()), number), key.clone());
        }
        self.taken.insert(key, taken);
    }

    /// The row that has this value, or another text for the same number.
    fn find(&self, key: &ResourceKey, number: Option<i64>) -> Option<ResourceKey> {
        if self.taken.contains_key(key) {
            return Some(key.clone());
        }
        let number = number?;
        self.numbers.get(&((key.pool.clone(), key.scope.clone()), number)).cloned()
    }

    fn take(&mut self, key: ResourceKey, number: Option<i64>, order: &NewOrder) {
        let (id, service) = (order.facts.id, order.facts.service_id);
        match self.taken.get_mut(&key) {
            Some(taken) if taken.orders.contains(&id) => {}
            Some(taken) => {
                taken.orders.push(id);
                taken.joined.push(id);
            }
            None => {
                self.add(key, Taken { number, service, orders: vec![id], stored: false, joined: vec![id] });
            }
        }
    }

    /// Gives one order all that it needs, or nothing.
    fn serve(&mut self, order: &NewOrder) -> Reserved {
        let mut keys: Vec<(ResourceKey, Option<i64>)> = Vec::new();
        let mut clashes = Vec::new();
        for (claim, value) in order.claims.iter().filter_map(|claim| Some((claim, claim.given.as_ref()?))) {
            let key =
                ResourceKey { pool: claim.name.clone(), scope: claim.scope.clone(), value: text_of(value) };
            let number = claim.pool.number(value);
            let Some(found) = self.find(&key, number) else {
                keys.push((key, number));
                continue;
            };
            match self.taken.get(&found) {
                Some(taken) if taken.service != order.facts.service_id => clashes.push(Clash {
                    pointer: claim.place.pointer(),
                    pool: found.pool,
                    scope: found.scope,
                    value: key.value,
                    service: taken.service,
                    orders: taken.orders.clone(),
                }),
                _ => keys.push((found, number)),
            }
        }
        if !clashes.is_empty() {
            return Reserved::Refused(Accepted::ResourceTaken(clashes));
        }
        let mut filled = Filled::as_given(order);
        let mut used: HashMap<Within, usize> = HashMap::new();
        for claim in order.claims.iter().filter(|claim| claim.given.is_none()) {
            let within = within(claim);
            let used = used.entry(within.clone()).or_default();
            let Some(number) = self.free.get(&within).and_then(|free| free.get(*used)).copied() else {
                return Reserved::Refused(Accepted::PoolExhausted(Box::new(Exhausted {
                    pointer: claim.place.pointer(),
                    pool: within.0,
                    scope: within.1,
                    from: claim.pool.from,
                    to: claim.pool.to,
                    holders: Vec::new(),
                })));
            };
            *used += 1;
            let value = claim.pool.value(number);
            keys.push((
                ResourceKey { pool: within.0, scope: within.1, value: text_of(&value) },
                Some(number),
            ));
            claim.place.put(&mut filled.attributes, &mut filled.endpoints, value);
        }
        for (within, used) in used {
            if let Some(free) = self.free.get_mut(&within)
                && let Some(last) = free.drain(..used).next_back()
            {
                self.next.insert(within, last.saturating_add(1));
            }
        }
        for (key, number) in keys {
            if !filled.resources.contains(&key) {
                filled.resources.push(key.clone());
            }
            self.take(key, number, order);
        }
        Reserved::Filled(filled)
    }
}

/// Takes what `orders` need, in their order, within the transaction. Nobody else takes anything of the
/// same pools and scopes until it ends.
pub(crate) async fn reserve(
    client: &Object,
    orders: &[&NewOrder],
    now: Timestamp,
) -> Result<Vec<Reserved>, StoreError> {
    let needs = needs(orders);
    let cursors = lock_cursors(client, &needs).await?;
    let mut stock = Stock::default();
    read_held(client, orders, &mut stock).await?;
    read_free(client, &needs, &cursors, &mut stock).await?;
    let mut answers: Vec<Reserved> = orders.iter().map(|order| stock.serve(order)).collect();
    write(client, &stock, now).await?;
    let exhausted = answers.iter_mut().filter_map(|answer| match answer {
        Reserved::Refused(Accepted::PoolExhausted(exhausted)) => Some(&mut **exhausted),
        _ => None,
    });
    resource::name_holders(client, exhausted.collect()).await?;
    Ok(answers)
}

/// Keeps others from the pools and scopes that `orders` need, until the transaction ends.
pub(crate) async fn lock_pools(client: &Object, orders: &[&NewOrder]) -> Result<(), StoreError> {
    lock_cursors(client, &needs(orders)).await.map(|_| ())
}

async fn lock_cursors(
    client: &Object,
    needs: &BTreeMap<Within, Need<'_>>,
) -> Result<HashMap<Within, i64>, StoreError> {
    let (pools, scopes): (Vec<&str>, Vec<&str>) =
        needs.keys().map(|(pool, scope)| (pool.as_str(), scope.as_str())).unzip();
    let lock = statement!(client, "resource_lock_cursors");
    let rows = client.query(&lock, &[&pools, &scopes]).await?;
    let next = |row: &tokio_postgres::Row| Some(((row.get(0), row.get(1)), row.get::<_, Option<i64>>(2)?));
    Ok(rows.iter().filter_map(next).collect())
}

/// Who has the given values.
async fn read_held(client: &Object, orders: &[&NewOrder], stock: &mut Stock) -> Result<(), StoreError> {
    let (mut pools, mut scopes, mut values, mut numbers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for claim in orders.iter().flat_map(|order| &order.claims) {
        if let Some(value) = &claim.given {
            pools.push(claim.name.as_str());
            scopes.push(claim.scope.as_str());
            values.push(text_of(value));
            numbers.push(claim.pool.number(value));
        }
    }
    if pools.is_empty() {
        return Ok(());
    }
    let held = statement!(client, "resource_held");
    for row in client.query(&held, &[&pools, &scopes, &values, &numbers]).await? {
        let key = ResourceKey { pool: row.get(0), scope: row.get(1), value: row.get(2) };
        let orders = row.get::<_, Vec<Uuid>>(5).into_iter().map(OrderId).collect();
        let taken = Taken {
            number: row.get(3),
            service: ServiceId(row.get(4)),
            orders,
            stored: true,
            joined: Vec::new(),
        };
        stock.add(key, taken);
    }
    Ok(())
}

/// As many free numbers as may be needed.
async fn read_free(
    client: &Object,
    needs: &BTreeMap<Within, Need<'_>>,
    cursors: &HashMap<Within, i64>,
    stock: &mut Stock,
) -> Result<(), StoreError> {
    let wanted: Vec<(&Within, &Need<'_>)> = needs.iter().filter(|(_, need)| need.picks > 0).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let pools: Vec<&str> = wanted.iter().map(|(within, _)| within.0.as_str()).collect();
    let scopes: Vec<&str> = wanted.iter().map(|(within, _)| within.1.as_str()).collect();
    let first: Vec<i64> = wanted.iter().map(|(_, need)| need.pool.from).collect();
    let last: Vec<i64> = wanted.iter().map(|(_, need)| need.pool.to).collect();
    let next: Vec<i64> = wanted
        .iter()
        .map(|(within, need)| {
            let next = cursors.get(*within).copied();
            next.filter(|next| (need.pool.from..=need.pool.to).contains(next)).unwrap_or(need.pool.from)
        })
        .collect();
    // Those that the batch gives by hand are not picked, so so many more are read.
    let counts: Vec<i64> = wanted
        .iter()
        .map(|(_, need)| i64::try_from(need.picks + need.given.len()).unwrap_or(i64::MAX))
        .collect();
    let (prefixes, suffixes): (Vec<&str>, Vec<&str>) = wanted
        .iter()
        .map(|(_, need)| need.pool.format.as_deref().and_then(|f| f.split_once("{}")).unwrap_or_default())
        .unzip();
    let pick = statement!(client, "resource_pick");
    let rows =
        client.query(&pick, &[&pools, &scopes, &first, &last, &next, &counts, &prefixes, &suffixes]).await?;
    for row in rows {
        let (place, number): (i64, i64) = (row.get(0), row.get(1));
        let found = usize::try_from(place - 1).ok().and_then(|place| wanted.get(place));
        if let Some((within, need)) = found
            && !need.given.contains(&number)
        {
            stock.free.entry((*within).clone()).or_default().push_back(number);
        }
    }
    Ok(())
}

async fn write(client: &Object, stock: &Stock, now: Timestamp) -> Result<(), StoreError> {
    let ids = |orders: &[OrderId]| Json(orders.iter().map(|order| order.0).collect::<Vec<Uuid>>());
    let changed = || stock.taken.iter().filter(|(_, taken)| !taken.joined.is_empty());
    let new: Vec<_> = changed().filter(|(_, taken)| !taken.stored).collect();
    if !new.is_empty() {
        let pools: Vec<&str> = new.iter().map(|(key, _)| key.pool.as_str()).collect();
        let scopes: Vec<&str> = new.iter().map(|(key, _)| key.scope.as_str()).collect();
        let values: Vec<&str> = new.iter().map(|(key, _)| key.value.as_str()).collect();
        let numbers: Vec<Option<i64>> = new.iter().map(|(_, taken)| taken.number).collect();
        let services: Vec<Uuid> = new.iter().map(|(_, taken)| taken.service.0).collect();
        let orders: Vec<Json<Vec<Uuid>>> = new.iter().map(|(_, taken)| ids(&taken.joined)).collect();
        let take = statement!(client, "resource_take");
        client.execute(&take, &[&pools, &scopes, &values, &numbers, &services, &orders, &now]).await?;
    }
    let joined: Vec<_> = changed().filter(|(_, taken)| taken.stored).collect();
    if !joined.is_empty() {
        let pools: Vec<&str> = joined.iter().map(|(key, _)| key.pool.as_str()).collect();
        let scopes: Vec<&str> = joined.iter().map(|(key, _)| key.scope.as_str()).collect();
        let values: Vec<&str> = joined.iter().map(|(key, _)| key.value.as_str()).collect();
        let orders: Vec<Json<Vec<Uuid>>> = joined.iter().map(|(_, taken)| ids(&taken.joined)).collect();
        let join = statement!(client, "resource_join");
        let updated = client.execute(&join, &[&pools, &scopes, &values, &orders]).await?;
        all(updated, joined.len(), "a value of a pool that was held is gone")?;
    }
    if !stock.next.is_empty() {
        let pools: Vec<&str> = stock.next.keys().map(|(pool, _)| pool.as_str()).collect();
        let scopes: Vec<&str> = stock.next.keys().map(|(_, scope)| scope.as_str()).collect();
        let next: Vec<i64> = stock.next.values().copied().collect();
        let update = statement!(client, "resource_move_cursors");
        client.execute(&update, &[&pools, &scopes, &next]).await?;
    }
    Ok(())
}
