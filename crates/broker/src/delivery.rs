//! A message from a queue, and how it is settled.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::time::timeout;

use crate::error::PublishError;
use crate::message::{Headers, Outgoing, int_of};
use crate::parked;
use crate::publisher::Publisher;

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was written to the broker.
    Sent,
    /// The channel of the delivery is gone: the broker gives the message to someone again.
    Stale,
}

/// One life of a consumer's channel.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) channel: Channel,
    pub(crate) queue: String,
    pub(crate) parked_exchange: String,
    pub(crate) publisher: Publisher,
    pub(crate) rpc_timeout: Duration,
    /// Tags that we received and did not settle. Frames that settle are handed to lapin under
    /// this lock: an `ack multiple` must not overtake the single ack of a lower tag, which would
    /// then name an unknown delivery and close the channel.
    pub(crate) unsettled: Mutex<BTreeSet<u64>>,
    /// Set when the consumer has left for another channel, even if this one seems open.
    pub(crate) abandoned: AtomicBool,
}

type Write = Pin<Box<dyn Future<Output = lapin::Result<()>> + Send>>;

impl Session {
    fn alive(&self) -> bool {
        !self.abandoned.load(Ordering::Acquire) && self.channel.status().connected()
    }

    /// From now on every delivery of this session is stale. The channel closes with the last.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Acknowledges these tags with as few frames as is safe: `multiple` reaches up to the lowest
    /// tag that is not settled yet.
    fn ack(&self, tags: &[u64]) -> Vec<(Vec<u64>, Write)> {
        if !self.alive() {
            return Vec::new();
        }
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = plan_acks(&mut unsettled, tags);
        plan.into_iter()
            .map(|(tag, covers)| {
                let (channel, multiple) = (self.channel.clone(), covers.len() > 1);
                let write = async move { channel.basic_ack(tag, BasicAckOptions { multiple }).await };
                (covers, begin(Box::pin(write)))
            })
            .collect()
    }

    fn reject(&self, tag: u64, requeue: bool) -> Option<Write> {
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        if !unsettled.remove(&tag) {
            return None;
        }
        let channel = self.channel.clone();
        let write = async move { channel.basic_reject(tag, BasicRejectOptions { requeue }).await };
        Some(begin(Box::pin(write)))
    }

    async fn written(&self, write: Write) -> Settled {
        match timeout(self.rpc_timeout, write).await {
            Ok(Ok(())) => Settled::Sent,
            Ok(Err(_)) | Err(_) => Settled::Stale,
        }
    }
}

/// Which acks settle `tags`: each with the tags that it covers. Takes them out of `unsettled`;
/// those that aren't in there are settled already and are skipped.
fn plan_acks(unsettled: &mut BTreeSet<u64>, tags: &[u64]) -> Vec<(u64, Vec<u64>)> {
    let tags: BTreeSet<u64> = tags.iter().copied().filter(|tag| unsettled.remove(tag)).collect();
    let floor = unsettled.first().copied().unwrap_or(u64::MAX);
    let (low, high): (Vec<u64>, Vec<u64>) = tags.into_iter().partition(|tag| *tag < floor);
    let mut plan = Vec::new();
    if let Some(last) = low.last() {
        plan.push((*last, low));
    }
    plan.extend(high.into_iter().map(|tag| (tag, vec![tag])));
    plan
}

/// Polls once, which hands the frame to lapin; the rest is waiting for it to be written.
fn begin(mut write: Write) -> Write {
    match write.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Pending => write,
        std::task::Poll::Ready(result) => Box::pin(std::future::ready(result)),
    }
}

/// A message from a queue, to be settled once: [`ack`](Self::ack), [`park`](Self::park) or
/// [`release`](Self::release). One that is dropped unsettled is released, so that an error path
/// can't leave a message stuck.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The body, at most [`crate::MAX_BODY_BYTES`].
    pub body: Bytes,
    /// Message id, if the publisher set one.
    pub message_id: Option<String>,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
    /// The broker user who published it. Where it is set the broker has checked it.
    pub user_id: Option<String>,
    /// Media type.
    pub content_type: Option<String>,
    /// Exchange to which it was published.
    pub exchange: String,
    /// Routing key with which it was published.
    pub routing_key: String,
    /// Headers, without the broker's own.
    pub headers: Headers,
    /// The broker has given this message to a reader before.
    pub redelivered: bool,
    /// How often before, where the queue counts it.
    pub delivery_count: u32,
    /// When it was published, to the second, by the publisher's clock.
    pub published_at: Option<jiff::Timestamp>,
    /// When we received it.
    pub received_at: Instant,
    tag: u64,
    settled: bool,
    session: Arc<Session>,
}

impl Delivery {
    pub(crate) fn new(session: &Arc<Session>, from: lapin::message::Delivery) -> Self {
        let text = |value: &Option<ShortString>| value.as_ref().map(ToString::to_string);
        let properties = from.properties;
        let empty = FieldTable::default();
        let table = properties.headers().as_ref().unwrap_or(&empty);
        let count = table.inner().get("x-delivery-count").and_then(int_of).unwrap_or(0);
        session.unsettled.lock().unwrap_or_else(PoisonError::into_inner).insert(from.delivery_tag);
        Self {
            message_id: text(properties.message_id()),
            correlation_id: text(properties.correlation_id()),
            reply_to: text(properties.reply_to()),
            user_id: text(properties.user_id()),
            content_type: text(properties.content_type()),
            exchange: from.exchange.to_string(),
            routing_key: from.routing_key.to_string(),
            headers: Headers::from_table(table),
            redelivered: from.redelivered,
            delivery_count: u32::try_from(count).unwrap_or(0),
            published_at: properties
                .timestamp()
                .and_then(|s| i64::try_from(s).ok())
                .and_then(|s| jiff::Timestamp::from_second(s).ok()),
            received_at: Instant::now(),
            body: Bytes::from(from.data),
            tag: from.delivery_tag,
            settled: false,
            session: Arc::clone(session),
        }
    }

    /// The queue from which it came.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.session.queue
    }

    /// Whether its channel is gone. Then the broker gives the message to someone again, and
    /// settling it does nothing.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.session.alive()
    }

    /// Time since the message was published, by the clocks of two machines and to the second.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let since = jiff::Timestamp::now().duration_since(self.published_at?);
        Some(Duration::try_from(since).unwrap_or_default())
    }

    /// Time since we received it. Must stay well under the broker's consumer timeout of 30 min.
    #[must_use]
    pub fn held(&self) -> Duration {
        self.received_at.elapsed()
    }

    /// Acknowledges: the message's effect is durable.
    pub async fn ack(self) -> Settled {
        ack_many(vec![self]).await.pop().unwrap_or(Settled::Stale)
    }

    /// Gives the message back to its queue at once. This counts towards the queue's delivery
    /// limit; to try again later, publish it to the delay ladder and acknowledge.
    pub async fn release(mut self) -> Settled {
        self.settle_by_reject(true).await
    }

    /// Hands the message to the queue's dead-letter exchange without sending it anywhere from
    /// here: for what is too large to publish again.
    pub(crate) async fn refuse(mut self) -> Settled {
        self.settle_by_reject(false).await
    }

    async fn settle_by_reject(&mut self, requeue: bool) -> Settled {
        self.settled = true;
        match self.session.reject(self.tag, requeue) {
            Some(write) => self.session.written(write).await,
            None => Settled::Stale,
        }
    }

    /// Publishes the message to the parking lot with the reason, confirmed, then acknowledges it.
    ///
    /// # Errors
    /// When the parking lot did not take it. The message is back in its queue then.
    pub async fn park(self, reason: &str) -> Result<Settled, PublishError> {
        let message: Outgoing = parked::outgoing(&self, &self.session.parked_exchange, reason);
        tracing::warn!(
            queue = self.session.queue,
            message_id = message.message_id,
            reason,
            "a message can't be processed and is parked"
        );
        self.session.publisher.publish(message, self.session.rpc_timeout).await?;
        metrics::counter!("turnup_broker_parked_total").increment(1);
        Ok(self.ack().await)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            // Handing the frame to lapin is enough.
            drop(self.session.reject(self.tag, true));
        }
    }
}

/// Acknowledges many deliveries with as few frames as is safe. Results in the order of the input.
pub async fn ack_many(mut deliveries: Vec<Delivery>) -> Vec<Settled> {
    // A batch is nearly always of one session.
    let mut sessions: Vec<(Arc<Session>, Vec<u64>)> = Vec::new();
    for delivery in &mut deliveries {
        delivery.settled = true;
        match sessions.iter_mut().find(|(s, _)| Arc::ptr_eq(s, &delivery.session)) {
            Some((_, tags)) => tags.push(delivery.tag),
            None => sessions.push((Arc::clone(&delivery.session), vec![delivery.tag])),
        }
    }
    let mut writes: Vec<BoxFuture<'_, (usize, Vec<u64>, Settled)>> = Vec::new();
    for (at, (session, tags)) in sessions.iter().enumerate() {
        for (covers, write) in session.ack(tags) {
            writes.push(Box::pin(async move { (at, covers, session.written(write).await) }));
        }
    }
    let sent: Vec<BTreeSet<u64>> =
        join_all(writes).await.into_iter().fold(vec![BTreeSet::new(); sessions.len()], |mut sent, w| {
            if w.2 == Settled::Sent {
                sent[w.0].extend(w.1);
            }
            sent
        });
    let settled = |d: &Delivery| {
        let at = sessions.iter().position(|(s, _)| Arc::ptr_eq(s, &d.session));
        at.is_some_and(|at| sent[at].contains(&d.tag))
    };
    deliveries.iter().map(|d| if settled(d) { Settled::Sent } else { Settled::Stale }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(unsettled: &[u64], tags: &[u64]) -> Vec<(u64, Vec<u64>)> {
        plan_acks(&mut unsettled.iter().copied().collect(), tags)
    }

    #[test]
    fn one_multiple_ack_for_all_below_what_is_still_in_hand() {
        assert_eq!(plan(&[1, 2, 3, 4], &[3, 1, 2]), [(3, vec![1, 2, 3])]);
        assert_eq!(plan(&[1, 2, 3], &[1, 2, 3]), [(3, vec![1, 2, 3])]);
    }

    #[test]
    fn what_lies_above_an_unsettled_tag_is_acknowledged_singly() {
        assert_eq!(plan(&[1, 2, 3, 4, 5], &[1, 2, 4, 5]), [(2, vec![1, 2]), (4, vec![4]), (5, vec![5])]);
        assert_eq!(plan(&[1, 2], &[2]), [(2, vec![2])]);
    }

    #[test]
    fn nothing_is_acknowledged_twice() {
        assert!(plan(&[], &[1]).is_empty());
        assert_eq!(plan(&[2], &[1, 2, 2]), [(2, vec![2])]);
    }
}
