//! The handle that a role makes once and hands around.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;

use crate::consumer::{ConsumeOptions, Consumer};
use crate::error::BrokerError;
use crate::link::{Link, rpc};
use crate::message::short;
use crate::names::Names;
use crate::publisher::Publisher;
use crate::request::Requester;
use crate::settings::Settings;

/// What a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages ready to be delivered (those in readers' hands aren't counted).
    pub messages: u32,
    /// Readers.
    pub consumers: u32,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Arc<Settings>,
    pub(crate) names: Names,
    pub(crate) consuming: Link,
    /// Consumers alive, for which `consuming` must be healthy.
    pub(crate) readers: AtomicUsize,
    /// For questions and declarations: asked now and then, so its silence means nothing.
    pub(crate) control: Link,
    publisher: OnceLock<Publisher>,
    requester: OnceLock<Requester>,
}

/// The broker as one process uses it. Cheap to clone. Connections open when they are first
/// needed: one for
/// reading, one for questions and declarations, one per [`Publisher`], one per [`Requester`].
#[derive(Debug, Clone)]
pub struct Broker(pub(crate) Arc<Inner>);

impl Broker {
    /// A handle; nothing is contacted yet.
    ///
    /// # Errors
    /// [`BrokerError::Settings`] for values that can't be used.
    pub fn new(settings: Settings) -> Result<Self, BrokerError> {
        settings.validate()?;
        let settings = Arc::new(settings);
        Ok(Self(Arc::new(Inner {
            names: Names::new(settings.prefix.clone()),
            consuming: Link::new(Arc::clone(&settings), "consume"),
            readers: AtomicUsize::new(0),
            control: Link::new(Arc::clone(&settings), "control"),
            settings,
            publisher: OnceLock::new(),
            requester: OnceLock::new(),
        })))
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// The publisher that everyone in this process shares. Needs a tokio runtime.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.0.publisher.get_or_init(|| self.new_publisher()).clone()
    }

    /// A publisher with a connection and a window of its own, for traffic that must not stand in
    /// others' way. Needs a tokio runtime.
    #[must_use]
    pub fn new_publisher(&self) -> Publisher {
        Publisher::start(&self.0.settings)
    }

    /// The request client that everyone in this process shares. Needs a tokio runtime.
    #[must_use]
    pub fn requester(&self) -> Requester {
        self.0.requester.get_or_init(|| Requester::start(&self.0.settings)).clone()
    }

    /// Reads a queue. Never fails: while the broker or the queue isn't there, the consumer waits
    /// and tries again.
    #[must_use]
    pub fn consume(&self, queue: impl Into<String>, options: ConsumeOptions) -> Consumer {
        Consumer::start(self, queue.into(), options)
    }

    /// Number of ready messages and of readers of a queue.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] with code 404 when there is no such queue; others when the broker
    /// is away.
    pub async fn depth(&self, queue: &str) -> Result<Depth, BrokerError> {
        let name = short("queue name", queue)?;
        let channel = self.0.control.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(name, passive, FieldTable::default());
        let found = rpc("queue.declare (passive)", self.0.settings.rpc_timeout(), declared).await?;
        Ok(Depth { messages: found.message_count(), consumers: found.consumer_count() })
    }

    /// One round trip to the broker, on a new channel.
    ///
    /// # Errors
    /// When the broker doesn't answer within the configured deadlines.
    pub async fn ping(&self) -> Result<(), BrokerError> {
        self.0.control.channel().await.map(|_| ())
    }

    /// Whether the broker answered lately, within three heartbeats, on every connection over which
    /// this process reads, publishes or asks. For readiness; "connected" alone says nothing.
    /// Publishers made by [`Self::new_publisher`] answer for themselves.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.last_progress().is_some_and(|age| age < self.0.settings.heartbeat() * 3)
    }

    /// Time since the last answer of the broker, on the connection where that is longest ago.
    /// `None` when one is not connected, or none was ever opened.
    #[must_use]
    pub fn last_progress(&self) -> Option<Duration> {
        let mut ages = vec![];
        if let Some(publisher) = self.0.publisher.get() {
            ages.push(publisher.last_progress()?);
        }
        if let Some(requester) = self.0.requester.get() {
            ages.push(requester.last_progress()?);
        }
        if self.0.readers.load(Ordering::Relaxed) > 0 {
            ages.push(self.0.consuming.health.age()?);
        }
        ages.into_iter().max()
    }
}
