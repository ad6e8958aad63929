//! Reading a queue, over lost connections.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::delivery::{Delivery, Session};
use crate::error::BrokerError;
use crate::handle::Broker;
use crate::link::rpc;
use crate::message::{MAX_BODY_BYTES, short};
use crate::pulse::Pulse;
use crate::retry::Retry;

/// How long after a cancel the broker may take to send what was on its way.
const WIND_UP: Duration = Duration::from_secs(2);

/// Where a reader of a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamOffset {
    /// The oldest message kept.
    First,
    /// What comes from now on.
    Next,
    /// This offset.
    At(u64),
}

/// How to read a queue.
#[derive(Debug, Clone)]
pub struct ConsumeOptions {
    /// Unsettled deliveries that the broker lets us hold, at least 1.
    pub prefetch: u16,
    /// Only for stream queues: where to begin, each time a connection is made.
    pub stream_offset: Option<StreamOffset>,
}

impl ConsumeOptions {
    /// With this prefetch.
    #[must_use]
    pub fn new(prefetch: u16) -> Self {
        Self { prefetch: prefetch.max(1), stream_offset: None }
    }

    fn arguments(&self) -> FieldTable {
        let mut table = FieldTable::default();
        if let Some(offset) = self.stream_offset {
            let value = match offset {
                StreamOffset::First => AMQPValue::LongString("first".into()),
                StreamOffset::Next => AMQPValue::LongString("next".into()),
                StreamOffset::At(n) => AMQPValue::LongLongInt(i64::try_from(n).unwrap_or(i64::MAX)),
            };
            table.insert("x-stream-offset".into(), value);
        }
        table
    }
}

/// Stops a [`Consumer`] from elsewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StopHandle(CancellationToken);

impl StopHandle {
    /// See [`Consumer::stop`].
    pub fn stop(&self) {
        self.0.cancel();
    }
}

/// Reads a queue, over lost connections. Both `next` functions may be dropped while they wait
/// (in `select!`) without losing anything. Dropping the consumer stops it.
#[derive(Debug)]
pub struct Consumer {
    inbox: mpsc::Receiver<Delivery>,
    /// Received for a batch that was not handed out yet.
    batch: Vec<Delivery>,
    /// When that batch is handed out, full or not. Kept here so that a caller who gives up waiting
    /// and comes back does not begin anew.
    batch_until: Option<Instant>,
    stop: CancellationToken,
}

impl Consumer {
    pub(crate) fn start(broker: &Broker, queue: String, options: ConsumeOptions) -> Self {
        let stop = CancellationToken::new();
        let (outbox, inbox) = mpsc::channel(usize::from(options.prefetch.max(1)));
        let feed = Feed { broker: broker.clone(), queue, options, outbox, stop: stop.clone() };
        broker.0.readers.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(feed.run());
        Self { inbox, batch: Vec::new(), batch_until: None, stop }
    }

    /// The next delivery; `None` after [`stop`](Self::stop).
    pub async fn next(&mut self) -> Option<Delivery> {
        self.next_batch(1, Duration::ZERO).await.pop()
    }

    /// Waits for a delivery, then takes what else is there, at most `max`. If there was more than
    /// one, messages are flowing, and it waits up to `linger` for the batch to fill; a lone
    /// message never waits. Empty only after [`stop`](Self::stop).
    pub async fn next_batch(&mut self, max: usize, linger: Duration) -> Vec<Delivery> {
        let max = max.max(1);
        loop {
            if !self.fill(max, linger).await {
                // Dropping releases.
                self.batch.clear();
                self.inbox.close();
                while self.inbox.try_recv().is_ok() {}
                return Vec::new();
            }
            self.batch_until = None;
            // What belongs to a dead channel comes again.
            self.batch.retain(|d| !d.is_stale());
            if !self.batch.is_empty() {
                let rest = self.batch.split_off(max.min(self.batch.len()));
                return std::mem::replace(&mut self.batch, rest);
            }
        }
    }

    /// Fills the batch; `false` when stopped.
    async fn fill(&mut self, max: usize, linger: Duration) -> bool {
        let stop = self.stop.clone();
        let fill = async {
            if self.batch.is_empty() {
                let Some(first) = self.inbox.recv().await else { return false };
                self.batch.push(first);
            }
            self.take_ready(max);
            if self.batch.len() == 1 || linger.is_zero() {
                return true;
            }
            let until = *self.batch_until.get_or_insert_with(|| Instant::now() + linger);
            while self.batch.len() < max {
                match timeout_at(until, self.inbox.recv()).await {
                    Ok(Some(delivery)) => self.batch.push(delivery),
                    Ok(None) => return false,
                    Err(_) => break,
                }
                self.take_ready(max);
            }
            true
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            filled = fill => filled,
        }
    }

    fn take_ready(&mut self, max: usize) {
        while self.batch.len() < max {
            let Ok(delivery) = self.inbox.try_recv() else { break };
            self.batch.push(delivery);
        }
    }

    /// No more deliveries. Those handed out can still be settled; those not yet handed out go back
    /// to the queue.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// A handle to stop this consumer from elsewhere.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The task that feeds a consumer.
struct Feed {
    broker: Broker,
    queue: String,
    options: ConsumeOptions,
    outbox: mpsc::Sender<Delivery>,
    stop: CancellationToken,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.broker.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Subscription {
    session: Arc<Session>,
    stream: lapin::Consumer,
    pulse: Pulse,
}

impl Feed {
    async fn run(self) {
        let mut retry = Retry::new();
        while !self.stop.is_cancelled() {
            match self.subscribe().await {
                Ok(mut subscription) => {
                    let reason = self.pump(&mut subscription, &mut retry).await;
                    if self.stop.is_cancelled() {
                        return self.wind_up(subscription).await;
                    }
                    subscription.session.abandon();
                    tracing::warn!(
                        queue = self.queue,
                        reason,
                        "lost the channel for reading; subscribing again"
                    );
                    metrics::counter!("turnup_broker_resubscribed_total").increment(1);
                }
                Err(e) => {
                    tracing::warn!(queue = self.queue, error = %e, "can't read the queue yet; trying again")
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(retry.next()) => {}
            }
        }
    }

    async fn subscribe(&self) -> Result<Subscription, BrokerError> {
        let inner = &self.broker.0;
        let limit = inner.settings.rpc_timeout();
        let queue = short("queue name", &self.queue)?;
        let opened = inner.consuming.open().await?;
        let channel = opened.channel.clone();
        // Before consuming, or the broker floods us.
        rpc("basic.qos", limit, channel.basic_qos(self.options.prefetch, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            queue,
            ShortString::default(),
            BasicConsumeOptions::default(),
            self.options.arguments(),
        );
        let stream = rpc("basic.consume", limit, consume).await?;
        inner.consuming.health.progress();
        let session = Arc::new(Session {
            channel,
            queue: self.queue.clone(),
            parked_exchange: inner.names.parked(),
            publisher: self.broker.publisher(),
            rpc_timeout: limit,
            unsettled: Mutex::new(BTreeSet::new()),
            abandoned: AtomicBool::new(false),
        });
        tracing::debug!(queue = self.queue, prefetch = self.options.prefetch, "reading");
        let pulse = Pulse::new(&inner.settings, opened, self.options.prefetch);
        Ok(Subscription { session, stream, pulse })
    }

    /// Hands deliveries on until stopped or until the channel dies. Returns why it did.
    async fn pump(&self, subscription: &mut Subscription, retry: &mut Retry) -> String {
        let Subscription { session, stream, pulse } = subscription;
        let link = &self.broker.0.consuming;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return "stopped".to_owned(),
                item = stream.next() => match item {
                    Some(Ok(delivery)) => {
                        pulse.answered(link);
                        retry.reset();
                        if !self.hand_on(session, delivery).await {
                            return "stopped".to_owned();
                        }
                    }
                    Some(Err(e)) => return e.to_string(),
                    // The broker cancelled the consumer, or its patience with us ended.
                    None => return "the broker ended the subscription".to_owned(),
                },
                beat = pulse.beat(link) => if let Err(e) = beat {
                    // A dead channel says nothing against the connection, silence does.
                    if matches!(e, BrokerError::Timeout { .. }) {
                        link.discard().await;
                    }
                    return e.to_string();
                },
            }
        }
    }

    /// Hands a delivery to the consumer; `false` when there is none any more.
    async fn hand_on(&self, session: &Arc<Session>, delivery: lapin::message::Delivery) -> bool {
        if delivery.redelivered {
            metrics::counter!("turnup_broker_redelivered_total").increment(1);
        }
        let delivery = Delivery::new(session, delivery);
        if delivery.body.len() > MAX_BODY_BYTES {
            tracing::warn!(
                queue = self.queue,
                message_id = delivery.message_id,
                bytes = delivery.body.len(),
                "a message is too large and goes to the parking lot"
            );
            delivery.refuse().await;
            return true;
        }
        // There is room for a whole prefetch, so this waits only while deliveries of an earlier
        // channel are still in there.
        tokio::select! {
            biased;
            sent = self.outbox.send(delivery) => sent.is_ok(),
            () = self.stop.cancelled() => false,
        }
    }

    /// Cancels the subscription and releases what was on its way.
    async fn wind_up(&self, subscription: Subscription) {
        let Subscription { session, mut stream, pulse: _ } = subscription;
        let cancel = session.channel.basic_cancel(stream.tag(), BasicCancelOptions::default());
        if rpc("basic.cancel", session.rpc_timeout, cancel).await.is_err() {
            return;
        }
        let _ = timeout(WIND_UP, async {
            while let Some(Ok(delivery)) = stream.next().await {
                drop(Delivery::new(&session, delivery));
            }
        })
        .await;
    }
}
