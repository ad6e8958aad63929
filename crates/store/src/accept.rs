use std::collections::{HashMap, HashSet};

use deadpool_postgres::Object;
use jiff::Timestamp;
use tokio_postgres::{Row, types::Json};
use turnup_core::{
    id::{OrderId, ServiceId},
    lifecycle::OrderState,
    order::{IfBusy, OrderOptions},
};
use uuid::Uuid;

use crate::{
    Accepted, Entry, Filled, NewOrder, Store, StoreError, entry,
    pool::{Tx, statement},
    reserve::{Reserved, lock_pools, reserve},
    resource,
};

/// How far ahead (milliseconds) an order goes to the broker; further ones wait in the outbox.
fn not_before(due: Timestamp, now: Timestamp, reach_ms: i64) -> Option<Timestamp> {
    let start = due.checked_sub(jiff::SignedDuration::from_millis(reach_ms)).ok()?;
    (start > now).then_some(start)
}

impl Store {
    /// Stores `orders` in one transaction: orders, log, the values of pools that they need, and a due
    /// message for those with a time. `reach_ms` is how far ahead the delay ladder reaches. Answers in
    /// the order given. An order may be given again after an error, with the same id: if it was stored
    /// after all, it counts as created.
    ///
    /// # Errors
    /// If the database is away: then it is not known whether they were stored. If it refuses the
    /// batch: then nothing was stored, and the caller may try the orders singly.
    pub async fn accept(&self, orders: &[NewOrder], reach_ms: i64) -> Result<Vec<Accepted>, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let answers = store(tx.client()?, orders, reach_ms).await?;
            tx.commit().await?;
            Ok(answers)
        })
        .await
    }

    /// What [`Store::accept`] would answer now; nothing is stored and nothing reserved.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn rehearse(&self, order: &NewOrder) -> Result<Option<Accepted>, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let answers = store(tx.client()?, std::slice::from_ref(order), 0).await?;
            tx.rollback().await?;
            Ok(answers.into_iter().next())
        })
        .await
    }

    /// What the order with this requester's idempotency key or external id (the key counts first) makes of
    /// a `request` with this digest. For a repetition that would no longer pass the checks, such as a decommission
    /// order whose service is gone by now.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn known(
        &self,
        requester: &str,
        key: Option<&str>,
        external_id: Option<&str>,
        request: [u8; 32],
    ) -> Result<Option<Accepted>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "known_orders");
            let row = client
                .query_opt(
                    &statement,
                    &[
                        &vec![requester],
                        &vec![key],
                        &vec![external_id],
                        &vec![None::<Uuid>],
                        &vec![request.as_slice()],
                    ],
                )
                .await?;
            row.map(|row| Ok(KnownOrder::of(&row)?.answer(request))).transpose()
        })
        .await
    }
}

/// An order that has the id, key or external id of one that is to be stored.
#[derive(Debug, Clone, Copy)]
struct KnownOrder {
    id: OrderId,
    digest: [u8; 32],
    state: OrderState,
    by_external_id: bool,
}

impl KnownOrder {
    fn of(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: OrderId(row.get(1)),
            digest: digest(row.get(2))?,
            by_external_id: row.get::<_, i32>(3) > 2,
            state: row.get::<_, &str>(4).parse()?,
        })
    }

    /// What a request with this digest is told.
    fn answer(self, request: [u8; 32]) -> Accepted {
        match self.state {
            _ if self.digest == request => Accepted::Known(self.id),
            OrderState::Invalid if self.by_external_id => Accepted::Correctable(self.id),
            _ => Accepted::KeyReused(self.id),
        }
    }
}

fn digest(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unknown("a digest that has not 32 bytes".to_owned()))
}

/// An order with the content that is stored.
struct Admitted<'a> {
    place: usize,
    order: &'a NewOrder,
    filled: Filled,
}

/// Stores orders within a transaction, see [`Store::accept`].
pub(crate) async fn store(
    client: &Object,
    orders: &[NewOrder],
    reach_ms: i64,
) -> Result<Vec<Accepted>, StoreError> {
    let mut answers: Vec<Option<Accepted>> = vec![None; orders.len()];
    lock_corrected(client, orders).await?;
    let waves = waves(orders);
    if waves.len() > 1 {
        lock_ahead(client, orders).await?;
    }
    for wave in waves {
        store_wave(client, orders, &wave, reach_ms, &mut answers).await?;
    }
    let unanswered = || StoreError::Refused("an order was neither stored nor refused".to_owned());
    answers.into_iter().map(|answer| answer.ok_or_else(unanswered)).collect()
}

/// Splits a batch so that what becomes of an order is known before another that depends on it: one with
/// the same key, or one that must not join an unfinished order of its service. Orders that need nothing
/// but to be stored go together.
fn waves(orders: &[NewOrder]) -> Vec<Vec<usize>> {
    #[derive(PartialEq, Eq, Hash)]
    enum Mark<'a> {
        Id(OrderId),
        Key(&'a str, &'a str),
        ExternalId(&'a str, &'a str),
        Service(ServiceId),
    }
    if !orders.iter().any(NewOrder::is_demanding) {
        return vec![(0..orders.len()).collect()];
    }
    let mut after: HashMap<Mark<'_>, usize> = HashMap::new();
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (place, order) in orders.iter().enumerate() {
        let facts = &order.facts;
        let service = Mark::Service(facts.service_id);
        let mut marks = vec![Mark::Id(facts.id)];
        marks.extend(order.idempotency_key.as_deref().map(|key| Mark::Key(&facts.requester, key)));
        marks.extend(facts.external_id.as_deref().map(|id| Mark::ExternalId(&facts.requester, id)));
        marks.extend(order.derived_from.map(Mark::Id));
        let mut wave = marks.iter().filter_map(|mark| after.get(mark)).copied().max().unwrap_or(0);
        if order.if_busy == IfBusy::Refuse {
            wave = wave.max(after.get(&service).copied().unwrap_or(0));
        }
        for mark in marks.into_iter().chain([service]) {
            let next = after.entry(mark).or_default();
            *next = (*next).max(wave + 1);
        }
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        waves[wave].push(place);
    }
    waves
}

/// Locks what all waves will, in the order that a single one does: two batches must not each wait for what
/// the other's first wave has.
async fn lock_ahead(client: &Object, orders: &[NewOrder]) -> Result<(), StoreError> {
    let careful = orders.iter().filter(|order| order.if_busy == IfBusy::Refuse);
    let services: Vec<Uuid> = careful.map(|order| order.facts.service_id.0).collect();
    let lock = statement!(client, "lock_services");
    client.query(&lock, &[&services]).await?;
    let claiming: Vec<&NewOrder> = orders.iter().filter(|order| !order.claims.is_empty()).collect();
    lock_pools(client, &claiming).await
}

/// Locks the orders that are to be corrected, so that each is corrected once.
async fn lock_corrected(client: &Object, orders: &[NewOrder]) -> Result<(), StoreError> {
    let corrected: Vec<Uuid> = orders.iter().filter_map(|order| order.derived_from).map(|id| id.0).collect();
    if !corrected.is_empty() {
        let lock = statement!(client, "corrected_lock");
        client.query(&lock, &[&corrected]).await?;
    }
    Ok(())
}

/// Answers those whose order may not be corrected. Gives for each of the others the order that it supersedes: the one
/// that it corrects, or the last correction of that one, if it was cancelled.
async fn answer_corrections(
    client: &Object,
    orders: &[(usize, &NewOrder)],
    answers: &mut [Option<Accepted>],
) -> Result<HashMap<OrderId, OrderId>, StoreError> {
    let corrected: Vec<Uuid> =
        orders.iter().filter_map(|(_, order)| order.derived_from).map(|id| id.0).collect();
    let mut superseded = HashMap::new();
    if corrected.is_empty() {
        return Ok(superseded);
    }
    let statement = statement!(client, "corrections");
    let mut ends: HashMap<OrderId, (OrderId, OrderState)> = HashMap::new();
    for row in client.query(&statement, &[&corrected]).await? {
        ends.insert(OrderId(row.get(0)), (OrderId(row.get(1)), row.get::<_, &str>(2).parse()?));
    }
    for (place, order) in orders {
        let Some(of) = order.derived_from else { continue };
        let Some((end, state)) = ends.get(&of).copied() else {
            return Err(StoreError::Refused(format!("there is no order {of} to be corrected")));
        };
        let wanted = if end == of { OrderState::Invalid } else { OrderState::Cancelled };
        if state == wanted {
            superseded.insert(order.facts.id, end);
        } else {
            answers[*place] = Some(Accepted::NotCorrectable(end, state));
        }
    }
    Ok(superseded)
}

/// Gives the external ids of superseded orders free for the orders that correct them.
async fn supersede(client: &Object, superseded: &HashMap<OrderId, OrderId>) -> Result<(), StoreError> {
    let (by, ids): (Vec<Uuid>, Vec<Uuid>) = superseded.iter().map(|(by, id)| (by.0, id.0)).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    let statement = statement!(client, "supersede");
    let changed = client.execute(&statement, &[&ids, &by]).await?;
    if usize::try_from(changed).is_ok_and(|changed| changed == ids.len()) {
        Ok(())
    } else {
        Err(StoreError::Away("an order is corrected from two sides at once".to_owned()))
    }
}

async fn store_wave(
    client: &Object,
    orders: &[NewOrder],
    wave: &[usize],
    reach_ms: i64,
    answers: &mut [Option<Accepted>],
) -> Result<(), StoreError> {
    let (rows, mut superseded) = admit(client, orders, wave, answers).await?;
    if rows.is_empty() {
        return Ok(());
    }
    superseded.retain(|by, _| rows.iter().any(|row| row.order.facts.id == *by));
    supersede(client, &superseded).await?;
    let created = insert(client, &rows).await?;
    let (fresh, late): (Vec<Admitted<'_>>, Vec<Admitted<'_>>) =
        rows.into_iter().partition(|row| created.contains(&row.order.facts.id));
    if !late.is_empty() {
        let late: Vec<(usize, &NewOrder)> = late.iter().map(|row| (row.place, row.order)).collect();
        answer_known(client, &late, answers).await?;
        if let Some((_, order)) = late.iter().find(|(place, _)| answers[*place].is_none()) {
            return Err(StoreError::Refused(format!(
                "order {} conflicts with no known order",
                order.facts.id
            )));
        }
        let kept: Vec<Uuid> =
            late.iter().filter_map(|(_, order)| superseded.get(&order.facts.id)).map(|id| id.0).collect();
        if !kept.is_empty() {
            let undo = statement!(client, "supersede_undo");
            client.execute(&undo, &[&kept]).await?;
        }
        // The same request at the same time elsewhere: what was taken for this one is free again.
        let claiming = || late.iter().map(|(_, order)| *order).filter(|order| !order.claims.is_empty());
        let services: Vec<ServiceId> = claiming().map(|order| order.facts.service_id).collect();
        let gone: Vec<OrderId> = claiming().map(|order| order.facts.id).collect();
        resource::release(client, &services, &gone).await?;
    }
    let entries: Vec<Entry> = fresh.iter().flat_map(|row| row.order.entries.iter().cloned()).collect();
    entry::append(client, &entries).await?;
    let due: Vec<DueRow> = fresh
        .iter()
        .filter_map(|row| Some(DueRow::new(row.order.facts.id, 1, row.order.due?, row.order.at, reach_ms)))
        .collect();
    insert_due(client, &due).await?;
    for row in fresh {
        answers[row.place] = Some(Accepted::Created(Box::new(row.filled)));
    }
    Ok(())
}

/// Answers those that must not be stored, and gives the rows of the others. What an order that is known
/// already would need is not taken.
async fn admit<'a>(
    client: &Object,
    orders: &'a [NewOrder],
    wave: &[usize],
    answers: &mut [Option<Accepted>],
) -> Result<(Vec<Admitted<'a>>, HashMap<OrderId, OrderId>), StoreError> {
    let plain =
        |place: usize| Admitted { place, order: &orders[place], filled: Filled::as_given(&orders[place]) };
    let (demanding, mut rows): (Vec<(usize, &NewOrder)>, Vec<Admitted<'_>>) = (
        wave.iter()
            .map(|place| (*place, &orders[*place]))
            .filter(|(_, order)| order.is_demanding())
            .collect(),
        wave.iter().filter(|place| !orders[**place].is_demanding()).map(|place| plain(*place)).collect(),
    );
    if demanding.is_empty() {
        return Ok((rows, HashMap::new()));
    }
    answer_known(client, &demanding, answers).await?;
    let open = |answers: &[Option<Accepted>]| -> Vec<(usize, &'a NewOrder)> {
        let open = demanding.iter().filter(|(place, _)| answers[*place].is_none());
        open.map(|(place, _)| (*place, &orders[*place])).collect()
    };
    let superseded = answer_corrections(client, &open(answers), answers).await?;
    answer_busy(client, &open(answers), answers).await?;
    let (claiming, others): (Vec<_>, Vec<_>) =
        open(answers).into_iter().partition(|(_, order)| !order.claims.is_empty());
    rows.extend(others.iter().map(|(place, _)| plain(*place)));
    let Some((_, first)) = claiming.first() else { return Ok((rows, superseded)) };
    let of: Vec<&NewOrder> = claiming.iter().map(|(_, order)| *order).collect();
    let mut refused = Vec::new();
    for ((place, order), reserved) in claiming.iter().zip(reserve(client, &of, first.at).await?) {
        match reserved {
            Reserved::Filled(filled) => rows.push(Admitted { place: *place, order, filled }),
            Reserved::Refused(answer) => refused.push((*place, *order, answer)),
        }
    }
    // Perhaps it is the same request that has what this one wants, stored while we waited.
    let again: Vec<(usize, &NewOrder)> = refused.iter().map(|(place, order, _)| (*place, *order)).collect();
    answer_known(client, &again, answers).await?;
    for (place, _, answer) in refused {
        answers[place].get_or_insert(answer);
    }
    Ok((rows, superseded))
}

/// Answers those of whose service another order is unfinished. The services stay locked, so that the
/// next one sees what we store.
async fn answer_busy(
    client: &Object,
    orders: &[(usize, &NewOrder)],
    answers: &mut [Option<Accepted>],
) -> Result<(), StoreError> {
    let careful: Vec<_> = orders.iter().filter(|(_, order)| order.if_busy == IfBusy::Refuse).collect();
    if careful.is_empty() {
        return Ok(());
    }
    let services: Vec<Uuid> = careful.iter().map(|(_, order)| order.facts.service_id.0).collect();
    let lock = statement!(client, "lock_services");
    client.query(&lock, &[&services]).await?;
    let busy = statement!(client, "busy_orders");
    let mut unfinished: HashMap<Uuid, Vec<OrderId>> = HashMap::new();
    for row in client.query(&busy, &[&services]).await? {
        unfinished.entry(row.get(0)).or_default().push(OrderId(row.get(1)));
    }
    for (place, order) in careful {
        if let Some(orders) = unfinished.get(&order.facts.service_id.0) {
            answers[*place] = Some(Accepted::Busy(orders.clone()));
        }
    }
    Ok(())
}

/// Answers those that are stored already.
async fn answer_known(
    client: &Object,
    orders: &[(usize, &NewOrder)],
    answers: &mut [Option<Accepted>],
) -> Result<(), StoreError> {
    if orders.is_empty() {
        return Ok(());
    }
    let of: Vec<&NewOrder> = orders.iter().map(|(_, order)| *order).collect();
    let mut own: HashMap<OrderId, usize> = HashMap::new();
    for ((place, order), known) in orders.iter().zip(known(client, &of).await?) {
        match known {
            Some(known) if known.id == order.facts.id => {
                let filled = Filled::as_given(order);
                answers[*place] = Some(Accepted::Created(Box::new(filled)));
                if !order.claims.is_empty() {
                    own.insert(known.id, *place);
                }
            }
            // Whether it may be corrected is seen later.
            Some(known)
                if order.derived_from.is_some() && known.by_external_id && known.digest != order.digest => {}
            Some(known) => answers[*place] = Some(known.answer(order.digest)),
            None => {}
        }
    }
    if own.is_empty() {
        return Ok(());
    }
    // Given again by its acceptor: what was picked for it then counts.
    let ids: Vec<Uuid> = own.keys().map(|id| id.0).collect();
    let stored = statement!(client, "stored_content");
    for row in client.query(&stored, &[&ids]).await? {
        let options: OrderOptions = serde_json::from_value(row.get(3))?;
        let filled = Filled {
            attributes: serde_json::from_value(row.get(1))?,
            endpoints: serde_json::from_value(row.get(2))?,
            resources: options.resources,
        };
        if let Some(place) = own.get(&OrderId(row.get(0))) {
            answers[*place] = Some(Accepted::Created(Box::new(filled)));
        }
    }
    Ok(())
}

async fn insert(tx: &Object, rows: &[Admitted<'_>]) -> Result<HashSet<OrderId>, StoreError> {
    let texts = |f: fn(&NewOrder) -> &str| rows.iter().map(|row| f(row.order)).collect::<Vec<&str>>();
    let orders = || rows.iter().map(|row| row.order);
    let ids: Vec<Uuid> = orders().map(|o| o.facts.id.0).collect();
    let kinds = texts(|o| o.facts.kind.word());
    let definitions = texts(|o| &o.facts.definition);
    let versions: Vec<i32> = orders().map(|o| o.definition_version).collect();
    let services: Vec<Uuid> = orders().map(|o| o.facts.service_id.0).collect();
    let regions = texts(|o| &o.facts.region);
    let attributes: Vec<Json<_>> = rows.iter().map(|row| Json(&row.filled.attributes)).collect();
    let endpoints: Vec<Json<_>> = rows.iter().map(|row| Json(&row.filled.endpoints)).collect();
    let devices: Vec<Json<_>> = orders().map(|o| Json(&o.devices)).collect();
    let priorities = texts(|o| o.priority.word());
    let external_ids: Vec<Option<&str>> = orders().map(|o| o.facts.external_id.as_deref()).collect();
    let descriptions: Vec<Option<&str>> = orders().map(|o| o.description.as_deref()).collect();
    let requesters = texts(|o| &o.facts.requester);
    let keys: Vec<Option<&str>> = orders().map(|o| o.idempotency_key.as_deref()).collect();
    let digests: Vec<&[u8]> = orders().map(|o| o.digest.as_slice()).collect();
    let derived: Vec<Option<Uuid>> = orders().map(|o| o.derived_from.map(|id| id.0)).collect();
    let times: Vec<Timestamp> = orders().map(|o| o.at).collect();
    let states: Vec<&str> = orders()
        .map(|o| if o.due.is_some() { OrderState::Scheduled } else { OrderState::Requested }.word())
        .collect();
    let due: Vec<Option<Timestamp>> = orders().map(|o| o.due).collect();
    let options: Vec<Json<OrderOptions>> = rows
        .iter()
        .map(|row| {
            Json(OrderOptions { resources: row.filled.resources.clone(), ..row.order.options.clone() })
        })
        .collect();
    let statement = statement!(tx, "insert_orders");
    let rows = tx
        .query(
            &statement,
            &[
                &ids,
                &kinds,
                &definitions,
                &versions,
                &services,
                &regions,
                &attributes,
                &endpoints,
                &devices,
                &priorities,
                &external_ids,
                &descriptions,
                &requesters,
                &keys,
                &digests,
                &derived,
                &times,
                &states,
                &due,
                &options,
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| OrderId(row.get(0))).collect())
}

/// For each order the one that has its id, key or external id.
async fn known(tx: &Object, orders: &[&NewOrder]) -> Result<Vec<Option<KnownOrder>>, StoreError> {
    let requesters: Vec<&str> = orders.iter().map(|order| order.facts.requester.as_str()).collect();
    let keys: Vec<Option<&str>> = orders.iter().map(|order| order.idempotency_key.as_deref()).collect();
    let external_ids: Vec<Option<&str>> =
        orders.iter().map(|order| order.facts.external_id.as_deref()).collect();
    let ids: Vec<Uuid> = orders.iter().map(|order| order.facts.id.0).collect();
    let digests: Vec<&[u8]> = orders.iter().map(|order| order.digest.as_slice()).collect();
    let mut known = vec![None; orders.len()];
    let statement = statement!(tx, "known_orders");
    for row in tx.query(&statement, &[&requesters, &keys, &external_ids, &ids, &digests]).await? {
        let place: i64 = row.get(0);
        if let Some(known) = usize::try_from(place - 1).ok().and_then(|place| known.get_mut(place)) {
            *known = Some(KnownOrder::of(&row)?);
        }
    }
    Ok(known)
}

/// A due message for the outbox.
pub(crate) struct DueRow {
    order: OrderId,
    revision: i32,
    due: Timestamp,
    not_before: Option<Timestamp>,
}

impl DueRow {
    pub(crate) fn new(order: OrderId, revision: i32, due: Timestamp, now: Timestamp, reach_ms: i64) -> Self {
        Self { order, revision, due, not_before: not_before(due, now, reach_ms) }
    }
}

/// Writes due messages into the outbox.
pub(crate) async fn insert_due(tx: &Object, rows: &[DueRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let orders: Vec<Uuid> = rows.iter().map(|row| row.order.0).collect();
    let revisions: Vec<i32> = rows.iter().map(|row| row.revision).collect();
    let due: Vec<Timestamp> = rows.iter().map(|row| row.due).collect();
    let not_before: Vec<Option<Timestamp>> = rows.iter().map(|row| row.not_before).collect();
    let statement = statement!(tx, "insert_due");
    tx.execute(&statement, &[&orders, &revisions, &due, &not_before]).await?;
    Ok(())
}
