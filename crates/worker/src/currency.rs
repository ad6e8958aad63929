//! Is this worker's attempt still the current one? Asked of the scheduler, who alone decides.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use turnup_broker::{Broker, Outgoing, Requester};
use turnup_core::{
    attempt,
    id::DeploymentId,
    message::{Body as _, Claim, ClaimAnswer, ClaimKind},
};

use crate::retry::Retry;

/// How long one question waits for its answer; claims older than this are dropped by the broker.
const ONE_QUESTION: Duration = Duration::from_secs(4);
/// Longest pause between two questions.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Answers claims: the scheduler, over the broker.
pub(crate) trait Claims: Send + Sync {
    /// Asks once.
    fn ask(&self, claim: Claim, within: Duration) -> BoxFuture<'_, Result<ClaimAnswer, String>>;
}

/// Claims over the broker.
#[derive(Debug)]
pub(crate) struct BrokerClaims {
    requester: Requester,
    exchange: String,
}

impl BrokerClaims {
    pub(crate) fn new(broker: &Broker) -> Self {
        Self { requester: broker.requester(), exchange: broker.names().claim() }
    }
}

impl Claims for BrokerClaims {
    fn ask(&self, claim: Claim, within: Duration) -> BoxFuture<'_, Result<ClaimAnswer, String>> {
        Box::pin(async move {
            let body = claim.encode().map_err(|e| e.to_string())?;
            let question = Outgoing::new(self.exchange.as_str(), "claim", body);
            let reply = self.requester.request(question, within).await.map_err(|e| e.to_string())?;
            ClaimAnswer::decode(&reply.body).map_err(|e| e.to_string())
        })
    }
}

/// What is known of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the current one.
    Current,
    /// It is not, or the deployment has ended.
    Superseded,
    /// Nobody answered in time.
    Unknown,
}

/// The attempt's standing.
pub(crate) struct Currency<'a> {
    claims: &'a dyn Claims,
    /// Whether the broker still regards the delivery as ours.
    held: &'a (dyn Fn() -> bool + Send + Sync),
    deployment: DeploymentId,
    attempt: i32,
    worker: &'a str,
    /// It became current by taking over.
    took_over: bool,
    known: Mutex<Moment>,
}

/// A moment by two clocks: the monotonic one stands still while a machine is suspended, and the wall clock may
/// be set back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    steady: Instant,
    wall: Timestamp,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { steady: Instant::now(), wall: Timestamp::now() }
    }

    pub(crate) fn before(self, ago: Duration) -> Self {
        let steady = self.steady.checked_sub(ago).unwrap_or(self.steady);
        Self { steady, wall: self.wall.checked_sub(ago).unwrap_or(self.wall) }
    }

    /// The longer time of the two.
    pub(crate) fn elapsed(self) -> Duration {
        let by_wall = Duration::try_from(Timestamp::now().duration_since(self.wall)).unwrap_or_default();
        self.steady.elapsed().max(by_wall)
    }
}

impl<'a> Currency<'a> {
    /// The standing of an attempt that is known to be current now.
    pub(crate) fn new(
        claims: &'a dyn Claims,
        held: &'a (dyn Fn() -> bool + Send + Sync),
        deployment: DeploymentId,
        attempt: i32,
        worker: &'a str,
    ) -> Self {
        Self { claims, held, deployment, attempt, worker, took_over: false, known: Mutex::new(Moment::now()) }
    }

    /// The same, last known to be current then.
    pub(crate) fn known_since(self, then: Moment) -> Self {
        Self { known: Mutex::new(then), ..self }
    }

    /// The same, of an attempt that has taken the deployment over from another.
    pub(crate) fn taken_over(self) -> Self {
        Self { took_over: true, ..self }
    }

    /// Whether the attempt has taken the deployment over from another.
    pub(crate) fn took_over(&self) -> bool {
        self.took_over
    }

    /// Whether there is no need to ask.
    pub(crate) fn is_sure(&self) -> bool {
        attempt::is_surely_current(self.is_held(), self.took_over, self.age())
    }

    /// Whether the broker still regards the delivery as ours.
    pub(crate) fn is_held(&self) -> bool {
        (self.held)()
    }

    /// Time since the attempt was last known to be current.
    pub(crate) fn age(&self) -> Duration {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Asks, until answered or `by`. Whether an attempt is current does not depend on who has the message.
    pub(crate) async fn check(&self, by: Instant) -> Verdict {
        let asked_at = Moment::now();
        match self.answer(ClaimKind::Check, by).await {
            Some(ClaimAnswer { attempt }) if attempt == Some(self.attempt) => {
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = asked_at;
                Verdict::Current
            }
            Some(_) => Verdict::Superseded,
            None => Verdict::Unknown,
        }
    }

    /// Asks to become the current attempt, until answered, `by`, or the delivery is someone else's; none if nobody
    /// answered.
    pub(crate) async fn take_over(&self, by: Instant) -> Option<ClaimAnswer> {
        self.answer(ClaimKind::TakeOver, by).await
    }

    async fn answer(&self, kind: ClaimKind, by: Instant) -> Option<ClaimAnswer> {
        let mut retry = Retry::new(Duration::from_millis(100), LONGEST_PAUSE);
        while kind == ClaimKind::Check || self.is_held() {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let claim = Claim {
                deployment: self.deployment,
                attempt: self.attempt,
                claim: kind,
                worker: self.worker.to_owned(),
            };
            match self.claims.ask(claim, left.min(ONE_QUESTION)).await {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    tracing::warn!(deployment = %self.deployment, claim = %kind, error, "the scheduler does not answer; asking again");
                }
            }
            let pause = retry.next();
            sleep(pause.min(by.saturating_duration_since(Instant::now()))).await;
        }
        None
    }
}
