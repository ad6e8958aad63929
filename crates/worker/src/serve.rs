//! Taking deployments from the regions' queues, many at once, and settling them.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use turnup_broker::{Broker, ConsumeOptions, Consumer, Delivery, DeployClass, Publisher};
use turnup_core::message::{Body as _, Deployment, Part, Stage, Unreadable};

use crate::{
    Assignment, Settings, WorkerError, ask,
    currency::BrokerClaims,
    deploy::{Context, Outcome, deploy, may_be_a_repeat, objections, trace_of},
    device::is_null,
    outbound::{self, Final},
    pool::Pool,
    report::{Ending, Reporter},
    room::Room,
    transcript::SecretNames,
};

/// Most deliveries taken at once.
const BATCH: usize = 256;
/// A delivery that has waited for so long in here goes back: others may have time.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// Reports that may wait to be published.
const OUTBOUND: usize = 1_024;
/// How long the last reports may take when the worker ends.
const LAST_REPORTS: Duration = Duration::from_secs(10);

/// Exams at once: each holds up to sixteen sessions with its device.
pub(crate) const MAX_EXAMS: usize = 2;

/// What all deployments of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) assignment: Assignment,
    pub(crate) pool: Pool,
    pub(crate) room: Room,
    pub(crate) secret_names: SecretNames,
    /// Exams that may begin.
    pub(crate) exams: Semaphore,
    in_flight: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(settings: Settings, assignment: Assignment) -> Self {
        let idle = Duration::from_millis(settings.session_idle_ms);
        let keep_alive = (settings.keep_alive_ms > 0).then(|| Duration::from_millis(settings.keep_alive_ms));
        let pool = Pool::new(settings.max_warm_sessions, idle, keep_alive);
        let room = Room::new(&settings);
        let secret_names = SecretNames::new(&settings.secret_names);
        let exams = Semaphore::new(MAX_EXAMS);
        Self { settings, assignment, pool, room, secret_names, exams, in_flight: AtomicUsize::new(0) }
    }
}

/// What a worker is doing, for the operations endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Status(Arc<Shared>);

impl Status {
    /// Deployments being worked on.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// Idle NETCONF sessions kept open.
    #[must_use]
    pub fn warm_sessions(&self) -> usize {
        self.0.pool.len()
    }

    /// Who it is and where it serves.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.0.assignment
    }
}

/// A worker, not yet running.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    broker: Broker,
}

/// Runs a worker until `shutdown`; see [`Worker::run`].
///
/// # Errors
/// See [`Worker::new`].
pub async fn run(
    settings: Settings,
    assignment: Assignment,
    broker: Broker,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    Worker::new(settings, assignment, broker)?.run(shutdown).await;
    Ok(())
}

/// Counts a deployment as long as it lives.
struct InFlight {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl InFlight {
    fn new(shared: &Arc<Shared>, permit: OwnedSemaphorePermit) -> Self {
        let now = shared.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("turnup_worker_deployments_in_flight").set(now as f64);
        Self { shared: Arc::clone(shared), _permit: permit }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let before = self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("turnup_worker_deployments_in_flight").set(before.saturating_sub(1) as f64);
    }
}

/// What each deployment's task needs.
struct Desk {
    shared: Arc<Shared>,
    claims: BrokerClaims,
    publisher: Publisher,
    exchange: String,
    outbound: mpsc::Sender<Final>,
}

impl Worker {
    /// Checks settings and assignment; contacts nothing yet.
    ///
    /// # Errors
    /// [`WorkerError::Settings`] names the key and what it may be.
    pub fn new(settings: Settings, assignment: Assignment, broker: Broker) -> Result<Self, WorkerError> {
        settings.validate()?;
        assignment.validate()?;
        Ok(Self { shared: Arc::new(Shared::new(settings, assignment)), broker })
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        Status(Arc::clone(&self.shared))
    }

    /// Takes deployments until `shutdown`, then takes no more, lets those that run come to their end
    /// within [`Settings::drain_ms`], publishes their reports, and closes the sessions. What isn't done by
    /// then goes to another worker.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { shared, broker } = self;
        let (outbound, reports) = mpsc::channel(OUTBOUND);
        let publishing = tokio::spawn(outbound::run(broker.publisher(), reports));
        let desk = Arc::new(Desk {
            shared: Arc::clone(&shared),
            claims: BrokerClaims::new(&broker),
            publisher: broker.publisher(),
            exchange: broker.names().state(),
            outbound,
        });
        let mut tasks = JoinSet::new();
        let mut consumers = consumers(&shared, &broker);
        let asking = tokio::spawn(ask::serve(Arc::clone(&shared), broker.clone(), shutdown.clone()));
        tokio::select! {
            () = take(&desk, &mut consumers, &mut tasks, &shutdown) => {}
            () = shared.pool.tend() => {}
        }
        for consumer in &consumers {
            consumer.stop();
        }
        drop(consumers);
        let drain_by = Instant::now() + Duration::from_millis(shared.settings.drain_ms);
        drain(&mut tasks, drain_by).await;
        let abort = asking.abort_handle();
        if timeout_at(drain_by, asking).await.is_err() {
            // Who asked gets no answer and asks again.
            abort.abort();
        }
        drop(desk);
        if timeout(LAST_REPORTS, publishing).await.is_err() {
            tracing::warn!("the last reports could not be published; their deployments go to other workers");
        }
        shared.pool.close_all().await;
    }
}

/// One consumer per class and region, the most urgent class first.
fn consumers(shared: &Shared, broker: &Broker) -> Vec<Consumer> {
    let prefetch = u16::try_from(shared.settings.concurrency).unwrap_or(u16::MAX);
    let regions = &shared.assignment.regions;
    let queues = DeployClass::ALL.into_iter().flat_map(|class| {
        regions.iter().map(move |region| broker.names().deploy_queue(region.as_str(), class))
    });
    queues.map(|queue| broker.consume(queue, ConsumeOptions::new(prefetch))).collect()
}

/// Takes deliveries and starts what they ask for, until `shutdown`.
async fn take(
    desk: &Arc<Desk>,
    consumers: &mut [Consumer],
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(desk.shared.settings.concurrency));
    let mut turn = 0;
    let regions = desk.shared.assignment.regions.len();
    loop {
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a deployment's task failed; the deployment goes to another worker");
            }
        }
        let first = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let Ok(first) = first else { return };
        turn = (turn + 1) % regions.max(1);
        let most = (permits.available_permits() + 1).min(BATCH);
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            batch = next_batch(consumers, regions, turn, most) => batch,
        };
        if batch.is_empty() {
            return;
        }
        drop(first);
        for delivery in batch {
            // This task alone takes permits, and took no more deliveries than there are.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            start(desk, delivery, permit, tasks).await;
        }
    }
}

type Wait<'a> = Pin<Box<dyn Future<Output = Vec<Delivery>> + Send + 'a>>;

/// The next deliveries of the most urgent class that has any; regions take turns. Empty when stopped.
async fn next_batch(consumers: &mut [Consumer], regions: usize, turn: usize, most: usize) -> Vec<Delivery> {
    let mut waits: Vec<Vec<Wait<'_>>> = Vec::new();
    for class in consumers.chunks_mut(regions.max(1)) {
        let mut of_class: Vec<Wait<'_>> = Vec::with_capacity(regions);
        for consumer in class {
            of_class.push(Box::pin(consumer.next_batch(most, Duration::ZERO)));
        }
        of_class.rotate_left(turn.min(regions.saturating_sub(1)));
        waits.push(of_class);
    }
    poll_fn(|cx| {
        for wait in waits.iter_mut().flatten() {
            if let Poll::Ready(batch) = wait.as_mut().poll(cx) {
                return Poll::Ready(batch);
            }
        }
        Poll::Pending
    })
    .await
}

/// What is asked for: a whole transaction, or a stage of a part of one.
fn work_of(body: &[u8]) -> Result<Part, Unreadable> {
    match Deployment::decode(body) {
        Ok(deployment) => Ok(Part { stage: Stage::Whole, attempt: deployment.attempt, deployment }),
        Err(Unreadable::Schema { found, .. }) if found == Part::SCHEMA => Part::decode(body),
        Err(error) => Err(error),
    }
}

/// Starts what a delivery asks for. What contacts no device is done here and now.
async fn start(desk: &Arc<Desk>, delivery: Delivery, permit: OwnedSemaphorePermit, tasks: &mut JoinSet<()>) {
    if delivery.held() > MAX_WAIT {
        tasks.spawn(async move {
            delivery.release().await;
        });
        return;
    }
    let part = match work_of(&delivery.body) {
        Ok(part) => part,
        Err(error) => {
            tasks.spawn(park(delivery, error.to_string()));
            return;
        }
    };
    let deployment = &part.deployment;
    let on_paper = part.stage == Stage::Whole
        && deployment.devices.iter().all(is_null)
        && !may_be_a_repeat(&delivery)
        && objections(deployment, &desk.shared).is_empty();
    if on_paper {
        drop(permit);
        finish_on_paper(desk, delivery, deployment).await;
        return;
    }
    let desk = Arc::clone(desk);
    let in_flight = InFlight::new(&desk.shared, permit);
    tasks.spawn(async move {
        let outcome = {
            let context = Context {
                shared: &desk.shared,
                claims: &desk.claims,
                reports: &desk.publisher,
                exchange: desk.exchange.clone(),
            };
            Box::pin(deploy(&context, &delivery, &part)).await
        };
        match outcome {
            Outcome::Report(messages) => hand_out(&desk, Final { messages, delivery }).await,
            Outcome::Forget => {
                delivery.ack().await;
            }
            Outcome::Release => {
                delivery.release().await;
            }
            Outcome::Park(reason) => park(delivery, reason).await,
        }
        drop(in_flight);
    });
}

async fn park(delivery: Delivery, reason: String) {
    if let Err(error) = delivery.park(&reason).await {
        tracing::warn!(%error, "a message could not be parked and is back in its queue");
    }
}

/// A deployment to devices that exist on paper only.
async fn finish_on_paper(desk: &Desk, delivery: Delivery, deployment: &Deployment) {
    let reporter = Reporter {
        deployment: deployment.deployment,
        attempt: deployment.attempt,
        correlation: deployment.orders.first().map(ToString::to_string).unwrap_or_default(),
        worker: desk.shared.assignment.worker_name.clone(),
        exchange: desk.exchange.clone(),
        headers: trace_of(&delivery),
    };
    match reporter.ended(1, Ending::on_paper(deployment)) {
        Ok(message) => {
            metrics::counter!("turnup_worker_deployments_total", "outcome" => "committed").increment(1);
            hand_out(desk, Final { messages: vec![message], delivery }).await;
        }
        Err(error) => park(delivery, format!("the report on it can't be written: {error}")).await,
    }
}

async fn hand_out(desk: &Desk, report: Final) {
    if desk.outbound.send(report).await.is_err() {
        // Only when this worker is ending; the delivery was dropped and so released.
        tracing::warn!("a report could not be handed out any more");
    }
}

/// Lets what runs come to its end, until `by`.
async fn drain(tasks: &mut JoinSet<()>, by: Instant) {
    while !tasks.is_empty() {
        match timeout_at(by, tasks.join_next()).await {
            Ok(_) => {}
            Err(_) => {
                tracing::warn!(
                    left = tasks.len(),
                    "deployments did not end in time; they go to other workers"
                );
                tasks.shutdown().await;
            }
        }
    }
}
