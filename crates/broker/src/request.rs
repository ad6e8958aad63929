//! Request and reply over the broker's direct reply-to: no reply queue, nothing kept. Requests
//! and replies may be lost; who asks sets a deadline and asks again.
//!
//! The responding side is a [`crate::Consumer`] that publishes [`Outgoing::reply`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Confirmation};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::error::{BrokerError, PublishError};
use crate::link::{Link, Opened, rpc};
use crate::message::{Headers, Outgoing};
use crate::publisher::{Encoded, Shared};
use crate::pulse::Pulse;
use crate::retry::Retry;
use crate::settings::Settings;

/// The broker's name for "the channel that asked".
const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Most requests that may wait for their replies at once.
const MAX_PENDING: usize = 10_000;

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody replied in time.
    #[error("no reply within {after:?}; ask again")]
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// The request could not be sent, or no queue takes it.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The connection broke while waiting.
    #[error("the connection broke while waiting for the reply ({reason}); ask again")]
    Lost {
        /// What ended it.
        reason: String,
    },
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The body.
    pub body: Bytes,
    /// Headers.
    pub headers: Headers,
}

type Waiter = oneshot::Sender<Result<Reply, RequestError>>;

struct Command {
    message: Encoded,
    waiter: Waiter,
}

/// Asks and waits for replies. Cheap to clone; many requests share one channel on a connection of
/// its own.
#[derive(Debug, Clone)]
pub struct Requester {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl Requester {
    pub(crate) fn start(settings: &Arc<Settings>) -> Self {
        let settings = Arc::clone(settings);
        let link = Link::new(Arc::clone(&settings), "request");
        let (commands, inbox) = mpsc::channel(settings.publish_window);
        let shared = Arc::new(Shared { settings, link, obstacle: Mutex::new(None) });
        tokio::spawn(run(Arc::clone(&shared), inbox));
        Self { commands, shared }
    }

    /// Sends `message` and waits for the reply, at most for `deadline`. Correlation id, reply-to
    /// and expiration are set here; the responder must give the correlation id back.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(&self, message: Outgoing, deadline: Duration) -> Result<Reply, RequestError> {
        let message = Outgoing {
            correlation_id: Some(message.message_id.clone()),
            reply_to: Some(REPLY_TO.to_owned()),
            persistent: false,
            mandatory: true,
            ..message
        };
        let message = match message.expiration_ms {
            Some(_) => message,
            None => message.with_expiration(deadline),
        };
        let message = Encoded::new(message)?;
        let (waiter, reply) = oneshot::channel();
        let ask = async {
            let lost = || RequestError::Lost { reason: "the request task ended".to_owned() };
            self.commands.send(Command { message, waiter }).await.map_err(|_| lost())?;
            reply.await.unwrap_or_else(|_| Err(lost()))
        };
        timeout(deadline, ask).await.unwrap_or_else(|_| {
            let obstacle = self.shared.obstacle.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Err(match obstacle {
                Some(reason) => PublishError::NotSent { reason }.into(),
                None => RequestError::Timeout { after: deadline },
            })
        })
    }

    /// Time since the broker last answered on this client's connection; `None` while there is none.
    #[must_use]
    pub fn last_progress(&self) -> Option<Duration> {
        self.shared.link.health.age()
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("message_id", &self.message.message_id).finish_non_exhaustive()
    }
}

async fn run(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Command>) {
    let mut retry = Retry::new();
    while !(inbox.is_closed() && inbox.is_empty()) {
        let reason = match Session::open(&shared).await {
            Ok(mut session) => {
                retry.reset();
                shared.set_obstacle(None);
                let Err(reason) = session.serve(&mut inbox).await else { return };
                for (_, waiter) in session.pending {
                    // The asker may be gone.
                    let _ = waiter.send(Err(RequestError::Lost { reason: reason.clone() }));
                }
                shared.link.discard().await;
                reason
            }
            Err(e) => {
                shared.link.health.lost();
                e.to_string()
            }
        };
        tracing::warn!(reason, "no channel for requests; trying again");
        shared.set_obstacle(Some(reason));
        sleep(retry.next()).await;
    }
}

/// How a request left: a return carries the id of whichever message it is for.
type Sent = BoxFuture<'static, Result<Option<(String, PublishError)>, lapin::Error>>;

struct Session<'a> {
    shared: &'a Shared,
    channel: Channel,
    replies: lapin::Consumer,
    pulse: Pulse,
    sent: FuturesUnordered<Sent>,
    pending: HashMap<String, Waiter>,
}

impl<'a> Session<'a> {
    async fn open(shared: &'a Shared) -> Result<Self, BrokerError> {
        let limit = shared.settings.rpc_timeout();
        let opened: Opened = shared.link.open().await?;
        let channel = opened.channel.clone();
        rpc("confirm.select", limit, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consume =
            channel.basic_consume(REPLY_TO.into(), ShortString::default(), options, FieldTable::default());
        let replies = rpc("basic.consume", limit, consume).await?;
        Ok(Self {
            shared,
            channel,
            replies,
            pulse: Pulse::new(&shared.settings, opened, 1),
            sent: FuturesUnordered::new(),
            pending: HashMap::new(),
        })
    }

    /// Serves until every handle is gone (`Ok`) or the channel is (`Err`).
    async fn serve(&mut self, inbox: &mut mpsc::Receiver<Command>) -> Result<(), String> {
        loop {
            tokio::select! {
                biased;
                reply = self.replies.next() => match reply {
                    Some(Ok(delivery)) => {
                        self.pulse.answered(&self.shared.link);
                        self.replied(delivery);
                    }
                    Some(Err(e)) => return Err(e.to_string()),
                    None => return Err("the broker ended the subscription to replies".to_owned()),
                },
                Some(sent) = self.sent.next() => match sent {
                    Ok(None) => {}
                    Ok(Some((id, error))) => self.answer(&id, Err(error.into())),
                    Err(e) => return Err(e.to_string()),
                },
                command = inbox.recv(), if self.pending.len() < MAX_PENDING => match command {
                    Some(command) => self.ask(command),
                    None => return Ok(()),
                },
                beat = self.pulse.beat(&self.shared.link) => {
                    beat.map_err(|e| e.to_string())?;
                    // Those who stopped waiting.
                    self.pending.retain(|_, waiter| !waiter.is_closed());
                }
            }
        }
    }

    fn ask(&mut self, command: Command) {
        let Command { message, waiter } = command;
        if waiter.is_closed() {
            return;
        }
        self.pending.insert(message.message_id.clone(), waiter);
        let mut sent: Sent = Box::pin(send(self.channel.clone(), message));
        // The first poll hands the frames to lapin, here and now.
        match sent.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.sent.push(sent),
            Poll::Ready(result) => self.sent.push(Box::pin(std::future::ready(result))),
        }
    }

    fn replied(&mut self, delivery: lapin::message::Delivery) {
        let Some(id) = delivery.properties.correlation_id().as_ref().map(ToString::to_string) else {
            tracing::warn!("a reply without correlation id is ignored");
            return;
        };
        let headers = delivery.properties.headers().as_ref().map(Headers::from_table).unwrap_or_default();
        self.answer(&id, Ok(Reply { body: Bytes::from(delivery.data), headers }));
    }

    fn answer(&mut self, id: &str, result: Result<Reply, RequestError>) {
        // A second reply, or one that came too late, has nobody waiting.
        if let Some(waiter) = self.pending.remove(id) {
            let _ = waiter.send(result);
        }
    }
}

async fn send(channel: Channel, message: Encoded) -> Result<Option<(String, PublishError)>, lapin::Error> {
    let options = BasicPublishOptions { mandatory: message.mandatory, immediate: false };
    let Encoded { exchange, routing_key, properties, body, message_id, .. } = message;
    let confirm = channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await?;
    let nacked = matches!(confirm, Confirmation::Nack(_));
    // A return may have come with another request's confirm; its id says whose it is.
    Ok(match confirm.take_message() {
        Some(returned) => Some((
            returned.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
            PublishError::Returned {
                exchange: returned.exchange.to_string(),
                routing_key: returned.routing_key.to_string(),
                reason: returned.reply_text.to_string(),
            },
        )),
        None if nacked => Some((message_id, PublishError::Nacked)),
        None => None,
    })
}
