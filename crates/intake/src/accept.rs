//! The one path by which every order comes in, over HTTP, in bulk and over AMQP: parse, look up,
//! decide ([`mod@decide`], pure), store ([`batch`]).

pub(crate) mod batch;
pub(crate) mod decide;
pub(crate) mod order;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use turnup_core::{
    id::OrderId,
    name::{DeviceName, RegionName},
    order::{OrderRequest, check_key},
    problem::{Fault, Problem},
};
use turnup_library::Library;
use turnup_store::{Accepted, NewOrder, OrderView, Store};

use self::{
    batch::Pending,
    decide::{Lookup, Wanted, decide, needed, without_faults},
    order::{Ids, Origin, correcting, new_order, view},
};
use crate::{health::Health, inventory::Inventory, refusal};

/// An order that was accepted, now or before.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Now: it is durable.
    Created(Box<OrderView>),
    /// Before, by the same request.
    Known(Box<OrderView>),
}

impl Outcome {
    /// The order, as it is or was stored.
    pub(crate) fn into_order(self) -> OrderView {
        match self {
            Self::Created(order) | Self::Known(order) => *order,
        }
    }
}

/// What accepting an order would do now.
#[derive(Debug)]
pub(crate) enum Rehearsal {
    /// It would store a new order.
    New {
        request: Box<OrderRequest>,
        wanted: Box<Wanted>,
        /// The Invalid order that the new one would correct.
        corrects: Option<OrderId>,
    },
    /// It would find this order, which the same request made before, and store nothing.
    Known(Box<OrderView>),
}

/// Why an order was not checked to the end.
enum Stopped {
    /// It has faults, or something is away.
    Refused(Problem),
    /// It was accepted before, as this order.
    Known(OrderId),
    /// Its key or external id belongs to this order, whose request was another.
    Reused(OrderId),
}

impl From<Problem> for Stopped {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// Accepts orders.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) store: Store,
    pub(crate) library: Library,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) regions: Arc<[RegionName]>,
    pub(crate) health: Arc<Health>,
    pub(crate) queue: mpsc::Sender<Pending>,
    pub(crate) deadline: Duration,
}

impl Acceptor {
    /// Accepts an order; returns after the commit, or with the problem. After a 503 nothing, or
    /// something that will be found again under the same key, has been stored.
    pub(crate) async fn accept(&self, value: &Value, origin: Origin) -> Result<Outcome, Problem> {
        if let Some(problem) = self.health.refusal() {
            return Err(problem);
        }
        let result = timeout(self.deadline, self.accept_now(value, origin)).await.unwrap_or_else(|_| {
            Err(Problem::unavailable("the order was not stored in time; send it again with the same key"))
        });
        let code = match &result {
            Ok(Outcome::Created(_)) => "created",
            Ok(Outcome::Known(_)) => "known",
            Err(problem) if problem.status == 503 => "unavailable",
            Err(_) => "refused",
        };
        metrics::counter!("turnup_intake_orders_total", "outcome" => code).increment(1);
        result
    }

    async fn accept_now(&self, value: &Value, origin: Origin) -> Result<Outcome, Problem> {
        let now = Timestamp::now();
        let (request, wanted) = match self.checked(value, &origin, now).await {
            Ok(checked) => checked,
            Err(Stopped::Refused(problem)) => return Err(problem),
            Err(Stopped::Known(id)) => return self.known(id).await,
            Err(Stopped::Reused(id)) => return Err(self.reused(id).await),
        };
        let mut order = new_order(request, wanted, origin, Ids::new(), now);
        let mut answer = self.store_one(&order).await?;
        if let Accepted::Correctable(invalid) = answer {
            // The external id of an Invalid order goes to the order that corrects it.
            order = correcting(order, invalid);
            answer = self.store_one(&order).await?;
        }
        match answer {
            Accepted::Created(filled) => Ok(Outcome::Created(Box::new(view(order, *filled)))),
            Accepted::Known(id) if id == order.facts.id => self.stored(id).await.map(Outcome::Created),
            Accepted::Known(id) => self.known(id).await,
            Accepted::KeyReused(id) | Accepted::Correctable(id) => Err(self.reused(id).await),
            Accepted::NotCorrectable(id, state) => Err(refusal::not_correctable(id, state)),
            Accepted::ResourceTaken(clashes) => Err(refusal::resource_taken(&clashes)),
            Accepted::PoolExhausted(exhausted) => Err(refusal::pool_exhausted(&exhausted)),
            Accepted::Busy(orders) => Err(refusal::service_busy(&orders)),
        }
    }

    /// Has the batcher store an order.
    async fn store_one(&self, order: &NewOrder) -> Result<Accepted, Problem> {
        let (answer, stored) = oneshot::channel();
        let gone = || Problem::unavailable("the intake is shutting down; try again");
        self.queue.send(Pending { order: order.clone(), answer }).await.map_err(|_| gone())?;
        stored.await.map_err(|_| gone())?
    }

    /// Everything but storing it.
    ///
    /// # Errors
    /// What [`Acceptor::accept`] would refuse the order with before the store is asked for values of pools.
    pub(crate) async fn rehearse(&self, value: &Value, origin: &Origin) -> Result<Rehearsal, Problem> {
        timeout(self.deadline, self.rehearse_now(value, origin))
            .await
            .unwrap_or_else(|_| Err(Problem::unavailable("the order was not checked in time; try again")))
    }

    async fn rehearse_now(&self, value: &Value, origin: &Origin) -> Result<Rehearsal, Problem> {
        let (request, wanted) = match self.checked(value, origin, Timestamp::now()).await {
            Ok(checked) => checked,
            Err(Stopped::Refused(problem)) => return Err(problem),
            Err(Stopped::Known(id)) => return self.stored(id).await.map(Rehearsal::Known),
            Err(Stopped::Reused(id)) => return Err(self.reused(id).await),
        };
        let corrects = match self.known_order(origin, request.external_id.as_deref(), request.digest).await? {
            Some(Accepted::Known(id)) => return self.stored(id).await.map(Rehearsal::Known),
            Some(Accepted::KeyReused(id)) => return Err(self.reused(id).await),
            Some(Accepted::Correctable(id)) => Some(id),
            _ => None,
        };
        Ok(Rehearsal::New { request: Box::new(request), wanted: Box::new(wanted), corrects })
    }

    /// What the order that has the requester's key or external id makes of a request with this digest; none: there is
    /// no such order.
    async fn known_order(
        &self,
        origin: &Origin,
        external_id: Option<&str>,
        digest: [u8; 32],
    ) -> Result<Option<Accepted>, Problem> {
        // A faulty one names no order, and is refused when the request is checked.
        let lawful = |text: &&str| check_key(text).is_ok();
        let (key, external_id) = (origin.key.as_deref().filter(lawful), external_id.filter(lawful));
        if key.is_none() && external_id.is_none() {
            return Ok(None);
        }
        self.store
            .known(&origin.requester, key, external_id, digest)
            .await
            .map_err(|error| refusal::of_store(&error))
    }

    async fn checked(
        &self,
        value: &Value,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(OrderRequest, Wanted), Stopped> {
        let key = origin.key.as_deref().map_or(Ok(()), check_key);
        let mut faults: Vec<Fault> = key
            .map_err(|why| {
                Fault::new("", "bad_key", format!("the idempotency key (message id) must have {why}"))
            })
            .err()
            .into_iter()
            .collect();
        match OrderRequest::parse(value, now) {
            Ok(mut request) if faults.is_empty() => {
                if let Some(undoing) = &origin.undoing {
                    request.digest = undoing.digest;
                }
                match self.decided(&request).await? {
                    Ok(mut wanted) => {
                        wanted.service =
                            wanted.service.or(origin.undoing.and_then(|undoing| undoing.restores));
                        Ok((request, wanted))
                    }
                    Err(faults) => Err(self.known_or(faults, &request, origin).await),
                }
            }
            Ok(_) => Err(Problem::invalid(faults).into()),
            Err(found) => {
                let rest = without_faults(value, &found).map(|rest| OrderRequest::parse(&rest, now));
                faults.extend(found);
                if let Some(Ok(request)) = rest
                    && let Err(more) = self.decided(&request).await?
                {
                    faults.extend(more);
                }
                Err(Problem::invalid(faults).into())
            }
        }
    }

    /// Looks up what the order needs, and decides.
    async fn decided(&self, request: &OrderRequest) -> Result<Result<Wanted, Vec<Fault>>, Problem> {
        let away = |error| refusal::of_store(&error);
        let service = match request.service_id {
            Some(id) => self.store.service(id).await.map_err(away)?,
            None => None,
        };
        let present: Vec<DeviceName> = match &service {
            Some(service) => {
                let rows = self.store.footprints(service.id).await.map_err(away)?;
                let named = service.devices.iter().chain(rows.iter().map(|row| &row.device));
                named.filter_map(|name| DeviceName::new(name.as_str()).ok()).collect()
            }
            None => Vec::new(),
        };
        let devices: Vec<&DeviceName> =
            request.endpoints.iter().map(|endpoint| &endpoint.device).chain(&present).collect();
        let inventory = self.inventory.with(&devices).await.map_err(away)?;
        let needed = needed(request, service.as_ref());
        let needed: Vec<_> = needed.iter().map(|(name, version)| (name, *version)).collect();
        let catalogue = self.library.with(&needed).await.map_err(away)?;
        let lookup = Lookup {
            catalogue: &catalogue,
            inventory: &inventory,
            regions: &self.regions,
            service: service.as_ref(),
            present: &present,
        };
        Ok(decide(request, &lookup))
    }

    /// A repetition may fail checks that the first one passed (a decommission order, whose service
    /// is gone by now): it gets the order that was accepted before.
    async fn known_or(&self, faults: Vec<Fault>, request: &OrderRequest, origin: &Origin) -> Stopped {
        match self.known_order(origin, request.external_id.as_deref(), request.digest).await {
            Ok(Some(Accepted::Known(id))) => Stopped::Known(id),
            Ok(Some(Accepted::KeyReused(id))) => Stopped::Reused(id),
            // It would correct an Invalid order if it were right.
            Ok(_) => Problem::invalid(faults).into(),
            Err(problem) => problem.into(),
        }
    }

    /// 409: the key or external id of `id`, with another request.
    pub(crate) async fn reused(&self, id: OrderId) -> Problem {
        match self.store.order(id).await {
            Ok(Some(order)) => refusal::reused(&order),
            Ok(None) => {
                Problem::key_reused(format!("the idempotency key or external id belongs to order {id}"))
            }
            Err(error) => refusal::of_store(&error),
        }
    }

    /// The order that this requester's key or external id names, if the request was the same.
    pub(crate) async fn repeated(
        &self,
        origin: &Origin,
        external_id: Option<&str>,
        digest: [u8; 32],
    ) -> Result<Option<Outcome>, Problem> {
        match self.known_order(origin, external_id, digest).await? {
            Some(Accepted::Known(id)) => self.known(id).await.map(Some),
            Some(Accepted::KeyReused(id)) => Err(self.reused(id).await),
            _ => Ok(None),
        }
    }

    async fn known(&self, id: OrderId) -> Result<Outcome, Problem> {
        self.stored(id).await.map(Outcome::Known)
    }

    async fn stored(&self, id: OrderId) -> Result<Box<OrderView>, Problem> {
        match self.store.order(id).await {
            Ok(Some(order)) => Ok(Box::new(order)),
            Ok(None) => Err(Problem::internal(format!("order {id} was accepted before and is gone"))),
            Err(error) => Err(refusal::of_store(&error)),
        }
    }
}
